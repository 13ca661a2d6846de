//! `hpd distill`: settings from the command line, the run itself from the distill room.

use std::path::PathBuf;

use clap::Args;
use hpd_distill::plan;
use hpd_distill::recipe::Recipe;
use hpd_distill::run::{self, DeviceChoice, Settings, TeacherArgument};
use hpd_distill::sentences::{SentenceFile, SentenceOptions};
use hpd_distill::start::{KeptLayers, StudentStart};
use hpd_encoder::{Arithmetic, OpenOptions};
use hpd_files::{Error, Progress, Result};

use crate::Answer;
use crate::models::lookup;
use crate::terminal::Terminal;

/// What `hpd distill` takes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Model folder, name of a model that comes with hpd, Hugging Face id, URL of an OpenAI-compatible server, or
    /// file of vectors (.npy, .safetensors) whose rows belong to the lines of the sentence files
    #[arg(long, value_name = "DIR|NAME|ID|URL|VECTORS")]
    teacher: String,
    /// Text to train on: one sentence a line, .jsonl, .csv or .parquet, also .gz; several may follow.
    /// `FILE@0.2` draws a fifth of a file, `FILE@2` takes it twice an epoch
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    sentences: Vec<String>,
    /// Texts that belong together by people's word, tab-separated with a header line: anchor, positive and, if there is
    /// one, negative; for --recipe supervised. Several may follow
    #[arg(long, value_name = "FILE", num_args = 1..)]
    triplets: Vec<PathBuf>,
    /// Other words for sentences, such as back-translations, tab-separated with a header line: sentence, paraphrase and, if
    /// there are any, further ones. The student is taught the teacher's vector of the sentence. Several may follow
    #[arg(long, value_name = "FILE", num_args = 1..)]
    paraphrases: Vec<PathBuf>,
    /// Use the projection of an earlier run of the same teacher, and its centring, instead of fitting one: students
    /// with the same projection share one space
    #[arg(long, value_name = "STUDENT.run")]
    projection: Option<PathBuf>,
    /// Folder for the student; working files go to `OUTPUT.run`
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Numbers in a student's vector [default: what the recipe says, 128]
    #[arg(long, value_name = "N")]
    dim: Option<usize>,
    /// Cut so many layers out of the teacher or of `--student`, evenly spread, the last one among them [default: 3 of
    /// the teacher's]; 0 for a static student, a vector for each token of the vocabulary
    #[arg(long, value_name = "N", conflicts_with = "keep_layers")]
    layers: Option<usize>,
    /// Cut exactly these layers out of the teacher or of `--student`, counted from 0
    #[arg(long, value_name = "I,J,…", value_delimiter = ',', conflicts_with = "fresh_width")]
    keep_layers: Option<Vec<usize>>,
    /// Start from this model instead of the teacher's own layers, from all it has unless --layers or --keep-layers says
    /// which: folder, name of one that comes with hpd, or Hugging Face id
    #[arg(long, value_name = "DIR|NAME|ID")]
    student: Option<String>,
    /// Start from random weights of this width, with the vocabulary of the teacher or of `--student`
    #[arg(long, value_name = "WIDTH")]
    fresh_width: Option<usize>,
    /// Keep only N tokens, those without which some word could not be spelled and of the others those that the training
    /// text needs most: a smaller table and a smaller tokenizer (WordPiece or Unigram) [default: all]
    #[arg(long, value_name = "N")]
    vocabulary: Option<usize>,
    /// Give the feed-forward of each layer N neurons: of layers that have learnt, those stay whose part in what comes out
    /// varies most over the training text [default: all; with --fresh-width, four times that]
    #[arg(long, value_name = "N")]
    feed_forward: Option<usize>,
    /// Recipe: `hpd`, `hpd2022` (the paper's released code), `mcr2`, `ibkd` (systems that followed it), `static`, the second
    /// stages `supervised` and `ibkd-2`, or a TOML file [default: static with --layers 0, else hpd]
    #[arg(long, value_name = "NAME|FILE")]
    recipe: Option<String>,
    /// Change one knob of the recipe, for example `schedule.learning_rate=1e-4`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Passes over the sentences [default: what the recipe says]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Sentences in a step [default: what the recipe says]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Peak learning rate [default: what the recipe says]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Seed of everything that is drawn [default: what the recipe says]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Train on so many sentences, drawn at random over all files
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Sentences held back to watch the training by
    #[arg(long, value_name = "N", default_value_t = 1000)]
    held_back: usize,
    /// Field of .jsonl, .csv and .parquet files that holds the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    text_field: String,
    /// Count lines that cannot be read and go on, instead of failing
    #[arg(long)]
    skip_bad: bool,
    /// Scored pairs to watch the training by (tab-separated: subset, score, sentence1, sentence2)
    #[arg(long, value_name = "FILE")]
    dev_sts: Option<PathBuf>,
    /// Model name to ask an OpenAI-compatible server for; its key is read from OPENAI_API_KEY
    #[arg(long, value_name = "NAME")]
    teacher_model: Option<String>,
    /// Truncate texts for the teacher at so many tokens [default: what its folder says]
    #[arg(long, value_name = "TOKENS")]
    teacher_max_seq_length: Option<usize>,
    /// Numbers the teacher computes in, `float32`, `bfloat16` or `int8` [default: those its folder stores]
    #[arg(long, value_name = "ARITHMETIC")]
    teacher_arithmetic: Option<Arithmetic>,
    /// Branch, tag or commit of Hugging Face ids
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Folder for teacher vectors, to share them between runs [default: in OUTPUT.run]
    #[arg(long, value_name = "DIR")]
    teacher_cache: Option<PathBuf>,
    /// Where to train: `cpu`, `cuda`, `vulkan` or `metal` (as far as built in)
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceChoice,
    /// Go on with an interrupted run of the same settings
    #[arg(long)]
    resume: bool,
    /// Replace an earlier student and its run
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Print rows, disk space, time and the resolved recipe, and stop
    #[arg(long)]
    dry_run: bool,
}

const EXAMPLES: &str = "\
Examples:
  hpd distill --teacher sentence-transformers/all-MiniLM-L6-v2 --sentences wiki.txt.gz --output student
  hpd distill --teacher ./teacher --sentences a.txt b.jsonl@0.2 --layers 2 --dim 64 --output small
  hpd distill --teacher ./teacher --sentences a.txt --layers 0 --output static
  hpd distill --teacher http://gpu:8080/v1 --teacher-model bge-m3 --student ./base --sentences a.txt --output s
  hpd distill --teacher ./teacher --sentences a.txt --student student --projection student.run \
    --recipe supervised --triplets nli.tsv --output better
  hpd distill --teacher ./teacher --sentences a.txt --paraphrases back-translated.tsv --output student
  hpd distill --teacher ./teacher --sentences a.txt --output student --dry-run

An interrupted run goes on with the same command and --resume, and ends with the same student.";

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Answer> {
    let settings = arguments.settings(terminal)?;
    if arguments.dry_run {
        let plan = plan::plan(&settings, terminal)?;
        terminal.finish();
        terminal.print(&if terminal.json { json(&plan)? } else { plan.to_string() })?;
        return Ok(Answer::Yes);
    }
    hpd_distill::keep_freed_memory();
    let scores = run::run(&settings, terminal)?;
    terminal.finish();
    terminal.print(&if terminal.json { json(&scores)? } else { scores.to_string() })?;
    Ok(Answer::Yes)
}

impl Arguments {
    fn settings(&self, terminal: &Terminal) -> Result<Settings> {
        Ok(Settings {
            teacher: self.teacher(terminal)?,
            start: self.start(terminal)?,
            sentences: self
                .sentences
                .iter()
                .map(|text| SentenceFile::parse(text))
                .collect::<Result<_>>()?,
            sentence_options: SentenceOptions {
                text_field: self.text_field.clone(),
                skip_bad: self.skip_bad,
                limit: self.limit,
                dev: self.held_back,
                ..SentenceOptions::default()
            },
            triplets: self.triplets.clone(),
            paraphrases: self.paraphrases.clone(),
            projection: self.projection.clone(),
            vocabulary: self.vocabulary,
            feed_forward: self.feed_forward,
            recipe: self.recipe()?,
            recipe_name: self.recipe_name().to_owned(),
            output: self.output.clone(),
            teacher_cache: self.teacher_cache.clone(),
            dev_sts: self.dev_sts.clone(),
            device: self.device,
            resume: self.resume,
            overwrite: self.overwrite,
        })
    }

    fn teacher(&self, terminal: &Terminal) -> Result<TeacherArgument> {
        let opening = OpenOptions {
            max_seq_length: self.teacher_max_seq_length,
            arithmetic: self.teacher_arithmetic,
            ..OpenOptions::default()
        };
        TeacherArgument::parse(&self.teacher, self.teacher_model.as_deref(), opening, |name| {
            self.model_folder(name, terminal)
        })
    }

    fn model_folder(&self, name: &str, terminal: &Terminal) -> Result<PathBuf> {
        Ok(lookup().find(Some(name), self.revision.as_deref(), terminal)?.folder)
    }

    fn start(&self, terminal: &Terminal) -> Result<StudentStart> {
        let model =
            self.student.as_deref().map(|name| self.model_folder(name, terminal)).transpose()?;
        Ok(match (self.fresh_width, self.layers, &self.keep_layers) {
            (Some(width), layers, _) => {
                StudentStart::Fresh { width, layers: layers.unwrap_or(3), vocabulary: model }
            }
            (None, Some(0), _) => StudentStart::Static { model },
            (None, _, Some(these)) => {
                StudentStart::Cut { model, kept: KeptLayers::These(these.clone()) }
            }
            (None, Some(count), None) => {
                StudentStart::Cut { model, kept: KeptLayers::Spread(count) }
            }
            (None, None, None) => {
                let kept = model.as_ref().map_or(KeptLayers::Spread(3), |_| KeptLayers::All);
                StudentStart::Cut { model, kept }
            }
        })
    }

    fn recipe_name(&self) -> &str {
        let preset = if self.layers == Some(0) { "static" } else { "hpd" };
        self.recipe.as_deref().unwrap_or(preset)
    }

    fn recipe(&self) -> Result<Recipe> {
        let mut recipe = Recipe::load(self.recipe_name())?;
        for text in &self.overrides {
            let (key, value) = text.split_once('=').ok_or_else(|| {
                Error::input(format!("`--set {text}` has no `=`"))
                    .hint("write it as `--set schedule.learning_rate=1e-4`")
            })?;
            recipe.set(key, value)?;
        }
        let flags = [
            ("dim", self.dim.map(|n| n.to_string())),
            ("epochs", self.epochs.map(|n| n.to_string())),
            ("batch_size", self.batch_size.map(|n| n.to_string())),
            ("schedule.learning_rate", self.learning_rate.map(|rate| format!("{rate:e}"))),
            ("seed", self.seed.map(|n| n.to_string())),
        ];
        for (key, value) in flags {
            if let Some(value) = value {
                recipe.set(key, &value)?;
            }
        }
        if let Some(run) = &self.projection {
            recipe.follow_projection(run)?;
        }
        Ok(recipe)
    }
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map_err(|e| Error::input("cannot write the result as JSON").caused_by(e))
}
