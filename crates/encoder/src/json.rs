//! JSON files of a model folder, with errors that name the file.

use std::fs;
use std::io;
use std::path::Path;

use hpd_files::{Error, Result};
use serde::de::DeserializeOwned;

/// Reads a file that must be there.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
    parse(path, &text)
}

/// Reads a file that may be missing, and only that: one that is there and wrong is an error.
pub(crate) fn read_if_present<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read_to_string(path) {
        Ok(text) => parse(path, &text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        Error::model(format!("`{}` is not what it should be", path.display())).caused_by(error)
    })
}
