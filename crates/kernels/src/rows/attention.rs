//! Self-attention of one sentence, all heads, without transposes in memory or padding, and its gradient.

use super::activation::exp;
use super::dropout::Dropout;
use super::kernel::{kernel, multiply_add};
use super::sums::{dot, sum_over};

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

    /// Dropout factors of the attention row of `query` in `head`.
    #[inline(always)]
    fn factors(&self, head: usize, query: usize, factors: &mut [f32]) {
        match &self.dropout {
            Some(dropout) => {
                let first = dropout.attention_row(self.first_token + query, self.heads, head);
                dropout.fill(first, factors);
            }
            None => factors.fill(1.0),
        }
    }

    fn check(&self, qkv: usize, probabilities: usize, context: usize) {
        assert_eq!(self.width % self.heads, 0);
        assert_eq!(qkv, self.tokens * 3 * self.width);
        assert_eq!(probabilities, self.heads * self.tokens * self.tokens);
        assert_eq!(context, self.tokens * self.width);
    }
}

/// `target += factor · source`.
#[inline(always)]
fn add_scaled<const FUSED: bool>(target: &mut [f32], factor: f32, source: &[f32]) {
    for (t, s) in target.iter_mut().zip(source) {
        *t = multiply_add::<FUSED>(factor, *s, *t);
    }
}

/// `output[j] = scale · Σ_d vector[d] · transposed[d][j]`: one row against all rows of a transposed matrix.
#[inline(always)]
fn products<const FUSED: bool>(vector: &[f32], transposed: &[f32], scale: f32, output: &mut [f32]) {
    output.fill(0.0);
    for (x, row) in vector.iter().zip(transposed.chunks_exact(output.len())) {
        add_scaled::<FUSED>(output, x * scale, row);
    }
}

/// Copies columns `columns` of rows of `stride` numbers so that each becomes a row.
#[inline(always)]
fn transpose(rows: &[f32], stride: usize, columns: std::ops::Range<usize>, output: &mut [f32]) {
    let n = rows.len() / stride;
    for (token, row) in rows.chunks_exact(stride).enumerate() {
        for (d, x) in row[columns.clone()].iter().enumerate() {
            output[d * n + token] = *x;
        }
    }
}

#[inline(always)]
fn softmax_in_place<const FUSED: bool>(row: &mut [f32]) {
    let mut largest = f32::MIN;
    for x in row.iter() {
        largest = if *x > largest { *x } else { largest };
    }
    for x in row.iter_mut() {
        *x = exp::<FUSED>(*x - largest);
    }
    let share = 1.0 / sum_over(row, row, |x, _, sum| sum + x);
    for x in row.iter_mut() {
        *x *= share;
    }
}

kernel! {
    /// `context = dropout(softmax(query · keyᵀ / √head_width)) · value`, head by head.
    ///
    /// # Shapes
    /// - `qkv`: `[tokens, 3·width]`, a row is query, key, value
    /// - `probabilities`: `[heads, tokens, tokens]`, written: the softmax before dropout
    /// - `context`: `[tokens, width]`, written
    /// - `scratch`: any; grows to `(head_width + 1) · tokens`
    pub fn attention(
        shape: &AttentionShape,
        qkv: &[f32],
        probabilities: &mut [f32],
        context: &mut [f32],
        scratch: &mut Vec<f32>,
    ) {
        shape.check(qkv.len(), probabilities.len(), context.len());
        let (n, stride, head_width) = (shape.tokens, 3 * shape.width, shape.head_width());
        if n == 0 { return }
        scratch.resize((head_width + 1) * n, 0.0);
        let (keys, factors) = scratch.split_at_mut(head_width * n);
        let scale = 1.0 / (head_width as f32).sqrt();
        context.fill(0.0);
        for (head, probabilities) in probabilities.chunks_exact_mut(n * n).enumerate() {
            transpose(qkv, stride, shape.columns(1, head), keys);
            for (token, row) in probabilities.chunks_exact_mut(n).enumerate() {
                let query = &qkv[token * stride..][shape.columns(0, head)];
                products::<FUSED>(query, keys, scale, row);
                softmax_in_place::<FUSED>(row);
                shape.factors(head, token, factors);
                let target = &mut context[token * shape.width..][shape.columns(0, head)];
                for ((p, factor), other) in row.iter().zip(factors.iter()).zip(qkv.chunks_exact(stride)) {
                    add_scaled::<FUSED>(target, p * factor, &other[shape.columns(2, head)]);
                }
            }
        }
    }
}

kernel! {
    /// From the gradient at `context` to that at `qkv`.
    ///
    /// # Shapes
    /// As [`attention`]; `gradient`: `[tokens, width]`; `at_qkv`: `[tokens, 3·width]`, written;
    /// `scratch` grows to `(head_width + 2) · tokens`.
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
        let (n, stride, head_width) = (shape.tokens, 3 * shape.width, shape.head_width());
        if n == 0 { return }
        scratch.resize((head_width + 2) * n, 0.0);
        let (values, rows) = scratch.split_at_mut(head_width * n);
        let (factors, at_scores) = rows.split_at_mut(n);
        let scale = 1.0 / (head_width as f32).sqrt();
        at_qkv.fill(0.0);
        for (head, probabilities) in probabilities.chunks_exact(n * n).enumerate() {
            let [queries, keys, of_values] = [0, 1, 2].map(|part| shape.columns(part, head));
            transpose(qkv, stride, of_values.clone(), values);
            for (token, row) in probabilities.chunks_exact(n).enumerate() {
                let gradient = &gradient[token * shape.width..][queries.clone()];
                products::<FUSED>(gradient, values, 1.0, at_scores);
                shape.factors(head, token, factors);
                for (at_score, factor) in at_scores.iter_mut().zip(factors.iter()) {
                    *at_score *= factor;
                }
                let mean = dot::<FUSED>(row, at_scores);
                for (at_score, p) in at_scores.iter_mut().zip(row) {
                    *at_score = scale * p * (*at_score - mean);
                }
                let query = &qkv[token * stride..][queries.clone()];
                for (other, ((p, factor), at_score)) in
                    row.iter().zip(factors.iter()).zip(at_scores.iter()).enumerate()
                {
                    let place = other * stride;
                    add_scaled::<FUSED>(&mut at_qkv[place..][keys.clone()], *at_score, query);
                    add_scaled::<FUSED>(&mut at_qkv[place..][of_values.clone()], p * factor, gradient);
                    let key = &qkv[place..][keys.clone()];
                    add_scaled::<FUSED>(&mut at_qkv[token * stride..][queries.clone()], *at_score, key);
                }
            }
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
                let mut probabilities = vec![f32::NAN; shape.heads * shape.tokens * shape.tokens];
                let (mut context, mut at_qkv) = (vec![f32::NAN; n], vec![f32::NAN; 3 * n]);
                let mut scratch = vec![f32::NAN; 3];
                attention(level, &shape, &qkv, &mut probabilities, &mut context, &mut scratch);
                assert_close(&context, &twin.context, 2e-5);
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
        attention_gradient(Level::best(), &shape, &[], &[], &[], &mut [], &mut Vec::new());
    }
}
