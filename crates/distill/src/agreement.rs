//! How much of the teacher's view of the held-back sentences another encoder shares, without any labels.
//!
//! The teacher itself scores 1 by definition, the teacher's own PCA is the ceiling of a student that lands
//! exactly on its targets. Three questions are asked of the same sentences: are the same pairs similar
//! ([`Agreement::spearman`]), are the same sentences neighbours ([`Agreement::recall_at_10`]), and how near is
//! each vector to its target ([`Agreement::cosine`]).

use hpd_eval::correlation::spearman;
use hpd_files::vectors::Matrix;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Neighbours compared for each sentence.
const NEIGHBOURS: usize = 10;

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

/// Compares `other` with `teacher` over the same sentences, row by row.
///
/// # Shapes
/// `teacher`: `[n, teacher_dim]`, `other`: `[n, dim]`, `target`: `[n, dim]`.
///
/// # Cost
/// `n² · (teacher_dim + dim)` multiplications and `n²` floats, so a thousand sentences rather than a million.
pub fn agreement(teacher: &Matrix, other: &Matrix, target: Option<&Matrix>) -> Agreement {
    let (teacher_cosines, other_cosines) = (cosines(teacher), cosines(other));
    Agreement {
        spearman: spearman(&upper_triangle(&teacher_cosines), &upper_triangle(&other_cosines))
            .unwrap_or(0.0),
        recall_at_10: neighbour_recall(&teacher_cosines, &other_cosines),
        cosine: target.map(|target| mean_cosine(other, target)),
    }
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

fn neighbour_recall(teacher: &[Vec<f64>], other: &[Vec<f64>]) -> f64 {
    let wanted = NEIGHBOURS.min(teacher.len().saturating_sub(1));
    if wanted == 0 {
        return 1.0;
    }
    let shared: usize = (0..teacher.len())
        .into_par_iter()
        .map(|i| {
            let found = nearest(&other[i], i, wanted);
            nearest(&teacher[i], i, wanted).iter().filter(|j| found.contains(j)).count()
        })
        .sum();
    shared as f64 / (teacher.len() * wanted) as f64
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
}
