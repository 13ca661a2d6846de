//! `hpd bench`: what the machine makes of a model and of its vectors.

mod encode;
mod retrieval;

use clap::{Args, Subcommand};
use hpd_files::{Error, Result};
use serde::Serialize;

use crate::Answer;
use crate::terminal::Terminal;

/// What `hpd bench` takes.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, Subcommand)]
enum Deed {
    /// Measure how fast a model turns text into vectors
    Encode(encode::Arguments),
    /// Measure how fast vectors are searched, and what that costs in answers
    Retrieval(retrieval::Arguments),
}

/// `threads` are those of the flag, possibly none.
pub(crate) fn run(arguments: &Arguments, threads: &[usize], terminal: &Terminal) -> Result<Answer> {
    match &arguments.deed {
        Deed::Encode(arguments) => encode::run(arguments, threads, terminal),
        Deed::Retrieval(arguments) => retrieval::run(arguments, threads, terminal),
    }
}

fn json(results: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(results)
        .map_err(|e| Error::input("cannot write the results as JSON").caused_by(e))
}
