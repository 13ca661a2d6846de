//! `hpd export`.

use std::path::PathBuf;

use clap::Args;
use hpd_encoder::convert::{Conversion, convert};
use hpd_files::Result;
use serde_json::json;

use crate::Answer;
use crate::arguments::model_folder;
use crate::terminal::Terminal;

/// What `hpd export` takes.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Model folder or Hugging Face id, old or new layout, safetensors or pytorch_model.bin
    #[arg(value_name = "DIR|ID")]
    model: String,
    /// Branch, tag or commit of a Hugging Face id
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Folder to write
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Replace the output folder if it is there
    #[arg(long)]
    overwrite: bool,
}

const AFTER_HELP: &str = "\
Writes the model as one folder that hpd, sentence-transformers and text-embeddings-inference open alike. No
code of a pytorch_model.bin is run: only its tensors are read.

Examples:
  hpd export Xuandong/HPD-MiniLM-F128 --output hpd-minilm
  hpd export old-model --output new-model --overwrite";

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Answer> {
    let source = model_folder(&arguments.model, arguments.revision.as_deref())?;
    let conversion = convert(&source, &arguments.output, arguments.overwrite)?;
    terminal.print(&if terminal.json {
        to_json(&conversion)
    } else {
        to_text(&conversion, arguments)
    })?;
    Ok(Answer::Yes)
}

fn to_text(conversion: &Conversion, arguments: &Arguments) -> String {
    let Conversion { identity, dim, parameters, dropped } = conversion;
    let mut text = format!(
        "{}: {dim} dimensions, {:.1} million parameters, space {}",
        arguments.output.display(),
        *parameters as f64 / 1e6,
        identity.space
    );
    if !dropped.is_empty() {
        text += &format!("\nleft out, not part of the encoder: {}", dropped.join(", "));
    }
    text
}

fn to_json(conversion: &Conversion) -> String {
    let Conversion { identity, dim, parameters, dropped } = conversion;
    json!({
        "dim": dim,
        "parameters": parameters,
        "weights": identity.weights,
        "space": identity.space,
        "dropped": dropped,
    })
    .to_string()
}
