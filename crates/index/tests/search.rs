//! Search finds what comparing with everything would find, whatever was added, replaced and deleted before.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use hpd_index::{Document, SearchOptions, Store};
use proptest::prelude::*;

mod support;
use support::{DIM, document, matrix, settings, vector_of};

#[derive(Clone, Debug)]
enum Change {
    Add(Vec<(u8, u8)>),
    Delete(Vec<u8>),
    Reopen,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => prop::collection::vec((0u8..25, any::<u8>()), 1..12).prop_map(Change::Add),
        2 => prop::collection::vec(0u8..25, 0..8).prop_map(Change::Delete),
        1 => Just(Change::Reopen),
    ]
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
        Change::Reopen => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn search_equals_comparing_with_everything(
        changes in prop::collection::vec(change(), 0..10),
        // Small whole numbers: every order of summing gives the same score, and many tie.
        queries in prop::collection::vec(prop::collection::vec((-2i8..3).prop_map(f32::from), DIM), 1..4),
        k in 0usize..30,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("documents.hpd");
        let mut store = Store::create(&path, &settings()).unwrap();
        let mut reference = Reference::default();
        for change in &changes {
            apply(&mut store, &mut reference, change);
            if matches!(change, Change::Reopen) {
                drop(store);
                store = Store::open(&path).unwrap();
            }
        }
        prop_assert_eq!(store.len().unwrap(), reference.0.len() as u64);
        for query in &queries {
            let hits = store.search(query, k).unwrap();
            let found: Vec<_> = hits.iter().map(|hit| (hit.score, hit.id.clone())).collect();
            prop_assert_eq!(found, reference.search(query, k));
            for hit in hits {
                let own = reference.0.iter().find(|document| document.id == hit.id).unwrap();
                prop_assert_eq!((&hit.text, &hit.metadata), (&own.text, &own.metadata));
            }
        }
        prop_assert!(store.verify().unwrap().is_empty());
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
    let together = store
        .search_all(&queries, &SearchOptions { limit: 25, ..SearchOptions::default() })
        .unwrap();
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
