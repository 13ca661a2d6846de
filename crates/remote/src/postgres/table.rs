//! The table of a collection: how it is made, and how it is known again.
//!
//! What a store would have in its header stands as JSON in the table's comment, which is made, renamed, dumped and dropped with
//! the table. A table without such a comment is somebody else's and is left alone.

use hpd_files::{Error, Result};
use hpd_index::StoreSettings;
use postgres::{Client, Transaction};

use super::connection::explain;
use crate::description::{Description, check_width};
use crate::{Address, Layout};

/// Version of the table and its comment; every version ever released stays readable.
const FORMAT: u32 = 1;

/// Numbers that a vector of a table, and of its index, may have; for `vector`, and `halfvec`.
const LARGEST: usize = 16_000;
const LARGEST_INDEXED: [usize; 2] = [2_000, 4_000];

/// A table that a push made.
pub(super) struct Table {
    /// Its name, as SQL has it.
    pub(super) quoted: String,
    /// Type of a vector: `vector` or `halfvec`.
    pub(super) numbers: &'static str,
    /// What its comment says.
    description: Description,
    name: String,
}

impl Table {
    /// The table of this name, if it is there.
    ///
    /// # Errors
    /// When a table is there that no push made, or the server does not answer.
    pub(super) fn open(client: &mut Client, address: &Address) -> Result<Option<Self>> {
        let name = address.collection()?;
        let comment = "SELECT obj_description(to_regclass($1)::oid, 'pg_class') WHERE to_regclass($1) IS NOT NULL";
        let found =
            client.query_opt(comment, &[&quoted(name)]).map_err(|e| explain("read", address, e))?;
        found.map(|row| Self::described(name, row.get(0), address)).transpose()
    }

    fn described(name: &str, comment: Option<String>, address: &Address) -> Result<Self> {
        let place = format!("the table at `{address}`");
        let description = Description::read(&comment.unwrap_or_default(), FORMAT, &place)?;
        Ok(Self::new(name, description))
    }

    fn new(name: &str, description: Description) -> Self {
        let numbers = if description.half { "halfvec" } else { "vector" };
        Self { quoted: quoted(name), numbers, description, name: name.to_owned() }
    }

    /// The table for what a store of these settings holds; made where it is not there. No other push may change it until
    /// the connection ends.
    ///
    /// # Errors
    /// As [`Table::open`]; also when it is for another space or layout, or may not be made.
    pub(super) fn open_or_create(
        client: &mut Client,
        address: &Address,
        settings: &StoreSettings,
        layout: Layout,
    ) -> Result<Self> {
        let fail = |e| explain("push to", address, e);
        keep_others_out(client, address.collection()?).map_err(fail)?;
        let wanted = Description::new(FORMAT, layout, settings);
        let wanted = Self::new(address.collection()?, wanted);
        let Some(found) = Self::open(client, address)? else {
            check_width(settings.model.dim, "pgvector", LARGEST)?;
            let mut transaction = client.transaction().map_err(fail)?;
            transaction.batch_execute(&wanted.definition()).map_err(fail)?;
            wanted.describe(&mut transaction).map_err(fail)?;
            transaction.commit().map_err(fail)?;
            return Ok(wanted);
        };
        let place = format!("the table at `{address}`");
        found.description.check(&wanted.description, &place)?;
        if found.description != wanted.description {
            let mut transaction = client.transaction().map_err(fail)?;
            wanted.describe(&mut transaction).map_err(fail)?;
            transaction.commit().map_err(fail)?;
        }
        Ok(wanted)
    }

    pub(super) fn settings(&self) -> &StoreSettings {
        &self.description.settings
    }

    /// Ids compare by their bytes, whatever the database's language.
    fn definition(&self) -> String {
        let Self { quoted, numbers, .. } = self;
        let dim = self.settings().model.dim;
        format!(
            "CREATE TABLE {quoted} (
               id text COLLATE \"C\" PRIMARY KEY,
               text text NOT NULL,
               metadata jsonb NOT NULL,
               vector {numbers}({dim}) NOT NULL
             )"
        )
    }

    /// Writes the comment. It takes no parameter, so the server itself quotes what stands in it.
    fn describe(&self, transaction: &mut Transaction<'_>) -> Result<(), postgres::Error> {
        let json = self.description.to_json();
        let write = "SELECT format('COMMENT ON TABLE %I IS %L', $1::text, $2::text)";
        let comment: String = transaction.query_one(write, &[&self.name, &json])?.get(0);
        transaction.batch_execute(&comment)
    }

    /// The statement that makes the index.
    ///
    /// # Errors
    /// When the vectors are too long for one.
    pub(super) fn index(&self) -> Result<String> {
        let Self { quoted, numbers, name, description } = self;
        let largest = LARGEST_INDEXED[usize::from(description.half)];
        let dim = description.settings.model.dim;
        if dim > largest {
            return Err(Error::mismatch(format!(
                "vectors of {dim} numbers are pushed, but pgvector indexes `{numbers}` of at most {largest}"
            ))
            .hint("push with `--index none`: every search then reads all vectors"));
        }
        Ok(format!(
            "CREATE INDEX IF NOT EXISTS \"{name}_vector_hnsw\" ON {quoted} USING hnsw (vector {numbers}_ip_ops)"
        ))
    }
}

/// A checked name as SQL has it.
fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// Waits for another push to the same table, and a little for one whose end the server has not seen yet.
fn keep_others_out(client: &mut Client, name: &str) -> Result<(), postgres::Error> {
    client.batch_execute("SET lock_timeout = '30s'")?;
    client.execute("SELECT pg_advisory_lock(hashtextextended('hpd push ' || $1, 0))", &[&name])?;
    client.batch_execute("RESET lock_timeout")
}
