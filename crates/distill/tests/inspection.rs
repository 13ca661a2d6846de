//! What a run's folder tells while it trains, when it was stopped, when it is done, and when it is old.
#![expect(clippy::unwrap_used, reason = "a test's panic is its message")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hpd_distill::inspection::{Inspection, Questions, inspect};
use hpd_distill::run::run;
use hpd_distill::scores::{Row, Scores};
use hpd_distill::start::StudentStart;
use hpd_eval::tasks::{self, Loaded};
use hpd_files::{Result, Silent};
use serde_json::{Value, json};
use support::settings;
use tempfile::TempDir;

/// A run that is done: its place, its folder and its scores.
fn finished() -> (TempDir, PathBuf, Scores) {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("sts")).unwrap();
    // The first pair is of the training text but for case and stops, the second is of neither.
    let pairs = "score\tsentence1\tsentence2\n1\tEIGHT, two six ten 1!\tnine ten\n2\tone two\tno such thing\n\
                 3\tone one\tone one one\n";
    fs::write(place.path().join("sts/toy_test.tsv"), pairs).unwrap();
    let mut settings = settings(place.path(), "hpd");
    settings.dev_sts = Some(place.path().join("sts/toy_test.tsv"));
    let scores = run(&settings, &Silent).unwrap();
    let folder = place.path().join("student.run");
    (place, folder, scores)
}

fn ask(folder: &Path, tasks: &[Loaded]) -> Result<Inspection> {
    inspect(folder, &Questions { worst: 7, tasks }, &Silent)
}

fn change_run(folder: &Path, change: impl FnOnce(&mut Value)) {
    let path = folder.join("run.json");
    let mut run: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut run);
    fs::write(&path, run.to_string()).unwrap();
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn a_run_that_is_done_tells_where_the_points_went() {
    let (_place, folder, scores) = finished();
    let before = contents(&folder);
    let found = ask(&folder, &[]).unwrap();
    assert_eq!(contents(&folder), before, "looking changed something");

    let names: Vec<&str> = found.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["teacher", "teacher + matrix", "student at start", "student now"]);
    let cosine = |row: usize| found.rows[row].held_back.unwrap().cosine.unwrap();
    let exported = scores.rows[2].held_back.unwrap().cosine.unwrap();
    assert!((cosine(3) - exported).abs() < 1e-5, "{} {exported}", cosine(3));
    assert!(cosine(2) < cosine(3) && (cosine(1) - 1.0).abs() < 1e-9);
    for (row, same) in [(0, 0), (1, 1), (3, 2)] {
        assert_eq!(found.rows[row].dev_sts, scores.rows[same].dev_sts);
    }
    assert!(found.rows[2].dev_sts.is_some());

    let bars = &found.cosine_to_target;
    assert_eq!(bars.iter().map(|bar| bar.start).sum::<usize>(), 40);
    assert_eq!(bars.iter().filter_map(|bar| bar.now).sum::<usize>(), 40);
    assert_eq!(found.worst.len(), 7);
    assert!(found.worst.is_sorted_by(|a, b| a.cosine <= b.cosine));
    assert!(found.worst.iter().all(|sentence| sentence.tokens > 2 && !sentence.text.is_empty()));

    let tokens = found.tokens.unwrap();
    assert_eq!((tokens.sentences, tokens.max_tokens), (400, 32));
    assert_eq!((found.step as usize, found.steps), (scores.steps, Some(scores.steps)));
    assert!(found.course.points.len() <= 10 && found.sentences_per_second.is_some());
    assert!(found.notes.is_empty());
}

#[test]
fn a_run_that_was_stopped_tells_of_its_last_checkpoint_or_of_its_start_alone() {
    let (_place, folder, _) = finished();
    change_run(&folder, |run| {
        run["status"] = json!("running");
        run["results"] = Value::Null;
    });
    fs::remove_file(folder.join("best.safetensors")).unwrap();
    let found = ask(&folder, &[]).unwrap();
    let student = found.student.unwrap();
    assert_eq!((student.file, student.step), ("last.safetensors", found.step));
    // The last step was measured, so its score on the pairs is known.
    assert!(found.rows[3].dev_sts.is_some());

    fs::remove_file(folder.join("last.safetensors")).unwrap();
    let found = ask(&folder, &[]).unwrap();
    assert_eq!((found.rows.len(), found.student), (3, None));
    assert!(found.cosine_to_target.iter().all(|bar| bar.now.is_none()));
    assert_eq!(found.notes, ["there is no checkpoint yet"]);
}

#[test]
fn a_run_of_an_earlier_hpd_still_tells_its_scores() {
    let (place, folder, scores) = finished();
    fs::remove_file(folder.join("beginning.json")).unwrap();
    fs::remove_file(folder.join("held_back.safetensors")).unwrap();
    let found = ask(&folder, &[]).unwrap();
    assert_eq!((found.rows, found.held_back, found.tokens), (scores.rows, 40, None));
    assert!(found.notes[0].ends_with("an earlier hpd made it"), "{:?}", found.notes);
    let error = ask(&folder, &sets(place.path())).unwrap_err().to_string();
    assert!(error.contains("does not say what text it was trained on"), "{error}");
}

fn sets(place: &Path) -> Vec<Loaded> {
    let found = tasks::find_sts(&place.join("sts"), "test").unwrap();
    found.iter().map(|task| task.load(None).unwrap()).collect()
}

#[test]
fn evaluation_text_that_was_trained_on_is_found_by_its_letters() {
    let (place, folder, _) = finished();
    let found = ask(&folder, &sets(place.path())).unwrap();
    let [toy] = &found.overlap[..] else { panic!("expected one part") };
    assert_eq!((toy.name.as_str(), toy.texts), ("toy", 6));
    assert_eq!((toy.seen, &toy.examples[..]), (1, &["EIGHT, two six ten 1!".to_owned()][..]));

    fs::write(place.path().join("sentences.txt"), "another text\n".repeat(2)).unwrap();
    assert!(ask(&folder, &sets(place.path())).is_err());
}

#[test]
fn a_student_without_layers_is_looked_at_too() {
    let place = tempfile::tempdir().unwrap();
    let mut settings = settings(place.path(), "static");
    settings.start = StudentStart::Static { model: None };
    let scores = run(&settings, &Silent).unwrap();
    let found = ask(&place.path().join("student.run"), &[]).unwrap();
    let cosine = |row: &Row| row.held_back.unwrap().cosine.unwrap();
    let (now, exported) = (cosine(&found.rows[3]), cosine(&scores.rows[2]));
    assert!((now - exported).abs() < 1e-5, "{now} {exported}");
}

#[test]
fn damaged_runs_are_refused() {
    let (_place, folder, _) = finished();
    for name in ["beginning.json", "held_back.safetensors", "pca.safetensors", "best.safetensors"] {
        let whole = fs::read(folder.join(name)).unwrap();
        for damaged in [&b"{"[..], &whole[..whole.len() / 2]] {
            fs::write(folder.join(name), damaged).unwrap();
            assert!(ask(&folder, &[]).unwrap_err().to_string().contains(name), "{name}");
        }
        fs::write(folder.join(name), whole).unwrap();
    }
    change_run(&folder, |run| run["binding"]["shape"] = json!("round"));
    let error = ask(&folder, &[]).unwrap_err().to_string();
    assert!(error.ends_with("does not tell the student's shape"), "{error}");
}
