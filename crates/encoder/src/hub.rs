//! From what people type after `--model` to a folder: a folder as it is, or a model of the Hugging Face hub.
//!
//! Apart from opening a model, which knows folders only. The cache is the one that `huggingface_hub` uses, so
//! a model fetched by Python is not fetched again, and the other way round. Fetching is compiled in by the
//! feature `hub`; without it ids are refused by name.
//!
//! `argument ─place─> id ─cache─> snapshot folder`, and only if that is not whole: `─client─> files ─> cache`.
//! It is a client of its own, a few requests on `ureq`: `hf-hub` 0.5 reads only two of the variables, sends
//! the token on to the storage host and cannot stay off the network.

#[cfg(feature = "hub")]
mod cache;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod contents;
mod settings;

use std::path::{Path, PathBuf};

use hpd_files::{Error, Progress, Result};

pub use settings::HubSettings;

/// The folder that a model argument names, fetched from the hub if it has to be.
///
/// An existing folder wins. What looks like a path (`./x`, `/x`, `a/b/c`) must exist. Anything else is a
/// Hugging Face id, `name` or `organisation/name`, at branch, tag or commit `revision` (default `main`). A
/// model that is whole in the cache is taken from there without a request, also when its branch has moved on.
///
/// # Errors
/// When the path does not exist, the id or revision is malformed or unknown, access is refused, or the
/// network is needed and cannot be used.
pub fn model_folder(
    argument: &str,
    revision: Option<&str>,
    settings: &HubSettings,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let path = Path::new(argument);
    match (path.is_dir(), revision) {
        (true, None) => return Ok(path.to_owned()),
        (true, Some(_)) => {
            return Err(Error::input(format!("`{argument}` is a folder and has no revisions"))
                .hint("leave out `--revision`"));
        }
        (false, _) => {}
    }
    if path.exists() {
        return Err(Error::input(format!("`{argument}` is a file, expected a model folder")));
    }
    if looks_like_a_path(argument) {
        return Err(Error::input(format!("there is no folder `{argument}`")));
    }
    if !is_id(argument) {
        return Err(Error::input(format!(
            "`{argument}` is neither a folder nor a Hugging Face id such as \
             `sentence-transformers/all-MiniLM-L6-v2`"
        )));
    }
    let revision = revision.unwrap_or("main");
    if !is_revision(revision) {
        return Err(Error::input(format!("`{revision}` is not a branch, tag or commit")));
    }
    fetch(argument, revision, settings, progress)
}

fn looks_like_a_path(argument: &str) -> bool {
    argument.starts_with(['.', '/', '~'])
        || argument.contains('\\')
        || argument.matches('/').count() > 1
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

    fn resolve(argument: &str, revision: Option<&str>) -> Result<PathBuf> {
        let cache = PathBuf::from("/nowhere");
        let settings = HubSettings { cache, offline: true, ..HubSettings::default() };
        model_folder(argument, revision, &settings, &Silent)
    }

    #[test]
    fn an_existing_folder_wins_and_has_no_revisions() {
        assert_eq!(resolve("src", None).unwrap(), PathBuf::from("src"));
        let error = resolve("src", Some("main")).unwrap_err();
        assert!(error.to_string().contains("no revisions"), "{error}");
        let error = resolve("Cargo.toml", None).unwrap_err();
        assert!(error.to_string().contains("is a file"), "{error}");
    }

    #[test]
    fn what_looks_like_a_path_must_exist() {
        for path in
            ["./missing", "/missing", "../missing", "a/b/missing", "~/missing", "a\\missing"]
        {
            let error = resolve(path, None).unwrap_err();
            assert!(error.to_string().starts_with("there is no folder"), "{error}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_before_any_request() {
        for argument in ["", "a b", "org/", "org/na--me", "org/na..me", "-x", "http:x", "größe"] {
            let error = resolve(argument, None).unwrap_err();
            assert!(error.to_string().contains("neither a folder nor"), "{error}");
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
