//! The whole chain on a small teacher: what the trainer says of its student is what the exported folder does.
#![expect(clippy::unwrap_used, reason = "a test's panic is its message")]

mod support;

use std::fs;
use std::path::Path;

use hpd_distill::run::run;
use hpd_distill::scores::Scores;
use hpd_encoder::Model;
use hpd_files::Silent;
use support::settings;

/// The best cosine to the targets that the trainer saw on the held-back sentences.
fn best_dev_cosine(folder: &Path) -> f64 {
    let metrics = fs::read_to_string(folder.join("student.run/metrics.jsonl")).unwrap();
    let lines =
        metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter_map(|line| line["dev_cosine"].as_f64()).fold(f64::MIN, f64::max)
}

fn cosine_of(scores: &Scores, row: usize) -> f64 {
    scores.rows[row].held_back.unwrap().cosine.unwrap()
}

#[test]
fn the_exported_student_is_the_one_that_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    let scores = run(&settings(folder.path(), "hpd"), &Silent).unwrap();
    assert!((cosine_of(&scores, 2) - best_dev_cosine(folder.path())).abs() < 1e-5);
    assert!((cosine_of(&scores, 1) - 1.0).abs() < 1e-9, "the projection is its own target");
    let student = Model::open(&folder.path().join("student")).unwrap();
    assert_eq!((student.dim(), student.folder().config.num_hidden_layers), (8, 1));
    assert!(
        fs::read_to_string(folder.path().join("student/README.md")).unwrap().contains("student")
    );
}

#[test]
fn a_run_that_is_done_is_not_repeated_and_another_recipe_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), "hpd");
    let first = run(&settings, &Silent).unwrap();
    assert!(run(&settings, &Silent).unwrap_err().hint_text().unwrap().contains("--overwrite"));
    settings.resume = true;
    assert_eq!(run(&settings, &Silent).unwrap().to_string(), first.to_string());
    settings.recipe.set("batch_size", "16").unwrap();
    assert!(run(&settings, &Silent).unwrap_err().to_string().contains("its recipe was"));
}

#[test]
fn more_dimensions_than_the_teacher_has_are_refused_before_anything_is_embedded() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), "hpd2022");
    settings.recipe.set("dim", "4096").unwrap();
    let error = run(&settings, &Silent).unwrap_err();
    assert!(error.to_string().contains("`--dim 4096` is more than"), "{error}");
    assert!(!folder.path().join("student.run/run.json").exists());
}
