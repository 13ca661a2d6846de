//! What happens to each row between two matrix products, fused so that a row is touched once while it is in cache.
//!
//! Written against `rten-simd`'s portable vectors: the same source becomes AVX-512, AVX2, NEON or scalar code,
//! chosen at run time.

use rten_simd::functional::simd_map;
use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdIterable, SimdOp, SimdUnaryOp};
use rten_vecmath::{ApproxGelu, Gelu, Tanh};

use crate::config::Activation;
use crate::folder::DenseActivation;

/// `row = activation(row + bias)` for each row of the feed-forward layer.
pub(crate) fn activate(rows: &mut [f32], bias: &[f32], activation: Activation) {
    match activation {
        Activation::Gelu => BiasThen { rows, bias, then: Gelu {} }.dispatch(),
        Activation::GeluNew => BiasThen { rows, bias, then: ApproxGelu {} }.dispatch(),
        Activation::Relu => BiasThen { rows, bias, then: Relu }.dispatch(),
    }
}

/// `row = activation(row + bias)` for each row of a Dense module.
pub(crate) fn activate_dense(rows: &mut [f32], bias: &[f32], activation: DenseActivation) {
    match activation {
        DenseActivation::Identity => add_bias(rows, bias),
        DenseActivation::Tanh => BiasThen { rows, bias, then: Tanh {} }.dispatch(),
    }
}

/// `row = row + bias`.
pub(crate) fn add_bias(rows: &mut [f32], bias: &[f32]) {
    BiasThen { rows, bias, then: Identity }.dispatch();
}

struct BiasThen<'a, Op> {
    rows: &'a mut [f32],
    bias: &'a [f32],
    then: Op,
}

impl<Op: SimdUnaryOp<f32>> SimdOp for BiasThen<'_, Op> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let ops = isa.f32();
        for row in self.rows.chunks_exact_mut(self.bias.len()) {
            let mut bias = self.bias.simd_iter_pad(ops);
            simd_map(
                ops,
                row,
                #[inline(always)]
                |x| {
                    let bias = bias.next().unwrap_or(ops.zero());
                    self.then.eval(isa, ops.add(x, bias))
                },
            );
        }
    }
}

struct Identity;

impl SimdUnaryOp<f32> for Identity {
    #[inline(always)]
    fn eval<I: Isa>(&self, _: I, x: I::F32) -> I::F32 {
        x
    }
}

struct Relu;

impl SimdUnaryOp<f32> for Relu {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, x: I::F32) -> I::F32 {
        isa.f32().max(x, isa.f32().zero())
    }
}

/// Gain, shift and epsilon of a layer norm.
pub(crate) struct LayerNorm {
    pub(crate) gain: Vec<f32>,
    pub(crate) shift: Vec<f32>,
    pub(crate) epsilon: f32,
}

impl LayerNorm {
    /// `row = norm(row + delta + bias)`, the residual connection and the norm after it.
    ///
    /// # Shapes
    /// `rows` and `deltas` are `[tokens, width]`, `bias` is `[width]`.
    pub(crate) fn add_and_normalize(&self, rows: &mut [f32], deltas: &[f32], bias: &[f32]) {
        AddNorm { rows, deltas, bias, norm: self }.dispatch();
    }

    /// `row = norm(row)` for each row.
    pub(crate) fn normalize(&self, rows: &mut [f32]) {
        Normalized { rows, norm: self }.dispatch();
    }
}

/// `row = row + delta + bias`, a residual connection without a norm.
///
/// # Shapes
/// `rows` and `deltas` are `[tokens, width]`, `bias` is `[width]`.
pub(crate) fn add_rows(rows: &mut [f32], deltas: &[f32], bias: &[f32]) {
    AddRows { rows, deltas, bias }.dispatch();
}

/// `row = row · (factor + bias)`, number by number.
///
/// # Shapes
/// As [`add_rows`].
pub(crate) fn multiply_rows(rows: &mut [f32], factors: &[f32], bias: &[f32]) {
    MultiplyRows { rows, factors, bias }.dispatch();
}

struct Normalized<'a> {
    rows: &'a mut [f32],
    norm: &'a LayerNorm,
}

impl SimdOp for Normalized<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let ops = isa.f32();
        let width = self.norm.gain.len();
        for row in self.rows.chunks_exact_mut(width) {
            let sum = row.simd_iter(ops).fold_unroll::<4>(
                ops.zero(),
                #[inline(always)]
                |sum, x| ops.add(sum, x),
                #[inline(always)]
                |a, b| ops.add(a, b),
            );
            normalize(isa, row, ops.sum(sum) / width as f32, self.norm);
        }
    }
}

struct AddRows<'a> {
    rows: &'a mut [f32],
    deltas: &'a [f32],
    bias: &'a [f32],
}

impl SimdOp for AddRows<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let width = self.bias.len();
        for (row, delta) in self.rows.chunks_exact_mut(width).zip(self.deltas.chunks_exact(width)) {
            add(isa, row, delta, self.bias);
        }
    }
}

struct MultiplyRows<'a> {
    rows: &'a mut [f32],
    factors: &'a [f32],
    bias: &'a [f32],
}

impl SimdOp for MultiplyRows<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let ops = isa.f32();
        let width = self.bias.len();
        let factors = self.factors.chunks_exact(width);
        for (row, factors) in self.rows.chunks_exact_mut(width).zip(factors) {
            let mut factors = factors.simd_iter_pad(ops);
            let mut bias = self.bias.simd_iter_pad(ops);
            simd_map(
                ops,
                row,
                #[inline(always)]
                |x| {
                    let factor = factors.next().unwrap_or(ops.zero());
                    let bias = bias.next().unwrap_or(ops.zero());
                    ops.mul(x, ops.add(factor, bias))
                },
            );
        }
    }
}

struct AddNorm<'a> {
    rows: &'a mut [f32],
    deltas: &'a [f32],
    bias: &'a [f32],
    norm: &'a LayerNorm,
}

impl SimdOp for AddNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let width = self.bias.len();
        for (row, delta) in self.rows.chunks_exact_mut(width).zip(self.deltas.chunks_exact(width)) {
            let sum = add(isa, row, delta, self.bias);
            normalize(isa, row, sum / width as f32, self.norm);
        }
    }
}

/// `row += delta + bias`; gives the sum of the row.
#[inline(always)]
fn add<I: Isa>(isa: I, row: &mut [f32], delta: &[f32], bias: &[f32]) -> f32 {
    let ops = isa.f32();
    let mut delta = delta.simd_iter_pad(ops);
    let mut bias = bias.simd_iter_pad(ops);
    let mut sum = ops.zero();
    simd_map(
        ops,
        row,
        #[inline(always)]
        |x| {
            let delta = delta.next().unwrap_or(ops.zero());
            let bias = bias.next().unwrap_or(ops.zero());
            let x = ops.add(x, ops.add(delta, bias));
            // Lanes past the end of the row are 0 in all three.
            sum = ops.add(sum, x);
            x
        },
    );
    ops.sum(sum)
}

#[inline(always)]
fn normalize<I: Isa>(isa: I, row: &mut [f32], mean: f32, norm: &LayerNorm) {
    let ops = isa.f32();
    let mean = ops.splat(mean);
    let squares = row.simd_iter(ops).fold_unroll::<4>(
        ops.zero(),
        #[inline(always)]
        |sum, x| {
            let centred = ops.sub(x, mean);
            ops.mul_add(centred, centred, sum)
        },
        #[inline(always)]
        |a, b| ops.add(a, b),
    );
    let variance = ops.sum(squares) / row.len() as f32;
    let scale = ops.splat(1.0 / (variance + norm.epsilon).sqrt());
    let mut gain = norm.gain.simd_iter_pad(ops);
    let mut shift = norm.shift.simd_iter_pad(ops);
    simd_map(
        ops,
        row,
        #[inline(always)]
        |x| {
            let gain = gain.next().unwrap_or(ops.zero());
            let shift = shift.next().unwrap_or(ops.zero());
            ops.mul_add(ops.mul(ops.sub(x, mean), scale), gain, shift)
        },
    );
}

/// Scales each row to unit length; a row of zeros stays.
pub(crate) fn normalize_length(rows: &mut [f32], width: usize) {
    for row in rows.chunks_exact_mut(width) {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        // The floor is that of PyTorch's `normalize`.
        let scale = 1.0 / length.max(1e-12);
        row.iter_mut().for_each(|x| *x *= scale);
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::{FRAC_1_SQRT_2, PI};

    use proptest::prelude::*;

    use super::*;

    /// A row or vector of any width, so that every vector length meets a rest.
    fn width() -> impl Strategy<Value = usize> {
        1_usize..70
    }

    fn numbers(count: usize) -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(-6.0_f32..6.0, count)
    }

    /// By its power series, which loses nothing that matters below 4; beyond, 1 is near enough.
    fn erf(x: f64) -> f64 {
        if x.abs() > 4.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..120 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / PI.sqrt()
    }

    fn scalar(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Gelu => 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2)),
            Activation::GeluNew => {
                0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
            }
            Activation::Relu => x.max(0.0),
        }
    }

    fn scalar_norm(row: &[f64], norm: &LayerNorm) -> Vec<f64> {
        let count = row.len() as f64;
        let mean = row.iter().sum::<f64>() / count;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        let scale = 1.0 / (variance + f64::from(norm.epsilon)).sqrt();
        let parts = row.iter().zip(&norm.gain).zip(&norm.shift);
        parts
            .map(|((x, gain), shift)| (x - mean) * scale * f64::from(*gain) + f64::from(*shift))
            .collect()
    }

    proptest! {
        #[test]
        fn activations_mean_what_their_formulas_say(
            (bias, rows) in width().prop_flat_map(|n| (numbers(n), numbers(3 * n))),
            activation in prop::sample::select(vec![Activation::Gelu, Activation::GeluNew, Activation::Relu]),
        ) {
            let mut found = rows.clone();
            activate(&mut found, &bias, activation);
            for (i, found) in found.iter().enumerate() {
                let expected = scalar(activation, f64::from(rows[i] + bias[i % bias.len()]));
                prop_assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
            }
        }

        #[test]
        fn the_norm_is_over_the_row_with_what_is_added(
            (rows, deltas, bias, gain, shift) in width()
                .prop_flat_map(|n| (numbers(2 * n), numbers(2 * n), numbers(n), numbers(n), numbers(n))),
        ) {
            let norm = LayerNorm { gain, shift, epsilon: 1e-5 };
            let mut found = rows.clone();
            norm.add_and_normalize(&mut found, &deltas, &bias);
            let width = bias.len();
            for row in 0..2 {
                let sum = |i: usize| f64::from(rows[row * width + i]) + f64::from(deltas[row * width + i]) + f64::from(bias[i]);
                let expected = scalar_norm(&(0..width).map(sum).collect::<Vec<_>>(), &norm);
                for (found, expected) in found[row * width..].iter().zip(expected) {
                    // A row whose numbers hardly differ divides rounding by a small deviation.
                    prop_assert!((f64::from(*found) - expected).abs() < 2e-2, "{found} {expected}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn rows_meet_number_by_number(
            (rows, others, bias) in width().prop_flat_map(|n| (numbers(2 * n), numbers(2 * n), numbers(n))),
        ) {
            let (mut sums, mut products) = (rows.clone(), rows.clone());
            add_rows(&mut sums, &others, &bias);
            multiply_rows(&mut products, &others, &bias);
            for i in 0..rows.len() {
                let other = others[i] + bias[i % bias.len()];
                prop_assert!((sums[i] - (rows[i] + other)).abs() < 1e-5);
                prop_assert_eq!(products[i], rows[i] * other);
            }
        }

        #[test]
        fn a_norm_alone_is_a_norm_with_nothing_added(
            (rows, gain, shift) in width().prop_flat_map(|n| (numbers(2 * n), numbers(n), numbers(n))),
        ) {
            let nothing = vec![0.0; rows.len()];
            let norm = LayerNorm { gain, shift, epsilon: 1e-3 };
            let (mut alone, mut added) = (rows.clone(), rows);
            norm.normalize(&mut alone);
            norm.add_and_normalize(&mut added, &nothing, &nothing[..norm.gain.len()]);
            for (alone, added) in alone.iter().zip(added) {
                // Their sums are taken in other orders.
                prop_assert!((alone - added).abs() < 1e-3, "{alone} {added}");
            }
        }
    }

    #[test]
    fn a_row_of_zeros_has_no_direction_and_stays() {
        let mut rows = [3.0, 4.0, 0.0, 0.0];
        normalize_length(&mut rows, 2);
        assert_eq!(rows, [0.6, 0.8, 0.0, 0.0]);
    }
}
