//! Attention of each text's tokens to each other, over texts packed one after another.

use rten_simd::SimdOp;
use rten_vecmath::Softmax;

use crate::linear::{multiply_once, view};

/// Softmax(Q · Kᵀ / √d) · V, text by text and head by head.
pub(crate) struct Attention {
    pub(crate) heads: usize,
    pub(crate) head_size: usize,
}

/// What one head needs while it is computed.
#[derive(Default)]
pub(crate) struct HeadScratch {
    /// `[length, length]`.
    scores: Vec<f32>,
    /// `[length, head_size]`.
    context: Vec<f32>,
}

impl Attention {
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
            for head in 0..self.heads {
                self.apply_head(head * self.head_size, qkv, scratch, out);
            }
        }
    }

    /// One head of one text: the columns that start at `column` of each of Q, K, V and the output.
    fn apply_head(&self, column: usize, qkv: &[f32], scratch: &mut HeadScratch, out: &mut [f32]) {
        let (size, width) = (self.head_size, self.heads * self.head_size);
        let (stride, length) = (3 * width, qkv.len() / (3 * width));
        let queries = view(&qkv[column..], [length, size], [stride, 1]);
        let keys = view(&qkv[width + column..], [size, length], [1, stride]);
        let values = view(&qkv[2 * width + column..], [length, size], [stride, 1]);

        scratch.scores.resize(length * length, 0.0);
        multiply_once(queries, keys, 1.0 / (size as f32).sqrt(), &mut scratch.scores);
        for row in scratch.scores.chunks_exact_mut(length) {
            Softmax::new_mut(row).dispatch();
        }
        scratch.context.resize(length * size, 0.0);
        let scores = view(&scratch.scores, [length, length], [length, 1]);
        multiply_once(scores, values, 1.0, &mut scratch.context);
        for (out, context) in out.chunks_exact_mut(width).zip(scratch.context.chunks_exact(size)) {
            out[column..column + size].copy_from_slice(context);
        }
    }
}
