//! `hpd index`: makes a store of documents, adds to it, deletes from it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hpd_files::records::{Record, RecordOptions, Records, Source};
use hpd_files::{Progress, Result};
use hpd_index::{Document, Filter, Indexed, Store, index_documents};
use serde::Serialize;

use crate::Answer;
use crate::arguments::{ModelArguments, RecordArguments};
use crate::store_encoder::{StoreArguments, StoreEncoder};
use crate::terminal::Terminal;

/// What `hpd index` takes.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, Subcommand)]
enum Deed {
    /// Make a store for the vectors of one model, and fill it
    #[command(after_help = CREATE_HELP)]
    Create(CreateArguments),
    /// Add documents; one whose id is there already is replaced
    #[command(after_help = ADD_HELP)]
    Add(AddArguments),
    /// Delete documents by id, or all that match a filter
    #[command(after_help = DELETE_HELP)]
    Delete(DeleteArguments),
}

const CREATE_HELP: &str = "\
Examples:
  hpd index create --store notes.hpd --model student --input notes.jsonl
  hpd index create --store notes.hpd --model sentence-transformers/all-MiniLM-L6-v2

A store is a folder with an SQLite database. It is bound to the model's space: later only models whose
vectors may be compared with those in it are taken. If the command was stopped, run it again: it goes on.";

const ADD_HELP: &str = "\
Examples:
  hpd index add --store notes.hpd --input notes.jsonl
  hpd index add --store notes.hpd --input articles.csv --id-field url --text-field body
  some-command | hpd index add --store notes.hpd --input -

Every field but id and text is kept as metadata. A record without an id, such as a line of a text file, is
named by the fingerprint of its contents: adding it again changes nothing, and an empty one is left out.
A document whose text is in the store already is not embedded again. What was added is safe on disk in steps
of 512 documents; if the command was stopped, run it again: it goes on.";

const DELETE_HELP: &str = "\
Examples:
  hpd index delete --store notes.hpd spider storm
  hpd index delete --store notes.hpd --filter \"year < 1990 OR source = 'draft'\"

`hpd search --help` tells how filters are written.
Exit status: 0 some were there, 1 none was there, 2 error.";

#[derive(Args, Debug)]
struct CreateArguments {
    /// Folder of the store, not there yet
    #[arg(long, short, value_name = "DIR")]
    store: PathBuf,
    #[command(flatten)]
    model: ModelArguments,
    /// Words in front of each query [default: the model's query prompt]
    #[arg(long, value_name = "TEXT")]
    query_prompt: Option<String>,
    /// Words in front of each document [default: the model's document prompt]
    #[arg(long, value_name = "TEXT")]
    document_prompt: Option<String>,
    /// Documents to begin with: text lines, .jsonl, .csv, .tsv or .parquet, each also with .gz; - is stdin
    #[arg(long, short, value_name = "FILE", num_args = 1..)]
    input: Vec<PathBuf>,
    #[command(flatten)]
    filling: FillingArguments,
}

#[derive(Args, Debug)]
struct AddArguments {
    #[command(flatten)]
    store: StoreArguments,
    /// Documents to add: text lines, .jsonl, .csv, .tsv or .parquet, each also with .gz; - is stdin
    #[arg(long, short, value_name = "FILE", num_args = 1.., required = true)]
    input: Vec<PathBuf>,
    #[command(flatten)]
    filling: FillingArguments,
}

#[derive(Args, Debug)]
struct FillingArguments {
    #[command(flatten)]
    records: RecordArguments,
    /// Let the database grow to so many pages only, to test full disks
    #[arg(long, value_name = "PAGES", env = "HPD_STORE_PAGES", hide = true)]
    max_pages: Option<u32>,
}

#[derive(Args, Debug)]
struct DeleteArguments {
    /// Folder of the store
    #[arg(long, short, value_name = "DIR")]
    store: PathBuf,
    /// Ids of the documents
    #[arg(value_name = "ID", required_unless_present_any = ["ids", "filter"])]
    id: Vec<String>,
    /// File with one id a line; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "id")]
    ids: Option<PathBuf>,
    /// All documents whose metadata matches
    #[arg(long, value_name = "FILTER", conflicts_with_all = ["id", "ids"])]
    filter: Option<String>,
}

/// What `create` and `add` report.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    indexed: Indexed,
    truncated: usize,
    skipped_bad: u64,
    documents: u64,
}

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Answer> {
    match &arguments.deed {
        Deed::Create(arguments) => create(arguments, terminal),
        Deed::Add(arguments) => add(arguments, terminal),
        Deed::Delete(arguments) => delete(arguments, terminal),
    }
}

fn create(arguments: &CreateArguments, terminal: &Terminal) -> Result<Answer> {
    let CreateArguments { model, query_prompt, document_prompt, .. } = arguments;
    let records = open_records(&arguments.input, &arguments.filling)?;
    let (query_prompt, document_prompt) = (query_prompt.clone(), document_prompt.clone());
    let encoder = StoreEncoder::for_new_store(model, query_prompt, document_prompt, terminal)?;
    let mut store = Store::create_or_continue(&arguments.store, encoder.settings())?;
    fill(&mut store, encoder, records, &arguments.filling, terminal)?;
    store.set_complete()?;
    Ok(Answer::Yes)
}

fn add(arguments: &AddArguments, terminal: &Terminal) -> Result<Answer> {
    let mut store = Store::open(&arguments.store.store)?;
    let records = open_records(&arguments.input, &arguments.filling)?;
    let encoder = StoreEncoder::for_store(&store, &arguments.store, terminal)?;
    store.remember_model(&encoder.settings().model)?;
    fill(&mut store, encoder, records, &arguments.filling, terminal)?;
    Ok(Answer::Yes)
}

fn open_records(input: &[PathBuf], filling: &FillingArguments) -> Result<Records> {
    let sources: Vec<Source> = input.iter().cloned().map(Source::from).collect();
    Records::open_all(&sources, &filling.records.options())
}

fn fill(
    store: &mut Store,
    mut encoder: StoreEncoder,
    mut records: Records,
    filling: &FillingArguments,
    terminal: &Terminal,
) -> Result<()> {
    if let Some(pages) = filling.max_pages {
        store.limit_pages(pages)?;
    }
    terminal.stage("indexing", None);
    let documents = records
        .by_ref()
        .filter(|record| !record.as_ref().is_ok_and(is_nothing))
        .map(|record| record.map(Document::from));
    let indexed =
        index_documents(store, documents, |texts| encoder.encode_documents(texts), terminal)?;
    terminal.finish();
    let (truncated, skipped_bad) = (encoder.truncated(), records.bad());
    Report { indexed, truncated, skipped_bad, documents: store.len()? }.print(terminal)
}

/// An empty line: no text, and no name under which it could be asked for.
fn is_nothing(record: &Record) -> bool {
    record.id.is_none() && record.text.trim().is_empty()
}

impl Report {
    fn print(&self, terminal: &Terminal) -> Result<()> {
        if self.truncated > 0 {
            let truncated = self.truncated;
            terminal.say(&format!(
                "{truncated} texts were longer than the model takes and lost their end"
            ));
        }
        if self.skipped_bad > 0 {
            terminal.say(&format!("{} bad records were skipped", self.skipped_bad));
        }
        if terminal.json {
            return terminal.print(&to_json(self));
        }
        let Indexed { added, replaced, updated, unchanged } = self.indexed;
        terminal.print(&format!(
            "{added} added, {replaced} replaced, {updated} with new metadata, {unchanged} unchanged; {} documents in all",
            self.documents
        ))
    }
}

fn delete(arguments: &DeleteArguments, terminal: &Terminal) -> Result<Answer> {
    let filter = arguments.filter.as_deref().map(str::parse::<Filter>).transpose()?;
    let mut store = Store::open(&arguments.store)?;
    let (deleted, asked) = if let Some(filter) = &filter {
        (store.delete_matching(filter)?, String::new())
    } else {
        let ids = arguments.ids.as_deref().map_or_else(|| Ok(arguments.id.clone()), ids_in)?;
        (store.delete(&ids)?, format!(" of {}", ids.len()))
    };
    let documents = store.len()?;
    terminal.print(&if terminal.json {
        serde_json::json!({"deleted": deleted, "documents": documents}).to_string()
    } else {
        format!("{deleted}{asked} deleted; {documents} documents remain")
    })?;
    Ok(if deleted == 0 { Answer::No } else { Answer::Yes })
}

fn ids_in(file: &std::path::Path) -> Result<Vec<String>> {
    let options = RecordOptions {
        format: Some(hpd_files::records::Format::Lines),
        ..RecordOptions::default()
    };
    let lines = Records::open(&Source::from(file.to_owned()), &options)?;
    let ids = lines.map(|line| line.map(|line| line.text)).collect::<Result<Vec<_>>>()?;
    Ok(ids.into_iter().filter(|id| !id.is_empty()).collect())
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
