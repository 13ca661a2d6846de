//! Folders of static models: what sentence-transformers' `StaticEmbedding` and model2vec say beside their tensors.
//!
//! They differ in more than names. model2vec cuts texts at `max_length` tokens and normalises if its `config.json`
//! says so; a `StaticEmbedding` cuts where `tokenizer.json` says, and `modules.json` tells the rest. A folder is
//! model2vec's when its table has model2vec's name, whatever `modules.json` calls it.

use std::path::Path;

use hpd_files::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::architectures::static_embedding;
use crate::config::{EncoderConfig, ModelType};
use crate::json;

/// Where model2vec cuts if its `config.json` does not say.
const MODEL2VEC_LENGTH: usize = 512;

/// What a static model's folder says.
pub(super) struct StaticModel {
    pub(super) config: EncoderConfig,
    pub(super) max_tokens: usize,
    pub(super) normalizes: bool,
}

#[derive(Deserialize)]
struct TokenizerFile {
    truncation: Option<Truncation>,
}

#[derive(Deserialize)]
struct Truncation {
    max_length: usize,
}

/// Whether `config.json` says that the folder is model2vec's.
pub(super) fn says_model2vec(folder: &Path) -> Result<bool> {
    let fields: Option<Map<String, Value>> = json::read_if_present(&folder.join("config.json"))?;
    Ok(fields.is_some_and(|fields| fields.get("model_type") == Some(&"model2vec".into())))
}

impl StaticModel {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let config = static_embedding::config(folder)?;
        if config.model_type == ModelType::Model2Vec {
            return Self::model2vec(config, &folder.join("config.json"));
        }
        let tokenizer: Option<TokenizerFile> =
            json::read_if_present(&folder.join("tokenizer.json"))?;
        let truncation = tokenizer.and_then(|tokenizer| tokenizer.truncation);
        let max_tokens = truncation.map_or(config.max_tokens(), |truncation| truncation.max_length);
        Ok(Self { config, max_tokens, normalizes: false })
    }

    fn model2vec(config: EncoderConfig, path: &Path) -> Result<Self> {
        let fields: Map<String, Value> = json::read_if_present(path)?.unwrap_or_default();
        let refuse = |name: &str, expected: &str| {
            let found = &fields[name];
            Error::model(format!("`{}`: `{name}` is {found}, expected {expected}", path.display()))
        };
        let max_tokens = match fields.get("max_length") {
            None => MODEL2VEC_LENGTH,
            Some(Value::Null) => config.max_tokens(),
            Some(length) => length
                .as_u64()
                .and_then(|length| usize::try_from(length).ok())
                .ok_or_else(|| refuse("max_length", "a number of tokens"))?,
        };
        let normalizes = match fields.get("normalize") {
            None | Some(Value::Null) => false,
            Some(yes) => yes.as_bool().ok_or_else(|| refuse("normalize", "true or false"))?,
        };
        Ok(Self { config, max_tokens, normalizes })
    }
}
