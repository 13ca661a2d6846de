//! What an encoder does to rows between two matrix products, in place: each row is touched once, while it is in cache.
//!
//! Beside the passes for training, which keep what a gradient needs and write elsewhere.

use super::norm::statistics;
use super::softmax;
use crate::columns::{Activation, COLUMNS, padded, write};
use crate::kernel::{kernel, multiply_add};

/// What a layer norm knows besides the row.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// `[width]`.
    pub gain: &'a [f32],
    /// `[width]`.
    pub shift: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

impl Norm<'_> {
    #[inline(always)]
    fn apply<const FUSED: bool>(&self, row: &mut [f32]) {
        let (mean, scale) = statistics::<FUSED>(row, self.epsilon);
        for ((x, gain), shift) in row.iter_mut().zip(self.gain).zip(self.shift) {
            *x = multiply_add::<FUSED>((*x - mean) * scale, *gain, *shift);
        }
    }
}

kernel! {
    /// `row ← norm(row)`.
    ///
    /// # Shapes
    /// `rows`: `[n, width]`.
    pub fn normalize(rows: &mut [f32], norm: Norm<'_>) {
        assert_eq!(norm.gain.len(), norm.shift.len());
        for row in rows.chunks_exact_mut(norm.gain.len()) {
            norm.apply::<FUSED>(row);
        }
    }
}

kernel! {
    /// `row ← norm(row + delta + bias)`: a residual connection and the norm behind it.
    ///
    /// # Shapes
    /// `rows` and `deltas`: `[n, width]`; `bias`: `[width]`.
    pub fn add_and_normalize(rows: &mut [f32], deltas: &[f32], bias: &[f32], norm: Norm<'_>) {
        assert!(rows.len() == deltas.len() && norm.gain.len() == bias.len());
        assert_eq!(norm.gain.len(), norm.shift.len());
        let width = bias.len();
        for (row, delta) in rows.chunks_exact_mut(width).zip(deltas.chunks_exact(width)) {
            add(row, delta, bias);
            norm.apply::<FUSED>(row);
        }
    }
}

kernel! {
    /// `row ← row + delta + bias`: a residual connection without a norm behind it.
    ///
    /// # Shapes
    /// As [`add_and_normalize`].
    pub fn add_rows(rows: &mut [f32], deltas: &[f32], bias: &[f32]) {
        assert_eq!(rows.len(), deltas.len());
        let width = bias.len();
        for (row, delta) in rows.chunks_exact_mut(width).zip(deltas.chunks_exact(width)) {
            add(row, delta, bias);
        }
    }
}

#[inline(always)]
fn add(row: &mut [f32], delta: &[f32], bias: &[f32]) {
    for ((x, delta), bias) in row.iter_mut().zip(delta).zip(bias) {
        *x += delta + bias;
    }
}

kernel! {
    /// `row ← row · (factor + bias)`, number by number: a gated feed-forward layer.
    ///
    /// # Shapes
    /// `rows` and `factors`: `[n, width]`; `bias`: `[width]`.
    pub fn multiply_rows(rows: &mut [f32], factors: &[f32], bias: &[f32]) {
        assert_eq!(rows.len(), factors.len());
        let width = bias.len();
        for (row, factors) in rows.chunks_exact_mut(width).zip(factors.chunks_exact(width)) {
            for ((x, factor), bias) in row.iter_mut().zip(factors).zip(bias) {
                *x *= factor + bias;
            }
        }
    }
}

kernel! {
    /// `row ← activation(row + bias)`, for products that did not do it themselves.
    ///
    /// # Shapes
    /// `rows`: `[n, width]`; `bias`: `[width]`.
    pub fn activate(rows: &mut [f32], bias: &[f32], activation: Activation) {
        for row in rows.chunks_exact_mut(bias.len()) {
            for (row, bias) in row.chunks_mut(COLUMNS).zip(bias.chunks(COLUMNS)) {
                let (mut numbers, bias) = (padded(row), padded(bias));
                for (x, bias) in numbers.iter_mut().zip(bias) {
                    *x += bias;
                }
                activation.apply::<FUSED>(&mut numbers);
                write(&numbers, row);
            }
        }
    }
}

kernel! {
    /// `row ← softmax(scale · row)`.
    ///
    /// # Shapes
    /// `rows`: `[n, width]`.
    pub fn softmax_rows(rows: &mut [f32], width: usize, scale: f32) {
        for row in rows.chunks_exact_mut(width) {
            softmax::<FUSED>(row, width, scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::{self, assert_close, at_every_level};
    use super::*;
    use proptest::prelude::*;

    /// A row or vector of any width, so that every vector length meets a rest.
    fn width() -> impl Strategy<Value = usize> {
        1_usize..70
    }

    fn numbers(count: usize) -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(-6.0_f32..6.0, count)
    }

    fn scalar(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Identity => x,
            Activation::Gelu => reference::gelu(x),
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                0.5 * x * (1.0 + inner.tanh())
            }
            Activation::Relu => x.max(0.0),
        }
    }

    fn scalar_norm(row: &[f64], norm: Norm<'_>) -> Vec<f64> {
        let count = row.len() as f64;
        let mean = row.iter().sum::<f64>() / count;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        let scale = 1.0 / (variance + f64::from(norm.epsilon)).sqrt();
        let parts = row.iter().zip(norm.gain).zip(norm.shift);
        parts
            .map(|((x, gain), shift)| (x - mean) * scale * f64::from(*gain) + f64::from(*shift))
            .collect()
    }

    proptest! {
        #[test]
        fn activations_mean_what_their_formulas_say(
            (bias, rows) in width().prop_flat_map(|n| (numbers(n), numbers(3 * n))),
            activation in prop::sample::select(
                vec![Activation::Identity, Activation::Gelu, Activation::GeluTanh, Activation::Relu],
            ),
        ) {
            let sums = rows.iter().enumerate().map(|(i, x)| f64::from(x + bias[i % bias.len()]));
            let expected: Vec<f64> = sums.map(|x| scalar(activation, x)).collect();
            at_every_level(|level| {
                let mut found = rows.clone();
                activate(level, &mut found, &bias, activation);
                assert_close(&found, &expected, 1e-5);
            });
        }

        #[test]
        fn the_norm_is_over_the_row_with_what_is_added(
            (rows, deltas, bias, gain, shift) in width()
                .prop_flat_map(|n| (numbers(2 * n), numbers(2 * n), numbers(n), numbers(n), numbers(n))),
        ) {
            let norm = Norm { gain: &gain, shift: &shift, epsilon: 1e-2 };
            let width = bias.len();
            let added = |i: usize| f64::from(rows[i]) + f64::from(deltas[i]) + f64::from(bias[i % width]);
            let sums: Vec<f64> = (0..rows.len()).map(added).collect();
            let expected: Vec<f64> = sums.chunks(width).flat_map(|row| scalar_norm(row, norm)).collect();
            at_every_level(|level| {
                let (mut found, mut summed) = (rows.clone(), rows.clone());
                add_and_normalize(level, &mut found, &deltas, &bias, norm);
                assert_close(&found, &expected, 1e-3);
                add_rows(level, &mut summed, &deltas, &bias);
                assert_close(&summed, &sums, 1e-5);
                normalize(level, &mut summed, norm);
                assert_eq!(summed, found);
            });
        }

        #[test]
        fn a_gate_multiplies_number_by_number(
            (rows, factors, bias) in width().prop_flat_map(|n| (numbers(2 * n), numbers(2 * n), numbers(n))),
        ) {
            let product = |i: usize| rows[i] * (factors[i] + bias[i % bias.len()]);
            let expected: Vec<f32> = (0..rows.len()).map(product).collect();
            at_every_level(|level| {
                let mut found = rows.clone();
                multiply_rows(level, &mut found, &factors, &bias);
                assert_eq!(found, expected);
            });
        }

        #[test]
        fn shares_of_a_softmax_are_powers_of_their_scores((width, rows) in width().prop_flat_map(|n| (Just(n), numbers(2 * n)))) {
            let mut expected = Vec::new();
            for row in rows.chunks(width) {
                let powers: Vec<f64> = row.iter().map(|x| (0.5 * f64::from(*x)).exp()).collect();
                expected.extend(powers.iter().map(|power| power / powers.iter().sum::<f64>()));
            }
            at_every_level(|level| {
                let mut found = rows.clone();
                softmax_rows(level, &mut found, width, 0.5);
                assert_close(&found, &expected, 1e-6);
            });
        }
    }
}
