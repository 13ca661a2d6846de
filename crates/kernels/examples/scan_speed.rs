//! How fast one thread scans a store, and what share that is of the speed at which it can read memory at all.
//!
//! `cargo run --release -p hpd-kernels --example scan_speed`
//!
//! At the level that `HPD_SIMD` names, or the fastest. The best of several runs, since anything else on the machine only
//! makes one slower. Codes are noise: what they say does not matter, only that they are many and all different.

#![allow(clippy::print_stdout, reason = "the numbers are all it is for")]

use std::hint::black_box;
use std::time::Instant;

use hpd_kernels::scan::{
    BitQuery, BitRows, ByteQuery, ByteRows, FloatQuery, FloatRows, Query, Rows, Selection,
    scan_many,
};
use hpd_kernels::{Level, Lines, TopK};

const ROWS: usize = 4_000_000;
const FLOAT_ROWS: usize = 1_000_000;
const DIM: usize = 128;
const BEST: usize = 10;
const BATCH: usize = 16;
const RUNS: usize = 7;

fn main() {
    let words = noise(ROWS * DIM / 8);
    let mut codes = Lines::<i8>::zeros(ROWS * DIM);
    let bytes = words.iter().flat_map(|word| word.to_ne_bytes());
    codes.iter_mut().zip(bytes).for_each(|(code, byte)| *code = byte as i8);
    let scales: Vec<f32> = (0..ROWS).map(|row| 0.01 + (row % 97) as f32 * 1e-5).collect();
    let numbers: Vec<f32> = codes[..FLOAT_ROWS * DIM].iter().map(|code| f32::from(*code)).collect();
    let queries: Vec<&[f32]> = numbers.chunks_exact(DIM).step_by(999).take(BATCH).collect();

    let bandwidth = size_of_val(&*words) as f64 / best(|| sum(&words)) / 1e9;
    println!("memory is read at {bandwidth:.1} GB/s");
    let bytes = ByteRows::new(&codes, &scales, DIM);
    let bits = BitRows::new(&words[..ROWS * DIM / 64], DIM);
    let floats = FloatRows::new(&numbers, DIM);
    let asked = Asked { level: Level::best(), queries: &queries, bandwidth };
    asked.report("int8", ByteQuery::new, bytes, DIM + size_of::<f32>());
    asked.report("signs", BitQuery::signs, bits, DIM / 8);
    asked.report("signs, graded query", BitQuery::graded, bits, DIM / 8);
    asked.report("f32", FloatQuery::new, floats, DIM * size_of::<f32>());
}

/// Who asks what.
struct Asked<'a> {
    level: Level,
    queries: &'a [&'a [f32]],
    bandwidth: f64,
}

impl Asked<'_> {
    /// Measures scans for one query and for all, and of a tenth and nine tenths of the rows.
    fn report<Q: Query>(
        &self,
        kind: &str,
        prepare: impl Fn(&[f32]) -> Q,
        rows: Q::Rows<'_>,
        row_bytes: usize,
    ) {
        let queries: Vec<Q> = self.queries.iter().map(|query| prepare(query)).collect();
        let time = |count: usize, mask: Option<&[u64]>| {
            best(|| {
                let mut tops = vec![TopK::new(BEST); count];
                let selection = Selection { first: 0, mask };
                scan_many(self.level, &queries[..count], rows, selection, &mut tops);
                tops
            })
        };
        let (one, many) = (time(1, None), time(BATCH, None));
        let speed = (rows.len() * row_bytes) as f64 / one / 1e9;
        println!(
            "{}: {kind}, {} M rows: {:.2} ms a query, {speed:.1} GB/s, {:.0} % of the memory's; {BATCH} at once {:.2} ms each",
            self.level,
            rows.len() / 1_000_000,
            one * 1e3,
            100.0 * speed / self.bandwidth,
            many * 1e3 / BATCH as f64,
        );
        let masks: Vec<String> = [1, 10, 500, 900, 990]
            .into_iter()
            .map(|share| {
                let mask = mask(rows.len(), share);
                format!("{:.2} ms of {} %", time(1, Some(&mask)) * 1e3, share as f64 / 10.0)
            })
            .collect();
        println!("{}: {kind}, where a mask lets rows count: {}", self.level, masks.join(", "));
    }
}

/// Seconds of the fastest of several runs.
fn best<T>(run: impl Fn() -> T) -> f64 {
    let time = |_| {
        let start = Instant::now();
        black_box(run());
        start.elapsed().as_secs_f64()
    };
    (0..RUNS).map(time).fold(f64::MAX, f64::min)
}

/// Adds everything up, four pages at a time: what brings memory fastest of all simple ways to use it.
fn sum(words: &[u64]) -> u64 {
    const PAGE: usize = 512;
    let mut sums = [0_u64; 32];
    for pages in words.as_chunks::<{ 4 * PAGE }>().0 {
        for at in (0..PAGE).step_by(8) {
            for page in 0..4 {
                let words = &pages[page * PAGE + at..][..8];
                for (sum, word) in sums[page * 8..].iter_mut().zip(words) {
                    *sum = sum.wrapping_add(*word);
                }
            }
        }
    }
    sums.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

/// A mask in which about so many of a thousand rows count.
fn mask(rows: usize, share: u64) -> Vec<u64> {
    let mut draws = noise(rows.next_multiple_of(64)).into_iter();
    let mut bit = || u64::from(draws.next().expect("a draw a row") % 1000 < share);
    (0..rows.div_ceil(64)).map(|_| (0..64).fold(0, |word, i| word | bit() << i)).collect()
}

/// Different words for each place; what they say does not matter.
fn noise(count: usize) -> Vec<u64> {
    let mix = |i: u64| (i ^ i >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (1..=count as u64).map(|i| mix(mix(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)))).collect()
}
