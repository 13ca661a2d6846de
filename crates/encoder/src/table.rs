//! A table of vectors that rows are looked up in.
//!
//! Apart from the Transformer because the words of a vocabulary are most of a small model's numbers, and a text
//! touches few of them: a table that is stored in 8 bits stays so in memory, and a row is widened when it is used.

use hpd_files::Result;

use crate::quantized::QuantizedMatrix;
use crate::weights::Weights;

/// `[rows, width]` numbers.
pub(crate) enum Table {
    Float { numbers: Vec<f32>, width: usize },
    Int8(QuantizedMatrix),
}

impl Table {
    /// The tensor `name` of shape `[rows, width]`, in the type it is stored in.
    pub(crate) fn read(weights: &Weights, name: &str, shape: [usize; 2]) -> Result<Self> {
        if weights.is_quantized(name) {
            return weights.quantized(name, shape).map(Self::Int8);
        }
        Ok(Self::Float { numbers: weights.tensor(name, &shape)?, width: shape[1] })
    }

    /// Appends `row` to `out`. A row of 8 bits has the same bits as when the whole table is widened.
    pub(crate) fn append_row(&self, row: usize, out: &mut Vec<f32>) {
        match self {
            Self::Float { numbers, width } => {
                out.extend_from_slice(&numbers[row * width..][..*width])
            }
            Self::Int8(matrix) => out.extend(matrix.row(row)),
        }
    }
}
