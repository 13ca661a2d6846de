//! Words on a terminal: parses, runs one verb, prints the error once and chooses the exit code.
//!
//! No arithmetic and no defaults of its own: settings and their defaults live in the libraries. One verb, one
//! file. Data goes to stdout, talk to stderr. Exit 0 done, 1 "no" as an answer, 2 error; a closed pipe is no error.

mod arguments;
#[cfg(feature = "distill")]
mod augment;
mod bench;
mod columns;
mod dedupe;
#[cfg(feature = "distill")]
mod distill;
mod embed;
mod evaluate;
mod export;
mod generate;
mod index;
mod inspect;
mod models;
mod push;
mod search;
#[cfg(feature = "serve")]
mod serve;
mod similar;
mod store_arguments;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Verb};
use hpd_files::Result;
use terminal::Terminal;

/// What a verb answers when nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done.
    Yes,
    /// Done, and the answer is no: no hits, a check not met.
    No,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let terminal = Terminal::new(&arguments.global);
    match start(&arguments, &terminal).and_then(|()| run(&arguments, &terminal)) {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(error) if terminal::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            terminal.print_error(&error);
            ExitCode::from(2)
        }
    }
}

fn start(arguments: &Arguments, terminal: &Terminal) -> Result<()> {
    terminal.prepare(arguments.threads()?)
}

fn run(Arguments { global, verb }: &Arguments, terminal: &Terminal) -> Result<Answer> {
    match verb {
        #[cfg(feature = "distill")]
        Verb::Distill(arguments) => distill::run(arguments, terminal),
        #[cfg(feature = "distill")]
        Verb::Augment(arguments) => augment::run(arguments, terminal),
        Verb::Evaluate(arguments) => evaluate::run(arguments, terminal),
        Verb::Embed(arguments) => embed::run(arguments, terminal),
        Verb::Index(arguments) => index::run(arguments, terminal),
        Verb::Search(arguments) => search::run(arguments, terminal),
        Verb::Similar(arguments) => similar::run(arguments, terminal),
        Verb::Dedupe(arguments) => dedupe::run(arguments, terminal),
        #[cfg(feature = "serve")]
        Verb::Serve(arguments) => serve::run(arguments, terminal),
        Verb::Push(arguments) => push::run(arguments, terminal),
        Verb::Inspect(arguments) => inspect::run(arguments, terminal),
        Verb::Bench(arguments) => bench::run(arguments, &global.threads, terminal),
        Verb::Export(arguments) => export::run(arguments, terminal),
        Verb::Completions(arguments) => generate::completions(arguments),
        Verb::Man(arguments) => generate::man(arguments),
    }
}
