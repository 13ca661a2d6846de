//! One sample of one case.

use std::time::{Duration, Instant};

use hpd_encoder::{EncodeOptions, Folder, Model, Tokens};
use hpd_files::fingerprint::{Fingerprint, Fingerprinter};
use hpd_files::{Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::machine::{self, Spent, repeated};
use super::{Case, peak};

/// Sentences that are encoded one at a time.
const SINGLES: usize = 256;

/// Few or fast texts are encoded again until so much time has passed.
const LEAST: Duration = Duration::from_millis(300);

/// What one round found out about a case.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Encoding all texts once, tokenising included.
    pub(super) encoding: Spent,
    /// Tokenising the same texts, by itself.
    pub(super) tokenizing: Spent,
    pub(super) texts: usize,
    pub(super) tokens: usize,
    pub(super) truncated: usize,
    /// Multiplications and additions of the matrix products.
    operations: f64,
    /// Operations a second of a busy core in products alone.
    pub(super) peak: f64,
    /// Seconds of a single sentence.
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// Bytes.
    pub(super) peak_memory: Option<u64>,
    /// Fingerprints of the passes over the texts.
    pub(super) vectors: Vec<Fingerprint>,
}

impl Sample {
    pub(super) fn sentences_per_second(&self) -> f64 {
        self.texts as f64 / self.encoding.seconds
    }

    /// Of a busy core.
    pub(super) fn operations_per_second(&self) -> f64 {
        self.operations / self.encoding.busy
    }

    #[cfg(test)]
    pub(super) fn of_vectors(vectors: Fingerprint) -> Self {
        let spent = Spent { seconds: 1.0, busy: 1.0 };
        Self {
            encoding: spent,
            tokenizing: spent,
            texts: 1,
            tokens: 1,
            truncated: 0,
            operations: 1.0,
            peak: 1.0,
            p50: 1.0,
            p99: 1.0,
            peak_memory: None,
            vectors: vec![vectors],
        }
    }
}

/// Threads that live as long as the measuring, for a thread that ends takes its processor time with it.
pub(super) struct Pools {
    /// One for each number of threads.
    shared: Vec<ThreadPool>,
    /// One thread each, as many as the largest number.
    single: Vec<ThreadPool>,
}

impl Pools {
    pub(super) fn new(threads: &[usize]) -> Result<Self> {
        let most = threads.iter().copied().max().unwrap_or(1);
        Ok(Self {
            shared: threads.iter().map(|&threads| pool(threads)).collect::<Result<_>>()?,
            single: (0..most).map(|_| pool(1)).collect::<Result<_>>()?,
        })
    }

    /// The pool of so many threads; `Pools::new` was given the number.
    fn of(&self, threads: usize) -> &ThreadPool {
        let fits = |pool: &&ThreadPool| pool.current_num_threads() == threads;
        self.shared.iter().find(fits).unwrap_or(&self.single[0])
    }
}

/// A pool of so many threads.
pub(crate) fn pool(threads: usize) -> Result<ThreadPool> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::input(format!("cannot start {threads} threads")).caused_by(e))
}

/// Measures `case` once, after a first batch that is not counted.
pub(super) fn sample(model: &Model, texts: &[String], case: Case, pools: &Pools) -> Result<Sample> {
    let pool = pools.of(case.threads);
    let options = EncodeOptions::default();
    let warm_up = &texts[..texts.len().min(case.batch)];
    pool.install(|| model.encode(warm_up, &options))?;

    let peak = peak::peak(case.arithmetic, &pools.single[..case.threads]);
    let (tokens, tokenizing) = repeated(case.threads, LEAST, || {
        let batches = texts.chunks(case.batch);
        let tokens = batches.map(|batch| pool.install(|| model.tokenizer().tokenize(batch)));
        tokens.collect::<Result<Vec<_>>>()
    })?;
    let tokens = &tokens[0];
    machine::forget_peak_memory();
    let (vectors, encoding) = repeated(case.threads, LEAST, || {
        let mut fingerprinter = Fingerprinter::new();
        for batch in texts.chunks(case.batch) {
            let embeddings = pool.install(|| model.encode(batch, &options))?;
            // Hashing vectors takes a thousandth of making them.
            fingerprinter.add(bytemuck::cast_slice(&embeddings.rows.data));
        }
        Ok(fingerprinter.finish())
    })?;
    let peak_memory = machine::peak_memory();
    let latencies = single_latencies(model, texts, pool)?;
    Ok(Sample {
        encoding,
        tokenizing,
        texts: texts.len(),
        tokens: tokens.iter().map(|tokens| tokens.ids.len()).sum(),
        truncated: tokens.iter().map(|tokens| tokens.truncated).sum(),
        operations: tokens.iter().map(|tokens| operations(model.folder(), tokens)).sum(),
        peak,
        p50: latencies[SINGLES / 2],
        p99: latencies[SINGLES * 99 / 100],
        peak_memory,
        vectors,
    })
}

/// Seconds that sentences spread over the texts take one at a time, in rising order.
fn single_latencies(model: &Model, texts: &[String], pool: &ThreadPool) -> Result<Vec<f64>> {
    let options = EncodeOptions::default();
    let mut latencies = Vec::with_capacity(SINGLES);
    for i in 0..SINGLES {
        let text = &texts[i * texts.len() / SINGLES];
        let start = Instant::now();
        pool.install(|| model.encode(&[text], &options))?;
        latencies.push(start.elapsed().as_secs_f64());
    }
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

/// Multiplications and additions for some texts: the matrix products of the layers.
fn operations(folder: &Folder, tokens: &Tokens) -> f64 {
    let config = &folder.config;
    let (hidden, wide) = (config.hidden_size, config.intermediate_size);
    let of_text = |length: usize| {
        let of_token = 4 * hidden * hidden + 2 * hidden * wide + 2 * length * hidden;
        (2 * config.num_hidden_layers * length * of_token) as f64
    };
    (0..tokens.len()).map(|i| of_text(tokens.text(i).len())).sum()
}
