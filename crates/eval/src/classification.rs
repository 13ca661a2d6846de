//! Classification: can labels be read off a model's vectors?
//!
//! One folder is one task: `train.tsv` and `<split>.tsv` (each also with `.gz`), tab-separated, with the columns
//! `label` and `text`. Two classifiers are asked, both on frozen vectors: a linear [`Probe`], which tells what is in
//! the vectors, and the nearest neighbours, which tell what lies near what. Nothing is chosen on the test part.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use hpd_files::vectors::Matrix;
use hpd_files::{Error, Progress, Result};
use hpd_kernels::Scored;
use serde::{Deserialize, Serialize};

use crate::files::{evenly_spaced, plain_or_gzip};
use crate::probe::{Labelled, Probe, choose_penalty};
use crate::scan::nearest;
use crate::tsv::Rows;

/// Neighbours that vote, each with its cosine.
pub const NEIGHBOURS: usize = 10;

/// The part that classifiers learn from.
const TRAIN: &str = "train";

/// Labelled texts, to learn from and to be tested on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set {
    /// The labels of the training part, in alphabetical order.
    pub labels: Vec<String>,
    /// Texts to learn from.
    pub train: Part,
    /// Texts to be tested on.
    pub test: Part,
    /// Texts of the test part that were left out, by their label, which the training part does not have: no classifier
    /// can be right about them (CLINC150 measures "in-scope accuracy" in the same way).
    pub unseen: BTreeMap<String, usize>,
}

/// Texts and the place of each one's label in [`Set::labels`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// The texts, in file order.
    pub texts: Vec<String>,
    /// One for each text.
    pub labels: Vec<usize>,
}

/// What a model reaches on one set. Macro-F1 is the plain mean of F1 over the labels that occur in gold or answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The same as `accuracy`.
    pub main_score: f64,
    /// Share of the test texts whose label the linear probe finds.
    pub accuracy: f64,
    /// Macro-F1 of the linear probe.
    pub f1: f64,
    /// Share of the test texts whose label the nearest training texts find.
    pub knn_accuracy: f64,
    /// Macro-F1 of the nearest training texts.
    pub knn_f1: f64,
    /// Neighbours that vote.
    pub neighbours: usize,
    /// L2 penalty of the probe, chosen on a fifth of the training texts.
    pub penalty: f64,
    /// Labels.
    pub classes: usize,
    /// Texts learnt from.
    pub train_texts: usize,
    /// Texts tested.
    pub test_texts: usize,
    /// Test texts left out because their label has no training text, by label.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unseen: BTreeMap<String, usize>,
}

impl Set {
    /// Keeps `limit` texts of each part, evenly spaced, since files may be sorted by label.
    pub fn thin_out(&mut self, limit: usize) {
        for part in [&mut self.train, &mut self.test] {
            let places: Vec<usize> = evenly_spaced(part.texts.len(), limit).collect();
            part.texts = places.iter().map(|&i| part.texts[i].clone()).collect();
            part.labels = places.iter().map(|&i| part.labels[i]).collect();
        }
    }
}

/// Whether `folder` has the shape of a labelled set.
pub fn is_set(folder: &Path) -> bool {
    plain_or_gzip(folder, &format!("{TRAIN}.tsv")).is_some()
}

/// The two files of a set: training part and `split`.
///
/// # Errors
/// When one is missing, or the split is the training part itself.
pub fn files(folder: &Path, split: &str) -> Result<[PathBuf; 2]> {
    if split == TRAIN {
        return Err(Error::input("classifiers learn from `train` and cannot be tested on it")
            .hint("--split test"));
    }
    let find = |part: &str| {
        let name = format!("{part}.tsv");
        plain_or_gzip(folder, &name).ok_or_else(|| {
            let folder = folder.display();
            Error::input(format!("`{folder}` has neither `{name}` nor `{name}.gz`"))
        })
    };
    Ok([find(TRAIN)?, find(split)?])
}

/// Reads a set.
///
/// # Errors
/// When a file is missing or malformed, a text has no label, there are not two labels to tell apart, or no test text
/// has one of them.
pub fn read(folder: &Path, split: &str) -> Result<Set> {
    let [train, test] = files(folder, split)?;
    let (train_rows, test_rows) = (read_part(&train)?, read_part(&test)?);
    let mut labels: Vec<String> = train_rows.iter().map(|(label, _)| label.clone()).collect();
    labels.sort_unstable();
    labels.dedup();
    if labels.len() < 2 {
        let (path, found) = (train.display(), labels.join(""));
        let message = format!("expected two labels or more in `{path}`, found only `{found}`");
        return Err(Error::input(message));
    }
    let places: HashMap<&str, usize> =
        labels.iter().enumerate().map(|(place, label)| (label.as_str(), place)).collect();
    let mut set = Set::default();
    for (part, rows) in [(&mut set.train, train_rows), (&mut set.test, test_rows)] {
        for (label, text) in rows {
            match places.get(label.as_str()) {
                Some(&place) => {
                    part.labels.push(place);
                    part.texts.push(text);
                }
                None => *set.unseen.entry(label).or_default() += 1,
            }
        }
    }
    if set.test.texts.is_empty() {
        let (test, train) = (test.display(), train.display());
        let message = format!("no text of `{test}` has a label that `{train}` has");
        return Err(Error::input(message).hint("the labels of both files must be written alike"));
    }
    set.labels = labels;
    Ok(set)
}

/// Labels and texts of a file.
fn read_part(path: &Path) -> Result<Vec<(String, String)>> {
    let mut rows = Rows::open(path)?;
    let (label, text) = (rows.column("label")?, rows.column("text")?);
    let mut pairs = Vec::new();
    while let Some(mut fields) = rows.next_row()? {
        if fields[label].trim().is_empty() {
            return Err(rows.error("a text has no label"));
        }
        let name = fields[label].trim().to_owned();
        pairs.push((name, std::mem::take(&mut fields[text])));
    }
    if pairs.is_empty() {
        return Err(Error::input(format!("`{}` holds no labelled text", path.display())));
    }
    Ok(pairs)
}

/// Scores the vectors of the texts of `set`, one row for each text of each part. They need not have unit length.
///
/// # Errors
/// When rows are missing, widths differ, a vector is not finite, or a stop was asked for.
///
/// # Cost
/// `train · test · dim` multiplications for the neighbours, and what [`Probe::fit`] costs, for each penalty tried.
pub fn score(set: &Set, train: &Matrix, test: &Matrix, progress: &dyn Progress) -> Result<Scores> {
    for (part, rows) in [(&set.train, train), (&set.test, test)] {
        if rows.len() != part.texts.len() {
            let (expected, found) = (part.texts.len(), rows.len());
            return Err(Error::mismatch(format!("expected {expected} vectors, found {found}")));
        }
    }
    let classes = set.labels.len();
    let neighbours = nearest(test, train, NEIGHBOURS, progress)?;
    let vote = |hits: &Vec<Scored>| vote(hits, &set.train.labels, classes);
    let by_neighbours: Vec<usize> = neighbours.iter().map(vote).collect();
    let data = Labelled { rows: train, labels: &set.train.labels, classes };
    let penalty = choose_penalty(data)?;
    let by_probe = Probe::fit(data, penalty)?.predict(test);
    let gold = &set.test.labels;
    let accuracy = accuracy(gold, &by_probe);
    Ok(Scores {
        main_score: accuracy,
        accuracy,
        f1: macro_f1(gold, &by_probe, classes),
        knn_accuracy: self::accuracy(gold, &by_neighbours),
        knn_f1: macro_f1(gold, &by_neighbours, classes),
        neighbours: NEIGHBOURS,
        penalty,
        classes,
        train_texts: train.len(),
        test_texts: test.len(),
        unseen: set.unseen.clone(),
    })
}

/// The label with the largest sum of cosines; of equal ones that of the nearest text.
fn vote(hits: &[Scored], labels: &[usize], classes: usize) -> usize {
    let mut votes = vec![0.0; classes];
    for hit in hits {
        // What points away says nothing for its label, and nothing against it.
        votes[labels[hit.row as usize]] += hit.score.max(0.0);
    }
    let label = |hit: &Scored| labels[hit.row as usize];
    let mut elected = hits.first().map_or(0, label);
    for other in hits.iter().map(label) {
        if votes[other] > votes[elected] {
            elected = other;
        }
    }
    elected
}

fn accuracy(gold: &[usize], found: &[usize]) -> f64 {
    let right = gold.iter().zip(found).filter(|(gold, found)| gold == found).count();
    right as f64 / gold.len() as f64
}

/// Mean over the labels that occur in `gold` or `found`, as scikit-learn's `f1_score(average="macro")`.
fn macro_f1(gold: &[usize], found: &[usize], classes: usize) -> f64 {
    let (mut right, mut occurrences) = (vec![0_usize; classes], vec![0_usize; classes]);
    for (&gold, &found) in gold.iter().zip(found) {
        right[gold] += usize::from(gold == found);
        occurrences[gold] += 1;
        occurrences[found] += 1;
    }
    // F1 = 2 · right / (gold of the label + found of the label).
    let scores: Vec<f64> = right
        .iter()
        .zip(&occurrences)
        .filter(|(_, occurrences)| **occurrences > 0)
        .map(|(&right, &occurrences)| 2.0 * right as f64 / occurrences as f64)
        .collect();
    scores.iter().sum::<f64>() / scores.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(scores: &[f32]) -> Vec<Scored> {
        scores.iter().enumerate().map(|(row, &score)| Scored { row: row as u64, score }).collect()
    }

    #[test]
    fn near_neighbours_outvote_more_distant_ones_and_the_nearest_breaks_a_tie() {
        assert_eq!(vote(&hits(&[0.9, 0.4, 0.4]), &[0, 1, 1], 2), 0);
        assert_eq!(vote(&hits(&[0.9, 0.5, 0.5]), &[0, 1, 1], 2), 1);
        assert_eq!(vote(&hits(&[0.5, 0.5]), &[1, 0], 2), 1);
        assert_eq!(vote(&hits(&[0.1, -0.9, -0.9]), &[1, 0, 0], 2), 1);
        assert_eq!(vote(&[], &[], 2), 0);
    }

    #[test]
    fn macro_f1_does_not_let_the_common_label_speak_for_the_rare_one() {
        assert_eq!(macro_f1(&[0, 0, 0, 1], &[0, 0, 0, 0], 2), (6.0 / 7.0 + 0.0) / 2.0);
        assert_eq!(macro_f1(&[0, 1], &[0, 1], 5), 1.0);
    }
}
