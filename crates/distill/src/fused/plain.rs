//! The layer's operations in burn's own, for every device that is not the CPU, and as the fused ones' twins.

use burn::tensor::{Int, Tensor, TensorData, activation};
use hpd_kernels::rows::Dropout;

use super::Packing;

/// As [`super::linear`].
pub(super) fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    x.matmul(weight.transpose()) + bias.unsqueeze()
}

/// As [`super::gelu`].
pub(super) fn gelu(x: Tensor<2>) -> Tensor<2> {
    activation::gelu(x)
}

/// As [`super::add_layer_norm`].
pub(super) fn add_layer_norm(
    x: Tensor<2>,
    residual: Tensor<2>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Tensor<2> {
    let sum = x + residual;
    let centred = sum.clone() - sum.mean_dim(1);
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    centred / (variance + epsilon).sqrt() * gamma.unsqueeze() + beta.unsqueeze()
}

/// As [`super::attention`]: packed rows are spread over a padded batch and gathered again.
pub(super) fn attention(
    qkv: Tensor<2>,
    packing: &Packing,
    heads: usize,
    dropout: Option<Dropout>,
) -> Tensor<2> {
    let device = qkv.device();
    let width = qkv.dims()[1] / 3;
    let padded = Padded::new(packing);
    let (batch, length) = (padded.batch, padded.length);
    let indices = |numbers: Vec<i32>| {
        let count = numbers.len();
        Tensor::<1, Int>::from_data(TensorData::new(numbers, [count]), &device)
    };
    let spread = qkv.select(0, indices(padded.source.clone()));
    let part = |i: usize| {
        let columns = spread.clone().slice([0..batch * length, i * width..(i + 1) * width]);
        columns.reshape([batch, length, heads, width / heads]).swap_dims(1, 2)
    };
    let scale = 1.0 / ((width / heads) as f64).sqrt();
    let mask =
        Tensor::<4>::from_data(TensorData::new(padded.mask(), [batch, 1, 1, length]), &device);
    let scores = part(0).matmul(part(1).transpose()) * scale + mask;
    let mut probabilities = activation::softmax(scores, 3);
    if let Some(dropout) = dropout {
        let factors = TensorData::new(
            padded.factors(packing, heads, dropout),
            [batch, heads, length, length],
        );
        probabilities = probabilities * Tensor::<4>::from_data(factors, &device);
    }
    let context = probabilities.matmul(part(2)).swap_dims(1, 2).reshape([batch * length, width]);
    context.select(0, indices(padded.target))
}

/// Which padded place each packed row has, and the other way round.
struct Padded {
    batch: usize,
    length: usize,
    lengths: Vec<usize>,
    /// `[batch · length]`: a packed row for each place; row 0 stands in for padding and is masked.
    source: Vec<i32>,
    /// `[tokens]`: the place of each packed row.
    target: Vec<i32>,
}

impl Padded {
    fn new(packing: &Packing) -> Self {
        let lengths: Vec<usize> = packing.ranges().map(|range| range.len()).collect();
        let length = lengths.iter().copied().max().unwrap_or(0);
        let mut source = vec![0; lengths.len() * length];
        let mut target = Vec::with_capacity(packing.tokens());
        for (sentence, range) in packing.ranges().enumerate() {
            for (token, row) in range.enumerate() {
                source[sentence * length + token] = row as i32;
                target.push((sentence * length + token) as i32);
            }
        }
        Self { batch: lengths.len(), length, lengths, source, target }
    }

    /// `[batch, length]`: 0 for tokens, so low for padding that its probability is exactly 0.
    fn mask(&self) -> Vec<f32> {
        let row =
            |&n: &usize| (0..self.length).map(move |token| if token < n { 0.0 } else { -1e9 });
        self.lengths.iter().flat_map(row).collect()
    }

    /// `[batch, heads, length, length]`, the same factors as the fused attention's.
    fn factors(&self, packing: &Packing, heads: usize, dropout: Dropout) -> Vec<f32> {
        let mut factors = vec![1.0; self.batch * heads * self.length * self.length];
        let mut rows = factors.chunks_exact_mut(self.length);
        for range in packing.ranges() {
            for head in 0..heads {
                for query in 0..self.length {
                    let Some(row) = rows.next() else { return factors };
                    if query < range.len() {
                        let place = dropout.attention_row(range.start + query, heads, head);
                        dropout.fill(place, &mut row[..range.len()]);
                    }
                }
            }
        }
        factors
    }
}
