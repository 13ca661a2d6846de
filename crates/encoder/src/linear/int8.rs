//! A weight in 8 bits, and whose product it is multiplied by: our kernels', or the library's where ours have no
//! instructions for it (ARM).
//!
//! The library's sums are right only where it does not use `vpmaddubsw`, which saturates; it says so itself. Its
//! sums go through the same last step as ours, so both give the same bits.

use std::cell::Cell;
use std::ops::Range;

use hpd_kernels::Level;
use hpd_kernels::int8::{self, PackedWeights, Product, QuantizedRows};
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions, PackedBMatrix};

use super::{Last, pieces, view};
use crate::QuantizedMatrix;

/// Bytes times signed bytes.
type ByteExecutor = GemmExecutor<u8, i8, i32>;

/// A packed weight.
pub(super) enum Int8Matrix {
    Ours(Vec<PackedWeights>),
    Library(LibraryMatrix),
}

/// A weight packed by the library.
pub(super) struct LibraryMatrix {
    weight: PackedBMatrix<i8>,
    /// One an output.
    scales: Vec<f32>,
    /// The sum of each output's weights: what a row's bytes count too much, for each step they are off from 0. The
    /// library's own way to say this, `a_quant`, left such rows at 0 in version 0.27.
    sums: Vec<i32>,
}

/// What a product needs besides its result.
#[derive(Default)]
struct Scratch {
    rows: QuantizedRows,
    bytes: Vec<u8>,
    sums: Vec<i32>,
}

thread_local! {
    /// Taken out while in use: a thread that waits inside the library may be given another product meanwhile.
    static SCRATCH: Cell<Scratch> = Cell::default();
}

impl Int8Matrix {
    /// Packs for whichever is faster on this CPU.
    pub(super) fn pack(weight: &QuantizedMatrix) -> Self {
        if !int8::is_native(Level::best()) && !ByteExecutor::default().may_saturate() {
            return Self::Library(LibraryMatrix::pack(weight));
        }
        Self::ours(weight)
    }

    fn ours(weight: &QuantizedMatrix) -> Self {
        let inputs = weight.columns;
        let piece = |range: Range<usize>| {
            let values = &weight.values[range.start * inputs..range.end * inputs];
            PackedWeights::new(Level::best(), values, &weight.scales[range], inputs)
        };
        Self::Ours(pieces::cut(weight.scales.len()).map(piece).collect())
    }

    fn inputs(&self) -> usize {
        match self {
            Self::Ours(pieces) => pieces[0].inputs(),
            Self::Library(matrix) => matrix.weight.rows(),
        }
    }

    /// Writes `activation(x · Wᵀ + bias)` to `out`.
    pub(super) fn apply(&self, x: &[f32], last: Last<'_>, out: &mut Vec<f32>) {
        let Last { outputs, bias, activation, side_by_side } = last;
        let level = Level::best();
        let mut scratch = SCRATCH.take();
        int8::quantize(level, x, self.inputs(), &mut scratch.rows);
        out.resize(scratch.rows.scales.len() * outputs, 0.0);
        match self {
            Self::Ours(pieces) => {
                let rows = &scratch.rows;
                pieces::multiply(
                    pieces,
                    outputs,
                    side_by_side,
                    out,
                    |weights, range, out, stride| {
                        let product =
                            Product { rows, weights, bias: last.bias_of(range), activation };
                        int8::product(level, product, out, stride);
                    },
                );
            }
            Self::Library(matrix) => {
                matrix.sum(&mut scratch);
                let Scratch { rows, sums, .. } = &scratch;
                int8::finish(level, sums, &rows.scales, &matrix.scales, bias, activation, out);
            }
        }
        SCRATCH.set(scratch);
    }
}

impl LibraryMatrix {
    fn pack(weight: &QuantizedMatrix) -> Self {
        let shape = [weight.columns, weight.scales.len()];
        let transposed = view(&weight.values, shape, [1, weight.columns]);
        Self {
            weight: ByteExecutor::default().prepack_b(transposed),
            scales: weight.scales.clone(),
            sums: weight
                .values
                .chunks_exact(weight.columns)
                .map(|row| row.iter().map(|value| i32::from(*value)).sum())
                .collect(),
        }
    }

    /// Makes bytes of `scratch.rows` and leaves their products' sums in `scratch.sums`.
    fn sum(&self, scratch: &mut Scratch) {
        let Scratch { rows, bytes, sums } = scratch;
        let (n, width) = (rows.scales.len(), rows.width);
        bytes.clear();
        rows.write_bytes(bytes);
        sums.resize(n * self.scales.len(), 0);
        let a = GemmInputA::Unpacked(view(bytes, [n, width], [width, 1]));
        let b = GemmInputB::Packed(&self.weight);
        let result = ByteExecutor::default().gemm(sums, a, b, GemmOptions::default());
        #[expect(clippy::expect_used, reason = "shapes were checked when the tensors were read")]
        result.expect("shapes agree");
        for (row, zero) in sums.chunks_exact_mut(self.scales.len()).zip(&rows.zeros) {
            for (sum, weights) in row.iter_mut().zip(&self.sums) {
                *sum -= i32::from(*zero) * weights;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use hpd_kernels::Activation;

    use super::*;

    fn wave(count: usize, frequency: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * frequency).sin() * (1.0 + (i % 7) as f32)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_librarys_products_are_ours(
            (inputs, outputs, rows) in (1_usize..90, 1_usize..500, 0_usize..20),
            activation in prop::sample::select(vec![Activation::Identity, Activation::Gelu, Activation::Relu]),
        ) {
            let mut weight = QuantizedMatrix::quantize(&wave(inputs * outputs, 0.37), inputs);
            // Half of the range, so that the sums are right where the library's instructions saturate too.
            weight.values.iter_mut().for_each(|value| *value /= 2);
            let (x, bias) = (wave(rows * inputs, 0.61), wave(outputs, 1.3));
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            let last = |side_by_side| Last { outputs, bias: &bias, activation, side_by_side };
            Int8Matrix::ours(&weight).apply(&x, last(false), &mut expected);
            Int8Matrix::Library(LibraryMatrix::pack(&weight)).apply(&x, last(false), &mut found);
            prop_assert_eq!(&found, &expected);
            Int8Matrix::ours(&weight).apply(&x, last(true), &mut found);
            prop_assert_eq!(found, expected);
        }
    }
}
