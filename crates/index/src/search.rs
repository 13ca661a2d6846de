//! Exact search: every vector that is allowed is read in blocks and scored, the best k are kept.
//!
//! `filter ─> RowSet`, `query vector, RowSet ─scan─> by vectors`, `query words, RowSet ─BM25─> by words`,
//! `both ─Fusion─> rows ─> Hits`: all in one snapshot.

use hpd_files::vectors::Matrix;
use hpd_files::{Error, Result, interrupt};
use hpd_kernels::{Scored, TopK, dots};
use rayon::prelude::*;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde_json::{Map, Value};

use crate::explain::{damaged, explain};
use crate::filter::SqlCondition;
use crate::{Filter, Fusion, RowSet, Store, checksum, text_search};

/// Numbers scored at once: a block stays in the second-level cache while every query passes over it.
const BLOCK_NUMBERS: usize = 1 << 17;

/// Rows beyond are taken for damage: a bitmap up to here is a gigabyte.
const LARGEST_ROW: u64 = 1 << 33;

/// Hits that are given when nobody says how many.
pub const DEFAULT_LIMIT: usize = 10;

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

/// What is asked beside the vectors of the queries.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// Most hits for each query.
    pub limit: usize,
    /// Only documents that match.
    pub filter: Option<&'a Filter>,
    /// The text of each query, to search by its words too and join both rankings.
    pub words: Option<&'a [&'a str]>,
    /// How they are joined.
    pub fusion: Fusion,
}

impl Default for Search<'_> {
    fn default() -> Self {
        Self { limit: DEFAULT_LIMIT, filter: None, words: None, fusion: Fusion::default() }
    }
}

impl Store {
    /// The `k` documents nearest to `query`, best first; among equals the one inserted first.
    ///
    /// # Errors
    /// When the query is of another width or not finite, or the database cannot be read.
    ///
    /// # Cost
    /// Reads every vector from the database: `4 · dim` bytes a document, in constant memory.
    pub fn search(&self, query: &[f32], k: usize) -> Result<Vec<Hit>> {
        let queries = Matrix { data: query.to_vec(), dim: query.len() };
        Ok(self.search_all(&queries, k)?.pop().unwrap_or_default())
    }

    /// [`Store::search`] for many queries in one pass over the vectors, all seeing the same moment of the store.
    ///
    /// # Shapes
    /// - `queries`: `[n, dim]`
    /// - returns: `n` lists of at most `k` hits
    ///
    /// # Errors
    /// As [`Store::search`].
    pub fn search_all(&self, queries: &Matrix, k: usize) -> Result<Vec<Vec<Hit>>> {
        self.search_with(queries, &Search { limit: k, ..Search::default() })
    }

    /// [`Store::search_all`] among the documents that match a filter, by words too where they are given.
    ///
    /// # Errors
    /// As [`Store::search`]; also when the filter is too large, or there is not one text for each query.
    ///
    /// # Cost
    /// A filter reads the metadata of every document; words cost time for each document that has one of them.
    pub fn search_with(&self, queries: &Matrix, search: &Search<'_>) -> Result<Vec<Vec<Hit>>> {
        self.check_queries(queries)?;
        let fail = |e| explain("search", &self.folder, e);
        let snapshot = self.connection.unchecked_transaction().map_err(fail)?;
        let allowed = search.filter.map(|filter| self.matching(&snapshot, filter)).transpose()?;
        let found = match search.words {
            None => self.scan(&snapshot, queries, search.limit, allowed.as_ref())?,
            Some(words) => self.fused(&snapshot, queries, words, search, allowed.as_ref())?,
        };
        found.into_iter().map(|scored| self.hits(&snapshot, &scored)).collect()
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

    /// The rankings by vectors and by words made one.
    fn fused(
        &self,
        snapshot: &Connection,
        queries: &Matrix,
        words: &[&str],
        search: &Search<'_>,
        allowed: Option<&RowSet>,
    ) -> Result<Vec<Vec<Scored>>> {
        if words.len() != queries.len() {
            let (texts, vectors) = (words.len(), queries.len());
            return Err(Error::mismatch(format!(
                "{vectors} queries need as many texts, found {texts}"
            )));
        }
        let depth = search.fusion.depth.max(search.limit);
        let fusion = Fusion { depth, ..search.fusion };
        let by_vectors = self.scan(snapshot, queries, depth, allowed)?;
        let fuse = |(by_vectors, words): (Vec<Scored>, &&str)| {
            interrupt::check("nothing was changed")?;
            let by_words = text_search::best(snapshot, words, depth, allowed)
                .map_err(|e| explain("search", &self.folder, e))?;
            Ok(fusion.fuse(&by_vectors, &by_words, search.limit))
        };
        by_vectors.into_iter().zip(words).map(fuse).collect()
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

    fn scan(
        &self,
        snapshot: &Connection,
        queries: &Matrix,
        k: usize,
        allowed: Option<&RowSet>,
    ) -> Result<Vec<Vec<Scored>>> {
        let fail = |e| explain("search", &self.folder, e);
        let mut best = vec![TopK::new(k); queries.len()];
        let mut block = Block::new(queries.dim);
        let mut statement = snapshot
            .prepare_cached("SELECT row, vector FROM vectors ORDER BY row")
            .map_err(fail)?;
        let mut vectors = statement.query([]).map_err(fail)?;
        while let Some(vector) = vectors.next().map_err(fail)? {
            let row = vector.get(0).map_err(fail)?;
            // What is not asked for is not read.
            if !allowed.is_none_or(|allowed| allowed.contains(row)) {
                continue;
            }
            let (row, bytes) = row_and_bytes(vector).map_err(fail)?;
            if !block.push(row, bytes) {
                let why = format!("the vector of row {row} has another width");
                return Err(damaged(&self.folder, &why));
            }
            if block.is_full() {
                block.score(queries, &mut best);
                interrupt::check("nothing was changed")?;
            }
        }
        block.score(queries, &mut best);
        Ok(best.into_iter().map(TopK::into_sorted).collect())
    }

    fn hits(&self, snapshot: &Connection, found: &[Scored]) -> Result<Vec<Hit>> {
        found.iter().map(|scored| self.hit(snapshot, *scored)).collect()
    }

    fn hit(&self, snapshot: &Connection, scored: Scored) -> Result<Hit> {
        let found = stored(snapshot, scored.row).map_err(|e| explain("search", &self.folder, e))?;
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
        Self { dim, rows: Vec::new(), numbers: Vec::with_capacity(BLOCK_NUMBERS + dim) }
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
