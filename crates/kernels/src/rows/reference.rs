//! The kernels' meaning, in `f64` and without regard to speed, for the property tests.

use proptest::prelude::*;

use super::AttentionShape;
use crate::Level;

/// Runs `test` at each level this CPU has.
pub(super) fn at_every_level(test: impl Fn(Level)) {
    Level::available().into_iter().for_each(test);
}

/// `|found − expected| ≤ tolerance · (1 + |expected|)`, number by number.
#[track_caller]
pub(super) fn assert_close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(*found) - expected).abs();
        assert!(off <= tolerance * (1.0 + expected.abs()), "at {i}: {found}, expected {expected}");
    }
}

/// A matrix of some width and number of rows.
pub(super) fn rows(
    width: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
) -> impl Strategy<Value = (usize, Vec<f32>)> {
    (width, rows).prop_flat_map(|(width, rows)| {
        (Just(width), prop::collection::vec(-3f32..3.0, width * rows))
    })
}

/// By the series with positive terms only, `erf(x) = 2/√π · e^(-x²) · Σ 2^k x^(2k+1) / (1·3·…·(2k+1))`.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, 0.0);
    for k in 0..300 {
        sum += term;
        term *= 2.0 * x * x / f64::from(2 * k + 3);
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

pub(super) fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / 2f64.sqrt()))
}

pub(super) fn gelu_derivative(x: f64) -> f64 {
    let bell = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    0.5 * (1.0 + erf(x / 2f64.sqrt())) + x * bell
}

pub(super) struct LayerNorm {
    pub(super) output: Vec<f64>,
    pub(super) at_sum: Vec<f64>,
    pub(super) at_gamma: Vec<f64>,
    pub(super) at_beta: Vec<f64>,
}

pub(super) fn layer_norm(
    x: &[f32],
    residual: &[f32],
    gamma: &[f32],
    beta: &[f32],
    gradient: &[f32],
    epsilon: f64,
) -> LayerNorm {
    let width = gamma.len();
    let mut twin = LayerNorm {
        output: Vec::new(),
        at_sum: Vec::new(),
        at_gamma: vec![0.0; width],
        at_beta: vec![0.0; width],
    };
    for row in 0..x.len() / width {
        // Added in f32, as the kernel does: the norm of nearly equal numbers magnifies the difference.
        let sum: Vec<f64> =
            (0..width).map(|j| f64::from(x[row * width + j] + residual[row * width + j])).collect();
        let g: Vec<f64> = (0..width).map(|j| f64::from(gradient[row * width + j])).collect();
        let mean = sum.iter().sum::<f64>() / width as f64;
        let variance = sum.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        let normal: Vec<f64> =
            sum.iter().map(|x| (x - mean) / (variance + epsilon).sqrt()).collect();
        let scaled: Vec<f64> = (0..width).map(|j| g[j] * f64::from(gamma[j])).collect();
        let ones = scaled.iter().sum::<f64>() / width as f64;
        let along = scaled.iter().zip(&normal).map(|(g, x)| g * x).sum::<f64>() / width as f64;
        for j in 0..width {
            twin.output.push(normal[j] * f64::from(gamma[j]) + f64::from(beta[j]));
            twin.at_sum.push((scaled[j] - ones - normal[j] * along) / (variance + epsilon).sqrt());
            twin.at_gamma[j] += g[j] * normal[j];
            twin.at_beta[j] += g[j];
        }
    }
    twin
}

pub(super) struct Attention {
    pub(super) context: Vec<f64>,
    pub(super) at_qkv: Vec<f64>,
}

pub(super) fn attention(shape: &AttentionShape, qkv: &[f32], gradient: &[f32]) -> Attention {
    let (n, width, head_width) = (shape.tokens, shape.width, shape.width / shape.heads);
    let scale = 1.0 / (head_width as f64).sqrt();
    let place = |token: usize, part: usize, head: usize, d: usize| {
        token * 3 * width + part * width + head * head_width + d
    };
    let x = |token, part, head, d| f64::from(qkv[place(token, part, head, d)]);
    let mut twin = Attention { context: vec![0.0; n * width], at_qkv: vec![0.0; 3 * n * width] };
    for head in 0..shape.heads {
        for i in 0..n {
            let dots = |part_a: usize, j: usize, part_b: usize| -> f64 {
                (0..head_width).map(|d| x(i, part_a, head, d) * x(j, part_b, head, d)).sum()
            };
            let scores: Vec<f64> = (0..n).map(|j| (dots(0, j, 1) * scale).exp()).collect();
            let total: f64 = scores.iter().sum();
            let p: Vec<f64> = scores.iter().map(|s| s / total).collect();
            let factor = |j: usize| {
                shape.dropout.map_or(1.0, |dropout| {
                    let first = dropout.attention_row(shape.first_token + i, shape.heads, head);
                    f64::from(dropout.factor(first + j as u32))
                })
            };
            let g = |d: usize| f64::from(gradient[i * width + head * head_width + d]);
            let at_p: Vec<f64> = (0..n)
                .map(|j| factor(j) * (0..head_width).map(|d| g(d) * x(j, 2, head, d)).sum::<f64>())
                .collect();
            let mean: f64 = (0..n).map(|j| p[j] * at_p[j]).sum();
            for j in 0..n {
                let at_score = scale * p[j] * (at_p[j] - mean);
                for d in 0..head_width {
                    twin.context[i * width + head * head_width + d] +=
                        p[j] * factor(j) * x(j, 2, head, d);
                    twin.at_qkv[place(j, 2, head, d)] += p[j] * factor(j) * g(d);
                    twin.at_qkv[place(i, 0, head, d)] += at_score * x(j, 1, head, d);
                    twin.at_qkv[place(j, 1, head, d)] += at_score * x(i, 0, head, d);
                }
            }
        }
    }
    twin
}
