//! The model of a store, opened to embed its documents and queries the way the store was made to.
//!
//! Separate because adding and searching must agree to the letter: same space, same prompts, same length limit.

use std::path::{Path, PathBuf};

use clap::Args;
use hpd_encoder::{Arithmetic, EncodeOptions, Model, Prompt, Side};
use hpd_files::vectors::Matrix;
use hpd_files::{Error, ErrorKind, Progress, Result};
use hpd_index::{Store, StoreModel, StoreSettings};

use crate::arguments::ModelArguments;
use crate::models::FoundModel;

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
    /// Numbers the model computes in, `float32` or `int8` [default: those its folder stores]
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
}

/// A model bound to the settings of one store.
pub(crate) struct StoreEncoder {
    model: Model,
    settings: StoreSettings,
    truncated: usize,
}

impl StoreEncoder {
    /// Opens the model for a store that is to be made.
    pub(crate) fn for_new_store(
        model: &ModelArguments,
        query_prompt: Option<String>,
        document_prompt: Option<String>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let found = model.find(progress)?;
        let opened = model.open(&found, Some(Side::Document))?;
        let settings = StoreSettings {
            model: described(&opened, &found, model.revision.clone()),
            query_prompt,
            document_prompt,
            max_seq_length: model.max_seq_length,
        };
        Ok(Self { model: opened, settings, truncated: 0 })
    }

    /// Opens the model that was asked for, or else the one the store remembers, and refuses one of another space. Where
    /// queries and documents have a model each, that of `side` is opened first.
    pub(crate) fn for_store(
        store: &Store,
        arguments: &StoreArguments,
        side: Side,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let check = |used: &StoreModel| store.check_space(used);
        Self::for_settings(store.settings(), arguments, side, check, progress)
    }

    /// The same for whatever was made with these settings and refuses models of another space by `check_space`.
    pub(crate) fn for_settings(
        settings: &StoreSettings,
        arguments: &StoreArguments,
        side: Side,
        check_space: impl Fn(&StoreModel) -> Result<()>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let remembered = &settings.model;
        let (name, revision) = match &arguments.model {
            Some(name) => (name.clone(), arguments.revision.clone()),
            None => (remembered.name.clone(), remembered.revision.clone()),
        };
        let model = ModelArguments {
            model: Some(name),
            revision,
            max_seq_length: settings.max_seq_length,
            arithmetic: arguments.arithmetic,
        };
        let open = || {
            let found = model.find(progress)?;
            model.open(&found, Some(side)).map(|opened| (found, opened))
        };
        let (found, opened) = open().map_err(|error| match arguments.model {
            Some(_) => error,
            None => not_where_it_was(remembered, error),
        })?;
        let used = described(&opened, &found, model.revision.clone());
        check_space(&used)?;
        let settings = StoreSettings { model: used, ..settings.clone() };
        Ok(Self { model: opened, settings, truncated: 0 })
    }

    /// The model and what the store is used with.
    #[cfg(feature = "serve")]
    pub(crate) fn into_parts(self) -> (Model, StoreSettings) {
        (self.model, self.settings)
    }

    /// What a store made or used with this model has as its settings.
    pub(crate) fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    /// Texts that were longer than the model takes, so far.
    pub(crate) fn truncated(&self) -> usize {
        self.truncated
    }

    /// Unit vectors of documents.
    pub(crate) fn encode_documents(&mut self, texts: &[&str]) -> Result<Matrix> {
        let prompt = self.settings.document_prompt.clone().map_or(Prompt::Document, Prompt::Text);
        self.encode(texts, prompt, Side::Document)
    }

    /// Unit vectors of queries.
    pub(crate) fn encode_queries(&mut self, texts: &[&str]) -> Result<Matrix> {
        let prompt = self.settings.query_prompt.clone().map_or(Prompt::Query, Prompt::Text);
        self.encode(texts, prompt, Side::Query)
    }

    fn encode(&mut self, texts: &[&str], prompt: Prompt, side: Side) -> Result<Matrix> {
        // Whatever the model folder says: scores of a store are cosines.
        let options =
            EncodeOptions { prompt, side: Some(side), normalize: true, ..EncodeOptions::default() };
        let embeddings = self.model.encode(texts, &options)?;
        self.truncated += embeddings.truncated;
        Ok(embeddings.rows)
    }
}

fn described(model: &Model, found: &FoundModel, revision: Option<String>) -> StoreModel {
    let identity = model.identity();
    StoreModel {
        name: found.lasting_name(),
        revision,
        weights: identity.weights.clone(),
        space: identity.space.clone(),
        dim: model.dim(),
    }
}

fn not_where_it_was(remembered: &StoreModel, error: Error) -> Error {
    // A name without an organisation was more likely of a model that came with hpd.
    let is_of_the_hub = error.kind() == ErrorKind::Network && remembered.name.contains('/');
    if is_of_the_hub || Path::new(&remembered.name).exists() {
        return error;
    }
    Error::model(format!("cannot open `{}`, the model that the store remembers", remembered.name))
        .hint("if it has moved, tell where it is now with `--model DIR`")
        .caused_by(error)
}
