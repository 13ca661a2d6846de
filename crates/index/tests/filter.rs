//! Filters find what asking each document would find, and search finds the nearest of those.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::cmp::Ordering;
use std::ops::Bound;

use hpd_index::{Document, Field, Filter, Fusion, Hit, Scalar, Search, Store, Test};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

mod support;
use support::{DIM, document, matrix, settings, vector_of};

/// A filter's meaning, one document at a time.
fn matches(filter: &Filter, metadata: &Map<String, Value>) -> bool {
    match filter {
        Filter::And(filters) => filters.iter().all(|filter| matches(filter, metadata)),
        Filter::Or(filters) => filters.iter().any(|filter| matches(filter, metadata)),
        Filter::Not(filter) => !matches(filter, metadata),
        Filter::Field(Field(names), test) => {
            let (last, way) = names.split_last().unwrap();
            let mut objects = vec![metadata];
            for name in way {
                let values = objects.iter().filter_map(|object| object.get(name));
                objects = values.flat_map(elements).filter_map(Value::as_object).collect();
            }
            let mut values = objects.iter().filter_map(|object| object.get(last));
            match test {
                Test::Exists => values.next().is_some(),
                Test::OneOf(scalars) => values.flat_map(elements).any(|value| {
                    scalars.iter().any(|s| compare(value, s) == Some(Ordering::Equal))
                }),
                Test::Between(low, high) => values
                    .flat_map(elements)
                    .any(|value| is_within(value, low, true) && is_within(value, high, false)),
            }
        }
    }
}

/// An array's elements, or the value itself.
fn elements(value: &Value) -> &[Value] {
    match value {
        Value::Array(elements) => elements,
        alone => std::slice::from_ref(alone),
    }
}

fn compare(value: &Value, scalar: &Scalar) -> Option<Ordering> {
    match (value, scalar) {
        (Value::Null, Scalar::Null) => Some(Ordering::Equal),
        (Value::Bool(a), Scalar::Boolean(b)) => Some(a.cmp(b)),
        (Value::String(a), Scalar::Text(b)) => Some(a.as_str().cmp(b)),
        // Numbers of the test are exact as f64.
        (Value::Number(a), Scalar::Whole(b)) => a.as_f64()?.partial_cmp(&(*b as f64)),
        (Value::Number(a), Scalar::Real(b)) => a.as_f64()?.partial_cmp(b),
        _ => None,
    }
}

fn is_within(value: &Value, bound: &Bound<Scalar>, is_low: bool) -> bool {
    let (scalar, included) = match bound {
        Bound::Unbounded => return value.is_number() || value.is_string(),
        Bound::Included(scalar) => (scalar, true),
        Bound::Excluded(scalar) => (scalar, false),
    };
    if matches!(scalar, Scalar::Null | Scalar::Boolean(_)) {
        return false;
    }
    match compare(value, scalar) {
        Some(Ordering::Equal) => included,
        Some(Ordering::Greater) => is_low,
        Some(Ordering::Less) => !is_low,
        None => false,
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["", "a.b", "\"", "\\", "$", "[0]", "#", "é", "a\nb", "'"])
            .prop_map(str::to_owned),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["", "1", "x", "X", "y", "true", "null", "[]", "{\"a\":1}", "é", "😀", "'; --"])
            .prop_map(str::to_owned),
        1 => "\\PC{0,4}",
    ]
}

fn whole() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -2i64..3, 1 => Just(1 << 53), 1 => Just(-(1 << 62))]
}

fn real() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-5i8..6).prop_map(|halves| f64::from(halves) / 2.0),
        1 => Just(-0.0),
        1 => any::<f64>().prop_filter("JSON has no infinity", |real| real.is_finite()),
    ]
}

fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        Just(Scalar::Null),
        any::<bool>().prop_map(Scalar::Boolean),
        whole().prop_map(Scalar::Whole),
        real().prop_map(Scalar::Real),
        text().prop_map(Scalar::Text),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = scalar().prop_map(|scalar| match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(value) => value.into(),
        Scalar::Whole(number) => number.into(),
        Scalar::Real(number) => number.into(),
        Scalar::Text(text) => text.into(),
    });
    let leaf = prop_oneof![20 => leaf, 1 => Just(Value::from("x\0y"))];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((name(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn metadata() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec((name(), value()), 0..5).prop_map(|members| members.into_iter().collect())
}

fn bound() -> impl Strategy<Value = Bound<Scalar>> {
    prop_oneof![
        Just(Bound::Unbounded),
        scalar().prop_map(Bound::Included),
        scalar().prop_map(Bound::Excluded),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let test = prop_oneof![
        prop::collection::vec(scalar(), 0..4).prop_map(Test::OneOf),
        (bound(), bound()).prop_map(|(low, high)| Test::Between(low, high)),
        Just(Test::Exists),
    ];
    let leaf = (prop::collection::vec(name(), 1..4), test)
        .prop_map(|(names, test)| Filter::Field(Field(names), test));
    leaf.prop_recursive(3, 10, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
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
        metadata in prop::collection::vec(metadata(), 1..12),
        filters in prop::collection::vec(filter(), 1..12),
    ) {
        let documents = with_metadata(metadata);
        let folder = tempfile::tempdir().unwrap();
        let mut store = new_store(&folder, &documents);
        for filter in &filters {
            let expected: Vec<_> = documents
                .iter()
                .filter(|document| matches(filter, &document.metadata))
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
    if field.0.iter().any(String::is_empty) {
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
