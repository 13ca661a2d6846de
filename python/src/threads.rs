//! The threads that compute, and how Python waits for them.
//!
//! Rayon's global pool would not do: a process that was forked (`multiprocessing`, gunicorn) has none of its threads and
//! would wait for them for ever. So the pool is this module's own and is made anew where the process is another one.

use std::num::NonZeroUsize;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hpd_files::{Result, interrupt};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::errors::raised;

/// How long Ctrl-C may go unnoticed.
const SIGNALS_EVERY: Duration = Duration::from_millis(100);

/// The pool, the process it belongs to, and how many threads were asked for.
struct Threads {
    asked: Option<NonZeroUsize>,
    pool: Option<(u32, Arc<ThreadPool>)>,
}

static THREADS: Mutex<Threads> = Mutex::new(Threads { asked: None, pool: None });

/// Does `work` on the threads of this process and without Python's lock. What the handler of a signal raises meanwhile,
/// `KeyboardInterrupt` for Ctrl-C, ends the work at its next safe point and is raised then.
pub(crate) fn compute<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    let pool = pool()?;
    let (answer, signal) = py.detach(|| pool.in_place_scope(|scope| watched(scope, work)));
    match (signal, answer) {
        (Some(signal), _) => Err(signal),
        (None, Some(Ok(answer))) => Ok(answer),
        (None, Some(Err(error))) => Err(raised(py, &error)),
        (None, None) => Err(PyRuntimeError::new_err("a thread of hpd ended without an answer")),
    }
}

/// The answer of `work`, and what a signal's handler raised. Only Python's main thread learns of signals.
fn watched<'scope, T: Send + 'scope>(
    scope: &rayon::Scope<'scope>,
    work: impl FnOnce() -> Result<T> + Send + 'scope,
) -> (Option<Result<T>>, Option<PyErr>) {
    let (sender, receiver) = mpsc::sync_channel(1);
    // Nobody is left to hear the answer only where this has panicked.
    scope.spawn(move |_| drop(sender.send(work())));
    let mut signal = None;
    let answer = loop {
        match receiver.recv_timeout(SIGNALS_EVERY) {
            Ok(answer) => break Some(answer),
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) if signal.is_none() => {
                signal = Python::attach(|py| py.check_signals()).err();
                if signal.is_some() {
                    interrupt::request();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    if signal.is_some() {
        interrupt::withdraw();
    }
    (answer, signal)
}

fn pool() -> PyResult<Arc<ThreadPool>> {
    let mut threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    match threads.pool.take() {
        Some((owner, pool)) if owner == process => {
            threads.pool = Some((owner, pool.clone()));
            return Ok(pool);
        }
        // Dropping it would tell threads to end that are not here.
        Some((_, of_the_parent)) => std::mem::forget(of_the_parent),
        None => {}
    }
    let count = threads.asked.or_else(of_environment).map_or(0, NonZeroUsize::get);
    let pool = ThreadPoolBuilder::new()
        .num_threads(count)
        .thread_name(|i| format!("hpd-{i}"))
        .build()
        .map_err(|e| PyRuntimeError::new_err(format!("cannot start the threads: {e}")))?;
    let pool = Arc::new(pool);
    threads.pool = Some((process, pool.clone()));
    Ok(pool)
}

fn of_environment() -> Option<NonZeroUsize> {
    std::env::var("HPD_THREADS").ok()?.parse().ok()
}

/// Computes with so many threads from now on.
#[pyfunction]
pub(crate) fn set_num_threads(count: usize) -> PyResult<()> {
    let count = NonZeroUsize::new(count).ok_or_else(|| {
        PyValueError::new_err("0 threads are asked for, but work needs at least 1")
    })?;
    let mut threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    threads.asked = Some(count);
    match threads.pool.take() {
        // Work that goes on keeps its own share of the pool it began with.
        Some((owner, pool)) if owner == std::process::id() => drop(pool),
        other => std::mem::forget(other),
    }
    Ok(())
}

/// How many threads compute.
#[pyfunction]
pub(crate) fn get_num_threads() -> PyResult<usize> {
    Ok(pool()?.current_num_threads())
}
