//! A weight of floats, and whose product it is multiplied by: our kernels', or the library's where ours have no
//! instructions for it (ARM).

use std::cell::Cell;

use hpd_kernels::float::{self, Numbers, Panels, Product, RowScratch, View};
use hpd_kernels::rows::activate;
use hpd_kernels::{Activation, Level};
use rten_gemm::{GemmExecutor, GemmInputB, PackedBMatrix};

use super::{multiply, view};
use crate::config;

/// A packed weight.
pub(super) enum FloatMatrix {
    Ours(Panels, Numbers),
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
        Self::Ours(Panels::new(level, numbers, weight.transposed()), numbers)
    }

    fn library(weight: &[f32], [outputs, inputs]: [usize; 2]) -> Self {
        let transposed = view(weight, [inputs, outputs], [1, inputs]);
        Self::Library(GemmExecutor::<f32>::default().prepack_b(transposed))
    }

    /// Writes `activation(x · Wᵀ + bias)` to `out`; an empty bias is none.
    ///
    /// # Shapes
    /// `x` is `[rows, inputs]`, `out` becomes `[rows, outputs]`.
    pub(super) fn apply(
        &self,
        x: &[f32],
        bias: &[f32],
        activation: Option<config::Activation>,
        out: &mut Vec<f32>,
    ) {
        match self {
            Self::Ours(panels, numbers) => ours(panels, *numbers, x, bias, activation, out),
            Self::Library(weight) => library(weight, x, bias, activation, out),
        }
    }
}

fn ours(
    panels: &Panels,
    numbers: Numbers,
    x: &[f32],
    bias: &[f32],
    activation: Option<config::Activation>,
    out: &mut Vec<f32>,
) {
    let (level, inputs, outputs) = (Level::best(), panels.depth(), panels.columns());
    out.resize(x.len() / inputs * outputs, 0.0);
    let activation = activation.map_or(Activation::Identity, Into::into);
    let mut scratch = SCRATCH.take();
    let x = View::new(x, [x.len() / inputs, inputs]);
    let rows = scratch.rows(level, numbers, x);
    float::product(level, Product { rows, panels, bias, activation }, out, outputs);
    SCRATCH.set(scratch);
}

fn library(
    weight: &PackedBMatrix<f32>,
    x: &[f32],
    bias: &[f32],
    activation: Option<config::Activation>,
    out: &mut Vec<f32>,
) {
    let (inputs, outputs) = (weight.rows(), weight.cols());
    let rows = x.len() / inputs;
    out.resize(rows * outputs, 0.0);
    multiply(view(x, [rows, inputs], [inputs, 1]), GemmInputB::Packed(weight), 1.0, out);
    if !bias.is_empty() {
        activate(Level::best(), out, bias, activation.map_or(Activation::Identity, Into::into));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wave(count: usize, frequency: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * frequency).sin()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_librarys_products_are_ours(
            (inputs, outputs, rows) in (1_usize..90, 1_usize..50, 0_usize..20),
            activation in prop::option::of(prop::sample::select(
                vec![config::Activation::Gelu, config::Activation::GeluNew, config::Activation::Relu],
            )),
        ) {
            let (weight, bias) = (wave(inputs * outputs, 0.37), wave(outputs, 1.3));
            let x = wave(rows * inputs, 0.61);
            let shape = [outputs, inputs];
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            FloatMatrix::library(&weight, shape).apply(&x, &bias, activation, &mut expected);
            FloatMatrix::pack(&weight, shape, Numbers::Float32).apply(&x, &bias, activation, &mut found);
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                prop_assert!((found - expected).abs() < 2e-5, "{} {}", found, expected);
            }
        }
    }
}
