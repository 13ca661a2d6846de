//! From what people type after `--model` to a folder: a folder as it is, a model that comes with hpd, or one of the
//! Hugging Face hub; and which is meant where nobody typed anything.
//!
//! Apart from opening a model, which knows folders only. Here stands which of the three is meant;
//! [`shipped`](crate::shipped) and [`hub`] know their own kind.

use std::path::{self, Path, PathBuf};

use hpd_files::{Error, Progress, Result};

use crate::hub::{self, HubSettings};
use crate::shipped::ShippedModels;
use crate::{Arithmetic, Model, OpenOptions, Side};

/// Where models are looked for.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// The model that is meant where none is named, if it is not to be the default of those that come with hpd: the
    /// variable `HPD_MODEL`.
    pub preferred: Option<String>,
    /// Models that come with hpd.
    pub shipped: ShippedModels,
    /// The hub and its cache.
    pub hub: HubSettings,
}

/// Which model to open, and how.
#[derive(Clone, Debug, Default)]
pub struct ModelChoice {
    /// Folder, name of a model that comes with hpd, or Hugging Face id; `None` for the one that [`Lookup::find`] takes
    /// then.
    pub model: Option<String>,
    /// Branch, tag or commit of a Hugging Face id.
    pub revision: Option<String>,
    /// See [`OpenOptions::max_seq_length`].
    pub max_seq_length: Option<usize>,
    /// See [`OpenOptions::arithmetic`].
    pub arithmetic: Option<Arithmetic>,
}

/// A model's name as it was given, and the folder that this was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundModel {
    /// What was given, or the name of the model that was taken where nothing was.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
}

impl FoundModel {
    /// A name that holds from every working directory: a folder's whole path; ids and shipped names as they are.
    pub fn lasting_name(&self) -> String {
        match path::absolute(&self.folder) {
            Ok(path) if self.folder == Path::new(&self.name) => path.to_string_lossy().into_owned(),
            _ => self.name.clone(),
        }
    }
}

impl Lookup {
    /// Reads the environment of this process.
    pub fn from_environment() -> Self {
        Self {
            preferred: std::env::var("HPD_MODEL").ok().filter(|name| !name.is_empty()),
            shipped: ShippedModels::from_environment(),
            hub: HubSettings::from_environment(),
        }
    }

    /// The model that `name` means, see [`Lookup::folder`]. Without a name it is the preferred one, else the default of
    /// those that come with hpd, and `progress` is told which.
    ///
    /// # Errors
    /// As [`Lookup::folder`], and when no model is named and none comes with hpd.
    pub fn find(
        &self,
        name: Option<&str>,
        revision: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<FoundModel> {
        let named = |name: &str, revision| {
            let folder = self.folder(name, revision, progress)?;
            Ok(FoundModel { name: name.to_owned(), folder })
        };
        if let Some(name) = name {
            return named(name, revision);
        }
        if let Some(name) = &self.preferred {
            progress.note(&format!("no model is named; using `{name}`, which HPD_MODEL names"));
            return named(name, None);
        }
        let model = self.shipped.default_model()?;
        let folder = model.folder()?;
        let (name, place) = (model.name, folder.display());
        progress
            .note(&format!("no model is named; using `{name}`, which comes with hpd (`{place}`)"));
        Ok(FoundModel { name, folder })
    }

    /// Finds a model and opens it; where queries and documents have a model each, that of `side`.
    ///
    /// # Errors
    /// As [`Lookup::find`] and [`Model::open_with`].
    pub fn open(
        &self,
        choice: &ModelChoice,
        side: Option<Side>,
        progress: &dyn Progress,
    ) -> Result<(FoundModel, Model)> {
        let found = self.find(choice.model.as_deref(), choice.revision.as_deref(), progress)?;
        let &ModelChoice { max_seq_length, arithmetic, .. } = choice;
        let model =
            Model::open_with(&found.folder, &OpenOptions { max_seq_length, arithmetic, side })?;
        Ok((found, model))
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
