//! CSV and TSV with a header line.
//!
//! A TSV field holds neither tabs nor line ends, so it needs no quotes, and a quotation mark in it is part of the
//! text; this is what the text/tab-separated-values media type says and what data sets in this format rely on.

use std::io::{self, BufRead, Read};

use csv::{ByteRecord, Reader, ReaderBuilder};
use serde_json::{Map, Value};

use super::text::{self, cannot_read, utf8};
use super::{LONGEST_RECORD, Record, RecordOptions, Source, fields};
use crate::fingerprint::Fingerprinter;
use crate::{Error, Result};

pub(super) struct Table {
    source: Source,
    reader: Reader<Bounded>,
    columns: Vec<String>,
    row: ByteRecord,
}

impl Table {
    pub(super) fn open(
        source: &Source,
        delimiter: u8,
        options: &RecordOptions,
        seen: &mut Fingerprinter,
    ) -> Result<Self> {
        let input = Bounded { input: text::open(source)?, left: LONGEST_RECORD };
        let reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(delimiter == b',')
            .flexible(true)
            .has_headers(false)
            .from_reader(input);
        let (columns, row) = (Vec::new(), ByteRecord::new());
        let mut table = Self { source: source.clone(), reader, columns, row };
        table.read_header(options, seen)?;
        Ok(table)
    }

    /// An empty file is a table without rows, as an empty text file has no lines.
    fn read_header(&mut self, options: &RecordOptions, seen: &mut Fingerprinter) -> Result<()> {
        if !self.advance(seen)? {
            return Ok(());
        }
        let place = || format!("the header of {}", self.source);
        for name in &self.row {
            self.columns.push(utf8(name, place)?.to_owned());
        }
        let wanted = [
            ("--text-field", Some(&options.text_field)),
            ("--id-field", options.id_field.as_ref()),
        ];
        for (flag, name) in wanted {
            if let Some(name) = name.filter(|name| !self.columns.contains(name)) {
                return Err(fields::no_field(&place(), flag, name, self.columns.iter()));
            }
        }
        Ok(())
    }

    pub(super) fn advance(&mut self, seen: &mut Fingerprinter) -> Result<bool> {
        self.reader.get_mut().left = LONGEST_RECORD;
        let line = self.line();
        let more = self.reader.read_byte_record(&mut self.row).map_err(|error| {
            let error = match error.into_kind() {
                csv::ErrorKind::Io(error) => error,
                // Lengths and UTF-8 are looked at in `record`.
                other => io::Error::other(format!("{other:?}")),
            };
            cannot_read(&self.source, line, error)
        })?;
        if more {
            seen.add(&(self.row.len() as u64).to_le_bytes());
            self.row.iter().for_each(|field| {
                seen.add_part(field);
            });
        }
        Ok(more)
    }

    /// Line on which the current row starts; quoted fields may run over several.
    fn line(&self) -> u64 {
        self.row.position().map_or(0, csv::Position::line)
    }

    pub(super) fn record(&self, options: &RecordOptions) -> Result<Record> {
        let place = || format!("line {} of {}", self.line(), self.source);
        if self.row.len() != self.columns.len() {
            let (found, expected) = (self.row.len(), self.columns.len());
            return Err(Error::input(format!(
                "{} has {found} fields, but the header has {expected}",
                place()
            )));
        }
        let mut fields = Map::new();
        for (name, value) in self.columns.iter().zip(&self.row) {
            fields.insert(name.clone(), Value::String(utf8(value, place)?.to_owned()));
        }
        fields::into_record(fields, options, place)
    }
}

/// Stops an unclosed quotation mark from pulling the rest of a large file into memory.
struct Bounded {
    input: Box<dyn BufRead + Send>,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                let limit = LONGEST_RECORD >> 20;
                return Err(io::Error::other(format!(
                    "one record is longer than {limit} MiB; is a quotation mark not closed?"
                )));
            }
        }
        Ok(read)
    }
}
