//! Model folders converted: to 8 bits, back, and into something every other verb takes.

mod support;

use std::fs;

use serde_json::Value;
use support::{Workshop, assert_refused, hpd};

/// A workshop whose model stands beside its twin in 8 bits, `int8`.
fn with_int8() -> Workshop {
    let shop = Workshop::new();
    let said =
        hpd(&["export", &shop.name("model"), "--int8", "--output", &shop.name("int8")]).stdout();
    assert!(said.contains("32 dimensions") && said.contains(" kB, space "), "{said}");
    shop
}

fn vectors(shop: &Workshop, model: &str, arithmetic: &str) -> Vec<u8> {
    let (texts, output) = (shop.texts(50), shop.name(&format!("{model}-{arithmetic}.npy")));
    let mut words = vec!["embed", "--input", &texts, "--output", &output];
    let model = shop.name(model);
    words.extend(["--model", &model, "--arithmetic", arithmetic]);
    hpd(&words).stdout();
    fs::read(output).expect("vectors were written")
}

fn inspect(shop: &Workshop, model: &str) -> Value {
    let facts = hpd(&["--json", "inspect", &shop.name(model), "--verify"]).stdout();
    serde_json::from_str(&facts).expect("JSON")
}

#[test]
fn eight_bits_and_back_give_the_same_vectors() {
    let shop = with_int8();
    hpd(&["export", &shop.name("int8"), "--output", &shop.name("float")]).stdout();
    assert!(shop.path("int8/model.int8.safetensors").is_file());
    assert!(!shop.path("int8/model.safetensors").exists());
    assert!(shop.path("float/model.safetensors").is_file());
    assert!(!shop.path("float/model.int8.safetensors").exists());
    let exact = vectors(&shop, "model", "float32");
    for arithmetic in ["float32", "int8"] {
        let int8 = vectors(&shop, "int8", arithmetic);
        assert_eq!(int8, vectors(&shop, "float", arithmetic));
        assert_ne!(int8, exact);
    }
}

#[test]
fn a_static_student_is_made_embeds_and_goes_to_8_bits_and_back() {
    let shop = Workshop::new();
    let (model, texts) = (shop.name("model"), shop.texts(400));
    let distil = |more: &[&str]| {
        let output = shop.name("static");
        let run = ["distill", "--teacher", &model, "--sentences", &texts, "--output", &output];
        hpd(&[&run, ["--layers", "0", "--dim", "8", "--held-back", "50"].as_slice(), more].concat())
    };
    assert_refused(&distil(&["--recipe", "hpd2022"]), &["head.bias", "--set head.bias=false"]);
    distil(&["--resume"]).stdout();
    let recipe = fs::read_to_string(shop.path("static.run/recipe.toml")).expect("a recipe");
    assert!(recipe.contains("max_tokens = 256"), "not the recipe for static students: {recipe}");
    let facts = inspect(&shop, "static");
    assert_eq!((&facts["architecture"], &facts["layers"]), (&"static-embedding".into(), &0.into()));

    hpd(&["export", &shop.name("static"), "--int8", "--output", &shop.name("int8")]).stdout();
    hpd(&["export", &shop.name("int8"), "--output", &shop.name("float")]).stdout();
    assert!(shop.path("int8/0_StaticEmbedding/model.int8.safetensors").is_file());
    let int8 = vectors(&shop, "int8", "float32");
    assert_eq!(int8, vectors(&shop, "float", "float32"));
    assert_ne!(int8, vectors(&shop, "static", "float32"));
    assert_eq!(inspect(&shop, "int8")["space"], facts["space"]);
}

#[test]
fn a_student_of_fewer_tokens_is_made_and_goes_to_8_bits_and_back() {
    let shop = Workshop::new();
    // The workshop's own model has whole words alone, none of which can be spelled.
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/encoder/bert_mean");
    let (texts, output) = (shop.texts(400), shop.name("slim"));
    let run = ["distill", "--teacher", model, "--sentences", &texts, "--output", &output];
    let shape = ["--layers", "1", "--dim", "8", "--held-back", "50", "--vocabulary", "200"];
    hpd(&[run.as_slice(), &shape].concat()).stdout();
    let config = fs::read(shop.path("slim/config.json")).expect("a config");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    assert_eq!(config["vocab_size"], 200);
    hpd(&["export", &output, "--int8", "--output", &shop.name("int8")]).stdout();
    hpd(&["export", &shop.name("int8"), "--output", &shop.name("float")]).stdout();
    assert_eq!(vectors(&shop, "int8", "float32"), vectors(&shop, "float", "float32"));
    assert_eq!(inspect(&shop, "int8")["space"], inspect(&shop, "slim")["space"]);
}

#[test]
fn a_student_of_an_odd_number_of_neurons_is_made_and_goes_to_8_bits_and_back() {
    let shop = Workshop::new();
    let (model, texts, output) = (shop.name("model"), shop.texts(400), shop.name("slim"));
    let run = ["distill", "--teacher", &model, "--sentences", &texts, "--output", &output];
    let shape = ["--layers", "1", "--dim", "8", "--held-back", "50", "--feed-forward", "13"];
    hpd(&[run.as_slice(), &shape].concat()).stdout();
    let config = fs::read(shop.path("slim/config.json")).expect("a config");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    assert_eq!(config["intermediate_size"], 13);
    hpd(&["export", &output, "--int8", "--output", &shop.name("int8")]).stdout();
    hpd(&["export", &shop.name("int8"), "--output", &shop.name("float")]).stdout();
    assert_eq!(vectors(&shop, "int8", "float32"), vectors(&shop, "float", "float32"));
    let told = hpd(&["inspect", &shop.name("slim.run")]).stdout();
    assert!(told.contains("student"), "{told}");
}

#[test]
fn a_pair_makes_a_store_by_one_model_and_searches_it_by_the_other() {
    let shop = with_int8();
    let (query, document, pair) = (shop.name("int8"), shop.name("model"), shop.name("pair"));
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/encoder/bert_mean");
    let write =
        |documents: &str| hpd(&["export", &query, "--documents", documents, "--output", &pair]);
    assert_refused(&write(other), &["in the space", "--project STUDENT.run"]);
    assert!(write(&document).stdout().contains("32 dimensions"));
    let facts = inspect(&shop, "pair");
    assert_eq!(facts["whole"], true);
    assert!(facts["model_for_queries"].as_str().is_some_and(|words| words.contains("bert")));

    let (store, notes) = (shop.name("notes.store"), shop.write("notes.txt", b"w1 w2\nw50 w51\n"));
    hpd(&["index", "create", "--store", &store, "--model", &pair, "--input", &notes]).stdout();
    let best = |more: &[&str]| {
        let words = ["search", "--store", &store, "w1 w2", "--json", "--limit", "1"];
        let hit: Value =
            serde_json::from_str(&hpd(&[&words, more].concat()).stdout()).expect("JSON");
        hit["score"].as_f64().expect("a score")
    };
    let by_pair = best(&[]);
    assert!(by_pair < best(&["--model", &document]), "the query was embedded by the other model");
    assert_eq!(by_pair, best(&["--model", &shop.name("pair/query")]));
    fs::write(shop.path("pair/document/config.json"), "{").expect("written");
    assert_refused(&hpd(&["search", "--store", &store, "w1"]), &["pair/document/config.json"]);
}

#[test]
fn inspect_tells_how_weights_are_stored_and_whether_they_are_those_that_were_named() {
    let shop = with_int8();
    let (float, int8) = (inspect(&shop, "model"), inspect(&shop, "int8"));
    assert_eq!((&float["stored_as"], &int8["stored_as"]), (&"float".into(), &"int8".into()));
    assert_eq!(float["space"], int8["space"]);
    assert_eq!(float["parameters"], int8["parameters"]);
    assert_ne!(float["weights"], int8["weights"]);

    let about = shop.path("int8/hpd.json");
    let named = int8["weights"].as_str().expect("a name").to_owned();
    let other = fs::read_to_string(&about).expect("hpd.json").replace(&named, "another");
    fs::write(about, other).expect("a writable file");
    let answer = hpd(&["inspect", &shop.name("int8"), "--verify"]);
    assert_eq!(answer.0.status.code(), Some(1));
    let said = String::from_utf8_lossy(&answer.0.stdout);
    assert!(said.contains("names the weights another, but the tensors are "), "{said}");
}

#[test]
fn a_store_takes_a_model_and_its_twin_in_8_bits() {
    let shop = with_int8();
    let store = shop.store(20);
    let arguments = ["search", "--store", &store, "--model", &shop.name("int8"), "w1 w2 w3"];
    let hits = hpd(&arguments).stdout();
    assert!(hits.contains("rank"), "{hits}");
}

#[test]
fn a_model_becomes_onnx_from_floats_and_from_8_bits() {
    let shop = with_int8();
    for model in ["model", "int8"] {
        let output = format!("{model}-onnx");
        let words = ["--json", "export", &shop.name(model), "--onnx", "--output"];
        let said = hpd(&[&words, [&*shop.name(&output)].as_slice()].concat()).stdout();
        let said: Value = serde_json::from_str(&said).expect("JSON");
        let inspected = inspect(&shop, model);
        for (here, there) in
            [("dim", "dimensions"), ("space", "space"), ("parameters", "parameters")]
        {
            assert_eq!(said[here], inspected[there], "{here}");
        }
        let file = |name: &str| fs::read(shop.path(&format!("{output}/{name}"))).expect(name);
        let graph = file("onnx/model.onnx");
        for name in ["input_ids", "attention_mask", "token_embeddings", "sentence_embedding"] {
            assert!(graph.windows(name.len()).any(|bytes| bytes == name.as_bytes()), "{name}");
        }
        let card = String::from_utf8(file("README.md")).expect("UTF-8");
        assert!(card.contains("onnx/model.onnx"), "{card}");
        for name in ["config.json", "hpd.json", "tokenizer.json", "tokenizer_config.json"] {
            assert!(!file(name).is_empty());
        }
        assert!(!shop.path(&format!("{output}/modules.json")).exists());
    }
    let answer = hpd(&["inspect", &shop.name("model-onnx")]);
    assert_refused(&answer, &["as ONNX alone", "hint: name the folder"]);
    let words = ["export", &shop.name("model"), "--onnx", "--output", &shop.name("int8")];
    assert_refused(&hpd(&words), &["int8", "is there already"]);
    assert!(shop.path("int8/model.int8.safetensors").is_file());
}

#[test]
fn json_tells_the_size() {
    let shop = Workshop::new();
    let arguments = ["--json", "export", &shop.name("model"), "--output", &shop.name("new")];
    let said: Value = serde_json::from_str(&hpd(&arguments).stdout()).expect("JSON");
    let inspected = inspect(&shop, "new");
    assert_eq!(said["bytes"], inspected["bytes"]);
    assert_eq!(said["weights"], inspected["weights"]);
}

#[test]
fn what_cannot_be_exported_is_refused_and_leaves_nothing() {
    let shop = with_int8();
    let (int8, again) = (shop.name("int8"), shop.name("again"));
    let answer = hpd(&["export", &int8, "--int8", "--output", &again]);
    assert_refused(&answer, &["in 8 bits already", "hint: "]);
    assert!(!shop.path("again").exists());
    let answer = hpd(&["export", &shop.name("model"), "--int8", "--output", &int8]);
    assert_refused(&answer, &["int8", "is there already"]);

    fs::copy(shop.path("model/model.safetensors"), shop.path("int8/model.safetensors"))
        .expect("a copy");
    let answer = hpd(&["inspect", &int8]);
    assert_refused(&answer, &["holds both", "model.int8.safetensors", "hint: move one"]);
}

#[test]
fn a_model_replaces_a_model_and_nothing_else() {
    let shop = with_int8();
    let (model, int8, notes) = (shop.name("model"), shop.name("int8"), shop.name("notes"));
    assert_refused(&hpd(&["export", &model, "--output", &int8]), &["already", "--overwrite"]);
    hpd(&["export", &model, "--output", &int8, "--overwrite"]).stdout();
    fs::create_dir(shop.path("notes")).expect("a new folder");
    shop.write("notes/mine.txt", b"kept");
    let refused = hpd(&["export", &model, "--output", &notes, "--overwrite"]);
    assert_refused(&refused, &["already and is no model", "--output"]);
    let texts = shop.texts(100);
    let distil = ["distill", "--teacher", &model, "--sentences", &texts, "--output", &notes];
    let refused = hpd(&[&distil, ["--layers", "1", "--overwrite"].as_slice()].concat());
    assert_refused(&refused, &["already and is no model"]);
    assert_eq!(fs::read(shop.path("notes/mine.txt")).expect("it is there"), b"kept");
    let (int8, run) = (shop.name("int8"), shop.name("notes"));
    let project = ["export", &int8, "--project", &run, "--output", &shop.name("projected")];
    assert_refused(&hpd(&project), &["is no run", "STUDENT.run"]);
}
