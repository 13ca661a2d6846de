//! What differs from architecture to architecture: the fields of `config.json`, the names of the tensors, and which
//! shared pieces they become.
//!
//! One file an architecture. Each reads its tensors into the same parts ([`crate::words`], [`crate::transformer`],
//! [`crate::attention`]), so an architecture is told by what it puts together and not by code of its own.
//!
//! `config.json ─translate─> EncoderConfig ─read─> Transformer`

pub(crate) mod bert;
pub(crate) mod distilbert;
pub(crate) mod modernbert;
pub(crate) mod mpnet;
pub(crate) mod static_embedding;

pub use modernbert::{LayerType, ModernBert};

use hpd_files::Result;
use serde_json::{Map, Value};

use crate::arithmetic::Arithmetic;
use crate::config::{EncoderConfig, ModelType};
use crate::tensors::Tensors;
use crate::transformer::Transformer;
use crate::weights::Weights;

/// How an architecture calls its tensors.
pub(crate) struct Names {
    /// What may stand in front of every name, in files of a model that was trained with a task head.
    pub(crate) prefixes: &'static [&'static str],
    /// How the names of the encoder begin. What begins otherwise belongs to a task head.
    pub(crate) parts: &'static [&'static str],
    /// The table of words, which every model has.
    pub(crate) words: &'static str,
}

/// The names of an architecture's tensors.
pub(crate) fn names(model_type: &ModelType) -> &'static Names {
    match model_type {
        ModelType::Bert | ModelType::Roberta | ModelType::XlmRoberta => &bert::NAMES,
        ModelType::DistilBert => &distilbert::NAMES,
        ModelType::MpNet => &mpnet::NAMES,
        ModelType::ModernBert(_) => &modernbert::NAMES,
        ModelType::StaticEmbedding | ModelType::Model2Vec => &static_embedding::NAMES,
    }
}

/// Reads all tensors and packs the matrices.
pub(crate) fn read(
    config: &EncoderConfig,
    weights: &Weights,
    arithmetic: Arithmetic,
) -> Result<Transformer> {
    let tensors = Tensors::new(config, weights, names(&config.model_type), arithmetic);
    match &config.model_type {
        ModelType::Bert => bert::read(&tensors, None),
        ModelType::Roberta | ModelType::XlmRoberta => {
            bert::read(&tensors, Some(config.pad_token_id))
        }
        ModelType::DistilBert => distilbert::read(&tensors),
        ModelType::MpNet => mpnet::read(&tensors),
        ModelType::ModernBert(shape) => modernbert::read(&tensors, shape),
        ModelType::StaticEmbedding | ModelType::Model2Vec => {
            static_embedding::read(config, weights)
        }
    }
}

/// Fields that an architecture names otherwise than BERT: its name, BERT's name.
pub(crate) type Dialect = &'static [(&'static str, &'static str)];

/// How the fields of `model_type` are named.
pub(crate) fn dialect(model_type: &str) -> Dialect {
    match model_type {
        "distilbert" => distilbert::DIALECT,
        "modernbert" => modernbert::DIALECT,
        _ => &[],
    }
}

/// Puts in what the fields of `model_type` leave unsaid, under BERT's names, and refuses what is not computed here.
pub(crate) fn complete(model_type: &str, fields: &mut Map<String, Value>) -> Result<(), String> {
    match model_type {
        "distilbert" => distilbert::complete(fields),
        "mpnet" => mpnet::complete(fields)?,
        "modernbert" => modernbert::complete(fields)?,
        "bert" => set_missing(fields, "pad_token_id", 0),
        _ => set_missing(fields, "pad_token_id", 1),
    }
    set_missing(fields, "type_vocab_size", 2);
    set_missing(fields, "layer_norm_eps", 1e-12);
    set_missing(fields, "hidden_act", "gelu");
    Ok(())
}

/// Gives a field its default. `null` stands for the default too.
fn set_missing(fields: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    if fields.get(name).is_none_or(Value::is_null) {
        fields.insert(name.to_owned(), value.into());
    }
}
