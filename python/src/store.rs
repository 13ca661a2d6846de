//! A store with its model, opened.

use std::path::PathBuf;
use std::sync::{Mutex, TryLockError};
use std::thread;
use std::time::Duration;

use hpd_files::records::Record;
use hpd_files::vectors::DocumentWriter;
use hpd_files::{Error, Result};
use hpd_index::{Document, Hit};
use hpd_texts::{Prompts, TextSearch, TextStore};
use numpy::{PyArray2, PyReadonlyArray2};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use serde_json::{Map, Value};

use crate::encoder::choice;
use crate::log::Log;
use crate::lookup;
use crate::quantize::{array_of, rows_of};
use crate::threads::compute;

/// How often one who waits to change a store looks whether it is free.
const TURN_EVERY: Duration = Duration::from_millis(5);

/// Score, id, text, and metadata as JSON.
type HitTuple = (f32, String, String, String);

/// Id, text, and metadata as JSON.
type DocumentTuple = (String, String, String);

/// What `hpd.Store` stands on.
#[pyclass(frozen, module = "hpd._native")]
pub(crate) struct Store {
    store: TextStore,
    /// Held by whoever changes the store.
    turn: Mutex<()>,
    /// SQLite's connections must not be used by a process that was forked from the one that opened them.
    process: u32,
}

#[pymethods]
impl Store {
    /// Makes a store.
    #[staticmethod]
    #[pyo3(signature = (folder, model, revision, max_seq_length, arithmetic, query_prompt, document_prompt))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn create(
        py: Python<'_>,
        folder: PathBuf,
        model: Option<String>,
        revision: Option<String>,
        max_seq_length: Option<usize>,
        arithmetic: Option<&str>,
        query_prompt: Option<String>,
        document_prompt: Option<String>,
    ) -> PyResult<Self> {
        let lookup = lookup(py)?;
        opened(py, || {
            let choice = choice(model, revision, max_seq_length, arithmetic)?;
            let prompts = Prompts { query: query_prompt, document: document_prompt };
            TextStore::create(&folder, lookup, choice, prompts, &Log)
        })
    }

    /// Opens one.
    #[staticmethod]
    #[pyo3(signature = (folder, model, revision, arithmetic, read_only, durability))]
    fn open(
        py: Python<'_>,
        folder: PathBuf,
        model: Option<String>,
        revision: Option<String>,
        arithmetic: Option<&str>,
        read_only: bool,
        durability: &str,
    ) -> PyResult<Self> {
        let lookup = lookup(py)?;
        opened(py, || {
            let choice = choice(model, revision, None, arithmetic)?;
            let durability = durability.parse()?;
            if read_only {
                return TextStore::open_read_only(&folder, lookup, choice);
            }
            let store = TextStore::open(&folder, lookup, choice)?;
            store.write(|store| store.set_durability(durability))?;
            Ok(store)
        })
    }

    /// Adds documents: id (or none), text and metadata as JSON. Tells how many were added, replaced, updated, unchanged and
    /// truncated.
    fn add(
        &self,
        py: Python<'_>,
        documents: Vec<(Option<String>, String, Option<PyBackedStr>)>,
    ) -> PyResult<(u64, u64, u64, u64, usize)> {
        let filled = self.change(py, |store| {
            let documents: Vec<Document> =
                documents.into_iter().map(document).collect::<Result<_>>()?;
            store.add(documents.into_iter().map(Ok), &Log)
        })?;
        let hpd_index::Indexed { added, replaced, updated, unchanged } = filled.indexed;
        Ok((added, replaced, updated, unchanged, filled.truncated))
    }

    /// Hits of each text.
    #[pyo3(signature = (queries, limit, filter, hybrid, min_score, exactness))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn search(
        &self,
        py: Python<'_>,
        queries: Vec<PyBackedStr>,
        limit: usize,
        filter: Option<&str>,
        hybrid: bool,
        min_score: Option<f32>,
        exactness: &str,
    ) -> PyResult<Vec<Vec<HitTuple>>> {
        let found = self.work(py, |store| {
            let search = TextSearch { hybrid, ..search(limit, filter, min_score, exactness)? };
            let queries: Vec<&str> = queries.iter().map(|query| &**query).collect();
            store.search(&queries, &search, &Log)
        })?;
        Ok(found.into_iter().map(tuples).collect())
    }

    /// Hits of each vector.
    #[pyo3(signature = (queries, limit, filter, min_score, exactness))]
    fn search_vectors(
        &self,
        py: Python<'_>,
        queries: PyReadonlyArray2<'_, f32>,
        limit: usize,
        filter: Option<&str>,
        min_score: Option<f32>,
        exactness: &str,
    ) -> PyResult<Vec<Vec<HitTuple>>> {
        let queries = rows_of(&queries);
        let found = self.work(py, |store| {
            store.search_vectors(&queries, &search(limit, filter, min_score, exactness)?)
        })?;
        Ok(found.into_iter().map(tuples).collect())
    }

    /// Neighbours of a document, `None` where it is not there.
    #[pyo3(signature = (id, limit, filter, min_score, exactness))]
    fn similar(
        &self,
        py: Python<'_>,
        id: &str,
        limit: usize,
        filter: Option<&str>,
        min_score: Option<f32>,
        exactness: &str,
    ) -> PyResult<Option<Vec<HitTuple>>> {
        let found = self
            .work(py, |store| store.similar(id, &search(limit, filter, min_score, exactness)?))?;
        Ok(found.map(tuples))
    }

    /// A document with its vector, `[1, dim]`.
    fn get<'py>(
        &self,
        py: Python<'py>,
        id: &str,
    ) -> PyResult<Option<(DocumentTuple, Bound<'py, PyArray2<f32>>)>> {
        let found = self.work(py, |store| store.read(|store| store.get(id)))?;
        let Some((found, data)) = found else { return Ok(None) };
        let dim = data.len();
        let vector = array_of(py, hpd_files::vectors::Matrix { data, dim })?;
        Ok(Some((tuple(found), vector)))
    }

    /// All ids with their vectors, in the order of insertion.
    fn vectors<'py>(&self, py: Python<'py>) -> PyResult<(Vec<String>, Bound<'py, PyArray2<f32>>)> {
        let (ids, rows) = self.work(py, |store| {
            store.read(|store| {
                let dim = store.settings().model.dim;
                let (mut ids, mut data) = (Vec::new(), Vec::new());
                store.for_each_document(|document, vector| {
                    ids.push(document.id);
                    data.extend_from_slice(vector);
                    Ok(())
                })?;
                Ok((ids, hpd_files::vectors::Matrix { data, dim }))
            })
        })?;
        Ok((ids, array_of(py, rows)?))
    }

    /// Deletes by id.
    fn delete(&self, py: Python<'_>, ids: Vec<String>) -> PyResult<u64> {
        self.change(py, |store| store.write(|store| store.delete(&ids)))
    }

    /// Deletes what matches.
    fn delete_matching(&self, py: Python<'_>, filter: &str) -> PyResult<u64> {
        self.change(py, |store| {
            let filter = filter.parse()?;
            store.write(|store| store.delete_matching(&filter))
        })
    }

    /// Bytes before and after.
    fn compact(&self, py: Python<'_>) -> PyResult<(u64, u64)> {
        let compacted = self.change(py, |store| store.write(hpd_index::Store::compact))?;
        Ok((compacted.bytes_before, compacted.bytes_after))
    }

    /// What is not whole.
    fn verify(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.work(py, |store| store.read(hpd_index::Store::verify))
    }

    /// Groups of documents that are nearly the same.
    fn near_duplicates(&self, py: Python<'_>, threshold: f32) -> PyResult<Vec<Vec<HitTuple>>> {
        let groups = self.work(py, |store| {
            if threshold.is_nan() {
                return Err(Error::input("the threshold is no number"));
            }
            store.read(|store| store.near_duplicates(threshold, &Log))
        })?;
        Ok(groups.into_iter().map(tuples).collect())
    }

    /// Embeds all documents anew; tells how many.
    #[pyo3(signature = (model, revision, max_seq_length, arithmetic, query_prompt, document_prompt))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn re_embed(
        &self,
        py: Python<'_>,
        model: Option<String>,
        revision: Option<String>,
        max_seq_length: Option<usize>,
        arithmetic: Option<&str>,
        query_prompt: Option<String>,
        document_prompt: Option<String>,
    ) -> PyResult<u64> {
        self.change(py, |store| {
            let choice = choice(model, revision, max_seq_length, arithmetic)?;
            let prompts = Prompts { query: query_prompt, document: document_prompt };
            store.re_embed(choice, prompts, &Log)
        })
    }

    /// Writes all documents with their vectors to a file; tells how many.
    fn export(&self, py: Python<'_>, path: PathBuf) -> PyResult<u64> {
        self.work(py, |store| {
            store.read(|store| {
                let mut writer = DocumentWriter::create(&path, store.settings().model.dim)?;
                let mut documents = 0;
                store.for_each_document(|Document { id, text, metadata }, vector| {
                    documents += 1;
                    writer.write(&id, &text, &metadata, vector)
                })?;
                writer.finish()?;
                Ok(documents as u64)
            })
        })
    }

    /// The facts about it, as JSON.
    fn summary(&self, py: Python<'_>) -> PyResult<String> {
        let summary = self.work(py, |store| store.read(hpd_index::Store::summary))?;
        serde_json::to_string(&summary).map_err(|e| PyRuntimeError::new_err(e.to_string()))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let count = self.work(py, |store| store.read(hpd_index::Store::len))?;
        Ok(count as usize)
    }
}

impl Store {
    /// Does `work` without Python's lock.
    fn work<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&TextStore) -> Result<T> + Send,
    ) -> PyResult<T> {
        self.check_process()?;
        compute(py, || work(&self.store))
    }

    /// Does `work`, which writes, when nobody else does. One waits for this here, on the caller's own thread: those that compute take up
    /// other work while they wait for a part of theirs, and would wait for themselves.
    fn change<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&TextStore) -> Result<T> + Send,
    ) -> PyResult<T> {
        self.check_process()?;
        let _turn = loop {
            match self.turn.try_lock() {
                Ok(turn) => break turn,
                Err(TryLockError::Poisoned(turn)) => break turn.into_inner(),
                Err(TryLockError::WouldBlock) => py.detach(|| thread::sleep(TURN_EVERY)),
            }
            py.check_signals()?;
        };
        compute(py, || work(&self.store))
    }

    fn check_process(&self) -> PyResult<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        let folder = self.store.folder().display();
        Err(PyRuntimeError::new_err(format!(
            "the store `{folder}` was opened before this process was forked; open it again here"
        )))
    }
}

fn opened(py: Python<'_>, open: impl FnOnce() -> Result<TextStore> + Send) -> PyResult<Store> {
    Ok(Store { store: compute(py, open)?, turn: Mutex::new(()), process: std::process::id() })
}

fn search(
    limit: usize,
    filter: Option<&str>,
    min_score: Option<f32>,
    exactness: &str,
) -> Result<TextSearch> {
    let filter = filter.map(str::parse).transpose()?;
    let exactness = exactness.parse()?;
    Ok(TextSearch { limit, filter, min_score, exactness, ..TextSearch::default() })
}

fn document(
    (id, text, metadata): (Option<String>, String, Option<PyBackedStr>),
) -> Result<Document> {
    let fields: Map<String, Value> = match metadata {
        None => Map::new(),
        Some(json) => serde_json::from_str(&json).map_err(|e| {
            let name = id.as_deref().unwrap_or(&text);
            Error::input(format!("the metadata of `{name}` is not a JSON object")).caused_by(e)
        })?,
    };
    Ok(Record { id, text, fields }.into())
}

fn tuple(Document { id, text, metadata }: Document) -> DocumentTuple {
    (id, text, Value::Object(metadata).to_string())
}

fn tuples(hits: Vec<Hit>) -> Vec<HitTuple> {
    let tuple =
        |Hit { score, id, text, metadata }| (score, id, text, Value::Object(metadata).to_string());
    hits.into_iter().map(tuple).collect()
}
