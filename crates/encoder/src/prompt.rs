//! Which words go in front of every text.

use hpd_files::{Error, Result};

use crate::Side;
use crate::folder::Folder;

/// Which prompt goes in front of each text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Prompt {
    /// The folder's `default_prompt_name`, or none.
    #[default]
    Default,
    /// The folder's prompt of this name; an error when it has none so named, but for `query` and `document`, which are empty
    /// then as in sentence-transformers.
    Named(String),
    /// The folder's `query` prompt if it has one, else the default (sentence-transformers' `encode_query`).
    Query,
    /// The folder's `document`, `passage` or `corpus` prompt if it has one, else the default (`encode_document`).
    Document,
    /// These words.
    Text(String),
}

impl Prompt {
    /// What it says the texts are, if it does.
    pub fn side(&self) -> Option<Side> {
        match self {
            Self::Query => Some(Side::Query),
            Self::Document => Some(Side::Document),
            Self::Default | Self::Named(_) | Self::Text(_) => None,
        }
    }

    /// The words, empty for none.
    pub(crate) fn words<'a>(&'a self, folder: &'a Folder) -> Result<&'a str> {
        match self {
            Self::Text(words) => Ok(words),
            Self::Named(name) => match named(folder, name) {
                Some(words) => Ok(words),
                None if ["query", "document"].contains(&name.as_str()) => Ok(""),
                None => Err(unknown(folder, name)),
            },
            Self::Default => Ok(default(folder)),
            Self::Query => Ok(first_of(folder, &["query"])),
            Self::Document => Ok(first_of(folder, &["document", "passage", "corpus"])),
        }
    }
}

fn first_of<'a>(folder: &'a Folder, names: &[&str]) -> &'a str {
    names.iter().find_map(|name| named(folder, name)).unwrap_or_else(|| default(folder))
}

/// The folder has checked that its default exists.
fn default(folder: &Folder) -> &str {
    folder.default_prompt_name.as_ref().and_then(|name| named(folder, name)).unwrap_or_default()
}

fn named<'a>(folder: &'a Folder, name: &str) -> Option<&'a str> {
    folder.prompts.get(name).map(String::as_str)
}

fn unknown(folder: &Folder, name: &str) -> Error {
    let names: Vec<&str> = folder.prompts.keys().map(String::as_str).collect();
    let known =
        if names.is_empty() { "none".to_owned() } else { format!("`{}`", names.join("`, `")) };
    Error::input(format!(
        "there is no prompt `{name}` in `{}`, which has {known}",
        folder.path.display()
    ))
}
