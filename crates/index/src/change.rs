//! Changing the documents of a store: each call is one transaction, done whole or not at all.

use hpd_files::vectors::Matrix;
use hpd_files::{Error, Result};
use rusqlite::{OptionalExtension, Transaction, params, params_from_iter};
use serde_json::Value;

use crate::filter::SqlCondition;
use crate::{Document, Filter, Store, checksum};

/// How a document compares with what the store has under its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No document of this id is there.
    New,
    /// One with another text is there.
    TextDiffers,
    /// One with the same text but other metadata is there.
    MetadataDiffers,
    /// It is there just so.
    Same,
}

impl Store {
    /// How each document compares with what is there under its id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn compare(&self, documents: &[Document]) -> Result<Vec<Standing>> {
        self.read("read", |connection| {
            let mut find = connection.prepare_cached(
                "SELECT text, fields FROM documents LEFT JOIN metadata USING (row) WHERE id = ?1",
            )?;
            let mut standing = |document: &Document| {
                let found = find
                    .query_row([&document.id], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                Ok(standing_of(document, found))
            };
            documents.iter().map(&mut standing).collect()
        })
    }

    /// Adds documents with their vectors; one whose id is there already replaces that one.
    ///
    /// All of them stand when this returns, and none when it fails. A replaced document counts as inserted last.
    /// Scores are dot products, so vectors of length 1 make them cosines.
    ///
    /// # Shapes
    /// - `vectors`: `[documents, dim]`
    ///
    /// # Errors
    /// When the shape is another, a number is not finite, an id is empty, another process has given the store another model, or
    /// the disk refuses.
    pub fn add(&mut self, documents: &[Document], vectors: &Matrix) -> Result<()> {
        self.check_additions(documents, vectors)?;
        self.write_as_opened("add to", |transaction| {
            for (i, document) in documents.iter().enumerate() {
                insert(transaction, document, vectors.row(i))?;
            }
            Ok(())
        })?;
        self.append_codes(documents.len());
        Ok(())
    }

    /// Gives documents that are there already their metadata anew, leaving text and vector.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn set_metadata(&mut self, documents: &[Document]) -> Result<()> {
        self.write("add to", |transaction| {
            let mut update = transaction.prepare_cached(
                "UPDATE metadata SET fields = ?2, checksum = ?3
                 WHERE row = (SELECT row FROM documents WHERE id = ?1)",
            )?;
            for document in documents {
                let fields = fields_of(document);
                update.execute(params![document.id, fields, checksum::of(&[fields.as_bytes()])])?;
            }
            Ok(())
        })
    }

    /// Deletes documents by id, all or none; returns how many were there.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn delete<S: AsRef<str>>(&mut self, ids: &[S]) -> Result<u64> {
        self.write("delete from", |transaction| {
            let mut delete = transaction.prepare_cached("DELETE FROM documents WHERE id = ?1")?;
            ids.iter()
                .try_fold(0, |deleted, id| Ok(deleted + delete.execute([id.as_ref()])? as u64))
        })
    }

    /// Deletes the documents that match a filter, all or none; returns how many there were.
    ///
    /// # Errors
    /// When the filter is too large, or the disk refuses.
    pub fn delete_matching(&mut self, filter: &Filter) -> Result<u64> {
        let SqlCondition { sql, parameters } = SqlCondition::of(filter)?;
        let sql =
            format!("DELETE FROM documents WHERE row IN (SELECT row FROM metadata WHERE {sql})");
        self.write("delete from", |transaction| {
            let deleted = transaction.execute(&sql, params_from_iter(parameters))?;
            Ok(deleted as u64)
        })
    }

    fn check_additions(&self, documents: &[Document], vectors: &Matrix) -> Result<()> {
        let (n, dim) = (documents.len(), self.settings().model.dim);
        if n > 0 && (vectors.dim != dim || vectors.data.len() != n * dim) {
            return Err(Error::mismatch(format!(
                "{n} documents need vectors of shape [{n}, {dim}], found [{}, {}]",
                vectors.len(),
                vectors.dim
            )));
        }
        for (i, document) in documents.iter().enumerate() {
            if document.id.is_empty() {
                return Err(Error::input(format!("document {i} of the batch has an empty id")));
            }
            if vectors.row(i).iter().any(|number| !number.is_finite()) {
                return Err(Error::input(format!(
                    "the vector of document `{}` has a number that is not finite",
                    document.id
                )));
            }
        }
        Ok(())
    }
}

fn standing_of(document: &Document, found: Option<(String, Option<String>)>) -> Standing {
    match found {
        None => Standing::New,
        Some((text, _)) if text != document.text => Standing::TextDiffers,
        Some((_, fields)) if fields != Some(fields_of(document)) => Standing::MetadataDiffers,
        Some(_) => Standing::Same,
    }
}

fn fields_of(document: &Document) -> String {
    Value::Object(document.metadata.clone()).to_string()
}

fn insert(
    transaction: &Transaction<'_>,
    document: &Document,
    vector: &[f32],
) -> rusqlite::Result<()> {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    let Document { id, text, .. } = document;
    let fields = fields_of(document);
    transaction.prepare_cached("DELETE FROM documents WHERE id = ?1")?.execute([id])?;
    let row = transaction
        .prepare_cached("INSERT INTO documents (id, text, checksum) VALUES (?1, ?2, ?3)")?
        .insert(params![id, text, checksum::of(&[id.as_bytes(), text.as_bytes()])])?;
    transaction.prepare_cached("INSERT INTO metadata VALUES (?1, ?2, ?3)")?.execute(params![
        row,
        fields,
        checksum::of(&[fields.as_bytes()])
    ])?;
    transaction.prepare_cached("INSERT INTO vectors VALUES (?1, ?2, ?3)")?.execute(params![
        row,
        bytes,
        checksum::of(&[&bytes])
    ])?;
    Ok(())
}
