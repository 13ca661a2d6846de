//! The matrix products of a training step, cut for threads.
//!
//! Separate because burn's own product spins on barriers between its threads: beside other programs, or with more
//! threads than cores, most of the machine waits. These products are cut into pieces that rayon's pool shares. A
//! piece is cut by size alone and each number is summed in one order, so the number of threads leaves no trace.

use hpd_kernels::float::{self, Numbers, Panels, Product, RowScratch, View};
use hpd_kernels::{Activation, Level};
use rayon::prelude::*;

/// Columns that are packed at once: a few tens of microseconds for a thread.
const COLUMNS: usize = 96;

/// Rows that are multiplied at once: many enough for the panels' trip through the cache, few enough to share evenly.
const ROWS: usize = 96;

/// `out = a · b + bias`; an empty bias is none.
///
/// # Panics
/// When the shapes do not fit.
pub(super) fn product(a: View<'_>, b: View<'_>, bias: &[f32], numbers: Numbers, out: &mut [f32]) {
    let (level, [count, columns]) = (Level::best(), [a.shape()[0], b.shape()[1]]);
    assert_eq!(out.len(), count * columns, "the result has rows of a and columns of b");
    let blocks: Vec<Panels> = (0..columns.div_ceil(COLUMNS))
        .into_par_iter()
        .map(|block| Panels::new(level, numbers, b.columns(range(block, COLUMNS, columns))))
        .collect();
    let pieces = out.par_chunks_mut(ROWS * columns.max(1)).enumerate();
    pieces.for_each_init(RowScratch::default, |scratch, (piece, out)| {
        let rows = scratch.rows(level, numbers, a.rows(range(piece, ROWS, count)));
        for (block, panels) in blocks.iter().enumerate() {
            let columns_of = range(block, COLUMNS, columns);
            let bias = if bias.is_empty() { bias } else { &bias[columns_of.clone()] };
            let product = Product { rows, panels, bias, activation: Activation::Identity };
            float::product(level, product, &mut out[columns_of.start..], columns);
        }
    });
}

/// Piece `index` of `size`, of `count` in all.
fn range(index: usize, size: usize, count: usize) -> std::ops::Range<usize> {
    index * size..count.min((index + 1) * size)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_number_is_a_row_times_a_column(
            n in 1_usize..220, k in 0_usize..70, m in 1_usize..220, exchanged in any::<[bool; 2]>(),
            (with_bias, rounded) in any::<(bool, bool)>(),
        ) {
            let (a, b) = (numbers(n * k, 1), numbers(k * m, 2));
            let bias = if with_bias { numbers(m, 3) } else { Vec::new() };
            let of = |data, [rows, columns]: [usize; 2], exchanged: bool| match exchanged {
                false => View::new(data, [rows, columns]),
                true => View::new(data, [columns, rows]).transposed(),
            };
            let at = |data: &[f32], [rows, columns]: [usize; 2], exchanged: bool, i: usize, j: usize| match exchanged {
                false => f64::from(data[i * columns + j]),
                true => f64::from(data[j * rows + i]),
            };
            let (kind, slack) = if rounded { (Numbers::Bfloat16, 0.01) } else { (Numbers::Float32, 1e-5) };
            let mut found = vec![f32::NAN; n * m];
            product(of(&a, [n, k], exchanged[0]), of(&b, [k, m], exchanged[1]), &bias, kind, &mut found);
            for (i, found) in found.iter().enumerate() {
                let terms = (0..k).map(|l| at(&a, [n, k], exchanged[0], i / m, l) * at(&b, [k, m], exchanged[1], l, i % m));
                let expected = terms.sum::<f64>() + bias.get(i % m).map_or(0.0, |x| f64::from(*x));
                prop_assert!((f64::from(*found) - expected).abs() < slack * (1 + k) as f64);
            }
        }
    }
}
