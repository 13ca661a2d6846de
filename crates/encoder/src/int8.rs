//! How matrices in 8 bits lie in a file.
//!
//! `model.int8.safetensors` is a safetensors file in which a matrix `X` is of type I8, `[rows, columns]`, each
//! number between -127 and 127, and `X.scales` of type F32, `[rows]`, stands beside it: row `r` is
//! `X[r] · X.scales[r]`. What is not in 8 bits is there in f32, so that the rounding of [`QuantizedMatrix`] is
//! all that such a folder has lost; in f16 the rest would save 2 % of a small model and round a second time.
//!
//! The file never takes the name `model.safetensors`: other programs would read whole numbers as weights.

use std::borrow::Cow;

use hpd_files::{Error, Result};
use safetensors::Dtype;

use crate::quantized::QuantizedMatrix;
use crate::tensor::{StoredTensor, Tensor};

/// Name of the file, in place of `model.safetensors`.
pub(crate) const FILE: &str = "model.int8.safetensors";

const SCALES: &str = ".scales";

/// Tables with few rows, of which one is added to every token: there is little to save and much to spoil.
const KEPT: [&str; 3] = ["position_embeddings", "token_type_embeddings", "relative_attention_bias"];

/// The tensor with the scales of matrix `name`.
pub(crate) fn scales_of(name: &str) -> String {
    format!("{name}{SCALES}")
}

/// The matrix whose scales `name` holds, if it is a name of scales.
pub(crate) fn matrix_of(name: &str) -> Option<&str> {
    name.strip_suffix(SCALES)
}

/// A tensor of the Transformer as the file holds it: a matrix and its scales, or the tensor as it is.
pub(crate) fn stored(tensor: &Tensor) -> Vec<StoredTensor<'_>> {
    let Some(columns) = columns_to_round(tensor) else {
        return vec![tensor.into()];
    };
    let QuantizedMatrix { values, scales, .. } = QuantizedMatrix::quantize(&tensor.data, columns);
    vec![
        StoredTensor {
            dtype: Dtype::I8,
            bytes: Cow::Owned(bytemuck::cast_slice(&values).to_vec()),
            ..tensor.into()
        },
        StoredTensor {
            name: scales_of(&tensor.name).into(),
            dtype: Dtype::F32,
            shape: vec![scales.len()].into(),
            bytes: Cow::Owned(bytemuck::cast_slice(&scales).to_vec()),
        },
    ]
}

/// Every linear layer's matrix and the table of words; not vectors, and not the tables in [`KEPT`].
fn columns_to_round(tensor: &Tensor) -> Option<usize> {
    match tensor.shape[..] {
        [_, columns] if columns > 0 && !KEPT.iter().any(|name| tensor.name.contains(name)) => {
            Some(columns)
        }
        _ => None,
    }
}

/// A matrix out of a file, from the bytes of `name` and its scales. `place` is the file.
///
/// # Errors
/// When the shape is not that of a matrix, there is not one scale a row, a scale is negative or gives numbers
/// that are not finite, or a value is -128, which the meaning of 8 bits here does not have.
pub(crate) fn matrix(
    name: &str,
    shape: &[usize],
    bytes: &[u8],
    scales: Vec<f32>,
    place: &str,
) -> Result<QuantizedMatrix> {
    let refuse = |what: String| Err(Error::model(format!("`{name}` in `{place}` {what}")));
    let (rows, columns) = match *shape {
        [rows, columns] if columns > 0 => (rows, columns),
        _ => {
            let expected = "expected rows and columns";
            return refuse(format!("is in 8 bits with the shape {shape:?}, {expected}"));
        }
    };
    if scales.len() != rows {
        return refuse(format!("has {rows} rows but {} scales, expected one each", scales.len()));
    }
    let is_wrong = |scale: &f32| *scale < 0.0 || !(scale * 127.0).is_finite();
    if let Some(row) = scales.iter().position(is_wrong) {
        return refuse(format!(
            "has the scale {} in row {row}, expected 0 or more and finite numbers from it",
            scales[row]
        ));
    }
    let values: &[i8] = bytemuck::cast_slice(bytes);
    // Looking whether is several times faster than looking where.
    if values.contains(&i8::MIN) {
        let at = values.iter().position(|value| *value == i8::MIN).unwrap_or_default();
        return refuse(format!("holds -128 at position {at}, expected -127 to 127"));
    }
    Ok(QuantizedMatrix { values: values.to_vec(), scales, columns })
}
