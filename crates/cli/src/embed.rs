//! `hpd embed`: texts in, a file of vectors out, one row for each record.
//!
//! To a file: blocks of texts are encoded into a [`Spool`] beside the output, which is written from it at the end. A
//! stopped run resumes from the spool. To standard output: each block is printed when it is done.

mod ranges;
mod texts;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use hpd_encoder::{EncodeOptions, Model, Precision, Prompt, Quantizer, Ranges};
use hpd_files::records::{Records, Source};
use hpd_files::spool::{Settings, Spool, Standing};
use hpd_files::vectors::{VectorFormat, VectorWriter, write_json_lines};
use hpd_files::{Error, Progress, Result, interrupt};
use serde::Serialize;

use crate::Answer;
use crate::arguments::{ModelArguments, RecordArguments};
use crate::terminal::{Terminal, stdout_failed};

use ranges::RangeArguments;
use texts::EncodedTexts;

/// How much work a kill may cost. The first block is kept at once: a run that is killed soon and often goes on too.
const ACKNOWLEDGE_EVERY: Duration = Duration::from_secs(5);

/// What `hpd embed` takes.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Texts: lines, .jsonl, .csv, .tsv or .parquet, all but the last also with .gz; - is stdin
    #[arg(long, short, value_name = "FILE|-", num_args = 1.., required = true)]
    input: Vec<PathBuf>,
    /// File of vectors: .npy, .jsonl or .parquet; - prints JSON lines to stdout
    #[arg(long, short, value_name = "FILE|-")]
    output: PathBuf,
    /// Format of the output: npy, jsonl or parquet [default: told by its name]
    #[arg(long, value_name = "FORMAT")]
    output_format: Option<VectorFormat>,
    #[command(flatten)]
    records: RecordArguments,
    #[command(flatten)]
    prompt: PromptArguments,
    /// Keep the first so many numbers of each vector
    #[arg(long, value_name = "N")]
    dimensions: Option<usize>,
    /// Bring vectors to length 1 even if the model does not
    #[arg(long)]
    normalize: bool,
    /// Numbers in the output: float32, int8, uint8, binary or ubinary
    #[arg(long, value_name = "PRECISION", default_value_t)]
    precision: Precision,
    #[command(flatten)]
    ranges: RangeArguments,
    /// Go on where the same command was stopped
    #[arg(long)]
    resume: bool,
    /// Replace the output if it is there, and drop what a stopped command has left
    #[arg(long)]
    overwrite: bool,
}

const AFTER_HELP: &str = "\
Examples:
  hpd embed --input sentences.txt --output vectors.npy
  hpd embed --model student --input sentences.txt --output vectors.npy
  hpd embed --model student --input a.jsonl b.jsonl.gz --output vectors.parquet
  hpd embed --model student --input articles.csv --text-field body --output vectors.jsonl --precision int8
  echo 'the fear of spiders' | hpd embed --query --input - --output -

Each record gives one row, in order; an empty text gives one too. A text line is a record, even an empty
one. .npy holds vectors alone; .jsonl and .parquet also the ids. If the command was stopped, run it again
with --resume: the output is then the same as if it had never been stopped.";

/// What stands in front of each text.
#[derive(Args, Debug)]
#[group(id = "prompts", multiple = false)]
struct PromptArguments {
    /// Put the model's prompt of this name in front of each text [default: the model's default prompt]
    #[arg(long, value_name = "NAME")]
    prompt: Option<String>,
    /// Put these words in front of each text
    #[arg(long, value_name = "TEXT")]
    prompt_text: Option<String>,
    /// The texts are queries: use the model's prompt for them, if it has one, and its encoder of queries, if it has two
    #[arg(long)]
    query: bool,
    /// The texts are documents: use the model's prompt for them, if it has one, and its encoder of documents, if it has two
    #[arg(long)]
    document: bool,
}

impl PromptArguments {
    fn prompt(&self) -> Prompt {
        match (&self.prompt, &self.prompt_text) {
            (Some(name), _) => Prompt::Named(name.clone()),
            (_, Some(text)) => Prompt::Text(text.clone()),
            _ if self.query => Prompt::Query,
            _ if self.document => Prompt::Document,
            _ => Prompt::Default,
        }
    }
}

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Answer> {
    let started = Instant::now();
    let to_stdout = arguments.output.as_os_str() == "-";
    if to_stdout {
        check_stdout(arguments)?
    } else {
        check_output(arguments)?
    }
    let sources: Vec<Source> = arguments.input.iter().cloned().map(Source::from).collect();
    let records = Records::open_all(&sources, &arguments.records.options())?;
    let prompt = arguments.prompt.prompt();
    let (_, model) = arguments.model.open(prompt.side(), terminal)?;
    let options = EncodeOptions {
        prompt,
        normalize: arguments.normalize,
        dimensions: arguments.dimensions,
        ..EncodeOptions::default()
    };
    // Finds an unknown prompt or too many dimensions before anything is written.
    model.encode::<&str>(&[], &options)?;
    let width = arguments.dimensions.unwrap_or(model.dim());
    let ranges = arguments.ranges.given(arguments.precision, width, terminal)?;
    let mut texts = EncodedTexts::new(&model, options, records);

    terminal.stage("embedding", None);
    let (rows, new_rows) = if to_stdout {
        print_vectors(&mut texts, arguments, width, ranges.as_ref(), terminal)?
    } else {
        let settings = settings(arguments, &model);
        write_vectors(&mut texts, arguments, settings, width, ranges, terminal)?
    };
    terminal.finish();
    let Standing { bad, truncated, .. } = texts.standing();
    let seconds = started.elapsed().as_secs_f64();
    let summary = Summary {
        rows,
        dimensions: width,
        precision: arguments.precision.to_string(),
        truncated,
        bad,
        seconds,
        rows_per_second: new_rows as f64 / seconds,
    };
    summary.report(arguments, model.max_seq_length(), terminal)?;
    Ok(Answer::Yes)
}

fn check_stdout(arguments: &Arguments) -> Result<()> {
    let refusal = if arguments.resume {
        "`--resume` needs an output file; what was printed cannot be found again"
    } else if arguments.output_format.is_some_and(|format| format != VectorFormat::JsonLines) {
        "only JSON lines can be printed to stdout"
    } else if arguments.precision.needs_ranges() && !arguments.ranges.are_given() {
        "the ranges of int8 and uint8 come from all vectors, so they must be given when vectors are printed"
    } else {
        return Ok(());
    };
    Err(Error::input(refusal).hint("name a file: `--output vectors.npy`"))
}

/// Refuses to lose a file or the work of hours, before the model is even opened.
fn check_output(arguments: &Arguments) -> Result<()> {
    let (path, name) = (&arguments.output, arguments.output.display());
    format_of_output(arguments)?;
    if path.exists() && !arguments.overwrite {
        return Err(Error::input(format!("`{name}` is there already"))
            .hint("replace it with `--overwrite`, or name another file"));
    }
    if Spool::exists(path) && !arguments.resume && !arguments.overwrite {
        let begun = format!("an earlier command that writes `{name}` was stopped, or is at work");
        return Err(
            Error::input(begun).hint("go on with `--resume`, or start again with `--overwrite`")
        );
    }
    Ok(())
}

fn format_of_output(arguments: &Arguments) -> Result<VectorFormat> {
    arguments.output_format.map_or_else(|| VectorFormat::of(&arguments.output), Ok)
}

/// What the rows depend on besides the texts. Precision is not among them: it is applied at the end.
fn settings(arguments: &Arguments, model: &Model) -> Settings {
    let records = arguments.records.options();
    let or_default = |value: Option<String>| value.unwrap_or_else(|| "the default".to_owned());
    let settings = [
        ("the model's weights", model.identity().weights.clone()),
        ("--max-seq-length", model.max_seq_length().to_string()),
        ("--arithmetic", model.arithmetic().to_string()),
        ("the prompt", format!("{:?}", arguments.prompt.prompt())),
        ("--dimensions", or_default(arguments.dimensions.map(|n| n.to_string()))),
        ("--normalize", arguments.normalize.to_string()),
        ("--format", or_default(records.format.map(|format| format!("{format:?}")))),
        ("--id-field", or_default(records.id_field)),
        ("--text-field", records.text_field),
        ("--skip-bad", records.skip_bad.to_string()),
    ];
    settings.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Prints each block as soon as it is encoded; tells the rows.
fn print_vectors(
    texts: &mut EncodedTexts<'_>,
    arguments: &Arguments,
    width: usize,
    ranges: Option<&Ranges>,
    terminal: &Terminal,
) -> Result<(u64, u64)> {
    let quantizer = Quantizer::new(arguments.precision, width, ranges)?;
    let width = arguments.precision.width(width);
    let mut stdout = BufWriter::new(io::stdout().lock());
    let mut rows = 0;
    while let Some((ids, vectors)) = texts.next_block()? {
        write_json_lines(&mut stdout, &ids, &quantizer.quantize(&vectors), width)
            .and_then(|()| stdout.flush())
            .map_err(stdout_failed)?;
        rows += ids.len() as u64;
        terminal.advance(ids.len() as u64);
        interrupt::check(&format!("{rows} rows were printed"))?;
    }
    Ok((rows, rows))
}

/// Encodes into a spool and makes the output of it; tells the rows, and how many of them are new.
fn write_vectors(
    texts: &mut EncodedTexts<'_>,
    arguments: &Arguments,
    settings: Settings,
    width: usize,
    ranges: Option<Ranges>,
    terminal: &Terminal,
) -> Result<(u64, u64)> {
    let output = &arguments.output;
    let mut spool = if arguments.resume && Spool::exists(output) {
        let spool = Spool::resume(output, &settings, width)?;
        texts.catch_up(spool.standing())?;
        terminal.note(&format!("going on after {} rows", spool.rows()));
        spool
    } else {
        Spool::start(output, settings, width, &texts.standing())?
    };
    let before = spool.rows();
    terminal.advance(before);
    fill(&mut spool, texts, terminal)?;
    terminal.stage("writing", Some(spool.rows()));
    write_output(&spool, arguments, width, ranges, terminal)?;
    let rows = spool.rows();
    spool.remove()?;
    Ok((rows, rows - before))
}

/// Encodes all texts into the spool. Whatever goes wrong, the blocks that are done stay.
fn fill(spool: &mut Spool, texts: &mut EncodedTexts<'_>, terminal: &Terminal) -> Result<()> {
    let mut standing = texts.standing();
    let outcome = append_all(spool, texts, &mut standing, terminal);
    let kept = spool.acknowledge(&standing);
    outcome.and(kept)
}

/// `standing` is where the last appended block ends, however this ends.
fn append_all(
    spool: &mut Spool,
    texts: &mut EncodedTexts<'_>,
    standing: &mut Standing,
    terminal: &Terminal,
) -> Result<()> {
    let mut acknowledged = None::<Instant>;
    while let Some((ids, rows)) = texts.next_block()? {
        spool.append(&ids, &rows)?;
        *standing = texts.standing();
        terminal.advance(ids.len() as u64);
        interrupt::check(&format!("{} rows are kept, `--resume` goes on with them", spool.rows()))?;
        if acknowledged.is_none_or(|then| then.elapsed() > ACKNOWLEDGE_EVERY) {
            spool.acknowledge(standing)?;
            acknowledged = Some(Instant::now());
        }
    }
    // There may be bad records behind the last block.
    *standing = texts.standing();
    Ok(())
}

fn write_output(
    spool: &Spool,
    arguments: &Arguments,
    width: usize,
    ranges: Option<Ranges>,
    terminal: &Terminal,
) -> Result<()> {
    let (output, precision) = (&arguments.output, arguments.precision);
    let ranges = match ranges {
        None if precision.needs_ranges() => Some(ranges::of_all(spool, width, terminal)?),
        given => given,
    };
    let quantizer = Quantizer::new(precision, width, ranges.as_ref())?;
    let format = format_of_output(arguments)?;
    let mut writer =
        VectorWriter::create(output, format, precision.element(), precision.width(width))?;
    for block in spool.blocks()? {
        let (ids, rows) = block?;
        writer.write(&ids, &quantizer.quantize(&rows))?;
        terminal.advance(ids.len() as u64);
        interrupt::check("all rows are kept, `--resume` writes the output")?;
    }
    let Some(ranges) = ranges else { return writer.finish().map(drop) };
    // That there are no ranges is noticed, that they are of other vectors is not.
    ranges::remove_others_beside(output, &ranges)?;
    writer.finish()?;
    ranges::write_beside(output, &ranges)
}

/// What was done.
#[derive(Serialize)]
struct Summary {
    rows: u64,
    dimensions: usize,
    precision: String,
    truncated: u64,
    bad: u64,
    seconds: f64,
    rows_per_second: f64,
}

impl Summary {
    /// JSON goes to stdout unless vectors went there.
    fn report(
        &self,
        arguments: &Arguments,
        max_seq_length: usize,
        terminal: &Terminal,
    ) -> Result<()> {
        if terminal.json {
            let json = serde_json::to_string(self)
                .map_err(|e| Error::input("cannot write the summary").caused_by(e))?;
            if arguments.output.as_os_str() != "-" {
                return terminal.print(&json);
            }
            terminal.say(&json);
            return Ok(());
        }
        if self.truncated > 0 {
            let count = self.truncated;
            terminal.say(&format!(
                "texts longer than {max_seq_length} tokens, which lost their end: {count}"
            ));
        }
        if self.bad > 0 {
            terminal.say(&format!("bad records left out: {}", self.bad));
        }
        terminal.say(&format!(
            "{} rows of {} numbers ({}) to {} in {:.1} s, {:.0} texts/s",
            self.rows,
            self.dimensions,
            self.precision,
            name_of(&arguments.output),
            self.seconds,
            self.rows_per_second
        ));
        Ok(())
    }
}

fn name_of(output: &Path) -> String {
    if output.as_os_str() == "-" { "stdout".to_owned() } else { format!("`{}`", output.display()) }
}
