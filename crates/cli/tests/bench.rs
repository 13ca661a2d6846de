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
