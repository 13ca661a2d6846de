//! The vectors in the database, read one after another in blocks and scored.

use hpd_files::vectors::Matrix;
use hpd_files::{Result, interrupt};
use hpd_kernels::{TopK, dots};
use rayon::prelude::*;
use rusqlite::Row;

use super::ByVectors;
use crate::explain::damaged;

/// Numbers scored at once: a block stays in the second-level cache while every query passes over it.
const BLOCK_NUMBERS: usize = 1 << 17;

impl ByVectors<'_> {
    /// Scores every row behind `row` for every query.
    pub(super) fn scan(&self, row: u64, best: &mut [TopK]) -> Result<()> {
        let fail = |e| self.store.fail(e);
        let mut block = Block::new(self.queries.dim);
        let mut statement = self
            .snapshot
            .prepare_cached("SELECT row, vector FROM vectors WHERE row > ?1 ORDER BY row")
            .map_err(fail)?;
        let mut vectors = statement.query([row]).map_err(fail)?;
        while let Some(vector) = vectors.next().map_err(fail)? {
            let (row, bytes) = row_and_bytes(vector).map_err(fail)?;
            if !self.allows(row) {
                continue;
            }
            if !block.push(row, bytes) {
                let why = format!("the vector of row {row} has another width");
                return Err(damaged(&self.store.folder, &why));
            }
            if block.is_full() {
                block.score(self.queries, best);
                interrupt::check("nothing was changed")?;
            }
        }
        block.score(self.queries, best);
        Ok(())
    }
}

/// A row of the vector table.
pub(crate) fn row_and_bytes<'a>(vector: &'a Row<'_>) -> rusqlite::Result<(u64, &'a [u8])> {
    Ok((vector.get(0)?, vector.get_ref(1)?.as_blob()?))
}

/// Some rows of the vector table, side by side.
struct Block {
    dim: usize,
    rows: Vec<u64>,
    numbers: Vec<f32>,
}

impl Block {
    fn new(dim: usize) -> Self {
        Self { dim, rows: Vec::new(), numbers: Vec::new() }
    }

    fn is_full(&self) -> bool {
        self.numbers.len() >= BLOCK_NUMBERS
    }

    /// Takes one row in, unless its vector has another width.
    fn push(&mut self, row: u64, bytes: &[u8]) -> bool {
        let (numbers, rest) = bytes.as_chunks::<4>();
        let fits = numbers.len() == self.dim && rest.is_empty();
        if fits {
            self.rows.push(row);
            self.numbers.extend(numbers.iter().map(|number| f32::from_le_bytes(*number)));
        }
        fits
    }

    /// Scores every row for every query, and empties the block.
    fn score(&mut self, queries: &Matrix, best: &mut [TopK]) {
        best.par_iter_mut().zip(queries.data.par_chunks_exact(self.dim)).for_each(
            |(best, query)| {
                let mut scores = vec![0.0; self.rows.len()];
                dots(query, &self.numbers, &mut scores);
                self.rows.iter().zip(scores).for_each(|(row, score)| best.offer(*row, score));
            },
        );
        self.rows.clear();
        self.numbers.clear();
    }
}
