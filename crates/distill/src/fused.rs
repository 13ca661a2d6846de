//! The operations of a Transformer layer: on the CPU one pass each with a hand-written gradient, elsewhere burn's.
//!
//! Why: burn differentiates a layer norm, a softmax or a GELU as chains of general operations, each a pass over
//! memory on one thread, and pads attention. On its CPU backend (Flex) the operations here run instead, on
//! [`hpd_kernels::rows`] and rayon, over packed rows: the sentences of a batch stand one after another, without
//! padding. On other devices the same functions are written in burn's own operations, over sentences that are padded
//! ([`padded`]); these are also what the tests hold the fused ones to.
//!
//! Pieces handed to threads are cut by size alone and partial sums are added in their order, so results do not
//! depend on the number of threads.

mod flex;
pub(crate) mod padded;
mod plain;
mod product;

use std::sync::{Arc, OnceLock};

use burn::backend::Dispatch;
use burn::tensor::{Device, Tensor, TensorData};
use hpd_kernels::float::Numbers;
use hpd_kernels::rows::Dropout;

use flex::FusedOperations;
use padded::Padded;

/// Where the sentences of a batch begin and end among its packed rows.
#[derive(Clone, Debug)]
pub struct Packing {
    offsets: Arc<[usize]>,
    /// How it looks on another device than the CPU, once one has asked.
    padded: Arc<OnceLock<(Device, Arc<Padded>)>>,
}

impl Packing {
    /// From the lengths of the sentences in tokens.
    pub fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let ends = lengths.into_iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        });
        Self { offsets: std::iter::once(0).chain(ends).collect(), padded: Arc::default() }
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

    /// The rows of one sentence.
    fn range(&self, sentence: usize) -> std::ops::Range<usize> {
        self.offsets[sentence]..self.offsets[sentence + 1]
    }

    /// How it looks on `device`, which is not the CPU; made when first asked for.
    pub(crate) fn padded(&self, device: &Device) -> Arc<Padded> {
        let make = || Arc::new(Padded::new(self, device));
        match self.padded.get_or_init(|| (device.clone(), make())) {
            (on, padded) if on == device => padded.clone(),
            _ => make(),
        }
    }
}

/// Whether tensors there are for the fused operations.
pub(crate) fn is_cpu(device: &Device) -> bool {
    *device == Device::flex()
}

/// `x · weightᵀ + bias`.
///
/// # Shapes
/// `x`: `[n, in]`; `weight`: `[out, in]`, as PyTorch keeps it; `bias`: `[out]`; returns `[n, out]`.
///
/// Products are in `numbers`, forwards and backwards; in f32 on a device that does not compute in those.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>, numbers: Numbers) -> Tensor<2> {
    if !is_cpu(&x.device()) {
        return plain::linear(x, weight, bias, numbers);
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
/// `qkv`: `[n, 3·width]`, a row is query, key and value; returns `[n, width]`. Rows are the batch's tokens, on another
/// device than the CPU its places.
pub fn attention(
    qkv: Tensor<2>,
    packing: &Packing,
    heads: usize,
    dropout: Option<Dropout>,
) -> Tensor<2> {
    if !is_cpu(&qkv.device()) {
        return packing.padded(&qkv.device()).attention(&qkv, packing, heads, dropout);
    }
    let packing = packing.clone();
    Tensor::from_dispatch(Dispatch::fused_attention(qkv.into_dispatch(), packing, heads, dropout))
}

/// The mean over each sentence's rows; zeros for a sentence without tokens.
///
/// # Shapes
/// `x`: `[n, width]`, rows as in [`attention`]; returns `[sentences, width]`.
pub fn mean(x: Tensor<2>, packing: &Packing) -> Tensor<2> {
    if !is_cpu(&x.device()) {
        return packing.padded(&x.device()).mean(&x);
    }
    let (sentences, tokens) = (packing.sentences(), packing.tokens());
    let mut shares = vec![0.0; sentences * tokens];
    for (row, range) in shares.chunks_exact_mut(tokens.max(1)).zip(packing.ranges()) {
        let share = 1.0 / range.len() as f32;
        row[range].fill(share);
    }
    let shares = TensorData::new(shares, [sentences, tokens]);
    Tensor::<2>::from_data(shares, &x.device()).matmul(x)
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
            || plain::linear(x.clone(), weight.clone(), bias.clone(), Numbers::Float32),
        );
    }

    #[test]
    fn linear_in_bfloat16_is_near_its_plain_twin() {
        let device = Device::flex().autodiff();
        let (x, weight) = (wave([230, 40], 0.3, &device), wave([110, 40], 0.7, &device));
        let bias = wave([110], 1.1, &device);
        let outputs = [
            linear(x.clone(), weight.clone(), bias.clone(), Numbers::Bfloat16),
            plain::linear(x.clone(), weight.clone(), bias.clone(), Numbers::Float32),
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

    /// What `twin` makes of the rows of tokens `x`, spread over places; padding is no zero.
    fn in_places(
        x: &Tensor<2>,
        packing: &Packing,
        twin: impl Fn(&Padded, Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let padded = packing.padded(&x.device());
        let tokens: Vec<i32> = (0..packing.tokens() as i32).collect();
        let rows = padded.spread(&tokens).into_iter().map(|token| token.unwrap_or(1)).collect();
        twin(&padded, x.clone().select(0, padded::indices(rows, &x.device())))
    }

    /// The rows of tokens among those of places.
    fn packed(x: &Tensor<2>, packing: &Packing, padded: &Padded) -> Tensor<2> {
        let tokens: Vec<i32> = (0..packing.tokens() as i32).collect();
        padded::sum_rows(x, &padded.spread(&tokens), packing.tokens())
    }

    #[test]
    fn attention_is_its_plain_twin_with_and_without_dropout() {
        let packing = Packing::new([5, 1, 40, 19, 8, 17]);
        let qkv = wave([packing.tokens(), 3 * 24], 0.37, &Device::flex().autodiff());
        for dropout in [None, Some(Dropout::new(0.3, 7))] {
            assert_same(
                std::slice::from_ref(&qkv),
                &[],
                || attention(qkv.clone(), &packing, 3, dropout),
                || {
                    in_places(&qkv, &packing, |padded, qkv| {
                        let context = padded.attention(&qkv, &packing, 3, dropout);
                        packed(&context, &packing, padded)
                    })
                },
            );
        }
    }

    #[test]
    fn mean_is_its_plain_twin() {
        let packing = Packing::new([5, 1, 40, 0, 8, 17]);
        let x = wave([packing.tokens(), 6], 0.37, &Device::flex().autodiff());
        assert_same(
            std::slice::from_ref(&x),
            &[],
            || mean(x.clone(), &packing),
            || in_places(&x, &packing, |padded, x| padded.mean(&x)),
        );
    }

    #[test]
    fn rows_are_summed_by_their_slots() {
        let slots = [Some(2), None, Some(0), Some(2), Some(2), Some(4), Some(2), Some(2), Some(0)];
        let x = wave([slots.len(), 3], 0.37, &Device::flex().autodiff());
        let found = padded::sum_rows(&x, &slots, 5).into_data().try_into_vec::<f32>().unwrap();
        let x = x.into_data().try_into_vec::<f32>().unwrap();
        let mut expected = vec![0.0; 5 * 3];
        for (slot, row) in slots.iter().zip(x.chunks_exact(3)) {
            let Some(slot) = slot else { continue };
            let sums = expected[*slot as usize * 3..].iter_mut();
            sums.zip(row).for_each(|(sum, x)| *sum += x);
        }
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}");
    }

    #[test]
    fn each_place_gets_its_position_and_padding_may_pass_the_last() {
        let packing = Packing::new([5, 1, 20, 0]);
        let device = Device::flex().autodiff();
        let table = wave([21, 4], 0.37, &device);
        let padded = packing.padded(&device);
        let found = padded.positions(&table, 1);
        let found = packed(&found, &packing, &padded);
        let positions = packing.ranges().flat_map(|range| 1..=range.len() as i32).collect();
        let expected = table.select(0, padded::indices(positions, &device));
        found.into_data().assert_approx_eq(&expected.into_data(), Tolerance::<f32>::default());
    }
}
