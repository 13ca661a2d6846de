//! Two models in one folder: each text takes the one of its side, and what does not belong together is not put there.
#![allow(clippy::unwrap_used, reason = "a test's panic is its message")]

use std::fs;
use std::path::{Path, PathBuf};

use hpd_encoder::convert::{convert, quantize};
use hpd_encoder::pair::pair;
use hpd_encoder::{EncodeOptions, Model, OpenOptions, Prompt, Side};
use tempfile::TempDir;

const TEXTS: [&str; 3] = ["seven bridges", "bread rises because yeast breathes", ""];

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/encoder")).join(name)
}

/// A model with prompts, the same in 8 bits, and a place for more.
fn models() -> (TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (floats, int8) = (dir.path().join("floats"), dir.path().join("int8"));
    convert(&fixture("bert_heads"), &floats, false).unwrap();
    quantize(&floats, &int8, false).unwrap();
    (dir, floats, int8)
}

fn encode(model: &Model, prompt: Prompt, side: Option<Side>) -> Vec<f32> {
    let options = EncodeOptions { prompt, side, ..EncodeOptions::default() };
    model.encode(&TEXTS, &options).unwrap().rows.data
}

fn vectors(folder: &Path, prompt: Prompt) -> Vec<f32> {
    encode(&Model::open(folder).unwrap(), prompt, None)
}

#[test]
fn each_text_takes_the_model_of_its_side() {
    let (dir, floats, int8) = models();
    let both = dir.path().join("both");
    let written = pair(&int8, &floats, &both, false, false).unwrap();
    // Widened, the queries' model computes in floats.
    let widened = dir.path().join("widened");
    convert(&int8, &widened, false).unwrap();
    let of_queries = vectors(&widened, Prompt::Query);
    let of_documents = vectors(&floats, Prompt::Document);
    assert_ne!(of_queries, vectors(&floats, Prompt::Query));
    for side in [None, Some(Side::Query), Some(Side::Document)] {
        let opening = OpenOptions { side, ..OpenOptions::default() };
        let model = Model::open_with(&both, &opening).unwrap();
        assert_eq!(encode(&model, Prompt::Query, None), of_queries, "opened for {side:?}");
        assert_eq!(encode(&model, Prompt::Document, None), of_documents, "opened for {side:?}");
        assert_eq!(model.identity(), &written.identity);
        assert_eq!(model.fingerprint(), written.identity.weights);
        assert_eq!((model.dim(), model.parameters()), (written.dim, written.parameters));
        let words = Prompt::Text("w ".to_owned());
        let alone = vectors(&widened, words.clone());
        assert_eq!(encode(&model, words, Some(Side::Query)), alone, "a prompt of one's own");
    }
    let plain = Model::open(&both).unwrap();
    assert_eq!(plain.folder().side, Some(Side::Document));
    assert_eq!(encode(&plain, Prompt::Default, None), vectors(&floats, Prompt::Default));
}

#[test]
fn both_models_can_be_taken_out_again() {
    let (dir, floats, int8) = models();
    let both = dir.path().join("both");
    pair(&int8, &floats, &both, false, false).unwrap();
    let whole = |name: &str| Model::open(&both.join(name)).unwrap().identity().clone();
    assert_eq!(&whole("document"), Model::open(&floats).unwrap().identity());
    assert_eq!(whole("query").space, whole("document").space);
    let error = convert(&both, &dir.path().join("one"), false).unwrap_err();
    assert!(error.to_string().contains("not written anew together"), "{error}");
    assert!(error.hint_text().unwrap().contains("`query` and `document`"), "{error:?}");
}

#[test]
fn a_pair_in_8_bits_is_smaller_and_in_the_same_space() {
    let (dir, floats, int8) = models();
    let both = dir.path().join("both");
    let written = pair(&int8, &floats, &both, false, true).unwrap();
    for side in ["query", "document"] {
        assert!(both.join(side).join("model.int8.safetensors").is_file());
        assert!(!both.join(side).join("model.safetensors").exists());
    }
    assert!(Model::open(&both).unwrap().is_int8());
    assert_eq!(written.identity.space, Model::open(&floats).unwrap().identity().space);
    assert_eq!(vectors(&both, Prompt::Document), vectors(&int8, Prompt::Document));
}

#[test]
fn models_of_two_spaces_are_no_pair_and_leave_nothing_behind() {
    let (dir, floats, _) = models();
    let (other, both) = (dir.path().join("other"), dir.path().join("both"));
    convert(&fixture("bert_mean"), &other, false).unwrap();
    let error = pair(&other, &floats, &both, false, false).unwrap_err();
    assert!(error.to_string().contains("in the space"), "{error}");
    assert!(error.hint_text().unwrap().contains("--project"), "{error:?}");
    assert!(!both.exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn a_router_that_lies_is_refused_by_what_it_says() {
    let (dir, floats, int8) = models();
    let both = dir.path().join("both");
    pair(&int8, &floats, &both, false, false).unwrap();
    let list = both.join("router_config.json");
    let said = fs::read_to_string(&list).unwrap();
    let refused = |from: &str, to: &str| {
        assert!(said.contains(from), "{from} is not in {said}");
        fs::write(&list, said.replace(from, to)).unwrap();
        Model::open(&both).err().expect("a router that lies must not open").to_string()
    };
    let error = refused(r#""default_route": "document""#, r#""default_route": null"#);
    assert!(error.contains("no route for a text of no side"), "{error}");
    let error = refused(r#""default_route": "document""#, r#""default_route": "image""#);
    assert!(error.contains("to `image`, expected the route of queries"), "{error}");
    let error = refused(r#""query/1_Pooling": "#, r#""query/9_Pooling": "#);
    assert!(error.contains("does not describe the modules of its route `query`"), "{error}");
    let error = refused(r#""query/1_Pooling","#, "");
    assert!(error.contains("expected `Transformer`, `Pooling`"), "{error}");
    fs::remove_file(&list).unwrap();
    let error = Model::open(&both).err().unwrap().to_string();
    assert!(error.contains("router_config.json"), "{error}");
}
