//! The whole chain on a small teacher: what the trainer says of its student is what the exported folder does.
#![expect(clippy::unwrap_used, reason = "a test's panic is its message")]

mod support;

use std::fs;
use std::path::Path;

use hpd_distill::pca::Pca;
use hpd_distill::projected;
use hpd_distill::recipe::Recipe;
use hpd_distill::run::{Settings, run};
use hpd_distill::scores::Scores;
use hpd_distill::start::StudentStart;
use hpd_encoder::{EncodeOptions, Model, ModelType};
use hpd_files::Silent;
use support::{settings, teacher};

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

/// The small run with a map that is trained in a blink.
fn mcr2_settings(folder: &Path) -> Settings {
    let mut settings = settings(folder, "mcr2");
    for (key, value) in [("clusters", "20"), ("steps", "40"), ("batch_size", "64")] {
        settings.recipe.set(&format!("projection.{key}"), value).unwrap();
    }
    settings
}

#[test]
fn a_student_of_a_trained_map_is_the_one_that_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    let scores = run(&mcr2_settings(folder.path()), &Silent).unwrap();
    assert!((cosine_of(&scores, 2) - best_dev_cosine(folder.path())).abs() < 1e-5, "{scores}");
    assert_eq!(scores.rows[1].name, "teacher + MCR²");
    assert!((cosine_of(&scores, 1) - 1.0).abs() < 1e-9, "the map is its own target");
    let card = fs::read_to_string(folder.path().join("student/README.md")).unwrap();
    assert!(card.contains("maximal coding rate reduction") && card.contains("40 steps"), "{card}");
    let output = folder.path().join("projected");
    let run_folder = folder.path().join("student.run");
    let error = projected::export(&teacher(), &run_folder, &output, false).unwrap_err();
    assert!(error.to_string().contains("no model folder can hold"), "{error}");
}

#[test]
fn a_trained_map_is_kept_and_another_text_needs_another() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = mcr2_settings(folder.path());
    run(&settings, &Silent).unwrap();
    let run_folder = folder.path().join("student.run");
    let maps = || fs::metadata(run_folder.join("mcr2.safetensors")).unwrap().modified().unwrap();
    // As if the run had been stopped when the map was there and the training was not.
    let first = maps();
    fs::remove_dir_all(folder.path().join("student")).unwrap();
    for name in ["last.safetensors", "best.safetensors"] {
        fs::remove_file(run_folder.join(name)).unwrap();
    }
    let text = fs::read_to_string(run_folder.join("run.json")).unwrap();
    fs::write(run_folder.join("run.json"), text.replace("\"done\"", "\"running\"")).unwrap();
    settings.resume = true;
    run(&settings, &Silent).unwrap();
    assert_eq!(maps(), first);
    fs::write(run_folder.join("mcr2.safetensors"), "torn").unwrap();
    fs::write(run_folder.join("run.json"), text.replace("\"done\"", "\"running\"")).unwrap();
    let error = run(&settings, &Silent).unwrap_err();
    assert_eq!(error.hint_text(), Some("delete it to train the map again"));
}

#[test]
fn a_student_taught_by_contrast_is_the_one_that_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    let scores = run(&settings(folder.path(), "ibkd"), &Silent).unwrap();
    assert!((cosine_of(&scores, 2) - best_dev_cosine(folder.path())).abs() < 1e-5, "{scores}");
    let metrics = fs::read_to_string(folder.path().join("student.run/metrics.jsonl")).unwrap();
    assert!(metrics.contains("loss_contrast_teacher") && metrics.contains("loss_hsic"));
}

#[test]
fn a_static_student_is_exported_as_it_was_trained_from_whatever_starts_it() {
    let fixtures = teacher().parent().unwrap().to_owned();
    let starts = [
        ("the teacher's vocabulary", StudentStart::Static { model: None }),
        ("another's", StudentStart::Static { model: Some(fixtures.join("modernbert_new")) }),
        ("model2vec's", StudentStart::Static { model: Some(fixtures.join("model2vec_plain")) }),
        ("none", StudentStart::Fresh { width: 6, layers: 0, vocabulary: None }),
    ];
    for (name, start) in starts {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path(), "static");
        settings.recipe.set("head.start", "random").unwrap();
        settings.recipe.set("matryoshka", "[4]").unwrap();
        settings.start = start;
        let scores = run(&settings, &Silent).unwrap();
        assert!((cosine_of(&scores, 2) - best_dev_cosine(folder.path())).abs() < 1e-5, "{name}");
        let student = Model::open(&folder.path().join("student")).unwrap();
        assert_eq!(student.folder().config.model_type, ModelType::StaticEmbedding, "{name}");
        assert_eq!((student.dim(), student.max_seq_length()), (8, usize::MAX), "{name}");
        let card = fs::read_to_string(folder.path().join("student/README.md")).unwrap();
        assert!(
            card.contains("(0): StaticEmbedding(") && card.contains("(1): Normalize()"),
            "{card}"
        );
    }
}

#[test]
fn a_static_student_starts_near_its_teacher() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), "static");
    settings.start = StudentStart::Static { model: None };
    settings.recipe.set("schedule.learning_rate", "1e-12").unwrap();
    let started = run(&settings, &Silent).unwrap();
    settings.start = StudentStart::Fresh { width: 32, layers: 0, vocabulary: None };
    settings.overwrite = true;
    let random = run(&settings, &Silent).unwrap();
    assert!(cosine_of(&started, 2) > cosine_of(&random, 2) + 0.3, "{started}{random}");
}

#[test]
fn a_head_that_no_table_can_hold_is_refused_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), "hpd2022");
    settings.start = StudentStart::Static { model: None };
    let error = run(&settings, &Silent).unwrap_err();
    assert!(error.to_string().contains("`head.bias` is true, but the head"), "{error}");
    assert_eq!(error.hint_text(), Some("--set head.bias=false"));
    settings.recipe.set("head.bias", "false").unwrap();
    let error = run(&settings, &Silent).unwrap_err();
    assert_eq!(error.hint_text(), Some("--set head.activation=identity"));
    settings.recipe = Recipe::load("ibkd").unwrap();
    let error = run(&settings, &Silent).unwrap_err();
    assert_eq!(error.hint_text(), Some("--set loss.hsic=0"));
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

#[test]
fn the_projected_teacher_gives_the_targets_and_shares_the_students_space() {
    let folder = tempfile::tempdir().unwrap();
    for center in ["none", "mean"] {
        let mut settings = settings(folder.path(), "hpd");
        settings.recipe.set("center", center).unwrap();
        settings.recipe.set("epochs", "1").unwrap();
        settings.overwrite = true;
        run(&settings, &Silent).unwrap();
        let run_folder = folder.path().join("student.run");
        let output = folder.path().join(center);
        projected::export(&teacher(), &run_folder, &output, false).unwrap();
        let projected = Model::open(&output).unwrap();
        let student = Model::open(&folder.path().join("student")).unwrap();
        assert_eq!(projected.identity().space, student.identity().space);

        let texts = ["three four five", "nine", "two words that are rare"];
        let full =
            Model::open(&teacher()).unwrap().encode(&texts, &EncodeOptions::default()).unwrap();
        let pca = Pca::load(&run_folder.join("pca.safetensors")).unwrap();
        let mut expected = pca.project(&full.rows, settings.recipe.center).unwrap();
        for row in expected.data.chunks_exact_mut(8) {
            let length = row.iter().map(|number| number * number).sum::<f32>().sqrt();
            row.iter_mut().for_each(|number| *number /= length);
        }
        let found = projected.encode(&texts, &EncodeOptions::default()).unwrap().rows;
        let apart = found.data.iter().zip(&expected.data).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-5);
    }
}

#[test]
fn another_model_than_the_teacher_is_not_projected() {
    let folder = tempfile::tempdir().unwrap();
    run(&settings(folder.path(), "hpd"), &Silent).unwrap();
    let student = folder.path().join("student");
    let output = folder.path().join("projected");
    let error = projected::export(&student, &folder.path().join("student.run"), &output, false);
    assert!(error.unwrap_err().to_string().contains("another teacher"));
    assert!(!output.exists());
}
