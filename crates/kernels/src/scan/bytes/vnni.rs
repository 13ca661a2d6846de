//! Eight sums at once by `vpdpbusd`, which adds four products of an unsigned and a signed byte to 32 bits.
//!
//! Codes are made unsigned by adding 128, which adds 128 times the query's steps to each sum. A step is `256 · high + low`
//! with two signed bytes, whose sums are held apart. Sums wrap as they like: the whole fits 32 bits in the end.
//!
//! Arrays of vectors are filled by loops: a closure given to `map` is not sure to be compiled with the function's
//! instructions, and as a call that stores and loads every vector it made this slower than AVX2.

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi32, _mm256_setzero_si256, _mm512_add_epi32,
    _mm512_castsi512_si256, _mm512_dpbusd_epi32, _mm512_extracti64x4_epi64, _mm512_loadu_si512,
    _mm512_maskz_loadu_epi8, _mm512_set1_epi8, _mm512_setzero_si512, _mm512_slli_epi32,
    _mm512_xor_si512,
};

use super::{ByteQuery, ByteRows, LINE, TILE, Tile};
use crate::scan::Pick;

/// Scores of whole tiles: [`TILE`] rows by one query where there is one, else half of them by two.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2")]
pub(super) fn scores<P: Pick>(
    queries: &[ByteQuery],
    rows: ByteRows<'_>,
    picked: P,
    scores: &mut [f32],
) {
    super::tiles(
        queries,
        rows,
        picked,
        scores,
        |tile| add_up::<TILE, 1>(tile),
        |tile| add_up::<{ TILE / 2 }, 2>(tile),
    );
}

/// `sums[q][r]` of `R · Q = TILE` pairs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2")]
fn add_up<const R: usize, const Q: usize>(tile: Tile<'_, R, Q>) -> [i32; TILE] {
    let dim = tile.rows[0].len();
    let padded = dim.next_multiple_of(LINE);
    assert!(tile.rows.iter().all(|row| row.len() == dim), "rows of one width");
    for query in tile.queries {
        assert!(query.high.len() == padded && query.low.len() == padded, "as wide as the query");
    }
    let mut sums = [[[_mm512_setzero_si512(); 2]; R]; Q];
    for at in (0..dim).step_by(LINE) {
        let left = (dim - at).min(LINE);
        let mut rows = [_mm512_setzero_si512(); R];
        for (codes, row) in rows.iter_mut().zip(tile.rows) {
            // SAFETY: `left` codes are left of the row from `at` on.
            let signed = unsafe { load(row.as_ptr().add(at), left) };
            *codes = _mm512_xor_si512(signed, _mm512_set1_epi8(i8::MIN));
        }
        for (sums, query) in sums.iter_mut().zip(tile.queries) {
            // SAFETY: both are filled up to a multiple of a line and end behind `at`.
            let (high, low) = unsafe {
                (
                    _mm512_loadu_si512(query.high.as_ptr().add(at).cast()),
                    _mm512_loadu_si512(query.low.as_ptr().add(at).cast()),
                )
            };
            for (sums, row) in sums.iter_mut().zip(rows) {
                sums[0] = _mm512_dpbusd_epi32(sums[0], row, high);
                sums[1] = _mm512_dpbusd_epi32(sums[1], row, low);
            }
        }
    }
    let mut halves = [_mm256_setzero_si256(); TILE];
    for (half, [high, low]) in halves.iter_mut().zip(sums.as_flattened()) {
        *half = fold(*high, *low);
    }
    let mut sums = super::avx2::reduce(&halves);
    for (sums, query) in sums.chunks_exact_mut(R).zip(tile.queries) {
        for sum in sums {
            *sum = sum.wrapping_sub(query.surplus);
        }
    }
    sums
}

/// The first `count` of a line's codes and zeros behind them.
///
/// # Safety
/// `count` codes, at most 64, can be read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn load(codes: *const i8, count: usize) -> __m512i {
    if count == LINE {
        // SAFETY: the caller's promise.
        return unsafe { _mm512_loadu_si512(codes.cast()) };
    }
    // SAFETY: only what the mask names is read.
    unsafe { _mm512_maskz_loadu_epi8((1 << count) - 1, codes) }
}

/// `256 · high + low`, the upper lanes added to the lower.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
fn fold(high: __m512i, low: __m512i) -> __m256i {
    let sums = _mm512_add_epi32(_mm512_slli_epi32::<8>(high), low);
    _mm256_add_epi32(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64::<1>(sums))
}
