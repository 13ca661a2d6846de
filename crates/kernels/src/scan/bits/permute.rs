//! Weighted counts of 16 rows at once, looked up by `vpermb`.
//!
//! One instruction looks up 64 bytes, each among 64 entries: the 16 each of four bytes that lie side by side in a row. So
//! those stay together, only words of 32 bits of 16 rows change places, and `vpdpbusd` adds the counts of four bytes to 32
//! bits. That is half of the work of [`shuffle`](super::shuffle), and several queries look up while rows are in registers.

use std::arch::x86_64::{
    __m512i, _mm_loadu_si128, _mm512_add_epi8, _mm512_castsi128_si512, _mm512_cvtepi32_ps,
    _mm512_dpbusd_epi32, _mm512_inserti32x4, _mm512_loadu_si512, _mm512_mask_storeu_ps,
    _mm512_mul_ps, _mm512_permutexvar_epi8, _mm512_permutexvar_epi32, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setr_epi32, _mm512_setzero_si512, _mm512_slli_epi32,
    _mm512_srli_epi16, _mm512_sub_epi32, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::table::{BYTES, Entries, SIDE_BY_SIDE, Table};
use super::{BitQuery, BitRows, rows_ahead};
use crate::scan::Pick;

/// Rows that are counted at once.
const ROWS: usize = 16;

/// Words of a row that are looked up together.
const WORDS: usize = BYTES / size_of::<u64>();

/// Groups of bytes side by side in those, each a column of all rows.
const COLUMNS: usize = BYTES / SIDE_BY_SIDE;

/// Queries that look up while rows are in registers.
const QUERIES: usize = 4;

/// Whether this CPU has the instructions; no [`Level`](crate::Level) tells of them all.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vnni")
}

/// A query and what its rows' bytes count.
type Graded<'a> = (&'a BitQuery, &'a Table);

/// Scores of all picked rows, `[queries, picked]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
pub(super) fn scores<P: Pick>(
    queries: &[Graded<'_>],
    rows: BitRows<'_>,
    picked: P,
    scores: &mut [f32],
) {
    let count = picked.count();
    let (fours, rest) = queries.as_chunks::<QUERIES>();
    let (of_fours, of_rest) = scores.split_at_mut(fours.len() * QUERIES * count);
    for (queries, scores) in fours.iter().zip(of_fours.chunks_mut(QUERIES * count)) {
        scores_of(queries, rows, picked, scores);
    }
    for (query, scores) in rest.as_chunks::<1>().0.iter().zip(of_rest.chunks_mut(count)) {
        scores_of(query, rows, picked, scores);
    }
}

/// Scores for as many queries as the compiler knows of, so that their counts stay in registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
fn scores_of<P: Pick, const Q: usize>(
    queries: &[Graded<'_>; Q],
    rows: BitRows<'_>,
    picked: P,
    scores: &mut [f32],
) {
    let count = picked.count();
    for start in (0..count).step_by(ROWS) {
        rows_ahead::<P>(rows, picked.row(start), ROWS);
        let sums = counts(queries, rows, picked, start);
        let there = start..count.min(start + ROWS);
        for q in 0..Q {
            store(queries[q].0, sums[q], &mut scores[q * count..][there.clone()]);
        }
    }
}

/// The weighted counts of the rows from the one picked `start`-th on, for each query.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
fn counts<P: Pick, const Q: usize>(
    queries: &[Graded<'_>; Q],
    rows: BitRows<'_>,
    picked: P,
    start: usize,
) -> [__m512i; Q] {
    let words = rows.words_of_row();
    let mut sums = [_mm512_setzero_si512(); Q];
    for piece in 0..words.div_ceil(WORDS) {
        let of_piece = if P::NEIGHBOURS && words == WORDS && start + ROWS <= picked.count() {
            side_by_side(&rows.words[picked.row(start) * WORDS..][..ROWS * WORDS])
        } else {
            one_by_one(rows, picked, start, piece)
        };
        let columns = turned(of_piece);
        for (sum, (_, table)) in sums.iter_mut().zip(queries) {
            // Held in a register: through memory, each addition would wait for the one before to be stored.
            let mut total = *sum;
            for (column, entries) in columns.iter().zip(&table.0[piece]) {
                total = _mm512_dpbusd_epi32(total, look_up(*column, entries), _mm512_set1_epi8(1));
            }
            *sum = total;
        }
    }
    sums
}

/// Rows of one piece as they lie: lane `l` of vector `v` has row `4 · v + l`.
#[inline]
#[target_feature(enable = "avx512f")]
fn side_by_side(rows: &[u64]) -> [__m512i; COLUMNS] {
    assert!(rows.len() == ROWS * WORDS, "whole rows of one piece");
    let mut vectors = [_mm512_setzero_si512(); COLUMNS];
    for (v, vector) in vectors.iter_mut().enumerate() {
        // SAFETY: eight words from `8 · v` on are there, checked above.
        *vector = unsafe { _mm512_loadu_si512(rows.as_ptr().add(8 * v).cast()) };
    }
    vectors
}

/// The same of rows that lie anywhere, or have several pieces. By itself, since otherwise its addresses are computed for rows that
/// lie side by side too, which takes longer than all else.
#[inline(never)]
#[target_feature(enable = "avx512f")]
fn one_by_one<P: Pick>(
    rows: BitRows<'_>,
    picked: P,
    start: usize,
    piece: usize,
) -> [__m512i; COLUMNS] {
    let last = picked.count() - 1;
    let mut pieces = [[0; WORDS]; ROWS];
    for (i, copy) in pieces.iter_mut().enumerate() {
        let row = &rows.row(picked.row((start + i).min(last)))[piece * WORDS..];
        let there = row.len().min(WORDS);
        copy[..there].copy_from_slice(&row[..there]);
    }
    let mut vectors = [_mm512_setzero_si512(); COLUMNS];
    for (vector, four) in vectors.iter_mut().zip(pieces.as_chunks::<4>().0) {
        // A load of 64 bytes would wait for those that were just stored.
        // SAFETY: each piece has sixteen bytes.
        *vector = unsafe {
            let lanes = _mm512_castsi128_si512(_mm_loadu_si128(four[0].as_ptr().cast()));
            let lanes = _mm512_inserti32x4::<1>(lanes, _mm_loadu_si128(four[1].as_ptr().cast()));
            let lanes = _mm512_inserti32x4::<2>(lanes, _mm_loadu_si128(four[2].as_ptr().cast()));
            _mm512_inserti32x4::<3>(lanes, _mm_loadu_si128(four[3].as_ptr().cast()))
        };
    }
    vectors
}

/// Vector `c` has column `c` of all rows, row `4 · v + l` at place `4 · l + v`.
#[inline]
#[target_feature(enable = "avx512f")]
fn turned([a, b, c, d]: [__m512i; COLUMNS]) -> [__m512i; COLUMNS] {
    let (ab, ab_upper) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd, cd_upper) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(ab_upper, cd_upper),
        _mm512_unpackhi_epi64(ab_upper, cd_upper),
    ]
}

/// What each byte of a column counts.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn look_up(column: __m512i, entries: &Entries) -> __m512i {
    // `(a & b) | c`: half of a byte, and above it the byte's place among four.
    const HALF_AND_PLACE: i32 = 0xea;
    let (half, place) = (_mm512_set1_epi8(0x0f), _mm512_set1_epi32(0x3020_1000));
    let upper = _mm512_srli_epi16::<4>(column);
    let low = _mm512_ternarylogic_epi32::<HALF_AND_PLACE>(column, half, place);
    let upper = _mm512_ternarylogic_epi32::<HALF_AND_PLACE>(upper, half, place);
    // SAFETY: entries of each half are 64 bytes.
    let (of_low, of_upper) = unsafe {
        (
            _mm512_loadu_si512(entries[0].as_ptr().cast()),
            _mm512_loadu_si512(entries[1].as_ptr().cast()),
        )
    };
    let low = _mm512_permutexvar_epi8(low, of_low);
    _mm512_add_epi8(low, _mm512_permutexvar_epi8(upper, of_upper))
}

/// Makes counts scores, in the order of the rows; the same steps as [`BitQuery::score_of`], which compilers take one by one.
#[inline]
#[target_feature(enable = "avx512f")]
fn store(query: &BitQuery, counts: __m512i, scores: &mut [f32]) {
    let places = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let twice = _mm512_slli_epi32::<1>(_mm512_permutexvar_epi32(places, counts));
    let steps = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_set1_epi32(query.most), twice));
    let found = _mm512_mul_ps(steps, _mm512_set1_ps(query.scale));
    let there = scores.len().min(ROWS);
    // SAFETY: only the scores that the mask names are written.
    unsafe { _mm512_mask_storeu_ps(scores.as_mut_ptr(), ((1_u32 << there) - 1) as u16, found) };
}
