//! Attention whose scores know where tokens stand: a number for each distance, or a window outside of which nothing
//! is seen.
//!
//! Beside the plain attention, which most models need and which stays free of both. Queries are taken in runs, each
//! against the keys that its members see: with a window a long text costs its length times the window, and without
//! one its scores never stand in memory all at once.

use hpd_kernels::Level;
use hpd_kernels::rows::softmax_rows;

use super::distances::DistanceBias;
use super::{Attention, HeadScratch, MOST_RUN};
use crate::linear::{multiply_once, view};

/// Fewest queries of a run: shorter ones are not worth a product of their own.
const LEAST_RUN: usize = 32;

/// What happens to scores before the softmax.
pub(crate) struct Placed<'a> {
    /// Added to them.
    pub(crate) bias: Option<&'a DistanceBias>,
    /// How far a token sees to either side; all of its text without.
    pub(crate) window: Option<usize>,
}

impl Attention {
    /// As [`Attention::apply`], with scores that know where tokens stand.
    pub(crate) fn apply_placed(
        &self,
        qkv: &[f32],
        offsets: &[usize],
        placed: &Placed<'_>,
        scratch: &mut HeadScratch,
        out: &mut Vec<f32>,
    ) {
        let width = self.heads * self.head_size;
        out.resize(qkv.len() / 3, 0.0);
        for text in offsets.windows(2) {
            let qkv = &qkv[text[0] * 3 * width..text[1] * 3 * width];
            let out = &mut out[text[0] * width..text[1] * width];
            let length = text[1] - text[0];
            let run = placed.window.unwrap_or(length).clamp(LEAST_RUN, MOST_RUN);
            for first in (0..length).step_by(run) {
                let queries = first..length.min(first + run);
                for head in 0..self.heads {
                    self.apply_run(head, qkv, queries.clone(), placed, scratch, out);
                }
            }
        }
    }

    /// One head for a run of queries of one text.
    fn apply_run(
        &self,
        head: usize,
        qkv: &[f32],
        queries: std::ops::Range<usize>,
        placed: &Placed<'_>,
        scratch: &mut HeadScratch,
        out: &mut [f32],
    ) {
        let (size, width) = (self.head_size, self.heads * self.head_size);
        let (stride, column) = (3 * width, head * size);
        let length = qkv.len() / stride;
        let seen = |query: usize| placed.seen(query, length);
        let keys = seen(queries.start).start..seen(queries.end - 1).end;
        let (count, span) = (queries.len(), keys.len());
        let query_rows = view(&qkv[queries.start * stride + column..], [count, size], [stride, 1]);
        let of_keys = &qkv[keys.start * stride..];
        let key_rows = view(&of_keys[width + column..], [size, span], [1, stride]);
        let value_rows = view(&of_keys[2 * width + column..], [span, size], [stride, 1]);

        scratch.scores.resize(count * span, 0.0);
        multiply_once(query_rows, key_rows, 1.0 / (size as f32).sqrt(), &mut scratch.scores);
        for (query, row) in queries.clone().zip(scratch.scores.chunks_exact_mut(span)) {
            if let Some(bias) = placed.bias {
                let bias = bias.of_query(head, query, keys.start);
                row.iter_mut().zip(bias).for_each(|(score, bias)| *score += bias);
            }
            let seen = seen(query).start - keys.start..seen(query).end - keys.start;
            row[..seen.start].fill(0.0);
            row[seen.end..].fill(0.0);
            softmax_rows(Level::best(), &mut row[seen.clone()], seen.len(), 1.0);
        }
        scratch.context.resize(count * size, 0.0);
        let scores = view(&scratch.scores, [count, span], [span, 1]);
        multiply_once(scores, value_rows, 1.0, &mut scratch.context);
        let out = out[queries.start * width..].chunks_exact_mut(width);
        for (out, context) in out.zip(scratch.context.chunks_exact(size)) {
            out[column..column + size].copy_from_slice(context);
        }
    }
}

impl Placed<'_> {
    /// The keys that a query sees.
    fn seen(&self, query: usize, length: usize) -> std::ops::Range<usize> {
        let window = self.window.unwrap_or(length);
        query.saturating_sub(window)..length.min(query.saturating_add(window).saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::distances::BUCKETS;
    use super::*;

    /// The formula for query `i`, one head, in f64; `qkv` is one text.
    fn scalar(
        qkv: &[f32],
        width: usize,
        columns: std::ops::Range<usize>,
        i: usize,
        placed: &Placed<'_>,
    ) -> Vec<f64> {
        let at = |token: usize, part: usize, c: usize| {
            f64::from(qkv[token * 3 * width + part * width + c])
        };
        let length = qkv.len() / (3 * width);
        let (scale, head) = ((columns.len() as f64).sqrt(), columns.start / columns.len());
        let weight = |j: usize| {
            if placed.window.is_some_and(|window| i.abs_diff(j) > window) {
                return 0.0;
            }
            let product: f64 = columns.clone().map(|c| at(i, 0, c) * at(j, 1, c)).sum();
            let bias = placed.bias.map_or(0.0, |bias| f64::from(bias.of_query(head, i, j)[0]));
            (product / scale + bias).exp()
        };
        let weights: Vec<f64> = (0..length).map(weight).collect();
        let total: f64 = weights.iter().sum();
        let value =
            |c| weights.iter().enumerate().map(|(j, w)| w / total * at(j, 2, c)).sum::<f64>();
        columns.map(value).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn scores_follow_the_formula(
            lengths in prop::collection::vec(prop_oneof![4 => 0_usize..90, 1 => 250_usize..300], 1..4),
            (heads, head_size) in (1_usize..4, 1_usize..9),
            window in prop::option::of(0_usize..50),
            has_bias: bool,
            seed: u32,
        ) {
            let noise = |i: usize| ((i as u32 ^ seed).wrapping_mul(2_654_435_761) >> 8) as f32 / 8e6 - 1.0;
            let buckets: Vec<f32> = (0..BUCKETS * heads).map(noise).collect();
            let bias = DistanceBias::new(&buckets, heads, 300);
            let placed = Placed { bias: has_bias.then_some(&bias), window };
            let width = heads * head_size;
            let mut offsets = vec![0];
            offsets.extend(lengths.iter().scan(0, |end, length| { *end += length; Some(*end) }));
            let qkv: Vec<f32> = (0..3 * width * offsets[lengths.len()]).map(noise).collect();
            let mut found = Vec::new();
            let attention = Attention { heads, head_size };
            attention.apply_placed(&qkv, &offsets, &placed, &mut HeadScratch::default(), &mut found);
            for text in offsets.windows(2) {
                let own = &qkv[text[0] * 3 * width..text[1] * 3 * width];
                for token in text[0]..text[1] {
                    for head in 0..heads {
                        let columns = head * head_size..(head + 1) * head_size;
                        let expected = scalar(own, width, columns.clone(), token - text[0], &placed);
                        for (found, expected) in found[token * width..][columns].iter().zip(expected) {
                            prop_assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
                        }
                    }
                }
            }
        }
    }
}
