//! DistilBERT: BERT without token types, under names of its own for fields and tensors.

use hpd_files::Result;
use serde_json::{Map, Value};

use super::{Dialect, Names, set_missing};
use crate::attention::Attention;
use crate::tensors::Tensors;
use crate::transformer::{FeedForward, Layer, Norms, Places, SelfAttention, Transformer};
use crate::words::{Finish, Positions, Words};

pub(crate) const NAMES: Names = Names {
    prefixes: &["distilbert."],
    parts: &["embeddings.", "transformer."],
    words: "embeddings.word_embeddings.weight",
};

pub(crate) const DIALECT: Dialect = &[
    ("dim", "hidden_size"),
    ("n_layers", "num_hidden_layers"),
    ("n_heads", "num_attention_heads"),
    ("hidden_dim", "intermediate_size"),
    ("activation", "hidden_act"),
];

pub(crate) fn complete(fields: &mut Map<String, Value>) {
    set_missing(fields, "pad_token_id", 0);
    // Fixed in the code of transformers, whatever a file says.
    fields.insert("layer_norm_eps".to_owned(), 1e-12.into());
    fields.insert("type_vocab_size".to_owned(), 0.into());
}

pub(crate) fn read(tensors: &Tensors<'_>) -> Result<Transformer> {
    let config = tensors.config;
    let hidden = config.hidden_size;
    let positions = tensors
        .read("embeddings.position_embeddings.weight", &[config.max_position_embeddings, hidden])?;
    let finish = Finish::Places(
        Positions { table: positions, padding: None },
        tensors.norm("embeddings.LayerNorm")?,
    );
    let table = tensors.words()?;
    let layers = (0..config.num_hidden_layers).map(|index| layer(tensors, index));
    let words = Words::new(hidden, table, finish);
    Ok(Transformer::new(words, layers.collect::<Result<_>>()?))
}

fn layer(tensors: &Tensors<'_>, index: usize) -> Result<Layer> {
    let (hidden, wide) = (tensors.config.hidden_size, tensors.config.intermediate_size);
    let of = |part: &str| format!("transformer.layer.{index}.{part}");
    let projections = ["q_lin", "k_lin", "v_lin"].map(|part| of(&format!("attention.{part}")));
    Ok(Layer {
        attention: SelfAttention {
            qkv: tensors.stacked(&projections, hidden, hidden)?,
            heads: Attention::of(tensors.config),
            places: Places::InWords,
            output: tensors.linear(&of("attention.out_lin"), hidden, hidden)?,
        },
        feed_forward: FeedForward {
            inner: tensors.linear(&of("ffn.lin1"), hidden, wide)?,
            activation: tensors.config.hidden_act,
            gate: None,
            output: tensors.linear(&of("ffn.lin2"), wide, hidden)?,
        },
        norms: Norms::After {
            attention: tensors.norm(&of("sa_layer_norm"))?,
            feed_forward: tensors.norm(&of("output_layer_norm"))?,
        },
    })
}
