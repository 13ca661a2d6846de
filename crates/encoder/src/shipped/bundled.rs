//! A model whose files are a part of the program, for programs that are installed without anything beside them.
//!
//! Opening maps files, so the bytes go to disk once, into a folder of their own among the user's data: not into
//! `models`, where they would hide what a newer program brings under the same name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hpd_files::atomic::{self, AtomicFolder};
use hpd_files::{Error, Result};

/// A folder under construction has the process in its name, not the thread.
static UNPACKING: Mutex<()> = Mutex::new(());

/// A model folder in the memory of the program.
#[derive(Clone, Copy)]
pub struct BundledModel {
    /// Its name among the shipped models.
    pub name: &'static str,
    /// Paths below the folder, with `/`, and what the files hold.
    pub files: &'static [(&'static str, &'static [u8])],
}

impl BundledModel {
    /// Writes the folder into `data`, unless it is there with just these bytes.
    pub(super) fn unpack(&self, data: Option<&Path>) -> Result<PathBuf> {
        let data = data.ok_or_else(|| {
            Error::input(format!(
                "there is no folder to keep the model `{}` of this program in",
                self.name
            ))
            .hint("name one by `XDG_DATA_HOME=DIR`, or name another model")
        })?;
        let folder = data.join("bundled").join(self.name);
        let _alone = UNPACKING.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_at(&folder) {
            return Ok(folder);
        }
        match self.write(&folder) {
            // Another process was faster.
            Err(_) if self.is_at(&folder) => Ok(folder),
            Err(error) if error.hint_text().is_none() => Err(error.hint(
                "name a folder that can be written by `XDG_DATA_HOME=DIR`, or name another model",
            )),
            Err(error) => Err(error),
            Ok(()) => Ok(folder),
        }
    }

    fn is_at(&self, folder: &Path) -> bool {
        self.files
            .iter()
            .all(|(name, bytes)| fs::read(folder.join(name)).is_ok_and(|found| found == *bytes))
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let unfinished = AtomicFolder::create(folder, true)?;
        for (name, bytes) in self.files {
            let path = unfinished.unfinished().join(name);
            atomic::create_parent(&path)?;
            fs::write(&path, bytes).map_err(|e| Error::io("write", &path, e))?;
        }
        unfinished.commit()
    }
}

/// Without the bytes.
impl std::fmt::Debug for BundledModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BundledModel").field("name", &self.name).finish_non_exhaustive()
    }
}
