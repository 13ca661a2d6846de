//! `hpd dedupe`: documents of a store that are nearly the same.

use std::path::PathBuf;

use clap::Args;
use hpd_files::{Error, Result};
use hpd_index::{Hit, Store};
use serde::Serialize;

use crate::Answer;
use crate::search::print_table;
use crate::terminal::Terminal;

/// What `hpd dedupe` takes.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Folder of the store
    #[arg(long, short, value_name = "DIR")]
    store: PathBuf,
    /// Least score of two documents that count as the same; scores are cosines, from -1 to 1
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    threshold: f32,
}

const AFTER_HELP: &str = "\
Examples:
  hpd dedupe --store notes.hpd --threshold 0.95
  hpd dedupe --store notes.hpd --threshold 0.99 --json | jq -r '.documents[1:][].id' |
    hpd index delete --store notes.hpd --ids -

Each document of a group scores at least so much with another of its group; shown is its score with
the nearest. The first was added first. Nothing is changed. Every document is compared with every
other one, by proof as `hpd search --exactness exact`, so time grows with the square of their number.

With --json each group is a line with documents, of which each has score, id and text.
Exit status: 0 there are groups, 1 there are none, 2 error.";

/// A group as a line of JSON.
#[derive(Serialize)]
struct JsonGroup<'a> {
    documents: Vec<JsonDocument<'a>>,
}

#[derive(Serialize)]
struct JsonDocument<'a> {
    score: f32,
    id: &'a str,
    text: &'a str,
}

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Answer> {
    let Arguments { store, threshold } = arguments;
    if threshold.is_nan() {
        return Err(Error::input("`--threshold` is no number"));
    }
    let groups = Store::open_read_only(store)?.near_duplicates(*threshold, terminal)?;
    for (i, group) in groups.iter().enumerate() {
        if terminal.json {
            print_json(group, terminal)?;
            continue;
        }
        if i > 0 {
            terminal.print("")?;
        }
        print_table(group, terminal)?;
    }
    if groups.is_empty() && !terminal.json {
        terminal.print("no documents are that much alike")?;
    }
    Ok(if groups.is_empty() { Answer::No } else { Answer::Yes })
}

fn print_json(group: &[Hit], terminal: &Terminal) -> Result<()> {
    let documents = group
        .iter()
        .map(|Hit { score, id, text, .. }| JsonDocument { score: *score, id, text })
        .collect();
    let line = serde_json::to_string(&JsonGroup { documents })
        .map_err(|e| Error::input("cannot print a group").caused_by(e))?;
    terminal.print(&line)
}
