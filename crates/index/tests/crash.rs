//! `kill -9` at random moments: nothing answered is lost, nothing half-done is there.
//!
//! The test starts itself again as a child that changes a store and says so after each change. The parent kills it,
//! opens the store, and finds exactly the changes answered, or those and the one that was under way. `CRASH_ROUNDS` says
//! how often.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use hpd_files::vectors::Matrix;
use hpd_index::{Hit, Search, Store};

mod support;
use support::{DIM, document, matrix, settings, vector_of};

const ROUNDS: u64 = 200;

/// Ids that documents have: enough for several blocks of codes.
const IDS: u64 = 397;

/// The texts by id: what a store holds.
type Contents = BTreeMap<String, String>;

/// Change number `n`, the same in parent and child.
enum Change {
    Add(Vec<(String, String)>),
    Delete(Vec<String>),
    Compact,
}

fn change(n: u64) -> Change {
    let id = |i: u64| format!("id {}", (n * 7 + i * 13) % IDS);
    match n % 8 {
        3 | 6 => Change::Delete((0..20).map(id).collect()),
        7 if n.is_multiple_of(5) => Change::Compact,
        _ => Change::Add((0..40).map(|i| (id(i), format!("text {n} {i}"))).collect()),
    }
}

fn apply(contents: &mut Contents, n: u64) {
    match change(n) {
        Change::Add(documents) => contents.extend(documents),
        Change::Delete(ids) => ids.iter().for_each(|id| drop(contents.remove(id))),
        Change::Compact => {}
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
        Change::Compact => drop(store.compact().unwrap()),
    }
    store.derive_codes().unwrap();
}

fn open(path: &Path) -> Store {
    let mut store = Store::open(path).unwrap();
    store.set_code_block_rows(64);
    store
}

fn contents(path: &Path) -> Contents {
    let store = open(path);
    let of = |hits: Vec<Hit>| hits.into_iter().map(|hit| (hit.id, hit.text)).collect();
    // All scores are 0, so with a limit they are those of all documents, from the codes as far as there are some.
    let queries = Matrix { data: vec![0.0; DIM], dim: DIM };
    let everything = Search { limit: 1_000, min_score: Some(0.0), ..Search::default() };
    let by_codes: Contents = of(store.search_with(&queries, &everything).unwrap().remove(0));
    assert_eq!(store.verify().unwrap(), [""; 0]);
    let by_database: Contents = of(store.search(&[0.0; DIM], 1_000).unwrap());
    assert_eq!(by_codes, by_database);
    by_database
}

/// Not a test: what the child does, until it is killed.
#[test]
fn child() {
    let (Ok(path), Ok(first)) = (std::env::var("CRASH_STORE"), std::env::var("CRASH_FIRST")) else {
        return;
    };
    let mut store = open(Path::new(&path));
    for n in first.parse().unwrap().. {
        apply_to_store(&mut store, n);
        println!("\nanswered {n}");
    }
}

/// Lets the child answer some changes and kills it somewhere within the next one, or while it is opening the store;
/// returns how many changes have been answered in all.
///
/// `pace` is what a change takes. It is measured, so that a busy machine too comes to changing something.
fn run_and_kill(path: &Path, first: u64, round: u64, pace: &mut Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env("CRASH_STORE", path)
        .env("CRASH_FIRST", first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, answers) = channel();
    std::thread::spawn(move || {
        let lines = stdout.lines().map_while(Result::ok);
        let mut numbers =
            lines.filter_map(|line| line.strip_prefix("answered ")?.parse::<u64>().ok());
        numbers.try_for_each(|n| sender.send(n + 1))
    });
    let (started, wanted) = (Instant::now(), round % 4);
    let waited: Vec<u64> =
        (0..wanted).map(|_| answers.recv().expect("the child goes on")).collect();
    if wanted > 0 {
        *pace = started.elapsed() / (wanted as u32 + 1);
    }
    std::thread::sleep(pace.mul_f64((round * 7_919 % 100) as f64 / 80.0));
    child.kill().unwrap();
    child.wait().unwrap();
    waited.into_iter().chain(&answers).last().unwrap_or(first)
}

#[test]
fn nothing_answered_is_lost_to_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.hpd");
    drop(Store::create(&path, &settings()).unwrap());
    let (mut done, mut expected) = (0, Contents::new());
    let mut pace = Duration::from_millis(10);
    let rounds = std::env::var("CRASH_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        let answered = run_and_kill(&path, done, round, &mut pace);
        (done..answered).for_each(|n| apply(&mut expected, n));
        done = answered;
        let found = contents(&path);
        if found != expected {
            apply(&mut expected, done);
            done += 1;
        }
        assert_eq!(found, expected, "round {round}, {answered} changes answered");
    }
    println!("{done} changes in {rounds} rounds");
    assert!(done > rounds, "the child was killed before it did anything");
}
