//! From any model folder that can be described to the one layout that is written.
//!
//! This is where old checkpoints come in: [`Model::open`] reads safetensors alone, this reads
//! `pytorch_model.bin` as well ([`crate::checkpoint`]) and writes what it found as safetensors. It is also the
//! way to 8 bits and back: [`quantize`] writes them, [`convert`] widens them; and from several models to their
//! [mean].

use std::fs;
use std::path::{Path, PathBuf};

use hpd_files::{Error, Result};
use serde_json::{Map, Value};

use crate::architectures::{self, Names};
use crate::tensor::Tensor;
use crate::writer::{Dense, Encoder, ModelFolder, Module, Storage, TransformerModules, begin};
use crate::{
    DenseModule, Folder, HeadModule, Identity, Model, ModelType, Weights, checkpoint, int8, json,
    mean, weights,
};

/// Stands in the cards of folders in 8 bits, in front of how to use the model.
const INT8_NOTE: &str = "\
> **In 8 bits, for `hpd` alone.** `hpd export FOLDER --output DIR` turns this folder into one that sentence-transformers and
> others open.

";

/// What was converted.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// Which vectors the new folder's may be compared with: the old one's, and what they could be.
    pub identity: Identity,
    /// Numbers in a vector.
    pub dim: usize,
    /// Parameters, embeddings and head included.
    pub parameters: u64,
    /// Tensors that no encoder uses, such as `pooler.dense.weight`, and that were left out.
    pub dropped: Vec<String>,
}

/// Reads the folder `source` and writes it anew as `output`, in f32. The new folder is opened before it gets its
/// name.
///
/// # Errors
/// When `source` lacks something, is damaged or not supported, or `output` is there already and `replace` is
/// off.
pub fn convert(source: &Path, output: &Path, replace: bool) -> Result<Conversion> {
    Source::read(source)?.write(output, replace, Storage::Float32)
}

/// As [`convert`], with `more` behind the model's own head, which puts its vectors into `space`.
///
/// # Errors
/// As [`convert`], and when `more` does not take what the model gives.
pub fn extend(
    source: &Path,
    output: &Path,
    replace: bool,
    more: Vec<Module>,
    space: String,
) -> Result<Conversion> {
    let mut source = Source::read(source)?;
    source.head.extend(more);
    source.space = Some(space);
    source.write(output, replace, Storage::Float32)
}

/// As [`convert`], with the words and the linear layers of the Transformer in 8 bits
/// ([`QuantizedMatrix`](crate::QuantizedMatrix)). The space stays: its vectors are near the old ones.
///
/// # Errors
/// As [`convert`], and when `source` is in 8 bits already: a second rounding would only add to the first.
pub fn quantize(source: &Path, output: &Path, replace: bool) -> Result<Conversion> {
    if is_int8(&Folder::open(source)?) {
        return Err(Error::input(format!("`{}` is in 8 bits already", source.display()))
            .hint("copy the folder, or export it without `--int8` to widen it"));
    }
    Source::read(source)?.write(output, replace, Storage::Int8)
}

/// As [`convert`], of the model whose weights are the mean of those of `sources`, in 8 bits if `int8` is said: see
/// [`crate::mean`]. Everything else is the first one's.
///
/// # Errors
/// As [`convert`], and when the models differ in more than their weights, or have not begun as the same.
pub fn average(
    sources: &[PathBuf],
    output: &Path,
    replace: bool,
    int8: bool,
) -> Result<Conversion> {
    let sources = sources.iter().map(|source| Source::read(source)).collect::<Result<_>>()?;
    let storage = if int8 { Storage::Int8 } else { Storage::Float32 };
    mean::of(sources)?.write(output, replace, storage)
}

/// A model folder taken apart.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) folder: Folder,
    /// Those of the encoder, under today's names.
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) head: Vec<Module>,
    pub(crate) space: Option<String>,
    pub(crate) about: Map<String, Value>,
    pub(crate) readme: String,
    pub(crate) dropped: Vec<String>,
}

impl Source {
    pub(crate) fn read(source: &Path) -> Result<Self> {
        let folder = Folder::open(source)?;
        refuse_pair(&folder)?;
        refuse_model2vec(&folder)?;
        let names = architectures::names(&folder.config.model_type);
        let (tensors, dropped) = encoder_tensors(names, read_tensors(&folder.transformer)?);
        let about = json::read_if_present(&source.join("hpd.json"))?;
        Ok(Self {
            tensors,
            head: folder.head.iter().map(module).collect::<Result<_>>()?,
            space: space(&folder, about.as_ref()),
            about: about.unwrap_or_default(),
            readme: readme(source)?,
            dropped,
            folder,
        })
    }

    fn write(self, output: &Path, replace: bool, storage: Storage) -> Result<Conversion> {
        let unfinished = begin(output, replace)?;
        let (identity, dropped) = self.write_into(unfinished.unfinished(), storage)?;
        let opened = Model::open(unfinished.unfinished())?;
        let (dim, parameters) = (opened.dim(), opened.parameters());
        drop(opened);
        unfinished.commit()?;
        Ok(Conversion { identity, dim, parameters, dropped })
    }

    /// Writes the files into an empty folder that is there; tells the identity and which tensors were left out.
    pub(crate) fn write_into(
        mut self,
        root: &Path,
        storage: Storage,
    ) -> Result<(Identity, Vec<String>)> {
        let dropped = std::mem::take(&mut self.dropped);
        let note = if storage == Storage::Int8 { INT8_NOTE } else { "" };
        let model = self.into_model(note)?;
        Ok((model.write_into(root, storage)?, dropped))
    }

    /// What is to be written, with a note in its card.
    pub(crate) fn into_model(self, note: &str) -> Result<ModelFolder> {
        let Self { folder, tensors, head, space, about, readme, .. } = self;
        Ok(ModelFolder {
            encoder: encoder(&folder)?,
            tensors,
            head,
            prompts: folder.prompts.clone(),
            default_prompt_name: folder.default_prompt_name.clone(),
            tokenizer_from: folder.transformer.clone(),
            space,
            about,
            readme: noted(&readme, note),
        })
    }
}

/// Two models are two folders to convert, and the caller says how to put them together again.
fn refuse_pair(folder: &Folder) -> Result<()> {
    if folder.side.is_none() {
        return Ok(());
    }
    Err(Error::input(format!(
        "`{}` holds a model for queries and another for documents, which are not written anew together",
        folder.path.display()
    ))
    .hint("a pair that hpd wrote has them in `query` and `document` below the folder"))
}

/// What model2vec does with unknown words and long texts no other program does: another layout would give other
/// vectors.
fn refuse_model2vec(folder: &Folder) -> Result<()> {
    if folder.config.model_type != ModelType::Model2Vec {
        return Ok(());
    }
    Err(Error::input(format!(
        "`{}` is a static model of model2vec, which is not written anew",
        folder.path.display()
    ))
    .hint("use the folder as it is"))
}

fn encoder(folder: &Folder) -> Result<Encoder> {
    if folder.config.model_type.is_static() {
        let max_tokens = Some(folder.max_seq_length).filter(|length| *length < usize::MAX);
        return Ok(Encoder::Static { max_tokens });
    }
    Ok(Encoder::Transformer(TransformerModules {
        config: json::read(&folder.transformer.join("config.json"))?,
        pooling: folder.pooling.clone(),
        max_seq_length: folder.max_seq_length,
        do_lower_case: folder.do_lower_case,
    }))
}

/// The space of the old vectors, which the new model goes on giving. Unknown for pickled weights, whose
/// vectors nobody has: they could not be opened.
fn space(folder: &Folder, about: Option<&Map<String, Value>>) -> Option<String> {
    if let Some(about) = about {
        return about.get("space").and_then(Value::as_str).map(str::to_owned);
    }
    let weights = Weights::of_folder(folder).ok()?;
    Some(Identity::of_tensors(&weights).space)
}

fn is_int8(folder: &Folder) -> bool {
    Weights::open(&folder.transformer).is_ok_and(|weights| weights.is_int8())
}

/// The tensors of a folder's safetensors files, or else of its pickles.
fn read_tensors(folder: &Path) -> Result<Vec<Tensor>> {
    let has = |name: &&str| folder.join(name).is_file();
    let safetensors = ["model.safetensors", "model.safetensors.index.json", int8::FILE];
    let pickles = pickles(folder)?;
    if !pickles.is_empty() && !safetensors.iter().any(has) {
        let parts: Vec<_> =
            pickles.iter().map(|path| checkpoint::read(path)).collect::<Result<_>>()?;
        return Ok(parts.concat());
    }
    let weights = Weights::open(folder)?;
    let read = |name: String| {
        let shape = weights.shape(&name).unwrap_or_default().to_vec();
        let data = weights.tensor(&name, &shape)?;
        Ok(Tensor { name, shape, data })
    };
    weights.names().filter(|name| !is_index(name)).map(read).collect()
}

/// `pytorch_model.bin`, or the parts that `pytorch_model.bin.index.json` lists.
fn pickles(folder: &Path) -> Result<Vec<PathBuf>> {
    let whole = folder.join("pytorch_model.bin");
    let index = folder.join("pytorch_model.bin.index.json");
    match (whole.is_file(), index.is_file()) {
        (true, _) => Ok(vec![whole]),
        (false, true) => weights::shard_paths(folder, &index),
        (false, false) => Ok(Vec::new()),
    }
}

/// Whether a tensor holds positions rather than weights.
fn is_index(name: &str) -> bool {
    name.ends_with("position_ids") || name.ends_with("token_type_ids")
}

/// The tensors of the encoder under today's names, and the names of the others: heads of earlier training.
fn encoder_tensors(names: &Names, tensors: Vec<Tensor>) -> (Vec<Tensor>, Vec<String>) {
    let (mut used, mut dropped) = (Vec::new(), Vec::new());
    for mut tensor in tensors {
        match encoder_name(names, &tensor.name) {
            Some(name) => {
                tensor.name = name;
                used.push(tensor);
            }
            None => dropped.push(tensor.name),
        }
    }
    (used, dropped)
}

/// Without the prefix of the model class it was trained in, and `weight` and `bias` for the `gamma` and
/// `beta` of the oldest checkpoints. `None` for what is no part of the encoder.
fn encoder_name(names: &Names, name: &str) -> Option<String> {
    let bare = names.prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let is_part = names.parts.iter().any(|part| bare.starts_with(part));
    let renamed = || match bare.rsplit_once('.') {
        Some((layer, "gamma")) => format!("{layer}.weight"),
        Some((layer, "beta")) => format!("{layer}.bias"),
        _ => bare.to_owned(),
    };
    (is_part && !is_index(bare)).then(renamed)
}

fn module(module: &HeadModule) -> Result<Module> {
    match module {
        HeadModule::Dense(dense) => read_dense(dense).map(Module::Dense),
        HeadModule::Normalize => Ok(Module::Normalize),
    }
}

fn read_dense(dense: &DenseModule) -> Result<Dense> {
    let mut tensors = read_tensors(&dense.path)?;
    let mut take = |name: &str, shape: &[usize]| {
        let at = tensors.iter().position(|tensor| tensor.name == name && tensor.shape == shape);
        at.map(|at| tensors.swap_remove(at).data).ok_or_else(|| {
            Error::model(format!(
                "`{}` has no tensor `{name}` of shape {shape:?}",
                dense.path.display()
            ))
        })
    };
    let &DenseModule { in_features, out_features, activation, .. } = dense;
    let weight = take("linear.weight", &[out_features, in_features])?;
    let bias = dense.bias.then(|| take("linear.bias", &[out_features])).transpose()?;
    Ok(Dense { in_features, out_features, weight, bias, activation })
}

/// The card with what it has to say where not every program can open the folder. The note of an earlier storage goes.
fn noted(readme: &str, note: &str) -> String {
    let readme = readme.replace(INT8_NOTE, "");
    let (front, usage) = readme.split_at(readme.find("## Usage").unwrap_or(readme.len()));
    format!("{front}{note}{usage}")
}

/// The card goes along as it is; it tells licence and origin.
fn readme(source: &Path) -> Result<String> {
    let path = source.join("README.md");
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok("---\nlibrary_name: sentence-transformers\n---\n".to_owned())
        }
        result => result.map_err(|e| Error::io("read", &path, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_says_of_8_bits_that_they_are_for_hpd_alone_and_forgets_it_with_them() {
        let card = "# A model\n\n## Usage\n\nEverywhere.\n";
        let in_8_bits = noted(card, INT8_NOTE);
        assert!(in_8_bits.find("`hpd` alone") < in_8_bits.find("## Usage"), "{in_8_bits}");
        assert_eq!(noted(&in_8_bits, INT8_NOTE), in_8_bits);
        assert_eq!(noted(&in_8_bits, ""), card);
        assert!(noted("no card", INT8_NOTE).contains("`hpd` alone"));
    }

    #[test]
    fn names_lose_the_class_they_were_trained_in() {
        let names = architectures::names(&ModelType::Bert);
        let name = |name| encoder_name(names, name);
        assert_eq!(name("bert.embeddings.x.weight").as_deref(), Some("embeddings.x.weight"));
        assert_eq!(
            name("encoder.layer.0.LayerNorm.gamma").as_deref(),
            Some("encoder.layer.0.LayerNorm.weight")
        );
        assert_eq!(
            name("encoder.layer.0.LayerNorm.beta").as_deref(),
            Some("encoder.layer.0.LayerNorm.bias")
        );
        for unused in [
            "pooler.dense.weight",
            "bert.pooler.dense.bias",
            "cls.predictions.bias",
            "embeddings.position_ids",
        ] {
            assert_eq!(name(unused), None, "{unused}");
        }
    }
}
