//! What was measured: a table for people, JSON with provenance for machines.
//!
//! Tasks and metrics carry MTEB's names (`main_score`, `ndcg_at_10`, …), so that scripts made for its result files
//! find their way. Scores lie between 0 and 1 here, or -1 and 1, and are multiplied by 100 in tables alone.

use std::collections::BTreeMap;

use hpd_encoder::Arithmetic;
use hpd_index::Fusion;
use serde::{Deserialize, Serialize};

use crate::pca::{Center, Origin};
use crate::provenance::{self, Machine};
use crate::tasks::{Kind, SEVEN};
use crate::{classification, retrieval, speed, sts};

/// Everything one call measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Version of this program.
    pub hpd_version: String,
    /// When it was measured, in UTC.
    pub date: String,
    /// What it was measured on.
    pub machine: Machine,
    /// Only the first so many pairs and queries of each task, or so many labelled texts, were used: not comparable
    /// with anything else.
    pub limit: Option<usize>,
    /// One row for each model and variant.
    pub models: Vec<ModelResults>,
}

/// A number of tokens as JSON has it: null for a model that takes texts of any length, whose number no other program could read.
pub(crate) mod length {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
    pub(crate) fn serialize<S: Serializer>(tokens: &usize, to: S) -> Result<S::Ok, S::Error> {
        Some(tokens).filter(|tokens| **tokens < usize::MAX).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
        Ok(Option::deserialize(from)?.unwrap_or(usize::MAX))
    }
}

/// One row of the table: a model, or a variant of its vectors.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ModelResults {
    /// What the table calls it.
    pub name: String,
    /// The model as it was asked for.
    pub path: String,
    /// Fingerprint of the model's tensors.
    pub weights: String,
    /// The space the model's vectors lie in, before any projection.
    pub space: String,
    /// Numbers in a vector; 0 where there are only words.
    pub dimensions: usize,
    /// Texts were cut at so many tokens.
    #[serde(with = "length")]
    pub max_seq_length: usize,
    /// The numbers the model computed in.
    #[serde(default)]
    pub arithmetic: Arithmetic,
    /// Numbers that the model is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// Bytes of the model's folder, where it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How fast the model encodes, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<Speed>,
    /// The PCA between the model and its scores, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection: Option<Projection>,
    /// How the ranking by vectors was joined with that of BM25, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fusion: Option<Fusion>,
    /// Seconds spent encoding and scoring; variants of one model share its encoding.
    pub seconds: f64,
    /// Different texts encoded.
    pub texts: usize,
    /// Texts that lost their end.
    pub truncated: usize,
    /// One for each task.
    pub tasks: Vec<TaskResult>,
    /// One for each kind of task.
    pub means: Vec<Mean>,
}

/// How fast a model encodes on all threads that were asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Sentences a second, given all at once.
    pub sentences_per_second: f64,
    /// Half of all sentences, given one at a time, have their vector in so many milliseconds.
    pub p50_milliseconds: f64,
    /// Sentences it was measured on.
    pub texts: usize,
    /// Tokens of these.
    pub tokens: usize,
    /// Threads used.
    pub threads: usize,
}

impl Speed {
    /// The first case that was measured.
    pub fn of(results: &speed::Results) -> Option<Self> {
        let first = results.cases.first()?;
        Some(Self {
            sentences_per_second: first.sentences_per_second,
            p50_milliseconds: first.p50_milliseconds,
            texts: results.texts,
            tokens: results.tokens,
            threads: first.case.threads,
        })
    }
}

/// Where a PCA came from and how much it keeps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Projection {
    /// The model and the sentences it was fitted on.
    pub fitted_on: Origin,
    /// Whether the mean was subtracted before projecting; fitting always does.
    pub center: Center,
    /// Share of the variance that it keeps.
    pub explained_ratio: f64,
}

/// What a model reaches on one task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskResult {
    /// Name of the task.
    pub task_name: String,
    /// What is measured.
    pub task_type: Kind,
    /// Fingerprint of the data files.
    pub dataset_revision: String,
    /// Seconds from the first text to the score.
    pub evaluation_time: f64,
    /// Different texts encoded.
    pub texts: usize,
    /// Texts that lost their end.
    pub truncated: usize,
    /// A list of one for the split, as in MTEB.
    pub scores: BTreeMap<String, Vec<Scores>>,
}

/// The scores of any kind of task.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scores {
    /// Of retrieval.
    Retrieval(retrieval::Scores),
    /// Of classification.
    Classification(classification::Scores),
    /// Of sentence similarity.
    Sts(sts::Scores),
}

/// The plain mean of the main scores of some tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// Which kind of task.
    pub task_type: Kind,
    /// The mean; `None` when one of the scores is not defined.
    pub main_score: Option<f64>,
    /// The tasks in it.
    pub tasks: Vec<String>,
}

impl Results {
    /// Results with the provenance of this moment and machine.
    pub fn new(models: Vec<ModelResults>, limit: Option<usize>) -> Self {
        Self {
            hpd_version: env!("CARGO_PKG_VERSION").to_owned(),
            date: provenance::now(),
            machine: Machine::current(),
            limit,
            models,
        }
    }
}

impl ModelResults {
    /// Sums and means over the tasks.
    pub(crate) fn summarise(&mut self) {
        self.seconds = self.tasks.iter().map(|task| task.evaluation_time).sum();
        self.texts = self.tasks.iter().map(|task| task.texts).sum();
        self.truncated = self.tasks.iter().map(|task| task.truncated).sum();
        let mean = |measure: &&Measure| measure.mean(self);
        self.means =
            MEASURES.iter().filter(|measure| measure.main).filter_map(|m| mean(&m)).collect();
    }
}

/// A section of the table: one number of every task of a kind.
struct Measure {
    title: &'static str,
    kind: Kind,
    /// Whether this is the kind's main score.
    main: bool,
    of: fn(&Scores) -> Option<f64>,
}

const MEASURES: [Measure; 7] = [
    Measure { title: "Spearman of cosine", kind: Kind::Sts, main: true, of: Scores::main },
    Measure { title: "nDCG@10", kind: Kind::Retrieval, main: true, of: Scores::main },
    Measure { title: "MRR@10", kind: Kind::Retrieval, main: false, of: Scores::mrr },
    Measure { title: "recall@100", kind: Kind::Retrieval, main: false, of: Scores::recall },
    Measure {
        title: "accuracy of a linear probe",
        kind: Kind::Classification,
        main: true,
        of: Scores::main,
    },
    Measure {
        title: "macro-F1 of a linear probe",
        kind: Kind::Classification,
        main: false,
        of: Scores::f1,
    },
    Measure {
        title: "accuracy of 10 nearest neighbours",
        kind: Kind::Classification,
        main: false,
        of: Scores::knn,
    },
];

impl Scores {
    fn main(&self) -> Option<f64> {
        match self {
            Scores::Sts(scores) => scores.main_score,
            Scores::Retrieval(scores) => Some(scores.main_score),
            Scores::Classification(scores) => Some(scores.main_score),
        }
    }

    fn mrr(&self) -> Option<f64> {
        let Scores::Retrieval(scores) = self else { return None };
        Some(scores.mrr_at_10)
    }

    fn recall(&self) -> Option<f64> {
        let Scores::Retrieval(scores) = self else { return None };
        Some(scores.recall_at_100)
    }

    fn f1(&self) -> Option<f64> {
        let Scores::Classification(scores) = self else { return None };
        Some(scores.f1)
    }

    fn knn(&self) -> Option<f64> {
        let Scores::Classification(scores) = self else { return None };
        Some(scores.knn_accuracy)
    }
}

impl Measure {
    fn tasks<'a>(&self, model: &'a ModelResults) -> Vec<&'a TaskResult> {
        model.tasks.iter().filter(|task| task.task_type == self.kind).collect()
    }

    fn value(&self, task: &TaskResult) -> Option<f64> {
        task.scores.values().flatten().next().and_then(self.of)
    }

    /// Over the seven STS tasks of the papers when all are there, otherwise over all tasks of the kind.
    fn mean(&self, model: &ModelResults) -> Option<Mean> {
        let mut tasks = self.tasks(model);
        let is_one_of_seven = |task: &&TaskResult| SEVEN.contains(&task.task_name.as_str());
        if tasks.iter().copied().filter(|task| is_one_of_seven(task)).count() == SEVEN.len() {
            tasks.retain(is_one_of_seven);
        }
        let values: Option<Vec<f64>> = tasks.iter().map(|task| self.value(task)).collect();
        let main_score = values.map(|values| values.iter().sum::<f64>() / tasks.len() as f64);
        let names = tasks.iter().map(|task| task.task_name.clone()).collect();
        (!tasks.is_empty()).then_some(Mean { task_type: self.kind, main_score, tasks: names })
    }

    /// The section; nothing when no task is of the kind.
    fn table(&self, models: &[ModelResults]) -> Option<Table> {
        let models: Vec<&ModelResults> =
            models.iter().filter(|model| !self.tasks(model).is_empty()).collect();
        let first = *models.first()?;
        let mean = self.mean(first)?;
        let mut header = vec!["model".to_owned(), "dim".to_owned()];
        header.extend(self.tasks(first).iter().map(|task| task.task_name.clone()));
        header.push("mean".to_owned());
        if models.len() > 1 {
            header.push("of first".to_owned());
        }
        let mut rows = vec![header];
        rows.extend(models.iter().map(|model| self.row(model, mean.main_score, models.len() > 1)));
        let title = format!("{} × 100 ({})", self.title, split(first, self.kind));
        Some(Table { title, rows, note: format!("mean of {}", mean.tasks.join(", ")) })
    }

    fn row(&self, model: &ModelResults, first: Option<f64>, compared: bool) -> Vec<String> {
        let mean = self.mean(model).and_then(|mean| mean.main_score);
        let dimensions = match model.dimensions {
            0 => "-".to_owned(),
            dimensions => dimensions.to_string(),
        };
        let mut row = vec![model.name.clone(), dimensions];
        row.extend(self.tasks(model).iter().map(|task| hundredfold(self.value(task))));
        row.push(hundredfold(mean));
        if compared {
            let share = mean.zip(first).filter(|(_, first)| *first > 0.0);
            let share = share.map(|(mean, first)| format!("{:.1} %", 100.0 * mean / first));
            row.push(share.unwrap_or_else(|| "-".to_owned()));
        }
        row
    }
}

/// One measure of all models, as it is laid out: below a row of names a row for each model, a column for each task and
/// the mean.
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) rows: Vec<Vec<String>>,
    /// Which tasks are in the mean.
    pub(crate) note: String,
}

/// A table for each measure that the models have tasks of.
pub(crate) fn tables(models: &[ModelResults]) -> Vec<Table> {
    MEASURES.iter().filter_map(|measure| measure.table(models)).collect()
}

/// The results as aligned text.
pub fn table(results: &Results) -> String {
    let section =
        |Table { title, rows, note }: &Table| format!("{title}\n{}{note}\n", aligned(rows));
    let mut text = tables(&results.models).iter().map(section).collect::<Vec<_>>().join("\n");
    if let Some(limit) = results.limit {
        text.push_str(&format!(
            "\nlimited to the first {limit} pairs or queries of each task, or so many labelled texts: \
             not comparable with whole ones\n"
        ));
    }
    text
}

fn split(model: &ModelResults, kind: Kind) -> String {
    let tasks = model.tasks.iter().filter(|task| task.task_type == kind);
    let mut splits: Vec<&str> =
        tasks.flat_map(|task| task.scores.keys()).map(String::as_str).collect();
    splits.sort_unstable();
    splits.dedup();
    splits.join(", ")
}

fn hundredfold(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{:.2}", 100.0 * value))
}

/// Rows as lines, the first column to the left, the others to the right.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, &width))| match i {
            0 => format!("{cell:<width$}"),
            _ => format!("  {cell:>width$}"),
        });
        cells.collect::<String>() + "\n"
    };
    rows.iter().map(line).collect()
}
