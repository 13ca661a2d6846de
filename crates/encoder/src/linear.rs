//! Matrix products with weights packed once, in floats or in 8 bits.
//!
//! The only module that knows `rten-gemm`. A row of a product depends on that row alone: each number is added up in
//! the same order whatever the number of rows and threads, and sums of whole numbers are exact, so a text's vector
//! has the same bits alone and in any batch.

mod float;
mod int8;
mod pieces;

use std::ops::Range;

use hpd_files::Result;
use hpd_kernels::float::Numbers;
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::Matrix;

use crate::QuantizedMatrix;
use crate::arithmetic::Arithmetic;
use crate::config::Activation;
use crate::weights::Weights;
use float::FloatMatrix;
use int8::Int8Matrix;

/// `y = x · Wᵀ`, with the bias kept beside it for whoever fuses it into the next row operation.
pub(crate) struct Linear {
    weight: Weight,
    /// `[outputs]`, zeros when the layer has none.
    pub(crate) bias: Vec<f32>,
}

/// The weights of a layer as they are read, `[outputs, inputs]`.
pub(crate) enum Unpacked {
    Floats(Vec<f32>, Numbers),
    Int8(QuantizedMatrix),
}

impl Unpacked {
    /// Tensor `name` in the numbers of `arithmetic`.
    pub(crate) fn read(
        weights: &Weights,
        name: &str,
        shape: [usize; 2],
        arithmetic: Arithmetic,
    ) -> Result<Self> {
        let floats = |numbers| Ok(Self::Floats(weights.tensor(name, &shape)?, numbers));
        match arithmetic {
            Arithmetic::Float32 => floats(Numbers::Float32),
            Arithmetic::Bfloat16 => floats(Numbers::Bfloat16),
            Arithmetic::Int8 => weights.quantized(name, shape).map(Self::Int8),
        }
    }

    /// The outputs of all, one after another; all have the same inputs and the same kind of numbers.
    pub(crate) fn stacked(weights: Vec<Self>) -> Self {
        let (mut floats, mut values, mut scales, mut columns) = (vec![], vec![], vec![], None);
        let mut numbers = Numbers::default();
        for weight in weights {
            match weight {
                Self::Floats(weight, kind) => {
                    floats.extend(weight);
                    numbers = kind;
                }
                Self::Int8(weight) => {
                    values.extend(weight.values);
                    scales.extend(weight.scales);
                    columns = Some(weight.columns);
                }
            }
        }
        match columns {
            Some(columns) => Self::Int8(QuantizedMatrix { values, scales, columns }),
            None => Self::Floats(floats, numbers),
        }
    }

    /// Cuts off the outputs from `output` on, of `inputs` numbers each.
    pub(crate) fn split_off(&mut self, output: usize, inputs: usize) -> Self {
        match self {
            Self::Floats(weight, numbers) => {
                Self::Floats(weight.split_off(output * inputs), *numbers)
            }
            Self::Int8(weight) => Self::Int8(QuantizedMatrix {
                values: weight.values.split_off(output * inputs),
                scales: weight.scales.split_off(output),
                columns: weight.columns,
            }),
        }
    }
}

enum Weight {
    Floats(FloatMatrix),
    Int8(Int8Matrix),
}

impl Linear {
    /// Packs `weight`, `[outputs, inputs]` as PyTorch stores it.
    pub(crate) fn new(weight: &[f32], bias: Vec<f32>, numbers: Numbers) -> Self {
        let shape = [bias.len(), weight.len() / bias.len()];
        Self { weight: Weight::Floats(FloatMatrix::pack(weight, shape, numbers)), bias }
    }

    /// Packs weights that are rounded already.
    pub(crate) fn quantized(weight: &QuantizedMatrix, bias: Vec<f32>) -> Self {
        // Wider rows, which no model has, would not fit 32-bit sums.
        if weight.columns > hpd_kernels::int8::MOST_INPUTS {
            return Self::new(&weight.dequantize(), bias, Numbers::Float32);
        }
        Self { weight: Weight::Int8(Int8Matrix::pack(weight)), bias }
    }

    /// Packs `weight` in the numbers it was read in.
    pub(crate) fn pack(weight: &Unpacked, bias: Vec<f32>) -> Self {
        match weight {
            Unpacked::Floats(weight, numbers) => Self::new(weight, bias, *numbers),
            Unpacked::Int8(weight) => Self::quantized(weight, bias),
        }
    }

    /// Width of the output.
    pub(crate) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Writes `x · Wᵀ` to `out`, without the bias; `side_by_side` on all threads.
    ///
    /// # Shapes
    /// `x` is `[rows, inputs]`, `out` becomes `[rows, outputs]`.
    pub(crate) fn product(&self, x: &[f32], side_by_side: bool, out: &mut Vec<f32>) {
        let activation = hpd_kernels::Activation::Identity;
        self.run(x, Last { outputs: self.outputs(), bias: &[], activation, side_by_side }, out);
    }

    /// Writes `activation(x · Wᵀ + bias)` to `out`.
    ///
    /// # Shapes
    /// As [`Linear::product`].
    pub(crate) fn apply(
        &self,
        x: &[f32],
        activation: Option<Activation>,
        side_by_side: bool,
        out: &mut Vec<f32>,
    ) {
        let activation = activation.map_or(hpd_kernels::Activation::Identity, Into::into);
        let last = Last { outputs: self.outputs(), bias: &self.bias, activation, side_by_side };
        self.run(x, last, out);
    }

    fn run(&self, x: &[f32], last: Last<'_>, out: &mut Vec<f32>) {
        match &self.weight {
            Weight::Floats(weight) => weight.apply(x, last, out),
            Weight::Int8(weight) => weight.apply(x, last, out),
        }
    }
}

/// How a product ends, and whether all threads share it.
#[derive(Clone, Copy)]
struct Last<'a> {
    outputs: usize,
    /// `[outputs]`, or empty for none.
    bias: &'a [f32],
    activation: hpd_kernels::Activation,
    side_by_side: bool,
}

impl<'a> Last<'a> {
    /// The bias of some outputs.
    fn bias_of(&self, outputs: Range<usize>) -> &'a [f32] {
        if self.bias.is_empty() { self.bias } else { &self.bias[outputs] }
    }
}

/// A matrix within a slice: row `i`, column `j` is `data[i * strides[0] + j * strides[1]]`.
pub(crate) fn view<T>(data: &[T], shape: [usize; 2], strides: [usize; 2]) -> Matrix<'_, T> {
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
