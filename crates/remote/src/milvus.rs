//! Milvus: a collection has an id, a text, metadata as JSON and a vector, and beside them what it is found by.
//!
//! `definition` makes and knows the collection, `rows` writes documents and reads hits, `terms` says what a document can be filtered
//! by and `condition` asks for it, `client` reaches the server, `messages` are those of its protocol. Milvus has no statement
//! that writes only what differs, so each document lies there with a checksum that is compared first.

mod client;
mod condition;
mod definition;
mod messages;
mod rows;
mod terms;

use std::collections::{BTreeMap, HashMap};

use hpd_files::vectors::Matrix;
use hpd_files::{Error, Result};
use hpd_index::{Document, Exactness, Hit, Search, StoreSettings};
use prost::Message as _;

use crate::collection::check_search;
use crate::{Address, Collection, Layout, Upserted};
use client::Client;
use definition::{Definition, IndexKind, VECTOR, pair};
use messages::{KeyValue, Placeholder, Placeholders};
use rows::{Row, key};

/// Hits that Milvus gives for one query.
const MOST_HITS: usize = 16_384;

/// How much further is looked when too few of the hits match a filter.
const FURTHER: usize = 8;

/// A collection that a push made.
struct MilvusCollection {
    client: Client,
    definition: Definition,
}

pub(crate) fn open(address: &Address) -> Result<Box<dyn Collection>> {
    address.collection()?;
    let mut client = Client::connect(address)?;
    let definition = Definition::open(&mut client)?.ok_or_else(|| {
        Error::input(format!("there is no collection at `{address}`"))
            .hint(format!("make it: hpd push --store DIR --to '{address}'"))
    })?;
    Ok(Box::new(MilvusCollection { client, definition }))
}

pub(crate) fn open_or_create(
    address: &Address,
    settings: &StoreSettings,
    layout: Layout,
) -> Result<Box<dyn Collection>> {
    address.collection()?;
    let mut client = Client::connect(address)?;
    let definition = Definition::open_or_create(&mut client, settings, layout)?;
    Ok(Box::new(MilvusCollection { client, definition }))
}

impl Collection for MilvusCollection {
    fn settings(&self) -> &StoreSettings {
        &self.definition.description.settings
    }

    fn len(&mut self) -> Result<u64> {
        let count = self.query("count", String::new(), &["count(*)"], Vec::new())?;
        let scalars = count.first().and_then(|column| column.scalars.as_ref());
        let counted = scalars.and_then(|scalars| scalars.longs.as_ref()?.data.first());
        counted.map(|count| count.unsigned_abs()).ok_or_else(|| {
            Error::input(format!("the server at `{}` does not count", self.client.address))
        })
    }

    fn upsert(&mut self, documents: &[Document], vectors: &Matrix) -> Result<Upserted> {
        let rows = documents.iter().zip(vectors.rows());
        let rows = rows.map(|(document, vector)| Row::of(document, vector));
        // Of documents with the same id the last one stays.
        let rows = rows.map(|row| row.map(|row| (row.key.clone(), row)));
        let rows = rows.collect::<Result<BTreeMap<_, _>>>()?;
        let standing = self.checksums(rows.keys())?;
        let differs = |row: &&Row<'_>| standing.get(&row.key) != Some(&row.checksum);
        let differing: Vec<_> = rows.values().filter(differs).collect();
        let is_new = |row: &&&Row<'_>| !standing.contains_key(&row.key);
        let added = differing.iter().filter(is_new).count() as u64;
        if !differing.is_empty() {
            self.write(&differing)?;
        }
        let cut = rows.values().filter(|row| row.was_cut).count() as u64;
        Ok(Upserted { added, changed: differing.len() as u64 - added, cut, mended: 0 })
    }

    fn ids_after(&mut self, last: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let behind = format!("key > \"{}\"", last.map(key).unwrap_or_default());
        // A query for an iterator is answered in the order of primary keys, with more of them at times. Were one
        // passed over, a document would stay that the store does not have, and none would be lost.
        let params = vec![
            pair("limit", limit),
            pair("iterator", "True"),
            pair("reduce_stop_for_best", "True"),
        ];
        let columns = self.query("read", behind, &["key", "id"], params)?;
        let ids = rows::strings(&columns, "id").unwrap_or_default();
        let mut ids: Vec<_> = ids.iter().map(|id| (key(id), id.clone())).collect();
        ids.sort_unstable();
        Ok(ids.into_iter().map(|(_, id)| id).take(limit).collect())
    }

    fn delete(&mut self, ids: &[String]) -> Result<()> {
        let delete = messages::Delete {
            db_name: self.client.database.clone(),
            collection_name: self.definition.name.clone(),
            expr: one_of_keys(ids.iter().map(|id| key(id))),
        };
        self.client.ask("delete from", &delete).map(drop)
    }

    fn build_index(&mut self) -> Result<()> {
        self.definition.build_graph(&mut self.client)
    }

    fn search(&mut self, queries: &Matrix, search: &Search<'_>) -> Result<Vec<Vec<Hit>>> {
        check_search(queries, search, self.definition.description.settings.model.dim)?;
        self.check_limits(search)?;
        let mut found = vec![Vec::new(); queries.len()];
        if search.limit == 0 {
            return Ok(found);
        }
        let expression = search.filter.map(condition::expression).unwrap_or_default();
        let mut open: Vec<usize> = (0..queries.len()).collect();
        let mut look = self.first_look(search);
        while !open.is_empty() {
            let mut still_open = Vec::new();
            for some in open.chunks((MOST_HITS / look.limit).max(1)) {
                let nearest = self.nearest(queries, some, &expression, &look)?;
                for (&query, hits) in some.iter().zip(nearest) {
                    let is_all = hits.len() < look.limit && look.is_thorough
                        || is_too_far(hits.last(), search.min_score);
                    found[query] = chosen(hits, search);
                    if found[query].len() < search.limit && !is_all {
                        still_open.push(query);
                    }
                }
            }
            if look.limit == MOST_HITS && look.is_thorough && !still_open.is_empty() {
                return Err(self.too_few_match());
            }
            open = still_open;
            look = look.further();
        }
        Ok(found)
    }
}

/// How far a search looks.
struct Look {
    limit: usize,
    /// Whether a list shorter than the limit has all there is. A graph under a filter may have been left too early.
    is_thorough: bool,
    /// Parameters of the index, as JSON.
    params: String,
}

impl Look {
    fn further(&self) -> Self {
        let limit = (self.limit * FURTHER).min(MOST_HITS);
        // What has no `ef` does not mind.
        Self { limit, is_thorough: true, params: format!(r#"{{"ef": {MOST_HITS}}}"#) }
    }
}

/// Those of the hits that are asked for: all of them without a filter, and mostly with one.
fn chosen(hits: Vec<Hit>, search: &Search<'_>) -> Vec<Hit> {
    let is_good = |hit: &Hit| {
        search.filter.is_none_or(|filter| filter.matches(&hit.metadata))
            && search.min_score.is_none_or(|least| hit.score >= least)
    };
    hits.into_iter().filter(is_good).take(search.limit).collect()
}

fn is_too_far(hit: Option<&Hit>, min_score: Option<f32>) -> bool {
    hit.zip(min_score).is_some_and(|(hit, least)| hit.score < least)
}

/// An expression for the rows of these keys, which have no letter that needs an escape.
fn one_of_keys(keys: impl Iterator<Item = String>) -> String {
    let quoted: Vec<_> = keys.map(|key| format!("\"{key}\"")).collect();
    format!("key in [{}]", quoted.join(", "))
}

impl MilvusCollection {
    /// The checksums of those that are there, by key.
    fn checksums<'a>(
        &mut self,
        keys: impl Iterator<Item = &'a String>,
    ) -> Result<HashMap<String, String>> {
        let expression = one_of_keys(keys.cloned());
        let columns = self.query("read", expression, &["key", "checksum"], Vec::new())?;
        let [keys, checksums] =
            ["key", "checksum"].map(|name| rows::strings(&columns, name).unwrap_or_default());
        Ok(keys.iter().cloned().zip(checksums.iter().cloned()).collect())
    }

    fn query(
        &mut self,
        deed: &str,
        expr: String,
        output: &[&str],
        params: Vec<KeyValue>,
    ) -> Result<Vec<messages::Column>> {
        let query = messages::Query {
            db_name: self.client.database.clone(),
            collection_name: self.definition.name.clone(),
            expr,
            output_fields: output.iter().map(|&name| name.to_owned()).collect(),
            params,
        };
        Ok(self.client.ask(deed, &query)?.columns)
    }

    fn write(&mut self, rows: &[&Row<'_>]) -> Result<()> {
        let upsert = messages::Upsert {
            db_name: self.client.database.clone(),
            collection_name: self.definition.name.clone(),
            columns: rows::columns(rows, self.definition.description.half),
            num_rows: u32::try_from(rows.len()).unwrap_or(u32::MAX),
        };
        let refused = self.client.ask("push to", &upsert)?.refused.len();
        if refused == 0 {
            return Ok(());
        }
        Err(Error::input(format!(
            "the server at `{}` refused {refused} of {} documents",
            self.client.address,
            rows.len()
        ))
        .hint("its log says why; what was taken stands, run the command again to go on"))
    }

    fn check_limits(&self, search: &Search<'_>) -> Result<()> {
        if let Some(filter) = search.filter {
            filter.check_size()?;
        }
        let limit = search.limit;
        if limit > MOST_HITS {
            return Err(Error::input(format!(
                "{limit} hits are asked for, and Milvus gives at most {MOST_HITS} for a query"
            ))
            .hint("ask for fewer with `--limit`, or search the store: `hpd search --store DIR`"));
        }
        if search.exactness == Exactness::Exact && self.definition.index != IndexKind::Flat {
            return Err(Error::input(format!(
                "the collection at `{}` is searched by an index that may miss hits, and Milvus reads past none",
                self.client.address
            ))
            .hint("leave `--exactness exact` out; or push into another collection with `--index none`, where every search is exact"));
        }
        Ok(())
    }

    /// For some of the queries the nearest of all that an expression holds for.
    fn nearest(
        &mut self,
        queries: &Matrix,
        some: &[usize],
        expression: &str,
        look: &Look,
    ) -> Result<Vec<Vec<Hit>>> {
        let half = self.definition.description.half;
        let placeholder = Placeholder {
            tag: "$0".to_owned(),
            data_type: rows::numbers_of(half),
            values: rows::query_bytes(queries, some, half),
        };
        let search = messages::Search {
            db_name: self.client.database.clone(),
            collection_name: self.definition.name.clone(),
            expr: expression.to_owned(),
            placeholders: Placeholders { placeholders: vec![placeholder] }.encode_to_vec(),
            expr_type: 1,
            output_fields: ["id", "text", "metadata"].map(str::to_owned).to_vec(),
            params: vec![
                pair("anns_field", VECTOR),
                pair("topk", look.limit),
                pair("metric_type", "IP"),
                pair("params", &look.params),
                pair("round_decimal", -1),
            ],
            queries: some.len() as i64,
        };
        let found = self.client.ask("search", &search)?.results.unwrap_or_default();
        rows::hits(&found, some.len())
    }

    /// As far as it is likely to need.
    fn first_look(&self, search: &Search<'_>) -> Look {
        let limit = search.limit;
        let in_view = match search.exactness {
            Exactness::Fast => 64,
            Exactness::High | Exactness::Exact => 200,
        };
        match self.definition.index {
            IndexKind::Hnsw => {
                let params = format!(r#"{{"ef": {}}}"#, limit.max(in_view));
                Look { limit, is_thorough: false, params }
            }
            IndexKind::Flat | IndexKind::Other => {
                Look { limit, is_thorough: true, params: "{}".to_owned() }
            }
        }
    }

    fn too_few_match(&self) -> Error {
        Error::input(format!(
            "of the {MOST_HITS} nearest documents at `{}`, which is as far as Milvus looks, too few match the filter",
            self.client.address
        ))
        .hint("ask for less with `--limit`, or by `=` and IN, which Milvus finds by itself; or search the store: `hpd search --store DIR`")
    }
}
