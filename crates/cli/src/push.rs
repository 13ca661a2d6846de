//! `hpd push`: the documents of a store to a server that searches them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hpd_files::Result;
use hpd_index::Store;
use hpd_remote::{Address, Layout, Push, Pushed};

use crate::Answer;
use crate::terminal::Terminal;

/// What `hpd push` takes.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Folder of the store
    #[arg(long, short, value_name = "DIR")]
    store: PathBuf,
    /// Where to: postgres://user@host:5432/database?table=notes, or milvus://user@host:19530/database?collection=notes
    #[arg(long, value_name = "ADDRESS")]
    to: String,
    /// Table or collection, where the address does not name it [default: the name of the store's folder]
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// Keep numbers in 16 bits instead of 32: half the room, and scores with three digits
    #[arg(long)]
    half: bool,
    /// Index to search by, built once the documents are there: a graph of near neighbours, or none
    #[arg(long, value_name = "INDEX", value_enum, default_value_t = Index::Hnsw)]
    index: Index,
    /// Delete there what the store does not have
    #[arg(long)]
    prune: bool,
}

/// What searches go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Index {
    Hnsw,
    // Every search reads all vectors.
    None,
}

const AFTER_HELP: &str = "\
Examples:
  hpd push --store notes.hpd --to postgres://me@localhost/database
  PGPASSWORD=... hpd push --store notes.hpd --to 'postgres://me@localhost/db?table=old' --prune
  hpd search --store 'postgres://me@localhost/database?table=notes' 'the fear of spiders'
  hpd push --store notes.hpd --to milvus://localhost:19530 --collection notes

The table or collection is made where it is not there: id, text, metadata and vector. It remembers
the store's space, and vectors of another are refused. Pushing again writes only what has changed,
and a push that was stopped goes on. The store stays what documents are added to.

PostgreSQL needs the extension pgvector, 0.8.4 or later. Milvus holds at most 65535 bytes of a text
(longer ones lose their end there) and of an id (longer ones are refused), and 65536 of metadata. It
cannot be searched while its graph is built, which happens once, at the end of a first push.

hpd speaks no TLS: for another machine go through a tunnel (ssh -L), or say in the address that the
network may be trusted: `sslmode=disable` for PostgreSQL, `secure=false` for Milvus. A password is
best given by the variable PGPASSWORD or MILVUS_PASSWORD. Each has to be built in:
cargo build --release --workspace --bin hpd --features hpd-cli/postgres,hpd-cli/milvus";

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Answer> {
    let address: Address = arguments.to.parse()?;
    let address = match &arguments.collection {
        Some(name) => address.with_collection(name)?,
        None => address.or_named_after(&arguments.store)?,
    };
    let store = Store::open_read_only(&arguments.store)?;
    let layout = Layout { half: arguments.half };
    let mut collection = hpd_remote::open_or_create(&address, store.settings(), layout)?;
    let options = Push { prune: arguments.prune, index: arguments.index == Index::Hnsw };
    let pushed = hpd_remote::push(&store, collection.as_mut(), options, terminal)?;
    report(&pushed, &address, terminal)?;
    Ok(Answer::Yes)
}

fn report(pushed: &Pushed, address: &Address, terminal: &Terminal) -> Result<()> {
    if terminal.json {
        return terminal.print(&serde_json::to_string(pushed).unwrap_or_default());
    }
    let Pushed { added, changed, unchanged, pruned, documents } = pushed;
    terminal.print(&format!(
        "{added} added, {changed} changed, {unchanged} unchanged, {pruned} pruned; {documents} documents at `{address}`"
    ))
}
