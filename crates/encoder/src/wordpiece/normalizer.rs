//! BERT's normaliser: control characters out, spaces around Chinese characters, accents off, lower case.
//!
//! Its meaning is [`Normalizer::slow`], four passes over the text in the order of `tokenizers` and with the same tables.
//! Most text never goes there. Printable ASCII is copied; another character is looked up in a memory of what the slow
//! passes make of it alone, wherever that cannot depend on its neighbours. It can where a mark stays that canonical
//! order may move; then everything up to the next plain ASCII character, over which no mark moves, takes the slow way.

use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::UnicodeNormalization;
use unicode_normalization_alignments::char::canonical_combining_class;

use super::pages::Pages;

/// The switches of `BertNormalizer`, and one of sentence-transformers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Switches {
    /// Lower-cases before all else: sentence-transformers' `do_lower_case`.
    pub(super) lower_first: bool,
    /// Takes out control characters and makes every space a plain one.
    pub(super) clean: bool,
    /// Sets spaces around Chinese characters.
    pub(super) chinese: bool,
    /// Decomposes (NFD) and takes out accents.
    pub(super) strip: bool,
    /// Lower-cases.
    pub(super) lower: bool,
}

/// The normaliser.
pub(super) struct Normalizer {
    switches: Switches,
    memory: Pages<Folded>,
}

/// What a character becomes.
#[derive(Clone, Copy)]
enum Folded {
    Nothing,
    One(char),
    Spaced(char),
    /// More than that, or something that depends on its neighbours.
    Other,
}

impl Normalizer {
    pub(super) fn new(switches: Switches) -> Self {
        Self { switches, memory: Pages::new() }
    }

    /// Appends the normalised text to `out`; `cleaned` is room to work in.
    pub(super) fn apply(&self, text: &str, cleaned: &mut String, out: &mut String) {
        let mut rest = text;
        while !rest.is_empty() {
            let (plain, after) = rest.split_at(plain_length(rest));
            let start = out.len();
            out.push_str(plain);
            if self.switches.lower || self.switches.lower_first {
                out[start..].make_ascii_lowercase();
            }
            rest = self.fold(after, cleaned, out);
        }
    }

    /// Normalises characters up to the next plain one, and returns what follows.
    fn fold<'a>(&self, text: &'a str, cleaned: &mut String, out: &mut String) -> &'a str {
        for (at, c) in text.char_indices() {
            if is_plain(c as u32) {
                return &text[at..];
            }
            match self.memory.get(c, |c| self.folded(c)) {
                Folded::Nothing => {}
                Folded::One(c) => out.push(c),
                Folded::Spaced(c) => out.extend([' ', c, ' ']),
                Folded::Other => {
                    let length = text[at..].find(|c| is_plain(c as u32));
                    let (run, after) = text[at..].split_at(length.unwrap_or(text.len() - at));
                    self.slow(run, cleaned, out);
                    return after;
                }
            }
        }
        ""
    }

    fn folded(&self, c: char) -> Folded {
        let (mut cleaned, mut out) = (String::new(), String::new());
        let mut bytes = [0; 4];
        self.slow(c.encode_utf8(&mut bytes), &mut cleaned, &mut out);
        // Only marks that stay can be moved by others that stay.
        let moves = |c| canonical_combining_class(c) != 0;
        if self.switches.strip && cleaned.nfd().any(|(c, _)| moves(c) && !c.is_mark_nonspacing()) {
            return Folded::Other;
        }
        let letters: Vec<char> = out.chars().collect();
        match letters[..] {
            [] => Folded::Nothing,
            [c] => Folded::One(c),
            [' ', c, ' '] => Folded::Spaced(c),
            _ => Folded::Other,
        }
    }

    /// The passes one after another.
    fn slow(&self, text: &str, cleaned: &mut String, out: &mut String) {
        cleaned.clear();
        for c in text.chars() {
            if self.switches.lower_first {
                c.to_lowercase().for_each(|c| self.clean(c, cleaned));
            } else {
                self.clean(c, cleaned);
            }
        }
        if self.switches.strip {
            let decomposed = cleaned.nfd().map(|(c, _)| c);
            decomposed.filter(|c| !c.is_mark_nonspacing()).for_each(|c| self.lower(c, out));
        } else {
            cleaned.chars().for_each(|c| self.lower(c, out));
        }
    }

    /// The first two passes, which see one character at a time.
    fn clean(&self, c: char, out: &mut String) {
        let c = match c {
            _ if !self.switches.clean => c,
            '\t' | '\n' | '\r' => ' ',
            '\0' | char::REPLACEMENT_CHARACTER => return,
            _ if c.is_other() => return,
            _ if c.is_whitespace() => ' ',
            _ => c,
        };
        if self.switches.chinese && is_chinese(c) {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
    }

    fn lower(&self, c: char, out: &mut String) {
        if self.switches.lower {
            out.extend(c.to_lowercase());
        } else {
            out.push(c);
        }
    }
}

/// Printable ASCII: no pass does more to it than lower-case it, and no mark moves over it.
fn is_plain(c: u32) -> bool {
    (0x20..0x7f).contains(&c)
}

/// How many bytes at the front are plain.
fn plain_length(text: &str) -> usize {
    text.bytes().position(|byte| !is_plain(byte.into())).unwrap_or(text.len())
}

/// The blocks that BERT calls Chinese, as `tokenizers` has them.
fn is_chinese(c: char) -> bool {
    matches!(
        c as u32,
        0x3400..=0x4dbf
            | 0x4e00..=0x9fff
            | 0xf900..=0xfaff
            | 0x2_0000..=0x2_a6df
            | 0x2_a700..=0x2_b73f
            | 0x2_b740..=0x2_b81f
            | 0x2_b920..=0x2_ceaf
            | 0x2_f800..=0x2_fa1f
    )
}
