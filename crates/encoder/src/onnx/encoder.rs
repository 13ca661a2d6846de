//! A sentence encoder as a graph: words, layers, head.
//!
//! Shapes in the comments: `B` texts, `T` tokens of the longest, `H` the width, `h` heads of `d` numbers.

use std::collections::HashMap;

use hpd_files::{Error, Result};

use super::graph::{Attribute, Graph, Value};
use super::messages::{FLOAT, INT64};
use crate::architectures;
use crate::config::{Activation, EncoderConfig};
use crate::convert::Source;
use crate::tensor::Tensor;
use crate::writer::{Dense, Module};
use crate::{DenseActivation, ModelType, Pooling, PoolingMode};

/// How an architecture names the tensors of its layers; `{}` is the layer's number.
struct LayerNames {
    layer: &'static str,
    query: &'static str,
    key: &'static str,
    value: &'static str,
    attention_output: &'static str,
    attention_norm: &'static str,
    inner: &'static str,
    output: &'static str,
    output_norm: &'static str,
}

const BERT: LayerNames = LayerNames {
    layer: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    inner: "intermediate.dense",
    output: "output.dense",
    output_norm: "output.LayerNorm",
};

const DISTILBERT: LayerNames = LayerNames {
    layer: "transformer.layer",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    attention_output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    inner: "ffn.lin1",
    output: "ffn.lin2",
    output_norm: "output_layer_norm",
};

/// The graph of a model with its head.
///
/// # Errors
/// When the architecture has no graph here, or a tensor is missing.
pub(super) fn graph(source: &Source) -> Result<Graph> {
    let config = &source.folder.config;
    let tensors = source.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let mut builder = Builder { graph: Graph::default(), config, tensors };
    let ids = builder.graph.input("input_ids", &["batch", "sequence"]);
    let mask = builder.graph.input("attention_mask", &["batch", "sequence"]);
    let mask = builder.cast_to_floats(&mask);
    let hidden = builder.hidden(&ids, &mask)?;
    builder.head(&source.folder.pooling, &source.head, &hidden, &mask);
    Ok(builder.graph)
}

/// Whether this architecture has a graph here.
pub(super) fn is_supported(model_type: &ModelType) -> bool {
    model_type.is_bert_family()
        || matches!(model_type, ModelType::DistilBert | ModelType::StaticEmbedding)
}

struct Builder<'a> {
    graph: Graph,
    config: &'a EncoderConfig,
    tensors: HashMap<&'a str, &'a Tensor>,
}

impl Builder<'_> {
    /// The tokens' vectors, `[B, T, H]`. `mask` is 1 for tokens and 0 for padding.
    fn hidden(&mut self, ids: &Value, mask: &Value) -> Result<Value> {
        let words = self.constant(architectures::names(&self.config.model_type).words)?;
        let words = self.graph.call("Gather", "words", &[&words, ids], &[]);
        let names = match &self.config.model_type {
            ModelType::StaticEmbedding => return Ok(words),
            ModelType::DistilBert => &DISTILBERT,
            _ => &BERT,
        };
        let places = self.places(ids)?;
        let sum = self.graph.call("Add", "words", &[&words, &places], &[]);
        let mut hidden = self.norm("embeddings.LayerNorm", &sum)?;
        let unseen = self.unseen(mask);
        for index in 0..self.config.num_hidden_layers {
            hidden = self.layer(names, index, &hidden, &unseen)?;
        }
        Ok(hidden)
    }

    /// What is added to each word for its place and, where there are such, its type: `[T, H]` or `[B, T, H]`.
    fn places(&mut self, ids: &Value) -> Result<Value> {
        let Tensor { shape, data, .. } = self.tensor("embeddings.position_embeddings.weight")?;
        let mut table = data.clone();
        if let Some(types) = self.tensors.get("embeddings.token_type_embeddings.weight") {
            // Every token is of the first type.
            let width = self.config.hidden_size;
            for (number, of_type) in table.iter_mut().zip(types.data[..width].iter().cycle()) {
                *number += of_type;
            }
        }
        let table = self.graph.floats("embeddings.places", shape, &table);
        let rows = match self.config.model_type {
            ModelType::Roberta | ModelType::XlmRoberta => self.rows_behind_padding(ids),
            _ => self.rows_from_zero(ids),
        };
        Ok(self.graph.call("Gather", "places", &[&table, &rows], &[]))
    }

    /// `0, 1, …, T - 1`
    fn rows_from_zero(&mut self, ids: &Value) -> Value {
        let graph = &mut self.graph;
        let [zero, one] =
            [("zero", 0), ("one", 1)].map(|(name, n)| graph.integers(name, &[], &[n]));
        let shape = graph.call("Shape", "places", &[ids], &[]);
        let length = graph.call("Gather", "places", &[&shape, &one], &[]);
        graph.call("Range", "places", &[&zero, &length, &one], &[])
    }

    /// RoBERTa's: tokens that are no padding are counted from the id of padding on.
    fn rows_behind_padding(&mut self, ids: &Value) -> Value {
        let graph = &mut self.graph;
        let padding = graph.integers("padding", &[], &[i64::from(self.config.pad_token_id)]);
        let axis = graph.integers("one", &[], &[1]);
        let is_padding = graph.call("Equal", "places", &[ids, &padding], &[]);
        let is_token = graph.call("Not", "places", &[&is_padding], &[]);
        let to_integers = [Attribute::Int("to", INT64.into())];
        let is_token = graph.call("Cast", "places", &[&is_token], &to_integers);
        let count = graph.call("CumSum", "places", &[&is_token, &axis], &[]);
        let count = graph.call("Mul", "places", &[&count, &is_token], &[]);
        graph.call("Add", "places", &[&count, &padding], &[])
    }

    /// What is added to attention's scores so that padding is not looked at: `[B, 1, 1, T]`.
    fn unseen(&mut self, mask: &Value) -> Value {
        let graph = &mut self.graph;
        let one = graph.float("one.float", 1.0);
        let lowest = graph.float("lowest", f32::MIN);
        let axes = graph.integers("axes.heads", &[2], &[1, 2]);
        let is_padding = graph.call("Sub", "unseen", &[&one, mask], &[]);
        let unseen = graph.call("Mul", "unseen", &[&is_padding, &lowest], &[]);
        graph.call("Unsqueeze", "unseen", &[&unseen, &axes], &[])
    }

    fn layer(
        &mut self,
        names: &LayerNames,
        index: usize,
        hidden: &Value,
        unseen: &Value,
    ) -> Result<Value> {
        let of = |part: &str| format!("{}.{index}.{part}", names.layer);
        let [query, key, value] =
            [names.query, names.key, names.value].map(|part| self.linear(&of(part), hidden));
        let context = self.attention(&of("attention"), [query?, key?, value?], unseen);
        let attended = self.linear(&of(names.attention_output), &context)?;
        let sum = self.graph.call("Add", &of("attention"), &[&attended, hidden], &[]);
        let hidden = self.norm(&of(names.attention_norm), &sum)?;
        let inner = self.linear(&of(names.inner), &hidden)?;
        let inner = self.activation(&of(names.inner), &inner);
        let output = self.linear(&of(names.output), &inner)?;
        let sum = self.graph.call("Add", &of("output"), &[&output, &hidden], &[]);
        self.norm(&of(names.output_norm), &sum)
    }

    /// `[B, T, H]` of queries, keys and values to `[B, T, H]`.
    fn attention(&mut self, name: &str, qkv: [Value; 3], unseen: &Value) -> Value {
        let (heads, size) = (self.config.num_attention_heads, self.config.head_size());
        let graph = &mut self.graph;
        // 0 keeps a dimension as it is.
        let split = graph.integers("shape.split", &[4], &[0, 0, heads as i64, size as i64]);
        let joined = graph.integers("shape.joined", &[3], &[0, 0, (heads * size) as i64]);
        let scale = graph.float("scale", 1.0 / (size as f32).sqrt());
        let [query, key, value] = qkv.map(|x| graph.call("Reshape", name, &[&x, &split], &[]));
        const BY_HEAD: &[Attribute] = &[Attribute::Ints("perm", &[0, 2, 1, 3])];
        const TRANSPOSED: &[Attribute] = &[Attribute::Ints("perm", &[0, 2, 3, 1])];
        let query = graph.call("Transpose", name, &[&query], BY_HEAD); // [B, h, T, d]
        let key = graph.call("Transpose", name, &[&key], TRANSPOSED); // [B, h, d, T]
        let value = graph.call("Transpose", name, &[&value], BY_HEAD); // [B, h, T, d]
        let scores = graph.call("MatMul", name, &[&query, &key], &[]); // [B, h, T, T]
        let scores = graph.call("Mul", name, &[&scores, &scale], &[]);
        let scores = graph.call("Add", name, &[&scores, unseen], &[]);
        let shares = graph.call("Softmax", name, &[&scores], &[Attribute::Int("axis", -1)]);
        let context = graph.call("MatMul", name, &[&shares, &value], &[]); // [B, h, T, d]
        let context = graph.call("Transpose", name, &[&context], BY_HEAD); // [B, T, h, d]
        graph.call("Reshape", name, &[&context, &joined], &[])
    }

    fn activation(&mut self, name: &str, x: &Value) -> Value {
        let graph = &mut self.graph;
        if self.config.hidden_act == Activation::Relu {
            return graph.call("Relu", name, &[x], &[]);
        }
        let (half, one) = (graph.float("half", 0.5), graph.float("one.float", 1.0));
        let bend = if self.config.hidden_act == Activation::Gelu {
            let root = graph.float("root of 2", std::f32::consts::SQRT_2);
            let scaled = graph.call("Div", name, &[x, &root], &[]);
            graph.call("Erf", name, &[&scaled], &[])
        } else {
            // tanh(√(2/π) · (x + 0.044715 x³))
            let cubic = graph.float("gelu.cubic", 0.044_715);
            let outer = graph.float("gelu.outer", (2.0 / std::f32::consts::PI).sqrt());
            let square = graph.call("Mul", name, &[x, x], &[]);
            let cube = graph.call("Mul", name, &[&square, x], &[]);
            let cube = graph.call("Mul", name, &[&cube, &cubic], &[]);
            let sum = graph.call("Add", name, &[x, &cube], &[]);
            let scaled = graph.call("Mul", name, &[&sum, &outer], &[]);
            graph.call("Tanh", name, &[&scaled], &[])
        };
        let bend = graph.call("Add", name, &[&bend, &one], &[]);
        let product = graph.call("Mul", name, &[x, &bend], &[]);
        graph.call("Mul", name, &[&product, &half], &[])
    }

    /// A linear layer of the Transformer.
    fn linear(&mut self, name: &str, x: &Value) -> Result<Value> {
        let weight = self.tensor(&format!("{name}.weight"))?;
        let bias = self.tensor(&format!("{name}.bias"))?;
        let &[outputs, inputs] = weight.shape.as_slice() else {
            return Err(Error::model(format!("tensor `{name}.weight` is no matrix")));
        };
        Ok(self.product(name, x, [outputs, inputs], &weight.data, Some(&bias.data)))
    }

    /// `x · weightᵀ + bias`; `weight` is `[outputs, inputs]`.
    fn product(
        &mut self,
        name: &str,
        x: &Value,
        [outputs, inputs]: [usize; 2],
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Value {
        let columns = (0..inputs).flat_map(|j| (0..outputs).map(move |i| weight[i * inputs + j]));
        let columns: Vec<f32> = columns.collect();
        let weight = self.graph.floats(&format!("{name}.weight"), &[inputs, outputs], &columns);
        let product = self.graph.call("MatMul", name, &[x, &weight], &[]);
        match bias {
            None => product,
            Some(bias) => {
                let bias = self.graph.floats(&format!("{name}.bias"), &[outputs], bias);
                self.graph.call("Add", name, &[&product, &bias], &[])
            }
        }
    }

    fn norm(&mut self, name: &str, x: &Value) -> Result<Value> {
        let [weight, bias] =
            ["weight", "bias"].map(|part| self.constant(&format!("{name}.{part}")));
        let settings =
            [Attribute::Int("axis", -1), Attribute::Float("epsilon", self.config.layer_norm_eps)];
        Ok(self.graph.call("LayerNormalization", name, &[x, &weight?, &bias?], &settings))
    }

    fn constant(&mut self, name: &str) -> Result<Value> {
        let Tensor { shape, data, .. } = self.tensor(name)?;
        Ok(self.graph.floats(name, shape, data))
    }

    fn tensor<'b>(&self, name: &str) -> Result<&'b Tensor>
    where
        Self: 'b,
    {
        let found = self.tensors.get(name).copied();
        found.ok_or_else(|| Error::model(format!("there is no tensor `{name}`")))
    }

    /// Both outputs.
    fn head(&mut self, pooling: &Pooling, head: &[Module], hidden: &Value, mask: &Value) {
        // A text may be without tokens where nothing frames it, and a bias is added to it all the same.
        let may_be_empty = self.config.model_type.is_static();
        let commutes = |module: &&Module| commutes(pooling, module, may_be_empty);
        let linear = head.iter().take_while(commutes).count();
        let (on_tokens, on_texts) = head.split_at(linear);
        let mut width = self.config.hidden_size;
        let tokens = self.modules("head", on_tokens, hidden.clone(), &mut width);
        self.graph.output("token_embeddings", &tokens, &["batch", "sequence"], width);
        let pooled = self.pool(pooling, &tokens, mask);
        width *= pooling.modes.len();
        let sentence = self.modules("head.pooled", on_texts, pooled, &mut width);
        self.graph.output("sentence_embedding", &sentence, &["batch"], width);
    }

    fn modules(&mut self, name: &str, modules: &[Module], x: Value, width: &mut usize) -> Value {
        modules.iter().enumerate().fold(x, |x, (index, module)| match module {
            Module::Dense(dense) => {
                *width = dense.out_features;
                self.dense(&format!("{name}.{index}"), dense, &x)
            }
            Module::Normalize => self.unit(name, &x),
        })
    }

    fn dense(&mut self, name: &str, dense: &Dense, x: &Value) -> Value {
        let shape = [dense.out_features, dense.in_features];
        let product = self.product(name, x, shape, &dense.weight, dense.bias.as_deref());
        match dense.activation {
            DenseActivation::Identity => product,
            DenseActivation::Tanh => self.graph.call("Tanh", name, &[&product], &[]),
        }
    }

    /// To length 1, zeros stay zeros.
    fn unit(&mut self, name: &str, x: &Value) -> Value {
        let graph = &mut self.graph;
        let least = graph.float("least length", 1e-12);
        let last = [Attribute::Ints("axes", &[-1])];
        let length = graph.call("ReduceL2", name, &[x], &last);
        let length = graph.call("Max", name, &[&length, &least], &[]);
        graph.call("Div", name, &[x, &length], &[])
    }

    /// `[B, T, width]` to `[B, modes · width]`.
    fn pool(&mut self, pooling: &Pooling, tokens: &Value, mask: &Value) -> Value {
        let last = self.graph.integers("axes.last", &[1], &[-1]);
        let mask = self.graph.call("Unsqueeze", "pooling", &[mask, &last], &[]); // [B, T, 1]
        let pooled: Vec<Value> =
            pooling.modes.iter().map(|mode| self.pool_by(*mode, tokens, &mask)).collect();
        match pooled.as_slice() {
            [one] => one.clone(),
            several => {
                let several: Vec<&Value> = several.iter().collect();
                self.graph.call("Concat", "pooling", &several, &[Attribute::Int("axis", -1)])
            }
        }
    }

    fn pool_by(&mut self, mode: PoolingMode, tokens: &Value, mask: &Value) -> Value {
        let graph = &mut self.graph;
        let axis = graph.integers("axes.tokens", &[1], &[1]);
        let flat = [Attribute::Int("keepdims", 0)];
        match mode {
            PoolingMode::Cls => {
                let first = graph.integers("zero", &[], &[0]);
                graph.call("Gather", "pooling", &[tokens, &first], &[Attribute::Int("axis", 1)])
            }
            PoolingMode::Max => {
                let one = graph.float("one.float", 1.0);
                let far = graph.float("far below", -1e9);
                let is_padding = graph.call("Sub", "pooling", &[&one, mask], &[]);
                let below = graph.call("Mul", "pooling", &[&is_padding, &far], &[]);
                let seen = graph.call("Mul", "pooling", &[tokens, mask], &[]);
                let seen = graph.call("Add", "pooling", &[&seen, &below], &[]);
                let settings = [Attribute::Ints("axes", &[1]), Attribute::Int("keepdims", 0)];
                graph.call("ReduceMax", "pooling", &[&seen], &settings)
            }
            PoolingMode::Mean | PoolingMode::MeanSqrtLen => {
                let least = graph.float("least count", 1e-9);
                let seen = graph.call("Mul", "pooling", &[tokens, mask], &[]);
                let sum = graph.call("ReduceSum", "pooling", &[&seen, &axis], &flat);
                let count = graph.call("ReduceSum", "pooling", &[mask, &axis], &flat);
                let count = graph.call("Max", "pooling", &[&count, &least], &[]);
                let divisor = match mode {
                    PoolingMode::MeanSqrtLen => graph.call("Sqrt", "pooling", &[&count], &[]),
                    _ => count,
                };
                graph.call("Div", "pooling", &[&sum, &divisor], &[])
            }
        }
    }

    fn cast_to_floats(&mut self, x: &Value) -> Value {
        self.graph.call("Cast", "mask", &[x], &[Attribute::Int("to", FLOAT.into())])
    }
}

/// Whether a module gives the same before the pooling as behind it.
fn commutes(pooling: &Pooling, module: &Module, may_be_empty: bool) -> bool {
    match (pooling.modes.as_slice(), module) {
        ([PoolingMode::Cls], Module::Dense(_)) => true,
        ([PoolingMode::Mean], Module::Dense(dense)) => {
            dense.activation == DenseActivation::Identity && !(may_be_empty && dense.bias.is_some())
        }
        _ => false,
    }
}
