//! The matrix products of a training step, on `rten-gemm`.
//!
//! Separate because burn's own product spins on barriers between its threads: beside other programs, or with more
//! threads than cores, most of the machine waits. These products are cut into tiles that rayon's pool shares, and
//! each number is summed in the same order whatever the number of threads.

use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::Matrix;

/// A matrix of numbers that stand in order, read as it is or with rows and columns exchanged.
#[derive(Clone, Copy)]
pub(super) struct Factor<'a> {
    numbers: &'a [f32],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Factor<'a> {
    /// `[rows, columns]`, row-major.
    pub(super) fn new(numbers: &'a [f32], [rows, columns]: [usize; 2]) -> Self {
        assert_eq!(numbers.len(), rows * columns, "a matrix needs rows times columns numbers");
        Self { numbers, shape: [rows, columns], strides: [columns, 1] }
    }

    pub(super) fn transposed(self) -> Self {
        let exchange = |[a, b]: [usize; 2]| [b, a];
        Self { shape: exchange(self.shape), strides: exchange(self.strides), ..self }
    }

    fn view(&self) -> Matrix<'a> {
        #[expect(clippy::expect_used, reason = "`new` has checked the length")]
        Matrix::from_data_with_strides(self.shape, self.numbers, self.strides)
            .expect("strides fit the slice")
    }
}

/// `out = a · b`.
///
/// # Panics
/// When the shapes do not fit.
pub(super) fn product(a: Factor<'_>, b: Factor<'_>, out: &mut [f32]) {
    if a.shape[1] == 0 {
        return out.fill(0.0);
    }
    let (a, b) = (GemmInputA::Unpacked(a.view()), GemmInputB::Unpacked(b.view()));
    let result = GemmExecutor::<f32>::default().gemm(out, a, b, GemmOptions::default());
    #[expect(clippy::expect_used, reason = "the caller's tensors were built with these shapes")]
    result.expect("shapes agree");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0).collect()
    }

    proptest! {
        #[test]
        fn every_number_is_a_row_times_a_column(
            n in 1_usize..40, k in 0_usize..70, m in 1_usize..40, exchanged in any::<[bool; 2]>(),
        ) {
            let (a, b) = (numbers(n * k, 1), numbers(k * m, 2));
            let (mut found, mut expected) = (vec![f32::NAN; n * m], vec![0.0; n * m]);
            let of = |data, [rows, columns]: [usize; 2], exchanged: bool| match exchanged {
                false => Factor::new(data, [rows, columns]),
                true => Factor::new(data, [columns, rows]).transposed(),
            };
            let at = |data: &[f32], [rows, columns]: [usize; 2], exchanged: bool, i: usize, j: usize| match exchanged {
                false => f64::from(data[i * columns + j]),
                true => f64::from(data[j * rows + i]),
            };
            product(of(&a, [n, k], exchanged[0]), of(&b, [k, m], exchanged[1]), &mut found);
            for (i, expected) in expected.iter_mut().enumerate() {
                let terms = (0..k).map(|l| at(&a, [n, k], exchanged[0], i / m, l) * at(&b, [k, m], exchanged[1], l, i % m));
                *expected = terms.sum::<f64>();
                prop_assert!((f64::from(found[i]) - *expected).abs() < 1e-4);
            }
        }
    }
}
