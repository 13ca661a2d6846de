//! `hpd bench retrieval`: how fast compact vectors are searched, beside the teacher's floats.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use hpd_encoder::{EncodeOptions, Model, OpenOptions, Prompt};
use hpd_eval::evaluation;
use hpd_eval::retrieval::{Collection, read};
use hpd_eval::search_speed::{Results, Settings, Vectors, measure, plot, table};
use hpd_files::vectors::read_matrix;
use hpd_files::{Error, Progress, Result, atomic};

use super::json;
use crate::Answer;
use crate::models::lookup;
use crate::terminal::Terminal;

/// Queries that are encoded one at a time to see how long one takes.
const ENCODED: usize = 100;

const AFTER_HELP: &str = "\
Examples:
  hpd bench retrieval --teacher teacher --student student --retrieval quora/
  hpd bench retrieval --teacher teacher --student student --retrieval quora/ \\
    --sizes 1000000,10000000 --threads 1,2 --plot retrieval.svg
  hpd bench retrieval --vectors documents.npy --queries queries.npy --json

The teacher's vectors are searched as floats; the student's as floats, in 8 bits, and by their signs
with the best scored again in 8 bits, as `hpd search` does with `--exactness high` and `fast`. Of
each 8-bit ranking the best forty are scored again by floats. All is in memory, and times hold the
search alone: not encoding the query, which is told apart, nor looking up documents. recall@10 is
the share of the ten nearest by the floats of the same vectors. Each time is the median of the
rounds, in which all forms take turns.

--sizes adds larger numbers of vectors: the real ones, and made ones, each a real vector plus half
of what another one differs by from the mean, at length 1.";

/// What `hpd bench retrieval` takes.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Model whose floats are the measure: a folder or Hugging Face id
    #[arg(long, value_name = "DIR|ID", requires = "retrieval")]
    teacher: Option<String>,
    /// Model whose vectors are searched in all forms: a folder or Hugging Face id
    #[arg(
        long,
        value_name = "DIR|ID",
        requires = "retrieval",
        required_unless_present = "vectors"
    )]
    student: Option<String>,
    /// Documents, queries and judgements in BEIR's shape (corpus.jsonl, queries.jsonl, qrels/)
    #[arg(long, value_name = "DIR", requires = "student", conflicts_with = "vectors")]
    retrieval: Option<PathBuf>,
    /// Part of the set: `qrels/SPLIT.tsv`
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    split: String,
    /// Only the first N queries
    #[arg(long, value_name = "N", requires = "retrieval")]
    limit: Option<usize>,
    /// Vectors of documents instead of models and texts: .npy or .safetensors
    #[arg(long, value_name = "FILE", requires = "queries")]
    vectors: Option<PathBuf>,
    /// Vectors of queries
    #[arg(long, value_name = "FILE", requires = "vectors")]
    queries: Option<PathBuf>,
    /// Numbers of vectors to search beside the real ones
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    sizes: Vec<usize>,
    /// Queries of a batch
    #[arg(long, value_name = "N", default_value_t = Settings::BATCH)]
    batch: usize,
    /// How often to measure everything
    #[arg(long, value_name = "N", default_value_t = Settings::ROUNDS)]
    rounds: usize,
    /// Memory for vectors; what does not fit is left out and named [default: 4/5 of what is available]
    #[arg(long, value_name = "GIGABYTES")]
    memory: Option<f64>,
    /// Draw milliseconds a query against the number of vectors, as SVG
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Replace the picture if it is there
    #[arg(long, requires = "plot")]
    overwrite: bool,
    /// Add to the JSON which vectors were found for each query that was compared
    #[arg(long)]
    answers: bool,
}

/// `threads` are those of the flag, possibly none.
pub(crate) fn run(arguments: &Arguments, threads: &[usize], terminal: &Terminal) -> Result<Answer> {
    refuse_existing_plot(arguments)?;
    let settings = settings(arguments, threads)?;
    let results = match (&arguments.vectors, &arguments.queries) {
        (Some(documents), Some(queries)) => {
            measure(&[from_files(documents, queries)?], None, &settings, terminal)?
        }
        _ => of_models(arguments, &settings, terminal)?,
    };
    if let Some(path) = &arguments.plot {
        atomic::write(path, plot(&results).as_bytes())?;
    }
    let text = if terminal.json { json(&results)? } else { table(&results) };
    terminal.print(text.trim_end())?;
    Ok(Answer::Yes)
}

/// Asked before the work begins, not after.
fn refuse_existing_plot(arguments: &Arguments) -> Result<()> {
    match &arguments.plot {
        Some(path) if path.exists() && !arguments.overwrite => {
            let message = format!("`{}` is already there", path.display());
            Err(Error::input(message).hint("`--overwrite` replaces it"))
        }
        _ => Ok(()),
    }
}

fn settings(arguments: &Arguments, threads: &[usize]) -> Result<Settings> {
    let Arguments { sizes, batch, rounds, answers, .. } = arguments;
    let mut settings = Settings {
        sizes: sizes.clone(),
        batch: *batch,
        rounds: *rounds,
        answers: *answers,
        ..Settings::default()
    };
    if let Some(gigabytes) = arguments.memory {
        if !gigabytes.is_finite() || gigabytes <= 0.0 {
            return Err(Error::input(format!(
                "`--memory` is {gigabytes}, expected gigabytes above 0"
            )));
        }
        settings.memory = (gigabytes * 1e9) as u64;
    }
    if !threads.is_empty() {
        settings.threads = threads.to_vec();
    }
    Ok(settings)
}

fn from_files(documents: &Path, queries: &Path) -> Result<Vectors> {
    let name = documents.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let (documents, queries) = (read_matrix(documents)?, read_matrix(queries)?);
    Ok(Vectors { name, queries, documents, encoding: None })
}

fn of_models(arguments: &Arguments, settings: &Settings, terminal: &Terminal) -> Result<Results> {
    let Some(folder) = &arguments.retrieval else {
        return Err(Error::input("there is nothing to search").hint(
            "name texts with `--retrieval DIR`, or vectors with `--vectors` and `--queries`",
        ));
    };
    let mut collection = read(folder, &arguments.split)?;
    collection.queries.truncate(arguments.limit.unwrap_or(usize::MAX));
    // Both before the first text is encoded, which takes minutes that a mistyped name would cost.
    let mut models = Vec::new();
    for (role, name) in [("teacher", &arguments.teacher), ("student", &arguments.student)] {
        if let Some(name) = name {
            let folder = lookup().find(Some(name), None, terminal)?.folder;
            models.push((role, Model::open_with(&folder, &OpenOptions::default())?));
        }
    }
    let mut vectors = Vec::new();
    for (role, model) in models {
        vectors.push(from_model(role, &model, &collection, terminal)?);
    }
    measure(&vectors, Some(&collection), settings, terminal)
}

fn from_model(
    role: &str,
    model: &Model,
    collection: &Collection,
    terminal: &Terminal,
) -> Result<Vectors> {
    let texts = collection.queries.len() + collection.documents.len();
    terminal.stage(&format!("{role}: encoding"), Some(texts as u64));
    let [queries, documents] = evaluation::vectors(model, collection, terminal)?;
    let encoding = Some(milliseconds_a_query(model, collection)?);
    Ok(Vectors { name: role.to_owned(), queries, documents, encoding })
}

fn milliseconds_a_query(model: &Model, collection: &Collection) -> Result<f64> {
    let texts = collection.query_texts();
    let texts = &texts[..texts.len().min(ENCODED)];
    let options = EncodeOptions { prompt: Prompt::Query, ..EncodeOptions::default() };
    let start = Instant::now();
    for text in texts {
        model.encode(&[text], &options)?;
    }
    Ok(1e3 * start.elapsed().as_secs_f64() / texts.len() as f64)
}
