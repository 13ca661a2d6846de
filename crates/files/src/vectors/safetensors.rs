//! Which tensor of a `.safetensors` file is the matrix, and where it stands.

use std::io::Read;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::layout::{Layout, Number};
use crate::{Error, Result};

/// The limit of the safetensors library itself.
const LONGEST_HEADER: u64 = 100_000_000;

/// The tensor taken when there are several matrices.
const NAME: &str = "embeddings";

/// Reads the header from the start of a file of `file_bytes`.
pub(super) fn read_layout(file: &mut impl Read, file_bytes: u64) -> Result<Layout> {
    let cut_off = || Error::input("the header is cut off or damaged");
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|e| cut_off().caused_by(e))?;
    let length = u64::from_le_bytes(length);
    let data = length.checked_add(8).filter(|&data| data <= file_bytes && length <= LONGEST_HEADER);
    let data = data.ok_or_else(cut_off)?;
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).map_err(|e| cut_off().caused_by(e))?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| cut_off().caused_by(e))?;
    let tensor = choose(&metadata)?;
    let (start, end) = tensor.data_offsets;
    if start > end || end as u64 > file_bytes - data {
        return Err(cut_off());
    }
    Layout::new(&tensor.shape, number(tensor.dtype)?, data + start as u64, (end - start) as u64)
}

fn choose(metadata: &Metadata) -> Result<&TensorInfo> {
    if let Some(tensor) = metadata.info(NAME) {
        return Ok(tensor);
    }
    let mut matrices: Vec<_> = metadata.tensors().into_iter().collect();
    matrices.retain(|(_, tensor)| tensor.shape.len() == 2);
    matrices.sort_by(|a, b| a.0.cmp(&b.0));
    match matrices.as_slice() {
        [(_, tensor)] => Ok(tensor),
        [] => Err(Error::input("no tensor has two dimensions")),
        several => {
            let names: Vec<String> = several.iter().map(|(name, _)| format!("`{name}`")).collect();
            Err(Error::input(format!(
                "several tensors have two dimensions: {}; expected one, or one named `{NAME}`",
                names.join(", ")
            )))
        }
    }
}

fn number(dtype: Dtype) -> Result<Number> {
    match dtype {
        Dtype::F16 => Ok(Number::Float16),
        Dtype::BF16 => Ok(Number::BFloat16),
        Dtype::F32 => Ok(Number::Float32),
        Dtype::F64 => Ok(Number::Float64),
        other => Err(Error::input(format!(
            "the numbers are of type {other:?}; expected F16, BF16, F32 or F64"
        ))),
    }
}
