//! Search: which documents are nearest, and what they are.
//!
//! `filter ─> RowSet`, `query vector, RowSet ─ByVectors─> by vectors`, `query words, RowSet ─BM25─> by words`,
//! `both ─Fusion─> rows ─> Hits`
//!
//! Candidates by vectors come from the codes ([`candidates`]) and, for rows that are in no block of them, from the database
//! ([`database`]); scores always come from the vectors in the database. All of a search sees one moment of the store.

mod candidates;
mod database;
mod pass;

use std::fmt;
use std::str::FromStr;

use hpd_files::vectors::Matrix;
use hpd_files::{Error, Result, interrupt};
use hpd_kernels::{Scored, TopK};
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use serde_json::{Map, Value};

use crate::codes::{Codes, Damaged};
use crate::explain::{damaged, explain};
use crate::filter::SqlCondition;
use crate::{Filter, Fusion, RowSet, Store, checksum, schema, text_search};

use candidates::Candidates;
pub(crate) use database::row_and_bytes;

/// Rows beyond are taken for damage: a bitmap up to here is a gigabyte.
const LARGEST_ROW: u64 = 1 << 33;

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
    /// Of the best ten, less than one in a hundred is missed (up to four million sentences, 128 numbers). Reads one bit a number, then
    /// compares the best thousand in 8 bits, or one row in two thousand where that is more.
    #[default]
    High,
    /// The same with two hundred, or one row in ten thousand: three to six in a hundred are missed.
    Fast,
}

/// What is asked beside the vectors of the queries.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// Most hits for each query.
    pub limit: usize,
    /// Leaves out hits that score less.
    pub min_score: Option<f32>,
    /// How sure to be that nothing nearer is missed.
    pub exactness: Exactness,
    /// Only documents that match.
    pub filter: Option<&'a Filter>,
    /// The text of each query, to search by its words too and join both rankings.
    pub words: Option<&'a [&'a str]>,
    /// How they are joined.
    pub fusion: Fusion,
    /// How many rows are compared in 8 bits where signs are read first; `None` leaves it to [`Exactness`].
    pub shortlist: Option<usize>,
}

/// A document found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Dot product of query and document, which for vectors of length 1 is their cosine; with words, what [`Fusion`]
    /// made of both rankings, from 0 to 1.
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

impl Default for Search<'_> {
    fn default() -> Self {
        Self {
            limit: DEFAULT_LIMIT,
            min_score: None,
            exactness: Exactness::default(),
            filter: None,
            words: None,
            fusion: Fusion::default(),
            shortlist: None,
        }
    }
}

impl Exactness {
    /// How many of so many `rows`, those whose signs are nearest to a query, are compared in 8 bits where `limit` hits are wanted;
    /// `None` where all rows are.
    pub fn shortlist(self, limit: usize, rows: usize) -> Option<usize> {
        let (least, for_each_hit, one_in) = match self {
            Self::Exact => return None,
            Self::High => (1000, 50, 2_000),
            Self::Fast => (200, 10, 10_000),
        };
        Some(least.max(limit.saturating_mul(for_each_hit)).max(rows / one_in))
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
        Ok(self.search_all(&queries, k)?.pop().unwrap_or_default())
    }

    /// [`Store::search`] for many queries in one pass, all seeing the same moment of the store.
    ///
    /// # Shapes
    /// - `queries`: `[n, dim]`
    /// - returns: `n` lists of at most `k` hits
    ///
    /// # Errors
    /// As [`Store::search`].
    pub fn search_all(&self, queries: &Matrix, k: usize) -> Result<Vec<Vec<Hit>>> {
        let search = Search { limit: k, exactness: Exactness::Exact, ..Search::default() };
        self.search_with(queries, &search)
    }

    /// [`Store::search_all`] as sure as is asked for, among the documents that match a filter, by words too where they are
    /// given.
    ///
    /// # Errors
    /// As [`Store::search`]; also when the filter is too large, or there is not one text for each query.
    ///
    /// # Cost
    /// One pass over the codes for all queries: `dim / 8` bytes a document, `dim` for [`Exactness::Exact`]. A filter reads
    /// the metadata of every document; words cost time for each document that has one of them.
    pub fn search_with(&self, queries: &Matrix, search: &Search<'_>) -> Result<Vec<Vec<Hit>>> {
        self.check_queries(queries)?;
        if search.min_score.is_some_and(f32::is_nan) {
            return Err(Error::input("the least score that counts is no number"));
        }
        self.with_codes(|snapshot, codes| {
            let found = self.ranked(snapshot, codes, queries, search)?;
            Ok(found.iter().map(|scored| self.hits(snapshot, scored)).collect::<Result<_>>()?)
        })
    }

    /// Does `work` at one moment of the store, with the codes of that moment where there are some; again when those turn out to be
    /// damaged.
    pub(crate) fn with_codes<T>(
        &self,
        mut work: impl FnMut(&Connection, Option<&Codes>) -> Result<T, Failure>,
    ) -> Result<T> {
        self.derive_missing_codes()?;
        for attempt in 0..=ATTEMPTS {
            let snapshot = self.connection.unchecked_transaction().map_err(|e| self.fail(e))?;
            if schema::identity(&snapshot).map_err(|e| self.fail(e))? != self.identity() {
                return Err(self.not_as_opened());
            }
            let codes = if attempt < ATTEMPTS { self.codes_at(&snapshot)? } else { None };
            match work(&snapshot, codes.as_ref()) {
                Ok(found) => {
                    self.keep_codes(codes);
                    return Ok(found);
                }
                Err(Failure::Error(error)) => return Err(error),
                Err(Failure::Codes) => {
                    drop(snapshot);
                    self.derive_codes_anew()?;
                }
            }
        }
        // The last attempt reads no codes, so none can be damaged; an empty answer would be a wrong one all the same.
        Err(damaged(&self.folder, "its codes are damaged each time they are made anew"))
    }

    /// The best rows of each query.
    pub(crate) fn ranked(
        &self,
        snapshot: &Connection,
        codes: Option<&Codes>,
        queries: &Matrix,
        search: &Search<'_>,
    ) -> Result<Vec<Vec<Scored>>, Failure> {
        let allowed = search.filter.map(|filter| self.matching(snapshot, filter)).transpose()?;
        let allowed = allowed.as_ref();
        let Search { limit, min_score, fusion, .. } = *search;
        let by_vectors =
            ByVectors { store: self, snapshot, queries, limit, min_score, allowed, search };
        let Some(words) = search.words else { return by_vectors.run(codes) };
        if words.len() != queries.len() {
            let (texts, vectors) = (words.len(), queries.len());
            let message = format!("{vectors} queries need as many texts, found {texts}");
            return Err(Error::mismatch(message).into());
        }
        let fusion = Fusion { depth: fusion.depth.max(limit), ..fusion };
        let by_vectors = ByVectors { limit: fusion.depth, min_score: None, ..by_vectors };
        let fuse = |(by_vectors, words): (Vec<Scored>, &&str)| {
            interrupt::check("nothing was changed")?;
            let by_words = text_search::best(snapshot, words, fusion.depth, allowed)
                .map_err(|e| self.fail(e))?;
            let mut fused = fusion.fuse(&by_vectors, &by_words, limit);
            fused.retain(|scored| min_score.is_none_or(|least| scored.score >= least));
            Ok(fused)
        };
        by_vectors.run(codes)?.into_iter().zip(words).map(fuse).collect()
    }

    /// The rows whose metadata matches.
    fn matching(&self, snapshot: &Connection, filter: &Filter) -> Result<RowSet> {
        let SqlCondition { sql, parameters } = SqlCondition::of(filter)?;
        let find = || {
            let mut find = snapshot.prepare(&format!("SELECT row FROM metadata WHERE {sql}"))?;
            let mut rows = find.query(params_from_iter(parameters))?;
            let mut matching = RowSet::default();
            while let Some(row) = rows.next()? {
                let row: u64 = row.get(0)?;
                if row > LARGEST_ROW {
                    return Err(rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX));
                }
                matching.insert(row);
            }
            Ok(matching)
        };
        find().map_err(|e| explain("filter", &self.folder, e))
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

    pub(crate) fn hits(&self, snapshot: &Connection, found: &[Scored]) -> Result<Vec<Hit>> {
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

/// One search by vectors at one moment.
#[derive(Clone, Copy)]
pub(crate) struct ByVectors<'a> {
    store: &'a Store,
    snapshot: &'a Connection,
    queries: &'a Matrix,
    limit: usize,
    min_score: Option<f32>,
    allowed: Option<&'a RowSet>,
    search: &'a Search<'a>,
}

impl ByVectors<'_> {
    /// The nearest rows of each query, best first.
    fn run(&self, codes: Option<&Codes>) -> Result<Vec<Vec<Scored>>, Failure> {
        let mut best = vec![TopK::new(self.limit); self.queries.len()];
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
        self.min_score.unwrap_or(f32::NEG_INFINITY)
    }

    fn allows(&self, row: u64) -> bool {
        self.allowed.is_none_or(|allowed| allowed.contains(row))
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
