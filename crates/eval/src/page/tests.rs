//! A page of made-up results, kept as a snapshot, and what every page must be.

use std::collections::BTreeMap;

use hpd_files::vectors::Matrix;

use super::*;
use crate::provenance::Machine;
use crate::report::{Mean, Scores, Speed, TaskResult};
use crate::sts;

/// A name as an enemy would choose it.
const HOSTILE: &str = "</title><script>alert('\"&\u{0}\u{1b}')</script>";

fn model(name: &str, megabytes: u64, score: Option<f64>) -> ModelResults {
    let scores = sts::Scores {
        main_score: score,
        spearman_cosine: score,
        pearson_cosine: score,
        pairs: 3,
        subsets: BTreeMap::new(),
    };
    let task = TaskResult {
        task_name: "stsb".to_owned(),
        task_type: Kind::Sts,
        dataset_revision: "0123".to_owned(),
        evaluation_time: 1.0,
        texts: 6,
        truncated: 1,
        scores: BTreeMap::from([("test".to_owned(), vec![Scores::Sts(scores)])]),
    };
    let mean = Mean { task_type: Kind::Sts, main_score: score, tasks: vec!["stsb".to_owned()] };
    ModelResults {
        name: name.to_owned(),
        path: format!("models/{name}"),
        weights: "ab12".to_owned(),
        space: "cd34".to_owned(),
        dimensions: 4,
        max_seq_length: 128,
        parameters: Some(1_000_000 * megabytes),
        bytes: Some(1_000_000 * megabytes),
        speed: Some(Speed {
            sentences_per_second: 5000.0 / megabytes as f64,
            p50_milliseconds: 0.1 * megabytes as f64,
            texts: 6,
            tokens: 60,
            threads: 2,
        }),
        tasks: vec![task],
        means: vec![mean],
        ..ModelResults::default()
    }
}

fn results(models: Vec<ModelResults>) -> Results {
    Results {
        hpd_version: "0.1.0".to_owned(),
        date: "2026-01-02T03:04:05Z".to_owned(),
        machine: Machine { cpu: "a processor".into(), system: "linux".into(), threads: 2 },
        limit: Some(3),
        models,
    }
}

fn run() -> Run {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("student.run");
    std::fs::create_dir(&path).unwrap();
    let write = |name: &str, text: &str| std::fs::write(path.join(name), text).unwrap();
    write(
        "run.json",
        r#"{"status": "done", "binding": {"teacher": "9f", "recipe": "a\nb"}, "results": {"steps": 20,
        "rows": [{"name": "teacher", "dim": 8, "held_back": {"spearman": 1.0, "recall_at_10": 1.0, "cosine": null},
        "dev_sts": 0.8672}, {"name": "student", "dim": 4, "held_back": null, "dev_sts": null}]}}"#,
    );
    write("recipe.toml", "epochs = 1 # <one>\n");
    write(
        "metrics.jsonl",
        "{\"step\":10,\"epoch\":0.5,\"loss\":0.5,\"loss_new\":0.2}\n{\"step\":10,\"dev_sts\":80.0}\n\
         {\"step\":20,\"epoch\":1.0,\"loss\":0.25,\"loss_new\":0.1}\n{\"step\":20,\"dev_sts\":81.5}\n",
    );
    Run::read(&path).unwrap()
}

fn page(name: &str) -> String {
    let results = results(vec![
        model("teacher", 90, Some(0.82)),
        model(name, 20, Some(0.81)),
        model("static", 8, None),
    ]);
    let sentences = [name.to_owned(), "another".to_owned(), String::new()];
    let rows = Matrix { data: vec![1.0, 0.0, 0.6, 0.8, 0.0, 0.0], dim: 2 };
    let maps = [Map::new("teacher", &sentences, &rows), Map::new(name, &sentences, &rows)];
    Page { results: &results, run: Some(&run()), maps: &maps }.html()
}

#[test]
fn the_page_reads_as_reviewed() {
    insta::assert_snapshot!(page("student"));
}

#[test]
fn every_tag_is_closed_whatever_names_and_sentences_are() {
    for name in ["student", HOSTILE, ""] {
        let page = page(name);
        assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"));
        assert_eq!(unclosed(&page), Vec::<String>::new());
        assert!(!page.contains("<script") && !page.contains(['\u{0}', '\u{1b}']), "{page}");
    }
}

#[test]
fn nothing_is_fetched() {
    let page = page("student");
    for word in ["src=", "href=", "url(", "@import", "http"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn a_page_of_nothing_is_a_page() {
    let results = results(Vec::new());
    let page = Page { results: &results, run: None, maps: &[] }.html();
    assert!(unclosed(&page).is_empty() && !page.contains("<svg"), "{page}");
}

/// Tags that are opened and not closed, or the other way round, in their order.
fn unclosed(page: &str) -> Vec<String> {
    let mut open = Vec::new();
    for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default()) {
        let name = tag.split([' ', '\n']).next().unwrap_or_default().trim_end_matches('/');
        let is_void = tag.ends_with('/') || ["!DOCTYPE", "meta"].contains(&name);
        match name.strip_prefix('/') {
            Some(closed) if open.last().is_some_and(|last| last == closed) => drop(open.pop()),
            Some(_) => open.push(name.to_owned()),
            None if !is_void => open.push(name.to_owned()),
            None => {}
        }
    }
    open
}
