//! Tensors by name, out of `model.safetensors` or the shards that `model.safetensors.index.json` lists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hpd_files::fingerprint::Fingerprinter;
use hpd_files::{Error, Result};
use hpd_kernels::map::FileMap;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::json;

/// The tensors of one folder, mapped: opening reads headers only.
#[derive(Debug)]
pub struct Weights {
    shards: Vec<Shard>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    map: FileMap,
    header: Metadata,
    /// Where the tensors' bytes begin.
    start: usize,
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens the tensors of a folder.
    ///
    /// # Errors
    /// When there is no safetensors file, one is damaged, or there is only a `pytorch_model.bin`.
    pub fn open(folder: &Path) -> Result<Self> {
        let whole = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        let paths = if whole.is_file() {
            vec![whole]
        } else if index.is_file() {
            shard_paths(folder, &index)?
        } else {
            return Err(missing(folder));
        };
        let shards = paths.into_iter().map(Shard::open).collect::<Result<_>>()?;
        Ok(Self { shards })
    }

    /// Every tensor's name, file by file.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.shards.iter().flat_map(|shard| shard.header.offset_keys())
    }

    /// How many numbers all tensors have.
    pub fn parameters(&self) -> u64 {
        let numbers = |info: &TensorInfo| info.shape.iter().product::<usize>() as u64;
        self.shards.iter().flat_map(|shard| shard.header.tensors().into_values().map(numbers)).sum()
    }

    /// Whether there is a tensor `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The shape of tensor `name`, if there is one.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.find(name).map(|(_, info)| info.shape.as_slice())
    }

    /// Tensor `name` as f32, row-major; float16 and bfloat16 are widened, float64 is rounded.
    ///
    /// # Errors
    /// When it is missing, of another shape or type, or holds NaN or infinity.
    ///
    /// # Cost
    /// One copy.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (shard, info) = self.find_shaped(name, shape)?;
        let numbers = shard.numbers(name, info)?;
        match numbers.iter().position(|number| !number.is_finite()) {
            None => Ok(numbers),
            Some(at) => Err(Error::model(format!(
                "`{name}` in `{}` holds {} at position {at}, expected finite numbers",
                shard.path.display(),
                numbers[at]
            ))),
        }
    }

    /// Whether tensor `name` holds whole numbers.
    pub fn is_integer(&self, name: &str) -> bool {
        use Dtype::{I8, I16, I32, I64, U8, U16, U32};
        let integers = [I8, I16, I32, I64, U8, U16, U32];
        self.find(name).is_some_and(|(_, info)| integers.contains(&info.dtype))
    }

    /// Tensor `name` of whole numbers, row-major.
    ///
    /// # Errors
    /// When it is missing or of another shape or type.
    pub fn integers(&self, name: &str, shape: &[usize]) -> Result<Vec<i64>> {
        let (shard, info) = self.find_shaped(name, shape)?;
        let bytes = shard.bytes(info);
        match info.dtype {
            Dtype::I8 => Ok(widen(bytes, |b| i8::from_le_bytes(b).into())),
            Dtype::U8 => Ok(widen(bytes, |b| u8::from_le_bytes(b).into())),
            Dtype::I16 => Ok(widen(bytes, |b| i16::from_le_bytes(b).into())),
            Dtype::U16 => Ok(widen(bytes, |b| u16::from_le_bytes(b).into())),
            Dtype::I32 => Ok(widen(bytes, |b| i32::from_le_bytes(b).into())),
            Dtype::U32 => Ok(widen(bytes, |b| u32::from_le_bytes(b).into())),
            Dtype::I64 => Ok(widen(bytes, i64::from_le_bytes)),
            found => Err(shard.wrong_type(name, found, "whole numbers")),
        }
    }

    /// Adds the files' contents to a fingerprint.
    pub(crate) fn add_to(&self, fingerprinter: &mut Fingerprinter) {
        for shard in &self.shards {
            fingerprinter.add_part(&shard.map);
        }
    }

    fn find(&self, name: &str) -> Option<(&Shard, &TensorInfo)> {
        self.shards.iter().find_map(|shard| Some((shard, shard.header.info(name)?)))
    }

    fn find_shaped(&self, name: &str, shape: &[usize]) -> Result<(&Shard, &TensorInfo)> {
        let (shard, info) = self.find(name).ok_or_else(|| self.no_tensor(name))?;
        if info.shape != shape {
            return Err(Error::model(format!(
                "`{name}` in `{}` has shape {:?}, expected {shape:?} from the configuration",
                shard.path.display(),
                info.shape
            )));
        }
        Ok((shard, info))
    }

    fn no_tensor(&self, name: &str) -> Error {
        let paths: Vec<_> =
            self.shards.iter().map(|shard| shard.path.display().to_string()).collect();
        Error::model(format!("`{}` has no tensor `{name}`", paths.join("`, `")))
    }
}

impl Shard {
    fn open(path: PathBuf) -> Result<Self> {
        let map = FileMap::open(&path).map_err(|e| Error::io("open", &path, e))?;
        let (header_len, header) = SafeTensors::read_metadata(&map).map_err(|error| {
            Error::model(format!(
                "`{}` is not a whole safetensors file ({} bytes)",
                path.display(),
                map.len()
            ))
            .caused_by(error)
            .hint("download or copy the file again")
        })?;
        // The format: eight bytes of header length, the header, the tensors.
        Ok(Self { path, map, header, start: 8 + header_len })
    }

    fn numbers(&self, name: &str, info: &TensorInfo) -> Result<Vec<f32>> {
        let bytes = self.bytes(info);
        match info.dtype {
            Dtype::F64 => Ok(widen(bytes, |b| f64::from_le_bytes(b) as f32)),
            Dtype::F32 => Ok(widen(bytes, f32::from_le_bytes)),
            Dtype::F16 => Ok(widen(bytes, |b| half::f16::from_le_bytes(b).to_f32())),
            Dtype::BF16 => Ok(widen(bytes, |b| half::bf16::from_le_bytes(b).to_f32())),
            found => Err(self.wrong_type(name, found, "F64, F32, F16 or BF16")),
        }
    }

    fn bytes(&self, info: &TensorInfo) -> &[u8] {
        // `read_metadata` has proved that offsets lie within the file and agree with shape and type.
        let (from, to) = info.data_offsets;
        &self.map[self.start + from..self.start + to]
    }

    fn wrong_type(&self, name: &str, found: Dtype, expected: &str) -> Error {
        let path = self.path.display();
        Error::model(format!("`{name}` in `{path}` is of type {found:?}, expected {expected}"))
    }
}

fn widen<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|chunk| number(*chunk)).collect()
}

fn shard_paths(folder: &Path, index: &Path) -> Result<Vec<PathBuf>> {
    let shards: ShardIndex = json::read(index)?;
    let names: BTreeSet<String> = shards.weight_map.into_values().collect();
    // A name with a folder in it could reach outside the model.
    if let Some(name) = names.iter().find(|name| name.contains(['/', '\\']) || *name == "..") {
        return Err(Error::model(format!(
            "`{}` names the file `{name}`, expected a file beside it",
            index.display()
        )));
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

fn missing(folder: &Path) -> Error {
    let place = folder.display();
    if folder.join("pytorch_model.bin").is_file() {
        return Error::model(format!(
            "`{place}` holds `pytorch_model.bin`, a pickle that is not read, expected `model.safetensors`"
        ))
        .hint(format!("hpd export {place} --output NEW"));
    }
    Error::model(format!("`{place}` has no `model.safetensors`"))
}
