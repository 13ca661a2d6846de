//! Numbers that begin where a cache line does.
//!
//! A vector of AVX-512 is a cache line. Where numbers begin within one, as a `Vec`'s do, each vector that is read or
//! written touches two, and one that was just written cannot be read before it has reached the cache.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// Bytes of a cache line.
const LINE: usize = 64;

/// A value that begins with a cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub(crate) struct Aligned<T>(pub(crate) T);

/// Types of which any bits are a value and that fill a line without a rest.
///
/// Public in a private module: others can use these types and cannot add to them.
pub trait Plain: Copy {}
impl Plain for u64 {}
impl Plain for u32 {}
impl Plain for i8 {}

/// A slice that begins with a cache line; all zeros where nothing else was written.
#[derive(Clone, Debug)]
pub struct Lines<T> {
    lines: Vec<Aligned<[u8; LINE]>>,
    len: usize,
    of: PhantomData<T>,
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self { lines: Vec::new(), len: 0, of: PhantomData }
    }
}

impl<T: Plain> Lines<T> {
    /// So many zeros.
    pub fn zeros(len: usize) -> Self {
        let mut lines = Self::default();
        lines.resize(len);
        lines
    }

    /// Changes the length; what there is within it stays, the rest is old numbers or zeros.
    pub(crate) fn resize(&mut self, len: usize) {
        self.lines.resize((len * size_of::<T>()).div_ceil(LINE), Aligned([0; LINE]));
        self.len = len;
    }
}

impl<T: Plain> Deref for Lines<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the lines have room for `len` numbers, begin where any `T` may, and any bits are a `T`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Lines<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and any `T` is bytes.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_with_a_line_and_keeps_what_was_written() {
        let mut lines = Lines::<u32>::default();
        assert!(lines.is_empty());
        for len in [1, 16, 17, 1000] {
            lines.resize(len);
            assert_eq!((lines.len(), lines.as_ptr().addr() % LINE), (len, 0));
            lines[len - 1] = 7;
        }
        assert_eq!((lines[0], lines[15], lines[16], lines[17]), (7, 7, 7, 0));
        assert_eq!(lines.clone()[999], 7);
        let mut bytes = Lines::<i8>::default();
        bytes.resize(65);
        assert_eq!(bytes.to_vec(), [0; 65]);
    }
}
