//! Models of the Hugging Face hub: from an id to a folder.
//!
//! Apart from opening a model, which knows folders only. The cache is the one that `huggingface_hub` uses, so
//! a model fetched by Python is not fetched again, and the other way round. Fetching is compiled in by the
//! feature `hub`; without it ids are refused by name.
//!
//! `id ─cache─> snapshot folder`, and only if that is not whole: `─client─> files ─> cache`.
//! It is a client of its own, a few requests on `ureq`: `hf-hub` 0.5 reads only two of the variables, sends
//! the token on to the storage host and cannot stay off the network.

#[cfg(feature = "hub")]
mod cache;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod contents;
mod settings;

use std::path::PathBuf;

use hpd_files::{Error, Progress, Result};

pub use settings::HubSettings;

/// The folder of a model of the hub, fetched if it has to be.
///
/// `id` is `name` or `organisation/name`, `revision` a branch, tag or commit (default `main`). A model that is whole
/// in the cache is taken from there without a request, also when its branch has moved on.
///
/// # Errors
/// When the id or revision is malformed or unknown, access is refused, or the network is needed and cannot be
/// used.
pub fn snapshot(
    id: &str,
    revision: Option<&str>,
    settings: &HubSettings,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    if !is_id(id) {
        return Err(Error::input(format!(
            "`{id}` is neither a folder that is there nor a Hugging Face id such as \
             `sentence-transformers/all-MiniLM-L6-v2`"
        )));
    }
    let revision = revision.unwrap_or("main");
    if !is_revision(revision) {
        return Err(Error::input(format!("`{revision}` is not a branch, tag or commit")));
    }
    fetch(id, revision, settings, progress)
}

/// One or two names of letters, digits, `-`, `_` and `.`.
fn is_id(argument: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !name.starts_with(['-', '.'])
            && !name.contains("..")
            && !name.contains("--")
    };
    argument.split('/').count() <= 2 && argument.split('/').all(is_name)
}

/// A name that is safe as a path below the cache's `refs`, and in a URL.
fn is_revision(revision: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
    };
    revision.split('/').all(is_part)
}

#[cfg(not(feature = "hub"))]
fn fetch(id: &str, _: &str, _: &HubSettings, _: &dyn Progress) -> Result<PathBuf> {
    Err(Error::input(format!("there is no folder `{id}`, and this build does not fetch models"))
        .hint("name a folder, or build with `--features hub`"))
}

#[cfg(feature = "hub")]
fn fetch(
    id: &str,
    revision: &str,
    settings: &HubSettings,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let cache = cache::Repository::new(&settings.cache, id);
    if let Some(snapshot) = cache.whole_snapshot(revision) {
        return Ok(snapshot);
    }
    if settings.offline {
        return Err(Error::new(
            hpd_files::ErrorKind::Network,
            format!(
                "`{id}` at `{revision}` is not whole in the cache `{}`, and the network is switched off",
                settings.cache.display()
            ),
        )
        .hint("unset HF_HUB_OFFLINE, or name a model folder"));
    }
    client::Client::new(settings, id, revision).fetch(&cache, progress)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hpd_files::Silent;

    fn resolve(id: &str, revision: Option<&str>) -> Result<PathBuf> {
        let cache = PathBuf::from("/nowhere");
        let settings = HubSettings { cache, offline: true, ..HubSettings::default() };
        snapshot(id, revision, &settings, &Silent)
    }

    #[test]
    fn what_is_malformed_is_refused_before_any_request() {
        for id in ["", "a b", "org/", "org/na--me", "org/na..me", "-x", "http:x", "größe", "a/b/c"]
        {
            let error = resolve(id, None).unwrap_err();
            assert!(error.to_string().contains("nor a Hugging Face id"), "{error}");
        }
        for revision in ["", "../../etc", "a//b", "a b", ".hidden", "a?b"] {
            let error = resolve("org/name", Some(revision)).unwrap_err();
            assert!(error.to_string().contains("not a branch"), "{error}");
        }
    }

    #[cfg(not(feature = "hub"))]
    #[test]
    fn without_the_feature_ids_are_refused_by_its_name() {
        let error = resolve("org/name", None).unwrap_err();
        assert!(error.hint_text().unwrap().contains("--features hub"));
    }
}
