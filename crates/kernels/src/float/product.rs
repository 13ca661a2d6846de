//! The product: rows by panels, tile by tile, each tile finished while its sums are at hand.

use super::rows::Rows;
use super::tile::{Portable, Tile};
use super::{Form, Panels};
use crate::Level;
use crate::columns::{Activation, COLUMNS, padded, write};
use crate::level::Instructions;
use crate::lines::Aligned;

/// Words of the rows that stay in a core's second cache while all panels pass by.
const BAND_WORDS: usize = 1 << 16;

/// What [`product()`] computes.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// `[n, depth]`.
    pub rows: Rows<'a>,
    /// `[depth, columns]`.
    pub panels: &'a Panels,
    /// `[columns]`, or empty for none.
    pub bias: &'a [f32],
    /// Applied last.
    pub activation: Activation,
}

/// `output = activation(rows · panels + bias)`.
///
/// # Shapes
/// `output`: rows of `stride` numbers, of which the first `columns` are written; the last may end behind those.
///
/// # Panics
/// When a length does not fit, or rows and panels were made for another level or in other numbers.
pub fn product(level: Level, product: Product<'_>, output: &mut [f32], stride: usize) {
    product.check(output.len(), stride);
    if product.rows.count == 0 || product.panels.columns == 0 {
        return;
    }
    match (level.0, product.panels.form) {
        #[cfg(target_arch = "x86_64")]
        (Instructions::Bfloat16, Form::Pair) => {
            // SAFETY: a level exists only where the CPU has it.
            unsafe { pairs(product, output, stride) }
        }
        (_, Form::Pair) => unreachable!("pairs are packed only for the level that multiplies them"),
        (Instructions::Portable, _) => product.run::<false, _>(&Portable::<false>, output, stride),
        #[cfg(target_arch = "aarch64")]
        (Instructions::Neon, _) => product.run::<true, _>(&Portable::<true>, output, stride),
        // SAFETY: a level exists only where the CPU has it.
        #[cfg(target_arch = "x86_64")]
        (Instructions::Avx2, _) => unsafe { avx2(product, output, stride) },
        #[cfg(target_arch = "x86_64")]
        (Instructions::Avx512 | Instructions::Vnni | Instructions::Bfloat16, _) => {
            // SAFETY: a level exists only where the CPU has it, and all of these include AVX-512F.
            unsafe { avx512(product, output, stride) }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(product: Product<'_>, output: &mut [f32], stride: usize) {
    product.run::<true, _>(&super::tile::Avx2::new(), output, stride);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(product: Product<'_>, output: &mut [f32], stride: usize) {
    product.run::<true, _>(&super::tile::Avx512::new(), output, stride);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn pairs(product: Product<'_>, output: &mut [f32], stride: usize) {
    product.run::<true, _>(&super::tile::Bfloat16::new(), output, stride);
}

impl Product<'_> {
    fn check(&self, output: usize, stride: usize) {
        let (rows, panels) = (self.rows, self.panels);
        assert_eq!(rows.depth, panels.depth, "rows and panels differ in the length of sums");
        assert_eq!(rows.form, panels.form, "rows and panels were made in different numbers");
        assert!(self.bias.is_empty() || self.bias.len() == panels.columns);
        assert!(stride >= panels.columns, "rows of {stride} for {} columns", panels.columns);
        let needed = rows.count.checked_sub(1).map_or(0, |last| last * stride + panels.columns);
        assert!(output >= needed, "{output} numbers for a result that needs {needed}");
    }

    /// Band of rows by band; in a band, strip of panels by strip; in a strip, a few rows at a time.
    #[inline(always)]
    fn run<const FUSED: bool, T: Tile>(&self, tile: &T, output: &mut [f32], stride: usize) {
        let (count, panels) = (self.rows.count, self.panels.columns.div_ceil(COLUMNS));
        let most = (BAND_WORDS / self.rows.steps().max(1)).next_multiple_of(COLUMNS);
        let band = count.div_ceil(count.div_ceil(most)).next_multiple_of(COLUMNS);
        for first_row in (0..count).step_by(band) {
            let rows = first_row..count.min(first_row + band);
            for first in (0..panels).step_by(T::PANELS) {
                let strip = (rows.clone(), first);
                match T::PANELS.min(panels - first) {
                    3 => self.strip::<FUSED, 3, T>(tile, strip, output, stride),
                    2 => self.strip::<FUSED, 2, T>(tile, strip, output, stride),
                    _ => self.strip::<FUSED, 1, T>(tile, strip, output, stride),
                }
            }
        }
    }

    #[inline(always)]
    fn strip<const FUSED: bool, const P: usize, T: Tile>(
        &self,
        tile: &T,
        (rows, first): (std::ops::Range<usize>, usize),
        output: &mut [f32],
        stride: usize,
    ) {
        let strip = Strip::<P>::of(self, first);
        let group = self.rows.together();
        for start in rows.clone().step_by(group) {
            let end = rows.end.min(start.saturating_add(group));
            // As even as they go, since a tile of one or two rows waits for its own sums.
            let tiles = (end - start).div_ceil(T::ROWS);
            for index in 0..tiles {
                let of = |index| start + (end - start) * index / tiles;
                let (row, next) = (of(index), of(index + 1));
                let output = &mut output[row * stride + first * COLUMNS..];
                match next - row {
                    8 => strip.fill::<FUSED, 8, T>(tile, self, row, output, stride),
                    7 => strip.fill::<FUSED, 7, T>(tile, self, row, output, stride),
                    6 => strip.fill::<FUSED, 6, T>(tile, self, row, output, stride),
                    5 => strip.fill::<FUSED, 5, T>(tile, self, row, output, stride),
                    4 => strip.fill::<FUSED, 4, T>(tile, self, row, output, stride),
                    3 => strip.fill::<FUSED, 3, T>(tile, self, row, output, stride),
                    2 => strip.fill::<FUSED, 2, T>(tile, self, row, output, stride),
                    _ => strip.fill::<FUSED, 1, T>(tile, self, row, output, stride),
                }
            }
        }
    }
}

/// Panels that are read together.
struct Strip<'a, const P: usize> {
    words: &'a [u32],
    bias: [[f32; COLUMNS]; P],
    /// Columns of each panel: 16, or fewer in the last.
    counts: [usize; P],
}

impl<'a, const P: usize> Strip<'a, P> {
    #[inline(always)]
    fn of(product: &Product<'a>, first: usize) -> Self {
        let panels = product.panels;
        let counts = std::array::from_fn(|p| COLUMNS.min(panels.columns - (first + p) * COLUMNS));
        let bias = std::array::from_fn(|p| {
            let start = (first + p) * COLUMNS;
            padded(if product.bias.is_empty() { &[] } else { &product.bias[start..][..counts[p]] })
        });
        let words = &panels.words[first * panels.panel()..][..P * panels.panel()];
        Self { words, bias, counts }
    }

    /// Computes `R` rows from `row` on into `output`, which begins with the first of them.
    #[inline(always)]
    fn fill<const FUSED: bool, const R: usize, T: Tile>(
        &self,
        tile: &T,
        product: &Product<'_>,
        row: usize,
        output: &mut [f32],
        stride: usize,
    ) {
        let mut sums = Aligned([[[0.0; COLUMNS]; P]; R]);
        tile.add_up::<R, P>(product.rows.from(row), self.words, &mut sums);
        for (output, sums) in output.chunks_mut(stride).zip(&mut sums.0) {
            for (p, numbers) in sums.iter_mut().enumerate() {
                for (x, bias) in numbers.iter_mut().zip(&self.bias[p]) {
                    *x += bias;
                }
                product.activation.apply::<FUSED>(numbers);
                write(numbers, &mut output[p * COLUMNS..][..self.counts[p]]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::form::alone;
    use super::super::{Numbers, RowScratch, View};
    use super::*;

    const KINDS: [Numbers; 2] = [Numbers::Float32, Numbers::Bfloat16];

    /// Numbers of both signs, no two rows alike.
    fn wave(count: usize, frequency: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * frequency).sin()).collect()
    }

    /// A matrix by its definition in f64, of numbers rounded as the product rounds them.
    fn expected(numbers: Numbers, a: View<'_>, b: View<'_>, bias: &[f32]) -> Vec<f64> {
        let number = |view: View<'_>, i, j| match numbers {
            Numbers::Float32 => f64::from(view.at(i, j)),
            Numbers::Bfloat16 => f64::from(f32::from_bits(alone::<true>(view.at(i, j)))),
        };
        let [[n, depth], [_, columns]] = [a.shape(), b.shape()];
        let at = |i: usize| {
            let (row, column) = (i / columns, i % columns);
            let terms = (0..depth).map(|k| number(a, row, k) * number(b, k, column));
            terms.sum::<f64>() + bias.get(column).map_or(0.0, |x| f64::from(*x))
        };
        (0..n * columns).map(at).collect()
    }

    /// The product of `a` and `b`, `a` packed from rows or from columns, in rows of `columns + gap`.
    fn found(
        level: Level,
        numbers: Numbers,
        a: View<'_>,
        b: View<'_>,
        bias: &[f32],
        gap: usize,
    ) -> Vec<f32> {
        let panels = Panels::new(level, numbers, b);
        let ([n, _], columns) = (a.shape(), panels.columns());
        let mut scratch = RowScratch::default();
        let rows = scratch.rows(level, numbers, a);
        let mut output = vec![f32::NAN; (n * (columns + gap)).saturating_sub(gap)];
        let activation = Activation::Identity;
        product(
            level,
            Product { rows, panels: &panels, bias, activation },
            &mut output,
            columns + gap,
        );
        let rows = output.chunks(columns + gap).map(|row| &row[..columns]);
        rows.flatten().copied().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn every_level_gives_the_sums_in_either_order_of_memory(
            (n, depth, columns) in (0_usize..40, 0_usize..50, 1_usize..80),
            (a_exchanged, b_exchanged, with_bias) in any::<(bool, bool, bool)>(),
            gap in 0_usize..3,
        ) {
            let (a, b) = (wave(n * depth, 0.7), wave(depth * columns, 0.37));
            let bias = if with_bias { wave(columns, 1.3) } else { Vec::new() };
            let view = |numbers, [rows, columns]: [usize; 2], exchanged| match exchanged {
                false => View::new(numbers, [rows, columns]),
                true => View::new(numbers, [columns, rows]).transposed(),
            };
            let (a, b) = (view(&a, [n, depth], a_exchanged), view(&b, [depth, columns], b_exchanged));
            for numbers in KINDS {
                let expected = expected(numbers, a, b, &bias);
                for level in Level::available() {
                    let found = found(level, numbers, a, b, &bias, gap);
                    prop_assert_eq!(found.len(), expected.len());
                    for (found, expected) in found.iter().zip(&expected) {
                        let slack = 1e-5 * (1.0 + expected.abs());
                        prop_assert!((f64::from(*found) - expected).abs() < slack, "{level} {numbers:?} {found} {expected}");
                    }
                }
            }
        }

        #[test]
        fn a_row_alone_is_that_row_among_others(n in 1_usize..40, depth in 1_usize..70, columns in 1_usize..60) {
            let (a, b) = (wave(n * depth, 0.7), wave(depth * columns, 0.37));
            for (level, numbers) in Level::available().into_iter().flat_map(|level| KINDS.map(|kind| (level, kind))) {
                let b = View::new(&b, [depth, columns]);
                let together = found(level, numbers, View::new(&a, [n, depth]), b, &[], 0);
                for (row, together) in a.chunks(depth).zip(together.chunks(columns)) {
                    let alone = found(level, numbers, View::new(row, [1, depth]), b, &[], 0);
                    prop_assert_eq!(&alone, together);
                }
            }
        }
    }

    #[test]
    fn activations_come_last_at_every_level() {
        let (a, b, bias) = (wave(20 * 9, 0.7), wave(9 * 33, 0.37), wave(33, 1.1));
        let (a, b) = (View::new(&a, [20, 9]), View::new(&b, [9, 33]));
        let sums = expected(Numbers::Float32, a, b, &bias);
        for level in Level::available() {
            let panels = Panels::new(level, Numbers::Float32, b);
            let mut output = vec![f32::NAN; 20 * 33];
            let mut scratch = RowScratch::default();
            let rows = scratch.rows(level, Numbers::Float32, a);
            let activation = Activation::Relu;
            product(
                level,
                Product { rows, panels: &panels, bias: &bias, activation },
                &mut output,
                33,
            );
            for (found, sum) in output.iter().zip(&sums) {
                assert!((f64::from(*found) - sum.max(0.0)).abs() < 1e-5, "{level}");
            }
        }
    }
}
