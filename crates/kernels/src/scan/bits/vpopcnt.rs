//! Weighted counts by `vpopcntq`, which counts eight words at once.
//!
//! No machine with this instruction was at hand when this was written.

use std::arch::x86_64::{
    __m512i, _mm_cvtsi64_si128, _mm512_add_epi64, _mm512_maskz_loadu_epi64, _mm512_popcnt_epi64,
    _mm512_reduce_add_epi64, _mm512_setzero_si512, _mm512_sll_epi64, _mm512_xor_si512,
};

use super::{BitQuery, BitRows};
use crate::scan::Pick;

/// Words of a vector.
const WORDS: usize = 8;

/// Whether this CPU has the instruction; no [`Level`](crate::Level) tells of it.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vpopcntdq")
}

/// Scores of all picked rows.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
pub(super) fn scores<P: Pick>(query: &BitQuery, rows: BitRows<'_>, picked: P, scores: &mut [f32]) {
    for (i, score) in scores.iter_mut().enumerate() {
        *score = query.score_of(count(&query.planes, rows.row(picked.row(i))));
    }
}

/// The weighted count of a row.
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn count(planes: &[u64], row: &[u64]) -> u32 {
    let mut count = _mm512_setzero_si512();
    for (at, words) in row.chunks(WORDS).enumerate() {
        let vector = load(words);
        for (p, plane) in planes.chunks_exact(row.len()).enumerate() {
            let differing = _mm512_xor_si512(vector, load(&plane[at * WORDS..][..words.len()]));
            let weight = _mm_cvtsi64_si128(p as i64);
            let counts = _mm512_sll_epi64(_mm512_popcnt_epi64(differing), weight);
            count = _mm512_add_epi64(count, counts);
        }
    }
    _mm512_reduce_add_epi64(count) as u32
}

/// At most eight words, and zeros behind them.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(words: &[u64]) -> __m512i {
    assert!(words.len() <= WORDS, "no more than fit");
    // SAFETY: only the words that the mask names are read.
    unsafe {
        _mm512_maskz_loadu_epi64(
            (1_u16 << words.len()).wrapping_sub(1) as u8,
            words.as_ptr().cast(),
        )
    }
}
