//! An old model folder, pickled weights and all, becomes one that gives the same vectors.
#![allow(clippy::unwrap_used, reason = "a test's panic is its message")]

use std::fs;
use std::path::{Path, PathBuf};

use hpd_encoder::convert::convert;
use hpd_encoder::{EncodeOptions, Model};
use serde::Deserialize;

/// What `fixtures/old_model/make_old_model.py` got from sentence-transformers.
#[derive(Deserialize)]
struct Expected {
    texts: Vec<String>,
    vectors: Vec<Vec<f32>>,
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/old_model")).join(name)
}

fn encoder_fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/encoder")).join(name)
}

#[test]
fn converted_checkpoint_gives_the_vectors_of_sentence_transformers() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("new");
    let conversion = convert(&fixture("model"), &output, false).unwrap();
    assert_eq!(conversion.dim, 4);
    assert_eq!(conversion.dropped, ["pooler.dense.weight", "pooler.dense.bias"]);

    let expected = fs::read_to_string(fixture("expected.json")).unwrap();
    let Expected { texts, vectors } = serde_json::from_str(&expected).unwrap();
    let model = Model::open(&output).unwrap();
    assert_eq!(model.identity(), &conversion.identity);
    let rows = model.encode(&texts, &EncodeOptions::default()).unwrap().rows;
    for (row, expected) in rows.data.chunks(4).zip(&vectors) {
        let difference = row.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-5, "{row:?} instead of {expected:?}");
    }
}

#[test]
fn converting_twice_changes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let (once, twice) = (dir.path().join("once"), dir.path().join("twice"));
    let first = convert(&fixture("model"), &once, false).unwrap();
    let second = convert(&once, &twice, false).unwrap();
    assert_eq!(first.identity, second.identity);
    assert!(second.dropped.is_empty());
    for name in ["model.safetensors", "2_Dense/model.safetensors", "hpd.json", "tokenizer.json"] {
        assert_eq!(
            fs::read(once.join(name)).unwrap(),
            fs::read(twice.join(name)).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn a_folder_without_identity_keeps_the_space_it_had() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    convert(&fixture("model"), &old, false).unwrap();
    fs::remove_file(old.join("hpd.json")).unwrap();
    let before = Model::open(&old).unwrap().identity().clone();
    let after = convert(&old, &new, false).unwrap().identity;
    assert_eq!(before.space, after.space);
}

#[test]
fn what_cannot_be_opened_again_gets_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    convert(&fixture("model"), &old, false).unwrap();
    let config = fs::read_to_string(old.join("config.json")).unwrap();
    let more = config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    assert_ne!(config, more);
    fs::write(old.join("config.json"), more).unwrap();
    let error = convert(&old, &new, false).unwrap_err();
    assert!(error.to_string().contains("encoder.layer.2"), "{error}");
    assert!(!new.exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn every_architecture_is_written_anew_and_gives_the_same_vectors() {
    let texts = ["bread rises".to_owned(), "the sea ".repeat(40)];
    let encode = |folder: &Path| {
        Model::open(folder).unwrap().encode(&texts, &EncodeOptions::default()).unwrap().rows.data
    };
    for name in
        ["distilbert_cls", "mpnet_cls", "modernbert_new", "modernbert_old", "static_embedding"]
    {
        let dir = tempfile::tempdir().unwrap();
        let (source, output) = (encoder_fixture(name), dir.path().join("new"));
        let conversion = convert(&source, &output, false).unwrap();
        assert!(conversion.dropped.is_empty(), "{name}: {:?}", conversion.dropped);
        assert_eq!(encode(&output), encode(&source), "{name}");
    }
}

#[test]
fn what_only_model2vec_does_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = encoder_fixture("model2vec_plain");
    let error = convert(&source, &dir.path().join("new"), false).unwrap_err();
    assert!(error.to_string().contains("a static model of model2vec"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_static_model_goes_on_cutting_where_it_did() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("new");
    convert(&encoder_fixture("static_embedding"), &output, false).unwrap();
    let model = Model::open(&output).unwrap();
    assert_eq!(model.max_seq_length(), 12);
    assert!(output.join("0_StaticEmbedding/model.safetensors").is_file());
    assert!(!output.join("tokenizer.json").exists());
}

#[test]
fn a_checkpoint_in_parts_is_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (old, whole, new) =
        (dir.path().join("old"), dir.path().join("whole"), dir.path().join("new"));
    copy_folder(&fixture("model"), &old);
    let expected = convert(&old, &whole, false).unwrap();

    fs::remove_file(old.join("pytorch_model.bin")).unwrap();
    copy_folder(&fixture("parts"), &old);
    let found = convert(&old, &new, false).unwrap();
    assert_eq!(found.identity, expected.identity);
    assert_eq!(found.dropped.len(), expected.dropped.len());

    let error = Model::open(&old).err().unwrap();
    assert!(error.to_string().contains("pytorch_model.bin.index.json"), "{error}");
    fs::remove_file(old.join("pytorch_model-00002-of-00002.bin")).unwrap();
    let error = convert(&old, &dir.path().join("half"), false).unwrap_err();
    assert!(error.to_string().contains("00002-of-00002"), "{error}");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(path, target).unwrap();
        }
    }
}
