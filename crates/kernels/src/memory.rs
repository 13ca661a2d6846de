//! What becomes of memory that was given back.
//!
//! Separate because it is a word with the C library, not arithmetic. A training step asks for the same large
//! buffers as the step before. Handed back to the system and fetched again, each of their pages is cleared and mapped
//! anew, on one thread, while the others wait: a fifth of a step.

/// Keeps freed memory in the process for its next allocations, from now on and for all threads.
///
/// Does nothing where the C library is not glibc. A process then stays as large as it has ever been.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets three numbers of the allocator, under its own lock; every value is allowed.
    unsafe {
        // Large blocks from the heap too, never in a mapping of their own that ends with them.
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}
