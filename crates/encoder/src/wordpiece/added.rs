//! Tokens added beside the vocabulary, such as `[MASK]`: found in a text before it is split into words.

use super::pieces::Pieces;

/// Added tokens that are looked for together. Of two that start at one place the longer is found.
pub(super) struct AddedTokens {
    /// What is looked for.
    patterns: Pieces,
    /// Bytes that a pattern starts with.
    starts: Box<[bool; 256]>,
    tokens: Vec<AddedToken>,
}

/// A token and what is special about finding it.
pub(super) struct AddedToken {
    pub(super) id: u32,
    /// Its name.
    pub(super) content: String,
    /// What stands for it in the text: the name, or the name normalised.
    pub(super) pattern: String,
    /// Takes the spaces before it along.
    pub(super) strip_left: bool,
    /// Takes the spaces behind it along.
    pub(super) strip_right: bool,
}

/// A token in a text, with the spaces it takes along.
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) id: u32,
}

impl AddedTokens {
    /// Nothing if a pattern is empty or there twice, or if one of tokens that strip spaces has a space itself: then
    /// finds could overlap.
    pub(super) fn new(tokens: Vec<AddedToken>) -> Option<Self> {
        let mut patterns = Pieces::with_capacity(tokens.len());
        let mut starts = Box::new([false; 256]);
        let strips = tokens.iter().any(|token| token.strip_left || token.strip_right);
        for (place, token) in tokens.iter().enumerate() {
            let overlaps = strips && token.pattern.contains(char::is_whitespace);
            let place = u32::try_from(place).ok()?;
            if overlaps || !patterns.insert(token.pattern.as_bytes(), place) {
                return None;
            }
            starts[usize::from(*token.pattern.as_bytes().first()?)] = true;
        }
        Some(Self { patterns, starts, tokens })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Names and ids.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, u32)> {
        self.tokens.iter().map(|token| (token.content.as_str(), token.id))
    }

    /// The id of the token with this name.
    pub(super) fn id(&self, content: &str) -> Option<u32> {
        self.names().find(|(name, _)| *name == content).map(|(_, id)| id)
    }

    /// The first token in a text.
    pub(super) fn find(&self, text: &str) -> Option<Found> {
        if self.is_empty() {
            return None;
        }
        let bytes = text.as_bytes();
        let mut at = 0;
        loop {
            at += bytes[at..].iter().position(|byte| self.starts[usize::from(*byte)])?;
            if let Some((length, place)) = self.patterns.longest(&bytes[at..]) {
                return Some(self.found(text, at, at + length, place));
            }
            at += 1;
        }
    }

    fn found(&self, text: &str, mut start: usize, mut end: usize, place: u32) -> Found {
        let token = &self.tokens[place as usize];
        if token.strip_left {
            start = text[..start].trim_end().len();
        }
        if token.strip_right {
            end = text.len() - text[end..].trim_start().len();
        }
        Found { start, end, id: token.id }
    }
}
