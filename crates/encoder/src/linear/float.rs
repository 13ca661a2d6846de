//! A weight of floats, and whose product it is multiplied by: our kernels', or the library's where ours have no
//! instructions for it (ARM).

use std::cell::Cell;

use hpd_kernels::Level;
use hpd_kernels::float::{self, Numbers, Panels, Product, RowScratch, View};
use hpd_kernels::rows::activate;
use rten_gemm::{GemmExecutor, GemmInputB, PackedBMatrix};

use super::{Last, multiply, pieces, view};

/// A packed weight.
pub(super) enum FloatMatrix {
    Ours(Vec<Panels>, Numbers),
    Library(PackedBMatrix<f32>),
}

thread_local! {
    /// Taken out while in use: a thread that waits inside the library may be given another product meanwhile.
    static SCRATCH: Cell<RowScratch> = Cell::default();
}

impl FloatMatrix {
    /// Packs `weight`, `[outputs, inputs]`, for whichever is faster on this CPU.
    pub(super) fn pack(weight: &[f32], [outputs, inputs]: [usize; 2], numbers: Numbers) -> Self {
        let level = Level::best();
        if numbers == Numbers::Float32 && !float::is_native(level) {
            return Self::library(weight, [outputs, inputs]);
        }
        let weight = View::new(weight, [outputs, inputs]);
        let piece = |range| Panels::new(level, numbers, weight.rows(range).transposed());
        Self::Ours(pieces::cut(outputs).map(piece).collect(), numbers)
    }

    fn library(weight: &[f32], [outputs, inputs]: [usize; 2]) -> Self {
        let transposed = view(weight, [inputs, outputs], [1, inputs]);
        Self::Library(GemmExecutor::<f32>::default().prepack_b(transposed))
    }

    /// Writes `activation(x · Wᵀ + bias)` to `out`.
    pub(super) fn apply(&self, x: &[f32], last: Last<'_>, out: &mut Vec<f32>) {
        match self {
            Self::Ours(pieces, numbers) => ours(pieces, *numbers, x, last, out),
            Self::Library(weight) => library(weight, x, last, out),
        }
    }
}

fn ours(pieces: &[Panels], numbers: Numbers, x: &[f32], last: Last<'_>, out: &mut Vec<f32>) {
    let Last { outputs, activation, side_by_side, .. } = last;
    let (level, inputs) = (Level::best(), pieces[0].depth());
    out.resize(x.len() / inputs * outputs, 0.0);
    let mut scratch = SCRATCH.take();
    let rows = scratch.rows(level, numbers, View::new(x, [x.len() / inputs, inputs]));
    pieces::multiply(pieces, outputs, side_by_side, out, |panels, range, out, stride| {
        let product = Product { rows, panels, bias: last.bias_of(range), activation };
        float::product(level, product, out, stride);
    });
    SCRATCH.set(scratch);
}

fn library(weight: &PackedBMatrix<f32>, x: &[f32], last: Last<'_>, out: &mut Vec<f32>) {
    let (inputs, outputs) = (weight.rows(), weight.cols());
    let rows = x.len() / inputs;
    out.resize(rows * outputs, 0.0);
    multiply(view(x, [rows, inputs], [inputs, 1]), GemmInputB::Packed(weight), 1.0, out);
    if !last.bias.is_empty() {
        activate(Level::best(), out, last.bias, last.activation);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Activation;

    fn wave(count: usize, frequency: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * frequency).sin()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_librarys_products_are_ours(
            (inputs, outputs, rows) in (1_usize..90, 1_usize..500, 0_usize..20),
            activation in prop::sample::select(vec![Activation::Gelu, Activation::GeluNew, Activation::Relu]),
        ) {
            let (weight, bias) = (wave(inputs * outputs, 0.37), wave(outputs, 1.3));
            let x = wave(rows * inputs, 0.61);
            let shape = [outputs, inputs];
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            let last = |side_by_side| Last { outputs, bias: &bias, activation: activation.into(), side_by_side };
            FloatMatrix::library(&weight, shape).apply(&x, last(false), &mut expected);
            let ours = FloatMatrix::pack(&weight, shape, Numbers::Float32);
            ours.apply(&x, last(false), &mut found);
            let mut together = Vec::new();
            ours.apply(&x, last(true), &mut together);
            prop_assert_eq!(&together, &found);
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                prop_assert!((found - expected).abs() < 2e-5, "{} {}", found, expected);
            }
        }
    }
}
