//! What was pushed is found as in the store, whatever the engine. Needs servers; `scripts/remote-round-trip.sh` starts them.
//!
//! Each test here is one for each engine, in a module of its name with those of the engine alone.
#![cfg(any(feature = "postgres", feature = "milvus"))]
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

#[path = "../../../index/tests/support/filters.rs"]
mod filters;
#[cfg(feature = "milvus")]
mod only_milvus;
#[cfg(feature = "postgres")]
mod only_postgres;
#[path = "../../../index/tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicU32, Ordering};

use hpd_files::vectors::Matrix;
use hpd_files::{ErrorKind, Result, Silent};
use hpd_index::{Document, Exactness, Filter, Hit, Search, Store, StoreModel, StoreSettings};
use hpd_remote::{Address, Collection, Layout, Push, Pushed, open, open_or_create, push};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use support::DIM;

fn settings() -> StoreSettings {
    StoreSettings { query_prompt: Some("query: ".to_owned()), ..support::settings() }
}

/// An engine, and where one runs.
struct Server {
    /// Without a table or collection.
    address: String,
    /// Drops what a test made.
    remove: fn(&Address),
}

impl Server {
    fn of(variable: &str, remove: fn(&Address)) -> Self {
        let address = std::env::var(variable).unwrap_or_else(|_| {
            panic!("{variable} is the address of a server; scripts/remote-round-trip.sh starts one")
        });
        Self { address, remove }
    }

    /// An address with a place that nobody else uses.
    fn place(&self) -> Address {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("Round_trip_{}_{number}", std::process::id());
        self.address.parse::<Address>().unwrap().with_collection(&name).unwrap()
    }
}

/// Makes each function a test for each engine.
macro_rules! for_each_engine {
    ($($test:ident,)*) => {
        #[cfg(feature = "postgres")]
        mod on_postgres {
            $(#[test]
            #[ignore = "needs a server"]
            fn $test() {
                super::$test(&super::only_postgres::server());
            })*
        }

        #[cfg(feature = "milvus")]
        mod on_milvus {
            $(#[test]
            #[ignore = "needs a server"]
            fn $test() {
                super::$test(&super::only_milvus::server());
            })*
        }
    };
}

for_each_engine! {
    what_was_pushed_is_found_as_in_the_store,
    an_index_is_built_once_and_finds_nearly_all,
    pushing_again_changes_nothing_and_then_only_what_differs,
    a_push_that_was_cut_off_goes_on,
    vectors_of_another_space_width_or_layout_are_refused,
    whatever_a_document_holds_comes_back_as_it_is,
    written_filters_find_what_they_find_in_the_store,
    any_filter_finds_what_it_finds_in_the_store,
}

/// A store and the place that its documents are pushed to, both gone at the end.
struct Shop {
    _folder: tempfile::TempDir,
    store: Store,
    address: Address,
    remove: fn(&Address),
}

impl Drop for Shop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            (self.remove)(&self.address);
        }
    }
}

impl Shop {
    fn new(server: &Server, documents: &[Document]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("store"), &settings()).unwrap();
        let (address, remove) = (server.place(), server.remove);
        let mut shop = Self { _folder: folder, store, address, remove };
        shop.add(documents);
        shop
    }

    fn add(&mut self, documents: &[Document]) {
        let data = documents.iter().flat_map(|document| vector(&document.id)).collect();
        self.store.add(documents, &Matrix { data, dim: DIM }).unwrap();
    }

    fn collection(&self) -> Box<dyn Collection> {
        open_or_create(&self.address, self.store.settings(), Layout::default()).unwrap()
    }

    fn push(&self, options: Push) -> Result<Pushed> {
        push(&self.store, self.collection().as_mut(), options, &Silent)
    }
}

/// A vector of length 1, another for each name.
fn vector(name: &str) -> [f32; DIM] {
    let mut state = name.bytes().fold(17u64, |hash, byte| hash.wrapping_mul(31) ^ u64::from(byte));
    let numbers: [f32; DIM] = std::array::from_fn(|_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    });
    let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
    numbers.map(|x| x / length)
}

fn queries(names: &[&str]) -> Matrix {
    Matrix { data: names.iter().flat_map(|name| vector(name)).collect(), dim: DIM }
}

fn document(id: &str, metadata: Value) -> Document {
    let metadata = metadata.as_object().unwrap().clone();
    Document { id: id.to_owned(), text: format!("the text of {id}"), metadata }
}

fn numbered(count: usize) -> Vec<Document> {
    (0..count).map(|i| document(&format!("n{i}"), json!({"i": i, "even": i % 2 == 0}))).collect()
}

/// Metadata compares as JSON; scores within what summing in another order costs.
#[track_caller]
fn assert_same(remote: &[Hit], local: &[Hit], what: &str) {
    let ids = |hits: &[Hit]| hits.iter().map(|hit| hit.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(remote), ids(local), "{what}");
    for (remote, local) in remote.iter().zip(local) {
        assert_eq!((&remote.text, &remote.metadata), (&local.text, &local.metadata), "{what}");
        assert!((remote.score - local.score).abs() < 1e-6, "{what}: {remote:?} {local:?}");
    }
}

#[track_caller]
fn assert_nearly_all(hits: &[Hit], exact: &[Hit], expected: usize) {
    assert_eq!(hits.len(), expected);
    let found = hits.iter().filter(|hit| exact.iter().any(|other| other.id == hit.id)).count();
    assert!(found * 100 >= expected * 95, "{found} of {expected}");
}

#[track_caller]
fn assert_found_as_in_the_store(shop: &Shop, search: &Search<'_>) {
    let queries = queries(&["one query", "another", "n3"]);
    let local = Search { exactness: Exactness::Exact, ..*search };
    let local = shop.store.search_with(&queries, &local).unwrap();
    let remote = open(&shop.address).unwrap().search(&queries, search).unwrap();
    assert_eq!(remote.len(), local.len());
    for (remote, local) in remote.iter().zip(&local) {
        assert_same(remote, local, &format!("{search:?}"));
    }
}

fn what_was_pushed_is_found_as_in_the_store(server: &Server) {
    let shop = Shop::new(server, &numbered(1500));
    let pushed = shop.push(Push::default()).unwrap();
    let expected = Pushed { added: 1500, documents: 1500, ..Pushed::default() };
    assert_eq!(pushed, expected);
    assert_eq!(open(&shop.address).unwrap().settings(), shop.store.settings());
    for exactness in [Exactness::Exact, Exactness::High] {
        let search = Search { exactness, ..Search::default() };
        assert_found_as_in_the_store(&shop, &search);
        assert_found_as_in_the_store(&shop, &Search { limit: 1, ..search });
        assert_found_as_in_the_store(
            &shop,
            &Search { limit: 1200, min_score: Some(0.1), ..search },
        );
        let few: Filter = "i < 700 AND even = true OR i IN (1499, 1)".parse().unwrap();
        assert_found_as_in_the_store(&shop, &Search { filter: Some(&few), ..search });
    }
    assert_found_as_in_the_store(&shop, &Search { limit: 0, ..Search::default() });
}

fn an_index_is_built_once_and_finds_nearly_all(server: &Server) {
    let shop = Shop::new(server, &numbered(1500));
    let indexed = Push { index: true, ..Push::default() };
    assert_eq!(shop.push(indexed).unwrap().added, 1500);
    let few: Filter = "i < 20".parse().unwrap();
    for _ in 0..2 {
        let mut remote = open(&shop.address).unwrap();
        let query = queries(&["one query"]);
        for (filter, limit, expected) in [(None, 10, 10), (None, 1300, 1300), (Some(&few), 15, 15)]
        {
            let search = Search { limit, filter, ..Search::default() };
            let hits = remote.search(&query, &search).unwrap().remove(0);
            let exact = shop.store.search_with(&query, &search).unwrap().remove(0);
            assert_nearly_all(&hits, &exact, expected);
        }
        assert_eq!(shop.push(indexed).unwrap().unchanged, 1500);
    }
}

fn pushing_again_changes_nothing_and_then_only_what_differs(server: &Server) {
    let mut shop = Shop::new(server, &numbered(600));
    shop.push(Push::default()).unwrap();
    let unchanged = Pushed { unchanged: 600, documents: 600, ..Pushed::default() };
    assert_eq!(shop.push(Push::default()).unwrap(), unchanged);

    shop.store.delete(&["n0", "n1"]).unwrap();
    shop.add(&[document("n2", json!({"i": "two"})), document("new", json!({}))]);
    let changed = Pushed { added: 1, changed: 1, unchanged: 597, pruned: 0, documents: 601 };
    assert_eq!(shop.push(Push::default()).unwrap(), changed);
    let prune = Push { prune: true, ..Push::default() };
    let pruned = Pushed { unchanged: 599, pruned: 2, documents: 599, ..Pushed::default() };
    assert_eq!(shop.push(prune).unwrap(), pruned);
    assert_found_as_in_the_store(&shop, &Search { limit: 700, ..Search::default() });
}

fn a_push_that_was_cut_off_goes_on(server: &Server) {
    let shop = Shop::new(server, &numbered(600));
    let part: Vec<_> = numbered(250);
    let vectors = part.iter().flat_map(|document| vector(&document.id)).collect();
    shop.collection().upsert(&part, &Matrix { data: vectors, dim: DIM }).unwrap();
    let rest = Pushed { added: 350, unchanged: 250, documents: 600, ..Pushed::default() };
    assert_eq!(shop.push(Push::default()).unwrap(), rest);
}

fn vectors_of_another_space_width_or_layout_are_refused(server: &Server) {
    let shop = Shop::new(server, &numbered(3));
    shop.push(Push::default()).unwrap();
    let own = settings();
    let other_space = StoreModel { space: "space-2".to_owned(), ..own.model.clone() };
    let wider = StoreModel { dim: DIM + 1, ..own.model.clone() };
    for model in [other_space, wider] {
        let settings = StoreSettings { model, ..own.clone() };
        let refused = open_or_create(&shop.address, &settings, Layout::default()).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::Mismatch, "{refused:?}");
        assert!(refused.hint_text().unwrap().contains("--collection"), "{refused:?}");
    }
    let refused = open_or_create(&shop.address, &own, Layout { half: true }).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Mismatch, "{refused:?}");
    assert!(refused.hint_text().unwrap().contains("--half"), "{refused:?}");
    let wide = Matrix { data: vec![0.0; DIM + 1], dim: DIM + 1 };
    let refused = open(&shop.address).unwrap().search(&wide, &Search::default()).unwrap_err();
    assert!(refused.to_string().contains("9 numbers, expected 8"), "{refused}");
    let words = Search { words: Some(&["words"]), ..Search::default() };
    let refused = open(&shop.address).unwrap().search(&queries(&["a"]), &words).unwrap_err();
    assert!(refused.hint_text().unwrap().contains("--hybrid"), "{refused:?}");
}

fn whatever_a_document_holds_comes_back_as_it_is(server: &Server) {
    let strange = [
        "'; DROP TABLE documents; --",
        "\"",
        "\\",
        "\\\\N",
        "%s $1 {}",
        "😀🇩🇪",
        "e\u{301}",
        "\u{202e}abc",
        " ",
        "\t\n\r",
        "NULL",
        "{}",
        "\u{fffd}",
        "\u{7f}\u{1}",
        "\\u0000",
        "a,b",
        "(a)",
        "ß",
    ];
    let mut documents: Vec<Document> = strange
        .iter()
        .map(|id| Document {
            id: (*id).to_owned(),
            text: (*id).to_owned(),
            metadata: Map::from_iter([
                ((*id).to_owned(), json!([id, {(*id): id}])),
                ("number".to_owned(), json!([1e300, -0.5, i64::MAX, u64::MAX, null, true])),
            ]),
        })
        .collect();
    documents.push(Document { id: "empty".to_owned(), ..Document::default() });
    documents.push(Document {
        id: "long".to_owned(),
        text: "a 'quoted' word\n".repeat(4_000),
        metadata: Map::new(),
    });
    documents.push(document(&"é".repeat(1300), json!({})));
    let shop = Shop::new(server, &documents);
    shop.push(Push::default()).unwrap();
    assert_found_as_in_the_store(&shop, &Search { limit: 100, ..Search::default() });
    let again = shop.push(Push { prune: true, ..Push::default() }).unwrap();
    assert_eq!((again.unchanged, again.pruned), (documents.len() as u64, 0));
}

fn written_filters_find_what_they_find_in_the_store(server: &Server) {
    let shop = Shop::new(
        server,
        &[
            document(
                "0",
                json!({"lang": "en", "year": 1990, "author": {"name": "Poe"}, "tags": ["old", "dark"]}),
            ),
            document(
                "1",
                json!({"lang": "de", "year": "1990", "author": [{"name": "Grimm"}, {"name": "Hoffmann"}]}),
            ),
            document(
                "2",
                json!({"lang": null, "year": 2001.5, "tags": [], "odd name": true, "a\"'`$": 1}),
            ),
            document(
                "3",
                json!({"year": [[1990], [1991]], "author": [[{"name": "Poe"}]], "lang": {"en": 1}}),
            ),
            document("4", json!({"year": [1, "x", null, true], "": {"": "é"}, "lang": "EN"})),
            document("5", json!({})),
        ],
    );
    shop.push(Push::default()).unwrap();
    for written in [
        "lang = 'en'",
        "lang != 'en'",
        "year = 1990.0",
        "year = '1990'",
        "year BETWEEN 1990 AND 2001.5",
        "year > 1990",
        "year NOT BETWEEN 0 AND 1995",
        "lang IN ('de', null)",
        "lang NOT IN ('de', null)",
        "lang IS NULL",
        "lang IS NOT NULL",
        "tags EXISTS",
        "tags NOT EXISTS",
        "tags = 'dark' AND tags = 'old'",
        "lang > 'a'",
        "author.name = 'Hoffmann' OR author.name >= 'P'",
        "author EXISTS",
        "author.name EXISTS",
        "`odd name` = true",
        "NOT (lang = 'en' OR year > 2000)",
        "year = true",
        "year IN (true, 1, 'y')",
        "`a\"'``$` = 1",
        "lang.en = 1",
        "year >= 'x'",
        "lang < 'Z'",
        "year = 1e0",
    ] {
        let filter: Filter = written.parse().unwrap();
        let search = Search { filter: Some(&filter), limit: 100, ..Search::default() };
        assert_found_as_in_the_store(&shop, &search);
    }
    for written in [
        vec!["i != 2"; 499].join(" OR "),
        format!("i IN ({})", (0..9_999).map(|i| i.to_string()).collect::<Vec<_>>().join(",")),
        format!("{}i = 2{}", "(a = 1 OR b = 1 AND ".repeat(12) + "(", ")".repeat(13)),
        vec![vec!["deep"; 32].join(".") + " NOT EXISTS"; 15].join(" OR "),
    ] {
        let filter: Filter = written.parse().unwrap();
        let search = Search { filter: Some(&filter), limit: 100, ..Search::default() };
        assert_found_as_in_the_store(&shop, &search);
    }
}

fn any_filter_finds_what_it_finds_in_the_store(server: &Server) {
    let config =
        ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    let metadata = prop::collection::vec(filters::metadata(Just(Value::from("x\u{fffd}y"))), 1..20);
    let filters = prop::collection::vec(filters::filter(), 1..20);
    proptest!(config, |(metadata in metadata, filters in filters)| {
        let named = |(i, metadata)| document(&format!("d{i}"), Value::Object(metadata));
        let shop = Shop::new(server, &metadata.into_iter().enumerate().map(named).collect::<Vec<_>>());
        shop.push(Push::default()).unwrap();
        let (mut remote, query) = (open(&shop.address).unwrap(), queries(&["q"]));
        for filter in &filters {
            let search = Search { filter: Some(filter), limit: 100, ..Search::default() };
            let local = shop.store.search_with(&query, &search).unwrap().remove(0);
            let found = remote.search(&query, &search).unwrap().remove(0);
            assert_same(&found, &local, &format!("{filter:?}"));
        }
    });
}
