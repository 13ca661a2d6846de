//! How much of the teacher's view of the held-back sentences another encoder shares, without any labels.
//!
//! The teacher itself scores 1 by definition, the teacher's own PCA is the ceiling of a student that lands
//! exactly on its targets. Three questions are asked of the same sentences: are the same pairs similar
//! ([`Agreement::spearman`]), are the same sentences neighbours ([`Agreement::recall_at_10`]), and how near is
//! each vector to its target ([`Agreement::cosine`]). The first two are asked of at most [`MOST_SENTENCES`] of them.

use std::borrow::Cow;

use hpd_eval::correlation::{average_ranks, pearson};
use hpd_files::vectors::Matrix;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Neighbours compared for each sentence.
const NEIGHBOURS: usize = 10;

/// Sentences among which pairs and neighbours are looked for: what that takes grows with their square.
pub const MOST_SENTENCES: usize = 2000;

/// What two encoders agree on; 1 is full agreement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Spearman correlation between the cosines of all pairs of sentences; 0 when it is not defined.
    pub spearman: f64,
    /// Share of the teacher's ten nearest sentences that are among the other's ten nearest.
    pub recall_at_10: f64,
    /// Mean cosine of each vector to its target, when there is a target of its width.
    pub cosine: Option<f64>,
}

/// How one encoder sees the sentences; the teacher's is computed once for all that are compared with it.
#[derive(Clone, Debug)]
pub struct View {
    /// Of the cosines of all pairs of sentences, pair by pair.
    ranks: Vec<f64>,
    /// The nearest sentences of each.
    nearest: Vec<Vec<usize>>,
}

impl View {
    /// Of an encoder that gave `rows`, one a sentence. Of more than [`MOST_SENTENCES`] those at even distances are looked
    /// at, the same for every encoder.
    ///
    /// # Cost
    /// `n² · dim` multiplications and some 20 `n²` bytes, `n` being at most [`MOST_SENTENCES`].
    pub fn of(rows: &Matrix) -> Self {
        let cosines = cosines(&sampled(rows));
        let wanted = NEIGHBOURS.min(cosines.len().saturating_sub(1));
        let nearest = cosines.par_iter().enumerate().map(|(i, row)| nearest(row, i, wanted));
        Self { nearest: nearest.collect(), ranks: average_ranks(&upper_triangle(&cosines)) }
    }

    /// Compares the encoder that gave `rows` with this view, which is the teacher's of the same sentences, and with the
    /// `target` that each row has, if there is one.
    ///
    /// # Shapes
    /// `rows`: `[n, dim]`, `target`: `[n, dim]`.
    pub fn agreement(&self, rows: &Matrix, target: Option<&Matrix>) -> Agreement {
        let other = Self::of(rows);
        Agreement {
            spearman: pearson(&self.ranks, &other.ranks).unwrap_or(0.0),
            recall_at_10: self.neighbour_recall(&other),
            cosine: target.map(|target| mean_cosine(rows, target)),
        }
    }

    fn neighbour_recall(&self, other: &Self) -> f64 {
        let wanted: usize = self.nearest.iter().map(Vec::len).sum();
        if wanted == 0 {
            return 1.0;
        }
        let pairs = self.nearest.iter().zip(&other.nearest);
        let shared = pairs.map(|(own, found)| own.iter().filter(|j| found.contains(j)).count());
        shared.sum::<usize>() as f64 / wanted as f64
    }
}

/// At most [`MOST_SENTENCES`] rows, at even distances.
fn sampled(rows: &Matrix) -> Cow<'_, Matrix> {
    if rows.len() <= MOST_SENTENCES {
        return Cow::Borrowed(rows);
    }
    let taken = (0..MOST_SENTENCES).map(|i| i * rows.len() / MOST_SENTENCES);
    let data = taken.flat_map(|i| rows.row(i).iter().copied()).collect();
    Cow::Owned(Matrix { data, dim: rows.dim })
}

/// Mean over rows of the cosine between a row and its counterpart.
pub fn mean_cosine(rows: &Matrix, targets: &Matrix) -> f64 {
    cosines_to(rows, targets).iter().sum::<f64>() / rows.len().max(1) as f64
}

/// The cosine of each row to its counterpart; 0 where one of them is zero.
pub fn cosines_to(rows: &Matrix, targets: &Matrix) -> Vec<f64> {
    rows.rows().zip(targets.rows()).map(|(row, target)| cosine(row, target)).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| -> f64 {
        x.iter().zip(y).map(|(p, q)| f64::from(*p) * f64::from(*q)).sum()
    };
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms > 0.0 { dot(a, b) / norms } else { 0.0 }
}

/// Row i holds the cosines of sentence i to every sentence.
fn cosines(rows: &Matrix) -> Vec<Vec<f64>> {
    (0..rows.len())
        .into_par_iter()
        .map(|i| (0..rows.len()).map(|j| cosine(rows.row(i), rows.row(j))).collect())
        .collect()
}

fn upper_triangle(square: &[Vec<f64>]) -> Vec<f64> {
    square.iter().enumerate().flat_map(|(i, row)| row[i + 1..].iter().copied()).collect()
}

/// The `count` sentences nearest to sentence `i`, itself left out; ties go to the earlier sentence.
fn nearest(cosines: &[f64], i: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..cosines.len()).filter(|&j| j != i).collect();
    order.sort_by(|&a, &b| cosines[b].total_cmp(&cosines[a]).then(a.cmp(&b)));
    order.truncate(count);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreement(teacher: &Matrix, other: &Matrix, target: Option<&Matrix>) -> Agreement {
        View::of(teacher).agreement(other, target)
    }

    fn rows(data: Vec<f32>, dim: usize) -> Matrix {
        Matrix { data, dim }
    }

    fn waves(n: usize, dim: usize, twist: f32) -> Matrix {
        rows((0..n * dim).map(|i| (i as f32 * 0.7 + twist * (i % 5) as f32).sin()).collect(), dim)
    }

    #[test]
    fn an_encoder_agrees_with_itself_at_any_scale() {
        let teacher = waves(30, 8, 0.0);
        let scaled = rows(teacher.data.iter().map(|x| x * 3.0).collect(), 8);
        let agreement = agreement(&teacher, &scaled, Some(&teacher));
        assert!((agreement.spearman - 1.0).abs() < 1e-12);
        assert_eq!(agreement.recall_at_10, 1.0);
        assert!((agreement.cosine.unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_different_encoder_agrees_less() {
        let agreement = agreement(&waves(40, 8, 0.0), &waves(40, 8, 1.9), None);
        assert!(agreement.spearman < 0.9 && agreement.recall_at_10 < 1.0);
        assert_eq!(agreement.cosine, None);
    }

    #[test]
    fn zero_rows_and_a_single_sentence_are_no_trouble() {
        let one = agreement(&rows(vec![0.0; 4], 4), &rows(vec![0.0; 2], 2), None);
        assert_eq!(one.recall_at_10, 1.0);
    }

    #[test]
    fn of_many_sentences_some_at_even_distances_are_compared() {
        let (teacher, other) = (waves(MOST_SENTENCES, 2, 0.0), waves(MOST_SENTENCES, 2, 1.9));
        let twice = |few: &Matrix| {
            let data = few.rows().flat_map(|row| [row, &[9.0, 9.0]].concat()).collect();
            rows(data, 2)
        };
        let few = agreement(&teacher, &other, None);
        assert_eq!(agreement(&twice(&teacher), &twice(&other), None), few);
        let all = agreement(&twice(&teacher), &twice(&other), Some(&twice(&teacher)));
        assert!((all.cosine.unwrap() - (mean_cosine(&other, &teacher) + 1.0) / 2.0).abs() < 1e-9);
    }
}
