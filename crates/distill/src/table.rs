//! Where the table of a static student starts: what a model makes of each token alone, weighed by how rare it is.
//!
//! Apart from [`crate::start`], which knows folders, because this is about numbers: a mean of such rows is already a
//! fair sentence vector in the teacher's space, so the head can start as the PCA matrix and training begins near its
//! end. The mean of a sentence is a sum in which `the` counts as much as `spider` unless its row is short; training
//! makes it so, but only for the words it meets.
//!
//! `Model ─encode_vocabulary─> rows ─length 1 on average─> ─weigh(Tokens)─> table`

use hpd_encoder::{Model, Tokens};
use hpd_files::{Progress, Result};

use crate::vocabulary::Kept;

/// A token that is this share of all counts half.
///
/// # Source
/// Arora, Liang, Ma 2017, "A simple but tough-to-beat baseline for sentence embeddings"
/// (<https://openreview.net/forum?id=SyK00v5xx>), who weigh words by `a / (a + p(word))` with `a` = 1e-3.
const HALF_WEIGHT_SHARE: f64 = 1e-3;

/// The table that a static student starts with, `[vocabulary, dim of the model]`: the model's vector of each token,
/// of length 1 on average so that a learning rate means the same whatever the model, and weighed by its share of
/// `training`. The rows of a model that is static itself are weighed already. Where only some tokens are `kept`, the
/// table and the ids of `training` are theirs.
///
/// # Errors
/// When the user interrupts.
///
/// # Cost
/// As [`Model::encode_vocabulary`].
pub fn start(
    model: &Model,
    kept: Option<&Kept>,
    training: &Tokens,
    progress: &dyn Progress,
) -> Result<Vec<f32>> {
    let mut table = model.encode_vocabulary(progress)?;
    let dim = table.dim;
    if let Some(kept) = kept {
        table.data = kept.gather(&table.data, dim);
    }
    scale_to_unit_mean(&mut table.data, dim);
    if !model.folder().config.model_type.is_static() {
        weigh(&mut table.data, dim, training);
    }
    Ok(table.data)
}

/// Multiplies all rows by one number, so that their mean length is 1; a table of zeros stays.
fn scale_to_unit_mean(table: &mut [f32], dim: usize) {
    let length = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let total: f64 = table.chunks_exact(dim).map(length).sum();
    let mean = total / (table.len() / dim).max(1) as f64;
    if mean > 0.0 {
        table.iter_mut().for_each(|x| *x = (f64::from(*x) / mean) as f32);
    }
}

/// Multiplies each token's row by `a / (a + p)`, where `p` is its share of `tokens`.
fn weigh(table: &mut [f32], dim: usize, tokens: &Tokens) {
    let mut counts = vec![0_u64; table.len() / dim];
    tokens.ids.iter().for_each(|&id| counts[id as usize] += 1);
    let total = tokens.ids.len().max(1) as f64;
    for (row, count) in table.chunks_exact_mut(dim).zip(counts) {
        let weight = HALF_WEIGHT_SHARE / (HALF_WEIGHT_SHARE + count as f64 / total);
        row.iter_mut().for_each(|x| *x *= weight as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_one_long_on_average_and_zeros_stay() {
        let mut table = vec![3.0, 4.0, 0.0, 15.0];
        scale_to_unit_mean(&mut table, 2);
        assert_eq!(table, [0.3, 0.4, 0.0, 1.5]);
        let mut zeros = vec![0.0; 4];
        scale_to_unit_mean(&mut zeros, 2);
        assert_eq!(zeros, [0.0; 4]);
    }

    #[test]
    fn a_token_counts_the_less_the_more_often_it_comes() {
        // Token 0 is 999 of 1000 tokens, token 1 one of them, token 2 none.
        let mut ids = vec![0; 999];
        ids.push(1);
        let mut table = vec![2.0; 3];
        weigh(&mut table, 1, &Tokens { ids, offsets: vec![0, 1000], ..Tokens::default() });
        assert!((table[0] - 2.0 * 0.001).abs() < 1e-5);
        assert_eq!(table[1..], [1.0, 2.0]);
    }
}
