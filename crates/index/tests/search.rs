//! Search finds what comparing with everything would find, whatever was added, replaced and deleted before.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::fs;
use std::path::Path;
use std::process::Command;

use hpd_files::vectors::Matrix;
use hpd_index::{Document, Durability, Exactness, Filter, Search, Store};
use hpd_kernels::Level;
use proptest::prelude::*;

mod support;
use support::{DIM, document, matrix, settings, vector_of};

/// Ids that documents have: enough for several blocks of codes.
const IDS: u16 = 400;

#[derive(Clone, Debug)]
enum Change {
    Add(Vec<(u16, u8)>),
    Delete(Vec<u16>),
    DeleteMatching(Condition),
    Reopen,
    DeriveCodes,
    LoseCodes,
    Compact,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => prop::collection::vec((0..IDS, any::<u8>()), 1..300).prop_map(Change::Add),
        2 => prop::collection::vec(0..IDS, 0..150).prop_map(Change::Delete),
        1 => condition().prop_map(Change::DeleteMatching),
        1 => Just(Change::Reopen),
        2 => Just(Change::DeriveCodes),
        1 => Just(Change::LoseCodes),
        1 => Just(Change::Compact),
    ]
}

/// A filter on the number in a document's text, which stands in its metadata too.
#[derive(Clone, Debug)]
enum Condition {
    Below(u8),
    OneOf(Vec<u8>),
    Even,
    Not(Box<Self>),
    Both(Box<[Self; 2]>),
    Either(Box<[Self; 2]>),
}

fn condition() -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![
        any::<u8>().prop_map(Condition::Below),
        prop::collection::vec(any::<u8>(), 1..20).prop_map(Condition::OneOf),
        Just(Condition::Even),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        let two = (inner.clone(), inner.clone()).prop_map(|(a, b)| Box::new([a, b]));
        prop_oneof![
            inner.prop_map(|condition| Condition::Not(Box::new(condition))),
            two.clone().prop_map(Condition::Both),
            two.prop_map(Condition::Either),
        ]
    })
}

impl Condition {
    fn holds(&self, number: u8) -> bool {
        match self {
            Self::Below(end) => number < *end,
            Self::OneOf(numbers) => numbers.contains(&number),
            Self::Even => number.is_multiple_of(2),
            Self::Not(condition) => !condition.holds(number),
            Self::Both(conditions) => conditions.iter().all(|condition| condition.holds(number)),
            Self::Either(conditions) => conditions.iter().any(|condition| condition.holds(number)),
        }
    }

    fn holds_for(&self, document: &Document) -> bool {
        document.metadata["number"].as_u64().is_some_and(|number| self.holds(number as u8))
    }

    fn written(&self) -> String {
        let joined = |conditions: &[Self; 2], word| {
            format!("({} {word} {})", conditions[0].written(), conditions[1].written())
        };
        match self {
            Self::Below(end) => format!("number < {end}"),
            Self::OneOf(numbers) => {
                let numbers: Vec<_> = numbers.iter().map(u8::to_string).collect();
                format!("number IN ({})", numbers.join(", "))
            }
            Self::Even => "even = true".to_owned(),
            Self::Not(condition) => format!("NOT {}", condition.written()),
            Self::Both(conditions) => joined(conditions, "AND"),
            Self::Either(conditions) => joined(conditions, "OR"),
        }
    }

    fn filter(&self) -> Filter {
        self.written().parse().unwrap()
    }
}

fn numbered(id: u16, number: u8) -> Document {
    let mut document = document(&format!("id {id}"), &format!("text {number}"));
    document.metadata.insert("number".to_owned(), number.into());
    document.metadata.insert("even".to_owned(), number.is_multiple_of(2).into());
    document
}

fn open(path: &Path) -> Store {
    let mut store = Store::open(path).unwrap();
    store.set_code_block_rows(64);
    store.set_durability(Durability::Normal).unwrap();
    store
}

/// What a search finds that must find the same whatever it reads first.
fn found(store: &Store, query: &[f32], options: &Search<'_>) -> Vec<(f32, String)> {
    let queries = Matrix { data: query.to_vec(), dim: DIM };
    let hits = store.search_with(&queries, options).unwrap().pop().unwrap();
    hits.into_iter().map(|hit| (hit.score, hit.id)).collect()
}

/// Documents in the order of insertion: what a store means.
#[derive(Default)]
struct Reference(Vec<Document>);

impl Reference {
    fn add(&mut self, document: Document) {
        self.delete(&document.id);
        self.0.push(document);
    }

    fn delete(&mut self, id: &str) -> u64 {
        let before = self.0.len();
        self.0.retain(|document| document.id != id);
        (before - self.0.len()) as u64
    }

    fn delete_matching(&mut self, condition: &Condition) -> u64 {
        let before = self.0.len();
        self.0.retain(|document| !condition.holds_for(document));
        (before - self.0.len()) as u64
    }

    fn search(&self, query: &[f32], k: usize, held: Option<&Condition>) -> Vec<(f32, String)> {
        let score = |document: &Document| {
            vector_of(&document.text).iter().zip(query).map(|(a, b)| a * b).sum::<f32>()
        };
        let candidates =
            self.0.iter().filter(|document| held.is_none_or(|held| held.holds_for(document)));
        let mut hits: Vec<_> =
            candidates.map(|document| (score(document), document.id.clone())).collect();
        hits.sort_by(|a, b| b.0.total_cmp(&a.0));
        hits.truncate(k);
        hits
    }
}

fn apply(store: &mut Store, reference: &mut Reference, change: &Change) {
    match change {
        Change::Add(additions) => {
            let documents: Vec<_> =
                additions.iter().map(|(id, number)| numbered(*id, *number)).collect();
            let vectors: Vec<_> =
                documents.iter().map(|document| vector_of(&document.text)).collect();
            store.add(&documents, &matrix(&vectors)).unwrap();
            documents.into_iter().for_each(|document| reference.add(document));
        }
        Change::Delete(ids) => {
            let ids: Vec<_> = ids.iter().map(|id| format!("id {id}")).collect();
            let expected: u64 = ids.iter().map(|id| reference.delete(id)).sum();
            assert_eq!(store.delete(&ids).unwrap(), expected);
        }
        Change::DeleteMatching(condition) => {
            let expected = reference.delete_matching(condition);
            assert_eq!(store.delete_matching(&condition.filter()).unwrap(), expected);
        }
        Change::DeriveCodes => store.derive_codes().unwrap(),
        Change::Compact => drop(store.compact().unwrap()),
        Change::Reopen | Change::LoseCodes => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn search_equals_comparing_with_everything(
        changes in prop::collection::vec(change(), 0..12),
        // Small whole numbers: every order of summing gives the same score, and many tie.
        queries in prop::collection::vec(prop::collection::vec((-2i8..3).prop_map(f32::from), DIM), 1..4),
        conditions in prop::collection::vec(condition(), 0..3),
        k in 0usize..30,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("documents.hpd");
        drop(Store::create(&path, &settings()).unwrap());
        let mut store = open(&path);
        let mut reference = Reference::default();
        for change in &changes {
            apply(&mut store, &mut reference, change);
            if matches!(change, Change::LoseCodes) {
                let _ = fs::remove_file(path.join("codes"));
            }
            if matches!(change, Change::Reopen | Change::LoseCodes) {
                drop(store);
                store = open(&path);
            }
        }
        prop_assert_eq!(store.len().unwrap(), reference.0.len() as u64);
        let held = std::iter::once(None).chain(conditions.iter().map(Some));
        for (query, held) in queries.iter().flat_map(|query| held.clone().map(move |held| (query, held))) {
            let filter = held.map(Condition::filter);
            let expected = reference.search(query, k, held);
            for exactness in [Exactness::Exact, Exactness::High, Exactness::Fast] {
                let all = Search {
                    limit: k,
                    exactness,
                    shortlist: Some(usize::MAX),
                    filter: filter.as_ref(),
                    ..Search::default()
                };
                prop_assert_eq!(&found(&store, query, &all), &expected, "{:?}", held);
                let near = Search { min_score: Some(2.0), ..all };
                let nearer: Vec<_> =
                    expected.iter().filter(|(score, _)| *score >= 2.0).cloned().collect();
                prop_assert_eq!(found(&store, query, &near), nearer);
            }
        }
        for query in &queries {
            let expected = reference.search(query, k, None);
            let hits = store.search(query, k).unwrap();
            let found: Vec<_> = hits.iter().map(|hit| (hit.score, hit.id.clone())).collect();
            prop_assert_eq!(&found, &expected);
            for hit in hits {
                let own = reference.0.iter().find(|document| document.id == hit.id).unwrap();
                prop_assert_eq!((&hit.text, &hit.metadata), (&own.text, &own.metadata));
            }
        }
        prop_assert!(store.verify().unwrap().is_empty());
    }
}

/// The level is chosen once for a process, so each gets one.
#[test]
fn search_finds_the_same_at_every_level() {
    for level in Level::available() {
        let test = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "search_equals_comparing_with_everything"])
            .env("HPD_SIMD", level.to_string())
            .env("PROPTEST_CASES", "8")
            .output()
            .unwrap();
        assert!(test.status.success(), "{level}: {}", String::from_utf8_lossy(&test.stdout));
    }
}

#[test]
fn a_search_held_to_some_rows_finds_the_best_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.hpd");
    drop(Store::create(&path, &settings()).unwrap());
    let mut store = open(&path);
    let documents: Vec<_> = (1..=1_000u64)
        .map(|i| {
            let mut document = document(&i.to_string(), &format!("text {}", i * 7919));
            document.metadata.insert("seventh".to_owned(), (i % 7 == 0).into());
            document
        })
        .collect();
    let vectors: Vec<_> = documents.iter().map(|document| vector_of(&document.text)).collect();
    store.add(&documents, &matrix(&vectors)).unwrap();
    store.derive_codes().unwrap();
    store.delete(&["21", "35", "960"]).unwrap();
    let [seventh, none]: [Filter; 2] =
        ["seventh = true", "seventh = 7"].map(|filter| filter.parse().unwrap());
    for exactness in [Exactness::Exact, Exactness::High] {
        let options = Search {
            limit: 40,
            exactness,
            filter: Some(&seventh),
            shortlist: Some(1_000),
            ..Search::default()
        };
        let everything = Search { limit: 1_000, filter: None, ..options };
        let query = vector_of("one");
        let mut expected = found(&store, &query, &everything);
        expected.retain(|(_, id)| id.parse::<u64>().unwrap() % 7 == 0);
        expected.truncate(40);
        assert_eq!(found(&store, &query, &options), expected);
        let none = Search { filter: Some(&none), ..options };
        assert!(found(&store, &query, &none).is_empty());
    }
}

/// So many scores lie together that the first list of candidates cannot tell which are the best.
#[test]
fn a_row_is_found_once_however_often_lists_grow() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::create(&folder.path().join("s.hpd"), &settings()).unwrap();
    let query = vector_of("the same");
    let documents: Vec<_> = (0..5_000).map(|i| document(&i.to_string(), "a text")).collect();
    let vector = |i| if i < 3_000 { query } else { query.map(|number| -number) };
    store.add(&documents, &matrix(&(0..5_000).map(vector).collect::<Vec<_>>())).unwrap();
    store.derive_codes().unwrap();
    let ids = |options: &Search<'_>| -> Vec<String> {
        found(&store, &query, options).into_iter().map(|(_, id)| id).collect()
    };
    let first = |count: usize| -> Vec<String> { (0..count).map(|i| i.to_string()).collect() };
    for exactness in [Exactness::Exact, Exactness::High] {
        let ten = Search { exactness, ..Search::default() };
        assert_eq!(ids(&ten), first(10));
        let many = Search { limit: 2_500, min_score: Some(0.5), ..ten };
        assert_eq!(ids(&many), first(2_500));
        assert_eq!(ids(&Search { limit: 4_000, ..many }), first(3_000));
    }
}

#[test]
fn many_queries_at_once_find_what_each_alone_finds() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::create(&folder.path().join("s.hpd"), &settings()).unwrap();
    // More vectors than one block holds.
    let documents: Vec<_> =
        (0..20_000).map(|i| document(&i.to_string(), &format!("text {}", i * 7919))).collect();
    let vectors: Vec<_> = documents.iter().map(|document| vector_of(&document.text)).collect();
    store.add(&documents, &matrix(&vectors)).unwrap();

    let queries = matrix(&[vector_of("one"), vector_of("two"), vector_of("three")]);
    let together = store.search_with(&queries, &Search { limit: 25, ..Search::default() }).unwrap();
    for (i, hits) in together.iter().enumerate() {
        assert_eq!(hits.len(), 25);
        assert_eq!(*hits, store.search(queries.row(i), 25).unwrap());
    }
}

#[test]
fn a_reader_sees_the_store_while_a_writer_is_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.hpd");
    let mut writer = Store::create(&path, &settings()).unwrap();
    writer.add(&[document("a", "first")], &matrix(&[vector_of("first")])).unwrap();
    let reader = Store::open_read_only(&path).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..50 {
                let text = format!("text {i}");
                writer.add(&[document(&text, &text)], &matrix(&[vector_of(&text)])).unwrap();
            }
        });
        let mut seen = 0;
        while seen < 51 {
            let hits = reader.search(&[1.0; DIM], 100).unwrap().len();
            assert!(hits >= seen, "saw {hits} documents after {seen}");
            seen = hits;
        }
    });
}
