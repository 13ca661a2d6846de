//! Matrix products with weights packed once.
//!
//! The only module that knows `rten-gemm`. A row of a product depends on that row alone: the library adds up each
//! number in the same order whatever the number of rows and threads, so a text's vector has the same bits alone
//! and in any batch.

use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions, PackedBMatrix};
use rten_tensor::Matrix;

/// `y = x · Wᵀ`, with the bias kept beside it for whoever fuses it into the next row operation.
pub(crate) struct Linear {
    weight: PackedBMatrix<f32>,
    /// `[outputs]`, zeros when the layer has none.
    pub(crate) bias: Vec<f32>,
}

impl Linear {
    /// Packs `weight`, `[outputs, inputs]` as PyTorch stores it.
    pub(crate) fn new(weight: &[f32], bias: Vec<f32>) -> Self {
        let inputs = weight.len() / bias.len();
        let transposed = view(weight, [inputs, bias.len()], [1, inputs]);
        Self { weight: GemmExecutor::<f32>::default().prepack_b(transposed), bias }
    }

    /// Width of the output.
    pub(crate) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Writes `x · Wᵀ` to `out`, without the bias.
    ///
    /// # Shapes
    /// `x` is `[rows, inputs]`, `out` becomes `[rows, outputs]`.
    pub(crate) fn product(&self, x: &[f32], out: &mut Vec<f32>) {
        let inputs = self.weight.rows();
        let rows = x.len() / inputs;
        out.resize(rows * self.outputs(), 0.0);
        let x = view(x, [rows, inputs], [inputs, 1]);
        multiply(x, GemmInputB::Packed(&self.weight), 1.0, out);
    }
}

/// A matrix within a slice: row `i`, column `j` is `data[i * strides[0] + j * strides[1]]`.
pub(crate) fn view(data: &[f32], shape: [usize; 2], strides: [usize; 2]) -> Matrix<'_> {
    #[expect(
        clippy::expect_used,
        reason = "every caller cuts its strides from the same widths as its slice"
    )]
    Matrix::from_data_with_strides(shape, data, strides).expect("strides fit the slice")
}

/// `out = scale · a · b`, for two matrices that are used once.
pub(crate) fn multiply_once(a: Matrix, b: Matrix, scale: f32, out: &mut [f32]) {
    multiply(a, GemmInputB::Unpacked(b), scale, out);
}

fn multiply(a: Matrix, b: GemmInputB<f32>, scale: f32, out: &mut [f32]) {
    let options = GemmOptions { alpha: scale, ..GemmOptions::default() };
    // Making an executor costs nothing (it names a kernel) and keeps `Linear` free to move between threads.
    let result = GemmExecutor::<f32>::default().gemm(out, GemmInputA::Unpacked(a), b, options);
    #[expect(clippy::expect_used, reason = "shapes were checked when the tensors were read")]
    result.expect("shapes agree");
}
