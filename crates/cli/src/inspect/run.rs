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
    for (field, name) in [("status", "status"), ("output", "output"), ("results", "results")] {
        if let Some(value) = run.get(field).filter(|value| !value.is_null()) {
            findings.fact(name, value.clone());
        }
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
            Value::String(text) => format!("{name} {text}"),
            other => format!("{name} {other}"),
        })
        .collect();
    words.join(", ")
}
