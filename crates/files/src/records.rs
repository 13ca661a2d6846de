//! Text files as a stream of records: plain lines, JSON lines, CSV/TSV and Parquet, gzip or not.
//!
//! Separate from what the records are for, so that a bad line is found and named the same way by every verb.
//! A cutter per format works in two steps: `advance` finds the next piece of the source, `record` makes sense
//! of it. A resumed run takes only the first step for what it has done already, see [`Records::pass_over`].
//!
//! `Source ─text::open─> bytes ─advance─> one raw record ─record─> Record`

mod fields;
mod json_lines;
mod parquet_rows;
mod table;
mod text;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::fingerprint::{Fingerprint, Fingerprinter};
use crate::{Error, Result};

use json_lines::JsonLines;
use parquet_rows::ParquetRows;
use table::Table;
use text::Lines;

/// The longest record in bytes; a longer one is bad, so that memory stays bounded whatever the file.
pub const LONGEST_RECORD: u64 = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// Where records come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, decompressed when it starts with the gzip magic.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl From<PathBuf> for Source {
    /// `-` is standard input, as everywhere on the command line.
    fn from(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Self::Stdin } else { Self::File(path) }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Stdin => f.write_str("standard input"),
        }
    }
}

/// How the bytes of a source are cut into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One text a line; an empty line is an empty text.
    Lines,
    /// One JSON object a line; blank lines are passed over.
    JsonLines,
    /// Comma-separated with a header line, quoted as in RFC 4180.
    Csv,
    /// Tab-separated with a header line; a quotation mark is a character like any other.
    Tsv,
    /// Apache Parquet; columns of lists and groups are left out.
    Parquet,
}

impl Format {
    /// Told by the file name (`.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv`, `.parquet`, each also with `.gz`), otherwise lines.
    pub fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        name.rsplit_once('.').and_then(|(_, ending)| ending.parse().ok()).unwrap_or(Self::Lines)
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "text" | "txt" | "lines" => Ok(Self::Lines),
            "jsonl" | "ndjson" | "json" => Ok(Self::JsonLines),
            "csv" => Ok(Self::Csv),
            "tsv" => Ok(Self::Tsv),
            "parquet" => Ok(Self::Parquet),
            other => Err(Error::input(format!(
                "`{other}` is no format of records; expected text, jsonl, csv, tsv or parquet"
            ))),
        }
    }
}

/// How to read records.
#[derive(Clone, Debug)]
pub struct RecordOptions {
    /// `None`: told by the file name, see [`Format::of`]; standard input is then lines.
    pub format: Option<Format>,
    /// Field that holds the id; `None` takes `id` or `_id` where present.
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
    /// The id field (an integer is spelled out), or `None` when the record has none.
    pub id: Option<String>,
    /// The text, possibly empty.
    pub text: String,
    /// Every other field, by name.
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// A stream of records over one source or several; it ends after the first error.
///
/// # Errors
/// A bad record (not UTF-8, broken JSON, no text field, a row of another length) is an error that names file and
/// line, or is counted with [`RecordOptions::skip_bad`]. An unreadable or cut-off file always is an error.
///
/// # Cost
/// Memory for one record, for Parquet one page of each column.
pub struct Records {
    waiting: VecDeque<Source>,
    options: RecordOptions,
    cutter: Option<Cutter>,
    consumed: Fingerprinter,
    position: u64,
    bad: u64,
}

impl Records {
    /// Opens one source.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(source: &Source, options: &RecordOptions) -> Result<Self> {
        Self::open_all(std::slice::from_ref(source), options)
    }

    /// Opens several sources, read one after another.
    ///
    /// # Errors
    /// When one of them cannot be opened; the last one is tried now, not after hours of work on the first.
    pub fn open_all(sources: &[Source], options: &RecordOptions) -> Result<Self> {
        for source in sources {
            if let Source::File(path) = source {
                File::open(path).map_err(|e| Error::io("open", path, e))?;
            }
        }
        let mut records = Self {
            waiting: sources.iter().cloned().collect(),
            options: options.clone(),
            cutter: None,
            consumed: Fingerprinter::new(),
            position: 0,
            bad: 0,
        };
        let mut seen = Fingerprinter::new();
        records.open_next(&mut seen)?;
        records.consumed = seen;
        Ok(records)
    }

    /// Records skipped so far because they were bad. Those passed over are not looked at.
    pub fn bad(&self) -> u64 {
        self.bad
    }

    /// How many records were consumed so far, bad ones and those passed over included.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Fingerprint of the consumed records as they stood in the source: equal for two streams at the same position
    /// exactly if nothing before it was changed. What follows the last record, such as a blank line, is not in it.
    pub fn consumed(&self) -> Fingerprint {
        self.consumed.finish()
    }

    /// Consumes up to `count` records without making sense of them, and tells how many there were.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub fn pass_over(&mut self, count: u64) -> Result<u64> {
        for passed in 0..count {
            if !self.advance()? {
                return Ok(passed);
            }
        }
        Ok(count)
    }

    /// Moves to the next raw record, through the sources; `false` at the end of the last.
    fn advance(&mut self) -> Result<bool> {
        let mut seen = self.consumed.clone();
        while let Some(cutter) = &mut self.cutter {
            if cutter.advance(&mut seen)? {
                self.position += 1;
                self.consumed = seen;
                return Ok(true);
            }
            self.open_next(&mut seen)?;
        }
        Ok(false)
    }

    fn open_next(&mut self, seen: &mut Fingerprinter) -> Result<()> {
        self.cutter = match self.waiting.pop_front() {
            Some(source) => Some(Cutter::open(&source, &self.options, seen)?),
            None => None,
        };
        Ok(())
    }

    fn next_record(&mut self) -> Result<Option<Record>> {
        while self.advance()? {
            let Some(cutter) = &mut self.cutter else { break };
            match cutter.record(&self.options) {
                Err(_) if self.options.skip_bad => self.bad += 1,
                outcome => return outcome.map(Some),
            }
        }
        Ok(None)
    }
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let outcome = self.next_record();
        if outcome.is_err() {
            self.cutter = None;
        }
        outcome.transpose()
    }
}

/// One source being cut. What `advance` reports is fatal, what `record` reports is one bad record.
enum Cutter {
    Lines(Lines),
    JsonLines(JsonLines),
    Table(Box<Table>),
    Parquet(ParquetRows),
}

impl Cutter {
    fn open(source: &Source, options: &RecordOptions, seen: &mut Fingerprinter) -> Result<Self> {
        let format = options.format.unwrap_or_else(|| match source {
            Source::File(path) => Format::of(path),
            Source::Stdin => Format::Lines,
        });
        Ok(match format {
            Format::Lines => Self::Lines(Lines::open(source)?),
            Format::JsonLines => Self::JsonLines(JsonLines::open(source)?),
            Format::Csv => Self::Table(Box::new(Table::open(source, b',', options, seen)?)),
            Format::Tsv => Self::Table(Box::new(Table::open(source, b'\t', options, seen)?)),
            Format::Parquet => Self::Parquet(ParquetRows::open(source, options)?),
        })
    }

    fn advance(&mut self, seen: &mut Fingerprinter) -> Result<bool> {
        match self {
            Self::Lines(lines) => lines.advance(seen),
            Self::JsonLines(lines) => lines.advance(seen),
            Self::Table(table) => table.advance(seen),
            Self::Parquet(rows) => rows.advance(seen),
        }
    }

    fn record(&mut self, options: &RecordOptions) -> Result<Record> {
        match self {
            Self::Lines(lines) => lines.record(),
            Self::JsonLines(lines) => lines.record(options),
            Self::Table(table) => table.record(options),
            Self::Parquet(rows) => rows.record(options),
        }
    }
}

/// Opens a text file for reading by line: gzip is decompressed, a byte order mark dropped.
///
/// # Errors
/// When it cannot be opened.
pub fn open_text(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    text::open(&Source::File(path.to_owned()))
}

#[cfg(test)]
mod tests;
