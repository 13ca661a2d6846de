//! Reads `pytorch_model.bin`, the pickled checkpoints of old model folders, without running them.
//!
//! Only `hpd export` comes here: a model is opened from safetensors alone. Both file formats of `torch.save`
//! are read: since PyTorch 1.6 a zip file with `data.pkl` and one entry for each storage; before that a
//! few pickles in a row with the storages behind them. Either way the pickle says which shape lies over
//! which storage ([`pickle`]), and the numbers are fetched afterwards.
//!
//! `file ─archive─> data.pkl ─pickle─> shapes over storages ─gather─> tensors`

mod archive;
mod bytes;
mod pickle;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use hpd_files::{Error, Result};

use crate::tensor::Tensor;
use archive::Archive;
use bytes::Bytes;
use pickle::{NumberType, Object, Pickled, StridedTensor};

/// Reads the tensors of a state dict, widened or rounded to f32, in the order of the file. Integer tensors
/// (`position_ids`) are left out: no encoder has weights of integers.
///
/// # Errors
/// When the file cannot be read, is not a checkpoint, is damaged, or asks for anything but tensors.
///
/// # Cost
/// The file is held in memory beside the tensors.
pub fn read(path: &Path) -> Result<Vec<Tensor>> {
    let file = fs::read(path).map_err(|e| Error::io("read", path, e))?;
    tensors(&file).map_err(|reason| {
        Error::model(format!(
            "`{}` cannot be read as a PyTorch checkpoint: {reason}",
            path.display()
        ))
    })
}

fn tensors(file: &[u8]) -> Result<Vec<Tensor>, String> {
    let (pickled, storages) = if file.starts_with(b"PK\x03\x04") {
        zipped(file)?
    } else if file.starts_with(&[0x80]) {
        in_a_row(file)?
    } else {
        return Err("it is neither a zip file nor a pickle".to_owned());
    };
    let named = state_dict(&pickled)?;
    // One storage may stand behind many tensors; a hostile file could ask for any amount of memory so.
    let asked =
        named.iter().try_fold(0, |sum: usize, (_, tensor)| sum.checked_add(tensor.count()?));
    if asked.is_none_or(|asked| asked > file.len().saturating_mul(4)) {
        return Err("its tensors have far more numbers than the file".to_owned());
    }
    named
        .into_iter()
        .filter(|(_, tensor)| !matches!(tensor.storage.numbers, NumberType::Integer(_)))
        .map(|(name, tensor)| {
            let data = gather(tensor, &storages).map_err(|reason| format!("`{name}`: {reason}"))?;
            Ok(Tensor { name: name.to_owned(), shape: tensor.shape.clone(), data })
        })
        .collect()
}

/// Contents of the storages by their keys.
type Storages<'file> = HashMap<String, &'file [u8]>;

/// The format since PyTorch 1.6: `NAME/data.pkl` beside `NAME/data/KEY`.
fn zipped(file: &[u8]) -> Result<(Pickled, Storages<'_>), String> {
    let archive = Archive::open(file)?;
    let folder = archive
        .names()
        .find_map(|name| name.strip_suffix("/data.pkl"))
        .ok_or("it is a zip file without `data.pkl`")?;
    if archive.get(&format!("{folder}/byteorder")).is_some_and(|order| order != b"little") {
        return Err("its numbers are big-endian".to_owned());
    }
    let pickle = archive.get(&format!("{folder}/data.pkl")).unwrap_or_default();
    let pickled = Pickled::read(&mut Bytes::at(pickle, 0)?)
        .map_err(|reason| format!("`{folder}/data.pkl` {reason}"))?;
    let data = format!("{folder}/data/");
    let storages = archive
        .names()
        .filter_map(|name| Some((name.strip_prefix(&data)?.to_owned(), archive.get(name)?)))
        .collect();
    Ok((pickled, storages))
}

/// The format before PyTorch 1.6: magic number, version, machine, state dict and storage keys, a pickle each;
/// then each storage as its length and its numbers.
fn in_a_row(file: &[u8]) -> Result<(Pickled, Storages<'_>), String> {
    const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
    let mut bytes = Bytes::at(file, 0)?;
    if !matches!(Pickled::read(&mut bytes)?.root(), Object::Int(MAGIC)) {
        return Err("it is a pickle, but not one that `torch.save` wrote".to_owned());
    }
    let (_version, _machine) = (Pickled::read(&mut bytes)?, Pickled::read(&mut bytes)?);
    let pickled = Pickled::read(&mut bytes)?;
    let sizes: HashMap<&str, usize> =
        pickled.storages().map(|storage| (&*storage.key, storage.numbers.size())).collect();
    let keys = Pickled::read(&mut bytes)?;
    let mut storages = Storages::new();
    for key in keys.texts().ok_or("the list of its storages is missing")? {
        let size = sizes.get(key).ok_or_else(|| format!("storage `{key}` has no type"))?;
        let length =
            usize::try_from(bytes.u64()?).ok().and_then(|length| length.checked_mul(*size));
        let contents = bytes.take(length.ok_or_else(|| format!("storage `{key}` is endless"))?)?;
        storages.insert(key.to_owned(), contents);
    }
    Ok((pickled, storages))
}

/// The tensors of the dict that was pickled, or of its `state_dict`. Other values say nothing of weights.
fn state_dict(pickled: &Pickled) -> Result<Vec<(&str, &StridedTensor)>, String> {
    let entries = pickled.entries(pickled.root()).ok_or("it holds no dict of tensors")?;
    let inner = entries.iter().find(|(name, _)| *name == "state_dict");
    let entries = inner.and_then(|(_, dict)| pickled.entries(dict)).unwrap_or(entries);
    let tensors: Vec<_> = entries
        .into_iter()
        .filter_map(|(name, object)| match object {
            Object::Tensor(tensor) => Some((name, tensor)),
            _ => None,
        })
        .collect();
    if tensors.is_empty() { Err("it holds no tensors".to_owned()) } else { Ok(tensors) }
}

impl StridedTensor {
    /// How many numbers it has, if that can be counted.
    fn count(&self) -> Option<usize> {
        self.shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size))
    }

    /// The index in the storage behind the last number, if that can be counted.
    fn end(&self) -> Option<usize> {
        let steps = self.shape.iter().zip(&self.strides);
        steps.fold(self.offset.checked_add(1), |end, (&size, &stride)| {
            end?.checked_add(size.checked_sub(1)?.checked_mul(stride)?)
        })
    }
}

/// The numbers of a tensor, row-major, whatever its strides are.
fn gather(tensor: &StridedTensor, storages: &Storages<'_>) -> Result<Vec<f32>, String> {
    if tensor.count() == Some(0) {
        return Ok(Vec::new());
    }
    let storage = &tensor.storage;
    let bytes = storages
        .get(&*storage.key)
        .ok_or_else(|| format!("storage `{}` is missing", storage.key))?;
    let there = bytes.len() / storage.numbers.size();
    match tensor.end() {
        Some(end) if end <= there && there >= storage.length => {}
        _ => {
            return Err(format!(
                "shape {:?}, strides {:?}, offset {} reach beyond storage `{}` of {there} numbers",
                tensor.shape, tensor.strides, tensor.offset, storage.key
            ));
        }
    }
    match storage.numbers {
        NumberType::F32 => Ok(walk(tensor, |at| f32::from_le_bytes(number(bytes, at)))),
        NumberType::F64 => Ok(walk(tensor, |at| f64::from_le_bytes(number(bytes, at)) as f32)),
        NumberType::F16 => Ok(walk(tensor, |at| f16::from_le_bytes(number(bytes, at)).to_f32())),
        NumberType::Bf16 => Ok(walk(tensor, |at| bf16::from_le_bytes(number(bytes, at)).to_f32())),
        NumberType::Integer(_) => Err("it holds integers".to_owned()),
    }
}

/// Number `at` of a storage whose length was checked.
fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.as_chunks().0[at]
}

/// Reads every position of the tensor in row-major order.
fn walk(tensor: &StridedTensor, read: impl Fn(usize) -> f32) -> Vec<f32> {
    let mut dimensions: Vec<_> =
        tensor.shape.iter().copied().zip(tensor.strides.iter().copied()).collect();
    let columns = dimensions.pop().unwrap_or((1, 1));
    let steps = |start, (size, stride)| (0..size).map(move |step| start + step * stride);
    let mut rows = vec![tensor.offset];
    for dimension in dimensions {
        rows = rows.into_iter().flat_map(|start| steps(start, dimension)).collect();
    }
    rows.into_iter().flat_map(|start| steps(start, columns)).map(read).collect()
}
