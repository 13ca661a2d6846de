//! A matrix in the order in which the product reads it.
#![expect(
    clippy::redundant_closure,
    reason = "a function that is passed by its name is called without the level's instructions"
)]

use super::form::{alone, bfloat16};
use super::{Form, Numbers, View};
use crate::Level;
use crate::columns::{COLUMNS, padded};
use crate::kernel::kernel;
use crate::lines::Lines;

/// Rows of the matrix that are packed for all 16 columns before the next, so that what is written stays in the first cache.
const TOGETHER: usize = 16;

/// A matrix `[depth, columns]` for products that sum along `depth`.
///
/// Panels of 16 columns; in a panel, word by word along the sum, those of the 16 columns beside each other. Columns
/// that are not there are zeros.
#[derive(Clone, Debug, Default)]
pub struct Panels {
    pub(super) words: Lines<u32>,
    pub(super) form: Form,
    pub(super) depth: usize,
    pub(super) columns: usize,
}

impl Panels {
    /// Packs a matrix `[depth, columns]` for products at `level`.
    pub fn new(level: Level, numbers: Numbers, matrix: View<'_>) -> Self {
        let mut panels = Self::default();
        panels.fill(level, numbers, matrix);
        panels
    }

    /// As [`Panels::new`], into the memory that is here already.
    pub fn fill(&mut self, level: Level, numbers: Numbers, matrix: View<'_>) {
        self.form = Form::of(level, numbers);
        [self.depth, self.columns] = matrix.shape();
        self.words.resize(self.columns.div_ceil(COLUMNS) * self.panel());
        if !self.words.is_empty() {
            pack(level, matrix, self);
        }
    }

    /// Length of the sums.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Columns of the matrix.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Words of a panel.
    pub(super) fn panel(&self) -> usize {
        self.form.words(self.depth) * COLUMNS
    }
}

kernel! {
    /// Fills panels that have their form and size, which is not 0.
    fn pack(matrix: View<'_>, panels: &mut Panels) {
        // Closures that are inlined for certain: as functions of their own they would lose the level's vectors.
        match (panels.form, matrix.is_row_major()) {
            (Form::Float, true) => pack_rows(matrix, panels, #[inline(always)] |matrix, step| word::<false>(matrix, step)),
            (Form::RoundedFloat, true) => pack_rows(matrix, panels, #[inline(always)] |matrix, step| word::<true>(matrix, step)),
            (Form::Pair, true) => pack_rows(matrix, panels, #[inline(always)] |matrix, step| pair(matrix, step)),
            (Form::Float, false) => pack_columns::<1>(matrix, panels, #[inline(always)] |[x]| alone::<false>(x)),
            (Form::RoundedFloat, false) => pack_columns::<1>(matrix, panels, #[inline(always)] |[x]| alone::<true>(x)),
            (Form::Pair, false) => {
                pack_columns::<2>(matrix, panels, #[inline(always)] |[x, y]| bfloat16(x) | bfloat16(y) << 16);
            }
        }
    }
}

/// Packs a matrix whose rows stand together, across all panels before the next row, as the rows lie in memory.
#[inline(always)]
fn pack_rows(
    matrix: View<'_>,
    panels: &mut Panels,
    word: impl Fn(View<'_>, usize) -> [u32; COLUMNS],
) {
    let panel = panels.panel();
    for step in 0..panel / COLUMNS {
        for (index, words) in panels.words.chunks_exact_mut(panel).enumerate() {
            let first = index * COLUMNS;
            let matrix = matrix.columns(first..matrix.columns.min(first + COLUMNS));
            words.as_chunks_mut().0[step] = word(matrix, step);
        }
    }
}

#[inline(always)]
fn word<const ROUNDED: bool>(matrix: View<'_>, step: usize) -> [u32; COLUMNS] {
    row_of(matrix, step).map(
        #[inline(always)]
        |x| alone::<ROUNDED>(x),
    )
}

#[inline(always)]
fn pair(matrix: View<'_>, step: usize) -> [u32; COLUMNS] {
    let (first, second) = (row_of(matrix, 2 * step), row_of(matrix, 2 * step + 1));
    let mut words = [0; COLUMNS];
    for (word, (x, y)) in words.iter_mut().zip(first.iter().zip(&second)) {
        *word = bfloat16(*x) | bfloat16(*y) << 16;
    }
    words
}

/// Packs a matrix whose columns stand together; `N` numbers make a word.
#[inline(always)]
fn pack_columns<const N: usize>(
    matrix: View<'_>,
    panels: &mut Panels,
    word: impl Fn([f32; N]) -> u32,
) {
    let panel = panels.panel();
    for (index, words) in panels.words.chunks_exact_mut(panel).enumerate() {
        let columns = index * COLUMNS..matrix.columns.min((index + 1) * COLUMNS);
        for (piece, words) in words.as_chunks_mut::<COLUMNS>().0.chunks_mut(TOGETHER).enumerate() {
            words.fill([0; COLUMNS]);
            let first = piece * TOGETHER * N;
            let count = (N * words.len()).min(matrix.rows - first);
            for (place, column) in columns.clone().enumerate() {
                let numbers = &matrix.numbers[column * matrix.strides[1] + first..][..count];
                let (whole, rest) = numbers.as_chunks::<N>();
                for (words, numbers) in words.iter_mut().zip(whole) {
                    words[place] = word(*numbers);
                }
                if !rest.is_empty() {
                    let mut last = [0.0; N];
                    last[..rest.len()].copy_from_slice(rest);
                    words[whole.len()][place] = word(last);
                }
            }
        }
    }
}

/// The numbers of a row, then zeros; only those behind the last.
#[inline(always)]
fn row_of(matrix: View<'_>, row: usize) -> [f32; COLUMNS] {
    match row < matrix.rows {
        true => padded(&matrix.numbers[row * matrix.strides[0]..][..matrix.columns]),
        false => [0.0; COLUMNS],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_has_its_place(depth in 0_usize..40, columns in 0_usize..40, exchanged in any::<bool>()) {
            let numbers: Vec<f32> = (0..depth * columns).map(|i| 1.0 + i as f32 * 0.37).collect();
            let matrix = match exchanged {
                false => View::new(&numbers, [depth, columns]),
                true => View::new(&numbers, [columns, depth]).transposed(),
            };
            for level in Level::available() {
                for kind in [Numbers::Float32, Numbers::Bfloat16] {
                    let mut panels = Panels::new(level, kind, View::new(&[7.0; 90 * 50], [90, 50]));
                    panels.fill(level, kind, matrix);
                    prop_assert_eq!(panels.words.len(), columns.div_ceil(16) * panels.panel());
                    for (at, word) in panels.words.iter().enumerate() {
                        let (index, word_of_sum) = (at / panels.panel(), at % panels.panel() / 16);
                        let column = index * 16 + at % 16;
                        let number = |i: usize| if i < depth && column < columns { matrix.at(i, column) } else { 0.0 };
                        let expected = match panels.form {
                            Form::Float => number(word_of_sum).to_bits(),
                            Form::RoundedFloat => bfloat16(number(word_of_sum)) << 16,
                            Form::Pair => bfloat16(number(2 * word_of_sum)) | bfloat16(number(2 * word_of_sum + 1)) << 16,
                        };
                        prop_assert_eq!(*word, expected, "{} {:?} {}", level, kind, at);
                    }
                }
            }
        }
    }
}
