//! What a run of `hpd distill` is, and how far it has come.
//!
//! Read as plain JSON, so that a build without training can tell too.

use std::fs;
use std::path::Path;

use hpd_files::{Error, Result};
use serde_json::{Map, Value};

use super::Findings;

/// What `run.json` says, and the last line of the metrics.
pub(super) fn inspect(path: &Path) -> Result<Findings> {
    let run = read_object(&path.join("run.json"))?;
    let mut findings = Findings::new("run");
    for field in ["status", "output"] {
        if let Some(value) = run.get(field) {
            findings.fact(field, value.clone());
        }
    }
    if let Some(results) = run.get("results").filter(|value| !value.is_null()) {
        let words = ["steps", "training_seconds", "sentences_per_second"].map(|name| {
            let number = results.get(name).and_then(Value::as_f64);
            number.map_or_else(|| "?".to_owned(), |number| format!("{number:.0}"))
        });
        let [steps, seconds, speed] = words;
        let words = format!("{steps} steps in {seconds} s, {speed} sentences/s");
        findings.fact_in_words("results", results.clone(), words);
    }
    if let Some(bound) = run.get("binding") {
        findings.fact_in_words("started with", bound.clone(), in_words(bound));
    }
    if let Some(last) = last_metrics(&path.join("metrics.jsonl")) {
        findings.fact_in_words("last metrics", last.clone(), in_words(&last));
    }
    Ok(findings)
}

fn read_object(path: &Path) -> Result<Map<String, Value>> {
    let text = fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
    serde_json::from_str(&text).map_err(|e| {
        Error::input(format!("`{}` is not a JSON object", path.display())).caused_by(e)
    })
}

/// The last whole line; a killed run may have left half of one behind it.
fn last_metrics(path: &Path) -> Option<Value> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().rev().find_map(|line| serde_json::from_str(line).ok())
}

/// `name value, name value`.
fn in_words(value: &Value) -> String {
    let Value::Object(fields) = value else { return value.to_string() };
    let words: Vec<_> = fields
        .iter()
        .map(|(name, value)| match value {
            // A recipe has a file of its own.
            Value::String(text) if text.contains('\n') => {
                format!("{name} of {} lines", text.lines().count())
            }
            Value::String(text) => format!("{name} {text}"),
            other => format!("{name} {other}"),
        })
        .collect();
    words.join(", ")
}
