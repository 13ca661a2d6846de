//! The course of a run as JSON lines, one a step that was logged, for plots and for people.
//!
//! A line is written when its step is done and never changed; a resumed run first drops the lines beyond its
//! checkpoint, so that each step stands once.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use hpd_files::{Error, Result, atomic};
use serde::{Deserialize, Serialize};

/// One line of `metrics.jsonl`. Fields that were not measured are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Steps taken, this one included.
    pub step: u64,
    /// Passes over the sentences, with the fraction of the current one.
    pub epoch: f64,
    /// The weighted loss, mean over the steps since the last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// 1 − cosine to the target, of this step's batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_cosine: Option<f64>,
    /// Mean squared error, of this step's batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_mse: Option<f64>,
    /// KL(teacher ‖ student) over neighbours, of this step's batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_relational: Option<f64>,
    /// KL(teacher ‖ student) over neighbours beyond the batch, of this step's batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_corpus: Option<f64>,
    /// Cross entropy of finding the positive, of this step's triplets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_contrast: Option<f64>,
    /// InfoNCE to the targets, of this step's batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_contrast_teacher: Option<f64>,
    /// Dependence of the last layer on the embeddings, of this step's batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_hsic: Option<f64>,
    /// Squared difference between the cosines of student and teacher, of this step's batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_similarity: Option<f64>,
    /// How far pairs are out of the teacher's order, of this step's batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_ranking: Option<f64>,
    /// 1 − cosine between the layers of student and teacher, of this step's batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_hidden: Option<f64>,
    /// The rate of this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Length of this step's gradient before it was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<f64>,
    /// Sentences a second since the last line, evaluation and checkpoints left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentences_per_second: Option<f64>,
    /// Mean cosine between student and target on the held-back sentences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev_cosine: Option<f64>,
    /// Mean squared error on the held-back sentences, times 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev_mse: Option<f64>,
    /// Spearman's correlation on the STS development pairs, times 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev_sts: Option<f64>,
    /// Seconds of training up to here, evaluations, checkpoints and the processes before this one included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// A metrics file open for the next line.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
    /// Seconds that earlier processes trained up to the last line that stands. Here and not in the checkpoint, which is the
    /// same bit for bit however often a run was stopped.
    seconds_before: f64,
}

impl MetricsFile {
    /// Opens `path` for a run that stands at `step`: lines beyond it, and a line torn by a crash, are dropped.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn resume(path: &Path, step: u64) -> Result<Self> {
        let old = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::io("read", path, error)),
        };
        let lines =
            old.split_inclusive('\n').filter_map(|line| Some((line, standing(line, step)?)));
        let (kept, lines): (Vec<&str>, Vec<Metrics>) = lines.unzip();
        atomic::write(path, kept.concat().as_bytes())?;
        let file = OpenOptions::new().append(true).open(path);
        let file = file.map_err(|e| Error::io("open", path, e))?;
        // Runs of an earlier hpd do not say.
        let seconds_before = lines.iter().rev().find_map(|line| line.seconds).unwrap_or(0.0);
        Ok(Self { path: path.to_owned(), file, seconds_before })
    }

    /// Seconds that earlier processes trained, up to the last line that stands.
    pub fn seconds_before(&self) -> f64 {
        self.seconds_before
    }

    /// Appends a line.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn write(&mut self, metrics: &Metrics) -> Result<()> {
        let fail = |error| Error::io("write", &self.path, error);
        let mut line = serde_json::to_vec(metrics).map_err(|e| fail(e.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(fail)
    }
}

/// What a whole line says, if it is of no later step.
fn standing(line: &str, step: u64) -> Option<Metrics> {
    let whole = line.strip_suffix('\n')?;
    serde_json::from_str::<Metrics>(whole).ok().filter(|metrics| metrics.step <= step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resuming_drops_later_and_torn_lines_and_appends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let line = |step| Metrics { step, loss: Some(0.5), ..Metrics::default() };
        let mut file = MetricsFile::resume(&path, 0).unwrap();
        for step in [10, 20, 30] {
            file.write(&line(step)).unwrap();
        }
        file.file.write_all(b"{\"step\":15,\"epo").unwrap();
        MetricsFile::resume(&path, 20).unwrap().write(&line(25)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let steps = text.lines().map(|line| serde_json::from_str::<Metrics>(line).unwrap().step);
        assert_eq!(steps.collect::<Vec<_>>(), [10, 20, 25]);
        assert!(text.starts_with("{\"step\":10,\"epoch\":0.0,\"loss\":0.5}\n"));
    }

    #[test]
    fn seconds_count_up_to_the_line_that_stands() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut file = MetricsFile::resume(&path, 0).unwrap();
        assert_eq!(file.seconds_before(), 0.0);
        for (step, seconds) in [(10, Some(1.5)), (20, None), (30, Some(4.0))] {
            file.write(&Metrics { step, seconds, ..Metrics::default() }).unwrap();
        }
        assert_eq!(MetricsFile::resume(&path, 30).unwrap().seconds_before(), 4.0);
        assert_eq!(MetricsFile::resume(&path, 20).unwrap().seconds_before(), 1.5);
    }
}
