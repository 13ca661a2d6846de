//! Matrices in 8 bits: whole numbers and one scale a row.
//!
//! Separate from what multiplies them and from what stores them, so that both mean the same numbers: a matrix
//! rounded when a model is opened equals the one that `hpd export --int8` wrote.

/// `[rows, columns]` numbers `values · scale of the row`. Rows are outputs of a linear layer, or words of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedMatrix {
    /// Row-major, each between -127 and 127.
    pub values: Vec<i8>,
    /// One a row, 0 for a row of zeros.
    pub scales: Vec<f32>,
    /// Numbers in a row.
    pub columns: usize,
}

/// Largest whole number; -128 stays unused so that a weight and its opposite round alike.
const LARGEST: f32 = 127.0;

impl QuantizedMatrix {
    /// Rounds each row to the nearest multiples of its largest magnitude divided by 127.
    ///
    /// # Shapes
    /// `weights` is `[rows, columns]`, finite numbers.
    pub fn quantize(weights: &[f32], columns: usize) -> Self {
        let scale = |row: &[f32]| {
            let scale = row.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / LARGEST;
            // Of the largest floats there are, the scale may have been rounded up past what can be multiplied back.
            if (scale * LARGEST).is_finite() { scale } else { scale.next_down() }
        };
        let scales: Vec<f32> = weights.chunks_exact(columns).map(scale).collect();
        let rows = weights.chunks_exact(columns).zip(&scales);
        let values = rows.flat_map(|(row, scale)| row.iter().map(|x| round(*x, *scale))).collect();
        Self { values, scales, columns }
    }

    /// The numbers that a row stands for, `[columns]`.
    pub fn row(&self, row: usize) -> impl Iterator<Item = f32> {
        let values = &self.values[row * self.columns..][..self.columns];
        let scale = self.scales[row];
        values.iter().map(move |value| f32::from(*value) * scale)
    }

    /// The numbers it stands for, `[rows, columns]`.
    pub fn dequantize(&self) -> Vec<f32> {
        let mut numbers = Vec::with_capacity(self.values.len());
        (0..self.scales.len()).for_each(|row| numbers.extend(self.row(row)));
        numbers
    }
}

fn round(x: f32, scale: f32) -> i8 {
    if scale == 0.0 {
        return 0;
    }
    // A scale too small for its reciprocal is why this divides.
    (x / scale).round().clamp(-LARGEST, LARGEST) as i8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_number_moves_by_more_than_half_a_step(
            rows in prop::collection::vec(prop::array::uniform7(-1e3_f32..1e3), 1..9),
        ) {
            let weights: Vec<f32> = rows.concat();
            let matrix = QuantizedMatrix::quantize(&weights, 7);
            for (i, (found, expected)) in matrix.dequantize().iter().zip(&weights).enumerate() {
                prop_assert!((found - expected).abs() <= matrix.scales[i / 7] * 0.501);
            }
            // What was rounded once stays.
            prop_assert_eq!(QuantizedMatrix::quantize(&matrix.dequantize(), 7).values, matrix.values);
        }
    }

    #[test]
    fn extremes_keep_their_meaning() {
        let tiny = f32::MIN_POSITIVE;
        let matrix = QuantizedMatrix::quantize(&[0.0, -0.0, tiny, -tiny, f32::MAX, -f32::MAX], 2);
        assert_eq!(matrix.values[..2], [0, 0]);
        assert_eq!(matrix.values[4..], [127, -127]);
        assert_eq!(matrix.scales[0], 0.0);
        assert!(matrix.dequantize().iter().all(|x| x.is_finite()));
    }
}
