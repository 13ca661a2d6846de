//! What a model folder is.

use std::fs;
use std::path::Path;

use hpd_encoder::{DenseModule, EncodeOptions, Folder, HeadModule, Model, Prompt, Side};
use hpd_files::{Error, Result};
use serde_json::Value;

use super::Findings;

/// What the folder says of itself. The model is opened for it, so every tensor is there, of the right shape and
/// finite; with `verify`, a sentence is encoded too, and the tensors must be those that `hpd.json` names.
pub(super) fn inspect(path: &Path, verify: bool) -> Result<Findings> {
    let model = Model::open(path)?;
    let mut findings = Findings::new("model");
    describe_routes(&mut findings, &model);
    describe_transformer(&mut findings, model.folder());
    describe_head(&mut findings, model.folder());
    describe_texts(&mut findings, &model);
    findings.fact("parameters", model.parameters());
    findings.fact("stored as", if model.is_int8() { "int8" } else { "float" });
    findings.bytes("bytes", size_of_folder(path)?);
    findings.fact("weights", model.identity().weights.clone());
    findings.fact("space", model.identity().space.clone());
    if let Some(origin) = read_origin(path)? {
        findings.fact("hpd.json", origin);
    }
    if verify {
        findings.problems = problems(&model)?;
        findings.fact("whole", findings.problems.is_empty());
    }
    Ok(findings)
}

/// Where queries and documents have a model each: which the rest is about, and what the other is.
fn describe_routes(findings: &mut Findings, model: &Model) {
    let Some(folder) = model.other_folder() else { return };
    let (own, other) = match folder.side {
        Some(Side::Query) => ("documents", "model for queries"),
        _ => ("queries", "model for documents"),
    };
    findings.fact("told of here is", format!("the model for {own}"));
    let Folder { config, max_seq_length, .. } = folder;
    let (name, layers, width) =
        (config.model_type.name(), config.num_hidden_layers, config.hidden_size);
    let length = match max_seq_length {
        &usize::MAX => "texts of any length".to_owned(),
        length => format!("at most {length} tokens"),
    };
    findings.fact(other, format!("{name}, {layers} layers of {width}, {length}"));
}

fn describe_transformer(findings: &mut Findings, folder: &Folder) {
    let config = &folder.config;
    findings.fact("architecture", config.model_type.name());
    findings.fact("layers", config.num_hidden_layers);
    findings.fact("hidden width", config.hidden_size);
    if !config.model_type.is_static() {
        findings.fact("feed-forward width", config.intermediate_size);
        findings.fact("attention heads", config.num_attention_heads);
    }
    findings.fact("vocabulary", config.vocab_size);
}

fn describe_head(findings: &mut Findings, folder: &Folder) {
    let pooling: Vec<_> =
        folder.pooling.modes.iter().map(|mode| format!("{mode:?}").to_lowercase()).collect();
    findings.fact("pooling", pooling.join(" + "));
    let head: Vec<_> = folder.head.iter().map(module_in_words).collect();
    findings.fact_in_words("head", head.clone(), head.join(", "));
    findings.fact("dimensions", folder.dim());
    findings.fact("normalizes", folder.normalizes());
}

fn module_in_words(module: &HeadModule) -> String {
    match module {
        HeadModule::Normalize => "Normalize".to_owned(),
        HeadModule::Dense(DenseModule { in_features, out_features, bias, activation, .. }) => {
            let bias = if *bias { "" } else { ", no bias" };
            format!("Dense {in_features} → {out_features} ({activation:?}{bias})")
        }
    }
}

fn describe_texts(findings: &mut Findings, model: &Model) {
    let length = Some(model.max_seq_length()).filter(|length| *length < usize::MAX);
    findings.fact("max seq length", length);
    let folder = model.folder();
    let prompts: Vec<_> =
        folder.prompts.iter().map(|(name, words)| format!("{name} `{words}`")).collect();
    let words = if prompts.is_empty() { "none".to_owned() } else { prompts.join(", ") };
    let prompts = folder.prompts.iter().map(|(name, words)| (name.clone(), words.clone().into()));
    findings.fact_in_words("prompts", Value::Object(prompts.collect()), words);
    findings.fact("default prompt", folder.default_prompt_name.clone());
}

/// Bytes of all files in it and below.
pub(crate) fn size_of_folder(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).map_err(|e| Error::io("read", folder, e))? {
        let path = entry.map_err(|e| Error::io("read", folder, e))?.path();
        // Behind the links of a Hugging Face cache are the files that count.
        let metadata = fs::metadata(&path).map_err(|e| Error::io("read", &path, e))?;
        bytes += if metadata.is_dir() { size_of_folder(&path)? } else { metadata.len() };
    }
    Ok(bytes)
}

fn read_origin(folder: &Path) -> Result<Option<Value>> {
    let path = folder.join("hpd.json");
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|e| Error::model(format!("`{}` is not JSON", path.display())).caused_by(e))
}

fn problems(model: &Model) -> Result<Vec<String>> {
    // Both sides, for folders that have a model for each.
    let mut finite = true;
    for prompt in [Prompt::Query, Prompt::Document] {
        let options = EncodeOptions { prompt, ..EncodeOptions::default() };
        let encoded = model.encode(&["is this whole?"], &options)?;
        finite &= encoded.rows.data.iter().all(|number| number.is_finite());
    }
    let mut problems = Vec::new();
    if !finite {
        problems.push("a vector has a number that is not finite".to_owned());
    }
    let (written, found) = (&model.identity().weights, model.fingerprint());
    if *written != found {
        problems
            .push(format!("`hpd.json` names the weights {written}, but the tensors are {found}"));
    }
    Ok(problems)
}
