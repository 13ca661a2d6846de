//! From tokens' vectors to a text's vector: pooling, then Dense and Normalize modules.

use hpd_files::Result;
use hpd_kernels::float::Numbers;

use crate::folder::{DenseActivation, DenseModule, Folder, HeadModule, Pooling, PoolingMode};
use crate::linear::Linear;
use crate::rows::{add_bias, normalize_length};
use crate::weights::Weights;

/// What follows the Transformer.
pub(crate) struct Head {
    /// Width of a token's vector.
    hidden: usize,
    pooling: Pooling,
    modules: Vec<Module>,
}

enum Module {
    Dense { linear: Linear, activation: DenseActivation },
    Normalize,
}

impl Head {
    /// Reads the Dense modules' tensors; `dense` has one entry for each.
    pub(crate) fn new(folder: &Folder, dense: &[Weights]) -> Result<Self> {
        let mut dense =
            folder.dense().zip(dense).map(|(shape, weights)| Module::dense(shape, weights));
        let module = |module: &HeadModule| match module {
            HeadModule::Normalize => Some(Ok(Module::Normalize)),
            HeadModule::Dense(_) => dense.next(),
        };
        let modules = folder.head.iter().filter_map(module).collect::<Result<_>>()?;
        Ok(Self { hidden: folder.config.hidden_size, pooling: folder.pooling.clone(), modules })
    }

    /// One vector a text.
    ///
    /// # Shapes
    /// `hidden` is `[tokens, width]`; the result is `[texts, dim]`. The first `prompt` tokens of each text belong
    /// to a prompt.
    pub(crate) fn apply(&self, hidden: &[f32], offsets: &[usize], prompt: usize) -> Vec<f32> {
        self.through(&self.modules, hidden, offsets, prompt)
    }

    /// As [`Head::apply`] without a Normalize at the end.
    pub(crate) fn apply_unnormalized(&self, hidden: &[f32], offsets: &[usize]) -> Vec<f32> {
        let modules = match self.modules.as_slice() {
            [modules @ .., Module::Normalize] => modules,
            all => all,
        };
        self.through(modules, hidden, offsets, 0)
    }

    fn through(
        &self,
        modules: &[Module],
        hidden: &[f32],
        offsets: &[usize],
        prompt: usize,
    ) -> Vec<f32> {
        let width = self.hidden;
        let skip = if self.pooling.include_prompt { 0 } else { prompt };
        let mut rows = Vec::with_capacity((offsets.len() - 1) * width * self.pooling.modes.len());
        for text in offsets.windows(2) {
            let tokens = &hidden[text[0] * width..text[1] * width];
            let counted = &tokens[(skip * width).min(tokens.len())..];
            for mode in &self.pooling.modes {
                pool(*mode, counted, tokens, width, &mut rows);
            }
        }
        let mut width = width * self.pooling.modes.len();
        for module in modules {
            (rows, width) = module.apply(rows, width);
        }
        rows
    }
}

/// Appends one vector of `width` to `rows`. Nothing is `counted` when a prompt took all tokens of a text.
fn pool(mode: PoolingMode, counted: &[f32], tokens: &[f32], width: usize, rows: &mut Vec<f32>) {
    let start = rows.len();
    let length = (counted.len() / width) as f32;
    match mode {
        PoolingMode::Cls if counted.is_empty() && !tokens.is_empty() => {
            rows.extend_from_slice(&tokens[..width]);
        }
        PoolingMode::Cls | PoolingMode::Max if counted.is_empty() => {
            rows.resize(start + width, 0.0)
        }
        PoolingMode::Cls => rows.extend_from_slice(&counted[..width]),
        PoolingMode::Max => {
            rows.extend_from_slice(&counted[..width]);
            fold(counted, &mut rows[start..], f32::max);
        }
        PoolingMode::Mean => sum(counted, width, 1.0 / length.max(1e-9), rows),
        PoolingMode::MeanSqrtLen => sum(counted, width, 1.0 / length.max(1e-9).sqrt(), rows),
    }
}

fn sum(tokens: &[f32], width: usize, scale: f32, rows: &mut Vec<f32>) {
    let start = rows.len();
    rows.resize(start + width, 0.0);
    fold(tokens, &mut rows[start..], |total, x| total + x);
    rows[start..].iter_mut().for_each(|x| *x *= scale);
}

/// Folds each column of `tokens` into `row`.
fn fold(tokens: &[f32], row: &mut [f32], combine: impl Fn(f32, f32) -> f32) {
    for token in tokens.chunks_exact(row.len()) {
        row.iter_mut().zip(token).for_each(|(total, x)| *total = combine(*total, *x));
    }
}

impl Module {
    fn dense(shape: &DenseModule, weights: &Weights) -> Result<Self> {
        let weight = weights.tensor("linear.weight", &[shape.out_features, shape.in_features])?;
        let bias = if shape.bias {
            weights.tensor("linear.bias", &[shape.out_features])?
        } else {
            vec![0.0; shape.out_features]
        };
        Ok(Self::Dense {
            linear: Linear::new(&weight, bias, Numbers::Float32),
            activation: shape.activation,
        })
    }

    fn apply(&self, mut rows: Vec<f32>, width: usize) -> (Vec<f32>, usize) {
        match self {
            Self::Normalize => {
                normalize_length(&mut rows, width);
                (rows, width)
            }
            Self::Dense { linear, activation } => {
                let mut out = Vec::new();
                linear.product(&rows, false, &mut out);
                add_bias(&mut out, &linear.bias);
                if *activation == DenseActivation::Tanh {
                    out.iter_mut().for_each(|x| *x = x.tanh());
                }
                (out, linear.outputs())
            }
        }
    }
}
