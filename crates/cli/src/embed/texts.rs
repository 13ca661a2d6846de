//! Records through a model, block by block, with an account of where in the input they stand.

use hpd_encoder::{EncodeOptions, Model};
use hpd_files::records::Records;
use hpd_files::spool::Standing;
use hpd_files::vectors::Matrix;
use hpd_files::{Error, ErrorKind, Result};

/// Texts encoded together. Enough to keep all cores busy, few enough that Ctrl-C is heard soon.
const BLOCK_TEXTS: usize = 1024;

pub(super) struct EncodedTexts<'a> {
    model: &'a Model,
    options: EncodeOptions,
    records: Records,
    /// What the run that is resumed had counted.
    before: Standing,
    truncated: u64,
}

impl<'a> EncodedTexts<'a> {
    pub(super) fn new(model: &'a Model, options: EncodeOptions, records: Records) -> Self {
        Self { model, options, records, before: Standing::default(), truncated: 0 }
    }

    /// Passes over the records that a stopped run had done, and checks that they are still the same.
    pub(super) fn catch_up(&mut self, standing: &Standing) -> Result<()> {
        let passed = self.records.pass_over(standing.records)?;
        if passed < standing.records || self.records.consumed().to_string() != standing.consumed {
            return Err(Error::mismatch(format!(
                "cannot resume, the input has changed: its first {} records are not those that were embedded",
                standing.records
            ))
            .hint("start again with `--overwrite`"));
        }
        self.before = standing.clone();
        Ok(())
    }

    /// Vectors of the next records with their ids; `None` after the last.
    pub(super) fn next_block(&mut self) -> Result<Option<(Vec<Option<String>>, Matrix)>> {
        let (mut ids, mut texts) = (Vec::new(), Vec::new());
        for record in self.records.by_ref().take(BLOCK_TEXTS) {
            let record = record.map_err(with_skip_hint)?;
            ids.push(record.id);
            texts.push(record.text);
        }
        if texts.is_empty() {
            return Ok(None);
        }
        let embeddings = self.model.encode(&texts, &self.options)?;
        self.truncated += embeddings.truncated as u64;
        Ok(Some((ids, embeddings.rows)))
    }

    /// Where the records taken so far end.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            records: self.records.position(),
            consumed: self.records.consumed().to_string(),
            bad: self.before.bad + self.records.bad(),
            truncated: self.before.truncated + self.truncated,
        }
    }
}

fn with_skip_hint(error: Error) -> Error {
    if error.kind() == ErrorKind::Input && error.hint_text().is_none() {
        error.hint("`--skip-bad` leaves such records out and counts them")
    } else {
        error
    }
}
