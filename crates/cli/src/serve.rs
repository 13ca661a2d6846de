//! `hpd serve`: embedding and search over HTTP.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};
use hpd_encoder::{Model, Side};
use hpd_files::{Error, Result};
use hpd_index::{Store, StoreSettings};
use hpd_serve::{Keys, Limits, Searched, Service, Settings};
use serde_json::json;

use crate::Answer;
use crate::arguments::ModelArguments;
use crate::store_arguments::StoreArguments;
use crate::terminal::Terminal;

/// What `hpd serve` takes.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Folder of a store to search; its model is served unless another of its space is named
    #[arg(long, short, value_name = "DIR", env = "HPD_STORE")]
    store: Option<PathBuf>,
    /// Address or name of this machine to listen at
    #[arg(long, value_name = "HOST", env = "HPD_HOSTNAME", default_value = "127.0.0.1")]
    hostname: String,
    /// Port to listen at; 0 for any that is free
    #[arg(long, short, value_name = "PORT", env = "HPD_PORT", default_value_t = 8080)]
    port: u16,
    /// What the model is called in requests and answers [default: the name of its folder, or its id]
    #[arg(long, value_name = "NAME")]
    served_model_name: Option<String>,
    /// Prompt of the model folder for texts whose request names none [default: the folder's own default]
    #[arg(long, value_name = "NAME")]
    default_prompt_name: Option<String>,
    #[command(flatten)]
    access: AccessArguments,
    #[command(flatten)]
    limits: LimitArguments,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Access")]
struct AccessArguments {
    /// Keys that requests must bring one of, separated by commas; other users of this machine can read what is typed here
    #[arg(
        long,
        value_name = "KEY",
        env = "HPD_API_KEY",
        hide_env_values = true,
        value_delimiter = ','
    )]
    api_key: Vec<String>,
    /// File with keys, one a line
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Listen where others can reach it although there is no key
    #[arg(long)]
    allow_anonymous: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Limits")]
struct LimitArguments {
    /// Requests that may wait or be computed; more are refused at once
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_concurrent_requests)]
    max_concurrent_requests: usize,
    /// Tokens that are encoded together; fewer answer short questions sooner beside long work [default: 1024 for each
    /// thread]
    #[arg(long, value_name = "TOKENS")]
    max_batch_tokens: Option<usize>,
    /// Texts of one request
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_client_batch_size)]
    max_client_batch_size: usize,
    /// Bytes of a request
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().payload_limit)]
    payload_limit: usize,
    /// Whether texts that are too long lose their end or are refused, where a request does not say
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = Limits::default().auto_truncate)]
    auto_truncate: bool,
}

const AFTER_HELP: &str = "\
Examples:
  hpd serve
  hpd serve --store notes.hpd
  HPD_API_KEY=$(openssl rand -hex 32) hpd serve --model student --hostname 0.0.0.0 --port 80

  curl localhost:8080/v1/embeddings -H 'Content-Type: application/json' -d '{\"input\": [\"a text\"]}'
  curl 'localhost:8080/search?query=the+fear+of+spiders'

Routes:
  POST /v1/embeddings  as OpenAI's, with `dimensions` and `encoding_format`; GET /v1/models
  POST /embed, /similarity, /tokenize; GET /info, /health, /metrics  as text-embeddings-inference's
  GET or POST /search  query, limit, filter, hybrid, min_score, exactness; POST takes queries too,
                       for 100000 hits together; a query has 10000 at most
  GET /similar         id, limit, filter, min_score, exactness; all as `hpd search` has them
  GET /                a page to try it; GET /openapi.json, which describes all of these

A body is JSON and must be there within a minute, as a request's head must. Where there are keys,
all but /, /health, /ping and /openapi.json want `Authorization: Bearer KEY`.
The store is read only; what `hpd index add` adds to it meanwhile is found by the next search.
Ctrl-C or SIGTERM ends the requests that were begun, then the server.";

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Answer> {
    let AccessArguments { allow_anonymous, .. } = arguments.access;
    let (keys, limits) = (arguments.access.keys()?, arguments.limits.checked()?);
    // Before the model is opened: a port that is taken is said at once.
    let listener = hpd_serve::bind(&arguments.hostname, arguments.port, &keys, allow_anonymous)?;
    let address = listener.local_addr().map_err(|e| Error::io("listen at", "the port", e))?;
    let opened = Opened::by(arguments, terminal)?;
    let name = arguments.served_model_name.clone().unwrap_or(opened.name);
    let served = json!({"url": format!("http://{address}"), "model": name});
    let settings = Settings {
        name: name.clone(),
        default_prompt_name: arguments.default_prompt_name.clone(),
        limits,
        keys,
        searched: opened.searched,
    };
    let service = Service::new(opened.model, settings)?;
    if terminal.json {
        terminal.print(&served.to_string())?;
    }
    terminal.say(&format!("serving `{name}` at http://{address}, Ctrl-C stops"));
    hpd_serve::serve(listener, service)?;
    terminal.say("stopped");
    Ok(Answer::Yes)
}

/// A model and perhaps a store, opened.
struct Opened {
    model: Model,
    name: String,
    searched: Option<Searched>,
}

impl Opened {
    fn by(arguments: &Arguments, terminal: &Terminal) -> Result<Self> {
        let Some(folder) = &arguments.store else {
            let (found, model) = arguments.model.open(None, terminal)?;
            return Ok(Self { model, name: short_name(&found.name), searched: None });
        };
        if arguments.model.max_seq_length.is_some() {
            return Err(Error::input("`--max-seq-length` is what the store was made with")
                .hint("leave it out, or leave `--store` out"));
        }
        let store = Store::open_read_only(folder)?;
        let model = StoreArguments::for_store(folder.clone(), &arguments.model);
        let (model, settings) = model.encoder(&store, Side::Query, terminal)?.into_parts();
        let name = short_name(&settings.model.name);
        let searched = Some(searched(folder, settings)?);
        Ok(Self { model, name, searched })
    }
}

/// As many searches at once as there are threads: each search is one thread's work.
fn searched(folder: &Path, settings: StoreSettings) -> Result<Searched> {
    Searched::open(folder, settings, rayon::current_num_threads())
}

/// The last part of a path; an id or a shipped model's name as it is.
fn short_name(name: &str) -> String {
    let path = Path::new(name);
    let is_folder = path.is_dir();
    let last = path
        .canonicalize()
        .ok()
        .and_then(|path| path.file_name().map(|last| last.to_string_lossy().into_owned()));
    last.filter(|_| is_folder).unwrap_or_else(|| name.to_owned())
}

impl AccessArguments {
    fn keys(&self) -> Result<Keys> {
        let mut keys = self.api_key.clone();
        if let Some(file) = &self.api_key_file {
            let text = fs::read_to_string(file).map_err(|e| Error::io("read", file, e))?;
            let before = keys.len();
            keys.extend(
                text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned),
            );
            if keys.len() == before {
                return Err(Error::input(format!("`{}` has no keys", file.display()))
                    .hint("write one a line into it, or leave `--api-key-file` out"));
            }
        }
        Keys::new(&keys)
    }
}

impl LimitArguments {
    fn checked(&self) -> Result<Limits> {
        let &Self {
            max_concurrent_requests,
            max_batch_tokens,
            max_client_batch_size,
            payload_limit,
            auto_truncate,
        } = self;
        let counts = [
            ("--max-concurrent-requests", Some(max_concurrent_requests)),
            ("--max-batch-tokens", max_batch_tokens),
            ("--max-client-batch-size", Some(max_client_batch_size)),
            ("--payload-limit", Some(payload_limit)),
        ];
        if let Some((flag, _)) = counts.iter().find(|(_, count)| *count == Some(0)) {
            return Err(Error::input(format!("`{flag}` is 0, expected at least 1")));
        }
        Ok(Limits {
            max_concurrent_requests,
            max_batch_tokens,
            max_client_batch_size,
            payload_limit,
            auto_truncate,
            ..Limits::default()
        })
    }
}
