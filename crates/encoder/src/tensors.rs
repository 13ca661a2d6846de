//! Tensors by the names of an architecture, as the parts of a layer.

use hpd_files::Result;

use crate::architectures::Names;
use crate::arithmetic::Arithmetic;
use crate::config::EncoderConfig;
use crate::linear::{Linear, Unpacked};
use crate::rows::LayerNorm;
use crate::table::Table;
use crate::weights::Weights;

/// Reads the tensors of one model.
pub(crate) struct Tensors<'a> {
    pub(crate) config: &'a EncoderConfig,
    weights: &'a Weights,
    arithmetic: Arithmetic,
    names: &'a Names,
    /// In front of every name, in files of a model with a task head.
    prefix: &'static str,
}

impl<'a> Tensors<'a> {
    pub(crate) fn new(
        config: &'a EncoderConfig,
        weights: &'a Weights,
        names: &'a Names,
        arithmetic: Arithmetic,
    ) -> Self {
        let has = |prefix: &&&str| weights.contains(&format!("{prefix}{}", names.words));
        let prefix = names.prefixes.iter().find(has).copied().unwrap_or("");
        Self { config, weights, arithmetic, names, prefix }
    }

    pub(crate) fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.weights.tensor(&format!("{}{name}", self.prefix), shape)
    }

    /// The words' vectors, `[vocabulary, hidden]`.
    pub(crate) fn words(&self) -> Result<Table> {
        let name = format!("{}{}", self.prefix, self.names.words);
        Table::read(self.weights, &name, [self.config.vocab_size, self.config.hidden_size])
    }

    /// `NAME.weight`, `[outputs, inputs]`, and `NAME.bias`.
    pub(crate) fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        self.linear_with(name, inputs, outputs, true)
    }

    /// As [`Tensors::linear`], without a bias if there is to be none.
    pub(crate) fn linear_with(
        &self,
        name: &str,
        inputs: usize,
        outputs: usize,
        has_bias: bool,
    ) -> Result<Linear> {
        let weight = self.weight(name, inputs, outputs)?;
        Ok(Linear::pack(&weight, self.bias(name, outputs, has_bias)?))
    }

    /// Several layers over the same input as one, their outputs side by side.
    pub(crate) fn stacked(
        &self,
        names: &[String],
        inputs: usize,
        outputs: usize,
    ) -> Result<Linear> {
        let (mut weights, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            weights.push(self.weight(name, inputs, outputs)?);
            bias.extend(self.bias(name, outputs, true)?);
        }
        Ok(Linear::pack(&Unpacked::stacked(weights), bias))
    }

    /// One tensor cut into two layers of `outputs` each.
    pub(crate) fn halves(
        &self,
        name: &str,
        inputs: usize,
        outputs: usize,
        has_bias: bool,
    ) -> Result<(Linear, Linear)> {
        let mut first = self.weight(name, inputs, 2 * outputs)?;
        let mut first_bias = self.bias(name, 2 * outputs, has_bias)?;
        let (second, second_bias) =
            (first.split_off(outputs, inputs), first_bias.split_off(outputs));
        Ok((Linear::pack(&first, first_bias), Linear::pack(&second, second_bias)))
    }

    fn weight(&self, name: &str, inputs: usize, outputs: usize) -> Result<Unpacked> {
        let name = format!("{}{name}.weight", self.prefix);
        Unpacked::read(self.weights, &name, [outputs, inputs], self.arithmetic)
    }

    pub(crate) fn norm(&self, name: &str) -> Result<LayerNorm> {
        self.norm_with(name, true)
    }

    /// Files of TensorFlow's time say `gamma` and `beta`.
    pub(crate) fn norm_with(&self, name: &str, has_bias: bool) -> Result<LayerNorm> {
        let hidden = self.config.hidden_size;
        let old = self.weights.contains(&format!("{}{name}.gamma", self.prefix));
        let (gain, shift) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        Ok(LayerNorm {
            gain: self.read(&format!("{name}.{gain}"), &[hidden])?,
            shift: if has_bias {
                self.read(&format!("{name}.{shift}"), &[hidden])?
            } else {
                vec![0.0; hidden]
            },
            epsilon: self.config.layer_norm_eps,
        })
    }

    fn bias(&self, name: &str, outputs: usize, has_bias: bool) -> Result<Vec<f32>> {
        if has_bias {
            self.read(&format!("{name}.bias"), &[outputs])
        } else {
            Ok(vec![0.0; outputs])
        }
    }
}
