//! `hpd index`: makes a store of documents, adds to it, deletes from it, and keeps it in order.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hpd_encoder::Side;
use hpd_files::records::{Record, RecordOptions, Records, Source};
use hpd_files::vectors::DocumentWriter;
use hpd_files::{Error, Progress, Result};
use hpd_index::{Compacted, Document, Durability, Filter, Indexed, Store, index_documents};
use hpd_texts::{Prompts, StoreEncoder};
use serde::Serialize;

use crate::Answer;
use crate::arguments::{ModelArguments, RecordArguments};
use crate::inspect::in_megabytes;
use crate::models::lookup;
use crate::store_arguments::StoreArguments;
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
    /// Give back the room of what was deleted, and derive the codes anew
    #[command(after_help = COMPACT_HELP)]
    Compact(FolderArguments),
    /// Look at every byte of the database and its codes
    #[command(after_help = "Exit status: 0 whole, 1 not whole, 2 error.")]
    Verify(FolderArguments),
    /// Write all documents with their vectors to one file
    #[command(after_help = EXPORT_HELP)]
    Export(ExportArguments),
    /// Embed all documents anew with another model
    #[command(after_help = RE_EMBED_HELP)]
    ReEmbed(ReEmbedArguments),
}

const COMPACT_HELP: &str = "\
Needs room for a second copy of the database. Others may search meanwhile; whoever adds or deletes waits.
If it was stopped, the store is as it was.";

const EXPORT_HELP: &str = "\
Examples:
  hpd index export --store notes.hpd --output notes.parquet
  hpd index export --store notes.hpd --output notes.jsonl

Columns, or fields of each line, are id, text, metadata (in .parquet a string of JSON) and embedding.";

const RE_EMBED_HELP: &str = "\
Example:
  hpd index re-embed --store notes.hpd --model better-student

The store stays as it is, and may be searched, until every document has its new vector; then it is of the new
model. If the command was stopped, run it again: it goes on. The prompts and the length limit are those given
here, not those the store had.";

const CREATE_HELP: &str = "\
Examples:
  hpd index create --store notes.hpd --input notes.jsonl
  hpd index create --store notes.hpd --model student --input notes.jsonl
  hpd index create --store notes.hpd --model sentence-transformers/all-MiniLM-L6-v2

A store is a folder with an SQLite database and codes derived from it. It is bound to the model's
space: later only models whose vectors may be compared with those in it are taken. If the command
was stopped, run it again: it goes on.";

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

/// What changes survive, for every verb that makes some.
#[derive(Args, Debug)]
struct DurabilityArguments {
    /// What an answered change survives: full, a power cut too; normal, only the end of the process
    #[arg(long, value_name = "DURABILITY", default_value_t)]
    durability: Durability,
}

#[derive(Args, Debug)]
struct CreateArguments {
    /// Folder of the store, not there yet
    #[arg(long, short, value_name = "DIR")]
    store: PathBuf,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    prompts: PromptArguments,
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
    #[command(flatten)]
    durability: DurabilityArguments,
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
    #[command(flatten)]
    durability: DurabilityArguments,
}

/// What `compact` and `verify` take.
#[derive(Args, Debug)]
struct FolderArguments {
    /// Folder of the store
    #[arg(long, short, value_name = "DIR")]
    store: PathBuf,
}

#[derive(Args, Debug)]
struct ExportArguments {
    /// Folder of the store
    #[arg(long, short, value_name = "DIR")]
    store: PathBuf,
    /// File to write: .parquet or .jsonl
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Replace the output if it is there
    #[arg(long)]
    overwrite: bool,
}

#[derive(Args, Debug)]
struct ReEmbedArguments {
    /// Folder of the store
    #[arg(long, short, value_name = "DIR")]
    store: PathBuf,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    prompts: PromptArguments,
    #[command(flatten)]
    durability: DurabilityArguments,
}

/// What stands in front of texts.
#[derive(Args, Debug)]
struct PromptArguments {
    /// Words in front of each query [default: the model's query prompt]
    #[arg(long, value_name = "TEXT")]
    query_prompt: Option<String>,
    /// Words in front of each document [default: the model's document prompt]
    #[arg(long, value_name = "TEXT")]
    document_prompt: Option<String>,
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
        Deed::Compact(arguments) => compact(arguments, terminal),
        Deed::Verify(arguments) => verify(arguments, terminal),
        Deed::Export(arguments) => export(arguments, terminal),
        Deed::ReEmbed(arguments) => re_embed(arguments, terminal),
    }
}

fn create(arguments: &CreateArguments, terminal: &Terminal) -> Result<Answer> {
    let records = open_records(&arguments.input, &arguments.filling)?;
    let encoder = arguments.prompts.encoder(&arguments.model, terminal)?;
    let mut store = Store::create_or_continue(&arguments.store, encoder.settings())?;
    fill(&mut store, &encoder, records, &arguments.filling, terminal)?;
    store.set_complete()?;
    Ok(Answer::Yes)
}

impl PromptArguments {
    /// The model for vectors of a kind that no store has yet.
    fn encoder(&self, model: &ModelArguments, terminal: &Terminal) -> Result<StoreEncoder> {
        let Self { query_prompt, document_prompt } = self;
        let prompts = Prompts { query: query_prompt.clone(), document: document_prompt.clone() };
        StoreEncoder::for_new_store(&lookup(), &model.choice(), prompts, terminal)
    }
}

fn add(arguments: &AddArguments, terminal: &Terminal) -> Result<Answer> {
    let mut store = Store::open(&arguments.store.store)?;
    let records = open_records(&arguments.input, &arguments.filling)?;
    let encoder = arguments.store.encoder(&store, Side::Document, terminal)?;
    store.remember_model(&encoder.settings().model)?;
    fill(&mut store, &encoder, records, &arguments.filling, terminal)?;
    Ok(Answer::Yes)
}

fn open_records(input: &[PathBuf], filling: &FillingArguments) -> Result<Records> {
    let sources: Vec<Source> = input.iter().cloned().map(Source::from).collect();
    Records::open_all(&sources, &filling.records.options())
}

fn fill(
    store: &mut Store,
    encoder: &StoreEncoder,
    mut records: Records,
    filling: &FillingArguments,
    terminal: &Terminal,
) -> Result<()> {
    if let Some(pages) = filling.max_pages {
        store.limit_pages(pages)?;
    }
    store.set_durability(filling.durability.durability)?;
    terminal.stage("indexing", None);
    let documents = records
        .by_ref()
        .filter(|record| !record.as_ref().is_ok_and(is_nothing))
        .map(|record| record.map(Document::from));
    let mut truncated = 0;
    let encode = |texts: &[&str]| {
        let encoded = encoder.encode_documents(texts)?;
        truncated += encoded.truncated;
        Ok(encoded.rows)
    };
    let indexed = index_documents(store, documents, encode, terminal)?;
    terminal.finish();
    let skipped_bad = records.bad();
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
    store.set_durability(arguments.durability.durability)?;
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

fn compact(arguments: &FolderArguments, terminal: &Terminal) -> Result<Answer> {
    let mut store = Store::open(&arguments.store)?;
    let compacted = store.compact()?;
    terminal.print(&if terminal.json {
        to_json(&compacted)
    } else {
        let Compacted { bytes_before, bytes_after } = compacted;
        format!("{} before, {} now", in_megabytes(bytes_before), in_megabytes(bytes_after))
    })?;
    Ok(Answer::Yes)
}

fn verify(arguments: &FolderArguments, terminal: &Terminal) -> Result<Answer> {
    let store = Store::open_read_only(&arguments.store)?;
    let problems = store.verify()?;
    let documents = store.len()?;
    terminal.print(&if terminal.json {
        serde_json::json!({"documents": documents, "problems": problems}).to_string()
    } else if problems.is_empty() {
        format!("{documents} documents, all whole")
    } else {
        let lines: Vec<_> =
            problems.iter().map(|problem| format!("not whole: {problem}")).collect();
        lines.join("\n")
    })?;
    Ok(if problems.is_empty() { Answer::Yes } else { Answer::No })
}

fn export(arguments: &ExportArguments, terminal: &Terminal) -> Result<Answer> {
    let ExportArguments { output, overwrite, .. } = arguments;
    if output.exists() && !overwrite {
        return Err(Error::input(format!("`{}` is there already", output.display()))
            .hint("replace it with `--overwrite`, or name another file"));
    }
    let store = Store::open_read_only(&arguments.store)?;
    let mut writer = DocumentWriter::create(output, store.settings().model.dim)?;
    terminal.stage("exporting", Some(store.len()?));
    let mut documents = 0u64;
    store.for_each_document(|Document { id, text, metadata }, vector| {
        documents += 1;
        terminal.advance(1);
        writer.write(&id, &text, &metadata, vector)
    })?;
    writer.finish()?;
    terminal.finish();
    terminal.print(&if terminal.json {
        serde_json::json!({"documents": documents}).to_string()
    } else {
        format!("{documents} documents exported to `{}`", output.display())
    })?;
    Ok(Answer::Yes)
}

fn re_embed(arguments: &ReEmbedArguments, terminal: &Terminal) -> Result<Answer> {
    let mut store = Store::open(&arguments.store)?;
    store.set_durability(arguments.durability.durability)?;
    let encoder = arguments.prompts.encoder(&arguments.model, terminal)?;
    let settings = encoder.settings().clone();
    terminal.stage("embedding anew", Some(store.len()?));
    let encode = |texts: &[&str]| Ok(encoder.encode_documents(texts)?.rows);
    let embedded = store.re_embed(&settings, encode, terminal)?;
    terminal.finish();
    terminal.print(&if terminal.json {
        serde_json::json!({"embedded": embedded, "documents": store.len()?}).to_string()
    } else {
        format!("{embedded} documents embedded anew; the store is of `{}`", settings.model.name)
    })?;
    Ok(Answer::Yes)
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
