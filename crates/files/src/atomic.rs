//! Whole files or none: write beside, fsync, rename, fsync of the folder.
//!
//! The only module that knows how platforms differ in this: Windows has no folder fsync.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
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
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().map_or(Ok(0), |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.as_mut().map_or(Ok(0), |file| file.seek(to))
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // After a commit the name is gone already, and nothing could be done about a failure here.
        let _ = fs::remove_file(&self.unfinished);
    }
}

/// A folder under construction beside its final name; dropped without [`AtomicFolder::commit`], it vanishes.
#[derive(Debug)]
pub struct AtomicFolder {
    path: PathBuf,
    unfinished: PathBuf,
    replace: bool,
}

impl AtomicFolder {
    /// Starts a folder that will appear as `path`; parent folders are made. Write into [`AtomicFolder::unfinished`].
    ///
    /// # Errors
    /// When `path` is taken by a file, or by a folder that is not empty and `replace` is off, or when nothing can be
    /// created there.
    pub fn create(path: &Path, replace: bool) -> Result<Self> {
        check_free(path, replace)?;
        create_parent(path)?;
        let unfinished = sibling(path, &format!("{}.unfinished", std::process::id()));
        remove_folder(&unfinished)?;
        fs::create_dir(&unfinished).map_err(|e| Error::io("create", &unfinished, e))?;
        Ok(Self { path: path.to_owned(), unfinished, replace })
    }

    /// Where to write until it is committed.
    pub fn unfinished(&self) -> &Path {
        &self.unfinished
    }

    /// Makes every file durable and gives the folder its name. A folder that stood there is there until the
    /// moment the new one is.
    ///
    /// # Errors
    /// When the disk is full, the rename is refused, or the name was taken meanwhile.
    pub fn commit(self) -> Result<()> {
        sync_tree(&self.unfinished)?;
        check_free(&self.path, self.replace)?;
        if self.path.exists() {
            exchange(&self.unfinished, &self.path)?;
        } else {
            fs::rename(&self.unfinished, &self.path)
                .map_err(|e| Error::io("write", &self.path, e))?;
        }
        sync_folder(self.path.parent().unwrap_or(Path::new("")))
    }
}

impl Drop for AtomicFolder {
    fn drop(&mut self) {
        // Holds the unfinished folder or, after an exchange, the one that was replaced.
        let _ = fs::remove_dir_all(&self.unfinished);
    }
}

/// Refuses an output folder that holds something already.
fn check_free(path: &Path, replace: bool) -> Result<()> {
    if path.file_name().is_none() {
        return Err(Error::input(format!("`{}` is not a name for a new folder", path.display())));
    }
    let mut entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("use as a folder", path, error)),
    };
    if !replace && entries.next().is_some() {
        let message = format!("folder `{}` is there already and not empty", path.display());
        return Err(Error::input(message));
    }
    Ok(())
}

fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Makes every file and folder below `folder` durable.
fn sync_tree(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|e| Error::io("read", folder, e))? {
        let path = entry.map_err(|e| Error::io("read", folder, e))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            // Windows flushes only what is open for writing.
            let file = File::options().write(true).open(&path);
            file.and_then(|file| file.sync_all()).map_err(|e| Error::io("write", &path, e))?;
        }
    }
    sync_folder(folder)
}

/// Swaps two folders: at every moment both names are taken.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn exchange(new: &Path, old: &Path) -> Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        // Some network file systems cannot.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => exchange_in_steps(new, old),
        Err(error) => Err(Error::io("replace", old, error.into())),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn exchange(new: &Path, old: &Path) -> Result<()> {
    exchange_in_steps(new, old)
}

/// The swap where the system has no call for it. A crash in the middle leaves both folders whole, under
/// names beside `old`.
fn exchange_in_steps(new: &Path, old: &Path) -> Result<()> {
    let fail = |error| Error::io("replace", old, error);
    let aside = sibling(old, "replaced");
    fs::rename(old, &aside).map_err(fail)?;
    if let Err(error) = fs::rename(new, old) {
        fs::rename(&aside, old).map_err(fail)?;
        return Err(fail(error));
    }
    fs::rename(&aside, new).map_err(fail)
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

    fn folder_with(path: &Path, contents: &[u8], replace: bool) -> Result<()> {
        let folder = AtomicFolder::create(path, replace)?;
        fs::create_dir(folder.unfinished().join("deep")).unwrap();
        fs::write(folder.unfinished().join("deep/file"), contents).unwrap();
        folder.commit()
    }

    #[test]
    fn folder_appears_whole_and_is_replaced_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/folder");
        folder_with(&path, b"old", false).unwrap();
        let error = folder_with(&path, b"new", false).unwrap_err();
        assert!(error.to_string().contains("is there already"), "{error}");
        assert_eq!(fs::read(path.join("deep/file")).unwrap(), b"old");
        folder_with(&path, b"new", true).unwrap();
        assert_eq!(fs::read(path.join("deep/file")).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path().join("made")).unwrap().count(), 1);
    }

    #[test]
    fn folder_dropped_without_commit_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        folder_with(&path, b"old", false).unwrap();
        let folder = AtomicFolder::create(&path, true).unwrap();
        fs::write(folder.unfinished().join("file"), b"new").unwrap();
        drop(folder);
        assert_eq!(fs::read(path.join("deep/file")).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn folders_exchange_in_steps_where_the_system_has_no_call() {
        let dir = tempfile::tempdir().unwrap();
        let (new, old) = (dir.path().join("new"), dir.path().join("old"));
        folder_with(&new, b"new", false).unwrap();
        folder_with(&old, b"old", false).unwrap();
        exchange_in_steps(&new, &old).unwrap();
        assert_eq!(fs::read(old.join("deep/file")).unwrap(), b"new");
        assert_eq!(fs::read(new.join("deep/file")).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn an_empty_folder_may_be_filled_and_a_file_in_the_way_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        folder_with(dir.path(), b"new", false).unwrap();
        assert!(AtomicFolder::create(&dir.path().join("deep/file"), true).is_err());
        assert!(AtomicFolder::create(Path::new(".."), true).is_err());
    }
}
