//! When a store reads its codes, and when it writes them.
//!
//! A writer appends whenever some blocks are missing, so that the next reader finds them. A search writes them only
//! when much is missing, for instance after the file was lost; where it may not, or while somebody else does, it reads
//! the vectors in the database instead.

use hpd_files::Result;
use rusqlite::Connection;

use super::{Codes, Expected, bring_up_to_date, problems};
use crate::Store;
use crate::explain::explain;
use crate::schema::Moment;

/// Missing blocks from which on a search first writes them: reading as many rows from the database is as slow.
const MUCH: u64 = 4;

/// Missing blocks from which on a writer appends them.
const WORTH_APPENDING: u64 = 16;

/// Deleted rows from which on codes may be made anew to be rid of them.
const MANY_DEAD: usize = 10_000;

impl Store {
    /// Lets blocks of codes hold so many rows, a multiple of 64. For tests, which have few.
    pub fn set_code_block_rows(&mut self, rows: usize) {
        self.code_block_rows = rows.next_multiple_of(64).max(64);
        self.codes.take();
    }

    /// Writes the codes that are missing, as far as that is possible here. Searching does so by itself when much is
    /// missing; whoever has added many documents spares the next search that work.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn derive_codes(&self) -> Result<()> {
        self.bring_codes_up_to_date(false).map(drop)
    }

    /// Appends after a change when enough is missing. Never an error: the change stands whatever becomes of the codes.
    pub(crate) fn append_codes(&mut self, added: usize) {
        self.rows_without_codes += added as u64;
        if self.rows_without_codes >= WORTH_APPENDING * self.code_block_rows as u64 {
            self.rows_without_codes = 0;
            let _ = self.derive_codes();
        }
    }

    /// Writes codes before a search, if much is missing.
    pub(crate) fn derive_missing_codes(&self) -> Result<()> {
        if !self.may_derive.get() {
            return Ok(());
        }
        let (missing, mostly_dead) = self.read("search", |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let moment = Moment::of(&snapshot)?;
            let codes = self.follow(&snapshot, moment)?;
            let covered = codes.as_ref().map_or(0, Codes::covered);
            let dead = codes
                .as_ref()
                .is_some_and(|codes| codes.dead() > MANY_DEAD && codes.dead() > codes.len() / 2);
            self.codes.replace(codes);
            Ok((self.is_much(&snapshot, covered, moment)?, dead))
        })?;
        if mostly_dead {
            self.derive_codes_anew()
        } else if missing {
            self.derive_codes()
        } else {
            Ok(())
        }
    }

    /// Whether much stands behind row `covered`.
    fn is_much(
        &self,
        snapshot: &Connection,
        covered: u64,
        moment: Moment,
    ) -> rusqlite::Result<bool> {
        let much = MUCH * self.code_block_rows as u64;
        if moment.last_row.saturating_sub(covered) < much {
            return Ok(false);
        }
        // Most of them may have been deleted.
        let mut count = snapshot.prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM vectors WHERE row > ?1 LIMIT ?2)",
        )?;
        count.query_row([covered, much], |row| Ok(row.get::<_, u64>(0)? >= much))
    }

    /// Makes codes anew because those there are no good. A search that may not goes on without.
    pub(crate) fn derive_codes_anew(&self) -> Result<()> {
        self.codes.take();
        if !self.bring_codes_up_to_date(true)? {
            self.may_derive.set(false);
        }
        Ok(())
    }

    fn bring_codes_up_to_date(&self, anew: bool) -> Result<bool> {
        self.read("derive codes of", |connection| {
            let expected = self.expected(connection)?;
            bring_up_to_date(connection, &self.folder, &expected, anew)
        })
    }

    /// The codes as they were at the moment of `snapshot`; give them back with [`Store::keep_codes`].
    pub(crate) fn codes_at(&self, snapshot: &Connection) -> Result<Option<Codes>> {
        Moment::of(snapshot)
            .and_then(|moment| self.follow(snapshot, moment))
            .map_err(|e| explain("search", &self.folder, e))
    }

    pub(crate) fn keep_codes(&self, codes: Option<Codes>) {
        self.codes.replace(codes);
    }

    fn follow(&self, snapshot: &Connection, moment: Moment) -> rusqlite::Result<Option<Codes>> {
        let expected = self.expected(snapshot)?;
        match self.codes.take() {
            Some(codes) => codes.follow(&self.folder, &expected, snapshot, moment),
            None => Codes::open(&self.folder, &expected, snapshot, moment),
        }
    }

    /// What is wrong with the codes.
    pub(crate) fn problems_of_codes(&self, snapshot: &Connection) -> rusqlite::Result<Vec<String>> {
        problems(&self.folder, &self.expected(snapshot)?, snapshot)
    }

    fn expected(&self, connection: &Connection) -> rusqlite::Result<Expected> {
        let mut store =
            connection.prepare_cached("SELECT identity, forgotten_deletions FROM store")?;
        store.query_row([], |row| {
            Ok(Expected {
                identity: row.get(0)?,
                forgotten_deletions: row.get(1)?,
                dim: self.settings().model.dim,
                block_rows: self.code_block_rows,
            })
        })
    }
}
