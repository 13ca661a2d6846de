//! What model2vec does to texts beside tokenising: long ones are cut before, unknown words left out after.

use std::path::Path;

use hpd_files::Result;
use serde::Deserialize;

use super::library::Library;
use crate::json;

/// model2vec's habits with one tokenizer.
pub(super) struct Model2Vec {
    /// The token that stands for "not in the vocabulary".
    pub(super) unknown_id: Option<u32>,
    /// Characters that a text keeps: as many as `max_tokens` tokens of the vocabulary's median length have.
    most_characters: usize,
}

/// The part of `tokenizer.json` that says which token is the unknown one: some models by word, Unigram by id.
#[derive(Deserialize)]
struct TokenizerFile {
    model: Unknown,
}

#[derive(Deserialize)]
struct Unknown {
    unk_token: Option<String>,
    unk_id: Option<u32>,
}

impl Model2Vec {
    /// Of `tokenizer`, which was read from `path`.
    pub(super) fn of(tokenizer: &Library, max_tokens: usize, path: &Path) -> Result<Self> {
        let TokenizerFile { model } = json::read(path)?;
        let by_word = model.unk_token.and_then(|token| tokenizer.id(&token));
        let mut lengths = tokenizer.token_lengths();
        lengths.sort_unstable();
        Ok(Self {
            unknown_id: by_word.or(model.unk_id),
            most_characters: max_tokens.saturating_mul(median(&lengths)),
        })
    }

    /// The beginning of a text that is tokenised, and whether something was cut off.
    pub(super) fn cut<'a>(&self, text: &'a str) -> (&'a str, bool) {
        // A character has at least one byte.
        if text.len() <= self.most_characters {
            return (text, false);
        }
        match text.char_indices().nth(self.most_characters) {
            Some((end, _)) => (&text[..end], true),
            None => (text, false),
        }
    }
}

/// Of sorted numbers, rounded down.
fn median(sorted: &[usize]) -> usize {
    let middle = sorted.len() / 2;
    match (sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (Some(before), Some(after)) if sorted.len().is_multiple_of(2) => (before + after) / 2,
        (_, Some(middle)) => *middle,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), 0);
        assert_eq!(median(&[3]), 3);
        assert_eq!(median(&[3, 6]), 4);
        assert_eq!(median(&[1, 5, 9]), 5);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let habits = Model2Vec { unknown_id: None, most_characters: 3 };
        assert_eq!(habits.cut("äöü"), ("äöü", false));
        assert_eq!(habits.cut("äöüß"), ("äöü", true));
        assert_eq!(habits.cut(""), ("", false));
    }
}
