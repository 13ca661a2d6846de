//! Models that come with hpd: where they are found, which is the default, and one that is part of the program. Places
//! are temporary folders, variables are given; nothing of the machine's own is read.

#![allow(clippy::unwrap_used, reason = "a test's panic is its message")]

use std::fs;
use std::path::{Path, PathBuf};

use hpd_encoder::shipped::{BundledModel, ShippedModels};
use serde_json::Value;
use tempfile::TempDir;

/// The file that makes a folder a place of models.
const REGISTRY: &str = "hpd-models.json";

/// A folder with a registry and a folder for each model that it lists.
fn place(folder: &Path, registry: &str) {
    let listed: Value = serde_json::from_str(registry).unwrap();
    for name in listed["models"].as_object().unwrap().keys() {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(REGISTRY), registry).unwrap();
}

fn quality_and_speed() -> &'static str {
    r#"{"default": "q", "models": {"q": "quality", "s": "speed"}}"#
}

/// What a program at `program` finds with these variables; those not set are not set.
fn shipped(variables: &[(&str, &Path)], program: &Path) -> ShippedModels {
    let get = |name: &str| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.as_os_str().to_owned())
    };
    ShippedModels::from_variables(get, Some(program))
}

fn default_folder(shipped: &ShippedModels) -> PathBuf {
    shipped.default_model().unwrap().folder().unwrap()
}

#[test]
fn models_lie_beside_the_program_in_share_and_at_the_root_of_a_clone() {
    for (models, program) in [
        ("models", "hpd"),
        ("models", "bin/hpd"),
        ("share/hpd/models", "bin/hpd"),
        ("models", "target/release/hpd"),
        ("models", "target/x86_64-unknown-linux-gnu/release/hpd"),
    ] {
        let root = tempfile::tempdir().unwrap();
        place(&root.path().join(models), quality_and_speed());
        let shipped = shipped(&[], &root.path().join(program));
        assert_eq!(default_folder(&shipped), root.path().join(models).join("q"), "{program}");
        assert_eq!(shipped.find("s").unwrap().unwrap().role, "speed");
        assert!(shipped.find("t").unwrap().is_none());
    }
}

#[test]
fn a_folder_models_without_a_registry_or_too_far_above_is_not_ours() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("a/models/q")).unwrap();
    fs::create_dir_all(root.path().join("a/b")).unwrap();
    fs::write(root.path().join("a/b/models"), "a file").unwrap();
    place(&root.path().join("models"), quality_and_speed());
    assert!(!shipped(&[], &root.path().join("a/b/c/hpd")).all().unwrap().is_empty());
    assert!(shipped(&[], &root.path().join("a/b/c/d/hpd")).all().unwrap().is_empty());
}

#[test]
fn the_variable_comes_before_the_program_and_the_program_before_the_users_data() {
    let root = tempfile::tempdir().unwrap();
    let (named, data) = (root.path().join("named"), root.path().join("data"));
    let program = root.path().join("prefix/bin/hpd");
    place(&data.join("hpd/models"), r#"{"default": "d", "models": {"d": "", "s": ""}}"#);
    let from_data = shipped(&[("XDG_DATA_HOME", &data)], &program);
    assert_eq!(default_folder(&from_data), data.join("hpd/models/d"));

    place(&root.path().join("prefix/models"), quality_and_speed());
    let beside = shipped(&[("XDG_DATA_HOME", &data)], &program);
    assert_eq!(default_folder(&beside), root.path().join("prefix/models/q"));
    let names: Vec<_> = beside.all().unwrap().into_iter().map(|model| model.name).collect();
    assert_eq!(names, ["q", "s", "d"], "each name once, from the first place that has it");

    place(&named, r#"{"models": {"s": "speed"}}"#);
    let all = shipped(&[("XDG_DATA_HOME", &data), ("HPD_MODELS", &named)], &program);
    assert_eq!(all.find("s").unwrap().unwrap().folder().unwrap(), named.join("s"));
    assert_eq!(default_folder(&all), root.path().join("prefix/models/q"));
}

#[test]
fn a_default_is_found_by_its_name_wherever_that_comes_first() {
    let root = tempfile::tempdir().unwrap();
    let named = root.path().join("named");
    place(&named, r#"{"models": {"q": "another"}}"#);
    place(&root.path().join("models"), quality_and_speed());
    let shipped = shipped(&[("HPD_MODELS", &named)], &root.path().join("hpd"));
    assert_eq!(default_folder(&shipped), named.join("q"));
}

#[test]
fn an_empty_registry_is_fine_and_has_no_default() {
    let root = tempfile::tempdir().unwrap();
    place(&root.path().join("models"), r#"{"models": {}}"#);
    let error = shipped(&[], &root.path().join("hpd")).default_model().unwrap_err();
    assert!(error.to_string().contains("no model is named"), "{error}");
    assert!(error.hint_text().unwrap().contains("HPD_MODELS=DIR"));
}

#[test]
fn what_is_wrong_with_a_place_is_said() {
    let root = tempfile::tempdir().unwrap();
    let empty = root.path().join("empty");
    let error = shipped(&[("HPD_MODELS", &empty)], &root.path().join("hpd")).all().unwrap_err();
    assert!(error.to_string().contains("`HPD_MODELS` is `"), "{error}");

    let models = root.path().join("models");
    let with = |registry: &str| {
        fs::create_dir_all(&models).unwrap();
        fs::write(models.join(REGISTRY), registry).unwrap();
        shipped(&[], &root.path().join("hpd")).default_model().and_then(|model| model.folder())
    };
    let error = with("{").unwrap_err();
    assert!(error.to_string().contains(REGISTRY), "{error}");
    let error = with(r#"{"default": "x", "models": {"q": ""}}"#).unwrap_err();
    assert!(error.to_string().contains("the default `x`"), "{error}");
    let error = with(quality_and_speed()).unwrap_err();
    assert!(error.to_string().contains("lists the model `q`, but there is no folder"), "{error}");
}

#[test]
fn the_users_data_follow_the_variables() {
    let root = tempfile::tempdir().unwrap();
    let (home, nowhere) = (root.path().join("home"), root.path().join("nowhere/hpd"));
    let usual = home.join(if cfg!(target_os = "macos") {
        "Library/Application Support"
    } else {
        ".local/share"
    });
    place(&usual.join("hpd/models"), quality_and_speed());
    let is_empty =
        |variables: &[(&str, &Path)]| shipped(variables, &nowhere).all().unwrap().is_empty();
    assert!(is_empty(&[]));
    assert!(!is_empty(&[("XDG_DATA_HOME", &usual)]));
    if cfg!(windows) {
        assert!(!is_empty(&[("LOCALAPPDATA", &usual)]));
    } else {
        assert!(!is_empty(&[("HOME", &home)]));
        assert!(is_empty(&[("HOME", &home), ("XDG_DATA_HOME", root.path())]));
        assert!(!is_empty(&[("HOME", &home), ("XDG_DATA_HOME", Path::new("relative"))]));
    }
}

const BUNDLED: BundledModel =
    BundledModel { name: "b", files: &[("config.json", b"{}"), ("1_Pooling/config.json", b"{ }")] };

fn with_bundled() -> (TempDir, ShippedModels) {
    let root = tempfile::tempdir().unwrap();
    let shipped = shipped(&[("XDG_DATA_HOME", root.path())], &root.path().join("hpd"));
    (root, shipped.with_bundled(Some(BUNDLED)))
}

#[test]
fn a_bundled_model_is_written_once_and_again_when_its_folder_is_not_whole() {
    let (root, shipped) = with_bundled();
    let listed = &shipped.all().unwrap()[0];
    assert!(listed.is_default && listed.path().is_none());
    assert!(!root.path().join("hpd").exists(), "a listing writes nothing");

    let folder = default_folder(&shipped);
    assert_eq!(folder, root.path().join("hpd/bundled/b"));
    assert_eq!(fs::read(folder.join("1_Pooling/config.json")).unwrap(), b"{ }");
    let written = |name: &str| fs::metadata(folder.join(name)).unwrap().modified().unwrap();
    let first = written("config.json");
    default_folder(&shipped);
    assert_eq!(written("config.json"), first, "nothing is written a second time");

    fs::write(folder.join("config.json"), "{").unwrap();
    fs::write(folder.join("old.bin"), "of another version").unwrap();
    default_folder(&shipped);
    assert_eq!(fs::read(folder.join("config.json")).unwrap(), b"{}");
    assert!(!folder.join("old.bin").exists());
    assert_eq!(fs::read_dir(root.path().join("hpd/bundled")).unwrap().count(), 1);
}

#[test]
fn a_bundled_model_comes_behind_all_places() {
    let (root, shipped) = with_bundled();
    place(&root.path().join("models"), quality_and_speed());
    assert_eq!(default_folder(&shipped), root.path().join("models/q"));
    assert_eq!(shipped.find("b").unwrap().unwrap().role, "bundled");
    place(&root.path().join("models"), r#"{"models": {"b": "static"}}"#);
    assert_eq!(default_folder(&shipped), root.path().join("models/b"));
}

#[test]
fn several_threads_may_write_a_bundled_model_at_once() {
    let (_root, shipped) = with_bundled();
    let folders: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| default_folder(&shipped))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(folders.iter().all(|folder| folder.join("config.json").is_file()));
}

#[test]
fn a_bundled_model_that_cannot_be_written_is_an_error_with_a_way_out() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    for variables in [&[("XDG_DATA_HOME", file.as_path())][..], &[]] {
        let shipped = shipped(variables, &root.path().join("hpd")).with_bundled(Some(BUNDLED));
        let error = shipped.default_model().unwrap().folder().unwrap_err();
        assert!(error.hint_text().unwrap().contains("XDG_DATA_HOME=DIR"), "{error:?}");
    }
}
