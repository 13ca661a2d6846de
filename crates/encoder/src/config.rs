//! `config.json`: the shape of the Transformer, checked before a tensor is read.

use std::path::Path;

use hpd_files::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::architectures::{self, ModernBert};
use crate::json;

/// The architectures this room computes, each with what only it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model_type")]
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
    /// BERT without token types.
    #[serde(rename = "distilbert")]
    DistilBert,
    /// RoBERTa's positions, and a bias for each distance between tokens.
    #[serde(rename = "mpnet")]
    MpNet,
    /// Rotary positions, windows, gates, norms in front.
    #[serde(rename = "modernbert")]
    ModernBert(ModernBert),
    /// sentence-transformers' table of words without layers; has no `config.json`.
    #[serde(rename = "static-embedding")]
    StaticEmbedding,
    /// The same of model2vec, which leaves out unknown words.
    #[serde(rename = "model2vec")]
    Model2Vec,
}

/// What `model_type` may be in the `config.json` of a Transformer.
const TRANSFORMERS: [&str; 6] =
    ["bert", "roberta", "xlm-roberta", "distilbert", "mpnet", "modernbert"];

impl ModelType {
    /// Its name in `config.json`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bert => "bert",
            Self::Roberta => "roberta",
            Self::XlmRoberta => "xlm-roberta",
            Self::DistilBert => "distilbert",
            Self::MpNet => "mpnet",
            Self::ModernBert(_) => "modernbert",
            Self::StaticEmbedding => "static-embedding",
            Self::Model2Vec => "model2vec",
        }
    }

    /// Whether it has BERT's layers, under BERT's names.
    pub fn is_bert_family(&self) -> bool {
        matches!(self, Self::Bert | Self::Roberta | Self::XlmRoberta)
    }

    /// Whether it is a table of words and has no layers.
    pub fn is_static(&self) -> bool {
        matches!(self, Self::StaticEmbedding | Self::Model2Vec)
    }
}

/// Most that a size may be.
const MOST: usize = u32::MAX as usize;

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

impl From<Activation> for hpd_kernels::Activation {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::Gelu => Self::Gelu,
            Activation::GeluNew => Self::GeluTanh,
            Activation::Relu => Self::Relu,
        }
    }
}

/// The fields of `config.json` that decide the arithmetic, under the names that BERT has for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderConfig {
    /// Architecture.
    #[serde(flatten)]
    pub model_type: ModelType,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Transformer layers; none in a static model.
    pub num_hidden_layers: usize,
    /// Heads of the attention; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward layer.
    pub intermediate_size: usize,
    /// Rows of the word embeddings.
    pub vocab_size: usize,
    /// Rows of the position embeddings; for RoBERTa this includes those below `pad_token_id + 1`, never used.
    pub max_position_embeddings: usize,
    /// Rows of the token type embeddings, of which row 0 is used; 0 where an architecture has none.
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
        check_word(&fields, "model_type", &TRANSFORMERS)?;
        let model_type = fields["model_type"].as_str().unwrap_or_default().to_owned();
        let dialect = architectures::dialect(&model_type);
        for (theirs, ours) in dialect {
            // A field of BERT's name means nothing there.
            fields.remove(*ours);
            if let Some(value) = fields.remove(*theirs) {
                fields.insert((*ours).to_owned(), value);
            }
        }
        Self::from_bert_fields(&model_type, fields).map_err(|message| {
            // Told in the words of the file.
            dialect.iter().fold(message, |message, (theirs, ours)| {
                message.replace(&format!("`{ours}`"), &format!("`{theirs}`"))
            })
        })
    }

    fn from_bert_fields(model_type: &str, mut fields: Map<String, Value>) -> Result<Self, String> {
        check_word(
            &fields,
            "hidden_act",
            &["gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "relu"],
        )?;
        check_word(&fields, "position_embedding_type", &["absolute"])?;
        if fields.get("is_decoder") == Some(&Value::Bool(true)) {
            return Err("`is_decoder` is true, but only encoders are computed here".to_owned());
        }
        architectures::complete(model_type, &mut fields)?;
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
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        // So that no product of two sizes is too large to count.
        if let Some((name, size)) = sizes.iter().find(|(_, size)| *size > MOST) {
            return Err(format!("`{name}` is {size}, expected at most {MOST}"));
        }
        if self.model_type.is_bert_family() && self.type_vocab_size == 0 {
            return Err("`type_vocab_size` is 0, expected at least 1".to_owned());
        }
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
        match &self.model_type {
            ModelType::ModernBert(shape) => shape.check(self),
            _ => Ok(()),
        }
    }

    /// Row of the position embeddings that the first token of a text uses.
    pub fn first_position(&self) -> usize {
        match self.model_type {
            ModelType::Roberta | ModelType::XlmRoberta | ModelType::MpNet => {
                self.pad_token_id as usize + 1
            }
            _ => 0,
        }
    }

    /// Most tokens that a text can have.
    pub fn max_tokens(&self) -> usize {
        self.max_position_embeddings - self.first_position()
    }

    /// Width of one attention head, 0 where there is none.
    pub fn head_size(&self) -> usize {
        self.hidden_size.checked_div(self.num_attention_heads).unwrap_or(0)
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
                json!({"model_type": "deberta-v2"}),
                "`model_type` is \"deberta-v2\", which is not supported",
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
            (
                json!({"vocab_size": 1_u64 << 60}),
                "`vocab_size` is 1152921504606846976, expected at most",
            ),
            (json!({"type_vocab_size": 0}), "`type_vocab_size` is 0"),
            (json!({"model_type": "model2vec"}), "expected one of"),
        ] {
            let message = parse(changes).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    fn complete(mut fields: Value, changes: Value) -> Result<EncoderConfig, String> {
        let fields = fields.as_object_mut().unwrap();
        fields.extend(changes.as_object().unwrap().clone());
        EncoderConfig::from_fields(fields.clone())
    }

    fn distilbert(changes: Value) -> Result<EncoderConfig, String> {
        let fields = json!({
            "model_type": "distilbert", "dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "vocab_size": 100,
            "max_position_embeddings": 40, "activation": "relu", "layer_norm_eps": 9.0, "hidden_size": 5,
        });
        complete(fields, changes)
    }

    #[test]
    fn distilbert_has_names_of_its_own() {
        let config = distilbert(json!({})).unwrap();
        assert_eq!((config.hidden_size, config.num_hidden_layers, config.head_size()), (24, 2, 6));
        assert_eq!((config.intermediate_size, config.hidden_act), (48, Activation::Relu));
        assert_eq!((config.type_vocab_size, config.layer_norm_eps), (0, 1e-12));
        let message = distilbert(json!({"n_heads": 7})).unwrap_err();
        assert_eq!(message, "`dim` 24 cannot be split among `n_heads` 7");
        assert!(distilbert(json!({"dim": null})).is_err());
    }

    fn mpnet(changes: Value) -> Result<EncoderConfig, String> {
        let fields = json!({
            "model_type": "mpnet", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 64, "vocab_size": 100, "max_position_embeddings": 40, "pad_token_id": 7,
        });
        complete(fields, changes)
    }

    #[test]
    fn mpnet_counts_from_two_and_has_32_buckets() {
        assert_eq!(mpnet(json!({})).unwrap().max_tokens(), 38);
        assert!(mpnet(json!({"relative_attention_num_buckets": 32})).is_ok());
        let message = mpnet(json!({"relative_attention_num_buckets": 64})).unwrap_err();
        assert!(message.contains("is 64, expected 32"), "{message}");
    }

    fn modernbert(changes: Value) -> Result<EncoderConfig, String> {
        let fields = json!({
            "model_type": "modernbert", "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4,
            "intermediate_size": 64, "vocab_size": 100, "max_position_embeddings": 40, "pad_token_id": -1,
            "layer_norm_eps": 9.0, "norm_eps": 1e-4,
        });
        complete(fields, changes)
    }

    fn thetas(changes: Value) -> (f64, f64) {
        match modernbert(changes).unwrap().model_type {
            ModelType::ModernBert(shape) => (shape.global_rope_theta, shape.local_rope_theta),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn modernbert_tells_its_rotations_in_two_ways() {
        assert_eq!(thetas(json!({})), (160_000.0, 10_000.0));
        let old = json!({"global_rope_theta": 80000, "local_rope_theta": 500.0});
        assert_eq!(thetas(old), (80_000.0, 500.0));
        assert_eq!(
            thetas(json!({"global_rope_theta": 80000, "local_rope_theta": null})),
            (80_000.0, 80_000.0)
        );
        let new = json!({
            "rope_parameters": {
                "full_attention": {"rope_theta": 7.0, "rope_type": "default"}, "sliding_attention": {"rope_theta": 8},
            },
            "local_rope_theta": 500.0,
        });
        assert_eq!(thetas(new), (7.0, 8.0));
        assert_eq!(modernbert(json!({})).unwrap().layer_norm_eps, 1e-4);
        assert_eq!(modernbert(json!({"norm_eps": null})).unwrap().layer_norm_eps, 1e-5);
    }

    #[test]
    fn a_modernbert_that_cannot_be_computed_is_told_why() {
        for (changes, expected) in [
            (json!({"layer_types": ["full_attention"]}), "`layer_types` names 1 layers"),
            (json!({"layer_types": vec!["chunked_attention"; 4]}), "chunked_attention"),
            (json!({"layer_types": 3}), "3"),
            (json!({"global_attn_every_n_layers": 0}), "`global_attn_every_n_layers` is 0"),
            (json!({"global_rope_theta": -1.0}), "is -1"),
            (json!({"local_rope_theta": "far"}), "far"),
            (json!({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}), "\"yarn\""),
            (json!({"rope_scaling": {"factor": 2}}), "`rope_scaling`"),
            (json!({"num_attention_heads": 32}), "even number"),
            (json!({"max_position_embeddings": 1_u64 << 31}), "`max_position_embeddings`"),
            (json!({"hidden_activation": "silu"}), "`hidden_activation` is \"silu\""),
            (json!({"local_attention": -5}), "-5"),
            (json!({"norm_bias": "no"}), "no"),
        ] {
            let message = modernbert(changes).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_configuration_reads_back_what_it_wrote() {
        for config in [parse(json!({})), mpnet(json!({})), modernbert(json!({}))] {
            let config = config.unwrap();
            let json = serde_json::to_value(&config).unwrap();
            assert_eq!(json["model_type"], config.model_type.name());
            assert_eq!(serde_json::from_value::<EncoderConfig>(json).unwrap(), config);
        }
    }
}
