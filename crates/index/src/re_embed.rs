//! New vectors for all documents, by another model.
//!
//! They gather in a table beside the old ones, batch by batch, while others go on reading and adding with the old
//! model. When no document is left, one transaction puts the new table and the new model in the place of the old ones.
//! Inside one database that is atomic, and nobody keeps a file that is no longer the store; whoever opened the
//! store before is told to open it again.

use hpd_files::vectors::Matrix;
use hpd_files::{Error, Progress, Result, interrupt};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::schema::vector_table;
use crate::{Store, StoreModel, StoreSettings, checksum};

/// Documents embedded and written at once; a kill loses the work on at most so many.
const BATCH: usize = 512;

impl Store {
    /// Embeds all documents with the model of `settings` and makes it the store's. Stopped and begun again with the same
    /// settings, it goes on; with others it begins anew. Returns how many documents were embedded now.
    ///
    /// # Errors
    /// The first error of `encode`, vectors of another width than the settings say, an interruption, another process that
    /// began after this one with other settings, or when the database cannot be written. Until the last moment the store is
    /// as it was.
    pub fn re_embed(
        &mut self,
        settings: &StoreSettings,
        mut encode: impl FnMut(&[&str]) -> Result<Matrix>,
        progress: &dyn Progress,
    ) -> Result<u64> {
        let begun = serde_json::to_string(settings).map_err(|e| {
            Error::input("the model's settings cannot be written down").caused_by(e)
        })?;
        self.begin_re_embedding(&begun, settings.model.dim)?;
        let mut embedded = 0;
        loop {
            let documents = self.go_on(&begun, |transaction| not_yet_embedded(transaction))?;
            if documents.is_empty() && self.take_new_vectors(&begun, settings)? {
                self.derive_codes()?;
                return Ok(embedded);
            }
            let texts: Vec<&str> = documents.iter().map(|(_, text)| text.as_str()).collect();
            let vectors = encode(&texts)?;
            if !texts.is_empty()
                && (vectors.dim, vectors.len()) != (settings.model.dim, texts.len())
            {
                return Err(Error::mismatch(format!(
                    "{} documents need vectors of shape [{}, {}], found [{}, {}]",
                    texts.len(),
                    texts.len(),
                    settings.model.dim,
                    vectors.len(),
                    vectors.dim
                )));
            }
            self.go_on(&begun, |transaction| keep(transaction, &documents, &vectors))?;
            embedded += documents.len() as u64;
            progress.advance(documents.len() as u64);
            interrupt::check("the new vectors up to here are kept; the same command goes on")?;
        }
    }

    /// Makes the table of new vectors, unless there is one by the same model.
    fn begin_re_embedding(&mut self, begun: &str, dim: usize) -> Result<()> {
        self.write("write to", |transaction| {
            if !is_begun(transaction, begun)? {
                transaction.execute_batch("DROP TABLE IF EXISTS next_vectors")?;
                transaction.execute_batch(&vector_table("next_vectors", dim))?;
                transaction.execute("UPDATE store SET next_model = ?1", [begun])?;
            }
            Ok(())
        })
    }

    /// A step of embedding, unless the table of new vectors is by another model meanwhile.
    fn go_on<T>(
        &mut self,
        begun: &str,
        step: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let done = self.write("write to", |transaction| {
            let may_go_on = is_begun(transaction, begun)?;
            may_go_on.then(|| step(transaction)).transpose()
        })?;
        done.ok_or_else(|| {
            let store = self.folder.display();
            Error::mismatch(format!(
                "another process has begun to embed the documents of the store `{store}` anew, or has done so"
            ))
            .hint("let only one do so at a time; this command begins anew")
        })
    }

    /// Puts the new vectors in the place of the old ones; `false` when a document was added meanwhile.
    fn take_new_vectors(&mut self, begun: &str, settings: &StoreSettings) -> Result<bool> {
        let taken = self.go_on(begun, |transaction| {
            if !not_yet_embedded(transaction)?.is_empty() {
                return Ok(false);
            }
            transaction.execute_batch(
                "DROP TABLE vectors; ALTER TABLE next_vectors RENAME TO vectors; DELETE FROM models;",
            )?;
            let StoreModel { name, revision, weights, space, dim } = &settings.model;
            transaction.execute(
                "UPDATE store SET identity = randomblob(16), next_model = NULL, model = ?1, revision = ?2,
                   weights = ?3, space = ?4, dim = ?5, query_prompt = ?6, document_prompt = ?7, max_seq_length = ?8",
                params![
                    name,
                    revision,
                    weights,
                    space,
                    dim,
                    settings.query_prompt,
                    settings.document_prompt,
                    settings.max_seq_length
                ],
            )?;
            transaction.execute("INSERT INTO models VALUES (?1, ?2)", [weights, name])?;
            Ok(true)
        })?;
        if taken {
            self.reread_settings()?;
        }
        Ok(taken)
    }
}

/// Whether the table of new vectors is by these settings.
fn is_begun(connection: &Connection, settings: &str) -> rusqlite::Result<bool> {
    connection.query_row("SELECT next_model IS ?1 FROM store", [settings], |row| row.get(0))
}

/// The next documents without a new vector. They come in the order of their rows and rows only grow, so all
/// up to the last new vector have one.
fn not_yet_embedded(connection: &Connection) -> rusqlite::Result<Vec<(u64, String)>> {
    let last: Option<u64> = connection
        .query_row("SELECT max(row) FROM next_vectors", [], |row| row.get(0))
        .optional()?
        .flatten();
    let mut documents = connection
        .prepare_cached("SELECT row, text FROM documents WHERE row > ?1 ORDER BY row LIMIT ?2")?;
    documents
        .query_map(params![last.unwrap_or(0), BATCH], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Writes new vectors of the documents that are still there, where another process that embeds by the same model has not.
fn keep(
    transaction: &Transaction<'_>,
    documents: &[(u64, String)],
    vectors: &Matrix,
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT OR IGNORE INTO next_vectors SELECT row, ?2, ?3 FROM documents WHERE row = ?1",
    )?;
    for ((row, _), vector) in documents.iter().zip(vectors.rows()) {
        let bytes: &[u8] = bytemuck::cast_slice(vector);
        insert.execute(params![row, bytes, checksum::of(&[bytes])])?;
    }
    Ok(())
}
