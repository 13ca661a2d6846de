//! Vectors in fewer bits.

use hpd_encoder::{Quantizer, Ranges};
use hpd_files::vectors::{Block, Matrix};
use hpd_files::{Error, Result};
use numpy::{
    PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods, ToPyArray,
};
use pyo3::prelude::*;

use crate::errors::raised;

/// An array as rows.
pub(crate) fn rows_of(array: &PyReadonlyArray2<'_, f32>) -> Matrix {
    let dim = array.shape()[1];
    Matrix { data: array.as_array().iter().copied().collect(), dim }
}

/// Rows as an array, whose memory they become.
pub(crate) fn array_of(py: Python<'_>, rows: Matrix) -> PyResult<Bound<'_, PyArray2<f32>>> {
    let count = rows.data.len().checked_div(rows.dim).unwrap_or(0);
    PyArray1::from_vec(py, rows.data).reshape([count, rows.dim])
}

/// Rows in a precision; `ranges` is `[2, dim]`, the least and the greatest number of each dimension.
#[pyfunction]
#[pyo3(signature = (rows, precision, ranges))]
pub(crate) fn quantize<'py>(
    py: Python<'py>,
    rows: PyReadonlyArray2<'py, f32>,
    precision: &str,
    ranges: Option<PyReadonlyArray2<'py, f32>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (rows, ranges) = (rows_of(&rows), ranges.as_ref().map(rows_of));
    let quantized = || -> Result<(Block, usize)> {
        let precision: hpd_encoder::Precision = precision.parse()?;
        let ranges = ranges.as_ref().map(|ranges| ranges_of(ranges, rows.dim)).transpose()?;
        let quantizer = Quantizer::new(precision, rows.dim, ranges.as_ref())?;
        Ok((quantizer.quantize(&rows), precision.width(rows.dim)))
    };
    let (block, width) = quantized().map_err(|error| raised(py, &error))?;
    let shape = [rows.len(), width];
    Ok(match block {
        Block::Float32(numbers) => numbers.to_pyarray(py).reshape(shape)?.into_any(),
        Block::Int8(numbers) => numbers.to_pyarray(py).reshape(shape)?.into_any(),
        Block::UInt8(numbers) => numbers.to_pyarray(py).reshape(shape)?.into_any(),
    })
}

fn ranges_of(ranges: &Matrix, dim: usize) -> Result<Ranges> {
    if (ranges.len(), ranges.dim) != (2, dim) {
        return Err(Error::mismatch(format!(
            "the ranges have the shape [{}, {}], expected [2, {dim}]",
            ranges.len(),
            ranges.dim
        )));
    }
    let (minimum, maximum) = (ranges.row(0).to_vec(), ranges.row(1).to_vec());
    Ok(Ranges { minimum, maximum, vectors: 0 })
}
