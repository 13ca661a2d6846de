//! Takes a tokenizer over from one model folder into another.
//!
//! Apart from the writer because it is about other people's files: which of them belong to a tokenizer, and
//! which of their settings must not travel. A `tokenizer.json` may fix truncation and padding, as that of
//! all-MiniLM-L6-v2 does at 128 tokens; sentence-transformers overrides both, other readers obey them and
//! cut texts short.

use std::fs;
use std::io::ErrorKind::NotFound;
use std::path::Path;

use hpd_files::{Error, Result};
use serde_json::{Map, Value, json};

use crate::json::read_if_present;

/// Files that go along as they are when they are there.
const AS_THEY_ARE: [&str; 7] = [
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
];

/// Copies the tokenizer's files, with no truncation or padding but `max_seq_length`.
///
/// # Errors
/// When `source` has no `tokenizer.json`, or a file is damaged or cannot be copied.
pub(crate) fn copy(source: &Path, target: &Path, max_seq_length: usize) -> Result<()> {
    copy_cutting(source, target, Value::Null, Some(max_seq_length))
}

/// As [`copy`], for a static model, which is cut by `tokenizer.json` itself or not at all.
///
/// # Errors
/// As [`copy`].
pub(crate) fn copy_for_static(
    source: &Path,
    target: &Path,
    max_tokens: Option<usize>,
) -> Result<()> {
    let truncation = max_tokens.map_or(Value::Null, |length| {
        json!({ "max_length": length, "strategy": "LongestFirst", "stride": 0, "direction": "Right" })
    });
    copy_cutting(source, target, truncation, max_tokens)
}

/// Lets a copied `tokenizer.json` do alone what a folder has done in front of it or leaves undone: texts are put in lower case
/// if `lower_case`, and get no special tokens unless `frame`.
///
/// # Errors
/// When the file is missing or damaged, or cannot be written.
#[cfg(feature = "onnx")]
pub(crate) fn let_stand_alone(folder: &Path, lower_case: bool, frame: bool) -> Result<()> {
    let mut tokenizer = read_object(folder, "tokenizer.json")?.unwrap_or_default();
    if lower_case {
        let own = tokenizer.get("normalizer").filter(|own| !own.is_null()).cloned();
        let both: Vec<Value> = [json!({ "type": "Lowercase" })].into_iter().chain(own).collect();
        let sequence = json!({ "type": "Sequence", "normalizers": both });
        tokenizer.insert("normalizer".to_owned(), sequence);
    }
    if !frame {
        tokenizer.insert("post_processor".to_owned(), Value::Null);
    }
    write_object(folder, "tokenizer.json", &tokenizer)
}

fn copy_cutting(
    source: &Path,
    target: &Path,
    truncation: Value,
    max_tokens: Option<usize>,
) -> Result<()> {
    let mut tokenizer = read_object(source, "tokenizer.json")?.ok_or_else(|| {
        Error::model(format!("`{}` has no `tokenizer.json`", source.display()))
            .hint("save the tokenizer with transformers (`AutoTokenizer`), which writes that file")
    })?;
    tokenizer.insert("padding".to_owned(), Value::Null);
    tokenizer.insert("truncation".to_owned(), truncation);
    write_object(target, "tokenizer.json", &tokenizer)?;

    let mut config = read_object(source, "tokenizer_config.json")?.unwrap_or_default();
    config.remove("model_max_length");
    config.extend(max_tokens.map(|length| ("model_max_length".to_owned(), length.into())));
    write_object(target, "tokenizer_config.json", &config)?;

    AS_THEY_ARE.iter().try_for_each(|name| copy_if_there(&source.join(name), &target.join(name)))
}

fn read_object(folder: &Path, name: &str) -> Result<Option<Map<String, Value>>> {
    read_if_present(&folder.join(name))
}

fn write_object(folder: &Path, name: &str, object: &Map<String, Value>) -> Result<()> {
    let path = folder.join(name);
    let text = serde_json::to_string_pretty(object).map_err(std::io::Error::from);
    text.and_then(|text| fs::write(&path, text + "\n")).map_err(|e| Error::io("write", &path, e))
}

/// Not `fs::copy`, which would make copies of a read-only source read-only.
fn copy_if_there(source: &Path, target: &Path) -> Result<()> {
    match fs::read(source) {
        Ok(bytes) => fs::write(target, bytes).map_err(|e| Error::io("write", target, e)),
        Err(error) if error.kind() == NotFound => Ok(()),
        Err(error) => Err(Error::io("read", source, error)),
    }
}
