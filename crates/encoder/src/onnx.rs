//! Writes a model as ONNX, for the programs that run nothing else: browsers, phones, servers without hpd.
//!
//! Apart from [`convert`](crate::convert), whose folders hold weights and leave the arithmetic to the reader: here the arithmetic
//! is written down too, as a graph ([`encoder`]) of ONNX's operators ([`graph`], [`messages`]). Nothing of this is used to
//! compute anything in hpd.
//!
//! The folder is laid out as transformers.js, text-embeddings-inference and fastembed look for it: `onnx/model.onnx` beside
//! `config.json` and the tokenizer's files. It has no `modules.json`, because the head is inside the graph and who read
//! both would apply it twice.
//!
//! Inputs are `input_ids` and `attention_mask`, `[batch, sequence]`. The first output is `token_embeddings`, `[batch, sequence,
//! width]`; the second `sentence_embedding`, `[batch, dim]`, the vector. Where the head is linear it commutes with the pooling
//! and is applied to the tokens already, so that a program that knows only "mean of the first output, then unit length"
//! gets the right vector as well.
//!
//! # Source
//! ONNX IR version 8, operators of version 17 (the first with layer norms).

mod encoder;
mod graph;
mod messages;

use std::path::Path;

use hpd_files::{Error, Result};
use prost::Message;
use serde_json::json;

use crate::convert::{Conversion, Source};
use crate::tensor::Tensor;
use crate::writer::{Encoder, ModelFolder, about, begin, write, write_json};
use crate::{Folder, Identity, tokenizer_files};

/// Most bytes of tensors in a file: a protobuf ends at 2 GiB, and what is no tensor needs some room.
const MOST_BYTES: usize = (1 << 31) - (1 << 20);

/// The length limit of a static model that has none: fastembed takes no tokenizer without one.
const ANY_LENGTH: usize = 1 << 20;

/// Stands in the cards of these folders, in front of how to use the model.
const NOTE: &str = "\
> **As ONNX.** `onnx/model.onnx` takes `input_ids` and `attention_mask` (int64, `[batch, sequence]`, by `tokenizer.json`) and gives
> `sentence_embedding`, `[batch, dim]`, which is the vector: pooling, projection and normalisation are inside. What follows is about the
> folder it was made from.

";

/// Reads the folder `source`, whose weights may be in 8 bits, and writes it as ONNX in f32.
///
/// # Errors
/// As [`convert`](crate::convert::convert); when the architecture is none of BERT, RoBERTa, XLM-R, DistilBERT and static models, or the
/// tensors are more than one file can hold.
pub fn export(source: &Path, output: &Path, replace: bool) -> Result<Conversion> {
    let mut source = Source::read(source)?;
    check(&source.folder, &source.tensors)?;
    let (folder, dropped) = (source.folder.clone(), std::mem::take(&mut source.dropped));
    let mut graph = encoder::graph(&source)?;
    let model = source.into_model(NOTE)?;
    let (dim, identity) = (model.check()?, model.identity());
    graph.describe(&facts(&folder, &identity, dim));
    let unfinished = begin(output, replace)?;
    let root = unfinished.unfinished();
    write(root, "onnx/model.onnx", &graph.into_model().encode_to_vec())?;
    write_beside(root, &model, &identity, dim)?;
    unfinished.commit()?;
    let numbers = model.tensors.iter().map(|tensor| tensor.data.len()).sum::<usize>();
    Ok(Conversion { identity, dim, parameters: (numbers + model.head_numbers()) as u64, dropped })
}

/// Refuses what the graph would compute otherwise, or not at all.
fn check(folder: &Folder, tensors: &[Tensor]) -> Result<()> {
    let (path, model_type) = (folder.path.display(), &folder.config.model_type);
    if !encoder::is_supported(model_type) {
        let name = model_type.name();
        return Err(Error::model(format!(
            "`{path}` is of the architecture `{name}`, which is not written as ONNX; expected bert, roberta, xlm-roberta, \
             distilbert or a static model"
        ))
        .hint("distil a student of it, which is one of those"));
    }
    let bytes = tensors.iter().map(|tensor| 4 * tensor.data.len()).sum::<usize>();
    if bytes > MOST_BYTES {
        return Err(Error::model(format!(
            "the tensors of `{path}` are {bytes} bytes, expected at most {MOST_BYTES} in a file of ONNX"
        )));
    }
    Ok(())
}

/// What the file itself says it is.
fn facts(folder: &Folder, identity: &Identity, dim: usize) -> Vec<(String, String)> {
    let mut facts = vec![
        ("space", identity.space.clone()),
        ("weights", identity.weights.clone()),
        ("dim", dim.to_string()),
        ("normalized", folder.normalizes().to_string()),
    ];
    if !folder.config.model_type.is_static() {
        facts.push(("max_seq_length", folder.max_seq_length.to_string()));
    }
    facts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The tokenizer, and what the model is.
fn write_beside(root: &Path, model: &ModelFolder, identity: &Identity, dim: usize) -> Result<()> {
    let tokenizer = &model.tokenizer_from;
    let config = match &model.encoder {
        Encoder::Transformer(modules) => {
            tokenizer_files::copy(tokenizer, root, modules.max_seq_length)?;
            tokenizer_files::let_stand_alone(root, modules.do_lower_case, true)?;
            modules.config()
        }
        Encoder::Static { max_tokens } => {
            let max_tokens = max_tokens.or(Some(ANY_LENGTH));
            tokenizer_files::copy_for_static(tokenizer, root, max_tokens)?;
            // Other programs would put special tokens around its texts.
            tokenizer_files::let_stand_alone(root, false, false)?;
            json!({ "model_type": "static-embedding", "hidden_size": dim })
        }
    };
    write_json(root, "config.json", &config)?;
    write_json(root, "hpd.json", &about(model.about.clone(), identity, dim))?;
    write(root, "README.md", model.readme.as_bytes())
}
