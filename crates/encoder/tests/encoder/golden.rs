//! Vectors that sentence-transformers gave, and how near ours must be.

use std::fs;
use std::path::{Path, PathBuf};

use hpd_encoder::{EncodeOptions, Model, Prompt, Side};
use serde::Deserialize;

/// `golden.json`: texts, and their vectors under one or more sets of options.
#[derive(Deserialize)]
pub(crate) struct Golden {
    pub(crate) texts: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    options: Options,
    vectors: Vec<Vec<f32>>,
}

/// Keyword arguments of sentence-transformers' `encode`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    prompt: Option<String>,
    prompt_name: Option<String>,
    truncate_dim: Option<usize>,
    task: Option<String>,
    #[serde(default)]
    normalize_embeddings: bool,
}

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/encoder")
}

impl Golden {
    pub(crate) fn read(path: &Path) -> Self {
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    /// Every vector within a cosine of 0.99999 and every number within 2e-5.
    pub(crate) fn check(&self, model: &Model) {
        for case in &self.cases {
            let found = model.encode(&self.texts, &case.options.ours()).unwrap().rows;
            assert_eq!(found.len(), case.vectors.len());
            for (i, expected) in case.vectors.iter().enumerate() {
                let expected = case.options.finish(expected, model);
                check_row(
                    found.row(i),
                    &expected,
                    &format!("{:?}, {:?}", self.texts[i], case.options),
                );
            }
        }
    }
}

impl Options {
    fn ours(&self) -> EncodeOptions {
        let prompt = match (&self.prompt, &self.prompt_name) {
            (Some(words), _) => Prompt::Text(words.clone()),
            (None, Some(name)) => Prompt::Named(name.clone()),
            (None, None) => Prompt::Default,
        };
        EncodeOptions {
            prompt,
            side: self.task.as_deref().map(|task| match task {
                "query" => Side::Query,
                _ => Side::Document,
            }),
            normalize: self.normalize_embeddings,
            dimensions: self.truncate_dim,
        }
    }

    /// sentence-transformers cuts normalised vectors and leaves them shorter than 1; ours are made unit again.
    fn finish(&self, expected: &[f32], model: &Model) -> Vec<f32> {
        if self.truncate_dim.is_none() || !model.folder().normalizes() {
            return expected.to_vec();
        }
        let length = expected.iter().map(|x| x * x).sum::<f32>().sqrt();
        expected.iter().map(|x| x / length).collect()
    }
}

fn check_row(found: &[f32], expected: &[f32], what: &str) {
    let cosine = cosine(found, expected);
    let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(
        cosine >= 0.99999 && apart <= 2e-5,
        "{what}: cosine {cosine}, largest difference {apart}"
    );
}

/// The cosine of two vectors; 1 where one is zero, as a static model's is for a text without tokens.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths == 0.0 { 1.0 } else { dot(a, b) / lengths }
}

/// A copy of a model folder that a test may change.
pub(crate) fn copy(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&fixtures().join(name), folder.path());
    folder
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Rewrites a JSON file.
pub(crate) fn edit(path: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let mut json = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}
