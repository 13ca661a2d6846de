//! One repository in the cache, laid out as `huggingface_hub` lays it out.
//!
//! ```text
//! models--org--name/
//!   blobs/ETAG                    contents, by the hub's own names for them
//!   refs/REVISION                 the commit that a branch or tag stood for
//!   snapshots/COMMIT/FILE         links to blobs
//!   .no_exist/COMMIT/FILE         the commit has no such file
//! ```

use std::fs;
use std::path::{Component, Path, PathBuf};

use hpd_files::{Error, Result, atomic};

use super::contents;
use crate::modules::MODULES;

/// A repository's folder in the cache.
#[derive(Debug)]
pub(super) struct Repository {
    folder: PathBuf,
}

impl Repository {
    /// Of model `id`, there or not.
    pub(super) fn new(cache: &Path, id: &str) -> Self {
        Self { folder: cache.join(format!("models--{}", id.replace('/', "--"))) }
    }

    /// The snapshot that `revision` stood for when it was fetched, if nothing of it is missing.
    pub(super) fn whole_snapshot(&self, revision: &str) -> Option<PathBuf> {
        let commit = match fs::read_to_string(self.reference(revision)) {
            Ok(commit) if is_commit(commit.trim()) => commit.trim().to_owned(),
            _ if is_commit(revision) => revision.to_owned(),
            _ => return None,
        };
        let lists_modules = !self.absence(&commit, MODULES).is_file();
        let snapshot = self.snapshot(&commit);
        contents::is_whole(&snapshot, lists_modules).then_some(snapshot)
    }

    /// Folder of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// Contents by name.
    pub(super) fn blob(&self, name: &str) -> PathBuf {
        self.folder.join("blobs").join(name)
    }

    /// Notes that `revision` stands for `commit`.
    pub(super) fn set_reference(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit {
            return Ok(());
        }
        atomic::write(&self.reference(revision), commit.as_bytes())
    }

    /// Notes that `commit` has no `file`.
    pub(super) fn set_absent(&self, commit: &str, file: &str) -> Result<()> {
        atomic::write(&self.absence(commit, file), b"")
    }

    /// Gives a blob its name in a snapshot.
    pub(super) fn link(&self, commit: &str, file: &str, blob: &str) -> Result<()> {
        let name = self.snapshot(commit).join(file);
        atomic::create_parent(&name)?;
        let up = "../".repeat(2 + file.matches('/').count());
        match symlink(Path::new(&format!("{up}blobs/{blob}")), &self.blob(blob), &name) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(Error::io("create", &name, error))
            }
            _ => Ok(()),
        }
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }

    fn absence(&self, commit: &str, file: &str) -> PathBuf {
        self.folder.join(".no_exist").join(commit).join(file)
    }
}

#[cfg(unix)]
fn symlink(relative: &Path, _blob: &Path, name: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(relative, name)
}

/// Windows grants links only to some users; the others get the file itself.
#[cfg(not(unix))]
fn symlink(_relative: &Path, blob: &Path, name: &Path) -> std::io::Result<()> {
    whole_copy(blob, name)
}

/// Copies beside `name` first: a copy that was broken off would be taken for the whole file ever after.
#[cfg(any(not(unix), test))]
fn whole_copy(blob: &Path, name: &Path) -> std::io::Result<()> {
    let unfinished = atomic::sibling(name, &format!("{}.unfinished", std::process::id()));
    fs::copy(blob, &unfinished).and_then(|_| fs::rename(&unfinished, name)).inspect_err(|_| {
        let _ = fs::remove_file(&unfinished);
    })
}

/// Whether `text` is a commit, in full.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a file name from outside stays below the folder it is put in.
pub(super) fn is_inside(file: &str) -> bool {
    !file.contains('\\')
        && !file.is_empty()
        && Path::new(file).components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_appears_whole_and_one_that_fails_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [blob, name] = ["blob", "config.json"].map(|name| folder.path().join(name));
        assert!(whole_copy(&blob, &name).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(&blob, "{}").unwrap();
        whole_copy(&blob, &name).unwrap();
        whole_copy(&blob, &name).unwrap();
        assert_eq!(fs::read(&name).unwrap(), b"{}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
