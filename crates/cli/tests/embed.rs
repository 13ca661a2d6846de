//! `hpd embed` from the outside: what it writes, what it refuses, and that a stopped run ends as one never stopped.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hpd_encoder::{EncodeOptions, Model, Precision, Quantizer, Ranges};
use hpd_files::vectors::{Block, Matrix, read_matrix};
use serde_json::Value;
use support::{Answer, Workshop, assert_refused, tiny_model};

/// `hpd embed --model model` and `arguments`, in the folder of the test.
fn command(shop: &Workshop, arguments: &str) -> Command {
    let mut words = vec!["embed", "--model", "model"];
    words.extend(arguments.split_whitespace());
    let mut command = support::command(&words);
    command.current_dir(shop.path(""));
    command
}

fn embed(shop: &Workshop, arguments: &str) -> Answer {
    Answer(command(shop, arguments).output().unwrap())
}

/// Embeds, which must succeed, and gives what was said.
#[track_caller]
fn done(shop: &Workshop, arguments: &str) -> String {
    let answer = embed(shop, arguments);
    answer.stdout();
    answer.stderr()
}

#[track_caller]
fn refuse(shop: &Workshop, arguments: &str, words: &str) {
    assert_refused(&embed(shop, arguments), &[words]);
}

#[track_caller]
fn assert_same_files(shop: &Workshop, one: &str, other: &str) {
    let read = |name| fs::read(shop.path(name)).unwrap();
    assert!(read(one) == read(other), "{one} is not {other}");
}

fn expected(shop: &Workshop, texts: &[&str]) -> Matrix {
    let model = Model::open(&shop.path("model")).unwrap();
    model.encode(texts, &EncodeOptions::default()).unwrap().rows
}

/// Names in a folder but for the model, hidden ones included.
fn names(shop: &Workshop) -> Vec<String> {
    let entries = fs::read_dir(shop.path("")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != "model").collect();
    names.sort();
    names
}

#[test]
fn one_row_out_per_line_in_empty_ones_included() {
    let shop = Workshop::new();
    shop.write("in.txt", b"w1 w2\n\nw3 w4 w5\n");
    let answer = embed(&shop, "--input in.txt --output out.npy");
    assert!(answer.stdout().is_empty());
    let said = answer.stderr();
    assert!(said.contains("3 rows of 32 numbers (float32) to `out.npy`"), "{said}");
    let found = read_matrix(&shop.path("out.npy")).unwrap();
    assert_eq!(found, expected(&shop, &["w1 w2", "", "w3 w4 w5"]));
    assert_eq!(names(&shop), ["in.txt", "out.npy"]);
}

#[test]
fn every_format_in_gives_the_same_rows() {
    let shop = Workshop::new();
    shop.write("a.txt", b"w1 w2\nw3, \"w4\" w5\n");
    shop.write("a.jsonl", br#"{"body":"w1 w2","key":7} {"body":"w3, \"w4\" w5","key":8}"#);
    let lines = fs::read_to_string(shop.path("a.jsonl")).unwrap().replace("} {", "}\n{");
    shop.write("a.jsonl", lines.as_bytes());
    shop.write("a.csv", b"key,body\n7,w1 w2\n8,\"w3, \"\"w4\"\" w5\"\n");
    shop.write("a.tsv", b"key\tbody\n7\tw1 w2\n8\tw3, \"w4\" w5\n");
    done(&shop, "--input a.txt --output txt.npy");
    for format in ["jsonl", "csv", "tsv"] {
        let fields = "--text-field body --id-field key";
        done(&shop, &format!("--input a.{format} {fields} --output {format}.npy"));
        assert_same_files(&shop, &format!("{format}.npy"), "txt.npy");
    }
    done(&shop, "--input a.csv a.jsonl --text-field body --id-field key --output both.jsonl");
    let both = fs::read_to_string(shop.path("both.jsonl")).unwrap();
    let id = |line| serde_json::from_str::<Value>(line).unwrap()["id"].clone();
    assert_eq!(both.lines().map(id).collect::<Vec<_>>(), ["7", "8", "7", "8"]);
}

#[test]
fn standard_input_goes_to_standard_output_with_a_prompt() {
    let shop = Workshop::new();
    let prompts = br#"{"prompts":{"query":"w9 "},"default_prompt_name":null}"#;
    shop.write("model/config_sentence_transformers.json", prompts);
    let mut child = command(&shop, "--input - --output - --query")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"w1 w2\n").unwrap();
    let answer = Answer(child.wait_with_output().unwrap());
    let line: Value = serde_json::from_str(&answer.stdout()).unwrap();
    let found: Vec<f32> = serde_json::from_value(line["embedding"].clone()).unwrap();
    assert_eq!(found, expected(&shop, &["w9 w1 w2"]).data);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let shop = Workshop::new();
    let input = shop.texts(10_000);
    let mut child = command(&shop, &format!("--input {input} --output -"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 100]).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn precisions_are_those_of_the_quantizer_and_ranges_are_kept() {
    let shop = Workshop::new();
    let input = shop.texts(300);
    done(&shop, &format!("--input {input} --output float.npy"));
    let vectors = read_matrix(&shop.path("float.npy")).unwrap();
    let mut ranges = Ranges::new(vectors.dim);
    ranges.widen(&vectors);
    for name in ["int8", "uint8", "binary", "ubinary"] {
        done(&shop, &format!("--input {input} --output {name}.npy --precision {name}"));
        let precision: Precision = name.parse().unwrap();
        let quantizer = Quantizer::new(precision, vectors.dim, Some(&ranges)).unwrap();
        let bytes = match quantizer.quantize(&vectors) {
            Block::Int8(numbers) => numbers.into_iter().map(i8::cast_unsigned).collect(),
            Block::UInt8(numbers) => numbers,
            Block::Float32(_) => panic!("no bytes"),
        };
        let file = fs::read(shop.path(&format!("{name}.npy"))).unwrap();
        assert_eq!(file[file.len() - bytes.len()..], bytes);
        let kept = shop.path(&format!("{name}.npy.ranges.json")).exists();
        assert_eq!(kept, precision.needs_ranges());
    }
    // Two ways to say the same ranges.
    for (name, ranges) in
        [("a", "--ranges int8.npy.ranges.json"), ("b", "--calibration-vectors float.npy")]
    {
        done(&shop, &format!("--input {input} --output {name}.npy --precision int8 {ranges}"));
        assert_same_files(&shop, &format!("{name}.npy"), "int8.npy");
    }
    let narrow = "--precision int8 --dimensions 8 --ranges int8.npy.ranges.json";
    refuse(&shop, &format!("--input {input} --output c.npy {narrow}"), "32 dimensions");
    let printed = "must be given when vectors are printed";
    refuse(&shop, &format!("--input {input} --output - --precision int8"), printed);
}

#[test]
fn dimensions_cut_vectors_and_bring_them_back_to_length_one() {
    let shop = Workshop::new();
    let input = shop.texts(3);
    done(&shop, &format!("--input {input} --output out.npy --dimensions 8"));
    let found = read_matrix(&shop.path("out.npy")).unwrap();
    assert_eq!(found.dim, 8);
    for row in found.rows() {
        let square: f32 = row.iter().map(|x| x * x).sum();
        assert!((square - 1.0).abs() < 1e-5);
    }
    refuse(&shop, &format!("--input {input} --output too_many.npy --dimensions 33"), "33");
    assert_eq!(names(&shop), ["out.npy", "texts-3.txt"]);
}

#[test]
fn long_texts_and_bad_records_are_counted_once() {
    let shop = Workshop::new();
    let long = "w1 ".repeat(100);
    let lines = format!("{{\"text\":\"{long}\"}}\nbroken\n{{\"text\":\"w2\"}}\n");
    shop.write("in.jsonl", lines.as_bytes());
    let refused = embed(&shop, "--input in.jsonl --output out.npy");
    let words = ["line 2 of `in.jsonl` is no valid JSON", "hint: `--skip-bad`"];
    assert_refused(&refused, &words);

    let skip = "--input in.jsonl --output out.npy --skip-bad --overwrite";
    let summary = embed(&shop, &format!("{skip} --json")).stdout();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let counts = ["rows", "truncated", "bad"].map(|name| summary[name].as_u64().unwrap());
    assert_eq!(counts, [2, 1, 1]);
    let said = done(&shop, skip);
    assert!(said.contains("texts longer than 64 tokens, which lost their end: 1\n"), "{said}");
    assert!(said.contains("bad records left out: 1\n"), "{said}");
}

#[test]
fn nothing_is_lost_by_mistake() {
    let shop = Workshop::new();
    shop.write("in.txt", b"w1\n");
    shop.write("out.npy", b"precious");
    refuse(&shop, "--input in.txt --output out.npy", "`out.npy` is there already");
    refuse(&shop, "--input missing.txt --output out.npy --overwrite", "missing.txt");
    refuse(&shop, "--input in.txt --output out.bin", "names no format of vectors");
    refuse(&shop, "--input in.txt --output out.npy --overwrite --prompt nonsense", "nonsense");
    refuse(&shop, "--input in.txt --output - --resume", "needs an output file");
    assert_eq!(fs::read(shop.path("out.npy")).unwrap(), b"precious");
    assert_eq!(names(&shop), ["in.txt", "out.npy"]);
    done(&shop, "--input in.txt --output out.npy --overwrite");
    assert_eq!(read_matrix(&shop.path("out.npy")).unwrap().len(), 1);
}

#[test]
fn an_error_keeps_what_was_done_and_a_mended_line_goes_on() {
    let shop = Workshop::new();
    let good = fs::read(shop.texts(1500)).unwrap();
    shop.write("whole.txt", &[&good[..], b"w1 mended\n"].concat());
    shop.write("in.txt", &[&good[..], b"w1 \xffended\n"].concat());
    done(&shop, "--input whole.txt --output whole.npy");
    refuse(&shop, "--input in.txt --output out.npy", "line 1501 of `in.txt` is not UTF-8");
    refuse(&shop, "--input in.txt --output out.npy", "was stopped");
    fs::copy(shop.path("whole.txt"), shop.path("in.txt")).unwrap();
    let said = done(&shop, "--input in.txt --output out.npy --resume");
    assert!(said.contains("going on after 1024 rows"), "{said}");
    assert_same_files(&shop, "out.npy", "whole.npy");
    assert_eq!(names(&shop), ["in.txt", "out.npy", "texts-1500.txt", "whole.npy", "whole.txt"]);
}

#[test]
fn a_changed_input_setting_or_model_does_not_resume() {
    let shop = Workshop::new();
    let good = fs::read(shop.texts(1500)).unwrap();
    shop.write("in.txt", &[&good[..], b"\xff\n"].concat());
    let resume = "--input in.txt --output out.npy --resume";
    // Nothing to resume is a start.
    refuse(&shop, resume, "not UTF-8");
    let narrower = "--dimensions was the default and is 8";
    refuse(&shop, &format!("{resume} --dimensions 8"), narrower);
    shop.write("in.txt", &[b"new ", &good[..]].concat());
    refuse(&shop, resume, "the input has changed");
    shop.write("in.txt", b"short\n");
    refuse(&shop, resume, "the input has changed");
    tiny_model::write(&shop.path("model"), 2);
    refuse(&shop, resume, "the model's weights was");
    done(&shop, "--input in.txt --output out.npy --overwrite");
}

/// Starts a command and waits until its spool beside `output` has so many bytes.
fn start_and_wait(
    shop: &Workshop,
    arguments: &str,
    output: &str,
    bytes: u64,
) -> std::process::Child {
    let mut child = command(shop, &format!("{arguments} --output {output}"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let spool = shop.path(&format!(".{output}.unfinished"));
    let started = Instant::now();
    while fs::metadata(&spool).map_or(0, |about| about.len()) < bytes {
        assert!(started.elapsed() < Duration::from_secs(120), "no rows in two minutes");
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be stopped");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

#[test]
fn killed_and_resumed_is_never_stopped() {
    let shop = Workshop::new();
    let arguments = format!("--input {} --precision int8", shop.texts(30_000));
    done(&shop, &format!("{arguments} --output whole.parquet"));
    let mut child = start_and_wait(&shop, &arguments, "out.parquet", 300_000);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!shop.path("out.parquet").exists());
    done(&shop, &format!("{arguments} --output out.parquet --resume"));
    assert_same_files(&shop, "out.parquet", "whole.parquet");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_keeps_its_rows() {
    let shop = Workshop::new();
    let arguments = format!("--input {}", shop.texts(30_000));
    let child = start_and_wait(&shop, &arguments, "out.npy", 300_000);
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let answer = Answer(child.wait_with_output().unwrap());
    assert_refused(&answer, &["rows are kept, `--resume` goes on with them"]);
    let said = done(&shop, &format!("{arguments} --output out.npy --resume"));
    assert!(said.contains("going on after "), "{said}");
    assert_eq!(read_matrix(&shop.path("out.npy")).unwrap().len(), 30_000);
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_that_leaves_something_to_resume() {
    let shop = Workshop::new();
    let input = shop.texts(4000);
    let (model, output) = (shop.name("model"), shop.name("out.npy"));
    // Blocks of 512 or 1024 bytes, by shell; 4000 rows take 512,000. Without the trap the signal of this limit would
    // end the process, which a full disk never does.
    let script = "trap '' XFSZ; ulimit -f 300; exec \"$0\" \"$@\"";
    let arguments = ["embed", "--model", &model, "--input", &input, "--output", &output];
    let answer = support::shell(script, &arguments);
    assert_refused(&answer, &["cannot write `", ".out.npy.unfinished`"]);
    assert!(!shop.path("out.npy").exists());
    done(&shop, &format!("--input {input} --output out.npy --resume"));
    done(&shop, &format!("--input {input} --output whole.npy"));
    assert_same_files(&shop, "out.npy", "whole.npy");
}
