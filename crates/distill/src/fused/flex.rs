//! The layer's operations on burn's CPU backend, with their gradients.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, backend_extension};
use burn::tensor::{Bytes, DType};
use burn_flex::{FlexTensor, Layout};
use hpd_kernels::Level;
use hpd_kernels::float::{Numbers, View};
use hpd_kernels::rows::{self, AttentionShape, Dropout, LayerNormGradient};
use rayon::prelude::*;

use super::Packing;
use super::product::product;

/// What burn is taught; see the functions of the parent module for the meaning.
#[backend_extension(Flex, Autodiff)]
pub(super) trait FusedOperations: Backend {
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        numbers: Numbers,
    ) -> FloatTensor<Self>;
    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;
    fn fused_attention(
        qkv: FloatTensor<Self>,
        packing: Packing,
        heads: usize,
        dropout: Option<Dropout>,
    ) -> FloatTensor<Self>;
}

/// Numbers a thread works through before it looks for more: a few hundred microseconds at most.
const PIECE: usize = 1 << 14;

/// As many numbers as make whole rows of `width` and about a [`PIECE`].
fn piece(width: usize) -> usize {
    (PIECE / width).max(1) * width
}

/// A tensor whose numbers stand in order from the start of its buffer.
fn contiguous(x: FlexTensor) -> FlexTensor {
    let x = x.to_contiguous();
    if x.layout().start_offset() == 0 { x } else { FlexTensor::from_data(x.into_data()) }
}

fn numbers(x: &FlexTensor) -> &[f32] {
    &x.storage::<f32>()[..x.layout().num_elements()]
}

/// Without a copy when nobody else holds the buffer.
fn numbers_mut(x: &mut FlexTensor) -> &mut [f32] {
    let count = x.layout().num_elements();
    &mut x.storage_mut::<f32>()[..count]
}

fn tensor(numbers: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(numbers), Layout::contiguous(shape.into()), DType::F32)
}

/// Zeros to write over: `FlexTensor::empty` would fill twice as much memory with them and copy half of it.
fn empty(shape: &[usize]) -> FlexTensor {
    tensor(vec![0.0; shape.iter().product()], shape)
}

fn shape(x: &FlexTensor) -> [usize; 2] {
    [x.layout().shape()[0], x.layout().shape()[1]]
}

/// Sums of partial results, in the order of the pieces they came from.
fn add_up(parts: Vec<Vec<f32>>, width: usize) -> Vec<f32> {
    let mut total = vec![0.0; width];
    for part in parts {
        rows::column_sums(Level::best(), &part, &mut total);
    }
    total
}

fn view(x: &FlexTensor) -> View<'_> {
    View::new(numbers(x), shape(x))
}

fn linear(x: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor, kind: Numbers) -> FlexTensor {
    let [x, weight, bias] = [x, weight, bias].map(|tensor| contiguous(tensor.clone()));
    let out = shape(&weight)[0];
    let mut y = empty(&[shape(&x)[0], out]);
    product(view(&x), view(&weight).transposed(), numbers(&bias), kind, numbers_mut(&mut y));
    y
}

fn input_gradient(gradient: &FlexTensor, weight: FlexTensor, kind: Numbers) -> FlexTensor {
    let weight = contiguous(weight);
    let mut at_x = empty(&[shape(gradient)[0], shape(&weight)[1]]);
    product(view(gradient), view(&weight), &[], kind, numbers_mut(&mut at_x));
    at_x
}

fn weight_gradient(gradient: &FlexTensor, x: FlexTensor, kind: Numbers) -> FlexTensor {
    let x = contiguous(x);
    let mut at_weight = empty(&[shape(gradient)[1], shape(&x)[1]]);
    product(view(gradient).transposed(), view(&x), &[], kind, numbers_mut(&mut at_weight));
    at_weight
}

/// Sums of the columns: what reaches a bias.
fn bias_gradient(gradient: &FlexTensor) -> FlexTensor {
    let width = shape(gradient)[1];
    let parts = numbers(gradient)
        .par_chunks(piece(width))
        .map(|rows| {
            let mut sums = vec![0.0; width];
            rows::column_sums(Level::best(), rows, &mut sums);
            sums
        })
        .collect();
    tensor(add_up(parts, width), &[width])
}

fn gelu(x: &FlexTensor) -> FlexTensor {
    let x = contiguous(x.clone());
    let mut y = empty(&shape(&x));
    numbers_mut(&mut y)
        .par_chunks_mut(PIECE)
        .zip(numbers(&x).par_chunks(PIECE))
        .for_each(|(y, x)| rows::gelu(Level::best(), x, y));
    y
}

fn gelu_gradient(x: FlexTensor, gradient: FlexTensor) -> FlexTensor {
    let (x, mut gradient) = (contiguous(x), contiguous(gradient));
    numbers_mut(&mut gradient)
        .par_chunks_mut(PIECE)
        .zip(numbers(&x).par_chunks(PIECE))
        .for_each(|(g, x)| rows::gelu_gradient(Level::best(), x, g));
    gradient
}

/// Returns the sum of both inputs, which the gradient needs, and the output.
fn layer_norm(
    x: FlexTensor,
    residual: FlexTensor,
    gamma: &FlexTensor,
    beta: &FlexTensor,
    epsilon: f32,
) -> (FlexTensor, FlexTensor) {
    let (mut sum, residual) = (contiguous(x), contiguous(residual));
    let (gamma, beta) = (contiguous(gamma.clone()), contiguous(beta.clone()));
    let mut y = empty(&shape(&sum));
    let rows = piece(shape(&sum)[1]);
    numbers_mut(&mut sum)
        .par_chunks_mut(rows)
        .zip(numbers(&residual).par_chunks(rows))
        .zip(numbers_mut(&mut y).par_chunks_mut(rows))
        .for_each(|((sum, residual), y)| {
            let (gamma, beta) = (numbers(&gamma), numbers(&beta));
            rows::add_layer_norm(Level::best(), sum, residual, gamma, beta, epsilon, y);
        });
    (sum, y)
}

/// Gradients at the sum, at gamma and at beta.
fn layer_norm_gradient(
    sum: &FlexTensor,
    gamma: &FlexTensor,
    gradient: FlexTensor,
    epsilon: f32,
) -> [FlexTensor; 3] {
    let (gamma, mut gradient) = (contiguous(gamma.clone()), contiguous(gradient));
    let width = shape(sum)[1];
    let parts: Vec<(Vec<f32>, Vec<f32>)> = numbers_mut(&mut gradient)
        .par_chunks_mut(piece(width))
        .zip(numbers(sum).par_chunks(piece(width)))
        .map(|(g, sum)| {
            let (mut at_gamma, mut at_beta) = (vec![0.0; width], vec![0.0; width]);
            let at_parameters = LayerNormGradient { gamma: &mut at_gamma, beta: &mut at_beta };
            rows::layer_norm_gradient(
                Level::best(),
                sum,
                numbers(&gamma),
                epsilon,
                g,
                at_parameters,
            );
            (at_gamma, at_beta)
        })
        .collect();
    let (at_gamma, at_beta) = parts.into_iter().unzip();
    let [at_gamma, at_beta] =
        [at_gamma, at_beta].map(|parts| tensor(add_up(parts, width), &[width]));
    [gradient, at_gamma, at_beta]
}

/// What the gradient of attention needs.
#[derive(Clone, Debug)]
struct AttentionState {
    qkv: FlexTensor,
    /// The probabilities of each sentence (see [`rows::attention`]), one sentence after another.
    probabilities: FlexTensor,
    packing: Packing,
    heads: usize,
    dropout: Option<Dropout>,
}

impl AttentionState {
    fn shapes(&self) -> Vec<AttentionShape> {
        let width = shape(&self.qkv)[1] / 3;
        let of = |range: std::ops::Range<usize>| AttentionShape {
            tokens: range.len(),
            heads: self.heads,
            width,
            first_token: range.start,
            dropout: self.dropout,
        };
        self.packing.ranges().map(of).collect()
    }
}

/// Cuts `numbers` into one piece a sentence.
fn cut<'a>(
    mut numbers: &'a [f32],
    shapes: &[AttentionShape],
    size: impl Fn(&AttentionShape) -> usize,
) -> Vec<&'a [f32]> {
    shapes.iter().map(|shape| numbers.split_off(..size(shape)).unwrap_or_default()).collect()
}

/// [`cut`] for writing.
fn cut_mut<'a>(
    mut numbers: &'a mut [f32],
    shapes: &[AttentionShape],
    size: impl Fn(&AttentionShape) -> usize,
) -> Vec<&'a mut [f32]> {
    shapes.iter().map(|shape| numbers.split_off_mut(..size(shape)).unwrap_or_default()).collect()
}

fn of_qkv(shape: &AttentionShape) -> usize {
    3 * of_context(shape)
}

fn of_context(shape: &AttentionShape) -> usize {
    shape.tokens * shape.width
}

fn attention(
    qkv: FlexTensor,
    packing: Packing,
    heads: usize,
    dropout: Option<Dropout>,
) -> (AttentionState, FlexTensor) {
    let qkv = contiguous(qkv);
    let mut state = AttentionState { qkv, probabilities: empty(&[0]), packing, heads, dropout };
    let shapes = state.shapes();
    let mut context = empty(&[shape(&state.qkv)[0], shape(&state.qkv)[1] / 3]);
    let mut probabilities = empty(&[shapes.iter().map(AttentionShape::probabilities).sum()]);
    let pieces: Vec<_> = shapes
        .iter()
        .zip(cut(numbers(&state.qkv), &shapes, of_qkv))
        .zip(cut_mut(numbers_mut(&mut probabilities), &shapes, AttentionShape::probabilities))
        .zip(cut_mut(numbers_mut(&mut context), &shapes, of_context))
        .collect();
    pieces.into_par_iter().for_each_init(Vec::new, |scratch, (((shape, qkv), p), context)| {
        rows::attention(Level::best(), shape, qkv, p, context, scratch);
    });
    state.probabilities = probabilities;
    (state, context)
}

fn attention_gradient(state: &AttentionState, gradient: FlexTensor) -> FlexTensor {
    let gradient = contiguous(gradient);
    let shapes = state.shapes();
    let mut at_qkv = empty(&shape(&state.qkv));
    let pieces: Vec<_> = shapes
        .iter()
        .zip(cut(numbers(&state.qkv), &shapes, of_qkv))
        .zip(cut(numbers(&state.probabilities), &shapes, AttentionShape::probabilities))
        .zip(cut(numbers(&gradient), &shapes, of_context))
        .zip(cut_mut(numbers_mut(&mut at_qkv), &shapes, of_qkv))
        .collect();
    pieces.into_par_iter().for_each_init(Vec::new, |scratch, ((((shape, qkv), p), g), at_qkv)| {
        rows::attention_gradient(Level::best(), shape, qkv, p, g, at_qkv, scratch);
    });
    at_qkv
}

impl FusedOperations for Flex {
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        numbers: Numbers,
    ) -> FloatTensor<Self> {
        linear(&x, &weight, &bias, numbers)
    }

    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        gelu(&x)
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        layer_norm(x, residual, &gamma, &beta, epsilon).1
    }

    fn fused_attention(
        qkv: FloatTensor<Self>,
        packing: Packing,
        heads: usize,
        dropout: Option<Dropout>,
    ) -> FloatTensor<Self> {
        attention(qkv, packing, heads, dropout).1
    }
}

#[derive(Debug)]
struct LinearStep;

impl Backward<Flex, 3> for LinearStep {
    type State = (FlexTensor, FlexTensor, Numbers);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (x, weight, numbers) = ops.state;
        let [to_x, to_weight, to_bias] = ops.parents;
        let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
        if let Some(node) = to_bias {
            gradients.register::<Flex>(node.id, bias_gradient(&gradient));
        }
        if let Some(node) = to_weight {
            gradients.register::<Flex>(node.id, weight_gradient(&gradient, x, numbers));
        }
        if let Some(node) = to_x {
            gradients.register::<Flex>(node.id, input_gradient(&gradient, weight, numbers));
        }
    }
}

#[derive(Debug)]
struct GeluStep;

impl Backward<Flex, 1> for GeluStep {
    type State = FlexTensor;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        if let [Some(node)] = ops.parents {
            gradients.register::<Flex>(node.id, gelu_gradient(ops.state, gradient));
        }
    }
}

#[derive(Debug)]
struct LayerNormStep;

impl Backward<Flex, 4> for LayerNormStep {
    type State = (FlexTensor, FlexTensor, f32);

    fn backward(self, ops: Ops<Self::State, 4>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (sum, gamma, epsilon) = ops.state;
        let gradient = gradients.consume::<Flex>(&ops.node);
        let [at_sum, at_gamma, at_beta] = layer_norm_gradient(&sum, &gamma, gradient, epsilon);
        let arriving = [at_sum.clone(), at_sum, at_gamma, at_beta];
        for (node, gradient) in ops.parents.into_iter().zip(arriving) {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct AttentionStep;

impl Backward<Flex, 1> for AttentionStep {
    type State = AttentionState;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        if let [Some(node)] = ops.parents {
            gradients.register::<Flex>(node.id, attention_gradient(&ops.state, gradient));
        }
    }
}

impl<C: CheckpointStrategy> FusedOperations for Autodiff<Flex, C> {
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        numbers: Numbers,
    ) -> FloatTensor<Self> {
        let y = linear(x.primitive(), weight.primitive(), bias.primitive(), numbers);
        let nodes = [x.node(), weight.node(), bias.node()];
        match LinearStep.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                step.finish((x.primitive().clone(), weight.primitive().clone(), numbers), y)
            }
            OpsKind::UnTracked(step) => step.finish(y),
        }
    }

    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let y = gelu(x.primitive());
        match GeluStep.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(x.primitive().clone(), y),
            OpsKind::UnTracked(step) => step.finish(y),
        }
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), residual.node(), gamma.node(), beta.node()];
        let (gamma, beta) = (gamma.primitive().clone(), beta.primitive().clone());
        let residual = residual.primitive().clone();
        let (sum, y) = layer_norm(x.primitive().clone(), residual, &gamma, &beta, epsilon);
        match LayerNormStep.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((sum, gamma, epsilon), y),
            OpsKind::UnTracked(step) => step.finish(y),
        }
    }

    fn fused_attention(
        qkv: FloatTensor<Self>,
        packing: Packing,
        heads: usize,
        dropout: Option<Dropout>,
    ) -> FloatTensor<Self> {
        let (state, y) = attention(qkv.primitive().clone(), packing, heads, dropout);
        match AttentionStep.prepare::<C>([qkv.node()]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(state, y),
            OpsKind::UnTracked(step) => step.finish(y),
        }
    }
}
