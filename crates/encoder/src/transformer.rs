//! The Transformer: token ids in, one vector a token out.
//!
//! Texts are packed: the tokens of many lie one after another in one matrix `[tokens, hidden]`, every matrix product
//! and row operation runs over all of them at once, and only attention knows where a text begins. What an
//! architecture puts together from these parts stands in [`crate::architectures`].

use std::sync::Arc;

use hpd_files::Result;
use hpd_kernels::Level;
use hpd_kernels::rows::{add_rows, multiply_rows};

use crate::architectures;
use crate::arithmetic::Arithmetic;
use crate::attention::distances::DistanceBias;
use crate::attention::placed::Placed;
use crate::attention::rotary::Rotary;
use crate::attention::{Attention, HeadScratch};
use crate::config::{Activation, EncoderConfig};
use crate::linear::Linear;
use crate::rows::LayerNorm;
use crate::weights::Weights;
use crate::words::Words;

/// The numbers of a Transformer, ready for use.
pub(crate) struct Transformer {
    words: Words,
    layers: Vec<Layer>,
    /// Behind layers whose norms stand in front.
    final_norm: Option<LayerNorm>,
}

pub(crate) struct Layer {
    pub(crate) attention: SelfAttention,
    pub(crate) feed_forward: FeedForward,
    pub(crate) norms: Norms,
}

/// Where a layer normalises.
pub(crate) enum Norms {
    /// What each sublayer gives is added to its input, and the sum normalised.
    After { attention: LayerNorm, feed_forward: LayerNorm },
    /// Each sublayer takes its input normalised; what it gives is added to the input as it was.
    Before { attention: Option<LayerNorm>, feed_forward: LayerNorm },
}

pub(crate) struct SelfAttention {
    /// Queries, keys and values in one product.
    pub(crate) qkv: Linear,
    pub(crate) heads: Attention,
    pub(crate) places: Places,
    pub(crate) output: Linear,
}

/// How attention learns where tokens stand.
pub(crate) enum Places {
    /// From the words' vectors, to which positions were added.
    InWords,
    /// Scores get a number for each distance.
    Distances(Arc<DistanceBias>),
    /// Queries and keys are rotated; with a window, tokens see only so far to either side.
    Rotated { rotary: Arc<Rotary>, window: Option<usize> },
}

pub(crate) struct FeedForward {
    pub(crate) inner: Linear,
    pub(crate) activation: Activation,
    /// What the activated numbers are multiplied by.
    pub(crate) gate: Option<Linear>,
    pub(crate) output: Linear,
}

/// Matrices that are reused from block to block.
#[derive(Default)]
pub(crate) struct Scratch {
    /// `[tokens, hidden]`: the tokens' vectors, and what [`Transformer::apply`] leaves.
    pub(crate) hidden: Vec<f32>,
    /// `[tokens, hidden]`: what a sublayer with its norm in front takes.
    normed: Vec<f32>,
    /// `[tokens, hidden]`: what a sublayer adds.
    delta: Vec<f32>,
    within: SublayerScratch,
}

/// What a sublayer needs while it is computed.
#[derive(Default)]
struct SublayerScratch {
    /// `[tokens, 3 · hidden]`.
    qkv: Vec<f32>,
    /// `[tokens, hidden]`.
    context: Vec<f32>,
    /// `[tokens, intermediate]`.
    intermediate: Vec<f32>,
    /// `[tokens, intermediate]`.
    gate: Vec<f32>,
    head: HeadScratch,
    /// Whether no other block keeps the threads busy, so that they share this one's products.
    alone: bool,
}

impl Transformer {
    /// Reads all tensors and packs the matrices.
    pub(crate) fn read(
        config: &EncoderConfig,
        weights: &Weights,
        arithmetic: Arithmetic,
    ) -> Result<Self> {
        architectures::read(config, weights, arithmetic)
    }

    pub(crate) fn new(words: Words, layers: Vec<Layer>) -> Self {
        Self { words, layers, final_norm: None }
    }

    pub(crate) fn with_final_norm(self, norm: LayerNorm) -> Self {
        Self { final_norm: Some(norm), ..self }
    }

    /// Computes the vectors of all tokens into `scratch.hidden`. Tokens that are `alone` have all threads for themselves.
    ///
    /// # Shapes
    /// `ids` has `offsets.last()` tokens, each below the vocabulary's size and each text no longer than there are
    /// positions, which the tokenizer has seen to.
    pub(crate) fn apply(&self, ids: &[u32], offsets: &[usize], alone: bool, scratch: &mut Scratch) {
        scratch.within.alone = alone;
        self.words.apply(ids, offsets, &mut scratch.hidden, &mut scratch.delta);
        for layer in &self.layers {
            layer.apply(offsets, scratch);
        }
        if let Some(norm) = &self.final_norm {
            norm.normalize(&mut scratch.hidden);
        }
    }
}

impl Layer {
    fn apply(&self, offsets: &[usize], scratch: &mut Scratch) {
        let Scratch { hidden, normed, delta, within } = scratch;
        let (attention, feed_forward) = (&self.attention, &self.feed_forward);
        match &self.norms {
            Norms::After { attention: attention_norm, feed_forward: output_norm } => {
                attention.apply(hidden, offsets, within, delta);
                attention_norm.add_and_normalize(hidden, delta, &attention.output.bias);
                feed_forward.apply(hidden, within, delta);
                output_norm.add_and_normalize(hidden, delta, &feed_forward.output.bias);
            }
            Norms::Before { attention: attention_norm, feed_forward: inner_norm } => {
                normalized(hidden, attention_norm.as_ref(), normed);
                attention.apply(normed, offsets, within, delta);
                add_rows(Level::best(), hidden, delta, &attention.output.bias);
                normalized(hidden, Some(inner_norm), normed);
                feed_forward.apply(normed, within, delta);
                add_rows(Level::best(), hidden, delta, &feed_forward.output.bias);
            }
        }
    }
}

/// `out` becomes the rows normalised, or as they are.
fn normalized(rows: &[f32], norm: Option<&LayerNorm>, out: &mut Vec<f32>) {
    out.clear();
    out.extend_from_slice(rows);
    if let Some(norm) = norm {
        norm.normalize(out);
    }
}

impl SelfAttention {
    /// Writes to `delta` what attention over `x` gives, without the last bias.
    fn apply(
        &self,
        x: &[f32],
        offsets: &[usize],
        scratch: &mut SublayerScratch,
        delta: &mut Vec<f32>,
    ) {
        let SublayerScratch { qkv, context, head, alone, .. } = scratch;
        let alone = *alone;
        self.qkv.apply(x, None, alone, qkv);
        let heads = &self.heads;
        match &self.places {
            Places::InWords => heads.apply(qkv, offsets, head, context),
            Places::Distances(bias) => {
                let placed = Placed { bias: Some(bias), window: None };
                heads.apply_placed(qkv, offsets, &placed, head, context);
            }
            Places::Rotated { rotary, window } => {
                rotary.rotate(qkv, offsets, heads.heads);
                let placed = Placed { bias: None, window: *window };
                heads.apply_placed(qkv, offsets, &placed, head, context);
            }
        }
        self.output.product(context, alone, delta);
    }
}

impl FeedForward {
    /// Writes to `delta` what the layer gives for `x`, without the last bias.
    fn apply(&self, x: &[f32], scratch: &mut SublayerScratch, delta: &mut Vec<f32>) {
        let SublayerScratch { intermediate, gate: factors, alone, .. } = scratch;
        let alone = *alone;
        self.inner.apply(x, Some(self.activation), alone, intermediate);
        if let Some(gate) = &self.gate {
            gate.product(x, alone, factors);
            multiply_rows(Level::best(), intermediate, factors, &gate.bias);
        }
        self.output.product(intermediate, alone, delta);
    }
}
