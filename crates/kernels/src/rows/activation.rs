//! GELU, exact (by the error function, as BERT has it), and its derivative.

use crate::kernel::{kernel, multiply_add};

/// `e^x`, relative error below 2e-7; clamped to the range of normal numbers.
///
/// # Source
/// Cephes `expf`: `x = n·ln 2 + r`, a polynomial of degree 6 in `r`, and `n` put into the exponent's bits.
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Adding and taking away 1.5 · 2^23 rounds to the nearest integer, which stays in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = multiply_add::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add::<FUSED>(n, -LN_2_HIGH, x);
    let r = multiply_add::<FUSED>(n, -LN_2_LOW, r);
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = multiply_add::<FUSED>(p, r, c);
    }
    let y = multiply_add::<FUSED>(p * r, r, r) + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    y * power
}

/// The error function at `x / √2` and `e^(-x²/2)`, which the derivative needs as well.
///
/// # Source
/// Abramowitz and Stegun 7.1.26, absolute error below 1.5e-7.
#[inline(always)]
fn error_function<const FUSED: bool>(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let bell = exp::<FUSED>(-z * z);
    let t = 1.0 / multiply_add::<FUSED>(z, 0.327_591_1, 1.0);
    let mut p = 1.061_405_4;
    for c in [-1.453_152, 1.421_413_7, -0.284_496_72, 0.254_829_6] {
        p = multiply_add::<FUSED>(p, t, c);
    }
    ((1.0 - p * t * bell).copysign(x), bell)
}

/// `x/2 · (1 + erf(x/√2))`, with an error below 2e-7 of `1 + |x|`.
///
/// `erf(x/√2)` by a quotient of polynomials in `x²`, which costs half of an exponential and leaves the gradient's way
/// to [`error_function`]. Fitted for the smallest largest error up to 5.4, where the function is 1 but for 7e-8.
#[inline(always)]
pub(crate) fn gelu_of<const FUSED: bool>(x: f32) -> f32 {
    const MOST: f32 = 5.4;
    let z = if x < MOST { x } else { MOST };
    let z = if z > -MOST { z } else { -MOST };
    let square = z * z;
    let mut p = 4.677_344e-8;
    for c in [1.272_003_6e-5, 3.286_434_8e-4, 9.301_702e-3, 6.674_447e-2, 7.978_844_6e-1] {
        p = multiply_add::<FUSED>(p, square, c);
    }
    let mut q = 1.216_590_5e-6;
    for c in [7.240_019e-5, 1.858_981_8e-3, 2.837_869e-2, 2.503_178_7e-1, 1.0] {
        q = multiply_add::<FUSED>(q, square, c);
    }
    let erf = z * p / q;
    // Exactly 1 outside, where a factor of any size would show what is missing.
    let erf = if x < MOST { erf } else { 1.0 };
    let erf = if x > -MOST { erf } else { -1.0 };
    let half = 0.5 * x;
    multiply_add::<FUSED>(half, erf, half)
}

kernel! {
    /// `output = x/2 · (1 + erf(x/√2))`, number by number; lengths must agree.
    pub fn gelu(x: &[f32], output: &mut [f32]) {
        assert_eq!(x.len(), output.len());
        for (x, y) in x.iter().zip(output) {
            *y = gelu_of::<FUSED>(*x);
        }
    }
}

kernel! {
    /// `gradient ← gradient · gelu'(x)` with `gelu'(x) = (1 + erf(x/√2))/2 + x·e^(-x²/2)/√(2π)`.
    pub fn gelu_gradient(x: &[f32], gradient: &mut [f32]) {
        const BELL_HEIGHT: f32 = 0.398_942_3; // 1/√(2π)
        assert_eq!(x.len(), gradient.len());
        for (x, g) in x.iter().zip(gradient) {
            let (erf, bell) = error_function::<FUSED>(*x);
            *g *= multiply_add::<FUSED>(x * BELL_HEIGHT, bell, 0.5 * (1.0 + erf));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::{self, assert_close, at_every_level};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn gelu_is_its_twin_at_every_level(x in prop::collection::vec(-12f32..12.0, 0..70)) {
            let expected: Vec<f64> = x.iter().map(|&x| reference::gelu(f64::from(x))).collect();
            at_every_level(|level| {
                let mut y = vec![f32::NAN; x.len()];
                gelu(level, &x, &mut y);
                assert_close(&y, &expected, 2.5e-6);
            });
        }

        #[test]
        fn gelu_gradient_is_its_twin_at_every_level(x in prop::collection::vec(-12f32..12.0, 0..70)) {
            let expected: Vec<f64> = x.iter().map(|&x| -2.0 * reference::gelu_derivative(f64::from(x))).collect();
            at_every_level(|level| {
                let mut g = vec![-2.0; x.len()];
                gelu_gradient(level, &x, &mut g);
                assert_close(&g, &expected, 2e-6);
            });
        }
    }

    #[test]
    fn exp_holds_its_claim_over_its_whole_range() {
        for step in 0..20_000 {
            let x = -87.0 + step as f32 * (175.0 / 20_000.0);
            let exact = f64::from(x).exp();
            for y in [exp::<false>(x), exp::<true>(x)] {
                assert!((f64::from(y) / exact - 1.0).abs() < 2e-7, "exp({x}) = {y}");
            }
        }
    }

    #[test]
    fn extreme_inputs_stay_finite() {
        at_every_level(|level| {
            let x = [f32::MIN, -1e4, -0.0, 0.0, 1e4, f32::MAX];
            let mut y = [0.0; 6];
            gelu(level, &x, &mut y);
            assert_eq!(y, [0.0, 0.0, 0.0, 0.0, 1e4, f32::MAX]);
        });
    }
}
