//! The way to the server, and its errors in the words of the workspace.

use std::env;
use std::error::Error as _;

use hpd_files::{Error, ErrorKind, Result};
use postgres::config::{Host, SslMode};
use postgres::error::SqlState;
use postgres::{Client, Config, NoTls};

use crate::Address;

/// The first pgvector whose index neither corrupts nor reads beyond its memory.
const PGVECTOR: [u32; 3] = [0, 8, 4];

/// Opens a connection to a server that has pgvector.
pub(super) fn connect(address: &Address) -> Result<Client> {
    let mut config: Config = address.connection().parse().map_err(|e: postgres::Error| {
        Error::input(format!("cannot read the address `{address}`"))
            .hint("an address is `postgres://user@host:5432/database?table=notes`")
            .caused_by(e)
    })?;
    check_secrecy(&config, address)?;
    if let (None, Ok(password)) = (config.get_password(), env::var("PGPASSWORD")) {
        config.password(password);
    }
    if config.get_application_name().is_none() {
        config.application_name("hpd");
    }
    let mut client = config.connect(NoTls).map_err(|e| explain("reach", address, e))?;
    check_encoding(&mut client, address)?;
    check_pgvector(&mut client, address)?;
    Ok(client)
}

/// Nothing goes over a network in the open unless that was said.
fn check_secrecy(config: &Config, address: &Address) -> Result<()> {
    let here = |host: &Host| match host {
        Host::Tcp(name) => ["localhost", "127.0.0.1", "::1"].contains(&name.as_str()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    };
    // Where an address names neither host, the client goes to a socket of this machine.
    let is_here = config.get_hosts().iter().all(here) && config.get_hostaddrs().is_empty();
    let refused = match config.get_ssl_mode() {
        SslMode::Disable => return Ok(()),
        SslMode::Prefer if is_here => return Ok(()),
        SslMode::Prefer => "would go over the network unencrypted",
        _ => "is to be encrypted (`sslmode`)",
    };
    Err(Error::input(format!("the connection to `{address}` {refused}, and hpd speaks no TLS"))
        .hint("go through a tunnel, `ssh -N -L 5432:localhost:5432 HOST`, to `localhost`; or accept it with `sslmode=disable` in the address"))
}

/// Filters compare strings by Unicode code points, and texts are Unicode.
fn check_encoding(client: &mut Client, address: &Address) -> Result<()> {
    let row = client.query_one("SHOW server_encoding", &[]);
    let encoding: String = row.map_err(|e| explain("ask", address, e))?.get(0);
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(Error::input(format!(
        "the database at `{address}` has the encoding {encoding}, expected UTF8"
    ))
    .hint("make another: `createdb --encoding UTF8 --template template0 NAME`"))
}

/// Makes the extension known to the database where it is not yet, and refuses an old one.
fn check_pgvector(client: &mut Client, address: &Address) -> Result<()> {
    const VERSION: &str = "SELECT extversion FROM pg_extension WHERE extname = 'vector'";
    let ask = |client: &mut Client| client.query_opt(VERSION, &[]);
    let mut found = ask(client).map_err(|e| explain("ask", address, e))?;
    if found.is_none() {
        let made = client.batch_execute("CREATE EXTENSION IF NOT EXISTS vector");
        // Of two who make it at the same moment one is refused, and it is there all the same.
        found = ask(client).map_err(|e| explain("ask", address, e))?;
        if let (None, Err(error)) = (&found, made) {
            return Err(explain("use pgvector at", address, error)
                .hint("install pgvector on the server, then `CREATE EXTENSION vector` in this database as its owner"));
        }
    }
    let version: String = found.map_or_else(|| "none".to_owned(), |row| row.get(0));
    if numbers(&version) >= PGVECTOR {
        return Ok(());
    }
    let expected = PGVECTOR.map(|number| number.to_string()).join(".");
    Err(Error::input(format!(
        "the database at `{address}` has pgvector {version}, expected {expected} or later"
    ))
    .hint("install a later one on the server, then `ALTER EXTENSION vector UPDATE`"))
}

/// `0.8.5` as numbers.
fn numbers(version: &str) -> [u32; 3] {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// What went wrong while trying to `deed` ("search", "push to") at the address.
pub(super) fn explain(deed: &str, address: &Address, error: postgres::Error) -> Error {
    let failed = Error::new(ErrorKind::Network, format!("cannot {deed} `{address}`"));
    let hint = match error.code() {
        None if error.is_closed() => Some("the server ended the connection: run the command again"),
        None if is_of_the_system(&error) => {
            Some("is the server running there, and may this machine reach it?")
        }
        None
        | Some(&SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
            Some("check user and password; a password is best given by the variable PGPASSWORD")
        }
        Some(&SqlState::INVALID_CATALOG_NAME) => Some("make the database: `createdb NAME`"),
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            Some("ask the owner of the database or table to grant what is missing")
        }
        Some(&SqlState::DISK_FULL) => {
            Some("the server's disk is full: free some and run the command again, it goes on")
        }
        Some(&SqlState::LOCK_NOT_AVAILABLE) => {
            Some("another push to this table is running: run the command again when it is done")
        }
        Some(_) => None,
    };
    let failed = match error.as_db_error() {
        Some(said) => failed.caused_by(said.to_string()),
        None => failed.caused_by(error),
    };
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

/// Whether the operating system said so, and not the client or the server.
fn is_of_the_system(error: &postgres::Error) -> bool {
    error.source().is_some_and(|cause| cause.is::<std::io::Error>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrecy(text: &str) -> Result<()> {
        let address: Address = text.parse().expect("an address");
        check_secrecy(&address.connection().parse().expect("a configuration"), &address)
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_the_open_unasked() {
        for open in [
            "postgres://localhost/db",
            "postgres://me@127.0.0.1:5432",
            "postgres://%2Fvar%2Frun/db",
            "postgres://db.example.com/db?sslmode=disable",
        ] {
            secrecy(open).expect(open);
        }
        for shut in [
            "postgres://db.example.com/db",
            "postgres://localhost,db.example.com/db",
            "postgres://localhost/db?hostaddr=192.0.2.1",
            "postgres://localhost/db?sslmode=require",
        ] {
            let refused = secrecy(shut).expect_err(shut);
            assert!(refused.hint_text().is_some_and(|hint| hint.contains("ssh")), "{refused:?}");
        }
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(numbers("0.8.4") >= PGVECTOR && numbers("0.10.0") >= PGVECTOR);
        assert!(numbers("0.8.3") < PGVECTOR && numbers("none") < PGVECTOR);
    }
}
