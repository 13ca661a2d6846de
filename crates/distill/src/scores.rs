//! What a run tells at its end: teacher, projected teacher and student side by side.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::agreement::Agreement;

/// One encoder's line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `teacher`, `teacher + PCA` (or another projection) or `student`.
    pub name: String,
    /// Numbers in its vectors.
    pub dim: usize,
    /// How it sees the held-back sentences, compared with the teacher; `None` without held-back sentences.
    pub held_back: Option<Agreement>,
    /// Spearman on the scored pairs, 0 to 1; `None` without such pairs, or when the encoder could not be asked.
    pub dev_sts: Option<f64>,
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The student's folder.
    pub output: String,
    /// Sentences held back from training and compared here.
    pub held_back: usize,
    /// Teacher, projected teacher, student.
    pub rows: Vec<Row>,
    /// Optimiser steps.
    pub steps: usize,
    /// Seconds of training, over all parts of an interrupted run, each up to the last line of metrics that stood.
    pub training_seconds: f64,
    /// Sentences trained on in a second.
    pub sentences_per_second: f64,
    /// Sentences that the student encodes in a second, tokenising included.
    pub encoded_per_second: f64,
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", table(self.held_back, &self.rows))?;
        writeln!(
            f,
            "{} steps in {:.0} s, {:.0} sentences/s",
            self.steps, self.training_seconds, self.sentences_per_second
        )?;
        write!(f, "student: {}", self.output)
    }
}

/// The rows side by side, for people; `held_back` is how many sentences they were compared on.
pub fn table(held_back: usize, rows: &[Row]) -> String {
    let mut table =
        format!("on {held_back} held-back sentences, compared with the teacher (×100):\n");
    table += &line(["", "dim", "similarities", "neighbours", "cosine to target", "dev STS"]);
    for row in rows {
        let held_back = row.held_back;
        table += &line([
            &row.name,
            &row.dim.to_string(),
            &hundred(held_back.map(|agreement| agreement.spearman)),
            &hundred(held_back.map(|agreement| agreement.recall_at_10)),
            &hundred(held_back.and_then(|agreement| agreement.cosine)),
            &hundred(row.dev_sts),
        ]);
    }
    table
}

fn line([name, dim, similarities, neighbours, cosine, sts]: [&str; 6]) -> String {
    format!("{name:<16}{dim:>6}{similarities:>14}{neighbours:>12}{cosine:>20}{sts:>10}\n")
}

/// A score as people read it, or a dash.
fn hundred(score: Option<f64>) -> String {
    score.map_or_else(|| "–".to_owned(), |score| format!("{:.2}", score * 100.0))
}
