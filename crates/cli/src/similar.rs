//! `hpd similar`: the documents of a store nearest to one of them.

use std::path::PathBuf;

use clap::Args;
use hpd_files::{Error, Result};
use hpd_index::{DEFAULT_LIMIT, Exactness, Filter, Search, Store};

use crate::Answer;
use crate::search::{print_json, print_table};
use crate::terminal::Terminal;

/// What `hpd similar` takes.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Id of the document whose neighbours are wanted
    id: String,
    /// Folder of the store
    #[arg(long, short, value_name = "DIR")]
    store: PathBuf,
    /// How many to give
    #[arg(long, short = 'k', alias = "top-k", value_name = "N", default_value_t = DEFAULT_LIMIT)]
    limit: usize,
    /// Only documents whose metadata matches, as `hpd search --help` has it
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// Leave out documents that score less; scores are cosines, from -1 to 1
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    min_score: Option<f32>,
    /// How sure to be that nothing nearer is missed: exact, high or fast
    #[arg(long, value_name = "EXACTNESS", default_value_t)]
    exactness: Exactness,
}

const AFTER_HELP: &str = "\
Example:
  hpd similar --store notes.hpd --limit 5 note-42

No model is opened: the document's own vector is the query, and the document is not among the hits.
With --json each is a line with rank, score, id, text and metadata.
Exit status: 0 there are some, 1 there are none, 2 error.";

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Answer> {
    let Arguments { id, store, limit, min_score, exactness, .. } = arguments;
    let filter = arguments.filter.as_deref().map(str::parse::<Filter>).transpose()?;
    let search = Search {
        limit: *limit,
        filter: filter.as_ref(),
        min_score: *min_score,
        exactness: *exactness,
        ..Search::default()
    };
    let Some(hits) = Store::open_read_only(store)?.similar(id, &search)? else {
        let store = store.display();
        return Err(Error::input(format!("the store `{store}` has no document `{id}`"))
            .hint(format!("find one by its words: `hpd search --store {store} 'some words'`")));
    };
    if terminal.json {
        print_json(None, None, &hits, terminal)?;
    } else if hits.is_empty() {
        terminal.print("no hits")?;
    } else {
        print_table(&hits, terminal)?;
    }
    Ok(if hits.is_empty() { Answer::No } else { Answer::Yes })
}
