//! From what people type after `--model` to a folder: a folder as it is, a model that comes with hpd, or one of the
//! Hugging Face hub.
//!
//! Apart from opening a model, which knows folders only. Here stands which of the three is meant;
//! [`shipped`](crate::shipped) and [`hub`] know their own kind.

use std::path::{Path, PathBuf};

use hpd_files::{Error, Progress, Result};

use crate::hub::{self, HubSettings};
use crate::shipped::ShippedModels;

/// Where models are looked for.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// Models that come with hpd.
    pub shipped: ShippedModels,
    /// The hub and its cache.
    pub hub: HubSettings,
}

impl Lookup {
    /// Reads the environment of this process.
    pub fn from_environment() -> Self {
        Self { shipped: ShippedModels::from_environment(), hub: HubSettings::from_environment() }
    }

    /// The folder that a model argument names, fetched from the hub if it has to be.
    ///
    /// An existing folder wins. What looks like a path (`./x`, `/x`, `a/b/c`) must exist. The name of a shipped model
    /// is that model. Anything else is a Hugging Face id at `revision`, see [`hub::snapshot`].
    ///
    /// # Errors
    /// When the path does not exist, a folder or shipped model is given a revision, or as [`hub::snapshot`].
    pub fn folder(
        &self,
        argument: &str,
        revision: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<PathBuf> {
        let path = Path::new(argument);
        if path.is_dir() {
            refuse_revision(argument, "a folder", revision)?;
            return Ok(path.to_owned());
        }
        if path.exists() {
            return Err(Error::input(format!("`{argument}` is a file, expected a model folder")));
        }
        if looks_like_a_path(argument) {
            return Err(Error::input(format!("there is no folder `{argument}`")));
        }
        if argument.contains('/') {
            return hub::snapshot(argument, revision, &self.hub, progress);
        }
        if let Some(model) = self.shipped.find(argument)? {
            refuse_revision(argument, "a model that comes with hpd", revision)?;
            return model.folder();
        }
        hub::snapshot(argument, revision, &self.hub, progress).map_err(|error| self.advised(error))
    }

    /// Adds to the hint the names that could have been meant.
    fn advised(&self, error: Error) -> Error {
        let models = self.shipped.all().unwrap_or_default();
        if models.is_empty() {
            return error;
        }
        let names: Vec<_> = models.iter().map(|model| format!("`{}`", model.name)).collect();
        let hint = error.hint_text().map_or_else(String::new, |hint| format!("{hint}; "));
        error.hint(format!("{hint}models that come with hpd: {}", names.join(", ")))
    }
}

fn refuse_revision(argument: &str, what: &str, revision: Option<&str>) -> Result<()> {
    match revision {
        None => Ok(()),
        Some(_) => Err(Error::input(format!("`{argument}` is {what} and has no revisions"))
            .hint("leave out `--revision`")),
    }
}

fn looks_like_a_path(argument: &str) -> bool {
    argument.starts_with(['.', '/', '~'])
        || argument.contains('\\')
        || argument.matches('/').count() > 1
}
