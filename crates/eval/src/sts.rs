//! Sentence similarity: does the cosine of two sentences rise with what people said of their likeness?
//!
//! One file is one task: `subset`, `score`, `sentence1`, `sentence2`, tab-separated, with a header line. The main
//! score is Spearman over all pairs of the file together, the "all" of SentEval, which SimCSE, HPD and MTEB report.

use std::collections::BTreeMap;
use std::path::Path;

use hpd_files::vectors::Matrix;
use hpd_files::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::correlation::{is_constant, pearson, spearman};
use crate::tsv::Rows;

/// Pairs of sentences with the likeness that people gave them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pairs {
    /// Both sentences of each pair, one pair after another: pair `i` is `2i` and `2i + 1`.
    pub sentences: Vec<String>,
    /// The gold score of each pair, on any scale.
    pub gold: Vec<f64>,
    /// The part of the file each pair belongs to; empty when the file tells none.
    pub subsets: Vec<String>,
    /// Lines left out because nobody had scored them.
    pub unscored: usize,
}

/// What a model reaches on one set of pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The same as `spearman_cosine`.
    pub main_score: Option<f64>,
    /// Spearman of cosine and gold over all pairs; `None` when all cosines are equal.
    pub spearman_cosine: Option<f64>,
    /// Pearson of cosine and gold over all pairs; `None` when all cosines are equal.
    pub pearson_cosine: Option<f64>,
    /// Pairs scored.
    pub pairs: usize,
    /// The same for each subset by itself, where the file names any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub subsets: BTreeMap<String, SubsetScores>,
}

/// What a model reaches on one subset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubsetScores {
    /// Spearman of cosine and gold; `None` when one of them does not vary.
    pub spearman_cosine: Option<f64>,
    /// Pearson of cosine and gold; `None` when one of them does not vary.
    pub pearson_cosine: Option<f64>,
    /// Pairs scored.
    pub pairs: usize,
}

impl Pairs {
    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.gold.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.gold.is_empty()
    }

    /// Keeps the first `limit` pairs.
    pub fn truncate(&mut self, limit: usize) {
        self.sentences.truncate(limit.saturating_mul(2));
        self.gold.truncate(limit);
        self.subsets.truncate(limit);
    }
}

/// Reads a file of pairs. Runs of white space become one space; lines with an empty score are left out and counted.
///
/// # Errors
/// When the file is missing, lacks a column, has a malformed line, or holds no two different scores.
///
/// # Source
/// HPD's SentEval (Zhao et al. 2022), which splits at white space and joins by single spaces.
pub fn read(path: &Path) -> Result<Pairs> {
    let mut rows = Rows::open(path)?;
    let (score, first, second) =
        (rows.column("score")?, rows.column("sentence1")?, rows.column("sentence2")?);
    let subset = rows.find("subset");
    let mut pairs = Pairs::default();
    while let Some(fields) = rows.next_row()? {
        if fields[score].trim().is_empty() {
            pairs.unscored += 1;
            continue;
        }
        pairs.gold.push(rows.number(&fields[score], "score")?);
        pairs.sentences.extend([single_spaced(&fields[first]), single_spaced(&fields[second])]);
        pairs.subsets.extend(subset.map(|column| fields[column].clone()));
    }
    check_gold(&pairs, path)?;
    Ok(pairs)
}

/// Refuses pairs whose gold scores nothing can correlate with.
pub(crate) fn check_gold(pairs: &Pairs, path: &Path) -> Result<()> {
    let path = path.display();
    match pairs.gold.first() {
        None => Err(Error::input(format!("`{path}` holds no scored pair"))),
        Some(score) if is_constant(&pairs.gold) => {
            let message = format!("every score in `{path}` is {score}: nothing correlates with it");
            Err(Error::input(message))
        }
        Some(_) => Ok(()),
    }
}

/// Scores the vectors of [`Pairs::sentences`], one row for each sentence. They need not have unit length.
///
/// # Errors
/// When there is not one row for each sentence, or a vector is not finite.
pub fn score(pairs: &Pairs, vectors: &Matrix) -> Result<Scores> {
    let cosines = cosines(pairs, vectors)?;
    let spearman_cosine = spearman(&cosines, &pairs.gold);
    Ok(Scores {
        main_score: spearman_cosine,
        spearman_cosine,
        pearson_cosine: pearson(&cosines, &pairs.gold),
        pairs: pairs.len(),
        subsets: subset_scores(pairs, &cosines),
    })
}

fn cosines(pairs: &Pairs, vectors: &Matrix) -> Result<Vec<f64>> {
    if vectors.len() != pairs.sentences.len() {
        let (found, expected) = (vectors.len(), pairs.sentences.len());
        return Err(Error::mismatch(format!("expected {expected} vectors, found {found}")));
    }
    let cosines: Vec<f64> =
        (0..pairs.len()).map(|i| cosine(vectors.row(2 * i), vectors.row(2 * i + 1))).collect();
    match cosines.iter().position(|cosine| cosine.is_nan()) {
        Some(i) => Err(Error::model(format!("a vector of pair {} is not finite", i + 1))),
        None => Ok(cosines),
    }
}

/// Cosine in f64; 0 where a vector is zero, as SentEval has it.
fn cosine(left: &[f32], right: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
    };
    let norms = dot(left, left).sqrt() * dot(right, right).sqrt();
    if norms == 0.0 { 0.0 } else { dot(left, right) / norms }
}

fn subset_scores(pairs: &Pairs, cosines: &[f64]) -> BTreeMap<String, SubsetScores> {
    let mut lists: BTreeMap<String, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for (subset, (&cosine, &gold)) in pairs.subsets.iter().zip(cosines.iter().zip(&pairs.gold)) {
        let (cosines, golds) = lists.entry(subset.clone()).or_default();
        cosines.push(cosine);
        golds.push(gold);
    }
    let score = |(cosines, gold): (Vec<f64>, Vec<f64>)| SubsetScores {
        spearman_cosine: spearman(&cosines, &gold),
        pearson_cosine: pearson(&cosines, &gold),
        pairs: gold.len(),
    };
    lists.into_iter().map(|(subset, lists)| (subset, score(lists))).collect()
}

fn single_spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
