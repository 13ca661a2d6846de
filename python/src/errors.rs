//! The workspace's error as an exception of Python.
//!
//! The classes are Python's, in `hpd/errors.py`, because each is also one of the exceptions that Python programs catch
//! already, and a class in Rust has one base only.

use std::error::Error as _;

use hpd_files::{Error, ErrorKind};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;

/// The exception for `error`.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    let class = match error.kind() {
        ErrorKind::Interrupted => return PyKeyboardInterrupt::new_err(error.to_string()),
        ErrorKind::Input => "InputError",
        ErrorKind::Io => "FileError",
        ErrorKind::Model => "ModelError",
        ErrorKind::Mismatch => "MismatchError",
        ErrorKind::Network => "NetworkError",
        _ => "Error",
    };
    let exception = || {
        let exception = py.import("hpd.errors")?.getattr(class)?.call1((story(error),))?;
        exception.setattr("hint", error.hint_text())?;
        PyResult::Ok(PyErr::from_value(exception))
    };
    exception().unwrap_or_else(|failed| failed)
}

/// The message with its causes and the hint, a line each.
fn story(error: &Error) -> String {
    let mut story = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        story += &format!("\n  caused by: {error}");
        cause = error.source();
    }
    error.hint_text().map_or(story.clone(), |hint| format!("{story}\nhint: {hint}"))
}
