//! Normalised text to words: spaces part them, and a punctuation mark is a word of its own.

use std::ops::Range;

use unicode_categories::UnicodeCategories;

use super::pages::Pages;

/// What a character is to the splitting of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Letter,
    Space,
    Mark,
}

/// The splitter.
pub(super) struct Words {
    ascii: [Kind; 128],
    others: Pages<Kind>,
}

impl Words {
    pub(super) fn new() -> Self {
        Self {
            ascii: std::array::from_fn(|byte| kind(char::from(byte as u8))),
            others: Pages::new(),
        }
    }

    /// The first word at or behind byte `at`.
    pub(super) fn next(&self, text: &str, mut at: usize) -> Option<Range<usize>> {
        let (mut kind, mut length) = self.read(text, at)?;
        while kind == Kind::Space {
            at += length;
            (kind, length) = self.read(text, at)?;
        }
        let mut end = at + length;
        if kind == Kind::Letter {
            while let Some((Kind::Letter, length)) = self.read(text, end) {
                end += length;
            }
        }
        Some(at..end)
    }

    /// Kind and length in bytes of the character at `at`.
    #[inline]
    fn read(&self, text: &str, at: usize) -> Option<(Kind, usize)> {
        let byte = *text.as_bytes().get(at)?;
        if let Some(kind) = self.ascii.get(usize::from(byte)) {
            return Some((*kind, 1));
        }
        let c = text[at..].chars().next()?;
        Some((self.others.get(c, kind), c.len_utf8()))
    }
}

fn kind(c: char) -> Kind {
    if c.is_whitespace() {
        Kind::Space
    } else if c.is_ascii_punctuation() || c.is_punctuation() {
        Kind::Mark
    } else {
        Kind::Letter
    }
}
