//! Where a collection is, as a person types it: `postgres://user@host:5432/database?table=notes`, or
//! `milvus://user@host:19530/database?collection=notes`.
//!
//! Separate from the engines, because an address is understood whether its engine was built in or not, and because
//! this is the one place that knows of passwords: whatever is shown of an address is without them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use hpd_files::{Error, Result};

/// Letters that a name may have. PostgreSQL takes 63, and names of indexes are longer than that of their table.
const LONGEST_NAME: usize = 48;

/// Parameters of an address that name the collection.
const COLLECTION: [&str; 2] = ["table", "collection"];

/// What can be pushed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// PostgreSQL with the extension pgvector.
    Postgres,
    /// Milvus.
    Milvus,
}

impl Engine {
    /// What it calls a collection.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Postgres => "table",
            Self::Milvus => "collection",
        }
    }

    /// What to do when an address is of this engine and hpd was built without it.
    pub(crate) fn not_built_in(self) -> Error {
        let (name, feature) = match self {
            Self::Postgres => ("PostgreSQL", "postgres"),
            Self::Milvus => ("Milvus", "milvus"),
        };
        Error::input(format!("this hpd was built without {name}")).hint(format!(
            "build it with the feature `{feature}`: cargo build --release --workspace --bin hpd --features hpd-cli/{feature}"
        ))
    }
}

/// Where a collection is. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    engine: Engine,
    /// For the engine's own client, password included.
    connection: String,
    /// The same for people.
    shown: String,
    collection: Option<String>,
}

impl Address {
    /// Whether `name` means an address, not a folder.
    pub fn is_meant_by(name: &str) -> bool {
        name.contains("://")
    }

    /// The engine at the address.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// The same address with a collection of this name, unless it names one already; both must agree.
    ///
    /// # Errors
    /// When the name is not one that every engine takes, or the address names another.
    pub fn with_collection(mut self, name: &str) -> Result<Self> {
        check_name(name)?;
        match &self.collection {
            Some(own) if own != name => Err(Error::mismatch(format!(
                "the address names the collection `{own}`, `--collection` names `{name}`"
            ))
            .hint("leave one of them out")),
            _ => {
                self.collection = Some(name.to_owned());
                Ok(self)
            }
        }
    }

    /// The same address with the name of a store's folder for its collection, unless it names one already.
    ///
    /// # Errors
    /// When that folder's name has no letter that a name of a collection may have.
    pub fn or_named_after(self, folder: &Path) -> Result<Self> {
        if self.collection.is_some() {
            return Ok(self);
        }
        let absolute = std::path::absolute(folder).map_err(|e| Error::io("find", folder, e))?;
        let stem = absolute.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
        self.with_collection(&stem.chars().map(plain).collect::<String>())
    }

    /// The collection.
    ///
    /// # Errors
    /// When the address names none.
    pub fn collection(&self) -> Result<&str> {
        self.collection.as_deref().ok_or_else(|| {
            let joint = if self.shown.contains('?') { '&' } else { '?' };
            let word = self.engine.word();
            Error::input(format!("the address `{self}` names no {word}")).hint(format!(
                "name it behind the address, `{self}{joint}{word}=NAME`, or with `--collection NAME`"
            ))
        })
    }

    /// For the engine's own client: with the password, without the collection.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "milvus")),
        expect(dead_code, reason = "no engine is built in")
    )]
    pub(crate) fn connection(&self) -> &str {
        &self.connection
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(Error::input(format!("`{text}` is no address")).hint(SCHEMES));
        };
        let engine = match scheme {
            "postgres" | "postgresql" => Engine::Postgres,
            "milvus" => Engine::Milvus,
            "milvuss" | "http" | "https" => {
                return Err(Error::input(format!("hpd knows no engine `{scheme}`, and speaks no TLS")).hint(
                    "for Milvus give `milvus://localhost:19530?collection=notes`, and to another machine go through a tunnel (ssh -L)",
                ));
            }
            other => {
                return Err(Error::input(format!("hpd knows no engine `{other}`")).hint(SCHEMES));
            }
        };
        // A question mark before the host is one of the password.
        let host = rest.rfind('@').unwrap_or(0);
        let question = rest[host..].find('?').map_or(rest.len(), |question| host + question);
        let (place, parameters) = rest.split_at(question);
        let parameters = parameters.strip_prefix('?').unwrap_or("");
        let (mut collection, mut others) = (None, Vec::new());
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some((name, value)) if COLLECTION.contains(&name) => {
                    check_name(value)?;
                    collection = Some(value.to_owned());
                }
                _ => others.push(parameter),
            }
        }
        let connection = joined(scheme, place, &others);
        others.retain(|parameter| !parameter.starts_with("password="));
        let shown = joined(scheme, &without_password(place), &others);
        Ok(Self { engine, connection, shown, collection })
    }
}

const SCHEMES: &str = "an address is `postgres://user@host:5432/database?table=notes` or `milvus://user@host:19530/database?collection=notes`";

fn joined(scheme: &str, place: &str, parameters: &[&str]) -> String {
    let joint = if parameters.is_empty() { "" } else { "?" };
    format!("{scheme}://{place}{joint}{}", parameters.join("&"))
}

/// `user:password@host/database` without the password, even one in which `/`, `?` or `@` was not written as `%2F`, `%3F` or `%40`.
fn without_password(place: &str) -> String {
    let Some((user, host)) = place.rsplit_once('@') else { return place.to_owned() };
    let user = user.split_once(':').map_or(user, |(user, _)| user);
    format!("{user}@{host}")
}

fn check_name(name: &str) -> Result<()> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let begins_well =
        name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    if begins_well && name.len() <= LONGEST_NAME && name.chars().all(plain) {
        return Ok(());
    }
    Err(Error::input(format!("`{name}` is no name of a table or collection")).hint(format!(
        "give one of at most {LONGEST_NAME} letters a-z, digits and _, with a letter in front, as `--collection notes`"
    )))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)?;
        let joint = if self.shown.contains('?') { '&' } else { '?' };
        match &self.collection {
            Some(collection) => write!(f, "{joint}{}={collection}", self.engine.word()),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().expect("an address")
    }

    #[test]
    fn no_password_is_shown() {
        for text in [
            "postgres://me:s3cret@host:5432/db?table=notes",
            "postgresql://me:s3cret@host/db?sslmode=disable&password=s3cret&table=notes",
            "postgres://me:s3cret/s3cret@s3cret@host/db",
            "postgres://me:s3cret@[::1]:5432/db",
            "postgres://me:s3cret?s3cret@host/db",
            "postgres://me:?s3cret@host/db?sslmode=disable&table=notes",
            "milvus://me:s3cret@host:19530/db?collection=notes",
        ] {
            let address = address(text);
            assert!(!format!("{address} {address:?}").contains("s3cret"), "{address}");
            assert!(address.connection.contains("s3cret"), "{}", address.connection);
        }
    }

    #[test]
    fn what_is_shown_can_be_typed() {
        for text in [
            "postgres://me@host:5432/db?table=notes",
            "postgres://host",
            "postgres://me@host/db?sslmode=disable&table=notes",
            "milvus://me@host/db?secure=false&collection=notes",
        ] {
            assert_eq!(address(text).to_string(), text);
        }
    }

    #[test]
    fn the_client_is_not_told_of_tables() {
        let address = address("postgres://me@host/db?table=a&connect_timeout=3");
        assert_eq!(address.connection, "postgres://me@host/db?connect_timeout=3");
        assert_eq!(address.collection().expect("a table"), "a");
    }

    #[test]
    fn a_collection_is_named_by_flag_address_or_folder() {
        let bare = || address("postgres://host/db");
        assert!(bare().collection().expect_err("no name").hint_text().is_some());
        let by_folder = bare().or_named_after(Path::new("some/my-notes.hpd")).expect("a name");
        assert_eq!(by_folder.collection().expect("a name"), "my_notes");
        let by_flag = bare().with_collection("n").and_then(|a| a.or_named_after(Path::new("x")));
        assert_eq!(by_flag.expect("a name").collection().expect("a name"), "n");
        assert!(address("postgres://host/db?table=a").with_collection("b").is_err());
    }

    #[test]
    fn names_that_an_engine_could_misread_are_refused() {
        for name in ["", "1a", "a-b", "a b", "a\"b", "a;b", "é", "a.b", &"a".repeat(49)] {
            assert!(address("postgres://host").with_collection(name).is_err(), "{name}");
            assert!(format!("postgres://host?table={name}").parse::<Address>().is_err(), "{name}");
        }
    }

    #[test]
    fn other_engines_are_named_in_the_refusal() {
        let refused = "mysql://root:s3cret@host".parse::<Address>().expect_err("no engine");
        assert!(refused.to_string().contains("mysql"), "{refused}");
        assert!(!format!("{refused:?}").contains("s3cret"), "{refused:?}");
    }
}
