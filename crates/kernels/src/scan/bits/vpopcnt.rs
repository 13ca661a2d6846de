//! Distances of signs by `vpopcntq`, which counts eight words at once.
//!
//! Only for rows of 2 or 4 words, of which a vector holds several: pairs of counts are added until there is one a row.
//! Wider rows are read no faster than `popcnt` counts them.

use std::arch::x86_64::{
    __m512i, _mm256_storeu_si256, _mm512_add_epi64, _mm512_cvtepi64_epi32, _mm512_loadu_si512,
    _mm512_permutex2var_epi64, _mm512_popcnt_epi64, _mm512_setr_epi64, _mm512_setzero_si512,
    _mm512_xor_si512,
};

use super::{BitQuery, BitRows, rows_ahead};
use crate::scan::Pick;

/// Words of a vector, and rows that are counted at once.
const ROWS: usize = 8;

/// Whether this CPU has the instruction, which no [`Level`](crate::Level) tells of, and the query and its rows are such.
pub(super) fn fits<P: Pick>(query: &BitQuery) -> bool {
    let (words, planes) = (query.words(), query.planes.len());
    P::NEIGHBOURS
        && words == planes
        && (words == 2 || words == 4)
        && is_x86_feature_detected!("avx512vpopcntdq")
}

/// Scores of picked neighbours; [`fits`] must have said so.
#[target_feature(enable = "avx512f,avx512vpopcntdq,popcnt,avx2")]
pub(super) fn scores<P: Pick>(query: &BitQuery, rows: BitRows<'_>, picked: P, scores: &mut [f32]) {
    match query.words() {
        2 => of_width::<P, 2>(query, rows, picked, scores),
        _ => of_width::<P, 4>(query, rows, picked, scores),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq,popcnt,avx2")]
fn of_width<P: Pick, const W: usize>(
    query: &BitQuery,
    rows: BitRows<'_>,
    picked: P,
    scores: &mut [f32],
) {
    let mut signs = [0; ROWS];
    for (i, word) in signs.iter_mut().enumerate() {
        *word = query.planes[i % W];
    }
    // SAFETY: an array of eight words.
    let signs = unsafe { _mm512_loadu_si512(signs.as_ptr().cast()) };
    let whole = scores.len() / ROWS * ROWS;
    let (eights, rest) = scores.split_at_mut(whole);
    for (at, scores) in eights.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
        let row = picked.row(at * ROWS);
        rows_ahead::<P>(rows, row, ROWS);
        let counts = distances::<W>(&rows.words[row * W..][..ROWS * W], signs);
        for (score, count) in scores.iter_mut().zip(counts) {
            *score = query.score_of(count);
        }
    }
    for (i, score) in rest.iter_mut().enumerate() {
        let words = rows.row(picked.row(whole + i)).iter().zip(&query.planes);
        *score = query.score_of(words.map(|(x, y)| (x ^ y).count_ones()).sum());
    }
}

/// In how many bits each of [`ROWS`] rows differs from the signs.
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq,avx2")]
fn distances<const W: usize>(rows: &[u64], signs: __m512i) -> [u32; ROWS] {
    assert!(rows.len() == ROWS * W, "whole rows");
    let mut counts = [_mm512_setzero_si512(); W];
    for (v, count) in counts.iter_mut().enumerate() {
        // SAFETY: eight words from `8 · v` on are there, checked above.
        let words = unsafe { _mm512_loadu_si512(rows.as_ptr().add(ROWS * v).cast()) };
        *count = _mm512_popcnt_epi64(_mm512_xor_si512(words, signs));
    }
    let even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    let odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
    let mut left = W;
    while left > 1 {
        left /= 2;
        for i in 0..left {
            let (a, b) = (counts[2 * i], counts[2 * i + 1]);
            let (first, second) =
                (_mm512_permutex2var_epi64(a, even, b), _mm512_permutex2var_epi64(a, odd, b));
            counts[i] = _mm512_add_epi64(first, second);
        }
    }
    let mut distances = [0; ROWS];
    // SAFETY: eight numbers of 32 bits are half a vector.
    unsafe {
        _mm256_storeu_si256(distances.as_mut_ptr().cast(), _mm512_cvtepi64_epi32(counts[0]));
    }
    distances
}
