//! Neighbours of stored documents: what is like one of them, and what is nearly the same as another.
//!
//! Both are searches whose queries are vectors of the store itself, so no model is needed.

use std::collections::BTreeMap;

use hpd_files::vectors::Matrix;
use hpd_files::{Progress, Result, interrupt};
use hpd_kernels::Scored;
use rusqlite::{Connection, OptionalExtension};

use crate::explain::{damaged, explain};
use crate::search::{Failure, row_and_bytes};
use crate::{Exactness, Hit, Search, Store};

/// Documents that look for their neighbours in one pass over the codes.
const BATCH: usize = 256;

/// How far the score of two equal vectors may be from 1, which their numbers are rounded to.
const ROUNDING: f32 = 1e-6;

impl Store {
    /// The documents nearest to the one stored under `id`, itself left out; `None` when there is none. Words are not looked at.
    ///
    /// # Errors
    /// As [`Store::search_with`].
    pub fn similar(&self, id: &str, search: &Search<'_>) -> Result<Option<Vec<Hit>>> {
        let Some(query) = self.vector_of(id)? else { return Ok(None) };
        let limit = search.limit;
        let search = Search { limit: limit.saturating_add(1), words: None, ..*search };
        let mut hits = self.search_with(&query, &search)?.pop().unwrap_or_default();
        hits.retain(|hit| hit.id != id);
        hits.truncate(limit);
        Ok(Some(hits))
    }

    fn vector_of(&self, id: &str) -> Result<Option<Matrix>> {
        let sql = "SELECT row, vector FROM documents JOIN vectors USING (row) WHERE id = ?1";
        let mut find =
            self.connection.prepare_cached(sql).map_err(|e| explain("read", &self.folder, e))?;
        let found = find
            .query_row([id], |row| Ok(numbers_of(row_and_bytes(row)?.1)))
            .optional()
            .map_err(|e| explain("read", &self.folder, e))?;
        Ok(found.map(|data| Matrix { dim: data.len(), data }))
    }

    /// Groups of documents of which each scores at least `threshold` with another of its group, up to a millionth for rounding, in the order
    /// of insertion. A hit's score is that with the nearest one. Of vectors of length 1 the score is their cosine.
    ///
    /// # Errors
    /// When the store cannot be read, or a stop was asked for.
    ///
    /// # Cost
    /// An exact search for each document: time grows with the square of their number.
    pub fn near_duplicates(
        &self,
        threshold: f32,
        progress: &dyn Progress,
    ) -> Result<Vec<Vec<Hit>>> {
        self.with_codes(|snapshot, codes| {
            let fail = |e| explain("read", &self.folder, e);
            progress.stage("comparing", Some(count(snapshot).map_err(fail)?));
            let search = Search {
                limit: usize::MAX,
                min_score: Some(threshold - ROUNDING),
                exactness: Exactness::Exact,
                ..Search::default()
            };
            let (mut groups, mut last) = (Groups::default(), 0);
            loop {
                let (rows, queries) = self.next_vectors(snapshot, last)?;
                let Some(&end) = rows.last() else { break };
                let found = self.ranked(snapshot, codes, &queries, &search)?;
                for (row, found) in rows.iter().zip(found) {
                    found.iter().for_each(|scored| groups.join(*row, *scored));
                }
                progress.advance(rows.len() as u64);
                interrupt::check("nothing was changed")?;
                last = end;
            }
            progress.finish();
            let of_group = |group: Vec<Scored>| self.hits(snapshot, &group);
            Ok(groups.into_sorted().into_iter().map(of_group).collect::<Result<_>>()?)
        })
    }

    /// Some rows behind one, and their vectors.
    fn next_vectors(&self, snapshot: &Connection, row: u64) -> Result<(Vec<u64>, Matrix), Failure> {
        let dim = self.settings().model.dim;
        let (mut rows, mut queries) = (Vec::new(), Matrix { data: Vec::new(), dim });
        let sql =
            format!("SELECT row, vector FROM vectors WHERE row > ?1 ORDER BY row LIMIT {BATCH}");
        let mut read = || {
            let mut statement = snapshot.prepare_cached(&sql)?;
            let mut vectors = statement.query([row])?;
            while let Some(vector) = vectors.next()? {
                let (row, bytes) = row_and_bytes(vector)?;
                rows.push(row);
                queries.data.extend(numbers_of(bytes));
            }
            Ok(())
        };
        read().map_err(|e| explain("read", &self.folder, e))?;
        if queries.data.len() != rows.len() * dim {
            return Err(damaged(&self.folder, "a vector has another width").into());
        }
        Ok((rows, queries))
    }
}

fn count(snapshot: &Connection) -> rusqlite::Result<u64> {
    snapshot.query_row("SELECT count(*) FROM vectors", [], |row| row.get(0))
}

fn numbers_of(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)).collect()
}

/// Rows that are joined with others: each points to an earlier one of its group, or to itself.
#[derive(Debug, Default)]
struct Groups(BTreeMap<u64, Member>);

#[derive(Clone, Copy, Debug)]
struct Member {
    towards: u64,
    best: f32,
}

impl Groups {
    fn join(&mut self, row: u64, other: Scored) {
        if row == other.row {
            return;
        }
        for row in [row, other.row] {
            let member = self.0.entry(row).or_insert(Member { towards: row, best: other.score });
            member.best = member.best.max(other.score);
        }
        let (a, b) = (self.first_of(row), self.first_of(other.row));
        if let Some(member) = self.0.get_mut(&a.max(b)) {
            member.towards = a.min(b);
        }
    }

    /// The first row of a row's group; the way there is shortened.
    fn first_of(&mut self, row: u64) -> u64 {
        let mut row = row;
        while let Some(towards) = self.0.get(&row).map(|member| member.towards)
            && towards != row
        {
            let further = self.0.get(&towards).map_or(towards, |member| member.towards);
            if let Some(member) = self.0.get_mut(&row) {
                member.towards = further;
            }
            row = towards;
        }
        row
    }

    fn into_sorted(mut self) -> Vec<Vec<Scored>> {
        let members: Vec<Scored> =
            self.0.iter().map(|(&row, member)| Scored { row, score: member.best }).collect();
        let mut groups: BTreeMap<u64, Vec<Scored>> = BTreeMap::new();
        for member in members {
            groups.entry(self.first_of(member.row)).or_default().push(member);
        }
        groups.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against spreading a mark until nothing changes.
        #[test]
        fn groups_are_what_can_be_reached(pairs in prop::collection::vec((0_u64..30, 0_u64..30), 0..40)) {
            let mut groups = Groups::default();
            let mut marks: Vec<u64> = (0..30).collect();
            for &(row, other) in &pairs {
                groups.join(row, Scored { row: other, score: 0.9 });
            }
            for _ in 0..30 {
                for &(a, b) in &pairs {
                    let least = marks[a as usize].min(marks[b as usize]);
                    (marks[a as usize], marks[b as usize]) = (least, least);
                }
            }
            let paired: BTreeSet<u64> = pairs.iter().filter(|(a, b)| a != b).flat_map(|(a, b)| [*a, *b]).collect();
            let mut expected: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
            for row in paired {
                expected.entry(marks[row as usize]).or_default().push(row);
            }
            let found: Vec<Vec<u64>> =
                groups.into_sorted().iter().map(|group| group.iter().map(|hit| hit.row).collect()).collect();
            prop_assert_eq!(found, expected.into_values().collect::<Vec<_>>());
        }
    }
}
