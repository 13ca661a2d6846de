//! Rows of f32 to 256 steps each.

use crate::kernel::kernel;

/// Steps between a row's least and greatest number.
pub const STEPS: f32 = 255.0;

/// Rows in whole steps: row `i` stands for `values · scales[i]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuantizedRows {
    /// `[rows, stride]`, each from `-zeros[i]` to `255 - zeros[i]`; zeros behind the row's own numbers.
    pub values: Vec<i16>,
    /// Size of a step, one a row.
    pub scales: Vec<f32>,
    /// Steps from the least number up to 0, one a row. Added to the values they make bytes.
    pub zeros: Vec<u8>,
    /// Numbers in a row as it was given.
    pub width: usize,
}

impl QuantizedRows {
    /// Numbers from one row to the next: the width, made even.
    pub fn stride(&self) -> usize {
        self.width.next_multiple_of(2)
    }

    fn resize(&mut self, rows: usize, width: usize) {
        self.width = width;
        self.values.resize(rows * self.stride(), 0);
        self.scales.resize(rows, 0.0);
        self.zeros.resize(rows, 0);
    }
}

kernel! {
    /// Rounds each row to steps of its own.
    ///
    /// The same bits at every level. A row of zeros, or of numbers too small for a step, becomes zeros with the scale 0.
    ///
    /// # Shapes
    /// `rows`: `[n, width]`; `output` becomes the same.
    ///
    /// # Panics
    /// When `width` is 0.
    pub fn quantize(rows: &[f32], width: usize, output: &mut QuantizedRows) {
        output.resize(rows.len() / width, width);
        let stride = output.stride();
        let parameters = output.scales.iter_mut().zip(&mut output.zeros);
        let steps = output.values.chunks_exact_mut(stride);
        for ((row, steps), (scale, zero)) in rows.chunks_exact(width).zip(steps).zip(parameters) {
            let (least, greatest) = range(row);
            let span = greatest - least;
            // Below, the number of steps in 1 would not be finite.
            let per_one = if span > STEPS * f32::MIN_POSITIVE { STEPS / span } else { 0.0 };
            let offset = nearest(-least * per_one);
            for (step, x) in steps.iter_mut().zip(row) {
                *step = nearest(x * per_one + f32::from(offset)) - offset;
            }
            steps[width..].fill(0);
            *scale = if per_one > 0.0 { span / STEPS } else { 0.0 };
            *zero = offset as u8;
        }
    }
}

/// The least and the greatest number of a row, 0 included.
#[inline(always)]
fn range(row: &[f32]) -> (f32, f32) {
    const LANES: usize = 16;
    let (whole, rest) = row.as_chunks::<LANES>();
    let (mut least, mut greatest) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    for chunk in whole {
        // Copies, since the compiler keeps only what nothing else points to in vector registers.
        let (mut low, mut high) = (least, greatest);
        for lane in 0..LANES {
            low[lane] = if chunk[lane] < low[lane] { chunk[lane] } else { low[lane] };
            high[lane] = if chunk[lane] > high[lane] { chunk[lane] } else { high[lane] };
        }
        (least, greatest) = (low, high);
    }
    for (lane, x) in rest.iter().enumerate() {
        least[lane] = least[lane].min(*x);
        greatest[lane] = greatest[lane].max(*x);
    }
    (least.into_iter().fold(0.0, f32::min), greatest.into_iter().fold(0.0, f32::max))
}

/// The nearest of 0, 1 … 255.
#[inline(always)]
fn nearest(x: f32) -> i16 {
    // Adding 1.5 · 2^23 leaves no bits for fractions, so the addition itself rounds, and the lowest bits are the
    // number. A cast would cost more than all of the rest: it has to ask for NaN and for what does not fit.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < STEPS { x } else { STEPS };
    let x = if x > 0.0 { x } else { 0.0 };
    ((x + ROUND).to_bits() & 0xff) as i16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Level;

    proptest! {
        #[test]
        fn no_number_moves_by_more_than_a_step_and_levels_agree(
            (width, rows) in (1_usize..70, 0_usize..4, -20_i32..20).prop_flat_map(|(width, rows, size)| {
                let size = 2_f32.powi(size);
                (Just(width), prop::collection::vec(-size..3.0 * size, width * rows))
            }),
        ) {
            let mut twin = QuantizedRows::default();
            quantize(Level::available()[0], &rows, width, &mut twin);
            for (i, x) in rows.iter().enumerate() {
                let (row, column) = (i / width, i % width);
                let step = twin.values[row * twin.stride() + column];
                prop_assert!((0..256).contains(&(step + i16::from(twin.zeros[row]))));
                prop_assert!((x - f32::from(step) * twin.scales[row]).abs() <= 1.01 * twin.scales[row]);
            }
            for level in Level::available() {
                let mut found = QuantizedRows { values: vec![7; 999], ..QuantizedRows::default() };
                quantize(level, &rows, width, &mut found);
                prop_assert_eq!(&found, &twin, "{}", level);
            }
        }
    }

    #[test]
    fn zeros_stay_zeros_and_extremes_stay_within_bytes() {
        for level in Level::available() {
            let mut found = QuantizedRows::default();
            let rows = [0.0, -0.0, 0.0, 1e-44, 1.0, 2.0, -1.0, -3.0, -1e38, 1e38, -0.001, 1e6];
            quantize(level, &rows, 2, &mut found);
            assert_eq!(found.values[..8], [0, 0, 0, 0, 128, 255, -85, -255]);
            assert_eq!(found.values[8..], [-128, 127, 0, 255]);
            assert_eq!((found.zeros[3], found.zeros[4]), (255, 128));
            assert_eq!(found.scales[..2], [0.0, 0.0]);
            for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                quantize(level, &[odd, 1.0, -f32::MAX, f32::MAX], 2, &mut found);
                let steps = found.values.chunks(2).zip(&found.zeros);
                for (steps, zero) in steps {
                    assert!(steps.iter().all(|step| (0..256).contains(&(step + i16::from(*zero)))));
                }
            }
        }
    }
}
