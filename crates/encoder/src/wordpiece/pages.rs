//! A function of a character, remembered a page of characters at a time.
//!
//! What Unicode says of a character takes `tokenizers` a handful of binary searches, which would be most of the time
//! of a text that is not English. Only pages that texts touch are ever computed.

use std::sync::OnceLock;

/// Characters of a page.
const PAGE: usize = 64;

/// Characters past the first two planes are rare, and computed each time.
const REMEMBERED: usize = 0x2_0000;

/// Values of a function for the characters met so far.
pub(super) struct Pages<T> {
    pages: Vec<OnceLock<Box<[T; PAGE]>>>,
}

impl<T: Copy> Pages<T> {
    pub(super) fn new() -> Self {
        Self { pages: (0..REMEMBERED / PAGE).map(|_| OnceLock::new()).collect() }
    }

    /// `of(c)`. The function has to be the same in every call.
    pub(super) fn get(&self, c: char, of: impl Fn(char) -> T) -> T {
        let (page, place) = (c as usize / PAGE, c as usize % PAGE);
        let Some(page_values) = self.pages.get(page) else { return of(c) };
        let first = (page * PAGE) as u32;
        page_values.get_or_init(|| {
            Box::new(std::array::from_fn(|i| {
                // Surrogates are no characters, so that no text asks for their values.
                of(char::from_u32(first + i as u32).unwrap_or('\0'))
            }))
        })[place]
    }
}
