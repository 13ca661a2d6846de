//! Rows of signs, a bit a number.
//!
//! A row's bits say of each number only whether it is positive; the query says more: how much a bit that differs from
//! its own sign counts. With one *plane* each counts the same and the weighted count is the Hamming distance. With five
//! planes, bit `p` of a number's grade (0, 1 … 31 for the most negative … the most positive number) lies in plane `p`, and
//! `Σ_p 2^p · (bits in which plane p and the row differ)` is the sum over all numbers of the grade's distance from the
//! end, 0 or 31, that the row's bit names. So either kind of query is counted with `xor` and `popcnt` and is exact.
//!
//! # Source
//! Queries in bit planes: `RaBitQ`, <https://arxiv.org/abs/2405.12497>, section 3.3.

use std::ops::Range;

use super::{Pick, Query, Rows, prefetch};
use crate::Level;
use crate::kernel::kernel;

/// Bits of a word.
const WORD: usize = u64::BITS as usize;

/// Planes of a graded query. Four numbers of 31 at most sum to 124, twice that to a byte.
const PLANES: usize = 5;

/// The highest grade.
const HIGHEST: f32 = 31.0;

/// Words of a row of `dim` signs.
pub const fn words_of(dim: usize) -> usize {
    dim.div_ceil(WORD)
}

/// Rows of signs: bit `j % 64` of word `j / 64` is set where number `j` is positive. Bits behind the last are 0.
#[derive(Clone, Copy, Debug)]
pub struct BitRows<'a> {
    words: &'a [u64],
    dim: usize,
}

impl<'a> BitRows<'a> {
    /// # Shapes
    /// - `words`: `[n, words_of(dim)]`, see [`words_of`]
    ///
    /// # Panics
    /// When they are not whole rows, or `dim` is 0.
    pub fn new(words: &'a [u64], dim: usize) -> Self {
        assert!(dim > 0, "rows must have numbers");
        assert!(words.len().is_multiple_of(words_of(dim)), "words must be whole rows");
        Self { words, dim }
    }

    #[inline(always)]
    fn row(self, row: usize) -> &'a [u64] {
        let words = words_of(self.dim);
        &self.words[row * words..][..words]
    }
}

impl Rows for BitRows<'_> {
    fn len(self) -> usize {
        self.words.len() / words_of(self.dim)
    }

    fn dim(self) -> usize {
        self.dim
    }

    fn part(self, rows: Range<usize>) -> Self {
        let words = words_of(self.dim);
        Self { words: &self.words[rows.start * words..rows.end * words], dim: self.dim }
    }

    fn stride(self) -> usize {
        words_of(self.dim) * size_of::<u64>()
    }

    #[inline(always)]
    fn prefetch(self, row: usize) {
        let words = words_of(self.dim);
        prefetch(self.words.as_ptr().wrapping_add(row * words), words * size_of::<u64>());
    }
}

/// Keeps the signs of rows; zeros and what is not a number count as negative.
///
/// # Shapes
/// - `rows`: `[n, dim]`
/// - `words`: `[n, words_of(dim)]`
///
/// # Panics
/// When those are not the shapes, or `dim` is 0.
pub fn encode_bits(level: Level, rows: &[f32], dim: usize, words: &mut [u64]) {
    assert!(dim > 0, "rows must have numbers");
    assert!(rows.len().is_multiple_of(dim), "rows must be whole");
    assert_eq!(words.len(), rows.len() / dim * words_of(dim), "each row needs its words");
    encode(level, rows, dim, words);
}

kernel! {
    fn encode(rows: &[f32], dim: usize, words: &mut [u64]) {
        for (row, words) in rows.chunks_exact(dim).zip(words.chunks_exact_mut(words_of(dim))) {
            for (numbers, word) in row.chunks(WORD).zip(words) {
                let bits = numbers.iter().enumerate();
                *word = bits.fold(0, |word, (i, x)| word | u64::from(*x > 0.0) << i);
            }
        }
    }
}

/// A query for [`BitRows`].
///
/// A score is about the dot product of the query and the row's signs, taken as 1 and -1.
#[derive(Clone, Debug)]
pub struct BitQuery {
    dim: usize,
    /// `[planes, words]`
    planes: Vec<u64>,
    /// Half of what one grade is worth.
    scale: f32,
}

impl BitQuery {
    /// The signs of a query. Scores are whole: `dim` less twice the Hamming distance.
    ///
    /// # Panics
    /// When the query is empty.
    pub fn signs(query: &[f32]) -> Self {
        assert!(!query.is_empty(), "a query must have numbers");
        let grades = query.iter().map(|x| u8::from(*x > 0.0));
        Self { dim: query.len(), planes: planes::<1>(grades, query.len()), scale: 1.0 }
    }

    /// The query in 32 grades, which finds what is near it among a quarter of the candidates that signs need. One with a
    /// number that is not finite has scores that are not numbers: it finds nothing.
    ///
    /// # Panics
    /// When the query is empty.
    pub fn graded(query: &[f32]) -> Self {
        assert!(!query.is_empty(), "a query must have numbers");
        let finite = query.iter().all(|x| x.is_finite());
        let largest = query.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        // A query of zeros has grades too, which its scale makes zeros.
        let ends = if finite && largest > 0.0 { largest } else { 1.0 };
        let grade = |x: &f32| ((x / ends * 0.5 + 0.5) * HIGHEST).round() as u8;
        let planes = planes::<PLANES>(query.iter().map(grade), query.len());
        let scale = if finite { largest / HIGHEST } else { f32::NAN };
        Self { dim: query.len(), planes, scale }
    }
}

/// Bit `p` of every number's grade, `[P, words_of(dim)]`.
fn planes<const P: usize>(grades: impl Iterator<Item = u8>, dim: usize) -> Vec<u64> {
    let words = words_of(dim);
    let mut planes = vec![0; P * words];
    for (i, grade) in grades.enumerate() {
        for plane in 0..P {
            planes[plane * words + i / WORD] |= u64::from(grade >> plane & 1) << (i % WORD);
        }
    }
    planes
}

impl Query for BitQuery {
    type Rows<'a> = BitRows<'a>;

    fn dim(&self) -> usize {
        self.dim
    }

    fn score<P: Pick>(
        _level: Level,
        queries: &[Self],
        rows: BitRows<'_>,
        picked: P,
        scores: &mut [f32],
    ) {
        assert_eq!(scores.len(), queries.len() * picked.count(), "each needs a score");
        for (query, scores) in queries.iter().zip(scores.chunks_exact_mut(picked.count().max(1))) {
            portable(query, rows, picked, scores);
        }
    }
}

/// The meaning of the others, and what runs where they do not.
fn portable<P: Pick>(query: &BitQuery, rows: BitRows<'_>, picked: P, scores: &mut [f32]) {
    for (i, score) in scores.iter_mut().enumerate() {
        let row = rows.row(picked.row(i));
        let planes = query.planes.chunks_exact(row.len()).enumerate();
        let differing = planes.map(|(p, plane)| {
            let bits = plane.iter().zip(row).map(|(x, y)| (x ^ y).count_ones());
            bits.sum::<u32>() << p
        });
        *score = query.score_of(differing.sum());
    }
}

impl BitQuery {
    /// The order in which a weighted count becomes a score, at every level.
    #[inline(always)]
    fn score_of(&self, differing: u32) -> f32 {
        (self.most() - 2 * differing as i32) as f32 * self.scale
    }

    /// The sum of the grades where all bits agree with the ends.
    #[inline(always)]
    fn most(&self) -> i32 {
        let highest = (1 << (self.planes.len() / words_of(self.dim))) - 1;
        (self.dim * highest) as i32
    }
}
