//! Every level of vector instructions that this CPU has: what holds at the best one holds at each, with nearly the same vectors.
//!
//! A process chooses its level once, so each level gets a process of its own: this binary again, with `HPD_SIMD`.
//! From an emulator it would start on the machine itself, so `scripts/test-emulated.sh` leaves these tests out.

use std::fs;
use std::process::Command;

use hpd_encoder::{Arithmetic, EncodeOptions};
use hpd_files::vectors::Matrix;
use hpd_kernels::Level;

use crate::arithmetic::open;
use crate::golden::{Golden, cosine, fixtures};
use crate::invariants::MODELS;

/// The tests whose outcome the level could change.
const TESTS: [&str; 4] = ["arithmetic::", "goldens::", "int8::a_folder_in_8_bits", "invariants::"];

/// Where a process that this file started leaves its vectors.
const VECTORS: &str = "HPD_TEST_VECTORS";

/// This binary at a level.
fn tests_at(level: Level) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("HPD_SIMD", level.to_string());
    command
}

/// Runs tests to their end, which must be a good one; "0 tests" is none.
fn pass(level: Level, command: &mut Command) {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && !told.contains("running 0 tests");
    assert!(passed, "level {level}, {}:\n{told}", output.status);
}

#[test]
fn each_level_passes_the_tests_that_the_best_one_passes() {
    for level in Level::available().into_iter().filter(|level| *level != Level::best()) {
        println!("level {level}");
        pass(level, tests_at(level).args(TESTS));
    }
}

/// How near unit vectors of other levels are: their sums are in another order, from which steps of 8 bits follow.
const LEAST_COSINES: [(Arithmetic, f64); 3] =
    [(Arithmetic::Float32, 0.99999), (Arithmetic::Bfloat16, 0.9999), (Arithmetic::Int8, 0.999)];

/// What every model makes of its texts at the level of this process.
fn vectors(arithmetic: Arithmetic) -> impl Iterator<Item = (&'static str, Matrix)> {
    let options = EncodeOptions { normalize: true, ..EncodeOptions::default() };
    MODELS.into_iter().map(move |name| {
        let folder = fixtures().join(name);
        let texts = Golden::read(&folder.join("golden.json")).texts;
        (name, open(&folder, arithmetic).encode(&texts, &options).unwrap().rows)
    })
}

#[test]
#[ignore = "writes the vectors of one level for the test below"]
fn vectors_of_one_level() {
    let Some(path) = std::env::var_os(VECTORS) else {
        return;
    };
    let all = LEAST_COSINES.iter().flat_map(|(arithmetic, _)| vectors(*arithmetic));
    let bytes: Vec<u8> = all.flat_map(|(_, rows)| rows.data).flat_map(f32::to_le_bytes).collect();
    fs::write(path, bytes).unwrap();
}

#[test]
fn levels_give_nearly_the_same_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors");
    for level in Level::available().into_iter().filter(|level| *level != Level::best()) {
        let one = ["--ignored", "--exact", "levels::vectors_of_one_level"];
        pass(level, tests_at(level).args(one).env(VECTORS, &path));
        let bytes = fs::read(&path).unwrap();
        let found: Vec<f32> = bytes.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect();
        let mut found = found.as_slice();
        for (arithmetic, bound) in LEAST_COSINES {
            let mut least = 1.0_f64;
            for (name, expected) in vectors(arithmetic) {
                for (i, expected) in expected.rows().enumerate() {
                    let row = found.split_off(..expected.len()).unwrap();
                    let cosine = cosine(row, expected);
                    assert!(cosine >= bound, "{name}, text {i} in {arithmetic}, {level}: {cosine}");
                    least = least.min(cosine);
                }
            }
            println!("{level} and {}, {arithmetic}: cosine {least} at least", Level::best());
        }
        assert!(found.is_empty());
    }
}
