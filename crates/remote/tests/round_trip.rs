//! What was pushed is found as in the store. Needs a server; `scripts/remote-round-trip.sh` starts one.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::sync::atomic::{AtomicU32, Ordering};

use hpd_files::vectors::Matrix;
use hpd_files::{ErrorKind, Result, Silent};
use hpd_index::{Document, Exactness, Filter, Hit, Search, Store, StoreModel, StoreSettings};
use hpd_remote::{Address, Collection, Layout, Push, Pushed, open, open_or_create, push};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const DIM: usize = 8;

fn settings() -> StoreSettings {
    let model = StoreModel {
        name: "models/student".to_owned(),
        revision: None,
        weights: "weights-1".to_owned(),
        space: "space-1".to_owned(),
        dim: DIM,
    };
    StoreSettings { model, query_prompt: Some("query: ".to_owned()), ..StoreSettings::default() }
}

fn server() -> String {
    std::env::var("HPD_TEST_POSTGRES").expect(
        "HPD_TEST_POSTGRES is the address of a server; scripts/remote-round-trip.sh starts one",
    )
}

/// A store and the place that its documents are pushed to, both gone at the end.
struct Shop {
    _folder: tempfile::TempDir,
    store: Store,
    address: Address,
}

impl Shop {
    fn new(documents: &[Document]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("Round_trip_{}_{number}", std::process::id());
        let address = server().parse::<Address>().unwrap().with_collection(&name);
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("store"), &settings()).unwrap();
        let mut shop = Self { _folder: folder, store, address: address.unwrap() };
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

    fn sql(&self, statement: &str) {
        let mut client = postgres::Client::connect(&server(), postgres::NoTls).unwrap();
        let table = format!("\"{}\"", self.address.collection().unwrap());
        client.batch_execute(&statement.replace("TABLE_NAME", &table)).unwrap();
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.sql("DROP TABLE IF EXISTS TABLE_NAME");
        }
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

#[test]
#[ignore = "needs a server"]
fn what_was_pushed_is_found_as_in_the_store() {
    let shop = Shop::new(&numbered(1500));
    let all = Push { index: true, ..Push::default() };
    let pushed = shop.push(all).unwrap();
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

#[test]
#[ignore = "needs a server"]
fn the_index_is_walked_and_finds_as_many_as_are_asked_for() {
    let shop = Shop::new(&numbered(1500));
    shop.push(Push { index: true, ..Push::default() }).unwrap();
    let few: Filter = "i < 20".parse().unwrap();
    // As with a table that is too large to be read for each query.
    let server = server();
    let joint = if server.contains('?') { '&' } else { '?' };
    let forced = "options=-c%20enable_seqscan%3Doff%20-c%20enable_sort%3Doff";
    let address: Address = format!("{server}{joint}{forced}").parse().unwrap();
    let address = address.with_collection(shop.address.collection().unwrap()).unwrap();
    let mut remote = open(&address).unwrap();
    let query = queries(&["one query"]);
    for (filter, limit, expected) in [(None, 10, 10), (None, 1300, 1300), (Some(&few), 15, 15)] {
        let search = Search { limit, filter, ..Search::default() };
        let hits = remote.search(&query, &search).unwrap().remove(0);
        let exact = shop.store.search_with(&query, &search).unwrap().remove(0);
        assert_eq!(hits.len(), expected);
        let found = hits.iter().filter(|hit| exact.iter().any(|other| other.id == hit.id)).count();
        assert!(found * 100 >= expected * 95, "{found} of {expected}");
    }
}

#[test]
#[ignore = "needs a server"]
fn pushing_again_changes_nothing_and_then_only_what_differs() {
    let mut shop = Shop::new(&numbered(600));
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

#[test]
#[ignore = "needs a server"]
fn a_push_that_was_cut_off_goes_on() {
    let shop = Shop::new(&numbered(600));
    let part: Vec<_> = numbered(250);
    let vectors = part.iter().flat_map(|document| vector(&document.id)).collect();
    shop.collection().upsert(&part, &Matrix { data: vectors, dim: DIM }).unwrap();
    let rest = Pushed { added: 350, unchanged: 250, documents: 600, ..Pushed::default() };
    assert_eq!(shop.push(Push::default()).unwrap(), rest);
}

#[test]
#[ignore = "needs a server"]
fn vectors_of_another_space_width_or_layout_are_refused() {
    let shop = Shop::new(&numbered(3));
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
    assert!(refused.to_string().contains("`vector`, expected `halfvec`"), "{refused}");
    let wide = Matrix { data: vec![0.0; DIM + 1], dim: DIM + 1 };
    let refused = open(&shop.address).unwrap().search(&wide, &Search::default()).unwrap_err();
    assert!(refused.to_string().contains("9 numbers, expected 8"), "{refused}");
    let words = Search { words: Some(&["words"]), ..Search::default() };
    let refused = open(&shop.address).unwrap().search(&queries(&["a"]), &words).unwrap_err();
    assert!(refused.hint_text().unwrap().contains("--hybrid"), "{refused:?}");
}

#[test]
#[ignore = "needs a server"]
fn somebody_elses_table_is_left_alone() {
    let shop = Shop::new(&numbered(3));
    let missing = open(&shop.address).err().unwrap();
    assert!(missing.hint_text().unwrap().contains("hpd push"), "{missing:?}");
    shop.sql("CREATE TABLE TABLE_NAME (id text)");
    for refused in [
        open(&shop.address).err().unwrap(),
        open_or_create(&shop.address, &settings(), Layout::default()).err().unwrap(),
    ] {
        assert!(refused.to_string().contains("no `hpd push` made it"), "{refused}");
    }
}

#[test]
#[ignore = "needs a server"]
fn sixteen_bits_cost_digits_and_no_hits() {
    let shop = Shop::new(&numbered(300));
    let layout = Layout { half: true };
    let mut half = open_or_create(&shop.address, shop.store.settings(), layout).unwrap();
    push(&shop.store, half.as_mut(), Push { index: true, ..Push::default() }, &Silent).unwrap();
    let query = queries(&["one query"]);
    let found = half.search(&query, &Search::default()).unwrap().remove(0);
    let exact = shop.store.search_with(&query, &Search::default()).unwrap().remove(0);
    for (found, exact) in found.iter().zip(&exact) {
        assert!((found.score - exact.score).abs() < 2e-3, "{found:?} {exact:?}");
    }
    assert_eq!(found[0].id, exact[0].id);
}

#[test]
#[ignore = "needs a server"]
fn whatever_a_document_holds_comes_back_as_it_is() {
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
        text: "a 'quoted' word\n".repeat(100_000),
        metadata: Map::new(),
    });
    documents.push(document(&"é".repeat(1300), json!({})));
    let shop = Shop::new(&documents);
    shop.push(Push::default()).unwrap();
    assert_found_as_in_the_store(&shop, &Search { limit: 100, ..Search::default() });
    let again = shop.push(Push { prune: true, ..Push::default() }).unwrap();
    assert_eq!((again.unchanged, again.pruned), (documents.len() as u64, 0));
}

#[test]
#[ignore = "needs a server"]
fn nul_becomes_a_mark_in_texts_and_is_refused_in_ids() {
    let document = Document {
        id: "a".to_owned(),
        text: "x\0y".to_owned(),
        metadata: Map::from_iter([("k\0".to_owned(), json!(["\0", "\\u0000"]))]),
    };
    let mut shop = Shop::new(&[document]);
    assert_eq!(shop.push(Push::default()).unwrap().added, 1);
    assert_eq!(shop.push(Push::default()).unwrap().unchanged, 1);
    let hit = open(&shop.address)
        .unwrap()
        .search(&queries(&["q"]), &Search::default())
        .unwrap()
        .remove(0)
        .remove(0);
    assert_eq!(hit.text, "x\u{fffd}y");
    assert_eq!(Value::Object(hit.metadata), json!({"k\u{fffd}": ["\u{fffd}", "\\u0000"]}));
    for id in ["b\0c", &"x".repeat(3000)] {
        let named = Document { id: id.to_owned(), ..Document::default() };
        shop.add(std::slice::from_ref(&named));
        let refused = shop.push(Push::default()).unwrap_err();
        assert!(refused.to_string().contains("whose id has"), "{refused}");
        shop.store.delete(&[id]).unwrap();
    }
}

#[test]
#[ignore = "needs a server"]
fn written_filters_find_what_they_find_in_the_store() {
    let shop = Shop::new(&[
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
    ]);
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

mod any_filter {
    use std::ops::Bound;

    use super::*;
    use hpd_index::{Field, Scalar, Test};

    fn name() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "a", "b", "c", "", "a.b", "\"", "\\", "$", "[0]", "é", "a\nb", "'",
        ])
        .prop_map(str::to_owned)
    }

    fn scalar() -> impl Strategy<Value = Scalar> {
        let texts =
            vec!["", "1", "x", "X", "y", "true", "null", "[]", "{\"a\":1}", "é", "😀", "'; --"];
        prop_oneof![
            Just(Scalar::Null),
            any::<bool>().prop_map(Scalar::Boolean),
            prop_oneof![-2i64..3, Just(1 << 53)].prop_map(Scalar::Whole),
            prop_oneof![
                (-5i8..6).prop_map(|halves| f64::from(halves) / 2.0),
                Just(-0.0),
                Just(1e-300)
            ]
            .prop_map(Scalar::Real),
            prop::sample::select(texts).prop_map(|text| Scalar::Text(text.to_owned())),
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
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::vec((name(), inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn metadata() -> impl Strategy<Value = Value> {
        prop::collection::vec((name(), value()), 0..5)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
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
        let leaf = (prop::collection::vec(name(), 0..4), test)
            .prop_map(|(names, test)| Filter::Field(Field(names), test));
        leaf.prop_recursive(3, 10, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
                prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
                inner.prop_map(|filter| Filter::Not(Box::new(filter))),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        #[test]
        #[ignore = "needs a server"]
        fn finds_what_it_finds_in_the_store(
            metadata in prop::collection::vec(metadata(), 1..20),
            filters in prop::collection::vec(filter(), 1..20),
        ) {
            let named = |(i, metadata)| document(&format!("d{i}"), metadata);
            let shop = Shop::new(&metadata.into_iter().enumerate().map(named).collect::<Vec<_>>());
            shop.push(Push::default()).unwrap();
            let (mut remote, query) = (open(&shop.address).unwrap(), queries(&["q"]));
            for filter in &filters {
                let search = Search { filter: Some(filter), limit: 100, ..Search::default() };
                let local = shop.store.search_with(&query, &search).unwrap().remove(0);
                let found = remote.search(&query, &search).unwrap().remove(0);
                assert_same(&found, &local, &format!("{filter:?}"));
            }
        }
    }
}
