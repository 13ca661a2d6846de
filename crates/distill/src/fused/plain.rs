//! The operations of a layer on single rows in burn's own, for every device that is not the CPU, and as the fused ones'
//! twins. What sentences do among themselves is in [`super::padded`].

use burn::tensor::{FloatDType, Tensor, activation};
use hpd_kernels::float::Numbers;

/// As [`super::linear`]; in bfloat16 where the device computes in it.
pub(super) fn linear(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    numbers: Numbers,
) -> Tensor<2> {
    let product = match numbers {
        Numbers::Bfloat16 if x.device().supports_dtype(FloatDType::BF16) => {
            let [x, weight] = [x, weight].map(|part| part.cast(FloatDType::BF16));
            x.matmul(weight.transpose()).cast(FloatDType::F32)
        }
        Numbers::Bfloat16 | Numbers::Float32 => x.matmul(weight.transpose()),
    };
    product + bias.unsqueeze()
}

/// As [`super::gelu`].
pub(super) fn gelu(x: Tensor<2>) -> Tensor<2> {
    activation::gelu(x)
}

/// As [`super::add_layer_norm`].
pub(super) fn add_layer_norm(
    x: Tensor<2>,
    residual: Tensor<2>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Tensor<2> {
    let sum = x + residual;
    let centred = sum.clone() - sum.mean_dim(1);
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    centred / (variance + epsilon).sqrt() * gamma.unsqueeze() + beta.unsqueeze()
}
