//! How long a model takes to open, and which part of it takes how long.
//!
//! `cargo run --release -p hpd-encoder --example open_speed -- MODEL`
//!
//! Medians of many openings with the files in the page cache, on one thread.

#![allow(clippy::print_stdout, reason = "the numbers are all it is for")]

use std::path::Path;
use std::time::Instant;

use hpd_encoder::{Folder, Model, Tokenizer, Weights};
use hpd_files::Result;

const ROUNDS: usize = 25;

fn main() -> Result<()> {
    let model = std::env::args().nth(1).unwrap_or_default();
    let path = Path::new(&model);
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().ok();
    let folder = Folder::open(path)?;
    let read_all = || {
        let weights = Weights::open(&folder.transformer)?;
        let read = |name: String| weights.tensor(&name, weights.shape(&name).unwrap_or_default());
        weights.names().map(read).collect::<Result<Vec<_>>>().map(drop)
    };
    measure("JSON files", || Folder::open(path).map(drop))?;
    measure("tokenizer", || Tokenizer::of(&folder, None).map(drop))?;
    measure("tensors, widened and checked", read_all)?;
    measure("all of it", || Model::open(path).map(drop))?;
    Ok(())
}

fn measure(what: &str, work: impl Fn() -> Result<()>) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!("{:>7.1} ms  (least {:.1})  {what}", times[ROUNDS / 2], times[0]);
    Ok(())
}
