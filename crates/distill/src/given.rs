//! A teacher that is a file: vectors made elsewhere, row i for record i of the sentence files.
//!
//! Separate because its danger is its own: vectors of another sentence list train a student on noise without
//! a complaint. So the number of rows must be that of the records before cleaning, and a file
//! `vectors.npy.json` beside the vectors, if there is one, must name the same records.

use std::path::{Path, PathBuf};

use hpd_files::vectors::{Matrix, MatrixReader};
use hpd_files::{Error, Fingerprint, Result};
use serde::Deserialize;

use crate::sentences::Sentences;

/// Rows that are read at a time.
const BLOCK_ROWS: usize = 1024;

/// A file of vectors, `.npy` or `.safetensors`.
#[derive(Debug)]
pub struct GivenVectors {
    path: PathBuf,
    fingerprint: Fingerprint,
    rows: usize,
    width: usize,
}

/// What may stand beside the file.
#[derive(Deserialize)]
struct Sidecar {
    /// [`Sentences::records_fingerprint`] of the files the vectors were made of.
    sentences: Option<String>,
}

impl GivenVectors {
    /// Opens a file and reads it once for its fingerprint.
    ///
    /// # Errors
    /// When it is missing, damaged or of another shape.
    pub fn open(path: &Path) -> Result<Self> {
        let reader = MatrixReader::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            fingerprint: Fingerprint::of_file(path)?,
            rows: reader.rows(),
            width: reader.dim(),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Names its bytes.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Checks that the vectors can be those of the records of `sentences`.
    ///
    /// # Errors
    /// When their number differs or the file beside them names other records.
    pub fn check_belonging(&self, sentences: &Sentences) -> Result<()> {
        let (path, records) = (self.path.display(), sentences.records());
        if self.rows != records {
            return Err(Error::mismatch(format!(
                "`{path}` has {} vectors, the sentence files have {records} records",
                self.rows
            ))
            .hint("row i must be the vector of line i of the sentence files, in the order given"));
        }
        let given = sentences.records_fingerprint().to_string();
        match self.read_sidecar()? {
            Some(made_of) if made_of != given => Err(Error::mismatch(format!(
                "`{path}` was made of another sentence list: `{path}.json` names {made_of}, \
                 the files given are {given}"
            ))),
            _ => Ok(()),
        }
    }

    /// Starts reading its rows.
    pub(crate) fn stream(&self) -> Result<GivenRows> {
        let reader = MatrixReader::open(&self.path)?;
        let block = Matrix { data: Vec::new(), dim: reader.dim() };
        Ok(GivenRows { reader, block, first: 0 })
    }

    fn read_sidecar(&self) -> Result<Option<String>> {
        let path = PathBuf::from(format!("{}.json", self.path.display()));
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let sidecar: Sidecar = serde_json::from_slice(&bytes)
            .map_err(|e| Error::input(format!("`{}` is damaged", path.display())).caused_by(e))?;
        Ok(sidecar.sentences)
    }
}

/// The rows of a file, from the first to the last, a block in memory.
pub(crate) struct GivenRows {
    reader: MatrixReader,
    block: Matrix,
    /// Number of the block's first row.
    first: usize,
}

impl GivenRows {
    /// Copies these rows, which ascend, also from call to call.
    pub(crate) fn gather(&mut self, rows: impl Iterator<Item = usize>) -> Result<Matrix> {
        let mut gathered = Matrix { data: Vec::new(), dim: self.block.dim };
        for row in rows {
            while row >= self.first + self.block.len() {
                self.first += self.block.len();
                self.block = self
                    .reader
                    .next_block(BLOCK_ROWS)?
                    .ok_or_else(|| Error::input(format!("the vectors end before row {row}")))?;
            }
            gathered.data.extend_from_slice(self.block.row(row - self.first));
        }
        Ok(gathered)
    }
}
