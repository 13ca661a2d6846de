//! Notes of long work, for Python's `logging`.

use hpd_files::Progress;
use pyo3::prelude::*;

/// Hands notes to the logger `hpd`. Progress itself is drawn by the Python half, which knows how many texts it has passed on.
pub(crate) struct Log;

impl Progress for Log {
    fn stage(&self, _: &str, _: Option<u64>) {}

    fn advance(&self, _: u64) {}

    fn message(&self, _: &str) {}

    fn note(&self, line: &str) {
        let log = |py: Python<'_>| {
            let logger = py.import("logging")?.call_method1("getLogger", ("hpd",))?;
            logger.call_method1("info", ("%s", line)).map(drop)
        };
        // A note that cannot be logged is no reason to end the work.
        let _ = Python::attach(log);
    }

    fn finish(&self) {}
}
