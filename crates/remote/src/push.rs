//! A store's documents to a collection, so that it can be stopped anywhere and repeated at will.
//!
//! Every batch stands when the next begins, and a document that is there already just so is left alone. So the
//! second push changes nothing, and a push that was stopped goes on when it is repeated.

use hpd_files::vectors::Matrix;
use hpd_files::{Error, ErrorKind, Progress, Result, interrupt};
use hpd_index::{Document, Standing, Store};
use serde::Serialize;

use crate::{Collection, Upserted};

/// Documents handed over at once.
const BATCH: usize = 512;

/// Bytes of text from which a batch is handed over although it has fewer.
const BATCH_BYTES: usize = 8 << 20;

const KEPT: &str = "what was pushed so far stands, run the command again to go on";

/// What is done beside handing over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Push {
    /// Deletes what is in the collection and not in the store.
    pub prune: bool,
    /// Builds the index at the end.
    pub index: bool,
}

/// What a push did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// Documents that were not there.
    pub added: u64,
    /// Those that were there with another text, vector or metadata.
    pub changed: u64,
    /// Those that were there just so.
    pub unchanged: u64,
    /// Those deleted, since the store has none of that id.
    pub pruned: u64,
    /// Those in the collection at the end.
    pub documents: u64,
}

/// Brings all documents of `store` into `collection`, which was opened for its settings.
///
/// # Errors
/// When the store cannot be read, the engine refuses, or a stop was asked for. What was pushed until then stands.
pub fn push(
    store: &Store,
    collection: &mut dyn Collection,
    options: Push,
    progress: &dyn Progress,
) -> Result<Pushed> {
    progress.stage("pushing", Some(store.len()?));
    let mut pushing = Pushing::new(collection, store.settings().model.dim, progress);
    store.for_each_document(|document, vector| pushing.take(document, vector)).map_err(kept)?;
    pushing.flush()?;
    let Pushing { mut pushed, mended, cut, collection, .. } = pushing;
    if options.prune {
        progress.stage("pruning", Some(collection.len()?));
        pushed.pruned = prune(store, collection, progress)?;
    }
    if options.index {
        progress.stage("building the index", None);
        collection.build_index()?;
    }
    progress.finish();
    if mended > 0 {
        progress.note(&format!(
            "{mended} documents had NUL characters, which the engine cannot hold; there they have U+FFFD"
        ));
    }
    if cut > 0 {
        progress.note(&format!(
            "{cut} documents have texts longer than the engine holds; there they lack their end, and their vectors are of the whole"
        ));
    }
    pushed.documents = collection.len()?;
    Ok(pushed)
}

/// A push between two batches.
struct Pushing<'a> {
    collection: &'a mut dyn Collection,
    progress: &'a dyn Progress,
    documents: Vec<Document>,
    vectors: Matrix,
    bytes: usize,
    pushed: Pushed,
    mended: u64,
    cut: u64,
}

impl<'a> Pushing<'a> {
    fn new(collection: &'a mut dyn Collection, dim: usize, progress: &'a dyn Progress) -> Self {
        Self {
            collection,
            progress,
            documents: Vec::with_capacity(BATCH),
            vectors: Matrix { data: Vec::new(), dim },
            bytes: 0,
            pushed: Pushed::default(),
            mended: 0,
            cut: 0,
        }
    }

    fn take(&mut self, document: Document, vector: &[f32]) -> Result<()> {
        self.bytes += document.text.len();
        self.documents.push(document);
        self.vectors.data.extend_from_slice(vector);
        if self.documents.len() == BATCH || self.bytes >= BATCH_BYTES {
            self.flush()?;
            interrupt::check(KEPT)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let count = self.documents.len() as u64;
        if count > 0 {
            let Upserted { added, changed, mended, cut } =
                self.collection.upsert(&self.documents, &self.vectors)?;
            self.pushed.added += added;
            self.pushed.changed += changed;
            self.pushed.unchanged += count - added - changed;
            self.mended += mended;
            self.cut += cut;
            self.progress.advance(count);
        }
        self.documents.clear();
        self.vectors.data.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// The reading of a store knows nothing of what was done with the documents it handed over.
fn kept(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Interrupted => Error::interrupted(KEPT),
        _ => error,
    }
}

/// Deletes what the store does not have; returns how many there were.
fn prune(store: &Store, collection: &mut dyn Collection, progress: &dyn Progress) -> Result<u64> {
    let mut pruned = 0;
    let mut ids = collection.ids_after(None, BATCH)?;
    while let Some(last) = ids.last().cloned() {
        progress.advance(ids.len() as u64);
        let named = |id: &String| Document { id: id.clone(), ..Document::default() };
        let standing = store.compare(&ids.iter().map(named).collect::<Vec<_>>())?;
        let gone = |(id, standing): (String, Standing)| (standing == Standing::New).then_some(id);
        let gone: Vec<String> = ids.into_iter().zip(standing).filter_map(gone).collect();
        if !gone.is_empty() {
            collection.delete(&gone)?;
            pruned += gone.len() as u64;
        }
        interrupt::check(KEPT)?;
        ids = collection.ids_after(Some(&last), BATCH)?;
    }
    Ok(pruned)
}
