//! The same step where the student's body lies on a graphics card: parameters, gradients and moments stay there.
//!
//! All tensors that have a gradient are laid end to end, so that a step is a dozen operations over one long tensor
//! instead of a dozen over each of fifty. Only the gradient's length comes to the host. Word embeddings are on the host in
//! any case, and are moved there.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Gradients, Tensor, TensorData};
use hpd_kernels::rows::AdamW;

use super::{Moments, decays, gradients_of};
use crate::student::{Body, numbers};

/// One of the tensors that are laid end to end, in the order in which a body is visited.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    id: ParamId,
    name: String,
    size: usize,
}

/// The moments of a body's tensors, end to end.
#[derive(Clone, Debug)]
pub(super) struct DeviceMoments {
    layout: Vec<Part>,
    /// 1 where a number decays, otherwise 0.
    decays: Tensor<1>,
    first: Tensor<1>,
    second: Tensor<1>,
}

/// The gradients of a body on its device, end to end.
pub(super) struct DeviceGradients {
    layout: Vec<Part>,
    flat: Tensor<1>,
}

impl DeviceGradients {
    /// Takes them out of burn.
    pub(super) fn of(body: &Body, gradients: Gradients) -> Self {
        let (layout, parts) = gradients_of(body, gradients)
            .into_iter()
            .map(|gradient| {
                let size = gradient.flat.dims()[0];
                (Part { id: gradient.id, name: gradient.name, size }, gradient.flat)
            })
            .unzip();
        Self { layout, flat: Tensor::cat(parts, 0) }
    }

    /// The square of their length.
    pub(super) fn sum_of_squares(&self) -> f64 {
        f64::from((self.flat.clone() * self.flat.clone()).sum().into_scalar::<f32>())
    }
}

impl DeviceMoments {
    /// Those that `known` tells for the tensors of `gradients`, or zeros.
    pub(super) fn new(
        gradients: &DeviceGradients,
        decay_embeddings: bool,
        known: impl Fn(&str) -> Option<Moments>,
    ) -> Self {
        let device = gradients.flat.device();
        let count = gradients.flat.dims()[0];
        let [mut first, mut second, mut decaying] = [(); 3].map(|()| Vec::with_capacity(count));
        for Part { name, size, .. } in &gradients.layout {
            let moments = known(name).unwrap_or_else(|| Moments::zeros(*size));
            first.extend(moments.first);
            second.extend(moments.second);
            let factor = if decays(name, decay_embeddings) { 1.0 } else { 0.0 };
            decaying.extend(std::iter::repeat_n(factor, *size));
        }
        let put = |numbers| Tensor::from_data(TensorData::new(numbers, [count]), &device);
        let layout = gradients.layout.clone();
        Self { layout, decays: put(decaying), first: put(first), second: put(second) }
    }

    /// Moves `body` by one step.
    pub(super) fn step(&mut self, body: Body, gradients: DeviceGradients, step: &AdamW) -> Body {
        debug_assert_eq!(self.layout, gradients.layout);
        let factor = |number: f32| f64::from(number);
        let gradient = gradients.flat * factor(step.gradient_scale);
        let mixed = |old: &Tensor<1>, new: Tensor<1>, beta: f32| {
            old.clone() * factor(beta) + new * factor(1.0 - beta)
        };
        self.first = mixed(&self.first, gradient.clone(), step.beta1);
        self.second = mixed(&self.second, gradient.clone() * gradient, step.beta2);
        let root = self.second.clone().sqrt() * factor(step.second_correction);
        let pull = self.first.clone() / (root + factor(step.epsilon)) * factor(step.rate);
        let kept = self.decays.clone() * factor(step.decay - 1.0) + 1.0;

        let mut parameters = Parameters { layout: &self.layout, found: Vec::new() };
        body.visit(&mut parameters);
        let moved = Tensor::cat(parameters.found, 0) * kept - pull;
        body.map(&mut Replace { layout: &self.layout, from: moved, start: 0 })
    }

    /// The moments by the tensors' names, on the host.
    pub(super) fn on_host(&self) -> impl Iterator<Item = (String, Moments)> {
        let (first, second) = (numbers(self.first.clone()), numbers(self.second.clone()));
        let mut start = 0;
        self.layout.iter().map(move |Part { name, size, .. }| {
            let range = start..start + size;
            start += size;
            let part = |all: &[f32]| all[range.clone()].to_vec();
            (name.clone(), Moments { first: part(&first), second: part(&second) })
        })
    }
}

/// The parameters of `layout`, in its order.
struct Parameters<'a> {
    layout: &'a [Part],
    found: Vec<Tensor<1>>,
}

impl ModuleVisitor for Parameters<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.layout.get(self.found.len()).is_some_and(|part| part.id == param.id) {
            self.found.push(param.val().inner().reshape([-1]));
        }
    }
}

/// Gives each parameter of `layout` its part of `from`, the next one `layout[0]` from `start` on.
struct Replace<'a> {
    layout: &'a [Part],
    from: Tensor<1>,
    start: usize,
}

impl ModuleMapper for Replace<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let [part, rest @ ..] = self.layout else { return param };
        if part.id != param.id {
            return param;
        }
        let (id, tensor, mapper) = param.consume();
        let moved = self.from.clone().narrow(0, self.start, part.size).reshape(tensor.dims());
        (self.layout, self.start) = (rest, self.start + part.size);
        Param::from_mapped_value(id, Tensor::from_inner(moved).require_grad(), mapper)
    }
}
