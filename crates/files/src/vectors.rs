//! Matrices of vectors on disk: `.npy` and `.safetensors` in, `.npy`, `.jsonl` and `.parquet` out.
//!
//! Separate from models: a row is a row, wherever it came from. Files may be larger than memory, so both ways go
//! in blocks of rows: `path → MatrixReader → Matrix` and `Block → VectorWriter → path`.

mod documents;
mod json_lines;
mod layout;
pub(crate) mod npy;
mod parquet_lists;
mod reader;
mod safetensors;
mod writer;

use std::path::Path;

use crate::Result;

pub use documents::DocumentWriter;
pub use json_lines::write_json_lines;
pub use reader::MatrixReader;
pub use writer::{Block, Element, VectorFormat, VectorWriter};

/// Rows of f32, one after another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    /// `n × dim` numbers, row-major.
    pub data: Vec<f32>,
    /// Numbers in a row.
    pub dim: usize,
}

impl Matrix {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.data.len().checked_div(self.dim).unwrap_or(0)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.dim..][..self.dim]
    }

    /// The rows in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.data.chunks_exact(self.dim.max(1))
    }
}

/// Reads a whole matrix into memory, see [`MatrixReader`].
///
/// # Errors
/// When the file is missing, damaged, of another shape or holds NaN or infinity (with the row).
pub fn read_matrix(path: &Path) -> Result<Matrix> {
    let mut reader = MatrixReader::open(path)?;
    let rows = reader.rows();
    let empty = Matrix { data: Vec::new(), dim: reader.dim() };
    Ok(reader.next_block(rows)?.unwrap_or(empty))
}

#[cfg(test)]
mod tests;
