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
    Reopen,
    DeriveCodes,
    LoseCodes,
    Compact,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => prop::collection::vec((0..IDS, any::<u8>()), 1..300).prop_map(Change::Add),
        2 => prop::collection::vec(0..IDS, 0..150).prop_map(Change::Delete),
        1 => Just(Change::Reopen),
        2 => Just(Change::DeriveCodes),
        1 => Just(Change::LoseCodes),
        1 => Just(Change::Compact),
    ]
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

    fn search(&self, query: &[f32], k: usize) -> Vec<(f32, String)> {
        let score = |document: &Document| {
            vector_of(&document.text).iter().zip(query).map(|(a, b)| a * b).sum::<f32>()
        };
        let mut hits: Vec<_> =
            self.0.iter().map(|document| (score(document), document.id.clone())).collect();
        hits.sort_by(|a, b| b.0.total_cmp(&a.0));
        hits.truncate(k);
        hits
    }
}

fn apply(store: &mut Store, reference: &mut Reference, change: &Change) {
    match change {
        Change::Add(additions) => {
            let documents: Vec<_> = additions
                .iter()
                .map(|(id, text)| document(&format!("id {id}"), &format!("text {text}")))
                .collect();
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
        for query in &queries {
            let expected = reference.search(query, k);
            for exactness in [Exactness::Exact, Exactness::High, Exactness::Fast] {
                let all = Search {
                    limit: k,
                    exactness,
                    shortlist: Some(usize::MAX),
                    ..Search::default()
                };
                prop_assert_eq!(&found(&store, query, &all), &expected);
                let near = Search { min_score: Some(2.0), ..all };
                let nearer: Vec<_> =
                    expected.iter().filter(|(score, _)| *score >= 2.0).cloned().collect();
                prop_assert_eq!(found(&store, query, &near), nearer);
            }
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
