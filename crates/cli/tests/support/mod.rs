//! The built `hpd`, run as a person would run it, in a folder of its own.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part of a module it shares"
)]

pub mod tiny_model;

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

/// What a command answered.
#[derive(Debug)]
pub struct Answer(pub Output);

impl Answer {
    /// What was printed, when the command did what it should.
    #[track_caller]
    pub fn stdout(&self) -> String {
        assert!(self.0.status.success(), "{} {}", self.0.status, self.stderr());
        String::from_utf8(self.0.stdout.clone()).expect("output is UTF-8")
    }

    /// What was said beside it.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }
}

/// Runs `hpd` with `arguments`.
pub fn hpd<S: AsRef<OsStr>>(arguments: &[S]) -> Answer {
    Answer(command(arguments).output().expect("hpd starts"))
}

/// `hpd` with one thread and without what it reads from the caller's environment, not started yet.
pub fn command<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hpd"));
    command.args(arguments).env("HPD_THREADS", "1").env("COLUMNS", "100");
    for variable in ["OPENAI_API_KEY", "HPD_MODEL", "HPD_MODELS"] {
        command.env_remove(variable);
    }
    command
}

/// Runs `hpd` with `arguments` from within a shell script, which finds the whole command in `"$0" "$@"`.
pub fn shell(script: &str, arguments: &[&str]) -> Answer {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_hpd")]).args(arguments).env("HPD_THREADS", "1");
    Answer(shell.output().expect("sh starts"))
}

/// Fails unless the command was refused with exit status 2 and all of `words` in one clear error.
#[track_caller]
pub fn assert_refused(answer: &Answer, words: &[&str]) {
    let said = answer.stderr();
    assert_eq!(answer.0.status.code(), Some(2), "{said}");
    assert!(said.contains("error: ") && !said.contains("panicked"), "{said}");
    assert!(!said.contains("Usage: "), "the test itself is typed wrongly: {said}");
    for word in words {
        assert!(said.contains(word), "expected `{word}` in: {said}");
    }
}

/// A folder with a model in it and whatever else a test writes there.
pub struct Workshop(TempDir);

impl Workshop {
    /// A new folder, with a tiny model as `model`.
    pub fn new() -> Self {
        let shop = Self(tempfile::tempdir().expect("a folder for the test"));
        tiny_model::write(&shop.path("model"), 1);
        shop
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The same as a word of a command.
    pub fn name(&self, name: &str) -> String {
        self.path(name).to_str().expect("a plain path").to_owned()
    }

    /// Writes a file and names it.
    pub fn write(&self, name: &str, contents: &[u8]) -> String {
        fs::write(self.path(name), contents).expect("a writable folder");
        self.name(name)
    }

    /// A file of so many different lines of words that the model knows.
    pub fn texts(&self, count: usize) -> String {
        let line = |i: usize| {
            let words =
                (0..3 + i % 5).map(|j| format!("w{}", (i / 7 + i * (3 + 2 * j) + j * j) % 200));
            format!("{} w{} w{}\n", words.collect::<Vec<_>>().join(" "), i % 199, i / 199)
        };
        self.write(
            &format!("texts-{count}.txt"),
            (0..count).map(line).collect::<String>().as_bytes(),
        )
    }

    /// The same with some sixty words a line.
    pub fn long_texts(&self, count: usize) -> String {
        let line = |i: usize| {
            let words = (0..60).map(|j| format!("w{}", (i + j * (1 + i % 97)) % 200));
            words.collect::<Vec<_>>().join(" ") + "\n"
        };
        self.write("long-texts.txt", (0..count).map(line).collect::<String>().as_bytes())
    }

    /// A store of so many documents.
    pub fn store(&self, count: usize) -> String {
        let store = self.name("store");
        hpd(&[
            "index",
            "create",
            "--store",
            &store,
            "--model",
            &self.name("model"),
            "--input",
            &self.texts(count),
        ])
        .stdout();
        store
    }
}
