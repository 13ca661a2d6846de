//! `1_Pooling/config.json`, in its old and its new form.

use std::path::Path;

use hpd_files::{Error, Result};
use serde_json::{Map, Value};

use crate::json;

/// How the vectors of a text's tokens become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pooling {
    /// Each gives a vector; several stand one after another.
    pub modes: Vec<PoolingMode>,
    /// Whether the tokens of a prompt count.
    pub include_prompt: bool,
}

/// One way of pooling, under sentence-transformers' name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolingMode {
    /// The first token's vector.
    Cls,
    /// The largest value of each dimension.
    Max,
    /// The mean over tokens.
    Mean,
    /// The sum over tokens divided by the square root of their number.
    MeanSqrtLen,
}

impl Pooling {
    /// The mean over all tokens.
    pub fn mean() -> Self {
        Self { modes: vec![PoolingMode::Mean], include_prompt: true }
    }

    pub(crate) fn open(path: &Path) -> Result<Self> {
        let fields: Map<String, Value> = json::read(path)?;
        let include_prompt = fields.get("include_prompt") != Some(&Value::Bool(false));
        let modes = mode_names(&fields)
            .iter()
            .map(|name| PoolingMode::named(name))
            .collect::<Result<_, _>>()
            .map_err(|reason| Error::model(format!("`{}`: {reason}", path.display())))?;
        Ok(Self { modes, include_prompt })
    }
}

impl PoolingMode {
    /// In the order in which the old form's are read, whatever order they stand in.
    pub(crate) const IN_ORDER: [Self; 4] = [Self::Cls, Self::Max, Self::Mean, Self::MeanSqrtLen];

    /// Each, by the name sentence-transformers gives it.
    const NAMES: [(&str, Self); 4] = [
        ("cls", Self::Cls),
        ("max", Self::Max),
        ("mean", Self::Mean),
        ("mean_sqrt_len_tokens", Self::MeanSqrtLen),
    ];

    /// What sentence-transformers calls it.
    pub fn name(self) -> &'static str {
        Self::NAMES.into_iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| name)
    }

    fn named(name: &str) -> Result<Self, String> {
        let found = Self::NAMES.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, mode)| mode).ok_or_else(|| {
            format!(
                "pooling mode `{name}` is not supported, expected `cls`, `max`, `mean` or `mean_sqrt_len_tokens`"
            )
        })
    }
}

/// The old booleans in the order in which sentence-transformers concatenates their vectors.
const OLD_MODES: [(&str, &str); 6] = [
    ("pooling_mode_cls_token", "cls"),
    ("pooling_mode_max_tokens", "max"),
    ("pooling_mode_mean_tokens", "mean"),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    ("pooling_mode_weightedmean_tokens", "weightedmean"),
    ("pooling_mode_lasttoken", "lasttoken"),
];

fn mode_names(fields: &Map<String, Value>) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match fields.get("pooling_mode") {
        Some(Value::Array(modes)) => return modes.iter().map(text).collect(),
        Some(mode) => return vec![text(mode)],
        None => {}
    }
    let is_on = |field: &str| fields.get(field) == Some(&Value::Bool(true));
    let old: Vec<String> = OLD_MODES
        .iter()
        .filter(|(field, _)| is_on(field))
        .map(|(_, mode)| (*mode).to_owned())
        .collect();
    if old.is_empty() { vec!["mean".to_owned()] } else { old }
}
