//! Dot products of one f32 query with many rows, the inner loop of an exact search.
//!
//! Each row is summed in the same order wherever it stands and however many rows are asked for at once, so a
//! document keeps its score when its neighbours change. Between levels scores differ by rounding only.

use crate::level::{Instructions, Level};

/// `scores[i] = query · rows[i]`, at the fastest level.
///
/// # Shapes
/// - `query`: `[dim]`
/// - `rows`: `[n, dim]`, row-major
/// - `scores`: `[n]`
///
/// # Panics
/// When `rows` is not `scores.len()` rows of the query's width.
pub fn dots(query: &[f32], rows: &[f32], scores: &mut [f32]) {
    dots_at(Level::best(), query, rows, scores);
}

/// [`dots`] at a level of one's choice.
///
/// # Panics
/// As [`dots`].
pub fn dots_at(level: Level, query: &[f32], rows: &[f32], scores: &mut [f32]) {
    assert_eq!(rows.len(), query.len() * scores.len(), "rows must be [scores, query] numbers");
    if query.is_empty() {
        return scores.fill(0.0);
    }
    let pairs = rows.chunks_exact(query.len()).zip(scores);
    match level.0 {
        Instructions::Portable => pairs.for_each(|(row, score)| *score = portable(query, row)),
        #[cfg(target_arch = "aarch64")]
        Instructions::Neon => {
            // SAFETY: a level exists only where the CPU has it.
            pairs.for_each(|(row, score)| *score = unsafe { neon(query, row) })
        }
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => {
            // SAFETY: a level exists only where the CPU has it.
            pairs.for_each(|(row, score)| *score = unsafe { avx2(query, row) })
        }
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 | Instructions::Vnni | Instructions::Bfloat16 => {
            // SAFETY: a level exists only where the CPU has it.
            pairs.for_each(|(row, score)| *score = unsafe { avx512(query, row) })
        }
    }
}

/// The dot product of two vectors, at the fastest level.
///
/// # Panics
/// When their lengths differ.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut score = [0.0];
    dots(a, b, &mut score);
    score[0]
}

/// The twin of the others, and what runs where they do not: eight sums that compilers turn into vectors.
fn portable(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (a_lanes, b_lanes) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = a_lanes.remainder().iter().zip(b_lanes.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_lanes.zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f32>() + tail
}

/// Four sums of four lanes.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn neon(a: &[f32], b: &[f32]) -> f32 {
    use std::arch::aarch64::{vaddq_f32, vaddvq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32};
    let mut sums = [vdupq_n_f32(0.0); 4];
    let (a_blocks, b_blocks) = (a.chunks_exact(16), b.chunks_exact(16));
    let tail = portable(a_blocks.remainder(), b_blocks.remainder());
    for (x, y) in a_blocks.zip(b_blocks) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: both blocks are 16 numbers long and `4 * lane + 4 <= 16`.
            let (x, y) = unsafe {
                (vld1q_f32(x.as_ptr().add(4 * lane)), vld1q_f32(y.as_ptr().add(4 * lane)))
            };
            *sum = vfmaq_f32(*sum, x, y);
        }
    }
    vaddvq_f32(vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3]))) + tail
}

/// Four sums of eight lanes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(a: &[f32], b: &[f32]) -> f32 {
    use std::arch::x86_64::{
        _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehdup_ps, _mm_movehl_ps, _mm256_add_ps,
        _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
        _mm256_setzero_ps,
    };
    let mut sums = [_mm256_setzero_ps(); 4];
    let (a_blocks, b_blocks) = (a.chunks_exact(32), b.chunks_exact(32));
    let tail = portable(a_blocks.remainder(), b_blocks.remainder());
    for (x, y) in a_blocks.zip(b_blocks) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: both blocks are 32 numbers long and `8 * lane + 8 <= 32`.
            let (x, y) = unsafe {
                (
                    _mm256_loadu_ps(x.as_ptr().add(8 * lane)),
                    _mm256_loadu_ps(y.as_ptr().add(8 * lane)),
                )
            };
            *sum = _mm256_fmadd_ps(x, y, *sum);
        }
    }
    let eight = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two))) + tail
}

/// Four sums of sixteen lanes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(a: &[f32], b: &[f32]) -> f32 {
    use std::arch::x86_64::{
        _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_reduce_add_ps, _mm512_setzero_ps,
    };
    let mut sums = [_mm512_setzero_ps(); 4];
    let (a_blocks, b_blocks) = (a.chunks_exact(64), b.chunks_exact(64));
    let tail = portable(a_blocks.remainder(), b_blocks.remainder());
    for (x, y) in a_blocks.zip(b_blocks) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: both blocks are 64 numbers long and `16 * lane + 16 <= 64`.
            let (x, y) = unsafe {
                (
                    _mm512_loadu_ps(x.as_ptr().add(16 * lane)),
                    _mm512_loadu_ps(y.as_ptr().add(16 * lane)),
                )
            };
            *sum = _mm512_fmadd_ps(x, y, *sum);
        }
    }
    let (low, high) = (_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
    _mm512_reduce_add_ps(_mm512_add_ps(low, high)) + tail
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A query and some rows of one width, all lengths around the block sizes included.
    fn query_and_rows() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        (0usize..140, 0usize..5).prop_flat_map(|(dim, n)| {
            let number = || -10.0f32..10.0;
            (prop::collection::vec(number(), dim), prop::collection::vec(number(), dim * n))
        })
    }

    /// The exact product and the most that rounding may change.
    fn exact(a: &[f32], b: &[f32]) -> (f64, f64) {
        let products = || a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y));
        let size: f64 = products().map(f64::abs).sum();
        (products().sum(), size * a.len() as f64 * f64::from(f32::EPSILON))
    }

    proptest! {
        #[test]
        fn every_level_gives_the_dot_product((query, rows) in query_and_rows()) {
            let n = if query.is_empty() { 3 } else { rows.len() / query.len() };
            for level in Level::available() {
                let mut scores = vec![f32::NAN; n];
                dots_at(level, &query, &rows, &mut scores);
                for (i, score) in scores.iter().enumerate() {
                    let (expected, slack) = exact(&query, &rows[i * query.len()..][..query.len()]);
                    prop_assert!((f64::from(*score) - expected).abs() <= slack, "{level:?} row {i}");
                }
            }
        }

        #[test]
        fn a_row_alone_scores_as_among_others((query, rows) in query_and_rows()) {
            prop_assume!(!query.is_empty());
            for level in Level::available() {
                let mut together = vec![0.0; rows.len() / query.len()];
                dots_at(level, &query, &rows, &mut together);
                for (row, score) in rows.chunks_exact(query.len()).zip(together) {
                    let mut alone = [0.0];
                    dots_at(level, &query, row, &mut alone);
                    prop_assert_eq!(score.to_bits(), alone[0].to_bits());
                }
            }
        }
    }

    #[test]
    fn not_a_number_stays_visible() {
        for level in Level::available() {
            println!("level {level:?}");
            for dim in [1, 7, 8, 16, 31, 32, 33, 128] {
                let mut row = vec![1.0; dim];
                row[dim - 1] = f32::NAN;
                let mut scores = [0.0];
                dots_at(level, &vec![1.0; dim], &row, &mut scores);
                assert!(scores[0].is_nan(), "{level:?} {dim}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "rows must be")]
    fn rows_of_another_width_are_a_bug() {
        dots(&[1.0, 2.0], &[1.0, 2.0, 3.0], &mut [0.0]);
    }
}
