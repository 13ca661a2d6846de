//! 16 results of a row: what the products in floats and in bytes end with.

use crate::kernel::multiply_add;
use crate::rows::activation::{exp, gelu_of};

/// Results of a row that are finished together: two vectors of AVX2, one of AVX-512.
pub(crate) const COLUMNS: usize = 16;

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

impl Activation {
    #[inline(always)]
    pub(crate) fn apply<const FUSED: bool>(self, x: &mut [f32; COLUMNS]) {
        match self {
            Self::Identity => {}
            Self::Gelu => x.iter_mut().for_each(
                #[inline(always)]
                |x| *x = gelu_of::<FUSED>(*x),
            ),
            Self::GeluTanh => x.iter_mut().for_each(
                #[inline(always)]
                |x| *x = gelu_by_tanh::<FUSED>(*x),
            ),
            Self::Relu => x.iter_mut().for_each(
                #[inline(always)]
                |x| *x = if *x < 0.0 { 0.0 } else { *x },
            ),
        }
    }
}

/// Up to 16 numbers, then zeros.
#[inline(always)]
pub(crate) fn padded<T: Copy + Default>(numbers: &[T]) -> [T; COLUMNS] {
    let mut all = [T::default(); COLUMNS];
    match numbers.first_chunk() {
        Some(whole) => all = *whole,
        None => copy(numbers, &mut all),
    }
    all
}

/// The first of 16 numbers, as many as there is room for.
#[inline(always)]
pub(crate) fn write(numbers: &[f32; COLUMNS], output: &mut [f32]) {
    match output.first_chunk_mut() {
        Some(whole) => *whole = *numbers,
        None => copy(&numbers[..output.len()], output),
    }
}

/// Copies fewer than 16 numbers to where there is room for them.
///
/// In pieces whose sizes are known: `copy_from_slice` would be a call, which the compiler then takes for 16 as well.
#[inline(always)]
fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    let mut done = 0;
    copy_piece::<8, T>(from, to, &mut done);
    copy_piece::<4, T>(from, to, &mut done);
    copy_piece::<2, T>(from, to, &mut done);
    copy_piece::<1, T>(from, to, &mut done);
}

#[inline(always)]
fn copy_piece<const N: usize, T: Copy>(from: &[T], to: &mut [T], done: &mut usize) {
    if let (Some(from), Some(to)) =
        (from[*done..].first_chunk::<N>(), to[*done..].first_chunk_mut())
    {
        *to = *from;
        *done += N;
    }
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
