//! The other map from a teacher's vectors to targets: a small network in place of PCA, trained without labels by
//! maximal coding rate reduction (MCR²).
//!
//! It is trained once, before the student, and then belongs to the run as the PCA does: it makes the targets and names
//! the space. It is no matrix, so no head can start as it and no model folder can hold it.
//!
//! `teacher's vector ─Linear, ELU─ ─Linear, ELU─> hidden ─Linear─ ─to length 1─> target`, and while it is trained
//! `hidden ─Linear─ ─Gumbel softmax─> shares of clusters`. The loss is `Rc − R` ([`crate::coding_rate`]) minus 4000
//! times the cosine of two views, which are a vector times a number near 1.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData, activation};
use hpd_eval::pca::Origin;
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Progress, Result, atomic, interrupt};
use hpd_kernels::Level;
use hpd_kernels::rows::{self, AdamW};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::coding_rate::{RateReduction, rate_reduction};
use crate::optimizer::Moments;
use crate::random::Random;
use crate::recipe::ProjectionRecipe;
use crate::student::{normalize, numbers};

/// Name of the trained map in a run's folder.
pub const FILE: &str = "mcr2.safetensors";

// The constants of the released code.
const NOISE: f32 = 0.005;
const GUMBEL_TEMPERATURE: f64 = 0.2;
const INVARIANCE: f64 = 4000.0;
const RATE: f64 = 1e-3;
const BETAS: [f64; 2] = [0.9, 0.99];
const WEIGHT_DECAY: f64 = 1e-5;

/// Steps between two words about the loss.
const TELL_EVERY: usize = 10;
/// Vectors that are mapped at a time.
const SLICE: usize = 4096;
/// The layers of the map in the order in which a vector passes them, then the one that tells clusters.
const LAYERS: [&str; 4] = ["first", "second", "output", "clusters"];
/// Those of the map itself.
const OF_MAP: usize = 3;
const HEADER: &str = "mcr2";

/// A trained map.
#[derive(Clone, Debug, PartialEq)]
pub struct Mcr2 {
    layers: Vec<Layer>,
    origin: Origin,
}

/// `x · weightᵀ + bias`.
#[derive(Clone, Debug, PartialEq)]
struct Layer {
    width: usize,
    /// `[out, width]`.
    weight: Vec<f32>,
    /// `[out]`.
    bias: Vec<f32>,
}

/// A layer on a device: its weight, `[out, width]`, and its bias, `[1, out]`.
type LayerTensors = [Tensor<2>; 2];

impl Mcr2 {
    /// Trains a map to `dim` numbers on `origin.rows` vectors of `width` numbers, of which `row` copies one.
    ///
    /// # Errors
    /// When the loss stops being finite or the user interrupts; nothing is kept of a training that was not finished.
    ///
    /// # Cost
    /// With the knobs' defaults about 80 ms of processor time a step, for vectors of 384 numbers; clusters beyond a
    /// thousand cost in proportion.
    pub fn train(
        recipe: &ProjectionRecipe,
        [width, dim]: [usize; 2],
        seed: u64,
        origin: Origin,
        row: impl Fn(usize, &mut [f32]),
        progress: &dyn Progress,
    ) -> Result<Self> {
        let mut training = Training::new(recipe, [width, dim], seed);
        progress.stage("training the MCR² map", Some(recipe.steps as u64));
        for step in 0..recipe.steps {
            interrupt::check("the MCR² map was not finished and begins anew")?;
            let told = training.step(step, origin.rows, &row).ok_or_else(|| diverged(step))?;
            progress.advance(1);
            if step % TELL_EVERY == 0 || step + 1 == recipe.steps {
                progress.message(&told.to_string());
            }
            if step + 1 == recipe.steps {
                progress.note(&format!("MCR² map of {} vectors: {told}", origin.rows));
            }
        }
        training.layers.truncate(OF_MAP);
        Ok(Self { layers: training.layers, origin })
    }

    /// What it was trained on.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Numbers in a target.
    pub fn dimensions(&self) -> usize {
        self.layers[OF_MAP - 1].bias.len()
    }

    /// Numbers in a vector before it.
    pub fn width(&self) -> usize {
        self.layers[0].width
    }

    /// All its numbers, which name the space of the targets.
    pub fn numbers(&self) -> Vec<f32> {
        let layer = |layer: &Layer| [layer.weight.clone(), layer.bias.clone()].concat();
        self.layers.iter().flat_map(layer).collect()
    }

    /// The targets of `vectors`, which have length 1.
    ///
    /// # Shapes
    /// `[n, width]` to `[n, dimensions]`.
    ///
    /// # Errors
    /// When the vectors have another width.
    pub fn project(&self, vectors: &Matrix) -> Result<Matrix> {
        if vectors.dim != self.width() {
            return Err(Error::mismatch(format!(
                "width of the vectors to map: expected {}, found {}",
                self.width(),
                vectors.dim
            )));
        }
        let (device, map) = (Device::flex(), self.on_tensors());
        let slices = vectors.data.chunks(SLICE * vectors.dim).map(|slice| {
            let shape = [slice.len() / vectors.dim, vectors.dim];
            numbers(map(Tensor::from_data(TensorData::new(slice.to_vec(), shape), &device)))
        });
        Ok(Matrix { data: slices.flatten().collect(), dim: self.dimensions() })
    }

    /// The same from tensor to tensor, on the device of the vectors.
    pub fn on_tensors(&self) -> impl Fn(Tensor<2>) -> Tensor<2> + '_ {
        |vectors| {
            let device = vectors.device();
            let layers: Vec<_> = self.layers.iter().map(|layer| layer.tensors(&device)).collect();
            normalize(linear(hidden(vectors, &layers), &layers[OF_MAP - 1]))
        }
    }

    /// Writes the map as a safetensors file.
    ///
    /// # Errors
    /// When the disk is full or the place cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let fail = |error| Error::io("write", path, std::io::Error::other(error));
        let tensors = self.layers.iter().zip(LAYERS).flat_map(|(layer, name)| {
            let out = layer.bias.len();
            [
                (format!("{name}.weight"), vec![out, layer.width], &layer.weight[..]),
                (format!("{name}.bias"), vec![out], &layer.bias[..]),
            ]
        });
        let views = tensors.map(|(name, shape, numbers)| {
            TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(numbers)).map(|v| (name, v))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(fail)?;
        let origin = serde_json::to_string(&self.origin).unwrap_or_default();
        let metadata = [(HEADER.to_owned(), origin)].into();
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(fail)?;
        atomic::write(path, &bytes)
    }

    /// Reads what [`Mcr2::save`] wrote.
    ///
    /// # Errors
    /// When the file is missing, damaged or no such map.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
        let what = || {
            Error::input(format!("`{}` is no MCR² map", path.display()))
                .hint("delete it to train the map again")
        };
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| what().caused_by(e))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| what().caused_by(e))?;
        let origin = header.metadata().as_ref().and_then(|metadata| metadata.get(HEADER));
        let origin = origin.and_then(|json| serde_json::from_str(json).ok()).ok_or_else(what)?;
        let layers: Option<Vec<Layer>> =
            LAYERS[..OF_MAP].iter().map(|name| Layer::read(&tensors, name)).collect();
        let layers = layers.ok_or_else(what)?;
        let fit = layers.windows(2).all(|pair| pair[0].bias.len() == pair[1].width);
        if fit { Ok(Self { layers, origin }) } else { Err(what()) }
    }
}

impl Layer {
    /// Evenly from ±1/√width, as PyTorch starts a Linear.
    fn fresh(out: usize, width: usize, random: &mut Random) -> Self {
        let bound = 1.0 / (width as f32).sqrt();
        let mut draw = |count: usize| (0..count).map(|_| bound * random.even()).collect();
        Self { width, weight: draw(out * width), bias: draw(out) }
    }

    fn read(tensors: &SafeTensors<'_>, name: &str) -> Option<Self> {
        let tensor = |part: &str| {
            let view = tensors.tensor(&format!("{name}.{part}")).ok()?;
            let numbers = view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            let numbers: Vec<f32> = numbers.collect();
            let whole = view.dtype() == Dtype::F32 && numbers.iter().all(|x| x.is_finite());
            whole.then(|| (view.shape().to_vec(), numbers))
        };
        let ((shape, weight), (bias_shape, bias)) = (tensor("weight")?, tensor("bias")?);
        let &[out, width] = &shape[..] else { return None };
        (bias_shape == [out] && out > 0 && width > 0).then_some(Self { width, weight, bias })
    }

    fn tensors(&self, device: &Device) -> LayerTensors {
        let out = self.bias.len();
        [(&self.weight, [out, self.width]), (&self.bias, [1, out])].map(|(numbers, shape)| {
            Tensor::from_data(TensorData::new(numbers.clone(), shape), device)
        })
    }
}

fn linear(x: Tensor<2>, [weight, bias]: &LayerTensors) -> Tensor<2> {
    x.matmul(weight.clone().transpose()) + bias.clone()
}

/// What the first two layers make of vectors.
fn hidden(x: Tensor<2>, layers: &[LayerTensors]) -> Tensor<2> {
    elu(linear(elu(linear(x, &layers[0])), &layers[1]))
}

/// `x` where it is positive, `eˣ − 1` elsewhere. burn's own has no finite gradient where `eˣ` overflows.
fn elu(x: Tensor<2>) -> Tensor<2> {
    activation::relu(x.clone()) + x.clamp_max(0.0).exp() - 1.0
}

/// A map while it is trained.
struct Training<'a> {
    recipe: &'a ProjectionRecipe,
    seed: u64,
    /// Those of the map and, last, the one that tells clusters.
    layers: Vec<Layer>,
    /// Of each layer's weight and bias.
    moments: Vec<[Moments; 2]>,
}

/// The parts of a step's loss.
#[derive(Clone, Copy, Debug)]
struct Told {
    whole: f64,
    parts: f64,
    cosine: f64,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { whole, parts, cosine } = self;
        write!(f, "coding rate {whole:.2}, of its clusters {parts:.2}, cosine of views {cosine:.6}")
    }
}

impl<'a> Training<'a> {
    fn new(recipe: &'a ProjectionRecipe, [width, dim]: [usize; 2], seed: u64) -> Self {
        const WEIGHTS: u64 = 0x3c;
        let mut random = Random::new(seed, &[WEIGHTS]);
        let widths = [width, width, dim, recipe.clusters];
        let layers: Vec<Layer> =
            widths.iter().map(|&out| Layer::fresh(out, width, &mut random)).collect();
        let zeros = |layer: &Layer| [&layer.weight, &layer.bias].map(|x| Moments::zeros(x.len()));
        let moments = layers.iter().map(zeros).collect();
        Self { recipe, seed, layers, moments }
    }

    /// One step on vectors drawn at random. `None` when its loss is not finite; then nothing was moved.
    fn step(&mut self, step: usize, rows: usize, row: &impl Fn(usize, &mut [f32])) -> Option<Told> {
        const STEPS: u64 = 0x3d;
        let mut random = Random::new(self.seed, &[STEPS, step as u64]);
        let device = Device::flex().autodiff();
        let layers: Vec<LayerTensors> = self
            .layers
            .iter()
            .map(|layer| layer.tensors(&device).map(Tensor::require_grad))
            .collect();
        let views = self.views(rows, row, &mut random);
        let count = self.recipe.batch_size;
        let views = TensorData::new(views, [2 * count, self.layers[0].width]);
        let (total, told) = self.loss(Tensor::from_data(views, &device), &layers, &mut random)?;
        let mut gradients = total.backward();
        let update = update(step);
        for ((layer, moments), tensors) in self.layers.iter_mut().zip(&mut self.moments).zip(layers)
        {
            let parts = [&mut layer.weight, &mut layer.bias].into_iter().zip(moments).zip(tensors);
            for ((parameters, Moments { first, second }), tensor) in parts {
                let gradient = tensor.grad_remove(&mut gradients).map(numbers).unwrap_or_default();
                rows::adamw(Level::best(), &update, &gradient, parameters, first, second);
            }
        }
        Some(told)
    }

    /// Two views of each vector of a batch, `[2 · batch, width]`: the vector, times a number near 1 of its own.
    fn views(
        &self,
        rows: usize,
        row: &impl Fn(usize, &mut [f32]),
        random: &mut Random,
    ) -> Vec<f32> {
        let (count, width) = (self.recipe.batch_size, self.layers[0].width);
        let mut first = vec![0.0; count * width];
        first.chunks_exact_mut(width).for_each(|vector| row(random.below(rows), vector));
        let mut views = [first.clone(), first].concat();
        for vector in views.chunks_exact_mut(width) {
            let factor = 1.0 + NOISE * random.normal();
            vector.iter_mut().for_each(|x| *x *= factor);
        }
        views
    }

    /// The loss of `views`, which is differentiated, and what to tell of it.
    fn loss(
        &self,
        views: Tensor<2>,
        layers: &[LayerTensors],
        random: &mut Random,
    ) -> Option<(Tensor<1>, Told)> {
        let hidden = hidden(views, layers);
        let mapped = normalize(linear(hidden.clone(), &layers[OF_MAP - 1]));
        let shares = gumbel_softmax(linear(hidden, &layers[OF_MAP]), random);
        let [z, other] = halves(mapped);
        let cosine = (z.clone() * other.clone()).sum_dim(1).mean();
        let z = normalize(z + other);
        let [shares, other] = halves(shares);
        let shares = (shares + other) / 2.0;
        let reduced = reduction(&z, &shares)?;
        let told = Told {
            whole: reduced.whole,
            parts: reduced.parts,
            cosine: f64::from(cosine.clone().into_scalar::<f32>()),
        };
        // Autodiff takes the rates' gradients as they are: those of a sum of products with constants.
        let led = led(z, reduced.of_vectors) + led(shares, reduced.of_shares);
        told.cosine.is_finite().then(|| (led - cosine * INVARIANCE, told))
    }
}

fn reduction(z: &Tensor<2>, shares: &Tensor<2>) -> Option<RateReduction> {
    let [dim, clusters] = [z.dims()[1], shares.dims()[1]];
    rate_reduction(&numbers(z.clone()), dim, &numbers(shares.clone()), clusters)
}

/// A number whose gradient with respect to `x` is `gradient`.
fn led(x: Tensor<2>, gradient: Vec<f32>) -> Tensor<1> {
    let gradient = TensorData::new(gradient, x.dims());
    let gradient = Tensor::<2>::from_data(gradient, &x.device());
    (x * gradient).sum()
}

/// The upper and the lower half of the rows.
fn halves(x: Tensor<2>) -> [Tensor<2>; 2] {
    let [rows, width] = x.dims();
    [0..rows / 2, rows / 2..rows].map(|half| x.clone().slice([half, 0..width]))
}

/// A soft choice of a cluster for each row: as likely as its logit says, and drawn anew each time.
fn gumbel_softmax(logits: Tensor<2>, random: &mut Random) -> Tensor<2> {
    let shape = logits.dims();
    let noise: Vec<f32> = (0..shape[0] * shape[1]).map(|_| random.gumbel()).collect();
    let noise = Tensor::from_data(TensorData::new(noise, shape), &logits.device());
    activation::softmax((logits + noise) / GUMBEL_TEMPERATURE, 1)
}

/// The numbers of AdamW in step `step`, counted from 0.
fn update(step: usize) -> AdamW {
    let correction = BETAS.map(|beta| 1.0 - beta.powf(step as f64 + 1.0));
    AdamW {
        gradient_scale: 1.0,
        beta1: BETAS[0] as f32,
        beta2: BETAS[1] as f32,
        rate: (RATE / correction[0]) as f32,
        second_correction: (1.0 / correction[1].sqrt()) as f32,
        epsilon: 1e-8,
        decay: (1.0 - RATE * WEIGHT_DECAY) as f32,
    }
}

fn diverged(step: usize) -> Error {
    Error::input(format!("the loss of the MCR² map is not finite at step {}", step + 1))
        .hint("use a teacher whose vectors are normalised")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hpd_files::Silent;

    const WIDTH: usize = 12;
    const ROWS: usize = 300;

    /// Vectors around six directions.
    fn vector(i: usize, numbers: &mut [f32]) {
        let mut direction = Random::new(1, &[(i % 6) as u64]);
        let mut noise = Random::new(2, &[i as u64]);
        numbers.iter_mut().for_each(|x| *x = direction.normal() + 0.2 * noise.normal());
    }

    fn recipe(steps: usize) -> ProjectionRecipe {
        let mut recipe = crate::recipe::Recipe::load("mcr2").unwrap().projection;
        (recipe.steps, recipe.batch_size, recipe.clusters) = (steps, 32, 10);
        recipe
    }

    fn trained(steps: usize, seed: u64) -> Mcr2 {
        let origin = Origin { teacher: "teacher".to_owned(), sentences: String::new(), rows: ROWS };
        Mcr2::train(&recipe(steps), [WIDTH, 4], seed, origin, vector, &Silent).unwrap()
    }

    fn vectors() -> Matrix {
        let mut data = vec![0.0; ROWS * WIDTH];
        data.chunks_exact_mut(WIDTH).enumerate().for_each(|(i, numbers)| vector(i, numbers));
        Matrix { data, dim: WIDTH }
    }

    /// The coding rate of the targets as one crowd.
    fn rate(map: &Mcr2) -> f64 {
        let targets = map.project(&vectors()).unwrap();
        rate_reduction(&targets.data, targets.dim, &[1.0; ROWS], 1).unwrap().whole
    }

    #[test]
    fn training_spreads_the_targets_and_keeps_the_directions_apart() {
        let (start, end) = (trained(1, 1), trained(200, 1));
        assert!(rate(&end) > rate(&start) + 0.5, "{} {}", rate(&start), rate(&end));
        let targets = end.project(&vectors()).unwrap();
        let dot = |i: usize, j: usize| {
            targets.row(i).iter().zip(targets.row(j)).map(|(a, b)| a * b).sum::<f32>()
        };
        let mean = |step: usize| (0..200).map(|i| dot(i, i + step)).sum::<f32>() / 200.0;
        assert!((dot(3, 3) - 1.0).abs() < 1e-5, "targets have length 1");
        assert!(mean(6) > mean(3) + 0.3, "one direction {}, another {}", mean(6), mean(3));
    }

    #[test]
    fn the_gradient_is_that_of_the_whole_loss() {
        // The loss by its definition: rates from the map's outputs, one number moved at a time.
        let recipe = recipe(1);
        let training = Training::new(&recipe, [WIDTH, 4], 5);
        let device = Device::flex().autodiff();
        let views = training.views(ROWS, &vector, &mut Random::new(6, &[]));
        let value = |training: &Training<'_>| {
            let shape = [2 * recipe.batch_size, WIDTH];
            let views = Tensor::from_data(TensorData::new(views.clone(), shape), &device);
            let layers: Vec<LayerTensors> = training
                .layers
                .iter()
                .map(|layer| layer.tensors(&device).map(Tensor::require_grad))
                .collect();
            let loss = training.loss(views, &layers, &mut Random::new(7, &[])).unwrap();
            (loss, layers)
        };
        let ((total, _), layers) = value(&training);
        let gradients = total.backward();
        for (layer, place) in [(0, 5), (1, 17), (2, 9), (3, 40)] {
            let gradient = numbers(layers[layer][0].grad(&gradients).unwrap())[place];
            let moved = |by: f32| {
                let mut layers = training.layers.clone();
                layers[layer].weight[place] += by;
                let moved = Training { layers, ..Training::new(&recipe, [WIDTH, 4], 5) };
                let ((_, told), _) = value(&moved);
                told.parts - told.whole - INVARIANCE * told.cosine
            };
            // Cosines of views are f32 near 1, times 4000: the step must be large.
            let difference = (moved(5e-3) - moved(-5e-3)) / 1e-2;
            let off = (f64::from(gradient) - difference).abs();
            assert!(off < 0.05 + 0.05 * difference.abs(), "{layer}: {gradient} {difference}");
        }
    }

    #[test]
    fn a_seed_decides_the_map_and_a_file_keeps_it() {
        let (one, again, other) = (trained(5, 1), trained(5, 1), trained(5, 2));
        assert_eq!(one, again);
        assert_ne!(one.numbers(), other.numbers());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        one.save(&path).unwrap();
        assert_eq!(Mcr2::load(&path).unwrap(), one);
    }

    #[test]
    fn damaged_files_and_other_widths_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let map = trained(1, 1);
        map.save(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in [0, 7, 100, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(Mcr2::load(&path).is_err(), "{cut} bytes");
        }
        let mut odd = map.clone();
        odd.layers[1].weight[0] = f32::NAN;
        odd.save(&path).unwrap();
        assert!(Mcr2::load(&path).unwrap_err().to_string().ends_with("is no MCR² map"));
        let error = map.project(&Matrix { data: vec![0.0; 10], dim: 5 }).unwrap_err();
        assert!(error.to_string().ends_with("expected 12, found 5"), "{error}");
    }

    #[test]
    fn vectors_that_are_not_finite_end_the_training() {
        let origin = Origin { rows: 4, ..Origin::default() };
        let row = |_: usize, numbers: &mut [f32]| numbers.fill(f32::INFINITY);
        let error = Mcr2::train(&recipe(3), [WIDTH, 4], 1, origin, row, &Silent).unwrap_err();
        assert!(error.to_string().ends_with("is not finite at step 1"), "{error}");
    }

    #[test]
    fn elu_has_a_finite_gradient_everywhere() {
        let x = Tensor::<2>::from_data([[-200.0, -1.0, 0.5, 200.0]], &Device::flex().autodiff());
        let x = x.require_grad();
        let y = elu(x.clone());
        let near = |found: Vec<f32>, expected: [f32; 4]| {
            let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(close, "{found:?} {expected:?}");
        };
        near(numbers(y.clone()), [-1.0, (-1.0_f32).exp() - 1.0, 0.5, 200.0]);
        let gradient = numbers(x.grad(&y.sum().backward()).unwrap());
        near(gradient, [0.0, (-1.0_f32).exp(), 1.0, 1.0]);
    }
}
