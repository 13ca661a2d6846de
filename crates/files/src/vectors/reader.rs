//! A matrix file as a stream of blocks of rows.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::{Matrix, npy, safetensors};
use crate::{Error, Result};

/// A matrix of float16, bfloat16, float32 or float64 in `.npy` or `.safetensors` (its only two-dimensional tensor, or
/// `embeddings`), read block by block.
///
/// # Cost
/// Memory for one block, twice: as stored and as f32.
#[derive(Debug)]
pub struct MatrixReader {
    path: PathBuf,
    file: BufReader<File>,
    layout: Layout,
    next: usize,
}

impl MatrixReader {
    /// Opens a file and checks its header against its size.
    ///
    /// # Errors
    /// When the file is missing, damaged or of another shape or type.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |error| Error::io("open", path, error);
        let file = File::open(path).map_err(fail)?;
        let bytes = file.metadata().map_err(fail)?.len();
        let mut file = BufReader::new(file);
        let layout = read_layout(&mut file, bytes, path).map_err(|error| {
            let wrapped =
                Error::new(error.kind(), format!("cannot read vectors from `{}`", path.display()));
            match error.hint_text().map(str::to_owned) {
                Some(hint) => wrapped.caused_by(error).hint(hint),
                None => wrapped.caused_by(error),
            }
        })?;
        file.seek(SeekFrom::Start(layout.start)).map_err(fail)?;
        Ok(Self { path: path.to_owned(), file, layout, next: 0 })
    }

    /// How many rows the file holds.
    pub fn rows(&self) -> usize {
        self.layout.rows
    }

    /// Numbers in a row.
    pub fn dim(&self) -> usize {
        self.layout.dim
    }

    /// How a number is stored, under numpy's name, such as `float32`.
    pub fn number_name(&self) -> &'static str {
        self.layout.number.name()
    }

    /// The next block, of `at_most` rows; `None` after the last.
    ///
    /// # Errors
    /// When the file cannot be read or a row holds NaN or infinity.
    pub fn next_block(&mut self, at_most: usize) -> Result<Option<Matrix>> {
        let Layout { rows, dim, number, .. } = self.layout;
        let count = at_most.min(rows - self.next);
        if count == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; count * dim * number.bytes()];
        self.file.read_exact(&mut bytes).map_err(|e| Error::io("read", &self.path, e))?;
        let block = Matrix { data: number.decode(&bytes), dim };
        self.check_finite(&block)?;
        self.next += count;
        Ok(Some(block))
    }

    fn check_finite(&self, block: &Matrix) -> Result<()> {
        let Some(at) = block.data.iter().position(|number| !number.is_finite()) else {
            return Ok(());
        };
        let (row, column, found) = (self.next + at / block.dim, at % block.dim, block.data[at]);
        Err(Error::input(format!(
            "`{}` holds {found} in row {row}, column {column} (counted from 0); expected finite numbers",
            self.path.display()
        )))
    }
}

fn read_layout(file: &mut impl Read, bytes: u64, path: &Path) -> Result<Layout> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match ending.as_str() {
        "npy" => {
            let mut start = [0; 6];
            file.read_exact(&mut start)
                .map_err(|e| Error::input("the file is cut off").caused_by(e))?;
            if start != npy::MAGIC {
                return Err(Error::input("the file does not start as numpy's `.npy` does"));
            }
            npy::read_layout(file, bytes)
        }
        "safetensors" => safetensors::read_layout(file, bytes),
        _ => Err(Error::input("the name ends neither in `.npy` nor in `.safetensors`")),
    }
}
