//! `kill -9` at random moments: nothing answered is lost, nothing half-done is there.
//!
//! The test starts itself again as a child that changes a store and says so after each change. The parent kills it,
//! opens the store, and finds exactly the changes answered, or those and the one that was under way.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hpd_index::Store;

mod support;
use support::{DIM, document, matrix, settings, vector_of};

const ROUNDS: u64 = 20;

/// The texts by id: what a store holds.
type Contents = BTreeMap<String, String>;

/// Change number `n`, the same in parent and child.
enum Change {
    Add(Vec<(String, String)>),
    Delete(Vec<String>),
}

fn change(n: u64) -> Change {
    let id = |i: u64| format!("id {}", (n * 7 + i * 13) % 97);
    match n % 4 {
        3 => Change::Delete((0..5).map(id).collect()),
        _ => Change::Add((0..8).map(|i| (id(i), format!("text {n} {i}"))).collect()),
    }
}

fn apply(contents: &mut Contents, n: u64) {
    match change(n) {
        Change::Add(documents) => contents.extend(documents),
        Change::Delete(ids) => ids.iter().for_each(|id| drop(contents.remove(id))),
    }
}

fn apply_to_store(store: &mut Store, n: u64) {
    match change(n) {
        Change::Add(documents) => {
            let documents: Vec<_> = documents.iter().map(|(id, text)| document(id, text)).collect();
            let vectors: Vec<_> =
                documents.iter().map(|document| vector_of(&document.text)).collect();
            store.add(&documents, &matrix(&vectors)).unwrap();
        }
        Change::Delete(ids) => drop(store.delete(&ids).unwrap()),
    }
}

fn contents(path: &Path) -> Contents {
    let store = Store::open(path).unwrap();
    assert_eq!(store.verify().unwrap(), [""; 0]);
    let hits = store.search(&[0.0; DIM], 1_000).unwrap();
    hits.into_iter().map(|hit| (hit.id, hit.text)).collect()
}

/// Not a test: what the child does, until it is killed.
#[test]
fn child() {
    let (Ok(path), Ok(first)) = (std::env::var("CRASH_STORE"), std::env::var("CRASH_FIRST")) else {
        return;
    };
    let mut store = Store::open(Path::new(&path)).unwrap();
    for n in first.parse().unwrap().. {
        apply_to_store(&mut store, n);
        println!("\nanswered {n}");
    }
}

/// Lets the child change the store for a while; returns how many changes have been answered in all.
fn run_and_kill(path: &Path, first: u64, lifetime: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env("CRASH_STORE", path)
        .env("CRASH_FIRST", first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let lines = stdout.lines().map_while(Result::ok);
        lines.filter_map(|line| line.strip_prefix("answered ")?.parse::<u64>().ok()).last()
    });
    std::thread::sleep(lifetime);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap().map_or(first, |last| last + 1)
}

#[test]
fn nothing_answered_is_lost_to_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.hpd");
    drop(Store::create(&path, &settings()).unwrap());
    let (mut done, mut expected) = (0, Contents::new());
    for round in 0..ROUNDS {
        let lifetime = Duration::from_micros(5_000 + (round * 7_919) % 60 * 1_000 + round * 37);
        let answered = run_and_kill(&path, done, lifetime);
        (done..answered).for_each(|n| apply(&mut expected, n));
        done = answered;
        let found = contents(&path);
        if found != expected {
            apply(&mut expected, done);
            done += 1;
        }
        assert_eq!(found, expected, "round {round}, {answered} changes answered");
    }
    println!("{done} changes in {ROUNDS} rounds");
    assert!(done > ROUNDS, "the child was killed before it did anything");
}
