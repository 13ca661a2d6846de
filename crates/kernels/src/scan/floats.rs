//! Rows of f32, scored by [`dots_at`].

use std::ops::Range;

use super::{Pick, Query, Rows, ahead, prefetch};
use crate::{Level, dots_at};

/// Rows as they are.
#[derive(Clone, Copy, Debug)]
pub struct FloatRows<'a> {
    numbers: &'a [f32],
    dim: usize,
}

impl<'a> FloatRows<'a> {
    /// # Shapes
    /// - `numbers`: `[n, dim]`
    ///
    /// # Panics
    /// When they are not whole rows, or `dim` is 0.
    pub fn new(numbers: &'a [f32], dim: usize) -> Self {
        assert!(dim > 0, "rows must have numbers");
        assert!(numbers.len().is_multiple_of(dim), "numbers must be whole rows");
        Self { numbers, dim }
    }
}

impl Rows for FloatRows<'_> {
    fn len(self) -> usize {
        self.numbers.len() / self.dim
    }

    fn dim(self) -> usize {
        self.dim
    }

    fn part(self, rows: Range<usize>) -> Self {
        Self { numbers: &self.numbers[rows.start * self.dim..rows.end * self.dim], dim: self.dim }
    }

    fn stride(self) -> usize {
        self.dim * size_of::<f32>()
    }

    #[inline(always)]
    fn prefetch(self, row: usize) {
        prefetch(self.numbers.as_ptr().wrapping_add(row * self.dim), self.stride());
    }
}

/// A query for [`FloatRows`], as it is. A score is the dot product, which differs between levels by rounding only.
#[derive(Clone, Debug)]
pub struct FloatQuery {
    numbers: Vec<f32>,
}

impl FloatQuery {
    /// # Panics
    /// When it is empty.
    pub fn new(query: &[f32]) -> Self {
        assert!(!query.is_empty(), "a query must have numbers");
        Self { numbers: query.to_vec() }
    }
}

impl Query for FloatQuery {
    type Rows<'a> = FloatRows<'a>;

    fn dim(&self) -> usize {
        self.numbers.len()
    }

    fn score<P: Pick>(
        level: Level,
        queries: &[Self],
        rows: FloatRows<'_>,
        picked: P,
        scores: &mut [f32],
    ) {
        assert_eq!(scores.len(), queries.len() * picked.count(), "each needs a score");
        for (query, scores) in queries.iter().zip(scores.chunks_exact_mut(picked.count().max(1))) {
            for (i, score) in scores.iter_mut().enumerate() {
                if P::NEIGHBOURS {
                    ahead(rows.numbers, picked.row(i) * rows.dim, rows.dim);
                }
                let row = &rows.numbers[picked.row(i) * rows.dim..][..rows.dim];
                dots_at(level, &query.numbers, row, std::slice::from_mut(score));
            }
        }
    }
}
