//! Weighted counts by `popcnt`, row by row.

use super::{BitQuery, BitRows};
use crate::scan::Pick;

/// Scores of all picked rows.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt")]
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

/// Chooses the loop for the row's width: known widths need none within a row.
#[inline(always)]
fn of_width<P: Pick>(query: &BitQuery, rows: BitRows<'_>, picked: P, scores: &mut [f32]) {
    match query.planes.len() / query.words() {
        1 => match query.words() {
            1 => fixed::<P, 1>(query, rows, picked, scores),
            2 => fixed::<P, 2>(query, rows, picked, scores),
            3 => fixed::<P, 3>(query, rows, picked, scores),
            4 => fixed::<P, 4>(query, rows, picked, scores),
            6 => fixed::<P, 6>(query, rows, picked, scores),
            8 => fixed::<P, 8>(query, rows, picked, scores),
            _ => any(query, rows, picked, scores),
        },
        _ => any(query, rows, picked, scores),
    }
}

/// Distances of signs, `W` words a row.
#[inline(always)]
fn fixed<P: Pick, const W: usize>(
    query: &BitQuery,
    rows: BitRows<'_>,
    picked: P,
    scores: &mut [f32],
) {
    let signs: &[u64; W] = query.planes.first_chunk().expect("a plane of signs has W words");
    let rows = rows.words.as_chunks::<W>().0;
    for (i, score) in scores.iter_mut().enumerate() {
        let row = &rows[picked.row(i)];
        let differing = (0..W).map(|word| (row[word] ^ signs[word]).count_ones()).sum();
        *score = query.score_of(differing);
    }
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
