//! A batch on a graphics card: its sentences padded, in groups of like length that stand one behind the other.
//!
//! On the CPU rows are tokens and nothing is padded. A card wants even shapes, and above all no scattered sums: burn adds
//! up the gradient of a lookup row by row, on few of a card's cores. So there the rows of a batch are *places*, padding among them, from
//! the embeddings to the pooled vectors; groups are slices of them, positions are added by their order, and whose word a
//! row is matters before the first layer and after the last gradient alone ([`sum_rows`]). Padding costs products but no
//! precision: no token looks at it and no sentence counts it.

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use hpd_kernels::rows::Dropout;

use super::Packing;

/// Sentences up to this length share a group: more groups would be more work to start than to do.
const SHORTEST_GROUP: usize = 16;
/// Lengths are multiples of this, so that a run meets few shapes: each new one has a program compiled for it.
const LENGTH_STEP: usize = 8;

/// A batch's sentences in groups of like length.
#[derive(Clone, Debug)]
pub(crate) struct Padded {
    groups: Vec<Group>,
    /// For each place the packed row of its token; none for padding.
    tokens: Vec<Option<u32>>,
    /// `[sentences]`: where each sentence stands among those of all groups.
    order: Tensor<1, Int>,
}

/// Sentences padded to one length.
#[derive(Clone, Debug)]
struct Group {
    /// Their places, `sentences · length` of them.
    places: std::ops::Range<usize>,
    sentences: Vec<usize>,
    length: usize,
    /// `[sentences, 1, 1, length]`: 0 for tokens, so low for padding that its probability is exactly 0.
    mask: Tensor<4>,
    /// `[sentences, length, 1]`: a token's share of its sentence's mean; 0 for padding.
    shares: Tensor<3>,
}

impl Padded {
    pub(super) fn new(packing: &Packing, device: &Device) -> Self {
        let length = |sentence: &usize| packing.range(*sentence).len();
        let class = |sentence: &usize| length(sentence).next_power_of_two().max(SHORTEST_GROUP);
        let mut sorted: Vec<usize> = (0..packing.sentences()).collect();
        sorted.sort_by_key(class); // stable
        let (mut groups, mut tokens) = (Vec::new(), Vec::new());
        let mut order = vec![0; sorted.len()];
        for (rank, &sentence) in sorted.iter().enumerate() {
            order[sentence] = rank as i32;
        }
        for sentences in sorted.chunk_by(|a, b| class(a) == class(b)) {
            groups.push(Group::new(packing, sentences, tokens.len(), device));
            let length = groups.last().map_or(0, |group| group.length);
            for &sentence in sentences {
                let range = packing.range(sentence);
                let padding = length - range.len();
                tokens.extend(range.map(|row| Some(row as u32)));
                tokens.extend(std::iter::repeat_n(None, padding));
            }
        }
        Self { groups, tokens, order: indices(order, device) }
    }

    /// For each place what its token has in `of_tokens`; none for padding.
    pub(crate) fn spread(&self, of_tokens: &[i32]) -> Vec<Option<i32>> {
        self.tokens.iter().map(|token| token.map(|row| of_tokens[row as usize])).collect()
    }

    /// The row of `table` for the position of each place, the first in a sentence being row `first`.
    ///
    /// # Shapes
    /// `table`: `[positions, width]`; returns `[places, width]`.
    pub(crate) fn positions(&self, table: &Tensor<2>, first: usize) -> Tensor<2> {
        let [known, width] = table.dims();
        let parts = self.groups.iter().map(|group| {
            // Padding may stand behind the last position there is.
            let length = group.length.min(known - first);
            let rows = table.clone().slice([first..first + length, 0..width]);
            let rows = match group.length - length {
                0 => rows,
                more => Tensor::cat(vec![rows, Tensor::zeros([more, width], &table.device())], 0),
            };
            let rows = rows.unsqueeze::<3>().expand([group.sentences.len(), group.length, width]);
            rows.reshape([group.places.len(), width])
        });
        Tensor::cat(parts.collect(), 0)
    }

    /// As [`super::attention`], from and to places.
    pub(super) fn attention(
        &self,
        qkv: &Tensor<2>,
        packing: &Packing,
        heads: usize,
        dropout: Option<Dropout>,
    ) -> Tensor<2> {
        let contexts = self.groups.iter().map(|group| {
            let factors = dropout.map(|dropout| group.factors(packing, heads, dropout));
            group.attention(qkv, heads, factors)
        });
        Tensor::cat(contexts.collect(), 0)
    }

    /// As [`super::mean`], of places.
    pub(super) fn mean(&self, x: &Tensor<2>) -> Tensor<2> {
        let width = x.dims()[1];
        let means = self.groups.iter().map(|group| {
            let sentences = group.sentences.len();
            let rows = x.clone().slice([group.places.clone(), 0..width]);
            let rows = rows.reshape([sentences, group.length, width]) * group.shares.clone();
            rows.sum_dim(1).reshape([sentences, width])
        });
        Tensor::cat(means.collect(), 0).select(0, self.order.clone())
    }
}

impl Group {
    fn new(packing: &Packing, sentences: &[usize], first: usize, device: &Device) -> Self {
        let ranges = || sentences.iter().map(|&sentence| packing.range(sentence));
        let length = ranges().map(|range| range.len()).max().unwrap_or(0).max(1);
        let length = length.next_multiple_of(LENGTH_STEP);
        let count = sentences.len();
        let mut mask = vec![-1e9f32; count * length];
        let mut shares = vec![0f32; count * length];
        for (i, range) in ranges().enumerate() {
            let places = i * length..i * length + range.len();
            mask[places.clone()].fill(0.0);
            shares[places].fill(1.0 / range.len() as f32);
        }
        Self {
            places: first..first + count * length,
            sentences: sentences.to_vec(),
            length,
            mask: Tensor::from_data(TensorData::new(mask, [count, 1, 1, length]), device),
            shares: Tensor::from_data(TensorData::new(shares, [count, length, 1]), device),
        }
    }

    /// From all places, `[places, 3·width]`, to those of the group, `[places, width]`; `factors` of dropout are
    /// `[sentences, heads, length, length]`.
    fn attention(&self, qkv: &Tensor<2>, heads: usize, factors: Option<Vec<f32>>) -> Tensor<2> {
        let width = qkv.dims()[1] / 3;
        let (sentences, length) = (self.sentences.len(), self.length);
        let part = |i: usize| {
            let part = qkv.clone().slice([self.places.clone(), i * width..(i + 1) * width]);
            part.reshape([sentences, length, heads, width / heads]).swap_dims(1, 2)
        };
        let scale = 1.0 / ((width / heads) as f64).sqrt();
        let scores = part(0).matmul(part(1).transpose()) * scale + self.mask.clone();
        let mut probabilities = activation::softmax(scores, 3);
        if let Some(factors) = factors {
            let factors = TensorData::new(factors, [sentences, heads, length, length]);
            probabilities = probabilities * Tensor::<4>::from_data(factors, &qkv.device());
        }
        let context = probabilities.matmul(part(2)).swap_dims(1, 2);
        context.reshape([self.places.len(), width])
    }

    /// The same factors as the fused attention's.
    fn factors(&self, packing: &Packing, heads: usize, dropout: Dropout) -> Vec<f32> {
        let mut factors = vec![1.0; self.sentences.len() * heads * self.length * self.length];
        let mut rows = factors.chunks_exact_mut(self.length);
        for range in self.sentences.iter().map(|&sentence| packing.range(sentence)) {
            for head in 0..heads {
                for (query, row) in rows.by_ref().take(self.length).enumerate() {
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

/// Row i of the result is the sum of the rows of `x` whose slot is i; those without one count nowhere.
///
/// Rows are looked up and summed in blocks of as many as their slot has, rounded up to a power of four: a card does
/// both on all its cores.
///
/// # Shapes
/// `x`: `[n, width]` for n `slots`; returns `[count, width]`.
pub(crate) fn sum_rows(x: &Tensor<2>, slots: &[Option<i32>], count: usize) -> Tensor<2> {
    let (width, device) = (x.dims()[1], x.device());
    let mut rows = vec![Vec::new(); count];
    for (row, slot) in slots.iter().enumerate() {
        if let Some(slot) = slot {
            rows[*slot as usize].push(row as i32);
        }
    }
    let mut classes = BTreeMap::<usize, Vec<usize>>::new();
    for (slot, rows) in rows.iter().enumerate() {
        let mut size = 1;
        while size < rows.len() {
            size *= 4;
        }
        classes.entry(size).or_default().push(slot);
    }
    let mut order = vec![0; count];
    let mut rank = 0;
    let sums = classes.into_iter().map(|(size, slots)| {
        let mut chosen = vec![0; slots.len() * size];
        let mut counts = vec![0f32; slots.len() * size];
        for (i, &slot) in slots.iter().enumerate() {
            let places = i * size..i * size + rows[slot].len();
            chosen[places.clone()].copy_from_slice(&rows[slot]);
            counts[places].fill(1.0);
            order[slot] = rank;
            rank += 1;
        }
        let counts = TensorData::new(counts, [slots.len(), size, 1]);
        let rows = x.clone().select(0, indices(chosen, &device));
        let rows = rows.reshape([slots.len(), size, width]);
        let rows = rows * Tensor::<3>::from_data(counts, &device);
        rows.sum_dim(1).reshape([slots.len(), width])
    });
    let sums = Tensor::cat(sums.collect(), 0);
    sums.select(0, indices(order, &device))
}

/// Indices for a lookup.
pub(crate) fn indices(numbers: Vec<i32>, device: &Device) -> Tensor<1, Int> {
    let count = numbers.len();
    Tensor::from_data(TensorData::new(numbers, [count]), device)
}
