//! What the tests of the command line share.
#![allow(dead_code, reason = "each test file takes what it needs")]

pub mod tiny_model;

use std::path::Path;
use std::process::{Command, Output};

/// `hpd` with its folder, ready for arguments; settings of the surroundings are kept out.
pub fn hpd(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hpd"));
    command.current_dir(folder).env_remove("HPD_THREADS").arg("--threads").arg("1");
    command
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
