//! The Transformer: token ids in, one vector a token out.
//!
//! BERT, RoBERTa and XLM-R are the same arithmetic but for the rows of the position table that tokens use. Texts
//! are packed: the tokens of many lie one after another in one matrix `[tokens, hidden]`, every matrix product
//! and row operation runs over all of them at once, and only attention knows where a text begins.

use hpd_files::Result;

use crate::attention::{Attention, HeadScratch};
use crate::config::{Activation, EncoderConfig, ModelType};
use crate::linear::{Arithmetic, Linear};
use crate::rows::{LayerNorm, add_bias};
use crate::weights::Weights;

/// The numbers of a Transformer, ready for use.
pub(crate) struct Transformer {
    hidden: usize,
    /// `[vocabulary, hidden]`.
    words: Vec<f32>,
    /// `[positions, hidden]`, with the row of token type 0 added to each.
    positions: Vec<f32>,
    numbering: Numbering,
    norm: LayerNorm,
    /// `[hidden]` zeros, where a row operation wants a bias and there is none.
    no_bias: Vec<f32>,
    layers: Vec<Layer>,
}

/// Which row of the position table a token takes.
enum Numbering {
    FromZero,
    /// RoBERTa's: texts start at `pad + 1`, and a padding token written in a text does not count.
    AfterPad(u32),
}

struct Layer {
    /// Queries, keys and values in one product.
    qkv: Linear,
    attention: Attention,
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    activation: Activation,
    output: Linear,
    output_norm: LayerNorm,
}

/// Matrices that are reused from block to block.
#[derive(Default)]
pub(crate) struct Scratch {
    /// `[tokens, hidden]`: the tokens' vectors, and what [`Transformer::apply`] leaves.
    pub(crate) hidden: Vec<f32>,
    /// `[tokens, 3 · hidden]`.
    qkv: Vec<f32>,
    /// `[tokens, hidden]`.
    context: Vec<f32>,
    /// `[tokens, intermediate]`.
    intermediate: Vec<f32>,
    /// `[tokens, hidden]`: what a sublayer adds.
    delta: Vec<f32>,
    head: HeadScratch,
}

impl Transformer {
    /// Reads all tensors and packs the matrices.
    pub(crate) fn new(
        config: &EncoderConfig,
        weights: &Weights,
        arithmetic: Arithmetic,
    ) -> Result<Self> {
        let tensors = Tensors::new(config, weights, arithmetic);
        let hidden = config.hidden_size;
        let mut positions = tensors.read(
            "embeddings.position_embeddings.weight",
            &[config.max_position_embeddings, hidden],
        )?;
        let types = tensors
            .read("embeddings.token_type_embeddings.weight", &[config.type_vocab_size, hidden])?;
        add_bias(&mut positions, &types[..hidden]);
        Ok(Self {
            hidden,
            words: tensors
                .read("embeddings.word_embeddings.weight", &[config.vocab_size, hidden])?,
            positions,
            numbering: match config.model_type {
                ModelType::Bert => Numbering::FromZero,
                ModelType::Roberta | ModelType::XlmRoberta => {
                    Numbering::AfterPad(config.pad_token_id)
                }
            },
            norm: tensors.norm("embeddings.LayerNorm")?,
            no_bias: vec![0.0; hidden],
            layers: (0..config.num_hidden_layers)
                .map(|index| tensors.layer(index))
                .collect::<Result<_>>()?,
        })
    }

    /// Computes the vectors of all tokens into `scratch.hidden`.
    ///
    /// # Shapes
    /// `ids` has `offsets.last()` tokens, each below the vocabulary's size and each text no longer than there are
    /// positions, which the tokenizer has seen to.
    pub(crate) fn apply(&self, ids: &[u32], offsets: &[usize], scratch: &mut Scratch) {
        self.embed(ids, offsets, scratch);
        for layer in &self.layers {
            layer.apply(offsets, scratch);
        }
    }

    fn embed(&self, ids: &[u32], offsets: &[usize], scratch: &mut Scratch) {
        scratch.hidden.clear();
        scratch.delta.clear();
        for text in offsets.windows(2) {
            let mut position = self.numbering.first();
            for &id in &ids[text[0]..text[1]] {
                let row = self.numbering.take(id, &mut position);
                scratch
                    .hidden
                    .extend_from_slice(&self.words[id as usize * self.hidden..][..self.hidden]);
                scratch
                    .delta
                    .extend_from_slice(&self.positions[row * self.hidden..][..self.hidden]);
            }
        }
        self.norm.add_and_normalize(&mut scratch.hidden, &scratch.delta, &self.no_bias);
    }
}

impl Numbering {
    fn first(&self) -> usize {
        match self {
            Self::FromZero => 0,
            Self::AfterPad(pad) => *pad as usize + 1,
        }
    }

    /// The row for token `id`; moves `next` on.
    fn take(&self, id: u32, next: &mut usize) -> usize {
        match self {
            Self::AfterPad(pad) if id == *pad => *pad as usize,
            _ => {
                *next += 1;
                *next - 1
            }
        }
    }
}

impl Layer {
    fn apply(&self, offsets: &[usize], scratch: &mut Scratch) {
        let Scratch { hidden, qkv, context, intermediate, delta, head } = scratch;
        self.qkv.apply(hidden, None, qkv);
        self.attention.apply(qkv, offsets, head, context);
        self.attention_output.product(context, delta);
        self.attention_norm.add_and_normalize(hidden, delta, &self.attention_output.bias);

        self.intermediate.apply(hidden, Some(self.activation), intermediate);
        self.output.product(intermediate, delta);
        self.output_norm.add_and_normalize(hidden, delta, &self.output.bias);
    }
}

/// Reads tensors by the names that `BertModel` gives them.
struct Tensors<'a> {
    config: &'a EncoderConfig,
    weights: &'a Weights,
    /// `bert.` or `roberta.` in files of a model with a task head.
    prefix: &'static str,
    arithmetic: Arithmetic,
}

impl<'a> Tensors<'a> {
    fn new(config: &'a EncoderConfig, weights: &'a Weights, arithmetic: Arithmetic) -> Self {
        let has =
            |prefix: &&str| weights.contains(&format!("{prefix}embeddings.word_embeddings.weight"));
        let prefix = ["bert.", "roberta."].into_iter().find(has).unwrap_or("");
        Self { config, weights, prefix, arithmetic }
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.weights.tensor(&format!("{}{name}", self.prefix), shape)
    }

    fn layer(&self, index: usize) -> Result<Layer> {
        let EncoderConfig { hidden_size: hidden, intermediate_size: wide, .. } = *self.config;
        let of = |part: &str| format!("encoder.layer.{index}.{part}");
        Ok(Layer {
            qkv: self.qkv(&of("attention.self"))?,
            attention: Attention {
                heads: self.config.num_attention_heads,
                head_size: self.config.head_size(),
            },
            attention_output: self.linear(&of("attention.output.dense"), hidden, hidden)?,
            attention_norm: self.norm(&of("attention.output.LayerNorm"))?,
            intermediate: self.linear(&of("intermediate.dense"), hidden, wide)?,
            activation: self.config.hidden_act,
            output: self.linear(&of("output.dense"), wide, hidden)?,
            output_norm: self.norm(&of("output.LayerNorm"))?,
        })
    }

    fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let weight = self.read(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = self.read(&format!("{name}.bias"), &[outputs])?;
        Ok(Linear::of(self.arithmetic, &weight, bias))
    }

    fn qkv(&self, name: &str) -> Result<Linear> {
        let hidden = self.config.hidden_size;
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for part in ["query", "key", "value"] {
            weight.extend(self.read(&format!("{name}.{part}.weight"), &[hidden, hidden])?);
            bias.extend(self.read(&format!("{name}.{part}.bias"), &[hidden])?);
        }
        Ok(Linear::of(self.arithmetic, &weight, bias))
    }

    /// Files of TensorFlow's time say `gamma` and `beta`.
    fn norm(&self, name: &str) -> Result<LayerNorm> {
        let old = self.weights.contains(&format!("{}{name}.gamma", self.prefix));
        let (gain, shift) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        let hidden = self.config.hidden_size;
        Ok(LayerNorm {
            gain: self.read(&format!("{name}.{gain}"), &[hidden])?,
            shift: self.read(&format!("{name}.{shift}"), &[hidden])?,
            epsilon: self.config.layer_norm_eps,
        })
    }
}
