//! One pass over all codes of a kind, on all threads.

use hpd_files::interrupt;
use hpd_kernels::scan::{Query, Selection, prefetch_beginning, scan_many};
use hpd_kernels::{Level, Scored, TopK};
use rayon::prelude::*;

use super::Failure;
use crate::RowSet;
use crate::codes::{Block, Codes, Damaged, Half, WORD};

/// Queries of one way through the codes. What each keeps and looks up must find room in the second-level cache; reading codes
/// anew for the next ones takes less time than they do.
const QUERIES: usize = 16;

/// The rows that a pass offers.
pub(super) struct Pass<'a> {
    codes: &'a Codes,
    /// Which rows count, a bit each; `None` for all.
    mask: Option<Vec<u64>>,
}

impl<'a> Pass<'a> {
    /// The pass over all rows that are allowed and not deleted.
    ///
    /// # Errors
    /// When a block is not what was written.
    pub(super) fn new(codes: &'a Codes, allowed: Option<&RowSet>) -> Result<Self, Damaged> {
        let Some(allowed) = allowed else {
            let all = || (0..codes.blocks()).flat_map(|block| codes.alive(block).iter().copied());
            return Ok(Self { codes, mask: (codes.dead() > 0).then(|| all().collect()) });
        };
        let words = codes.block_rows() / WORD;
        let mut mask = vec![0u64; codes.blocks() * words];
        mask.par_chunks_exact_mut(words).enumerate().try_for_each(|(block, mask)| {
            let rows = codes.block(block, Half::Coarse)?.rows;
            for ((mask, rows), alive) in
                mask.iter_mut().zip(rows.chunks(WORD)).zip(codes.alive(block))
            {
                let bit = |(i, row): (usize, &u64)| u64::from(allowed.contains(*row)) << i;
                *mask = alive & rows.iter().enumerate().map(bit).fold(0, |word, bit| word | bit);
            }
            Ok(())
        })?;
        Ok(Self { codes, mask: Some(mask) })
    }

    /// Which rows of a block count.
    fn selection(&self, block: usize) -> Selection<'_> {
        let (rows, words) = (self.codes.block_rows(), self.codes.block_rows() / WORD);
        let mask = self.mask.as_ref().map(|mask| &mask[block * words..][..words]);
        Selection { first: (block * rows) as u64, mask }
    }

    /// The best rows of one kind for each query, by position, best first.
    ///
    /// # Errors
    /// When a block is not what was written, or a stop was asked for.
    pub(super) fn nearest<Q>(
        &self,
        queries: &[Q],
        count: usize,
        half: Half,
        rows: impl Fn(Block<'a>) -> Q::Rows<'a> + Sync,
    ) -> Result<Vec<Vec<Scored>>, Failure>
    where
        Q: Query + Sync,
    {
        let mut nearest = Vec::with_capacity(queries.len());
        for queries in queries.chunks(QUERIES) {
            let best = self.best(queries, count, half, &rows)?;
            interrupt::check("nothing was changed")?;
            nearest.extend(best.into_iter().map(TopK::into_sorted));
        }
        Ok(nearest)
    }

    fn best<Q>(
        &self,
        queries: &[Q],
        count: usize,
        half: Half,
        rows: &(impl Fn(Block<'a>) -> Q::Rows<'a> + Sync),
    ) -> Result<Vec<TopK>, Damaged>
    where
        Q: Query + Sync,
    {
        let none = || vec![TopK::new(count); queries.len()];
        let blocks = self.codes.blocks();
        let scan = |mut best: Vec<TopK>, block: usize| {
            let part = rows(self.codes.block(block, half)?);
            // Signs are through in a microsecond a block. Bytes, which take eight times as long, are only held up by it.
            if matches!(half, Half::Coarse) && block + 1 < blocks {
                prefetch_beginning(rows(self.codes.block(block + 1, half)?));
            }
            scan_many(Level::best(), queries, part, self.selection(block), &mut best);
            Ok::<_, Damaged>(best)
        };
        // Each piece begins with nothing kept, so few pieces offer few rows in vain.
        let piece = blocks.div_ceil(rayon::current_num_threads()).max(8);
        (0..blocks)
            .into_par_iter()
            .with_min_len(piece)
            .try_fold(none, scan)
            .try_reduce(none, |best, others| Ok(merged(best, others)))
    }
}

fn merged(mut best: Vec<TopK>, others: Vec<TopK>) -> Vec<TopK> {
    for (best, other) in best.iter_mut().zip(others) {
        other.into_sorted().iter().for_each(|scored| best.offer(scored.row, scored.score));
    }
    best
}
