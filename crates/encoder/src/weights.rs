//! Tensors by name, out of `model.safetensors`, the shards that `model.safetensors.index.json` lists, or
//! `model.int8.safetensors`.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::path::{Path, PathBuf};

use hpd_files::{Error, Result};
use hpd_kernels::map::FileMap;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::quantized::QuantizedMatrix;
use crate::tensor::StoredTensor;
use crate::{Folder, int8, json};

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
    /// Those of a folder's modules: the encoder's, then each Dense module's.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub(crate) fn of_folder(folder: &Folder) -> Result<Vec<Self>> {
        let dense = folder.dense().map(|dense| &dense.path);
        iter::once(&folder.transformer).chain(dense).map(|path| Self::open(path)).collect()
    }

    /// Opens the tensors of a folder.
    ///
    /// # Errors
    /// When there is no safetensors file, one is damaged, there is only a `pytorch_model.bin`, or there are
    /// weights in floats and in 8 bits: they give different vectors, and nothing tells which are meant.
    pub fn open(folder: &Path) -> Result<Self> {
        let whole = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        let int8 = folder.join(int8::FILE);
        let paths = match (whole.is_file(), index.is_file(), int8.is_file()) {
            (true, _, false) => vec![whole],
            (false, true, false) => shard_paths(folder, &index)?,
            (false, false, true) => vec![int8],
            (false, false, false) => return Err(missing(folder)),
            (true, _, true) => return Err(twofold(folder, &whole)),
            (false, true, true) => return Err(twofold(folder, &index)),
        };
        let shards = paths.into_iter().map(Shard::open).collect::<Result<_>>()?;
        Ok(Self { shards })
    }

    /// Every tensor's name, file by file. Scales of matrices in 8 bits belong to their matrix and are not named.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let names = self.shards.iter().flat_map(|shard| shard.header.offset_keys());
        names.filter(|name| !self.is_scales(name))
    }

    /// How many numbers all tensors have, scales not counted.
    pub fn parameters(&self) -> u64 {
        let numbers = |name: String| self.shape(&name).map_or(0, |shape| shape.iter().product());
        self.names().map(numbers).sum::<usize>() as u64
    }

    /// Whether any matrix is stored in 8 bits.
    pub fn is_int8(&self) -> bool {
        self.names().any(|name| self.is_quantized(&name))
    }

    /// Whether tensor `name` is stored in 8 bits.
    pub fn is_quantized(&self, name: &str) -> bool {
        self.find(name).is_some_and(|(_, info)| info.dtype == Dtype::I8)
    }

    /// Whether there is a tensor `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The shape of tensor `name`, if there is one.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.find(name).map(|(_, info)| info.shape.as_slice())
    }

    /// Tensor `name` as f32, row-major; float16, bfloat16 and matrices in 8 bits are widened, float64 is rounded.
    ///
    /// # Errors
    /// When it is missing, of another shape or type, or holds NaN or infinity; for a matrix in 8 bits, as
    /// [`Weights::quantized`].
    ///
    /// # Cost
    /// One copy.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (shard, info) = self.find_shaped(name, shape)?;
        if info.dtype == Dtype::I8 {
            return Ok(self.stored_matrix(name, shard, info)?.dequantize());
        }
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

    /// Matrix `name`, `[rows, columns]`, in 8 bits: as it is stored, or rounded from floats.
    ///
    /// # Errors
    /// When it is missing, empty, of another shape or type, or holds NaN or infinity; for one stored in 8 bits
    /// also when its scales are missing, not one for each row, negative or not finite.
    ///
    /// # Cost
    /// One copy, or for floats two and the rounding.
    pub fn quantized(&self, name: &str, shape: [usize; 2]) -> Result<QuantizedMatrix> {
        let (shard, info) = self.find_shaped(name, &shape)?;
        if info.dtype == Dtype::I8 {
            return self.stored_matrix(name, shard, info);
        }
        match shape {
            [_, 0] => Err(Error::model(format!("`{name}` has shape {shape:?}, expected columns"))),
            [_, columns] => Ok(QuantizedMatrix::quantize(&self.tensor(name, &shape)?, columns)),
        }
    }

    /// Every tensor as it lies in the files.
    pub(crate) fn stored(&self) -> impl Iterator<Item = StoredTensor<'_>> {
        self.shards.iter().flat_map(|shard| {
            shard.header.offset_keys().into_iter().filter_map(|name| {
                let info = shard.header.info(&name)?;
                Some(StoredTensor {
                    name: name.into(),
                    dtype: info.dtype,
                    shape: info.shape.as_slice().into(),
                    bytes: shard.bytes(info).into(),
                })
            })
        })
    }

    fn stored_matrix(
        &self,
        name: &str,
        shard: &Shard,
        info: &TensorInfo,
    ) -> Result<QuantizedMatrix> {
        let scales = int8::scales_of(name);
        let place = shard.path.display().to_string();
        let (beside, of_scales) = self.find(&scales).ok_or_else(|| {
            Error::model(format!(
                "`{name}` in `{place}` is in 8 bits, but there is no tensor `{scales}`"
            ))
            .hint("export the model again with `hpd export MODEL --int8 --output DIR`")
        })?;
        if of_scales.dtype != Dtype::F32 || of_scales.shape.len() != 1 {
            return Err(Error::model(format!(
                "`{scales}` in `{}` is of type {:?} and shape {:?}, expected F32 and one dimension",
                beside.path.display(),
                of_scales.dtype,
                of_scales.shape
            )));
        }
        int8::matrix(
            name,
            &info.shape,
            shard.bytes(info),
            beside.numbers(&scales, of_scales)?,
            &place,
        )
    }

    fn is_scales(&self, name: &str) -> bool {
        int8::matrix_of(name).is_some_and(|matrix| self.is_quantized(matrix))
    }

    fn find_shaped(&self, name: &str, shape: &[usize]) -> Result<(&Shard, &TensorInfo)> {
        let (shard, info) = self.find(name).ok_or_else(|| self.no_tensor(name))?;
        if info.shape == shape {
            return Ok((shard, info));
        }
        Err(Error::model(format!(
            "`{name}` in `{}` has shape {:?}, expected {shape:?} from the configuration",
            shard.path.display(),
            info.shape
        )))
    }

    fn find(&self, name: &str) -> Option<(&Shard, &TensorInfo)> {
        self.shards.iter().find_map(|shard| Some((shard, shard.header.info(name)?)))
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

/// The files that an index of shards lists, each once.
pub(crate) fn shard_paths(folder: &Path, index: &Path) -> Result<Vec<PathBuf>> {
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
    let pickles = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
    if let Some(pickle) = pickles.iter().find(|name| folder.join(name).is_file()) {
        return Error::model(format!(
            "`{place}` holds `{pickle}`, pickles that are not read, expected `model.safetensors`"
        ))
        .hint(format!("hpd export {place} --output NEW"));
    }
    Error::model(format!("`{place}` has no `model.safetensors`"))
}

fn twofold(folder: &Path, floats: &Path) -> Error {
    let name = floats.file_name().unwrap_or_default().to_string_lossy();
    Error::model(format!(
        "`{}` holds both `{name}` and `{}`, expected one of them: they give different vectors",
        folder.display(),
        int8::FILE
    ))
    .hint("move one of them away; `hpd export` writes each into a folder of its own")
}
