//! JSON lines: one object a line.

use serde_json::{Map, Value};

use super::text::Lines;
use super::{Record, RecordOptions, Source, fields};
use crate::fingerprint::Fingerprinter;
use crate::{Error, Result};

pub(super) struct JsonLines {
    lines: Lines,
}

impl JsonLines {
    pub(super) fn open(source: &Source) -> Result<Self> {
        Ok(Self { lines: Lines::open(source)? })
    }

    /// Blank lines are no records, so a file may end in several line ends.
    pub(super) fn advance(&mut self, seen: &mut Fingerprinter) -> Result<bool> {
        while self.lines.advance(seen)? {
            if !self.lines.bytes().trim_ascii().is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn record(&self, options: &RecordOptions) -> Result<Record> {
        let place = || self.lines.place();
        let fields: Map<String, Value> =
            serde_json::from_str(self.lines.text()?).map_err(|error| {
                let what = if error.is_data() { "is no JSON object" } else { "is no valid JSON" };
                Error::input(format!("{} {what}", place())).caused_by(error)
            })?;
        fields::into_record(fields, options, place)
    }
}
