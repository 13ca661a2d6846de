//! Texts to token ids, truncated as sentence-transformers truncates them.

use std::path::Path;

use hpd_files::{Error, Result};
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Sequence};
use tokenizers::{Encoding, PostProcessor, TruncationDirection, TruncationParams};

use crate::folder::Folder;
use crate::json;

/// A model folder's tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    max_tokens: usize,
    unknown_id: Option<u32>,
}

/// Token ids of texts, one text after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// The ids, special tokens included.
    pub ids: Vec<u32>,
    /// Text `i` has `ids[offsets[i]..offsets[i + 1]]`; one more than there are texts.
    pub offsets: Vec<usize>,
    /// Texts that lost their end.
    pub truncated: usize,
    /// Ids that stand for "not in the vocabulary".
    pub unknown: usize,
}

impl Tokens {
    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of text `i`.
    pub fn text(&self, i: usize) -> &[u32] {
        &self.ids[self.offsets[i]..self.offsets[i + 1]]
    }
}

impl Tokenizer {
    /// Opens the tokenizer of a model folder; `max_tokens` replaces the folder's `max_seq_length`.
    ///
    /// # Errors
    /// When a file is missing or damaged, the tokenizer has ids that the word embeddings lack, or `max_tokens` is
    /// more than the model has positions or leaves no room for text.
    pub fn open(folder: &Path, max_tokens: Option<usize>) -> Result<Self> {
        Self::of(&Folder::open(folder)?, max_tokens)
    }

    /// As [`Tokenizer::open`], for a folder already read.
    ///
    /// # Errors
    /// As [`Tokenizer::open`].
    pub fn of(folder: &Folder, max_tokens: Option<usize>) -> Result<Self> {
        let path = folder.transformer.join("tokenizer.json");
        let mut inner = read(&path)?;
        check_vocabulary(&inner, folder, &path)?;
        let settings: Settings =
            json::read_if_present(&folder.transformer.join("tokenizer_config.json"))?
                .unwrap_or_default();
        let max_tokens = check_length(&inner, folder, max_tokens)?;
        if folder.do_lower_case {
            lower_case(&mut inner).map_err(|e| refused(&path, e))?;
        }
        // Whatever lengths tokenizer.json fixes were right for the program that wrote it.
        inner.with_padding(None);
        inner
            .with_truncation(Some(TruncationParams {
                max_length: max_tokens,
                direction: settings.direction(),
                ..TruncationParams::default()
            }))
            .map_err(|e| {
                Error::model(format!("cannot truncate to {max_tokens} tokens")).caused_by(e)
            })?;
        let unknown_id = settings.unknown_token().and_then(|token| inner.token_to_id(token));
        let tokenizer = Self { inner, max_tokens, unknown_id };
        tokenizer.check_special_tokens(folder, &path)?;
        Ok(tokenizer)
    }

    /// The ids that frame a text stand in the file apart from the vocabulary.
    fn check_special_tokens(&self, folder: &Folder, path: &Path) -> Result<()> {
        let frame = self.encode("")?;
        match frame.get_ids().iter().find(|id| **id as usize >= folder.config.vocab_size) {
            Some(id) => Err(mismatch(&format!("a special token has the id {id}"), folder, path)),
            None => Ok(()),
        }
    }

    /// Longest text in tokens, special ones included.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The tokens it knows, by rising id, as its file writes them.
    pub fn vocabulary(&self) -> Vec<String> {
        let mut tokens: Vec<(String, u32)> = self.inner.get_vocab(true).into_iter().collect();
        tokens.sort_unstable_by(|(a, i), (b, j)| (i, a).cmp(&(j, b)));
        tokens.into_iter().map(|(token, _)| token).collect()
    }

    /// Tokenises texts on rayon's current pool, in their order.
    ///
    /// # Errors
    /// When the tokenizer fails on a text, which a tokenizer without an unknown token can.
    pub fn tokenize<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Result<Tokens> {
        let encodings: Vec<(Vec<u32>, bool)> = texts
            .par_iter()
            .with_min_len(16)
            .map(|text| {
                let encoding = self.encode(text.as_ref())?;
                Ok((encoding.get_ids().to_vec(), !encoding.get_overflowing().is_empty()))
            })
            .collect::<Result<_>>()?;
        let mut tokens = Tokens { offsets: vec![0], ..Tokens::default() };
        for (ids, is_truncated) in encodings {
            tokens.ids.extend_from_slice(&ids);
            tokens.offsets.push(tokens.ids.len());
            tokens.truncated += usize::from(is_truncated);
        }
        let is_unknown = |id: &&u32| Some(**id) == self.unknown_id;
        tokens.unknown = tokens.ids.iter().filter(is_unknown).count();
        Ok(tokens)
    }

    /// How many tokens at the head of `prompt + text` belong to the prompt, the first special one included.
    pub(crate) fn prompt_length(&self, prompt: &str) -> Result<usize> {
        let encoding = self.encode(prompt)?;
        let ends_special = encoding.get_special_tokens_mask().last() == Some(&1);
        Ok(encoding.len() - usize::from(ends_special))
    }

    fn encode(&self, text: &str) -> Result<Encoding> {
        self.inner.encode_fast(text, true).map_err(|e| {
            let start: String = text.chars().take(60).collect();
            Error::model(format!("the tokenizer fails on the text `{start}`")).caused_by(e)
        })
    }
}

fn read(path: &Path) -> Result<tokenizers::Tokenizer> {
    let bytes = std::fs::read(path).map_err(|e| {
        Error::io("read", path, e)
            .hint("a folder with `vocab.txt` only gets one from `AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)` in Python")
    })?;
    tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| refused(path, e))
}

fn refused(path: &Path, error: tokenizers::Error) -> Error {
    Error::model(format!("`{}` is not a tokenizer that can be used", path.display()))
        .caused_by(error)
}

fn check_vocabulary(inner: &tokenizers::Tokenizer, folder: &Folder, path: &Path) -> Result<()> {
    let rows = folder.config.vocab_size;
    match inner.get_vocab(true).into_iter().max_by_key(|(_, id)| *id) {
        Some((token, id)) if id as usize >= rows => {
            Err(mismatch(&format!("`{token}` has the id {id}"), folder, path))
        }
        Some(_) => Ok(()),
        None => Err(Error::model(format!("`{}` has an empty vocabulary", path.display()))),
    }
}

fn mismatch(what: &str, folder: &Folder, path: &Path) -> Error {
    Error::mismatch(format!(
        "in `{}` {what}, but `{}` has a `vocab_size` of {}, which is how many rows the word embeddings have",
        path.display(),
        folder.transformer.join("config.json").display(),
        folder.config.vocab_size
    ))
    .hint("take tokenizer and model from the same place")
}

/// The length to truncate at, proved to have room for a token besides the special ones.
fn check_length(
    inner: &tokenizers::Tokenizer,
    folder: &Folder,
    asked: Option<usize>,
) -> Result<usize> {
    let positions = folder.config.max_tokens();
    let special = inner.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
    let length = asked.unwrap_or(folder.max_seq_length);
    if length > positions {
        return Err(Error::input(format!(
            "{length} tokens a text are asked for, but `{}` has {positions} positions",
            folder.path.display()
        )));
    }
    if length <= special {
        return Err(Error::input(format!(
            "{length} tokens a text leave no room beside {special} special tokens, expected at least {}",
            special + 1
        )));
    }
    Ok(length)
}

/// Lower-cases before all else, unless the tokenizer does so already.
fn lower_case(inner: &mut tokenizers::Tokenizer) -> tokenizers::Result<()> {
    let lowercase = NormalizerWrapper::Lowercase(Lowercase);
    let normalizer = match inner.get_normalizer() {
        Some(existing) => {
            NormalizerWrapper::Sequence(Sequence::new(vec![lowercase, existing.clone()]))
        }
        None => lowercase,
    };
    inner.with_normalizer(Some(normalizer)).map(|_| ())
}

/// The fields of `tokenizer_config.json` that matter here.
#[derive(Default, Deserialize)]
struct Settings {
    truncation_side: Option<String>,
    /// A string, or an object with `content`.
    unk_token: Option<Value>,
}

impl Settings {
    fn direction(&self) -> TruncationDirection {
        match self.truncation_side.as_deref() {
            Some("left") => TruncationDirection::Left,
            _ => TruncationDirection::Right,
        }
    }

    fn unknown_token(&self) -> Option<&str> {
        match self.unk_token.as_ref()? {
            Value::String(token) => Some(token),
            other => other.get("content")?.as_str(),
        }
    }
}
