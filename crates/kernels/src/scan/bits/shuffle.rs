//! Weighted counts of 32 rows at once, looked up by `vpshufb`.
//!
//! What four of a row's bits count together is one of 16 numbers, which one instruction looks up for 32 rows. For that,
//! bytes of the same place in 32 rows must lie side by side: sixteen bytes of each row are turned over as they are read,
//! which is a third of the work. A byte's two halves count `8 · 31 = 248` at most, so they are added as bytes, and sixteen
//! times sixteen such bytes as 16 bits.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_add_epi8, _mm256_add_epi16, _mm256_and_si256,
    _mm256_broadcastsi128_si256, _mm256_castsi128_si256, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm256_inserti128_si256, _mm256_set1_epi8, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_srli_epi16, _mm256_sub_epi16,
    _mm256_unpackhi_epi8, _mm256_unpackhi_epi16, _mm256_unpacklo_epi8, _mm256_unpacklo_epi16,
};

use super::table::{BYTES, Entries, SIDE_BY_SIDE, Table};
use super::{BitQuery, BitRows, rows_ahead};
use crate::scan::Pick;

/// Rows that are counted at once.
const ROWS: usize = 2 * BYTES;

/// Turned pieces of rows whose counts are sure to fit 16 bits: `16 · 16 · 248 < 2^16`.
const PIECES: usize = 16;

/// Scores of all picked rows.
#[target_feature(enable = "avx2")]
pub(super) fn scores<P: Pick>(
    query: &BitQuery,
    table: &Table,
    rows: BitRows<'_>,
    picked: P,
    scores: &mut [f32],
) {
    let (words, stride) = (rows.words_of_row(), 2 * table.0.len());
    let mut copied = vec![0; ROWS * stride];
    for (block, scores) in scores.chunks_mut(ROWS).enumerate() {
        let start = block * ROWS;
        rows_ahead::<P>(rows, picked.row(start), ROWS);
        let of_block = if P::NEIGHBOURS && words == stride && scores.len() == ROWS {
            &rows.words[picked.row(start) * words..][..ROWS * words]
        } else {
            for (i, copy) in copied.chunks_exact_mut(stride).take(scores.len()).enumerate() {
                copy[..words].copy_from_slice(rows.row(picked.row(start + i)));
            }
            &copied
        };
        for (score, count) in scores.iter_mut().zip(count(table, of_block)) {
            *score = query.score_of(count);
        }
    }
}

/// The weighted count of each row, `[ROWS, 2 · pieces]` words.
#[inline]
#[target_feature(enable = "avx2")]
fn count(table: &Table, rows: &[u64]) -> [u32; ROWS] {
    let mut counts = [0; ROWS];
    for (group, entries) in table.0.chunks(PIECES).enumerate() {
        let (mut even, mut odd) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        for (piece, entries) in entries.iter().enumerate() {
            let columns = turned(rows, table.0.len(), group * PIECES + piece);
            for (byte, column) in columns.iter().enumerate() {
                let counted = look_up(*column, &entries[byte / SIDE_BY_SIDE], byte % SIDE_BY_SIDE);
                // The even bytes of this are too much by 256 times the odd ones.
                even = _mm256_add_epi16(even, counted);
                odd = _mm256_add_epi16(odd, _mm256_srli_epi16::<8>(counted));
            }
        }
        even = _mm256_sub_epi16(even, _mm256_slli_epi16::<8>(odd));
        for (count, of_group) in counts.iter_mut().zip(in_order(even, odd)) {
            *count += u32::from(of_group);
        }
    }
    counts
}

/// Vector `i` has byte `i` of a piece of all rows.
#[inline]
#[target_feature(enable = "avx2")]
fn turned(rows: &[u64], pieces: usize, piece: usize) -> [__m256i; BYTES] {
    assert!(rows.len() == ROWS * 2 * pieces && piece < pieces, "rows of whole pieces");
    let at = |r: usize| {
        // SAFETY: row `r` has `pieces` pieces of two words, checked above; `r < ROWS` below.
        unsafe { _mm_loadu_si128(rows.as_ptr().add(2 * (r * pieces + piece)).cast()) }
    };
    // A loop where a closure for an array would do: that is not sure to be compiled with the function's instructions.
    let mut vectors = [_mm256_setzero_si256(); BYTES];
    for (r, vector) in vectors.iter_mut().enumerate() {
        *vector = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(at(r)), at(r + BYTES));
    }
    // Of a byte's place, four bits are its vector and four its lane. Each time, the lane's highest bit becomes the
    // vector's lowest and the vector's highest the lane's lowest; after four times they have changed places.
    for _ in 0..4 {
        let before = vectors;
        for i in 0..BYTES / 2 {
            vectors[2 * i] = _mm256_unpacklo_epi8(before[i], before[i + BYTES / 2]);
            vectors[2 * i + 1] = _mm256_unpackhi_epi8(before[i], before[i + BYTES / 2]);
        }
    }
    vectors
}

/// What a byte of each row counts, by the entries that lie `place`-th among those side by side.
#[inline]
#[target_feature(enable = "avx2")]
fn look_up(column: __m256i, entries: &Entries, place: usize) -> __m256i {
    let half = _mm256_set1_epi8(0x0f);
    let [low, high] =
        [&entries[0].as_chunks::<16>().0[place], &entries[1].as_chunks::<16>().0[place]];
    // SAFETY: each has sixteen bytes.
    let (low, high) =
        unsafe { (_mm_loadu_si128(low.as_ptr().cast()), _mm_loadu_si128(high.as_ptr().cast())) };
    let (low, high) = (_mm256_broadcastsi128_si256(low), _mm256_broadcastsi128_si256(high));
    let low = _mm256_shuffle_epi8(low, _mm256_and_si256(column, half));
    let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(column), half);
    _mm256_add_epi8(low, _mm256_shuffle_epi8(high, upper))
}

/// Counts in the order of the rows.
#[inline]
#[target_feature(enable = "avx2")]
fn in_order(even: __m256i, odd: __m256i) -> [u16; ROWS] {
    use std::arch::x86_64::_mm_storeu_si128;
    let (low, high) = (_mm256_unpacklo_epi16(even, odd), _mm256_unpackhi_epi16(even, odd));
    let eights = [
        _mm256_castsi256_si128(low),
        _mm256_castsi256_si128(high),
        _mm256_extracti128_si256::<1>(low),
        _mm256_extracti128_si256::<1>(high),
    ];
    let mut counts = [0; ROWS];
    for (counts, eight) in counts.as_chunks_mut::<8>().0.iter_mut().zip(eights) {
        // SAFETY: eight numbers of 16 bits are sixteen bytes.
        unsafe { _mm_storeu_si128(counts.as_mut_ptr().cast(), eight) };
    }
    counts
}
