//! Candidates from the codes, and the vectors that settle which of them are the best.
//!
//! A score in 8 bits differs from the true one by no more than `|query| · error`, where the codes tell the error of
//! their worst row (the rest is rounding). So candidates are looked up in the database in the order of these scores, until the
//! next one could not reach the worst of the best so far. When that happens before the list ends, nothing outside
//! the list could either, and the result is exact. Otherwise an exact search takes a longer list.
//!
//! ```text
//! exact      scan of bytes ─────────────────────> list ─look up in order─> best, proven
//! high, fast scan of signs ─> shortlist ─bytes──> list ─look up in order─> best of the shortlist
//! ```

use hpd_kernels::scan::{BitQuery, ByteQuery, MOST_NUMBERS, Rows, scores_of};
use hpd_kernels::{Level, Scored, TopK, dot};
use rusqlite::{CachedStatement, OptionalExtension};

use super::pass::Pass;
use super::{ByVectors, Failure, Search};
use crate::checksum;
use crate::codes::{Codes, Damaged, Half};
use crate::explain::damaged;

/// Candidates that an exact search takes first; a longer list costs little but time to sort.
const FIRST_LIST: usize = 1024;

/// How much longer each further list is.
const LONGER: usize = 8;

/// Rows up to which bytes are read even where signs would do: reading them takes less time than the rest.
const FEW_ROWS: usize = 20_000;

/// Single rows of bytes that are asked for before the first of them is read.
const AHEAD: usize = 16;

/// From this length on numbers may become infinite on their way.
const TOO_LONG: f32 = 1e15;

/// How much longer the longest row may be than the shortest for signs, which know no lengths.
const UNEVEN: f32 = 1.01;

/// The codes that one search may read.
pub(super) struct Candidates<'a> {
    search: ByVectors<'a>,
    codes: &'a Codes,
}

/// What a look at candidates in order came to.
#[derive(PartialEq, Eq)]
enum Outcome {
    /// No row outside the list could be among the best.
    Proven,
    /// There may be.
    Open,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(search: ByVectors<'a>, codes: &'a Codes) -> Self {
        Self { search, codes }
    }

    /// All rows of the database up to this one are among the codes.
    pub(super) fn covered(&self) -> u64 {
        self.codes.covered()
    }

    /// Whether fewer vectors are read this way than are in the database.
    pub(super) fn are_worth_it(&self) -> bool {
        let (_, [longest, _]) = self.codes.extremes();
        let queries = &self.search.queries;
        let tame = longest < TOO_LONG && queries.rows().all(|query| length(query) < TOO_LONG);
        let limit = self.search.limit;
        let few = self.search.min_score.is_some() || limit < self.codes.len() / 4;
        tame && few && queries.dim <= MOST_NUMBERS
    }

    /// Offers the best rows of the codes to each query's `best`.
    pub(super) fn search(&self, best: &mut [TopK]) -> Result<(), Failure> {
        let pass = Pass::new(self.codes, self.search.allowed)?;
        match self.shortlist_length() {
            Some(length) => self.by_signs(&pass, length, best),
            None => self.by_bytes(&pass, best),
        }
    }

    /// How many rows to take on from the signs; `None` where bytes are to be read of all.
    fn shortlist_length(&self) -> Option<usize> {
        let Search { exactness, shortlist, .. } = *self.search.search;
        let (_, [longest, shortest]) = self.codes.extremes();
        let rows = self.codes.len() - self.codes.dead();
        let length = exactness.shortlist(self.search.limit, rows)?;
        if shortlist.is_some() {
            return shortlist;
        }
        if longest > UNEVEN * shortest {
            return None;
        }
        (rows > FEW_ROWS && length < rows / 8).then_some(length)
    }

    /// Reads the bytes of all rows, and further ones until nothing better can be there.
    fn by_bytes(&self, pass: &Pass<'_>, best: &mut [TopK]) -> Result<(), Failure> {
        let mut open: Vec<usize> = (0..best.len()).collect();
        let mut list = FIRST_LIST.max(match self.search.min_score {
            Some(_) => 0,
            None => 4 * self.search.limit,
        });
        while !open.is_empty() {
            let queries: Vec<_> =
                open.iter().map(|query| ByteQuery::new(self.search.queries.row(*query))).collect();
            let lists = pass.nearest(&queries, list, Half::Fine, |block| block.bytes())?;
            let mut still_open = Vec::new();
            for ((query, bytes), candidates) in open.into_iter().zip(queries).zip(lists) {
                let whole = candidates.len() < list;
                // A longer list begins with the rows of the shorter one, which count once.
                let mut with_list = best[query].clone();
                let settled = self.settle(query, &bytes, &candidates, &mut with_list)?;
                if settled == Outcome::Open && !whole {
                    still_open.push(query);
                } else {
                    best[query] = with_list;
                }
            }
            open = still_open;
            list = list.saturating_mul(LONGER);
        }
        Ok(())
    }

    /// Reads the signs of all rows and the bytes of the best of them.
    fn by_signs(
        &self,
        pass: &Pass<'_>,
        shortlist: usize,
        best: &mut [TopK],
    ) -> Result<(), Failure> {
        let queries = self.search.queries;
        let mut turned = vec![0.0; queries.data.len()];
        self.codes.rotation().turn(Level::best(), &queries.data, &mut turned);
        let graded: Vec<_> = turned.chunks_exact(queries.dim).map(BitQuery::graded).collect();
        let lists = pass.nearest(&graded, shortlist, Half::Coarse, |block| block.signs())?;
        for (query, (list, best)) in lists.into_iter().zip(best).enumerate() {
            let bytes = ByteQuery::new(queries.row(query));
            let list = self.scored_by_bytes(&bytes, list)?;
            self.settle(query, &bytes, &list, best)?;
        }
        Ok(())
    }

    /// Gives a list of positions the scores of their bytes, and their order.
    fn scored_by_bytes(
        &self,
        query: &ByteQuery,
        mut list: Vec<Scored>,
    ) -> Result<Vec<Scored>, Damaged> {
        list.sort_unstable_by_key(|scored| scored.row);
        let mut scores = vec![0.0; list.len()];
        let mut start = 0;
        let mut wanted = list.iter().map(|scored| self.codes.place(scored.row));
        // Single rows are far apart; by the time one is read its memory has come.
        let mut ask_for = |count| {
            for (block, place) in wanted.by_ref().take(count) {
                self.codes.block(block, Half::Fine)?.bytes().prefetch(place);
            }
            Ok::<_, Damaged>(())
        };
        ask_for(AHEAD)?;
        let of_a_block =
            |a: &Scored, b: &Scored| self.codes.place(a.row).0 == self.codes.place(b.row).0;
        for part in list.chunk_by(of_a_block) {
            let (block, _) = self.codes.place(part[0].row);
            let places: Vec<usize> =
                part.iter().map(|scored| self.codes.place(scored.row).1).collect();
            let bytes = self.codes.block(block, Half::Fine)?.bytes();
            ask_for(part.len())?;
            let scores = &mut scores[start..][..part.len()];
            scores_of(Level::best(), query, bytes, &places, scores);
            start += part.len();
        }
        list.iter_mut().zip(scores).for_each(|(scored, score)| scored.score = score);
        list.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
        Ok(list)
    }

    /// Looks up candidates in their order and offers them, until no further one can be among the best.
    fn settle(
        &self,
        query: usize,
        bytes: &ByteQuery,
        candidates: &[Scored],
        best: &mut TopK,
    ) -> Result<Outcome, Failure> {
        let query = self.search.queries.row(query);
        let bound = self.bound(query, bytes);
        let mut find = self
            .search
            .snapshot
            .prepare_cached("SELECT vector, checksum FROM vectors WHERE row = ?1")
            .map_err(|e| self.search.store.fail(e))?;
        for candidate in candidates {
            if candidate.score + bound < best.threshold(0).max(self.search.least()) {
                return Ok(Outcome::Proven);
            }
            let row = self.codes.row_at(candidate.row)?;
            let score = self.score(&mut find, query, row)?;
            // Codes that say otherwise than they can are not those of this vector.
            if (score - candidate.score).abs() > bound {
                return Err(Failure::Codes);
            }
            best.offer(row, score);
            best.tighten();
        }
        Ok(Outcome::Open)
    }

    /// How far a score in 8 bits may be from that of the vectors.
    fn bound(&self, query: &[f32], bytes: &ByteQuery) -> f32 {
        let (error, [longest, _]) = self.codes.extremes();
        let length = length(query);
        // Scores are rounded on both ways: each number's product once, each sum as often as there are numbers at most.
        let rounding = (query.len() + 8) as f32 * f32::EPSILON * length * (longest + error);
        let bound = length * error + bytes.error() * (longest + error) + rounding;
        1.001 * bound + f32::MIN_POSITIVE * query.len() as f32
    }

    fn score(
        &self,
        find: &mut CachedStatement<'_>,
        query: &[f32],
        row: u64,
    ) -> Result<f32, Failure> {
        let store = self.search.store;
        let vector = |found: &rusqlite::Row<'_>| {
            let bytes = found.get_ref(0)?.as_blob()?;
            let (numbers, rest) = bytes.as_chunks::<4>();
            if numbers.len() != query.len() || !rest.is_empty() {
                return Ok(Err("has another width"));
            }
            if found.get::<_, i64>(1)? != checksum::of(&[bytes]) {
                return Ok(Err("does not match its checksum"));
            }
            let numbers: Vec<f32> = numbers.iter().map(|x| f32::from_le_bytes(*x)).collect();
            Ok(Ok(dot(query, &numbers)))
        };
        match find.query_row([row], vector).optional().map_err(|e| store.fail(e))? {
            Some(Ok(score)) => Ok(score),
            Some(Err(what)) => {
                Err(damaged(&store.folder, &format!("the vector of row {row} {what}")).into())
            }
            None => Err(Failure::Codes),
        }
    }
}

fn length(row: &[f32]) -> f32 {
    dot(row, row).sqrt()
}
