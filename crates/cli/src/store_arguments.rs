//! A store on the command line, and the model it is used with.

use std::path::PathBuf;

use clap::Args;
use hpd_encoder::{Arithmetic, ModelChoice, Side};
use hpd_files::{Progress, Result};
use hpd_index::Store;
use hpd_texts::StoreEncoder;

#[cfg(feature = "serve")]
use crate::arguments::ModelArguments;
use crate::models::lookup;

/// A store and, if need be, another model than the one it remembers.
#[derive(Args, Debug)]
pub(crate) struct StoreArguments {
    /// Folder of the store
    #[arg(long, short, value_name = "DIR")]
    pub(crate) store: PathBuf,
    /// Model folder, name of a model that comes with hpd, or Hugging Face id [default: the model that the store
    /// remembers]
    #[arg(long, short, value_name = "DIR|NAME|ID")]
    model: Option<String>,
    /// Branch, tag or commit of a Hugging Face id
    #[arg(long, value_name = "REVISION", requires = "model")]
    revision: Option<String>,
    /// Numbers the model computes in, `float32`, `bfloat16` or `int8` [default: those its folder stores]
    #[arg(long, value_name = "ARITHMETIC")]
    arithmetic: Option<Arithmetic>,
}

impl StoreArguments {
    /// The store in `folder` with the model that `model` names, if it names one.
    #[cfg(feature = "serve")]
    pub(crate) fn for_store(folder: PathBuf, model: &ModelArguments) -> Self {
        let ModelArguments { model, revision, arithmetic, .. } = model.clone();
        Self { store: folder, model, revision, arithmetic }
    }

    /// The model, for `store`; of a folder with two, that of `side` first.
    pub(crate) fn encoder(
        &self,
        store: &Store,
        side: Side,
        progress: &dyn Progress,
    ) -> Result<StoreEncoder> {
        StoreEncoder::for_store(&lookup(), store, &self.choice(), side, progress)
    }

    /// What is typed of a model; the length limit is the store's.
    pub(crate) fn choice(&self) -> ModelChoice {
        let Self { model, revision, arithmetic, .. } = self;
        let (model, revision) = (model.clone(), revision.clone());
        ModelChoice { model, revision, arithmetic: *arithmetic, ..ModelChoice::default() }
    }
}
