//! AdamW over the student's parameters, with the gradient's length cut over all of them together.
//!
//! burn clips each parameter by itself and takes a dozen passes over every tensor a step; here the norm is global,
//! as in PyTorch's `clip_grad_norm_`, and a step is one pass ([`hpd_kernels::rows::adamw`]) on the host, where
//! tensors give up and take back their buffers without a copy. On a graphics card everything but the word embeddings
//! stays there ([`on_device`]).
//!
//! Word embeddings. With `lazy_embeddings`, rows outside the batch are untouched: their moments decay only when
//! the word comes up again, and there is no decay of weights. Otherwise every row moves every step, as PyTorch's
//! dense AdamW moves them, without a dense gradient ever being made.

mod on_device;

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Gradients, Tensor, TensorData};
use hpd_kernels::Level;
use hpd_kernels::rows::{self, AdamW};
use rayon::prelude::*;

use crate::fused::is_cpu;
use crate::recipe::OptimizerRecipe;
use crate::student::{Body, PackedBatch, Student, numbers};
use on_device::{DeviceGradients, DeviceMoments};

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
    /// Those of `count` numbers before the first step.
    pub fn zeros(count: usize) -> Self {
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
    /// The body's, as long as it is trained on a graphics card; newer than what `moments` has of it.
    on_device: Option<DeviceMoments>,
}

impl Optimizer {
    /// An optimiser that has seen nothing.
    pub fn new(recipe: OptimizerRecipe) -> Self {
        Self::resumed(recipe, 0, BTreeMap::new())
    }

    /// An optimiser as it was after `steps` steps.
    pub fn resumed(
        recipe: OptimizerRecipe,
        steps: u64,
        moments: BTreeMap<String, Moments>,
    ) -> Self {
        Self { recipe, steps, moments, on_device: None }
    }

    /// What it remembers of each tensor that ever had a gradient.
    pub fn moments(&mut self) -> &BTreeMap<String, Moments> {
        if let Some(on_device) = &self.on_device {
            self.moments.extend(on_device.on_host());
        }
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
        let words = words.grad_remove(&mut gradients);
        let words = words.map(|of_rows| student.word_gradient(batch, of_rows));
        let of_words = words.as_deref().map_or(0.0, sum_of_squares);
        if is_cpu(&student.device()) {
            let gradients = by_name(&student.body, gradients);
            // Summed in the order of their names.
            let of_body: f64 = gradients.values().map(|gradient| sum_of_squares(gradient)).sum();
            let norm = (of_body + of_words).sqrt();
            let Some(scale) = self.begin(norm) else { return (student, norm) };
            let mut step = Step { optimizer: self, gradients, rate, scale, path: Vec::new() };
            student.body = student.body.map(&mut step);
            self.step_words(&mut student, batch, words.as_deref(), rate, scale);
            return (student, norm);
        }
        let gradients = DeviceGradients::of(&student.body, gradients);
        let norm = (gradients.sum_of_squares() + of_words).sqrt();
        let Some(scale) = self.begin(norm) else { return (student, norm) };
        self.step_on_device(&mut student, gradients, rate, scale);
        self.step_words(&mut student, batch, words.as_deref(), rate, scale);
        (student, norm)
    }

    /// Counts a step of a gradient of length `norm` and says by what it is multiplied; `None` when it is not finite.
    fn begin(&mut self, norm: f64) -> Option<f64> {
        let clip = self.recipe.clip_norm;
        norm.is_finite().then(|| {
            self.steps += 1;
            if clip > 0.0 { (clip / norm).min(1.0) } else { 1.0 }
        })
    }

    fn step_on_device(
        &mut self,
        student: &mut Student,
        gradients: DeviceGradients,
        rate: f64,
        scale: f64,
    ) {
        let step = self.numbers(rate, scale, true);
        let moments = &self.moments;
        let known = |name: &str| moments.get(name).cloned();
        let decay_embeddings = self.recipe.decay_embeddings;
        let on_device = self
            .on_device
            .get_or_insert_with(|| DeviceMoments::new(&gradients, decay_embeddings, known));
        student.body = on_device.step(student.body.clone(), gradients, &step);
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
        gradient: Option<&[f32]>,
        rate: f64,
        scale: f64,
    ) {
        let Some(gradient) = gradient else { return };
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

/// The square of a gradient's length.
fn sum_of_squares(numbers: &[f32]) -> f64 {
    let parts: Vec<f64> = numbers
        .par_chunks(PIECE)
        .map(|piece| {
            let mut total = 0.0;
            rows::sum_of_squares(Level::best(), piece, &mut total);
            total
        })
        .collect();
    parts.iter().sum()
}

/// The gradient of one of a body's tensors.
struct Gradient {
    id: ParamId,
    name: String,
    /// End to end.
    flat: Tensor<1>,
}

/// Takes the gradients out of burn, in the order of the visit; tensors without one are left out.
fn gradients_of(body: &Body, gradients: Gradients) -> Vec<Gradient> {
    let gradients = GradientsParams::from_grads(gradients, body);
    let mut collect = Collect { gradients, path: Vec::new(), found: Vec::new() };
    body.visit(&mut collect);
    collect.found
}

/// The same on the host, by the parameters' names.
fn by_name(body: &Body, gradients: Gradients) -> BTreeMap<String, Vec<f32>> {
    let gradients = gradients_of(body, gradients).into_iter();
    gradients.map(|gradient| (gradient.name, numbers(gradient.flat))).collect()
}

/// A parameter's name: its path, without the group of what stands before the layers. Checkpoints were written before
/// there was that group.
fn name_of(path: &[String]) -> String {
    let parts: Vec<&str> =
        path.iter().map(String::as_str).filter(|part| *part != "front").collect();
    parts.join(".")
}

struct Collect {
    gradients: GradientsParams,
    path: Vec<String>,
    found: Vec<Gradient>,
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
            let flat = gradient.reshape([-1]);
            self.found.push(Gradient { id: param.id, name: name_of(&self.path), flat });
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
        let name = name_of(&self.path);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::{Goals, Vectors, loss};
    use crate::recipe::{Activation, Recipe};
    use crate::student::{DropoutSites, HeadShape};
    use crate::triplets::StepTriplets;
    use burn::tensor::Device;
    use hpd_encoder::{EncoderConfig, ModelType};

    const TEXTS: [&[u32]; 4] = [&[1, 2, 3], &[4, 5, 6, 7], &[2, 8], &[9, 3, 1, 1]];

    fn student() -> Student {
        let config = EncoderConfig {
            model_type: ModelType::Roberta,
            hidden_size: 8,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 12,
            vocab_size: 12,
            max_position_embeddings: 10,
            type_vocab_size: 1,
            layer_norm_eps: 1e-5,
            hidden_act: hpd_encoder::Activation::Gelu,
            pad_token_id: 1,
        };
        let head = HeadShape { dim: 4, bias: true, activation: Activation::Tanh, normalize: true };
        Student::fresh(config, head, 3, &Device::flex().autodiff()).unwrap()
    }

    /// One first step on a batch of `texts`; returns the student, its gradient's length and the optimiser.
    fn step(
        recipe: &OptimizerRecipe,
        student: Student,
        texts: &[&[u32]],
        rate: f64,
    ) -> (Student, f64, Optimizer) {
        let mut optimizer = Optimizer::new(*recipe);
        let (student, norm) = step_with(&mut optimizer, student, texts, rate);
        (student, norm, optimizer)
    }

    fn step_with(
        optimizer: &mut Optimizer,
        student: Student,
        texts: &[&[u32]],
        rate: f64,
    ) -> (Student, f64) {
        let batch = PackedBatch::new(texts.iter().copied(), &student.config);
        let words = student.word_rows(&batch).require_grad();
        let passage = student.forward(&batch, words.clone(), &mut DropoutSites::none());
        let device = Device::flex().autodiff();
        let target = |width: usize| {
            let numbers = (0..texts.len() * width).map(|i| (i as f32 * 1.7).sin()).collect();
            Tensor::<2>::from_data(TensorData::new(numbers, [texts.len(), width]), &device)
        };
        let mut recipe = Recipe::load("hpd").unwrap();
        recipe.dim = 4;
        let vectors = Vectors { target: target(4), teacher: target(9) };
        let goals = Goals { batch: vectors, corpus: None, layers: None };
        let total = loss(&recipe, &passage, &goals, &StepTriplets::default()).total;
        optimizer.step(student, &batch, &words, total.backward(), rate)
    }

    fn hpd() -> OptimizerRecipe {
        Recipe::load("hpd").unwrap().optimizer
    }

    #[test]
    fn every_parameter_receives_a_gradient_and_moves() {
        let before = student();
        let (after, norm, mut optimizer) = step(&hpd(), before.clone(), &TEXTS, 1e-3);
        assert!(norm > 0.0);
        let (before, after) = (before.tensors(), after.tensors());
        for (before, after) in before.iter().zip(&after) {
            assert_ne!(before.data, after.data, "{}", before.name);
        }
        for (name, moments) in optimizer.moments() {
            assert!(moments.first.iter().any(|&m| m != 0.0), "{name}");
        }
        // Query, key and value share a matrix and a bias here: 4 tensors of each layer less than in files.
        assert_eq!(optimizer.moments().len(), after.len() - 2 * 4);
    }

    #[test]
    fn moments_are_named_as_the_first_checkpoints_named_them() {
        let (_, _, mut optimizer) = step(&hpd(), student(), &TEXTS, 1e-3);
        let names: Vec<&str> = optimizer.moments().keys().map(String::as_str).collect();
        for name in ["head", "head_bias", "norm.beta", "norm.gamma", "positions", "types", "words"]
        {
            assert!(names.contains(&name), "{name} is missing in {names:?}");
        }
        assert!(names.contains(&"layers.1.query_key_value.weight"), "{names:?}");
    }

    #[test]
    fn a_gradient_longer_than_the_clip_is_cut_over_all_parameters() {
        let mut recipe = hpd();
        // Without momentum's help the first moments are the gradient itself, scaled.
        (recipe.beta1, recipe.clip_norm) = (0.0, 0.01);
        let (_, norm, mut optimizer) = step(&recipe, student(), &TEXTS, 0.0);
        let squares = |m: &Moments| m.first.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        let cut = optimizer.moments().values().map(squares).sum::<f64>().sqrt();
        assert!(norm > 0.01 && (cut - 0.01).abs() < 1e-6, "{norm} {cut}");
    }

    #[test]
    fn lazy_embeddings_leave_absent_words_alone_and_dense_ones_do_not() {
        let row = |student: &Student, word: usize| student.words[word * 8..][..8].to_vec();
        let mut recipe = hpd();
        let first = student();
        let mut optimizer = Optimizer::new(recipe);
        let (second, _) = step_with(&mut optimizer, first.clone(), &TEXTS, 1e-2);
        let (third, _) = step_with(&mut optimizer, second.clone(), &TEXTS[..1], 1e-2);
        assert_eq!(row(&first, 11), row(&second, 11));
        assert_eq!(row(&second, 9), row(&third, 9));
        assert_ne!(row(&second, 2), row(&third, 2));

        (recipe.lazy_embeddings, recipe.decay_embeddings) = (false, true);
        let mut optimizer = Optimizer::new(recipe);
        let (second, _) = step_with(&mut optimizer, first.clone(), &TEXTS, 1e-2);
        let (third, _) = step_with(&mut optimizer, second.clone(), &TEXTS[..1], 1e-2);
        let decayed: Vec<f32> =
            row(&first, 11).iter().map(|x| x * (1.0 - 1e-2_f64 * 0.01) as f32).collect();
        assert_eq!(row(&second, 11), decayed);
        assert_ne!(row(&second, 9), row(&third, 9), "its moments move it on");
    }

    #[test]
    fn matrices_decay_and_biases_norms_and_embeddings_do_not() {
        let mut recipe = hpd();
        // A gradient cut to nothing leaves decay alone at work.
        (recipe.clip_norm, recipe.weight_decay) = (1e-30, 0.5);
        let before = student();
        let (after, _, _) = step(&recipe, before.clone(), &TEXTS, 0.1);
        for (before, after) in before.tensors().iter().zip(&after.tensors()) {
            let is_matrix = before.shape.len() == 2 && !before.name.starts_with("embeddings");
            let factor = if is_matrix { 1.0 - 0.1 * 0.5 } else { 1.0 };
            let near = |(a, b): (&f32, &f32)| (a * factor - b).abs() < 1e-6;
            assert!(before.data.iter().zip(&after.data).all(near), "{}", before.name);
        }
    }

    #[test]
    fn a_gradient_that_is_not_finite_moves_nothing() {
        let mut before = student();
        before.words[3 * 8] = f32::INFINITY;
        let (after, norm, mut optimizer) = step(&hpd(), before.clone(), &TEXTS, 1e-2);
        assert!(!norm.is_finite() && optimizer.moments().is_empty());
        assert_eq!(before.words, after.words);
    }

    #[test]
    fn a_step_on_a_device_is_that_of_the_host() {
        let gradients = |student: &Student, batch: &PackedBatch, target: f32| {
            let words = student.word_rows(batch);
            let output = student.forward(batch, words, &mut DropoutSites::none()).output;
            (output - target).powi_scalar(2).sum().backward()
        };
        let batch = PackedBatch::new(TEXTS.iter().copied(), &student().config);
        let [mut host, mut device] = [hpd(), hpd()].map(Optimizer::new);
        let [mut on_host, mut on_device] = [student(), student()];
        for target in [0.3, -0.2, 0.1] {
            let (scale, rate) = (0.7, 1e-2);
            host.steps += 1;
            device.steps += 1;
            let found = by_name(&on_host.body, gradients(&on_host, &batch, target));
            let mut step =
                Step { optimizer: &mut host, gradients: found, rate, scale, path: Vec::new() };
            on_host.body = on_host.body.map(&mut step);
            let found = gradients(&on_device, &batch, target);
            let found = DeviceGradients::of(&on_device.body, found);
            device.step_on_device(&mut on_device, found, rate, scale);
        }
        for (a, b) in on_host.tensors().iter().zip(&on_device.tensors()) {
            let near = |(a, b): (&f32, &f32)| (a - b).abs() < 2e-4;
            assert!(a.data.iter().zip(&b.data).all(near), "{}", a.name);
        }
        let (host, device) = (host.moments().clone(), device.moments().clone());
        assert_eq!(host.keys().collect::<Vec<_>>(), device.keys().collect::<Vec<_>>());
        for (name, moments) in &host {
            let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4 * (1.0 + a.abs());
            assert!(moments.first.iter().zip(&device[name].first).all(near), "{name}");
            assert!(moments.second.iter().zip(&device[name].second).all(near), "{name}");
        }
    }
}
