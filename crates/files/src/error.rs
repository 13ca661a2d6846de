//! The error of the workspace.
//!
//! One type for all rooms, because every error ends in the same three places: a line on a terminal, an
//! exit code and an HTTP body. A hint travels as data, so that each of them can lay it out its own way.

use std::error::Error as StdError;
use std::fmt;
use std::path::Path;

/// `Result` with the workspace's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of thing went wrong; decides exit codes and HTTP statuses, never the wording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The user's text, file, flag or recipe is not what it must be.
    Input,
    /// The operating system refused, or the disk does not hold what was written: missing file, full disk, no permission, damage.
    Io,
    /// A model folder is missing something, damaged or not supported.
    Model,
    /// Two things that must belong together do not: another space, width or sentence list.
    Mismatch,
    /// An endpoint or hub did not answer as it should.
    Network,
    /// Ctrl-C or SIGTERM; what was done so far is kept.
    Interrupted,
}

/// What failed, on which thing, expected and found, with an optional hint that can be typed.
///
/// `Display` prints the message alone; the cause is in `source()` and the hint in [`Error::hint_text`], so a
/// printer walks each once. Messages are lower case, without a final full stop, names in backticks.
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// Shorthand for [`ErrorKind::Input`].
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// Shorthand for [`ErrorKind::Model`].
    pub fn model(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Model, message)
    }

    /// Shorthand for [`ErrorKind::Mismatch`].
    pub fn mismatch(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Mismatch, message)
    }

    /// An operating-system error while doing `deed` ("read", "write", "create") to `path`.
    pub fn io(deed: &str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        let path = path.as_ref().display();
        Self::new(ErrorKind::Io, format!("cannot {deed} `{path}`")).caused_by(source)
    }

    /// Stopped by the user; `kept` says what a second run can pick up.
    pub fn interrupted(kept: impl Into<String>) -> Self {
        Self::new(ErrorKind::Interrupted, format!("interrupted; {}", kept.into()))
    }

    /// Adds the hint: something the reader can type or do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What sort of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The hint, without the word "hint".
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The whole story on one line per cause, for tests and `expect`.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, "\n  caused by: {error}")?;
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_does_not_repeat_its_cause() {
        let cause = std::io::Error::other("no space left on device");
        let error = Error::io("write", "out.npy", cause).hint("free some space");
        assert_eq!(error.to_string(), "cannot write `out.npy`");
        assert_eq!(
            error.source().map(ToString::to_string).as_deref(),
            Some("no space left on device")
        );
        assert_eq!(error.hint_text(), Some("free some space"));
    }
}
