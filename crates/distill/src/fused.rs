//! The operations of a Transformer layer: on the CPU one pass each with a hand-written gradient, elsewhere burn's.
//!
//! Why: burn differentiates a layer norm, a softmax or a GELU as chains of general operations, each a pass over
//! memory on one thread, and pads attention. On its CPU backend (Flex) the operations here run instead, on
//! [`hpd_kernels::rows`] and rayon, over packed rows: the sentences of a batch stand one after another, without
//! padding. On other devices the same functions are written in burn's own operations, which are also what the
//! tests hold the fused ones to.
//!
//! Pieces handed to threads are cut by size alone and partial sums are added in their order, so results do not
//! depend on the number of threads.

mod flex;
mod plain;
mod product;

use std::sync::Arc;

use burn::backend::Dispatch;
use burn::tensor::{Device, Tensor};
use hpd_kernels::float::Numbers;
use hpd_kernels::rows::Dropout;

use flex::FusedOperations;

/// Where the sentences of a batch begin and end among its packed rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    offsets: Arc<[usize]>,
}

impl Packing {
    /// From the lengths of the sentences in tokens.
    pub fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let ends = lengths.into_iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        });
        Self { offsets: std::iter::once(0).chain(ends).collect() }
    }

    /// Sentences of the batch.
    pub fn sentences(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Tokens of the batch.
    pub fn tokens(&self) -> usize {
        self.offsets[self.sentences()]
    }

    /// The rows of each sentence.
    pub fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.offsets.windows(2).map(|pair| pair[0]..pair[1])
    }
}

fn is_cpu(device: &Device) -> bool {
    *device == Device::flex()
}

/// `x · weightᵀ + bias`.
///
/// # Shapes
/// `x`: `[n, in]`; `weight`: `[out, in]`, as PyTorch keeps it; `bias`: `[out]`; returns `[n, out]`.
///
/// Products are in `numbers`, forwards and backwards; on other devices than the CPU in f32.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>, numbers: Numbers) -> Tensor<2> {
    if !is_cpu(&x.device()) {
        return plain::linear(x, weight, bias);
    }
    let [x, weight, bias] = [x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()];
    Tensor::from_dispatch(Dispatch::fused_linear(x, weight, bias, numbers))
}

/// The exact GELU, number by number.
pub fn gelu(x: Tensor<2>) -> Tensor<2> {
    if !is_cpu(&x.device()) {
        return plain::gelu(x);
    }
    Tensor::from_dispatch(Dispatch::fused_gelu(x.into_dispatch()))
}

/// Layer norm of `x + residual` over rows, then `· gamma + beta`.
///
/// # Shapes
/// `x`, `residual` and the result: `[n, width]`; `gamma`, `beta`: `[width]`.
pub fn add_layer_norm(
    x: Tensor<2>,
    residual: Tensor<2>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Tensor<2> {
    if !is_cpu(&x.device()) {
        return plain::add_layer_norm(x, residual, gamma, beta, epsilon);
    }
    let [x, residual] = [x.into_dispatch(), residual.into_dispatch()];
    let [gamma, beta] = [gamma.into_dispatch(), beta.into_dispatch()];
    Tensor::from_dispatch(Dispatch::fused_layer_norm(x, residual, gamma, beta, epsilon as f32))
}

/// `softmax(query · keyᵀ / √head_width) · value` within each sentence, head by head.
///
/// # Shapes
/// `qkv`: `[n, 3·width]`, a row is query, key and value; returns `[n, width]`.
pub fn attention(
    qkv: Tensor<2>,
    packing: &Packing,
    heads: usize,
    dropout: Option<Dropout>,
) -> Tensor<2> {
    if !is_cpu(&qkv.device()) {
        return plain::attention(qkv, packing, heads, dropout);
    }
    let packing = packing.clone();
    Tensor::from_dispatch(Dispatch::fused_attention(qkv.into_dispatch(), packing, heads, dropout))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{TensorData, Tolerance};

    /// Waves of some frequency: deterministic, and no two rows alike.
    fn wave<const D: usize>(shape: [usize; D], frequency: f32, device: &Device) -> Tensor<D> {
        let count = shape.iter().product::<usize>();
        let numbers = (0..count).map(|i| (i as f32 * frequency).sin()).collect();
        Tensor::<D>::from_data(TensorData::new(numbers, shape), device).require_grad()
    }

    /// Output and every gradient of the two functions agree.
    fn assert_same(
        inputs: &[Tensor<2>],
        rows: &[Tensor<1>],
        fused: impl Fn() -> Tensor<2>,
        plain: impl Fn() -> Tensor<2>,
    ) {
        let close = Tolerance::<f32>::rel_abs(1e-4, 1e-4);
        fused().into_data().assert_approx_eq(&plain().into_data(), close);
        let [mut a, mut b] = [fused(), plain()].map(|output| {
            let direction = wave(output.dims(), 0.77, &output.device());
            (output * direction).sum().backward()
        });
        for input in inputs {
            let [a, b] = [&mut a, &mut b].map(|g| input.grad_remove(g).unwrap().into_data());
            a.assert_approx_eq(&b, close);
        }
        for row in rows {
            let [a, b] = [&mut a, &mut b].map(|g| row.grad_remove(g).unwrap().into_data());
            a.assert_approx_eq(&b, close);
        }
    }

    #[test]
    fn linear_is_its_plain_twin() {
        let device = Device::flex().autodiff();
        let (x, weight) = (wave([37, 12], 0.3, &device), wave([20, 12], 0.7, &device));
        let bias = wave([20], 1.1, &device);
        assert_same(
            &[x.clone(), weight.clone()],
            std::slice::from_ref(&bias),
            || linear(x.clone(), weight.clone(), bias.clone(), Numbers::Float32),
            || plain::linear(x.clone(), weight.clone(), bias.clone()),
        );
    }

    #[test]
    fn linear_in_bfloat16_is_near_its_plain_twin() {
        let device = Device::flex().autodiff();
        let (x, weight) = (wave([230, 40], 0.3, &device), wave([110, 40], 0.7, &device));
        let bias = wave([110], 1.1, &device);
        let outputs = [
            linear(x.clone(), weight.clone(), bias.clone(), Numbers::Bfloat16),
            plain::linear(x.clone(), weight.clone(), bias.clone()),
        ];
        let near = Tolerance::<f32>::rel_abs(0.02, 0.1);
        let [a, b] = outputs.clone().map(Tensor::into_data);
        a.assert_approx_eq(&b, near);
        let direction = wave([230, 110], 0.77, &device);
        let [mut a, mut b] = outputs.map(|output| (output * direction.clone()).sum().backward());
        for input in [x, weight] {
            let [a, b] = [&mut a, &mut b].map(|g| input.grad_remove(g).unwrap().into_data());
            a.assert_approx_eq(&b, near);
        }
    }

    #[test]
    fn gelu_is_its_plain_twin() {
        let x = wave([31, 17], 0.3, &Device::flex().autodiff()) * 4.0;
        let x = x.detach().require_grad();
        let inputs = [x.clone()];
        assert_same(&inputs, &[], || gelu(x.clone()), || plain::gelu(x.clone()));
    }

    #[test]
    fn layer_norm_is_its_plain_twin() {
        let device = Device::flex().autodiff();
        let (x, residual) = (wave([600, 40], 0.3, &device), wave([600, 40], 0.7, &device));
        let (gamma, beta) = (wave([40], 1.1, &device), wave([40], 1.9, &device));
        let parts = || (x.clone(), residual.clone(), gamma.clone(), beta.clone());
        assert_same(
            &[x.clone(), residual.clone()],
            &[gamma.clone(), beta.clone()],
            || {
                let (x, r, g, b) = parts();
                add_layer_norm(x, r, g, b, 1e-5)
            },
            || {
                let (x, r, g, b) = parts();
                plain::add_layer_norm(x, r, g, b, 1e-5)
            },
        );
    }

    #[test]
    fn attention_is_its_plain_twin_with_and_without_dropout() {
        let packing = Packing::new([5, 1, 19, 8]);
        let qkv = wave([packing.tokens(), 3 * 24], 0.37, &Device::flex().autodiff());
        for dropout in [None, Some(Dropout::new(0.3, 7))] {
            assert_same(
                std::slice::from_ref(&qkv),
                &[],
                || attention(qkv.clone(), &packing, 3, dropout),
                || plain::attention(qkv.clone(), &packing, 3, dropout),
            );
        }
    }
}
