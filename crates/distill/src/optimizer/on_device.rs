//! The same step where the student's body lies on a graphics card: parameters, gradients and moments stay there.
//!
//! All tensors that have a gradient are laid end to end, so that a step is a dozen operations over one long tensor
//! instead of a dozen over each of fifty. Only the gradient's length comes to the host. Word embeddings are on the host in
//! any case, and are moved there.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Gradients, Tensor, TensorData};
use hpd_kernels::rows::AdamW;

use super::{Moments, decays, name_of};
use crate::student::{Body, numbers};

/// The moments of a body's tensors, end to end.
#[derive(Clone, Debug)]
pub(super) struct DeviceMoments {
    /// Names and sizes of the tensors.
    layout: Vec<(String, usize)>,
    /// 1 where a number decays, otherwise 0.
    decays: Tensor<1>,
    first: Tensor<1>,
    second: Tensor<1>,
}

/// The gradients of a body on its device, end to end.
pub(super) struct DeviceGradients {
    layout: Vec<(String, usize)>,
    flat: Tensor<1>,
}

impl DeviceGradients {
    /// Takes them out of burn.
    pub(super) fn of(body: &Body, gradients: Gradients) -> Self {
        let gradients = GradientsParams::from_grads(gradients, body);
        let mut collect = Collect { gradients, path: Vec::new(), found: Vec::new() };
        body.visit(&mut collect);
        let layout = collect.found.iter().map(|(name, part)| (name.clone(), part.dims()[0]));
        let layout = layout.collect();
        let parts = collect.found.into_iter().map(|(_, part)| part).collect();
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
        for (name, size) in &gradients.layout {
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

        let mut parameters =
            Parameters { layout: &self.layout, path: Vec::new(), found: Vec::new() };
        body.visit(&mut parameters);
        let moved = Tensor::cat(parameters.found, 0) * kept - pull;
        body.map(&mut Replace {
            layout: &self.layout,
            from: moved,
            path: Vec::new(),
            next: 0,
            start: 0,
        })
    }

    /// The moments by the tensors' names, on the host.
    pub(super) fn on_host(&self) -> impl Iterator<Item = (String, Moments)> {
        let (first, second) = (numbers(self.first.clone()), numbers(self.second.clone()));
        let mut start = 0;
        self.layout.iter().map(move |(name, size)| {
            let range = start..start + size;
            start += size;
            let part = |all: &[f32]| all[range.clone()].to_vec();
            (name.clone(), Moments { first: part(&first), second: part(&second) })
        })
    }
}

struct Collect {
    gradients: GradientsParams,
    path: Vec<String>,
    found: Vec<(String, Tensor<1>)>,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let count = gradient.dims().iter().product::<usize>();
            self.found.push((name_of(&self.path), gradient.reshape([count])));
        }
    }
}

/// The parameters of `layout`, in its order, which is that of the visit.
struct Parameters<'a> {
    layout: &'a [(String, usize)],
    path: Vec<String>,
    found: Vec<Tensor<1>>,
}

impl ModuleVisitor for Parameters<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some((name, size)) = self.layout.get(self.found.len())
            && *name == name_of(&self.path)
        {
            self.found.push(param.val().inner().reshape([*size]));
        }
    }
}

/// Gives each parameter of `layout` its part of `from`.
struct Replace<'a> {
    layout: &'a [(String, usize)],
    from: Tensor<1>,
    path: Vec<String>,
    /// Place in `layout`, and where its numbers start.
    next: usize,
    start: usize,
}

impl ModuleMapper for Replace<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((_, size)) =
            self.layout.get(self.next).filter(|(name, _)| *name == name_of(&self.path))
        else {
            return param;
        };
        let (id, tensor, mapper) = param.consume();
        let end = self.start + size;
        let part = self.from.clone().narrow(0, self.start, *size).reshape(tensor.dims());
        (self.next, self.start) = (self.next + 1, end);
        let moved = Tensor::from_inner(part).require_grad();
        Param::from_mapped_value(id, moved, mapper)
    }
}
