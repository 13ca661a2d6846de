//! What a run would take: rows, disk and time, measured on a handful of sentences before anything is written.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use hpd_files::{Progress, Result};
use serde::Serialize;

use crate::inputs::Inputs;
use crate::loss::{Goals, Vectors, loss};
use crate::paraphrases::Paraphrases;
use crate::recipe::Recipe;
use crate::run::Settings;
use crate::sentences::Sentences;
use crate::start::Start;
use crate::student::{DropoutSites, HeadShape, PackedBatch, Student};
use crate::teacher::Teacher;
use crate::triplets::{StepTriplets, Triplets};

/// Sentences shown to the teacher to see how fast it is.
const TEACHER_SAMPLE: usize = 256;
/// Steps taken to see how fast training is; the first, which warms caches, is not counted.
const STEPS: usize = 3;

/// What a run would take.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Sentences to train on in the first epoch.
    pub sentences: usize,
    /// Sentences held back.
    pub held_back: usize,
    /// Triplets of texts that belong together.
    pub triplets: usize,
    /// Paraphrases of sentences.
    pub paraphrases: usize,
    /// Optimiser steps over all epochs.
    pub steps: usize,
    /// Bytes of teacher vectors.
    pub teacher_bytes: u64,
    /// Bytes of checkpoints: the last with its moments, the one before while it is written, and the best.
    pub checkpoint_bytes: u64,
    /// Seconds that the teacher needs, measured; `None` for a server, which a plan does not ask, and for a file of vectors.
    pub teacher_seconds: Option<f64>,
    /// Seconds that training needs, measured on a few steps.
    pub training_seconds: f64,
    /// Parameters of the student.
    pub parameters: usize,
    /// The resolved recipe, TOML.
    pub recipe: String,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        writeln!(f, "sentences     {} to train on, {} held back", self.sentences, self.held_back)?;
        if self.triplets > 0 {
            writeln!(f, "triplets      {}", self.triplets)?;
        }
        if self.paraphrases > 0 {
            writeln!(f, "paraphrases   {}", self.paraphrases)?;
        }
        writeln!(f, "student       {:.1} million parameters", self.parameters as f64 / 1e6)?;
        writeln!(f, "steps         {}", self.steps)?;
        writeln!(
            f,
            "disk          {:.0} MB of teacher vectors, {:.0} MB of checkpoints",
            megabytes(self.teacher_bytes),
            megabytes(self.checkpoint_bytes)
        )?;
        let teacher = self.teacher_seconds.map_or("unknown".to_owned(), duration);
        writeln!(
            f,
            "time          {teacher} for the teacher, {} for training",
            duration(self.training_seconds)
        )?;
        write!(f, "\n{}", self.recipe.trim_end())
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Measures and adds up; writes nothing.
///
/// # Errors
/// As the run itself would, up to its first step.
pub fn plan(settings: &Settings, progress: &dyn Progress) -> Result<Plan> {
    let recipe = &settings.recipe;
    recipe.validate()?;
    let start = settings.start()?;
    let Inputs { device, sentences, triplets, paraphrases, teacher, .. } =
        Inputs::read(settings, progress)?;
    let epochs = settings.epochs(&sentences);
    let steps = settings.steps(&epochs);
    progress.stage("measuring", None);
    // The width of what a server gives is at least that of the student's.
    let teacher_dim = teacher.width().unwrap_or(recipe.dim);
    let teacher_rate = teacher_speed(&teacher, &sentences, recipe.seed)?;
    let student = fresh_student(recipe, &start, &device)?;
    let mut parameters: usize = student.tensors().iter().map(|tensor| tensor.data.len()).sum();
    if let Some(count) = settings.vocabulary {
        // The steps are measured with all tokens: which go is known only when all the text is counted.
        parameters -= (start.config.vocab_size - count) * start.config.hidden_size;
    }
    // Triplets have two or three texts each; all texts are taken to be as long as sentences.
    let beside = triplets.as_ref().map_or(0, |_| 5 * recipe.triplets_per_step / 2)
        + paraphrases.as_ref().map_or(0, |_| recipe.paraphrases_per_step);
    let teacher = settings.teacher.folder().ok();
    let step_seconds =
        step_seconds(recipe, &start, &student, &sentences, beside, (teacher, teacher_dim))?;
    // Weights, two moments and perhaps their mean, in the checkpoint and the next one beside it.
    let copies = if recipe.optimizer.average > 0.0 { 4 } else { 3 };
    let taught = sentences.len()
        + triplets.as_ref().map_or(0, |it| it.texts().len())
        + paraphrases.as_ref().map_or(0, |it| it.further().len());
    Ok(Plan {
        sentences: epochs.first().copied().unwrap_or(0),
        held_back: sentences.held_back().len(),
        triplets: triplets.as_ref().map_or(0, Triplets::len),
        paraphrases: paraphrases.as_ref().map_or(0, Paraphrases::len),
        steps,
        teacher_bytes: 2 * (taught * teacher_dim) as u64,
        checkpoint_bytes: 4 * (2 * copies + 1) * parameters as u64,
        teacher_seconds: teacher_rate.map(|rate| taught as f64 / rate),
        training_seconds: steps as f64 * step_seconds,
        parameters,
        recipe: recipe.to_toml(),
    })
}

/// Sentences that a teacher embeds in a second; `None` for one that is a file or a server.
fn teacher_speed(teacher: &Teacher, sentences: &Sentences, seed: u64) -> Result<Option<f64>> {
    let Teacher::Model(_) = teacher else { return Ok(None) };
    let rows = sentences.sample(TEACHER_SAMPLE, seed);
    let texts: Vec<&str> = rows.iter().map(|&row| sentences.get(row as usize)).collect();
    let began = Instant::now();
    teacher.vectors_of(&texts)?;
    Ok(Some(texts.len() as f64 / began.elapsed().as_secs_f64()))
}

fn fresh_student(recipe: &Recipe, start: &Start, device: &Device) -> Result<Student> {
    let head = HeadShape::of(recipe);
    let student = Student::fresh(start.config.clone(), head, recipe.seed, device)?;
    Ok(student.computing_in(recipe.arithmetic))
}

/// Seconds of a step with `beside` texts beside its sentences, the optimiser's small part left out.
fn step_seconds(
    recipe: &Recipe,
    start: &Start,
    student: &Student,
    sentences: &Sentences,
    beside: usize,
    (teacher, teacher_dim): (Option<&Path>, usize),
) -> Result<f64> {
    let rows = sentences.sample(recipe.batch_size + beside, recipe.seed);
    let texts: Vec<&str> = rows.iter().map(|&row| sentences.get(row as usize)).collect();
    let tokens = start.tokenizer(recipe)?.tokenize(&texts)?;
    let batch = PackedBatch::new((0..tokens.len()).map(|i| tokens.text(i)), &student.config);
    let device = student.device();
    let wave = |rows: usize, dim: usize| {
        let numbers: Vec<f32> = (0..rows * dim).map(|i| (i as f32).sin()).collect();
        Tensor::<2>::from_data(TensorData::new(numbers, [rows, dim]), &device)
    };
    let waves = |rows| Vectors { target: wave(rows, recipe.dim), teacher: wave(rows, teacher_dim) };
    let teacher_layers = start.teacher_layers(recipe, teacher, &device)?;
    let mut began = Instant::now();
    for step in 0..=STEPS {
        if step == 1 {
            began = Instant::now();
        }
        let mut sites = DropoutSites::new(recipe.dropout, recipe.seed, step as u64);
        let words = student.word_rows(&batch).require_grad();
        let passage = student.forward(&batch, words, &mut sites);
        let goals = Goals {
            layers: teacher_layers.as_ref().map(|it| it.model.states(&batch, &it.numbers)),
            corpus: (recipe.loss.corpus > 0.0).then(|| waves(recipe.corpus_per_step)),
            batch: waves(tokens.len()),
        };
        let parts = loss(recipe, &passage, &goals, &StepTriplets::default());
        drop(parts.total.backward());
    }
    Ok(began.elapsed().as_secs_f64() / STEPS as f64)
}
