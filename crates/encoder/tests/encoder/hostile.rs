//! Folders that are damaged or lie: each is an error that names the file, what was expected and what was found.

use std::fs;
use std::path::Path;

use hpd_encoder::convert::quantize;
use hpd_encoder::{EncodeOptions, Model};
use hpd_files::Error;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::golden::{copy, edit, fixtures};

/// Opens a copy of a fixture after `damage`; it must fail.
fn refused(name: &str, damage: impl FnOnce(&Path)) -> Error {
    let folder = copy(name);
    damage(folder.path());
    Model::open(folder.path()).err().expect("a damaged folder must not open")
}

/// The message, its causes and its hint hold all of `expected`.
fn assert_says(error: &Error, expected: &[&str]) {
    let story = format!("{error:?}");
    for words in expected {
        assert!(story.contains(words), "{words:?} is not in: {story}");
    }
}

fn remove(file: &str) -> impl FnOnce(&Path) {
    move |folder| fs::remove_file(folder.join(file)).unwrap()
}

fn set(file: &'static str, field: &'static str, value: Value) -> impl FnOnce(&Path) {
    move |folder| edit(&folder.join(file), |json| json[field] = value)
}

/// Rewrites the header of `model.safetensors` by replacing text of equal length.
fn patch(from: &'static str, to: &'static str) -> impl FnOnce(&Path) {
    assert_eq!(from.len(), to.len());
    move |folder| {
        let path = folder.join("model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn a_folder_that_is_none() {
    let error = Model::open(Path::new("no/such/folder")).err().unwrap();
    assert_says(&error, &["`no/such/folder` is not a model folder", "hint"]);
}

#[test]
fn tensors_missing() {
    assert_says(
        &refused("bert_mean", remove("model.safetensors")),
        &["has no `model.safetensors`"],
    );
    assert_says(
        &refused("bert_heads", remove("2_Dense/model.safetensors")),
        &["2_Dense", "model.safetensors"],
    );
    let shard = "model-00002-of-00002.safetensors";
    assert_says(&refused("xlm_roberta_max", remove(shard)), &["cannot open", shard]);
}

#[test]
fn a_pickle_is_refused_with_the_command_that_converts_it() {
    let error = refused("bert_mean", |folder| {
        fs::rename(folder.join("model.safetensors"), folder.join("pytorch_model.bin")).unwrap();
    });
    assert_says(
        &error,
        &[
            "`pytorch_model.bin`",
            "expected `model.safetensors`",
            "hint: hpd export",
            "--output NEW",
        ],
    );
}

#[test]
fn tensors_cut_short() {
    for length in [0, 5, 100, 20_000] {
        let error = refused("bert_mean", |folder| {
            let file =
                fs::File::options().write(true).open(folder.join("model.safetensors")).unwrap();
            file.set_len(length).unwrap();
        });
        assert_says(
            &error,
            &["model.safetensors` is not a whole safetensors file", &format!("({length} bytes)")],
        );
    }
}

#[test]
fn headers_that_lie() {
    for (from, to) in [("[36,36]", "[36,99]"), ("\"F32\"", "\"F64\""), ("\"dtype\"", "\"dtypo\"")] {
        assert_says(&refused("bert_mean", patch(from, to)), &["not a whole safetensors file"]);
    }
    let error = refused("bert_mean", |folder| {
        let path = folder.join("model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        fs::write(path, bytes).unwrap();
    });
    assert_says(&error, &["not a whole safetensors file"]);
}

#[test]
fn shapes_that_disagree_with_the_configuration() {
    assert_says(
        &refused("bert_mean", set("config.json", "intermediate_size", json!(80))),
        &["`encoder.layer.0.intermediate.dense.weight`", "has shape [78, 36], expected [80, 36]"],
    );
    assert_says(
        &refused("bert_mean", set("config.json", "num_hidden_layers", json!(3))),
        &["has no tensor `encoder.layer.2.attention.self.query.weight`"],
    );
    assert_says(
        &refused("bert_heads", set("2_Dense/config.json", "in_features", json!(32))),
        &["2_Dense/config.json` has `in_features` 32, expected 64"],
    );
    assert_says(
        &refused("bert_heads", set("3_Dense/config.json", "bias", json!(true))),
        &["3_Dense/model.safetensors` has no tensor `linear.bias`"],
    );
}

#[test]
fn numbers_that_are_none() {
    let error = refused("bert_mean", |folder| {
        let path = folder.join("model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(path, bytes).unwrap();
    });
    assert_says(&error, &["holds NaN at position", "expected finite numbers"]);
}

#[test]
fn json_that_is_none() {
    for file in
        ["config.json", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json"]
    {
        let error =
            refused("bert_mean", |folder| fs::write(folder.join(file), "{\"a\": ").unwrap());
        assert_says(&error, &[file, "is not what it should be", "at line 1"]);
    }
    for file in ["config.json", "1_Pooling/config.json", "tokenizer.json"] {
        assert_says(&refused("bert_mean", remove(file)), &["cannot read", file]);
    }
    for contents in ["", "{}", "[]", "{\"model\": null}"] {
        let error = refused("bert_mean", |folder| {
            fs::write(folder.join("tokenizer.json"), contents).unwrap();
        });
        assert_says(&error, &["tokenizer.json` is not a tokenizer"]);
    }
}

#[test]
fn tokenizer_and_vocabulary_that_disagree() {
    let error = refused("bert_mean", |folder| {
        edit(&folder.join("tokenizer.json"), |json| {
            let words = json["model"]["vocab"].as_object_mut().unwrap();
            words.insert("intruder".to_owned(), json!(5000));
        });
    });
    assert_says(
        &error,
        &["tokenizer.json` `intruder` has the id 5000", "`vocab_size` of 300", "hint"],
    );
    let error = refused("bert_mean", |folder| {
        edit(&folder.join("tokenizer.json"), |json| {
            json["post_processor"]["special_tokens"]["[CLS]"]["ids"] = json!([5000]);
        });
    });
    assert_says(&error, &["a special token has the id 5000", "`vocab_size` of 300"]);
}

#[test]
fn what_is_not_computed_here_is_named() {
    assert_says(
        &refused("bert_mean", set("config.json", "model_type", json!("t5"))),
        &["config.json`: `model_type` is \"t5\"", "expected one of", "bert"],
    );
    assert_says(
        &refused("bert_mean", |folder| {
            edit(&folder.join("modules.json"), |json| json[2]["type"] = json!("my_package.Whiten"));
        }),
        &["modules.json` lists", "my_package.Whiten", "expected `Transformer`, `Pooling`"],
    );
    assert_says(
        &refused("roberta_new", set("1_Pooling/config.json", "pooling_mode", json!("lasttoken"))),
        &["pooling mode `lasttoken` is not supported"],
    );
    let activation = json!("torch.nn.modules.activation.ReLU");
    assert_says(
        &refused("bert_heads", set("2_Dense/config.json", "activation_function", activation)),
        &["2_Dense/config.json`: activation `torch.nn.modules.activation.ReLU` is not supported"],
    );
    assert_says(
        &refused(
            "bert_heads",
            set("config_sentence_transformers.json", "default_prompt_name", json!("passage")),
        ),
        &["`default_prompt_name` `passage`"],
    );
}

#[test]
fn architectures_name_the_tensors_they_miss() {
    for (name, tensor) in [
        ("distilbert_cls", "distilbert.transformer.layer.3.attention.q_lin.weight"),
        ("mpnet_cls", "encoder.layer.2.attention.attn.q.weight"),
        ("modernbert_old", "model.layers.4.attn.Wqkv.weight"),
    ] {
        let field = if name == "distilbert_cls" { "n_layers" } else { "num_hidden_layers" };
        let error = refused(name, |folder| {
            edit(&folder.join("config.json"), |json| {
                json[field] = json!(json[field].as_u64().unwrap() + 1);
            });
        });
        assert_says(&error, &[&format!("has no tensor `{tensor}`")]);
    }
    assert_says(
        &refused("modernbert_new", set("config.json", "norm_bias", json!(true))),
        &["has no tensor `embeddings.norm.bias`"],
    );
    assert_says(
        &refused("mpnet_cls", set("config.json", "num_attention_heads", json!(8))),
        &["`encoder.relative_attention_bias.weight`", "has shape [32, 4], expected [32, 8]"],
    );
}

#[test]
fn odd_fields_of_architectures_are_named() {
    assert_says(
        &refused("distilbert_cls", set("config.json", "dim", json!(0))),
        &["config.json`: `dim` is 0"],
    );
    assert_says(
        &refused("mpnet_cls", set("config.json", "relative_attention_num_buckets", json!(16))),
        &["`relative_attention_num_buckets` is 16, expected 32"],
    );
    assert_says(
        &refused("modernbert_new", set("config.json", "layer_types", json!(["full_attention"]))),
        &["`layer_types` names 1 layers, expected `num_hidden_layers`, 4"],
    );
}

#[test]
fn static_models_that_do_not_fit_together() {
    assert_says(
        &refused("static_embedding", patch("embedding.weight", "embedding.wheels")),
        &["neither the tensor `embedding.weight` nor `embeddings`"],
    );
    assert_says(
        &refused("model2vec_mapped", patch("\"mapping\"", "\"mopping\"")),
        &["`embeddings` has 90 rows but there are 300 `weights`, expected a `mapping`"],
    );
    // The numbers of `mapping` stand between those of `embeddings` and of `weights`.
    let far = refused("model2vec_mapped", |folder| {
        let path = folder.join("model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        let tensors = safetensors_start(&bytes);
        let at = tensors + mapping_offset(&bytes);
        bytes[at..at + 4].copy_from_slice(&90_i32.to_le_bytes());
        fs::write(path, bytes).unwrap();
    });
    assert_says(&far, &["`mapping` sends token 0 to row 90, but `embeddings` has 90 rows"]);
    assert_says(
        &refused("model2vec_plain", set("config.json", "normalize", json!("yes"))),
        &["config.json`: `normalize` is \"yes\", expected true or false"],
    );
    assert_says(
        &refused("model2vec_plain", set("config.json", "max_length", json!(-1))),
        &["`max_length` is -1"],
    );
    assert_says(
        &refused("model2vec_plain", set("config.json", "max_length", json!(0))),
        &["0 tokens a text leave no room"],
    );
    let error = refused("static_embedding", |folder| {
        edit(&folder.join("tokenizer.json"), |json| {
            json["model"]["vocab"]["intruder"] = json!(5000);
        });
    });
    assert_says(&error, &["`intruder` has the id 5000", "have 300 tokens"]);
}

fn safetensors_start(bytes: &[u8]) -> usize {
    8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize
}

fn mapping_offset(bytes: &[u8]) -> usize {
    let header: Value = serde_json::from_slice(&bytes[8..safetensors_start(bytes)]).unwrap();
    header["mapping"]["data_offsets"][0].as_u64().unwrap() as usize
}

#[test]
fn shards_stay_within_their_folder() {
    let error = refused("xlm_roberta_max", |folder| {
        edit(&folder.join("model.safetensors.index.json"), |json| {
            json["weight_map"] = json!({"a": "../../secrets"});
        });
    });
    assert_says(&error, &["names the file `../../secrets`, expected a file beside it"]);
}

/// Opens a folder and encodes with it, if it opens, after a byte near the beginning of a file was changed.
fn open_after_a_wrong_byte(folder: &Path, file: &str, place: f64, byte: u8) {
    let path = folder.join(file);
    let mut bytes = fs::read(&path).unwrap();
    // Headers are where lies are told.
    let end = bytes.len().min(2000);
    bytes[(place * end as f64) as usize] = byte;
    fs::write(&path, bytes).unwrap();
    if let Ok(model) = Model::open(folder) {
        let _ = model.encode(&["", "bread rises"], &EncodeOptions::default());
    }
}

/// A folder in 8 bits is written by us, and may be damaged all the same.
#[test]
fn a_wrong_byte_in_a_folder_in_8_bits_is_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let int8 = folder.path().join("int8");
    quantize(&fixtures().join("bert_heads"), &int8, false).unwrap();
    let files = ["model.int8.safetensors", "hpd.json", "config.json", "2_Dense/model.safetensors"];
    let whole = files.map(|file| fs::read(int8.join(file)).unwrap());
    let byte = prop_oneof![any::<u8>(), prop::sample::select(&b"0123456789,\"}]- e"[..])];
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) };
    proptest!(config, |(file in 0..files.len(), place in 0.0..1.0, byte in byte)| {
        open_after_a_wrong_byte(&int8, files[file], place, byte);
        fs::write(int8.join(files[file]), &whole[file]).unwrap();
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any byte of any file may be wrong: the folder opens and encodes, or it is an error.
    #[test]
    fn a_wrong_byte_is_never_a_panic(
        (model, file) in prop::sample::select(vec![
            ("bert_heads", "model.safetensors"), ("bert_heads", "config.json"), ("bert_heads", "modules.json"),
            ("bert_heads", "tokenizer_config.json"), ("bert_heads", "1_Pooling/config.json"),
            ("bert_heads", "2_Dense/config.json"), ("bert_heads", "2_Dense/model.safetensors"),
            ("bert_heads", "sentence_bert_config.json"), ("distilbert_cls", "config.json"),
            ("mpnet_cls", "config.json"), ("modernbert_new", "config.json"), ("modernbert_old", "config.json"),
            ("modernbert_new", "model.safetensors"), ("model2vec_mapped", "model.safetensors"),
            ("model2vec_mapped", "config.json"), ("static_embedding", "modules.json"),
        ]),
        place in 0.0_f64..1.0,
        byte: u8,
    ) {
        open_after_a_wrong_byte(copy(model).path(), file, place, byte);
    }
}
