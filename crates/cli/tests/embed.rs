//! `hpd embed` from the outside: what it writes, what it refuses, and that a stopped run ends as one never stopped.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use hpd_encoder::{Model, Precision, Quantizer, Ranges};
use hpd_files::vectors::{Block, Matrix, read_matrix};
use serde_json::Value;
use support::{hpd, stderr, stdout, tiny_model};
use tempfile::TempDir;

/// A folder with a tiny model in `model`.
fn workplace() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    tiny_model::write(&path.join("model"), 1);
    (folder, path)
}

fn embed(folder: &Path, arguments: &str) -> Output {
    command(folder, arguments).output().unwrap()
}

fn command(folder: &Path, arguments: &str) -> Command {
    let mut command = hpd(folder);
    command.args(["embed", "--model", "model"]).args(arguments.split_whitespace());
    command
}

fn succeed(folder: &Path, arguments: &str) -> Output {
    let output = embed(folder, arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

/// Exit code 2 and a message with these words; no output file.
fn refuse(folder: &Path, arguments: &str, words: &str) -> String {
    let output = embed(folder, arguments);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains(words), "`{words}` is not in: {message}");
    message
}

fn expected(folder: &Path, texts: &[&str]) -> Matrix {
    let model = Model::open(&folder.join("model")).unwrap();
    model.encode(texts, &hpd_encoder::EncodeOptions::default()).unwrap().rows
}

/// Sentences of 1 to 40 words of the tiny vocabulary.
fn sentences(count: usize) -> String {
    let words = ["the", "fear", "of", "spiders", "river", "king", "bread", "child", "light", "42"];
    (0..count)
        .map(|i| {
            let line: Vec<&str> =
                (0..1 + i % 40).map(|j| words[(i * 7 + j * j * 3) % words.len()]).collect();
            line.join(" ") + "\n"
        })
        .collect()
}

/// Names in a folder but for the model, hidden ones included.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "model")
        .collect();
    names.sort();
    names
}

#[test]
fn one_row_out_per_line_in_empty_ones_included() {
    let (_folder, path) = workplace();
    fs::write(path.join("in.txt"), "the king\n\nfear of spiders\n").unwrap();
    let output = succeed(&path, "--input in.txt --output out.npy");
    assert!(
        stderr(&output).contains("3 rows of 32 numbers (float32) to `out.npy`"),
        "{}",
        stderr(&output)
    );
    assert!(output.stdout.is_empty());
    let expected = expected(&path, &["the king", "", "fear of spiders"]);
    assert_eq!(read_matrix(&path.join("out.npy")).unwrap(), expected);
    assert_eq!(names(&path), ["in.txt", "out.npy"]);
}

#[test]
fn every_format_in_gives_the_same_rows() {
    let (_folder, path) = workplace();
    fs::write(path.join("a.txt"), "the king\nbread, \"and\" wine\n").unwrap();
    fs::write(
        path.join("a.jsonl"),
        "{\"body\":\"the king\",\"key\":7}\n{\"body\":\"bread, \\\"and\\\" wine\",\"key\":8}\n",
    )
    .unwrap();
    fs::write(path.join("a.csv"), "key,body\n7,the king\n8,\"bread, \"\"and\"\" wine\"\n").unwrap();
    fs::write(path.join("a.tsv"), "key\tbody\n7\tthe king\n8\tbread, \"and\" wine\n").unwrap();
    succeed(&path, "--input a.txt --output txt.npy");
    for format in ["jsonl", "csv", "tsv"] {
        succeed(
            &path,
            &format!("--input a.{format} --text-field body --id-field key --output {format}.npy"),
        );
        assert_eq!(
            fs::read(path.join(format!("{format}.npy"))).unwrap(),
            fs::read(path.join("txt.npy")).unwrap()
        );
    }
    succeed(&path, "--input a.csv a.jsonl --text-field body --id-field key --output both.jsonl");
    let both = fs::read_to_string(path.join("both.jsonl")).unwrap();
    let ids: Vec<_> = both
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone())
        .collect();
    assert_eq!(ids, ["7", "8", "7", "8"]);
}

#[test]
fn standard_input_to_standard_output_and_a_closed_pipe_is_no_error() {
    let (_folder, path) = workplace();
    let mut child = command(&path, "--input - --output - --query")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"the king\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let line: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let found: Vec<f32> = serde_json::from_value(line["embedding"].clone()).unwrap();
    assert_eq!(found, expected(&path, &["query the king"]).data);

    fs::write(path.join("in.txt"), sentences(20_000)).unwrap();
    let mut child =
        command(&path, "--input in.txt --output -").stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn precisions_are_those_of_the_quantizer_and_ranges_are_kept() {
    let (_folder, path) = workplace();
    fs::write(path.join("in.txt"), sentences(300)).unwrap();
    succeed(&path, "--input in.txt --output float.npy");
    let vectors = read_matrix(&path.join("float.npy")).unwrap();
    let mut ranges = Ranges::new(vectors.dim);
    ranges.widen(&vectors);
    for precision in ["int8", "uint8", "binary", "ubinary"] {
        succeed(&path, &format!("--input in.txt --output {precision}.npy --precision {precision}"));
        let parsed: Precision = precision.parse().unwrap();
        let quantizer = Quantizer::new(parsed, vectors.dim, Some(&ranges)).unwrap();
        let bytes = match quantizer.quantize(&vectors) {
            Block::Int8(numbers) => numbers.into_iter().map(i8::cast_unsigned).collect(),
            Block::UInt8(numbers) => numbers,
            Block::Float32(_) => panic!("no bytes"),
        };
        let file = fs::read(path.join(format!("{precision}.npy"))).unwrap();
        assert_eq!(file[file.len() - bytes.len()..], bytes);
        assert_eq!(
            path.join(format!("{precision}.npy.ranges.json")).exists(),
            parsed.needs_ranges()
        );
    }
    // Two ways to say the same ranges.
    succeed(&path, "--input in.txt --output a.npy --precision int8 --ranges int8.npy.ranges.json");
    succeed(
        &path,
        "--input in.txt --output b.npy --precision int8 --calibration-vectors float.npy",
    );
    for name in ["a.npy", "b.npy"] {
        assert_eq!(fs::read(path.join(name)).unwrap(), fs::read(path.join("int8.npy")).unwrap());
    }
    refuse(
        &path,
        "--input in.txt --output c.npy --precision int8 --dimensions 8 --ranges int8.npy.ranges.json",
        "32 dimensions",
    );
    refuse(
        &path,
        "--input in.txt --output - --precision int8",
        "must be given when vectors are printed",
    );
}

#[test]
fn dimensions_cut_vectors_and_bring_them_back_to_length_one() {
    let (_folder, path) = workplace();
    fs::write(path.join("in.txt"), sentences(3)).unwrap();
    succeed(&path, "--input in.txt --output out.npy --dimensions 8");
    let found = read_matrix(&path.join("out.npy")).unwrap();
    assert_eq!(found.dim, 8);
    for row in found.rows() {
        let square: f32 = row.iter().map(|x| x * x).sum();
        assert!((square - 1.0).abs() < 1e-5);
    }
    refuse(&path, "--input in.txt --output too_many.npy --dimensions 33", "33");
    assert_eq!(names(&path), ["in.txt", "out.npy"]);
}

#[test]
fn long_texts_and_bad_records_are_counted_once() {
    let (_folder, path) = workplace();
    let long = "river ".repeat(100);
    fs::write(
        path.join("in.jsonl"),
        format!("{{\"text\":\"{long}\"}}\nbroken\n{{\"text\":\"king\"}}\n"),
    )
    .unwrap();
    let message =
        refuse(&path, "--input in.jsonl --output out.npy", "line 2 of `in.jsonl` is no valid JSON");
    assert!(message.contains("hint: `--skip-bad`"), "{message}");
    let output = succeed(&path, "--input in.jsonl --output out.npy --skip-bad --overwrite --json");
    let summary: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (&summary["rows"], &summary["truncated"], &summary["bad"]),
        (&2.into(), &1.into(), &1.into())
    );
    let output = succeed(&path, "--input in.jsonl --output out.npy --skip-bad --overwrite");
    assert!(stderr(&output).contains("1 texts were longer than 64 tokens and lost their end\n"));
    assert!(stderr(&output).contains("1 bad records were left out\n"));
}

#[test]
fn nothing_is_lost_by_mistake() {
    let (_folder, path) = workplace();
    fs::write(path.join("in.txt"), "king\n").unwrap();
    fs::write(path.join("out.npy"), "precious").unwrap();
    refuse(&path, "--input in.txt --output out.npy", "`out.npy` is there already");
    refuse(&path, "--input missing.txt --output out.npy --overwrite", "missing.txt");
    refuse(
        &path,
        "--input in.txt --output out.npy --overwrite --model nowhere",
        "cannot be used multiple times",
    );
    refuse(&path, "--input in.txt --output out.bin", "names no format of vectors");
    refuse(&path, "--input in.txt --output out.npy --overwrite --prompt nonsense", "nonsense");
    assert_eq!(fs::read(path.join("out.npy")).unwrap(), b"precious");
    assert_eq!(names(&path), ["in.txt", "out.npy"]);
    succeed(&path, "--input in.txt --output out.npy --overwrite");
    assert_eq!(read_matrix(&path.join("out.npy")).unwrap().len(), 1);
}

#[test]
fn an_error_keeps_what_was_done_and_a_mended_line_goes_on() {
    let (_folder, path) = workplace();
    let good = sentences(1500);
    fs::write(path.join("whole.txt"), format!("{good}mended\n")).unwrap();
    succeed(&path, "--input whole.txt --output whole.npy");
    fs::write(path.join("in.txt"), [good.as_bytes(), b"\xff\n"].concat()).unwrap();
    refuse(&path, "--input in.txt --output out.npy", "line 1501 of `in.txt` is not UTF-8");
    refuse(&path, "--input in.txt --output out.npy", "was stopped");
    fs::write(path.join("in.txt"), format!("{good}mended\n")).unwrap();
    let output = succeed(&path, "--input in.txt --output out.npy --resume");
    assert!(stderr(&output).contains("going on after 1024 rows"), "{}", stderr(&output));
    assert_eq!(fs::read(path.join("out.npy")).unwrap(), fs::read(path.join("whole.npy")).unwrap());
    assert_eq!(names(&path), ["in.txt", "out.npy", "whole.npy", "whole.txt"]);
}

#[test]
fn a_changed_input_or_setting_does_not_resume() {
    let (_folder, path) = workplace();
    let good = sentences(1500);
    fs::write(path.join("in.txt"), [good.as_bytes(), b"\xff\n"].concat()).unwrap();
    refuse(&path, "--input in.txt --output out.npy", "not UTF-8");
    refuse(
        &path,
        "--input in.txt --output out.npy --resume --dimensions 8",
        "--dimensions was the default and is 8",
    );
    fs::write(path.join("in.txt"), format!("new {good}")).unwrap();
    refuse(&path, "--input in.txt --output out.npy --resume", "the input has changed");
    fs::write(path.join("in.txt"), "short\n").unwrap();
    refuse(&path, "--input in.txt --output out.npy --resume", "the input has changed");
    tiny_model::write(&path.join("model"), 2);
    refuse(&path, "--input in.txt --output out.npy --resume", "the model's weights was");
    succeed(&path, "--input in.txt --output out.npy --overwrite");
}

/// Waits until `condition`, at most a minute.
fn wait_until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(60), "waited a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn killed_and_resumed_is_never_stopped() {
    let (_folder, path) = workplace();
    fs::write(path.join("in.txt"), sentences(30_000)).unwrap();
    let spooled =
        || fs::metadata(path.join(".out.parquet.unfinished")).map_or(0, |about| about.len());
    succeed(&path, "--input in.txt --output whole.parquet --precision int8");
    let mut child =
        command(&path, "--input in.txt --output out.parquet --precision int8").spawn().unwrap();
    wait_until(|| spooled() > 1_000_000 || child.try_wait().unwrap().is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!path.join("out.parquet").exists(), "the kill came too late to show anything");
    succeed(&path, "--input in.txt --output out.parquet --precision int8 --resume");
    assert_eq!(
        fs::read(path.join("out.parquet")).unwrap(),
        fs::read(path.join("whole.parquet")).unwrap()
    );
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_keeps_its_rows() {
    let (_folder, path) = workplace();
    fs::write(path.join("in.txt"), sentences(30_000)).unwrap();
    let mut child =
        command(&path, "--input in.txt --output out.npy").stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| {
        fs::metadata(path.join(".out.npy.unfinished")).is_ok_and(|about| about.len() > 1_000_000)
    });
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert!(message.contains("rows are kept, `--resume` goes on with them"), "{message}");
    let output = succeed(&path, "--input in.txt --output out.npy --resume");
    assert!(stderr(&output).contains("going on after"));
    assert_eq!(read_matrix(&path.join("out.npy")).unwrap().len(), 30_000);
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_that_leaves_something_to_resume() {
    let (_folder, path) = workplace();
    fs::write(path.join("in.txt"), sentences(3000)).unwrap();
    // The limit is in blocks of 512 or 1024 bytes, by shell; 3000 rows take 384,000 bytes. Without the trap the
    // signal of this limit would end the process, which a full disk never does.
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$0\" embed --model model --input in.txt --output out.npy --threads 1";
    let program = env!("CARGO_BIN_EXE_hpd");
    let output =
        Command::new("sh").args(["-c", script, program]).current_dir(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("cannot write `.out.npy.unfinished`"), "{}", stderr(&output));
    assert!(!path.join("out.npy").exists());
    succeed(&path, "--input in.txt --output out.npy --resume");
    succeed(&path, "--input in.txt --output whole.npy");
    assert_eq!(fs::read(path.join("out.npy")).unwrap(), fs::read(path.join("whole.npy")).unwrap());
}
