//! A teacher behind HTTP: any server that speaks OpenAI's `POST /v1/embeddings`.
//!
//! Separate from the other teachers because nothing else here can be late, busy or wrong about itself. Data
//! passes `sentences → batches → a few requests in flight → answers, checked → Matrix`. What a server says is
//! believed only so far: the number of vectors, their order, width and finiteness are checked on each answer.
//!
//! The key comes from `OPENAI_API_KEY` alone and appears in no message, file or log.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use hpd_files::vectors::Matrix;
use hpd_files::{Error, ErrorKind, Result, interrupt};
use serde_json::json;
use ureq::http::{Response, StatusCode, Uri};
use ureq::{Agent, Body};

use crate::answer;

/// No pause between two tries is longer, unless the server asks for it.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

/// A server that asks to wait longer than this is given up; a later run goes on where this one stopped.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);

/// Bytes of an answer that are read at most: 2048 vectors of 4096 numbers with 20 digits each.
const LONGEST_ANSWER: u64 = 256 << 20;

/// How to ask an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointOptions {
    /// The `model` field; left out when `None`.
    pub model: Option<String>,
    /// The `dimensions` field; left out when `None`.
    pub dimensions: Option<usize>,
    /// The bearer token, [`key_from_environment`] for people.
    pub key: Option<String>,
    /// Sentences in one request. The default of 32 is what text-embeddings-inference allows as it comes.
    pub batch: usize,
    /// Requests at the same time.
    pub in_flight: usize,
    /// Tries for one batch before giving up.
    pub tries: u32,
    /// Pause after the first failed try; doubled after each further one, and made shorter by chance.
    pub first_pause: Duration,
    /// Longest time one request may take.
    pub timeout: Duration,
}

impl Default for EndpointOptions {
    fn default() -> Self {
        Self {
            model: None,
            dimensions: None,
            key: None,
            batch: 32,
            in_flight: 8,
            tries: 8,
            first_pause: Duration::from_secs(1),
            timeout: Duration::from_secs(120),
        }
    }
}

/// The key in `OPENAI_API_KEY`, if it is set and not empty.
pub fn key_from_environment() -> Option<String> {
    std::env::var("OPENAI_API_KEY").ok().filter(|key| !key.is_empty())
}

/// An OpenAI-compatible embedding server.
pub struct Endpoint {
    address: String,
    options: EndpointOptions,
    agent: Agent,
    /// Set once the server has refused base64.
    plain_numbers: AtomicBool,
    width: OnceLock<usize>,
}

/// What came of one request.
enum Reply {
    Vectors(Matrix),
    /// Not now: why, and how long the server asks to wait.
    Later(String, Option<Duration>),
}

impl Endpoint {
    /// Takes `http://host`, `http://host/v1` or the whole address of the embedding route.
    ///
    /// # Errors
    /// When it is no HTTP address or carries a user name or password.
    pub fn new(url: &str, options: EndpointOptions) -> Result<Self> {
        let uri = parse(url)?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections_per_host(options.in_flight)
            .timeout_global(Some(options.timeout));
        let config = if is_loopback(&uri) { config.proxy(None) } else { config };
        Ok(Self {
            address: route(url, &uri),
            options,
            agent: config.build().new_agent(),
            plain_numbers: AtomicBool::new(false),
            width: OnceLock::new(),
        })
    }

    /// The address of the embedding route, without its query, which may hold a secret.
    pub fn name(&self) -> &str {
        self.address.split('?').next().unwrap_or_default()
    }

    /// What the vectors depend on, as far as a caller of the server can know.
    pub fn identity(&self) -> [String; 3] {
        let EndpointOptions { model, dimensions, .. } = &self.options;
        [self.address.clone(), format!("{model:?}"), format!("{dimensions:?}")]
    }

    /// Vectors of `texts`, in their order; `done` hears of each finished batch.
    ///
    /// # Errors
    /// When the server refuses, stays busy for all tries, or answers with vectors that cannot be right.
    pub fn embed(&self, texts: &[&str], done: impl Fn(usize) + Sync) -> Result<Matrix> {
        let batches: Vec<&[&str]> = texts.chunks(self.options.batch.max(1)).collect();
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let work = || {
            let mut answers = Vec::new();
            while !failed.load(Ordering::Relaxed) {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let Some(batch) = batches.get(i) else { break };
                let answer = self.ask(batch).inspect_err(|_| failed.store(true, Ordering::Relaxed));
                answers.push((i, answer?));
                done(batch.len());
            }
            Ok(answers)
        };
        let workers = self.options.in_flight.clamp(1, batches.len().max(1));
        let answers = thread::scope(|scope| {
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?;
        Ok(in_order(answers.into_iter().flatten().collect()))
    }

    /// Asks until there is an answer or the tries are used up.
    fn ask(&self, texts: &[&str]) -> Result<Matrix> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            interrupt::check("the batches in flight are lost, finished shards are kept")?;
            match self.ask_once(texts)? {
                Reply::Vectors(vectors) => return Ok(vectors),
                Reply::Later(why, _) if attempt >= self.options.tries => {
                    return Err(self
                        .error(format!("gave up after {attempt} tries; last: {why}"))
                        .hint(
                            "run the same command again: it goes on after the last finished shard",
                        ));
                }
                Reply::Later(_, asked) => pause(self.pause_after(attempt, asked)?)?,
            }
        }
    }

    fn ask_once(&self, texts: &[&str]) -> Result<Reply> {
        let plain = self.plain_numbers.load(Ordering::Relaxed);
        let mut response = match self.send(texts, plain) {
            Ok(response) => response,
            Err(error) => return self.after_failure(error),
        };
        let status = response.status();
        let body = match response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec() {
            Ok(body) => body,
            Err(error) => return self.after_failure(error),
        };
        if status.is_success() {
            return self.read(&body, texts.len()).map(Reply::Vectors);
        }
        if matches!(status.as_u16(), 400 | 422) && !plain {
            // Perhaps it does not know base64; if the fault is another one, the next answer tells.
            self.plain_numbers.store(true, Ordering::Relaxed);
            return self.ask_once(texts);
        }
        self.after_refusal(status, retry_after(&response), &body)
    }

    fn send(&self, texts: &[&str], plain: bool) -> Result<Response<Body>, ureq::Error> {
        let format = if plain { "float" } else { "base64" };
        let mut question = json!({ "input": texts, "encoding_format": format });
        if let Some(model) = &self.options.model {
            question["model"] = json!(model);
        }
        if let Some(dimensions) = self.options.dimensions {
            question["dimensions"] = json!(dimensions);
        }
        let mut request = self.agent.post(&self.address);
        if let Some(key) = &self.options.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        request.send_json(question)
    }

    fn read(&self, body: &[u8], expected: usize) -> Result<Matrix> {
        let vectors = answer::read(body, expected).map_err(|what| self.error(what))?;
        let width = *self.width.get_or_init(|| vectors.dim);
        if vectors.dim != width {
            let found = vectors.dim;
            return Err(Error::mismatch(format!(
                "width of the vectors from `{}`: {width} at first, now {found}",
                self.name()
            )));
        }
        Ok(vectors)
    }

    /// No answer came: connection refused, cut or too slow may pass; the rest will not.
    fn after_failure(&self, error: ureq::Error) -> Result<Reply> {
        use ureq::Error::{ConnectionFailed, HostNotFound, Io, Timeout};
        match error {
            Io(_) | Timeout(_) | ConnectionFailed | HostNotFound => {
                Ok(Reply::Later(error.to_string(), None))
            }
            error => Err(self.error("the request failed").caused_by(error)),
        }
    }

    /// An answer came and it is no.
    fn after_refusal(
        &self,
        status: StatusCode,
        wait: Option<Duration>,
        body: &[u8],
    ) -> Result<Reply> {
        let words = self.without_key(&answer::server_words(body));
        let said = format!("{} {words}", status.as_u16());
        match status.as_u16() {
            401 | 403 => {
                Err(self.error(format!("refused the key: {said}")).hint(match self.options.key {
                    Some(_) => "check the key in the environment variable OPENAI_API_KEY",
                    None => "put the key into the environment variable OPENAI_API_KEY",
                }))
            }
            429 if answer::is_out_of_quota(body) => Err(self.error(said)),
            408 | 429 | 500..=599 => Ok(Reply::Later(said, wait)),
            _ => Err(self.error(said)),
        }
    }

    fn pause_after(&self, attempt: u32, asked: Option<Duration>) -> Result<Duration> {
        match asked {
            Some(wait) if wait > LONGEST_RETRY_AFTER => Err(self
                .error(format!("asks to wait {} seconds", wait.as_secs()))
                .hint("run the same command again then: it goes on after the last finished shard")),
            Some(wait) => Ok(wait),
            None => {
                let pause = self.options.first_pause.saturating_mul(1 << (attempt - 1).min(16));
                Ok(pause.min(LONGEST_BACK_OFF).mul_f64(0.5 + 0.5 * chance()))
            }
        }
    }

    fn error(&self, what: impl AsRef<str>) -> Error {
        Error::new(ErrorKind::Network, format!("teacher at `{}`: {}", self.name(), what.as_ref()))
    }

    /// Some servers repeat the key they refuse.
    fn without_key(&self, words: &str) -> String {
        match &self.options.key {
            Some(key) => words.replace(key.as_str(), "(the key)"),
            None => words.to_owned(),
        }
    }
}

fn parse(url: &str) -> Result<Uri> {
    let bad = |why: &str| {
        Error::input(format!("`{}` is no address of a teacher: {why}", without_secrets(url)))
            .hint("http://localhost:8080/v1")
    };
    let uri: Uri = url.parse().map_err(|_| bad("expected http://host[:port][/path]"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(bad("expected http:// or https://"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(bad("a user name or password in it would end up in files")
            .hint("put the key into the environment variable OPENAI_API_KEY"));
    }
    Ok(uri)
}

/// The address without user, password and query.
fn without_secrets(url: &str) -> String {
    let url = url.split('?').next().unwrap_or_default();
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}{}", &url[..scheme + 3], &url[at + 1..])
        }
        _ => url.to_owned(),
    }
}

/// The embedding route: the address as it is when it names the route or a query, completed otherwise.
fn route(url: &str, uri: &Uri) -> String {
    let path = uri.path().trim_end_matches('/');
    let url = url.trim_end_matches('/');
    match path {
        _ if uri.query().is_some() || path.ends_with("/embeddings") => url.to_owned(),
        _ if path.ends_with("/v1") => format!("{url}/embeddings"),
        _ => format!("{url}/v1/embeddings"),
    }
}

/// A proxy cannot reach this machine's own servers.
fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    host == "localhost" || host == "[::1]" || host.starts_with("127.")
}

/// Seconds in a `Retry-After` header; its other form, a date, is left to the back-off.
fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let seconds: f64 = response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Sleeps in pieces, so that Ctrl-C is heard.
fn pause(mut left: Duration) -> Result<()> {
    while !left.is_zero() {
        interrupt::check("the batches in flight are lost, finished shards are kept")?;
        let piece = left.min(Duration::from_millis(100));
        thread::sleep(piece);
        left -= piece;
    }
    Ok(())
}

/// From 0 to 1, another number each time, so that clients do not come back all at once.
fn chance() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

fn join<T>(worker: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn in_order(mut answers: Vec<(usize, Matrix)>) -> Matrix {
    answers.sort_unstable_by_key(|(i, _)| *i);
    let dim = answers.first().map_or(0, |(_, vectors)| vectors.dim);
    Matrix { data: answers.into_iter().flat_map(|(_, vectors)| vectors.data).collect(), dim }
}

#[cfg(test)]
pub(crate) mod tests;
