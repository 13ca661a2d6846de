//! `hpd bench` from the outside: its table, its JSON, and what is refused. No number is checked, only that there is one.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod support;

use serde_json::Value;
use support::{Workshop, assert_refused, hpd};

#[test]
fn cases_are_all_combinations_and_give_the_same_vectors() {
    let shop = Workshop::new();
    let model = shop.name("model");
    let texts = shop.texts(70);
    let sizes = ["--threads", "1,2", "--batch", "3,50", "--rounds", "2"];
    let call = ["bench", "encode", "--json", "--model", &model, "--texts", &texts, "--limit", "60"];
    let results: Value =
        serde_json::from_str(&hpd(&[&call[..], &sizes].concat()).stdout()).unwrap();
    assert_eq!(results["same_bits"], true);
    assert_eq!((&results["texts"], &results["rounds"]), (&60.into(), &2.into()));
    assert_eq!(results["dimensions"], support::tiny_model::WIDTH);
    assert_eq!(results["source"], Value::from(texts.as_str()));
    assert!(results["openings"][0]["milliseconds"].as_f64().unwrap() > 0.0);
    let cases = results["cases"].as_array().unwrap();
    let sizes = cases.iter().map(|case| (case["threads"].clone(), case["batch"].clone()));
    let expected = [(1, 3), (1, 50), (2, 3), (2, 50)].map(|(a, b)| (a.into(), b.into()));
    assert_eq!(sizes.collect::<Vec<(Value, Value)>>(), expected);
    for case in cases {
        assert_eq!(case["arithmetic"], "float32");
        assert_eq!(case["vectors"], cases[0]["vectors"]);
        for number in ["sentences_per_second", "p99_milliseconds", "share_of_peak"] {
            assert!(case[number].as_f64().unwrap() > 0.0, "{number}");
        }
    }
}

#[test]
fn without_texts_some_are_made() {
    let shop = Workshop::new();
    let call = ["bench", "encode", "--model", &shop.name("model"), "--rounds", "1"];
    let table = hpd(&call).stdout();
    assert!(table.contains("64 texts (made of 16 tokens) of 16.0 tokens"), "{table}");
    assert!(table.contains("the same vectors, bit for bit"), "{table}");
    let longer = hpd(&[&call[..], &["--tokens", "40"]].concat()).stdout();
    assert!(longer.contains("of 40.0 tokens"), "{longer}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let shop = Workshop::new();
    let model = shop.name("model");
    let empty = shop.write("empty.txt", b"");
    let refuse = |arguments: &[&str], words: &[&str]| {
        let call = ["bench", "encode", "--model", &model];
        assert_refused(&hpd(&[&call[..], arguments].concat()), words);
    };
    refuse(&["--texts", &empty], &["no text in", "empty.txt"]);
    refuse(&["--texts", "nowhere.txt"], &["nowhere.txt"]);
    refuse(&["--tokens", "2"], &["2 tokens", "takes 3 to 64"]);
    refuse(&["--tokens", "65"], &["65 tokens"]);
    refuse(&["--rounds", "0"], &["rounds", "at least 1"]);
    refuse(&["--threads", "1,0"], &["`--threads` is 0"]);
}

#[test]
fn only_bench_takes_several_numbers_of_threads() {
    let shop = Workshop::new();
    let call = ["inspect", &shop.name("model"), "--threads", "1,2"];
    assert_refused(&hpd(&call), &["names 2 numbers", "hpd bench"]);
}

#[test]
fn searches_are_measured_in_all_forms_and_drawn() {
    let shop = Workshop::new();
    let (model, picture) = (shop.name("model"), shop.name("picture.svg"));
    std::fs::create_dir_all(shop.path("set/qrels")).unwrap();
    shop.write("set/corpus.jsonl", lines(40, "d").as_bytes());
    shop.write("set/queries.jsonl", lines(3, "q").as_bytes());
    shop.write(
        "set/qrels/test.tsv",
        b"query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t1\nq2\td2\t1\n",
    );
    let set = shop.name("set");
    let call =
        ["bench", "retrieval", "--teacher", &model, "--student", &model, "--retrieval", &set];
    let more = ["--sizes", "200", "--threads", "1,2", "--rounds", "1", "--plot", &picture];
    let table = hpd(&[&call[..], &more].concat()).stdout();
    assert!(
        table.contains("200 vectors, 2 threads") && table.contains("student, bits, high"),
        "{table}"
    );
    assert!(std::fs::read_to_string(&picture).unwrap().contains("<polyline"));
    assert_refused(&hpd(&[&call[..], &more].concat()), &["picture.svg", "--overwrite"]);

    let results = hpd(&[&call[..], &["--rounds", "1", "--json", "--limit", "2"]].concat()).stdout();
    let results: Value = serde_json::from_str(&results).unwrap();
    assert_eq!((&results["documents"], &results["queries"]), (&40.into(), &2.into()));
    let rows = results["rows"].as_array().unwrap();
    let forms: Vec<_> = rows
        .iter()
        .map(|row| (row["model"].as_str().unwrap(), row["form"].as_str().unwrap()))
        .collect();
    let student = ["float32", "int8", "bits, high", "bits, fast"].map(|form| ("student", form));
    assert_eq!(forms, [&[("teacher", "float32")][..], &student].concat());
    assert!(rows.iter().all(|row| row["mrr_at_10"].is_number() && row["times_faster"].is_number()));
    assert!(results["models"][0]["milliseconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn vectors_from_files_are_searched_and_what_was_found_is_told() {
    let shop = Workshop::new();
    let (model, texts, vectors) = (shop.name("model"), shop.texts(50), shop.name("vectors.npy"));
    hpd(&["embed", "--model", &model, "--input", &texts, "--output", &vectors]).stdout();
    let call =
        ["bench", "retrieval", "--vectors", &vectors, "--queries", &vectors, "--json", "--answers"];
    let results = hpd(&[&call[..], &["--rounds", "1"]].concat()).stdout();
    let results: Value = serde_json::from_str(&results).unwrap();
    let rows = results["rows"].as_array().unwrap();
    assert_eq!((rows.len(), rows[0]["model"].as_str()), (4, Some("vectors")));
    assert_eq!(rows[0]["recall_at_10"], 1.0);
    assert_eq!(rows[0]["answers"].as_array().unwrap().len(), 50);
    assert_refused(&hpd(&[&call[..], &["--memory", "0"]].concat()), &["`--memory` is 0"]);
    assert_refused(&hpd(&[&call[..], &["--rounds", "0"]].concat()), &["at least 1"]);
}

/// Texts with ids.
fn lines(count: usize, prefix: &str) -> String {
    let line = |i| format!("{{\"_id\": \"{prefix}{i}\", \"text\": \"w{i} w{}\"}}\n", i * i % 199);
    (0..count).map(line).collect()
}
