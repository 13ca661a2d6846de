//! Self-attention of one sentence, all heads, without transposes in memory or padding, and its gradient.

use super::activation::exp;
use super::dropout::Dropout;
use super::product::{Rows, product};
use super::sums::dot;
use crate::columns::{COLUMNS, padded, write};
use crate::kernel::kernel;

/// The sizes of one sentence's attention.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Tokens of the sentence.
    pub tokens: usize,
    /// Heads; `width` is a multiple of it.
    pub heads: usize,
    /// Numbers of a token's query, key or value, all heads together.
    pub width: usize,
    /// Place of the sentence's first token in the batch; only dropout looks at it.
    pub first_token: usize,
    /// Dropout on the attention probabilities.
    pub dropout: Option<Dropout>,
}

impl AttentionShape {
    fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// Columns `part · width + head · head_width ..` of a row `[query | key | value]`.
    #[inline(always)]
    fn columns(&self, part: usize, head: usize) -> std::ops::Range<usize> {
        let start = part * self.width + head * self.head_width();
        start..start + self.head_width()
    }

    /// Numbers in a row of probabilities: the tokens, rounded up to whole vectors.
    pub fn padded(&self) -> usize {
        self.tokens.next_multiple_of(8)
    }

    /// Numbers in the probabilities of all heads.
    pub fn probabilities(&self) -> usize {
        self.heads * self.tokens * self.padded()
    }

    /// Multiplies each number of a head's rows by its dropout factor.
    #[inline(always)]
    fn scale_by_dropout(&self, head: usize, rows: &mut [f32]) {
        let Some(dropout) = &self.dropout else { return };
        for (query, row) in rows.chunks_exact_mut(self.padded()).enumerate() {
            let first = dropout.attention_row(self.first_token + query, self.heads, head);
            for (key, x) in row.iter_mut().enumerate() {
                *x *= dropout.factor(first.wrapping_add(key as u32));
            }
        }
    }

    /// The probabilities as they are applied to the values: a copy in `dropped` if there is dropout.
    #[inline(always)]
    fn dropped<'a>(&self, head: usize, rows: &'a [f32], dropped: &'a mut [f32]) -> &'a [f32] {
        if self.dropout.is_none() {
            return rows;
        }
        dropped.copy_from_slice(rows);
        self.scale_by_dropout(head, dropped);
        dropped
    }

    fn check(&self, qkv: usize, probabilities: usize, context: usize) {
        assert_eq!(self.width % self.heads, 0);
        assert_eq!(qkv, self.tokens * 3 * self.width);
        assert_eq!(probabilities, self.probabilities());
        assert_eq!(context, self.tokens * self.width);
    }
}

/// Copies columns `columns` of `n` rows of `stride` numbers so that each becomes a row of `padded` numbers.
#[inline(always)]
fn transpose(
    rows: &[f32],
    stride: usize,
    columns: std::ops::Range<usize>,
    padded: usize,
    output: &mut [f32],
) {
    for (token, row) in rows.chunks(stride).enumerate() {
        for (x, column) in row[columns.clone()].iter().zip(output.chunks_exact_mut(padded)) {
            column[token] = *x;
        }
    }
}

/// `e^(scale · (x - largest))`.
#[inline(always)]
fn powers<const FUSED: bool>(mut x: [f32; COLUMNS], largest: f32, scale: f32) -> [f32; COLUMNS] {
    x.iter_mut().for_each(
        #[inline(always)]
        |x| *x = exp::<FUSED>((*x - largest) * scale),
    );
    x
}

/// The first `n` of 16 numbers, then `others`.
#[inline(always)]
fn first(x: [f32; COLUMNS], n: usize, others: f32) -> [f32; COLUMNS] {
    let mut all = [others; COLUMNS];
    for lane in 0..COLUMNS {
        all[lane] = if lane < n { x[lane] } else { others };
    }
    all
}

/// `row[..n] ← softmax(scale · row[..n])`, zeros behind, of which there are fewer than 16.
///
/// In whole vectors, the last one filled up: one by one, the last exponentials of a short row would cost more than all of
/// the others.
#[inline(always)]
pub(super) fn softmax<const FUSED: bool>(row: &mut [f32], n: usize, scale: f32) {
    let (row, behind) = row.split_at_mut(n - n % COLUMNS);
    let (whole, inside) = (row.as_chunks_mut::<COLUMNS>().0, n % COLUMNS);
    let mut last = first(padded(behind), inside, f32::MIN);
    let mut lanes = last;
    for chunk in whole.iter() {
        let most = lanes;
        for lane in 0..COLUMNS {
            lanes[lane] = if chunk[lane] > most[lane] { chunk[lane] } else { most[lane] };
        }
    }
    let largest = lanes.into_iter().fold(f32::MIN, |most, x| if x > most { x } else { most });
    // Zeros behind, since a share of the least power would be so small that the processor stops for it.
    last = first(powers::<FUSED>(last, largest, scale), inside, 0.0);
    let mut sums = last;
    for chunk in whole.iter_mut() {
        let before = sums;
        *chunk = powers::<FUSED>(*chunk, largest, scale);
        for lane in 0..COLUMNS {
            sums[lane] = before[lane] + chunk[lane];
        }
    }
    let share = 1.0 / sums.iter().sum::<f32>();
    for chunk in whole {
        *chunk = chunk.map(|x| x * share);
    }
    write(&last.map(|x| x * share), behind);
}

/// From the gradient at the probabilities `p` to that at the scores, in place.
#[inline(always)]
fn softmax_gradient<const FUSED: bool>(gradient: &mut [f32], p: &[f32], scale: f32) {
    let mean = dot::<FUSED>(gradient, p);
    for (g, p) in gradient.iter_mut().zip(p) {
        *g = scale * p * (*g - mean);
    }
}

/// Pieces of `scratch` of these sizes, whatever is in them.
#[inline(always)]
fn cut<const N: usize>(scratch: &mut Vec<f32>, sizes: [usize; N]) -> [&mut [f32]; N] {
    scratch.resize(sizes.iter().sum::<usize>().max(scratch.len()), 0.0);
    let mut rest = &mut scratch[..];
    sizes.map(|size| rest.split_off_mut(..size).unwrap_or_default())
}

kernel! {
    /// `context = dropout(softmax(query · keyᵀ / √head_width)) · value`, head by head.
    ///
    /// # Shapes
    /// - `qkv`: `[tokens, 3·width]`, a row is query, key, value
    /// - `probabilities`: `[heads, tokens, padded]`, written: the softmax before dropout, then zeros
    /// - `context`: `[tokens, width]`, written
    /// - `scratch`: any; grows to what a head needs
    pub fn attention(
        shape: &AttentionShape,
        qkv: &[f32],
        probabilities: &mut [f32],
        context: &mut [f32],
        scratch: &mut Vec<f32>,
    ) {
        shape.check(qkv.len(), probabilities.len(), context.len());
        let (n, padded, stride) = (shape.tokens, shape.padded(), 3 * shape.width);
        if n == 0 { return }
        let head_width = shape.head_width();
        let [keys, dropped] = cut(scratch, [head_width * padded, n * padded]);
        let scale = 1.0 / (head_width as f32).sqrt();
        for (head, probabilities) in probabilities.chunks_exact_mut(n * padded).enumerate() {
            let [query, key, value] = [0, 1, 2].map(|part| shape.columns(part, head));
            transpose(qkv, stride, key, padded, keys);
            let queries = Rows::new(&qkv[query.start..], stride);
            product::<FUSED>(queries, Rows::new(keys, padded), [n, head_width, padded], probabilities, padded);
            for row in probabilities.chunks_exact_mut(padded) {
                softmax::<FUSED>(row, n, scale);
            }
            let applied = shape.dropped(head, probabilities, dropped);
            let values = Rows::new(&qkv[value.start..], stride);
            let target = &mut context[query.start..];
            product::<FUSED>(Rows::new(applied, padded), values, [n, n, head_width], target, shape.width);
        }
    }
}

kernel! {
    /// [`attention`] for use rather than training: no probabilities are kept and none is dropped.
    ///
    /// # Shapes
    /// - `qkv`: `[tokens, 3·width]`, a row is query, key, value
    /// - `context`: `[tokens, width]`, written
    /// - `scratch`: any; grows to what a head needs
    pub fn attend(shape: &AttentionShape, qkv: &[f32], context: &mut [f32], scratch: &mut Vec<f32>) {
        let (n, padded, stride) = (shape.tokens, shape.padded(), 3 * shape.width);
        shape.check(qkv.len(), shape.probabilities(), context.len());
        if n == 0 { return }
        let head_width = shape.head_width();
        let [keys, probabilities] = cut(scratch, [head_width * padded, n * padded]);
        let scale = 1.0 / (head_width as f32).sqrt();
        for head in 0..shape.heads {
            let [query, key, value] = [0, 1, 2].map(|part| shape.columns(part, head));
            transpose(qkv, stride, key, padded, keys);
            let queries = Rows::new(&qkv[query.start..], stride);
            product::<FUSED>(queries, Rows::new(keys, padded), [n, head_width, padded], probabilities, padded);
            for row in probabilities.chunks_exact_mut(padded) {
                softmax::<FUSED>(row, n, scale);
            }
            let values = Rows::new(&qkv[value.start..], stride);
            let target = &mut context[query.start..];
            product::<FUSED>(Rows::new(probabilities, padded), values, [n, n, head_width], target, shape.width);
        }
    }
}

kernel! {
    /// From the gradient at `context` to that at `qkv`.
    ///
    /// # Shapes
    /// As [`attention`]; `gradient`: `[tokens, width]`; `at_qkv`: `[tokens, 3·width]`, written.
    pub fn attention_gradient(
        shape: &AttentionShape,
        qkv: &[f32],
        probabilities: &[f32],
        gradient: &[f32],
        at_qkv: &mut [f32],
        scratch: &mut Vec<f32>,
    ) {
        shape.check(at_qkv.len(), probabilities.len(), gradient.len());
        assert_eq!(qkv.len(), at_qkv.len());
        let (n, padded, stride, width) = (shape.tokens, shape.padded(), 3 * shape.width, shape.width);
        if n == 0 { return }
        let head_width = shape.head_width();
        let square = n * padded;
        let sizes = [head_width * padded, square, square, padded * padded];
        let [values, at_scores, dropped, turned] = cut(scratch, sizes);
        let scale = 1.0 / (head_width as f32).sqrt();
        for (head, probabilities) in probabilities.chunks_exact(square).enumerate() {
            let [query, key, value] = [0, 1, 2].map(|part| shape.columns(part, head));
            let gradients = Rows::new(&gradient[query.start..], width);
            let of = |columns: &std::ops::Range<usize>| Rows::new(&qkv[columns.start..], stride);

            let applied = shape.dropped(head, probabilities, dropped);
            transpose(applied, padded, 0..n, padded, turned);
            let at_values = &mut at_qkv[value.start..];
            product::<FUSED>(Rows::new(turned, padded), gradients, [n, n, head_width], at_values, stride);

            transpose(qkv, stride, value, padded, values);
            product::<FUSED>(gradients, Rows::new(values, padded), [n, head_width, padded], at_scores, padded);
            shape.scale_by_dropout(head, at_scores);
            for (row, p) in at_scores.chunks_exact_mut(padded).zip(probabilities.chunks_exact(padded)) {
                softmax_gradient::<FUSED>(&mut row[..n], &p[..n], scale);
            }
            let at_queries = &mut at_qkv[query.start..];
            product::<FUSED>(Rows::new(at_scores, padded), of(&key), [n, n, head_width], at_queries, stride);
            transpose(at_scores, padded, 0..n, padded, turned);
            let at_keys = &mut at_qkv[key.start..];
            product::<FUSED>(Rows::new(turned, padded), of(&query), [n, n, head_width], at_keys, stride);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference;
    use super::super::reference::{assert_close, at_every_level};
    use super::*;
    use crate::Level;
    use proptest::prelude::*;

    fn shapes() -> impl Strategy<Value = AttentionShape> {
        let dropout = prop::option::of(any::<u32>().prop_map(|seed| Dropout::new(0.3, seed)));
        (1usize..36, 1usize..4, 1usize..20, dropout).prop_map(
            |(tokens, heads, head_width, dropout)| AttentionShape {
                tokens,
                heads,
                width: heads * head_width,
                first_token: 5,
                dropout,
            },
        )
    }

    fn wave(n: usize, frequency: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * frequency).sin()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn attention_and_its_gradient_are_their_twins_at_every_level(shape in shapes()) {
            let n = shape.tokens * shape.width;
            let (qkv, gradient) = (wave(3 * n, 0.37), wave(n, 0.71));
            let twin = reference::attention(&shape, &qkv, &gradient);
            at_every_level(|level| {
                let mut probabilities = vec![f32::NAN; shape.probabilities()];
                let (mut context, mut at_qkv) = (vec![f32::NAN; n], vec![f32::NAN; 3 * n]);
                let mut scratch = vec![f32::NAN; 3];
                attention(level, &shape, &qkv, &mut probabilities, &mut context, &mut scratch);
                assert_close(&context, &twin.context, 2e-5);
                if shape.dropout.is_none() {
                    let mut found = vec![f32::NAN; n];
                    attend(level, &shape, &qkv, &mut found, &mut scratch);
                    assert_eq!(found, context);
                }
                let g = &gradient;
                attention_gradient(level, &shape, &qkv, &probabilities, g, &mut at_qkv, &mut scratch);
                assert_close(&at_qkv, &twin.at_qkv, 2e-5);
            });
        }
    }

    #[test]
    fn a_sentence_without_tokens_is_left_alone() {
        let shape = AttentionShape { tokens: 0, heads: 2, width: 8, first_token: 0, dropout: None };
        attention(Level::best(), &shape, &[], &mut [], &mut [], &mut Vec::new());
        attend(Level::best(), &shape, &[], &mut [], &mut Vec::new());
        attention_gradient(Level::best(), &shape, &[], &[], &[], &mut [], &mut Vec::new());
    }
}
