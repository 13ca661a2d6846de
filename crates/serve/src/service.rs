//! What a server serves, and how much of it at once.

use std::sync::Arc;
use std::time::Duration;

use hpd_encoder::{EncodeOptions, Model, Prompt, Side, Tokens};
use hpd_files::Result;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use crate::embedding::{Embedded, Inputs};
use crate::failure::{Failure, FailureKind};
use crate::metrics::Metrics;
use crate::queue::{Queue, TextKind};
use crate::{Keys, Searched};

/// Tokens of a batch for each thread that encodes, where nobody says how many.
const TOKENS_FOR_A_THREAD: usize = 1024;

/// How much is taken. Names and meaning are those of text-embeddings-inference's flags.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests that may wait or be computed; further ones are refused at once with 429.
    pub max_concurrent_requests: usize,
    /// Tokens that are encoded together; `None` for 1,024 for each thread. Fewer answer short questions sooner beside long
    /// work; the encoder cuts them into blocks of 192 and gains nothing from more than a few of these a thread.
    pub max_batch_tokens: Option<usize>,
    /// Texts of one request.
    pub max_client_batch_size: usize,
    /// Bytes of a request's body.
    pub payload_limit: usize,
    /// Whether texts that are too long lose their end, where a request does not say; otherwise they are refused.
    pub auto_truncate: bool,
    /// How long a client may take until the head of its next request is there, and then the body; a connection on which nothing comes
    /// would be kept for ever otherwise.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_concurrent_requests: 512,
            max_batch_tokens: None,
            max_client_batch_size: 2048,
            payload_limit: 8_000_000,
            auto_truncate: true,
            patience: Duration::from_secs(60),
        }
    }
}

/// What is served, beside the model.
#[derive(Clone, Default)]
pub struct Settings {
    /// What the model is called in requests and answers.
    pub name: String,
    /// The model folder's prompt for texts whose request names none; without it the folder's own default is taken.
    pub default_prompt_name: Option<String>,
    /// How much is taken.
    pub limits: Limits,
    /// Who may ask.
    pub keys: Keys,
    /// What is searched, if anything.
    pub searched: Option<Searched>,
}

/// A model, perhaps a store, and what keeps order among those who ask.
pub struct Service {
    pub(crate) model: Arc<Model>,
    /// What the model is called in answers.
    pub(crate) name: String,
    pub(crate) limits: Limits,
    pub(crate) batch_tokens: usize,
    pub(crate) keys: Keys,
    pub(crate) searched: Option<Searched>,
    pub(crate) metrics: Arc<Metrics>,
    /// The prompt of texts for which a request names none.
    default_prompt: Prompt,
    queue: Queue,
    places: Arc<Semaphore>,
}

impl Service {
    /// Makes a service of an opened model and starts the thread that encodes.
    ///
    /// # Errors
    /// When the model has no such default prompt, or no thread can be started.
    pub fn new(model: Model, settings: Settings) -> Result<Self> {
        let Settings { name, default_prompt_name, limits, keys, searched } = settings;
        let default_prompt = default_prompt_name.map_or(Prompt::Default, Prompt::Named);
        let options = EncodeOptions { prompt: default_prompt.clone(), ..EncodeOptions::default() };
        model.tokenize(&[""], &options)?;
        let (model, metrics) = (Arc::new(model), Arc::new(Metrics::new()?));
        let by_itself = || TOKENS_FOR_A_THREAD * rayon::current_num_threads();
        let batch_tokens = limits.max_batch_tokens.unwrap_or_else(by_itself);
        Ok(Self {
            queue: Queue::start(model.clone(), batch_tokens, metrics.clone())?,
            batch_tokens,
            places: Arc::new(Semaphore::new(limits.max_concurrent_requests)),
            default_prompt,
            model,
            name,
            limits,
            keys,
            searched,
            metrics,
        })
    }

    /// A place among the requests that may wait, until it is dropped.
    pub(crate) fn enter(&self) -> Result<OwnedSemaphorePermit, Failure> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            let most = self.limits.max_concurrent_requests;
            Failure::new(
                FailureKind::Overloaded,
                format!("{most} requests are waiting already; try again in a moment"),
            )
        })
    }

    /// How to encode texts whose request names this prompt. Where queries and documents have a model each, the name says for
    /// which the text is.
    pub(crate) fn options(&self, prompt_name: Option<String>) -> Result<EncodeOptions, Failure> {
        let prompts = &self.model.folder().prompts;
        let side = match prompt_name.as_deref() {
            Some("query") => Some(Side::Query),
            Some("document") => Some(Side::Document),
            _ => None,
        };
        let prompt = match (prompt_name, side) {
            (None, _) => self.default_prompt.clone(),
            (Some(name), _) if prompts.contains_key(&name) => Prompt::Named(name),
            // sentence-transformers' encode_query and encode_document, which every model understands.
            (Some(_), Some(Side::Query)) => Prompt::Query,
            (Some(_), Some(Side::Document)) => Prompt::Document,
            (Some(name), None) => {
                let known: Vec<&str> = prompts.keys().map(String::as_str).collect();
                return Err(Failure::invalid(format!(
                    "there is no prompt `{name}`; the model has {}",
                    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
                )));
            }
        };
        Ok(EncodeOptions { prompt, side, ..EncodeOptions::default() })
    }

    /// The ids of `inputs`, computed away from the connections' threads.
    pub(crate) async fn tokenize(
        self: &Arc<Self>,
        inputs: Inputs,
        options: &EncodeOptions,
        truncate: bool,
    ) -> Result<Tokens, Failure> {
        self.check_number(inputs.len())?;
        let (service, options) = (self.clone(), options.clone());
        spawn_blocking(move || inputs.tokenize(&service.model, &options, truncate))
            .await
            .map_err(|_| Failure::internal("tokenizing failed; the server's log says more"))?
    }

    /// Vectors of `inputs`.
    pub(crate) async fn embed(
        self: &Arc<Self>,
        inputs: Inputs,
        options: &EncodeOptions,
        truncate: Option<bool>,
    ) -> Result<Embedded, Failure> {
        self.check_dimensions(options.dimensions)?;
        let truncate = truncate.unwrap_or(self.limits.auto_truncate);
        let tokens = self.tokenize(inputs, options, truncate).await?;
        for text in 0..tokens.len() {
            self.metrics.input_length.observe(tokens.text(text).len() as f64);
        }
        let (counted, truncated) = (tokens.ids.len(), tokens.truncated);
        let whole = self.queue.encode(tokens, TextKind::of(options)).await?;
        let rows = self.model.route(options)?.shorten(whole, options)?;
        Ok(Embedded { rows, tokens: counted, truncated })
    }

    fn check_number(&self, texts: usize) -> Result<(), Failure> {
        let most = self.limits.max_client_batch_size;
        match texts {
            0 => Err(Failure::invalid("there is no text in the request")),
            _ if texts > most => Err(Failure::invalid(format!(
                "the request has {texts} texts, but the server takes {most} at a time; split it, or start the server with a larger `--max-client-batch-size`"
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses more numbers than a vector has, before anything is computed.
    fn check_dimensions(&self, dimensions: Option<usize>) -> Result<(), Failure> {
        let dim = self.model.dim();
        match dimensions {
            Some(asked) if !(1..=dim).contains(&asked) => Err(Failure::invalid(format!(
                "`dimensions` is {asked}, but vectors of `{}` have {dim} numbers; ask for 1 to {dim}",
                self.name
            ))),
            _ => Ok(()),
        }
    }
}
