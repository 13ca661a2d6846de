//! Text on its way to a file that appears whole, packed when its name says so: the counterpart of what
//! [`crate::records`] reads.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::atomic::AtomicFile;
use crate::{Error, Result};

/// A text file under construction, gzipped when its name ends in `.gz`; dropped without [`TextFile::commit`], it
/// vanishes. The same text gives the same bytes.
#[derive(Debug)]
pub struct TextFile {
    path: PathBuf,
    packing: Packing,
}

#[derive(Debug)]
enum Packing {
    Plain(AtomicFile),
    Gzip(Box<GzEncoder<AtomicFile>>),
}

impl TextFile {
    /// Starts a file that will appear as `path`; parent folders are made.
    ///
    /// # Errors
    /// When the folder or the file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        let file = AtomicFile::create(path)?;
        let is_packed = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"));
        let packing = if is_packed {
            Packing::Gzip(Box::new(GzEncoder::new(file, Compression::default())))
        } else {
            Packing::Plain(file)
        };
        Ok(Self { path: path.to_owned(), packing })
    }

    /// Writes a line and its end.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn line(&mut self, line: &str) -> Result<()> {
        let mut write = || {
            let output: &mut dyn Write = match &mut self.packing {
                Packing::Plain(file) => file,
                Packing::Gzip(file) => file.as_mut(),
            };
            output.write_all(line.as_bytes())?;
            output.write_all(b"\n")
        };
        write().map_err(|error| self.cannot_write(error))
    }

    /// Makes the contents durable and gives the file its name.
    ///
    /// # Errors
    /// When the disk is full or the rename is refused; the old file, if any, is then untouched.
    pub fn commit(self) -> Result<()> {
        let Self { path, packing } = self;
        let file = match packing {
            Packing::Plain(file) => Ok(file),
            Packing::Gzip(file) => file.finish(),
        };
        file.map_err(|error| Error::io("write", &path, error))?.commit()
    }

    fn cannot_write(&self, error: io::Error) -> Error {
        Error::io("write", &self.path, error)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::records::{RecordOptions, Records, Source};

    #[test]
    fn what_was_written_is_read_again_packed_or_not_and_only_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["plain.txt", "packed.txt.gz"] {
            let path = folder.path().join(name);
            let mut file = TextFile::create(&path).unwrap();
            for line in ["one", "zwei — deux"] {
                file.line(line).unwrap();
            }
            assert!(!path.exists());
            file.commit().unwrap();
            let records = Records::open(&Source::File(path.clone()), &RecordOptions::default());
            let texts: Vec<String> = records.unwrap().map(|record| record.unwrap().text).collect();
            assert_eq!(texts, ["one", "zwei — deux"]);
            assert_eq!(fs::read(&path).unwrap().starts_with(&[0x1f, 0x8b]), name.ends_with("gz"));
        }
        drop(TextFile::create(&folder.path().join("dropped.txt")));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
