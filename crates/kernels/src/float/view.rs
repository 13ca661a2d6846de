//! A matrix within a slice.

use std::ops::Range;

/// Numbers of a matrix as they lie in memory, in order or with rows and columns exchanged.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(super) numbers: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// From a row to the next and from a column to the next; one of them is 1.
    pub(super) strides: [usize; 2],
}

impl<'a> View<'a> {
    /// `[rows, columns]`, row-major.
    ///
    /// # Panics
    /// When `numbers` has another length.
    pub fn new(numbers: &'a [f32], [rows, columns]: [usize; 2]) -> Self {
        assert_eq!(numbers.len(), rows * columns, "a matrix needs rows times columns numbers");
        Self { numbers, rows, columns, strides: [columns, 1] }
    }

    /// Rows and columns of the matrix.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Rows become columns.
    #[must_use]
    pub fn transposed(self) -> Self {
        let Self { rows, columns, strides: [a, b], .. } = self;
        Self { rows: columns, columns: rows, strides: [b, a], ..self }
    }

    /// Some of the rows.
    ///
    /// # Panics
    /// When there are fewer.
    #[must_use]
    pub fn rows(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows, "{range:?} of {}", self.rows);
        let first = (range.start * self.strides[0]).min(self.numbers.len());
        Self { numbers: &self.numbers[first..], rows: range.len(), ..self }
    }

    /// Some of the columns.
    ///
    /// # Panics
    /// When there are fewer.
    #[must_use]
    pub fn columns(self, range: Range<usize>) -> Self {
        self.transposed().rows(range).transposed()
    }

    /// All rows as one slice, where they stand behind each other.
    pub(super) fn whole(&self) -> Option<&'a [f32]> {
        let together = self.strides == [self.columns, 1] && self.columns > 0;
        together.then(|| &self.numbers[..self.rows * self.columns])
    }

    /// Whether the numbers of a row stand together.
    pub(super) fn is_row_major(&self) -> bool {
        self.strides[1] == 1
    }

    /// The number in row `i`, column `j`.
    #[cfg(test)]
    pub(super) fn at(&self, i: usize, j: usize) -> f32 {
        self.numbers[i * self.strides[0] + j * self.strides[1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_exchanges_keep_their_numbers() {
        let numbers: Vec<f32> = (0..12_u8).map(f32::from).collect();
        let whole = View::new(&numbers, [3, 4]);
        assert_eq!(whole.at(2, 1), 9.0);
        assert_eq!(whole.transposed().at(1, 2), 9.0);
        let part = whole.rows(1..3).columns(1..3);
        assert_eq!((part.shape(), part.at(1, 0), part.transposed().at(0, 1)), ([2, 2], 9.0, 9.0));
        assert_eq!(whole.rows(3..3).shape(), [0, 4]);
    }
}
