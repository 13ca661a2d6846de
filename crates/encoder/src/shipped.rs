//! Models that come with hpd, found by name, and the one that is used where none is named.
//!
//! Apart from [`hub`](crate::hub), since nothing here is fetched and there are no revisions. A *place* is a folder
//! with a registry, `hpd-models.json`, and the model folders that it lists:
//!
//! `{"default": "NAME", "models": {"NAME": "what it is best at", …}}`
//!
//! The first place that lists a name has it, and the first that names a default decides that. No path is compiled
//! in: places are the folder of the variable `HPD_MODELS`; `models` and `share/hpd/models` beside the running
//! program and a few folders above it, which is where an archive, `/usr/local` and a clone have them; and
//! `hpd/models` among the user's data. Behind them all comes the [`BundledModel`] of a program that has one.

mod bundled;
mod places;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hpd_files::{Error, Result};
use serde::Deserialize;

use crate::json;

pub use bundled::BundledModel;

/// A place's list of its models.
const REGISTRY: &str = "hpd-models.json";

/// Where shipped models are looked for.
#[derive(Clone, Debug, Default)]
pub struct ShippedModels {
    /// `HPD_MODELS`, which must hold a registry.
    named: Option<PathBuf>,
    /// Folders that may hold one, the nearest first.
    usual: Vec<PathBuf>,
    /// Where a bundled model is written to.
    data: Option<PathBuf>,
    bundled: Option<BundledModel>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct ShippedModel {
    /// What is typed to use it.
    pub name: String,
    /// What it is best at: `quality`, `speed`, `static`.
    pub role: String,
    /// Whether it is used where no model is named.
    pub is_default: bool,
    origin: Origin,
}

#[derive(Clone, Debug)]
enum Origin {
    Folder(PathBuf),
    Program { model: BundledModel, data: Option<PathBuf> },
}

impl ShippedModels {
    /// Reads the environment of this process and asks where its program lies.
    pub fn from_environment() -> Self {
        let program = env::current_exe().and_then(std::fs::canonicalize).ok();
        Self::from_variables(|name| env::var_os(name), program.as_deref())
    }

    /// Reads variables from `get`, empty ones counting as not set; around each of `programs`, files that belong to the
    /// running one, is looked for models.
    pub fn from_variables<'a>(
        get: impl Fn(&str) -> Option<OsString>,
        programs: impl IntoIterator<Item = &'a Path>,
    ) -> Self {
        let get = |name: &str| get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let data = places::user_data(get);
        let usual = programs.into_iter().flat_map(places::around).chain(data.clone());
        Self {
            named: get("HPD_MODELS"),
            usual: usual.map(|folder| folder.join("models")).collect(),
            data,
            bundled: None,
        }
    }

    /// The same with the model that is a part of this program, if one is.
    #[must_use]
    pub fn with_bundled(self, bundled: Option<BundledModel>) -> Self {
        Self { bundled, ..self }
    }

    /// All there are, each name once, in the order of the places.
    ///
    /// # Errors
    /// When `HPD_MODELS` holds no registry, or a registry is damaged.
    pub fn all(&self) -> Result<Vec<ShippedModel>> {
        let mut models: Vec<ShippedModel> = Vec::new();
        let mut default = None;
        let mut add = |name: String, role: String, origin: Origin| {
            if models.iter().all(|known| known.name != name) {
                models.push(ShippedModel { name, role, is_default: false, origin });
            }
        };
        for (place, registry) in self.registries()? {
            default = default.or(registry.default);
            for (name, role) in registry.models {
                let folder = place.join(&name);
                add(name, role, Origin::Folder(folder));
            }
        }
        if let Some(model) = self.bundled {
            default = default.or_else(|| Some(model.name.to_owned()));
            let data = self.data.clone();
            add(model.name.to_owned(), "bundled".to_owned(), Origin::Program { model, data });
        }
        for model in &mut models {
            model.is_default = Some(&model.name) == default.as_ref();
        }
        Ok(models)
    }

    /// The model of this name.
    ///
    /// # Errors
    /// As [`ShippedModels::all`].
    pub fn find(&self, name: &str) -> Result<Option<ShippedModel>> {
        Ok(self.all()?.into_iter().find(|model| model.name == name))
    }

    /// The model to use where none is named.
    ///
    /// # Errors
    /// When there is none, or as [`ShippedModels::all`].
    pub fn default_model(&self) -> Result<ShippedModel> {
        let models = self.all()?;
        models.into_iter().find(|model| model.is_default).ok_or_else(|| {
            Error::input("no model is named, and none comes with this hpd").hint(format!(
                "name one, such as `sentence-transformers/all-MiniLM-L6-v2`, or name the folder of \
                 hpd's own, in which `{REGISTRY}` lies, by `HPD_MODELS=DIR`"
            ))
        })
    }

    fn registries(&self) -> Result<Vec<(&Path, Registry)>> {
        let mut registries = Vec::new();
        if let Some(place) = &self.named {
            let registry = Registry::read(place)?.ok_or_else(|| {
                Error::input(format!(
                    "`HPD_MODELS` is `{}`, but there is no `{REGISTRY}` in it",
                    place.display()
                ))
                .hint("name the folder that holds it and the model folders, or unset the variable")
            })?;
            registries.push((place.as_path(), registry));
        }
        for place in &self.usual {
            registries.extend(Registry::read(place)?.map(|registry| (place.as_path(), registry)));
        }
        Ok(registries)
    }
}

impl ShippedModel {
    /// Its folder. A bundled model is written among the user's data at its first use.
    ///
    /// # Errors
    /// When the folder that a registry lists is not there, or the bundled model cannot be written.
    ///
    /// # Cost
    /// For a bundled model all bytes of its folder are read, to see that they are those in the program.
    pub fn folder(&self) -> Result<PathBuf> {
        match &self.origin {
            Origin::Folder(folder) if folder.is_dir() => Ok(folder.clone()),
            Origin::Folder(folder) => {
                let (name, registry) = (&self.name, folder.with_file_name(REGISTRY));
                Err(Error::model(format!(
                    "`{}` lists the model `{name}`, but there is no folder `{}`",
                    registry.display(),
                    folder.display()
                )))
            }
            Origin::Program { model, data } => model.unpack(data.as_deref()),
        }
    }

    /// Where it lies, without writing anything: `None` for a bundled model.
    pub fn path(&self) -> Option<&Path> {
        match &self.origin {
            Origin::Folder(folder) => Some(folder),
            Origin::Program { .. } => None,
        }
    }
}

#[derive(Deserialize)]
struct Registry {
    default: Option<String>,
    #[serde(default)]
    models: BTreeMap<String, String>,
}

impl Registry {
    /// The one in `place`, if there is one. A place that cannot be looked into, or is no folder, has none.
    fn read(place: &Path) -> Result<Option<Self>> {
        let path = place.join(REGISTRY);
        if !path.is_file() {
            return Ok(None);
        }
        let registry: Self = json::read(&path)?;
        match &registry.default {
            Some(name) if !registry.models.contains_key(name) => Err(Error::model(format!(
                "`{}` has the default `{name}`, which is not among its models",
                path.display()
            ))),
            _ => Ok(Some(registry)),
        }
    }
}
