//! How fast a folder's tokenizer opens and how many texts and tokens it makes in a second of one core.
//!
//! `cargo run --release -p hpd-encoder --example tokenize_speed -- MODEL LINES [ROUNDS]`
//!
//! Times are processor time where the system tells it (Linux), the median of all rounds, so that other programs on
//! the machine hardly change them.

#![allow(clippy::print_stdout, reason = "the numbers are all it is for")]

use std::path::Path;
use std::time::Instant;

use hpd_encoder::Tokenizer;
use hpd_files::{Error, Result};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, lines, rounds @ ..] = arguments.as_slice() else {
        return Err(Error::input("expected MODEL LINES [ROUNDS]"));
    };
    let rounds = rounds.first().and_then(|n| n.parse().ok()).unwrap_or(9);
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().ok();
    let text = std::fs::read_to_string(lines).map_err(|e| Error::io("read", lines, e))?;
    let texts: Vec<&str> = text.lines().collect();

    let open = || Tokenizer::open(Path::new(model), None);
    let opening = median(rounds, || open().map(drop))?;
    let tokenizer = open()?;
    let tokens = tokenizer.tokenize(&texts)?;
    let seconds = median(rounds, || tokenizer.tokenize(&texts).map(drop))?;
    println!(
        "opened in {:.1} ms; {:.0} texts/s, {:.0} tokens/s, {:.0} ns a token ({} texts, {} tokens, {} cut, {} unknown)",
        opening * 1e3,
        texts.len() as f64 / seconds,
        tokens.ids.len() as f64 / seconds,
        seconds * 1e9 / tokens.ids.len() as f64,
        texts.len(),
        tokens.ids.len(),
        tokens.truncated,
        tokens.unknown,
    );
    Ok(())
}

fn median(rounds: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut seconds = Vec::with_capacity(rounds);
    for _ in 0..rounds.max(1) {
        let (start, busy) = (Instant::now(), processor_seconds());
        work()?;
        let busy = processor_seconds().zip(busy).map(|(now, then)| now - then);
        seconds.push(busy.unwrap_or_else(|| start.elapsed().as_secs_f64()));
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[seconds.len() / 2])
}

/// Seconds that this program's threads have spent on processors.
fn processor_seconds() -> Option<f64> {
    let threads = std::fs::read_dir("/proc/self/task").ok()?;
    let nanoseconds = threads.filter_map(|thread| {
        let numbers = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        numbers.split(' ').next()?.parse::<f64>().ok()
    });
    Some(nanoseconds.sum::<f64>() / 1e9)
}
