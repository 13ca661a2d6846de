//! What the student is taught: to lie where the projected teacher lies, to see the neighbours the teacher sees, to tell
//! what people say belongs together, and, in systems that followed the paper, to tell its own target from others and to
//! forget its input.
//!
//! All losses are means over the batch, so their weights keep their meaning when the batch grows.

use burn::tensor::{Tensor, TensorData, activation};

use crate::recipe::Recipe;
use crate::student::{Passage, normalize};
use crate::triplets::StepTriplets;

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
    /// Mean KL(teacher ‖ student) over neighbours beyond the batch.
    pub corpus: Option<Tensor<1>>,
    /// Mean cross entropy of finding the positive.
    pub contrast: Option<Tensor<1>>,
    /// Mean InfoNCE to the targets.
    pub contrast_teacher: Option<Tensor<1>>,
    /// Dependence of the last layer on the embeddings.
    pub hsic: Option<Tensor<1>>,
    /// Mean squared difference between cosines.
    pub similarity: Option<Tensor<1>>,
    /// Mean of what pairs lack to the teacher's order.
    pub ranking: Option<Tensor<1>>,
    /// Mean of 1 − cosine to what the teacher's layers make of each token.
    pub hidden: Option<Tensor<1>>,
}

/// What a teacher makes of sentences.
#[derive(Clone, Debug)]
pub struct Vectors {
    /// Projected, `[sentences, dim]`.
    pub target: Tensor<2>,
    /// At full width, `[sentences, teacher_dim]`.
    pub teacher: Tensor<2>,
}

/// What a batch is held to.
#[derive(Clone, Debug)]
pub struct Goals {
    /// The vectors of its sentences.
    pub batch: Vectors,
    /// Those of sentences beyond it, where the recipe asks.
    pub corpus: Option<Vectors>,
    /// For each of the student's layers what the teacher's makes of the batch, `[tokens, hidden]`, where the recipe asks.
    pub layers: Option<Vec<Tensor<2>>>,
}

/// The loss of a batch as `recipe` weighs it, what is of vectors averaged over the whole and the Matryoshka prefixes.
///
/// The texts of `triplets` are the last of the sentences.
pub fn loss(recipe: &Recipe, passage: &Passage, goals: &Goals, triplets: &StepTriplets) -> Loss {
    let Vectors { target, teacher } = &goals.batch;
    let output = &passage.output;
    let dim = output.dims()[1];
    let widths = || recipe.matryoshka.iter().copied().chain([dim]);
    // One place for "mean over widths", and nothing computed for a weight of 0.
    let cut = |x: &Tensor<2>, width| x.clone().narrow(1, 0, width);
    let averaged = |weight: f64, of_width: &dyn Fn(Tensor<2>, Tensor<2>) -> Tensor<1>| {
        let terms = widths().map(|width| of_width(cut(output, width), cut(target, width)));
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
    let corpus = goals.corpus.as_ref().and_then(|corpus| {
        averaged(weights.corpus, &|output, target| {
            let corpus = Vectors {
                target: cut(&corpus.target, target.dims()[1]),
                teacher: corpus.teacher.clone(),
            };
            corpus_divergence(output, teacher.clone(), corpus, weights.temperature)
        })
    });
    let contrast =
        averaged(if triplets.count > 0 { weights.contrast } else { 0.0 }, &|output, _| {
            contrast(output, teacher.clone(), triplets, weights.contrast_temperature)
        });
    let contrast_teacher = averaged(weights.contrast_teacher, &|output, target| {
        contrast_with_targets(output, target, weights.contrast_teacher_temperature)
    });
    let hsic = (weights.hsic > 0.0)
        .then(|| dependence(passage.input(), passage.pooled.clone(), weights.hsic_gamma));
    let similarity =
        averaged(weights.similarity, &|output, _| similarity_error(output, teacher.clone()));
    let ranking = averaged(weights.ranking, &|output, _| {
        misordering(output, teacher.clone(), weights.ranking_margin)
    });
    let layers = goals.layers.as_deref().filter(|_| weights.hidden > 0.0);
    let hidden = layers.and_then(|layers| passage.distance_to(layers));
    let parts = [
        (&cosine, weights.cosine),
        (&mse, weights.mse),
        (&relational, weights.relational),
        (&corpus, weights.corpus),
        (&contrast, weights.contrast),
        (&contrast_teacher, weights.contrast_teacher),
        (&hsic, weights.hsic),
        (&similarity, weights.similarity),
        (&ranking, weights.ranking),
        (&hidden, weights.hidden),
    ];
    let weighted = parts.into_iter().filter_map(|(part, weight)| Some(part.clone()? * weight));
    let total = weighted.reduce(|a, b| a + b).unwrap_or_else(|| output.clone().sum() * 0.0);
    Loss {
        total,
        cosine,
        mse,
        relational,
        corpus,
        contrast,
        contrast_teacher,
        hsic,
        similarity,
        ranking,
        hidden,
    }
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
    let neighbours =
        |x: Tensor<2>| activation::log_softmax(cosines(x) / temperature + itself.clone(), 1);
    let (p, q) = (neighbours(teacher), neighbours(output));
    (p.clone().exp() * (p - q)).sum() / sentences as f64
}

/// Mean over rows of `KL(p ‖ q)`, where a row's `p` is the softmax of its teacher vector's cosines to those of `corpus`,
/// divided by `temperature`, and `q` the same of its row of `output` and the targets of `corpus`.
///
/// # Shapes
/// `output` is `[rows, dim]`, `teacher` `[rows, teacher_dim]`; `corpus` is of as many other sentences as one likes.
pub fn corpus_divergence(
    output: Tensor<2>,
    teacher: Tensor<2>,
    corpus: Vectors,
    temperature: f64,
) -> Tensor<1> {
    let rows = output.dims()[0] as f64;
    let neighbours = |x: Tensor<2>, others: Tensor<2>| {
        let cosines = normalize(x).matmul(normalize(others).transpose());
        activation::log_softmax(cosines / temperature, 1)
    };
    let p = neighbours(teacher, corpus.teacher);
    let q = neighbours(output, corpus.target);
    (p.clone().exp() * (p - q)).sum() / rows
}

/// Mean squared difference between the cosines of all pairs of rows, of `output` and of `teacher`.
///
/// # Source
/// The similarity loss of Zhang et al. 2024 (Jasper and Stella), <https://arxiv.org/abs/2412.19048>, §3.
pub fn similarity_error(output: Tensor<2>, teacher: Tensor<2>) -> Tensor<1> {
    squared_error(cosines(output), cosines(teacher))
}

/// Mean, over two pairs of rows that have one row in common and that the teacher tells apart, of
/// `max(0, s_far − s_near + margin)`, where `s` are the student's cosines and the teacher says which pair is near.
///
/// Each row's pairs are compared with its others at some distances around the batch: at all of them in batches of up to
/// 128, at fewer in larger ones, so that the cost stays that of 2²⁰ comparisons or of as many as there are pairs.
///
/// # Source
/// The relative similarity loss of Zhang et al. 2024, <https://arxiv.org/abs/2412.19048>, §3, which compares all pairs
/// with all; those with a row in common, the order of one sentence's neighbours, are what a search depends on.
pub fn misordering(output: Tensor<2>, teacher: Tensor<2>, margin: f64) -> Tensor<1> {
    let rows = output.dims()[0];
    let (student, teacher) = (cosines(output), cosines(teacher));
    let others = -Tensor::<2>::eye(rows, &student.device()) + 1.0;
    let parts = distances(rows).map(|by| {
        let around = |x: &Tensor<2>| x.clone().roll_dim(by as i64, 1);
        let apart = |x: &Tensor<2>| x.clone() - around(x);
        let both = others.clone() * around(&others);
        let order = apart(&teacher).sign() * both; // 1 where the first pair is nearer, −1 where the second is
        let lacking = activation::relu(-(apart(&student) * order.clone()) + margin);
        let told = order.abs();
        ((lacking * told.clone()).sum(), told.sum())
    });
    let sum = parts.reduce(|(a, count), (b, more)| (a + b, count + more));
    sum.map_or_else(|| student.sum() * 0.0, |(lacking, told)| lacking / told.clamp_min(1.0))
}

/// At which distances [`misordering`] compares a row's pairs, evenly spread over those up to half way around.
fn distances(rows: usize) -> impl Iterator<Item = usize> {
    const COMPARISONS: usize = 1 << 20;
    let all = rows / 2;
    let taken = (COMPARISONS / (rows * rows).max(1)).clamp(1, all.max(1)).min(all);
    (1..=taken).map(move |i| i * all / taken)
}

/// Cosines of all pairs of rows, `[rows, rows]`.
fn cosines(x: Tensor<2>) -> Tensor<2> {
    let x = normalize(x);
    x.clone().matmul(x.transpose())
}

/// Mean over rows of the cross entropy with which a row of `output` takes its own row of `target` for the nearest, by
/// the softmax over all targets of cosines divided by `temperature` (InfoNCE).
///
/// # Source
/// The first stage of Zhang et al. 2023, <https://arxiv.org/abs/2311.05472>.
pub fn contrast_with_targets(output: Tensor<2>, target: Tensor<2>, temperature: f64) -> Tensor<1> {
    let sentences = output.dims()[0];
    let own = Tensor::<2>::eye(sentences, &output.device());
    let cosines = normalize(output).matmul(normalize(target).transpose());
    -(activation::log_softmax(cosines / temperature, 1) * own).sum() / sentences as f64
}

/// How much the rows of `b` depend on those of `a`: the Hilbert-Schmidt independence criterion with kernels
/// `exp(−gamma · ‖x − y‖²)` on both sides, 0 for independent rows and for a single one.
///
/// # Shapes
/// The widths may differ.
///
/// # Source
/// Gretton et al. 2005, with the factor n²/(n − 1)² of Zhang et al. 2023, <https://arxiv.org/abs/2311.05472>.
pub fn dependence(a: Tensor<2>, b: Tensor<2>, gamma: f64) -> Tensor<1> {
    let rows = a.dims()[0] as f64;
    if rows < 2.0 {
        return b.sum() * 0.0;
    }
    let kernel = |x: Tensor<2>| {
        let squares = (x.clone() * x.clone()).sum_dim(1); // [rows, 1]
        let products = x.clone().matmul(x.transpose());
        let distances = squares.clone() + squares.transpose() - products * 2.0;
        (distances * -gamma).exp()
    };
    let (a, b) = (kernel(a), kernel(b));
    let together = (a.clone() * b.clone()).sum();
    let apart = a.clone().sum() * b.clone().sum() / (rows * rows);
    let mixed = (a.sum_dim(1) * b.sum_dim(1)).sum() * (2.0 / rows);
    (together + apart - mixed) / ((rows - 1.0) * (rows - 1.0))
}

/// Mean over triplets of the cross entropy with which an anchor finds its positive, by cosine over `temperature`, among
/// the positives and negatives of all triplets. What the teacher finds at least as near to the anchor as its positive
/// may well mean the same, and is left out unless people called it this anchor's negative.
///
/// # Shapes
/// `output` is `[rows, dim]`, `teacher` `[rows, teacher_dim]`; the last rows are those of `triplets`, of which there is
/// at least one.
///
/// # Source
/// The multiple negatives ranking loss with hard negatives, as in sentence-transformers and supervised SimCSE (Gao et
/// al. 2021, §4); the teacher as a guide is GISTEmbed's (Solatorio 2024, <https://arxiv.org/abs/2402.16829>).
pub fn contrast(
    output: Tensor<2>,
    teacher: Tensor<2>,
    triplets: &StepTriplets,
    temperature: f64,
) -> Tensor<1> {
    let rows = output.dims()[0];
    let (count, device) = (triplets.count, output.device());
    let first = rows - triplets.rows.len();
    let to_candidates = |x: Tensor<2>| {
        let x = normalize(x);
        let anchors = x.clone().narrow(0, first, count);
        anchors.matmul(x.narrow(0, first + count, rows - first - count).transpose())
    };
    let candidates = count + triplets.with_negative;
    let marked = |at: &dyn Fn(usize) -> Option<usize>| {
        let mut marks = vec![0f32; count * candidates];
        for (anchor, row) in marks.chunks_exact_mut(candidates).enumerate() {
            at(anchor).into_iter().for_each(|candidate| row[candidate] = 1.0);
        }
        Tensor::<2>::from_data(TensorData::new(marks, [count, candidates]), &device)
    };
    let positive = marked(&Some);
    let negative = marked(&|i| (i < triplets.with_negative).then_some(count + i));
    let guide = to_candidates(teacher);
    let nearness = (guide.clone() * positive.clone()).sum_dim(1);
    let as_near = (guide - nearness).greater_equal_elem(0.0).float();
    let left_out = as_near * (-(positive.clone() + negative) + 1.0) * -1e4;
    let likely = activation::log_softmax(to_candidates(output) / temperature + left_out, 1);
    -(likely * positive).sum() / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    const SENTENCES: usize = 5;
    const DIM: usize = 6;

    fn wave(width: usize, frequency: f32) -> Vec<f32> {
        waves(SENTENCES, width, frequency)
    }

    fn waves(rows: usize, width: usize, frequency: f32) -> Vec<f32> {
        (0..rows * width).map(|i| (i as f32 * frequency).sin() + 0.1).collect()
    }

    fn matrix(numbers: &[f32]) -> Tensor<2> {
        matrix_of(SENTENCES, numbers)
    }

    fn matrix_of(rows: usize, numbers: &[f32]) -> Tensor<2> {
        let shape = [rows, numbers.len() / rows];
        Tensor::from_data(TensorData::new(numbers.to_vec(), shape), &Device::flex())
    }

    /// The gradient by autodiff agrees with central differences of `exact`, the same loss in f64; so do the values.
    fn check(found: impl Fn(Tensor<2>) -> Tensor<1>, exact: impl Fn(&[f64]) -> f64) {
        check_rows(SENTENCES, found, exact);
    }

    fn check_rows(
        rows: usize,
        found: impl Fn(Tensor<2>) -> Tensor<1>,
        exact: impl Fn(&[f64]) -> f64,
    ) {
        let start = waves(rows, DIM, 0.83);
        let leaf = matrix_of(rows, &start).autodiff().require_grad();
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
    fn similarity_error_and_its_gradient_are_exact() {
        let teacher = wave(9, 2.3);
        let exact = |x: &[f64]| {
            let t = wide(&teacher);
            let rows = |x: &[f64], i: usize| {
                x[i * x.len() / SENTENCES..(i + 1) * x.len() / SENTENCES].to_vec()
            };
            let pairs = (0..SENTENCES).flat_map(|i| (0..SENTENCES).map(move |j| (i, j)));
            let of = |x: &[f64], (i, j)| cosine(&rows(x, i), &rows(x, j));
            let squares = pairs.map(|pair| (of(x, pair) - of(&t, pair)).powi(2));
            squares.sum::<f64>() / (SENTENCES * SENTENCES) as f64
        };
        check(|x| similarity_error(x, matrix(&teacher).autodiff()), exact);
    }

    #[test]
    fn misordering_and_its_gradient_are_exact() {
        const MARGIN: f64 = 0.3;
        let teacher = wave(9, 2.3);
        let exact = |x: &[f64]| {
            let t = wide(&teacher);
            let of = |x: &[f64], i: usize, j: usize| {
                let row = |i: usize| &x[i * x.len() / SENTENCES..(i + 1) * x.len() / SENTENCES];
                cosine(row(i), row(j))
            };
            let (mut lacking, mut count) = (0.0, 0.0);
            for i in 0..SENTENCES {
                for (near, far) in (0..SENTENCES).flat_map(|j| (0..SENTENCES).map(move |k| (j, k)))
                {
                    if near != i && far != i && of(&t, i, near) > of(&t, i, far) {
                        lacking += (of(x, i, far) - of(x, i, near) + MARGIN).max(0.0);
                        count += 1.0;
                    }
                }
            }
            lacking / count
        };
        check(|x| misordering(x, matrix(&teacher).autodiff(), MARGIN), exact);
    }

    #[test]
    fn pairs_the_teacher_does_not_tell_apart_and_lone_rows_have_no_order() {
        for rows in [1, 2, 5] {
            let x = matrix_of(rows, &waves(rows, DIM, 0.4));
            let same = matrix_of(rows, &vec![0.5; rows * 3]);
            assert_eq!(misordering(x, same, 0.3).into_scalar::<f32>(), 0.0);
        }
    }

    #[test]
    fn larger_batches_are_compared_at_fewer_distances() {
        assert_eq!(distances(1).count(), 0);
        assert_eq!(distances(5).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(distances(128).collect::<Vec<_>>(), (1..=64).collect::<Vec<_>>());
        assert_eq!(distances(512).collect::<Vec<_>>(), [64, 128, 192, 256]);
        assert_eq!(distances(4096).collect::<Vec<_>>(), [2048]);
    }

    #[test]
    fn the_distance_to_other_layers_is_a_cosine_for_each_token() {
        let [state, layer] = [0.7, 1.9].map(|frequency| matrix(&wave(DIM, frequency)));
        let distance = cosine_distance(state.clone(), layer.clone()).into_scalar::<f32>();
        let found = passage(state).distance_to(&[layer]).unwrap().into_scalar::<f32>();
        assert!((found - distance).abs() < 1e-6);
        assert!(passage(matrix(&wave(DIM, 0.7))).distance_to(&[]).is_none());
    }

    /// Two triplets behind a sentence that has nothing to do with them: rows 1 and 2 are anchors, 3 and 4 positives, 5
    /// is the first one's negative.
    fn two_triplets() -> StepTriplets {
        StepTriplets { rows: vec![0; 5], count: 2, with_negative: 1 }
    }

    /// Cross entropies of the two, each anchor among those of rows 3, 4 and 5 that are named.
    fn cross_entropy(x: &[f64], width: usize, among: [&[usize]; 2]) -> f64 {
        let row = |i: usize| &x[i * width..(i + 1) * width];
        let of = |anchor: usize| {
            let weight = |i: usize| (cosine(row(anchor), row(i)) / 0.5).exp();
            let all: f64 = among[anchor - 1].iter().map(|&i| weight(i)).sum();
            -(weight(anchor + 2) / all).ln()
        };
        (of(1) + of(2)) / 2.0
    }

    #[test]
    fn contrast_and_its_gradient_are_exact() {
        // To this teacher all texts are strangers but anchor and positive.
        let strangers: Vec<f32> = [0, 1, 2, 1, 2, 3]
            .iter()
            .flat_map(|&at| (0..4).map(move |i| f32::from(u8::from(i == at))))
            .collect();
        // To this one the first anchor and the other positive are the same, and so are the anchor and its own negative.
        let alike: Vec<f32> = [0, 1, 2, 3, 1, 1]
            .iter()
            .flat_map(|&at| (0..4).map(move |i| f32::from(u8::from(i == at))))
            .collect();
        for (teacher, among) in
            [(&strangers, [&[3, 4, 5][..], &[3, 4, 5][..]]), (&alike, [&[3, 5], &[4]])]
        {
            check_rows(
                6,
                |x| contrast(x, matrix_of(6, teacher).autodiff(), &two_triplets(), 0.5),
                |x| cross_entropy(x, DIM, among),
            );
        }
    }

    #[test]
    fn contrast_with_targets_and_its_gradient_are_exact() {
        let target = wave(DIM, 1.7);
        for temperature in [1.0, 0.2] {
            let exact = |x: &[f64]| {
                let target = wide(&target);
                let entropy = |(i, x): (usize, &[f64])| {
                    let weight = |t: &[f64]| (cosine(x, t) / temperature).exp();
                    let all: f64 = target.chunks(DIM).map(weight).sum();
                    -(weight(&target[i * DIM..][..DIM]) / all).ln()
                };
                x.chunks(DIM).enumerate().map(entropy).sum::<f64>() / SENTENCES as f64
            };
            check(|x| contrast_with_targets(x, matrix(&target).autodiff(), temperature), exact);
        }
    }

    /// HSIC as the trace of two centred kernels, centred by the matrix `I − 1/n`.
    fn trace_of_centred(a: &[f64], b: &[f64], gamma: f64) -> f64 {
        const N: f64 = SENTENCES as f64;
        let pairs = || (0..SENTENCES).flat_map(|i| (0..SENTENCES).map(move |j| (i, j)));
        let centred = |x: &[f64]| {
            let row = |i: usize| &x[i * x.len() / SENTENCES..(i + 1) * x.len() / SENTENCES];
            let distance =
                |(i, j)| row(i).iter().zip(row(j)).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            let kernel: Vec<f64> = pairs().map(|pair| (-gamma * distance(pair)).exp()).collect();
            let mean = |i: usize| kernel[i * SENTENCES..][..SENTENCES].iter().sum::<f64>() / N;
            let all = kernel.iter().sum::<f64>() / (N * N);
            pairs()
                .zip(&kernel)
                .map(|((i, j), k)| k - mean(i) - mean(j) + all)
                .collect::<Vec<f64>>()
        };
        let trace: f64 = centred(a).iter().zip(centred(b)).map(|(a, b)| a * b).sum();
        trace / ((N - 1.0) * (N - 1.0))
    }

    #[test]
    fn dependence_and_its_gradients_are_exact() {
        let input = wave(9, 2.3);
        let fixed = || matrix(&input).autodiff();
        check(|x| dependence(fixed(), x, 0.2), |x| trace_of_centred(&wide(&input), x, 0.2));
        check(|x| dependence(x, fixed(), 0.2), |x| trace_of_centred(x, &wide(&input), 0.2));
    }

    #[test]
    fn rows_that_are_all_the_same_depend_on_nothing() {
        let (x, same) = (matrix(&wave(DIM, 1.3)), matrix(&[0.5; SENTENCES * 3]));
        assert!(dependence(x.clone(), same, 1.0).into_scalar::<f32>().abs() < 1e-6);
        assert!(dependence(x.clone(), x, 1.0).into_scalar::<f32>() > 0.01);
        let one = Tensor::<2>::from_data([[0.5, 1.0]], &Device::flex());
        assert_eq!(dependence(one.clone(), one, 1.0).into_scalar::<f32>(), 0.0);
    }

    #[test]
    fn corpus_divergence_and_its_gradient_are_exact() {
        const OTHERS: usize = 7;
        let (teacher, others) = (wave(9, 2.3), waves(OTHERS, 9, 1.1));
        let targets = waves(OTHERS, DIM, 0.6);
        let exact = |x: &[f64]| {
            let shares = |x: &[f64], others: &[f64]| {
                let others = others.chunks(others.len() / OTHERS);
                let weights: Vec<f64> =
                    others.map(|other| (cosine(x, other) / 0.2).exp()).collect();
                let all: f64 = weights.iter().sum();
                weights.into_iter().map(|weight| weight / all).collect::<Vec<_>>()
            };
            let rows = x.chunks(DIM).zip(teacher.chunks(9)).map(|(x, t)| {
                let (p, q) = (shares(&wide(t), &wide(&others)), shares(x, &wide(&targets)));
                p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>()
            });
            rows.sum::<f64>() / SENTENCES as f64
        };
        let corpus = Vectors {
            target: matrix_of(OTHERS, &targets).autodiff(),
            teacher: matrix_of(OTHERS, &others).autodiff(),
        };
        check(|x| corpus_divergence(x, matrix(&teacher).autodiff(), corpus.clone(), 0.2), exact);
    }

    /// Goals of vectors alone.
    fn goals(target: Tensor<2>, teacher: Tensor<2>) -> Goals {
        Goals { batch: Vectors { target, teacher }, corpus: None, layers: None }
    }

    /// A passage of which only the output is of interest.
    fn passage(output: Tensor<2>) -> Passage {
        Passage::of(output.clone(), output.clone(), output)
    }

    #[test]
    fn the_weighted_losses_are_added() {
        let mut recipe = Recipe::load("ibkd").unwrap();
        for (knob, weight) in [
            ("hsic", "0.25"),
            ("similarity", "3"),
            ("ranking", "2"),
            ("hidden", "0.5"),
            ("corpus", "1.5"),
        ] {
            recipe.set(&format!("loss.{knob}"), weight).unwrap();
        }
        let [x, y, z] = [1.3, 0.4, 2.2].map(|frequency| matrix(&wave(DIM, frequency)));
        let passage = Passage::of(z.clone(), y.clone(), x.clone());
        let none = StepTriplets::default();
        let others = Vectors { target: z.clone(), teacher: x.clone() };
        let goals = Goals {
            layers: Some(vec![x.clone()]),
            corpus: Some(others.clone()),
            ..goals(y.clone(), z.clone())
        };
        let found = loss(&recipe, &passage, &goals, &none);
        let temperature = recipe.loss.temperature;
        let parts = [
            (1.0, contrast_with_targets(x.clone(), y.clone(), 1.0)),
            (0.25, dependence(z.clone(), y.clone(), 1.0)),
            (3.0, similarity_error(x.clone(), z.clone())),
            (2.0, misordering(x.clone(), z.clone(), recipe.loss.ranking_margin)),
            (1.5, corpus_divergence(x.clone(), z.clone(), others, temperature)),
            (0.5, cosine_distance(y, x)),
        ];
        let sum: f32 = parts.into_iter().map(|(weight, x)| weight * x.into_scalar::<f32>()).sum();
        assert!((found.total.into_scalar::<f32>() - sum).abs() < 1e-5);
        assert!(found.cosine.is_none() && found.mse.is_none() && found.relational.is_none());
    }

    #[test]
    fn a_student_equal_to_its_teacher_has_no_loss() {
        let recipe = Recipe::load("hpd").unwrap();
        let x = matrix(&wave(DIM, 1.3));
        let output = passage(x.clone() * 3.0);
        let loss = loss(&recipe, &output, &goals(x.clone(), x), &StepTriplets::default());
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
        let found = loss(&recipe, &passage(x), &goals(y.clone(), y), &StepTriplets::default());
        assert!(found.relational.is_none() && found.mse.is_none());
        assert!(found.contrast_teacher.is_none() && found.hsic.is_none());
        assert!((found.total.into_scalar::<f32>() - (whole + prefix) / 2.0).abs() < 1e-6);
    }

    #[test]
    fn a_batch_of_one_has_no_neighbours_to_err_about() {
        let one = Tensor::<2>::from_data([[0.5, 1.0]], &Device::flex());
        let divergence = neighbour_divergence(one.clone(), one, 0.05).into_scalar::<f32>();
        assert_eq!(divergence, 0.0);
    }
}
