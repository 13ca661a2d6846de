//! The store as a type: what it is bound to, and how its database is read and written.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::{Path, PathBuf};

use hpd_files::{Error, Result};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use crate::codes::{BLOCK_ROWS, Codes};
use crate::explain::explain;
use crate::open::Stamp;
use crate::{Durability, open, schema};

/// What a store needs to know of the model that makes its vectors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct StoreModel {
    /// Folder or Hugging Face id, so that it can be found again.
    pub name: String,
    /// Branch, tag or commit of a Hugging Face id.
    pub revision: Option<String>,
    /// Fingerprint of its tensors.
    pub weights: String,
    /// Names what its vectors may be compared with.
    pub space: String,
    /// Numbers in a vector.
    pub dim: usize,
}

/// What is settled when a store is made, and holds for all its documents and queries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct StoreSettings {
    /// The model. Another of the same space may be used later.
    pub model: StoreModel,
    /// Words in front of each query instead of the model's own prompt.
    pub query_prompt: Option<String>,
    /// Words in front of each document instead of the model's own prompt.
    pub document_prompt: Option<String>,
    /// Truncates texts at so many tokens instead of the model's own limit.
    pub max_seq_length: Option<usize>,
}

impl StoreSettings {
    /// Refuses a model whose vectors may not be compared with those in `place` ("the store `notes`"), which was made with
    /// these settings.
    ///
    /// # Errors
    /// [`hpd_files::ErrorKind::Mismatch`], naming both models.
    pub fn check_space(&self, model: &StoreModel, place: &str) -> Result<()> {
        let own = &self.model;
        if (&own.space, own.dim) == (&model.space, model.dim) {
            return Ok(());
        }
        Err(Error::mismatch(format!(
            "{place} holds vectors of {}, but the model given is {}",
            described(own),
            described(model)
        ))
        .hint(format!("use `--model {}`", own.name)))
    }
}

/// Documents with their vectors on disk, opened.
///
/// Many processes may read while one writes; each search sees one moment of the store.
pub struct Store {
    pub(crate) connection: Connection,
    /// How the files were when it was opened where nothing can be written.
    frozen: Option<Stamp>,
    pub(crate) folder: PathBuf,
    settings: StoreSettings,
    /// Of the vectors that the settings are about.
    identity: [u8; 16],
    /// As the last search left them.
    pub(crate) codes: RefCell<Option<Codes>>,
    pub(crate) code_block_rows: usize,
    /// Whether a search may write codes; not any more once it has failed to.
    pub(crate) may_derive: Cell<bool>,
    /// Rows added since codes were written last.
    pub(crate) rows_without_codes: u64,
}

impl Store {
    /// Makes an empty store and opens it.
    ///
    /// # Errors
    /// When something is there under that name already, or the disk refuses.
    pub fn create(folder: &Path, settings: &StoreSettings) -> Result<Self> {
        if settings.model.dim == 0 {
            return Err(Error::input("a store needs vectors of at least 1 number, found 0"));
        }
        open::create(folder, settings)?;
        Self::open(folder)
    }

    /// Makes a store, or opens one whose making was stopped before [`Store::set_complete`].
    ///
    /// # Errors
    /// As [`Store::create`]; also when the store was begun with other settings.
    pub fn create_or_continue(folder: &Path, settings: &StoreSettings) -> Result<Self> {
        match Self::open(folder) {
            Ok(begun) if !begun.is_complete()? => begun.check_begun_with(settings),
            _ => Self::create(folder, settings),
        }
    }

    fn check_begun_with(self, settings: &StoreSettings) -> Result<Self> {
        self.check_space(&settings.model)?;
        let begun = StoreSettings { model: settings.model.clone(), ..self.settings.clone() };
        if begun == *settings {
            return Ok(self);
        }
        let store = self.folder.display();
        Err(Error::mismatch(format!(
            "the store `{store}` was begun with other prompts or another length limit, and is not complete"
        ))
        .hint(format!("repeat the command that began it, or remove the folder `{store}`")))
    }

    /// Opens a store for reading and writing.
    ///
    /// # Errors
    /// When it is not there, not a store, damaged, or of a later format.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::with(folder, open::writable(folder)?, None)
    }

    /// Opens a store for reading only, also from a folder that cannot be written to.
    ///
    /// # Errors
    /// As [`Store::open`]; also when such a folder holds commits that only a writer can bring to an end.
    pub fn open_read_only(folder: &Path) -> Result<Self> {
        let (connection, frozen) = open::readable(folder)?;
        Self::with(folder, connection, frozen)
    }

    pub(crate) fn with(
        folder: &Path,
        connection: Connection,
        frozen: Option<Stamp>,
    ) -> Result<Self> {
        let (settings, identity) = schema::read_settings(&connection, folder)?;
        Ok(Self {
            connection,
            frozen,
            folder: folder.to_owned(),
            settings,
            identity,
            codes: RefCell::new(None),
            code_block_rows: BLOCK_ROWS,
            may_derive: Cell::new(true),
            rows_without_codes: 0,
        })
    }

    /// Whether it was opened where nothing can be written.
    #[cfg(test)]
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Whether it was opened where nothing can be written, and others have changed it since: it must be opened again then.
    pub(crate) fn is_outdated(&self) -> bool {
        self.frozen.as_ref().is_some_and(|frozen| *frozen != Stamp::of(&self.folder))
    }

    /// Takes over what the database says of its vectors by now.
    pub(crate) fn reread_settings(&mut self) -> Result<()> {
        (self.settings, self.identity) = schema::read_settings(&self.connection, &self.folder)?;
        self.codes.take();
        Ok(())
    }

    /// Of the vectors that the settings are about.
    pub(crate) fn identity(&self) -> [u8; 16] {
        self.identity
    }

    /// What to say when the database's vectors have another identity by now.
    pub(crate) fn not_as_opened(&self) -> Error {
        let store = self.folder.display();
        Error::mismatch(format!(
            "the documents of the store `{store}` were embedded with another model meanwhile"
        ))
        .hint("run the command again")
    }

    /// What the store was made with, and the model it remembers.
    pub fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    /// How many documents there are.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn len(&self) -> Result<u64> {
        self.read("count", |connection| {
            connection.query_row("SELECT count(*) FROM documents", [], |row| row.get(0))
        })
    }

    /// Whether there is no document.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Whether the input given when the store was made has been read to its end.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn is_complete(&self) -> Result<bool> {
        self.read("read", |connection| {
            connection.query_row("SELECT complete FROM store", [], |row| row.get(0))
        })
    }

    /// Says that the input given when the store was made has been read to its end.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_complete(&mut self) -> Result<()> {
        self.write("write to", |transaction| {
            transaction.execute("UPDATE store SET complete = 1", []).map(drop)
        })
    }

    /// Refuses a model whose vectors may not be compared with those in the store.
    ///
    /// # Errors
    /// [`hpd_files::ErrorKind::Mismatch`], naming both models.
    pub fn check_space(&self, model: &StoreModel) -> Result<()> {
        let place = format!("the store `{}`", self.folder.display());
        self.settings.check_space(model, &place).map_err(|error| {
            error.hint(format!(
                "use `--model {}`, or make another store with `hpd index create --store OTHER --model {}`",
                self.settings.model.name, model.name
            ))
        })
    }

    /// Makes `model`, of the store's space, the one that is used unless another is named.
    ///
    /// # Errors
    /// As [`Store::check_space`], when the documents were embedded with another model since this was opened, and when the
    /// database cannot be written.
    pub fn remember_model(&mut self, model: &StoreModel) -> Result<()> {
        self.check_space(model)?;
        if self.settings.model == *model {
            return Ok(());
        }
        let StoreModel { name, revision, weights, .. } = model;
        self.write_as_opened("write to", |transaction| {
            transaction.execute(
                "UPDATE store SET model = ?1, revision = ?2, weights = ?3",
                params![name, revision, weights],
            )?;
            transaction.execute("INSERT OR IGNORE INTO models VALUES (?1, ?2)", [weights, name])
        })?;
        self.settings.model = model.clone();
        Ok(())
    }

    /// Says what further changes survive once they are answered; [`Durability::Full`] unless this is called.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn set_durability(&mut self, durability: Durability) -> Result<()> {
        self.read("open", |connection| durability.set(connection))
    }

    /// Lets the database grow to so many pages of 4096 bytes, while this store is open. For tests of full disks.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn limit_pages(&mut self, pages: u32) -> Result<()> {
        self.read("limit", |connection| {
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        })
    }

    pub(crate) fn read<T>(
        &self,
        deed: &str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        work(&self.connection).map_err(|e| explain(deed, &self.folder, e))
    }

    pub(crate) fn write<T>(
        &mut self,
        deed: &str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let run = || {
            // The write lock is taken at once: a reading transaction that turned writer could be refused midway.
            let transaction =
                self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Where another process has changed the schema (vacuuming does), SQLite must notice before it compiles a statement
            // that fires the triggers of an FTS5 table: such a one does not find its own tables then.
            schema::identity(&transaction)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        run().map_err(|e| explain(deed, &self.folder, e))
    }

    /// [`Store::write`], unless another process has given the store another model.
    pub(crate) fn write_as_opened<T>(
        &mut self,
        deed: &str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let identity = self.identity;
        let done = self.write(deed, |transaction| {
            let is_as_opened = schema::identity(transaction)? == identity;
            is_as_opened.then(|| work(transaction)).transpose()
        })?;
        done.ok_or_else(|| self.not_as_opened())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn described(model: &StoreModel) -> String {
    let space: String = model.space.chars().take(12).collect();
    format!("`{}` (space {space}, {} dimensions)", model.name, model.dim)
}
