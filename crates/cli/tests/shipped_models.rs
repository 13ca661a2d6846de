//! The models that lie in the tree, `models/`: what is listed is there, small, whole, and says where it comes from.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{Answer, command};

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");

/// Bytes that a clone can bear.
const LARGEST: u64 = 20_000_000;
const ALL: u64 = 40_000_000;

fn hpd(arguments: &[&str]) -> Answer {
    let mut command = command(arguments);
    command.env("HPD_MODELS", MODELS).env("XDG_DATA_HOME", "/nowhere");
    Answer(command.output().unwrap())
}

/// What the registry says, which lists the models of the tree and no others.
fn registry() -> Value {
    let path = Path::new(MODELS).join("hpd-models.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn names() -> Vec<String> {
    registry()["models"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn every_folder_is_listed_and_every_listed_model_is_there() {
    let folders = fs::read_dir(MODELS).unwrap().map(|entry| entry.unwrap());
    let folders = folders.filter(|entry| entry.path().is_dir());
    let folders: BTreeSet<_> =
        folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert_eq!(folders, names().into_iter().collect());
}

#[test]
fn a_default_is_named_and_the_licence_lies_beside_the_models() {
    let names = names();
    if names.is_empty() {
        return;
    }
    assert!(names.iter().any(|name| registry()["default"] == *name));
    for file in ["LICENSE", "NOTICE", "SHA256SUMS"] {
        assert!(Path::new(MODELS).join(file).is_file(), "`models/{file}` is missing");
    }
}

#[test]
fn every_model_is_whole_and_small_and_has_its_card() {
    let mut all = 0;
    for name in names() {
        let facts = hpd(&["--json", "inspect", &name, "--verify"]).stdout();
        let facts: Value = serde_json::from_str(&facts).unwrap();
        assert_eq!(
            (&facts["whole"], &facts["stored_as"]),
            (&true.into(), &"int8".into()),
            "{name}"
        );
        let bytes = facts["bytes"].as_u64().unwrap();
        assert!(bytes <= LARGEST, "{name} has {bytes} bytes");
        all += bytes;
        for file in ["README.md", "hpd.json"] {
            assert!(Path::new(MODELS).join(&name).join(file).is_file(), "{name} has no {file}");
        }
    }
    assert!(all <= ALL, "all models have {all} bytes");
}

#[test]
fn a_clone_embeds_without_naming_a_model() {
    if names().is_empty() {
        return;
    }
    let input = tempfile::NamedTempFile::new().unwrap();
    fs::write(&input, "the fear of spiders\n").unwrap();
    let answer = hpd(&["embed", "--input", input.path().to_str().unwrap(), "--output", "-"]);
    assert_eq!(answer.stdout().lines().count(), 1);
    let default = registry()["default"].as_str().unwrap().to_owned();
    assert!(answer.stderr().contains(&default), "{}", answer.stderr());
}
