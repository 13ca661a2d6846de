//! Bad input gets a clear error, exit status 2, and leaves nothing broken. One test a case.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use support::{Workshop, command, hpd};

/// Fails unless the command was refused with all of `words` in what it said, and none of a panic.
#[track_caller]
fn refused(arguments: &[&str], words: &[&str]) {
    support::assert_refused(&hpd(arguments), words);
}

fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value =
        serde_json::from_slice(&fs::read(path).expect("the file is there")).expect("JSON");
    edit(&mut value);
    fs::write(path, value.to_string()).expect("a writable file");
}

mod model {
    use super::*;

    /// Damages a model, and expects `hpd embed` to refuse it and to write nothing.
    #[track_caller]
    fn refused_after(damage: impl FnOnce(&Path), words: &[&str]) {
        let shop = Workshop::new();
        damage(&shop.path("model"));
        let output = shop.name("vectors.npy");
        refused(
            &[
                "embed",
                "--model",
                &shop.name("model"),
                "--input",
                &shop.texts(3),
                "--output",
                &output,
            ],
            words,
        );
        assert!(!Path::new(&output).exists(), "an output was left behind");
    }

    #[test]
    fn a_missing_folder() {
        let shop = Workshop::new();
        let (missing, output) = (shop.name("nowhere"), shop.name("vectors.npy"));
        refused(
            &["embed", "--model", &missing, "--input", &shop.texts(1), "--output", &output],
            &["nowhere"],
        );
    }

    #[test]
    fn missing_weights() {
        refused_after(
            |model| fs::remove_file(model.join("model.safetensors")).unwrap(),
            &["model.safetensors"],
        );
    }

    #[test]
    fn weights_cut_short() {
        let damage = |model: &Path| {
            let file =
                fs::OpenOptions::new().write(true).open(model.join("model.safetensors")).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        };
        refused_after(damage, &["model.safetensors"]);
    }

    #[test]
    fn weights_that_are_something_else() {
        let damage = |model: &Path| fs::write(model.join("model.safetensors"), [0xff; 64]).unwrap();
        refused_after(damage, &["model.safetensors"]);
    }

    #[test]
    fn only_a_pickle() {
        let damage = |model: &Path| {
            fs::rename(model.join("model.safetensors"), model.join("pytorch_model.bin")).unwrap();
        };
        refused_after(damage, &["pytorch_model.bin", "hpd export"]);
    }

    #[test]
    fn shapes_that_are_not_those_of_the_config() {
        let damage = |model: &Path| {
            edit_json(&model.join("config.json"), |config| config["intermediate_size"] = json!(96))
        };
        refused_after(damage, &["expected", "intermediate"]);
    }

    #[test]
    fn a_tokenizer_with_more_words_than_the_model() {
        let damage = |model: &Path| {
            edit_json(&model.join("tokenizer.json"), |tokenizer| {
                tokenizer["model"]["vocab"]["unheard"] = json!(70_000);
            });
        };
        refused_after(damage, &["tokenizer", "70000"]);
    }

    #[test]
    fn modules_that_are_no_json() {
        refused_after(
            |model| fs::write(model.join("modules.json"), "[{").unwrap(),
            &["modules.json"],
        );
    }
}

mod text {
    use super::*;

    #[test]
    fn invalid_utf_8_is_named_with_its_line() {
        let shop = Workshop::new();
        let input = shop.write("latin1.txt", b"plain\ncaf\xe9\n");
        let output = shop.name("vectors.npy");
        refused(
            &["embed", "--model", &shop.name("model"), "--input", &input, "--output", &output],
            &["latin1.txt", "2", "UTF-8"],
        );
        assert!(!Path::new(&output).exists());
    }

    #[test]
    fn a_bad_json_line_is_named_with_its_line() {
        let shop = Workshop::new();
        let input = shop.write("notes.jsonl", b"{\"text\": \"a\"}\n{\"text\": \n");
        refused(
            &[
                "embed",
                "--model",
                &shop.name("model"),
                "--input",
                &input,
                "--output",
                &shop.name("v.npy"),
            ],
            &["notes.jsonl", "2"],
        );
    }

    #[test]
    fn bad_lines_can_be_skipped_instead() {
        let shop = Workshop::new();
        let input =
            shop.write("notes.jsonl", b"{\"text\": \"a\"}\n{\"text\": \n{\"text\": \"b\"}\n");
        let answer = hpd(&[
            "embed",
            "--model",
            &shop.name("model"),
            "--input",
            &input,
            "--output",
            &shop.name("v.npy"),
            "--skip-bad",
        ]);
        answer.stdout();
        assert!(answer.stderr().contains('1'), "{}", answer.stderr());
    }

    #[test]
    fn a_bad_document_leaves_the_store_as_it_was() {
        let shop = Workshop::new();
        let store = shop.store(5);
        let bad = shop.write("more.jsonl", b"{\"id\": \"x\"}\n");
        refused(
            &["index", "add", "--store", &store, "--input", &bad],
            &["more.jsonl", "1", "text"],
        );
        assert_eq!(
            hpd(&["search", "--store", &store, "--limit", "100", "--json", "w1"])
                .stdout()
                .lines()
                .count(),
            5
        );
    }
}

mod output {
    use super::*;

    #[test]
    fn an_output_that_is_there_stays() {
        let shop = Workshop::new();
        let output = shop.write("vectors.npy", b"precious");
        refused(
            &[
                "embed",
                "--model",
                &shop.name("model"),
                "--input",
                &shop.texts(3),
                "--output",
                &output,
            ],
            &["there already", "--overwrite"],
        );
        assert_eq!(fs::read(&output).unwrap(), b"precious");
    }

    #[test]
    fn a_store_that_is_there_stays() {
        let shop = Workshop::new();
        let store = shop.store(5);
        refused(
            &[
                "index",
                "create",
                "--store",
                &store,
                "--model",
                &shop.name("model"),
                "--input",
                &shop.texts(2),
            ],
            &["store"],
        );
        assert_eq!(
            hpd(&["search", "--store", &store, "--limit", "100", "--json", "w1"])
                .stdout()
                .lines()
                .count(),
            5
        );
    }

    #[test]
    fn more_dimensions_than_there_are() {
        let shop = Workshop::new();
        let output = shop.name("vectors.npy");
        refused(
            &[
                "embed",
                "--model",
                &shop.name("model"),
                "--input",
                &shop.texts(3),
                "--output",
                &output,
                "--dimensions",
                "999",
            ],
            &["999", "32"],
        );
        assert!(!Path::new(&output).exists());
    }

    /// `ulimit -f` lets a file grow to so many blocks; with its signal ignored, writing fails as on a full disk.
    #[cfg(unix)]
    #[test]
    fn no_space_left_for_vectors() {
        let shop = Workshop::new();
        let output = shop.name("vectors.npy");
        let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
        let arguments = [
            "embed",
            "--model",
            &shop.name("model"),
            "--input",
            &shop.texts(2_000),
            "--output",
            &output,
        ];
        let answer = support::shell(script, &arguments);
        support::assert_refused(&answer, &["cannot write", "vectors"]);
        assert!(!Path::new(&output).exists(), "half a file was left behind");
        assert!(
            hpd(&[&arguments[..], &["--resume"]].concat()).0.status.success(),
            "with space it goes on"
        );
    }

    #[test]
    fn no_space_left_for_a_store() {
        let shop = Workshop::new();
        let store = shop.store(5);
        let answer = command(&["index", "add", "--store", &store, "--input", &shop.texts(2_000)])
            .env("HPD_STORE_PAGES", "24")
            .output()
            .expect("hpd starts");
        support::assert_refused(&support::Answer(answer), &["full"]);
        assert!(hpd(&["inspect", &store]).0.status.success(), "the store is whole");
        assert!(
            hpd(&["index", "add", "--store", &store, "--input", &shop.texts(2_000)])
                .0
                .status
                .success()
        );
    }

    #[cfg(unix)]
    #[test]
    fn no_space_left_for_a_student() {
        let shop = Workshop::new();
        let (model, texts, student) = (shop.name("model"), shop.texts(2_000), shop.name("student"));
        let distil = |more: &[&str]| {
            let base =
                ["distill", "--teacher", &model, "--sentences", &texts, "--output", &student];
            let small = ["--layers", "1", "--dim", "8", "--held-back", "50"];
            [&base[..], &small, more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        // The teacher's vectors need more than the first, a checkpoint more than the second.
        for blocks in ["8", "300"] {
            let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
            let arguments = distil(&["--resume"]);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            support::assert_refused(&support::shell(&script, &arguments), &["cannot write"]);
            assert!(!Path::new(&student).exists(), "half a student was left behind");
        }
        assert!(hpd(&distil(&["--resume"])).0.status.success(), "with space it goes on");
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let shop = Workshop::new();
        let mut child = command(&[
            "embed",
            "--model",
            &shop.name("model"),
            "--input",
            &shop.texts(5_000),
            "--output",
            "-",
        ])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("hpd starts");
        let mut first = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut first).expect("a line");
        let output = child.wait_with_output().expect("hpd ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!String::from_utf8_lossy(&output.stderr).contains("error"));
    }
}

mod space {
    use super::*;

    #[test]
    fn a_store_made_in_another_space() {
        let shop = Workshop::new();
        let store = shop.store(5);
        let other = shop.name("other-model");
        support::tiny_model::write(Path::new(&other), 2);
        refused(&["search", "--store", &store, "--model", &other, "w1"], &["space"]);
        refused(
            &["index", "add", "--store", &store, "--model", &other, "--input", &shop.texts(1)],
            &["space"],
        );
        assert_eq!(
            hpd(&["search", "--store", &store, "--limit", "100", "--json", "w1"])
                .stdout()
                .lines()
                .count(),
            5
        );
    }
}

mod distil {
    use super::*;

    /// Distils the model into `arguments`, and expects a refusal and no student.
    #[track_caller]
    fn refused_distilling(shop: &Workshop, arguments: &[&str], words: &[&str]) {
        let student = shop.name("student");
        let run = ["distill", "--output", &student, "--held-back", "50"];
        refused(&[&run, arguments].concat(), words);
        assert!(!Path::new(&student).exists(), "half a student was left behind");
    }

    #[test]
    fn an_empty_sentence_file() {
        let shop = Workshop::new();
        let (model, empty) = (shop.name("model"), shop.write("empty.txt", b"\n\n"));
        let arguments = ["--teacher", &model, "--layers", "1", "--dim", "8", "--sentences", &empty];
        refused_distilling(&shop, &arguments, &["empty.txt"]);
    }

    #[test]
    fn sentences_in_another_encoding() {
        let shop = Workshop::new();
        let (model, latin) = (shop.name("model"), shop.write("latin1.txt", b"plain\ncaf\xe9\n"));
        let arguments = ["--teacher", &model, "--layers", "1", "--dim", "8", "--sentences", &latin];
        refused_distilling(&shop, &arguments, &["latin1.txt", "2", "UTF-8"]);
    }

    #[test]
    fn more_dimensions_than_the_teacher_has() {
        let shop = Workshop::new();
        let (model, texts) = (shop.name("model"), shop.texts(400));
        let arguments =
            ["--teacher", &model, "--layers", "1", "--dim", "999", "--sentences", &texts];
        refused_distilling(&shop, &arguments, &["999", "32"]);
    }

    #[test]
    fn layers_that_another_student_has_not() {
        let shop = Workshop::new();
        let (model, texts) = (shop.name("model"), shop.texts(400));
        let arguments =
            ["--teacher", &model, "--student", &model, "--layers", "9", "--sentences", &texts];
        refused_distilling(&shop, &arguments, &["--layers 9", &model, "layers", "--layers 2"]);
    }

    #[test]
    fn a_vocabulary_that_is_too_small_or_too_large() {
        let shop = Workshop::new();
        let (model, texts) = (shop.name("model"), shop.texts(400));
        for (count, hint) in [("7", "or more"), ("9999", "leave it out to keep all")] {
            let run = ["--teacher", &model, "--layers", "1", "--dim", "8", "--sentences", &texts];
            let arguments = [run.as_slice(), &["--vocabulary", count]].concat();
            refused_distilling(&shop, &arguments, &[count, "tokenizer.json", hint]);
        }
    }

    #[test]
    fn a_feed_forward_that_is_too_narrow_or_too_wide_or_not_there() {
        let shop = Workshop::new();
        let (model, texts) = (shop.name("model"), shop.texts(400));
        for (layers, count, hint) in [
            ("1", "0", "--feed-forward 1"),
            ("1", "9999", "leave it out to keep all"),
            ("0", "9", "--layers 1"),
        ] {
            let run = ["--teacher", &model, "--dim", "8", "--sentences", &texts];
            let arguments =
                [run.as_slice(), &["--layers", layers, "--feed-forward", count]].concat();
            refused_distilling(&shop, &arguments, &[count, "--feed-forward", hint]);
        }
    }

    #[test]
    fn an_unknown_key_in_a_recipe() {
        let shop = Workshop::new();
        let recipe = shop.write("recipe.toml", b"learning_rat = 1.0\n");
        let (model, texts) = (shop.name("model"), shop.texts(400));
        let arguments = ["--teacher", &model, "--sentences", &texts, "--recipe", &recipe];
        refused_distilling(&shop, &arguments, &["recipe.toml", "learning_rat"]);
    }

    #[test]
    fn target_vectors_of_another_sentence_list() {
        let shop = Workshop::new();
        let (model, vectors) = (shop.name("model"), shop.name("vectors.npy"));
        hpd(&["embed", "--model", &model, "--input", &shop.texts(399), "--output", &vectors])
            .stdout();
        refused_with_teacher(&shop, &vectors, &["399", "400"]);
    }

    #[test]
    fn an_endpoint_that_does_not_know_the_key() {
        let url = serve(|_| ("401 Unauthorized", json!({"error": {"message": "wrong key"}})));
        refused_with_teacher(&Workshop::new(), &url, &["401", "OPENAI_API_KEY"]);
    }

    #[test]
    fn an_endpoint_whose_numbers_are_none() {
        let url = serve(|texts| ("200 OK", answer(texts, &json!([0.5, null]))));
        refused_with_teacher(&Workshop::new(), &url, &["vector"]);
    }

    #[test]
    fn an_endpoint_that_changes_its_width() {
        let served = AtomicUsize::new(0);
        let url = serve(move |texts| {
            let wider = served.fetch_add(1, Ordering::Relaxed) > 2;
            ("200 OK", answer(texts, &json!(vec![0.5; 16 + usize::from(wider)])))
        });
        refused_with_teacher(&Workshop::new(), &url, &["16", "17"]);
    }

    #[track_caller]
    fn refused_with_teacher(shop: &Workshop, teacher: &str, words: &[&str]) {
        let (model, texts) = (shop.name("model"), shop.texts(400));
        let arguments =
            ["--teacher", teacher, "--student", &model, "--dim", "8", "--sentences", &texts];
        refused_distilling(shop, &arguments, words);
    }

    /// The same vector for every text.
    fn answer(texts: &[String], vector: &Value) -> Value {
        let items = (0..texts.len()).map(|index| json!({"index": index, "embedding": vector}));
        json!({"data": items.collect::<Vec<_>>()})
    }
}

/// An embedding server on the loopback interface that answers every request with what `answer` says of its texts.
fn serve(answer: impl Fn(&[String]) -> (&'static str, Value) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let texts = texts_of_request(&mut stream);
            let (status, body) = answer(&texts);
            let body = body.to_string();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    url
}

fn texts_of_request(stream: &mut TcpStream) -> Vec<String> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a request");
        if let Some(number) = line.to_lowercase().strip_prefix("content-length:") {
            length = number.trim().parse().expect("a length");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    let request: Value = serde_json::from_slice(&body).expect("JSON");
    let texts = request["input"].as_array().expect("texts").iter();
    texts.map(|text| text.as_str().expect("a text").to_owned()).collect()
}
