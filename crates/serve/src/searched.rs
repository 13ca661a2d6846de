//! The store that is searched, opened once for each thread that does.
//!
//! Each search sees the documents that are there when it begins, also those that another process has added since the server was
//! started.

use std::path::Path;
use std::sync::Arc;

use hpd_files::vectors::Matrix;
use hpd_files::{ErrorKind, Result, interrupt};
use hpd_index::{Hit, Readers, Store, StoreSettings};
use hpd_texts::TextSearch;
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
    places: Arc<Semaphore>,
}

impl Searched {
    /// Opens a store of which so many searches may be made at the same time. `settings` are those it is used with: its own,
    /// perhaps with another model of its space.
    ///
    /// # Errors
    /// When it is not there, not a store, damaged, or of a later format.
    pub fn open(folder: &Path, settings: StoreSettings, searches: usize) -> Result<Self> {
        let places = Arc::new(Semaphore::new(searches));
        let shared = Shared { readers: Readers::open(folder)?, settings, places };
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

    /// Hits for each query: a text and its vector.
    pub(crate) async fn search(
        &self,
        queries: Vec<String>,
        vectors: Matrix,
        search: TextSearch,
    ) -> Result<Vec<Vec<Hit>>, Failure> {
        self.with_store(move |store| {
            let words: Vec<&str> = queries.iter().map(String::as_str).collect();
            store.search_with(&vectors, &search.with_words(Some(&words)))
        })
        .await
    }

    /// The neighbours of a document, `None` when there is no such document.
    pub(crate) async fn similar(
        &self,
        id: String,
        search: TextSearch,
    ) -> Result<Option<Vec<Hit>>, Failure> {
        self.with_store(move |store| store.similar(&id, &search.with_words(None))).await
    }

    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let closed = |_| Failure::internal("the store is not searched any more");
        let place = self.shared.places.clone().acquire_owned().await.map_err(closed)?;
        let shared = self.shared.clone();
        let search = move || {
            // A search goes on when its client has gone, and until it ends its place is taken.
            let _place = place;
            interrupt::to_the_end(|| shared.lend(work))
        };
        let searched = spawn_blocking(search).await;
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
