//! Sums along rows and columns.

use crate::kernel::{kernel, multiply_add};

/// How many partial sums run side by side: without them the compiler may not reorder additions, so could not
/// vectorise.
const LANES: usize = 16;

/// `Σ term(a, b)` over two slices of one length.
#[inline(always)]
pub(super) fn sum_over(a: &[f32], b: &[f32], term: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let (whole_a, rest_a) = a.as_chunks::<LANES>();
    let (whole_b, rest_b) = b.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (a, b) in whole_a.iter().zip(whole_b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane = term(*a, *b, *lane);
        }
    }
    let mut total: f32 = lanes.iter().sum();
    for (a, b) in rest_a.iter().zip(rest_b) {
        total = term(*a, *b, total);
    }
    total
}

/// `Σ a·b`.
#[inline(always)]
pub(super) fn dot<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    sum_over(a, b, multiply_add::<FUSED>)
}

kernel! {
    /// Adds every row of `matrix` to `sums`: a bias's gradient.
    pub fn column_sums(matrix: &[f32], sums: &mut [f32]) {
        for row in matrix.chunks_exact(sums.len()) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
}

kernel! {
    /// Adds `Σ x²` to `total`, in `f64` from piece to piece so that millions of terms keep their digits.
    pub fn sum_of_squares(x: &[f32], total: &mut f64) {
        for piece in x.chunks(4096) {
            *total += f64::from(dot::<FUSED>(piece, piece));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::{assert_close, at_every_level, rows};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sums_are_their_twins_at_every_level((width, x) in rows(1..40, 0..9)) {
            let exact = |f: &dyn Fn(f64) -> f64, j: usize| -> f64 {
                x.iter().skip(j).step_by(width).map(|&x| f(f64::from(x))).sum()
            };
            let columns: Vec<f64> = (0..width).map(|j| exact(&|x| x, j)).collect();
            let squares: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            at_every_level(|level| {
                let mut sums = vec![0.0; width];
                column_sums(level, &x, &mut sums);
                assert_close(&sums, &columns, 1e-5);
                let mut total = 0.0;
                sum_of_squares(level, &x, &mut total);
                assert!((total - squares).abs() <= 1e-5 * (1.0 + squares));
            });
        }
    }
}
