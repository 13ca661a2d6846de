//! Codes are derived: whatever becomes of their file, a search finds what it would have found.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use hpd_files::vectors::Matrix;
use hpd_index::{Document, Exactness, Hit, Search, Store, StoreModel, StoreSettings};
use proptest::prelude::*;
use tempfile::TempDir;

mod support;
use support::{document, settings};

/// As wide as embeddings are, so that signs say something.
const DIM: usize = 100;
const DOCUMENTS: u32 = 2_000;

/// A unit vector that depends on a text.
fn vector_of(text: &str) -> Vec<f32> {
    let mut state = text.bytes().fold(7u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
    });
    let mut number = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let numbers: Vec<f32> = (0..DIM).map(|_| number()).collect();
    let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
    numbers.iter().map(|x| x / length).collect()
}

fn add(store: &mut Store, documents: &[Document]) {
    let data = documents.iter().flat_map(|document| vector_of(&document.text)).collect();
    store.add(documents, &Matrix { data, dim: DIM }).unwrap();
}

fn open(path: &Path, how: fn(&Path) -> hpd_files::Result<Store>) -> Store {
    let mut store = how(path).unwrap();
    store.set_code_block_rows(64);
    store
}

fn documents(name: &str, count: u32) -> Vec<Document> {
    (0..count).map(|i| document(&format!("{name} {i}"), &format!("{name} text {i}"))).collect()
}

/// A store with codes, and some deleted rows among them.
fn store_with_codes(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("s.hpd");
    let model = StoreModel { dim: DIM, ..settings().model };
    drop(Store::create(&path, &StoreSettings { model, ..settings() }).unwrap());
    let mut store = open(&path, Store::open);
    add(&mut store, &documents("first", DOCUMENTS));
    store.derive_codes().unwrap();
    store.delete(&["first 3", "first 77", "first 1999"]).unwrap();
    path
}

fn options(exactness: Exactness) -> Search<'static> {
    Search { exactness, shortlist: Some(usize::MAX), ..Search::default() }
}

fn searched(store: &Store, exactness: Exactness) -> Vec<Vec<Hit>> {
    let data = (0..5).flat_map(|i| vector_of(&format!("first text {}", i * 39))).collect();
    store.search_with(&Matrix { data, dim: DIM }, &options(exactness)).unwrap()
}

/// What is found without codes.
fn found_in_the_database(path: &Path) -> Vec<Vec<Hit>> {
    let copy = tempfile::tempdir().unwrap();
    fs::copy(path.join("store.sqlite"), copy.path().join("store.sqlite")).unwrap();
    // Fewer rows than a block has.
    let mut store = Store::open(copy.path()).unwrap();
    store.set_code_block_rows(1 << 20);
    searched(&store, Exactness::Exact)
}

/// Fails unless a writer's and a reader's search, exact and by signs, find what the database holds.
#[track_caller]
fn assert_nothing_is_missed(path: &Path, why: &str) {
    let expected = found_in_the_database(path);
    for exactness in [Exactness::Exact, Exactness::High] {
        for how in [Store::open_read_only, Store::open] {
            let store = open(path, how);
            assert_eq!(searched(&store, exactness), expected, "{why}, {exactness}");
            assert_eq!(searched(&store, exactness), expected, "{why}, {exactness}, again");
        }
    }
    assert_eq!(open(path, Store::open).verify().unwrap(), [""; 0], "{why}");
}

#[test]
fn codes_that_are_lost_or_damaged_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = store_with_codes(&folder);
    let codes = path.join("codes");
    let whole = fs::read(&codes).unwrap();
    assert_nothing_is_missed(&path, "whole");
    assert_eq!(fs::read(&codes).unwrap(), whole, "they were made again without need");

    fs::remove_file(&codes).unwrap();
    assert_nothing_is_missed(&path, "missing");
    assert!(codes.exists());
    for length in [0, 1, 127, 128, 129, whole.len() / 3, whole.len() - 1] {
        fs::write(&codes, &whole[..length]).unwrap();
        assert_nothing_is_missed(&path, &format!("cut off at {length}"));
    }
    fs::write(&codes, "something else entirely ".repeat(999)).unwrap();
    assert_nothing_is_missed(&path, "foreign");
    let appended = [&whole[..], &[7; 5_000]].concat();
    fs::write(&codes, appended).unwrap();
    assert_nothing_is_missed(&path, "longer");
}

#[test]
fn any_flipped_bit_is_noticed_or_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = store_with_codes(&folder);
    let codes = path.join("codes");
    let whole = fs::read(&codes).unwrap();
    for round in 0..60 {
        let mut damaged = whole.clone();
        // Near the beginning, where headers are, and everywhere.
        let at = if round < 20 { round * 29 } else { (round * 104_729) % whole.len() };
        damaged[at] ^= 1 << (round % 8);
        fs::write(&codes, &damaged).unwrap();
        let problems = open(&path, Store::open_read_only).verify().unwrap();
        assert!(!problems.is_empty(), "the bit flipped at {at} was not noticed");
        assert_nothing_is_missed(&path, &format!("a bit flipped at {at}"));
    }
}

/// Something that becomes of a file. Places are shares of its length.
#[derive(Clone, Debug)]
enum Damage {
    Flip(f64, u8),
    Overwrite(f64, Vec<u8>),
    Fill(f64, usize, u8),
    Cut(f64),
    Remove(f64, usize),
    Insert(f64, Vec<u8>),
    Swap(f64, f64, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    // Everywhere, and at the beginning, where the headers of the file and of its first block are.
    let place = || prop_oneof![2 => 0.0..1.0, 1 => 0.0..0.01];
    let bytes = || prop::collection::vec(any::<u8>(), 1..300);
    prop_oneof![
        (place(), 0u8..8).prop_map(|(place, bit)| Damage::Flip(place, bit)),
        (place(), bytes()).prop_map(|(place, bytes)| Damage::Overwrite(place, bytes)),
        (place(), 1usize..20_000, any::<u8>()).prop_map(|(place, n, x)| Damage::Fill(place, n, x)),
        place().prop_map(Damage::Cut),
        (place(), 1usize..20_000).prop_map(|(place, length)| Damage::Remove(place, length)),
        (place(), bytes()).prop_map(|(place, bytes)| Damage::Insert(place, bytes)),
        (place(), place(), 1usize..20_000).prop_map(|(a, b, length)| Damage::Swap(a, b, length)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        let at = |place: f64| ((place * length as f64) as usize).min(length.saturating_sub(1));
        let up_to = |start: usize, count: usize| start..(start + count).min(length);
        if length == 0 {
            return;
        }
        match self {
            Self::Flip(place, bit) => bytes[at(*place)] ^= 1 << bit,
            Self::Overwrite(place, new) => {
                let range = up_to(at(*place), new.len());
                bytes[range.clone()].copy_from_slice(&new[..range.len()]);
            }
            Self::Fill(place, count, byte) => bytes[up_to(at(*place), *count)].fill(*byte),
            Self::Cut(place) => bytes.truncate(at(*place)),
            Self::Remove(place, count) => drop(bytes.drain(up_to(at(*place), *count))),
            Self::Insert(place, new) => drop(bytes.splice(at(*place)..at(*place), new.clone())),
            Self::Swap(a, b, count) => {
                (0..*count).for_each(|i| bytes.swap((at(*a) + i) % length, (at(*b) + i) % length));
            }
        }
    }
}

#[test]
fn whatever_becomes_of_the_bytes_nothing_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let path = store_with_codes(&folder);
    let codes = path.join("codes");
    let whole = fs::read(&codes).unwrap();
    let some = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(some, |(damages in prop::collection::vec(damage(), 1..4))| {
        let mut bytes = whole.clone();
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        fs::write(&codes, &bytes).unwrap();
        assert_nothing_is_missed(&path, &format!("{damages:?}"));
    });
}

#[test]
fn blocks_that_changed_places_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = store_with_codes(&folder);
    let codes = path.join("codes");
    let whole = fs::read(&codes).unwrap();
    // A block of 64 rows: header, row numbers, signs, scales, bytes.
    let block = 128 + 64 * (8 + 8 * DIM.div_ceil(64) + 4 + DIM);
    assert_eq!((whole.len() - 128) % block, 0);
    let start = |i: usize| 128 + i * block;
    for (a, b) in [(0, 1), (3, 20), (5, whole.len() / block - 1)] {
        let mut swapped = whole.clone();
        swapped[start(a)..start(a + 1)].copy_from_slice(&whole[start(b)..start(b + 1)]);
        swapped[start(b)..start(b + 1)].copy_from_slice(&whole[start(a)..start(a + 1)]);
        fs::write(&codes, &swapped).unwrap();
        let problems = open(&path, Store::open_read_only).verify().unwrap();
        assert!(!problems.is_empty(), "blocks {a} and {b} in each other's place were not noticed");
        assert_nothing_is_missed(&path, &format!("blocks {a} and {b} in each other's place"));
    }
}

#[test]
fn codes_of_another_store_or_another_time_are_not_used() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (path, other) = (store_with_codes(&folder), store_with_codes(&other));
    fs::copy(other.join("codes"), path.join("codes")).unwrap();
    assert_nothing_is_missed(&path, "those of another store");

    // Two copies of one store that went different ways to the same number of rows.
    let twin = folder.path().join("twin.hpd");
    fs::create_dir(&twin).unwrap();
    for file in ["store.sqlite", "codes"] {
        fs::copy(path.join(file), twin.join(file)).unwrap();
    }
    let before = fs::read(path.join("codes")).unwrap();
    for (path, name) in [(&path, "second"), (&twin, "third")] {
        let mut store = open(path, Store::open);
        add(&mut store, &documents(name, 200));
        store.derive_codes().unwrap();
    }
    let own = fs::read(path.join("codes")).unwrap();
    fs::copy(twin.join("codes"), path.join("codes")).unwrap();
    assert_nothing_is_missed(&path, "those of a twin");
    fs::write(path.join("codes"), before).unwrap();
    assert_nothing_is_missed(&path, "those from before");

    // A database put back from a copy, beside codes that know what came later.
    fs::write(path.join("codes"), own).unwrap();
    let database = path.join("store.sqlite");
    let saved = found_in_the_database(&twin);
    fs::copy(twin.join("store.sqlite"), &database).unwrap();
    assert_nothing_is_missed(&path, "those of a lost database");
    assert_eq!(found_in_the_database(&path), saved);
}

#[test]
fn compacting_forgets_what_was_deleted_and_readers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = store_with_codes(&folder);
    let reader = open(&path, Store::open_read_only);
    let before = searched(&reader, Exactness::Exact);
    let mut writer = open(&path, Store::open);
    let ids: Vec<_> = (500..1_500).map(|i| format!("first {i}")).collect();
    assert_eq!(writer.delete(&ids).unwrap(), 1_000);
    let without_them = searched(&reader, Exactness::High);
    assert_ne!(without_them, before);
    let compacted = writer.compact().unwrap();
    assert!(compacted.bytes_after < compacted.bytes_before * 2 / 3, "{compacted:?}");
    assert_eq!(searched(&reader, Exactness::High), without_them);
    assert_nothing_is_missed(&path, "compacted");
}

#[test]
fn where_nothing_can_be_written_the_database_is_searched() {
    let folder = tempfile::tempdir().unwrap();
    let path = store_with_codes(&folder);
    let expected = found_in_the_database(&path);
    fs::remove_file(path.join("codes")).unwrap();
    // Neither name can become a file now.
    for name in ["codes.lock", ".codes.unfinished"] {
        let _ = fs::remove_file(path.join(name));
        fs::create_dir(path.join(name)).unwrap();
    }
    let store = open(&path, Store::open_read_only);
    assert_eq!(searched(&store, Exactness::Fast), expected);
    assert_eq!(searched(&store, Exactness::Exact), expected);
    assert!(!path.join("codes").exists());
    add(&mut open(&path, Store::open), &documents("second", 2_000));
}

#[test]
fn a_reader_follows_what_a_writer_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = store_with_codes(&folder);
    let reader = open(&path, Store::open_read_only);
    let mut writer = open(&path, Store::open);
    for round in 0..30 {
        let name = format!("round {round}");
        add(&mut writer, &documents(&name, 90));
        writer.delete(&[format!("{name} 1"), format!("first {}", round * 39)]).unwrap();
        if round % 7 == 6 {
            writer.compact().unwrap();
        } else if round % 3 == 2 {
            writer.derive_codes().unwrap();
        }
        let expected = found_in_a_fresh_copy(&writer, &path);
        assert_eq!(searched(&reader, Exactness::Exact), expected, "{name}");
        assert_eq!(searched(&reader, Exactness::High), expected, "{name}");
    }
}

/// The database has commits in its log, so that the file alone is not all.
fn found_in_a_fresh_copy(writer: &Store, path: &Path) -> Vec<Vec<Hit>> {
    let copy = tempfile::tempdir().unwrap();
    for file in ["store.sqlite", "store.sqlite-wal"] {
        let _ = fs::copy(path.join(file), copy.path().join(file));
    }
    assert_eq!(Store::open(copy.path()).unwrap().len().unwrap(), writer.len().unwrap());
    found_in_the_database(copy.path())
}

#[test]
fn exact_finds_all_of_what_fast_may_miss() {
    let folder = tempfile::tempdir().unwrap();
    let path = store_with_codes(&folder);
    let store = open(&path, Store::open);
    let expected = found_in_the_database(&path);
    let data = (0..5).flat_map(|i| vector_of(&format!("first text {}", i * 39))).collect();
    let queries = Matrix { data, dim: DIM };
    let fast = Search { shortlist: Some(60), ..options(Exactness::Fast) };
    for (hits, expected) in store.search_with(&queries, &fast).unwrap().iter().zip(&expected) {
        assert_eq!(hits.len(), expected.len());
        let best = expected.iter().map(|hit| hit.score).fold(f32::MIN, f32::max);
        assert!(hits[0].score <= best, "a score is what it is, however it was found");
        assert!(hits.is_sorted_by(|a, b| a.score >= b.score));
    }
}
