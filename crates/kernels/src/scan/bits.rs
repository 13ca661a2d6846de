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

#[cfg(target_arch = "x86_64")]
mod permute;
mod popcount;
#[cfg(target_arch = "x86_64")]
mod shuffle;
#[cfg(target_arch = "x86_64")]
mod table;
#[cfg(target_arch = "x86_64")]
mod vpopcnt;

use std::ops::Range;

use super::marks::mark;
use super::{Pick, Query, Rows, ahead, prefetch};
use crate::Level;
#[cfg(target_arch = "x86_64")]
use crate::level::Instructions;

/// Bits of a word.
const WORD: usize = u64::BITS as usize;

/// Planes of a graded query. Four numbers of 31 at most sum to 124, twice that to a byte.
const PLANES: usize = 5;

/// The highest grade.
const HIGHEST: f32 = 31.0;

/// The least number above 0.
const LEAST_POSITIVE: f32 = f32::from_bits(1);

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
    fn words_of_row(self) -> usize {
        words_of(self.dim)
    }

    #[inline(always)]
    fn row(self, row: usize) -> &'a [u64] {
        let words = self.words_of_row();
        &self.words[row * words..][..words]
    }
}

/// Asks for rows some way behind those that are read now, where rows are read in a row.
#[inline(always)]
fn rows_ahead<P: Pick>(rows: BitRows<'_>, row: usize, count: usize) {
    if P::NEIGHBOURS {
        let words = rows.words_of_row();
        ahead(rows.words, row * words, count * words);
    }
}

impl Rows for BitRows<'_> {
    fn len(self) -> usize {
        self.words.len() / self.words_of_row()
    }

    fn dim(self) -> usize {
        self.dim
    }

    fn part(self, rows: Range<usize>) -> Self {
        let words = self.words_of_row();
        Self { words: &self.words[rows.start * words..rows.end * words], dim: self.dim }
    }

    fn stride(self) -> usize {
        self.words_of_row() * size_of::<u64>()
    }

    #[inline(always)]
    fn prefetch(self, row: usize) {
        prefetch(self.words.as_ptr().wrapping_add(row * self.words_of_row()), self.stride());
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
    for (row, words) in rows.chunks_exact(dim).zip(words.chunks_exact_mut(words_of(dim))) {
        mark(level, row, LEAST_POSITIVE, words);
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
    /// The same for look-ups, where there is more than one plane.
    #[cfg(target_arch = "x86_64")]
    table: Option<table::Table>,
    /// The sum of the highest grade over all numbers.
    most: i32,
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
        let grades: Vec<u8> = query.iter().map(|x| u8::from(*x > 0.0)).collect();
        Self {
            dim: query.len(),
            planes: planes(&grades, 1),
            #[cfg(target_arch = "x86_64")]
            table: None,
            most: query.len() as i32,
            scale: 1.0,
        }
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
        let grades: Vec<u8> = query.iter().map(grade).collect();
        Self {
            dim: query.len(),
            planes: planes(&grades, PLANES),
            #[cfg(target_arch = "x86_64")]
            table: Some(table::Table::new(&grades)),
            most: query.len() as i32 * HIGHEST as i32,
            scale: if finite { largest / HIGHEST } else { f32::NAN },
        }
    }

    /// Words of a plane.
    fn words(&self) -> usize {
        words_of(self.dim)
    }

    /// The order in which a weighted count becomes a score, at every level.
    #[inline(always)]
    fn score_of(&self, count: u32) -> f32 {
        (self.most - 2 * count as i32) as f32 * self.scale
    }
}

/// Bit `p` of every number's grade, `[count, words_of(dim)]`.
fn planes(grades: &[u8], count: usize) -> Vec<u64> {
    let words = words_of(grades.len());
    let mut planes = vec![0; count * words];
    for (i, grade) in grades.iter().enumerate() {
        for plane in 0..count {
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
        level: Level,
        queries: &[Self],
        rows: BitRows<'_>,
        picked: P,
        scores: &mut [f32],
    ) {
        assert_eq!(scores.len(), queries.len() * picked.count(), "each needs a score");
        assert!(queries.iter().all(|query| query.dim == rows.dim), "as wide as the rows");
        if picked.count() == 0 {
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if matches!(level.0, Instructions::Vnni | Instructions::Bfloat16)
            && permute::is_available()
            && let Some(graded) = queries.iter().map(Self::graded_table).collect::<Option<Vec<_>>>()
        {
            // SAFETY: the CPU was asked just now.
            return unsafe { permute::scores(&graded, rows, picked, scores) };
        }
        for (query, scores) in queries.iter().zip(scores.chunks_exact_mut(picked.count())) {
            query.score_one(level, rows, picked, scores);
        }
    }
}

impl BitQuery {
    #[cfg(target_arch = "x86_64")]
    fn graded_table(&self) -> Option<(&Self, &table::Table)> {
        self.table.as_ref().map(|table| (self, table))
    }

    #[cfg(target_arch = "x86_64")]
    fn score_one<P: Pick>(&self, level: Level, rows: BitRows<'_>, picked: P, scores: &mut [f32]) {
        match (level.0, &self.table) {
            (Instructions::Portable, _) => popcount::portable(self, rows, picked, scores),
            // SAFETY: a level above the portable one exists only where the CPU has AVX2.
            (_, Some(table)) => unsafe { shuffle::scores(self, table, rows, picked, scores) },
            (Instructions::Vnni | Instructions::Bfloat16, None) if vpopcnt::fits::<P>(self) => {
                // SAFETY: the levels have AVX-512F, and for the count the CPU was asked just now.
                unsafe { vpopcnt::scores(self, rows, picked, scores) }
            }
            // SAFETY: a level above the portable one exists only where the CPU has `popcnt`.
            (_, None) => unsafe { popcount::scores(self, rows, picked, scores) },
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn score_one<P: Pick>(&self, _: Level, rows: BitRows<'_>, picked: P, scores: &mut [f32]) {
        popcount::portable(self, rows, picked, scores);
    }
}
