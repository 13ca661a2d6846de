//! The terminal: bars and notes on stderr, data on stdout, errors once.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use hpd_files::{Error, ErrorKind, Progress, Result, interrupt};
use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::Global;

/// How to talk to whoever called.
pub(crate) struct Terminal {
    /// Results as JSON.
    pub(crate) json: bool,
    quiet: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Terminal {
    pub(crate) fn new(global: &Global) -> Self {
        Self { json: global.json, quiet: global.quiet, bar: Mutex::new(None) }
    }

    /// Sets up threads, one per core where no number is given, and signals.
    pub(crate) fn prepare(&self, threads: Option<usize>) -> Result<()> {
        let mut pool = rayon::ThreadPoolBuilder::new();
        if let Some(threads) = threads {
            pool = pool.num_threads(threads);
        }
        pool.build_global().map_err(|e| Error::input("cannot start the threads").caused_by(e))?;
        // The second Ctrl-C stops at once; everything on disk is safe at any moment.
        ctrlc::set_handler(|| {
            if interrupt::requested() {
                std::process::abort();
            }
            interrupt::request();
        })
        .map_err(|e| Error::input("cannot listen for Ctrl-C").caused_by(e))
    }

    /// Prints a line of data to stdout.
    ///
    /// # Errors
    /// When stdout is closed; [`is_closed_pipe`] knows that one.
    pub(crate) fn print(&self, line: &str) -> Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}").map_err(stdout_failed)
    }

    /// Prints a line of talk to stderr, unless quiet.
    pub(crate) fn say(&self, line: &str) {
        if self.quiet {
            return;
        }
        let print = || {
            let _ = writeln!(io::stderr(), "{line}");
        };
        match &*lock(&self.bar) {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// `error:`, each cause, and the hint on a line of its own.
    pub(crate) fn print_error(&self, error: &Error) {
        self.finish();
        let mut text = format!("error: {error}\n");
        let mut cause = error.source();
        while let Some(inner) = cause {
            text.push_str(&format!("  caused by: {inner}\n"));
            cause = inner.source();
        }
        if let Some(hint) = error.hint_text() {
            text.push_str(&format!("hint: {hint}\n"));
        }
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

impl Progress for Terminal {
    fn stage(&self, name: &str, total: Option<u64>) {
        self.finish();
        if self.quiet || !io::stderr().is_terminal() {
            return;
        }
        let bar = match total {
            Some(total) => ProgressBar::new(total).with_style(style(
                "{prefix:>18} {bar:30} {human_pos}/{human_len} {per_sec} eta {eta} {msg}",
            )),
            None => ProgressBar::no_length()
                .with_style(style("{prefix:>18} {spinner} {human_pos} {per_sec} {msg}")),
        };
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        *lock(&self.bar) = Some(bar);
    }

    fn advance(&self, units: u64) {
        if let Some(bar) = &*lock(&self.bar) {
            bar.inc(units);
        }
    }

    fn message(&self, words: &str) {
        if let Some(bar) = &*lock(&self.bar) {
            bar.set_message(words.to_owned());
        }
    }

    fn note(&self, line: &str) {
        self.say(line);
    }

    fn finish(&self) {
        if let Some(bar) = lock(&self.bar).take() {
            bar.finish_and_clear();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic elsewhere leaves a bar behind, nothing that must not be used.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Why stdout could not be written to. A type of its own, since other pipes and sockets break too.
#[derive(Debug)]
struct StdoutFailed(io::Error);

impl fmt::Display for StdoutFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for StdoutFailed {}

/// The error of whoever writes to stdout.
pub(crate) fn stdout_failed(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot write to stdout").caused_by(StdoutFailed(error))
}

/// Whether `error` only says that the reader of our output went away.
pub(crate) fn is_closed_pipe(error: &Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<StdoutFailed>());
    cause.is_some_and(|StdoutFailed(error)| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_closed_stdout_is_no_error() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_closed_pipe(&stdout_failed(broken())));
        assert!(!is_closed_pipe(&stdout_failed(io::ErrorKind::StorageFull.into())));
        assert!(!is_closed_pipe(&Error::io("write", "a socket", broken())));
    }
}
