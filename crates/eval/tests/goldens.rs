//! Scores equal those of scipy, trec_eval and scikit-learn; `fixtures/make_fixtures.py` and
//! `fixtures/make_classification.py` made the goldens.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::fs;
use std::path::Path;

use hpd_eval::classification::{self, Part};
use hpd_eval::correlation::{average_ranks, pearson, spearman};
use hpd_eval::probe::{Labelled, Probe};
use hpd_eval::retrieval;
use hpd_files::Silent;
use hpd_files::vectors::Matrix;
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Deserialize)]
struct Correlation {
    left: Vec<f64>,
    right: Vec<f64>,
    pearson: f64,
    spearman: f64,
    ranks: Vec<f64>,
}

#[derive(Deserialize)]
struct Ranking {
    documents: Vec<Vec<f32>>,
    queries: Vec<Vec<f32>>,
    qrels: Vec<(String, String, i32)>,
    ndcg_at_10: f64,
    mrr_at_10: f64,
    recall_at_10: f64,
    recall_at_100: f64,
}

#[derive(Deserialize)]
struct Classification {
    train: Vec<Vec<f32>>,
    train_labels: Vec<usize>,
    test: Vec<Vec<f32>>,
    test_labels: Vec<usize>,
    penalty: f64,
    probabilities: Vec<Vec<f64>>,
    accuracy: f64,
    f1: f64,
    knn_accuracy: f64,
    knn_f1: f64,
}

fn fixture<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn assert_close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-9, "{what}: expected {expected}, found {found}");
}

#[test]
fn correlations_equal_those_of_scipy() {
    for case in fixture::<Correlation>("correlation.json") {
        assert_eq!(average_ranks(&case.left), case.ranks);
        assert_close(pearson(&case.left, &case.right).unwrap(), case.pearson, "pearson");
        assert_close(spearman(&case.left, &case.right).unwrap(), case.spearman, "spearman");
    }
}

#[test]
fn retrieval_scores_equal_those_of_trec_eval() {
    for case in fixture::<Ranking>("ranking.json") {
        let folder = tempfile::tempdir().unwrap();
        write_collection(folder.path(), &case);
        let collection = retrieval::read(folder.path(), "test").unwrap();
        let (queries, documents) = (matrix(&case.queries), matrix(&case.documents));
        let scores = retrieval::score(&collection, &queries, &documents, &Silent).unwrap();
        assert_close(scores.ndcg_at_10, case.ndcg_at_10, "nDCG@10");
        assert_close(scores.mrr_at_10, case.mrr_at_10, "MRR@10");
        assert_close(scores.recall_at_10, case.recall_at_10, "recall@10");
        assert_close(scores.recall_at_100, case.recall_at_100, "recall@100");
        assert!(
            collection.unknown_documents > 0,
            "the case should judge documents outside the corpus"
        );
    }
}

#[test]
fn classifiers_answer_as_those_of_scikit_learn() {
    for case in fixture::<Classification>("classification.json") {
        let (train, test) = (matrix(&case.train), matrix(&case.test));
        let classes = case.probabilities[0].len();
        let part = |labels: &[usize]| Part {
            texts: vec![String::new(); labels.len()],
            labels: labels.to_vec(),
        };
        let set = classification::Set {
            labels: (0..classes).map(|label| label.to_string()).collect(),
            train: part(&case.train_labels),
            test: part(&case.test_labels),
            ..classification::Set::default()
        };
        let scores = classification::score(&set, &train, &test, &Silent).unwrap();
        assert_eq!(scores.penalty, case.penalty);
        assert_close(scores.accuracy, case.accuracy, "accuracy");
        assert_close(scores.f1, case.f1, "F1");
        assert_close(scores.knn_accuracy, case.knn_accuracy, "accuracy of neighbours");
        assert_close(scores.knn_f1, case.knn_f1, "F1 of neighbours");

        let data = Labelled { rows: &train, labels: &case.train_labels, classes };
        let probabilities = Probe::fit(data, case.penalty).unwrap().probabilities(&test);
        for (found, expected) in probabilities.data.iter().zip(case.probabilities.concat()) {
            // We stop at a slope of 1e-4, scikit-learn was told to go on to 1e-10.
            assert!((f64::from(*found) - expected).abs() < 3e-3, "{expected}, found {found}");
        }
    }
}

fn write_collection(folder: &Path, case: &Ranking) {
    let texts = |letter: &str, count: usize| -> String {
        (0..count).map(|i| format!("{{\"_id\": \"{letter}{i}\", \"text\": \"{i}\"}}\n")).collect()
    };
    let judgements: String =
        case.qrels.iter().map(|(q, d, score)| format!("{q}\t{d}\t{score}\n")).collect();
    fs::create_dir(folder.join("qrels")).unwrap();
    fs::write(folder.join("corpus.jsonl"), texts("d", case.documents.len())).unwrap();
    fs::write(folder.join("queries.jsonl"), texts("q", case.queries.len())).unwrap();
    fs::write(folder.join("qrels/test.tsv"), format!("query-id\tcorpus-id\tscore\n{judgements}"))
        .unwrap();
}

fn matrix(rows: &[Vec<f32>]) -> Matrix {
    Matrix { data: rows.concat(), dim: rows[0].len() }
}
