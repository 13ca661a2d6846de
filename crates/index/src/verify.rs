//! What is in a store, and whether it is whole.

use std::fs;

use hpd_files::{Error, Result};
use rusqlite::Connection;
use serde::Serialize;

use crate::explain::explain;
use crate::search::row_and_bytes;
use crate::{Store, StoreSettings, checksum, codes, open, schema};

/// The facts about a store.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Version of the tables.
    pub format: i32,
    /// How many documents there are.
    pub documents: u64,
    /// Size of the database on disk, with commits still in its log.
    pub bytes: u64,
    /// Size of the codes on disk.
    pub code_bytes: u64,
    /// What the store was made with, and the model it remembers.
    #[serde(flatten)]
    pub settings: StoreSettings,
    /// Fingerprints of all models whose vectors may be in it.
    pub weights_seen: Vec<String>,
    /// The version of hpd that made it.
    pub created_by: String,
    /// Whether the input given when it was made has been read to its end.
    pub complete: bool,
}

impl Store {
    /// The facts about this store.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn summary(&self) -> Result<Summary> {
        let fail = |e| explain("read", &self.folder, e);
        let snapshot = self.connection.unchecked_transaction().map_err(fail)?;
        Ok(Summary {
            format: schema::FORMAT,
            documents: self.len()?,
            bytes: self.bytes()?,
            code_bytes: fs::metadata(codes::file_in(&self.folder)).map_or(0, |file| file.len()),
            settings: self.settings().clone(),
            weights_seen: strings(&snapshot, "SELECT weights FROM models ORDER BY rowid")
                .map_err(fail)?,
            created_by: snapshot
                .query_row("SELECT created_by FROM store", [], |row| row.get(0))
                .map_err(fail)?,
            complete: self.is_complete()?,
        })
    }

    fn bytes(&self) -> Result<u64> {
        let entries = fs::read_dir(&self.folder).map_err(|e| Error::io("read", &self.folder, e))?;
        let database = open::database_in(&self.folder);
        let of_database = |entry: &fs::DirEntry| {
            let (name, stem) = (entry.file_name(), database.file_name().unwrap_or_default());
            name == stem || name.as_encoded_bytes() == [stem.as_encoded_bytes(), b"-wal"].concat()
        };
        Ok(entries
            .flatten()
            .filter(of_database)
            .filter_map(|entry| entry.metadata().ok())
            .map(|metadata| metadata.len())
            .sum())
    }

    /// Looks at every page and every vector; returns what is wrong, nothing when the store is whole.
    ///
    /// # Errors
    /// When the database cannot be read at all.
    ///
    /// # Cost
    /// Reads the whole database, the vectors four times, and the codes.
    pub fn verify(&self) -> Result<Vec<String>> {
        let mut problems =
            self.read("verify", |connection| strings(connection, "PRAGMA integrity_check(100)"))?;
        problems.retain(|problem| problem != "ok");
        match self.read("verify", |connection| self.contents(connection)) {
            Ok(found) => problems.extend(found),
            // Where pages are damaged, rows may be beyond reading.
            Err(error) if !problems.is_empty() => problems.push(error.to_string()),
            Err(error) => return Err(error),
        }
        Ok(problems)
    }

    fn contents(&self, connection: &Connection) -> rusqlite::Result<Vec<String>> {
        let snapshot = connection.unchecked_transaction()?;
        let mut problems = orphans(&snapshot)?;
        problems.extend(checksum::mismatches(&snapshot)?);
        problems.extend(bad_vectors(&snapshot, self.settings().model.dim)?);
        problems.extend(self.problems_of_codes(&snapshot)?);
        Ok(problems)
    }
}

fn strings(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

/// Rows that stand in one table but not in another.
fn orphans(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    for (has, lacks) in [
        ("documents", "vectors"),
        ("documents", "metadata"),
        ("documents", "words"),
        ("vectors", "documents"),
        ("metadata", "documents"),
        ("words", "documents"),
    ] {
        let [in_one, in_other] = [has, lacks].map(|table| match table {
            // Where FTS5 keeps one row for each of its own.
            "words" => "SELECT id AS row FROM words_docsize".to_owned(),
            _ => format!("SELECT row FROM {table}"),
        });
        let sql = format!("SELECT count(*) FROM ({in_one}) WHERE row NOT IN ({in_other})");
        let count: u64 = connection.query_row(&sql, [], |row| row.get(0))?;
        if count > 0 {
            problems.push(format!("{count} rows of `{has}` are not in `{lacks}`"));
        }
    }
    Ok(problems)
}

fn bad_vectors(connection: &Connection, dim: usize) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut statement = connection.prepare("SELECT row, vector FROM vectors ORDER BY row")?;
    let mut vectors = statement.query([])?;
    while let Some(vector) = vectors.next()? {
        let (row, bytes) = row_and_bytes(vector)?;
        let (numbers, rest) = bytes.as_chunks::<4>();
        if numbers.len() != dim || !rest.is_empty() {
            problems.push(format!("the vector of row {row} is not {dim} numbers long"));
        } else if !numbers.iter().all(|number| f32::from_le_bytes(*number).is_finite()) {
            problems.push(format!("the vector of row {row} has a number that is not finite"));
        }
    }
    Ok(problems)
}
