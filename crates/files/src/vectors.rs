//! Matrices of vectors on disk: `.npy`, `.safetensors`, `.parquet`, `.jsonl`.

use std::path::Path;

use crate::{Error, Result};

/// Rows of f32, one after another.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// `n × dim` numbers, row-major.
    pub data: Vec<f32>,
    /// Numbers in a row.
    pub dim: usize,
}

impl Matrix {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        if self.dim == 0 { 0 } else { self.data.len() / self.dim }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.dim..][..self.dim]
    }
}

/// Reads a two-dimensional matrix of float16, float32 or float64 from `.npy` or `.safetensors` (its only two-dimensional tensor, or `embeddings`).
///
/// # Errors
/// When the file is missing, damaged, of another shape or holds NaN or infinity (with the row).
pub fn read_matrix(_path: &Path) -> Result<Matrix> {
    Err(Error::input("not built yet"))
}
