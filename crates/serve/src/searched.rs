//! The store that is searched, opened once for each thread that does.
//!
//! Each search sees the documents that are there when it begins, also those that another process has added since the server was
//! started.

use std::path::Path;
use std::sync::Arc;

use hpd_files::vectors::Matrix;
use hpd_files::{ErrorKind, Result};
use hpd_index::{Hit, Readers, Search, Store, StoreSettings};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::failure::{Failure, FailureKind};

/// A store for reading, shared by all requests.
#[derive(Clone)]
pub struct Searched {
    shared: Arc<Shared>,
}

struct Shared {
    readers: Readers,
    settings: StoreSettings,
    /// As many as may be used at once.
    places: Semaphore,
}

impl Searched {
    /// Opens a store of which so many searches may be made at the same time. `settings` are those it is used with: its own,
    /// perhaps with another model of its space.
    ///
    /// # Errors
    /// When it is not there, not a store, damaged, or of a later format.
    pub fn open(folder: &Path, settings: StoreSettings, searches: usize) -> Result<Self> {
        let shared =
            Shared { readers: Readers::open(folder)?, settings, places: Semaphore::new(searches) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What it is used with.
    pub(crate) fn settings(&self) -> &StoreSettings {
        &self.shared.settings
    }

    /// For `/info`.
    pub(crate) async fn describe(&self) -> Result<Value, Failure> {
        let documents = self.with_store(Store::len).await?;
        let folder = self.shared.readers.folder();
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(json!({"name": name, "documents": documents, "model_id": self.settings().model.name}))
    }

    /// Hits for each query.
    pub(crate) async fn search(
        &self,
        queries: Matrix,
        asked: Asked,
    ) -> Result<Vec<Vec<Hit>>, Failure> {
        self.with_store(move |store| {
            let words: Option<Vec<&str>> =
                asked.words.as_ref().map(|words| words.iter().map(String::as_str).collect());
            store.search_with(&queries, &Search { words: words.as_deref(), ..asked.search() })
        })
        .await
    }

    /// The neighbours of a document, `None` when there is no such document.
    pub(crate) async fn similar(
        &self,
        id: String,
        asked: Asked,
    ) -> Result<Option<Vec<Hit>>, Failure> {
        self.with_store(move |store| store.similar(&id, &asked.search())).await
    }

    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let closed = |_| Failure::internal("the store is not searched any more");
        let _place = self.shared.places.acquire().await.map_err(closed)?;
        let shared = self.shared.clone();
        let searched = spawn_blocking(move || shared.lend(work)).await;
        searched.map_err(|_| Failure::internal("searching failed; the server's log says more"))?
    }
}

impl Shared {
    fn lend<T>(&self, work: impl FnOnce(&Store) -> Result<T>) -> Result<T, Failure> {
        self.readers.with(work).map_err(|error| match error.kind() {
            ErrorKind::Mismatch => Failure::new(
                FailureKind::Unavailable,
                format!("{error}; the server has to be started again"),
            ),
            _ => error.into(),
        })
    }
}

/// What is asked of a search beside the queries' vectors; [`Search`] for as long as it travels between threads.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) limit: usize,
    pub(crate) min_score: Option<f32>,
    pub(crate) exactness: hpd_index::Exactness,
    pub(crate) filter: Option<hpd_index::Filter>,
    pub(crate) words: Option<Vec<String>>,
}

impl Asked {
    fn search(&self) -> Search<'_> {
        Search {
            limit: self.limit,
            min_score: self.min_score,
            exactness: self.exactness,
            filter: self.filter.as_ref(),
            ..Search::default()
        }
    }
}
