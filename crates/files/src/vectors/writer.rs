//! Rows in, a file of vectors out.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::parquet_lists::ParquetLists;
use super::{json_lines, npy};
use crate::atomic::AtomicFile;
use crate::{Error, Result};

/// Type of the numbers in a file of vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Four bytes, a float.
    Float32,
    /// One byte, -128 to 127.
    Int8,
    /// One byte, 0 to 255.
    UInt8,
}

/// Rows of numbers, one after another.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// Floats.
    Float32(Vec<f32>),
    /// Signed bytes.
    Int8(Vec<i8>),
    /// Unsigned bytes.
    UInt8(Vec<u8>),
}

impl Block {
    /// Type of the numbers.
    pub fn element(&self) -> Element {
        match self {
            Self::Float32(_) => Element::Float32,
            Self::Int8(_) => Element::Int8,
            Self::UInt8(_) => Element::UInt8,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            // On a big-endian machine this would have to swap; none is supported.
            Self::Float32(numbers) => bytemuck::cast_slice(numbers),
            Self::Int8(numbers) => bytemuck::cast_slice(numbers),
            Self::UInt8(numbers) => numbers,
        }
    }
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorFormat {
    /// numpy's format: the numbers alone, in order, without ids.
    Npy,
    /// One `{"id": …, "embedding": […]}` a line; floats as short as they read back exactly.
    JsonLines,
    /// Columns `id` (string, optional) and `embedding` (a standard three-level list, which pandas and Arrow
    /// show as `list<float>` or `list<int8>`; the file carries no Arrow hint that all lists have one length).
    Parquet,
}

impl VectorFormat {
    /// Told by the ending of a file name.
    ///
    /// # Errors
    /// When it is none of `.npy`, `.jsonl` and `.parquet`.
    pub fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        ending.parse().map_err(|_: Error| {
            Error::input(format!("`{}` names no format of vectors", path.display()))
                .hint("end the name in `.npy`, `.jsonl` or `.parquet`")
        })
    }
}

impl FromStr for VectorFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "npy" => Ok(Self::Npy),
            "jsonl" | "ndjson" => Ok(Self::JsonLines),
            "parquet" => Ok(Self::Parquet),
            other => Err(Error::input(format!(
                "`{other}` is no format of vectors; expected npy, jsonl or parquet"
            ))),
        }
    }
}

/// Writes a file of vectors, whole or not at all; dropped without [`VectorWriter::finish`], it leaves nothing.
///
/// # Cost
/// Memory for one block, for Parquet one row group of about 16 MiB.
pub struct VectorWriter {
    path: PathBuf,
    element: Element,
    width: usize,
    rows: u64,
    sink: Sink,
}

enum Sink {
    Npy(AtomicFile),
    JsonLines(AtomicFile),
    Parquet(Box<ParquetLists>),
}

impl VectorWriter {
    /// Starts `path`, for rows of `width` numbers.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(
        path: &Path,
        format: VectorFormat,
        element: Element,
        width: usize,
    ) -> Result<Self> {
        let mut file = AtomicFile::create(path)?;
        let sink = match format {
            VectorFormat::Npy => {
                let room = npy::header(element, 0, width);
                file.write_all(&room).map_err(|e| Error::io("write", path, e))?;
                Sink::Npy(file)
            }
            VectorFormat::JsonLines => Sink::JsonLines(file),
            VectorFormat::Parquet => {
                Sink::Parquet(Box::new(ParquetLists::new(path, file, element, width, &[])?))
            }
        };
        Ok(Self { path: path.to_owned(), element, width, rows: 0, sink })
    }

    /// Appends the rows of `block`, with one id each (`.npy` has no place for ids).
    ///
    /// # Errors
    /// When the disk is full, or the block is of another type than the file.
    pub fn write(&mut self, ids: &[Option<String>], block: &Block) -> Result<()> {
        if block.element() != self.element || block.bytes().len() != ids.len() * self.row_bytes() {
            return Err(Error::mismatch(format!(
                "`{}` takes one row of {} {:?} for each id; found {} ids and {} bytes of {:?}",
                self.path.display(),
                self.width,
                self.element,
                ids.len(),
                block.bytes().len(),
                block.element()
            )));
        }
        self.rows += ids.len() as u64;
        let fail = |error| Error::io("write", &self.path, error);
        match &mut self.sink {
            Sink::Npy(file) => file.write_all(block.bytes()).map_err(fail),
            Sink::JsonLines(file) => {
                json_lines::write_json_lines(file, ids, block, self.width).map_err(fail)
            }
            Sink::Parquet(lists) => lists.write(ids, block),
        }
    }

    fn row_bytes(&self) -> usize {
        match self.element {
            Element::Float32 => self.width * size_of::<f32>(),
            Element::Int8 | Element::UInt8 => self.width,
        }
    }

    /// Completes the file and gives it its name; tells how many rows it holds.
    ///
    /// # Errors
    /// When the disk is full; a file that had the name before is then untouched.
    pub fn finish(self) -> Result<u64> {
        let file = match self.sink {
            Sink::Npy(mut file) => {
                let header = npy::header(self.element, self.rows, self.width);
                file.seek(SeekFrom::Start(0))
                    .and_then(|_| file.write_all(&header))
                    .map_err(|e| Error::io("write", &self.path, e))?;
                file
            }
            Sink::JsonLines(file) => file,
            Sink::Parquet(lists) => lists.finish()?,
        };
        file.commit()?;
        Ok(self.rows)
    }
}
