//! The crate `tokenizers`: for every file that `wordpiece` does not compute, and what its ids are held to.

use hpd_files::{Error, Result};
use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Sequence};
use tokenizers::{Encoding, PostProcessor, TruncationDirection, TruncationParams};

use super::Side;

/// A tokenizer as `tokenizers` reads it.
pub(crate) struct Library {
    inner: tokenizers::Tokenizer,
    /// Whether special tokens frame a text; not in static models.
    frames: bool,
}

impl Library {
    /// The tokenizer that a `tokenizer.json` describes; `lower_case` lower-cases texts before all else, `frames`
    /// puts the special tokens around each.
    pub(crate) fn read(json: &[u8], lower_case: bool, frames: bool) -> tokenizers::Result<Self> {
        let mut inner = tokenizers::Tokenizer::from_bytes(json)?;
        // Whatever lengths the file fixes were right for the program that wrote it.
        inner.with_padding(None);
        inner.with_truncation(None)?;
        if lower_case {
            let lowercase = NormalizerWrapper::Lowercase(Lowercase);
            let normalizer = match inner.get_normalizer() {
                Some(then) => Sequence::new(vec![lowercase, then.clone()]).into(),
                None => lowercase,
            };
            inner.with_normalizer(Some(normalizer))?;
        }
        Ok(Self { inner, frames })
    }

    /// Cuts texts at `max_tokens`, special ones included.
    pub(crate) fn truncate(&mut self, max_tokens: usize, side: Side) -> Result<()> {
        let direction = match side {
            Side::Left => TruncationDirection::Left,
            Side::Right => TruncationDirection::Right,
        };
        let truncation =
            TruncationParams { max_length: max_tokens, direction, ..TruncationParams::default() };
        self.inner.with_truncation(Some(truncation)).map(drop).map_err(|e| {
            Error::model(format!("cannot truncate to {max_tokens} tokens")).caused_by(e)
        })
    }

    /// The token with the largest id.
    pub(crate) fn last_token(&self) -> Option<(String, u32)> {
        self.inner.get_vocab(true).into_iter().max_by_key(|(_, id)| *id)
    }

    /// How many special tokens frame each text.
    pub(crate) fn special_tokens(&self) -> usize {
        match self.inner.get_post_processor() {
            Some(processor) if self.frames => processor.added_tokens(false),
            _ => 0,
        }
    }

    /// All tokens by rising id.
    pub(crate) fn vocabulary(&self) -> Vec<String> {
        let mut tokens: Vec<(String, u32)> = self.inner.get_vocab(true).into_iter().collect();
        tokens.sort_unstable_by(|(a, i), (b, j)| (i, a).cmp(&(j, b)));
        tokens.into_iter().map(|(token, _)| token).collect()
    }

    /// How many characters each token of the vocabulary has, in no order.
    pub(crate) fn token_lengths(&self) -> Vec<usize> {
        self.inner.get_vocab(true).keys().map(|token| token.chars().count()).collect()
    }

    /// The id of a token, added or not.
    pub(crate) fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Whether the last token of a text is a special one.
    pub(crate) fn ends_special(&self, text: &str) -> Result<bool> {
        Ok(self.encode(text)?.get_special_tokens_mask().last() == Some(&1))
    }

    /// Appends a text's ids; says whether some were left out.
    pub(crate) fn tokenize(&self, text: &str, ids: &mut Vec<u32>) -> Result<bool> {
        let encoding = self.encode(text)?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(!encoding.get_overflowing().is_empty())
    }

    fn encode(&self, text: &str) -> Result<Encoding> {
        self.inner.encode_fast(text, self.frames).map_err(|e| {
            let start: String = text.chars().take(60).collect();
            Error::model(format!("the tokenizer fails on the text `{start}`")).caused_by(e)
        })
    }
}
