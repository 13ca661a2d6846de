//! The way through the rows: blocks that fit the first cache, what the mask leaves of them, and what of that is kept.

use super::marks::offer_good;
use super::{Pick, Query, Rows, Run, Selection};
use crate::{Level, TopK};

/// Rows of a mask's word.
const WORD: usize = 64;

/// Bytes of a block of rows: half of the smallest first cache, so that several queries find it there.
const BLOCK_BYTES: usize = 16 << 10;

/// Most rows of a block.
const BLOCK_ROWS: usize = 1024;

/// Rows of a word from which on all 64 are read in a row: memory brings neighbours faster than it finds single rows.
const DENSE: u32 = 24;

/// Queries that a block is scored for before the next ones come: their scores stay in the first cache too.
const QUERIES: usize = 8;

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
    /// `[some queries, rows of the block]`
    scores: Vec<f32>,
    /// Which of one query's scores are good enough, a bit each.
    good: Vec<u64>,
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
        let most = block.max(LISTED + WORD);
        let scores = vec![0.0; queries.len().min(QUERIES) * most];
        let good = vec![0; most.div_ceil(WORD)];
        let listed = Vec::with_capacity(LISTED + WORD);
        Self { level, queries, rows, selection, tops, block, scores, good, listed }
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
        self.score(run, |selection, at| selection.mask.map_or(u64::MAX, |mask| mask[word + at]));
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
        self.score(&*listed, |_, _| u64::MAX);
        self.listed = listed;
        self.listed.clear();
    }

    /// Scores what was picked and offers what counts of it: of each 64 picked rows those that `counting` has a bit for.
    fn score<P: Pick>(&mut self, picked: P, counting: impl Fn(Selection<'_>, usize) -> u64) {
        let count = picked.count();
        if count == 0 {
            return;
        }
        // Picked rows ascend.
        let name = |i: usize| self.selection.first + picked.row(i) as u64;
        let good = &mut self.good[..count.div_ceil(WORD)];
        for (queries, tops) in self.queries.chunks(QUERIES).zip(self.tops.chunks_mut(QUERIES)) {
            let scores = &mut self.scores[..queries.len() * count];
            Q::score(self.level, queries, self.rows, picked, scores);
            for (scores, top) in scores.chunks_exact(count).zip(tops) {
                offer_good(self.level, scores, good, top, name, |at| counting(self.selection, at));
            }
        }
    }
}
