//! Making, opening and closing the database of a store.
//!
//! Separate from what is done with it because the ways in differ: a new store appears whole under its name or not
//! at all, a writer wants power-cut safety, and a reader must get by in a folder it may not write to.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use hpd_files::atomic::AtomicFolder;
use hpd_files::{Error, Result, interrupt};
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use crate::explain::explain;
use crate::schema;
use crate::store::StoreSettings;

/// How long to wait for another writer. Its transactions are short, but to compact a large store takes minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often one who waits looks whether the other is done.
const GLANCE: Duration = Duration::from_millis(10);

/// What an answered change survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: each transaction is on the disk before it is answered.
    #[default]
    Full,
    /// The death of the process. A power cut may take the last transactions, each as a whole.
    Normal,
}

impl FromStr for Durability {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        match word {
            "full" => Ok(Self::Full),
            "normal" => Ok(Self::Normal),
            other => {
                Err(Error::input(format!("`{other}` is no durability; expected full or normal")))
            }
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Normal => "normal",
        })
    }
}

impl Durability {
    /// Makes all further transactions of a connection this durable.
    pub(crate) fn set(self, connection: &Connection) -> rusqlite::Result<()> {
        connection.pragma_update(None, "synchronous", self.to_string())
    }
}

/// Makes the folder with an empty store in it.
pub(crate) fn create(folder: &Path, settings: &StoreSettings) -> Result<()> {
    refuse_existing(folder)?;
    let new = AtomicFolder::create(folder, false)
        .map_err(|error| error.hint("choose another name for the store"))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let database = absolute(new.unfinished())?;
    let made = Connection::open_with_flags(database, flags).and_then(|mut connection| {
        be_durable(&connection)?;
        schema::create(&mut connection, settings)?;
        connection.close().map_err(|(_, error)| error)
    });
    made.map_err(|e| explain("create", folder, e))?;
    new.commit()
}

/// Refuses the address of a server without repeating it, since there may be a password in it.
fn refuse_address(folder: &Path) -> Result<()> {
    match folder.to_str() {
        Some(name) if name.contains("://") => {
            Err(Error::input("a store is a folder here, and this is the address of a server")
                .hint("`hpd push --to ADDRESS` and `hpd search --store ADDRESS` take addresses"))
        }
        _ => Ok(()),
    }
}

fn refuse_existing(folder: &Path) -> Result<()> {
    refuse_address(folder)?;
    let taken = folder.is_file() || database_in(folder).exists();
    if !taken {
        return Ok(());
    }
    let store = folder.display();
    Err(Error::input(format!("cannot create the store `{store}`: it is already there"))
        .hint(format!("add to it with `hpd index add --store {store} --input FILE`")))
}

/// Opens for reading and writing.
pub(crate) fn writable(folder: &Path) -> Result<Connection> {
    let database = existing(folder)?;
    let open = || {
        let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        be_durable(&connection)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(connection)
    };
    checked(folder, open().map_err(|e| explain("open", folder, e))?)
}

/// Opens for reading, if need be in a folder where nothing can be written, or on a full disk. Then SQLite takes the file never to
/// change, and it is also told how the file was: once it is otherwise, the connection must not be used any more.
pub(crate) fn readable(folder: &Path) -> Result<(Connection, Option<Stamp>)> {
    let database = existing(folder)?;
    let stamp = Stamp::of(folder);
    // A reader too has to note where it reads in the `-shm` file, hence the writable opening.
    let opened = match read_with(&database, OpenFlags::SQLITE_OPEN_READ_WRITE) {
        Err(error) if cannot_write(&error) && nothing_pending(&database) => {
            let frozen = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            read_with(Path::new(&immutable_uri(&database)), frozen)
                .map(|connection| (connection, Some(stamp)))
        }
        opened => opened.map(|connection| (connection, None)),
    };
    let (connection, frozen) = opened.map_err(|e| explain("read", folder, e))?;
    Ok((checked(folder, connection)?, frozen))
}

/// How the database and its log lie on the disk, each with its length and the time of its last change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stamp([Option<(u64, SystemTime)>; 2]);

impl Stamp {
    pub(crate) fn of(folder: &Path) -> Self {
        let database = database_in(folder);
        let files = [log_of(&database), database];
        Self(files.map(|file| {
            let file = fs::metadata(file).ok()?;
            Some((file.len(), file.modified().ok()?))
        }))
    }
}

fn read_with(database: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(database, flags)?;
    connection.busy_handler(Some(wait_for_writer))?;
    connection.pragma_update(None, "query_only", true)?;
    // Opening is lazy: only the first reading tells whether it can be read.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// Whether to look again after so many times; it has waited for a moment then.
fn wait_for_writer(times: i32) -> bool {
    sleep(GLANCE);
    GLANCE * times.unsigned_abs() < PATIENCE && !interrupt::requested()
}

/// Every commit reaches the disk before it is answered, on macOS past the drive's own cache too.
fn be_durable(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(wait_for_writer))?;
    Durability::Full.set(connection)?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)
}

fn checked(folder: &Path, connection: Connection) -> Result<Connection> {
    // Nothing in a database that came from elsewhere may call functions of ours.
    connection
        .pragma_update(None, "trusted_schema", false)
        .map_err(|e| explain("open", folder, e))?;
    schema::check(&connection, folder)?;
    Ok(connection)
}

/// The database file of `folder`.
pub(crate) fn database_in(folder: &Path) -> PathBuf {
    folder.join("store.sqlite")
}

fn existing(folder: &Path) -> Result<PathBuf> {
    refuse_address(folder)?;
    let store = folder.display();
    if database_in(folder).is_file() {
        return absolute(folder);
    }
    let what = if folder.is_dir() { "has no `store.sqlite`" } else { "is not there" };
    Err(Error::input(format!("cannot open the store `{store}`: it {what}"))
        .hint(format!("make one with `hpd index create --store {store} --model MODEL`")))
}

/// Absolute, because SQLite takes a name that begins with `file:` for an address.
fn absolute(folder: &Path) -> Result<PathBuf> {
    let database = database_in(folder);
    std::path::absolute(&database).map_err(|e| Error::io("open", &database, e))
}

fn cannot_write(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    // On a full disk the `-shm` file finds no room.
    let is_full =
        error.sqlite_error().is_some_and(|e| e.extended_code == ffi::SQLITE_IOERR_SHMSIZE);
    let refused = [ErrorCode::CannotOpen, ErrorCode::ReadOnly, ErrorCode::PermissionDenied];
    is_full || code.is_some_and(|code| refused.contains(&code))
}

/// Whether no commit waits in the write-ahead log, which a frozen reading would not see.
fn nothing_pending(database: &Path) -> bool {
    fs::metadata(log_of(database)).map_or(true, |log| log.len() == 0)
}

/// The write-ahead log of a database file.
fn log_of(database: &Path) -> PathBuf {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// The address under which SQLite reads a file that it takes never to change.
fn immutable_uri(database: &Path) -> String {
    let mut uri = "file://".to_owned();
    // A Windows drive letter has a slash in front of it here, and slashes behind it.
    let path = database.as_os_str().as_encoded_bytes();
    if path.first() != Some(&b'/') {
        uri.push('/');
    }
    for byte in path {
        match byte {
            b'\\' if cfg!(windows) => uri.push('/'),
            b'/' | b':' | b'-' | b'_' | b'.' | b'~' => uri.push(char::from(*byte)),
            letter if letter.is_ascii_alphanumeric() => uri.push(char::from(*letter)),
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri + "?immutable=1"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_carry_any_file_name() {
        let uri = immutable_uri(Path::new("/a b/50%?#/store.sqlite"));
        assert_eq!(uri, "file:///a%20b/50%25%3F%23/store.sqlite?immutable=1");
    }
}
