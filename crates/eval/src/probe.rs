//! A linear probe: how much of a label can a plane read off frozen vectors?
//!
//! Multinomial logistic regression with an L2 penalty, fitted by L-BFGS until the slope is gone, without any random
//! number. Vectors are shifted by their mean and divided by one number, so that a number of them varies by 1 on
//! average: a penalty then means the same for every model, and a plane separates what it separated before.
//!
//! `vectors, labels ─choose penalty on a fifth─> penalty ─fit on all─> Probe ─> labels of other vectors`

use hpd_files::vectors::Matrix;
use hpd_files::{Error, Result, interrupt};
use rayon::prelude::*;
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::{Layout, NdTensorView};

use crate::lbfgs::{Stop, minimise};

/// Penalties tried, the strongest first, so that each fit starts near its end and a tie goes to the plainer probe.
pub const PENALTIES: [f64; 9] = [1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001];

/// Every so many-th row of a label is left out of the training to choose the penalty by.
const FOLD: usize = 5;

/// Rows that one task multiplies. Sums go block by block, so that they do not depend on the number of threads.
const BLOCK_ROWS: usize = 1024;

/// No number of the gradient of the mean loss is larger at the end, as scikit-learn has it by default.
const STOP: Stop = Stop { gradient: 1e-4, steps: 300 };

/// A classifier by planes.
#[derive(Clone, Debug)]
pub struct Probe {
    scaling: Scaling,
    /// `[classes, dim]`, then `[classes]` of biases.
    parameters: Vec<f64>,
    classes: usize,
}

/// Vectors and the number of each one's label.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// One row for each text.
    pub rows: &'a Matrix,
    /// One label for each text, below `classes`.
    pub labels: &'a [usize],
    /// How many labels there are.
    pub classes: usize,
}

impl Probe {
    /// Minimises `mean(−log softmax(W x + b)[label]) + penalty / 2 · ‖W‖²`, with `x` shifted and scaled as the module
    /// says. Biases bear no penalty.
    ///
    /// # Errors
    /// When a vector is not finite, or a stop was asked for.
    ///
    /// # Cost
    /// `4 · n · dim · classes` flops a step, and one copy of the vectors.
    pub fn fit(data: Labelled<'_>, penalty: f64) -> Result<Self> {
        Self::path(data, &[penalty]).map(|mut probes| probes.remove(0))
    }

    /// A probe for each penalty, each fitted from where the one before ended.
    fn path(data: Labelled<'_>, penalties: &[f64]) -> Result<Vec<Self>> {
        let scaling = Scaling::of(data.rows)?;
        let rows = scaling.apply(data.rows);
        let data = Labelled { rows: &rows, ..data };
        let mut parameters = vec![0.0; data.classes * (rows.dim + 1)];
        let fit = |&penalty: &f64| {
            interrupt::check("nothing was written")?;
            let loss = |x: &[f64], gradient: &mut [f64]| loss(data, penalty, x, gradient);
            parameters = minimise(std::mem::take(&mut parameters), STOP, loss);
            let (scaling, parameters) = (scaling.clone(), parameters.clone());
            Ok(Self { scaling, parameters, classes: data.classes })
        };
        penalties.iter().map(fit).collect()
    }

    /// How probable each label is for each row: `[n, dim]` to `[n, classes]`.
    pub fn probabilities(&self, rows: &Matrix) -> Matrix {
        let rows = self.scaling.apply(rows);
        let planes = Planes::of(&self.parameters, self.classes);
        let block = |rows: &[f32]| {
            let mut logits = planes.logits(rows);
            for row in logits.chunks_mut(self.classes) {
                softmax(row);
            }
            logits
        };
        let blocks = rows.data.par_chunks(BLOCK_ROWS * rows.dim.max(1));
        Matrix { data: blocks.flat_map_iter(block).collect(), dim: self.classes }
    }

    /// The most probable label of each row, the first of equal ones.
    pub fn predict(&self, rows: &Matrix) -> Vec<usize> {
        self.probabilities(rows).rows().map(largest).collect()
    }
}

/// The penalty whose probe, fitted on four fifths of the rows of each label, is right most often on the last fifth.
///
/// # Errors
/// As [`Probe::fit`].
pub fn choose_penalty(data: Labelled<'_>) -> Result<f64> {
    let (training, held_out) = folds(data.labels, data.classes);
    let part = |places: &[usize]| {
        let rows = places.iter().flat_map(|&i| data.rows.row(i)).copied().collect();
        let labels: Vec<usize> = places.iter().map(|&i| data.labels[i]).collect();
        (Matrix { data: rows, dim: data.rows.dim }, labels)
    };
    let (rows, labels) = part(&training);
    let (held_out_rows, held_out_labels) = part(&held_out);
    let probes = Probe::path(Labelled { rows: &rows, labels: &labels, ..data }, &PENALTIES)?;
    let right = |probe: &Probe| {
        let predicted = probe.predict(&held_out_rows);
        predicted.iter().zip(&held_out_labels).filter(|(found, label)| found == label).count()
    };
    let mut best = (PENALTIES[0], right(&probes[0]));
    for (&penalty, probe) in PENALTIES.iter().zip(&probes).skip(1) {
        let right = right(probe);
        if right > best.1 {
            best = (penalty, right);
        }
    }
    Ok(best.0)
}

/// Places to train on and places to choose by: of each label every fifth, in the order they come.
fn folds(labels: &[usize], classes: usize) -> (Vec<usize>, Vec<usize>) {
    let mut seen = vec![0; classes];
    (0..labels.len()).partition(|&i| {
        let count = &mut seen[labels[i]];
        *count += 1;
        !usize::is_multiple_of(*count, FOLD)
    })
}

/// What is done to vectors before a plane is laid through them.
#[derive(Clone, Debug)]
struct Scaling {
    mean: Vec<f64>,
    factor: f64,
}

impl Scaling {
    fn of(rows: &Matrix) -> Result<Self> {
        if let Some(i) = rows.data.iter().position(|number| !number.is_finite()) {
            let text = i / rows.dim + 1;
            return Err(Error::model(format!("the vector of text {text} is not finite")));
        }
        let mut mean = vec![0.0; rows.dim];
        for row in rows.rows() {
            mean.iter_mut().zip(row).for_each(|(mean, &number)| *mean += f64::from(number));
        }
        mean.iter_mut().for_each(|mean| *mean /= rows.len().max(1) as f64);
        let squares: f64 = rows
            .rows()
            .flat_map(|row| row.iter().zip(&mean))
            .map(|(&number, mean)| (f64::from(number) - mean).powi(2))
            .sum();
        let deviation = (squares / rows.data.len().max(1) as f64).sqrt();
        // Vectors that are all alike have nothing to scale.
        let factor = if deviation > 0.0 { 1.0 / deviation } else { 1.0 };
        Ok(Self { mean, factor })
    }

    fn apply(&self, rows: &Matrix) -> Matrix {
        let scaled = |row: &[f32]| {
            let numbers = row.iter().zip(&self.mean);
            numbers
                .map(|(&number, mean)| ((f64::from(number) - mean) * self.factor) as f32)
                .collect::<Vec<_>>()
        };
        Matrix { data: rows.rows().flat_map(scaled).collect(), dim: rows.dim }
    }
}

/// Weights and biases in the precision that products are made in.
struct Planes {
    weights: Vec<f32>,
    biases: Vec<f32>,
    dim: usize,
}

impl Planes {
    fn of(parameters: &[f64], classes: usize) -> Self {
        let narrow = |numbers: &[f64]| numbers.iter().map(|&x| x as f32).collect::<Vec<_>>();
        let (weights, biases) = parameters.split_at(parameters.len() - classes);
        let dim = weights.len() / classes.max(1);
        Self { weights: narrow(weights), biases: narrow(biases), dim }
    }

    /// `rows · weightsᵀ + biases`: `[n, dim]` to `[n, classes]`.
    fn logits(&self, rows: &[f32]) -> Vec<f32> {
        let classes = self.biases.len();
        let count = rows.len() / self.dim.max(1);
        let rows = NdTensorView::from_data([count, self.dim], rows);
        let weights = NdTensorView::from_data([classes, self.dim], &self.weights[..]);
        let mut logits = multiply(rows, weights.transposed());
        for row in logits.chunks_mut(classes) {
            row.iter_mut().zip(&self.biases).for_each(|(logit, bias)| *logit += bias);
        }
        logits
    }
}

/// What one block of rows adds to the loss and to its gradient.
struct Part {
    loss: f64,
    weights: Vec<f32>,
    biases: Vec<f64>,
}

/// The penalised mean loss at `parameters`; its gradient is written.
fn loss(data: Labelled<'_>, penalty: f64, parameters: &[f64], gradient: &mut [f64]) -> f64 {
    let planes = Planes::of(parameters, data.classes);
    let (count, dim) = (data.labels.len() as f64, data.rows.dim);
    let parts: Vec<Part> = data
        .rows
        .data
        .par_chunks(BLOCK_ROWS * dim)
        .zip(data.labels.par_chunks(BLOCK_ROWS))
        .map(|(rows, labels)| part(&planes, rows, labels))
        .collect();
    let weights = &parameters[..data.classes * dim];
    let mut loss = penalty / 2.0 * weights.iter().map(|weight| weight * weight).sum::<f64>();
    let (slopes, bias_slopes) = gradient.split_at_mut(weights.len());
    slopes.iter_mut().zip(weights).for_each(|(slope, weight)| *slope = penalty * weight);
    bias_slopes.fill(0.0);
    for part in &parts {
        loss += part.loss / count;
        let numbers = slopes.iter_mut().zip(&part.weights);
        numbers.for_each(|(slope, &number)| *slope += f64::from(number) / count);
        let numbers = bias_slopes.iter_mut().zip(&part.biases);
        numbers.for_each(|(slope, number)| *slope += number / count);
    }
    loss
}

fn part(planes: &Planes, rows: &[f32], labels: &[usize]) -> Part {
    let classes = planes.biases.len();
    // From logits to what the loss changes by with each of them: the probability, less 1 at the label.
    let mut slopes = planes.logits(rows);
    let (mut loss, mut biases) = (0.0, vec![0.0; classes]);
    for (row, &label) in slopes.chunks_mut(classes).zip(labels) {
        let logit = f64::from(row[label]);
        loss += softmax(row) - logit;
        row[label] -= 1.0;
        biases.iter_mut().zip(&*row).for_each(|(bias, &slope)| *bias += f64::from(slope));
    }
    let slopes = NdTensorView::from_data([labels.len(), classes], &slopes[..]);
    let rows = NdTensorView::from_data([labels.len(), planes.dim], rows);
    Part { loss, weights: multiply(slopes.transposed(), rows), biases }
}

/// Turns logits into probabilities and gives the logarithm of the sum of their powers.
fn softmax(row: &mut [f32]) -> f64 {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&logit| f64::from((logit - most).exp())).sum();
    row.iter_mut().for_each(|logit| *logit = (f64::from((*logit - most).exp()) / sum) as f32);
    f64::from(most) + sum.ln()
}

/// `left · right`, row-major.
fn multiply(left: NdTensorView<'_, f32, 2>, right: NdTensorView<'_, f32, 2>) -> Vec<f32> {
    let mut product = vec![0.0; left.size(0) * right.size(1)];
    let (left, right) = (GemmInputA::Unpacked(left), GemmInputB::Unpacked(right));
    GemmExecutor::<f32>::new()
        .gemm(&mut product[..], left, right, GemmOptions::default())
        .expect("the inner sizes are equal and the product has its size, by the lines above");
    product
}

/// The place of the largest number, the first of equal ones.
fn largest(numbers: &[f32]) -> usize {
    let mut place = 0;
    for (i, number) in numbers.iter().enumerate() {
        if *number > numbers[place] {
            place = i;
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The loss and its gradient as they are written down, in f64, without blocks.
    fn slow_loss(data: Labelled<'_>, penalty: f64, parameters: &[f64]) -> (f64, Vec<f64>) {
        let (dim, classes) = (data.rows.dim, data.classes);
        let (weights, biases) = parameters.split_at(classes * dim);
        let mut loss = penalty / 2.0 * weights.iter().map(|w| w * w).sum::<f64>();
        let mut gradient: Vec<f64> = weights.iter().map(|w| penalty * w).collect();
        gradient.extend(vec![0.0; classes]);
        for (row, &label) in data.rows.rows().zip(data.labels) {
            let logit = |c: usize| {
                let products = row.iter().zip(&weights[c * dim..]).map(|(&x, w)| f64::from(x) * w);
                products.sum::<f64>() + biases[c]
            };
            let powers: Vec<f64> = (0..classes).map(|c| logit(c).exp()).collect();
            let sum: f64 = powers.iter().sum();
            loss -= (powers[label] / sum).ln() / data.labels.len() as f64;
            for (c, power) in powers.iter().enumerate() {
                let slope = power / sum - f64::from(u8::from(c == label));
                let slope = slope / data.labels.len() as f64;
                for (k, &x) in row.iter().enumerate() {
                    gradient[c * dim + k] += slope * f64::from(x);
                }
                gradient[classes * dim + c] += slope;
            }
        }
        (loss, gradient)
    }

    fn waves(count: usize, dim: usize) -> Matrix {
        let data = (0..count * dim).map(|i| (i as f32 * 0.7).sin() + (i as f32 * 0.013).cos());
        Matrix { data: data.collect(), dim }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn loss_and_gradient_equal_those_of_the_slow_twin(
            count in prop::sample::select(vec![1_usize, 7, 1023, 1024, 1025, 2100]),
            classes in 2_usize..6,
            dim in 1_usize..10,
            penalty in 0.0..1.0,
        ) {
            let rows = waves(count, dim);
            let labels: Vec<usize> = (0..count).map(|i| (i * i / 3) % classes).collect();
            let data = Labelled { rows: &rows, labels: &labels, classes };
            let parameters: Vec<f64> = (0..classes * (dim + 1)).map(|i| (i as f64).cos()).collect();
            let mut gradient = vec![f64::NAN; parameters.len()];
            let found = loss(data, penalty, &parameters, &mut gradient);
            let (expected, slow_gradient) = slow_loss(data, penalty, &parameters);
            prop_assert!((found - expected).abs() < 1e-5 * (1.0 + expected));
            for (found, expected) in gradient.iter().zip(&slow_gradient) {
                prop_assert!((found - expected).abs() < 1e-5, "{found} {expected}");
            }
        }
    }

    #[test]
    fn the_slow_twins_gradient_is_the_slope_of_its_loss() {
        let rows = waves(9, 3);
        let labels = [0, 1, 2, 0, 1, 2, 2, 2, 1];
        let data = Labelled { rows: &rows, labels: &labels, classes: 3 };
        let parameters: Vec<f64> = (0..12).map(|i| f64::from(i).sin()).collect();
        let (_, gradient) = slow_loss(data, 0.1, &parameters);
        for i in 0..parameters.len() {
            let at = |shift: f64| {
                let mut moved = parameters.clone();
                moved[i] += shift;
                slow_loss(data, 0.1, &moved).0
            };
            let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((slope - gradient[i]).abs() < 1e-8, "{i}: {slope} {}", gradient[i]);
        }
    }

    #[test]
    fn what_planes_separate_is_told_apart_without_a_mistake_at_any_scale() {
        let corner = |i: usize| [f32::from(i.is_multiple_of(3)), f32::from(i % 3 == 1)];
        let point = |i: usize| corner(i).map(|x| x + 0.3 * (i as f32 * 1.7).sin());
        for scale in [1e-3, 1.0, 1e4] {
            let data = (0..90).flat_map(point).map(|x| scale * x + 5.0 * scale).collect();
            let rows = Matrix { data, dim: 2 };
            let labels: Vec<usize> = (0..90).map(|i| i % 3).collect();
            let data = Labelled { rows: &rows, labels: &labels, classes: 3 };
            let probe = Probe::fit(data, choose_penalty(data).unwrap()).unwrap();
            assert_eq!(probe.predict(&rows), labels, "scale {scale}");
        }
    }

    #[test]
    fn vectors_that_are_all_alike_get_the_commonest_label() {
        let rows = Matrix { data: vec![0.5; 14], dim: 2 };
        let labels = [0, 1, 1, 1, 0, 1, 1];
        let data = Labelled { rows: &rows, labels: &labels, classes: 2 };
        let probe = Probe::fit(data, choose_penalty(data).unwrap()).unwrap();
        assert_eq!(probe.predict(&rows), [1; 7]);
    }

    #[test]
    fn vectors_that_are_not_finite_are_refused() {
        let rows = Matrix { data: vec![0.5, 0.5, f32::INFINITY, 0.5], dim: 2 };
        let data = Labelled { rows: &rows, labels: &[0, 1], classes: 2 };
        let error = Probe::fit(data, 1.0).unwrap_err();
        assert_eq!(error.to_string(), "the vector of text 2 is not finite");
    }

    #[test]
    fn every_fifth_row_of_a_label_chooses_the_penalty() {
        let labels = [0, 0, 1, 0, 0, 0, 1, 0];
        let (training, held_out) = folds(&labels, 2);
        assert_eq!((training, held_out), (vec![0, 1, 2, 3, 4, 6, 7], vec![5]));
    }
}
