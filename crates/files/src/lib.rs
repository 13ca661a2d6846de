//! What goes to and comes from disk: records in, vectors out, and the manners around both.
//!
//! Every other room reads text and writes files; they do it here so that gzip, bad UTF-8, half-written
//! files and Ctrl-C are dealt with once. The room knows nothing of models.
//!
//! Data passes in two streams: `path → records::Records → Record` and `rows → vectors::VectorWriter → path`.
//! Both work in constant memory. [`Error`] is the one error type of the workspace: what failed, on which
//! thing, and a hint that can be typed.

pub mod atomic;
mod error;
pub mod fingerprint;
pub mod interrupt;
pub mod progress;
pub mod records;
pub mod spool;
pub mod text_file;
pub mod vectors;

pub use error::{Error, ErrorKind, Result};
pub use fingerprint::Fingerprint;
pub use progress::{Progress, Silent};
