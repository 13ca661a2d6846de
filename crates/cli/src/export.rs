//! `hpd export`.

use std::path::{Path, PathBuf};

use clap::Args;
use hpd_encoder::convert::{Conversion, average, convert, quantize};
use hpd_encoder::pair::pair;
use hpd_files::Result;
use serde_json::json;

use crate::Answer;
use crate::inspect;
use crate::models::lookup;
use crate::terminal::Terminal;

/// What `hpd export` takes.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Model folder, old or new layout, safetensors or pytorch_model.bin, name of a model that comes with hpd, or
    /// Hugging Face id [default: HPD_MODEL, or else the default of those that come with hpd]
    #[arg(value_name = "DIR|NAME|ID")]
    model: Option<String>,
    /// Branch, tag or commit of a Hugging Face id
    #[arg(long, value_name = "REVISION", requires = "model")]
    revision: Option<String>,
    /// Folder to write
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Store the weights in 8 bits: a quarter of the size, for hpd alone
    #[arg(long)]
    int8: bool,
    /// Write the model as ONNX, with its head inside: for browsers, phones and servers that run nothing else
    #[cfg(feature = "onnx")]
    #[arg(long, conflicts_with_all = ["int8", "average", "documents"])]
    onnx: bool,
    /// Project the model, a teacher, as this run projected it, into the space of the run's students: documents may
    /// then be embedded by the teacher and queries by a student
    #[cfg(feature = "distill")]
    #[arg(long, value_name = "STUDENT.run", conflicts_with_all = ["int8", "average", "documents"])]
    #[cfg_attr(feature = "onnx", arg(conflicts_with = "onnx"))]
    project: Option<PathBuf>,
    /// Take the mean of its weights and those of these models, which began as the same and went on over other text or
    /// in another order: mostly better than each of them, and no larger
    #[arg(long, value_name = "DIR|NAME|ID", num_args = 1..)]
    average: Vec<String>,
    /// Put this model of the same space beside it, in one folder: the one is for queries, this one for documents
    #[arg(long, value_name = "DIR|NAME|ID", conflicts_with = "average")]
    documents: Option<String>,
    /// Replace the output folder if it is there
    #[arg(long)]
    overwrite: bool,
}

const AFTER_HELP: &str = "\
Writes the model as one folder that hpd, sentence-transformers and text-embeddings-inference open
alike. No code of a pytorch_model.bin is run: only its tensors are read. With --int8 only hpd opens
the folder; its vectors are near the model's own and in the same space. Export it again without
--int8 and it is for everyone. With --onnx the folder has onnx/model.onnx and the tokenizer's files,
laid out as transformers.js, fastembed and text-embeddings-inference look for them; its output
sentence_embedding is the vector.

Examples:
  hpd export Xuandong/HPD-MiniLM-F128 --output hpd-minilm
  hpd export old-model --output new-model --overwrite
  hpd export student --int8 --output student-int8
  hpd export student-int8 --output student-again
  hpd export --output for-python
  hpd export student --onnx --output student-onnx
  hpd export teacher --project student.run --output teacher-128
  hpd export student --documents teacher-128 --output pair
  hpd export student --average student-again student-of-another-seed --output mean";

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Answer> {
    let Arguments { model, revision, .. } = arguments;
    let source = lookup().find(model.as_deref(), revision.as_deref(), terminal)?.folder;
    let conversion = arguments.write(&source, terminal)?;
    let bytes = inspect::size_of_folder(&arguments.output)?;
    terminal.print(&if terminal.json {
        to_json(&conversion, bytes)
    } else {
        to_text(&conversion, bytes, arguments)
    })?;
    Ok(Answer::Yes)
}

impl Arguments {
    fn write(&self, source: &Path, terminal: &Terminal) -> Result<Conversion> {
        #[cfg(feature = "distill")]
        if let Some(run) = &self.project {
            return hpd_distill::projected::export(source, run, &self.output, self.overwrite);
        }
        #[cfg(feature = "onnx")]
        if self.onnx {
            return hpd_encoder::onnx::export(source, &self.output, self.overwrite);
        }
        if !self.average.is_empty() {
            let others = self.average.iter();
            let others = others.map(|name| Ok(lookup().find(Some(name), None, terminal)?.folder));
            let others = others.collect::<Result<Vec<_>>>()?;
            let sources = [&[source.to_owned()], others.as_slice()].concat();
            return average(&sources, &self.output, self.overwrite, self.int8);
        }
        if let Some(name) = &self.documents {
            let documents = lookup().find(Some(name), None, terminal)?.folder;
            return pair(source, &documents, &self.output, self.overwrite, self.int8);
        }
        let write = if self.int8 { quantize } else { convert };
        write(source, &self.output, self.overwrite)
    }
}

fn to_text(conversion: &Conversion, bytes: u64, arguments: &Arguments) -> String {
    let Conversion { identity, dim, parameters, dropped } = conversion;
    let mut text = format!(
        "{}: {dim} dimensions, {:.1} million parameters, {}, space {}",
        arguments.output.display(),
        *parameters as f64 / 1e6,
        inspect::in_megabytes(bytes),
        identity.space
    );
    if !dropped.is_empty() {
        text += &format!("\nleft out, not part of the encoder: {}", dropped.join(", "));
    }
    text
}

fn to_json(conversion: &Conversion, bytes: u64) -> String {
    let Conversion { identity, dim, parameters, dropped } = conversion;
    json!({
        "dim": dim,
        "parameters": parameters,
        "bytes": bytes,
        "weights": identity.weights,
        "space": identity.space,
        "dropped": dropped,
    })
    .to_string()
}
