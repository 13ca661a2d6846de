//! Where did the points go? What a run's folder tells of teacher, projection and student at any moment.
//!
//! Reads files and changes none, so it may look at a run that is training, was stopped, or is done. The vectors of
//! the student as it is now come from the best checkpoint, which is what would be exported; everything else was
//! written down when the run began ([`crate::beginning`]) or while it went ([`hpd_eval::course`]).
//!
//! `run folder ─Beginning, projection, checkpoint, metrics─> rows of scores, histogram, worst sentences, course`

use std::path::Path;
use std::time::SystemTime;

use burn::tensor::Device;
use hpd_encoder::EncoderConfig;
use hpd_eval::course::Course;
use hpd_eval::tasks::Loaded;
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Progress, Result};
use serde::Serialize;
use serde_json::Value;

use crate::agreement::{View, cosines_to};
use crate::beginning::{Beginning, HeldBack, TokenCounts, texts_of};
use crate::checkpoint::Checkpoint;
use crate::overlap::{Overlap, overlap};
use crate::projection::Projection;
use crate::recipe::Recipe;
use crate::run_folder::{self, RunFile, Status};
use crate::scores::{Row, Scores};
use crate::sentences::{SentenceFile, Sentences};
use crate::student::{HeadShape, Student};
use crate::train::{BEST, LAST, METRICS};

/// Cosines in one bar of the histogram.
const BAR: f64 = 0.05;
/// Points of the course that are told.
const POINTS: usize = 10;

/// What is asked of a run.
#[derive(Debug)]
pub struct Questions<'a> {
    /// How many of the sentences farthest from their targets to show.
    pub worst: usize,
    /// Evaluation sets to look for in the training text.
    pub tasks: &'a [Loaded],
}

/// What a run's folder tells.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// Seconds since the run last wrote something: many, where it says that it runs, mean that it was stopped.
    pub quiet_seconds: Option<u64>,
    /// Steps logged so far.
    pub step: u64,
    /// Steps that the run has in all, as far as it is written down.
    pub steps: Option<usize>,
    /// Sentences trained on in a second, over all steps logged.
    pub sentences_per_second: Option<f64>,
    /// The student that was looked at, if there is a checkpoint yet.
    pub student: Option<StudentNow>,
    /// Sentences held back from training, on which all are compared; 0 where it is not known.
    pub held_back: usize,
    /// Teacher, projected teacher, student at its start and student now, as far as known.
    pub rows: Vec<Row>,
    /// How near the held-back sentences are to their targets, from the farthest bar that is not empty up to 1.
    pub cosine_to_target: Vec<Bar>,
    /// The held-back sentences farthest from their targets, the farthest first.
    pub worst: Vec<Sentence>,
    /// What the student's tokenizer made of all sentences.
    pub tokens: Option<TokenCounts>,
    /// Some points of the training.
    pub course: Course,
    /// What the evaluation sets asked for share with the training text.
    pub overlap: Vec<Overlap>,
    /// Why something is missing.
    pub notes: Vec<String>,
}

/// Which student was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StudentNow {
    /// The checkpoint's file.
    pub file: &'static str,
    /// The step that it is of.
    pub step: u64,
}

/// A bar of the histogram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bar {
    /// Cosines from here …
    pub from: f64,
    /// … to here, which belongs to the next bar.
    pub to: f64,
    /// Sentences of the student at its start.
    pub start: usize,
    /// Sentences of the student now; `None` before the first checkpoint.
    pub now: Option<usize>,
}

/// A held-back sentence and where it lies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sentence {
    /// Cosine of the student's vector to the target now.
    pub cosine: f64,
    /// The same at the student's start.
    pub start: f64,
    /// Its tokens, special ones included.
    pub tokens: usize,
    /// The sentence.
    pub text: String,
}

/// Looks at the run in `folder`.
///
/// # Errors
/// When a file in it is damaged, or the training text that `questions` need is not what the run was started with.
///
/// # Cost
/// A second or two for a thousand held-back sentences; with tasks, one reading of the training text.
pub fn inspect(
    folder: &Path,
    questions: &Questions<'_>,
    progress: &dyn Progress,
) -> Result<Inspection> {
    let run = run_folder::read(folder)?;
    let course = Course::read(&folder.join(METRICS))?;
    let mut found = Inspection {
        quiet_seconds: quiet_seconds(folder),
        step: course.step(),
        steps: None,
        sentences_per_second: course.sentences_per_second(),
        student: None,
        held_back: 0,
        rows: Vec::new(),
        cosine_to_target: Vec::new(),
        worst: Vec::new(),
        tokens: None,
        course: course.thinned(POINTS),
        overlap: Vec::new(),
        notes: Vec::new(),
    };
    let Some((beginning, held_back)) = Beginning::read(folder)? else {
        if let Some(scores) = final_scores(&run) {
            (found.held_back, found.rows) = (scores.held_back, scores.rows);
        }
        found.notes.push(nothing_recorded(&run));
        if !questions.tasks.is_empty() {
            return Err(Error::input("the run does not say what text it was trained on")
                .hint("leave `--sts`, `--retrieval` and `--classify` out"));
        }
        return Ok(found);
    };
    found.held_back = beginning.held_back.len();
    found.steps = Some(beginning.steps);
    found.tokens = Some(beginning.tokens);
    progress.stage("looking at the student", None);
    let students = Students::open(folder, &run, &beginning, held_back)?;
    found.student = students.now.as_ref().map(|(which, _)| which.clone());
    if students.now.is_none() {
        found.notes.push("there is no checkpoint yet".to_owned());
    }
    found.rows = students.rows(&beginning, &run, &course);
    found.cosine_to_target = students.histogram();
    found.worst = students.worst(questions.worst, &beginning.held_back);
    if !questions.tasks.is_empty() {
        found.overlap = overlap(questions.tasks, &training_text(&run, &beginning, progress)?);
    }
    progress.finish();
    Ok(found)
}

/// Seconds since the newest file of the folder was written.
fn quiet_seconds(folder: &Path) -> Option<u64> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let newest = entries.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max()?;
    // A clock that was set back makes the file younger than now.
    Some(SystemTime::now().duration_since(newest).map_or(0, |since| since.as_secs()))
}

fn nothing_recorded(run: &RunFile) -> String {
    let why = match run.status {
        Status::Running => "training has not begun, or was begun by an earlier hpd",
        Status::Done => "an earlier hpd made it",
    };
    format!("the run does not say what it began with: {why}")
}

/// The scores of a run that is done.
fn final_scores(run: &RunFile) -> Option<Scores> {
    serde_json::from_value(run.results.clone()?).ok()
}

/// The sentences that the run was started with, read again.
fn training_text(
    run: &RunFile,
    beginning: &Beginning,
    progress: &dyn Progress,
) -> Result<Sentences> {
    let files: Vec<SentenceFile> = beginning
        .files
        .iter()
        .map(|file| SentenceFile { path: file.path.clone(), weight: file.weight })
        .collect();
    let sentences = Sentences::read(&files, &beginning.options, progress)?;
    let (found, expected) = (sentences.fingerprint().to_string(), run.binding.get("sentences"));
    if expected.and_then(Value::as_str) == Some(&found) {
        return Ok(sentences);
    }
    let paths: Vec<String> =
        files.iter().map(|file| format!("`{}`", file.path.display())).collect();
    Err(Error::mismatch(format!(
        "the sentences of {} are no longer those that the run was started with",
        paths.join(", ")
    )))
}

/// The held-back sentences as the teacher, its projection and the student see them.
struct Students {
    held_back: HeldBack,
    /// What the projected teacher is called.
    projection: String,
    target: Matrix,
    /// The student as it is now, if there is a checkpoint.
    now: Option<(StudentNow, Matrix)>,
}

impl Students {
    fn open(
        folder: &Path,
        run: &RunFile,
        beginning: &Beginning,
        held_back: HeldBack,
    ) -> Result<Self> {
        let recipe = Recipe::load(&folder.join("recipe.toml").to_string_lossy())?;
        let projection = Projection::load(folder, &recipe)?;
        let target = projection.project(&held_back.teacher)?;
        let now = newest_checkpoint(folder)?.map(|(file, checkpoint)| {
            let shape = shape(folder, run)?;
            // Every number of it is replaced by the checkpoint's.
            let template = Student::fresh(shape, HeadShape::of(&recipe), 0, &Device::flex())?;
            let student = checkpoint.student(&template)?;
            let rows = student.embed(&texts_of(&held_back.tokens));
            Ok((StudentNow { file, step: checkpoint_step(&checkpoint, file) }, rows))
        });
        let now = now.transpose()?;
        let widths = [target.dim, held_back.start.dim];
        if widths != [recipe.dim; 2] || beginning.held_back.len() != target.len() {
            return Err(Error::mismatch(format!(
                "the files of `{}` belong to different runs",
                folder.display()
            )));
        }
        Ok(Self { held_back, projection: projection.row(), target, now })
    }

    fn rows(&self, beginning: &Beginning, run: &RunFile, course: &Course) -> Vec<Row> {
        let sts = beginning.dev_sts.as_ref();
        let (teacher, target) = (&self.held_back.teacher, Some(&self.target));
        let view = (!teacher.is_empty()).then(|| View::of(teacher));
        let row = |name: &str, rows: &Matrix, target: Option<&Matrix>, dev_sts| Row {
            name: name.to_owned(),
            dim: rows.dim,
            held_back: view.as_ref().map(|teacher| teacher.agreement(rows, target)),
            dev_sts,
        };
        let mut rows = vec![
            row("teacher", teacher, None, sts.and_then(|sts| sts.teacher)),
            row(&self.projection, &self.target, target, sts.and_then(|sts| sts.projected)),
            row("student at start", &self.held_back.start, target, sts.and_then(|sts| sts.student)),
        ];
        if let Some((now, vectors)) = &self.now {
            rows.push(row("student now", vectors, target, dev_sts_now(run, course, now.step)));
        }
        rows
    }

    fn histogram(&self) -> Vec<Bar> {
        let start = cosines_to(&self.held_back.start, &self.target);
        let now = self.now.as_ref().map(|(_, rows)| cosines_to(rows, &self.target));
        histogram(&start, now.as_deref())
    }

    /// The farthest sentences now, or at the start where there is no checkpoint.
    fn worst(&self, count: usize, texts: &[String]) -> Vec<Sentence> {
        let start = cosines_to(&self.held_back.start, &self.target);
        let now = self.now.as_ref().map(|(_, rows)| cosines_to(rows, &self.target));
        let now = now.unwrap_or_else(|| start.clone());
        let mut order: Vec<usize> = (0..now.len()).collect();
        order.sort_by(|&a, &b| now[a].total_cmp(&now[b]).then(a.cmp(&b)));
        let sentence = |&i: &usize| Sentence {
            cosine: now[i],
            start: start[i],
            tokens: self.held_back.tokens.text(i).len(),
            text: texts[i].clone(),
        };
        order.iter().take(count).map(sentence).collect()
    }
}

/// The shape of the student's Transformer, as the run was bound to it.
fn shape(folder: &Path, run: &RunFile) -> Result<EncoderConfig> {
    let shape = run.binding.get("shape").cloned().unwrap_or_default();
    serde_json::from_value(shape).map_err(|e| {
        let path = folder.join("run.json");
        Error::input(format!("`{}` does not tell the student's shape", path.display())).caused_by(e)
    })
}

/// The best checkpoint, or else the last.
fn newest_checkpoint(folder: &Path) -> Result<Option<(&'static str, Checkpoint)>> {
    for file in [BEST, LAST] {
        if let Some(checkpoint) = Checkpoint::open(&folder.join(file))? {
            return Ok(Some((file, checkpoint)));
        }
    }
    Ok(None)
}

fn checkpoint_step(checkpoint: &Checkpoint, file: &str) -> u64 {
    let best = checkpoint.state.best.filter(|_| file == BEST);
    best.map_or(checkpoint.state.step, |(_, step)| step)
}

/// What the exported student reached, or else what was measured at the step of the checkpoint; 0 to 1.
fn dev_sts_now(run: &RunFile, course: &Course, step: u64) -> Option<f64> {
    let rows = final_scores(run).map(|scores| scores.rows).unwrap_or_default();
    let exported = rows.into_iter().find(|row| row.name == "student");
    let measured = || {
        let curve = course.curve("dev_sts");
        curve.iter().find(|(at, _)| *at == step).map(|(_, sts)| sts / 100.0)
    };
    exported.and_then(|row| row.dev_sts).or_else(measured)
}

fn histogram(start: &[f64], now: Option<&[f64]>) -> Vec<Bar> {
    let bars = (2.0 / BAR).round() as usize;
    // A cosine of 1 belongs to the last bar, rounding to the bar's own side.
    let bar_of = |cosine: f64| (((cosine + 1.0) / BAR + 1e-9) as usize).min(bars - 1);
    let count = |cosines: &[f64]| {
        let mut counts = vec![0; bars];
        cosines.iter().for_each(|&cosine| counts[bar_of(cosine)] += 1);
        counts
    };
    let (start, now) = (count(start), now.map(count));
    let is_empty = |&i: &usize| start[i] == 0 && now.as_ref().is_none_or(|now| now[i] == 0);
    let bar = |i: usize| Bar {
        from: edge(i),
        to: edge(i + 1),
        start: start[i],
        now: now.as_ref().map(|now| now[i]),
    };
    (0..bars).skip_while(is_empty).map(bar).collect()
}

/// Where bar `i` begins, without the rounding of a product.
fn edge(i: usize) -> f64 {
    (i as f64 - 1.0 / BAR).round() / (1.0 / BAR).round()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_hold_what_lies_from_their_beginning_up_to_the_next() {
        let bars = histogram(&[0.85, 0.9, 0.949, 1.0], Some(&[0.95, 1.0, 1.0000001, 0.96]));
        let told: Vec<_> = bars.iter().map(|bar| (bar.from, bar.to, bar.start, bar.now)).collect();
        assert_eq!(
            told,
            [(0.85, 0.9, 1, Some(0)), (0.9, 0.95, 2, Some(0)), (0.95, 1.0, 1, Some(4))]
        );
    }

    #[test]
    fn opposite_vectors_and_no_sentences_have_bars_too() {
        let bars = histogram(&[-1.0, f64::NAN], None);
        assert_eq!((bars.len(), bars[0].from, bars[0].now), (40, -1.0, None));
        assert_eq!(bars.last().map(|bar| bar.to), Some(1.0));
        assert!(histogram(&[], None).is_empty());
    }
}
