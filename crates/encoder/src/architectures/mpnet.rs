//! MPNet: RoBERTa's positions without token types, and a number for each distance between two tokens that is added
//! to the scores of every layer.

use std::sync::Arc;

use hpd_files::Result;
use serde_json::{Map, Value};

use super::Names;
use crate::attention::Attention;
use crate::attention::distances::{BUCKETS, DistanceBias};
use crate::tensors::Tensors;
use crate::transformer::{FeedForward, Layer, Norms, Places, SelfAttention, Transformer};
use crate::words::{Finish, Positions, Words};

pub(crate) const NAMES: Names = Names {
    prefixes: &["mpnet."],
    parts: &["embeddings.", "encoder."],
    words: "embeddings.word_embeddings.weight",
};

/// The id after which positions begin, fixed in the code of transformers.
pub(crate) const PADDING: u32 = 1;

pub(crate) fn complete(fields: &mut Map<String, Value>) -> Result<(), String> {
    match fields.get("relative_attention_num_buckets") {
        None | Some(Value::Null) => {}
        Some(found) if found.as_u64() == Some(BUCKETS as u64) => {}
        Some(found) => {
            return Err(format!(
                "`relative_attention_num_buckets` is {found}, expected {BUCKETS}, which transformers computes with"
            ));
        }
    }
    fields.insert("pad_token_id".to_owned(), PADDING.into());
    fields.insert("type_vocab_size".to_owned(), 0.into());
    Ok(())
}

pub(crate) fn read(tensors: &Tensors<'_>) -> Result<Transformer> {
    let config = tensors.config;
    let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
    let positions = tensors
        .read("embeddings.position_embeddings.weight", &[config.max_position_embeddings, hidden])?;
    let finish = Finish::Places(
        Positions { table: positions, padding: Some(PADDING) },
        tensors.norm("embeddings.LayerNorm")?,
    );
    let table = tensors.words()?;
    let buckets = tensors.read("encoder.relative_attention_bias.weight", &[BUCKETS, heads])?;
    let bias = Arc::new(DistanceBias::new(&buckets, heads, config.max_tokens()));
    let layers = (0..config.num_hidden_layers).map(|index| layer(tensors, index, &bias));
    let words = Words::new(hidden, table, finish);
    Ok(Transformer::new(words, layers.collect::<Result<_>>()?))
}

fn layer(tensors: &Tensors<'_>, index: usize, bias: &Arc<DistanceBias>) -> Result<Layer> {
    let (hidden, wide) = (tensors.config.hidden_size, tensors.config.intermediate_size);
    let of = |part: &str| format!("encoder.layer.{index}.{part}");
    let projections = ["q", "k", "v"].map(|part| of(&format!("attention.attn.{part}")));
    Ok(Layer {
        attention: SelfAttention {
            qkv: tensors.stacked(&projections, hidden, hidden)?,
            heads: Attention::of(tensors.config),
            places: Places::Distances(Arc::clone(bias)),
            output: tensors.linear(&of("attention.attn.o"), hidden, hidden)?,
        },
        feed_forward: FeedForward {
            inner: tensors.linear(&of("intermediate.dense"), hidden, wide)?,
            activation: tensors.config.hidden_act,
            gate: None,
            output: tensors.linear(&of("output.dense"), wide, hidden)?,
        },
        norms: Norms::After {
            attention: tensors.norm(&of("attention.LayerNorm"))?,
            feed_forward: tensors.norm(&of("output.LayerNorm"))?,
        },
    })
}
