//! A small run, for any test of the whole chain.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file has its own copy of a module it shares"
)]

use std::fs;
use std::path::{Path, PathBuf};

use hpd_distill::recipe::Recipe;
use hpd_distill::run::{DeviceChoice, Settings, TeacherArgument};
use hpd_distill::sentences::{SentenceFile, SentenceOptions};
use hpd_distill::start::{KeptLayers, StudentStart};
use hpd_encoder::OpenOptions;

/// The folder of a teacher of 32 numbers.
pub fn teacher() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/encoder/bert_mean")
}

/// A run of a few seconds in `folder`: 400 sentences, 40 of them held back, one layer.
pub fn settings(folder: &Path, recipe: &str) -> Settings {
    let words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    let sentence = |i: usize| {
        let picked = (0..3 + i % 5).map(|k| words[(i * 7 + k * (3 + i % 4) + i / 10) % 10]);
        picked.collect::<Vec<_>>().join(" ") + &format!(" {i}")
    };
    let path = folder.join("sentences.txt");
    fs::write(&path, (0..400).map(|i| sentence(i) + "\n").collect::<String>()).unwrap();
    let mut recipe_knobs = Recipe::load(recipe).unwrap();
    for (key, value) in [
        ("dim", "8"),
        ("epochs", "2"),
        ("batch_size", "32"),
        ("evaluate_every", "5"),
        ("max_tokens", "32"),
    ] {
        recipe_knobs.set(key, value).unwrap();
    }
    Settings {
        teacher: TeacherArgument::Model {
            folder: teacher(),
            name: "bert".into(),
            opening: OpenOptions::default(),
        },
        start: StudentStart::Cut { model: None, kept: KeptLayers::Spread(1) },
        sentences: vec![SentenceFile { path, weight: 1.0 }],
        sentence_options: SentenceOptions { dev: 40, ..SentenceOptions::default() },
        triplets: Vec::new(),
        paraphrases: Vec::new(),
        projection: None,
        vocabulary: None,
        feed_forward: None,
        recipe: recipe_knobs,
        recipe_name: recipe.to_owned(),
        output: folder.join("student"),
        teacher_cache: None,
        dev_sts: None,
        device: DeviceChoice::Cpu,
        resume: false,
        overwrite: false,
    }
}
