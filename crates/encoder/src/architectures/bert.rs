//! BERT, RoBERTa and XLM-R: the same arithmetic but for the rows of the position table that tokens use.

use hpd_files::Result;

use super::Names;
use crate::attention::Attention;
use crate::rows::add_bias;
use crate::tensors::Tensors;
use crate::transformer::{FeedForward, Layer, Norms, Places, SelfAttention, Transformer};
use crate::words::{Finish, Positions, Words};

pub(crate) const NAMES: Names = Names {
    prefixes: &["bert.", "roberta."],
    parts: &["embeddings.", "encoder."],
    words: "embeddings.word_embeddings.weight",
};

/// `padding` is the id after which RoBERTa's positions begin; BERT's begin at 0.
pub(crate) fn read(tensors: &Tensors<'_>, padding: Option<u32>) -> Result<Transformer> {
    let config = tensors.config;
    let hidden = config.hidden_size;
    let mut positions = tensors
        .read("embeddings.position_embeddings.weight", &[config.max_position_embeddings, hidden])?;
    let types = tensors
        .read("embeddings.token_type_embeddings.weight", &[config.type_vocab_size, hidden])?;
    add_bias(&mut positions, &types[..hidden]);
    let finish = Finish::Places(
        Positions { table: positions, padding },
        tensors.norm("embeddings.LayerNorm")?,
    );
    let table = tensors.words()?;
    let layers = (0..config.num_hidden_layers).map(|index| layer(tensors, index));
    let words = Words::new(hidden, table, finish);
    Ok(Transformer::new(words, layers.collect::<Result<_>>()?))
}

fn layer(tensors: &Tensors<'_>, index: usize) -> Result<Layer> {
    let (hidden, wide) = (tensors.config.hidden_size, tensors.config.intermediate_size);
    let of = |part: &str| format!("encoder.layer.{index}.{part}");
    let projections = ["query", "key", "value"].map(|part| of(&format!("attention.self.{part}")));
    Ok(Layer {
        attention: SelfAttention {
            qkv: tensors.stacked(&projections, hidden, hidden)?,
            heads: Attention::of(tensors.config),
            places: Places::InWords,
            output: tensors.linear(&of("attention.output.dense"), hidden, hidden)?,
        },
        feed_forward: FeedForward {
            inner: tensors.linear(&of("intermediate.dense"), hidden, wide)?,
            activation: tensors.config.hidden_act,
            gate: None,
            output: tensors.linear(&of("output.dense"), wide, hidden)?,
        },
        norms: Norms::After {
            attention: tensors.norm(&of("attention.output.LayerNorm"))?,
            feed_forward: tensors.norm(&of("output.LayerNorm"))?,
        },
    })
}
