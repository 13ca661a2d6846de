//! ModernBERT (Warner et al. 2024, arXiv 2412.13663): rotary positions, layers that see all of a text between layers
//! that see a window of it, a gated feed-forward layer, norms in front.
//!
//! Its `config.json` comes in two forms. That of transformers 4 has `global_rope_theta`, `local_rope_theta` and
//! `global_attn_every_n_layers`; that of transformers 5 has `rope_parameters` and `layer_types`.

use std::sync::Arc;

use hpd_files::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Dialect, Names, set_missing};
use crate::attention::Attention;
use crate::attention::rotary::Rotary;
use crate::config::EncoderConfig;
use crate::rows::LayerNorm;
use crate::tensors::Tensors;
use crate::transformer::{FeedForward, Layer, Norms, Places, SelfAttention, Transformer};
use crate::words::{Finish, Words};

pub(crate) const NAMES: Names = Names {
    prefixes: &["model."],
    parts: &["embeddings.", "layers.", "final_norm."],
    words: "embeddings.tok_embeddings.weight",
};

pub(crate) const DIALECT: Dialect =
    &[("hidden_activation", "hidden_act"), ("norm_eps", "layer_norm_eps")];

/// Most angles that are computed ahead: far beyond the 8192 positions of the published models, and a limit for files
/// that lie.
const MOST_ANGLES: usize = 1 << 23;

/// Bases of the rotations where a file names none.
const GLOBAL_THETA: f64 = 160_000.0;
const LOCAL_THETA: f64 = 10_000.0;

/// What ModernBERT has beside the sizes that all have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModernBert {
    /// One a layer; without it every `global_attn_every_n_layers`-th one sees all, the first among them.
    pub layer_types: Option<Vec<LayerType>>,
    /// Distance between two layers that see all.
    pub global_attn_every_n_layers: usize,
    /// Width of the window of the others; a token sees half of it to either side.
    pub local_attention: usize,
    /// Base of the rotation's wavelengths in layers that see all.
    pub global_rope_theta: f64,
    /// The same in the others.
    pub local_rope_theta: f64,
    /// Whether norms add a bias.
    pub norm_bias: bool,
    /// Whether the matrices of attention add a bias.
    pub attention_bias: bool,
    /// Whether those of the feed-forward layer do.
    pub mlp_bias: bool,
}

/// What the tokens of a ModernBERT layer see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayerType {
    /// The whole text.
    #[serde(rename = "full_attention")]
    Full,
    /// A window around them.
    #[serde(rename = "sliding_attention")]
    Sliding,
}

impl ModernBert {
    fn layer_type(&self, index: usize) -> LayerType {
        match &self.layer_types {
            Some(types) => types[index],
            None if index.is_multiple_of(self.global_attn_every_n_layers) => LayerType::Full,
            None => LayerType::Sliding,
        }
    }

    /// Refuses numbers that do not fit together.
    pub(crate) fn check(&self, config: &EncoderConfig) -> Result<(), String> {
        if self.global_attn_every_n_layers == 0 {
            return Err("`global_attn_every_n_layers` is 0, expected at least 1".to_owned());
        }
        if let Some(types) = &self.layer_types
            && types.len() != config.num_hidden_layers
        {
            return Err(format!(
                "`layer_types` names {} layers, expected `num_hidden_layers`, {}",
                types.len(),
                config.num_hidden_layers
            ));
        }
        for theta in [self.global_rope_theta, self.local_rope_theta] {
            if !(theta > 0.0 && theta.is_finite()) {
                return Err(format!("the `rope_theta` of its layers is {theta}, expected above 0"));
            }
        }
        if !config.head_size().is_multiple_of(2) {
            return Err(format!(
                "an attention head has {} numbers, expected an even number of them to rotate",
                config.head_size()
            ));
        }
        let most = MOST_ANGLES / config.head_size();
        if config.max_position_embeddings > most {
            return Err(format!(
                "`max_position_embeddings` is {}, expected at most {most}",
                config.max_position_embeddings
            ));
        }
        Ok(())
    }
}

pub(crate) fn complete(fields: &mut Map<String, Value>) -> Result<(), String> {
    let rotations = fields.remove("rope_parameters").unwrap_or_default();
    if fields.get("rope_scaling").is_some_and(|scaling| !scaling.is_null()) {
        return Err("`rope_scaling` is not supported, expected none".to_owned());
    }
    // In files of transformers 4 a `null` for the local base stands for the global one.
    if fields.get("local_rope_theta").is_some_and(Value::is_null) {
        let global = fields.get("global_rope_theta").cloned();
        fields.insert("local_rope_theta".to_owned(), global.unwrap_or(GLOBAL_THETA.into()));
    }
    for (layers, name, default) in [
        ("full_attention", "global_rope_theta", GLOBAL_THETA),
        ("sliding_attention", "local_rope_theta", LOCAL_THETA),
    ] {
        if let Some(theta) = theta(&rotations[layers], layers)? {
            fields.insert(name.to_owned(), theta);
        }
        set_missing(fields, name, default);
    }
    for name in ["norm_bias", "attention_bias", "mlp_bias"] {
        set_missing(fields, name, false);
    }
    set_missing(fields, "global_attn_every_n_layers", 3);
    set_missing(fields, "local_attention", 128);
    set_missing(fields, "layer_norm_eps", 1e-5);
    // No layer uses it, and files may say anything.
    fields.insert("pad_token_id".to_owned(), 0.into());
    fields.insert("type_vocab_size".to_owned(), 0.into());
    Ok(())
}

/// The base that `rope_parameters` gives for one kind of layers, if it does.
fn theta(rotation: &Value, layers: &str) -> Result<Option<Value>, String> {
    match &rotation["rope_type"] {
        Value::Null => {}
        Value::String(kind) if kind == "default" => {}
        other => {
            return Err(format!(
                "`rope_type` of `{layers}` is {other}, which is not supported; expected \"default\""
            ));
        }
    }
    Ok(Some(rotation["rope_theta"].clone()).filter(|theta| !theta.is_null()))
}

pub(crate) fn read(tensors: &Tensors<'_>, shape: &ModernBert) -> Result<Transformer> {
    let config = tensors.config;
    let reader = Reader { tensors, shape };
    let hidden = config.hidden_size;
    let table = tensors.words()?;
    let words = Words::new(hidden, table, Finish::Norm(reader.norm("embeddings.norm")?));
    let final_norm = reader.norm("final_norm")?;
    let rotary = |theta| Arc::new(Rotary::new(theta, config.head_size(), config.max_tokens()));
    let (full, sliding) = (rotary(shape.global_rope_theta), rotary(shape.local_rope_theta));
    let layers = (0..config.num_hidden_layers).map(|index| {
        let places = match shape.layer_type(index) {
            LayerType::Full => Places::Rotated { rotary: Arc::clone(&full), window: None },
            LayerType::Sliding => Places::Rotated {
                rotary: Arc::clone(&sliding),
                window: Some(shape.local_attention / 2),
            },
        };
        reader.layer(index, places)
    });
    Ok(Transformer::new(words, layers.collect::<Result<_>>()?).with_final_norm(final_norm))
}

/// Reads tensors of which the configuration says whether they have biases.
struct Reader<'a> {
    tensors: &'a Tensors<'a>,
    shape: &'a ModernBert,
}

impl Reader<'_> {
    fn layer(&self, index: usize, places: Places) -> Result<Layer> {
        let config = self.tensors.config;
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let of = |part: &str| format!("layers.{index}.{part}");
        let has_bias = self.shape.attention_bias;
        let attention = SelfAttention {
            qkv: self.tensors.linear_with(&of("attn.Wqkv"), hidden, 3 * hidden, has_bias)?,
            heads: Attention::of(config),
            places,
            output: self.tensors.linear_with(&of("attn.Wo"), hidden, hidden, has_bias)?,
        };
        // One tensor holds both, the inner matrix's rows first.
        let (inner, gate) =
            self.tensors.halves(&of("mlp.Wi"), hidden, wide, self.shape.mlp_bias)?;
        let output = self.tensors.linear_with(&of("mlp.Wo"), wide, hidden, self.shape.mlp_bias)?;
        let norms = Norms::Before {
            // The words come out of a norm already.
            attention: (index > 0).then(|| self.norm(&of("attn_norm"))).transpose()?,
            feed_forward: self.norm(&of("mlp_norm"))?,
        };
        let feed_forward =
            FeedForward { inner, activation: config.hidden_act, gate: Some(gate), output };
        Ok(Layer { attention, feed_forward, norms })
    }

    fn norm(&self, name: &str) -> Result<LayerNorm> {
        self.tensors.norm_with(name, self.shape.norm_bias)
    }
}
