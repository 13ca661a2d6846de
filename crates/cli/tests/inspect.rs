//! `hpd inspect` of a run from the outside: what is told, to people and to machines, and what is refused.

mod support;

use serde_json::Value;
use support::{Workshop, assert_refused, hpd};

/// A workshop with a run that is done, `student.run`, and a set of pairs.
fn workshop() -> Workshop {
    let shop = Workshop::new();
    let (model, texts, student) = (shop.name("model"), shop.texts(400), shop.name("student"));
    std::fs::create_dir(shop.path("sts")).expect("a writable folder");
    let pairs = "score\tsentence1\tsentence2\n1\tw1 w2\tw3\n2\tw4 w5 w6\tW7!\n3\tw8\tw9 w10\n";
    let pairs = shop.write("sts/toy_test.tsv", pairs.as_bytes());
    let words = "--layers 1 --dim 8 --epochs 1 --batch-size 32 --held-back 40 --quiet";
    let mut arguments = vec!["distill", "--teacher", &model, "--sentences", &texts];
    arguments.extend(["--output", &student, "--dev-sts", &pairs]);
    arguments.extend(words.split(' '));
    hpd(&arguments).stdout();
    shop
}

#[test]
fn a_run_tells_people_and_machines_where_the_points_went() {
    let shop = workshop();
    let (run, sts) = (shop.name("student.run"), shop.name("sts"));
    let text = hpd(&["inspect", &run, "--worst", "3", "--sts", &sts]).stdout();
    for words in [
        "status",
        "of 400 sentences cut at",
        "on 40 held-back sentences, compared with the teacher",
        "\nstudent at start",
        "\nstudent now",
        "\ndev STS: the projection costs ",
        "\ncosine to target  at start  now\n",
        "█",
        "\ncosine  at start  tokens  the farthest from their targets\n",
        "\nstep ",
        "\ntoy ",
    ] {
        assert!(text.contains(words), "`{words}` is not in:\n{text}");
    }

    let json = hpd(&["inspect", &run, "--worst", "3", "--sts", &sts, "--json"]).stdout();
    let facts: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&facts["kind"], &facts["status"]), (&"run".into(), &"done".into()));
    assert_eq!(facts["rows"].as_array().map(Vec::len), Some(4));
    assert_eq!(facts["worst"].as_array().map(Vec::len), Some(3));
    assert_eq!(facts["overlap"][0]["texts"], 6);
    assert_eq!(facts["tokens"]["sentences"], 400);
    assert!(facts["course"][0]["loss"].is_f64() && facts["cosine_to_target"][0]["from"].is_f64());
}

#[test]
fn only_a_run_has_training_text() {
    let shop = workshop();
    let sts = shop.name("sts");
    assert_refused(
        &hpd(&["inspect", &shop.name("student"), "--sts", &sts]),
        &["only a run", "STUDENT.run"],
    );
    std::fs::remove_file(shop.path("texts-400.txt")).expect("it is there");
    let answer = hpd(&["inspect", &shop.name("student.run"), "--sts", &sts]);
    assert_refused(&answer, &["cannot", "texts-400.txt"]);
}
