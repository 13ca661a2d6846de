//! Asking for memory before it is read.

/// Asks for the cache lines of `bytes` from an address on; any address will do.
#[inline(always)]
pub(crate) fn prefetch<T>(at: *const T, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint reads nothing and is ignored where there is no memory; SSE is in every 64-bit x86.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast::<i8>().wrapping_add(line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, bytes);
}

/// Bytes between what is read and what is asked for.
pub(crate) const AHEAD: usize = 4096;

/// Asks for what will be read some way behind `count` elements that are read now, in a pass over memory: the memory's own
/// foresight ends with every page, and pages are soon through.
#[inline(always)]
pub(crate) fn ahead<T>(elements: &[T], at: usize, count: usize) {
    let next = elements.as_ptr().wrapping_add(at).wrapping_byte_add(AHEAD);
    prefetch(next, count * size_of::<T>());
}
