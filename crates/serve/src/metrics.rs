//! Counts and times for Prometheus, under the names of text-embeddings-inference.

use std::time::Duration;

use axum::http::{HeaderName, header};
use hpd_files::{Error, Result};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// The first bound of durations, in seconds, the ratio of each to the one before, and their number: 10 microseconds to 15
/// seconds, as text-embeddings-inference has them.
const DURATIONS: (f64, f64, usize) = (1e-5, 1.5, 35);

/// Bounds of numbers of texts and tokens: powers of two up to 65,536.
const SIZES: (f64, f64, usize) = (1.0, 2.0, 17);

/// All that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    /// Requests begun, by route.
    pub(crate) requests: IntCounterVec,
    /// Requests answered, by route.
    pub(crate) successes: IntCounterVec,
    /// Requests refused or failed, by the kind of failure.
    pub(crate) failures: IntCounterVec,
    /// From the first byte to the answer, by route.
    pub(crate) seconds: HistogramVec,
    /// Tokens of a text.
    pub(crate) input_length: Histogram,
    /// Waited for a batch.
    pub(crate) queue_seconds: Histogram,
    /// Requests that wait or are being encoded.
    pub(crate) queue_size: IntGauge,
    inference_seconds: Histogram,
    batch_texts: Histogram,
    batch_tokens: Histogram,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Result<Self> {
        Self::registered()
            .map_err(|e| Error::input("cannot make the server's metrics").caused_by(e))
    }

    fn registered() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, label: &str| {
            let counter = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let histogram = |name: &str, help: &str, (first, ratio, count): (f64, f64, usize)| {
            let bounds = prometheus::exponential_buckets(first, ratio, count)?;
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(bounds))?;
            registry.register(Box::new(histogram.clone())).map(|()| histogram)
        };
        let (first, ratio, count) = DURATIONS;
        let options = HistogramOpts::new("te_request_duration", "seconds from request to answer")
            .buckets(prometheus::exponential_buckets(first, ratio, count)?);
        let seconds = HistogramVec::new(options, &["method"])?;
        registry.register(Box::new(seconds.clone()))?;
        let queue_size = IntGauge::new("te_queue_size", "requests that wait or are being encoded")?;
        registry.register(Box::new(queue_size.clone()))?;
        Ok(Self {
            requests: counter("te_request_count", "requests begun, by route", "method")?,
            successes: counter("te_request_success", "requests answered, by route", "method")?,
            failures: counter("te_request_failure", "requests refused or failed, by kind", "err")?,
            input_length: histogram("te_request_input_length", "tokens of a text", SIZES)?,
            queue_seconds: histogram(
                "te_request_queue_duration",
                "seconds a request waited for a batch",
                DURATIONS,
            )?,
            inference_seconds: histogram(
                "te_request_inference_duration",
                "seconds a batch was encoded",
                DURATIONS,
            )?,
            batch_texts: histogram("te_batch_next_size", "texts of a batch", SIZES)?,
            batch_tokens: histogram("te_batch_next_tokens", "tokens of a batch", SIZES)?,
            seconds,
            queue_size,
            registry,
        })
    }

    pub(crate) fn observe_batch(&self, texts: usize, tokens: usize, took: Duration) {
        self.batch_texts.observe(texts as f64);
        self.batch_tokens.observe(tokens as f64);
        self.inference_seconds.observe(took.as_secs_f64());
    }

    /// What Prometheus reads, and how it is to be called.
    pub(crate) fn exposition(&self) -> ([(HeaderName, &'static str); 1], String) {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default();
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
    }
}
