//! What a store is.

use std::fmt::Display;
use std::path::Path;

use hpd_files::Result;
use hpd_index::{Store, Summary};
use serde_json::Value;

use super::Findings;

/// A store's own account of itself; with `verify`, every page and vector is looked at.
pub(super) fn inspect(path: &Path, verify: bool) -> Result<Findings> {
    let store = Store::open_read_only(path)?;
    let mut findings = describe(store.summary()?);
    if verify {
        findings.problems = store.verify()?;
        findings.fact("whole", findings.problems.is_empty());
    }
    Ok(findings)
}

fn describe(summary: Summary) -> Findings {
    let Summary { settings, .. } = summary;
    let mut findings = Findings::new("store");
    findings.fact("documents", summary.documents);
    findings.fact("dimensions", settings.model.dim);
    findings.bytes("bytes", summary.bytes);
    if summary.code_bytes > 0 {
        findings.bytes("bytes of codes", summary.code_bytes);
    }
    findings.fact("model", settings.model.name);
    if let Some(revision) = settings.model.revision {
        findings.fact("revision", revision);
    }
    findings.fact("space", settings.model.space);
    findings.fact_in_words(
        "weights seen",
        summary.weights_seen.clone(),
        summary.weights_seen.join(", "),
    );
    setting(&mut findings, "query prompt", settings.query_prompt);
    setting(&mut findings, "document prompt", settings.document_prompt);
    setting(&mut findings, "max seq length", settings.max_seq_length);
    findings.fact("format", summary.format);
    findings.fact("created by", summary.created_by);
    let complete = if summary.complete {
        "yes"
    } else {
        "no: making it was stopped, the same `hpd index create` goes on"
    };
    findings.fact_in_words("complete", summary.complete, complete.to_owned());
    findings
}

fn setting(findings: &mut Findings, name: &'static str, value: Option<impl Into<Value> + Display>) {
    let words = value.as_ref().map_or("the model's own".to_owned(), |value| format!("`{value}`"));
    findings.fact_in_words(name, value.map_or(Value::Null, Into::into), words);
}
