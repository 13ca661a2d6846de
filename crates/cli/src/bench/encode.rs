//! `hpd bench encode`: how fast a model turns text into vectors.

use std::path::PathBuf;

use clap::Args;
use hpd_encoder::{Arithmetic, FoundModel, Tokenizer};
use hpd_eval::speed::{Settings, Texts, measure, table};
use hpd_files::Result;

use super::json;
use crate::Answer;
use crate::arguments::RecordArguments;
use crate::models::lookup;
use crate::terminal::Terminal;

const AFTER_HELP: &str = "\
Examples:
  hpd bench encode
  hpd bench encode --model student
  hpd bench encode --model student --texts sentences.txt.gz --limit 10000 --threads 1,2,4
  hpd bench encode --model student --tokens 128 --batch 1,32,1024 --json

--threads takes several numbers here, to compare them; without it one thread and all cores are
measured. Times hold tokenising, but not opening the model. Each number is the median of the
rounds, in which all cases take turns. Single sentences, spread over the texts, give p50 and p99.
GFLOP/s are those of the matrix products on a busy core, beside what products alone reach in the
same run. What one arithmetic holds in memory may still be there when the next is measured: measure
one at a time where memory matters.

All rounds, threads and batches of an arithmetic must give the same vectors, bit for bit.
Exit status: 0 they did, 1 they did not, 2 error.";

/// What `hpd bench encode` takes.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Model folder, name of a model that comes with hpd, or Hugging Face id [default: HPD_MODEL, or else the
    /// default of those that come with hpd]
    #[arg(long, short, value_name = "DIR|NAME|ID")]
    model: Option<String>,
    /// Branch, tag or commit of a Hugging Face id
    #[arg(long, value_name = "REVISION", requires = "model")]
    revision: Option<String>,
    /// Truncate texts at so many tokens [default: what the model folder says]
    #[arg(long, value_name = "TOKENS")]
    max_seq_length: Option<usize>,
    /// Texts: lines, .jsonl, .csv, .tsv or .parquet, all but the last also with .gz; - is stdin [default:
    /// 64 texts made from the model's own words]
    #[arg(long, short, value_name = "FILE|-")]
    texts: Option<PathBuf>,
    /// Only the first N texts of the file
    #[arg(long, value_name = "N", requires = "texts")]
    limit: Option<usize>,
    /// Length of the texts that are made, in tokens, special ones included
    #[arg(long, value_name = "N", default_value_t = Texts::TOKENS, conflicts_with = "texts")]
    tokens: usize,
    #[command(flatten)]
    records: RecordArguments,
    /// Numbers to compute in, `float32`, `bfloat16` or `int8`; several are compared
    #[arg(long, value_name = "ARITHMETIC,…", value_delimiter = ',', default_value = "float32")]
    arithmetic: Vec<Arithmetic>,
    /// Texts to encode at once; several numbers are compared [default: 1024, as hpd embed does]
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    batch: Vec<usize>,
    /// How often to measure everything
    #[arg(long, value_name = "N", default_value_t = Settings::ROUNDS)]
    rounds: usize,
}

/// `threads` are those of the flag, possibly none.
pub(crate) fn run(arguments: &Arguments, threads: &[usize], terminal: &Terminal) -> Result<Answer> {
    let Arguments { model, revision, max_seq_length, .. } = arguments;
    let FoundModel { name, folder } =
        lookup().find(model.as_deref(), revision.as_deref(), terminal)?;
    let texts = match &arguments.texts {
        Some(path) => Texts::read(path, &arguments.records.options(), arguments.limit)?,
        None => Texts::make(&Tokenizer::open(&folder, *max_seq_length)?, arguments.tokens)?,
    };
    let mut settings = Settings {
        max_seq_length: *max_seq_length,
        arithmetics: arguments.arithmetic.clone(),
        rounds: arguments.rounds,
        ..Settings::default()
    };
    if !threads.is_empty() {
        settings.threads = threads.to_vec();
    }
    if !arguments.batch.is_empty() {
        settings.batches = arguments.batch.clone();
    }
    let results = measure(&name, &folder, &texts, &settings, terminal)?;
    let text = if terminal.json { json(&results)? } else { table(&results) };
    terminal.print(text.trim_end())?;
    Ok(if results.same_bits { Answer::Yes } else { Answer::No })
}
