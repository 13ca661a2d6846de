//! The student: a BERT (or RoBERTa) body with mean pooling and a projecting head, on any burn device; or no body at
//! all, a static student, whose sentences are the means of their tokens' rows.
//!
//! Separate from the encoder room because training needs gradients and may run on a graphics card; the two meet
//! only in the exported model folder. Weights keep the shape and the names Hugging Face gives them, so tensors go
//! in and out bit for bit; query, key and value stand one below the other in one matrix, so that one product
//! makes all three.
//!
//! `PackedBatch → word rows + positions + types → norm → layers → mean over tokens → head → [sentences, dim]`,
//! of which a static student has `PackedBatch → word rows → mean over tokens → head → [sentences, dim]`.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use hpd_encoder::{EncoderConfig, Weights, tensor};
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Result};
use hpd_kernels::rows::Dropout;

use crate::fused::{self, Packing, padded};
use crate::random::Random;
use crate::recipe::{Activation, Arithmetic, Recipe};

/// A student in training: the table of word embeddings on the host, everything else on a device.
///
/// The table stays on the host because a batch touches few of its rows: they alone go to the device and alone
/// bring gradients back.
#[derive(Clone, Debug)]
pub struct Student {
    /// The Transformer's shape, with the student's own number of layers.
    pub config: EncoderConfig,
    /// What happens behind the pooled vector.
    pub head: HeadShape,
    /// In which numbers the layers multiply.
    pub arithmetic: Arithmetic,
    /// Word embeddings, `[vocab_size, hidden_size]`.
    pub words: Vec<f32>,
    /// All other parameters.
    pub body: Body,
}

/// What happens behind the pooled vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    /// Numbers of the student's vector.
    pub dim: usize,
    /// Whether the projection has a bias.
    pub bias: bool,
    /// What follows it.
    pub activation: Activation,
    /// Whether the result is brought to length 1.
    pub normalize: bool,
}

impl HeadShape {
    /// That of a recipe.
    pub fn of(recipe: &Recipe) -> Self {
        Self {
            dim: recipe.dim,
            bias: recipe.head.bias,
            activation: recipe.head.activation,
            normalize: recipe.normalize,
        }
    }
}

/// The parameters on the device.
#[derive(Module, Debug)]
pub struct Body {
    /// What makes of words what the first layer takes; `None` in a static student.
    pub front: Option<Front>,
    /// Transformer layers; none in a static student.
    pub layers: Vec<Layer>,
    /// `[dim, hidden_size]`.
    pub head: Param<Tensor<2>>,
    /// `[dim]`.
    pub head_bias: Option<Param<Tensor<1>>>,
}

/// What is added to words before the first layer.
#[derive(Module, Debug)]
pub struct Front {
    /// `[max_position_embeddings, hidden_size]`.
    pub positions: Param<Tensor<2>>,
    /// `[type_vocab_size, hidden_size]`, of which row 0 is used.
    pub types: Param<Tensor<2>>,
    /// Norm of the summed embeddings.
    pub norm: Norm,
}

/// One Transformer layer.
#[derive(Module, Debug)]
pub struct Layer {
    query_key_value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    intermediate: Linear,
    output: Linear,
    output_norm: Norm,
}

/// `x · weightᵀ + bias`.
#[derive(Module, Debug)]
pub struct Linear {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

/// Scale and shift of a layer norm.
#[derive(Module, Debug)]
pub struct Norm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
}

const WORDS: &str = "embeddings.word_embeddings.weight";
const POSITIONS: &str = "embeddings.position_embeddings.weight";
const TYPES: &str = "embeddings.token_type_embeddings.weight";
/// What the head's tensors are called among the student's; other names are Hugging Face's.
pub const HEAD_WEIGHT: &str = "head.weight";
/// See [`HEAD_WEIGHT`].
pub const HEAD_BIAS: &str = "head.bias";
const PROJECTIONS: [&str; 3] = ["query", "key", "value"];

/// Gives the numbers of a tensor, by its name and shape.
type Source<'a> = dyn FnMut(&str, &[usize]) -> Result<Vec<f32>> + 'a;

impl Student {
    /// Layers `keep_layers` (counted from 0) of a model folder, and a head from `head_weight` (`[dim, hidden_size]`)
    /// or at random.
    ///
    /// # Errors
    /// When the folder cannot be read, lacks a layer, or its width is not that of `head_weight`.
    pub fn from_folder(
        folder: &std::path::Path,
        keep_layers: &[usize],
        head: HeadShape,
        head_weight: Option<&[f32]>,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let mut config = EncoderConfig::open(&folder.join("config.json"))?;
        check_layers(keep_layers, config.num_hidden_layers)?;
        check_head(head, head_weight, config.hidden_size)?;
        config.num_hidden_layers = keep_layers.len();
        let weights = Weights::open(folder)?;
        let prefix = prefix(&weights);
        let mut random = fresh(seed);
        Self::build(config, head, device, &mut |name, shape| match (name, head_weight) {
            (HEAD_WEIGHT, Some(given)) => Ok(given.to_vec()),
            (HEAD_WEIGHT | HEAD_BIAS, _) => random(name, shape),
            _ => weights.tensor(&format!("{prefix}{}", renumbered(name, keep_layers)), shape),
        })
    }

    /// A static student whose words have the rows `words`, `[vocab_size, hidden_size]`, and a head from
    /// `head_weight` (`[dim, hidden_size]`) or at random.
    ///
    /// # Errors
    /// When the table is not of the shape that `config` tells, or its width not that of `head_weight`.
    pub fn from_table(
        config: EncoderConfig,
        words: &[f32],
        head: HeadShape,
        head_weight: Option<&[f32]>,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        check_head(head, head_weight, config.hidden_size)?;
        let mut random = fresh(seed);
        Self::build(config, head, device, &mut |name, shape| match (name, head_weight) {
            (HEAD_WEIGHT, Some(given)) => Ok(given.to_vec()),
            (WORDS, _) if words.len() == shape.iter().product::<usize>() => Ok(words.to_vec()),
            (WORDS, _) => Err(Error::mismatch(format!(
                "the table of words has {} numbers, expected the shape {shape:?}",
                words.len()
            ))),
            _ => random(name, shape),
        })
    }

    /// A student of any shape with random weights, as BERT starts them: deviation 0.02, norms one, biases zero.
    ///
    /// # Errors
    /// When the shape cannot be trained.
    pub fn fresh(
        config: EncoderConfig,
        head: HeadShape,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        Self::build(config, head, device, &mut fresh(seed))
    }

    /// The same student with the numbers that `source` gives for each name and shape.
    ///
    /// # Errors
    /// When `source` has one.
    pub fn reload(&self, source: &mut Source<'_>) -> Result<Self> {
        let student = Self::build(self.config.clone(), self.head, &self.device(), source)?;
        Ok(student.computing_in(self.arithmetic))
    }

    /// The same student with products in `arithmetic`; without this they are in f32.
    #[must_use]
    pub fn computing_in(self, arithmetic: Arithmetic) -> Self {
        Self { arithmetic, ..self }
    }

    fn build(
        config: EncoderConfig,
        head: HeadShape,
        device: &Device,
        source: &mut Source<'_>,
    ) -> Result<Self> {
        let is_static = config.model_type.is_static();
        if !is_static && !config.model_type.is_bert_family() {
            return Err(Error::model(format!(
                "`model_type` is {}, but only bert, roberta and xlm-roberta can be trained",
                config.model_type.name()
            )));
        }
        if !is_static && config.hidden_act != hpd_encoder::Activation::Gelu {
            return Err(Error::model(format!(
                "`hidden_act` is {:?}, but only `gelu` can be trained",
                config.hidden_act
            )));
        }
        let words = source(WORDS, &[config.vocab_size, config.hidden_size])?;
        let body = Body::build(&config, head, device, source)?;
        Ok(Self { config, head, arithmetic: Arithmetic::Float32, words, body })
    }

    /// Whether it has no layers.
    pub fn is_static(&self) -> bool {
        self.body.front.is_none()
    }

    /// Where the body lies.
    pub fn device(&self) -> Device {
        self.body.head.device()
    }

    /// What the head makes of each word's row, `[vocab_size, dim]`. The mean of a sentence's rows in this table is
    /// the student's vector of the sentence, before normalisation: a linear head and a mean may change places.
    ///
    /// # Cost
    /// `vocab_size · hidden_size · dim` multiplications.
    pub fn folded_words(&self) -> Vec<f32> {
        let shape = [self.config.vocab_size, self.config.hidden_size];
        let words = TensorData::new(self.words.clone(), shape);
        let words = Tensor::<2>::from_data(words, &self.device()).inner();
        numbers(words.matmul(self.body.head.val().inner().transpose()))
    }

    /// Every tensor by its Hugging Face name, the head's by [`HEAD_WEIGHT`] and [`HEAD_BIAS`].
    pub fn tensors(&self) -> Vec<tensor::Tensor> {
        let shape = vec![self.config.vocab_size, self.config.hidden_size];
        let mut tensors =
            vec![tensor::Tensor { name: WORDS.to_owned(), shape, data: self.words.clone() }];
        self.body.collect(&mut tensors);
        tensors
    }

    /// The rows of the word table that `batch` needs: one for each of its words, on another device than the CPU one for
    /// each of its places.
    pub fn word_rows(&self, batch: &PackedBatch) -> Tensor<2> {
        let width = self.config.hidden_size;
        let mut numbers = Vec::with_capacity(batch.words.len() * width);
        for &word in &batch.words {
            numbers.extend_from_slice(&self.words[word as usize * width..][..width]);
        }
        let data = TensorData::new(numbers, [batch.words.len(), width]);
        let rows = Tensor::from_data(data, &self.device());
        if !self.has_places() {
            return rows;
        }
        let slots = batch.slots_of_places(&self.device());
        let slots = slots.into_iter().map(|slot| slot.unwrap_or_default()).collect();
        let rows = rows.inner();
        let slots = padded::indices(slots, &rows.device());
        Tensor::from_inner(rows.select(0, slots))
    }

    /// The gradient of each of the batch's words, row by row, from that of [`Student::word_rows`].
    pub(crate) fn word_gradient(&self, batch: &PackedBatch, of_rows: Tensor<2>) -> Vec<f32> {
        if !self.has_places() {
            return numbers(of_rows);
        }
        let slots = batch.slots_of_places(&self.device());
        numbers(padded::sum_rows(&of_rows, &slots, batch.words.len()))
    }

    /// Whether its rows are padded places and not tokens.
    fn has_places(&self) -> bool {
        !self.is_static() && !fused::is_cpu(&self.device())
    }

    /// The student's vectors of a batch and what came before them, differentiable in `words` (see
    /// [`Student::word_rows`]) and the body.
    pub fn forward(
        &self,
        batch: &PackedBatch,
        words: Tensor<2>,
        sites: &mut DropoutSites,
    ) -> Passage {
        self.through(&self.body, self.arithmetic, batch, words, sites)
    }

    /// What the layers `numbers` make of every token of a batch, `[tokens, hidden]` each, without gradients, for a
    /// student that has them.
    pub fn states(&self, batch: &PackedBatch, numbers: &[usize]) -> Vec<Tensor<2>> {
        let (words, sites) = (self.word_rows(batch).inner(), &mut DropoutSites::none());
        let states = self.through(&self.body.valid(), self.arithmetic, batch, words, sites).states;
        numbers.iter().map(|&layer| Tensor::from_inner(states[layer].clone())).collect()
    }

    /// Vectors of sentences without gradients, in f32 as the exported student gives them; `texts[i]` are the token
    /// ids of sentence i.
    pub fn embed(&self, texts: &[&[u32]]) -> Matrix {
        let (body, dim) = (self.body.valid(), self.head.dim);
        let mut data = vec![0.0; texts.len() * dim];
        let mut by_length: Vec<usize> = (0..texts.len()).collect();
        by_length.sort_by_key(|&i| texts[i].len());
        let together = if fused::is_cpu(&self.device()) { 64 } else { 1024 };
        for chosen in by_length.chunks(together) {
            let batch = PackedBatch::new(chosen.iter().map(|&i| texts[i]), &self.config);
            let words = self.word_rows(&batch).inner();
            let sites = &mut DropoutSites::none();
            let passage = self.through(&body, Arithmetic::Float32, &batch, words, sites);
            for (row, &i) in numbers(passage.output).chunks_exact(dim).zip(chosen) {
                data[i * dim..][..dim].copy_from_slice(row);
            }
        }
        Matrix { data, dim }
    }

    /// What the parameters in `body` make of a batch.
    fn through(
        &self,
        body: &Body,
        arithmetic: Arithmetic,
        batch: &PackedBatch,
        words: Tensor<2>,
        sites: &mut DropoutSites,
    ) -> Passage {
        let (config, device) = (&self.config, words.device());
        let Some(front) = &body.front else {
            let mean = batch.mean_of_words(&device);
            let pooled = mean.clone().matmul(words.clone()); // [sentences, hidden]
            let output = body.project(pooled.clone(), self.head);
            return Passage {
                embedded: words,
                averages: Averages::Words(Box::new(mean)),
                states: Vec::new(),
                pooled,
                output,
            };
        };
        let types = front.types.val().slice([0..1, 0..config.hidden_size]);
        let places = front.positions.val() + types;
        let (words, places) = if fused::is_cpu(&device) {
            let row = |of: &[i32]| padded::indices(of.to_vec(), &device);
            (words.select(0, row(&batch.slots)), places.select(0, row(&batch.positions)))
        } else {
            (words, batch.packing.padded(&device).positions(&places, config.first_position()))
        };
        let epsilon = f64::from(config.layer_norm_eps);
        let embedded = sites.apply(front.norm.of_sum(words, places, epsilon)); // [tokens, hidden]
        let mut x = embedded.clone();
        let common = Common { heads: config.num_attention_heads, epsilon, arithmetic };
        let mut states = Vec::with_capacity(body.layers.len());
        for layer in &body.layers {
            x = layer.forward(x, batch, common, sites);
            states.push(x.clone());
        }
        let pooled = fused::mean(x, &batch.packing); // [sentences, hidden]
        let output = body.project(pooled.clone(), self.head);
        let averages = Averages::Tokens(batch.packing.clone());
        Passage { embedded, averages, states, pooled, output }
    }
}

/// A batch on its way through a student, as far as a loss may ask for it.
#[derive(Clone, Debug)]
pub struct Passage {
    /// What the first layer takes, `[tokens, hidden]`; of a static student the batch's words, `[words, hidden]`.
    embedded: Tensor<2>,
    /// How to take the mean of them over each sentence.
    averages: Averages,
    /// What each layer makes of every token, `[tokens, hidden]`.
    states: Vec<Tensor<2>>,
    /// The last layer's vectors, mean over each sentence's tokens, `[sentences, hidden]`.
    pub pooled: Tensor<2>,
    /// The student's vectors, `[sentences, dim]`.
    pub output: Tensor<2>,
}

impl Passage {
    /// The embeddings' mean over each sentence's tokens, `[sentences, hidden]`; computed when it is asked for.
    pub fn input(&self) -> Tensor<2> {
        match &self.averages {
            Averages::Tokens(packing) => fused::mean(self.embedded.clone(), packing),
            Averages::Words(shares) => shares.as_ref().clone().matmul(self.embedded.clone()),
        }
    }

    /// Mean over layers, sentences and their tokens of 1 − cosine between what a layer made of a token and the same
    /// row of `layers`; `None` where there are no such rows.
    ///
    /// # Source
    /// The layers' states as a target are those of Jiao et al. 2020 (TinyBERT), <https://arxiv.org/abs/1909.10351>,
    /// §3.1; their cosine is Sanh et al. 2019's (DistilBERT), <https://arxiv.org/abs/1910.01108>, §3.
    pub fn distance_to(&self, layers: &[Tensor<2>]) -> Option<Tensor<1>> {
        let Averages::Tokens(packing) = &self.averages else { return None };
        let distances = self.states.iter().zip(layers).map(|(state, layer)| {
            let cosines = (normalize(state.clone()) * normalize(layer.clone())).sum_dim(1);
            fused::mean(-cosines + 1.0, packing).mean()
        });
        let count = self.states.len() as f64;
        distances.reduce(|a, b| a + b).map(|sum| sum / count)
    }

    /// A passage whose stations are known, a token a sentence.
    #[cfg(test)]
    pub(crate) fn of(input: Tensor<2>, pooled: Tensor<2>, output: Tensor<2>) -> Self {
        let packing = Packing::new(vec![1; input.dims()[0]]);
        let states = vec![pooled.clone()];
        Self { embedded: input, averages: Averages::Tokens(packing), states, pooled, output }
    }
}

/// How the mean over a sentence is taken.
#[derive(Clone, Debug)]
enum Averages {
    /// Of a row for each token.
    Tokens(Packing),
    /// Of a row for each of the batch's words, by their shares, `[sentences, words]`.
    Words(Box<Tensor<2>>),
}

/// What all layers have in common.
#[derive(Clone, Copy, Debug)]
struct Common {
    heads: usize,
    epsilon: f64,
    arithmetic: Arithmetic,
}

impl Body {
    fn build(
        config: &EncoderConfig,
        head: HeadShape,
        device: &Device,
        source: &mut Source<'_>,
    ) -> Result<Self> {
        let is_static = config.model_type.is_static();
        let front = if is_static { None } else { Some(Front::build(config, device, source)?) };
        let weight = matrix(source, HEAD_WEIGHT, [head.dim, config.hidden_size], device)?;
        let head_bias =
            if head.bias { Some(row(source, HEAD_BIAS, head.dim, device)?) } else { None };
        let layer = |i: usize| Layer::build(&format!("encoder.layer.{i}"), config, device, source);
        let layers = (0..config.num_hidden_layers).map(layer).collect::<Result<_>>()?;
        Ok(Self { front, layers, head: weight, head_bias })
    }

    fn collect(&self, tensors: &mut Vec<tensor::Tensor>) {
        if let Some(front) = &self.front {
            front.collect(tensors);
        }
        for (i, layer) in self.layers.iter().enumerate() {
            layer.collect(&format!("encoder.layer.{i}"), tensors);
        }
        push(tensors, HEAD_WEIGHT, &self.head);
        if let Some(bias) = &self.head_bias {
            push(tensors, HEAD_BIAS, bias);
        }
    }

    fn project(&self, pooled: Tensor<2>, head: HeadShape) -> Tensor<2> {
        let mut output = pooled.matmul(self.head.val().transpose());
        if let Some(bias) = &self.head_bias {
            output = output + bias.val().unsqueeze();
        }
        if head.activation == Activation::Tanh {
            output = output.tanh();
        }
        if head.normalize { normalize(output) } else { output }
    }

    /// Freezes position and type embeddings.
    #[must_use]
    pub fn freeze_embeddings(mut self) -> Self {
        self.front = self.front.map(|front| Front {
            positions: front.positions.set_require_grad(false),
            types: front.types.set_require_grad(false),
            norm: front.norm,
        });
        self
    }
}

impl Front {
    fn build(config: &EncoderConfig, device: &Device, source: &mut Source<'_>) -> Result<Self> {
        let width = config.hidden_size;
        let (places, types) = (config.max_position_embeddings, config.type_vocab_size);
        Ok(Self {
            positions: matrix(source, POSITIONS, [places, width], device)?,
            types: matrix(source, TYPES, [types, width], device)?,
            norm: Norm::build("embeddings", width, device, source)?,
        })
    }

    fn collect(&self, tensors: &mut Vec<tensor::Tensor>) {
        push(tensors, POSITIONS, &self.positions);
        push(tensors, TYPES, &self.types);
        self.norm.collect("embeddings", tensors);
    }
}

impl Layer {
    fn build(
        name: &str,
        config: &EncoderConfig,
        device: &Device,
        source: &mut Source<'_>,
    ) -> Result<Self> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let projections = PROJECTIONS.map(|part| format!("{name}.attention.self.{part}"));
        let mut linear =
            |name: &str, shape| Linear::build(&[name.to_owned()], shape, device, source);
        Ok(Self {
            attention_output: linear(&format!("{name}.attention.output.dense"), [width, width])?,
            intermediate: linear(&format!("{name}.intermediate.dense"), [inner, width])?,
            output: linear(&format!("{name}.output.dense"), [width, inner])?,
            query_key_value: Linear::build(&projections, [width, width], device, source)?,
            attention_norm: Norm::build(
                &format!("{name}.attention.output"),
                width,
                device,
                source,
            )?,
            output_norm: Norm::build(&format!("{name}.output"), width, device, source)?,
        })
    }

    fn collect(&self, name: &str, tensors: &mut Vec<tensor::Tensor>) {
        let projections = PROJECTIONS.map(|part| format!("{name}.attention.self.{part}"));
        self.query_key_value.collect(&projections, tensors);
        self.attention_output.collect(&[format!("{name}.attention.output.dense")], tensors);
        self.attention_norm.collect(&format!("{name}.attention.output"), tensors);
        self.intermediate.collect(&[format!("{name}.intermediate.dense")], tensors);
        self.output.collect(&[format!("{name}.output.dense")], tensors);
        self.output_norm.collect(&format!("{name}.output"), tensors);
    }

    fn forward(
        &self,
        x: Tensor<2>, // [tokens, hidden]
        batch: &PackedBatch,
        common: Common,
        sites: &mut DropoutSites,
    ) -> Tensor<2> {
        let attended = self.attended(x, batch, common, sites);
        self.fed(attended, common, sites)
    }

    /// Its first half, the attention.
    fn attended(
        &self,
        x: Tensor<2>,
        batch: &PackedBatch,
        Common { heads, epsilon, arithmetic }: Common,
        sites: &mut DropoutSites,
    ) -> Tensor<2> {
        let qkv = self.query_key_value.forward(x.clone(), arithmetic); // [tokens, 3·hidden]
        let context = fused::attention(qkv, &batch.packing, heads, sites.next());
        let attended = sites.apply(self.attention_output.forward(context, arithmetic));
        self.attention_norm.of_sum(attended, x, epsilon)
    }

    /// Its second half, the feed-forward.
    fn fed(&self, attended: Tensor<2>, common: Common, sites: &mut DropoutSites) -> Tensor<2> {
        let inner = self.inner(attended.clone(), common.arithmetic);
        let output = sites.apply(self.output.forward(inner, common.arithmetic));
        self.output_norm.of_sum(output, attended, common.epsilon)
    }

    /// The numbers inside the feed-forward.
    fn inner(&self, attended: Tensor<2>, arithmetic: Arithmetic) -> Tensor<2> {
        fused::gelu(self.intermediate.forward(attended, arithmetic)) // [tokens, intermediate]
    }
}

impl Linear {
    /// The matrices and biases of `names`, each of `shape`, one below the other.
    fn build(
        names: &[String],
        shape: [usize; 2],
        device: &Device,
        source: &mut Source<'_>,
    ) -> Result<Self> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            weight.extend(source(&format!("{name}.weight"), &shape)?);
            bias.extend(source(&format!("{name}.bias"), &shape[..1])?);
        }
        let [out, width] = [names.len() * shape[0], shape[1]];
        Ok(Self {
            weight: Param::from_data(TensorData::new(weight, [out, width]), device),
            bias: Param::from_data(TensorData::new(bias, [out]), device),
        })
    }

    fn collect(&self, names: &[String], tensors: &mut Vec<tensor::Tensor>) {
        let [out, width] = self.weight.dims();
        let out = out / names.len();
        let (weight, bias) = (numbers(self.weight.val()), numbers(self.bias.val()));
        for ((name, weight), bias) in
            names.iter().zip(weight.chunks_exact(out * width)).zip(bias.chunks_exact(out))
        {
            let (weight, bias) = (weight.to_vec(), bias.to_vec());
            let [weight_name, bias_name] = ["weight", "bias"].map(|part| format!("{name}.{part}"));
            tensors.push(tensor::Tensor {
                name: weight_name,
                shape: vec![out, width],
                data: weight,
            });
            tensors.push(tensor::Tensor { name: bias_name, shape: vec![out], data: bias });
        }
    }

    fn forward(&self, x: Tensor<2>, arithmetic: Arithmetic) -> Tensor<2> {
        fused::linear(x, self.weight.val(), self.bias.val(), arithmetic.numbers())
    }
}

impl Norm {
    fn build(name: &str, width: usize, device: &Device, source: &mut Source<'_>) -> Result<Self> {
        Ok(Self {
            gamma: row(source, &format!("{name}.LayerNorm.weight"), width, device)?,
            beta: row(source, &format!("{name}.LayerNorm.bias"), width, device)?,
        })
    }

    fn collect(&self, name: &str, tensors: &mut Vec<tensor::Tensor>) {
        push(tensors, &format!("{name}.LayerNorm.weight"), &self.gamma);
        push(tensors, &format!("{name}.LayerNorm.bias"), &self.beta);
    }

    fn of_sum(&self, x: Tensor<2>, residual: Tensor<2>, epsilon: f64) -> Tensor<2> {
        fused::add_layer_norm(x, residual, self.gamma.val(), self.beta.val(), epsilon)
    }
}

/// Rows of length 1; a row of zeros stays one.
pub(crate) fn normalize(x: Tensor<2>) -> Tensor<2> {
    let norm = ((x.clone() * x.clone()).sum_dim(1) + 1e-24).sqrt();
    x / norm
}

/// The numbers of a tensor, row-major. The device is asked for them; a device that fails has lost the run anyway.
pub(crate) fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    let data = x.into_data();
    data.try_into_vec().expect("tensors here are made of f32 and nothing casts them")
}

fn matrix(
    source: &mut Source<'_>,
    name: &str,
    shape: [usize; 2],
    device: &Device,
) -> Result<Param<Tensor<2>>> {
    Ok(Param::from_data(TensorData::new(source(name, &shape)?, shape), device))
}

fn row(
    source: &mut Source<'_>,
    name: &str,
    width: usize,
    device: &Device,
) -> Result<Param<Tensor<1>>> {
    Ok(Param::from_data(TensorData::new(source(name, &[width])?, [width]), device))
}

fn push<const D: usize>(tensors: &mut Vec<tensor::Tensor>, name: &str, param: &Param<Tensor<D>>) {
    let shape = param.dims().to_vec();
    tensors.push(tensor::Tensor { name: name.to_owned(), shape, data: numbers(param.val()) });
}

/// The packed sentences of one step.
#[derive(Clone, Debug)]
pub struct PackedBatch {
    packing: Packing,
    /// The distinct token ids of the batch, ascending.
    pub words: Vec<u32>,
    /// For each token its place among `words`.
    slots: Vec<i32>,
    /// For each token its row of the position embeddings.
    positions: Vec<i32>,
}

impl PackedBatch {
    /// From the token ids of each sentence.
    pub fn new<'a>(texts: impl Iterator<Item = &'a [u32]> + Clone, config: &EncoderConfig) -> Self {
        let packing = Packing::new(texts.clone().map(<[u32]>::len));
        let tokens = || texts.clone().flatten().copied();
        let mut words: Vec<u32> = tokens().collect();
        words.sort_unstable();
        words.dedup();
        if words.is_empty() {
            words.push(0); // so that no matrix is empty where static students meet texts without tokens
        }
        // Present by construction, so the search always finds.
        let slots = tokens().map(|id| words.partition_point(|&word| word < id) as i32).collect();
        let first = config.first_position();
        let positions = packing
            .ranges()
            .flat_map(|range| first..first + range.len())
            .map(|p| p as i32)
            .collect();
        Self { packing, words, slots, positions }
    }

    /// Sentences of the batch.
    pub fn sentences(&self) -> usize {
        self.packing.sentences()
    }

    /// Tokens of the batch.
    pub fn tokens(&self) -> usize {
        self.packing.tokens()
    }

    /// For each padded place on `device` its word's place among `words`.
    fn slots_of_places(&self, device: &Device) -> Vec<Option<i32>> {
        self.packing.padded(device).spread(&self.slots)
    }

    /// `[sentences, words]`: which share of a sentence's tokens each of the batch's words is. A sentence without
    /// tokens has no shares.
    fn mean_of_words(&self, device: &Device) -> Tensor<2> {
        let mut shares = vec![0.0; self.sentences() * self.words.len()];
        for (row, range) in
            shares.chunks_exact_mut(self.words.len().max(1)).zip(self.packing.ranges())
        {
            let share = 1.0 / range.len() as f32;
            self.slots[range].iter().for_each(|&slot| row[slot as usize] += share);
        }
        Tensor::from_data(TensorData::new(shares, [self.sentences(), self.words.len()]), device)
    }
}

/// Hands out the dropout of each place in the network, a function of seed and step.
#[derive(Clone, Debug)]
pub struct DropoutSites {
    probability: f32,
    seeds: Random,
}

impl DropoutSites {
    /// No dropout at all.
    pub fn none() -> Self {
        Self::new(0.0, 0, 0)
    }

    /// Dropout for step `step`.
    pub fn new(probability: f32, seed: u64, step: u64) -> Self {
        const DROPOUT: u64 = 0xd0;
        Self { probability, seeds: Random::new(seed, &[DROPOUT, step]) }
    }

    fn next(&mut self) -> Option<Dropout> {
        let seed = self.seeds.next() as u32;
        (self.probability > 0.0).then(|| Dropout::new(self.probability, seed))
    }

    fn apply(&mut self, x: Tensor<2>) -> Tensor<2> {
        let Some(dropout) = self.next() else { return x };
        let (shape, device) = (x.dims(), x.device());
        let mut factors = vec![0.0; shape[0] * shape[1]];
        dropout.fill(0, &mut factors);
        x * Tensor::from_data(TensorData::new(factors, shape), &device)
    }
}

/// Sentences in a batch of a [`Walk`].
const WALKING_TOGETHER: usize = 64;

/// Sentences on their way through a student, a layer at a time and each layer in two halves, without gradients and in
/// f32: for whoever wants to look inside a layer, or change it before the next one sees what it gives.
#[derive(Debug)]
pub(crate) struct Walk {
    /// Batches, and the vectors of their tokens at the station reached.
    batches: Vec<(PackedBatch, Tensor<2>)>,
    common: Common,
}

impl Student {
    /// `texts`, the token ids of each, in front of the first layer. All their vectors are in memory at once.
    pub(crate) fn walk(&self, texts: &[&[u32]]) -> Walk {
        let front = Body { layers: Vec::new(), ..self.body.valid() };
        let mut by_length: Vec<&[u32]> = texts.to_vec();
        by_length.sort_by_key(|text| text.len());
        let embedded = |texts: &[&[u32]]| {
            let batch = PackedBatch::new(texts.iter().copied(), &self.config);
            let (words, sites) = (self.word_rows(&batch).inner(), &mut DropoutSites::none());
            let passage = self.through(&front, Arithmetic::Float32, &batch, words, sites);
            (batch, passage.embedded)
        };
        Walk {
            batches: by_length.chunks(WALKING_TOGETHER).map(embedded).collect(),
            common: Common {
                heads: self.config.num_attention_heads,
                epsilon: f64::from(self.config.layer_norm_eps),
                arithmetic: Arithmetic::Float32,
            },
        }
    }
}

impl Walk {
    /// Goes through the first half of `layer`, its attention.
    pub(crate) fn attend(&mut self, layer: &Layer) {
        let layer = layer.valid();
        for (batch, x) in &mut self.batches {
            *x = layer.attended(x.clone(), batch, self.common, &mut DropoutSites::none());
        }
    }

    /// Goes through the second half of `layer`, its feed-forward.
    pub(crate) fn feed(&mut self, layer: &Layer) {
        let layer = layer.valid();
        for (_, x) in &mut self.batches {
            *x = layer.fed(x.clone(), self.common, &mut DropoutSites::none());
        }
    }

    /// Shows the numbers inside the feed-forward of `layer`, which is in front of the sentences, token by token.
    pub(crate) fn look_inside(&self, layer: &Layer, look: &mut dyn FnMut(&[f32])) {
        let layer = layer.valid();
        for (batch, x) in &self.batches {
            let inner = layer.inner(x.clone(), self.common.arithmetic);
            let (device, width) = (inner.device(), inner.dims()[1]);
            let places = (!fused::is_cpu(&device)).then(|| batch.slots_of_places(&device));
            let is_token = |row: usize| places.as_ref().is_none_or(|it| it[row].is_some());
            let rows = numbers(inner);
            let rows = rows.chunks_exact(width).enumerate();
            rows.filter(|(i, _)| is_token(*i)).for_each(|(_, row)| look(row));
        }
    }
}

/// What a narrower feed-forward is made of.
impl Layer {
    /// What the feed-forward makes of its inner numbers, `[hidden, intermediate]`.
    pub(crate) fn output_weight(&self) -> Matrix {
        Matrix { data: numbers(self.output.weight.val()), dim: self.output.weight.dims()[1] }
    }

    /// The same layer with only the numbers `kept` inside its feed-forward, to whose result `shift` is added.
    pub(crate) fn narrowed(&self, kept: &[usize], shift: &[f64]) -> Self {
        let device = &self.intermediate.weight.device();
        let (rows, biases) =
            (numbers(self.intermediate.weight.val()), numbers(self.intermediate.bias.val()));
        let width = self.intermediate.weight.dims()[1];
        let rows = kept.iter().flat_map(|&i| &rows[i * width..][..width]).copied().collect();
        let biases = kept.iter().map(|&i| biases[i]).collect();
        let output = self.output_weight();
        let columns = output.data.chunks_exact(output.dim);
        let columns = columns.flat_map(|row| kept.iter().map(|&i| row[i])).collect();
        let shifted = numbers(self.output.bias.val()).into_iter().zip(shift);
        let shifted = shifted.map(|(bias, shift)| (f64::from(bias) + shift) as f32).collect();
        Self {
            intermediate: Linear::of(rows, biases, device),
            output: Linear::of(columns, shifted, device),
            ..self.clone()
        }
    }
}

impl Linear {
    /// Of its numbers, row-major.
    fn of(weight: Vec<f32>, bias: Vec<f32>, device: &Device) -> Self {
        let out = bias.len();
        let shape = [out, weight.len() / out.max(1)];
        Self {
            weight: Param::from_data(TensorData::new(weight, shape), device),
            bias: Param::from_data(TensorData::new(bias, [out]), device),
        }
    }
}

/// Random numbers for a tensor by its name: norms one, biases zero, the head as PyTorch starts a Linear, the rest
/// normal with deviation 0.02.
fn fresh(seed: u64) -> impl FnMut(&str, &[usize]) -> Result<Vec<f32>> {
    const WEIGHTS: u64 = 0x3e;
    let mut random = Random::new(seed, &[WEIGHTS]);
    // A bias is drawn within the bounds of the weight in front of it.
    let mut bound = 0.0;
    move |name, shape| {
        let count = shape.iter().product();
        if name == HEAD_WEIGHT {
            bound = 1.0 / (shape[1] as f32).sqrt();
        }
        let mut number = || match name {
            HEAD_WEIGHT | HEAD_BIAS => bound * random.even(),
            _ if name.ends_with("LayerNorm.weight") => 1.0,
            _ if name.ends_with("bias") => 0.0,
            _ => 0.02 * random.normal(),
        };
        Ok((0..count).map(|_| number()).collect())
    }
}

/// `encoder.layer.1.…` becomes `encoder.layer.{keep_layers[1]}.…`.
fn renumbered(name: &str, keep_layers: &[usize]) -> String {
    let Some((number, rest)) = name.strip_prefix("encoder.layer.").and_then(|n| n.split_once('.'))
    else {
        return name.to_owned();
    };
    let kept = number.parse().ok().and_then(|i: usize| keep_layers.get(i));
    kept.map_or_else(|| name.to_owned(), |layer| format!("encoder.layer.{layer}.{rest}"))
}

/// What stands before every tensor's name in files saved with a task's head, such as `bert.`.
fn prefix(weights: &Weights) -> String {
    let names = weights.names().find_map(|name| name.strip_suffix(WORDS).map(str::to_owned));
    names.unwrap_or_default()
}

pub(crate) fn check_layers(keep_layers: &[usize], count: usize) -> Result<()> {
    if let Some(layer) = keep_layers.iter().find(|&&layer| layer >= count) {
        return Err(Error::input(format!(
            "layer {layer} cannot be kept, the model has layers 0 to {}",
            count.saturating_sub(1)
        )));
    }
    let again = |(i, layer): (usize, &usize)| keep_layers[..i].contains(layer).then_some(*layer);
    match keep_layers.iter().enumerate().find_map(again) {
        Some(layer) => Err(Error::input(format!("layer {layer} cannot be kept twice"))),
        None if keep_layers.is_empty() => Err(Error::input("a student needs at least one layer")),
        None => Ok(()),
    }
}

fn check_head(head: HeadShape, weight: Option<&[f32]>, width: usize) -> Result<()> {
    match weight {
        Some(weight) if weight.len() != head.dim * width => Err(Error::mismatch(format!(
            "the head cannot start as the PCA matrix: it has {} columns, the student is {width} wide",
            weight.len() / head.dim.max(1)
        ))
        .hint("--set head.start=random")),
        _ => Ok(()),
    }
}

/// Which layers of a model of `of` layers a student of `count` keeps: evenly spread, the last always: 3 of 6 are
/// 1, 3, 5; 2 are 2, 5; 1 is 5.
pub fn spread_layers(count: usize, of: usize) -> Vec<usize> {
    (1..=count).map(|i| (i * of / count.max(1)).saturating_sub(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_layers_are_spread_evenly_and_include_the_last() {
        assert_eq!(spread_layers(3, 6), [1, 3, 5]);
        assert_eq!(spread_layers(2, 6), [2, 5]);
        assert_eq!(spread_layers(1, 6), [5]);
        assert_eq!(spread_layers(4, 12), [2, 5, 8, 11]);
    }

    #[test]
    fn layers_are_renumbered_by_what_is_kept() {
        let name = "encoder.layer.1.output.dense.weight";
        assert_eq!(renumbered(name, &[1, 10]), "encoder.layer.10.output.dense.weight");
        assert_eq!(renumbered("embeddings.LayerNorm.bias", &[1]), "embeddings.LayerNorm.bias");
    }
}
