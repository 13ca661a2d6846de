//! The training loop, whole and in one place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor, TensorData};
use hpd_encoder::Tokens;
use hpd_eval::course::Course;
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Progress, Result, interrupt};

use crate::average::Average;
use crate::batches::Batches;
use crate::beginning::texts_of;
use crate::checkpoint::{self, Checkpoint, RunState};
use crate::corpus::Corpus;
use crate::loss::{Goals, Loss, Vectors, loss};
use crate::metrics::{Metrics, MetricsFile};
use crate::optimizer::Optimizer;
use crate::paraphrases::Paraphrase;
use crate::recipe::{Embeddings, Order, Recipe, SelectBy};
use crate::rounds::{Of, Rounds};
use crate::schedule::Schedule;
use crate::student::{DropoutSites, PackedBatch, Student};
use crate::topics;
use crate::triplets::{StepTriplets, Triplet};

/// Name of the last checkpoint in a run's folder.
pub const LAST: &str = "last.safetensors";
/// Name of the best student so far in a run's folder.
pub const BEST: &str = "best.safetensors";
/// Name of the metrics in a run's folder.
pub const METRICS: &str = "metrics.jsonl";

/// Steps between two lines of metrics.
const LOG_EVERY: u64 = 10;

/// What a run learns from; rows of `tokens` and of the teacher belong together, but for those of paraphrases.
pub struct TrainingData<'a> {
    /// The sentences and behind them the triplets' texts and the paraphrases, special tokens included, none longer than
    /// the student takes.
    pub tokens: &'a Tokens,
    /// Copies the teacher's vector of text i, `teacher_dim` numbers; behind the triplets' texts are the sentences that
    /// only paraphrases are of.
    pub teacher: &'a dyn Fn(usize, &mut [f32]),
    /// How many of the texts are sentences.
    pub sentences: usize,
    /// Numbers of texts that belong together; none unless the recipe contrasts them.
    pub triplets: &'a [Triplet],
    /// Texts that are taught the vector of another.
    pub paraphrases: &'a [Paraphrase],
    /// Numbers in the teacher's vectors.
    pub teacher_dim: usize,
    /// Takes from the teacher's vectors what the recipe takes from them, `[rows, teacher_dim]`.
    pub centred: &'a dyn Fn(Tensor<2>) -> Tensor<2>,
    /// Makes targets of what is left: `[rows, teacher_dim]` to `[rows, dim]`.
    pub project: &'a dyn Fn(Tensor<2>) -> Tensor<2>,
    /// The teacher's layers, where the recipe holds the student's to them.
    pub layers: Option<&'a TeacherLayers>,
    /// The sentences an epoch sees, in no particular order.
    pub epoch: &'a dyn Fn(usize) -> Vec<u32>,
    /// Sentences held back for `dev_cosine` and `dev_mse`.
    pub held_back: &'a [u32],
    /// STS pairs to watch, if there are any.
    pub dev_sts: Option<DevSts<'a>>,
    /// Fingerprints of all this, by what they are of; a resumed run must have the same.
    pub fingerprints: BTreeMap<String, String>,
}

/// A teacher with layers of the student's width, to hold the student's layers to.
#[derive(Clone, Debug)]
pub struct TeacherLayers {
    /// The teacher, for tokens as the student has them.
    pub model: Student,
    /// For each of the student's layers the teacher's, counted from 0.
    pub numbers: Vec<usize>,
}

/// Development pairs whose correlation is reported, never trained on nor selected by.
pub struct DevSts<'a> {
    /// The sentences of the pairs.
    pub tokens: &'a Tokens,
    /// Spearman's correlation (times 100) from the vectors of those sentences, in their order.
    pub spearman: &'a dyn Fn(&Matrix) -> f64,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The best student by the recipe's measure on the held-back sentences.
    pub best: Student,
    /// Steps taken over the whole run, earlier processes included.
    pub steps: u64,
    /// Seconds of training, evaluation and checkpoints, over all processes.
    pub seconds: f64,
    /// Sentences a second over all steps, earlier processes included, without evaluation and checkpoints.
    pub sentences_per_second: f64,
}

/// Trains `student` as `recipe` says and keeps checkpoints and metrics in `folder`; goes on from a checkpoint
/// that is already there.
///
/// Stopped and resumed equals never stopped, bit for bit, at one number of threads.
///
/// # Errors
/// When the checkpoint there belongs to another recipe or other data, the loss stops being finite, the disk is
/// full or the user interrupts; the last checkpoint stands in every case.
pub fn train(
    recipe: &Recipe,
    mut student: Student,
    data: &TrainingData<'_>,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<Outcome> {
    let began = Instant::now();
    data.check(recipe, &student)?;
    let device = student.device();
    let batches = Batches {
        order: recipe.order,
        size: recipe.batch_size,
        topic_group: recipe.topic_group,
        seed: recipe.seed,
    };
    let topics = match recipe.order {
        Order::Topics => data.topics(recipe, progress),
        Order::LengthBuckets | Order::Shuffled | Order::Windows => Vec::new(),
    };
    let corpus = (recipe.loss.corpus > 0.0).then(|| data.corpus(recipe, &topics));
    let epoch_of = |epoch| {
        batches.epoch(epoch, (data.epoch)(epoch), |row| match topics.get(row as usize) {
            Some(&topic) => topic as usize,
            None => data.tokens.text(row as usize).len(),
        })
    };
    let steps = (0..recipe.epochs)
        .map(|epoch| (data.epoch)(epoch).len().div_ceil(recipe.batch_size) as u64);
    let steps: Vec<u64> = steps.collect();
    let total = steps.iter().sum();
    let schedule = Schedule::new(&recipe.schedule, total);
    let mut optimizer = Optimizer::new(recipe.optimizer);
    let mut average = Average::resumed(recipe.optimizer.average, BTreeMap::new());
    let mut state = RunState::new(recipe, data.fingerprints.clone());
    let (last_path, best_path) = (folder.join(LAST), folder.join(BEST));
    if let Some(checkpoint) = Checkpoint::open(&last_path)? {
        checkpoint.state.check_same(&state, &last_path)?;
        student = checkpoint.student(&student)?;
        optimizer =
            Optimizer::resumed(recipe.optimizer, checkpoint.state.step, checkpoint.moments()?);
        average = Average::resumed(recipe.optimizer.average, checkpoint.average()?);
        state = checkpoint.state;
        progress.note(&format!("resumed at step {} of {total}", state.step));
    }
    if recipe.embeddings == Embeddings::Frozen {
        student.body = student.body.freeze_embeddings();
    }
    let mut metrics_file = MetricsFile::resume(&folder.join(METRICS), state.step)?;
    let before = metrics_file.seconds_before();
    let seconds = || before + began.elapsed().as_secs_f64();
    let mut watch = Watch::default();
    let mut measured = Metrics::default();
    progress.stage("training", Some(total));
    progress.advance(state.step);

    let mut triplets = Rounds::new(data.triplets, Of::Triplets, recipe.seed);
    let mut paraphrases = Rounds::new(data.paraphrases, Of::Paraphrases, recipe.seed);
    let mut first_step = 0; // of the epoch
    for (epoch, epoch_steps) in steps.iter().enumerate() {
        let skip = state.step.saturating_sub(first_step);
        first_step += epoch_steps;
        if state.step >= first_step {
            continue;
        }
        for rows in &epoch_of(epoch)[skip as usize..] {
            let rate = schedule.rate(state.step);
            let paraphrases = paraphrases.of_step(state.step, recipe.paraphrases_per_step);
            let triplets = triplets.of_step(state.step, recipe.triplets_per_step);
            let triplets = StepTriplets::new(triplets);
            let texts: Vec<u32> = paraphrases.iter().map(|it| it.text).collect();
            let taught_by: Vec<u32> = paraphrases.iter().map(|it| it.taught_by).collect();
            let taught_by = [rows.as_slice(), &taught_by, &triplets.rows].concat();
            let rows = &[rows.as_slice(), &texts, &triplets.rows].concat();
            let batch = data.batch(rows, &student);
            let mut words = student.word_rows(&batch);
            if recipe.embeddings == Embeddings::Trained {
                words = words.require_grad();
            }
            let mut sites = DropoutSites::new(recipe.dropout, recipe.seed, state.step);
            let passage = student.forward(&batch, words.clone(), &mut sites);
            let goals = Goals {
                layers: data.layers.map(|it| it.model.states(&batch, &it.numbers)),
                corpus: corpus
                    .as_ref()
                    .map(|it| it.around(&taught_by, state.step, recipe.corpus_per_step))
                    .filter(|beyond| !beyond.is_empty())
                    .map(|beyond| data.vectors(recipe, &beyond, &device)),
                batch: data.vectors(recipe, &taught_by, &device),
            };
            let parts = loss(recipe, &passage, &goals, &triplets);
            let value = f64::from(parts.total.clone().into_scalar::<f32>());
            let gradients = parts.total.backward();
            let (moved, norm) = optimizer.step(student, &batch, &words, gradients, rate);
            student = moved;
            if !value.is_finite() || !norm.is_finite() {
                return Err(diverged(state.step + 1, value, norm, &last_path));
            }
            state.step += 1;
            watch.step(value, rows.len());
            progress.advance(1);

            let is_last = state.step == total;
            if let Some(average) = &mut average {
                average.look(&student, state.step, is_last);
            }
            let epoch_done = 1.0 - (first_step - state.step) as f64 / *epoch_steps as f64;
            if state.step.is_multiple_of(LOG_EVERY) || is_last {
                let line = watch.line(state.step, epoch as f64 + epoch_done, &parts, rate, norm);
                let line = Metrics { seconds: Some(seconds()), ..line };
                metrics_file.write(&line)?;
                progress.message(&words_of(&line, &measured));
            }
            if state.step.is_multiple_of(recipe.evaluate_every as u64) || state.step == first_step {
                let seen = averaged(average.as_ref(), &student)?;
                measured = data.evaluate(recipe, &seen);
                measured.step = state.step;
                measured.epoch = epoch as f64 + epoch_done;
                measured.seconds = Some(seconds());
                metrics_file.write(&measured)?;
                let score = score(recipe.select_by, &measured);
                if state.best.is_none_or(|(best, _)| score > best) {
                    state.best = Some((score, state.step));
                    checkpoint::save_student(&best_path, &seen, &state)?;
                }
            }
            if state.step.is_multiple_of(recipe.checkpoint_every as u64)
                || is_last
                || interrupt::requested()
            {
                let average = average.as_ref();
                checkpoint::save(&last_path, &student, &mut optimizer, average, &state)?;
                interrupt::check(&format!(
                    "step {} of {total} is in `{}`",
                    state.step,
                    last_path.display()
                ))?;
            }
            watch.resume();
        }
    }

    let best = match Checkpoint::open(&best_path)? {
        Some(best) => best.student(&student)?,
        None => averaged(average.as_ref(), &student)?.into_owned(),
    };
    let course = Course::read(&folder.join(METRICS))?;
    let sentences_per_second = course.sentences_per_second().unwrap_or_default();
    Ok(Outcome { best, steps: total, seconds: seconds(), sentences_per_second })
}

/// The student that is looked at and kept: the mean of the weights, where there is one.
fn averaged<'a>(average: Option<&Average>, student: &'a Student) -> Result<Cow<'a, Student>> {
    average.map_or(Ok(Cow::Borrowed(student)), |average| average.student(student).map(Cow::Owned))
}

fn diverged(step: u64, loss: f64, norm: f64, last: &Path) -> Error {
    let kept = if last.exists() {
        format!("the checkpoint in `{}` stands", last.display())
    } else {
        "no checkpoint was written yet".to_owned()
    };
    Error::input(format!(
        "loss {loss}, gradient norm {norm} at step {step}, expected finite; {kept}"
    ))
    .hint("--set schedule.learning_rate=1e-4")
}

fn words_of(line: &Metrics, measured: &Metrics) -> String {
    let mut words = format!(
        "loss {:.4}, {:.0} sentences/s",
        line.loss.unwrap_or_default(),
        line.sentences_per_second.unwrap_or_default()
    );
    if let Some(cosine) = measured.dev_cosine {
        words += &format!(", dev cosine {cosine:.4}");
    }
    if let Some(sts) = measured.dev_sts {
        words += &format!(", dev STS {sts:.2}");
    }
    words
}

/// Larger is better.
fn score(by: SelectBy, measured: &Metrics) -> f64 {
    let score = match by {
        SelectBy::DevCosine => measured.dev_cosine,
        SelectBy::DevMse => measured.dev_mse.map(|mse| -mse),
        SelectBy::Latest => None,
    };
    // Without a measure or without held-back sentences every evaluation is as good as the last, and the latest wins.
    score.unwrap_or(measured.step as f64)
}

impl TrainingData<'_> {
    fn check(&self, recipe: &Recipe, student: &Student) -> Result<()> {
        let most = student.config.max_tokens();
        let longest = self.tokens.offsets.windows(2).map(|pair| pair[1] - pair[0]).max();
        match longest {
            None | Some(0) => return Err(Error::input("there is no sentence to train on")),
            Some(longest) if longest > most => {
                return Err(Error::input(format!(
                    "a sentence has {longest} tokens, the student takes {most}"
                ))
                .hint(format!("--set max_tokens={most}")));
            }
            Some(_) => {}
        }
        let vocabulary = student.config.vocab_size;
        if let Some(id) = self.tokens.ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(Error::mismatch(format!(
                "the tokenizer gives id {id}, but the student's vocabulary ends at {}",
                vocabulary - 1
            )));
        }
        let dim = self.vectors(recipe, &[0], &Device::flex()).target.dims()[1];
        if dim != recipe.dim {
            return Err(Error::mismatch(format!(
                "the projection gives {dim} numbers, expected `dim` {}",
                recipe.dim
            )));
        }
        Ok(())
    }

    fn batch(&self, rows: &[u32], student: &Student) -> PackedBatch {
        PackedBatch::new(rows.iter().map(|&row| self.tokens.text(row as usize)), &student.config)
    }

    /// The topic of each sentence, by its target.
    fn topics(&self, recipe: &Recipe, progress: &dyn Progress) -> Vec<u32> {
        progress.stage("sorting sentences by topic", None);
        let target = |rows: &[u32]| self.vectors(recipe, rows, &Device::flex()).target;
        topics::topics(self.sentences, recipe.seed, &target)
    }

    /// All sentences that are trained on in some epoch.
    fn corpus<'t>(&self, recipe: &Recipe, topics: &'t [u32]) -> Corpus<'t> {
        let rows = (0..recipe.epochs).flat_map(|epoch| (self.epoch)(epoch)).collect();
        Corpus::new(rows, topics, recipe.seed)
    }

    /// What the teacher makes of `rows`, centred where the recipe centres.
    fn vectors(&self, recipe: &Recipe, rows: &[u32], device: &Device) -> Vectors {
        let width = self.teacher_dim;
        let mut numbers = vec![0.0; rows.len() * width];
        for (vector, &row) in numbers.chunks_exact_mut(width).zip(rows) {
            (self.teacher)(row as usize, vector);
        }
        let teacher = Tensor::from_data(TensorData::new(numbers, [rows.len(), width]), device);
        let teacher = (self.centred)(teacher);
        let mut target = (self.project)(teacher.clone());
        if recipe.normalize {
            target = crate::student::normalize(target);
        }
        Vectors { target, teacher }
    }

    /// Cosine and squared error to the targets of the held-back sentences, and STS.
    fn evaluate(&self, recipe: &Recipe, student: &Student) -> Metrics {
        let mut metrics = Metrics::default();
        if !self.held_back.is_empty() {
            let texts: Vec<_> =
                self.held_back.iter().map(|&row| self.tokens.text(row as usize)).collect();
            let (mut cosine, mut squares) = (0.0, 0.0);
            for (rows, texts) in self.held_back.chunks(1024).zip(texts.chunks(1024)) {
                let targets = self.vectors(recipe, rows, &Device::flex()).target;
                let targets = crate::student::numbers(targets);
                let output = student.embed(texts);
                for (a, b) in
                    output.data.chunks_exact(output.dim).zip(targets.chunks_exact(output.dim))
                {
                    let [dot, aa, bb] = [product(a, b), product(a, a), product(b, b)];
                    cosine += if aa * bb > 0.0 { dot / (aa * bb).sqrt() } else { 0.0 };
                    squares += (aa - 2.0 * dot + bb) / output.dim as f64;
                }
            }
            let count = self.held_back.len() as f64;
            metrics.dev_cosine = Some(cosine / count);
            metrics.dev_mse = Some(100.0 * squares / count);
        }
        if let Some(sts) = &self.dev_sts {
            metrics.dev_sts = Some((sts.spearman)(&student.embed(&texts_of(sts.tokens))));
        }
        metrics
    }
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Counts steps since the last line of metrics and the time they take, pauses for evaluation and checkpoints left out.
#[derive(Debug)]
struct Watch {
    started: Instant,
    since_line: Sum,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    steps: f64,
    loss: f64,
    sentences: usize,
    time: Duration,
}

impl Default for Watch {
    fn default() -> Self {
        Self { started: Instant::now(), since_line: Sum::default() }
    }
}

impl Sum {
    fn sentences_per_second(&self) -> f64 {
        self.sentences as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

impl Watch {
    fn step(&mut self, loss: f64, sentences: usize) {
        let sum = &mut self.since_line;
        sum.steps += 1.0;
        sum.loss += loss;
        sum.sentences += sentences;
        sum.time += self.started.elapsed();
    }

    fn resume(&mut self) {
        self.started = Instant::now();
    }

    fn line(&mut self, step: u64, epoch: f64, parts: &Loss, rate: f64, norm: f64) -> Metrics {
        let value = |part: &Option<Tensor<1>>| {
            part.as_ref().map(|part| f64::from(part.clone().into_scalar::<f32>()))
        };
        let sum = std::mem::take(&mut self.since_line);
        Metrics {
            step,
            epoch,
            loss: Some(sum.loss / sum.steps),
            loss_cosine: value(&parts.cosine),
            loss_mse: value(&parts.mse),
            loss_relational: value(&parts.relational),
            loss_corpus: value(&parts.corpus),
            loss_contrast: value(&parts.contrast),
            loss_contrast_teacher: value(&parts.contrast_teacher),
            loss_hsic: value(&parts.hsic),
            loss_similarity: value(&parts.similarity),
            loss_ranking: value(&parts.ranking),
            loss_hidden: value(&parts.hidden),
            learning_rate: Some(rate),
            gradient_norm: Some(norm),
            sentences_per_second: Some(sum.sentences_per_second()),
            ..Metrics::default()
        }
    }
}
