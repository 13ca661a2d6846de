//! The model of a store, opened to embed its documents and queries the way the store was made to.

use std::path::Path;

use hpd_encoder::{
    Embeddings, EncodeOptions, FoundModel, Lookup, Model, ModelChoice, Prompt, Side,
};
use hpd_files::{Error, ErrorKind, Progress, Result};
use hpd_index::{Store, StoreModel, StoreSettings};

/// Words in front of texts instead of the model's own prompts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompts {
    /// In front of each query.
    pub query: Option<String>,
    /// In front of each document.
    pub document: Option<String>,
}

/// A model bound to the settings of one store. `Sync`: share one by reference.
pub struct StoreEncoder {
    model: Model,
    settings: StoreSettings,
}

impl StoreEncoder {
    /// Opens the model for a store that is to be made.
    ///
    /// # Errors
    /// As [`Lookup::open`].
    pub fn for_new_store(
        lookup: &Lookup,
        choice: &ModelChoice,
        prompts: Prompts,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let (found, model) = lookup.open(choice, Some(Side::Document), progress)?;
        let settings = StoreSettings {
            model: described(&model, &found, choice.revision.clone()),
            query_prompt: prompts.query,
            document_prompt: prompts.document,
            max_seq_length: choice.max_seq_length,
        };
        Ok(Self { model, settings })
    }

    /// Opens the model that is chosen, or else the one the store remembers. Where queries and documents have a model
    /// each, that of `side` is opened first. The length limit is the store's.
    ///
    /// # Errors
    /// As [`Lookup::open`], and when the model is of another space.
    pub fn for_store(
        lookup: &Lookup,
        store: &Store,
        choice: &ModelChoice,
        side: Side,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let check = |used: &StoreModel| store.check_space(used);
        Self::for_settings(lookup, store.settings(), choice, side, check, progress)
    }

    /// The same for whatever was made with these settings and refuses models of another space by `check_space`.
    ///
    /// # Errors
    /// As [`StoreEncoder::for_store`].
    pub fn for_settings(
        lookup: &Lookup,
        settings: &StoreSettings,
        choice: &ModelChoice,
        side: Side,
        check_space: impl Fn(&StoreModel) -> Result<()>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let remembered = &settings.model;
        let (name, revision) = match &choice.model {
            Some(name) => (name.clone(), choice.revision.clone()),
            None => (remembered.name.clone(), remembered.revision.clone()),
        };
        let used = ModelChoice {
            model: Some(name),
            revision,
            max_seq_length: settings.max_seq_length,
            arithmetic: choice.arithmetic,
        };
        let (found, model) =
            lookup.open(&used, Some(side), progress).map_err(|error| match choice.model {
                Some(_) => error,
                None => not_where_it_was(remembered, error),
            })?;
        let used = described(&model, &found, used.revision);
        check_space(&used)?;
        let settings = StoreSettings { model: used, ..settings.clone() };
        Ok(Self { model, settings })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What a store made or used with this model has as its settings.
    pub fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    /// The model and what the store is used with.
    pub fn into_parts(self) -> (Model, StoreSettings) {
        (self.model, self.settings)
    }

    /// Unit vectors of documents.
    ///
    /// # Errors
    /// As [`Model::encode`].
    pub fn encode_documents(&self, texts: &[&str]) -> Result<Embeddings> {
        self.model.encode(texts, &document_options(&self.settings))
    }

    /// Unit vectors of queries.
    ///
    /// # Errors
    /// As [`Model::encode`].
    pub fn encode_queries(&self, texts: &[&str]) -> Result<Embeddings> {
        self.model.encode(texts, &query_options(&self.settings))
    }
}

/// How queries of a store with these settings are encoded.
pub fn query_options(settings: &StoreSettings) -> EncodeOptions {
    options(settings.query_prompt.as_ref(), Prompt::Query, Side::Query)
}

/// How its documents are.
pub fn document_options(settings: &StoreSettings) -> EncodeOptions {
    options(settings.document_prompt.as_ref(), Prompt::Document, Side::Document)
}

fn options(words: Option<&String>, own: Prompt, side: Side) -> EncodeOptions {
    let prompt = words.cloned().map_or(own, Prompt::Text);
    // Whatever the model folder says: scores of a store are cosines.
    EncodeOptions { prompt, side: Some(side), normalize: true, ..EncodeOptions::default() }
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
