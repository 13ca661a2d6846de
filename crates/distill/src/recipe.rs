//! How to train: every knob there is, the presets, and files and flags that change them.
//!
//! A recipe is TOML one can diff. Presets are files in `recipes/`, and no default hides in code: a file or a flag
//! changes single knobs of a preset (`base = "hpd2022"` chooses which, `hpd` unless said). The resolved recipe is
//! stored with every run. A knob that comes later must do nothing in `hpd`, or what a run from before it means has to be said
//! in [`Recipe::from_toml`].

use std::path::Path;

pub use hpd_eval::pca::Center;
use hpd_files::{Error, Result};
use hpd_kernels::float::Numbers;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

const PRESETS: [(&str, &str); 7] = [
    ("hpd", include_str!("../recipes/hpd.toml")),
    ("hpd2022", include_str!("../recipes/hpd2022.toml")),
    ("mcr2", include_str!("../recipes/mcr2.toml")),
    ("ibkd", include_str!("../recipes/ibkd.toml")),
    ("ibkd-2", include_str!("../recipes/ibkd-2.toml")),
    ("static", include_str!("../recipes/static.toml")),
    ("supervised", include_str!("../recipes/supervised.toml")),
];

/// All knobs of a training run. Values in the docs are those of `hpd`, then of `hpd2022`; `static` is `hpd` with the
/// batch, the epochs and the rate that suit a student without layers, `supervised` `hpd` with a low rate and triplets;
/// `mcr2`, `ibkd` and its second stage `ibkd-2` are systems that followed the paper, and their files say what they change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Numbers in a student's vector (128, 128); at most the teacher's width, since PCA has no more directions.
    pub dim: usize,
    /// Whether student vectors have length 1, in training and in the exported folder (true, false).
    pub normalize: bool,
    /// What is taken from the teacher's vectors before projecting them (`none`, `none`): the released code fits
    /// PCA on centred vectors and applies it to uncentred ones, which keeps inner products; the paper centres. With `mean`
    /// a student's neighbours are those of the centred teacher too.
    pub center: Center,
    /// Teacher vectors the projection is fitted on, drawn at random (40000, 40000); all if there are fewer.
    pub pca_rows: usize,
    /// Tokens a training sentence is cut to, special ones included where there are any (128, 512): attention's cost
    /// grows with its square.
    pub max_tokens: usize,
    /// Longer training sentences are left out, in characters; 0 is the usual limit of 2,000 (0, 256). Texts of triplets and
    /// of paraphrases keep to that one whatever stands here.
    pub max_characters: usize,
    /// Share of activations dropped in training (0, 0.1): with targets instead of labels there is little to overfit.
    pub dropout: f32,
    /// Shorter prefixes of the vector that must work alone; the loss is the mean over them and the whole (none, none).
    pub matryoshka: Vec<usize>,
    /// Whether word, position and type embeddings are trained (`trained`, `trained`) or stay `frozen`.
    pub embeddings: Embeddings,
    /// Sentences a step (128, 256).
    pub batch_size: usize,
    /// How sentences come together in a batch (`topics`, `windows`).
    pub order: Order,
    /// Sentences of one topic that meet in a batch when the order is `topics` (16, 16).
    pub topic_group: usize,
    /// Triplets that a step takes beside its sentences, when there are any (64 in `supervised`).
    pub triplets_per_step: usize,
    /// Paraphrases that a step takes beside its sentences, when there are any (32, 32).
    pub paraphrases_per_step: usize,
    /// Sentences beyond its own to whose targets a step compares its vectors, where `loss.corpus` asks for that (1024, -).
    pub corpus_per_step: usize,
    /// Passes over the sentences (1, 5).
    pub epochs: usize,
    /// In which numbers the layers multiply (`bfloat16`, `float32`), forwards and backwards; a card that does not compute in
    /// bfloat16 takes f32. Everything between the products, all sums and the weights themselves are f32 either way.
    pub arithmetic: Arithmetic,
    /// Where everything random comes from (1, 1).
    pub seed: u64,
    /// Steps between two looks at the held-back sentences (500, 5000); also at the end of each epoch.
    pub evaluate_every: usize,
    /// Steps between two checkpoints (500, 500); each writes three copies of the student, about 0.3 GB for 20 M parameters.
    pub checkpoint_every: usize,
    /// What decides which student is the best one (`dev_cosine`, `dev_mse`).
    pub select_by: SelectBy,
    /// How the teacher's vectors become targets.
    pub projection: ProjectionRecipe,
    /// The projection behind the pooled vector.
    pub head: HeadRecipe,
    /// What the student is taught.
    pub loss: LossRecipe,
    /// AdamW.
    pub optimizer: OptimizerRecipe,
    /// The learning rate over time.
    pub schedule: ScheduleRecipe,
}

/// In which numbers a layer's products multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arithmetic {
    /// f32.
    Float32,
    /// Rounded to bfloat16: twice as fast on CPUs that multiply it, as fast as f32 on others, with the same rounding.
    Bfloat16,
}

impl Arithmetic {
    /// As the kernels call it.
    pub fn numbers(self) -> Numbers {
        match self {
            Self::Float32 => Numbers::Float32,
            Self::Bfloat16 => Numbers::Bfloat16,
        }
    }
}

/// Whether embedding tables are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Embeddings {
    /// They are.
    Trained,
    /// They stay the teacher's.
    Frozen,
}

/// How sentences come together in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Sentences of similar length together, batches in random order: little padding where there is padding, and
    /// neighbours that cannot be told apart by length.
    LengthBuckets,
    /// Groups of sentences that the teacher finds alike, several such groups a batch: the relational loss then sees
    /// near neighbours, among which retrieval decides, and not only strangers.
    Topics,
    /// In random order, another one each epoch.
    Shuffled,
    /// The released code's: windows of 100 sentences in list order, each shuffled; the list itself only from the
    /// second epoch on.
    Windows,
}

/// Which measure on the held-back sentences selects the best student.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectBy {
    /// The largest mean cosine to the targets.
    DevCosine,
    /// The smallest mean squared error.
    DevMse,
    /// Nothing: the latest is taken for the best, where the targets are no longer the aim.
    Latest,
}

/// How the teacher's vectors become targets. All knobs but the first are of [`ProjectionKind::Mcr2`] and
/// [`ProjectionKind::Neighbours`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectionRecipe {
    /// By what (`neighbours`, `pca`).
    pub kind: ProjectionKind,
    /// Prefixes of the vector that keep neighbours by themselves in [`ProjectionKind::Neighbours`], as far as they are
    /// shorter than it (32 and 64, -).
    pub prefixes: Vec<usize>,
    /// Clusters that vectors are divided into while an MCR² map is trained (-, -). The released code has 8192; what they
    /// cost grows in proportion.
    pub clusters: usize,
    /// Steps of its training at most (1500, -); over few vectors a matrix is trained for as many as see each of them twenty
    /// times.
    pub steps: usize,
    /// Vectors in such a step (512, -).
    pub batch_size: usize,
}

impl ProjectionRecipe {
    /// The prefixes of a vector of `dim` numbers.
    pub fn prefixes(&self, dim: usize) -> impl Iterator<Item = usize> + '_ {
        self.prefixes.iter().copied().filter(move |&prefix| prefix < dim)
    }
}

/// What makes targets of the teacher's vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProjectionKind {
    /// Principal components.
    Pca,
    /// A matrix that starts as the principal components and is trained until vectors keep the neighbours they had, at
    /// full length and cut to its prefixes.
    Neighbours,
    /// A small network, trained by maximal coding rate reduction.
    Mcr2,
}

/// The projection from the pooled vector to the student's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadRecipe {
    /// Whether there is a bias (false, true): without one, projecting and normalising may change places, so every
    /// server can apply the head.
    pub bias: bool,
    /// What follows the projection (`identity`, `tanh`); targets must lie in −1..1 for `tanh`.
    pub activation: Activation,
    /// Where its weights start (`pca`, `random`): as the PCA matrix the student starts as a pruned teacher; `own` goes on
    /// with an earlier student.
    pub start: HeadStart,
}

/// What follows the projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Nothing.
    Identity,
    /// The hyperbolic tangent.
    Tanh,
}

/// Where the head's weights start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadStart {
    /// As the PCA matrix; needs a student as wide as its teacher.
    Pca,
    /// Evenly from ±1/√in, as PyTorch starts a Linear.
    Random,
    /// As the head of the model that the student starts from.
    Own,
}

/// Weights of the losses; a loss of weight 0 is not computed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossRecipe {
    /// Of 1 − cosine to the target (1, 0).
    pub cosine: f64,
    /// Of the squared error, mean over batch and numbers (0, 1).
    pub mse: f64,
    /// Of KL(teacher ‖ student) over each sentence's neighbours in the batch (0.1, 0); the full-width teacher is
    /// asked, so this sees what PCA lost.
    pub relational: f64,
    /// What cosines are divided by before the softmax over neighbours, in the batch and beyond (0.05, -).
    pub temperature: f64,
    /// Of KL(teacher ‖ student) over each sentence's neighbours among the targets of sentences that are not in the batch
    /// (0, 0).
    pub corpus: f64,
    /// Of the cross entropy with which an anchor finds its positive among all positives and negatives of the step
    /// (0.2 in `supervised`); needs triplets.
    pub contrast: f64,
    /// What cosines are divided by before that softmax (0.05 in `supervised`).
    pub contrast_temperature: f64,
    /// Of InfoNCE between student and targets: each vector is to find its own target among those of the batch (0, 0).
    pub contrast_teacher: f64,
    /// What cosines are divided by before the softmax over targets (1 in `ibkd`).
    pub contrast_teacher_temperature: f64,
    /// Of the dependence (HSIC) of the last layer on the embeddings, which is to be small (0, 0).
    pub hsic: f64,
    /// How fast the similarity falls with the squared distance in the kernels of that (1 in `ibkd`).
    pub hsic_gamma: f64,
    /// Of the squared difference between the cosines of all pairs in the batch, the student's and the full-width
    /// teacher's (0, 0).
    pub similarity: f64,
    /// Of how far pairs of the student stand in another order than the teacher's (0, 0).
    pub ranking: f64,
    /// By how much a pair's cosine is to lead another's in that (0.015, -).
    pub ranking_margin: f64,
    /// Of 1 − cosine between what each of the student's layers makes of a token and what the teacher's layer that it was
    /// cut from, or that has its place, makes of it (0, 0); the teacher then runs at every step.
    pub hidden: f64,
}

/// AdamW's knobs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerRecipe {
    /// How much of the mean gradient stays from step to step (0.9, 0.9).
    pub beta1: f64,
    /// How much of the mean squared gradient stays (0.999, 0.999).
    pub beta2: f64,
    /// Added to the root of the mean squared gradient (1e-8, 1e-6).
    pub epsilon: f64,
    /// Whether the means are corrected for having started at zero (true, false); without it early steps are smaller.
    pub bias_correction: bool,
    /// Share of a weight, times the learning rate, that each step takes away (0.01, 0.01); never of biases and norms.
    pub weight_decay: f64,
    /// Whether embedding tables decay as well (false, true).
    pub decay_embeddings: bool,
    /// Whether words that are not in the batch are left alone (true, false); otherwise their moments move them on.
    pub lazy_embeddings: bool,
    /// The gradient's length over all parameters is cut to this (1, 1); 0 never cuts.
    pub clip_norm: f64,
    /// How much of the running mean of the weights stays from step to step (0, 0). Above 0 the mean is looked at and
    /// kept as the student, not the weights that were trained last.
    pub average: f64,
}

/// The learning rate over time: up from 0 in a line, then down to 0 in a line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRecipe {
    /// The highest rate (6e-4, 1e-4).
    pub learning_rate: f64,
    /// Share of all steps spent going up (0.05, 0); not together with `warmup_steps`.
    pub warmup_ratio: f64,
    /// Steps spent going up (0, 1000).
    pub warmup_steps: usize,
}

impl Recipe {
    /// The preset of this name, or the recipe in this file.
    ///
    /// # Errors
    /// When there is neither, a knob is unknown or its value is out of bounds.
    pub fn load(name_or_path: &str) -> Result<Self> {
        if let Some(text) = preset(name_or_path) {
            return from_table(parse(name_or_path, text)?).map_err(|e| in_recipe(name_or_path, e));
        }
        let path = Path::new(name_or_path);
        if !path.exists() {
            let names = PRESETS.map(|(name, _)| format!("`{name}`")).join(" or ");
            return Err(Error::input(format!("there is no recipe `{name_or_path}`"))
                .hint(format!("give {names}, or the path of a TOML file")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
        Self::from_toml(&text).map_err(|e| in_recipe(name_or_path, e))
    }

    /// From TOML text that may leave knobs out and name a `base`.
    ///
    /// # Errors
    /// As [`Recipe::load`].
    pub fn from_toml(text: &str) -> Result<Self> {
        let mut changes = parse("recipe", text)?;
        if is_resolved(&changes) && !changes.contains_key("projection") {
            // Written when there was but one, that of the paper.
            let paper = parse("hpd2022", preset("hpd2022").unwrap_or_default())?;
            changes.extend(paper.into_iter().filter(|(knob, _)| knob == "projection"));
        }
        let base = match changes.remove("base") {
            None => "hpd".to_owned(),
            Some(Value::String(name)) => name,
            Some(other) => {
                return Err(Error::input(format!("`base` is {other}, expected a preset's name")));
            }
        };
        let Some(preset) = preset(&base) else {
            return Err(Error::input(format!("`base` names `{base}`, which is no preset")));
        };
        let mut table = parse(&base, preset)?;
        merge(&mut table, changes, "")?;
        from_table(table)
    }

    /// Changes one knob: `set("optimizer.epsilon", "1e-6")`. Text that is no TOML value is a word.
    ///
    /// # Errors
    /// When there is no such knob or the value does not suit it; the recipe is then unchanged.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let value = value
            .parse::<Value>()
            .unwrap_or_else(|_| Value::String(value.trim_matches('"').to_owned()));
        // `a.b.c = v` as the table {a: {b: {c: v}}}.
        let nest = |value, part: &str| Value::Table(Table::from_iter([(part.to_owned(), value)]));
        let Value::Table(changes) = key.rsplit('.').fold(value, nest) else {
            return Err(Error::input("a knob needs a name"));
        };
        let mut table = self.to_table()?;
        merge(&mut table, changes, "")?;
        *self = from_table(table)?;
        Ok(())
    }

    /// Takes kind of projection and centring from the recipe of the run whose projection is used: other values would misread
    /// it. A path that is no run's folder changes nothing.
    ///
    /// # Errors
    /// When that recipe cannot be read.
    pub fn follow_projection(&mut self, run: &Path) -> Result<()> {
        let path = run.join("recipe.toml");
        if path.is_file() {
            let of_run = Self::load(&path.display().to_string())?;
            self.projection.kind = of_run.projection.kind;
            self.center = of_run.center;
        }
        Ok(())
    }

    /// The losses in use under their names, such as `cosine+kl`.
    pub fn loss_names(&self) -> String {
        let loss = &self.loss;
        let parts = [
            (loss.cosine, "cosine"),
            (loss.mse, "mse"),
            (loss.relational, "kl"),
            (loss.contrast, "contrast"),
            (loss.contrast_teacher, "infonce"),
            (loss.hsic, "hsic"),
            (loss.corpus, "corpus"),
            (loss.similarity, "similarity"),
            (loss.ranking, "ranking"),
            (loss.hidden, "hidden"),
        ];
        let names: Vec<&str> =
            parts.iter().filter(|part| part.0 > 0.0).map(|part| part.1).collect();
        names.join("+")
    }

    /// A resolved recipe of an earlier hpd as this one would have written it: with the knobs that came since. Text that
    /// is no recipe stays what it is.
    pub fn rewritten(text: &str) -> String {
        Self::from_toml(text).map_or_else(|_| text.to_owned(), |recipe| recipe.to_toml())
    }

    /// The whole recipe as TOML, every knob written out.
    pub fn to_toml(&self) -> String {
        self.to_table().map(|table| table.to_string()).unwrap_or_default()
    }

    fn to_table(&self) -> Result<Table> {
        Table::try_from(self)
            .map_err(|e| Error::input("this recipe cannot be written").caused_by(e))
    }

    /// Refuses values out of bounds, with the knob, the bound and what was found.
    ///
    /// # Errors
    /// Then.
    pub fn validate(&self) -> Result<()> {
        let whole =
            |name: &str, value: usize| require(value > 0, name, &value.to_string(), "at least 1");
        whole("dim", self.dim)?;
        whole("pca_rows", self.pca_rows)?;
        whole("batch_size", self.batch_size)?;
        whole("topic_group", self.topic_group)?;
        whole("triplets_per_step", self.triplets_per_step)?;
        whole("paraphrases_per_step", self.paraphrases_per_step)?;
        whole("corpus_per_step", self.corpus_per_step)?;
        whole("epochs", self.epochs)?;
        whole("evaluate_every", self.evaluate_every)?;
        whole("checkpoint_every", self.checkpoint_every)?;
        require(self.max_tokens >= 3, "max_tokens", &self.max_tokens.to_string(), "at least 3")?;
        within("dropout", self.dropout.into(), 0.0..=0.9)?;
        for &prefix in &self.matryoshka {
            let bound = format!("between 1 and `dim` - 1 = {}", self.dim - 1);
            require((1..self.dim).contains(&prefix), "matryoshka", &prefix.to_string(), &bound)?;
        }
        self.validate_projection()?;
        self.loss.validate()?;
        self.optimizer.validate()?;
        self.schedule.validate()
    }

    fn validate_projection(&self) -> Result<()> {
        let &ProjectionRecipe { kind, clusters, steps, batch_size, ref prefixes } =
            &self.projection;
        for &prefix in prefixes {
            require(prefix > 0, "projection.prefixes", "0", "at least 1")?;
        }
        for (name, value) in [
            ("projection.clusters", clusters),
            ("projection.steps", steps),
            ("projection.batch_size", batch_size),
        ] {
            require(value > 0, name, &value.to_string(), "at least 1")?;
        }
        let is_matrix = kind != ProjectionKind::Mcr2;
        let random = "random, because an MCR² map is no matrix";
        require(is_matrix || self.head.start != HeadStart::Pca, "head.start", "pca", random)?;
        let none = "none, because an MCR² map learns what to subtract";
        require(is_matrix || self.center == Center::None, "center", "mean", none)
    }
}

impl LossRecipe {
    fn validate(&self) -> Result<()> {
        let weights = [
            ("loss.cosine", self.cosine),
            ("loss.mse", self.mse),
            ("loss.relational", self.relational),
            ("loss.contrast", self.contrast),
            ("loss.contrast_teacher", self.contrast_teacher),
            ("loss.hsic", self.hsic),
            ("loss.corpus", self.corpus),
            ("loss.similarity", self.similarity),
            ("loss.ranking", self.ranking),
            ("loss.hidden", self.hidden),
        ];
        for (name, weight) in weights {
            within(name, weight, 0.0..=1e6)?;
        }
        let any = weights.iter().any(|(_, weight)| *weight > 0.0);
        require(any, "loss", "all 0", "at least one weight above 0")?;
        within("loss.temperature", self.temperature, 1e-4..=100.0)?;
        within("loss.contrast_temperature", self.contrast_temperature, 1e-4..=100.0)?;
        let temperature = self.contrast_teacher_temperature;
        within("loss.contrast_teacher_temperature", temperature, 1e-4..=100.0)?;
        within("loss.hsic_gamma", self.hsic_gamma, 1e-9..=1e6)?;
        within("loss.ranking_margin", self.ranking_margin, 0.0..=2.0)
    }
}

impl OptimizerRecipe {
    fn validate(&self) -> Result<()> {
        within("optimizer.beta1", self.beta1, 0.0..=0.9999)?;
        within("optimizer.beta2", self.beta2, 0.0..=0.99999)?;
        within("optimizer.epsilon", self.epsilon, 1e-30..=1.0)?;
        within("optimizer.weight_decay", self.weight_decay, 0.0..=1.0)?;
        within("optimizer.clip_norm", self.clip_norm, 0.0..=1e6)?;
        within("optimizer.average", self.average, 0.0..=0.999_99)?;
        let lazy_decay = self.lazy_embeddings && self.decay_embeddings;
        let name = "optimizer.lazy_embeddings";
        require(!lazy_decay, name, "true", "false, because `decay_embeddings` moves every word")
    }
}

impl ScheduleRecipe {
    fn validate(&self) -> Result<()> {
        within("schedule.learning_rate", self.learning_rate, 0.0..=1.0)?;
        within("schedule.warmup_ratio", self.warmup_ratio, 0.0..=1.0)?;
        let both = self.warmup_ratio > 0.0 && self.warmup_steps > 0;
        let found = self.warmup_ratio.to_string();
        require(!both, "schedule.warmup_ratio", &found, "0, because `warmup_steps` is given")
    }
}

/// Whether a recipe is one that a run kept, with the knobs there were, and not one that changes some.
fn is_resolved(table: &Table) -> bool {
    let knobs = ["dim", "center", "head", "loss", "optimizer", "schedule"];
    !table.contains_key("base") && knobs.iter().all(|knob| table.contains_key(*knob))
}

fn preset(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(preset, _)| *preset == name).map(|(_, text)| *text)
}

fn parse(name: &str, text: &str) -> Result<Table> {
    text.parse()
        .map_err(|e: toml::de::Error| Error::input(format!("`{name}` is not TOML")).caused_by(e))
}

fn from_table(table: Table) -> Result<Recipe> {
    let recipe: Recipe = table
        .try_into()
        .map_err(|e: toml::de::Error| Error::input(format!("not a recipe: {}", e.message())))?;
    recipe.validate()?;
    Ok(recipe)
}

fn in_recipe(name: &str, error: Error) -> Error {
    let outer = Error::input(format!("recipe `{name}` cannot be used: {error}"));
    match error.hint_text() {
        Some(hint) => outer.hint(hint),
        None => outer,
    }
}

/// Puts `changes` over `table`, which holds every knob there is.
fn merge(table: &mut Table, changes: Table, path: &str) -> Result<()> {
    for (key, value) in changes {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (table.get_mut(&key), value) {
            (None, _) => return Err(unknown(&full, &key, table)),
            (Some(Value::Table(inner)), Value::Table(changes)) => merge(inner, changes, &full)?,
            (Some(Value::Table(_)), other) => {
                let message = format!("`{full}` is a group of knobs, but was given {other}");
                return Err(Error::input(message));
            }
            // `clip_norm = 1` means 1.0, but TOML keeps the two apart.
            (Some(slot @ Value::Float(_)), Value::Integer(whole)) => {
                *slot = Value::Float(whole as f64)
            }
            (Some(slot), value) => *slot = value,
        }
    }
    Ok(())
}

fn unknown(full: &str, key: &str, table: &Table) -> Error {
    let error = Error::input(format!("there is no knob `{full}`"));
    let near = table.keys().min_by_key(|known| edits(known, key));
    match near {
        Some(known) if edits(known, key) <= 1 + key.len() / 3 => {
            let place = full.strip_suffix(key).unwrap_or_default();
            error.hint(format!("did you mean `{place}{known}`?"))
        }
        _ => {
            let known: Vec<&str> = table.keys().map(String::as_str).collect();
            error.hint(format!("the knobs here are: {}", known.join(", ")))
        }
    }
}

/// How many letters must change to make one word of the other (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn require(holds: bool, name: &str, found: &str, bound: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::input(format!("`{name}` is {found}, must be {bound}"))) }
}

fn within(name: &str, value: f64, bounds: std::ops::RangeInclusive<f64>) -> Result<()> {
    let bound = format!("between {} and {}", bounds.start(), bounds.end());
    require(bounds.contains(&value), name, &value.to_string(), &bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_whole_and_survive_their_own_toml() {
        for (name, _) in PRESETS {
            let recipe = Recipe::load(name).unwrap();
            assert_eq!(Recipe::from_toml(&recipe.to_toml()).unwrap(), recipe);
        }
    }

    #[test]
    fn hpd2022_is_the_released_run() {
        let recipe = Recipe::load("hpd2022").unwrap();
        assert_eq!(
            recipe.head,
            HeadRecipe { bias: true, activation: Activation::Tanh, start: HeadStart::Random }
        );
        assert_eq!(
            (recipe.batch_size, recipe.epochs, recipe.schedule.warmup_steps),
            (256, 5, 1000)
        );
        assert_eq!((recipe.optimizer.epsilon, recipe.optimizer.bias_correction), (1e-6, false));
        assert_eq!((recipe.schedule.learning_rate, recipe.select_by), (1e-4, SelectBy::DevMse));
    }

    #[test]
    fn an_earlier_hpd_wrote_fewer_knobs_and_meant_the_same() {
        let mut recipe = Recipe::load("hpd2022").unwrap();
        recipe.seed = 7;
        let mut table: Table = recipe.to_toml().parse().unwrap();
        table.remove("projection");
        table.remove("paraphrases_per_step").unwrap();
        table.remove("corpus_per_step").unwrap();
        table["optimizer"].as_table_mut().unwrap().remove("average").unwrap();
        for knob in [
            "contrast_teacher",
            "contrast_teacher_temperature",
            "hsic",
            "hsic_gamma",
            "corpus",
            "similarity",
            "ranking",
            "ranking_margin",
            "hidden",
        ] {
            table["loss"].as_table_mut().unwrap().remove(knob).unwrap();
        }
        assert_eq!(Recipe::rewritten(&table.to_string()), recipe.to_toml());
        assert_eq!(Recipe::rewritten("no recipe"), "no recipe");
    }

    #[test]
    fn a_head_cannot_start_as_a_map_that_is_no_matrix() {
        let error = Recipe::load("hpd").unwrap().set("projection.kind", "mcr2").unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("`head.start` is pca, must be random, because"), "{message}");
        let mut recipe = Recipe::load("mcr2").unwrap();
        assert!(recipe.set("center", "mean").unwrap_err().to_string().contains("must be none"));
    }

    #[test]
    fn a_file_changes_single_knobs_of_its_base() {
        let recipe =
            Recipe::from_toml("base = \"hpd2022\"\nepochs = 1\n[optimizer]\nclip_norm = 2\n");
        let mut expected = Recipe::load("hpd2022").unwrap();
        expected.epochs = 1;
        expected.optimizer.clip_norm = 2.0;
        assert_eq!(recipe.unwrap(), expected);
    }

    #[test]
    fn flags_set_numbers_words_and_lists() {
        let mut recipe = Recipe::load("hpd").unwrap();
        recipe.set("schedule.learning_rate", "1e-4").unwrap();
        recipe.set("head.activation", "tanh").unwrap();
        recipe.set("matryoshka", "[32, 64]").unwrap();
        recipe.set("loss.cosine", "2").unwrap();
        assert_eq!(recipe.schedule.learning_rate, 1e-4);
        assert_eq!(recipe.head.activation, Activation::Tanh);
        assert_eq!(recipe.matryoshka, [32, 64]);
        assert_eq!(recipe.loss.cosine, 2.0);
    }

    #[test]
    fn an_unknown_knob_is_refused_with_the_nearest_one() {
        let error = Recipe::from_toml("[optimizer]\nweight_decy = 0.1\n").unwrap_err();
        assert_eq!(error.to_string(), "there is no knob `optimizer.weight_decy`");
        assert_eq!(error.hint_text(), Some("did you mean `optimizer.weight_decay`?"));
        let mut recipe = Recipe::load("hpd").unwrap();
        assert!(
            recipe
                .set("learning_rate", "1")
                .unwrap_err()
                .hint_text()
                .unwrap()
                .contains("the knobs here")
        );
    }

    #[test]
    fn values_out_of_bounds_are_refused_and_change_nothing() {
        let mut recipe = Recipe::load("hpd").unwrap();
        let before = recipe.clone();
        for (key, value, message) in [
            ("dim", "0", "`dim` is 0, must be at least 1"),
            ("matryoshka", "[128]", "`matryoshka` is 128, must be between 1 and `dim` - 1 = 127"),
            ("optimizer.beta1", "1.5", "`optimizer.beta1` is 1.5, must be between 0 and 0.9999"),
            (
                "loss.temperature",
                "nan",
                "`loss.temperature` is NaN, must be between 0.0001 and 100",
            ),
        ] {
            assert_eq!(recipe.set(key, value).unwrap_err().to_string(), message);
        }
        assert!(recipe.set("dim", "many").unwrap_err().to_string().contains("expected"));
        assert_eq!(recipe, before);
    }

    #[test]
    fn a_projection_brings_its_kind_and_its_centring() {
        let folder = tempfile::tempdir().unwrap();
        let mut recipe = Recipe::load("hpd").unwrap();
        recipe.follow_projection(folder.path()).unwrap();
        assert_eq!(recipe, Recipe::load("hpd").unwrap());
        let mut earlier = recipe.clone();
        (earlier.projection.kind, earlier.center) = (ProjectionKind::Pca, Center::None);
        std::fs::write(folder.path().join("recipe.toml"), earlier.to_toml()).unwrap();
        recipe.follow_projection(folder.path()).unwrap();
        assert_eq!(recipe, earlier);
    }
}
