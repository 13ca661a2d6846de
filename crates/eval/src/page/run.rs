//! What a page tells of a training, read from the run's folder.
//!
//! Read as plain JSON: this room knows nothing of training, and a page must not fail because a run of next year
//! writes down more than one of today.

use std::path::Path;

use hpd_files::{Error, Result};
use serde_json::{Map, Value};

use crate::course::Course;

/// The longest fact; recipes and shapes are longer and stand elsewhere.
const LONGEST_FACT: usize = 200;

/// A training as it is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The folder's name.
    pub name: String,
    /// Names and values.
    pub facts: Vec<(String, String)>,
    /// Teacher, projection and student as the run measured them, below a row of names; empty while it is running.
    pub rows: Vec<Vec<String>>,
    /// What was measured on the way.
    pub course: Course,
    /// The resolved recipe.
    pub recipe: String,
}

impl Run {
    /// Reads a run's folder, whether the run is done or not.
    ///
    /// # Errors
    /// When there is no `run.json` or it is not JSON.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("run.json");
        let text = std::fs::read_to_string(&path).map_err(|e| {
            Error::io("read", &path, e).hint("a run is the folder `STUDENT.run` of `hpd distill`")
        })?;
        let run: Map<String, Value> = serde_json::from_str(&text).map_err(|e| {
            Error::input(format!("`{}` is not a JSON object", path.display())).caused_by(e)
        })?;
        let results = run.get("results").unwrap_or(&Value::Null);
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let mut facts: Vec<(String, String)> =
            run.get("status").and_then(fact("status")).into_iter().collect();
        for field in ["steps", "training_seconds", "sentences_per_second"] {
            facts.extend(results.get(field).and_then(fact(field)));
        }
        if let Some(Value::Object(bound)) = run.get("binding") {
            facts.extend(bound.iter().filter_map(|(name, value)| fact(name)(value)));
        }
        Ok(Self {
            name: name.unwrap_or_default(),
            facts,
            rows: rows(results),
            course: Course::read(&folder.join("metrics.jsonl"))?,
            // A run without its recipe still has a course.
            recipe: std::fs::read_to_string(folder.join("recipe.toml")).unwrap_or_default(),
        })
    }
}

/// A value that fits on a line.
fn fact(name: &str) -> impl Fn(&Value) -> Option<(String, String)> {
    move |value| {
        let words = match value {
            Value::String(words) => words.clone(),
            Value::Number(number) => match number.as_f64() {
                Some(whole) if whole.fract() == 0.0 => format!("{whole:.0}"),
                Some(number) => format!("{number:.1}"),
                None => number.to_string(),
            },
            Value::Object(_) | Value::Array(_) | Value::Null | Value::Bool(_) => return None,
        };
        let fits = words.len() <= LONGEST_FACT && !words.contains('\n');
        fits.then(|| (name.replace('_', " "), words))
    }
}

fn rows(results: &Value) -> Vec<Vec<String>> {
    let Some(rows) = results.get("rows").and_then(Value::as_array) else { return Vec::new() };
    let header = ["", "dim", "similarities", "neighbours", "cosine to target", "dev STS"];
    let row = |row: &Value| {
        let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let hundred = |value: &Value| {
            value.as_f64().map_or_else(|| "–".to_owned(), |score| format!("{:.2}", 100.0 * score))
        };
        let held_back = &row["held_back"];
        vec![
            words(&row["name"]),
            row["dim"].to_string(),
            hundred(&held_back["spearman"]),
            hundred(&held_back["recall_at_10"]),
            hundred(&held_back["cosine"]),
            hundred(&row["dev_sts"]),
        ]
    };
    std::iter::once(header.map(str::to_owned).to_vec()).chain(rows.iter().map(row)).collect()
}
