//! Vectors in memory in the forms that are compared, and the search of each.
//!
//! The scans are those that a store runs over its codes, which begin with a cache line here as they do in its file, and the
//! best rows are scored again by their floats as there; what a store adds, looking up the documents, is not here.

use std::ops::Range;

use bytemuck::cast_slice;
use hpd_files::Result;
use hpd_files::vectors::Matrix;
use hpd_kernels::scan::{
    BitQuery, BitRows, ByteQuery, ByteRows, FloatQuery, FloatRows, Query, Rotation, Rows,
    Selection, encode_bits, encode_bytes, scan_many, scores_of, words_of,
};
use hpd_kernels::{Level, Lines, Scored, TopK, dot};
use rayon::prelude::*;

use crate::scan::offer_products;

/// Queries from which on floats are multiplied as matrices.
const MATRIX: usize = 4;

/// Rows that are encoded together.
const STRIP: usize = 256;

/// Rows for each hit that the floats score again where 8 bits found them.
const AGAIN: usize = 4;

/// Rows in 8 bits, a scale each.
#[derive(Debug)]
pub(super) struct Bytes {
    dim: usize,
    codes: Lines<i8>,
    scales: Vec<f32>,
}

/// Signs of turned rows.
#[derive(Debug)]
pub(super) struct Signs {
    dim: usize,
    words: Lines<u64>,
    rotation: Rotation,
}

impl Bytes {
    pub(super) fn of(rows: &Matrix) -> Self {
        let dim = rows.dim;
        let (mut codes, mut scales) = (Lines::zeros(rows.data.len()), vec![0.0; rows.len()]);
        let strips = rows.data.par_chunks(STRIP * dim);
        strips
            .zip(codes.par_chunks_mut(STRIP * dim))
            .zip(scales.par_chunks_mut(STRIP))
            .for_each(|((rows, codes), scales)| encode_bytes(Level::best(), rows, codes, scales));
        Self { dim, codes, scales }
    }

    fn rows(&self) -> ByteRows<'_> {
        ByteRows::new(&self.codes, &self.scales, self.dim)
    }
}

impl Signs {
    pub(super) fn of(rows: &Matrix) -> Self {
        let (dim, rotation) = (rows.dim, Rotation::new(rows.dim, 0));
        let mut words = Lines::zeros(rows.len() * words_of(dim));
        let strips = rows.data.par_chunks(STRIP * dim);
        strips.zip(words.par_chunks_mut(STRIP * words_of(dim))).for_each(|(rows, words)| {
            let mut turned = vec![0.0; rows.len()];
            rotation.turn(Level::best(), rows, &mut turned);
            encode_bits(Level::best(), &turned, dim, words);
        });
        Self { dim, words, rotation }
    }

    fn rows(&self) -> BitRows<'_> {
        BitRows::new(&self.words, self.dim)
    }
}

/// One form, ready to be searched.
#[derive(Clone, Copy, Debug)]
pub(super) enum Index<'a> {
    Float(&'a Matrix),
    /// In 8 bits, the best of them by floats.
    Int8(&'a Bytes, &'a Matrix),
    /// Signs first, then so many of the best in 8 bits, and the best of those by floats.
    Bits(&'a Signs, &'a Bytes, &'a Matrix, usize),
}

impl Index<'_> {
    /// The `k` best rows for each query, best first, on the threads of the current pool.
    ///
    /// # Shapes
    /// - `queries`: `[n, dim]`
    pub(super) fn search(self, queries: &[f32], k: usize) -> Result<Vec<Vec<Scored>>> {
        match self {
            Self::Float(rows) if queries.len() / rows.dim >= MATRIX => {
                let best = in_parts(rows.len(), |part| {
                    let mut best = vec![TopK::new(k); queries.len() / rows.dim];
                    let data = &rows.data[part.start * rows.dim..part.end * rows.dim];
                    offer_products(queries, data, rows.dim, part.start as u64, &mut best)?;
                    Ok(best)
                })?;
                Ok(sorted(best))
            }
            Self::Float(rows) => {
                let queries: Vec<_> = queries.chunks_exact(rows.dim).map(FloatQuery::new).collect();
                scanned(&queries, FloatRows::new(&rows.data, rows.dim), k)
            }
            Self::Int8(bytes, floats) => {
                let lists = scanned(&byte_queries(queries, bytes.dim), bytes.rows(), AGAIN * k)?;
                Ok(by_floats(queries, floats, lists, k))
            }
            Self::Bits(signs, bytes, floats, shortlist) => {
                let mut turned = vec![0.0; queries.len()];
                signs.rotation.turn(Level::best(), queries, &mut turned);
                let graded: Vec<_> = turned.chunks_exact(signs.dim).map(BitQuery::graded).collect();
                let lists = scanned(&graded, signs.rows(), shortlist.max(k))?;
                let lists = by_bytes(&byte_queries(queries, bytes.dim), bytes, lists, AGAIN * k);
                Ok(by_floats(queries, floats, lists, k))
            }
        }
    }

    /// What has to be in memory, or to be read from a file. The floats that score the best again do not: a few rows are read.
    pub(super) fn parts(&self) -> Vec<&[u8]> {
        match self {
            Self::Float(rows) => vec![cast_slice(&rows.data)],
            Self::Int8(bytes, _) => {
                vec![cast_slice::<i8, u8>(&bytes.codes), cast_slice(&bytes.scales)]
            }
            Self::Bits(signs, bytes, ..) => {
                let bytes = [cast_slice::<i8, u8>(&bytes.codes), cast_slice(&bytes.scales)];
                [&[cast_slice::<u64, u8>(&signs.words)][..], &bytes].concat()
            }
        }
    }
}

fn byte_queries(queries: &[f32], dim: usize) -> Vec<ByteQuery> {
    queries.chunks_exact(dim).map(ByteQuery::new).collect()
}

/// The best rows of one kind.
fn scanned<'a, Q>(queries: &[Q], rows: Q::Rows<'a>, k: usize) -> Result<Vec<Vec<Scored>>>
where
    Q: Query + Sync,
    Q::Rows<'a>: Send + Sync,
{
    let best = in_parts(rows.len(), |part| {
        let mut best = vec![TopK::new(k); queries.len()];
        let selection = Selection::ALL.part(part.clone());
        scan_many(Level::best(), queries, rows.part(part), selection, &mut best);
        Ok(best)
    })?;
    Ok(sorted(best))
}

/// What each thread finds in its part of the rows, made one.
fn in_parts(
    rows: usize,
    find: impl Fn(Range<usize>) -> Result<Vec<TopK>> + Sync,
) -> Result<Vec<TopK>> {
    // Masks have words of 64 rows, and so have parts.
    let share = rows.div_ceil(rayon::current_num_threads()).next_multiple_of(64).max(64);
    let starts: Vec<usize> = (0..rows).step_by(share).collect();
    let found: Result<Vec<_>> =
        starts.into_par_iter().map(|start| find(start..rows.min(start + share))).collect();
    let mut found = found?.into_iter();
    let mut best = found.next().unwrap_or_default();
    for others in found {
        for (best, other) in best.iter_mut().zip(others) {
            other.into_sorted().iter().for_each(|scored| best.offer(scored.row, scored.score));
        }
    }
    Ok(best)
}

fn sorted(best: Vec<TopK>) -> Vec<Vec<Scored>> {
    best.into_iter().map(TopK::into_sorted).collect()
}

/// The `k` best of each query's list by their bytes.
fn by_bytes(
    queries: &[ByteQuery],
    bytes: &Bytes,
    lists: Vec<Vec<Scored>>,
    k: usize,
) -> Vec<Vec<Scored>> {
    let again = |(query, list): (&ByteQuery, Vec<Scored>)| {
        let mut listed: Vec<usize> = list.iter().map(|scored| scored.row as usize).collect();
        listed.sort_unstable();
        let mut scores = vec![0.0; listed.len()];
        scores_of(Level::best(), query, bytes.rows(), &listed, &mut scores);
        let mut best = TopK::new(k);
        listed.iter().zip(scores).for_each(|(row, score)| best.offer(*row as u64, score));
        best.into_sorted()
    };
    queries.par_iter().zip(lists).map(again).collect()
}

/// The `k` best of each query's list by their floats.
fn by_floats(
    queries: &[f32],
    floats: &Matrix,
    lists: Vec<Vec<Scored>>,
    k: usize,
) -> Vec<Vec<Scored>> {
    let again = |(query, list): (&[f32], Vec<Scored>)| {
        let mut best = TopK::new(k);
        for Scored { row, .. } in list {
            best.offer(row, dot(query, floats.row(row as usize)));
        }
        best.into_sorted()
    };
    queries.par_chunks_exact(floats.dim).zip(lists).map(again).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points of a few different directions, so that the best ones are clear to all forms.
    fn points() -> Matrix {
        let number = |i: usize, j: usize| ((i * 37 + j * 101 + i * j) % 23) as f32 - 11.0;
        let mut data = Vec::new();
        for i in 0..700 {
            let row: Vec<f32> = (0..64).map(|j| number(i, j)).collect();
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            data.extend(row.iter().map(|x| x / length));
        }
        Matrix { data, dim: 64 }
    }

    #[test]
    fn every_form_finds_a_row_by_itself_alone_and_in_company() {
        let rows = points();
        let (bytes, signs) = (Bytes::of(&rows), Signs::of(&rows));
        let queries = &rows.data[100 * 64..106 * 64];
        for index in [
            Index::Float(&rows),
            Index::Int8(&bytes, &rows),
            Index::Bits(&signs, &bytes, &rows, 50),
        ] {
            let together = index.search(queries, 3).unwrap();
            for (i, hits) in together.iter().enumerate() {
                let alone = index.search(&queries[i * 64..][..64], 3).unwrap();
                let rows = |hits: &[Scored]| hits.iter().map(|hit| hit.row).collect::<Vec<_>>();
                assert_eq!(rows(hits), rows(&alone[0]), "{i}");
                assert!((hits[0].score - 1.0).abs() < 1e-6 && hits.len() == 3);
            }
        }
        let bytes_of =
            |index: Index<'_>| index.parts().iter().map(|part| part.len()).sum::<usize>() / 700;
        assert_eq!(bytes_of(Index::Float(&rows)), 256);
        assert_eq!(bytes_of(Index::Int8(&bytes, &rows)), 68);
        assert_eq!(bytes_of(Index::Bits(&signs, &bytes, &rows, 50)), 76);
    }
}
