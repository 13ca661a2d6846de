//! What is read from folders of pairs, collections and labelled texts, and what is refused.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use hpd_eval::{classification, retrieval, sts};
use hpd_files::Silent;
use hpd_files::vectors::Matrix;
use tempfile::TempDir;

/// A file of pairs with these lines.
fn pairs_file(lines: &[&str]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy_test.tsv");
    fs::write(&path, lines.join("\n")).unwrap();
    (folder, path)
}

/// A collection whose files hold these lines; documents `a`, `b`, `c` unless told otherwise.
struct Toy {
    corpus: Vec<&'static str>,
    queries: Vec<&'static str>,
    judgements: Vec<&'static str>,
}

impl Default for Toy {
    fn default() -> Self {
        Self {
            corpus: vec![
                r#"{"_id": "a", "title": "A title", "text": "and a text "}"#,
                r#"{"_id": "b", "title": "", "text": "only a text"}"#,
                r#"{"_id": "c", "text": ""}"#,
            ],
            queries: vec![r#"{"_id": "q", "text": "first"}"#, r#"{"_id": "b", "text": "second"}"#],
            judgements: vec!["q\ta\t1", "b\tc\t2"],
        }
    }
}

impl Toy {
    fn write(&self, folder: &Path) {
        fs::create_dir_all(folder.join("qrels")).unwrap();
        let judgements = format!("query-id\tcorpus-id\tscore\n{}\n", self.judgements.join("\n"));
        fs::write(folder.join("corpus.jsonl"), self.corpus.join("\n")).unwrap();
        fs::write(folder.join("queries.jsonl"), self.queries.join("\n")).unwrap();
        fs::write(folder.join("qrels/test.tsv"), judgements).unwrap();
    }

    fn read(&self) -> hpd_files::Result<retrieval::Collection> {
        let folder = tempfile::tempdir().unwrap();
        self.write(folder.path());
        retrieval::read(folder.path(), "test")
    }
}

fn matrix(rows: &[[f32; 2]]) -> Matrix {
    Matrix { data: rows.concat(), dim: 2 }
}

#[test]
fn pairs_come_with_single_spaces_and_without_unscored_lines() {
    let (_folder, path) = pairs_file(&[
        "subset\tscore\tsentence1\tsentence2",
        "x\t1.5\ta  \"quoted\" one\t two ",
        "x\t\tnobody\tscored this",
        "",
        "y\t3\tc\td\r",
    ]);
    let pairs = sts::read(&path).unwrap();
    assert_eq!(pairs.sentences, ["a \"quoted\" one", "two", "c", "d"]);
    assert_eq!((pairs.gold, pairs.subsets), (vec![1.5, 3.0], vec!["x".to_owned(), "y".to_owned()]));
    assert_eq!(pairs.unscored, 1);
}

#[test]
fn columns_may_stand_in_any_order_and_subsets_be_missing() {
    let (_folder, path) = pairs_file(&["sentence1\tsentence2\tscore", "a\tb\t1", "c\td\t2"]);
    let pairs = sts::read(&path).unwrap();
    assert_eq!(pairs.gold, [1.0, 2.0]);
    assert!(sts::score(&pairs, &matrix(&[[1.0, 0.0]; 4])).unwrap().subsets.is_empty());
}

#[test]
fn a_malformed_line_is_named() {
    let header = "subset\tscore\tsentence1\tsentence2";
    for (line, expected) in [
        ("x\t1\tonly one", "line 3: expected 4 columns, found 3"),
        ("x\tone\ta\tb", "line 3: score `one` is not a number"),
        ("x\tNaN\ta\tb", "line 3: score `NaN` is not a number"),
    ] {
        let (_folder, path) = pairs_file(&[header, "x\t1\ta\tb", line]);
        let error = sts::read(&path).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    }
}

#[test]
fn bytes_that_are_no_text_are_an_error_with_the_line() {
    let (_folder, path) = pairs_file(&[]);
    fs::write(&path, b"score\tsentence1\tsentence2\n1\ta\t\xff\n").unwrap();
    let error = sts::read(&path).unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
}

#[test]
fn a_missing_column_and_an_empty_file_are_refused() {
    let (_folder, path) = pairs_file(&["subset\tsentence1\tsentence2"]);
    assert!(sts::read(&path).unwrap_err().to_string().contains("no column `score`"));
    fs::write(&path, "").unwrap();
    assert!(sts::read(&path).unwrap_err().to_string().ends_with("is empty"));
    fs::write(&path, "score\tsentence1\tsentence2\n").unwrap();
    assert!(sts::read(&path).unwrap_err().to_string().ends_with("holds no scored pair"));
}

#[test]
fn scores_that_never_vary_are_refused() {
    let (_folder, path) = pairs_file(&["score\tsentence1\tsentence2", "2\ta\tb", "2\tc\td"]);
    let error = sts::read(&path).unwrap_err().to_string();
    assert!(error.starts_with("every score in"), "{error}");
}

#[test]
fn the_whole_file_is_ranked_together_and_each_subset_by_itself() {
    let (_folder, path) = pairs_file(&[
        "subset\tscore\tsentence1\tsentence2",
        "x\t2\ta\tb",
        "x\t4\ta\tb",
        "y\t1\ta\tb",
        "y\t3\ta\tb",
    ]);
    let pairs = sts::read(&path).unwrap();
    // Cosines 0, 1, 1 and 0: right within x, wrong within y, nothing over all.
    let (same, other) = ([1.0, 0.0], [0.0, 1.0]);
    let vectors = matrix(&[same, other, same, same, same, same, same, other]);
    let scores = sts::score(&pairs, &vectors).unwrap();
    assert_eq!(scores.main_score, Some(0.0));
    assert!(scores.subsets["x"].spearman_cosine.unwrap() > 0.999);
    assert!(scores.subsets["y"].spearman_cosine.unwrap() < -0.999);
}

#[test]
fn a_zero_vector_has_cosine_zero_and_a_collapsed_model_no_score() {
    let (_folder, path) =
        pairs_file(&["score\tsentence1\tsentence2", "1\ta\tb", "2\tc\td", "3\te\tf"]);
    let pairs = sts::read(&path).unwrap();
    let (zero, one) = ([0.0, 0.0], [1.0, 1.0]);
    let scores = sts::score(&pairs, &matrix(&[one, [-1.0, -1.0], zero, one, one, one])).unwrap();
    assert!(scores.spearman_cosine.is_some_and(|spearman| spearman > 0.999));
    assert_eq!(sts::score(&pairs, &matrix(&[zero; 6])).unwrap().main_score, None);
    assert!(sts::score(&pairs, &matrix(&[[f32::NAN, 0.0]; 6])).is_err());
    assert!(sts::score(&pairs, &matrix(&[one; 5])).is_err());
}

#[test]
fn a_document_is_its_title_a_space_and_its_text() {
    let collection = Toy::default().read().unwrap();
    assert_eq!(collection.documents, ["A title and a text", "only a text", ""]);
    assert_eq!(collection.query_texts(), ["first", "second"]);
}

#[test]
fn queries_without_relevant_documents_are_left_out() {
    let collection =
        Toy { judgements: vec!["q\ta\t0", "b\tc\t1"], ..Toy::default() }.read().unwrap();
    assert_eq!(collection.query_texts(), ["second"]);
    assert_eq!(collection.unjudged_queries, 1);
}

#[test]
fn judgements_of_unknown_ids_are_counted() {
    // Twice is once, as it is for documents that are there.
    let judgements = vec!["q\ta\t1", "q\tnowhere\t1", "q\tnowhere\t1", "nobody\ta\t1"];
    let collection = Toy { judgements, ..Toy::default() }.read().unwrap();
    assert_eq!((collection.unknown_documents, collection.unknown_queries), (1, 1));
    // The document that is nowhere cannot be found, so that half of what is relevant is missed.
    let documents = matrix(&[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]);
    let scores =
        retrieval::score(&collection, &matrix(&[[1.0, 0.0]]), &documents, &Silent).unwrap();
    assert_eq!((scores.mrr_at_10, scores.recall_at_100), (1.0, 0.5));
}

#[test]
fn a_query_does_not_find_the_document_of_its_own_id() {
    let collection = Toy::default().read().unwrap();
    // Query `b` lies on document `b`, which does not count, and next to `c`, which is relevant.
    let documents = matrix(&[[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]]);
    let queries = matrix(&[[1.0, 0.0], [0.0, 1.0]]);
    let scores = retrieval::score(&collection, &queries, &documents, &Silent).unwrap();
    assert_eq!((scores.ndcg_at_10, scores.mrr_at_10), (1.0, 1.0));
}

#[test]
fn equal_documents_rank_in_corpus_order() {
    let collection = Toy { judgements: vec!["q\tb\t1"], ..Toy::default() }.read().unwrap();
    let documents = matrix(&[[1.0, 0.0]; 3]);
    let scores =
        retrieval::score(&collection, &matrix(&[[1.0, 0.0]]), &documents, &Silent).unwrap();
    assert_eq!(scores.mrr_at_10, 0.5);
}

#[test]
fn damaged_collections_are_refused() {
    let document = r#"{"_id": "a", "text": "again"}"#;
    let twice = Toy { corpus: vec![document, document], ..Toy::default() };
    assert!(twice.read().unwrap_err().to_string().contains("has the id `a` of an earlier one"));
    let nameless = Toy { queries: vec![r#"{"text": "who am I"}"#], ..Toy::default() };
    assert!(nameless.read().unwrap_err().to_string().contains("record 1 has no `_id`"));
    let strangers = Toy { judgements: vec!["x\ty\t1"], ..Toy::default() };
    assert!(strangers.read().unwrap_err().to_string().starts_with("no query of"));
    let malformed = Toy { judgements: vec!["q\ta"], ..Toy::default() };
    assert!(
        malformed.read().unwrap_err().to_string().ends_with("line 2: expected 3 columns, found 2")
    );
    let folder = tempfile::tempdir().unwrap();
    Toy::default().write(folder.path());
    assert!(
        retrieval::read(folder.path(), "dev").unwrap_err().to_string().contains("qrels/dev.tsv")
    );
}

/// Reads a labelled set whose files hold these lines behind their header.
fn read_labelled(train: &[&str], test: &[&str]) -> hpd_files::Result<classification::Set> {
    let folder = tempfile::tempdir().unwrap();
    for (name, lines) in [("train.tsv", train), ("test.tsv", test)] {
        let text = format!("label\ttext\n{}\n", lines.join("\n"));
        fs::write(folder.path().join(name), text).unwrap();
    }
    classification::read(folder.path(), "test")
}

#[test]
fn labels_are_those_of_the_training_part_and_others_are_left_out_and_counted() {
    let train = ["pay\tsend money", "ask\twhat is it", "", "pay\tbuy bread"];
    let test = ["oos\tblue cheese", "ask\twho are you", "oos\t", "pay\tmoney"];
    let set = read_labelled(&train, &test).unwrap();
    assert_eq!(set.labels, ["ask", "pay"]);
    assert_eq!(set.train.labels, [1, 0, 1]);
    assert_eq!(
        (set.test.texts, set.test.labels),
        (vec!["who are you".into(), "money".into()], vec![0, 1])
    );
    assert_eq!(set.unseen.into_iter().collect::<Vec<_>>(), [("oos".to_owned(), 2)]);
}

#[test]
fn a_quick_look_at_sorted_labels_sees_all_of_them() {
    let lines: Vec<String> = (0..40).map(|i| format!("label{}\ttext {i}", i / 10)).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut set = read_labelled(&lines, &lines).unwrap();
    set.thin_out(8);
    assert_eq!((set.train.labels, set.test.texts.len()), (vec![0, 0, 1, 1, 2, 2, 3, 3], 8));
}

#[test]
fn damaged_labelled_sets_are_refused() {
    let good = ["a\tone", "b\ttwo"];
    for (train, test, expected) in [
        (&["a\tone", " \ttwo"][..], &good[..], "train.tsv` line 3: a text has no label"),
        (&["a\tone", "b"], &good, "train.tsv` line 3: expected 2 columns, found 1"),
        (&["a\tone", "a\ttwo"], &good, "train.tsv`, found only `a`"),
        (&[], &good, "train.tsv` holds no labelled text"),
        (&good, &["c\tthree"], "has a label that"),
    ] {
        let error = read_labelled(train, test).unwrap_err().to_string();
        assert!(error.contains(expected), "`{expected}` is not in: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("train.tsv"), b"label\ttext\na\t\xff\n").unwrap();
    let read = |split| classification::read(folder.path(), split).unwrap_err().to_string();
    assert!(read("test").contains("neither `test.tsv` nor `test.tsv.gz`"));
    assert!(read("train").contains("cannot be tested on it"));
    fs::write(folder.path().join("test.tsv"), "text\nno label\n").unwrap();
    assert!(read("test").contains("train.tsv` line 2: not UTF-8"));
    fs::write(folder.path().join("train.tsv"), "label\ttext\na\tone\nb\ttwo\n").unwrap();
    assert!(read("test").contains("no column `label`"));
}

#[test]
fn one_row_is_expected_for_each_labelled_text() {
    let lines = ["a\tone", "b\ttwo"];
    let set = read_labelled(&lines, &lines).unwrap();
    let (two, three) = (matrix(&[[1.0, 0.0], [0.0, 1.0]]), matrix(&[[1.0, 0.0]; 3]));
    assert!(classification::score(&set, &two, &three, &Silent).is_err());
    let scores = classification::score(&set, &two, &two, &Silent).unwrap();
    assert_eq!((scores.accuracy, scores.knn_accuracy), (1.0, 1.0));
}
