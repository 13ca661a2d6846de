//! A store and its model in one value, for programs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hpd_encoder::{Lookup, ModelChoice, Side};
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Progress, Result};
use hpd_index::{
    DEFAULT_LIMIT, Document, Exactness, Filter, Hit, Indexed, Readers, Search, Store,
    StoreSettings, index_documents,
};

use crate::{Prompts, StoreEncoder};

/// A store with its model, opened. `Sync`: any number of threads may search while one adds.
///
/// The model is opened when texts first need it: who only deletes, or looks for neighbours, never waits for it.
///
/// Who adds, deletes or embeds anew waits for whoever does so already, with a thread: let none of rayon's do that, for one that waits
/// for a part of its own work takes up other work meanwhile, and may come to wait for itself.
pub struct TextStore {
    folder: PathBuf,
    lookup: Lookup,
    parts: Mutex<Parts>,
    /// `None` where nothing may be written.
    writer: Option<Mutex<Store>>,
}

/// What changes when the documents are embedded anew.
#[derive(Clone)]
struct Parts {
    /// The model to use; where none is named, the one the store remembers.
    choice: ModelChoice,
    encoder: Option<Arc<StoreEncoder>>,
    readers: Arc<Readers>,
}

/// What is asked beside the queries.
#[derive(Clone, Debug)]
pub struct TextSearch {
    /// Most hits for each query.
    pub limit: usize,
    /// Leaves out hits that score less.
    pub min_score: Option<f32>,
    /// How sure to be that nothing nearer is missed.
    pub exactness: Exactness,
    /// Only documents that match.
    pub filter: Option<Filter>,
    /// Searches by the words of the queries too, and joins both rankings.
    pub hybrid: bool,
}

/// What became of the documents that were added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// How they compare with what was there.
    pub indexed: Indexed,
    /// Texts that were longer than the model takes and lost their end.
    pub truncated: usize,
}

impl Default for TextSearch {
    fn default() -> Self {
        Self {
            limit: DEFAULT_LIMIT,
            min_score: None,
            exactness: Exactness::default(),
            filter: None,
            hybrid: false,
        }
    }
}

impl TextSearch {
    /// The same for a store; `words` are the queries, which a hybrid search needs.
    pub fn with_words<'a>(&'a self, words: Option<&'a [&'a str]>) -> Search<'a> {
        Search {
            limit: self.limit,
            min_score: self.min_score,
            exactness: self.exactness,
            filter: self.filter.as_ref(),
            words: words.filter(|_| self.hybrid),
            ..Search::default()
        }
    }
}

impl TextStore {
    /// Makes an empty store for the vectors of a model, and opens it.
    ///
    /// # Errors
    /// When something is there under that name already, the disk refuses, or as [`StoreEncoder::for_new_store`].
    pub fn create(
        folder: &Path,
        lookup: Lookup,
        choice: ModelChoice,
        prompts: Prompts,
        progress: &dyn Progress,
    ) -> Result<Self> {
        if folder.exists() {
            let name = folder.display();
            return Err(Error::input(format!(
                "`{name}` is there already, expected no such folder"
            )));
        }
        let encoder = StoreEncoder::for_new_store(&lookup, &choice, prompts, progress)?;
        let mut store = Store::create(folder, encoder.settings())?;
        // There is no input that a stopped program would have to go on with.
        store.set_complete()?;
        let readers = Arc::new(Readers::open(folder)?);
        let parts = Parts { choice, encoder: Some(Arc::new(encoder)), readers };
        let writer = Some(Mutex::new(store));
        Ok(Self { folder: folder.to_owned(), lookup, parts: Mutex::new(parts), writer })
    }

    /// Opens a store for reading and writing, to be used with the model that is chosen, or else with the one it remembers.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(folder: &Path, lookup: Lookup, choice: ModelChoice) -> Result<Self> {
        let writer = Store::open(folder)?;
        let store = Self::open_read_only(folder, lookup, choice)?;
        Ok(Self { writer: Some(Mutex::new(writer)), ..store })
    }

    /// Opens a store that is only to be searched, also where nothing may be written.
    ///
    /// # Errors
    /// As [`Store::open_read_only`].
    pub fn open_read_only(folder: &Path, lookup: Lookup, choice: ModelChoice) -> Result<Self> {
        let readers = Arc::new(Readers::open(folder)?);
        let parts = Mutex::new(Parts { choice, encoder: None, readers });
        Ok(Self { folder: folder.to_owned(), lookup, parts, writer: None })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its model, opened if it was not; of a folder with two, that of `side` first.
    ///
    /// # Errors
    /// As [`StoreEncoder::for_store`].
    pub fn encoder(&self, side: Side, progress: &dyn Progress) -> Result<Arc<StoreEncoder>> {
        self.encoder_and_readers(side, progress).map(|(encoder, _)| encoder)
    }

    /// The model, and the store as it is with the vectors of this model.
    fn encoder_and_readers(
        &self,
        side: Side,
        progress: &dyn Progress,
    ) -> Result<(Arc<StoreEncoder>, Arc<Readers>)> {
        loop {
            let Parts { choice, encoder, readers } = self.parts().clone();
            if let Some(encoder) = encoder {
                return Ok((encoder, readers));
            }
            // Others go on meanwhile, since a model may have to be fetched. Who opens it at the same time does so in vain.
            let open = |store: &Store| {
                StoreEncoder::for_store(&self.lookup, store, &choice, side, progress)
            };
            let opened = Arc::new(readers.with(open)?);
            let mut parts = self.parts();
            if Arc::ptr_eq(&parts.readers, &readers) {
                let encoder = parts.encoder.get_or_insert(opened).clone();
                return Ok((encoder, readers));
            }
        }
    }

    /// Adds documents, embedding those whose text is not there; one whose id is there is replaced. Safe on disk in steps
    /// of 512 documents.
    ///
    /// # Errors
    /// The first error of `documents`, after which all before its step stand, or as [`index_documents`]; when it was opened
    /// for reading only.
    pub fn add(
        &self,
        documents: impl IntoIterator<Item = Result<Document>>,
        progress: &dyn Progress,
    ) -> Result<Filled> {
        self.write(|store| {
            // Only now, as whoever was waited for may have embedded everything anew.
            let encoder = self.encoder(Side::Document, progress)?;
            let mut truncated = 0;
            let encode = |texts: &[&str]| {
                let encoded = encoder.encode_documents(texts)?;
                truncated += encoded.truncated;
                Ok(encoded.rows)
            };
            store.remember_model(&encoder.settings().model)?;
            let indexed = index_documents(store, documents, encode, progress)?;
            Ok(Filled { indexed, truncated })
        })
    }

    /// The documents nearest to each query.
    ///
    /// # Errors
    /// When the model cannot be opened, or as [`Store::search_with`].
    pub fn search(
        &self,
        queries: &[&str],
        search: &TextSearch,
        progress: &dyn Progress,
    ) -> Result<Vec<Vec<Hit>>> {
        let (encoder, readers) = self.encoder_and_readers(Side::Query, progress)?;
        let vectors = encoder.encode_queries(queries)?.rows;
        readers.with(|store| store.search_with(&vectors, &search.with_words(Some(queries))))
    }

    /// The documents nearest to vectors of the store's space, of length 1. Words are not looked at.
    ///
    /// # Errors
    /// As [`Store::search_with`].
    pub fn search_vectors(&self, queries: &Matrix, search: &TextSearch) -> Result<Vec<Vec<Hit>>> {
        self.read(|store| store.search_with(queries, &search.with_words(None)))
    }

    /// The documents nearest to the one of this id, itself left out; `None` when there is none.
    ///
    /// # Errors
    /// As [`Store::similar`].
    pub fn similar(&self, id: &str, search: &TextSearch) -> Result<Option<Vec<Hit>>> {
        self.read(|store| store.similar(id, &search.with_words(None)))
    }

    /// Embeds all documents anew with another model, by other prompts perhaps; tells how many. See [`Store::re_embed`].
    ///
    /// # Errors
    /// As [`Store::re_embed`] and [`StoreEncoder::for_new_store`]; when it was opened for reading only.
    pub fn re_embed(
        &self,
        choice: ModelChoice,
        prompts: Prompts,
        progress: &dyn Progress,
    ) -> Result<u64> {
        let encoder = StoreEncoder::for_new_store(&self.lookup, &choice, prompts, progress)?;
        self.write(|store| {
            let encode = |texts: &[&str]| Ok(encoder.encode_documents(texts)?.rows);
            let embedded = store.re_embed(encoder.settings(), encode, progress)?;
            let readers = Arc::new(Readers::open(&self.folder)?);
            *self.parts() = Parts { choice, encoder: Some(Arc::new(encoder)), readers };
            Ok(embedded)
        })
    }

    /// What the store was made with, and the model it remembers.
    ///
    /// # Errors
    /// As [`Readers::with`].
    pub fn settings(&self) -> Result<StoreSettings> {
        self.read(|store| Ok(store.settings().clone()))
    }

    /// Whatever else only reads.
    ///
    /// # Errors
    /// Those of `work`, and as [`Readers::with`].
    pub fn read<T>(&self, work: impl FnOnce(&Store) -> Result<T>) -> Result<T> {
        let readers = self.parts().readers.clone();
        readers.with(work)
    }

    /// Whatever else writes; one thread at a time.
    ///
    /// # Errors
    /// Those of `work`; when it was opened for reading only.
    pub fn write<T>(&self, work: impl FnOnce(&mut Store) -> Result<T>) -> Result<T> {
        let Some(writer) = &self.writer else {
            let folder = self.folder.display();
            return Err(Error::input(format!("the store `{folder}` was opened for reading only")));
        };
        // A panic leaves an open transaction behind at most, which SQLite takes back.
        work(&mut writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for TextStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextStore").field("folder", &self.folder).finish_non_exhaustive()
    }
}
