//! Filling a store from a stream of documents, so that a killed run can simply be run again.
//!
//! Documents come in batches. What stands already is not embedded again; the rest is embedded while the store is
//! open to others, then written in one transaction. Batches begin at the same documents in every run, so a run that
//! was stopped and started again leaves the same bits as one that was never stopped.

use std::collections::HashSet;

use hpd_files::vectors::Matrix;
use hpd_files::{Progress, Result, interrupt};
use serde::Serialize;

use crate::{Document, Standing, Store};

/// Documents embedded and written at once; a kill loses the work on at most so many.
const BATCH: usize = 512;

/// What became of the documents of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Indexed {
    /// Were not there.
    pub added: u64,
    /// Were there with another text.
    pub replaced: u64,
    /// Were there with the same text; their metadata is new.
    pub updated: u64,
    /// Were there just so.
    pub unchanged: u64,
}

/// Adds all `documents` to `store`, embedding with `encode` those whose text is not there.
///
/// Of documents with one id the last counts. Everything up to a failing document's batch stands.
///
/// # Errors
/// The first error of `documents` or `encode`, what [`Store::add`] says, or an interruption.
pub fn index_documents(
    store: &mut Store,
    documents: impl IntoIterator<Item = Result<Document>>,
    mut encode: impl FnMut(&[&str]) -> Result<Matrix>,
    progress: &dyn Progress,
) -> Result<Indexed> {
    let mut documents = documents.into_iter();
    let mut indexed = Indexed::default();
    loop {
        let batch = documents.by_ref().take(BATCH).collect::<Result<Vec<_>>>()?;
        let read = batch.len();
        if read == 0 {
            store.derive_codes()?;
            return Ok(indexed);
        }
        index_batch(store, last_of_each_id(batch), &mut encode, &mut indexed)?;
        progress.advance(read as u64);
        interrupt::check("all documents up to here are in the store; the same command goes on")?;
    }
}

fn last_of_each_id(mut batch: Vec<Document>) -> Vec<Document> {
    let mut seen = HashSet::with_capacity(batch.len());
    batch.reverse();
    batch.retain(|document| seen.insert(document.id.clone()));
    batch.reverse();
    batch
}

fn index_batch(
    store: &mut Store,
    batch: Vec<Document>,
    encode: &mut impl FnMut(&[&str]) -> Result<Matrix>,
    indexed: &mut Indexed,
) -> Result<()> {
    let standings = store.compare(&batch)?;
    let (mut to_embed, mut to_update) = (Vec::new(), Vec::new());
    for (document, standing) in batch.into_iter().zip(&standings) {
        match standing {
            Standing::New | Standing::TextDiffers => to_embed.push(document),
            Standing::MetadataDiffers => to_update.push(document),
            Standing::Same => {}
        }
    }
    if !to_embed.is_empty() {
        let texts: Vec<&str> = to_embed.iter().map(|document| document.text.as_str()).collect();
        let vectors = encode(&texts)?;
        store.add(&to_embed, &vectors)?;
    }
    if !to_update.is_empty() {
        store.set_metadata(&to_update)?;
    }
    indexed.count(&standings);
    Ok(())
}

impl Indexed {
    fn count(&mut self, standings: &[Standing]) {
        for standing in standings {
            *match standing {
                Standing::New => &mut self.added,
                Standing::TextDiffers => &mut self.replaced,
                Standing::MetadataDiffers => &mut self.updated,
                Standing::Same => &mut self.unchanged,
            } += 1;
        }
    }
}
