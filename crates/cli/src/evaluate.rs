//! `hpd evaluate`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use hpd_encoder::{Arithmetic, FoundModel, Model, OpenOptions};
use hpd_eval::evaluation::{self, Variant, WordRankings, evaluate, fit_pca};
use hpd_eval::page::{self, Page, Run};
use hpd_eval::pca::Center;
use hpd_eval::provenance::Machine;
use hpd_eval::report::{ModelResults, Results, Speed, table};
use hpd_eval::speed::{self, Settings, Texts};
use hpd_eval::tasks::{self, Data, Loaded, Task};
use hpd_files::records::{RecordOptions, Records, Source};
use hpd_files::{Error, Progress, Result, atomic};
use hpd_index::Fusion;

use crate::Answer;
use crate::arguments::SetArguments;
use crate::inspect::size_of_folder;
use crate::models::lookup;
use crate::terminal::Terminal;

/// Texts that speed is measured on.
const SPEED_TEXTS: usize = 256;

/// What `hpd evaluate` takes.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Model folder, name of a model that comes with hpd, or Hugging Face id; give several to compare them, the first
    /// is the measure [default: HPD_MODEL, or else the default of those that come with hpd]
    #[arg(long = "model", short, value_name = "DIR|NAME|ID")]
    models: Vec<String>,
    /// Branch, tag or commit of a Hugging Face id
    #[arg(long, value_name = "REVISION", requires = "models")]
    revision: Option<String>,
    /// Truncate texts at so many tokens [default: what each model folder says]
    #[arg(long, value_name = "TOKENS")]
    max_seq_length: Option<usize>,
    /// Numbers the model computes in, `float32`, `bfloat16` or `int8` [default: those its folder stores]
    #[arg(long, value_name = "ARITHMETIC")]
    arithmetic: Option<Arithmetic>,
    #[command(flatten)]
    sets: SetArguments,
    /// Add a row for BM25, which ranks by words, and one for each model's ranking joined with it as in `hpd search --hybrid`
    #[arg(long, requires = "retrieval")]
    hybrid: bool,
    /// Only these tasks, by file or folder name [default: all that have the split]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    tasks: Vec<String>,
    /// Only the first N pairs or queries of each task, or N labelled texts of each part, for a quick look; the results say so
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
    /// Measure the first K numbers of the vectors instead of all; several give a row each
    #[arg(long, value_name = "K,…", value_delimiter = ',')]
    dimensions: Vec<usize>,
    /// Add a row for each wider model projected to K dimensions by PCA: the ceiling of a K-dimensional student
    #[arg(long, value_name = "K", requires = "pca_sentences")]
    pca: Option<usize>,
    /// Sentences to fit the PCA on: text, .gz, .jsonl, .csv or .parquet
    #[arg(long, value_name = "FILE", requires = "pca")]
    pca_sentences: Option<PathBuf>,
    /// Fit the PCA on the first N of them
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pca_rows: usize,
    /// What is subtracted before projecting; fitting always subtracts the mean
    #[arg(long, value_name = "none|mean", default_value = "none")]
    pca_center: PcaCenter,
    /// Write everything measured, with provenance, as JSON
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write a page for a browser: tables, quality against size, training curves, which sentences are alike
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Run of `hpd distill` whose training the report shows [default: `MODEL.run` beside one of the models]
    #[arg(long, value_name = "DIR", requires = "report")]
    run: Option<PathBuf>,
    /// Sentences of the report's map of similarities, of which the first 12 are taken [default: some of the tasks']
    #[arg(long, value_name = "FILE", requires = "report")]
    report_sentences: Option<PathBuf>,
    /// Also measure how fast each model encodes some of the texts; `hpd bench encode` does it more thoroughly
    #[arg(long)]
    speed: bool,
    /// Replace the output files if they are there
    #[arg(long)]
    overwrite: bool,
}

/// [`Center`] as it is typed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PcaCenter {
    None,
    Mean,
}

const AFTER_HELP: &str = "\
Examples:
  hpd evaluate --sts sts/
  hpd evaluate --model student --sts sts/ --retrieval retrieval/
  hpd evaluate --model teacher --model student --sts sts/ --tasks stsb,sickr
  hpd evaluate --model teacher --model student --sts sts/ --pca 128 --pca-sentences train.txt.gz
  hpd evaluate --model student --sts sts/ --split dev --limit 200
  hpd evaluate --model student --retrieval retrieval/ --hybrid
  hpd evaluate --model teacher --model student --sts sts/ --speed --report report.html
  hpd evaluate --model teacher --model student --classify classify/ --tasks trec,banking77

Sentence similarity is Spearman of cosine and gold over all pairs of a file. Retrieval scores every
document against every query by cosine; a document's text is its title, a space and its text.
Classification trains nothing but a linear probe (logistic regression, its penalty chosen on a
fifth of the training texts) and asks the 10 nearest training texts, which vote with their cosine.
Test texts of a label without training texts are left out, and counted.";

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Answer> {
    refuse_existing_output(arguments)?;
    let tasks = load_tasks(arguments, terminal)?;
    let models = find_models(arguments, terminal)?;
    let words = arguments.hybrid.then(|| WordRankings::of(&tasks, Fusion::default(), terminal));
    let words = words.transpose()?;
    let run = find_run(arguments).map(|folder| Run::read(&folder)).transpose()?;
    let sentences = map_sentences(arguments, &tasks)?;
    let (mut rows, mut maps) = (Vec::new(), Vec::new());
    for found in &models {
        let Arguments { max_seq_length, arithmetic, .. } = *arguments;
        let opening = OpenOptions { max_seq_length, arithmetic, ..OpenOptions::default() };
        let model = Model::open_with(&found.folder, &opening)?;
        let names = [short_name(&found.name, &models), found.name.clone()];
        rows.extend(evaluate_model(&model, &names, arguments, &tasks, words.as_ref(), terminal)?);
        if !sentences.is_empty() {
            maps.push(evaluation::map(&model, &names[0], &sentences)?);
        }
    }
    rows.extend(words.map(|words| words.row().clone()));
    let results = Results::new(rows, arguments.limit.map(NonZeroUsize::get));
    if let Some(path) = &arguments.output {
        atomic::write(path, (json(&results)? + "\n").as_bytes())?;
    }
    if let Some(path) = &arguments.report {
        let page = Page { results: &results, run: run.as_ref(), maps: &maps };
        atomic::write(path, page.html().as_bytes())?;
    }
    let text = if terminal.json { json(&results)? } else { table(&results) };
    terminal.print(text.trim_end())?;
    Ok(Answer::Yes)
}

fn find_models(arguments: &Arguments, terminal: &Terminal) -> Result<Vec<FoundModel>> {
    let named = |name: &String| lookup().find(Some(name), arguments.revision.as_deref(), terminal);
    match &arguments.models[..] {
        [] => lookup().find(None, None, terminal).map(|found| vec![found]),
        names => names.iter().map(named).collect(),
    }
}

/// Asked before the work begins, not after.
fn refuse_existing_output(arguments: &Arguments) -> Result<()> {
    let mut outputs = [&arguments.output, &arguments.report].into_iter().flatten();
    match outputs.find(|path| path.exists()) {
        Some(path) if !arguments.overwrite => {
            let message = format!("`{}` is already there", path.display());
            Err(Error::input(message).hint("`--overwrite` replaces it"))
        }
        _ => Ok(()),
    }
}

/// The run that the report tells of: the one named, or the one that made one of the models.
fn find_run(arguments: &Arguments) -> Option<PathBuf> {
    arguments.report.as_ref()?;
    let beside = |model: &String| {
        let path = Path::new(model);
        let mut name = path.file_name()?.to_owned();
        name.push(".run");
        Some(path.with_file_name(name)).filter(|run| run.join("run.json").is_file())
    };
    arguments.run.clone().or_else(|| arguments.models.iter().find_map(beside))
}

/// The sentences of the map; none without a report.
fn map_sentences(arguments: &Arguments, tasks: &[Loaded]) -> Result<Vec<String>> {
    match (&arguments.report, &arguments.report_sentences) {
        (None, _) => Ok(Vec::new()),
        (Some(_), Some(path)) => read_sentences(path, page::SENTENCES),
        (Some(_), None) => Ok(page::sentences_of(tasks)),
    }
}

fn load_tasks(arguments: &Arguments, terminal: &Terminal) -> Result<Vec<Loaded>> {
    if arguments.sets.is_empty() {
        return Err(Error::input("there is nothing to measure on")
            .hint("name sets: --sts <DIR>, --retrieval <DIR> or --classify <DIR>"));
    }
    let chosen = tasks::choose(arguments.sets.find()?, &arguments.tasks)?;
    terminal.stage("reading", Some(chosen.len() as u64));
    let load = |task: &Task| {
        let loaded = task.load(arguments.limit.map(NonZeroUsize::get))?;
        warn_of_gaps(&loaded, terminal);
        terminal.advance(1);
        Ok(loaded)
    };
    chosen.iter().map(load).collect()
}

fn warn_of_gaps(loaded: &Loaded, terminal: &Terminal) {
    let gaps: Vec<(usize, String)> = match &loaded.data {
        Data::Sts(pairs) => vec![(pairs.unscored, "pairs without a score were left out".into())],
        Data::Retrieval(collection) => vec![
            (
                collection.unjudged_queries,
                "queries without a relevant document were left out".into(),
            ),
            (collection.unknown_queries, "judgements of unknown queries were left out".into()),
            (
                collection.unknown_documents,
                "judgements name unknown documents, which count as missed".into(),
            ),
        ],
        Data::Classification(set) => {
            let left_out =
                |label| format!("test texts were left out: `{label}` is not in training");
            set.unseen.iter().map(|(label, &count)| (count, left_out(label))).collect()
        }
    };
    for (count, what) in gaps.into_iter().filter(|(count, _)| *count > 0) {
        terminal.note(&format!("{}: {count} {what}", loaded.task.name));
    }
}

fn evaluate_model(
    model: &Model,
    [name, path]: &[String; 2],
    arguments: &Arguments,
    tasks: &[Loaded],
    words: Option<&WordRankings>,
    terminal: &Terminal,
) -> Result<Vec<ModelResults>> {
    let variants = variants(model, name, arguments, terminal)?;
    let mut rows = evaluate(model, name, path, tasks, &variants, words, terminal)?;
    let bytes = size_of_folder(&model.folder().path)?;
    let speed = if arguments.speed { measure_speed(model, tasks, terminal)? } else { None };
    for row in &mut rows {
        row.bytes = Some(bytes);
        row.speed.clone_from(&speed);
    }
    if let Some(row) = rows.first().filter(|row| row.truncated > 0) {
        let (truncated, texts, length) = (row.truncated, row.texts, row.max_seq_length);
        let message = format!("{truncated} of {texts} texts were cut at {length} tokens");
        terminal.note(&format!("{}: {message}", row.name));
    }
    Ok(rows)
}

/// On some of the tasks' texts, with the threads and the arithmetic of the evaluation.
fn measure_speed(model: &Model, tasks: &[Loaded], terminal: &Terminal) -> Result<Option<Speed>> {
    let texts = Texts { source: "the tasks".to_owned(), texts: tasks::sample(tasks, SPEED_TEXTS) };
    let settings = Settings {
        max_seq_length: Some(model.max_seq_length()),
        arithmetics: vec![model.arithmetic()],
        threads: vec![Machine::current().threads],
        ..Settings::default()
    };
    let folder = &model.folder().path;
    let results = speed::measure(&folder.to_string_lossy(), folder, &texts, &settings, terminal)?;
    terminal.finish();
    Ok(Speed::of(&results))
}

fn variants(
    model: &Model,
    name: &str,
    arguments: &Arguments,
    terminal: &Terminal,
) -> Result<Vec<Variant>> {
    let mut variants: Vec<Variant> = match &arguments.dimensions[..] {
        [] => vec![Variant::Whole],
        several => several.iter().copied().map(Variant::First).collect(),
    };
    let (Some(dimensions), Some(path)) = (arguments.pca, &arguments.pca_sentences) else {
        return Ok(variants);
    };
    if dimensions >= model.dim() {
        terminal.note(&format!("{name}: no PCA row, for it has {} dimensions", model.dim()));
        return Ok(variants);
    }
    let sentences = read_sentences(path, arguments.pca_rows)?;
    let pca = fit_pca(model, &sentences, dimensions, terminal)?;
    let center = match arguments.pca_center {
        PcaCenter::None => Center::None,
        PcaCenter::Mean => Center::Mean,
    };
    variants.push(Variant::Projected(Box::new(pca), center));
    Ok(variants)
}

fn read_sentences(path: &Path, count: usize) -> Result<Vec<String>> {
    let records = Records::open(&Source::File(path.to_owned()), &RecordOptions::default())?;
    let texts = records.map(|record| record.map(|record| record.text));
    texts.filter(|text| !text.as_ref().is_ok_and(String::is_empty)).take(count).collect()
}

/// The last part of a model's path, or all of it where two models end alike.
fn short_name(name: &str, all: &[FoundModel]) -> String {
    let last =
        |name: &str| Path::new(name).file_name().map(|last| last.to_string_lossy().into_owned());
    let alike = all.iter().filter(|other| last(&other.name) == last(name)).count();
    last(name).filter(|_| alike == 1).unwrap_or_else(|| name.to_owned())
}

fn json(results: &Results) -> Result<String> {
    serde_json::to_string_pretty(results)
        .map_err(|e| Error::input("cannot write the results as JSON").caused_by(e))
}
