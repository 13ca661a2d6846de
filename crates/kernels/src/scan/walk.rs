//! The way through the rows: blocks that fit the first cache, what the mask leaves of them, and what of that is kept.

use super::{Pick, Query, Rows, Run, Selection};
use crate::{Level, TopK};

/// Rows of a mask's word.
const WORD: usize = 64;

/// Scores that are held against the worst kept one together.
const COMPARED: usize = 32;

/// Bytes of a block of rows: half of the smallest first cache, so that several queries find it there.
const BLOCK_BYTES: usize = 16 << 10;

/// Most rows of a block.
const BLOCK_ROWS: usize = 1024;

/// Rows of a word from which on all 64 are read in a row: memory brings neighbours faster than it finds single rows.
const DENSE: u32 = 24;

/// Single rows that are asked for before the first of them is read.
const LISTED: usize = 128;

/// One scan on its way.
pub(super) struct Walk<'a, 'r, Q: Query> {
    level: Level,
    queries: &'a [Q],
    rows: Q::Rows<'r>,
    selection: Selection<'a>,
    tops: &'a mut [TopK],
    /// Rows of a block, a multiple of [`WORD`].
    block: usize,
    /// `[queries, rows of the block]`
    scores: Vec<f32>,
    /// Rows of words that are not dense, waiting to be scored together.
    listed: Vec<usize>,
}

impl<'a, 'r, Q: Query> Walk<'a, 'r, Q> {
    pub(super) fn new(
        level: Level,
        queries: &'a [Q],
        rows: Q::Rows<'r>,
        selection: Selection<'a>,
        tops: &'a mut [TopK],
    ) -> Self {
        if let Some(mask) = selection.mask {
            assert_eq!(mask.len(), rows.len().div_ceil(WORD), "the mask must have a bit a row");
        }
        for query in queries {
            assert_eq!(query.dim(), rows.dim(), "the query must be as wide as the rows");
        }
        let block = (BLOCK_BYTES / rows.stride().max(1)).next_multiple_of(WORD).min(BLOCK_ROWS);
        let scores = vec![0.0; queries.len() * block.max(LISTED + WORD)];
        let listed = Vec::with_capacity(LISTED + WORD);
        Self { level, queries, rows, selection, tops, block, scores, listed }
    }

    pub(super) fn go(mut self) {
        let words = self.rows.len().div_ceil(WORD);
        let mut word = 0;
        while word < words {
            let counting = self.counting(word);
            if counting.count_ones() >= DENSE {
                let most = words.min(word + self.block / WORD);
                let dense = |word: &usize| self.counting(*word).count_ones() >= DENSE;
                let end = (word + 1..most).find(|word| !dense(word)).unwrap_or(most);
                self.run(word, end);
                word = end;
            } else {
                self.list(word, counting);
                word += 1;
            }
        }
        self.score_listed();
    }

    /// The mask's word, without bits behind the last row.
    #[inline(always)]
    fn counting(&self, word: usize) -> u64 {
        let bits = self.selection.mask.map_or(u64::MAX, |mask| mask[word]);
        let left = self.rows.len() - word * WORD;
        if left < WORD { bits & ((1 << left) - 1) } else { bits }
    }

    /// Scores all rows of some words and offers those that count.
    fn run(&mut self, word: usize, end: usize) {
        let start = word * WORD;
        let run = Run { start, count: self.rows.len().min(end * WORD) - start };
        let counts = |selection: Selection<'_>, i: usize| {
            let row = start + i;
            selection.mask.is_none_or(|mask| mask[row / WORD] >> (row % WORD) & 1 == 1)
        };
        self.score(run, counts);
    }

    /// Lists the rows of a word that count.
    fn list(&mut self, word: usize, mut counting: u64) {
        while counting != 0 {
            let row = word * WORD + counting.trailing_zeros() as usize;
            self.rows.prefetch(row);
            self.listed.push(row);
            counting &= counting - 1;
        }
        if self.listed.len() >= LISTED {
            self.score_listed();
        }
    }

    fn score_listed(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        self.score(&*listed, |_, _| true);
        self.listed = listed;
        self.listed.clear();
    }

    /// Scores what was picked and offers what counts of it.
    fn score<P: Pick>(&mut self, picked: P, counts: impl Fn(Selection<'_>, usize) -> bool) {
        let count = picked.count();
        if count == 0 {
            return;
        }
        let scores = &mut self.scores[..self.queries.len() * count];
        Q::score(self.level, self.queries, self.rows, picked, scores);
        for (scores, top) in scores.chunks_exact(count).zip(&mut *self.tops) {
            for (at, scores) in scores.chunks(COMPARED).enumerate() {
                // Picked rows ascend.
                let first = self.selection.first + picked.row(at * COMPARED) as u64;
                if !any_at_least(scores, top.threshold(first)) {
                    continue;
                }
                for (i, score) in scores.iter().enumerate() {
                    let i = at * COMPARED + i;
                    if *score >= top.threshold(first) && counts(self.selection, i) {
                        top.offer(self.selection.first + picked.row(i) as u64, *score);
                    }
                }
            }
        }
    }
}

/// Whether any score is at least the threshold.
#[inline(always)]
fn any_at_least(scores: &[f32], threshold: f32) -> bool {
    // No early end, so that many are compared in one instruction.
    scores.iter().fold(false, |any, score| any | (*score >= threshold))
}
