//! Strings with ids: an open-addressed hash table that is asked for the longest entry a text starts with.
//!
//! The hash takes in a byte at a time and can give it back, so that after a word's own hash those of all its beginnings
//! cost one multiplication each. Most words are tokens: the first question is the last.

/// Multiplies each byte into the hash: odd, so that there is an inverse, and its bits far from regular.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// `FACTOR * INVERSE = 1`, modulo 2⁶⁴.
const INVERSE: u64 = inverse(FACTOR);

/// Hash of the empty string.
const START: u64 = 0x5851_f42d_4c95_7f2d;

/// A set of strings, each with an id.
pub(super) struct Pieces {
    /// The strings, one after another.
    text: Vec<u8>,
    /// A power of two, at most half of them taken.
    slots: Vec<Slot>,
    /// Keeps as many upper bits of a hash as number the slots.
    shift: u32,
    /// Bytes of the longest string.
    longest: usize,
}

/// An entry; one with no bytes is vacant.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// Lower half of the hash, so that other strings are seldom looked at.
    tag: u32,
    id: u32,
    start: u32,
    end: u32,
}

impl Pieces {
    /// Room for so many strings.
    pub(super) fn with_capacity(strings: usize) -> Self {
        let slots = (2 * strings).next_power_of_two().max(2);
        Self {
            text: Vec::new(),
            slots: vec![Slot::default(); slots],
            shift: u64::BITS - slots.trailing_zeros(),
            longest: 0,
        }
    }

    /// Adds a string, unless it is empty: no text starts with nothing. False if it is there already, or there are
    /// more than were announced, or more than 4 GiB of text.
    #[must_use]
    pub(super) fn insert(&mut self, string: &[u8], id: u32) -> bool {
        if string.is_empty() {
            return true;
        }
        let hash = string.iter().fold(START, |hash, byte| take(hash, *byte));
        let mut place = (hash >> self.shift) as usize;
        while !self.slots[place].is_vacant() {
            if self.is(&self.slots[place], hash, string) {
                return false;
            }
            place = (place + 1) & (self.slots.len() - 1);
        }
        let Ok(end) = u32::try_from(self.text.len() + string.len()) else { return false };
        self.slots[place] = Slot { tag: hash as u32, id, start: self.text.len() as u32, end };
        self.text.extend_from_slice(string);
        self.longest = self.longest.max(string.len());
        true
    }

    /// The id of a string.
    pub(super) fn get(&self, string: &[u8]) -> Option<u32> {
        self.find(string.iter().fold(START, |hash, byte| take(hash, *byte)), string)
    }

    /// Length and id of the longest string that `bytes` start with.
    pub(super) fn longest(&self, bytes: &[u8]) -> Option<(usize, u32)> {
        let bytes = &bytes[..bytes.len().min(self.longest)];
        let mut hash = bytes.iter().fold(START, |hash, byte| take(hash, *byte));
        for length in (1..=bytes.len()).rev() {
            if let Some(id) = self.find(hash, &bytes[..length]) {
                return Some((length, id));
            }
            hash = give_back(hash, bytes[length - 1]);
        }
        None
    }

    fn find(&self, hash: u64, string: &[u8]) -> Option<u32> {
        let mut place = (hash >> self.shift) as usize;
        // Half of the slots are vacant, so this ends.
        loop {
            let slot = &self.slots[place];
            if slot.is_vacant() {
                return None;
            }
            if self.is(slot, hash, string) {
                return Some(slot.id);
            }
            place = (place + 1) & (self.slots.len() - 1);
        }
    }

    fn is(&self, slot: &Slot, hash: u64, string: &[u8]) -> bool {
        slot.tag == hash as u32 && &self.text[slot.start as usize..slot.end as usize] == string
    }
}

impl Slot {
    fn is_vacant(&self) -> bool {
        self.start == self.end
    }
}

fn take(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(FACTOR)
}

/// The hash before `byte` was taken.
fn give_back(hash: u64, byte: u8) -> u64 {
    hash.wrapping_mul(INVERSE) ^ u64::from(byte)
}

/// Newton's iteration: each step doubles the bits that are right, and an odd number is its own inverse in the last three.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut bits = 3;
    while bits < u64::BITS {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        bits *= 2;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_longest_is_found(
            strings in prop::collection::btree_map("[ab\u{e9}]{1,6}", any::<u32>(), 0..40),
            text in "[ab\u{e9}]{0,12}",
        ) {
            let mut pieces = Pieces::with_capacity(strings.len());
            for (string, id) in &strings {
                prop_assert!(pieces.insert(string.as_bytes(), *id));
                prop_assert!(!pieces.insert(string.as_bytes(), *id));
            }
            let slow: &BTreeMap<String, u32> = &strings;
            let starts = (1..=text.len()).rev().filter(|end| text.is_char_boundary(*end));
            let found = starts.map(|end| &text[..end]).find_map(|start| Some((start.len(), *slow.get(start)?)));
            prop_assert_eq!(pieces.longest(text.as_bytes()), found);
            prop_assert_eq!(pieces.get(text.as_bytes()), slow.get(&text).copied());
        }

        #[test]
        fn a_byte_taken_can_be_given_back(hash: u64, byte: u8) {
            prop_assert_eq!(give_back(take(hash, byte), byte), hash);
        }
    }

    #[test]
    fn an_empty_set_has_nothing() {
        let pieces = Pieces::with_capacity(0);
        assert_eq!((pieces.longest(b"a"), pieces.get(b"")), (None, None));
    }
}
