//! The product: rows by panels of weights, tile by tile, each tile finished while its sums are at hand.

use std::mem::MaybeUninit;

use super::finish::finished;
use super::tile::{Portable, ROWS, Tile};
use super::{Form, PackedWeights, QuantizedRows};
use crate::Level;
use crate::columns::{Activation, COLUMNS, padded, write};
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
/// `output`: rows of `stride` numbers, of which the first `outputs` are written; the last may end behind those.
///
/// # Panics
/// When a length does not fit.
pub fn product(level: Level, product: Product<'_>, output: &mut [f32], stride: usize) {
    product.check(level, output.len(), stride);
    match level.0 {
        Instructions::Portable => product.words::<false, _>(&Portable, output, stride),
        #[cfg(target_arch = "aarch64")]
        Instructions::Neon => product.words::<true, _>(&Portable, output, stride),
        // SAFETY: a level exists only where the CPU has it, and that of AVX-512 includes AVX2.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 | Instructions::Avx512 => unsafe { avx2(product, output, stride) },
        // SAFETY: a level exists only where the CPU has it, and that of bfloat16 includes VNNI.
        #[cfg(target_arch = "x86_64")]
        Instructions::Vnni | Instructions::Bfloat16 => unsafe { vnni(product, output, stride) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(product: Product<'_>, output: &mut [f32], stride: usize) {
    product.words::<true, _>(&super::tile::Avx2::new(), output, stride);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn vnni(product: Product<'_>, output: &mut [f32], stride: usize) {
    product.run::<true, _>(&super::tile::Vnni::new(), &product.rows.bytes, output, stride);
}

impl Product<'_> {
    fn check(&self, level: Level, output: usize, output_stride: usize) {
        let (rows, weights) = (self.rows, self.weights);
        assert_eq!(rows.width, weights.inputs(), "rows and weights differ in width");
        assert!(
            rows.scales.is_empty() || rows.form == Form::of(level),
            "rows were made for another level"
        );
        assert_eq!(weights.form, Form::of(level), "weights were packed for another level");
        assert!(self.bias.is_empty() || self.bias.len() == weights.outputs());
        let outputs = weights.outputs();
        assert!(output_stride >= outputs, "rows of {output_stride} for {outputs} outputs");
        let last = rows.scales.len().checked_sub(1);
        let needed = last.map_or(0, |last| last * output_stride + outputs);
        assert!(output >= needed, "{output} numbers for a result that needs {needed}");
        assert_eq!(rows.words.len() + rows.bytes.len(), rows.scales.len() * rows.stride());
        assert_eq!(rows.zeros.len(), rows.scales.len());
    }

    #[inline(always)]
    fn words<const FUSED: bool, T: Tile<Step = i16>>(
        &self,
        tile: &T,
        output: &mut [f32],
        output_stride: usize,
    ) {
        self.run::<FUSED, T>(tile, &self.rows.words, output, output_stride);
    }

    /// Band by band; in a band, strip of panels by strip; in a strip, a few rows at a time.
    #[inline(always)]
    fn run<const FUSED: bool, T: Tile>(
        &self,
        tile: &T,
        values: &[T::Step],
        output: &mut [f32],
        output_stride: usize,
    ) {
        let (stride, outputs) = (self.rows.stride(), self.weights.outputs());
        let parameters = self.rows.scales.chunks(BAND).zip(self.rows.zeros.chunks(BAND));
        let bands = values.chunks(BAND * stride).zip(parameters);
        for ((values, (scales, zeros)), output) in
            bands.zip(output.chunks_mut(BAND * output_stride))
        {
            let panels = outputs.div_ceil(COLUMNS);
            for first in (0..panels).step_by(T::PANELS) {
                let output = &mut output[first * COLUMNS..];
                let band = Rows { values, stride, scales, zeros, output, output_stride };
                match T::PANELS.min(panels - first) {
                    4 => self.strip::<FUSED, 4, T>(tile, first, band),
                    3 => self.strip::<FUSED, 3, T>(tile, first, band),
                    2 => self.strip::<FUSED, 2, T>(tile, first, band),
                    _ => self.strip::<FUSED, 1, T>(tile, first, band),
                }
            }
        }
    }

    #[inline(always)]
    fn strip<const FUSED: bool, const P: usize, T: Tile>(
        &self,
        tile: &T,
        first: usize,
        band: Rows<'_, T::Step>,
    ) {
        let Rows { values, stride, scales, zeros, output, output_stride } = band;
        let strip = Strip::<P>::of(self, first);
        let parameters = scales.chunks(ROWS).zip(zeros.chunks(ROWS));
        let groups = values.chunks(ROWS * stride).zip(parameters);
        for ((values, (scales, zeros)), output) in
            groups.zip(output.chunks_mut(ROWS * output_stride))
        {
            let group = Rows { values, stride, scales, zeros, output, output_stride };
            match scales.len() {
                6 => strip.fill::<FUSED, 6, T>(tile, group),
                5 => strip.fill::<FUSED, 5, T>(tile, group),
                4 => strip.fill::<FUSED, 4, T>(tile, group),
                3 => strip.fill::<FUSED, 3, T>(tile, group),
                2 => strip.fill::<FUSED, 2, T>(tile, group),
                _ => strip.fill::<FUSED, 1, T>(tile, group),
            }
        }
    }
}

/// Panels that are read together.
struct Strip<'a, const P: usize> {
    weights: &'a [i8],
    columns: [Columns; P],
    activation: Activation,
}

/// What a panel's 16 outputs have each.
struct Columns {
    scales: [f32; COLUMNS],
    bias: [f32; COLUMNS],
    sums: [i32; COLUMNS],
    /// 16, or fewer in the last panel.
    count: usize,
}

/// Some rows and where their results go.
struct Rows<'a, Step> {
    values: &'a [Step],
    stride: usize,
    scales: &'a [f32],
    zeros: &'a [u8],
    /// From the strip's first column on.
    output: &'a mut [f32],
    output_stride: usize,
}

impl Columns {
    #[inline(always)]
    fn of(product: &Product<'_>, panel: usize) -> Self {
        let weights = product.weights;
        let first = panel * COLUMNS;
        let count = COLUMNS.min(weights.outputs() - first);
        let bias = if product.bias.is_empty() { &[] } else { &product.bias[first..first + count] };
        Self {
            scales: padded(&weights.scales[first..]),
            bias: padded(bias),
            sums: padded(&weights.sums[first..]),
            count,
        }
    }
}

impl<'a, const P: usize> Strip<'a, P> {
    #[inline(always)]
    fn of(product: &Product<'a>, first: usize) -> Self {
        Self {
            weights: product.weights.panels(first, P),
            columns: std::array::from_fn(
                #[inline(always)]
                |p| Columns::of(product, first + p),
            ),
            activation: product.activation,
        }
    }

    #[inline(always)]
    fn fill<const FUSED: bool, const R: usize, T: Tile>(&self, tile: &T, group: Rows<'_, T::Step>) {
        let mut sums = MaybeUninit::uninit();
        let sums = tile.add_up::<R, P>(group.values, group.stride, self.weights, &mut sums);
        let rows =
            group.output.chunks_mut(group.output_stride).zip(group.scales.iter().zip(group.zeros));
        for ((row, (scale, zero)), sums) in rows.zip(&mut sums.0) {
            for (p, (columns, sums)) in self.columns.iter().zip(sums).enumerate() {
                if T::FROM_LEAST {
                    for (sum, weights) in sums.iter_mut().zip(&columns.sums) {
                        *sum -= i32::from(*zero) * weights;
                    }
                }
                let Columns { scales, bias, count, .. } = columns;
                let numbers = finished::<FUSED>(sums, *scale, scales, bias, self.activation);
                write(&numbers, &mut row[p * COLUMNS..][..*count]);
            }
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

    /// Rows of steps counted from `zero` and weights; every row has the step 1, the weights' scales are powers of 2.
    struct Given<'a> {
        width: usize,
        rows: &'a [u8],
        zero: u8,
        weights: &'a [i8],
        bias: &'a [f32],
    }

    impl Given<'_> {
        fn outputs(&self) -> usize {
            self.weights.len() / self.width
        }

        fn scales(&self) -> Vec<f32> {
            (0..self.outputs()).map(|o| [1.0, 0.5, 0.25][o % 3]).collect()
        }

        fn quantized(&self, level: Level) -> QuantizedRows {
            let form = Form::of(level);
            let mut rows = QuantizedRows { width: self.width, form, ..QuantizedRows::default() };
            let stride = rows.stride();
            for row in self.rows.chunks_exact(self.width) {
                rows.scales.push(1.0);
                rows.zeros.push(self.zero);
                let end = rows.scales.len() * stride;
                match form {
                    Form::Bytes => {
                        rows.bytes.extend(row);
                        // The weights behind the last input are zeros, so what the row has there does not matter.
                        rows.bytes.resize(end, 77);
                    }
                    Form::Words => {
                        rows.words.extend(row.iter().map(|x| i16::from(*x) - i16::from(self.zero)));
                        rows.words.resize(end, 77);
                    }
                }
            }
            rows
        }

        /// What `finish` makes of sums by their definition.
        fn expected(&self, activation: Activation) -> Vec<f32> {
            let zero = i64::from(self.zero);
            let mut sums = Vec::new();
            for row in self.rows.chunks_exact(self.width) {
                for weights in self.weights.chunks_exact(self.width) {
                    let products = row
                        .iter()
                        .zip(weights)
                        .map(|(x, w)| (i64::from(*x) - zero) * i64::from(*w));
                    sums.push(i32::try_from(products.sum::<i64>()).unwrap());
                }
            }
            let mut output = vec![f32::NAN; sums.len()];
            let row_scales = vec![1.0; self.rows.len() / self.width];
            let scales = self.scales();
            let portable = Level::available()[0];
            finish(portable, &sums, &row_scales, &scales, self.bias, activation, &mut output);
            output
        }

        #[track_caller]
        fn check(&self) {
            for activation in ACTIVATIONS {
                let expected = self.expected(activation);
                for level in Level::available() {
                    let rows = self.quantized(level);
                    let weights =
                        PackedWeights::new(level, self.weights, &self.scales(), self.width);
                    let (rows, weights, bias) = (&rows, &weights, self.bias);
                    let mut found = vec![f32::NAN; expected.len()];
                    let product_of = Product { rows, weights, bias, activation };
                    product(level, product_of, &mut found, self.outputs());
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
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_level_gives_the_exact_sums(
            (width, rows, weights) in (1_usize..70, 0_usize..15, 1_usize..90).prop_flat_map(|(width, rows, outputs)| {
                let weight = prop_oneof![Just(-127_i8), Just(127), -127_i8..=127];
                let rows = prop::collection::vec(prop_oneof![Just(255_u8), any::<u8>()], width * rows);
                (Just(width), rows, prop::collection::vec(weight, width * outputs))
            }),
            zero in prop_oneof![Just(0_u8), Just(255), any::<u8>()],
        ) {
            let bias: Vec<f32> = (0..weights.len() / width).map(|o| o as f32 - 7.5).collect();
            Given { width, rows: &rows, zero, weights: &weights, bias: &bias }.check();
        }
    }

    #[test]
    fn the_widest_rows_of_extremes_do_not_overflow() {
        for (x, zero, weight) in [(255, 0, 127), (255, 0, -127), (0, 255, 127), (0, 255, -127)] {
            for width in [1536, super::super::MOST_INPUTS] {
                let weights = vec![weight; 3 * width];
                let rows = &*vec![x; 2 * width];
                Given { width, rows, zero, weights: &weights, bias: &[0.0; 3] }.check();
            }
        }
    }

    #[test]
    fn a_row_has_the_bits_it_has_among_others_and_no_bias_is_zeros() {
        let wave = |i: usize| (i as f32 * 0.7).sin() * (1.0 + (i % 11) as f32);
        let (width, outputs, n) = (37, 50, 2 * BAND + 5);
        let numbers: Vec<f32> = (0..n * width).map(wave).collect();
        let weights: Vec<i8> = (0..outputs * width).map(|i| (i * 89 % 255) as i8).collect();
        let run = |level, numbers: &[f32], bias: &[f32]| {
            let packed = PackedWeights::new(level, &weights, &vec![0.01; outputs], width);
            let mut rows = QuantizedRows::default();
            quantize(level, numbers, width, &mut rows);
            let mut output = vec![0.0; rows.scales.len() * outputs];
            let activation = Activation::Gelu;
            product(
                level,
                Product { rows: &rows, weights: &packed, bias, activation },
                &mut output,
                outputs,
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
    fn results_may_stand_within_wider_rows() {
        let numbers: Vec<f32> = (0..20 * 9).map(|i| (i as f32 * 0.7).sin()).collect();
        let weights: Vec<i8> = (0..33 * 9).map(|i| (i * 89 % 255) as i8).collect();
        let activation = Activation::Identity;
        for level in Level::available() {
            let weights = PackedWeights::new(level, &weights, &[0.01; 33], 9);
            let mut rows = QuantizedRows::default();
            quantize(level, &numbers, 9, &mut rows);
            let of = Product { rows: &rows, weights: &weights, bias: &[], activation };
            let (mut alone, mut within) = (vec![0.0; 20 * 33], vec![7.0; 19 * 50 + 33]);
            product(level, of, &mut alone, 33);
            product(level, of, &mut within, 50);
            for (alone, within) in alone.chunks(33).zip(within.chunks(50)) {
                assert_eq!(alone, &within[..33]);
                assert!(within[33..].iter().all(|x| *x == 7.0));
            }
        }
    }

    #[test]
    #[should_panic(expected = "differ in width")]
    fn rows_of_another_width_are_a_bug() {
        let weights = PackedWeights::new(Level::best(), &[1, 2], &[1.0], 2);
        let rows = QuantizedRows { width: 3, ..QuantizedRows::default() };
        let activation = Activation::Identity;
        product(
            Level::best(),
            Product { rows: &rows, weights: &weights, bias: &[], activation },
            &mut [],
            1,
        );
    }
}
