//! Search: which documents are nearest, and what they are.
//!
//! Candidates come from the codes ([`candidates`]) and, for rows that are in no block of them, from the database
//! ([`database`]); scores always come from the vectors in the database. All of a search sees one moment of the store.

mod candidates;
mod database;
mod pass;

use std::fmt;
use std::str::FromStr;

use hpd_files::vectors::Matrix;
use hpd_files::{Error, Result};
use hpd_kernels::{Scored, TopK};
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Map, Value};

use crate::codes::{Codes, Damaged};
use crate::explain::{damaged, explain};
use crate::{RowSet, Store, checksum, schema};

use candidates::Candidates;
pub(crate) use database::row_and_bytes;

/// Hits that are given when nobody says how many.
pub const DEFAULT_LIMIT: usize = 10;

/// Times a search begins again because codes turned out to be damaged, before it does without any.
const ATTEMPTS: usize = 3;

/// How sure a search is to find the nearest documents. Scores and their order are exact in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exactness {
    /// What comparing with every vector finds. Reads the vectors in 8 bits and looks up all that could be among the
    /// best, going by a bound on what rounding to 8 bits cost.
    Exact,
    /// Of the best ten, one in a thousand or so may be missed. Reads one bit a number, then compares the best few
    /// thousand in 8 bits.
    #[default]
    High,
    /// The same with a few hundred: one in a hundred or so may be missed.
    Fast,
}

/// What is looked for, and how.
#[derive(Clone, Copy, Debug)]
pub struct SearchOptions<'a> {
    /// How many hits to give for each query.
    pub limit: usize,
    /// Leaves out hits that score less.
    pub min_score: Option<f32>,
    /// How sure to be.
    pub exactness: Exactness,
    /// Leaves out all other rows.
    pub allowed: Option<&'a RowSet>,
    /// How many rows are compared in 8 bits where signs are read first; `None` leaves it to [`Exactness`].
    pub shortlist: Option<usize>,
}

/// A document found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Dot product of query and document, which for vectors of length 1 is their cosine.
    pub score: f32,
    /// Id of the document.
    pub id: String,
    /// Its text.
    pub text: String,
    /// Its other fields.
    pub metadata: Map<String, Value>,
}

/// Why a search has to begin again or to end.
pub(crate) enum Failure {
    /// The codes are not of this database, or not as they were written.
    Codes,
    Error(Error),
}

impl Default for SearchOptions<'_> {
    fn default() -> Self {
        Self {
            limit: DEFAULT_LIMIT,
            min_score: None,
            exactness: Exactness::default(),
            allowed: None,
            shortlist: None,
        }
    }
}

impl FromStr for Exactness {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        match word {
            "exact" => Ok(Self::Exact),
            "high" => Ok(Self::High),
            "fast" => Ok(Self::Fast),
            other => Err(Error::input(format!(
                "`{other}` is no exactness; expected exact, high or fast"
            ))),
        }
    }
}

impl fmt::Display for Exactness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::High => "high",
            Self::Fast => "fast",
        })
    }
}

impl From<Damaged> for Failure {
    fn from(_: Damaged) -> Self {
        Self::Codes
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Store {
    /// The `k` documents nearest to `query`, best first and none missed; among equals the one inserted first.
    ///
    /// # Errors
    /// When the query is of another width or not finite, or the database cannot be read.
    ///
    /// # Cost
    /// Reads `dim` bytes a document from the codes, where there are some, otherwise `4 · dim` from the database.
    pub fn search(&self, query: &[f32], k: usize) -> Result<Vec<Hit>> {
        let queries = Matrix { data: query.to_vec(), dim: query.len() };
        let options =
            SearchOptions { limit: k, exactness: Exactness::Exact, ..SearchOptions::default() };
        Ok(self.search_all(&queries, &options)?.pop().unwrap_or_default())
    }

    /// The documents nearest to each of many queries, all seeing the same moment of the store.
    ///
    /// # Shapes
    /// - `queries`: `[n, dim]`
    /// - returns: `n` lists of at most `limit` hits, best first; among equals the one inserted first
    ///
    /// # Errors
    /// As [`Store::search`].
    ///
    /// # Cost
    /// One pass over the codes for all queries; `dim / 8` bytes a document unless [`Exactness::Exact`] is asked for.
    pub fn search_all(
        &self,
        queries: &Matrix,
        options: &SearchOptions<'_>,
    ) -> Result<Vec<Vec<Hit>>> {
        self.check_queries(queries)?;
        self.derive_missing_codes()?;
        for attempt in 0..=ATTEMPTS {
            let snapshot = self.connection.unchecked_transaction().map_err(|e| self.fail(e))?;
            if schema::identity(&snapshot).map_err(|e| self.fail(e))? != self.identity() {
                return Err(self.not_as_opened());
            }
            let codes = if attempt < ATTEMPTS { self.codes_at(&snapshot)? } else { None };
            let search = Search { store: self, snapshot: &snapshot, queries, options };
            let found = search.run(codes.as_ref());
            match found {
                Ok(found) => {
                    self.keep_codes(codes);
                    return found.iter().map(|scored| self.hits(&snapshot, scored)).collect();
                }
                Err(Failure::Error(error)) => return Err(error),
                Err(Failure::Codes) => {
                    drop(snapshot);
                    self.derive_codes_anew()?;
                }
            }
        }
        // The last attempt reads no codes, so none can be damaged.
        Ok(Vec::new())
    }

    fn check_queries(&self, queries: &Matrix) -> Result<()> {
        let dim = self.settings().model.dim;
        if queries.dim != dim {
            return Err(Error::mismatch(format!(
                "the query has {} dimensions, but the store `{}` holds vectors of {dim}",
                queries.dim,
                self.folder.display()
            )));
        }
        if queries.data.iter().any(|number| !number.is_finite()) {
            return Err(Error::input("the query has a number that is not finite"));
        }
        Ok(())
    }

    fn fail(&self, error: rusqlite::Error) -> Error {
        explain("search", &self.folder, error)
    }

    fn hits(&self, snapshot: &Connection, found: &[Scored]) -> Result<Vec<Hit>> {
        found.iter().map(|scored| self.hit(snapshot, *scored)).collect()
    }

    fn hit(&self, snapshot: &Connection, scored: Scored) -> Result<Hit> {
        let found = stored(snapshot, scored.row).map_err(|e| self.fail(e))?;
        let Some(Stored { id, text, fields, checksums }) = found else {
            let why = format!("row {} has a vector but no document", scored.row);
            return Err(damaged(&self.folder, &why));
        };
        let parts = [id.as_bytes(), text.as_bytes()];
        if checksums != (checksum::of(&parts), checksum::of(&[fields.as_bytes()])) {
            let why = format!("row {} does not match its checksum", scored.row);
            return Err(damaged(&self.folder, &why));
        }
        let metadata = serde_json::from_str(&fields).map_err(|e| {
            damaged(&self.folder, &format!("the metadata of `{id}` is not a JSON object"))
                .caused_by(e)
        })?;
        Ok(Hit { score: scored.score, id, text, metadata })
    }
}

/// One search at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Search<'a> {
    store: &'a Store,
    snapshot: &'a Connection,
    queries: &'a Matrix,
    options: &'a SearchOptions<'a>,
}

impl Search<'_> {
    /// The nearest rows of each query, best first.
    fn run(&self, codes: Option<&Codes>) -> Result<Vec<Vec<Scored>>, Failure> {
        let mut best = vec![TopK::new(self.options.limit); self.queries.len()];
        match codes.map(|codes| Candidates::new(*self, codes)).filter(Candidates::are_worth_it) {
            Some(candidates) => {
                self.scan(candidates.covered(), &mut best)?;
                candidates.search(&mut best)?;
            }
            None => self.scan(0, &mut best)?,
        }
        Ok(best.into_iter().map(|best| self.near_enough(best)).collect())
    }

    fn near_enough(&self, best: TopK) -> Vec<Scored> {
        let mut found = best.into_sorted();
        found.retain(|scored| scored.score >= self.least());
        found
    }

    /// The least score that counts.
    fn least(&self) -> f32 {
        self.options.min_score.unwrap_or(f32::NEG_INFINITY)
    }

    fn allows(&self, row: u64) -> bool {
        self.options.allowed.is_none_or(|allowed| allowed.contains(row))
    }
}

/// A document as it stands in the tables.
struct Stored {
    id: String,
    text: String,
    fields: String,
    /// Of the document and of its metadata.
    checksums: (i64, i64),
}

fn stored(snapshot: &Connection, row: u64) -> rusqlite::Result<Option<Stored>> {
    let mut find = snapshot.prepare_cached(
        "SELECT id, text, fields, documents.checksum, metadata.checksum
         FROM documents JOIN metadata USING (row) WHERE row = ?1",
    )?;
    find.query_row([row], |row| {
        Ok(Stored {
            id: row.get(0)?,
            text: row.get(1)?,
            fields: row.get(2)?,
            checksums: (row.get(3)?, row.get(4)?),
        })
    })
    .optional()
}
