//! One sample of a search, and how long a form takes to be read.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hpd_files::vectors::Matrix;
use hpd_files::{Error, Result};
use rayon::ThreadPool;

/// Searches of a sample go on at least so long, which tests of this crate, where no time is checked, need not …
const LEAST: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 250 });

/// … and there are at least so many single ones.
const SINGLES: usize = 10;

/// Milliseconds a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// One query at a time.
    pub(super) single: f64,
    /// In batches.
    pub(super) batched: f64,
}

/// Searches for queries one at a time and in batches, each after a first one that does not count.
pub(super) fn sample(
    pool: &ThreadPool,
    queries: &Matrix,
    batch: usize,
    search: &(impl Fn(&[f32]) -> Result<()> + Sync),
) -> Result<Sample> {
    let single = milliseconds(pool, queries, 1, SINGLES, search)?;
    let batched = milliseconds(pool, queries, batch, 1, search)?;
    Ok(Sample { single, batched })
}

/// Milliseconds a query, `batch` queries at a time, in at least `least` searches.
fn milliseconds(
    pool: &ThreadPool,
    queries: &Matrix,
    batch: usize,
    least: usize,
    search: &(impl Fn(&[f32]) -> Result<()> + Sync),
) -> Result<f64> {
    let mut next = 0;
    let mut asked = Vec::new();
    let mut ask = || {
        asked.clear();
        for _ in 0..batch {
            asked.extend_from_slice(queries.row(next % queries.len()));
            next += 1;
        }
        let start = Instant::now();
        pool.install(|| search(&asked))?;
        Ok::<_, Error>(start.elapsed())
    };
    ask()?;
    let (mut spent, mut searches) = (Duration::ZERO, 0);
    while searches < least || spent < LEAST {
        spent += ask()?;
        searches += 1;
    }
    Ok(1e3 * spent.as_secs_f64() / (searches * batch) as f64)
}

/// Laps of a clock, in seconds.
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn lap(&mut self) -> f64 {
        let now = Instant::now();
        (now - std::mem::replace(&mut self.0, now)).as_secs_f64()
    }
}

/// Seconds to read parts from a file into memory of their own, just after they were written there.
///
/// # Errors
/// When the temporary file cannot be written or read.
pub(super) fn load_seconds(parts: &[&[u8]]) -> Result<f64> {
    let name = format!("hpd-bench-{}.vectors", std::process::id());
    let file = Temporary(std::env::temp_dir().join(name));
    file.write(parts).map_err(|e| Error::io("write", &file.0, e))?;
    let start = Instant::now();
    read(&file.0, parts).map_err(|e| Error::io("read", &file.0, e))?;
    Ok(start.elapsed().as_secs_f64())
}

/// Removed when it is not needed any more.
struct Temporary(PathBuf);

impl Temporary {
    fn write(&self, parts: &[&[u8]]) -> std::io::Result<()> {
        let mut file = File::create(&self.0)?;
        parts.iter().try_for_each(|part| file.write_all(part))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn read(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    for part in parts {
        let mut read = Vec::with_capacity(part.len());
        (&mut file).take(part.len() as u64).read_to_end(&mut read)?;
        std::hint::black_box(&read);
    }
    Ok(())
}
