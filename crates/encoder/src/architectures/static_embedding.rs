//! Static models: a table of words and nothing behind it, so a text's vector is the mean of its tokens' rows.
//!
//! Two programs write them. sentence-transformers' `StaticEmbedding` has one tensor, `embedding.weight`, a row a
//! token. model2vec has `embeddings`, and when its vocabulary was quantised `mapping` (token to row) and `weights`
//! (a factor a token); its numbers may be 8-bit. Their shapes stand in no `config.json`, so they are taken from the
//! tensors.

use std::path::Path;

use hpd_files::{Error, Result};

use super::Names;
use crate::config::{Activation, EncoderConfig, ModelType};
use crate::table::Table;
use crate::transformer::Transformer;
use crate::weights::Weights;
use crate::words::{Finish, Words};

pub(crate) const NAMES: Names =
    Names { prefixes: &[], parts: &["embedding."], words: "embedding.weight" };

/// model2vec's table.
const MODEL2VEC_WORDS: &str = "embeddings";

/// The configuration that the tensors of a folder amount to. Texts may have any length.
///
/// # Errors
/// When there are no tensors, or no table among them.
pub(crate) fn config(folder: &Path) -> Result<EncoderConfig> {
    let weights = Weights::open(folder)?;
    let is_model2vec = weights.contains(MODEL2VEC_WORDS);
    let table = if is_model2vec { MODEL2VEC_WORDS } else { NAMES.words };
    let (rows, width) = match weights.shape(table) {
        Some(&[rows, width]) if rows > 0 && width > 0 => (rows, width),
        Some(shape) => {
            return Err(Error::model(format!(
                "`{table}` in `{}` has shape {shape:?}, expected rows and columns",
                folder.display()
            )));
        }
        None => {
            return Err(Error::model(format!(
                "`{}` has neither the tensor `{}` nor `{MODEL2VEC_WORDS}`, expected one of them in a static model",
                folder.display(),
                NAMES.words
            )));
        }
    };
    let per_token =
        ["mapping", "weights"].into_iter().find_map(|name| weights.shape(name)?.first());
    Ok(EncoderConfig {
        model_type: if is_model2vec { ModelType::Model2Vec } else { ModelType::StaticEmbedding },
        hidden_size: width,
        num_hidden_layers: 0,
        num_attention_heads: 0,
        intermediate_size: 0,
        vocab_size: per_token.copied().unwrap_or(rows),
        max_position_embeddings: usize::MAX,
        type_vocab_size: 0,
        layer_norm_eps: 1e-12,
        hidden_act: Activation::Gelu,
        pad_token_id: 0,
    })
}

/// Reads the table: a Transformer without layers.
pub(crate) fn read(config: &EncoderConfig, weights: &Weights) -> Result<Transformer> {
    let (tokens, width) = (config.vocab_size, config.hidden_size);
    let name = match config.model_type {
        ModelType::Model2Vec => MODEL2VEC_WORDS,
        _ => NAMES.words,
    };
    let rows = weights.shape(name).and_then(|shape| shape.first()).copied().unwrap_or(0);
    let table = if name == MODEL2VEC_WORDS && weights.is_integer(name) {
        // model2vec drops the scale of 8-bit numbers: they stand for themselves.
        let numbers = weights.integers(name, &[rows, width])?;
        Table::Float { numbers: numbers.into_iter().map(|number| number as f32).collect(), width }
    } else {
        Table::read(weights, name, [rows, width])?
    };
    let mut words = Words::new(width, table, Finish::AsTheyAre);
    if weights.contains("mapping") {
        words = words.with_rows(mapping(weights, tokens, rows)?);
    } else if rows != tokens {
        return Err(Error::model(format!(
            "`{name}` has {rows} rows but there are {tokens} `weights`, expected a `mapping` between them"
        )));
    }
    if weights.contains("weights") {
        words = words.with_factors(weights.tensor("weights", &[tokens])?);
    }
    Ok(Transformer::new(words, Vec::new()))
}

/// The row of each token.
fn mapping(weights: &Weights, tokens: usize, rows: usize) -> Result<Vec<u32>> {
    let row = |(token, row): (usize, i64)| match u32::try_from(row) {
        Ok(row) if (row as usize) < rows => Ok(row),
        _ => Err(Error::model(format!(
            "`mapping` sends token {token} to row {row}, but `{MODEL2VEC_WORDS}` has {rows} rows"
        ))),
    };
    weights.integers("mapping", &[tokens])?.into_iter().enumerate().map(row).collect()
}
