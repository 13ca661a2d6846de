//! What a collection remembers of the store that it was pushed from, as JSON wherever its engine keeps a remark.
//!
//! One for all engines, so that each refuses the same and in the same words. A collection without one is somebody else's
//! and is left alone.

use hpd_files::{Error, Result};
use hpd_index::StoreSettings;
use serde::{Deserialize, Serialize};

use crate::Layout;

/// What stands in a collection's header.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Description {
    /// Version of how the engine's collections are laid out, and of this.
    hpd: u32,
    /// Whether numbers lie in 16 bits.
    pub(crate) half: bool,
    pub(crate) settings: StoreSettings,
}

impl Description {
    pub(crate) fn new(format: u32, layout: Layout, settings: &StoreSettings) -> Self {
        Self { hpd: format, half: layout.half, settings: settings.clone() }
    }

    /// Reads that of `place` ("the table at `…`").
    ///
    /// # Errors
    /// When it is none, or of another format.
    pub(crate) fn read(json: &str, format: u32, place: &str) -> Result<Self> {
        let description: Self = serde_json::from_str(json).map_err(|e| {
            Error::mismatch(format!("{place} is there, but no `hpd push` made it"))
                .hint("name another: `--collection OTHER`")
                .caused_by(e)
        })?;
        let hpd = description.hpd;
        if hpd != format {
            return Err(Error::input(format!(
                "{place} has format {hpd}, and this hpd reads format {format}"
            ))
            .hint("use the version of hpd that made it, or a later one"));
        }
        Ok(description)
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Refuses documents that do not belong into `place`, which this describes.
    ///
    /// # Errors
    /// When `wanted` is for another space or another layout.
    pub(crate) fn check(&self, wanted: &Self, place: &str) -> Result<()> {
        self.settings.check_space(&wanted.settings.model, place).map_err(|error| {
            error.hint("push into another, `--collection OTHER`, or drop this one")
        })?;
        if self.half != wanted.half {
            let [found, expected] = [self.half, wanted.half].map(|half| if half { 16 } else { 32 });
            return Err(Error::mismatch(format!(
                "{place} holds numbers in {found} bits, expected {expected}"
            ))
            .hint("push with `--half` or without as it was made, or into another: `--collection OTHER`"));
        }
        Ok(())
    }
}

/// Refuses vectors that are longer than an engine takes.
///
/// # Errors
/// When they are.
pub(crate) fn check_width(dim: usize, engine: &str, largest: usize) -> Result<()> {
    if dim <= largest {
        return Ok(());
    }
    Err(Error::mismatch(format!(
        "the store's vectors have {dim} numbers, {engine} takes {largest}"
    ))
    .hint("push the vectors of a student, they are shorter"))
}
