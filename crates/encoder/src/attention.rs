//! Attention of each text's tokens to each other, over texts packed one after another.

pub(crate) mod distances;
pub(crate) mod placed;
pub(crate) mod rotary;

use std::ops::Range;

use hpd_kernels::Level;
use hpd_kernels::rows::{AttentionShape, attend, softmax_rows};

use crate::config::EncoderConfig;
use crate::linear::{multiply_once, view};

/// Softmax(Q · Kᵀ / √d) · V, text by text and head by head.
pub(crate) struct Attention {
    pub(crate) heads: usize,
    pub(crate) head_size: usize,
}

/// Longest text whose products our own kernel computes: beyond, packing for the library's pays.
const SHORT: usize = 96;

/// Most queries of a run. The scores of one against 8192 tokens are 8 MB, where those of all tokens would be 256.
const MOST_RUN: usize = 256;

/// What one head needs while it is computed.
#[derive(Default)]
pub(crate) struct HeadScratch {
    /// Whatever the kernel for short texts keeps.
    short: Vec<f32>,
    /// `[queries of a run, keys that they see]`.
    scores: Vec<f32>,
    /// `[queries of a run, head_size]`.
    context: Vec<f32>,
}

impl Attention {
    /// With the heads of a configuration.
    pub(crate) fn of(config: &EncoderConfig) -> Self {
        Self { heads: config.num_attention_heads, head_size: config.head_size() }
    }

    /// # Shapes
    /// `qkv` is `[tokens, 3 · width]` with queries, keys and values side by side; `out` becomes `[tokens, width]`.
    /// Text `i` has the tokens `offsets[i]..offsets[i + 1]`.
    pub(crate) fn apply(
        &self,
        qkv: &[f32],
        offsets: &[usize],
        scratch: &mut HeadScratch,
        out: &mut Vec<f32>,
    ) {
        let width = self.heads * self.head_size;
        out.resize(qkv.len() / 3, 0.0);
        // A tokenizer without special tokens makes no token of an empty text.
        for text in offsets.windows(2).filter(|text| text[0] < text[1]) {
            let qkv = &qkv[text[0] * 3 * width..text[1] * 3 * width];
            let out = &mut out[text[0] * width..text[1] * width];
            let tokens = text[1] - text[0];
            if tokens <= SHORT {
                attend(Level::best(), &self.shape(tokens), qkv, out, &mut scratch.short);
                continue;
            }
            for head in 0..self.heads {
                let column = head * self.head_size;
                runs(tokens).for_each(|run| self.apply_queries(column, run, qkv, scratch, out));
            }
        }
    }

    fn shape(&self, tokens: usize) -> AttentionShape {
        let width = self.heads * self.head_size;
        AttentionShape { tokens, heads: self.heads, width, first_token: 0, dropout: None }
    }

    /// One head of one text for a run of its queries: the columns that start at `column` of each of Q, K, V and the output.
    fn apply_queries(
        &self,
        column: usize,
        run: Range<usize>,
        qkv: &[f32],
        scratch: &mut HeadScratch,
        out: &mut [f32],
    ) {
        let (size, width) = (self.head_size, self.heads * self.head_size);
        let (stride, length, count) = (3 * width, qkv.len() / (3 * width), run.len());
        let queries = view(&qkv[run.start * stride + column..], [count, size], [stride, 1]);
        let keys = view(&qkv[width + column..], [size, length], [1, stride]);
        let values = view(&qkv[2 * width + column..], [length, size], [stride, 1]);

        scratch.scores.resize(count * length, 0.0);
        multiply_once(queries, keys, 1.0, &mut scratch.scores);
        softmax_rows(Level::best(), &mut scratch.scores, length, 1.0 / (size as f32).sqrt());
        scratch.context.resize(count * size, 0.0);
        let scores = view(&scratch.scores, [count, length], [length, 1]);
        multiply_once(scores, values, 1.0, &mut scratch.context);
        let out = out[run.start * width..].chunks_exact_mut(width);
        for (out, context) in out.zip(scratch.context.chunks_exact(size)) {
            out[column..column + size].copy_from_slice(context);
        }
    }
}

/// The tokens of a text in as few runs as there can be, all of nearly one length and the longest first: the library has
/// another way for a single row, which would give other bits, and a matrix that grows takes twice what it needs.
fn runs(tokens: usize) -> impl Iterator<Item = Range<usize>> {
    let count = tokens.div_ceil(MOST_RUN);
    let start = move |run: usize| (run * tokens).div_ceil(count);
    (0..count).map(move |run| start(run)..start(run + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The formula for token `i`, one head, in f64; `qkv` is one text.
    fn scalar(qkv: &[f32], width: usize, columns: std::ops::Range<usize>, i: usize) -> Vec<f64> {
        let at = |token: usize, part: usize, c: usize| {
            f64::from(qkv[token * 3 * width + part * width + c])
        };
        let scale = (columns.len() as f64).sqrt();
        let score = |j| columns.clone().map(|c| at(i, 0, c) * at(j, 1, c)).sum::<f64>() / scale;
        let weights: Vec<f64> = (0..qkv.len() / (3 * width)).map(|j| score(j).exp()).collect();
        let total: f64 = weights.iter().sum();
        let value =
            |c| weights.iter().enumerate().map(|(j, w)| w / total * at(j, 2, c)).sum::<f64>();
        columns.map(value).collect()
    }

    #[test]
    fn long_texts_give_in_runs_the_bits_that_they_give_at_once() {
        let attention = Attention { heads: 2, head_size: 12 };
        for length in [257, 300, 511, 512, 513, 1100] {
            let noise = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / 8e6 - 1.0;
            let qkv: Vec<f32> = (0..length * 72).map(noise).collect();
            let [mut in_runs, mut at_once] = [Vec::new(), vec![0.0; length * 24]];
            let mut scratch = HeadScratch::default();
            attention.apply(&qkv, &[0, length], &mut scratch, &mut in_runs);
            assert!(scratch.scores.capacity() <= MOST_RUN * length);
            for column in [0, 12] {
                attention.apply_queries(column, 0..length, &qkv, &mut scratch, &mut at_once);
            }
            assert!(in_runs == at_once, "{length} tokens");
        }
    }

    #[test]
    fn runs_take_each_token_once_and_are_of_nearly_one_length() {
        for tokens in [97, 256, 257, 511, 512, 513, 8192] {
            let runs: Vec<_> = runs(tokens).collect();
            assert!(runs.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert_eq!((runs[0].start, runs[runs.len() - 1].end), (0, tokens));
            let least = runs.iter().map(Range::len).min().unwrap();
            assert!(runs.iter().all(|run| run.len() <= MOST_RUN.min(least + 1)), "{runs:?}");
            assert!(runs.iter().all(|run| run.len() <= runs[0].len()), "{runs:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn tokens_attend_to_their_own_text_only(
            lengths in prop::collection::vec(prop_oneof![0_usize..20, SHORT - 1..SHORT + 3], 1..5),
            (heads, head_size) in (1_usize..4, 1_usize..20),
            seed: u32,
        ) {
            let width = heads * head_size;
            let mut offsets = vec![0];
            offsets.extend(lengths.iter().scan(0, |end, length| { *end += length; Some(*end) }));
            let count = 3 * width * offsets[lengths.len()];
            let noise = |i: usize| ((i as u32 ^ seed).wrapping_mul(2_654_435_761) >> 8) as f32 / 8e6 - 1.0;
            let qkv: Vec<f32> = (0..count).map(noise).collect();
            let mut found = Vec::new();
            Attention { heads, head_size }.apply(&qkv, &offsets, &mut HeadScratch::default(), &mut found);
            for text in offsets.windows(2) {
                let own = &qkv[text[0] * 3 * width..text[1] * 3 * width];
                for token in text[0]..text[1] {
                    for head in 0..heads {
                        let columns = head * head_size..(head + 1) * head_size;
                        let expected = scalar(own, width, columns.clone(), token - text[0]);
                        for (found, expected) in found[token * width..][columns].iter().zip(expected) {
                            prop_assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
                        }
                    }
                }
            }
        }
    }
}
