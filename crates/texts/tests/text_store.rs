//! A store and its model as one: what is added is found, from many threads, also after the model has changed.
#![allow(clippy::unwrap_used, reason = "a test's panic is its message")]

use std::path::{Path, PathBuf};
use std::thread;

use hpd_encoder::{Lookup, ModelChoice, Side};
use hpd_files::{ErrorKind, Silent};
use hpd_index::{Document, Indexed};
use hpd_texts::{Filled, Prompts, TextSearch, TextStore};
use serde_json::{Map, json};

const TEXTS: [&str; 4] =
    ["the fear of spiders", "a storm at sea", "bread and butter", "a fear of heights"];

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/encoder").join(name)
}

fn choice(name: &str) -> ModelChoice {
    let model = Some(model(name).to_str().unwrap().to_owned());
    ModelChoice { model, ..ModelChoice::default() }
}

fn document(id: usize, text: &str) -> Document {
    let metadata = Map::from_iter([("number".to_owned(), json!(id))]);
    Document { id: format!("d{id}"), text: text.to_owned(), metadata }
}

fn documents() -> impl Iterator<Item = hpd_files::Result<Document>> {
    TEXTS.iter().enumerate().map(|(id, text)| Ok(document(id, text)))
}

/// A store of the four texts.
fn filled(folder: &Path) -> TextStore {
    let store = TextStore::create(
        folder,
        Lookup::default(),
        choice("bert_mean"),
        Prompts::default(),
        &Silent,
    )
    .unwrap();
    store.add(documents(), &Silent).unwrap();
    store
}

fn best(store: &TextStore, query: &str, search: &TextSearch) -> Vec<String> {
    let found = store.search(&[query], search, &Silent).unwrap();
    found.into_iter().flatten().map(|hit| hit.id).collect()
}

#[test]
fn a_text_finds_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(&folder.path().join("store"));
    let found = store.search(&TEXTS, &TextSearch::default(), &Silent).unwrap();
    for (id, hits) in found.iter().enumerate() {
        assert_eq!(hits[0].id, format!("d{id}"));
        assert!((hits[0].score - 1.0).abs() < 1e-5);
        assert_eq!(hits.len(), TEXTS.len());
    }
    let one = TextSearch {
        limit: 1,
        hybrid: true,
        filter: Some("number > 0".parse().unwrap()),
        ..TextSearch::default()
    };
    assert_eq!(best(&store, "spiders fear storm", &one).len(), 1);
    let nearest = store.similar("d0", &TextSearch::default()).unwrap().unwrap();
    assert_eq!(nearest.len(), TEXTS.len() - 1);
    assert!(store.similar("d9", &TextSearch::default()).unwrap().is_none());
    let (found, vector) = store.read(|store| store.get("d1")).unwrap().unwrap();
    assert_eq!((found, vector.len()), (document(1, TEXTS[1]), 36));
    assert!(store.read(|store| store.get("d9")).unwrap().is_none());
}

#[test]
fn what_is_there_already_is_counted_and_not_embedded() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(&folder.path().join("store"));
    let again = store.add(documents(), &Silent).unwrap();
    let unchanged = Indexed { unchanged: 4, ..Indexed::default() };
    assert_eq!(again, Filled { indexed: unchanged, truncated: 0 });
    let long = "word ".repeat(1000);
    let changed = store.add([Ok(document(0, &long)), Ok(document(9, "new"))], &Silent).unwrap();
    assert_eq!((changed.indexed.replaced, changed.indexed.added, changed.truncated), (1, 1, 1));
}

#[test]
fn many_threads_search_while_one_adds() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(&folder.path().join("store"));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert!(best(&store, TEXTS[1], &TextSearch::default()).contains(&"d1".into()));
                }
            });
        }
        for id in 10..30 {
            store.add([Ok(document(id, &format!("text number {id}")))], &Silent).unwrap();
        }
    });
    assert_eq!(store.read(|store| store.len()).unwrap(), 24);
}

#[test]
fn an_opened_store_finds_its_model_and_reads_only_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    drop(filled(&path));
    let open = |choice| TextStore::open_read_only(&path, Lookup::default(), choice);
    let store = open(ModelChoice::default()).unwrap();
    assert_eq!(best(&store, TEXTS[2], &TextSearch::default())[0], "d2");
    let refused = store.add(documents(), &Silent).unwrap_err();
    assert!(refused.to_string().contains("for reading only"), "{refused}");
    let other = open(choice("bert_heads")).unwrap();
    let refused = other.search(&["a"], &TextSearch::default(), &Silent).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Mismatch);
    let there = TextStore::create(
        &path,
        Lookup::default(),
        choice("bert_mean"),
        Prompts::default(),
        &Silent,
    );
    assert!(there.unwrap_err().to_string().contains("there already"));
}

#[test]
fn prompts_and_length_are_those_the_store_was_made_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let prompts = Prompts { query: Some("query: ".to_owned()), document: None };
    let short = ModelChoice { max_seq_length: Some(8), ..choice("bert_mean") };
    let store =
        TextStore::create(&path, Lookup::default(), short, prompts.clone(), &Silent).unwrap();
    let settings = store.settings().unwrap();
    assert_eq!((settings.query_prompt, settings.max_seq_length), (prompts.query, Some(8)));
    let again = TextStore::open(&path, Lookup::default(), ModelChoice::default()).unwrap();
    let encoder = again.encoder(Side::Query, &Silent).unwrap();
    assert_eq!(encoder.model().max_seq_length(), 8);
    let prompted = encoder.encode_queries(&["storm"]).unwrap().rows;
    assert_eq!(prompted.data, encoder.encode_documents(&["query: storm"]).unwrap().rows.data);
}

#[test]
fn embedding_anew_changes_the_model_and_who_had_it_open_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = filled(&path);
    let bystander = TextStore::open(&path, Lookup::default(), ModelChoice::default()).unwrap();
    assert_eq!(best(&bystander, TEXTS[0], &TextSearch::default())[0], "d0");
    let embedded = store.re_embed(choice("bert_heads"), Prompts::default(), &Silent).unwrap();
    assert_eq!(embedded, 4);
    assert_eq!(best(&store, TEXTS[3], &TextSearch::default()).len(), 4);
    let encoder = store.encoder(Side::Document, &Silent).unwrap();
    let (_, vector) = store.read(|store| store.get("d3")).unwrap().unwrap();
    assert_eq!(encoder.encode_documents(&TEXTS[3..]).unwrap().rows.data, vector);
    store.add([Ok(document(7, "one more"))], &Silent).unwrap();
    for _ in 0..3 {
        let refused =
            bystander.search(&["a"], &TextSearch::default(), &Silent).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Mismatch);
    }
    let refused = bystander.add([Ok(document(8, "and one"))], &Silent).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Mismatch);
}
