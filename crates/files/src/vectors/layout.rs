//! Where the numbers of a matrix stand in a file: what a header says, once it has been believed.

use half::{bf16, f16};

use crate::{Error, Result};

/// How a number is stored, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Float16,
    BFloat16,
    Float32,
    Float64,
}

impl Number {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Float16 | Self::BFloat16 => 2,
            Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }

    /// As numpy and PyTorch call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Float16 => "float16",
            Self::BFloat16 => "bfloat16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
        }
    }

    /// Numbers from bytes; the caller passes whole numbers.
    pub(super) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::Float16 => pieces(bytes).map(|b| f16::from_le_bytes(b).to_f32()).collect(),
            Self::BFloat16 => pieces(bytes).map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
            Self::Float32 => pieces(bytes).map(f32::from_le_bytes).collect(),
            Self::Float64 => pieces(bytes).map(|b| f64::from_le_bytes(b) as f32).collect(),
        }
    }
}

fn pieces<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// A matrix within a file; only [`Layout::new`] makes one, so sizes never overflow and always fit the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) rows: usize,
    pub(super) dim: usize,
    pub(super) number: Number,
    /// Byte of the file at which the first row starts.
    pub(super) start: u64,
}

impl Layout {
    /// Checks what a header claims against the bytes that are there, before anything is allocated.
    pub(super) fn new(shape: &[usize], number: Number, start: u64, available: u64) -> Result<Self> {
        let &[rows, dim] = shape else {
            return Err(Error::input(format!(
                "the array has shape {shape:?}; expected two dimensions, rows and columns"
            )));
        };
        if dim == 0 {
            return Err(Error::input(format!(
                "the array has shape {shape:?}; expected some columns"
            )));
        }
        let claimed = rows.checked_mul(dim).and_then(|n| n.checked_mul(number.bytes()));
        if claimed.map(|bytes| bytes as u64) != Some(available) {
            return Err(Error::input(format!(
                "the header says {rows} rows of {dim} numbers of {} bytes, but {available} bytes follow",
                number.bytes()
            )));
        }
        Ok(Self { rows, dim, number, start })
    }
}
