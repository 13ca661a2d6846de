//! Shell completions and man pages, made from the arguments themselves.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use hpd_files::{Error, Result};

use crate::Answer;
use crate::arguments::Arguments;
use crate::terminal::stdout_failed;

/// What `hpd completions` takes.
#[derive(Args, Debug)]
pub(crate) struct CompletionArguments {
    /// Shell to complete for
    shell: clap_complete::Shell,
}

/// What `hpd man` takes.
#[derive(Args, Debug)]
pub(crate) struct ManArguments {
    /// Folder to write the pages to
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

pub(crate) fn completions(arguments: &CompletionArguments) -> Result<Answer> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "hpd", &mut script);
    let mut stdout = std::io::stdout().lock();
    std::io::Write::write_all(&mut stdout, &script).map_err(stdout_failed)?;
    Ok(Answer::Yes)
}

pub(crate) fn man(arguments: &ManArguments) -> Result<Answer> {
    std::fs::create_dir_all(&arguments.output)
        .map_err(|e| Error::io("create", &arguments.output, e))?;
    clap_mangen::generate_to(Arguments::command(), &arguments.output)
        .map_err(|e| Error::io("write", &arguments.output, e))?;
    Ok(Answer::Yes)
}
