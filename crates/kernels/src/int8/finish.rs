//! From whole sums to f32: scale of the row times scale of the output, bias, activation.

use crate::columns::{Activation, COLUMNS, padded, write};
use crate::kernel::kernel;

kernel! {
    /// Turns sums that a library made into numbers, as [`product()`](super::product()) does with its own.
    ///
    /// # Shapes
    /// `sums`, `output`: `[n, outputs]`; `row_scales`: `[n]`; `scales`: `[outputs]`; `bias`:
    /// `[outputs]`, or empty for none.
    pub fn finish(
        sums: &[i32],
        row_scales: &[f32],
        scales: &[f32],
        bias: &[f32],
        activation: Activation,
        output: &mut [f32],
    ) {
        let outputs = scales.len();
        assert!(sums.len() == output.len() && (bias.is_empty() || bias.len() == outputs));
        assert_eq!(sums.len(), row_scales.len() * outputs);
        let rows = sums.chunks_exact(outputs).zip(output.chunks_exact_mut(outputs));
        for ((sums, output), row_scale) in rows.zip(row_scales) {
            for (piece, output) in output.chunks_mut(COLUMNS).enumerate() {
                let columns = piece * COLUMNS..piece * COLUMNS + output.len();
                let scales = padded(&scales[columns.clone()]);
                let bias = if bias.is_empty() { [0.0; COLUMNS] } else { padded(&bias[columns.clone()]) };
                let sums = padded(&sums[columns]);
                write(&finished::<FUSED>(&sums, *row_scale, &scales, &bias, activation), output);
            }
        }
    }
}

/// 16 sums of one row. Without fused multiplication up to the activation, so that levels agree in every bit.
#[inline(always)]
pub(super) fn finished<const FUSED: bool>(
    sums: &[i32; COLUMNS],
    row_scale: f32,
    scales: &[f32; COLUMNS],
    bias: &[f32; COLUMNS],
    activation: Activation,
) -> [f32; COLUMNS] {
    let mut x = [0.0; COLUMNS];
    for c in 0..COLUMNS {
        x[c] = sums[c] as f32 * (row_scale * scales[c]) + bias[c];
    }
    activation.apply::<FUSED>(&mut x);
    x
}
