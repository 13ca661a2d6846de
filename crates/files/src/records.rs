//! Text files as a stream of records: plain lines, JSON lines, CSV/TSV and Parquet, gzip or not.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Where records come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, decompressed when it starts with the gzip magic.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

/// How the bytes of a source are cut into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One text a line.
    Lines,
    /// One JSON object a line.
    JsonLines,
    /// Comma-separated with a header line.
    Csv,
    /// Tab-separated with a header line.
    Tsv,
    /// Apache Parquet.
    Parquet,
}

/// How to read records.
#[derive(Clone, Debug)]
pub struct RecordOptions {
    /// `None`: told by the file name (`.jsonl`, `.csv`, `.tsv`, `.parquet`, each also with `.gz`), otherwise lines.
    pub format: Option<Format>,
    /// Field that holds the id, default `id` or `_id` when present.
    pub id_field: Option<String>,
    /// Field that holds the text, default `text`.
    pub text_field: String,
    /// Count bad records and go on instead of failing at the first.
    pub skip_bad: bool,
}

impl Default for RecordOptions {
    fn default() -> Self {
        Self { format: None, id_field: None, text_field: "text".to_owned(), skip_bad: false }
    }
}

/// One record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The id field, or `None` when the record has none.
    pub id: Option<String>,
    /// The text, possibly empty.
    pub text: String,
    /// Every other field, in file order.
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// A stream of records; [`Records::bad`] counts the skipped ones.
pub struct Records {
    bad: u64,
}

impl Records {
    /// Opens `source`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(_source: &Source, _options: &RecordOptions) -> Result<Self> {
        Err(Error::input("not built yet"))
    }

    /// Records skipped so far because they were bad.
    pub fn bad(&self) -> u64 {
        self.bad
    }
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}

/// Opens a text file for reading by line, decompressing gzip.
///
/// # Errors
/// When it cannot be opened.
pub fn open_text(_path: &Path) -> Result<Box<dyn BufRead + Send>> {
    Err(Error::input("not built yet"))
}
