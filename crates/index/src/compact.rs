//! Giving back the room of what was deleted.

use hpd_files::Result;
use serde::Serialize;

use crate::Store;

/// What compacting came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Size of the database and its codes before.
    pub bytes_before: u64,
    /// Size afterwards.
    pub bytes_after: u64,
}

impl Store {
    /// Writes the database without gaps, in the order of its rows, and the codes without deleted rows.
    ///
    /// Others may read meanwhile, and whoever wants to write waits. Stopped at any moment, the store is the one from
    /// before or the one from after. The log of deletions is emptied first, so codes from before are of no use to
    /// anybody and are made anew.
    ///
    /// # Errors
    /// When the disk has no room for a second copy of the database.
    ///
    /// # Cost
    /// Reads and writes the whole database, which passes through its write-ahead log.
    pub fn compact(&mut self) -> Result<Compacted> {
        let bytes_before = self.size()?;
        self.write("compact", |transaction| {
            transaction.execute_batch(
                "UPDATE store SET forgotten_deletions =
                   coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'deletions'), 0);
                 DELETE FROM deletions;",
            )
        })?;
        self.read("compact", |connection| {
            connection.execute_batch("VACUUM")?;
            // Readers may keep the log from being emptied; then the last of them does it.
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        })?;
        self.derive_codes_anew()?;
        Ok(Compacted { bytes_before, bytes_after: self.size()? })
    }

    fn size(&self) -> Result<u64> {
        self.summary().map(|summary| summary.bytes + summary.code_bytes)
    }
}
