//! How fast a model encodes, how soon it answers, and how much of the machine's arithmetic that is.
//!
//! `folder ─open─> Model ─rounds of cases─> Sample ─medians─> Results`
//!
//! A case is a arithmetic, a number of threads and a size of batch. Every round takes a sample of each case, in turn
//! forwards and backwards, so that what else the machine does falls on all of them alike. A round opens the model
//! anew at each arithmetic: one model is in memory at a time, and opening is measured as often as encoding.
//!
//! Rates are taken by the clock. Shares of the peak are taken in processor time where the system tells it (Linux),
//! so that other programs on the machine hardly change them.

pub(crate) mod case;
mod machine;
mod peak;
mod texts;

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use hpd_encoder::{Arithmetic, Model, OpenOptions};
use hpd_files::{Error, Progress, Result, interrupt};
use serde::{Deserialize, Serialize};

use crate::provenance::{self, Machine};
use crate::report::aligned;

use case::{Pools, Sample};
pub use texts::Texts;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Truncates at this many tokens instead of the folder's `max_seq_length`.
    pub max_seq_length: Option<usize>,
    /// The numbers to compute with.
    pub arithmetics: Vec<Arithmetic>,
    /// Numbers of threads.
    pub threads: Vec<usize>,
    /// Texts in one call of `encode`.
    pub batches: Vec<usize>,
    /// How often each case is measured.
    pub rounds: usize,
}

impl Settings {
    /// Texts in a call where nothing else is asked for: as `hpd embed` has it.
    pub const BATCH: usize = 1024;
    /// Rounds where nothing else is asked for.
    pub const ROUNDS: usize = 5;
}

impl Default for Settings {
    /// One thread and all cores, in f32.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut threads = vec![1, cores];
        threads.dedup();
        Self {
            max_seq_length: None,
            arithmetics: vec![Arithmetic::default()],
            threads,
            batches: vec![Self::BATCH],
            rounds: Self::ROUNDS,
        }
    }
}

impl Settings {
    fn check(&self) -> Result<()> {
        let sizes = self.threads.iter().chain(&self.batches).chain([&self.rounds]);
        if self.arithmetics.is_empty() || self.threads.is_empty() || self.batches.is_empty() {
            return Err(Error::input(
                "nothing to measure: no arithmetic, threads or batch is named",
            ));
        }
        if sizes.into_iter().any(|&size| size == 0) {
            return Err(Error::input("threads, texts in a batch and rounds must be at least 1"));
        }
        Ok(())
    }

    /// All cases, those of a arithmetic one after another.
    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for &arithmetic in &self.arithmetics {
            for &threads in &self.threads {
                cases.extend(self.batches.iter().map(|&batch| Case { arithmetic, threads, batch }));
            }
        }
        cases
    }
}

/// One way to encode the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The numbers it computes with.
    pub arithmetic: Arithmetic,
    /// Threads it runs on.
    pub threads: usize,
    /// Texts in one call of `encode`.
    pub batch: usize,
}

/// Everything one call measured. Numbers over rounds are medians.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Version of this program.
    pub hpd_version: String,
    /// When it was measured, in UTC.
    pub date: String,
    /// What it was measured on.
    pub machine: Machine,
    /// The model as it was asked for.
    pub model: String,
    /// Fingerprint of the model's tensors.
    pub weights: String,
    /// Numbers in a vector.
    pub dimensions: usize,
    /// Texts were cut at so many tokens.
    #[serde(with = "crate::report::length")]
    pub max_seq_length: usize,
    /// Where the texts came from: a file, or `made`.
    pub source: String,
    /// How many texts there are.
    pub texts: usize,
    /// Their tokens, special ones included.
    pub tokens: usize,
    /// Texts that lost their end.
    pub truncated: usize,
    /// How often each case was measured.
    pub rounds: usize,
    /// Whether all rounds, threads and batches of a arithmetic gave the same vectors, bit for bit.
    pub same_bits: bool,
    /// One for each arithmetic.
    pub openings: Vec<Opening>,
    /// One for each case, in the order of arithmetics, threads, batches.
    pub cases: Vec<CaseResults>,
}

/// How long it takes to open a model whose files the system has in memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Opening {
    /// The numbers it is to compute with.
    pub arithmetic: Arithmetic,
    /// Milliseconds.
    pub milliseconds: f64,
}

/// What one case reached. Tokenising is part of every time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseResults {
    /// Which case.
    #[serde(flatten)]
    pub case: Case,
    /// Sentences a second.
    pub sentences_per_second: f64,
    /// The same for each round, in order, to see how much it scatters.
    pub sentences_per_second_of_rounds: Vec<f64>,
    /// Tokens a second.
    pub tokens_per_second: f64,
    /// Half of all sentences, given one at a time, have their vector in so many milliseconds.
    pub p50_milliseconds: f64,
    /// 99 of 100 sentences, given one at a time, have their vector in so many milliseconds.
    pub p99_milliseconds: f64,
    /// Multiplications and additions of the matrix products of a sentence, times sentences a second of a busy core, in GFLOP/s.
    pub gflops_per_core: f64,
    /// What a busy core reaches in `rten-gemm` products alone, on as many threads, in GFLOP/s.
    pub peak_gflops_per_core: f64,
    /// The first of the two divided by the second: the median of the rounds' shares.
    pub share_of_peak: f64,
    /// Share of the processor time that tokenising the same texts takes by itself.
    pub tokenizing_share: f64,
    /// Most memory the program held while it encoded, in bytes: model, texts and vectors of a batch. Linux only.
    pub peak_memory: Option<u64>,
    /// Fingerprint of the vectors' bits in the first round.
    pub vectors: String,
}

/// Measures how fast the model in `folder` encodes `texts`; `name` is what the results call it.
///
/// # Errors
/// When there is no text, a setting is 0, the model cannot be opened, or a stop was asked for.
///
/// # Cost
/// Each round opens the model once for each arithmetic; for each case it multiplies for 0.3 s, tokenises the texts
/// and encodes them, each at least once and for 0.3 s, and encodes 256 single sentences.
pub fn measure(
    name: &str,
    folder: &Path,
    texts: &Texts,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<Results> {
    settings.check()?;
    if texts.texts.is_empty() {
        return Err(Error::input(format!("there is no text in `{}`", texts.source)));
    }
    // Opened once before all else, so that no opening that counts waits for the disk.
    let model = open(folder, settings.arithmetics[0], settings.max_seq_length)?;
    let (weights, dimensions) = (model.identity().weights.clone(), model.dim());
    let max_seq_length = model.max_seq_length();
    drop(model);

    let cases = settings.cases();
    let Gathered { openings, samples } = gather(folder, texts, settings, &cases, progress)?;
    Ok(Results {
        hpd_version: env!("CARGO_PKG_VERSION").to_owned(),
        date: provenance::now(),
        machine: Machine {
            threads: settings.threads.iter().copied().max().unwrap_or(1),
            ..Machine::current()
        },
        model: name.to_owned(),
        weights,
        dimensions,
        max_seq_length,
        source: texts.source.clone(),
        texts: texts.texts.len(),
        tokens: samples[0][0].tokens,
        truncated: samples[0][0].truncated,
        rounds: settings.rounds,
        same_bits: same_bits(&cases, &samples),
        openings: settings.arithmetics.iter().zip(&openings).map(Opening::of).collect(),
        cases: cases.iter().zip(&samples).map(|(case, of)| summarise(*case, of)).collect(),
    })
}

/// What the rounds found, in their order.
struct Gathered {
    /// Seconds, for each arithmetic.
    openings: Vec<Vec<f64>>,
    /// For each case.
    samples: Vec<Vec<Sample>>,
}

fn gather(
    folder: &Path,
    texts: &Texts,
    settings: &Settings,
    cases: &[Case],
    progress: &dyn Progress,
) -> Result<Gathered> {
    let Settings { arithmetics, rounds, max_seq_length, .. } = settings;
    let of_arithmetic = cases.len() / arithmetics.len();
    let pools = Pools::new(&settings.threads)?;
    let mut openings = vec![Vec::new(); arithmetics.len()];
    let mut samples = vec![Vec::new(); cases.len()];
    progress.stage("measuring", Some((rounds * cases.len()) as u64));
    for round in 0..*rounds {
        for turn in in_turn(0..arithmetics.len(), round) {
            let start = Instant::now();
            let model = open(folder, arithmetics[turn], *max_seq_length)?;
            openings[turn].push(start.elapsed().as_secs_f64());
            for case in in_turn(turn * of_arithmetic..(turn + 1) * of_arithmetic, round) {
                interrupt::check("nothing was measured to the end")?;
                samples[case].push(case::sample(&model, &texts.texts, cases[case], &pools)?);
                progress.advance(1);
            }
        }
    }
    progress.finish();
    Ok(Gathered { openings, samples })
}

fn open(folder: &Path, arithmetic: Arithmetic, max_seq_length: Option<usize>) -> Result<Model> {
    let arithmetic = Some(arithmetic);
    Model::open_with(folder, &OpenOptions { max_seq_length, arithmetic, ..OpenOptions::default() })
}

/// The numbers in order, from the other end in every second round.
pub(crate) fn in_turn(numbers: Range<usize>, round: usize) -> Vec<usize> {
    if round.is_multiple_of(2) { numbers.collect() } else { numbers.rev().collect() }
}

impl Opening {
    fn of((&arithmetic, seconds): (&Arithmetic, &Vec<f64>)) -> Self {
        Self { arithmetic, milliseconds: 1e3 * median(seconds.iter().copied()) }
    }
}

/// Whether all samples of a arithmetic agree.
fn same_bits(cases: &[Case], samples: &[Vec<Sample>]) -> bool {
    let vectors = |index: usize| samples[index].iter().flat_map(|sample| &sample.vectors);
    cases.iter().enumerate().all(|(index, case)| {
        let first = cases.iter().position(|other| other.arithmetic == case.arithmetic);
        let expected = first.and_then(|first| vectors(first).next());
        vectors(index).all(|found| Some(found) == expected)
    })
}

fn summarise(case: Case, samples: &[Sample]) -> CaseResults {
    let of = |number: fn(&Sample) -> f64| median(samples.iter().map(number));
    CaseResults {
        case,
        sentences_per_second: of(Sample::sentences_per_second),
        sentences_per_second_of_rounds: samples.iter().map(Sample::sentences_per_second).collect(),
        tokens_per_second: of(|sample| sample.tokens as f64 / sample.encoding.seconds),
        p50_milliseconds: 1e3 * of(|sample| sample.p50),
        p99_milliseconds: 1e3 * of(|sample| sample.p99),
        gflops_per_core: of(Sample::operations_per_second) / 1e9,
        peak_gflops_per_core: of(|sample| sample.peak) / 1e9,
        share_of_peak: of(|sample| sample.operations_per_second() / sample.peak),
        tokenizing_share: of(|sample| sample.tokenizing.busy / sample.encoding.busy),
        peak_memory: samples.iter().filter_map(|sample| sample.peak_memory).max(),
        vectors: samples[0].vectors[0].to_string(),
    }
}

/// The number in the middle, or the mean of the two there.
pub(crate) fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 1 {
        numbers[middle]
    } else {
        (numbers[middle - 1] + numbers[middle]) / 2.0
    }
}

/// The results as aligned text: what was measured, a row for each case, and whether the answers agree.
pub fn table(results: &Results) -> String {
    let header = [
        "arithmetic",
        "threads",
        "batch",
        "sentences/s",
        "tokens/s",
        "p50 ms",
        "p99 ms",
        "GFLOP/s a core",
        "of peak",
        "tokenising",
        "memory MB",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(results.cases.iter().map(row));
    let Results { model, source, texts, tokens, rounds, machine, .. } = results;
    let openings = results.openings.iter().map(|opening| {
        format!("opened in {:.0} ms ({})", opening.milliseconds, opening.arithmetic)
    });
    format!(
        "{model}: {texts} texts ({source}) of {:.1} tokens, medians of {rounds} rounds on {}\n{}\n{}{}\n",
        *tokens as f64 / *texts as f64,
        machine.cpu,
        openings.collect::<Vec<_>>().join(", "),
        aligned(&rows),
        if results.same_bits {
            "all rounds, threads and batches gave the same vectors, bit for bit"
        } else {
            "WRONG: rounds, threads or batches of one arithmetic gave different vectors"
        }
    )
}

fn row(results: &CaseResults) -> Vec<String> {
    let Case { arithmetic, threads, batch } = results.case;
    let megabytes = |bytes: u64| format!("{:.0}", bytes as f64 / 1e6);
    vec![
        arithmetic.to_string(),
        threads.to_string(),
        batch.to_string(),
        format!("{:.0}", results.sentences_per_second),
        format!("{:.0}", results.tokens_per_second),
        format!("{:.2}", results.p50_milliseconds),
        format!("{:.2}", results.p99_milliseconds),
        format!("{:.1} of {:.1}", results.gflops_per_core, results.peak_gflops_per_core),
        format!("{:.1} %", 100.0 * results.share_of_peak),
        format!("{:.1} %", 100.0 * results.tokenizing_share),
        results.peak_memory.map_or_else(|| "-".to_owned(), megabytes),
    ]
}

#[cfg(test)]
mod tests {
    use hpd_files::Silent;

    use super::*;

    const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/encoder/bert_mean");

    fn settings() -> Settings {
        Settings { threads: vec![1, 2], batches: vec![3, 64], rounds: 2, ..Settings::default() }
    }

    #[test]
    fn every_case_is_measured_and_gives_the_same_bits() {
        let texts = Texts { source: "test".to_owned(), texts: vec!["a b".to_owned(); 7] };
        let results = measure("m", Path::new(MODEL), &texts, &settings(), &Silent).unwrap();
        assert!(results.same_bits);
        assert_eq!((results.cases.len(), results.openings.len(), results.texts), (4, 1, 7));
        for case in &results.cases {
            assert_eq!(case.sentences_per_second_of_rounds.len(), 2);
            assert!(case.p50_milliseconds > 0.0 && case.p99_milliseconds >= case.p50_milliseconds);
            assert!(case.share_of_peak > 0.0 && case.tokenizing_share > 0.0, "{case:?}");
            assert_eq!(case.vectors, results.cases[0].vectors);
        }
        assert_eq!(table(&results).lines().count(), 3 + 4 + 1);
    }

    #[test]
    fn different_vectors_are_noticed() {
        let case = Case { arithmetic: Arithmetic::Float32, threads: 1, batch: 1 };
        let sample =
            |bytes: &[u8]| Sample::of_vectors(hpd_files::fingerprint::Fingerprint::of(bytes));
        let cases = [case, Case { threads: 2, ..case }];
        let alike = [vec![sample(b"a"), sample(b"a")], vec![sample(b"a")]];
        let rounds_differ = [vec![sample(b"a"), sample(b"b")], vec![sample(b"a")]];
        let threads_differ = [vec![sample(b"a")], vec![sample(b"b")]];
        assert!(same_bits(&cases, &alike));
        assert!(!same_bits(&cases, &rounds_differ));
        assert!(!same_bits(&cases, &threads_differ));
    }

    #[test]
    fn nothing_to_measure_is_refused() {
        let none = Texts { source: "x.txt".to_owned(), texts: Vec::new() };
        let error = measure("m", Path::new(MODEL), &none, &settings(), &Silent).unwrap_err();
        assert!(error.to_string().contains("no text in `x.txt`"));
        for broken in [
            Settings { rounds: 0, ..settings() },
            Settings { threads: vec![1, 0], ..settings() },
            Settings { batches: vec![], ..settings() },
        ] {
            assert!(measure("m", Path::new(MODEL), &none, &broken, &Silent).is_err());
        }
    }

    #[test]
    fn medians_and_turns() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!((in_turn(0..3, 0), in_turn(0..3, 1)), (vec![0, 1, 2], vec![2, 1, 0]));
    }
}
