//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use hpd_encoder::{Arithmetic, FoundModel, Model, ModelChoice, Side};
use hpd_eval::tasks::{self, Task};
use hpd_files::records::{Format, RecordOptions};
use hpd_files::{Error, Progress};

use crate::models::lookup;
#[cfg(feature = "serve")]
use crate::serve;
#[cfg(feature = "distill")]
use crate::{augment, distill};
use crate::{
    bench, dedupe, embed, evaluate, export, generate, index, inspect, push, search, similar,
};

/// Makes a large sentence encoder small and puts it to work.
#[derive(Debug, Parser)]
#[command(name = "hpd", version, about, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const AFTER_HELP: &str = "\
A first tour:
  hpd index create --store notes.hpd --input notes.jsonl
  hpd search --store notes.hpd 'the fear of spiders'
  hpd serve --store notes.hpd
  hpd distill --teacher TEACHER --sentences sentences.txt --output student
  hpd evaluate --model student --sts sts/ --retrieval retrieval/

Without --model a verb takes the model that the variable HPD_MODEL names, or else the default of
those that come with hpd, which `hpd inspect --models` lists. HPD_MODELS names a folder of such
models, to be looked into first.

Exit status: 0 done, 1 the answer is no (for example no hits), 2 error.";

/// Flags that every verb takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// Print results as JSON for machines
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing on stderr but errors
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
    /// Threads to compute with [default: one per core]
    #[arg(long, global = true, value_name = "N", env = "HPD_THREADS", value_delimiter = ',')]
    pub(crate) threads: Vec<usize>,
}

impl Arguments {
    /// The threads to start, `None` where nothing was said. Several numbers are for `hpd bench`, which compares
    /// them.
    ///
    /// # Errors
    /// When one is 0, or another verb is given several.
    pub(crate) fn threads(&self) -> hpd_files::Result<Option<usize>> {
        let threads = &self.global.threads;
        if threads.contains(&0) {
            return Err(Error::input("`--threads` is 0, but work needs at least 1"));
        }
        if threads.len() > 1 && !matches!(self.verb, Verb::Bench(_)) {
            let count = threads.len();
            return Err(Error::input(format!("`--threads` names {count} numbers, expected one"))
                .hint("only `hpd bench` compares several"));
        }
        Ok(threads.iter().copied().max())
    }
}

/// One verb, one file.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Train a small student to land on a large teacher's vectors
    #[cfg(feature = "distill")]
    Distill(distill::Arguments),
    /// Make more training text: copies of sentences with some words replaced by synonyms
    #[cfg(feature = "distill")]
    Augment(augment::Arguments),
    /// Measure a model: sentence similarity and retrieval
    Evaluate(evaluate::Arguments),
    /// Turn text into vectors
    Embed(embed::Arguments),
    /// Make a store of documents, change it, look after it
    Index(index::Arguments),
    /// Find the documents nearest to a query
    Search(search::Arguments),
    /// Find the documents nearest to one of a store
    Similar(similar::Arguments),
    /// Find documents of a store that are nearly the same
    Dedupe(dedupe::Arguments),
    /// Answer requests for vectors and searches over HTTP
    #[cfg(feature = "serve")]
    Serve(serve::Arguments),
    /// Bring the documents of a store to PostgreSQL or Milvus, to be searched there
    Push(push::Arguments),
    /// Tell what a model folder, store or run is
    Inspect(inspect::Arguments),
    /// Measure how fast a model is on this machine
    Bench(bench::Arguments),
    /// Convert a model folder
    Export(export::Arguments),
    /// Print a shell completion script
    Completions(generate::CompletionArguments),
    /// Write the man pages
    Man(generate::ManArguments),
}

/// A model on the command line, for any verb.
#[derive(Args, Clone, Debug)]
pub(crate) struct ModelArguments {
    /// Model folder, name of a model that comes with hpd, or Hugging Face id [default: HPD_MODEL, or else the
    /// default of those that come with hpd]
    #[arg(long, short, value_name = "DIR|NAME|ID")]
    pub(crate) model: Option<String>,
    /// Branch, tag or commit of a Hugging Face id
    #[arg(long, value_name = "REVISION", requires = "model")]
    pub(crate) revision: Option<String>,
    /// Truncate texts at so many tokens [default: what the model folder says]
    #[arg(long, value_name = "TOKENS")]
    pub(crate) max_seq_length: Option<usize>,
    /// Numbers the model computes in, `float32`, `bfloat16` or `int8` [default: those its folder stores]
    #[arg(long, value_name = "ARITHMETIC")]
    pub(crate) arithmetic: Option<Arithmetic>,
}

impl ModelArguments {
    /// The model that is meant, fetched from the hub if it has to be, and opened; where queries and documents have a model
    /// each, that of `side`.
    pub(crate) fn open(
        &self,
        side: Option<Side>,
        progress: &dyn Progress,
    ) -> hpd_files::Result<(FoundModel, Model)> {
        lookup().open(&self.choice(), side, progress)
    }

    /// The same for the libraries.
    pub(crate) fn choice(&self) -> ModelChoice {
        let Self { model, revision, max_seq_length, arithmetic } = self.clone();
        ModelChoice { model, revision, max_seq_length, arithmetic }
    }
}

/// Sets to measure on, for any verb.
#[derive(Args, Clone, Debug)]
pub(crate) struct SetArguments {
    /// Sentence similarity: a folder of .tsv files with columns subset, score, sentence1, sentence2
    #[arg(long, value_name = "DIR")]
    pub(crate) sts: Option<PathBuf>,
    /// Retrieval: one set in BEIR's shape (corpus.jsonl, queries.jsonl, qrels/), or a folder of such sets
    #[arg(long, value_name = "DIR")]
    pub(crate) retrieval: Option<PathBuf>,
    /// Classification: one folder with train.tsv and test.tsv (columns label, text), or a folder of such folders
    #[arg(long, value_name = "DIR")]
    pub(crate) classify: Option<PathBuf>,
    /// Part of each set: `…_SPLIT.tsv` for similarity, `qrels/SPLIT.tsv` for retrieval, `SPLIT.tsv` for classification
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    pub(crate) split: String,
}

impl SetArguments {
    /// Whether no set is named.
    pub(crate) fn is_empty(&self) -> bool {
        [&self.sts, &self.retrieval, &self.classify].iter().all(|path| path.is_none())
    }

    /// All tasks in the folders named.
    ///
    /// # Errors
    /// When a folder cannot be read or holds no task.
    pub(crate) fn find(&self) -> hpd_files::Result<Vec<Task>> {
        let mut found = Vec::new();
        if let Some(path) = &self.sts {
            found.extend(tasks::find_sts(path, &self.split)?);
        }
        if let Some(path) = &self.retrieval {
            found.extend(tasks::find_retrieval(path, &self.split)?);
        }
        if let Some(path) = &self.classify {
            found.extend(tasks::find_classification(path, &self.split)?);
        }
        Ok(found)
    }
}

/// How records are read, for any verb.
#[derive(Args, Clone, Debug)]
pub(crate) struct RecordArguments {
    /// Format of the input: text, jsonl, csv, tsv or parquet [default: told by each file's name]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// Field that holds the id [default: id or _id where present]
    #[arg(long, value_name = "FIELD")]
    pub(crate) id_field: Option<String>,
    /// Field that holds the text [default: text]
    #[arg(long, value_name = "FIELD")]
    pub(crate) text_field: Option<String>,
    /// Skip and count records that cannot be read instead of stopping at the first
    #[arg(long)]
    pub(crate) skip_bad: bool,
}

impl RecordArguments {
    /// What the reader of records takes.
    pub(crate) fn options(&self) -> RecordOptions {
        let mut options = RecordOptions {
            format: self.format,
            id_field: self.id_field.clone(),
            skip_bad: self.skip_bad,
            ..RecordOptions::default()
        };
        if let Some(field) = &self.text_field {
            options.text_field.clone_from(field);
        }
        options
    }
}
