//! A projection that keeps neighbours: principal components, turned until each vector's neighbours are those it had.
//!
//! PCA keeps what varies most, which is not what tells near vectors apart; and its first 32 components are the best 32
//! for variance only. Here the matrix starts as PCA's and is trained, before there is any student, so that the softmax
//! over a vector's neighbours stays what it was at full width, for the whole vector and for its prefixes alike. It
//! remains a matrix: heads start as it, and a projected teacher is a folder like any other. Separate from the student's
//! training because it needs the teacher's vectors alone and takes half a minute.

use burn::tensor::{Device, Tensor, TensorData};
use hpd_files::{Error, Progress, Result, interrupt};
use hpd_kernels::Level;
use hpd_kernels::rows::{self, AdamW};

use crate::batches::Batches;
use crate::loss::neighbour_divergence;
use crate::optimizer::Moments;
use crate::recipe::{Order, Recipe};
use crate::student::{normalize, numbers};
use crate::topics;

/// Where the rate begins; it falls to 0 in a line.
const LEARNING_RATE: f64 = 1e-3;
/// Steps between two looks at the interrupt and two messages.
const LOOK_EVERY: usize = 50;
const BETAS: [f64; 2] = [0.9, 0.999];
/// How often each vector is seen at most.
const MOST_PASSES: usize = 20;

/// Vectors to learn from.
pub struct Examples<'a> {
    /// How many there are.
    pub count: usize,
    /// Numbers in one.
    pub width: usize,
    /// Copies vector i, the mean taken away.
    pub row: &'a dyn Fn(usize, &mut [f32]),
}

impl Examples<'_> {
    fn tensor(&self, chosen: &[u32]) -> Tensor<2> {
        let mut numbers = vec![0.0; chosen.len() * self.width];
        for (vector, &i) in numbers.chunks_exact_mut(self.width).zip(chosen) {
            (self.row)(i as usize, vector);
        }
        let data = TensorData::new(numbers, [chosen.len(), self.width]);
        Tensor::from_data(data, &Device::flex())
    }
}

/// Trains `components`, `[dim, width]`, as the recipe's `projection` says; returns them in the same shape.
///
/// # Errors
/// When the loss stops being finite or the user interrupts.
///
/// # Cost
/// `steps · batch_size · (batch_size + dim) · width` multiplications, three times as many with the gradient.
pub fn refine(
    recipe: &Recipe,
    mut components: Vec<f32>,
    examples: &Examples<'_>,
    progress: &dyn Progress,
) -> Result<Vec<f32>> {
    const SEED: u64 = 0x6e;
    let wanted = &recipe.projection;
    let (dim, width) = (components.len() / examples.width, examples.width);
    let batches = Batches {
        order: Order::Topics,
        size: wanted.batch_size,
        topic_group: recipe.topic_group,
        seed: recipe.seed ^ SEED,
    };
    let steps = wanted.steps.min((MOST_PASSES * examples.count).div_ceil(wanted.batch_size));
    progress.stage("refining the projection", Some(steps as u64));
    let start = matrix(&components, [dim, width]);
    let projected =
        |rows: &[u32]| normalize(examples.tensor(rows).matmul(start.clone().transpose()));
    let topics = topics::topics(examples.count, recipe.seed, &projected);

    let mut moments = Moments::zeros(components.len());
    let mut queue = Vec::new();
    for step in 0..steps {
        if queue.is_empty() {
            let epoch = step * wanted.batch_size / examples.count;
            let all = (0..examples.count as u32).collect();
            queue = batches.epoch(epoch, all, |i| topics[i as usize] as usize);
        }
        let batch = queue.pop().unwrap_or_default();
        let leaf = matrix(&components, [dim, width]).autodiff().require_grad();
        let loss = divergence(recipe, leaf.clone(), examples.tensor(&batch).autodiff());
        let value = f64::from(loss.clone().into_scalar::<f32>());
        let gradient = leaf.grad_remove(&mut loss.backward()).map(numbers).unwrap_or_default();
        let rate = LEARNING_RATE * (1.0 - step as f64 / steps as f64);
        let Moments { first, second } = &mut moments;
        rows::adamw(Level::best(), &update(step, rate), &gradient, &mut components, first, second);
        if !value.is_finite() || components.iter().any(|number| !number.is_finite()) {
            return Err(Error::input(format!(
                "the projection's loss is {value} at step {step}, expected finite"
            ))
            .hint("--set projection.kind=pca"));
        }
        progress.advance(1);
        if step % LOOK_EVERY == 0 {
            progress.message(&format!("divergence {value:.4}"));
            interrupt::check("the projection is not kept")?;
        }
    }
    Ok(components)
}

/// Mean over the prefixes and the whole of how far neighbours are from those at full width.
fn divergence(recipe: &Recipe, components: Tensor<2>, vectors: Tensor<2>) -> Tensor<1> {
    let dim = components.dims()[0];
    let widths: Vec<usize> = recipe.projection.prefixes(dim).chain([dim]).collect();
    let output = vectors.clone().matmul(components.transpose());
    let parts = widths.iter().map(|&prefix| {
        let output = output.clone().slice([0..output.dims()[0], 0..prefix]);
        neighbour_divergence(output, vectors.clone(), recipe.loss.temperature)
    });
    let sum = parts.reduce(|a, b| a + b).expect("the whole vector is always there");
    sum / widths.len() as f64
}

fn matrix(numbers: &[f32], shape: [usize; 2]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(numbers.to_vec(), shape), &Device::flex())
}

/// Adam without decay.
fn update(step: usize, rate: f64) -> AdamW {
    let [first, second] = BETAS.map(|beta| 1.0 - beta.powf(step as f64 + 1.0));
    AdamW {
        gradient_scale: 1.0,
        beta1: BETAS[0] as f32,
        beta2: BETAS[1] as f32,
        rate: (rate / first) as f32,
        second_correction: (1.0 / second.sqrt()) as f32,
        epsilon: 1e-8,
        decay: 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use hpd_files::Silent;

    const WIDTH: usize = 12;

    /// Vectors whose first four numbers vary little.
    fn vectors(count: usize) -> Vec<f32> {
        let mut random = Random::new(3, &[1]);
        (0..count * WIDTH)
            .map(|i| if i % WIDTH < 4 { 0.3 } else { 1.0 } * random.normal())
            .collect()
    }

    fn recipe() -> Recipe {
        let mut recipe = Recipe::load("hpd").unwrap();
        recipe.dim = 4;
        (recipe.projection.steps, recipe.projection.batch_size) = (1000, 32);
        recipe.projection.prefixes = vec![2, 64];
        recipe.loss.temperature = 0.2;
        recipe
    }

    #[test]
    fn neighbours_are_kept_better_than_at_the_start_and_the_same_each_time() {
        let numbers = vectors(2000);
        let copy = |i: usize, row: &mut [f32]| row.copy_from_slice(&numbers[i * WIDTH..][..WIDTH]);
        let examples = Examples { count: 2000, width: WIDTH, row: &copy };
        let (recipe, mut start) = (recipe(), vec![0.0; 4 * WIDTH]);
        (0..4).for_each(|i| start[i * WIDTH + i] = 1.0);
        let refined = refine(&recipe, start.clone(), &examples, &Silent).unwrap();
        assert_eq!(refined, refine(&recipe, start.clone(), &examples, &Silent).unwrap());
        let all: Vec<u32> = (0..2000).collect();
        let [before, after] = [start, refined].map(|components| {
            let loss = divergence(&recipe, matrix(&components, [4, WIDTH]), examples.tensor(&all));
            loss.into_scalar::<f32>()
        });
        assert!(after < 0.9 * before, "{after} is not below {before}");
    }

    #[test]
    fn a_loss_that_is_not_finite_is_an_error() {
        let copy = |_: usize, row: &mut [f32]| row.fill(f32::INFINITY);
        let examples = Examples { count: 64, width: WIDTH, row: &copy };
        let error = refine(&recipe(), vec![0.1; 4 * WIDTH], &examples, &Silent).unwrap_err();
        assert!(error.to_string().contains("the projection's loss is"), "{error}");
    }
}
