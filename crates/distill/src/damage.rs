//! What becomes of a file's bytes, for the tests of what is read from a run's folder.

use proptest::prelude::*;

/// Wrong bytes somewhere, or an end too early.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    /// As a share of the length.
    place: f64,
    /// What stands there now; nothing for a file that was cut off there.
    bytes: Vec<u8>,
}

/// Bytes as they come, and those that keep JSON readable but make it say something else.
pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    let byte =
        prop_oneof![1 => any::<u8>(), 2 => prop::sample::select(&b"0123456789,.:\"{}[]- e"[..])];
    (0.0..1.0, prop::collection::vec(byte, 0..4)).prop_map(|(place, bytes)| Damage { place, bytes })
}

impl Damage {
    /// The bytes after it.
    pub(crate) fn done_to(&self, whole: &[u8]) -> Vec<u8> {
        let at = (self.place * whole.len() as f64) as usize;
        if self.bytes.is_empty() {
            return whole[..at].to_vec();
        }
        let mut damaged = whole.to_vec();
        damaged.iter_mut().skip(at).zip(&self.bytes).for_each(|(byte, new)| *byte = *new);
        damaged
    }
}
