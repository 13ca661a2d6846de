//! SQLite's errors in the words of the workspace, with what can be done about each.

use std::path::Path;

use hpd_files::{Error, ErrorKind};
use rusqlite::ErrorCode;

/// What went wrong while trying to `deed` ("add to", "search") the store in `folder`.
pub(crate) fn explain(deed: &str, folder: &Path, error: rusqlite::Error) -> Error {
    let store = folder.display();
    let failed = || Error::new(ErrorKind::Io, format!("cannot {deed} the store `{store}`"));
    if is_misread(&error) {
        return damaged(folder, "a value is not what its column holds").caused_by(error);
    }
    let explained = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            return damaged(folder, "`store.sqlite` is not an SQLite database").caused_by(error);
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            return damaged(folder, "its pages contradict each other").caused_by(error);
        }
        Some(ErrorCode::DiskFull) => failed().hint(
            "there is no space left: free some and run the command again; all that was added before stands",
        ),
        Some(ErrorCode::SystemIoFailure) => failed().hint(
            "check the disk, its free space and the file size limit (`ulimit -f`), then run the command again",
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            failed().hint("another process is writing to it: run the command again when that one is done")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            failed().hint("check that you may write to the folder and to the files in it")
        }
        _ => failed(),
    };
    explained.caused_by(error)
}

/// Whether a value was there, but of another type or not UTF-8; the tables allow neither.
fn is_misread(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error,
    };
    matches!(
        error,
        FromSqlConversionFailure(..)
            | IntegralValueOutOfRange(..)
            | InvalidColumnType(..)
            | Utf8Error(..)
    )
}

/// A store that cannot be trusted, and why.
pub(crate) fn damaged(folder: &Path, why: &str) -> Error {
    let store = folder.display();
    Error::new(ErrorKind::Io, format!("the store `{store}` is damaged: {why}")).hint(format!(
        "take the folder from a copy, or make it anew with `hpd index create`; as long as it can be opened, `hpd inspect --verify {store}` lists all damage"
    ))
}
