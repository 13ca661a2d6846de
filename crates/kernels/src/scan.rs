//! Searches of a store of compact vectors: every row is read once, and the best are kept while it is read.
//!
//! Why separate from [`dots`](crate::dots): that fills an array with scores. Here the store is larger than any cache, so
//! what counts is that memory never waits: rows are scored in blocks that fit the first cache, a block's scores are held
//! against the worst one kept so far, and hardly any of them reaches the heap.
//!
//! `f32 rows ─encode_bytes, or Rotation and encode_bits─> codes ─scan with a prepared query─> TopK`
//!
//! Three kinds of rows have one shape, [`Rows`] that a [`Query`] scores:
//! - [`ByteRows`]: a number is 8 bits, and a row has one scale. What it loses is rarely seen in the best ten.
//! - [`BitRows`]: a number is its sign. A sixteenth of the bytes a first pass has to read; its best few hundred are
//!   scored again by another kind ([`scores_of`]). Wants rows that [`Rotation`] turned, which spreads what they say evenly.
//! - [`FloatRows`]: the numbers themselves.
//!
//! A row's score is the same bits wherever the row stands, whichever rows and queries it is scored with and whether
//! it was listed or run over. Scores of bytes and of bits are also the same at every level: their sums are whole numbers.
//! On ARM bytes and bits have the portable code, since no machine was at hand on which kernels for it could have been run.
//!
//! # Cost
//! One pass over the rows that count, at the speed at which one core reads memory; memory for a block of scores a query.

mod bits;
mod bytes;
mod floats;
mod marks;
mod rotation;
mod walk;

use std::ops::Range;

pub use bits::{BitQuery, BitRows, encode_bits, words_of};
pub use bytes::{ByteQuery, ByteRows, MOST_NUMBERS, encode_bytes};
pub use floats::{FloatQuery, FloatRows};
pub use rotation::Rotation;

use crate::prefetch::{AHEAD, ahead, prefetch};
use crate::{Level, TopK};

/// Where rows of one kind lie.
pub trait Rows: Copy {
    /// How many there are.
    fn len(self) -> usize;

    /// Whether there are none.
    fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Numbers in a row.
    fn dim(self) -> usize;

    /// Those from one to before another.
    ///
    /// # Panics
    /// When there are fewer.
    fn part(self, rows: Range<usize>) -> Self;

    /// Bytes from one row to the next.
    fn stride(self) -> usize;

    /// Asks for a row that will be read soon. Whatever `row` is, this is only a hint.
    fn prefetch(self, row: usize);
}

/// A query, prepared once for many rows.
pub trait Query: Sized {
    /// The rows it is asked of.
    type Rows<'a>: Rows;

    /// Numbers in the query.
    fn dim(&self) -> usize;

    /// `scores[q, i] =` how alike `queries[q]` and the picked row `i` are.
    ///
    /// # Shapes
    /// - `scores`: `[queries, picked]`
    ///
    /// # Panics
    /// When a picked row does not exist, or a query is not as wide as the rows.
    fn score<P: Pick>(
        level: Level,
        queries: &[Self],
        rows: Self::Rows<'_>,
        picked: P,
        scores: &mut [f32],
    );
}

/// Some rows in some order: a [`Run`] of neighbours or a list. They ascend where a scan picks them.
pub trait Pick: Copy {
    /// Whether each row is followed by its neighbour.
    const NEIGHBOURS: bool;

    /// How many.
    fn count(self) -> usize;

    /// The row that comes `i`-th.
    fn row(self, i: usize) -> usize;
}

impl Pick for &[usize] {
    const NEIGHBOURS: bool = false;

    #[inline(always)]
    fn count(self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn row(self, i: usize) -> usize {
        self[i]
    }
}

/// `count` rows from the row `start` on.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The first of them.
    pub start: usize,
    /// How many.
    pub count: usize,
}

impl Pick for Run {
    const NEIGHBOURS: bool = true;

    #[inline(always)]
    fn count(self) -> usize {
        self.count
    }

    #[inline(always)]
    fn row(self, i: usize) -> usize {
        self.start + i
    }
}

/// Which of the rows count, and what they are called.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection<'a> {
    /// What the first row is called; the others follow.
    pub first: u64,
    /// `[⌈rows / 64⌉]`, where bit `i % 64` of word `i / 64` says whether row `i` counts. Without it all do. Bits behind the
    /// last row mean nothing.
    pub mask: Option<&'a [u64]>,
}

impl<'a> Selection<'a> {
    /// Every row, counted from 0.
    pub const ALL: Self = Self { first: 0, mask: None };

    /// The selection for [`Rows::part`], say for one of several threads.
    ///
    /// # Panics
    /// When `rows` begins within a word of the mask, or behind its end.
    pub fn part(self, rows: Range<usize>) -> Self {
        let words = |mask: &'a [u64]| {
            assert!(rows.start.is_multiple_of(64), "a part must begin with a word of the mask");
            &mask[rows.start / 64..rows.end.div_ceil(64)]
        };
        Self { first: self.first + rows.start as u64, mask: self.mask.map(words) }
    }
}

/// Offers the rows that count to `top`, which keeps the best.
///
/// Rows may be scanned in parts, in any order and by several threads with a `top` of their own each: what is kept at the
/// end is the same.
///
/// # Panics
/// When the query is not as wide as the rows, or the mask is not as long.
pub fn scan<Q: Query>(
    level: Level,
    query: &Q,
    rows: Q::Rows<'_>,
    selection: Selection<'_>,
    top: &mut TopK,
) {
    let (query, top) = (std::slice::from_ref(query), std::slice::from_mut(top));
    scan_many(level, query, rows, selection, top);
}

/// [`scan`] for several queries, each with its own `top`: rows are read from memory once for all of them.
///
/// # Panics
/// As [`scan`], and when there is not one `top` a query.
pub fn scan_many<Q: Query>(
    level: Level,
    queries: &[Q],
    rows: Q::Rows<'_>,
    selection: Selection<'_>,
    tops: &mut [TopK],
) {
    assert_eq!(queries.len(), tops.len(), "each query needs a list of its own");
    if !queries.is_empty() {
        walk::Walk::new(level, queries, rows, selection, tops).go();
    }
}

/// Asks for the rows that a scan of these reads first, for whoever is about to scan others that end elsewhere: within rows
/// that lie side by side a scan asks ahead by itself.
pub fn prefetch_beginning<R: Rows>(rows: R) {
    const LINE: usize = 64;
    let stride = rows.stride().max(1);
    let soon = rows.len().min(AHEAD.div_ceil(stride));
    (0..soon).step_by((LINE / stride).max(1)).for_each(|row| rows.prefetch(row));
}

/// `scores[i] =` what [`scan`] would have scored `rows[listed[i]]`, say to sort the best of a coarser scan again.
///
/// # Panics
/// When a listed row does not exist, the query is not as wide as the rows, or there is not one score a listed row.
pub fn scores_of<Q: Query>(
    level: Level,
    query: &Q,
    rows: Q::Rows<'_>,
    listed: &[usize],
    scores: &mut [f32],
) {
    listed.iter().for_each(|row| rows.prefetch(*row));
    Q::score(level, std::slice::from_ref(query), rows, listed, scores);
}

/// Offers rows that have their scores already, `scores[i]` being that of row `first + i`.
pub fn offer_all(level: Level, first: u64, scores: &[f32], top: &mut TopK) {
    let mut good = [0; 16];
    for (at, scores) in scores.chunks(u64::BITS as usize * good.len()).enumerate() {
        let first = first + (at * u64::BITS as usize * good.len()) as u64;
        let good = &mut good[..scores.len().div_ceil(u64::BITS as usize)];
        marks::offer_good(level, scores, good, top, |i| first + i as u64, |_| u64::MAX);
    }
}

#[cfg(test)]
mod tests;
