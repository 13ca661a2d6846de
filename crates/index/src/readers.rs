//! A store that many threads search.
//!
//! An opened store serves one search at a time, so a few are kept open and lent out, each with its own view of the database.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hpd_files::Result;

use crate::Store;

/// A store opened for reading, as often as it is used at the same time.
#[derive(Debug)]
pub struct Readers {
    folder: PathBuf,
    /// Of the vectors that were there when it was opened. A caller's queries are of their space, so a store that has others by
    /// now must not be searched with them.
    identity: [u8; 16],
    /// Stores nobody uses at the moment.
    idle: Mutex<Vec<Store>>,
}

impl Readers {
    /// Opens a store for reading.
    ///
    /// # Errors
    /// As [`Store::open_read_only`].
    pub fn open(folder: &Path) -> Result<Self> {
        let store = Store::open_read_only(folder)?;
        let identity = store.identity();
        Ok(Self { folder: folder.to_owned(), identity, idle: Mutex::new(vec![store]) })
    }

    /// The folder of the store.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gives `work` a store of its own. One it has failed on is not used again.
    ///
    /// # Errors
    /// Those of `work`, or as [`Store::open_read_only`]; [`hpd_files::ErrorKind::Mismatch`] when the documents were
    /// embedded with another model since this was opened.
    pub fn with<T>(&self, work: impl FnOnce(&Store) -> Result<T>) -> Result<T> {
        let idle = self.idle().pop();
        let store = match idle {
            Some(store) if !store.is_outdated() => store,
            _ => self.another()?,
        };
        let answer = work(&store)?;
        self.idle().push(store);
        Ok(answer)
    }

    fn another(&self) -> Result<Store> {
        let store = Store::open_read_only(&self.folder)?;
        if store.identity() == self.identity { Ok(store) } else { Err(store.not_as_opened()) }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Store>> {
        // Stores are taken out while they are used, so those left are whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::{self, Stamp};
    use crate::{Document, StoreModel, StoreSettings};
    use hpd_files::vectors::Matrix;

    #[test]
    fn one_opened_where_nothing_can_be_written_is_opened_again_after_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("notes.store");
        let model = StoreModel { dim: 2, ..StoreModel::default() };
        let settings = StoreSettings { model, ..StoreSettings::default() };
        drop(Store::create(&folder, &settings).unwrap());
        let frozen = || {
            let (connection, _) = open::readable(&folder).unwrap();
            Store::with(&folder, connection, Some(Stamp::of(&folder))).unwrap()
        };
        let readers = Readers::open(&folder).unwrap();
        *readers.idle() = vec![frozen()];
        let is_frozen = || readers.with(|store| Ok(store.is_frozen())).unwrap();
        assert!(is_frozen() && is_frozen());
        let mut writer = Store::open(&folder).unwrap();
        let document = Document { id: "a".to_owned(), ..Document::default() };
        writer.add(&[document], &Matrix { data: vec![0.0, 1.0], dim: 2 }).unwrap();
        assert!(!is_frozen());
        assert_eq!(readers.with(Store::len).unwrap(), 1);
    }
}
