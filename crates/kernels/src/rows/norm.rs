//! Layer norm over a sum of two inputs (the residual connection), and its gradient.

use super::sums::sum_over;
use crate::kernel::{kernel, multiply_add};

/// Mean and reciprocal standard deviation of a row.
#[inline(always)]
pub(super) fn statistics<const FUSED: bool>(row: &[f32], epsilon: f32) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = sum_over(row, row, |x, _, sum| sum + x) / count;
    let squares = sum_over(row, row, |x, _, sum| {
        let centred = x - mean;
        multiply_add::<FUSED>(centred, centred, sum)
    });
    (mean, 1.0 / (squares / count + epsilon).sqrt())
}

kernel! {
    /// `sum ← sum + residual`, then `output = (sum − mean)/√(variance + epsilon) · gamma + beta`, row by row.
    ///
    /// # Shapes
    /// `sum`, `residual`, `output`: `[n, width]`; `gamma`, `beta`: `[width]`.
    pub fn add_layer_norm(
        sum: &mut [f32],
        residual: &[f32],
        gamma: &[f32],
        beta: &[f32],
        epsilon: f32,
        output: &mut [f32],
    ) {
        let width = gamma.len();
        assert!(beta.len() == width && sum.len() == residual.len() && sum.len() == output.len());
        let rows = sum.chunks_exact_mut(width).zip(residual.chunks_exact(width));
        for ((sum, residual), output) in rows.zip(output.chunks_exact_mut(width)) {
            for (x, r) in sum.iter_mut().zip(residual) {
                *x += r;
            }
            let (mean, scale) = statistics::<FUSED>(sum, epsilon);
            for (((y, x), g), b) in output.iter_mut().zip(sum.iter()).zip(gamma).zip(beta) {
                *y = multiply_add::<FUSED>((x - mean) * scale, *g, *b);
            }
        }
    }
}

/// Where [`layer_norm_gradient`] adds what belongs to the two parameters.
#[derive(Debug)]
pub struct LayerNormGradient<'a> {
    /// `[width]`, added to.
    pub gamma: &'a mut [f32],
    /// `[width]`, added to.
    pub beta: &'a mut [f32],
}

kernel! {
    /// From the gradient at the output of [`add_layer_norm`] to that at its sum, in place, and at `gamma` and `beta`.
    ///
    /// # Shapes
    /// `sum` (as the forward pass left it), `gradient`: `[n, width]`; `gamma`: `[width]`.
    pub fn layer_norm_gradient(
        sum: &[f32],
        gamma: &[f32],
        epsilon: f32,
        gradient: &mut [f32],
        parameters: LayerNormGradient<'_>,
    ) {
        let width = gamma.len();
        assert_eq!(sum.len(), gradient.len());
        assert!(parameters.gamma.len() == width && parameters.beta.len() == width);
        for (x, g) in sum.chunks_exact(width).zip(gradient.chunks_exact_mut(width)) {
            let (mean, scale) = statistics::<FUSED>(x, epsilon);
            let at_parameters = parameters.gamma.iter_mut().zip(parameters.beta.iter_mut());
            for (((x, g), gamma), (d_gamma, d_beta)) in
                x.iter().zip(g.iter_mut()).zip(gamma).zip(at_parameters)
            {
                *d_gamma = multiply_add::<FUSED>(*g, (x - mean) * scale, *d_gamma);
                *d_beta += *g;
                *g *= gamma;
            }
            let along_ones = sum_over(g, g, |g, _, sum| sum + g) / width as f32;
            let along_row = sum_over(g, x, |g, x, sum| multiply_add::<FUSED>(g, x - mean, sum));
            let along_row = along_row * scale * scale / width as f32;
            for (g, x) in g.iter_mut().zip(x) {
                *g = scale * (*g - along_ones - (x - mean) * along_row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::{self, assert_close, at_every_level, rows};
    use super::*;
    use proptest::prelude::*;

    // Large, because a row of two numbers that hardly differ would divide its rounding by their distance.
    const EPSILON: f32 = 1e-2;

    proptest! {
        #[test]
        fn layer_norm_and_its_gradient_are_their_twins_at_every_level(
            (width, x) in rows(2..70, 1..5)
        ) {
            let wave = |i: usize, f: f32| (i as f32 * f).sin();
            let gamma: Vec<f32> = (0..width).map(|i| 1.0 + 0.5 * wave(i, 0.7)).collect();
            let beta: Vec<f32> = (0..width).map(|i| wave(i, 1.3)).collect();
            let residual: Vec<f32> = (0..x.len()).map(|i| wave(i, 2.1)).collect();
            let gradient: Vec<f32> = (0..x.len()).map(|i| wave(i, 0.9)).collect();
            let twin = reference::layer_norm(&x, &residual, &gamma, &beta, &gradient, f64::from(EPSILON));
            at_every_level(|level| {
                let (mut sum, mut y) = (x.clone(), vec![0.0; x.len()]);
                add_layer_norm(level, &mut sum, &residual, &gamma, &beta, EPSILON, &mut y);
                assert_close(&y, &twin.output, 1e-4);
                let (mut g, mut d_gamma, mut d_beta) = (gradient.clone(), vec![0.0; width], vec![0.0; width]);
                let parameters = LayerNormGradient { gamma: &mut d_gamma, beta: &mut d_beta };
                layer_norm_gradient(level, &sum, &gamma, EPSILON, &mut g, parameters);
                assert_close(&g, &twin.at_sum, 1e-4);
                assert_close(&d_gamma, &twin.at_gamma, 1e-4);
                assert_close(&d_beta, &twin.at_beta, 1e-4);
            });
        }
    }
}
