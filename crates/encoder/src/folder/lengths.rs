//! How long a text may be: settings of sentence-transformers, of the tokenizer and of the model, in this order.

use std::path::Path;

use hpd_files::Result;
use serde::Deserialize;

use crate::json;

/// What the folder says of the longest text.
#[derive(Default)]
pub(super) struct Lengths {
    max_seq_length: Option<usize>,
    /// A float, because transformers writes 1e30 for "none".
    model_max_length: Option<f64>,
    pub(super) do_lower_case: bool,
}

#[derive(Default, Deserialize)]
struct TransformerFile {
    max_seq_length: Option<usize>,
    do_lower_case: Option<bool>,
}

#[derive(Default, Deserialize)]
struct TokenizerFile {
    model_max_length: Option<f64>,
}

/// Names under which versions of sentence-transformers have written the Transformer module's settings.
const TRANSFORMER_FILES: [&str; 4] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_camembert_config.json",
    "sentence_xlm-roberta_config.json",
];

impl Lengths {
    pub(super) fn open(transformer: &Path) -> Result<Self> {
        let mut settings = None;
        for name in TRANSFORMER_FILES {
            settings =
                settings.or(json::read_if_present::<TransformerFile>(&transformer.join(name))?);
        }
        let settings = settings.unwrap_or_default();
        let tokenizer: TokenizerFile =
            json::read_if_present(&transformer.join("tokenizer_config.json"))?.unwrap_or_default();
        Ok(Self {
            max_seq_length: settings.max_seq_length,
            model_max_length: tokenizer.model_max_length,
            do_lower_case: settings.do_lower_case.unwrap_or(false),
        })
    }

    pub(super) fn max_tokens(&self, positions: usize) -> usize {
        match (self.max_seq_length, self.model_max_length) {
            (Some(length), _) => length.min(positions),
            (None, Some(length)) => (length as usize).min(positions),
            (None, None) => positions,
        }
    }
}
