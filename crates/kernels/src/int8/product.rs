//! The product: rows by panels of weights, tile by tile, each tile finished while its sums are at hand.

use super::finish::{finished, padded, write};
use super::tile::{COLUMNS, Portable, ROWS, Tile};
use super::{Activation, PackedWeights, QuantizedRows};
use crate::Level;
use crate::level::Instructions;

/// Rows that stay in a core's second cache while all weights pass by, for the widest rows of the usual models.
const BAND: usize = 96;

/// What [`product()`] computes.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// `[n, inputs]`.
    pub rows: &'a QuantizedRows,
    /// `[outputs, inputs]`.
    pub weights: &'a PackedWeights,
    /// `[outputs]`, or empty for none.
    pub bias: &'a [f32],
    /// Applied last.
    pub activation: Activation,
}

/// `output = activation(rows · weightsᵀ + bias)`.
///
/// The sums are exact. Levels agree in every bit but for what the activation rounds.
///
/// # Shapes
/// `output`: `[n, outputs]`, written.
///
/// # Panics
/// When a length does not fit.
pub fn product(level: Level, product: Product<'_>, output: &mut [f32]) {
    product.check(output.len());
    match level.0 {
        Instructions::Portable => product.run::<false, _>(&Portable, output),
        #[cfg(target_arch = "aarch64")]
        Instructions::Neon => product.run::<true, _>(&Portable, output),
        // SAFETY: a level exists only where the CPU has it, and that of AVX-512 includes AVX2.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 | Instructions::Avx512 => unsafe { avx2(product, output) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(product: Product<'_>, output: &mut [f32]) {
    product.run::<true, _>(&super::tile::Avx2::new(), output);
}

impl Product<'_> {
    fn check(&self, output: usize) {
        assert_eq!(self.rows.width, self.weights.inputs(), "rows and weights differ in width");
        assert!(self.bias.is_empty() || self.bias.len() == self.weights.outputs());
        assert_eq!(output, self.rows.scales.len() * self.weights.outputs());
        assert_eq!(self.rows.values.len(), self.rows.scales.len() * self.rows.stride());
    }

    #[inline(always)]
    fn run<const FUSED: bool, T: Tile>(&self, tile: &T, output: &mut [f32]) {
        let (stride, outputs) = (self.rows.stride(), self.weights.outputs());
        let bands = self.rows.values.chunks(BAND * stride).zip(self.rows.scales.chunks(BAND));
        for ((values, scales), output) in bands.zip(output.chunks_mut(BAND * outputs)) {
            for panel in 0..outputs.div_ceil(COLUMNS) {
                let columns = Columns::of(self, panel);
                let output = &mut output[panel * COLUMNS..];
                let groups = values.chunks(ROWS * stride).zip(scales.chunks(ROWS));
                for ((values, scales), output) in groups.zip(output.chunks_mut(ROWS * outputs)) {
                    let group = Group { values, stride, scales, output, outputs };
                    match scales.len() {
                        6 => columns.fill::<FUSED, 6, T>(tile, group),
                        5 => columns.fill::<FUSED, 5, T>(tile, group),
                        4 => columns.fill::<FUSED, 4, T>(tile, group),
                        3 => columns.fill::<FUSED, 3, T>(tile, group),
                        2 => columns.fill::<FUSED, 2, T>(tile, group),
                        _ => columns.fill::<FUSED, 1, T>(tile, group),
                    }
                }
            }
        }
    }
}

/// What a panel's 16 outputs share.
struct Columns<'a> {
    weights: &'a [i8],
    scales: [f32; COLUMNS],
    bias: [f32; COLUMNS],
    /// 16, or fewer in the last panel.
    count: usize,
    activation: Activation,
}

/// A few rows and where their results go.
struct Group<'a> {
    values: &'a [i16],
    stride: usize,
    scales: &'a [f32],
    /// From the panel's first column on.
    output: &'a mut [f32],
    outputs: usize,
}

impl<'a> Columns<'a> {
    #[inline(always)]
    fn of(product: &Product<'a>, panel: usize) -> Self {
        let weights = product.weights;
        let first = panel * COLUMNS;
        let count = COLUMNS.min(weights.outputs() - first);
        let bias = if product.bias.is_empty() { &[] } else { &product.bias[first..first + count] };
        Self {
            weights: weights.panel(panel),
            scales: padded(&weights.scales[first..]),
            bias: padded(bias),
            count,
            activation: product.activation,
        }
    }

    #[inline(always)]
    fn fill<const FUSED: bool, const R: usize, T: Tile>(&self, tile: &T, group: Group<'_>) {
        let sums = tile.sums::<R>(group.values, group.stride, self.weights);
        let rows = group.output.chunks_mut(group.outputs).zip(group.scales);
        for ((row, scale), sums) in rows.zip(&sums) {
            let numbers =
                finished::<FUSED>(sums, *scale, &self.scales, &self.bias, self.activation);
            write(&numbers, &mut row[..self.count]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{finish, quantize};
    use super::*;

    const ACTIVATIONS: [Activation; 4] =
        [Activation::Identity, Activation::Gelu, Activation::GeluTanh, Activation::Relu];

    /// Rows of steps and weights, given as bytes; every row has the step 1 and the weights' scales are powers of 2.
    fn quantized(
        width: usize,
        rows: &[u8],
        zero: u8,
        weights: &[i8],
    ) -> (QuantizedRows, PackedWeights) {
        let mut steps = QuantizedRows { width, ..QuantizedRows::default() };
        for row in rows.chunks_exact(width) {
            steps.values.extend(row.iter().map(|x| i16::from(*x) - i16::from(zero)));
            steps.values.resize(steps.values.len().next_multiple_of(steps.stride()), 0);
            steps.scales.push(1.0);
            steps.zeros.push(zero);
        }
        let scales: Vec<f32> =
            (0..weights.len() / width).map(|o| [1.0, 0.5, 0.25][o % 3]).collect();
        (steps, PackedWeights::new(weights, &scales, width))
    }

    /// What `finish` makes of sums by their definition.
    fn twin(
        rows: &QuantizedRows,
        values: &[i8],
        weights: &PackedWeights,
        bias: &[f32],
        activation: Activation,
    ) -> Vec<f32> {
        let mut sums = Vec::new();
        for row in rows.values.chunks_exact(rows.stride()) {
            for weights in values.chunks_exact(rows.width) {
                let products = row.iter().zip(weights).map(|(x, w)| i64::from(*x) * i64::from(*w));
                sums.push(i32::try_from(products.sum::<i64>()).unwrap());
            }
        }
        let mut output = vec![f32::NAN; sums.len()];
        let scales = &weights.scales[..weights.outputs()];
        finish(Level::available()[0], &sums, &rows.scales, scales, bias, activation, &mut output);
        output
    }

    #[track_caller]
    fn check(rows: &QuantizedRows, values: &[i8], weights: &PackedWeights, bias: &[f32]) {
        for activation in ACTIVATIONS {
            let expected = twin(rows, values, weights, bias, activation);
            for level in Level::available() {
                let mut found = vec![f32::NAN; expected.len()];
                product(level, Product { rows, weights, bias, activation }, &mut found);
                for (found, expected) in found.iter().zip(&expected) {
                    let exact = matches!(activation, Activation::Identity | Activation::Relu);
                    let slack = if exact { 0.0 } else { 1e-6 * (1.0 + expected.abs()) };
                    assert!(
                        (found - expected).abs() <= slack,
                        "{level} {activation:?}: {found}, expected {expected}"
                    );
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_level_gives_the_exact_sums(
            (width, rows, weights) in (1_usize..70, 0_usize..15, 1_usize..40).prop_flat_map(|(width, rows, outputs)| {
                let weight = prop_oneof![Just(-127_i8), Just(127), -127_i8..=127];
                let rows = prop::collection::vec(prop_oneof![Just(255_u8), any::<u8>()], width * rows);
                (Just(width), rows, prop::collection::vec(weight, width * outputs))
            }),
            zero in prop_oneof![Just(0_u8), Just(255), any::<u8>()],
        ) {
            let (rows, packed) = quantized(width, &rows, zero, &weights);
            let bias: Vec<f32> = (0..packed.outputs()).map(|o| o as f32 - 7.5).collect();
            check(&rows, &weights, &packed, &bias);
        }
    }

    #[test]
    fn the_widest_rows_of_extremes_do_not_overflow() {
        for (x, zero, weight) in [(255, 0, 127), (255, 0, -127), (0, 255, 127), (0, 255, -127)] {
            for width in [1536, super::super::MOST_INPUTS] {
                let weights = vec![weight; 3 * width];
                let (rows, packed) = quantized(width, &vec![x; 2 * width], zero, &weights);
                check(&rows, &weights, &packed, &[0.0; 3]);
            }
        }
    }

    #[test]
    fn a_row_has_the_bits_it_has_among_others_and_no_bias_is_zeros() {
        let wave = |i: usize| (i as f32 * 0.7).sin() * (1.0 + (i % 11) as f32);
        let (width, outputs, n) = (37, 50, 2 * BAND + 5);
        let numbers: Vec<f32> = (0..n * width).map(wave).collect();
        let weights: Vec<i8> = (0..outputs * width).map(|i| (i * 89 % 255) as i8).collect();
        let packed = PackedWeights::new(&weights, &vec![0.01; outputs], width);
        let run = |level, numbers: &[f32], bias: &[f32]| {
            let mut rows = QuantizedRows::default();
            quantize(level, numbers, width, &mut rows);
            let mut output = vec![0.0; rows.scales.len() * outputs];
            let activation = Activation::Gelu;
            product(
                level,
                Product { rows: &rows, weights: &packed, bias, activation },
                &mut output,
            );
            output
        };
        for level in Level::available() {
            let together = run(level, &numbers, &[]);
            assert_eq!(run(level, &numbers, &vec![0.0; outputs]), together);
            for (row, together) in numbers.chunks(width).zip(together.chunks(outputs)) {
                assert_eq!(run(level, row, &[]), together);
            }
        }
    }

    #[test]
    #[should_panic(expected = "differ in width")]
    fn rows_of_another_width_are_a_bug() {
        let weights = PackedWeights::new(&[1, 2], &[1.0], 2);
        let rows = QuantizedRows { width: 3, ..QuantizedRows::default() };
        let activation = Activation::Identity;
        product(
            Level::best(),
            Product { rows: &rows, weights: &weights, bias: &[], activation },
            &mut [],
        );
    }
}
