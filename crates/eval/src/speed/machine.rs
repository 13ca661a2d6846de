//! What the system tells of this program: time on processors, and memory.

use std::fs;
use std::time::{Duration, Instant};

use hpd_files::Result;

/// Seconds of one piece of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    /// By the clock.
    pub(super) seconds: f64,
    /// On processors, all threads together.
    pub(super) busy: f64,
}

/// Runs `work` on `threads` threads and tells what it took. Where the system does not tell processor time, all
/// threads count as busy from the beginning to the end.
pub(super) fn timed<T>(threads: usize, work: impl FnOnce() -> T) -> (T, Spent) {
    let (start, before) = (Instant::now(), processor_seconds());
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    let busy = processor_seconds().zip(before).map(|(now, before)| now - before);
    let busy = busy.filter(|busy| *busy > 0.0).unwrap_or(seconds * threads as f64);
    (result, Spent { seconds, busy })
}

/// Runs `work` again and again for at least so long, since the system counts processor time in steps of some
/// milliseconds, and tells what one pass took.
pub(super) fn repeated<T>(
    threads: usize,
    least: Duration,
    mut work: impl FnMut() -> Result<T>,
) -> Result<(Vec<T>, Spent)> {
    let (passes, spent) = timed(threads, || {
        let start = Instant::now();
        let mut passes = vec![work()?];
        while start.elapsed() < least {
            passes.push(work()?);
        }
        Ok(passes)
    });
    let passes: Vec<T> = passes?;
    let count = passes.len() as f64;
    Ok((passes, Spent { seconds: spent.seconds / count, busy: spent.busy / count }))
}

/// Seconds that this program's living threads have spent on processors.
fn processor_seconds() -> Option<f64> {
    let threads = fs::read_dir("/proc/self/task").ok()?;
    let nanoseconds = threads.filter_map(|thread| {
        let numbers = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        numbers.split(' ').next()?.parse::<f64>().ok()
    });
    Some(nanoseconds.sum::<f64>() / 1e9).filter(|seconds| *seconds > 0.0)
}

/// Lets [`peak_memory`] begin anew from what is held now.
pub(super) fn forget_peak_memory() {
    // Where this is not allowed the peak is that since the program began.
    fs::write("/proc/self/clear_refs", "5").ok();
}

/// The most memory that this program has held, in bytes.
pub(super) fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
