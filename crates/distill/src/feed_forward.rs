//! Layers with a narrower feed-forward: which of its inner numbers, here called neurons, a student keeps.
//!
//! Two thirds of a layer's products are its feed-forward's, and their number is in proportion to its neurons. Apart
//! from [`crate::start`], which knows folders, because this is about numbers.
//!
//! `Student, texts ─layer by layer: attend, measure neurons, choose, shift the bias, feed─> narrower Student`
//!
//! A neuron whose number never changes adds the same to every token, which a bias can do as well. So what a dropped
//! neuron gives on average goes into the output's bias, and all that is lost is how its number strays from that mean:
//! the squared error it leaves is, on average, its variance times the squared length of its column of the output.
//! That product is the importance by which neurons stay. A mean square instead would keep neurons that are large and
//! always the same. That the errors of several dropped neurons may add up or cancel is left out of account.
//!
//! Layers are narrowed from the first to the last, each measured on what the narrowed ones before it give, since that
//! is what it will get.

use hpd_encoder::Tokens;
use hpd_files::Progress;
use hpd_files::vectors::Matrix;

use crate::student::{Layer, Student, Walk};

/// Texts on which neurons are measured: with twenty tokens each, far more tokens than a layer has neurons.
const SAMPLE: usize = 1024;

/// How many neurons of each layer a student keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptNeurons {
    /// Neurons that stay.
    pub neurons: usize,
    /// Neurons that there were.
    pub of: usize,
}

/// `student` with only the `count` most important neurons in the feed-forward of each layer, in their order, as measured
/// on texts drawn from `text` at equal distance.
///
/// # Cost
/// One pass of the sample through the layers; the vectors of all its tokens are in memory at once.
pub(crate) fn narrow(
    mut student: Student,
    count: usize,
    text: &Tokens,
    progress: &dyn Progress,
) -> Student {
    let of = student.config.intermediate_size;
    progress.stage("narrowing the feed-forward", Some(student.body.layers.len() as u64));
    let mut walk = student.walk(&sample(text));
    let mut shares = Vec::new();
    for layer in &mut student.body.layers {
        walk.attend(layer);
        let choice = Choice::of(layer, count, &walk);
        *layer = layer.narrowed(&choice.kept, &choice.shift);
        shares.push(format!("{:.1}", choice.share * 100.0));
        walk.feed(layer);
        progress.advance(1);
    }
    progress.note(&format!(
        "each layer's feed-forward keeps {count} of {of} neurons, which make up {} % of what varies in it",
        shares.join(", ")
    ));
    student.config.intermediate_size = count;
    student
}

/// Up to [`SAMPLE`] texts at equal distance.
fn sample(text: &Tokens) -> Vec<&[u32]> {
    let count = text.len().min(SAMPLE);
    (0..count).map(|i| text.text(i * text.len() / count)).collect()
}

/// What a layer keeps.
struct Choice {
    /// The neurons that stay, rising.
    kept: Vec<usize>,
    /// What the others give on average.
    shift: Vec<f64>,
    /// The share of all importance that stays, 0 to 1.
    share: f64,
}

impl Choice {
    fn of(layer: &Layer, count: usize, walk: &Walk) -> Self {
        let output = layer.output_weight();
        let moments = Moments::of(layer, output.dim, walk);
        let importance = importance(&output, &moments);
        let (kept, dropped) = most_important(&importance, count);
        let sum = |neurons: &[usize]| neurons.iter().map(|&i| importance[i]).sum::<f64>();
        let (stays, goes) = (sum(&kept), sum(&dropped));
        let share = if goes > 0.0 { stays / (stays + goes) } else { 1.0 };
        let given =
            |row: &[f32]| dropped.iter().map(|&i| f64::from(row[i]) * moments.mean(i)).sum();
        let shift = output.data.chunks_exact(output.dim).map(given).collect();
        Self { kept, shift, share }
    }
}

/// How the numbers of neurons are distributed over tokens; added up in the order of the tokens.
struct Moments {
    tokens: f64,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn of(layer: &Layer, neurons: usize, walk: &Walk) -> Self {
        let mut moments =
            Self { tokens: 0.0, sums: vec![0.0; neurons], squares: vec![0.0; neurons] };
        walk.look_inside(layer, &mut |row| moments.add(row));
        moments
    }

    fn add(&mut self, row: &[f32]) {
        self.tokens += 1.0;
        for ((sum, square), &x) in self.sums.iter_mut().zip(&mut self.squares).zip(row) {
            let x = f64::from(x);
            *sum += x;
            *square += x * x;
        }
    }

    fn mean(&self, neuron: usize) -> f64 {
        self.sums[neuron] / self.tokens.max(1.0)
    }

    fn variance(&self, neuron: usize) -> f64 {
        let mean_square = self.squares[neuron] / self.tokens.max(1.0);
        (mean_square - self.mean(neuron).powi(2)).max(0.0)
    }
}

/// The squared error that each neuron would leave behind.
fn importance(output: &Matrix, moments: &Moments) -> Vec<f64> {
    let mut lengths = vec![0.0; output.dim];
    for row in output.data.chunks_exact(output.dim) {
        lengths.iter_mut().zip(row).for_each(|(length, &x)| *length += f64::from(x).powi(2));
    }
    lengths.iter().enumerate().map(|(i, length)| length * moments.variance(i)).collect()
}

/// The `count` most important neurons and the others, both rising; of two that are as important the first stays.
fn most_important(importance: &[f64], count: usize) -> (Vec<usize>, Vec<usize>) {
    let mut kept: Vec<usize> = (0..importance.len()).collect();
    kept.sort_by(|&a, &b| importance[b].total_cmp(&importance[a]));
    let mut dropped = kept.split_off(count.min(kept.len()));
    kept.sort_unstable();
    dropped.sort_unstable();
    (kept, dropped)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use burn::tensor::Device;
    use hpd_encoder::{EncoderConfig, Weights};
    use hpd_files::Silent;

    use super::*;
    use crate::recipe::Activation;
    use crate::student::{HEAD_WEIGHT, HeadShape};

    const INNER: &str = "encoder.layer.1.intermediate.dense";

    /// Both layers of a small model, each tensor as `change` leaves it.
    fn student(change: impl Fn(&str, &mut [f32])) -> Student {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/encoder/bert_mean");
        let weights = Weights::open(&folder).unwrap();
        let config = EncoderConfig::open(&folder.join("config.json")).unwrap();
        let head =
            HeadShape { dim: 8, bias: false, activation: Activation::Identity, normalize: true };
        let fresh = Student::fresh(config, head, 1, &Device::flex().autodiff()).unwrap();
        let source = &mut |name: &str, shape: &[usize]| {
            let mut data = match name {
                HEAD_WEIGHT => (0..shape[0] * shape[1]).map(|i| (i as f32).sin()).collect(),
                _ => weights.tensor(name, shape)?,
            };
            change(name, &mut data);
            Ok(data)
        };
        fresh.reload(source).unwrap()
    }

    /// Texts of 3 to 9 tokens, no two the same.
    fn text() -> Tokens {
        let mut text = Tokens { offsets: vec![0], ..Tokens::default() };
        for i in 0..60 {
            text.ids.extend((0..3 + i % 7).map(|k| 5 + (i * 31 + k * 17) % 290));
            text.offsets.push(text.ids.len());
        }
        text
    }

    fn vectors(student: &Student) -> Vec<f32> {
        let text = text();
        let texts: Vec<&[u32]> = (0..text.len()).map(|i| text.text(i)).collect();
        student.embed(&texts).data
    }

    fn tensor(student: &Student, name: &str) -> Vec<f32> {
        student.tensors().into_iter().find(|tensor| tensor.name == name).unwrap().data
    }

    fn apart(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn a_student_that_keeps_all_is_the_same() {
        let whole = student(|_, _| {});
        let all = whole.config.intermediate_size;
        let same = narrow(whole.clone(), all, &text(), &Silent);
        for (a, b) in whole.tensors().into_iter().zip(same.tensors()) {
            assert!(a.name == b.name && a.shape == b.shape && a.data == b.data, "{}", a.name);
        }
    }

    #[test]
    fn neurons_that_never_change_are_not_missed() {
        let still = [0, 40, 77];
        let student = student(|name, data| {
            let rows = data.len() / 78;
            for &neuron in &still {
                if name.ends_with("intermediate.dense.weight") {
                    data[neuron * rows..][..rows].fill(0.0);
                } else if name.ends_with("intermediate.dense.bias") {
                    data[neuron] = 2.5;
                }
            }
        });
        assert_eq!(student.config.intermediate_size, 78);
        let before = vectors(&student);
        let narrower = narrow(student.clone(), 75, &text(), &Silent);
        assert_eq!(narrower.config.intermediate_size, 75);
        assert!(apart(&before, &vectors(&narrower)) < 1e-5);
        // Without the bias they would be.
        let unshifted = narrower.reload(&mut |name, _| {
            let of = if name.ends_with("output.dense.bias") { &student } else { &narrower };
            Ok(tensor(of, name))
        });
        assert!(apart(&before, &vectors(&unshifted.unwrap())) > 1e-2);
    }

    #[test]
    fn the_neurons_that_stay_are_the_most_important_in_their_order() {
        let student = student(|_, _| {});
        let narrower = narrow(student.clone(), 37, &text(), &Silent);
        // The second layer stands behind the first one as that is now.
        let mut walk = student.walk(&sample(&text()));
        walk.attend(&narrower.body.layers[0]);
        walk.feed(&narrower.body.layers[0]);
        walk.attend(&student.body.layers[1]);
        let mut seen: Vec<Vec<f32>> = Vec::new();
        walk.look_inside(&student.body.layers[1], &mut |row| seen.push(row.to_vec()));
        assert_eq!(seen.len(), text().ids.len());
        let output = tensor(&student, "encoder.layer.1.output.dense.weight");
        let importance = |neuron: usize| {
            let column: f64 =
                output.chunks_exact(78).map(|row| f64::from(row[neuron]).powi(2)).sum();
            let numbers = || seen.iter().map(|row| f64::from(row[neuron]));
            let mean = numbers().sum::<f64>() / seen.len() as f64;
            column * numbers().map(|x| (x - mean).powi(2)).sum::<f64>() / seen.len() as f64
        };
        let importance: Vec<f64> = (0..78).map(importance).collect();
        let rank = |neuron: usize| importance.iter().filter(|x| **x > importance[neuron]).count();
        let expected = (0..78).filter(|&neuron| rank(neuron) < 37);
        let biases = tensor(&student, &format!("{INNER}.bias"));
        let expected: Vec<f32> = expected.map(|neuron| biases[neuron]).collect();
        assert_eq!(tensor(&narrower, &format!("{INNER}.bias")), expected);
    }

    #[test]
    fn of_neurons_that_are_as_important_the_first_stay() {
        assert_eq!(most_important(&[1.0, 2.0, 1.0, 3.0, 1.0], 3), (vec![0, 1, 3], vec![2, 4]));
        assert_eq!(most_important(&[0.0; 3], 2), (vec![0, 1], vec![2]));
    }

    #[test]
    fn the_choice_does_not_depend_on_threads() {
        let narrow_in = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let student = student(|_, _| {});
            pool.install(|| vectors(&narrow(student, 37, &text(), &Silent)))
        };
        assert_eq!(narrow_in(1), narrow_in(3));
    }

    #[test]
    fn texts_are_drawn_at_equal_distance() {
        let text = |count: u32| Tokens {
            ids: (0..count).collect(),
            offsets: (0..=count as usize).collect(),
            ..Tokens::default()
        };
        assert_eq!(sample(&text(3)), [[0], [1], [2]]);
        let many = text(4 * SAMPLE as u32);
        let drawn = sample(&many);
        assert_eq!((drawn.len(), drawn[1][0], drawn[SAMPLE - 1][0]), (SAMPLE, 4, 4092));
        assert!(sample(&Tokens::default()).is_empty());
    }
}
