//! The whole chain on one page: sentences → teacher vectors → projection → student → model folder → scores.
//!
//! The other modules each do one step and know nothing of the next; this one decides their order, binds the run
//! to what it was started with (see [`crate::run_folder`]) and measures what came out through the same encoder
//! that users will run. Every step can be killed and repeated: teacher vectors go on at the next shard,
//! training at the last checkpoint, a projection that had to be trained is kept; PCA and export are quick and give the
//! same bits again.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use burn::tensor::Device;
use hpd_encoder::{EncodeOptions, Model, OpenOptions, Tokens};
use hpd_eval::sts::{self, Pairs};
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Progress, Result, atomic};
use serde_json::{Map, Value, json};

use crate::beginning::{Beginning, DevSts as Judged, HeldBack, TokenCounts};
use crate::endpoint::{EndpointOptions, key_from_environment};
use crate::finish::{Finish, Material, Paraphrased, Together};
use crate::inputs::Inputs;
use crate::paraphrases::Paraphrases;
use crate::projection::Projection;
use crate::recipe::Recipe;
use crate::run_folder::{RECIPE, RunFolder};
use crate::scores::Scores;
use crate::sentences::{SentenceFile, SentenceOptions, Sentences};
use crate::shards::{TeacherCard, TeacherVectors};
use crate::start::{Start, StudentStart};
use crate::student::Student;
use crate::teacher::{Teacher, TeacherKind};
use crate::train::{self, DevSts, Outcome, TeacherLayers, TrainingData};
use crate::triplets::Triplets;
use crate::vocabulary::Vocabulary;

/// All that a run is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who gives the vectors to land on.
    pub teacher: TeacherArgument,
    /// Where the student starts.
    pub start: StudentStart,
    /// The text to train on.
    pub sentences: Vec<SentenceFile>,
    /// What of it is taken; the recipe's seed and its `max_characters`, where that is above 0, stand above those here.
    pub sentence_options: SentenceOptions,
    /// Files of texts that belong together.
    pub triplets: Vec<PathBuf>,
    /// Files of sentences and other words for them.
    pub paraphrases: Vec<PathBuf>,
    /// The folder of a run whose projection is used, or the file of it there; `None` makes one.
    pub projection: Option<PathBuf>,
    /// How many tokens of the start's vocabulary the student keeps; `None` for all.
    pub vocabulary: Option<usize>,
    /// How many neurons the feed-forward of each layer has; `None` for all that the start's have.
    pub feed_forward: Option<usize>,
    /// Every knob of the training.
    pub recipe: Recipe,
    /// What the recipe was asked for by.
    pub recipe_name: String,
    /// Folder for the student; the run works in `OUTPUT.run`.
    pub output: PathBuf,
    /// Folder for teacher vectors, shared between runs; `None` keeps them in the run.
    pub teacher_cache: Option<PathBuf>,
    /// Scored pairs to watch the training by.
    pub dev_sts: Option<PathBuf>,
    /// Where to train.
    pub device: DeviceChoice,
    /// Goes on with an interrupted run.
    pub resume: bool,
    /// Replaces an earlier student and its run.
    pub overwrite: bool,
}

/// Who the teacher is, as typed.
#[derive(Clone, Debug)]
pub enum TeacherArgument {
    /// A model folder, and the name it was asked for by.
    Model {
        /// The folder, fetched if it had to be.
        folder: PathBuf,
        /// What was typed.
        name: String,
        /// Where sentences are cut and in which numbers the teacher computes; by default as its folder says.
        opening: OpenOptions,
    },
    /// A file of vectors, made elsewhere.
    Vectors(PathBuf),
    /// The address of a server.
    Endpoint {
        /// Where it listens.
        url: String,
        /// The model to ask it for.
        model: Option<String>,
    },
}

impl TeacherArgument {
    /// Reads what was typed; `folder_of` finds or fetches the folder of a model.
    ///
    /// # Errors
    /// As `folder_of`, or when a server's model is named for a teacher that is none.
    pub fn parse(
        text: &str,
        endpoint_model: Option<&str>,
        opening: OpenOptions,
        folder_of: impl FnOnce(&str) -> Result<PathBuf>,
    ) -> Result<Self> {
        let kind = TeacherKind::parse(text);
        if endpoint_model.is_some() && !matches!(kind, TeacherKind::Endpoint(_)) {
            return Err(Error::input(format!(
                "`--teacher-model` is for servers, `{text}` is none"
            ))
            .hint("leave it out, or give an http:// or https:// address as --teacher"));
        }
        Ok(match kind {
            TeacherKind::Model(name) => Self::Model { folder: folder_of(&name)?, name, opening },
            TeacherKind::Vectors(path) => Self::Vectors(path),
            TeacherKind::Endpoint(url) => {
                Self::Endpoint { url, model: endpoint_model.map(str::to_owned) }
            }
        })
    }

    pub(crate) fn open(&self) -> Result<Teacher> {
        match self {
            Self::Model { folder, name, opening } => {
                Teacher::model(name, folder, opening, EncodeOptions::default())
            }
            Self::Vectors(path) => Teacher::vectors(path),
            Self::Endpoint { url, model } => {
                let options = EndpointOptions {
                    model: model.clone(),
                    key: key_from_environment(),
                    ..EndpointOptions::default()
                };
                Teacher::endpoint(url, options)
            }
        }
    }

    /// The model folder that layers and vocabulary can be taken from.
    pub(crate) fn folder(&self) -> Result<&Path> {
        match self {
            Self::Model { folder, .. } => Ok(folder),
            Self::Vectors(path) => Err(no_layers(&path.display().to_string())),
            Self::Endpoint { url, .. } => Err(no_layers(url)),
        }
    }
}

fn no_layers(teacher: &str) -> Error {
    Error::input(format!("teacher `{teacher}` has no layers to cut a student from"))
        .hint("name the model folder to start from: --student DIR")
}

impl Settings {
    pub(crate) fn start(&self) -> Result<Start> {
        let mut start = Start::find(&self.start, || self.teacher.folder())?;
        start.check(&self.recipe)?;
        start.matched_layers(&self.recipe, self.teacher.folder().ok())?;
        if let Some(count) = self.feed_forward {
            start = start.with_neurons(count)?;
        }
        if let Some(count) = self.vocabulary {
            Vocabulary::read(&start.folder)?.check(count)?;
        }
        Ok(start)
    }

    /// `start` with as much of its vocabulary as the student keeps, chosen by all its text.
    fn narrowed(
        &self,
        start: Start,
        text: &Text<'_>,
        folder: &RunFolder,
        progress: &dyn Progress,
    ) -> Result<Start> {
        let Some(count) = self.vocabulary else { return Ok(start) };
        let tokens = text.tokenize(&start, &self.recipe, progress)?;
        start.keeping(count, &tokens, folder.place("tokenizer"))
    }

    /// How sentences are read, with what the recipe says of it.
    pub(crate) fn resolved_options(&self) -> SentenceOptions {
        let recipe = &self.recipe;
        let mut options = self.sentence_options.clone();
        options.seed = recipe.seed;
        if recipe.max_characters > 0 {
            options.max_characters = recipe.max_characters;
        }
        options
    }

    /// Sentences that each epoch sees.
    pub(crate) fn epochs(&self, sentences: &Sentences) -> Vec<usize> {
        let seed = self.recipe.seed;
        (0..self.recipe.epochs).map(|epoch| sentences.epoch(epoch, seed).len()).collect()
    }

    /// Steps over all epochs, of so many sentences each.
    pub(crate) fn steps(&self, epochs: &[usize]) -> usize {
        epochs.iter().map(|count| count.div_ceil(self.recipe.batch_size)).sum()
    }
}

/// Runs the whole chain and tells how the student came out.
///
/// # Errors
/// When a step fails; what the steps before it made stays in `OUTPUT.run` and is used again with `resume`.
pub fn run(settings: &Settings, progress: &dyn Progress) -> Result<Scores> {
    let recipe = &settings.recipe;
    let whole = settings.start()?;
    let folder = RunFolder::open(&settings.output, settings.resume, settings.overwrite)?;
    let inputs = Inputs::read(settings, progress)?;
    let Inputs { device, sentences, triplets, paraphrases, pairs, card, projection: given, .. } =
        inputs;
    let teacher = inputs.teacher.on(&device)?;
    let text = Text {
        sentences: &sentences,
        triplets: triplets.as_ref(),
        paraphrases: paraphrases.as_ref(),
    };
    let start = settings.narrowed(whole, &text, &folder, progress)?;
    let mut binding = binding(&start, &card, &sentences, recipe)?;
    // Only where there are any, so that runs from before these existed can be gone on with.
    if let Some(repeats) = repeats(&sentences) {
        binding.insert("weights of files".to_owned(), repeats);
    }
    if let Some(triplets) = &triplets {
        binding.insert("triplets".to_owned(), json!(triplets.fingerprint().to_string()));
    }
    if let Some(paraphrases) = &paraphrases {
        binding.insert("paraphrases".to_owned(), json!(paraphrases.fingerprint().to_string()));
    }
    if let Some(kept) = &start.kept {
        binding.insert("vocabulary".to_owned(), json!(kept.fingerprint().to_string()));
    }
    if let Some(projection) = &given {
        binding.insert("projection".to_owned(), json!(projection.fingerprint().to_string()));
    }
    if let Some(results) = folder.bind(&binding)? {
        progress.note(&format!("`{}` is done already", settings.output.display()));
        return serde_json::from_value(results)
            .map_err(|e| Error::input("the results in `run.json` are damaged").caused_by(e));
    }
    atomic::write(&folder.place("recipe.toml"), recipe.to_toml().as_bytes())?;
    start.write_tokenizer(recipe)?;

    let cache = settings.teacher_cache.clone().unwrap_or_else(|| folder.place("teacher"));
    let vectors = teacher.embed(&sentences, &cache, progress)?;
    let together = match &triplets {
        Some(triplets) => {
            Some(Together { vectors: teacher.embed(triplets.texts(), &cache, progress)?, triplets })
        }
        None => None,
    };
    let paraphrased = match &paraphrases {
        Some(paraphrases) => {
            let further = paraphrases.further();
            let embed = || teacher.embed(further, &cache, progress);
            let vectors = (!further.is_empty()).then(embed).transpose()?;
            Some(Paraphrased { paraphrases, vectors })
        }
        None => None,
    };
    let projection = match given {
        Some(projection) => projection,
        None => Projection::of(recipe, &card, &sentences, &vectors, folder.path(), progress)?,
    };
    projection.save(folder.path())?;

    let material = Material {
        sentences: &sentences,
        vectors: &vectors,
        together: together.as_ref(),
        paraphrased: paraphrased.as_ref(),
        projection: &projection,
        pairs: pairs.as_ref(),
    };
    let tokens = text.tokenize(&start, recipe, progress)?;
    let longest = start.tokenizer(recipe)?.max_tokens();
    note_tokens(&tokens, &start, longest, progress);
    let lesson = Lesson {
        tokens,
        pair_tokens: start.tokenize_pairs(pairs.as_ref(), recipe)?,
        longest,
        layers: start.teacher_layers(recipe, settings.teacher.folder().ok(), &device)?,
    };
    let student = start.student(recipe, &projection, &lesson.tokens, &device, progress)?;
    let judged = begin(settings, &teacher, &student, &lesson, &material, &folder, progress)?;
    let outcome = train_student(recipe, student, &lesson, &material, &binding, &folder, progress)?;

    let finish = Finish {
        settings,
        start: &start,
        card: &card,
        outcome: &outcome,
        judged: judged.as_ref(),
        material,
    };
    let scores = finish.score(&folder.place("student"), progress)?;
    finish.export(&settings.output, Some(&scores), settings.overwrite || settings.resume)?;
    folder.finish(&binding, json!(scores))?;
    Ok(scores)
}

/// All that is trained on, as people wrote it.
struct Text<'a> {
    sentences: &'a Sentences,
    triplets: Option<&'a Triplets>,
    paraphrases: Option<&'a Paraphrases>,
}

impl Text<'_> {
    /// The tokens of the sentences, and behind them those of the triplets' texts and of the paraphrases.
    fn tokenize(&self, start: &Start, recipe: &Recipe, progress: &dyn Progress) -> Result<Tokens> {
        let mut tokens = start.tokenize(self.sentences, recipe, progress)?;
        if let Some(triplets) = self.triplets {
            tokens.append(&start.tokenize(triplets.texts(), recipe, progress)?);
        }
        if let Some(paraphrases) = self.paraphrases {
            tokens.append(&start.tokenize(paraphrases.texts(), recipe, progress)?);
        }
        Ok(tokens)
    }
}

/// Says what the student's tokenizer made of the text, as far as something was lost or grew.
fn note_tokens(tokens: &Tokens, start: &Start, longest: usize, progress: &dyn Progress) {
    if tokens.truncated > 0 {
        progress.note(&format!(
            "{} of {} texts are longer than {longest} tokens and cut for the student",
            tokens.truncated,
            tokens.len(),
        ));
    }
    if let Some(kept) = &start.kept {
        let per_text = |count: usize| count as f64 / tokens.len().max(1) as f64;
        progress.note(&format!(
            "the vocabulary keeps {} of {} tokens, {:.2} % of the text's: {:.2} tokens a text, {:.2} before",
            kept.facts.tokens,
            kept.facts.of,
            kept.facts.share * 100.0,
            per_text(tokens.ids.len()),
            per_text(kept.tokens_before),
        ));
    }
}

/// All texts as the student reads them.
struct Lesson {
    tokens: Tokens,
    pair_tokens: Option<Tokens>,
    /// Tokens at which they were cut.
    longest: usize,
    /// What the student's layers are held to, if they are.
    layers: Option<TeacherLayers>,
}

/// Writes down what the run begins with, or reads it where that was done before the same development pairs. Gives
/// the scores on those pairs.
fn begin(
    settings: &Settings,
    teacher: &Teacher,
    student: &Student,
    lesson: &Lesson,
    material: &Material<'_>,
    folder: &RunFolder,
    progress: &dyn Progress,
) -> Result<Option<Judged>> {
    let Material { sentences, vectors, pairs, .. } = *material;
    let mut judged = match (&settings.dev_sts, pairs) {
        (Some(file), Some(pairs)) => Some(Judged::of(file, pairs)?),
        _ => None,
    };
    if let Some((earlier, _)) = Beginning::read(folder.path())? {
        let names = |judged: &Option<Judged>| judged.as_ref().map(|sts| sts.fingerprint.clone());
        if names(&earlier.dev_sts) == names(&judged) {
            return Ok(earlier.dev_sts);
        }
    }
    progress.stage("measuring the start", None);
    if let (Some(judged), Some(pairs), Some(tokens)) = (&mut judged, pairs, &lesson.pair_tokens) {
        [judged.teacher, judged.projected] = teacher_sts(teacher, material, pairs)?;
        judged.score_start(student, tokens, pairs);
    }
    let counts = TokenCounts {
        sentences: lesson.tokens.len(),
        tokens: lesson.tokens.ids.len(),
        unknown: lesson.tokens.unknown,
        truncated: lesson.tokens.truncated,
        max_tokens: lesson.longest,
    };
    let steps = settings.steps(&settings.epochs(sentences));
    let beginning = Beginning::new(
        teacher.card(sentences),
        sentences,
        settings.resolved_options(),
        [steps, settings.recipe.batch_size],
        counts,
        judged.clone(),
    );
    let full = vectors.gather(sentences.held_back());
    let held_back = HeldBack::of(&lesson.tokens, sentences.held_back(), full, student);
    beginning.save(folder.path(), &held_back)?;
    Ok(judged)
}

/// Spearman on the scored pairs of the teacher and of its projection.
fn teacher_sts(
    teacher: &Teacher,
    material: &Material<'_>,
    pairs: &Pairs,
) -> Result<[Option<f64>; 2]> {
    let texts: Vec<&str> = pairs.sentences.iter().map(String::as_str).collect();
    let Some(full) = teacher.vectors_of(&texts)? else { return Ok([None; 2]) };
    let projected = material.projection.project(&full)?;
    Ok([spearman(Some(pairs), &full), spearman(Some(pairs), &projected)])
}

/// Lays the training data out and trains.
fn train_student(
    recipe: &Recipe,
    student: Student,
    lesson: &Lesson,
    material: &Material<'_>,
    binding: &Map<String, Value>,
    folder: &RunFolder,
    progress: &dyn Progress,
) -> Result<Outcome> {
    let Material { sentences, vectors, together, paraphrased, projection, pairs } = *material;
    let triplets =
        together.map_or(Vec::new(), |it| it.triplets.numbered_from(sentences.len() as u32));
    let behind_triplets = sentences.len() + together.map_or(0, |it| it.triplets.texts().len());
    let paraphrases =
        paraphrased.map_or(Vec::new(), |it| it.paraphrases.numbered_from(behind_triplets as u32));
    let taught_from = [
        Some(vectors),
        together.map(|it| &it.vectors),
        paraphrased.and_then(|it| it.vectors.as_ref()),
    ];
    let spearman = |vectors: &Matrix| spearman(pairs, vectors).unwrap_or(0.0) * 100.0;
    let data = TrainingData {
        tokens: &lesson.tokens,
        teacher: &|row, numbers| copy_row(&taught_from, row, numbers),
        sentences: sentences.len(),
        triplets: &triplets,
        paraphrases: &paraphrases,
        teacher_dim: vectors.dim(),
        layers: lesson.layers.as_ref(),
        centred: &*projection.centred(),
        project: &*projection.on_tensors(),
        epoch: &|epoch| sentences.epoch(epoch, recipe.seed),
        held_back: sentences.held_back(),
        dev_sts: lesson.pair_tokens.as_ref().map(|tokens| DevSts { tokens, spearman: &spearman }),
        // The recipe is compared knob by knob.
        fingerprints: binding
            .iter()
            .filter(|(name, _)| *name != RECIPE)
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect(),
    };
    train::train(recipe, student, &data, folder.path(), progress)
}

/// Copies row `row` of several sets of vectors that are counted through.
fn copy_row(sets: &[Option<&TeacherVectors>], mut row: usize, numbers: &mut [f32]) {
    for vectors in sets.iter().flatten() {
        if row < vectors.len() {
            return vectors.copy_row(row, numbers);
        }
        row -= vectors.len();
    }
}

/// Spearman of the pairs' cosines with their scores, 0 to 1.
pub(crate) fn spearman(pairs: Option<&Pairs>, vectors: &Matrix) -> Option<f64> {
    sts::score(pairs?, vectors).ok()?.spearman_cosine
}

/// All that decides the student's numbers, besides the arithmetic.
fn binding(
    start: &Start,
    card: &TeacherCard,
    sentences: &Sentences,
    recipe: &Recipe,
) -> Result<Map<String, Value>> {
    let weights = match &start.layers {
        Some(layers) => {
            json!({ "weights": Model::open(&start.folder.path)?.identity().weights, "layers": layers })
        }
        None => json!("random"),
    };
    let binding = json!({
        "teacher": card.fingerprint,
        "sentences": sentences.fingerprint().to_string(),
        "held back": sentences.held_back().len(),
        "start": weights,
        "shape": start.config,
        (RECIPE): recipe.to_toml(),
    });
    Ok(binding.as_object().cloned().unwrap_or_default())
}

/// Of each file its sentences and how often an epoch sees them, where any is seen more than once. A share below 1
/// decides which sentences there are, and their fingerprint tells.
fn repeats(sentences: &Sentences) -> Option<Value> {
    let files = sentences.files();
    let parts: Vec<_> = files.iter().map(|file| (file.kept, file.weight.max(1.0))).collect();
    parts.iter().any(|(_, weight)| *weight > 1.0).then(|| json!(parts))
}

/// Where to train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The processor; always there.
    #[default]
    Cpu,
    /// An NVIDIA card, feature `cuda`.
    Cuda,
    /// A card by Vulkan, feature `vulkan`.
    Vulkan,
    /// An Apple card, feature `metal`.
    Metal,
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda),
            "vulkan" => Ok(Self::Vulkan),
            "metal" => Ok(Self::Metal),
            _ => Err(Error::input(format!("there is no device `{text}`"))
                .hint("--device cpu, cuda, vulkan or metal")),
        }
    }
}

impl DeviceChoice {
    /// The device, with gradients.
    ///
    /// # Errors
    /// When this build has no support for it.
    pub(crate) fn open(self) -> Result<Device> {
        let device = match self {
            Self::Cpu => Some(Device::flex()),
            #[cfg(feature = "cuda")]
            Self::Cuda => Some(Device::cuda(burn::tensor::DeviceIndex::default())),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Some(Device::vulkan(burn::tensor::DeviceKind::default())),
            #[cfg(feature = "metal")]
            Self::Metal => Some(Device::metal(burn::tensor::DeviceKind::default())),
            #[cfg(not(all(feature = "cuda", feature = "vulkan", feature = "metal")))]
            _ => None,
        };
        device.map(Device::autodiff).ok_or_else(|| {
            let name = format!("{self:?}").to_lowercase();
            Error::input(format!("this hpd was built without device `{name}`"))
                .hint(format!("cargo install --path crates/cli --features {name}"))
        })
    }
}
