//! Products of small matrices, as attention has them: too small for a library's packing to pay.

use crate::kernel::multiply_add;

/// Rows of numbers inside a larger buffer: row `i` begins at `i · stride`.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) numbers: &'a [f32],
    pub(super) stride: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn new(numbers: &'a [f32], stride: usize) -> Self {
        Self { numbers, stride }
    }

    /// The same rows from row `first` and column `column` on.
    #[inline(always)]
    fn from(&self, first: usize, column: usize) -> Self {
        Self { numbers: &self.numbers[first * self.stride + column..], stride: self.stride }
    }
}

/// `output[i][j] = Σ_k a[i][k] · b[k][j]`.
///
/// # Shapes
/// `a`: `[rows, inner]`; `b`: `[inner, columns]`; `output`: `[rows, columns]` in rows of `output_stride`.
///
/// Sums live in registers: tiles of 8 rows by 16 columns, since an addition takes as long as eight begin, then what is left in smaller ones.
#[inline(always)]
pub(super) fn product<const FUSED: bool>(
    a: Rows<'_>,
    b: Rows<'_>,
    [rows, inner, columns]: [usize; 3],
    output: &mut [f32],
    output_stride: usize,
) {
    let mut row = 0;
    while row < rows {
        let (a, output) = (a.from(row, 0), &mut output[row * output_stride..]);
        row += match rows - row {
            8.. => band::<FUSED, 8>(a, b, inner, columns, output, output_stride),
            4.. => band::<FUSED, 4>(a, b, inner, columns, output, output_stride),
            2.. => band::<FUSED, 2>(a, b, inner, columns, output, output_stride),
            _ => band::<FUSED, 1>(a, b, inner, columns, output, output_stride),
        };
    }
}

/// Writes R rows and returns R.
#[inline(always)]
fn band<const FUSED: bool, const R: usize>(
    a: Rows<'_>,
    b: Rows<'_>,
    inner: usize,
    columns: usize,
    output: &mut [f32],
    stride: usize,
) -> usize {
    let mut column = 0;
    while column < columns {
        let (b, output) = (b.from(0, column), &mut output[column..]);
        column += match columns - column {
            16.. => tile::<FUSED, R, 16>(a, b, inner, output, stride),
            8.. => tile::<FUSED, R, 8>(a, b, inner, output, stride),
            _ => tile::<FUSED, R, 1>(a, b, inner, output, stride),
        };
    }
    R
}

/// Writes R rows and C columns and returns C.
#[inline(always)]
fn tile<const FUSED: bool, const R: usize, const C: usize>(
    a: Rows<'_>,
    b: Rows<'_>,
    inner: usize,
    output: &mut [f32],
    stride: usize,
) -> usize {
    let mut sums = [[0.0; C]; R];
    let a: [&[f32]; R] = std::array::from_fn(|r| &a.numbers[r * a.stride..][..inner]);
    for k in 0..inner {
        let Some(b) = b.numbers[k * b.stride..].first_chunk::<C>() else { break };
        for (sums, a) in sums.iter_mut().zip(a) {
            let x = a[k];
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = multiply_add::<FUSED>(x, *b, *sum);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        output[r * stride..][..C].copy_from_slice(sums);
    }
    C
}

#[cfg(test)]
mod tests {
    use super::super::reference::assert_close;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn product_is_its_definition(rows in 0usize..11, inner in 0usize..20, columns in 0usize..40, gap in 0usize..5) {
            let wave = |n: usize, f: f32| -> Vec<f32> { (0..n).map(|i| (i as f32 * f).sin()).collect() };
            let (a, b) = (wave(rows * (inner + gap), 0.7), wave(inner * (columns + gap), 0.3));
            let mut output = vec![7.0; rows * (columns + gap)];
            let [a_rows, b_rows] = [Rows::new(&a, inner + gap), Rows::new(&b, columns + gap)];
            if rows * inner * columns > 0 {
                product::<false>(a_rows, b_rows, [rows, inner, columns], &mut output, columns + gap);
                for i in 0..rows {
                    let expected: Vec<f64> = (0..columns + gap)
                        .map(|j| if j >= columns { 7.0 } else {
                            (0..inner).map(|k| f64::from(a[i * (inner + gap) + k] * b[k * (columns + gap) + j])).sum()
                        })
                        .collect();
                    assert_close(&output[i * (columns + gap)..][..columns + gap], &expected, 1e-5);
                }
            }
        }
    }
}
