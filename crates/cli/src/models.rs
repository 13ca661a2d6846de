//! Which model is meant where a verb opens one: the one that was typed, else that of `HPD_MODEL`, else the one that
//! comes with hpd. Whichever was not typed is said on stderr.

use std::path::{self, Path, PathBuf};

use hpd_encoder::Lookup;
use hpd_encoder::shipped::BundledModel;
use hpd_files::{Progress, Result};

/// The model that the feature `bundled-model` has put into the program; `build.rs` writes the expression.
#[cfg(feature = "bundled-model")]
const BUNDLED: Option<BundledModel> = Some(include!(concat!(env!("OUT_DIR"), "/bundled_model.rs")));
#[cfg(not(feature = "bundled-model"))]
const BUNDLED: Option<BundledModel> = None;

/// A model's name as it is typed, and the folder that this was found to be.
pub(crate) struct FoundModel {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
}

impl FoundModel {
    /// The model that is meant when `typed` is what was typed, if anything was.
    pub(crate) fn find(
        typed: Option<&str>,
        revision: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        if let Some(name) = typed {
            return Self::named(name, revision, progress);
        }
        if let Some(name) = std::env::var("HPD_MODEL").ok().filter(|name| !name.is_empty()) {
            progress.note(&format!("no model is named; using `{name}`, which HPD_MODEL names"));
            return Self::named(&name, None, progress);
        }
        let model = lookup().shipped.default_model()?;
        let folder = model.folder()?;
        let (name, place) = (model.name, folder.display());
        progress
            .note(&format!("no model is named; using `{name}`, which comes with hpd (`{place}`)"));
        Ok(Self { name, folder })
    }

    /// The model of a name that was typed.
    pub(crate) fn named(
        name: &str,
        revision: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let folder = lookup().folder(name, revision, progress)?;
        Ok(Self { name: name.to_owned(), folder })
    }

    /// A name that holds from every working directory: a folder's whole path; ids and shipped names as they are.
    pub(crate) fn lasting_name(&self) -> String {
        match path::absolute(&self.folder) {
            Ok(path) if self.folder == Path::new(&self.name) => path.to_string_lossy().into_owned(),
            _ => self.name.clone(),
        }
    }
}

/// Where models are looked for.
pub(crate) fn lookup() -> Lookup {
    let Lookup { shipped, hub } = Lookup::from_environment();
    Lookup { shipped: shipped.with_bundled(BUNDLED), hub }
}
