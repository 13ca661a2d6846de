//! What is asked of an engine: the few deeds that pushing and searching are made of.

use hpd_files::vectors::Matrix;
use hpd_files::{Error, Result};
use hpd_index::{Document, Hit, Search, StoreSettings};

/// How vectors lie in a collection; settled when it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// In 16 bits a number instead of 32, so scores lose digits after the third.
    pub half: bool,
}

/// What became of documents handed to [`Collection::upsert`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upserted {
    /// Were not there.
    pub added: u64,
    /// Were there with another text, vector or metadata.
    pub changed: u64,
    /// Had characters that the engine cannot hold and that were replaced.
    pub mended: u64,
    /// Had texts longer than the engine holds, and lost their end there.
    pub cut: u64,
}

/// Documents with their vectors in an engine.
pub trait Collection {
    /// Those of the store whose documents these are.
    fn settings(&self) -> &StoreSettings;

    /// How many documents there are.
    ///
    /// # Errors
    /// When the engine does not answer.
    fn len(&mut self) -> Result<u64>;

    /// Whether there is no document.
    ///
    /// # Errors
    /// As [`Collection::len`].
    fn is_empty(&mut self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Adds documents; those whose id is there already are replaced where they differ. All stand when this returns.
    ///
    /// # Shapes
    /// - `vectors`: `[documents, dim]`
    ///
    /// # Errors
    /// When the engine refuses a document or does not answer.
    fn upsert(&mut self, documents: &[Document], vectors: &Matrix) -> Result<Upserted>;

    /// At most `limit` ids in the engine's own order, from the first behind `last`.
    ///
    /// # Errors
    /// When the engine does not answer.
    fn ids_after(&mut self, last: Option<&str>, limit: usize) -> Result<Vec<String>>;

    /// Deletes documents by id.
    ///
    /// # Errors
    /// When the engine does not answer.
    fn delete(&mut self, ids: &[String]) -> Result<()>;

    /// Makes the index by which searches need not read every vector, where it is not there yet.
    ///
    /// # Errors
    /// When the engine refuses or was interrupted.
    fn build_index(&mut self) -> Result<()>;

    /// The documents nearest to each query, best first. Scores are dot products, as those of a store.
    ///
    /// # Shapes
    /// - `queries`: `[n, dim]`
    /// - returns: `n` lists of at most `search.limit` hits
    ///
    /// # Errors
    /// When the engine does not answer, or something is asked that only a store can do.
    fn search(&mut self, queries: &Matrix, search: &Search<'_>) -> Result<Vec<Vec<Hit>>>;
}

/// Refuses what an engine is not asked for.
#[cfg_attr(
    not(any(feature = "postgres", feature = "milvus")),
    expect(dead_code, reason = "no engine is built in")
)]
pub(crate) fn check_search(queries: &Matrix, search: &Search<'_>, dim: usize) -> Result<()> {
    if search.words.is_some() {
        return Err(Error::input("only a store on this machine is searched by words too").hint(
            "leave `--hybrid` out, or search the store itself: `hpd search --store DIR --hybrid`",
        ));
    }
    if queries.dim != dim {
        let found = queries.dim;
        return Err(Error::mismatch(format!(
            "the query has {found} numbers, expected {dim} as the documents have"
        )));
    }
    Ok(())
}
