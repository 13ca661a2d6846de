//! AdamW over the student's parameters, with the gradient's length cut over all of them together.
//!
//! burn clips each parameter by itself and takes a dozen passes over every tensor a step; here the norm is global,
//! as in PyTorch's `clip_grad_norm_`, and a step is one pass ([`hpd_kernels::rows::adamw`]) on the host. On the CPU
//! tensors give up and take back their buffers without a copy; a graphics card is asked for gradients and given the
//! weights once a step.
//!
//! Word embeddings. With `lazy_embeddings`, rows outside the batch are untouched: their moments decay only when
//! the word comes up again, and there is no decay of weights. Otherwise every row moves every step, as PyTorch's
//! dense AdamW moves them, without a dense gradient ever being made.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Gradients, Tensor, TensorData};
use hpd_kernels::Level;
use hpd_kernels::rows::{self, AdamW};
use rayon::prelude::*;

use crate::recipe::OptimizerRecipe;
use crate::student::{Body, PackedBatch, Student, numbers};

/// Numbers a thread works through before it looks for more.
const PIECE: usize = 1 << 16;
/// The word table's name among the moments.
const WORDS: &str = "words";

/// The running means of one tensor's gradient and of its square.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Mean gradient.
    pub first: Vec<f32>,
    /// Mean squared gradient.
    pub second: Vec<f32>,
}

impl Moments {
    fn zeros(count: usize) -> Self {
        Self { first: vec![0.0; count], second: vec![0.0; count] }
    }
}

/// AdamW and what it remembers.
#[derive(Clone, Debug)]
pub struct Optimizer {
    recipe: OptimizerRecipe,
    /// Steps taken.
    steps: u64,
    moments: BTreeMap<String, Moments>,
}

/// The gradients of one step: of the body by parameter name, and of the batch's word rows.
struct StepGradients {
    body: BTreeMap<String, Vec<f32>>,
    words: Option<Vec<f32>>,
}

impl Optimizer {
    /// An optimiser that has seen nothing.
    pub fn new(recipe: OptimizerRecipe) -> Self {
        Self { recipe, steps: 0, moments: BTreeMap::new() }
    }

    /// An optimiser as it was after `steps` steps.
    pub fn resumed(
        recipe: OptimizerRecipe,
        steps: u64,
        moments: BTreeMap<String, Moments>,
    ) -> Self {
        Self { recipe, steps, moments }
    }

    /// What it remembers of each tensor that ever had a gradient.
    pub fn moments(&self) -> &BTreeMap<String, Moments> {
        &self.moments
    }

    /// Moves the student against `gradients`, those of a loss on `batch`, whose word rows were the leaf `words`.
    /// Returns it with the gradient's length before it was cut; when that is not finite, nothing was moved.
    ///
    /// The student passes through by value: a second owner of its buffers would make every update a copy.
    pub fn step(
        &mut self,
        mut student: Student,
        batch: &PackedBatch,
        words: &Tensor<2>,
        mut gradients: Gradients,
        rate: f64,
    ) -> (Student, f64) {
        let words = words.grad_remove(&mut gradients).map(numbers);
        let gradients = StepGradients { body: by_name(&student.body, gradients), words };
        let norm = gradients.norm();
        if !norm.is_finite() {
            return (student, norm);
        }
        self.steps += 1;
        let clip = self.recipe.clip_norm;
        let scale = if clip > 0.0 { (clip / norm).min(1.0) } else { 1.0 };
        if let Some(gradient) = &gradients.words {
            self.step_words(&mut student, batch, gradient, rate, scale);
        }
        let gradients = gradients.body;
        let mut step = Step { optimizer: self, gradients, rate, scale, path: Vec::new() };
        student.body = student.body.map(&mut step);
        (student, norm)
    }

    /// The numbers of this step for parameters that decay or do not.
    fn numbers(&self, rate: f64, scale: f64, decays: bool) -> AdamW {
        let recipe = &self.recipe;
        let correction = |beta: f64| {
            if recipe.bias_correction { 1.0 - beta.powf(self.steps as f64) } else { 1.0 }
        };
        AdamW {
            gradient_scale: scale as f32,
            beta1: recipe.beta1 as f32,
            beta2: recipe.beta2 as f32,
            rate: (rate / correction(recipe.beta1)) as f32,
            second_correction: (1.0 / correction(recipe.beta2).sqrt()) as f32,
            epsilon: recipe.epsilon as f32,
            decay: if decays { (1.0 - rate * recipe.weight_decay) as f32 } else { 1.0 },
        }
    }

    fn step_words(
        &mut self,
        student: &mut Student,
        batch: &PackedBatch,
        gradient: &[f32],
        rate: f64,
        scale: f64,
    ) {
        let width = student.config.hidden_size;
        let step = self.numbers(rate, scale, self.recipe.decay_embeddings);
        let count = student.words.len();
        let moments = self.moments.entry(WORDS.to_owned()).or_insert_with(|| Moments::zeros(count));
        if self.recipe.lazy_embeddings {
            for (&word, gradient) in batch.words.iter().zip(gradient.chunks_exact(width)) {
                let row = word as usize * width..(word as usize + 1) * width;
                let (first, second) =
                    (&mut moments.first[row.clone()], &mut moments.second[row.clone()]);
                rows::adamw(Level::best(), &step, gradient, &mut student.words[row], first, second);
            }
            return;
        }
        let state = student.words.par_chunks_mut(width).zip(moments.first.par_chunks_mut(width));
        let state = state.zip(moments.second.par_chunks_mut(width)).enumerate();
        state.for_each(|(word, ((parameters, first), second))| {
            let place = batch.words.binary_search(&(word as u32));
            let gradient = place.map_or(&[][..], |i| &gradient[i * width..][..width]);
            rows::adamw(Level::best(), &step, gradient, parameters, first, second);
        });
    }
}

impl StepGradients {
    /// Length over all parameters, summed in the order of their names.
    fn norm(&self) -> f64 {
        let squares = |numbers: &[f32]| -> f64 {
            let parts: Vec<f64> = numbers
                .par_chunks(PIECE)
                .map(|piece| {
                    let mut total = 0.0;
                    rows::sum_of_squares(Level::best(), piece, &mut total);
                    total
                })
                .collect();
            parts.iter().sum()
        };
        let body: f64 = self.body.values().map(|gradient| squares(gradient)).sum();
        (body + self.words.as_deref().map_or(0.0, squares)).sqrt()
    }
}

/// Takes the gradients out of burn, by the parameters' names.
fn by_name(body: &Body, gradients: Gradients) -> BTreeMap<String, Vec<f32>> {
    let gradients = GradientsParams::from_grads(gradients, body);
    let mut collect = Collect { gradients, path: Vec::new(), found: BTreeMap::new() };
    body.visit(&mut collect);
    collect.found
}

struct Collect {
    gradients: GradientsParams,
    path: Vec<String>,
    found: BTreeMap<String, Vec<f32>>,
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
            self.found.insert(self.path.join("."), numbers(gradient));
        }
    }
}

struct Step<'a> {
    optimizer: &'a mut Optimizer,
    gradients: BTreeMap<String, Vec<f32>>,
    rate: f64,
    scale: f64,
    path: Vec<String>,
}

impl ModuleMapper for Step<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.join(".");
        let Some(gradient) = self.gradients.remove(&name) else { return param };
        let decays = decays(&name, self.optimizer.recipe.decay_embeddings);
        let step = self.optimizer.numbers(self.rate, self.scale, decays);
        let moments = self.optimizer.moments.entry(name);
        let moments = moments.or_insert_with(|| Moments::zeros(gradient.len()));
        let (id, tensor, mapper) = param.consume();
        let (device, shape) = (tensor.device(), tensor.dims());
        let mut parameters = numbers(tensor.inner());
        parameters
            .par_chunks_mut(PIECE)
            .zip(gradient.par_chunks(PIECE))
            .zip(moments.first.par_chunks_mut(PIECE).zip(moments.second.par_chunks_mut(PIECE)))
            .for_each(|((parameters, gradient), (first, second))| {
                rows::adamw(Level::best(), &step, gradient, parameters, first, second);
            });
        let moved = Tensor::from_data(TensorData::new(parameters, shape), &device);
        Param::from_mapped_value(id, moved.require_grad(), mapper)
    }
}

/// Matrices decay; biases and norms never do, embeddings when the recipe says so.
fn decays(name: &str, embeddings: bool) -> bool {
    match name {
        "positions" | "types" => embeddings,
        _ => name.ends_with("weight") || name == "head",
    }
}
