//! Retrieval: does a query's vector find the documents that people judged relevant?
//!
//! One folder is one task, in BEIR's shape: `corpus.jsonl`, `queries.jsonl` (each also with `.gz`) and
//! `qrels/<split>.tsv`. Every document is scored against every query; no approximation stands between the model
//! and its numbers. As in BEIR, a document that has the query's own id is not among its hits.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use hpd_files::records::{Format, RecordOptions, Records, Source};
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Progress, Result, interrupt};
use hpd_index::{Fusion, TextIndex};
use hpd_kernels::Scored;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::files::plain_or_gzip;
use crate::ranking::{ndcg, recall, reciprocal_rank};
use crate::scan::nearest;
use crate::tsv::Rows;

/// Hits looked at for each query.
const DEPTH: usize = 100;

/// Hits ranked for each query: one more, for the query's own document may be among them.
const RANKED: usize = DEPTH + 1;

/// Documents, queries and what people judged relevant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Collection {
    /// Title and text of each document, in corpus order.
    pub documents: Vec<String>,
    /// The queries that have a relevant document, in file order.
    pub queries: Vec<Query>,
    /// Queries left out because nothing was judged relevant to them.
    pub unjudged_queries: usize,
    /// Judgements left out because their query is not in `queries.jsonl`.
    pub unknown_queries: usize,
    /// Judgements whose document is not in the corpus; a search can never find it, so it counts as missed.
    pub unknown_documents: usize,
}

/// One query and its judgements.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// What is searched for.
    pub text: String,
    /// The relevance of each judged document that is in the corpus, by its place there.
    pub relevance: HashMap<u64, f64>,
    /// The relevance of judged documents that are not in the corpus.
    pub missing: Vec<f64>,
    /// The place of the document with the query's own id.
    pub own_document: Option<u64>,
}

/// What a model reaches on one collection; each number is a mean over queries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The same as `ndcg_at_10`.
    pub main_score: f64,
    /// Normalised discounted cumulative gain of the first 10 hits.
    pub ndcg_at_10: f64,
    /// Mean reciprocal rank within the first 10 hits.
    pub mrr_at_10: f64,
    /// Share of the relevant documents within the first 10 hits.
    pub recall_at_10: f64,
    /// Share of the relevant documents within the first 100 hits.
    pub recall_at_100: f64,
    /// Queries scored.
    pub queries: usize,
    /// Documents searched.
    pub documents: usize,
}

impl Collection {
    /// The text of each query.
    pub fn query_texts(&self) -> Vec<&str> {
        self.queries.iter().map(|query| query.text.as_str()).collect()
    }
}

/// Whether `folder` has the shape of a collection.
pub fn is_collection(folder: &Path) -> bool {
    plain_or_gzip(folder, "corpus.jsonl").is_some()
}

/// The three files of a collection: corpus, queries and judgements.
///
/// # Errors
/// When one is missing.
pub fn files(folder: &Path, split: &str) -> Result<[PathBuf; 3]> {
    let find = |name: &str| {
        plain_or_gzip(folder, name).ok_or_else(|| {
            let folder = folder.display();
            Error::input(format!("`{folder}` has neither `{name}` nor `{name}.gz`"))
        })
    };
    Ok([find("corpus.jsonl")?, find("queries.jsonl")?, find(&format!("qrels/{split}.tsv"))?])
}

/// The splits that a collection has judgements for, by name.
pub fn splits(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join("qrels")).into_iter().flatten().flatten();
    let split = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".gz").unwrap_or(&name).strip_suffix(".tsv").map(str::to_owned)
    };
    let mut splits: Vec<_> = entries.filter_map(split).collect();
    splits.sort();
    splits
}

/// Reads a collection. A document's text is its title, a space and its text, trimmed.
///
/// # Errors
/// When a file is missing, a line is malformed, an id comes twice, or no query is judged.
pub fn read(folder: &Path, split: &str) -> Result<Collection> {
    let [corpus, queries, qrels] = files(folder, split)?;
    let (documents, document_places) = read_texts(&corpus)?;
    let (query_texts, query_places) = read_texts(&queries)?;
    let mut collection = Collection { documents, ..Collection::default() };
    collection.queries =
        query_texts.into_iter().map(|text| Query { text, ..Query::default() }).collect();
    for (id, &place) in &query_places {
        collection.queries[place as usize].own_document = document_places.get(id).copied();
    }
    read_judgements(&qrels, &query_places, &document_places, &mut collection)?;
    drop_unjudged(&mut collection);
    if collection.queries.is_empty() || collection.documents.is_empty() {
        let (folder, qrels) = (folder.display(), qrels.display());
        return Err(Error::input(format!("no query of `{folder}` is judged in `{qrels}`"))
            .hint("ids in `qrels` must be those of `queries.jsonl`"));
    }
    Ok(collection)
}

/// Texts in file order, and the place of each id.
fn read_texts(path: &Path) -> Result<(Vec<String>, HashMap<String, u64>)> {
    let options = RecordOptions { format: Some(Format::JsonLines), ..RecordOptions::default() };
    let (mut texts, mut places) = (Vec::new(), HashMap::new());
    for record in Records::open(&Source::File(path.to_owned()), &options)? {
        let record = record?;
        let fail = |what: String| {
            let (path, number) = (path.display(), texts.len() + 1);
            Error::input(format!("`{path}` record {number} {what}"))
        };
        // Judgements name `_id`, whatever other field is called `id`.
        let id = match record.fields.get("_id") {
            Some(Value::String(id)) => Some(id.clone()),
            Some(Value::Number(id)) => Some(id.to_string()),
            _ => record.id,
        };
        let id = id.ok_or_else(|| fail("has no `_id`".to_owned()))?;
        let title = record.fields.get("title").and_then(Value::as_str).unwrap_or_default();
        let text = format!("{title} {}", record.text).trim().to_owned();
        if places.contains_key(&id) {
            return Err(fail(format!("has the id `{id}` of an earlier one")));
        }
        places.insert(id, texts.len() as u64);
        texts.push(text);
    }
    Ok((texts, places))
}

fn read_judgements(
    path: &Path,
    queries: &HashMap<String, u64>,
    documents: &HashMap<String, u64>,
    collection: &mut Collection,
) -> Result<()> {
    let mut rows = Rows::open(path)?;
    let (query_id, document_id, score) =
        (rows.column("query-id")?, rows.column("corpus-id")?, rows.column("score")?);
    // The last judgement of a document holds, whether it is there or not.
    let mut missing = BTreeMap::new();
    while let Some(fields) = rows.next_row()? {
        let relevance = rows.number(&fields[score], "score")?;
        let Some(&query) = queries.get(&fields[query_id]) else {
            collection.unknown_queries += 1;
            continue;
        };
        if let Some(&document) = documents.get(&fields[document_id]) {
            collection.queries[query as usize].relevance.insert(document, relevance);
        } else {
            missing.insert((query, fields[document_id].clone()), relevance);
        }
    }
    collection.unknown_documents = missing.len();
    for ((query, _), relevance) in missing {
        collection.queries[query as usize].missing.push(relevance);
    }
    Ok(())
}

fn drop_unjudged(collection: &mut Collection) {
    let before = collection.queries.len();
    collection.queries.retain(|query| query.judged().any(|relevance| relevance > 0.0));
    collection.unjudged_queries = before - collection.queries.len();
}

impl Query {
    /// Every relevance judged for this query.
    fn judged(&self) -> impl Iterator<Item = f64> {
        self.relevance.values().chain(&self.missing).copied()
    }

    /// What each hit gains, in rank order, the document with the query's own id left out.
    fn gains(&self, hits: &[Scored]) -> Vec<f64> {
        let others = hits.iter().filter(|hit| Some(hit.row) != self.own_document);
        let gain = |hit: &Scored| self.relevance.get(&hit.row).copied().unwrap_or_default();
        others.map(gain).take(DEPTH).collect()
    }
}

/// Scores the vectors of the queries and of the documents, by cosine.
///
/// # Errors
/// As [`rank`].
pub fn score(
    collection: &Collection,
    queries: &Matrix,
    documents: &Matrix,
    progress: &dyn Progress,
) -> Result<Scores> {
    Ok(score_rankings(collection, &rank(collection, queries, documents, progress)?))
}

/// The documents nearest to each query, by cosine; equal ones in corpus order. As many as the scores look at.
///
/// # Errors
/// When there is not one row for each text, widths differ, a vector is not finite, or a stop was asked for.
///
/// # Cost
/// `queries × documents × dim` multiplications on all threads.
pub fn rank(
    collection: &Collection,
    queries: &Matrix,
    documents: &Matrix,
    progress: &dyn Progress,
) -> Result<Vec<Vec<Scored>>> {
    for (vectors, texts) in
        [(queries, collection.queries.len()), (documents, collection.documents.len())]
    {
        if vectors.len() != texts {
            let found = vectors.len();
            return Err(Error::mismatch(format!("expected {texts} vectors, found {found}")));
        }
    }
    nearest(queries, documents, RANKED, progress)
}

/// The documents that BM25 ranks first for each query, as the store of `hpd index` ranks them.
///
/// # Errors
/// When SQLite refuses, or a stop was asked for.
///
/// # Cost
/// An index of the corpus in memory for each thread, and time for every document that has a word of a query.
pub fn rank_by_words(collection: &Collection, progress: &dyn Progress) -> Result<Vec<Vec<Scored>>> {
    let share = collection.queries.len().div_ceil(rayon::current_num_threads()).max(1);
    let rank = |queries: &[Query]| {
        let index = TextIndex::new(&collection.documents)?;
        let rank = |query: &Query| {
            interrupt::check("nothing was written")?;
            progress.advance(1);
            index.search(&query.text, RANKED)
        };
        queries.iter().map(rank).collect::<Result<Vec<_>>>()
    };
    Ok(collection.queries.par_chunks(share).map(rank).collect::<Result<Vec<_>>>()?.concat())
}

/// Each query's rankings by vectors and by words made one.
pub fn fuse(
    by_vectors: &[Vec<Scored>],
    by_words: &[Vec<Scored>],
    fusion: &Fusion,
) -> Vec<Vec<Scored>> {
    let both = by_vectors.iter().zip(by_words);
    both.map(|(by_vectors, by_words)| fusion.fuse(by_vectors, by_words, RANKED)).collect()
}

/// Scores rankings, one for each query, best hit first.
pub fn score_rankings(collection: &Collection, hits: &[Vec<Scored>]) -> Scores {
    let mut sums = [0.0; 4];
    for (query, hits) in collection.queries.iter().zip(hits) {
        let gains = query.gains(hits);
        let judged: Vec<f64> = query.judged().collect();
        let relevant = judged.iter().filter(|&&relevance| relevance > 0.0).count();
        sums[0] += ndcg(&gains, &judged, 10);
        sums[1] += reciprocal_rank(&gains, 10);
        sums[2] += recall(&gains, relevant, 10);
        sums[3] += recall(&gains, relevant, DEPTH);
    }
    let [ndcg_at_10, mrr_at_10, recall_at_10, recall_at_100] =
        sums.map(|sum| sum / collection.queries.len() as f64);
    Scores {
        main_score: ndcg_at_10,
        ndcg_at_10,
        mrr_at_10,
        recall_at_10,
        recall_at_100,
        queries: collection.queries.len(),
        documents: collection.documents.len(),
    }
}
