//! From a name to a folder: folders, shipped models and ids of the hub, in this order. Nothing is fetched.

#![allow(clippy::unwrap_used, reason = "a test's panic is its message")]

use std::fs;
use std::path::{Path, PathBuf};

use hpd_encoder::Lookup;
use hpd_encoder::hub::HubSettings;
use hpd_encoder::shipped::ShippedModels;
use hpd_files::{Result, Silent};

/// No network, no cache, and no shipped models but those in `place`.
fn lookup(place: Option<&Path>) -> Lookup {
    let get = |name: &str| (name == "HPD_MODELS").then(|| place.map(Into::into)).flatten();
    let hub = HubSettings { cache: "/nowhere".into(), offline: true, ..HubSettings::default() };
    Lookup { shipped: ShippedModels::from_variables(get, None), hub, ..Lookup::default() }
}

fn resolve(argument: &str, revision: Option<&str>) -> Result<PathBuf> {
    lookup(None).folder(argument, revision, &Silent)
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
    for path in ["./missing", "/missing", "../missing", "a/b/missing", "~/missing", "a\\missing"] {
        let error = resolve(path, None).unwrap_err();
        assert!(error.to_string().starts_with("there is no folder"), "{error}");
    }
}

#[test]
fn what_is_neither_is_refused_before_any_request() {
    for argument in ["", "a b", "org/", "org/na--me", "org/na..me", "-x", "http:x", "größe"] {
        let error = resolve(argument, None).unwrap_err();
        assert!(error.to_string().contains("neither a folder"), "{error}");
    }
}

#[test]
fn a_shipped_name_comes_after_folders_and_before_the_hub() {
    let place = tempfile::tempdir().unwrap();
    let registry = r#"{"models": {"small": "speed", "src": "quality"}}"#;
    fs::write(place.path().join("hpd-models.json"), registry).unwrap();
    fs::create_dir(place.path().join("small")).unwrap();
    let lookup = lookup(Some(place.path()));
    let folder = |argument, revision| lookup.folder(argument, revision, &Silent);
    assert_eq!(folder("small", None).unwrap(), place.path().join("small"));
    assert_eq!(folder("src", None).unwrap(), PathBuf::from("src"));
    let error = folder("small", Some("main")).unwrap_err();
    assert!(error.to_string().contains("comes with hpd and has no revisions"), "{error}");

    let unknown = folder("smal", None).unwrap_err();
    let hint = unknown.hint_text().unwrap();
    assert!(hint.ends_with("models that come with hpd: `small`, `src`"), "{hint}");
    let organisation = folder("org/small", None).unwrap_err();
    assert!(!organisation.hint_text().unwrap_or_default().contains("come with"));
}
