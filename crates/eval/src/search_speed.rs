//! How fast compact vectors are searched, how much room they take, and what that costs in answers: the retrieval experiment.
//!
//! `Vectors of a teacher and a student ─sizes─> forms in memory ─rounds─> times`, `─rankings─> MRR, nDCG, recall`
//!
//! The teacher's vectors are searched as floats; the student's as floats, in 8 bits, and by their signs with the best scored again
//! in 8 bits, with the shortlists of a store's modes; the best in 8 bits are scored again by floats. All forms take turns in
//! every round, in reverse order in every second one. Sizes beyond the real vectors are filled by [`ladder`].
//!
//! # Source
//! Semantic retrieval with compressed sentence vectors: <https://arxiv.org/abs/2203.07687>.

mod index;
mod ladder;
mod plot;
mod report;
mod timing;

use std::collections::HashSet;

use hpd_files::vectors::Matrix;
use hpd_files::{Error, Progress, Result, interrupt};
use hpd_index::Exactness;
use hpd_kernels::Scored;
use serde::{Deserialize, Serialize};

use crate::provenance::{self, Machine};
use crate::retrieval::{self, Collection};
use crate::scan::unit_rows;
use crate::speed::case::pool;
use crate::speed::{in_turn, median};

use index::{Bytes, Index, Signs};
pub use plot::plot;
pub use report::table;
use timing::{Sample, Stopwatch};

/// Hits that are asked for.
pub const HITS: usize = 10;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Numbers of vectors to search beside all real ones.
    pub sizes: Vec<usize>,
    /// Numbers of threads.
    pub threads: Vec<usize>,
    /// How often each form is measured.
    pub rounds: usize,
    /// Queries of one batch.
    pub batch: usize,
    /// Most bytes that vectors may take in memory; a teacher, or a size, that would not fit is left out.
    pub memory: u64,
    /// Whether the results name the vectors found.
    pub answers: bool,
}

impl Settings {
    /// Rounds where nothing else is asked for.
    pub const ROUNDS: usize = 5;
    /// Queries of a batch where nothing else is asked for.
    pub const BATCH: usize = 64;

    /// Four fifths of the memory that the system has to give now; without a limit where it does not say.
    pub fn memory_available() -> u64 {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
        kilobytes.map_or(u64::MAX, |kilobytes: u64| kilobytes * 1024 / 5 * 4)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sizes: Vec::new(),
            threads: vec![1],
            rounds: Self::ROUNDS,
            batch: Self::BATCH,
            memory: Self::memory_available(),
            answers: false,
        }
    }
}

/// The vectors that one model gives.
#[derive(Clone, Debug)]
pub struct Vectors {
    /// What tables call it.
    pub name: String,
    /// Of the queries, `[queries, dim]`.
    pub queries: Matrix,
    /// Of the documents, `[documents, dim]`.
    pub documents: Matrix,
    /// Milliseconds in which the model encodes a query, one at a time, where a model gave them.
    pub encoding: Option<f64>,
}

/// Everything one call measured. Times are medians over rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Version of this program.
    pub hpd_version: String,
    /// When it was measured, in UTC.
    pub date: String,
    /// What it was measured on.
    pub machine: Machine,
    /// Real documents.
    pub documents: usize,
    /// Queries.
    pub queries: usize,
    /// Queries of one batch.
    pub batch: usize,
    /// How often each form was measured.
    pub rounds: usize,
    /// The models, the first being the measure.
    pub models: Vec<Encoding>,
    /// What did not fit into memory.
    pub left_out: Vec<String>,
    /// One for each size, number of threads and form.
    pub rows: Vec<Row>,
}

/// How long a model takes for a query.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Encoding {
    /// What tables call it.
    pub model: String,
    /// Milliseconds, where a model was opened.
    pub milliseconds: Option<f64>,
}

/// What one form reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Vectors searched.
    pub documents: usize,
    /// Threads.
    pub threads: usize,
    /// Whose vectors.
    pub model: String,
    /// In which form: `float32`, `int8`, or `bits` with the mode's name.
    pub form: String,
    /// Numbers in a vector.
    pub dimensions: usize,
    /// Mean reciprocal rank within the first 10, where all documents are real and judged.
    pub mrr_at_10: Option<f64>,
    /// Normalised discounted cumulative gain of the first 10, there too.
    pub ndcg_at_10: Option<f64>,
    /// Share of the ten nearest by the floats of the same vectors.
    pub recall_at_10: f64,
    /// Of one query at a time.
    pub milliseconds: f64,
    /// The same for each round, in order.
    pub milliseconds_of_rounds: Vec<f64>,
    /// Of a query in a batch.
    pub milliseconds_batched: f64,
    /// How many times faster than the first model's floats, one query at a time.
    pub times_faster: Option<f64>,
    /// The same for a query in a batch.
    pub times_faster_batched: Option<f64>,
    /// Bytes of a vector in memory and on disk.
    pub bytes_per_vector: f64,
    /// How many times smaller than the first model's floats.
    pub times_smaller: f64,
    /// Seconds to make this form of the floats, on all threads.
    pub build_seconds: f64,
    /// Seconds to read it from a file that the system has in memory.
    pub load_seconds: f64,
    /// The ten vectors found for each query that was compared, by place, if that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Vec<u64>>,
}

/// Measures the searches of all forms of the last of `models`, and of the floats of those before it.
///
/// All models' vectors are of the same documents and queries, those of `collection` if there is one.
///
/// # Errors
/// When there is nothing to measure, vectors do not belong together, a file for loading cannot be written, or a stop was asked for.
///
/// # Cost
/// For each size memory for the vectors in all forms and a copy of the largest; each round takes half a second a form and number of threads, or ten
/// single queries and a batch where those take longer.
pub fn measure(
    models: &[Vectors],
    collection: Option<&Collection>,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<Results> {
    let real = check(models, settings)?;
    let mut results = Results {
        hpd_version: env!("CARGO_PKG_VERSION").to_owned(),
        date: provenance::now(),
        machine: Machine {
            threads: settings.threads.iter().copied().max().unwrap_or(1),
            ..Machine::current()
        },
        documents: real,
        queries: models[0].queries.len(),
        batch: settings.batch,
        rounds: settings.rounds,
        models: models.iter().map(Encoding::of).collect(),
        left_out: Vec::new(),
        rows: Vec::new(),
    };
    let models = models.iter().map(Vectors::at_unit_length).collect::<Result<Vec<_>>>()?;
    let mut sizes = settings.sizes.clone();
    sizes.push(real);
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes {
        let (there, left_out) = fitting(&models, size, settings.memory);
        results.left_out.extend(left_out);
        if !there.is_empty() {
            let judged = collection.filter(|_| size == real);
            results.rows.extend(of_size(&there, &models[0], size, judged, settings, progress)?);
        }
    }
    progress.finish();
    Ok(results)
}

/// The number of real documents.
fn check(models: &[Vectors], settings: &Settings) -> Result<usize> {
    let Some(first) = models.first() else {
        return Err(Error::input("there are no vectors to search"));
    };
    let counts = |model: &Vectors| (model.queries.len(), model.documents.len());
    for model in models {
        let Vectors { name, queries, documents, .. } = model;
        if queries.is_empty() || documents.is_empty() {
            return Err(Error::input(format!("`{name}` has no queries or no documents")));
        }
        if queries.dim != documents.dim {
            return Err(Error::mismatch(format!(
                "`{name}` has queries of {} numbers and documents of {}",
                queries.dim, documents.dim
            )));
        }
        if counts(model) != counts(first) {
            return Err(Error::mismatch(format!(
                "`{name}` and `{}` have vectors of different documents or queries",
                first.name
            )));
        }
    }
    let numbers = settings.threads.iter().chain(&settings.sizes);
    if settings.threads.is_empty()
        || numbers.chain([&settings.rounds, &settings.batch]).any(|&number| number == 0)
    {
        return Err(Error::input("sizes, threads, batch and rounds must be at least 1"));
    }
    Ok(first.documents.len())
}

impl Vectors {
    fn at_unit_length(&self) -> Result<Self> {
        let (queries, documents) = (unit_rows(&self.queries)?, unit_rows(&self.documents)?);
        Ok(Self { queries, documents, ..self.clone() })
    }
}

impl Encoding {
    fn of(model: &Vectors) -> Self {
        Self { model: model.name.clone(), milliseconds: model.encoding }
    }
}

/// The models whose vectors fit into memory at a size, and a line about those that do not.
fn fitting(models: &[Vectors], size: usize, memory: u64) -> (Vec<&Vectors>, Vec<String>) {
    let floats = |model: &Vectors| 4 * (size * model.documents.dim) as u64;
    let real: u64 = models.iter().map(|model| 4 * model.documents.data.len() as u64).sum();
    // The last model has codes too, and while a form is loaded it is there twice.
    let codes =
        models.last().map_or(0, |last| floats(last) / 4 + floats(last) / 32 + 8 * size as u64);
    let (mut taken, mut fit, mut left_out) = (real + codes, Vec::new(), Vec::new());
    for model in models.iter().rev() {
        let wanted = floats(model);
        if taken + 2 * wanted > memory {
            left_out.push(format!(
                "{}: {size} vectors of {} numbers, which take {:.1} GB and as much while they are loaded",
                model.name,
                model.documents.dim,
                wanted as f64 / 1e9
            ));
            if fit.is_empty() {
                break;
            }
        } else {
            taken += wanted;
            fit.insert(0, model);
        }
    }
    (fit, left_out)
}

/// One form on its way through the rounds.
struct Contender<'a> {
    model: &'a Vectors,
    form: String,
    index: Index<'a>,
    build_seconds: f64,
    load_seconds: f64,
    /// For each number of threads, the rounds.
    samples: Vec<Vec<Sample>>,
}

/// The rows of one size.
fn of_size(
    models: &[&Vectors],
    measure: &Vectors,
    size: usize,
    judged: Option<&Collection>,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<Vec<Row>> {
    progress.stage(&format!("{size} vectors"), None);
    let Some((&student, _)) = models.split_last() else { return Ok(Vec::new()) };
    let mut clock = Stopwatch::start();
    let grown: Vec<Matrix> =
        models.iter().map(|model| ladder::grown(&model.documents, size)).collect();
    let floats = &grown[models.len() - 1];
    clock.lap();
    let bytes = Bytes::of(floats);
    let for_bytes = clock.lap();
    let signs = Signs::of(floats);
    let for_signs = clock.lap();

    let of_floats = |(model, rows)| (model, "float32".to_owned(), Index::Float(rows), 0.0);
    let mut forms: Vec<(&Vectors, String, Index<'_>, f64)> =
        models.iter().copied().zip(&grown).map(of_floats).collect();
    forms.push((student, "int8".to_owned(), Index::Int8(&bytes, floats), for_bytes));
    for mode in [Exactness::High, Exactness::Fast] {
        if let Some(shortlist) = mode.shortlist(HITS, size) {
            let index = Index::Bits(&signs, &bytes, floats, shortlist);
            forms.push((student, format!("bits, {mode}"), index, for_bytes + for_signs));
        }
    }
    let mut contenders = Vec::new();
    for (model, form, index, build_seconds) in forms {
        interrupt::check("nothing was measured to the end")?;
        let load_seconds = timing::load_seconds(&index.parts())?;
        let samples = vec![Vec::new(); settings.threads.len()];
        contenders.push(Contender { model, form, index, build_seconds, load_seconds, samples });
    }
    run_rounds(&mut contenders, size, settings, progress)?;
    rows(&contenders, measure, size, judged, settings, progress)
}

fn run_rounds(
    contenders: &mut [Contender<'_>],
    size: usize,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<()> {
    let pools: Vec<_> =
        settings.threads.iter().map(|&threads| pool(threads)).collect::<Result<_>>()?;
    let samples = settings.rounds * contenders.len() * settings.threads.len();
    progress.stage(&format!("{size} vectors: measuring"), Some(samples as u64));
    for round in 0..settings.rounds {
        for turn in in_turn(0..contenders.len(), round) {
            let Contender { model, index, samples, .. } = &mut contenders[turn];
            for (pool, samples) in pools.iter().zip(samples) {
                interrupt::check("nothing was measured to the end")?;
                let search = |queries: &[f32]| index.search(queries, HITS).map(drop);
                samples.push(timing::sample(pool, &model.queries, settings.batch, &search)?);
                progress.advance(1);
            }
        }
    }
    Ok(())
}

/// Queries whose answers are compared where documents are made; where they are real and judged, all are.
const COMPARED: usize = 500;

fn rows(
    contenders: &[Contender<'_>],
    measure: &Vectors,
    size: usize,
    judged: Option<&Collection>,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<Vec<Row>> {
    progress.stage(&format!("{size} vectors: comparing answers"), Some(contenders.len() as u64));
    let mut exact: Option<Vec<Vec<Scored>>> = None;
    let mut rows = Vec::new();
    for contender in contenders {
        let index = contender.index;
        let found = answers(contender, judged.is_some())?;
        if matches!(index, Index::Float(_)) {
            exact = Some(found.clone());
        }
        // A model's floats come before its codes.
        let recall = exact.as_ref().map_or(f64::NAN, |exact| recall(&found, exact));
        let scores = judged.map(|collection| retrieval::score_rankings(collection, &found));
        for (at, &threads) in settings.threads.iter().enumerate() {
            let mut row = contender.row(at, threads, size, recall, scores.as_ref());
            if settings.answers {
                let places =
                    |hits: &Vec<Scored>| hits.iter().take(HITS).map(|hit| hit.row).collect();
                row.answers = found.iter().map(places).collect();
            }
            rows.push(row);
        }
        progress.advance(1);
    }
    rows.sort_by_key(|row| settings.threads.iter().position(|threads| *threads == row.threads));
    let floats = (4 * measure.documents.dim) as f64;
    let of_measure = rows.iter().filter(|row| row.model == measure.name && row.form == "float32");
    let base: Vec<(usize, f64, f64)> =
        of_measure.map(|row| (row.threads, row.milliseconds, row.milliseconds_batched)).collect();
    for row in &mut rows {
        row.times_smaller = floats / row.bytes_per_vector;
        if let Some((_, single, batched)) = base.iter().find(|base| base.0 == row.threads) {
            row.times_faster = Some(single / row.milliseconds);
            row.times_faster_batched = Some(batched / row.milliseconds_batched);
        }
    }
    Ok(rows)
}

/// What a form finds: for all queries, or for some spread over them.
fn answers(contender: &Contender<'_>, all: bool) -> Result<Vec<Vec<Scored>>> {
    let Contender { model, index, .. } = contender;
    let queries = &model.queries;
    let count = if all { queries.len() } else { queries.len().min(COMPARED) };
    let mut found = Vec::with_capacity(count);
    // One more hit than is scored, for the query's own document may be among them.
    let depth = if all { HITS + 1 } else { HITS };
    let places: Vec<usize> = (0..count).map(|i| i * queries.len() / count).collect();
    for places in places.chunks(Settings::BATCH) {
        interrupt::check("nothing was measured to the end")?;
        let rows: Vec<f32> = places.iter().flat_map(|place| queries.row(*place)).copied().collect();
        found.extend(index.search(&rows, depth)?);
    }
    Ok(found)
}

/// Share of the exact first ten that were found, mean over queries.
fn recall(found: &[Vec<Scored>], exact: &[Vec<Scored>]) -> f64 {
    let of_one = |(found, exact): (&Vec<Scored>, &Vec<Scored>)| {
        let exact: HashSet<u64> = exact.iter().take(HITS).map(|hit| hit.row).collect();
        let there = found.iter().take(HITS).filter(|hit| exact.contains(&hit.row)).count();
        there as f64 / exact.len().max(1) as f64
    };
    found.iter().zip(exact).map(of_one).sum::<f64>() / found.len().max(1) as f64
}

impl Contender<'_> {
    fn row(
        &self,
        at: usize,
        threads: usize,
        size: usize,
        recall: f64,
        scores: Option<&retrieval::Scores>,
    ) -> Row {
        let samples = &self.samples[at];
        let singles: Vec<f64> = samples.iter().map(|sample| sample.single).collect();
        let bytes: usize = self.index.parts().iter().map(|part| part.len()).sum();
        Row {
            documents: size,
            threads,
            model: self.model.name.clone(),
            form: self.form.clone(),
            dimensions: self.model.documents.dim,
            mrr_at_10: scores.map(|scores| scores.mrr_at_10),
            ndcg_at_10: scores.map(|scores| scores.ndcg_at_10),
            recall_at_10: recall,
            milliseconds: median(singles.iter().copied()),
            milliseconds_of_rounds: singles,
            milliseconds_batched: median(samples.iter().map(|sample| sample.batched)),
            times_faster: None,
            times_faster_batched: None,
            bytes_per_vector: bytes as f64 / size as f64,
            times_smaller: f64::NAN,
            build_seconds: self.build_seconds,
            load_seconds: self.load_seconds,
            answers: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
