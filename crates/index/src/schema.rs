//! How a store lies in SQLite, and whether a database is a store.
//!
//! Documents, metadata and vectors stand in tables of their own under one row number, so that a scan of vectors
//! touches no text. Each row carries a checksum of its columns. Row numbers only ever grow, a replaced document gets
//! a new one, and deleted rows are written down in the order of their deletion. So two numbers, the last row and the
//! last deletion, tell which documents there are ([`Moment`]), and codes derived from the table are extended at
//! their end.

use std::path::Path;

use hpd_files::{Error, Result};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::explain::{damaged, explain};
use crate::store::{StoreModel, StoreSettings};
use crate::text_search;

/// Stands in the header of every store: "HPDS".
const APPLICATION_ID: i32 = 0x4850_4453;

/// Version of the tables below; every version ever released stays readable. Version 1 was never released.
pub(crate) const FORMAT: i32 = 2;

/// The tables, for vectors of `dim` numbers.
fn tables(dim: usize) -> String {
    let vectors = vector_table("vectors", dim);
    format!(
        "CREATE TABLE store (
           only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
           identity BLOB NOT NULL CHECK (length(identity) = 16),
           space TEXT NOT NULL,
           dim INTEGER NOT NULL,
           model TEXT NOT NULL,
           revision TEXT,
           weights TEXT NOT NULL,
           query_prompt TEXT,
           document_prompt TEXT,
           max_seq_length INTEGER,
           created_by TEXT NOT NULL,
           complete INTEGER NOT NULL CHECK (complete IN (0, 1)),
           forgotten_deletions INTEGER NOT NULL DEFAULT 0,
           next_model TEXT
         ) STRICT;
         CREATE TABLE models (
           weights TEXT PRIMARY KEY,
           model TEXT NOT NULL
         ) STRICT;
         CREATE TABLE documents (
           row INTEGER PRIMARY KEY AUTOINCREMENT,
           id TEXT NOT NULL UNIQUE,
           text TEXT NOT NULL,
           checksum INTEGER NOT NULL
         ) STRICT;
         CREATE TABLE metadata (
           row INTEGER PRIMARY KEY REFERENCES documents ON DELETE CASCADE,
           fields TEXT NOT NULL,
           checksum INTEGER NOT NULL
         ) STRICT;
         {vectors}
         CREATE TABLE deletions (
           number INTEGER PRIMARY KEY AUTOINCREMENT,
           row INTEGER NOT NULL
         ) STRICT;
         CREATE TRIGGER deletion AFTER DELETE ON documents BEGIN
           INSERT INTO deletions (row) VALUES (old.row);
         END;"
    )
}

/// A table of vectors of `dim` numbers (f32, little-endian).
pub(crate) fn vector_table(name: &str, dim: usize) -> String {
    let bytes = dim * size_of::<f32>();
    format!(
        "CREATE TABLE {name} (
           row INTEGER PRIMARY KEY REFERENCES documents ON DELETE CASCADE,
           vector BLOB NOT NULL CHECK (length(vector) = {bytes}),
           checksum INTEGER NOT NULL
         ) STRICT;"
    )
}

/// Which documents a store holds: all rows up to one but those deleted up to one deletion.
///
/// Both numbers only grow, so a moment is at or after another where both are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) last_row: u64,
    pub(crate) last_deletion: u64,
}

impl Moment {
    /// The one that `snapshot` sees.
    pub(crate) fn of(snapshot: &Connection) -> rusqlite::Result<Self> {
        let mut last = snapshot.prepare_cached(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'documents'), 0),
                    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'deletions'), 0)",
        )?;
        last.query_row([], |row| Ok(Self { last_row: row.get(0)?, last_deletion: row.get(1)? }))
    }

    /// Whether this is `other` or came after it.
    pub(crate) fn includes(self, other: Self) -> bool {
        self.last_row >= other.last_row && self.last_deletion >= other.last_deletion
    }
}

/// Makes an empty database a store.
pub(crate) fn create(
    connection: &mut Connection,
    settings: &StoreSettings,
) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(&tables(settings.model.dim))?;
    transaction.execute_batch(text_search::TABLE)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.execute(
        "INSERT INTO store VALUES (1, randomblob(16), ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, 0, NULL)",
        params![
            settings.model.space,
            settings.model.dim,
            settings.model.name,
            settings.model.revision,
            settings.model.weights,
            settings.query_prompt,
            settings.document_prompt,
            settings.max_seq_length,
            concat!("hpd ", env!("CARGO_PKG_VERSION")),
        ],
    )?;
    transaction.execute(
        "INSERT INTO models VALUES (?1, ?2)",
        params![settings.model.weights, settings.model.name],
    )?;
    transaction.commit()
}

/// Refuses what is not a store, or one of another format.
pub(crate) fn check(connection: &Connection, folder: &Path) -> Result<()> {
    let number = |name| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i32>(0))
            .map_err(|e| explain("open", folder, e))
    };
    let (store, application, format) =
        (folder.display(), number("application_id")?, number("user_version")?);
    if application != APPLICATION_ID {
        return Err(Error::input(format!("`{store}` holds a database that is not an hpd store"))
            .hint("give the folder that `hpd index create` made"));
    }
    if format > FORMAT {
        return Err(Error::input(format!(
            "the store `{store}` has format {format}, and this hpd reads formats up to {FORMAT}"
        ))
        .hint("use the version of hpd that wrote it, or a later one"));
    }
    if format < FORMAT {
        return Err(Error::input(format!(
            "the store `{store}` has format {format}, which no released hpd wrote, and this one reads format {FORMAT}"
        ))
        .hint("make it again: `hpd index create --store OTHER --model MODEL --input FILE`"));
    }
    Ok(())
}

/// Tells the vectors of a store from those of another, and from those that the same store had by another model.
pub(crate) fn identity(connection: &Connection) -> rusqlite::Result<[u8; 16]> {
    connection.prepare_cached("SELECT identity FROM store")?.query_row([], |row| row.get(0))
}

/// What the store was made with, and the identity of its vectors.
pub(crate) fn read_settings(
    connection: &Connection,
    folder: &Path,
) -> Result<(StoreSettings, [u8; 16])> {
    let columns = "model, revision, weights, space, dim, query_prompt, document_prompt, max_seq_length, identity";
    connection
        .query_row(&format!("SELECT {columns} FROM store"), [], settings_of)
        .optional()
        .map_err(|e| explain("open", folder, e))?
        .ok_or_else(|| damaged(folder, "it does not say what it was made with"))
}

fn settings_of(row: &Row<'_>) -> rusqlite::Result<(StoreSettings, [u8; 16])> {
    let settings = StoreSettings {
        model: StoreModel {
            name: row.get(0)?,
            revision: row.get(1)?,
            weights: row.get(2)?,
            space: row.get(3)?,
            dim: row.get(4)?,
        },
        query_prompt: row.get(5)?,
        document_prompt: row.get(6)?,
        max_seq_length: row.get(7)?,
    };
    Ok((settings, row.get(8)?))
}
