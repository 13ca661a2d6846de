//! The type most people need: a folder opened for encoding.

use std::path::Path;

use hpd_files::{Error, Result};

use crate::{Embeddings, Identity};

/// How to open a model.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Truncates at this many tokens instead of the folder's `max_seq_length`.
    pub max_seq_length: Option<usize>,
}

/// Which prompt goes in front of each text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Prompt {
    /// The folder's `default_prompt_name`, or none.
    #[default]
    Default,
    /// The folder's prompt of this name; an error when it has none so named.
    Named(String),
    /// The folder's `query` prompt if it has one, or none (sentence-transformers' `encode_query`).
    Query,
    /// The folder's `document`, `passage` or `corpus` prompt if it has one, or none (`encode_document`).
    Document,
    /// These words.
    Text(String),
}

/// How to encode. The defaults give what sentence-transformers' `encode` gives.
#[derive(Clone, Debug, Default)]
pub struct EncodeOptions {
    /// The prompt.
    pub prompt: Prompt,
    /// Normalises to unit length even if the folder has no Normalize module.
    pub normalize: bool,
    /// Keeps the first so many numbers (and renormalises when the model's output is normalised).
    pub dimensions: Option<usize>,
}

/// A sentence encoder, opened. `Sync`: share one by reference.
pub struct Model {
    dim: usize,
    identity: Identity,
}

impl Model {
    /// Opens a sentence-transformers folder.
    ///
    /// # Errors
    /// When a file is missing or damaged, shapes disagree, or the architecture is not supported.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::open_with(folder, &OpenOptions::default())
    }

    /// Opens a folder with options.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_with(_folder: &Path, _options: &OpenOptions) -> Result<Self> {
        Err(Error::input("not built yet"))
    }

    /// Width of the vectors.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Longest text in tokens, special ones included.
    pub fn max_seq_length(&self) -> usize {
        512
    }

    /// Which vectors its vectors may be compared with.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Encodes texts, one row each, empty ones included, on rayon's current pool.
    ///
    /// # Errors
    /// When the prompt is unknown or more dimensions are asked than there are.
    pub fn encode<S: AsRef<str> + Sync>(
        &self,
        _texts: &[S],
        _options: &EncodeOptions,
    ) -> Result<Embeddings> {
        Err(Error::input("not built yet"))
    }
}
