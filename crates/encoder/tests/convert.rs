//! An old model folder, pickled weights and all, becomes one that gives the same vectors.
#![allow(clippy::unwrap_used, reason = "a test's panic is its message")]

use std::fs;
use std::path::{Path, PathBuf};

use hpd_encoder::convert::{average, convert};
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

/// The model with all its numbers and those of its head multiplied by `factor`, in the space of a run.
fn scaled(dir: &Path, name: &str, factor: f32) -> PathBuf {
    let folder = dir.join(name);
    convert(&encoder_fixture("bert_mean"), &folder, false).unwrap();
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let numbers = bytes[header..]
        .chunks_exact(4)
        .flat_map(|bytes| (f32::from_le_bytes(bytes.try_into().unwrap()) * factor).to_le_bytes());
    fs::write(&path, [&bytes[..header], &numbers.collect::<Vec<u8>>()].concat()).unwrap();
    let about = serde_json::json!({ "format": 1, "space": "a space", "dim": 8 });
    fs::write(folder.join("hpd.json"), about.to_string()).unwrap();
    folder
}

#[test]
fn a_mean_has_the_mean_of_all_numbers() {
    let dir = tempfile::tempdir().unwrap();
    // Powers of two, so that nothing is rounded.
    let [one, four] = [1.0, 4.0].map(|factor| scaled(dir.path(), &factor.to_string(), factor));
    let sources = [one.clone(), four, one];
    let mean = dir.path().join("mean");
    let made = average(&sources, &mean, false, false).unwrap();
    let expected = scaled(dir.path(), "expected", 2.0);
    let numbers = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    assert!(numbers(&mean) == numbers(&expected));
    assert_eq!(made.identity.space, "a space");
    let about = fs::read_to_string(mean.join("hpd.json")).unwrap();
    let about: serde_json::Value = serde_json::from_str(&about).unwrap();
    assert_eq!(about["mean_of"].as_array().unwrap().len(), 3);
    assert!(fs::read_to_string(mean.join("README.md")).unwrap().contains("the mean of 3 models"));
    let itself = dir.path().join("itself");
    average(&[mean.clone(), mean.clone()], &itself, false, false).unwrap();
    assert!(numbers(&itself) == numbers(&mean));
    average(&sources, &dir.path().join("int8"), false, true).unwrap();
}

#[test]
fn models_without_a_mean_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = scaled(dir.path(), "first", 1.0);
    let elsewhere = scaled(dir.path(), "elsewhere", 1.0);
    fs::write(elsewhere.join("hpd.json"), r#"{ "format": 1, "space": "another", "dim": 8 }"#)
        .unwrap();
    let opposite = scaled(dir.path(), "opposite", -1.0);
    let mean = dir.path().join("mean");
    for (others, expected) in [
        (vec![], "a mean of 1 models"),
        (vec![encoder_fixture("roberta_new")], "has the shape roberta"),
        (vec![elsewhere], "has the space another"),
        (vec![opposite], "have a cosine of -1.00"),
    ] {
        let sources = [vec![first.clone()], others].concat();
        let error = average(&sources, &mean, false, false).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!mean.exists());
    }
}
