//! `hpd inspect`.

use clap::Args;
use hpd_files::{Error, Result};

use crate::Answer;
use crate::terminal::Terminal;

/// What `hpd inspect` takes.
#[derive(Args, Debug)]
pub(crate) struct Arguments {}

pub(crate) fn run(_arguments: &Arguments, _terminal: &Terminal) -> Result<Answer> {
    Err(Error::input("not built yet"))
}
