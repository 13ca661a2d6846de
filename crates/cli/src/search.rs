//! `hpd search`: the documents of a store nearest to a query, or of what was pushed from one.

use std::path::PathBuf;

use clap::Args;
use hpd_encoder::Side;
use hpd_files::records::{Record, Records, Source};
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Result, interrupt};
use hpd_index::{DEFAULT_LIMIT, Exactness, Filter, Hit, Search, Store};
use hpd_remote::{Address, Collection};
use hpd_texts::StoreEncoder;
use serde::Serialize;
use serde_json::{Map, Value};
use unicode_width::UnicodeWidthStr;

use crate::Answer;
use crate::arguments::RecordArguments;
use crate::columns::{cut, one_line, padded, terminal_width};
use crate::models::lookup;
use crate::store_arguments::StoreArguments;
use crate::terminal::Terminal;

/// Queries answered in one pass over the vectors.
const BATCH: usize = 256;

/// Columns of the table that an id may take.
const LONGEST_ID: usize = 32;

/// What `hpd search` takes.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// What to look for
    #[arg(required_unless_present = "queries")]
    query: Option<String>,
    #[command(flatten)]
    store: StoreArguments,
    /// Table or collection, where --store is the address of a server and does not name it
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// How many hits to give for each query
    #[arg(long, short = 'k', alias = "top-k", value_name = "N", default_value_t = DEFAULT_LIMIT)]
    limit: usize,
    /// Only documents whose metadata matches, such as `lang = 'en' AND year >= 1990`; see below
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// Rank by the words of query and documents too (BM25), and join both rankings; scores are then from 0 to 1
    #[arg(long)]
    hybrid: bool,
    /// Leave out hits that score less; scores are cosines, from -1 to 1
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    min_score: Option<f32>,
    /// How sure to be that nothing nearer is missed: exact, high or fast; see below
    #[arg(long, value_name = "EXACTNESS", default_value_t)]
    exactness: Exactness,
    /// Queries to answer: text lines, .jsonl, .csv, .tsv or .parquet, each also with .gz; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "query")]
    queries: Option<PathBuf>,
    #[command(flatten)]
    records: RecordArguments,
}

const AFTER_HELP: &str = "\
Examples:
  hpd search --store notes.hpd 'the fear of spiders'
  hpd search --store notes.hpd --queries questions.txt --limit 3 --json
  hpd search --store notes.hpd 'error E0502' --hybrid --filter \"lang = 'en' AND year >= 1990\"
  hpd search --store 'postgres://me@host/database?table=notes' 'the fear of spiders'
  hpd search --store 'milvus://localhost/?collection=notes' 'the fear of spiders'

A filter compares fields of the metadata with strings in quotes, numbers, true, false or null:
  lang = 'en'   year != 1990   year < 2000   <=  >  >=   year BETWEEN 1980 AND 1990
  lang IN ('en', 'de')   tag EXISTS   tag IS NULL   author.name = 'Poe'   `odd name` = 1
  NOT a, a AND b, a OR b, (a); also NOT IN, NOT BETWEEN, NOT EXISTS, IS NOT NULL
Types are strict: 1 never equals '1'. An array matches when one of its elements does.
!= and NOT are opposites, so they match documents without the field too.

Scores and their order are exact whatever --exactness says; it tells how many hits may be missing:
  exact  none, by proof; reads one byte a number of every document
  high   less than one in a hundred of the best ten; reads one bit a number
  fast   a few in a hundred; looks less closely at what comes near
Stores of up to 20000 documents are always searched exactly.

What `hpd push` brought to a server is searched there with the same filters. Exact then reads every
vector, which in Milvus takes a collection pushed with --index none; high and fast walk the server's
HNSW graph, high more of it, and how many hits that misses depends on the vectors.

With --json each hit is a line with query, rank, score, id, text and metadata.
Exit status: 0 there are hits, 1 there are none, 2 error.";

/// A hit as a line of JSON.
#[derive(Serialize)]
struct JsonHit<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    query_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    rank: usize,
    score: f32,
    id: &'a str,
    text: &'a str,
    metadata: &'a Map<String, Value>,
}

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Answer> {
    let filter = arguments.filter.as_deref().map(str::parse::<Filter>).transpose()?;
    let mut place = Place::open(arguments)?;
    let encoder = place.encoder(&arguments.store, terminal)?;
    let mut truncated = 0;
    let mut answer = Answer::No;
    let mut queries = queries(arguments)?;
    loop {
        let batch = queries.by_ref().take(BATCH).collect::<Result<Vec<Record>>>()?;
        if batch.is_empty() {
            break;
        }
        let texts: Vec<&str> = batch.iter().map(|query| query.text.as_str()).collect();
        let encoded = encoder.encode_queries(&texts)?;
        truncated += encoded.truncated;
        let search = Search {
            limit: arguments.limit,
            filter: filter.as_ref(),
            words: arguments.hybrid.then_some(&texts[..]),
            min_score: arguments.min_score,
            exactness: arguments.exactness,
            ..Search::default()
        };
        for (query, hits) in batch.iter().zip(place.search(&encoded.rows, &search)?) {
            if !hits.is_empty() {
                answer = Answer::Yes;
            }
            print(query, &hits, arguments, terminal)?;
        }
        interrupt::check("the queries printed so far are answered")?;
    }
    if truncated > 0 {
        terminal.say(&format!(
            "{truncated} queries were longer than the model takes and lost their end"
        ));
    }
    Ok(answer)
}

/// What is searched.
enum Place {
    Store(Box<Store>),
    Remote(Box<dyn Collection>, Address),
}

impl Place {
    fn open(arguments: &Arguments) -> Result<Self> {
        let store = &arguments.store.store;
        let Some(address) = store.to_str().filter(|name| Address::is_meant_by(name)) else {
            if arguments.collection.is_some() {
                let store = store.display();
                return Err(Error::input(format!(
                    "the store `{store}` is a folder and has no `--collection`"
                ))
                .hint("leave `--collection` out, or give the address of a server"));
            }
            return Ok(Self::Store(Box::new(Store::open_read_only(store)?)));
        };
        let mut address: Address = address.parse()?;
        if let Some(name) = &arguments.collection {
            address = address.with_collection(name)?;
        }
        Ok(Self::Remote(hpd_remote::open(&address)?, address))
    }

    fn encoder(&self, arguments: &StoreArguments, terminal: &Terminal) -> Result<StoreEncoder> {
        match self {
            Self::Store(store) => arguments.encoder(store, Side::Query, terminal),
            Self::Remote(collection, address) => {
                let (settings, place) = (collection.settings(), format!("`{address}`"));
                let check = |used: &_| settings.check_space(used, &place);
                let (lookup, choice) = (lookup(), arguments.choice());
                StoreEncoder::for_settings(&lookup, settings, &choice, Side::Query, check, terminal)
            }
        }
    }

    fn search(&mut self, queries: &Matrix, search: &Search<'_>) -> Result<Vec<Vec<Hit>>> {
        match self {
            Self::Store(store) => store.search_with(queries, search),
            Self::Remote(collection, _) => collection.search(queries, search),
        }
    }
}

fn queries(arguments: &Arguments) -> Result<Box<dyn Iterator<Item = Result<Record>>>> {
    match (&arguments.queries, &arguments.query) {
        (Some(file), _) => {
            let records = Records::open(&Source::from(file.clone()), &arguments.records.options())?;
            Ok(Box::new(
                records.filter(|query| {
                    !query.as_ref().is_ok_and(|query| query.text.trim().is_empty())
                }),
            ))
        }
        (None, Some(query)) if query.trim().is_empty() => {
            Err(Error::input("the query is empty").hint("hpd search --store DIR 'some words'"))
        }
        (None, query) => {
            let text = query.clone().unwrap_or_default();
            Ok(Box::new(std::iter::once(Ok(Record { text, ..Record::default() }))))
        }
    }
}

fn print(query: &Record, hits: &[Hit], arguments: &Arguments, terminal: &Terminal) -> Result<()> {
    if terminal.json {
        return print_json(query.id.as_deref(), Some(&query.text), hits, terminal);
    }
    if arguments.queries.is_some() {
        terminal.print(&format!("{}:", one_line(&query.text)))?;
    }
    if hits.is_empty() {
        return terminal.print("no hits");
    }
    print_table(hits, terminal)
}

/// Hits as an aligned table.
pub(crate) fn print_table(hits: &[Hit], terminal: &Terminal) -> Result<()> {
    let ids: Vec<String> = hits.iter().map(|hit| cut(&one_line(&hit.id), LONGEST_ID)).collect();
    let id_width = ids.iter().map(|id| id.width()).max().unwrap_or(0).max("id".len());
    terminal.print(&format!("rank   score  {}  text", padded("id", id_width)))?;
    for (rank, (hit, id)) in (1..).zip(hits.iter().zip(&ids)) {
        let id = padded(id, id_width);
        let line = format!("{rank:>4}  {:>6.3}  {id}  {}", hit.score, one_line(&hit.text));
        terminal.print(&cut(&line, terminal_width()))?;
    }
    Ok(())
}

/// Hits as lines of JSON, with what was asked where there are words for it.
pub(crate) fn print_json(
    query_id: Option<&str>,
    query: Option<&str>,
    hits: &[Hit],
    terminal: &Terminal,
) -> Result<()> {
    for (rank, hit) in (1..).zip(hits) {
        let Hit { score, id, text, metadata } = hit;
        let line = JsonHit { query_id, query, rank, score: *score, id, text, metadata };
        let line = serde_json::to_string(&line)
            .map_err(|e| Error::input(format!("cannot print `{}`", hit.id)).caused_by(e))?;
        terminal.print(&line)?;
    }
    Ok(())
}
