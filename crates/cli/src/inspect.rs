//! `hpd inspect`: what is this, and is it whole?
//!
//! One file for each kind of thing; each turns a path into [`Findings`], and only this file prints.

mod model;
#[cfg(feature = "distill")]
mod points;
mod run;
mod shipped;
mod store;
mod vectors;

pub(crate) use model::size_of_folder;

use std::path::{Path, PathBuf};

use clap::Args;
use hpd_files::{Error, Result};
use serde_json::{Map, Value};

use crate::Answer;
use crate::columns::pairs;
use crate::models::lookup;
use crate::terminal::Terminal;

/// What `hpd inspect` takes.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Model folder, name of a model that comes with hpd, store, run folder of `hpd distill`, or file of vectors
    /// (.npy, .safetensors)
    #[arg(required_unless_present = "models")]
    path: Option<PathBuf>,
    /// Look at every byte, not only at what it says of itself
    #[arg(long)]
    verify: bool,
    /// List the models that come with hpd
    #[arg(long, conflicts_with_all = ["path", "verify"])]
    models: bool,
    #[cfg(feature = "distill")]
    #[command(flatten)]
    points: points::Arguments,
}

const AFTER_HELP: &str = "\
Examples:
  hpd inspect student
  hpd inspect notes.hpd --verify
  hpd inspect student.run --worst 20
  hpd inspect student.run --sts sts/ --retrieval retrieval/
  hpd inspect --models

Of a run, also of one that is training or was stopped, it is told where the points went: the teacher,
its projection (the ceiling of a student that lands on its targets), the student at its start and as
it is now, on sentences held back from training; how near those are to their targets; what the
tokenizer could not read; the course of the training; and how much of an evaluation set was in the
training text, two texts being the same when their lower-cased letters and digits are.

Exit status: 0 whole as far as was looked, 1 not whole or no model to list, 2 error.";

/// What was found out.
struct Findings {
    kind: &'static str,
    /// Name for people, name for machines, and what it is.
    facts: Vec<Fact>,
    /// What needs more than a line.
    sections: Vec<Section>,
    /// What is not as it should be.
    problems: Vec<String>,
}

/// One thing that was found out.
struct Fact {
    name: &'static str,
    value: Value,
    words: String,
}

/// Something found out that needs more than a line.
struct Section {
    name: &'static str,
    value: Value,
    text: String,
}

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Answer> {
    let Arguments { path: Some(path), verify, .. } = arguments else {
        return shipped::list(terminal);
    };
    let path = &shipped_or_path(path)?;
    let kind = kind_of(path)?;
    #[cfg(feature = "distill")]
    if !matches!(kind, Kind::Run) {
        arguments.points.refuse()?;
    }
    let findings = match kind {
        Kind::Store => store::inspect(path, *verify)?,
        Kind::Run => {
            #[cfg_attr(
                not(feature = "distill"),
                expect(unused_mut, reason = "points are a matter of training")
            )]
            let mut findings = run::inspect(path)?;
            #[cfg(feature = "distill")]
            points::add(&mut findings, path, &arguments.points, terminal)?;
            findings
        }
        Kind::Model => model::inspect(path, *verify)?,
        Kind::Vectors => vectors::inspect(path, *verify)?,
    };
    terminal.print(&if terminal.json { findings.to_json(path) } else { findings.to_text(path) })?;
    Ok(if findings.problems.is_empty() { Answer::Yes } else { Answer::No })
}

/// A path that is not there may be the name of a model that comes with hpd.
fn shipped_or_path(path: &Path) -> Result<PathBuf> {
    match path.to_str() {
        Some(name) if !path.exists() => match lookup().shipped.find(name)? {
            Some(model) => model.folder(),
            None => Ok(path.to_owned()),
        },
        _ => Ok(path.to_owned()),
    }
}

/// The kinds of things `hpd` makes and takes.
enum Kind {
    Store,
    Run,
    Model,
    Vectors,
}

fn kind_of(path: &Path) -> Result<Kind> {
    let has = |name: &str| path.join(name).is_file();
    if has("store.sqlite") {
        Ok(Kind::Store)
    } else if has("run.json") {
        Ok(Kind::Run)
    } else if has("modules.json") || has("config.json") {
        Ok(Kind::Model)
    } else if path.is_file() {
        Ok(Kind::Vectors)
    } else {
        Err(unknown(path))
    }
}

fn unknown(path: &Path) -> Error {
    let what = path.display();
    if !path.exists() {
        return Error::input(format!("there is no `{what}`"))
            .hint("`hpd inspect --models` lists the models that are known by name");
    }
    Error::input(format!("`{what}` is neither a model folder, a store, a run nor a file of vectors"))
        .hint("these have `modules.json` or `config.json`, `store.sqlite`, `run.json`, or end in `.npy` or `.safetensors`")
}

impl Findings {
    fn new(kind: &'static str) -> Self {
        Self { kind, facts: Vec::new(), sections: Vec::new(), problems: Vec::new() }
    }

    /// Adds a fact that reads the same for people and machines.
    fn fact(&mut self, name: &'static str, value: impl Into<Value>) {
        let value = value.into();
        let words = match &value {
            Value::String(words) => words.clone(),
            Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
            Value::Null => "none".to_owned(),
            other => other.to_string(),
        };
        self.fact_in_words(name, value, words);
    }

    /// Adds a fact that people read in other words than machines.
    fn fact_in_words(&mut self, name: &'static str, value: impl Into<Value>, words: String) {
        self.facts.push(Fact { name, value: value.into(), words });
    }

    /// Adds a size on disk.
    fn bytes(&mut self, name: &'static str, bytes: u64) {
        self.fact_in_words(name, bytes, in_megabytes(bytes));
    }

    fn to_json(&self, path: &Path) -> String {
        let mut object = Map::new();
        object.insert("kind".to_owned(), self.kind.into());
        object.insert("path".to_owned(), path.to_string_lossy().into());
        for fact in &self.facts {
            object.insert(fact.name.replace(' ', "_"), fact.value.clone());
        }
        for section in &self.sections {
            object.insert(section.name.replace(' ', "_"), section.value.clone());
        }
        object.insert("problems".to_owned(), self.problems.clone().into());
        Value::Object(object).to_string()
    }

    fn to_text(&self, path: &Path) -> String {
        let facts: Vec<_> = self.facts.iter().map(|fact| (fact.name, fact.words.clone())).collect();
        let mut text = format!("{} `{}`\n{}", self.kind, path.display(), pairs(&facts));
        for section in &self.sections {
            text.push_str(&format!("\n\n{}", section.text.trim_end()));
        }
        for problem in &self.problems {
            text.push_str(&format!("\nnot whole: {problem}"));
        }
        text
    }
}

/// A size as people read it.
pub(crate) fn in_megabytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
