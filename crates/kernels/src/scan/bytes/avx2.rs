//! Eight sums at once by `vpmaddwd`: codes become 16 bits as they are loaded, and each sum is exact.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_hadd_epi32,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_permute2x128_si256, _mm256_setzero_si256,
    _mm256_storeu_si256,
};

use super::{ByteQuery, ByteRows, CHUNK, TILE, Tile};
use crate::scan::Pick;

/// Scores of whole tiles: [`TILE`] rows by one query where there is one, else half of them by two.
///
/// Rows must be at least [`CHUNK`] wide.
#[target_feature(enable = "avx2")]
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
#[target_feature(enable = "avx2")]
fn add_up<const R: usize, const Q: usize>(tile: Tile<'_, R, Q>) -> [i32; TILE] {
    let dim = tile.rows[0].len();
    assert!(dim >= CHUNK && tile.rows.iter().all(|row| row.len() == dim), "rows of one width");
    assert!(tile.queries.iter().all(|query| query.steps.len() == dim), "as wide as the query");
    let rows = tile.rows.map(|row| row.as_ptr());
    let steps = tile.queries.map(|query| query.steps.as_ptr());
    let mut sums = [[_mm256_setzero_si256(); R]; Q];
    for at in (0..dim - CHUNK + 1).step_by(CHUNK) {
        // SAFETY: `at + CHUNK <= dim`, which is the length of each row and query.
        unsafe { add(&mut sums, rows.map(|row| row.add(at)), steps.map(|steps| steps.add(at))) };
    }
    if !dim.is_multiple_of(CHUNK) {
        // The last numbers once more, of which those that were added already count 0 times.
        let last = tile.queries.map(|query| query.last.as_ptr());
        // SAFETY: the last `CHUNK` of at least as many codes, and an array of `CHUNK` steps.
        unsafe { add(&mut sums, rows.map(|row| row.add(dim - CHUNK)), last) };
    }
    reduce(sums.as_flattened())
}

/// Adds the products of [`CHUNK`] numbers.
///
/// # Safety
/// `CHUNK` numbers can be read from each pointer on.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add<const R: usize, const Q: usize>(
    sums: &mut [[__m256i; R]; Q],
    rows: [*const i8; R],
    steps: [*const i16; Q],
) {
    // SAFETY: the caller's promise.
    let rows = rows.map(|row| unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(row.cast())) });
    for (sums, steps) in sums.iter_mut().zip(steps) {
        // SAFETY: the caller's promise.
        let steps = unsafe { _mm256_loadu_si256(steps.cast()) };
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(row, steps));
        }
    }
}

/// The sums of the lanes of eight vectors.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn reduce(vectors: &[__m256i]) -> [i32; TILE] {
    let &[a, b, c, d, e, f, g, h] = vectors else { unreachable!("a tile has eight sums") };
    let four = |a, b, c, d| _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    let (low, high) = (four(a, b, c, d), four(e, f, g, h));
    let halves = [
        _mm256_permute2x128_si256::<0x20>(low, high),
        _mm256_permute2x128_si256::<0x31>(low, high),
    ];
    let mut sums = [0; TILE];
    // SAFETY: eight numbers of 32 bits are one vector.
    unsafe {
        _mm256_storeu_si256(sums.as_mut_ptr().cast(), _mm256_add_epi32(halves[0], halves[1]));
    }
    sums
}
