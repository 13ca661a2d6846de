//! What the student is taught: to lie where the projected teacher lies, and to see the neighbours the teacher sees.
//!
//! All three losses are means over the batch, so their weights keep their meaning when the batch grows.

use burn::tensor::{Tensor, activation};

use crate::recipe::Recipe;
use crate::student::normalize;

/// The parts of a batch's loss; those of weight 0 are not there.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The weighted sum, which is differentiated.
    pub total: Tensor<1>,
    /// Mean of 1 − cosine to the target.
    pub cosine: Option<Tensor<1>>,
    /// Mean squared error.
    pub mse: Option<Tensor<1>>,
    /// Mean KL(teacher ‖ student) over neighbours.
    pub relational: Option<Tensor<1>>,
}

/// The loss of a batch as `recipe` weighs it, averaged over the whole vector and the Matryoshka prefixes.
///
/// # Shapes
/// - `output`, `target`: `[sentences, dim]`
/// - `teacher`: `[sentences, teacher_dim]`
pub fn loss(recipe: &Recipe, output: Tensor<2>, target: Tensor<2>, teacher: Tensor<2>) -> Loss {
    let [sentences, dim] = output.dims();
    let widths = || recipe.matryoshka.iter().copied().chain([dim]);
    // One place for "mean over widths", and nothing computed for a weight of 0.
    let averaged = |weight: f64, of_width: &dyn Fn(Tensor<2>, Tensor<2>) -> Tensor<1>| {
        let cut = |x: &Tensor<2>, width| x.clone().slice([0..sentences, 0..width]);
        let terms = widths().map(|width| of_width(cut(&output, width), cut(&target, width)));
        (weight > 0.0)
            .then(|| terms.reduce(|a, b| a + b))
            .flatten()
            .map(|sum| sum / widths().count() as f64)
    };
    let weights = &recipe.loss;
    let cosine = averaged(weights.cosine, &cosine_distance);
    let mse = averaged(weights.mse, &squared_error);
    let relational = averaged(weights.relational, &|output, _| {
        neighbour_divergence(output, teacher.clone(), weights.temperature)
    });
    let parts = [(&cosine, weights.cosine), (&mse, weights.mse), (&relational, weights.relational)];
    let weighted = parts.into_iter().filter_map(|(part, weight)| Some(part.clone()? * weight));
    let total = weighted.reduce(|a, b| a + b).unwrap_or_else(|| output.sum() * 0.0);
    Loss { total, cosine, mse, relational }
}

/// Mean of `1 − cos(output, target)` over rows.
pub fn cosine_distance(output: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
    let cosines = (normalize(output) * normalize(target)).sum_dim(1);
    -cosines.mean() + 1.0
}

/// Mean of `(output − target)²` over all numbers.
///
/// # Source
/// The loss of Zhao et al. 2022, <https://arxiv.org/abs/2203.07687>.
pub fn squared_error(output: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
    let difference = output - target;
    (difference.clone() * difference).mean()
}

/// Mean over rows of `KL(p ‖ q)`, where a row's `p` and `q` are the softmax of its cosines to all other rows,
/// divided by `temperature`, among teacher vectors and among student vectors.
///
/// # Shapes
/// The widths may differ: only cosines are compared.
pub fn neighbour_divergence(output: Tensor<2>, teacher: Tensor<2>, temperature: f64) -> Tensor<1> {
    let sentences = output.dims()[0];
    // A sentence is its own nearest neighbour for teacher and student alike: that says nothing.
    let itself = Tensor::<2>::eye(sentences, &output.device()) * -1e4;
    let neighbours = |x: Tensor<2>| {
        let x = normalize(x);
        let cosines = x.clone().matmul(x.transpose());
        activation::log_softmax(cosines / temperature + itself.clone(), 1)
    };
    let (p, q) = (neighbours(teacher), neighbours(output));
    (p.clone().exp() * (p - q)).sum() / sentences as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    const SENTENCES: usize = 5;
    const DIM: usize = 6;

    fn wave(width: usize, frequency: f32) -> Vec<f32> {
        (0..SENTENCES * width).map(|i| (i as f32 * frequency).sin() + 0.1).collect()
    }

    fn matrix(numbers: &[f32]) -> Tensor<2> {
        let shape = [SENTENCES, numbers.len() / SENTENCES];
        Tensor::from_data(TensorData::new(numbers.to_vec(), shape), &Device::flex())
    }

    /// The gradient by autodiff agrees with central differences of `exact`, the same loss in f64; so do the values.
    fn check(found: impl Fn(Tensor<2>) -> Tensor<1>, exact: impl Fn(&[f64]) -> f64) {
        let start = wave(DIM, 0.83);
        let leaf = matrix(&start).autodiff().require_grad();
        let loss = found(leaf.clone());
        let wide: Vec<f64> = start.iter().map(|&x| f64::from(x)).collect();
        let value = f64::from(loss.clone().into_scalar::<f32>());
        assert!(
            (value - exact(&wide)).abs() < 1e-5 * (1.0 + value.abs()),
            "{value} {}",
            exact(&wide)
        );
        let gradient: Vec<f32> =
            leaf.grad(&loss.backward()).unwrap().into_data().try_into_vec().unwrap();
        for i in 0..start.len() {
            let moved = |by: f64| {
                let mut x = wide.clone();
                x[i] += by;
                exact(&x)
            };
            let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            let off = (f64::from(gradient[i]) - difference).abs();
            assert!(off < 2e-5 * (1.0 + difference.abs()), "at {i}: {} {difference}", gradient[i]);
        }
    }

    fn cosine(a: &[f64], b: &[f64]) -> f64 {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    fn wide(x: &[f32]) -> Vec<f64> {
        x.iter().map(|&x| f64::from(x)).collect()
    }

    #[test]
    fn cosine_distance_and_its_gradient_are_exact() {
        let target = wave(DIM, 1.7);
        let exact = |x: &[f64]| {
            let target = wide(&target);
            let rows = x.chunks(DIM).zip(target.chunks(DIM));
            1.0 - rows.map(|(x, t)| cosine(x, t)).sum::<f64>() / SENTENCES as f64
        };
        check(|x| cosine_distance(x, matrix(&target).autodiff()), exact);
    }

    #[test]
    fn squared_error_and_its_gradient_are_exact() {
        let target = wave(DIM, 1.7);
        let exact = |x: &[f64]| {
            let squares = x.iter().zip(wide(&target)).map(|(x, t)| (x - t).powi(2));
            squares.sum::<f64>() / x.len() as f64
        };
        check(|x| squared_error(x, matrix(&target).autodiff()), exact);
    }

    /// Rows of softmax(cosine / temperature) over the other rows.
    fn neighbours(x: &[f64], width: usize, temperature: f64) -> Vec<f64> {
        let mut rows = Vec::new();
        for (i, a) in x.chunks(width).enumerate() {
            let weight = |(j, b)| if i == j { 0.0 } else { (cosine(a, b) / temperature).exp() };
            let row: Vec<f64> = x.chunks(width).enumerate().map(weight).collect();
            let total: f64 = row.iter().sum();
            rows.extend(row.iter().map(|w| w / total));
        }
        rows
    }

    #[test]
    fn neighbour_divergence_and_its_gradient_are_exact() {
        let teacher = wave(9, 2.3);
        let exact = |x: &[f64]| {
            let p = neighbours(&wide(&teacher), 9, 0.5);
            let q = neighbours(x, DIM, 0.5);
            let terms = p.iter().zip(&q).filter(|(p, _)| **p > 0.0).map(|(p, q)| p * (p / q).ln());
            terms.sum::<f64>() / SENTENCES as f64
        };
        check(|x| neighbour_divergence(x, matrix(&teacher).autodiff(), 0.5), exact);
    }

    #[test]
    fn a_student_equal_to_its_teacher_has_no_loss() {
        let recipe = Recipe::load("hpd").unwrap();
        let x = matrix(&wave(DIM, 1.3));
        let loss = loss(&recipe, x.clone() * 3.0, x.clone(), x);
        assert!(loss.total.into_scalar::<f32>().abs() < 1e-5);
    }

    #[test]
    fn prefixes_are_averaged_with_the_whole() {
        let mut recipe = Recipe::load("hpd").unwrap();
        recipe.set("loss.relational", "0").unwrap();
        recipe.set("matryoshka", "[2]").unwrap();
        let (x, y) = (matrix(&wave(DIM, 1.3)), matrix(&wave(DIM, 0.4)));
        let cut = |x: &Tensor<2>| x.clone().slice([0..SENTENCES, 0..2]);
        let whole = cosine_distance(x.clone(), y.clone()).into_scalar::<f32>();
        let prefix = cosine_distance(cut(&x), cut(&y)).into_scalar::<f32>();
        let found = loss(&recipe, x.clone(), y.clone(), y);
        assert!(found.relational.is_none() && found.mse.is_none());
        assert!((found.total.into_scalar::<f32>() - (whole + prefix) / 2.0).abs() < 1e-6);
    }

    #[test]
    fn a_batch_of_one_has_no_neighbours_to_err_about() {
        let one = Tensor::<2>::from_data([[0.5, 1.0]], &Device::flex());
        let divergence = neighbour_divergence(one.clone(), one, 0.05).into_scalar::<f32>();
        assert_eq!(divergence, 0.0);
    }
}
