//! `kill -9` in the middle of long work, then the same command again: the same bits as if it had never been killed.
//!
//! Each test runs a command to its end, then the same command for another output, killing it whenever a file says
//! that more has been acknowledged. One thread, because sums depend on how work is divided.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Workshop, command, hpd};

const PATIENCE: Duration = Duration::from_secs(120);

/// Starts the command and kills it once `seen` is true; fails when it ends before that.
#[track_caller]
fn kill_when(command: Command, what: &str, mut seen: impl FnMut() -> bool) {
    let mut child = behind_others(&command)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("hpd starts");
    let started = Instant::now();
    while !seen() {
        assert!(started.elapsed() < PATIENCE, "{what} was not seen in {PATIENCE:?}");
        if child.try_wait().expect("a child").is_some() {
            panic!("the command ended before {what} was seen: {}", said(child));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    // On Unix this is SIGKILL.
    child.kill().expect("a child");
    let status = child.wait().expect("a child");
    assert!(!status.success(), "the command ended in the moment it was killed; give it more to do");
}

/// The same command, but on a busy machine it waits for this test and not this test for it.
fn behind_others(command: &Command) -> Command {
    let mut nice = Command::new("nice");
    nice.args(["-n", "19"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => nice.env(name, value),
            None => nice.env_remove(name),
        };
    }
    nice
}

fn said(child: Child) -> String {
    String::from_utf8_lossy(&child.wait_with_output().expect("a child").stderr).into_owned()
}

/// Every file under a folder, as far as they do not come and go while a command is running.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

/// How many whole rows an unfinished `hpd embed` has acknowledged.
fn acknowledged_rows(progress: &Path) -> u64 {
    let Ok(bytes) = fs::read(progress) else { return 0 };
    let progress: serde_json::Value =
        serde_json::from_slice(&bytes).expect("the progress file is always whole");
    progress["rows"].as_u64().expect("a number of rows")
}

#[test]
fn embedding_goes_on_where_it_was_killed() {
    let shop = Workshop::new();
    let input = shop.long_texts(60_000);
    let embed = |output: &str| {
        let arguments =
            ["embed", "--model", &shop.name("model"), "--input", &input, "--output", output];
        arguments.map(str::to_owned).to_vec()
    };
    hpd(&embed(&shop.name("whole.npy"))).stdout();

    let (mut arguments, mut rows) = (embed(&shop.name("killed.npy")), 0);
    for _ in 0..2 {
        let more = || acknowledged_rows(&shop.path(".killed.npy.progress.json")) > rows;
        kill_when(command(&arguments), "another acknowledged row", more);
        rows = acknowledged_rows(&shop.path(".killed.npy.progress.json"));
        assert!(!shop.path("killed.npy").exists(), "an output stands before it is whole");
        arguments = [embed(&shop.name("killed.npy")), vec!["--resume".to_owned()]].concat();
    }
    hpd(&arguments).stdout();
    assert_eq!(
        fs::read(shop.path("killed.npy")).unwrap(),
        fs::read(shop.path("whole.npy")).unwrap()
    );
    assert!(!shop.path(".killed.npy.progress.json").exists(), "working files were left behind");
}

#[test]
fn indexing_goes_on_where_it_was_killed() {
    let shop = Workshop::new();
    // Fewer than there are different long texts: the same text is the same document.
    let count = 15_000;
    let (input, all) = (shop.long_texts(count), (count + 1).to_string());
    let create = |store: &str| {
        let model = shop.name("model");
        let arguments = ["index", "create", "--store", store, "--model", &model, "--input", &input];
        arguments.map(str::to_owned).to_vec()
    };
    // Killed within its first commit a store has no documents, which is an answer too.
    let hits = |store: &str| {
        let search = ["search", "--store", store, "--limit", &all, "--json", "w1 w2 w3"];
        let answer = hpd(&search).0;
        assert!(matches!(answer.status.code(), Some(0 | 1)), "{answer:?}");
        String::from_utf8(answer.stdout).unwrap()
    };
    let (whole, killed) = (shop.name("whole"), shop.name("killed"));
    hpd(&create(&whole)).stdout();

    let mut bytes = 0;
    for _ in 0..3 {
        let size = || fs::metadata(shop.path("killed/store.sqlite-wal")).map_or(0, |log| log.len());
        let base = size();
        kill_when(command(&create(&killed)), "another written document", || {
            size() > base.max(bytes) + 100_000
        });
        bytes = size();
        let there = hits(&killed).lines().count();
        assert!(there < count, "all {there} documents were there already");
    }
    hpd(&create(&killed)).stdout();
    assert_eq!(hits(&killed).lines().count(), count);
    assert_eq!(hits(&killed), hits(&whole));
}

#[test]
fn distilling_goes_on_where_it_was_killed() {
    let shop = Workshop::new();
    let sentences = shop.texts(20_000);
    let distil = |student: &str| {
        let model = shop.name("model");
        let arguments = [
            "distill",
            "--teacher",
            &model,
            "--sentences",
            &sentences,
            "--output",
            student,
            "--resume",
            "--layers",
            "1",
            "--dim",
            "16",
            "--epochs",
            "1",
            "--held-back",
            "200",
            "--set",
            "checkpoint_every=20",
        ];
        arguments.map(str::to_owned).to_vec()
    };
    hpd(&distil(&shop.name("whole"))).stdout();

    let run = shop.path("killed.run");
    let killed = distil(&shop.name("killed"));
    let shards = || files_named(&run, ".f16");
    kill_when(command(&killed), "the teacher's second shard", || shards() >= 2);
    assert!(files_named(&run, "last.safetensors") == 0, "the teacher was already done");
    let mut steps = 0;
    for _ in 0..2 {
        let more = || logged_steps(&run) > steps + 25;
        kill_when(command(&killed), "another checkpoint", more);
        steps = logged_steps(&run);
    }
    assert!(!shop.path("killed").exists(), "a student stands before it is whole");
    hpd(&killed).stdout();
    assert_eq!(weights(&shop.path("killed")), weights(&shop.path("whole")));
}

fn files_named(folder: &Path, ending: &str) -> usize {
    files(folder).iter().filter(|path| path.to_string_lossy().ends_with(ending)).count()
}

/// The step of the last whole line of a run's metrics.
fn logged_steps(run: &Path) -> u64 {
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let mut whole =
        metrics.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    whole.next_back().map_or(0, |line| line["step"].as_u64().expect("a step"))
}

/// All tensors of a model folder, as bytes, by the path of their file in it.
fn weights(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let name = |path: &Path| path.strip_prefix(folder).expect("it is in the folder").to_owned();
    let tensors = files(folder)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "safetensors"));
    let weights: BTreeMap<_, _> =
        tensors.map(|path| (name(&path), fs::read(&path).unwrap())).collect();
    assert!(!weights.is_empty(), "`{}` has no weights", folder.display());
    weights
}
