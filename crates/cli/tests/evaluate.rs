//! `hpd evaluate` from the outside: the table, the JSON with its provenance, and what is refused.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use support::{command, tiny_model};
use tempfile::TempDir;

const TEXTS: [&str; 8] = [
    "w1 w2 w3 w4",
    "w5 w6 w7 w8 w9",
    "w10 w11 w12",
    "w13 w14 w15 w16 w17",
    "w18 w19 w20 w21 w22",
    "w23 w24 w25 w26",
    "w27 w28 w29 w30 w31",
    "w32 w33 w34",
];

/// A folder with models `teacher` and `student`, STS sets and a retrieval set.
fn workplace() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    tiny_model::write(&path.join("teacher"), 1);
    tiny_model::write(&path.join("student"), 2);
    write_sts(&path.join("sts"), "toy_test.tsv");
    write_sts(&path.join("sts"), "toy_dev.tsv");
    write_sts(&path.join("sts"), "stsb_test.tsv");
    write_retrieval(&path.join("retrieval/small"));
    write_labelled(&path.join("classify/toy"));
    let sentences: Vec<String> =
        (0..60).map(|i| format!("{} w{}", TEXTS[i % TEXTS.len()], 40 + 2 * i)).collect();
    fs::write(path.join("sentences.txt"), sentences.join("\n")).unwrap();
    (folder, path)
}

fn write_sts(folder: &Path, name: &str) {
    let pair = |i: usize| {
        let (first, second) = (TEXTS[i], TEXTS[(i * 3 + 1) % TEXTS.len()]);
        format!("part{}\t{}\t{first}\t{second}\n", i % 2, i % 5)
    };
    let pairs: String = (0..TEXTS.len()).map(pair).collect();
    fs::create_dir_all(folder).unwrap();
    let header = "subset\tscore\tsentence1\tsentence2";
    fs::write(folder.join(name), format!("{header}\n{pairs}")).unwrap();
}

/// Each query is the text of one document, and that document is relevant to it.
fn write_retrieval(folder: &Path) {
    let texts = |letter: &str| -> String {
        let record = |(i, text)| format!("{{\"_id\": \"{letter}{i}\", \"text\": \"{text}\"}}\n");
        TEXTS.iter().enumerate().map(record).collect()
    };
    let judgements: String = (0..TEXTS.len()).map(|i| format!("q{i}\td{i}\t1\n")).collect();
    fs::create_dir_all(folder.join("qrels")).unwrap();
    fs::write(folder.join("corpus.jsonl"), texts("d")).unwrap();
    fs::write(folder.join("queries.jsonl"), texts("q")).unwrap();
    let judgements = format!("query-id\tcorpus-id\tscore\n{judgements}");
    fs::write(folder.join("qrels/test.tsv"), judgements).unwrap();
}

/// Each text is of one of two labels, and each occurs in both parts; a third label has no training text.
fn write_labelled(folder: &Path) {
    let line = |i: usize| format!("{}\t{}\n", ["even", "odd"][i % 2], TEXTS[i]);
    let lines: String = (0..TEXTS.len()).map(line).collect();
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("train.tsv"), format!("label\ttext\n{lines}")).unwrap();
    fs::write(folder.join("test.tsv"), format!("label\ttext\n{lines}neither\tw1\n")).unwrap();
}

fn evaluate(folder: &Path, arguments: &str) -> Output {
    let words: Vec<&str> = ["evaluate"].into_iter().chain(arguments.split_whitespace()).collect();
    command(&words).current_dir(folder).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn succeed(folder: &Path, arguments: &str) -> Output {
    let output = evaluate(folder, arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

/// Exit code 2, a message with these words, and no table.
fn refuse(folder: &Path, arguments: &str, words: &str) {
    let output = evaluate(folder, arguments);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains(words), "`{words}` is not in: {message}");
    assert!(output.stdout.is_empty());
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_table_has_a_row_for_each_model_and_names_the_sets_of_every_mean() {
    let (_folder, path) = workplace();
    let ceiling = "--pca 8 --pca-sentences sentences.txt";
    let models = "--model teacher --model student";
    let output =
        succeed(&path, &format!("{models} --sts sts --retrieval retrieval/small {ceiling}"));
    let table = stdout(&output);
    let rows = |name: &str| table.lines().filter(|line| line.starts_with(name)).count();
    // Spearman, nDCG@10, MRR@10 and recall@100; in each a plain row and a projected one.
    assert_eq!((rows("teacher"), rows("teacher + PCA-8"), rows("student")), (8, 4, 8), "{table}");
    assert!(table.contains("mean of stsb, toy\n") && table.contains("mean of small\n"), "{table}");
    assert!(!table.contains("toy_dev"), "{table}");
}

#[test]
fn labels_are_read_off_the_vectors_of_every_variant() {
    let (_folder, path) = workplace();
    let sets = "--classify classify --dimensions 16,32 --output results.json";
    let output = succeed(&path, &format!("--model teacher {sets}"));
    let table = stdout(&output);
    let rows = |name: &str| table.lines().filter(|line| line.starts_with(name)).count();
    // Accuracy and F1 of the probe, accuracy of the neighbours.
    assert_eq!((rows("teacher first 16"), rows("teacher")), (3, 6), "{table}");
    let note = stderr(&output);
    assert!(
        note.contains("toy: 1 test texts were left out: `neither` is not in training"),
        "{note}"
    );
    let task = &read_json(&path.join("results.json"))["models"][1]["tasks"][0];
    assert_eq!((&task["task_name"], &task["task_type"]), (&"toy".into(), &"Classification".into()));
    let scores = &task["scores"]["test"][0];
    assert_eq!(scores["main_score"], scores["accuracy"]);
    assert_eq!((&scores["test_texts"], &scores["unseen"]["neither"]), (&8.into(), &1.into()));
    assert!(scores["accuracy"].as_f64().unwrap() > 0.5, "{scores}");
    fs::write(path.join("classify/toy/train.tsv"), "label\ttext\n\tw1\n").unwrap();
    refuse(&path, "--model teacher --classify classify", "train.tsv` line 2: a text has no label");
    refuse(
        &path,
        "--model teacher --classify sts",
        "no task in `sts`: expected a folder with `train.tsv`",
    );
}

#[test]
fn the_report_is_one_page_with_the_training_of_the_model_it_is_about() {
    let (_folder, path) = workplace();
    fs::create_dir(path.join("student.run")).unwrap();
    fs::write(path.join("student.run/run.json"), r#"{"status": "running"}"#).unwrap();
    let metrics = "{\"step\":10,\"loss\":0.5}\n{\"step\":20,\"loss\":0.25}\n{\"st";
    fs::write(path.join("student.run/metrics.jsonl"), metrics).unwrap();
    let sets = "--sts sts --classify classify";
    let models = "--model teacher --model student";
    succeed(&path, &format!("{models} {sets} --speed --report page.html --output results.json"));
    let page = fs::read_to_string(path.join("page.html")).unwrap();
    for words in [
        "<title>hpd evaluate: teacher, student</title>",
        "<h2>Training of student.run</h2>",
        "<figcaption>Mean Spearman against size</figcaption>",
        "<figcaption>Mean accuracy against speed</figcaption>",
        "<figcaption>student, cosine × 100</figcaption>",
        "<li>w1 w2 w3 w4</li>",
    ] {
        assert!(page.contains(words), "`{words}` is not in the page");
    }
    let model = &read_json(&path.join("results.json"))["models"][0];
    assert!(model["bytes"].as_u64() > Some(1000) && model["parameters"].as_u64() > Some(1000));
    assert!(model["speed"]["sentences_per_second"].as_f64() > Some(0.0));

    let call = format!("--model teacher {sets} --report page.html");
    refuse(&path, &call, "`page.html` is already there");
    fs::write(path.join("mine.txt"), "<b>\nw2\n").unwrap();
    succeed(&path, &format!("{call} --overwrite --report-sentences mine.txt"));
    let page = fs::read_to_string(path.join("page.html")).unwrap();
    assert!(page.contains("<li>&lt;b&gt;</li>") && !page.contains("Training of"));
    refuse(&path, &format!("{call} --overwrite --run nowhere"), "nowhere/run.json");
    refuse(&path, &format!("--model teacher {sets} --run student.run"), "--report");
}

#[test]
fn words_stand_beside_each_model_and_alone() {
    let (_folder, path) = workplace();
    let output = succeed(&path, "--model teacher --sts sts --retrieval retrieval --hybrid");
    let table = stdout(&output);
    let rows = |name: &str| table.lines().filter(|line| line.starts_with(name)).count();
    // Words have no similarity.
    assert_eq!((rows("teacher"), rows("teacher + BM25"), rows("BM25")), (7, 3, 3), "{table}");
    // Each query is the text of its document.
    let found = |line: &str| line.starts_with("BM25 ") && line.contains(" -  100.00 ");
    assert_eq!(table.lines().filter(|line| found(line)).count(), 3, "{table}");
    refuse(&path, "--model teacher --sts sts --hybrid", "--retrieval");
}

#[test]
fn results_say_what_was_measured_with_what_on_what() {
    let (_folder, path) = workplace();
    let sets = "--sts sts --retrieval retrieval";
    succeed(&path, &format!("--model teacher {sets} --max-seq-length 6 --output out/results.json"));
    let results = read_json(&path.join("out/results.json"));
    assert_eq!(results["hpd_version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(results["machine"]["threads"], 1);
    assert_eq!(results["limit"], Value::Null);
    let model = &results["models"][0];
    assert_eq!((&model["name"], &model["path"]), (&"teacher".into(), &"teacher".into()));
    assert_eq!(
        (&model["dimensions"], &model["max_seq_length"]),
        (&tiny_model::WIDTH.into(), &6.into())
    );
    assert!(model["truncated"].as_u64().unwrap() > 0);
    for fingerprint in [&model["weights"], &model["space"], &model["tasks"][0]["dataset_revision"]]
    {
        assert!(fingerprint.as_str().is_some_and(|text| text.len() >= 12), "{fingerprint}");
    }
    assert_eq!(model["means"][0]["tasks"], serde_json::json!(["stsb", "toy"]));
}

#[test]
fn scores_carry_the_names_of_mteb() {
    let (_folder, path) = workplace();
    let output = succeed(&path, "--json --model teacher --sts sts --retrieval retrieval");
    let results: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let [sts, _, retrieval] = &results["models"][0]["tasks"].as_array().unwrap()[..] else {
        panic!("expected three tasks");
    };
    assert_eq!((&sts["task_name"], &sts["task_type"]), (&"stsb".into(), &"STS".into()));
    let scores = &sts["scores"]["test"][0];
    assert_eq!(scores["main_score"], scores["spearman_cosine"]);
    assert_eq!(scores["subsets"]["part1"]["pairs"], 4);
    let scores = &retrieval["scores"]["test"][0];
    assert_eq!(scores["main_score"], scores["ndcg_at_10"]);
    for metric in ["ndcg_at_10", "mrr_at_10", "recall_at_10", "recall_at_100"] {
        assert!(scores[metric].as_f64().unwrap() > 0.0, "{metric}");
    }
}

#[test]
fn json_on_stdout_is_what_the_file_holds() {
    let (_folder, path) = workplace();
    let output = succeed(&path, "--json --model teacher --sts sts --output results.json");
    let printed: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(printed, read_json(&path.join("results.json")));
}

#[test]
fn the_same_call_gives_the_same_scores_at_any_number_of_threads() {
    let (_folder, path) = workplace();
    let scores = |threads: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hpd"));
        command.current_dir(&path).args(["evaluate", "--json", "--threads", threads]);
        command.args(["--model", "student", "--sts", "sts", "--retrieval", "retrieval"]);
        command.args(["--classify", "classify"]);
        let results: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let tasks = results["models"][0]["tasks"].as_array().unwrap().clone();
        tasks.iter().map(|task| task["scores"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(scores("1"), scores("3"));
}

#[test]
fn a_limited_run_says_so() {
    let (_folder, path) = workplace();
    let sets = "--sts sts --retrieval retrieval";
    let output = succeed(&path, &format!("--model teacher {sets} --limit 3 --output results.json"));
    assert!(stdout(&output).contains("limited to the first 3 pairs or queries"));
    let results = read_json(&path.join("results.json"));
    assert_eq!(results["limit"], 3);
    let retrieval = &results["models"][0]["tasks"][2]["scores"]["test"][0];
    assert_eq!((&retrieval["queries"], &retrieval["documents"]), (&3.into(), &8.into()));
}

#[test]
fn tasks_and_splits_are_chosen_by_name() {
    let (_folder, path) = workplace();
    let dev = stdout(&succeed(&path, "--model teacher --sts sts --split dev"));
    assert!(dev.contains("(dev)") && dev.contains("mean of toy\n"), "{dev}");
    let sets = "--sts sts --retrieval retrieval";
    let small = stdout(&succeed(&path, &format!("--model teacher {sets} --tasks small")));
    assert!(!small.contains("Spearman") && small.contains("nDCG@10"), "{small}");
    refuse(&path, "--model teacher --sts sts --tasks tou", "did you mean `--tasks toy`?");
    refuse(&path, "--model teacher --retrieval retrieval --split dev", "no task in `retrieval`");
}

#[test]
fn first_dimensions_have_rows_of_their_own() {
    let (_folder, path) = workplace();
    let table = stdout(&succeed(&path, "--model teacher --sts sts --dimensions 4,32"));
    assert!(table.contains("teacher first 4") && table.contains("\nteacher  "), "{table}");
    refuse(&path, "--model teacher --sts sts --dimensions 33", "has 32 dimensions, asked for 33");
}

#[test]
fn bad_input_is_refused_by_name() {
    let (_folder, path) = workplace();
    refuse(&path, "--model teacher", "--sts <DIR>");
    refuse(&path, "--model teacher --sts nowhere", "nowhere");
    refuse(&path, "--model nowhere --sts sts", "nowhere");
    refuse(&path, "--model teacher --sts sts --limit 0", "--limit");
    refuse(&path, "--model teacher --sts sts --pca 8", "--pca-sentences");
    fs::create_dir(path.join("empty")).unwrap();
    refuse(&path, "--model teacher --sts empty", "no task in `empty`");
    fs::write(path.join("sts/toy_test.tsv"), "score\tsentence1\tsentence2\n1\ta\n").unwrap();
    refuse(&path, "--model teacher --sts sts", "toy_test.tsv` line 2: expected 3 columns, found 2");
}

#[test]
fn results_that_are_there_stay_unless_told_otherwise() {
    let (_folder, path) = workplace();
    fs::write(path.join("results.json"), "precious").unwrap();
    let call = "--model teacher --sts sts --output results.json";
    refuse(&path, call, "`--overwrite` replaces it");
    assert_eq!(fs::read(path.join("results.json")).unwrap(), b"precious");
    succeed(&path, &format!("{call} --overwrite"));
    assert_eq!(read_json(&path.join("results.json"))["models"][0]["name"], "teacher");
}

#[test]
fn a_pca_as_wide_as_the_model_adds_no_row() {
    let (_folder, path) = workplace();
    let call = "--model teacher --sts sts --pca-sentences sentences.txt";
    let output = succeed(&path, &format!("{call} --pca 32"));
    assert!(!stdout(&output).contains("PCA") && stderr(&output).contains("no PCA row"));
    refuse(&path, &format!("{call} --pca 8 --pca-rows 5"), "needs more than 8 sentences");
}
