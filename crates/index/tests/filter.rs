//! Filters find what asking each document would find, and search finds the nearest of those.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::ops::Bound;

use hpd_index::{Document, Filter, Fusion, Hit, Scalar, Search, Store, Test};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

#[path = "support/filters.rs"]
mod filters;
mod support;

use filters::{any_real, filter, metadata};
use support::{DIM, document, matrix, settings, vector_of};

/// What SQLite keeps to the letter.
fn strange() -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::from("x\0y")), any_real().prop_map(Value::from)]
}

fn new_store(folder: &tempfile::TempDir, documents: &[Document]) -> Store {
    let mut store = Store::create(&folder.path().join("s.hpd"), &settings()).unwrap();
    let vectors: Vec<_> = documents.iter().map(|document| vector_of(&document.text)).collect();
    store.add(documents, &matrix(&vectors)).unwrap();
    store
}

fn with_metadata(metadata: Vec<Map<String, Value>>) -> Vec<Document> {
    let document = |(i, metadata)| Document { metadata, ..document(&format!("{i}"), "text") };
    metadata.into_iter().enumerate().map(document).collect()
}

fn ids(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.id.as_str()).collect()
}

fn found(store: &Store, filter: &Filter) -> Vec<Hit> {
    let search = Search { limit: 1_000, filter: Some(filter), ..Search::default() };
    store.search_with(&matrix(&[[0.0; DIM]]), &search).unwrap().remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_finds_what_asking_each_document_finds(
        metadata in prop::collection::vec(metadata(strange()), 1..12),
        filters in prop::collection::vec(filter(), 1..12),
    ) {
        let documents = with_metadata(metadata);
        let folder = tempfile::tempdir().unwrap();
        let mut store = new_store(&folder, &documents);
        for filter in &filters {
            let expected: Vec<_> = documents
                .iter()
                .filter(|document| filter.matches(&document.metadata))
                .map(|document| document.id.as_str())
                .collect();
            let hits = found(&store, filter);
            prop_assert_eq!(ids(&hits), expected, "{:?}", filter);
        }
        let deleted = found(&store, &filters[0]).len();
        prop_assert_eq!(store.delete_matching(&filters[0]).unwrap(), deleted as u64);
        prop_assert_eq!(store.len().unwrap(), (documents.len() - deleted) as u64);
        prop_assert_eq!(store.verify().unwrap(), [""; 0]);
    }
}

/// A scalar as a person writes it.
fn written_scalar(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Null => "null".to_owned(),
        Scalar::Boolean(value) => value.to_string(),
        Scalar::Whole(number) => number.to_string(),
        Scalar::Real(number) => format!("{number:?}"),
        Scalar::Text(text) => format!("'{}'", text.replace('\'', "''")),
    }
}

/// A filter as a person writes it; `None` for what cannot be said, such as an empty list.
fn written(filter: &Filter) -> Option<String> {
    let joined = |filters: &[Filter], word| {
        let parts: Option<Vec<_>> = filters.iter().map(written).collect();
        (filters.len() > 1).then_some(())?;
        Some(format!("({})", parts?.join(word)))
    };
    let (field, test) = match filter {
        Filter::And(filters) => return joined(filters, " AND "),
        Filter::Or(filters) => return joined(filters, " OR "),
        Filter::Not(filter) => return Some(format!("NOT {}", written(filter)?)),
        Filter::Field(field, test) => (field, test),
    };
    if field.0.is_empty() || field.0.iter().any(String::is_empty) {
        return None;
    }
    let names: Vec<_> =
        field.0.iter().map(|name| format!("`{}`", name.replace('`', "``"))).collect();
    let is_ordered = |scalar: &Scalar| !matches!(scalar, Scalar::Null | Scalar::Boolean(_));
    let is_text = |scalar: &Scalar| matches!(scalar, Scalar::Text(_));
    let test = match test {
        Test::Exists => "EXISTS".to_owned(),
        Test::OneOf(scalars) if scalars.is_empty() => return None,
        Test::OneOf(scalars) => {
            format!("IN ({})", scalars.iter().map(written_scalar).collect::<Vec<_>>().join(", "))
        }
        Test::Between(Bound::Included(low), Bound::Included(high)) => {
            (is_ordered(low) && is_ordered(high) && is_text(low) == is_text(high)).then_some(())?;
            format!("BETWEEN {} AND {}", written_scalar(low), written_scalar(high))
        }
        Test::Between(low, high) => {
            let (operator, scalar) = match (low, high) {
                (Bound::Included(low), Bound::Unbounded) => (">=", low),
                (Bound::Excluded(low), Bound::Unbounded) => (">", low),
                (Bound::Unbounded, Bound::Included(high)) => ("<=", high),
                (Bound::Unbounded, Bound::Excluded(high)) => ("<", high),
                _ => return None,
            };
            is_ordered(scalar).then_some(())?;
            format!("{operator} {}", written_scalar(scalar))
        }
    };
    Some(format!("{} {test}", names.join(".")))
}

fn written_filter() -> impl Strategy<Value = (Filter, String)> {
    filter().prop_filter_map("it can be written", |filter| {
        let text = written(&filter)?;
        Some((filter, text))
    })
}

proptest! {
    #[test]
    fn what_is_written_down_is_read_again((filter, text) in written_filter()) {
        prop_assert_eq!(text.parse::<Filter>().unwrap(), filter, "{}", text);
    }
}

#[test]
fn a_damaged_filter_is_refused_or_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(&folder, &[document("a", "one two"), document("b", "three")]);
    let letter = prop_oneof![
        any::<char>(),
        prop::sample::select(vec!['\'', '`', '(', ')', '.', '-', '9', ' '])
    ];
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(
        (_, text) in written_filter(),
        changes in prop::collection::vec((0usize..200, prop::option::of(letter)), 1..5),
    )| {
        let mut letters: Vec<char> = text.chars().collect();
        for (at, letter) in changes {
            let at = at % (letters.len() + 1);
            match letter {
                Some(letter) => letters.insert(at, letter),
                None if at < letters.len() => drop(letters.remove(at)),
                None => letters.truncate(at / 2),
            }
        }
        let text = String::from_iter(letters);
        match text.parse::<Filter>() {
            Ok(filter) => drop(found(&store, &filter)),
            Err(error) => prop_assert!(error.to_string().contains("the filter"), "{}", error),
        }
    });
}

#[test]
fn written_filters_find_what_they_say() {
    let objects = [
        json!({"lang": "en", "year": 1990, "author": {"name": "Poe"}, "tags": ["old", "dark"]}),
        json!({"lang": "de", "year": "1990", "author": [{"name": "Grimm"}, {"name": "Hoffmann"}]}),
        json!({"lang": null, "year": 2001.5, "tags": [], "odd name": true}),
    ];
    let objects = objects.map(|object| object.as_object().unwrap().clone());
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(&folder, &with_metadata(objects.into()));
    for (written, expected) in [
        ("lang = 'en'", vec!["0"]),
        ("lang != 'en'", vec!["1", "2"]),
        ("year = 1990.0", vec!["0"]),
        ("year = '1990'", vec!["1"]),
        ("year BETWEEN 1990 AND 2001.5", vec!["0", "2"]),
        ("year > 1990", vec!["2"]),
        ("lang IN ('de', null)", vec!["1", "2"]),
        ("lang IS NULL", vec!["2"]),
        ("tags EXISTS", vec!["0", "2"]),
        ("tags = 'dark' AND tags = 'old'", vec!["0"]),
        ("author.name = 'Hoffmann' OR author.name >= 'P'", vec!["0", "1"]),
        ("`odd name` = true", vec!["2"]),
        ("NOT (lang = 'en' OR year > 2000)", vec!["1"]),
    ] {
        assert_eq!(ids(&found(&store, &written.parse().unwrap())), expected, "{written}");
    }
}

#[test]
fn the_largest_filters_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(&folder, &[document("a", "one two")]);
    for written in [
        vec!["words = 2"; 500].join(" AND "),
        vec!["words != 2"; 499].join(" OR ") + " OR words = 2",
        format!("words IN ({})", (0..10_000).map(|i| i.to_string()).collect::<Vec<_>>().join(",")),
        format!("{}words = 2{}", "(a = 1 OR b = 1 AND ".repeat(12) + "(", ")".repeat(13)),
        vec![vec!["deep"; 32].join(".") + " NOT EXISTS"; 15].join(" OR "),
    ] {
        let filter: Filter = written.parse().unwrap();
        let search = Search { filter: Some(&filter), ..Search::default() };
        store.search_with(&matrix(&[[0.0; DIM]]), &search).unwrap();
    }
    let deep = (0..100).fold(Filter::And(Vec::new()), |filter, _| Filter::Not(Box::new(filter)));
    let search = Search { filter: Some(&deep), ..Search::default() };
    assert!(store.search_with(&matrix(&[[0.0; DIM]]), &search).is_err());
}

#[test]
fn words_are_those_of_the_documents_whatever_was_replaced_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let documents = ["red fish", "blue fish", "green bird"].map(|text| document(&text[..3], text));
    let mut store = new_store(&folder, &documents);
    let by_words = |store: &Store, words: &str, filter: Option<&str>| -> Vec<String> {
        let filter: Option<Filter> = filter.map(|filter| filter.parse().unwrap());
        let fusion = Fusion { words_weight: 1.0, ..Fusion::default() };
        let search =
            Search { words: Some(&[words]), filter: filter.as_ref(), fusion, ..Search::default() };
        let hits = store.search_with(&matrix(&[[0.0; DIM]]), &search).unwrap().remove(0);
        hits.into_iter().filter(|hit| hit.score > 0.0).map(|hit| hit.id).collect()
    };
    assert_eq!(by_words(&store, "bird", None), ["gre"]);
    let replaced = document("gre", "green bird with words");
    store.add(&[document("red", "old shoe")], &matrix(&[vector_of("old shoe")])).unwrap();
    store.add(std::slice::from_ref(&replaced), &matrix(&[vector_of("x")])).unwrap();
    assert_eq!(by_words(&store, "red", None), [""; 0]);
    assert_eq!(by_words(&store, "shoe", None), ["red"]);
    assert_eq!(by_words(&store, "green", Some("words = 4")), ["gre"]);
    assert_eq!(by_words(&store, "green", Some("words = 2")), [""; 0]);
    store.delete(&["gre"]).unwrap();
    assert_eq!(by_words(&store, "green", None), [""; 0]);
    assert_eq!(store.verify().unwrap(), [""; 0]);
}

#[test]
fn a_row_beyond_all_memory_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(&folder, &[document("a", "one")]);
    let database = rusqlite::Connection::open(folder.path().join("s.hpd/store.sqlite")).unwrap();
    let sql = "PRAGMA foreign_keys = OFF; UPDATE metadata SET row = 9223372036854775807";
    database.execute_batch(sql).unwrap();
    let filter = "words EXISTS".parse().unwrap();
    let search = Search { filter: Some(&filter), ..Search::default() };
    let refused = store.search_with(&matrix(&[[0.0; DIM]]), &search).unwrap_err();
    assert!(refused.to_string().contains("is damaged"), "{refused}");
}

#[test]
fn a_text_is_needed_for_each_query() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(&folder, &[document("a", "one")]);
    let search = Search { words: Some(&["a", "b"]), ..Search::default() };
    assert!(store.search_with(&matrix(&[[0.0; DIM]]), &search).is_err());
}
