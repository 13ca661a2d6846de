//! Rows of f32 to 256 steps each.

use super::Form;
use crate::Level;
use crate::kernel::kernel;

/// Steps between a row's least and greatest number.
pub const STEPS: f32 = 255.0;

/// Rows in whole steps: row `i` stands for `(bytes - zeros[i]) · scales[i]`.
#[derive(Clone, Debug, Default)]
pub struct QuantizedRows {
    /// `[rows, stride]` in [`Form::Words`], each from `-zeros[i]` to `255 - zeros[i]`; zeros behind the row's own numbers.
    pub(super) words: Vec<i16>,
    /// `[rows, stride]` in [`Form::Bytes`]; zeros behind the row's own numbers.
    pub(super) bytes: Vec<u8>,
    /// Which of the two holds the rows.
    pub(super) form: Form,
    /// Size of a step, one a row.
    pub scales: Vec<f32>,
    /// Steps from the least number up to 0, one a row.
    pub zeros: Vec<u8>,
    /// Numbers in a row as it was given.
    pub width: usize,
}

impl QuantizedRows {
    /// Appends the rows as bytes counted from each row's least number, `[rows, width]`.
    pub fn write_bytes(&self, output: &mut Vec<u8>) {
        let (stride, width) = (self.stride(), self.width);
        match self.form {
            Form::Bytes => {
                self.bytes.chunks_exact(stride).for_each(|row| output.extend(&row[..width]))
            }
            Form::Words => {
                for (row, zero) in self.words.chunks_exact(stride).zip(&self.zeros) {
                    output.extend(row[..width].iter().map(|step| (step + i16::from(*zero)) as u8));
                }
            }
        }
    }

    /// Numbers from one row to the next.
    pub(super) fn stride(&self) -> usize {
        self.width.next_multiple_of(self.form.inputs())
    }

    fn resize(&mut self, form: Form, rows: usize, width: usize) {
        (self.form, self.width) = (form, width);
        let numbers = rows * self.stride();
        self.words.resize(if form == Form::Words { numbers } else { 0 }, 0);
        self.bytes.resize(if form == Form::Bytes { numbers } else { 0 }, 0);
        self.scales.resize(rows, 0.0);
        self.zeros.resize(rows, 0);
    }
}

/// Rounds each row to steps of its own, for products at `level`.
///
/// The same steps at every level. A row of zeros, or of numbers too small for a step, becomes zeros with the scale 0.
///
/// # Shapes
/// `rows`: `[n, width]`; `output` becomes the same.
///
/// # Panics
/// When `width` is 0.
pub fn quantize(level: Level, rows: &[f32], width: usize, output: &mut QuantizedRows) {
    output.resize(Form::of(level), rows.len() / width, width);
    round(level, rows, output);
}

kernel! {
    /// Fills `output`, which has its form and size.
    pub(super) fn round(rows: &[f32], output: &mut QuantizedRows) {
        let (stride, width, form) = (output.stride(), output.width, output.form);
        let QuantizedRows { words, bytes, scales, zeros, .. } = output;
        let parameters = rows.chunks_exact(width).zip(scales).zip(zeros);
        match form {
            Form::Words => {
                for (((row, scale), zero), steps) in parameters.zip(words.chunks_exact_mut(stride)) {
                    let (per_one, offset) = steps_of(row, scale, zero);
                    for (step, x) in steps.iter_mut().zip(row) {
                        *step = nearest(x * per_one + f32::from(offset)) - offset;
                    }
                    steps[width..].fill(0);
                }
            }
            Form::Bytes => {
                for (((row, scale), zero), steps) in parameters.zip(bytes.chunks_exact_mut(stride)) {
                    let (per_one, offset) = steps_of(row, scale, zero);
                    for (step, x) in steps.iter_mut().zip(row) {
                        *step = nearest(x * per_one + f32::from(offset)) as u8;
                    }
                    steps[width..].fill(0);
                }
            }
        }
    }
}

/// Writes a row's scale and zero; returns the number of steps in 1 and the zero.
#[inline(always)]
fn steps_of(row: &[f32], scale: &mut f32, zero: &mut u8) -> (f32, i16) {
    let (least, greatest) = range(row);
    let span = greatest - least;
    // Below, the number of steps in 1 would not be finite.
    let per_one = if span > STEPS * f32::MIN_POSITIVE { STEPS / span } else { 0.0 };
    let offset = nearest(-least * per_one);
    *scale = if per_one > 0.0 { span / STEPS } else { 0.0 };
    *zero = offset as u8;
    (per_one, offset)
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

    /// The rows' own steps, counted from 0.
    fn steps(rows: &QuantizedRows) -> Vec<i16> {
        let mut bytes = Vec::new();
        rows.write_bytes(&mut bytes);
        let rows = bytes.chunks_exact(rows.width).zip(&rows.zeros);
        rows.flat_map(|(row, zero)| row.iter().map(|byte| i16::from(*byte) - i16::from(*zero)))
            .collect()
    }

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
            let expected = steps(&twin);
            for (i, (x, step)) in rows.iter().zip(&expected).enumerate() {
                let row = i / width;
                prop_assert!((0..256).contains(&(step + i16::from(twin.zeros[row]))));
                prop_assert!((x - f32::from(*step) * twin.scales[row]).abs() <= 1.01 * twin.scales[row]);
            }
            for level in Level::available() {
                let (words, bytes) = (vec![7; 999], vec![7; 999]);
                let mut found = QuantizedRows { words, bytes, ..QuantizedRows::default() };
                quantize(level, &rows, width, &mut found);
                prop_assert_eq!(steps(&found), &*expected, "{}", level);
                prop_assert_eq!((&found.scales, &found.zeros), (&twin.scales, &twin.zeros), "{}", level);
                let (stride, numbers) = (found.stride(), found.words.len() + found.bytes.len());
                prop_assert_eq!(numbers, found.scales.len() * stride);
                prop_assert!(found.words.chunks(stride).all(|row| row[width..].iter().all(|step| *step == 0)));
                prop_assert!(found.bytes.chunks(stride).all(|row| row[width..].iter().all(|step| *step == 0)));
            }
        }
    }

    #[test]
    fn zeros_stay_zeros_and_extremes_stay_within_bytes() {
        for level in Level::available() {
            let mut found = QuantizedRows::default();
            let rows = [0.0, -0.0, 0.0, 1e-44, 1.0, 2.0, -1.0, -3.0, -1e38, 1e38, -0.001, 1e6];
            quantize(level, &rows, 2, &mut found);
            assert_eq!(steps(&found)[..8], [0, 0, 0, 0, 128, 255, -85, -255]);
            assert_eq!(steps(&found)[8..], [-128, 127, 0, 255]);
            assert_eq!((found.zeros[3], found.zeros[4]), (255, 128));
            assert_eq!(found.scales[..2], [0.0, 0.0]);
            for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                quantize(level, &[odd, 1.0, -f32::MAX, f32::MAX], 2, &mut found);
                assert_eq!(steps(&found).len(), 4);
                assert!(found.words.chunks(2).zip(&found.zeros).all(|(steps, zero)| {
                    steps.iter().all(|step| (0..256).contains(&(step + i16::from(*zero))))
                }));
            }
        }
    }
}
