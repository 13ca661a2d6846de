//! `config.json`: the shape of the Transformer, checked before a tensor is read.

use std::path::Path;

use hpd_files::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json;

/// The architectures this room computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelType {
    /// Positions count from 0; two token types.
    #[serde(rename = "bert")]
    Bert,
    /// Positions count from `pad_token_id + 1`.
    #[serde(rename = "roberta")]
    Roberta,
    /// RoBERTa with another tokenizer.
    #[serde(rename = "xlm-roberta")]
    XlmRoberta,
}

/// What stands between the two matrices of a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// `x · Φ(x)`, by the error function.
    #[serde(rename = "gelu")]
    Gelu,
    /// The tanh approximation of GELU.
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh", alias = "gelu_fast")]
    GeluNew,
    /// `max(x, 0)`.
    #[serde(rename = "relu")]
    Relu,
}

/// The fields of `config.json` that decide the arithmetic, under their Hugging Face names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderConfig {
    /// Architecture.
    pub model_type: ModelType,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Heads of the attention; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward layer.
    pub intermediate_size: usize,
    /// Rows of the word embeddings.
    pub vocab_size: usize,
    /// Rows of the position embeddings; for RoBERTa this includes those below `pad_token_id + 1`, never used.
    pub max_position_embeddings: usize,
    /// Rows of the token type embeddings, of which row 0 is used.
    pub type_vocab_size: usize,
    /// Added to the variance in layer norm.
    pub layer_norm_eps: f32,
    /// Activation of the feed-forward layer.
    pub hidden_act: Activation,
    /// Id of the padding token; decides RoBERTa's positions.
    pub pad_token_id: u32,
}

impl EncoderConfig {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// When the file is missing, not JSON, of an architecture that is not computed here, or its numbers do not
    /// fit together.
    pub fn open(path: &Path) -> Result<Self> {
        let fields: Map<String, Value> = json::read(path)?;
        Self::from_fields(fields)
            .map_err(|reason| Error::model(format!("`{}`: {reason}", path.display())))
    }

    fn from_fields(mut fields: Map<String, Value>) -> Result<Self, String> {
        check_word(&fields, "model_type", &["bert", "roberta", "xlm-roberta"])?;
        check_word(
            &fields,
            "hidden_act",
            &["gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "relu"],
        )?;
        check_word(&fields, "position_embedding_type", &["absolute"])?;
        if fields.get("is_decoder") == Some(&Value::Bool(true)) {
            return Err("`is_decoder` is true, but only encoders are computed here".to_owned());
        }
        for (name, value) in defaults(fields.get("model_type")) {
            // `null` stands for "the default" too.
            if fields.get(name).is_none_or(Value::is_null) {
                fields.insert(name.to_owned(), value);
            }
        }
        let config: Self =
            serde_json::from_value(Value::Object(fields)).map_err(|error| error.to_string())?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("vocab_size", self.vocab_size),
            ("type_vocab_size", self.type_vocab_size),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(format!("`{name}` is 0, expected at least 1"));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(format!(
                "`hidden_size` {} cannot be split among `num_attention_heads` {}",
                self.hidden_size, self.num_attention_heads
            ));
        }
        if self.max_position_embeddings <= self.first_position() {
            return Err(format!(
                "`max_position_embeddings` is {}, expected more than {}, where positions begin",
                self.max_position_embeddings,
                self.first_position()
            ));
        }
        if self.layer_norm_eps.is_nan() || self.layer_norm_eps <= 0.0 {
            return Err(format!(
                "`layer_norm_eps` is {}, expected more than 0",
                self.layer_norm_eps
            ));
        }
        Ok(())
    }

    /// Row of the position embeddings that the first token of a text uses.
    pub fn first_position(&self) -> usize {
        match self.model_type {
            ModelType::Bert => 0,
            ModelType::Roberta | ModelType::XlmRoberta => self.pad_token_id as usize + 1,
        }
    }

    /// Most tokens that a text can have.
    pub fn max_tokens(&self) -> usize {
        self.max_position_embeddings - self.first_position()
    }

    /// Width of one attention head.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}

/// An unknown word is told with the words that are known; a missing one is left to the defaults.
fn check_word(fields: &Map<String, Value>, name: &str, known: &[&str]) -> Result<(), String> {
    match fields.get(name) {
        None | Some(Value::Null) if name != "model_type" => Ok(()),
        None => Err(format!("`{name}` is missing, expected one of {known:?}")),
        Some(Value::String(word)) if known.contains(&word.as_str()) => Ok(()),
        Some(found) => {
            Err(format!("`{name}` is {found}, which is not supported; expected one of {known:?}"))
        }
    }
}

/// What transformers' configuration classes take when a file is silent.
fn defaults(model_type: Option<&Value>) -> [(&'static str, Value); 4] {
    let is_bert = model_type.and_then(Value::as_str) == Some("bert");
    [
        ("type_vocab_size", 2.into()),
        ("layer_norm_eps", 1e-12.into()),
        ("hidden_act", "gelu".into()),
        ("pad_token_id", if is_bert { 0.into() } else { 1.into() }),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(changes: Value) -> Result<EncoderConfig, String> {
        let mut fields = json!({
            "model_type": "roberta", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 64, "vocab_size": 100, "max_position_embeddings": 40,
        });
        let fields = fields.as_object_mut().unwrap();
        fields.extend(changes.as_object().unwrap().clone());
        EncoderConfig::from_fields(fields.clone())
    }

    #[test]
    fn silent_fields_take_the_defaults_of_transformers() {
        let config = parse(json!({"hidden_act": null})).unwrap();
        assert_eq!((config.pad_token_id, config.type_vocab_size), (1, 2));
        assert_eq!((config.layer_norm_eps, config.hidden_act), (1e-12, Activation::Gelu));
        assert_eq!((config.first_position(), config.max_tokens(), config.head_size()), (2, 38, 8));
    }

    #[test]
    fn what_cannot_be_computed_is_named() {
        for (changes, expected) in [
            (
                json!({"model_type": "distilbert"}),
                "`model_type` is \"distilbert\", which is not supported",
            ),
            (json!({"model_type": null}), "`model_type` is null"),
            (json!({"hidden_act": "silu"}), "`hidden_act` is \"silu\""),
            (json!({"position_embedding_type": "relative_key"}), "relative_key"),
            (json!({"is_decoder": true}), "is_decoder"),
            (json!({"num_attention_heads": 5}), "`hidden_size` 32 cannot be split"),
            (json!({"num_hidden_layers": 0}), "`num_hidden_layers` is 0"),
            (json!({"max_position_embeddings": 2}), "expected more than 2"),
            (json!({"hidden_size": -1}), "-1"),
            (json!({"vocab_size": null}), "null"),
        ] {
            let message = parse(changes).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
