//! PostgreSQL with pgvector: a collection is a table with an id, a text, metadata as jsonb and a vector.
//!
//! `table` makes and knows the table, `condition` writes filters, `vector` the numbers on the wire, `connection` reaches the server
//! and puts its errors into the words of the workspace. Names of tables are checked and quoted; all else is a parameter.

mod condition;
mod connection;
mod table;
mod vector;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use hpd_files::vectors::Matrix;
use hpd_files::{Error, Result, interrupt};
use hpd_index::{Document, Exactness, Hit, Search, StoreSettings};
use postgres::{Client, NoTls, Row, Transaction};

use crate::collection::check_search;
use crate::{Address, Collection, Layout, Upserted};
use condition::Condition;
use connection::{connect, explain};
use table::Table;
use vector::Vector;

/// Bytes of an id that its index takes in any case.
const LONGEST_ID: usize = 2600;

/// How often a Ctrl-C is looked for while the server works alone.
const GLANCE: Duration = Duration::from_millis(100);

/// A table that a push made.
struct PostgresCollection {
    client: Client,
    address: Address,
    table: Table,
}

pub(crate) fn open(address: &Address) -> Result<Box<dyn Collection>> {
    let mut client = connect(address)?;
    let table = Table::open(&mut client, address)?.ok_or_else(|| {
        Error::input(format!("there is no table at `{address}`"))
            .hint(format!("make it: hpd push --store DIR --to '{address}'"))
    })?;
    Ok(Box::new(PostgresCollection { client, address: address.clone(), table }))
}

pub(crate) fn open_or_create(
    address: &Address,
    settings: &StoreSettings,
    layout: Layout,
) -> Result<Box<dyn Collection>> {
    let mut client = connect(address)?;
    let table = Table::open_or_create(&mut client, address, settings, layout)?;
    Ok(Box::new(PostgresCollection { client, address: address.clone(), table }))
}

impl Collection for PostgresCollection {
    fn settings(&self) -> &StoreSettings {
        self.table.settings()
    }

    fn len(&mut self) -> Result<u64> {
        let count = format!("SELECT count(*) FROM {}", self.table.quoted);
        let row = self.client.query_one(&count, &[]).map_err(|e| self.fail("count", e))?;
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    fn upsert(&mut self, documents: &[Document], vectors: &Matrix) -> Result<Upserted> {
        let mended = documents.iter().map(Columns::of).collect::<Result<Vec<_>>>()?;
        let texts = |part: for<'c> fn(&'c Columns<'c>) -> &'c str| {
            mended.iter().map(part).collect::<Vec<_>>()
        };
        let numbers: Vec<_> = (0..vectors.len()).map(|i| Vector(vectors.row(i))).collect();
        let Table { quoted, numbers: type_of, .. } = &self.table;
        // A row that is there just so is not written again, and not returned.
        let upsert = format!(
            "INSERT INTO {quoted} AS old (id, text, metadata, vector)
             SELECT id, text, metadata::jsonb, vector::{type_of}
             FROM unnest($1::text[], $2::text[], $3::text[], $4::vector[]) AS new (id, text, metadata, vector)
             ON CONFLICT (id) DO UPDATE
             SET text = excluded.text, metadata = excluded.metadata, vector = excluded.vector
             WHERE (old.text, old.metadata, old.vector) IS DISTINCT FROM (excluded.text, excluded.metadata, excluded.vector)
             RETURNING xmax = 0"
        );
        let rows = self
            .client
            .query(
                &upsert,
                &[
                    &texts(|row| row.id),
                    &texts(|row| &row.text),
                    &texts(|row| &row.metadata),
                    &numbers,
                ],
            )
            .map_err(|e| self.fail("push to", e))?;
        let added = rows.iter().filter(|row| row.get::<_, bool>(0)).count() as u64;
        let mended = mended.iter().filter(|row| row.was_mended).count() as u64;
        Ok(Upserted { added, changed: rows.len() as u64 - added, mended, cut: 0 })
    }

    fn ids_after(&mut self, last: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let page = format!(
            "SELECT id FROM {} WHERE $1::text IS NULL OR id > $1 ORDER BY id LIMIT {limit}",
            self.table.quoted
        );
        let rows = self.client.query(&page, &[&last]).map_err(|e| self.fail("read", e))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    fn delete(&mut self, ids: &[String]) -> Result<()> {
        let delete = format!("DELETE FROM {} WHERE id = ANY ($1)", self.table.quoted);
        self.client.execute(&delete, &[&ids]).map_err(|e| self.fail("delete from", e))?;
        Ok(())
    }

    fn build_index(&mut self) -> Result<()> {
        let build = self.table.index()?;
        let (cancel, is_over) = (self.client.cancel_token(), AtomicBool::new(false));
        let built = thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    if interrupt::requested() {
                        // Where it cannot be told, it ends the work it is at.
                        let _ = cancel.cancel_query(NoTls);
                        return;
                    }
                    thread::sleep(GLANCE);
                }
            });
            let built = self.client.batch_execute(&build);
            is_over.store(true, Ordering::SeqCst);
            built
        });
        interrupt::check("all documents are pushed, run the command again for their index")?;
        built.map_err(|e| self.fail("index", e))
    }

    fn search(&mut self, queries: &Matrix, search: &Search<'_>) -> Result<Vec<Vec<Hit>>> {
        check_search(queries, search, self.table.settings().model.dim)?;
        let found = search_in(&mut self.client, &self.table, queries, search);
        let found = found.map_err(|e| self.fail("search", e))?;
        found.iter().map(|rows| self.hits(rows, search.min_score)).collect()
    }
}

impl PostgresCollection {
    fn fail(&self, deed: &str, error: postgres::Error) -> Error {
        explain(deed, &self.address, error)
    }

    fn hits(&self, rows: &[Row], min_score: Option<f32>) -> Result<Vec<Hit>> {
        let good = |hit: &Result<Hit>| {
            !hit.as_ref().is_ok_and(|hit| min_score.is_some_and(|least| hit.score < least))
        };
        rows.iter().map(|row| self.hit(row)).filter(good).collect()
    }

    fn hit(&self, row: &Row) -> Result<Hit> {
        let id: String = row.get(0);
        let metadata = serde_json::from_str(row.get(2)).map_err(|e| {
            let what = format!("the metadata of `{id}` at `{}` is no JSON object", self.address);
            Error::input(what).caused_by(e)
        })?;
        Ok(Hit { score: row.get::<_, f64>(3) as f32, id, text: row.get(1), metadata })
    }
}

/// The nearest rows for each query, all seeing the same moment of the table.
fn search_in(
    client: &mut Client,
    table: &Table,
    queries: &Matrix,
    search: &Search<'_>,
) -> Result<Vec<Vec<Row>>, postgres::Error> {
    let mut snapshot = client
        .build_transaction()
        .isolation_level(postgres::IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()?;
    look_closely(&mut snapshot, search)?;
    let condition = search.filter.map(Condition::of);
    let filter = match condition {
        Some(_) => "WHERE jsonb_path_exists(metadata, $2::text::jsonpath, $3::text::jsonb)",
        None => "",
    };
    // The index answers only to this order and a limit; one that is a parameter would have the planner guess it. Metadata become text
    // outside, for the hits alone.
    let Table { quoted, numbers, .. } = table;
    let limit = i64::try_from(search.limit).unwrap_or(i64::MAX);
    let nearest = snapshot.prepare(&format!(
        "SELECT id, text, metadata::text, -distance FROM (
           SELECT id, text, metadata, vector <#> $1::vector::{numbers} AS distance
           FROM {quoted} {filter} ORDER BY distance LIMIT {limit}
         ) AS nearest ORDER BY distance"
    ))?;
    let of_query = |query: &[f32]| match &condition {
        Some(Condition { path, values }) => {
            snapshot.query(&nearest, &[&Vector(query), path, &values.to_string()])
        }
        None => snapshot.query(&nearest, &[&Vector(query)]),
    };
    (0..queries.len()).map(|i| queries.row(i)).map(of_query).collect()
}

/// Says how much of the graph is looked at, for this transaction.
fn look_closely(
    snapshot: &mut Transaction<'_>,
    search: &Search<'_>,
) -> Result<(), postgres::Error> {
    // Rows kept in view while the graph is walked, of which pgvector takes 1000, and rows looked at before a filter that
    // few match gives up. 40 and 20000 are pgvector's own.
    let (in_view, at_most) = match search.exactness {
        // Reads the vectors themselves.
        Exactness::Exact => return snapshot.batch_execute("SET LOCAL enable_indexscan = off"),
        Exactness::High => (200, 200_000),
        Exactness::Fast => (40, 20_000),
    };
    let in_view = search.limit.clamp(in_view, 1000);
    // Without iterating, a filter would be asked of the rows in view only. A plan for any filter would not fit this one.
    snapshot.batch_execute(&format!(
        "SET LOCAL hnsw.ef_search = {in_view};
         SET LOCAL hnsw.iterative_scan = strict_order;
         SET LOCAL hnsw.max_scan_tuples = {at_most};
         SET LOCAL plan_cache_mode = force_custom_plan"
    ))
}

/// A document as PostgreSQL can hold it: no string with NUL.
struct Columns<'a> {
    id: &'a str,
    text: String,
    metadata: String,
    was_mended: bool,
}

impl<'a> Columns<'a> {
    /// # Errors
    /// When the id cannot be held. Another in its place could be another document's.
    fn of(document: &'a Document) -> Result<Self> {
        let id = document.id.as_str();
        if id.contains('\0') || id.len() > LONGEST_ID {
            let why = format!("PostgreSQL takes ids of at most {LONGEST_ID} bytes without NUL");
            let beginning = id.replace('\0', "\\0").chars().take(40).collect::<String>();
            return Err(Error::input(format!(
                "cannot push the document `{beginning}`, whose id has {} bytes: {why}",
                id.len()
            ))
            .hint("give it another id: `hpd index delete`, then `hpd index add`"));
        }
        let text = document.text.replace('\0', REPLACEMENT);
        let plain = serde_json::to_string(&document.metadata)
            .map_err(|e| Error::input(format!("cannot push the document `{id}`")).caused_by(e))?;
        let metadata = without_nul(&plain);
        let was_mended = text != document.text || metadata != plain;
        Ok(Self { id, text, metadata, was_mended })
    }
}

const REPLACEMENT: &str = "\u{fffd}";

/// JSON with each NUL, which stands in it as `\u0000`, replaced. A backslash and what it escapes belong together.
fn without_nul(json: &str) -> String {
    const NUL: &str = "\\u0000";
    if !json.contains(NUL) {
        return json.to_owned();
    }
    let (mut mended, mut rest) = (String::with_capacity(json.len()), json);
    while let Some(at) = rest.find('\\') {
        mended.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = if rest.starts_with(NUL) { NUL.len() } else { 2 };
        mended.push_str(if taken == 2 { &rest[..2] } else { REPLACEMENT });
        rest = &rest[taken..];
    }
    mended + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_is_replaced_and_what_only_looks_like_it_is_not() {
        let value = serde_json::json!({"a\0": ["\0\0x", "\\u0000", "\"\\\0", "é\n\0"]});
        let mended: serde_json::Value =
            serde_json::from_str(&without_nul(&value.to_string())).expect("JSON still");
        let expected = serde_json::json!(
            {"a\u{fffd}": ["\u{fffd}\u{fffd}x", "\\u0000", "\"\\\u{fffd}", "é\n\u{fffd}"]}
        );
        assert_eq!(mended, expected);
    }
}
