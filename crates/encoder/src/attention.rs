//! Attention of each text's tokens to each other, over texts packed one after another.

pub(crate) mod distances;
pub(crate) mod placed;
pub(crate) mod rotary;

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

/// What one head needs while it is computed.
#[derive(Default)]
pub(crate) struct HeadScratch {
    /// Whatever the kernel for short texts keeps.
    short: Vec<f32>,
    /// `[length, length]`.
    scores: Vec<f32>,
    /// `[length, head_size]`.
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
                self.apply_head(head * self.head_size, qkv, scratch, out);
            }
        }
    }

    fn shape(&self, tokens: usize) -> AttentionShape {
        let width = self.heads * self.head_size;
        AttentionShape { tokens, heads: self.heads, width, first_token: 0, dropout: None }
    }

    /// One head of one text: the columns that start at `column` of each of Q, K, V and the output.
    fn apply_head(&self, column: usize, qkv: &[f32], scratch: &mut HeadScratch, out: &mut [f32]) {
        let (size, width) = (self.head_size, self.heads * self.head_size);
        let (stride, length) = (3 * width, qkv.len() / (3 * width));
        let queries = view(&qkv[column..], [length, size], [stride, 1]);
        let keys = view(&qkv[width + column..], [size, length], [1, stride]);
        let values = view(&qkv[2 * width + column..], [length, size], [stride, 1]);

        scratch.scores.resize(length * length, 0.0);
        multiply_once(queries, keys, 1.0, &mut scratch.scores);
        softmax_rows(Level::best(), &mut scratch.scores, length, 1.0 / (size as f32).sqrt());
        scratch.context.resize(length * size, 0.0);
        let scores = view(&scratch.scores, [length, length], [length, 1]);
        multiply_once(scores, values, 1.0, &mut scratch.context);
        for (out, context) in out.chunks_exact_mut(width).zip(scratch.context.chunks_exact(size)) {
            out[column..column + size].copy_from_slice(context);
        }
    }
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
