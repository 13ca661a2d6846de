//! BERT's tokenizer, written out: a text to token ids in one walk, without an object a word.
//!
//! Apart from `tokenizers` because a student of one layer encodes a token in the time that crate needs to find it.
//! The crate carries offsets, alignments and the letters of each token along, which nobody asks for here. What it
//! computes stays the meaning: [`WordPiece::read`] takes a `tokenizer.json` only if every part of it is computed here
//! exactly, else the crate itself runs, and the tests hold both to the same ids on real and on hostile text.
//!
//! ```text
//! text ─AddedTokens─> pieces between added tokens ─Normalizer─> plain letters ─words─> Pieces::longest ─> ids
//! ```
//!
//! Long texts pass in windows cut at spaces, so that a text that loses its end is not normalised to its end.

mod added;
mod file;
mod normalizer;
mod pages;
mod pieces;
#[cfg(test)]
mod tests;
mod words;

use added::AddedTokens;
use normalizer::Normalizer;
use pieces::Pieces;
use words::Words;

use crate::tokenizer::Side;

/// Fewest bytes of a text that are normalised at once: most texts whole, and never more than the nearest cache holds.
const WINDOW: usize = 2048;

/// A tokenizer that `tokenizer.json` describes as BERT's.
pub(crate) struct WordPiece {
    normalizer: Normalizer,
    words: Words,
    /// Added tokens that are looked for in the text as it is.
    raw: AddedTokens,
    /// Added tokens that are looked for in the normalised text.
    normalized: AddedTokens,
    /// Whole tokens, which a word may start with.
    heads: Pieces,
    /// Tokens that go on with a word, without their prefix.
    tails: Pieces,
    unknown: u32,
    /// Words with more characters are unknown.
    longest_word: usize,
    /// Ids in front of every text and behind it; none in static models.
    frame: (Vec<u32>, Vec<u32>),
    /// The token with the largest id.
    last: (String, u32),
}

/// What a thread keeps between texts.
#[derive(Default)]
pub(crate) struct Scratch {
    normalized: String,
    cleaned: String,
}

/// Ids that are being written, and how many of them are enough.
struct Output<'a> {
    ids: &'a mut Vec<u32>,
    /// No more are needed once there are so many.
    enough: usize,
}

impl WordPiece {
    /// The tokenizer that a `tokenizer.json` describes; nothing if a part of it is not computed here.
    ///
    /// `lower_case` lower-cases texts before all else, `frames` puts the special tokens around each.
    pub(crate) fn read(json: &[u8], lower_case: bool, frames: bool) -> Option<Self> {
        let mut wordpiece = file::read(json, lower_case)?;
        if !frames {
            wordpiece.frame = (Vec::new(), Vec::new());
        }
        Some(wordpiece)
    }

    /// How many special tokens frame each text.
    pub(crate) fn special_tokens(&self) -> usize {
        self.frame.0.len() + self.frame.1.len()
    }

    /// The token with the largest id.
    pub(crate) fn last_token(&self) -> (String, u32) {
        self.last.clone()
    }

    /// The id of a token, added or not.
    pub(crate) fn id(&self, token: &str) -> Option<u32> {
        // An added token that is in the vocabulary has the vocabulary's id, so the order does not matter.
        let added = self.raw.id(token).or_else(|| self.normalized.id(token));
        added.or_else(|| self.heads.get(token.as_bytes()))
    }

    /// Whether the last token of a text is a special one.
    pub(crate) fn ends_special(&self, length: usize) -> bool {
        !self.frame.1.is_empty() || length > 0 && length == self.frame.0.len()
    }

    /// Appends a text's ids, special ones included, at most `max_tokens`; says whether some were left out.
    pub(crate) fn tokenize(
        &self,
        text: &str,
        (max_tokens, side): (usize, Side),
        scratch: &mut Scratch,
        ids: &mut Vec<u32>,
    ) -> bool {
        ids.extend_from_slice(&self.frame.0);
        let start = ids.len();
        let room = max_tokens - self.special_tokens();
        let enough = match side {
            Side::Right => start.saturating_add(room).saturating_add(1),
            Side::Left => usize::MAX,
        };
        self.split_raw(text, scratch, &mut Output { ids, enough });
        let excess = (ids.len() - start).saturating_sub(room);
        match side {
            Side::Right => ids.truncate(start.saturating_add(room)),
            Side::Left => drop(ids.drain(start..start + excess)),
        }
        ids.extend_from_slice(&self.frame.1);
        excess > 0
    }

    /// Splits the text at added tokens that stand in it literally.
    fn split_raw(&self, text: &str, scratch: &mut Scratch, output: &mut Output<'_>) {
        let mut rest = text;
        while let Some(found) = self.raw.find(rest) {
            self.normalize(&rest[..found.start], scratch, output);
            output.ids.push(found.id);
            rest = &rest[found.end..];
            if output.is_full() {
                return;
            }
        }
        self.normalize(rest, scratch, output);
    }

    /// Normalises what stands between added tokens, a window at a time.
    fn normalize(&self, piece: &str, scratch: &mut Scratch, output: &mut Output<'_>) {
        let mut rest = piece;
        while !rest.is_empty() && !output.is_full() {
            let (window, after) = rest.split_at(self.window(rest));
            scratch.normalized.clear();
            self.normalizer.apply(window, &mut scratch.cleaned, &mut scratch.normalized);
            self.split_normalized(&scratch.normalized, output);
            rest = after;
        }
    }

    /// Where to cut: at a space, which nothing reaches over but an added token.
    fn window(&self, text: &str) -> usize {
        if text.len() <= WINDOW || !self.normalized.is_empty() {
            return text.len();
        }
        let spaces = text.as_bytes()[WINDOW..].iter().position(|byte| *byte == b' ');
        spaces.map_or(text.len(), |after| WINDOW + after)
    }

    /// Splits normalised text at added tokens that are looked for there.
    fn split_normalized(&self, text: &str, output: &mut Output<'_>) {
        let mut rest = text;
        while let Some(found) = self.normalized.find(rest) {
            self.split_words(&rest[..found.start], output);
            output.ids.push(found.id);
            rest = &rest[found.end..];
        }
        self.split_words(rest, output);
    }

    fn split_words(&self, text: &str, output: &mut Output<'_>) {
        let mut at = 0;
        while let Some(word) = self.words.next(text, at) {
            at = word.end;
            self.word(&text[word], output.ids);
            if output.is_full() {
                return;
            }
        }
    }

    /// The longest token that starts the word, then the longest that goes on with it; unknown if none does.
    fn word(&self, word: &str, ids: &mut Vec<u32>) {
        let start = ids.len();
        // A word has no more characters than bytes.
        if word.len() > self.longest_word && word.chars().count() > self.longest_word {
            return ids.push(self.unknown);
        }
        let (mut rest, mut pieces) = (word.as_bytes(), &self.heads);
        while !rest.is_empty() {
            let Some((length, id)) = pieces.longest(rest) else {
                ids.truncate(start);
                return ids.push(self.unknown);
            };
            ids.push(id);
            (rest, pieces) = (&rest[length..], &self.tails);
        }
    }
}

impl Output<'_> {
    fn is_full(&self) -> bool {
        self.ids.len() >= self.enough
    }
}
