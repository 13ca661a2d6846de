//! Ctrl-C and SIGTERM as a flag that long loops look at between two pieces of work.
//!
//! The binary's signal handler calls [`request`]; loops call [`check`] after they have made their last
//! piece safe on disk, so an interrupted run always resumes.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

static REQUESTED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread is to bring its work to an end whatever is asked for.
    static TO_THE_END: Cell<bool> = const { Cell::new(false) };
}

/// Asks every long loop to stop at its next safe point.
pub fn request() {
    REQUESTED.store(true, Ordering::SeqCst);
}

/// Whether a stop was asked for.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// An [`crate::ErrorKind::Interrupted`] error once a stop was asked for; `kept` tells what a second run can pick up.
pub fn check(kept: &str) -> Result<()> {
    let stop = requested() && !TO_THE_END.get();
    if stop { Err(Error::interrupted(kept)) } else { Ok(()) }
}

/// Does `work` on this thread without minding requests that it [`check`]s for: it is short, and somebody waits for the answer.
pub fn to_the_end<T>(work: impl FnOnce() -> T) -> T {
    let before = TO_THE_END.replace(true);
    let done = work();
    TO_THE_END.set(before);
    done
}

/// Takes the request back, once all that was to stop has stopped: for programs that go on after Ctrl-C.
pub fn withdraw() {
    REQUESTED.store(false, Ordering::SeqCst);
}
