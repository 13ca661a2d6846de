//! Whole files or none: write beside, fsync, rename, fsync of the folder.
//!
//! The only module that knows how platforms differ in this: Windows has no folder fsync.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A file under construction beside its final name; dropped without [`AtomicFile::commit`], it vanishes.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    unfinished: PathBuf,
    file: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Starts a file that will appear as `path`; parent folders are made.
    ///
    /// # Errors
    /// When the folder or the file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        create_parent(path)?;
        let unfinished = sibling(path, &format!("{}.unfinished", std::process::id()));
        let file = File::create(&unfinished).map_err(|e| Error::io("create", &unfinished, e))?;
        Ok(Self {
            path: path.to_owned(),
            unfinished,
            file: Some(BufWriter::with_capacity(1 << 16, file)),
        })
    }

    /// Makes the contents durable and gives the file its name.
    ///
    /// # Errors
    /// When the disk is full or the rename is refused; the old file, if any, is then untouched.
    pub fn commit(mut self) -> Result<()> {
        let fail = |error| Error::io("write", &self.path, error);
        let Some(writer) = self.file.take() else { return Ok(()) };
        let file = writer.into_inner().map_err(|e| fail(e.into_error()))?;
        file.sync_all().map_err(fail)?;
        drop(file);
        rename(&self.unfinished, &self.path)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.as_mut().map_or(Ok(0), |file| file.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // After a commit the name is gone already, and nothing could be done about a failure here.
        let _ = fs::remove_file(&self.unfinished);
    }
}

/// Writes `bytes` as `path`, whole or not at all.
///
/// # Errors
/// When the disk is full or the place cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(|e| Error::io("write", path, e))?;
    file.commit()
}

/// Renames durably: the new name survives a power cut.
///
/// # Errors
/// When the rename or the folder's fsync is refused.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| Error::io("write", to, e))?;
    sync_folder(to.parent().unwrap_or(Path::new("")))
}

/// Makes names created in `folder` durable. Windows keeps names by itself and has no call for it.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub fn sync_folder(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if cfg!(unix) {
        let handle = File::open(folder).map_err(|e| Error::io("open", folder, e))?;
        handle.sync_all().map_err(|e| Error::io("sync", folder, e))?;
    }
    Ok(())
}

/// Makes the folder that `path` will stand in.
///
/// # Errors
/// When it cannot be created.
pub fn create_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, e))
        }
        _ => Ok(()),
    }
}

/// `dir/name` → `dir/.name.suffix`, on the same file system.
pub fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_without_commit_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/file");
        write(&path, b"old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
