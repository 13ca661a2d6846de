//! From whole sums to f32: scale of the row times scale of the output, bias, activation.

use super::tile::COLUMNS;
use crate::kernel::{kernel, multiply_add};
use crate::rows::activation::{exp, gelu_of};

/// What happens to a number after its bias is added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    Identity,
    /// GELU by the error function.
    Gelu,
    /// GELU by `tanh`.
    GeluTanh,
    /// Negative numbers become 0.
    Relu,
}

kernel! {
    /// Turns sums that a library made into numbers, as [`product()`](super::product()) does with its own.
    ///
    /// # Shapes
    /// `sums`, `output`: `[n, outputs]`; `row_scales`: `[n]`; `scales`: `[outputs]`; `bias`:
    /// `[outputs]`, or empty for none.
    pub fn finish(
        sums: &[i32],
        row_scales: &[f32],
        scales: &[f32],
        bias: &[f32],
        activation: Activation,
        output: &mut [f32],
    ) {
        let outputs = scales.len();
        assert!(sums.len() == output.len() && (bias.is_empty() || bias.len() == outputs));
        assert_eq!(sums.len(), row_scales.len() * outputs);
        let rows = sums.chunks_exact(outputs).zip(output.chunks_exact_mut(outputs));
        for ((sums, output), row_scale) in rows.zip(row_scales) {
            for (piece, output) in output.chunks_mut(COLUMNS).enumerate() {
                let columns = piece * COLUMNS..piece * COLUMNS + output.len();
                let scales = padded(&scales[columns.clone()]);
                let bias = if bias.is_empty() { [0.0; COLUMNS] } else { padded(&bias[columns.clone()]) };
                let sums = padded(&sums[columns]);
                write(&finished::<FUSED>(&sums, *row_scale, &scales, &bias, activation), output);
            }
        }
    }
}

/// Up to 16 numbers, then zeros.
#[inline(always)]
pub(super) fn padded<T: Copy + Default>(numbers: &[T]) -> [T; COLUMNS] {
    let mut all = [T::default(); COLUMNS];
    match numbers.first_chunk() {
        Some(whole) => all = *whole,
        None => all[..numbers.len()].copy_from_slice(numbers),
    }
    all
}

/// The first of 16 numbers, as many as there is room for.
#[inline(always)]
pub(super) fn write(numbers: &[f32; COLUMNS], output: &mut [f32]) {
    match output.first_chunk_mut() {
        Some(whole) => *whole = *numbers,
        None => output.copy_from_slice(&numbers[..output.len()]),
    }
}

/// 16 sums of one row. Without fused multiplication up to the activation, so that levels agree in every bit.
#[inline(always)]
pub(super) fn finished<const FUSED: bool>(
    sums: &[i32; COLUMNS],
    row_scale: f32,
    scales: &[f32; COLUMNS],
    bias: &[f32; COLUMNS],
    activation: Activation,
) -> [f32; COLUMNS] {
    let mut x = [0.0; COLUMNS];
    for c in 0..COLUMNS {
        x[c] = sums[c] as f32 * (row_scale * scales[c]) + bias[c];
    }
    match activation {
        Activation::Identity => {}
        Activation::Gelu => x.iter_mut().for_each(
            #[inline(always)]
            |x| *x = gelu_of::<FUSED>(*x),
        ),
        Activation::GeluTanh => x.iter_mut().for_each(
            #[inline(always)]
            |x| *x = gelu_by_tanh::<FUSED>(*x),
        ),
        Activation::Relu => x.iter_mut().for_each(
            #[inline(always)]
            |x| *x = if *x < 0.0 { 0.0 } else { *x },
        ),
    }
    x
}

/// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, by `(1 + tanh(y))/2 = 1/(1 + e^(-2y))`.
#[inline(always)]
fn gelu_by_tanh<const FUSED: bool>(x: f32) -> f32 {
    const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769;
    let y = TWICE_SQRT_2_OVER_PI * x * multiply_add::<FUSED>(0.044_715 * x, x, 1.0);
    x / (1.0 + exp::<FUSED>(-y))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn gelu_by_tanh_means_its_formula(x in -30_f32..30.0) {
            let exact = f64::from(x);
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (exact + 0.044_715 * exact.powi(3));
            let expected = 0.5 * exact * (1.0 + inner.tanh());
            for found in [gelu_by_tanh::<false>(x), gelu_by_tanh::<true>(x)] {
                prop_assert!((f64::from(found) - expected).abs() < 2e-6 * (1.0 + exact.abs()), "{found} {expected}");
            }
        }
    }
}
