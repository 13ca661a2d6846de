//! What holds for every model and text, whatever its vector is.

use std::fs;

use crate::golden::{Golden, copy, edit, fixtures};
use hpd_encoder::{EncodeOptions, Model, OpenOptions, Prompt};
use hpd_files::Silent;
use rayon::ThreadPoolBuilder;

pub(crate) const MODELS: [&str; 11] = [
    "bert_mean",
    "bert_heads",
    "roberta_new",
    "xlm_roberta_max",
    "distilbert_cls",
    "mpnet_cls",
    "modernbert_new",
    "modernbert_old",
    "static_embedding",
    "model2vec_plain",
    "model2vec_mapped",
];

fn open(name: &str) -> Model {
    Model::open(&fixtures().join(name)).unwrap()
}

/// Some are longer than a window of the local layers, most are shorter.
fn texts() -> Vec<String> {
    Golden::read(&fixtures().join("modernbert_new/golden.json")).texts
}

fn repeated(times: usize) -> Vec<String> {
    vec![texts(); times].concat()
}

fn encode(model: &Model, texts: &[String], threads: usize) -> Vec<f32> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| model.encode(texts, &EncodeOptions::default())).unwrap().rows.data
}

#[test]
fn a_text_alone_has_the_bits_it_has_in_a_batch() {
    for name in MODELS {
        let (model, texts) = (open(name), texts());
        let together = model.encode(&texts, &EncodeOptions::default()).unwrap().rows;
        for (i, text) in texts.iter().enumerate() {
            let alone = model.encode(&[text], &EncodeOptions::default()).unwrap().rows;
            assert_eq!(alone.row(0), together.row(i), "{name}: {text:?}");
        }
    }
}

#[test]
fn the_number_of_threads_leaves_no_trace() {
    for name in MODELS {
        // Enough tokens for several blocks and for products that rten-gemm cuts up.
        let (model, texts) = (open(name), repeated(12));
        let one = encode(&model, &texts, 1);
        for threads in [2, 3, 8] {
            assert!(encode(&model, &texts, threads) == one, "{name} on {threads} threads");
        }
    }
}

#[test]
fn one_model_serves_many_threads_at_once() {
    let (model, texts) = (open("bert_mean"), repeated(4));
    let expected = encode(&model, &texts, 2);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(encode(&model, &texts, 2) == expected));
        }
    });
}

#[test]
fn no_texts_give_no_rows() {
    let rows = open("bert_mean").encode::<&str>(&[], &EncodeOptions::default()).unwrap().rows;
    assert_eq!((rows.len(), rows.dim), (0, 36));
}

#[test]
fn truncated_texts_are_counted() {
    let model = open("bert_mean");
    assert_eq!(model.max_seq_length(), 24);
    let long = "seven bridges ".repeat(30);
    let found = model.encode(&["", "a", &long, &long], &EncodeOptions::default()).unwrap();
    assert_eq!(found.truncated, 2);
    assert_eq!(found.tokens, 2 + 3 + 24 + 24);
}

#[test]
fn a_length_asked_for_replaces_that_of_the_folder() {
    let folder = fixtures().join("bert_mean");
    let open = |length| {
        Model::open_with(
            &folder,
            &OpenOptions { max_seq_length: Some(length), ..OpenOptions::default() },
        )
    };
    let short = open(3).unwrap().encode(&["bread rises"], &EncodeOptions::default()).unwrap();
    assert_eq!((short.tokens, short.truncated), (3, 1));
    let message = open(65).err().unwrap().to_string();
    assert!(message.contains("65 tokens") && message.contains("has 64 positions"), "{message}");
    let message = open(2).err().unwrap().to_string();
    assert!(message.contains("2 special tokens, expected at least 3"), "{message}");
}

#[test]
fn fewer_dimensions_are_the_first_ones_made_unit_again() {
    let model = open("bert_mean");
    let whole = model.encode(&["bread rises"], &EncodeOptions::default()).unwrap().rows;
    let options = |dimensions| EncodeOptions { dimensions: Some(dimensions), ..Default::default() };
    let part = model.encode(&["bread rises"], &options(5)).unwrap().rows;
    let length = whole.data[..5].iter().map(|x| x * x).sum::<f32>().sqrt();
    for (part, whole) in part.data.iter().zip(&whole.data) {
        assert!((part - whole / length).abs() < 1e-6);
    }
    for asked in [0, 37] {
        let message = model.encode(&["a"], &options(asked)).unwrap_err().to_string();
        assert!(
            message.contains(&format!("{asked} dimensions")) && message.contains("have 36"),
            "{message}"
        );
    }
}

#[test]
fn prompts_are_words_in_front() {
    let model = open("roberta_new");
    let encode = |text: &str, prompt| {
        let options = EncodeOptions { prompt, ..Default::default() };
        model.encode(&[text], &options).map(|embeddings| embeddings.rows.data)
    };
    let no_prompt = || Prompt::Text(String::new());
    let expected = encode("query: bread", no_prompt()).unwrap();
    for prompt in [
        Prompt::Default,
        Prompt::Query,
        Prompt::Named("query".into()),
        Prompt::Text("query: ".into()),
    ] {
        assert_eq!(encode("bread", prompt).unwrap(), expected);
    }
    assert_ne!(encode("bread", no_prompt()).unwrap(), expected);
    let message = encode("bread", Prompt::Named("passages".into())).unwrap_err().to_string();
    assert!(message.contains("no prompt `passages`") && message.contains("`query`"), "{message}");
}

#[test]
fn a_plain_transformers_folder_gets_mean_pooling() {
    let plain = copy("bert_mean");
    for name in ["modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"] {
        fs::remove_file(plain.path().join(name)).unwrap();
    }
    let plain = Model::open(plain.path()).unwrap();
    assert_eq!(plain.max_seq_length(), 64);
    let normalized = EncodeOptions { normalize: true, ..Default::default() };
    let short = &texts()[..20];
    let expected = open("bert_mean").encode(short, &EncodeOptions::default()).unwrap().rows;
    assert_eq!(plain.encode(short, &normalized).unwrap().rows, expected);
}

#[test]
fn tokenising_and_encoding_apart_give_the_same_in_any_company() {
    for (name, prompt) in [("bert_heads", Prompt::Query), ("router", Prompt::Document)] {
        let model = open(name);
        let options = EncodeOptions { prompt, normalize: true, ..EncodeOptions::default() };
        let texts = ["a fear of spiders", "what is the capital of Mongolia?", "hello"];
        let mut all = model.tokenize(&texts[..1], &options).unwrap();
        all.append(&model.tokenize(&texts[1..], &options).unwrap());
        let whole = EncodeOptions { normalize: false, ..options.clone() };
        let rows = model.encode_tokens(&all, &whole).unwrap();
        for dimensions in [None, Some(3)] {
            let options = EncodeOptions { dimensions, ..options.clone() };
            let expected = model.encode(&texts, &options).unwrap().rows;
            assert_eq!(model.shorten(rows.clone(), &options).unwrap().data, expected.data);
        }
    }
}

#[test]
fn ids_that_no_text_has_are_refused() {
    let model = open("bert_mean");
    let options = EncodeOptions::default();
    let mut tokens = model.tokenize(&["a text"], &options).unwrap();
    tokens.ids[1] = 3_000_000;
    let error = model.encode_tokens(&tokens, &options).unwrap_err().to_string();
    assert!(error.contains("text 0 has token 3000000"), "{error}");
    let longest = model.max_seq_length();
    tokens.ids = vec![5; longest + 1];
    tokens.offsets = vec![0, longest + 1];
    let error = model.encode_tokens(&tokens, &options).unwrap_err().to_string();
    assert!(error.contains(&format!("the model takes {longest}")), "{error}");
}

#[test]
fn a_tokenizer_without_special_tokens_leaves_empty_texts_empty() {
    for name in ["bert_mean", "xlm_roberta_max"] {
        let folder = copy(name);
        edit(&folder.path().join("tokenizer.json"), |json| {
            json["post_processor"] = serde_json::Value::Null
        });
        let model = Model::open(folder.path()).unwrap();
        let rows = model.encode(&["", "a", ""], &EncodeOptions::default()).unwrap().rows;
        assert!(rows.row(0).iter().all(|x| *x == 0.0));
        assert!(rows.row(1).iter().any(|x| *x != 0.0));
    }
}

#[test]
fn a_folder_is_named_by_its_tensors_unless_it_says_otherwise() {
    let folder = copy("bert_heads");
    let original = open("bert_heads").identity().clone();
    assert_eq!(original.weights, original.space);
    assert_eq!(Model::open(folder.path()).unwrap().identity(), &original);
    let tensors = folder.path().join("3_Dense/model.safetensors");
    let mut bytes = fs::read(&tensors).unwrap();
    *bytes.last_mut().unwrap() ^= 0x80;
    fs::write(&tensors, bytes).unwrap();
    assert_ne!(Model::open(folder.path()).unwrap().identity(), &original);
    fs::write(folder.path().join("hpd.json"), r#"{"weights": "w", "space": "s", "more": 1}"#)
        .unwrap();
    assert_eq!(Model::open(folder.path()).unwrap().identity().space, "s");
}

#[test]
fn a_static_model_is_the_mean_of_its_tokens() {
    let model = open("model2vec_mapped");
    let encode = |text: &str| model.encode(&[text], &EncodeOptions::default()).unwrap();
    let row = |text: &str| encode(text).rows.data;
    assert!(row("").iter().all(|x| *x == 0.0));
    assert_eq!(row("bread 你好 rises"), row("bread rises"), "unknown words are left out");
    let (once, twice) = (encode("rivers"), encode("rivers rivers"));
    assert_eq!(twice.tokens, 2 * once.tokens);
    for (once, twice) in once.rows.data.iter().zip(&twice.rows.data) {
        assert!((once - twice).abs() < 1e-6);
    }
    assert_eq!(model.max_seq_length(), 20);
    assert_eq!(open("model2vec_plain").max_seq_length(), 512);
    assert_eq!(open("static_embedding").max_seq_length(), 12);
}

#[test]
fn a_token_of_the_vocabulary_has_the_vector_of_its_text() {
    for name in ["bert_mean", "roberta_new", "static_embedding"] {
        let model = open(name);
        let table = model.encode_vocabulary(&Silent).unwrap();
        assert_eq!(table.len(), model.folder().config.vocab_size, "{name}");
        let text = "a";
        let ids = model.tokenizer().tokenize(&[text]).unwrap().ids;
        let frame = model.tokenizer().tokenize(&[""]).unwrap().ids.len();
        assert_eq!(ids.len(), frame + 1, "`{text}` is one token of {name}");
        let id = ids[frame / 2] as usize;
        let prompt = Prompt::Text(String::new());
        let options = EncodeOptions { normalize: true, prompt, ..EncodeOptions::default() };
        let expected = model.encode(&[text], &options).unwrap().rows;
        let length = table.row(id).iter().map(|x| x * x).sum::<f32>().sqrt();
        for (found, expected) in table.row(id).iter().zip(&expected.data) {
            let off = (found / length - expected).abs();
            assert!(off < 1e-6, "{name}: {off}");
        }
    }
}

#[test]
fn model2vec_says_in_its_configuration_whether_it_normalizes() {
    assert!(!open("model2vec_plain").folder().normalizes());
    assert!(open("model2vec_mapped").folder().normalizes());
    let folder = copy("model2vec_plain");
    edit(&folder.path().join("config.json"), |json| json["normalize"] = true.into());
    edit(&folder.path().join("config.json"), |json| json["max_length"] = serde_json::Value::Null);
    let model = Model::open(folder.path()).unwrap();
    assert!(model.folder().normalizes());
    let found = model.encode(&["bread rises ".repeat(2000)], &EncodeOptions::default()).unwrap();
    assert_eq!(found.truncated, 0);
    let length = found.rows.data.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!((length - 1.0).abs() < 1e-6);
}
