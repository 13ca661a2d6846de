//! Files as slices: read-only memory mapping.
//!
//! Here because mapping is `unsafe`: the operating system lets other programs change a file under its map.
//! Everything in this workspace that replaces a file writes a new one and renames it over the old name, which
//! leaves maps of the old file whole, or appends to a file of which maps hold no more than what was there. A file that some other program shortens in place is beyond our reach;
//! reading past its new end then ends the process.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::{Mmap, MmapOptions};

/// A file's contents as `&[u8]`, read from disk when first touched.
///
/// # Cost
/// Opening costs the same for every size; pages are shared with other processes that map the file.
#[derive(Debug)]
pub struct FileMap {
    /// `None` for an empty file, which some systems refuse to map.
    pages: Option<Mmap>,
}

impl FileMap {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// When the file is missing, not a regular file or cannot be mapped.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        if metadata.len() == 0 {
            return Ok(Self { pages: None });
        }
        // SAFETY: the map is read-only and private to this value. Its bytes stay as they are while nobody
        // writes into the file in place, which the module's documentation asks of every writer.
        let pages = unsafe { Mmap::map(&file) }?;
        Ok(Self { pages: Some(pages) })
    }

    /// Maps the first `bytes` of the file at `path`, to which others may append meanwhile.
    ///
    /// # Errors
    /// As [`FileMap::open`], and when the file is shorter.
    pub fn open_beginning(path: &Path, bytes: usize) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() < bytes as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if bytes == 0 {
            return Ok(Self { pages: None });
        }
        // SAFETY: as in `open`; what is appended lies behind the map.
        let pages = unsafe { MmapOptions::new().len(bytes).map(&file) }?;
        Ok(Self { pages: Some(pages) })
    }
}

impl Deref for FileMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.pages.as_deref().unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("hpd-map-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_map_outlives_the_name_it_was_opened_by() {
        let (old, new) = (scratch("old"), scratch("new"));
        fs::write(&old, b"first contents").unwrap();
        let map = FileMap::open(&old).unwrap();
        fs::write(&new, b"second").unwrap();
        if cfg!(unix) {
            fs::rename(&new, &old).unwrap();
        }
        assert_eq!(&*map, b"first contents");
        drop(map);
        let _ = fs::remove_file(&new);
        fs::remove_file(&old).unwrap();
    }

    #[test]
    fn the_beginning_stays_when_something_is_appended() {
        use std::io::Write;
        let path = scratch("beginning");
        fs::write(&path, b"first contents").unwrap();
        let map = FileMap::open_beginning(&path, 5).unwrap();
        fs::File::options().append(true).open(&path).unwrap().write_all(b" and more").unwrap();
        assert_eq!(&*map, b"first");
        assert!(FileMap::open_beginning(&path, 0).unwrap().is_empty());
        assert!(FileMap::open_beginning(&path, 24).is_err());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn an_empty_file_is_an_empty_slice() {
        let path = scratch("empty");
        fs::write(&path, b"").unwrap();
        assert!(FileMap::open(&path).unwrap().is_empty());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn folders_and_missing_files_are_refused() {
        assert!(FileMap::open(&std::env::temp_dir()).is_err());
        assert!(FileMap::open(&scratch("missing")).is_err());
    }
}
