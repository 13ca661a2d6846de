//! Weighted counts by `popcnt`, row by row.

use super::{BitQuery, BitRows, rows_ahead};
use crate::scan::Pick;

/// Counts that become scores together.
const BLOCK: usize = 64;

/// Scores of all picked rows.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt,avx2")]
pub(super) fn scores<P: Pick>(query: &BitQuery, rows: BitRows<'_>, picked: P, scores: &mut [f32]) {
    of_width(query, rows, picked, scores);
}

/// The meaning of the others, and what runs where they do not.
pub(super) fn portable<P: Pick>(
    query: &BitQuery,
    rows: BitRows<'_>,
    picked: P,
    scores: &mut [f32],
) {
    of_width(query, rows, picked, scores);
}

/// Chooses the loop for the row's width: signs of a common width need none within a row.
#[inline(always)]
fn of_width<P: Pick>(query: &BitQuery, rows: BitRows<'_>, picked: P, scores: &mut [f32]) {
    match query.planes.len() {
        2 if rows.words_of_row() == 2 => signs::<P, 2>(query, rows, picked, scores),
        4 if rows.words_of_row() == 4 => signs::<P, 4>(query, rows, picked, scores),
        6 if rows.words_of_row() == 6 => signs::<P, 6>(query, rows, picked, scores),
        8 if rows.words_of_row() == 8 => signs::<P, 8>(query, rows, picked, scores),
        _ => any(query, rows, picked, scores),
    }
}

/// Distances of signs, `W` words a row.
#[inline(always)]
fn signs<P: Pick, const W: usize>(
    query: &BitQuery,
    rows: BitRows<'_>,
    picked: P,
    scores: &mut [f32],
) {
    let signs: &[u64; W] = query.planes.first_chunk().expect("a plane of signs has W words");
    let whole = rows.words.as_chunks::<W>().0;
    let mut counts = [0; BLOCK];
    for (block, scores) in scores.chunks_mut(BLOCK).enumerate() {
        rows_ahead::<P>(rows, picked.row(block * BLOCK), BLOCK);
        for (i, count) in counts[..scores.len()].iter_mut().enumerate() {
            *count = distance(&whole[picked.row(block * BLOCK + i)], signs);
        }
        for (score, count) in scores.iter_mut().zip(counts) {
            *score = query.score_of(count);
        }
    }
}

/// In how many bits two rows differ.
#[inline(always)]
fn distance<const W: usize>(x: &[u64; W], y: &[u64; W]) -> u32 {
    // In pairs, since single words are counted in vectors by the compiler, more slowly than by `popcnt`.
    let pairs = x.as_chunks::<2>().0.iter().zip(y.as_chunks::<2>().0);
    pairs.map(|(x, y)| (wide(x) ^ wide(y)).count_ones()).sum()
}

#[inline(always)]
fn wide(words: &[u64; 2]) -> u128 {
    u128::from(words[0]) | u128::from(words[1]) << 64
}

/// Weighted counts of any planes and width.
#[inline(always)]
fn any<P: Pick>(query: &BitQuery, rows: BitRows<'_>, picked: P, scores: &mut [f32]) {
    for (i, score) in scores.iter_mut().enumerate() {
        let row = rows.row(picked.row(i));
        let planes = query.planes.chunks_exact(row.len()).enumerate();
        let counts = planes.map(|(p, plane)| {
            let bits = plane.iter().zip(row).map(|(x, y)| (x ^ y).count_ones());
            bits.sum::<u32>() << p
        });
        *score = query.score_of(counts.sum());
    }
}
