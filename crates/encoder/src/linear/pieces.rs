//! A weight in pieces of its outputs, multiplied one after another, or side by side on all threads.
//!
//! Blocks of texts keep the threads busy by themselves. A text that is encoded alone is one block, and most of its time
//! is the weights' way from memory: there each thread takes some of the outputs, and with them its share of that way.

use std::cell::Cell;
use std::ops::Range;

use rayon::prelude::*;

/// Outputs of a piece: whole strips of tiles at every level, and several pieces of the narrowest layers.
const OUTPUTS: usize = 192;

/// The outputs of each piece.
pub(super) fn cut(outputs: usize) -> impl Iterator<Item = Range<usize>> {
    (0..outputs).step_by(OUTPUTS).map(move |first| first..outputs.min(first + OUTPUTS))
}

thread_local! {
    /// Results of pieces side by side, taken out while in use.
    static RESULTS: Cell<Vec<Vec<f32>>> = Cell::default();
}

/// Calls `product(piece, its outputs, result, stride)` for every piece.
///
/// # Shapes
/// `out` is `[rows, outputs]`, written; a result begins with the piece's first output of the first row.
pub(super) fn multiply<P: Sync>(
    pieces: &[P],
    outputs: usize,
    side_by_side: bool,
    out: &mut [f32],
    product: impl Fn(&P, Range<usize>, &mut [f32], usize) + Sync,
) {
    let of_pieces = pieces.iter().zip(cut(outputs));
    if !side_by_side || pieces.len() == 1 {
        return of_pieces.for_each(|(piece, range)| {
            let start = range.start.min(out.len());
            product(piece, range, &mut out[start..], outputs);
        });
    }
    let mut results = RESULTS.take();
    results.resize_with(pieces.len(), Vec::new);
    let work: Vec<_> = of_pieces.zip(&mut results).collect();
    work.into_par_iter().with_max_len(1).for_each(|((piece, range), result)| {
        let width = range.len();
        result.resize(out.len() / outputs * width, 0.0);
        product(piece, range, result, width);
    });
    for (range, result) in cut(outputs).zip(&results) {
        let rows = out.chunks_exact_mut(outputs).zip(result.chunks_exact(range.len()));
        rows.for_each(|(row, result)| row[range.clone()].copy_from_slice(result));
    }
    RESULTS.set(results);
}
