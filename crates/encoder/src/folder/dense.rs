//! `2_Dense/config.json`.

use std::path::{Path, PathBuf};

use hpd_files::{Error, Result};
use serde::Deserialize;

use crate::json;

/// A `Dense` module, without its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenseModule {
    /// Its folder, which holds `model.safetensors`.
    pub path: PathBuf,
    /// Width it takes.
    pub in_features: usize,
    /// Width it gives.
    pub out_features: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// What follows.
    pub activation: DenseActivation,
}

/// What follows the matrix of a `Dense` module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenseActivation {
    /// Nothing.
    Identity,
    /// Hyperbolic tangent.
    Tanh,
}

#[derive(Deserialize)]
struct DenseFile {
    in_features: usize,
    out_features: usize,
    #[serde(default = "yes")]
    bias: bool,
    activation_function: Option<String>,
    module_input_name: Option<String>,
    module_output_name: Option<String>,
    #[serde(default)]
    use_residual: bool,
}

fn yes() -> bool {
    true
}

impl DenseModule {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = path.join("config.json");
        let fields: DenseFile = json::read(&file)?;
        let refuse = |reason: String| Error::model(format!("`{}`: {reason}", file.display()));
        for name in [&fields.module_input_name, &fields.module_output_name].into_iter().flatten() {
            if name != "sentence_embedding" {
                return Err(refuse(format!(
                    "a Dense over `{name}` is not supported, expected `sentence_embedding`"
                )));
            }
        }
        if fields.use_residual {
            return Err(refuse("`use_residual` is true, which is not supported".to_owned()));
        }
        let activation = dense_activation(fields.activation_function.as_deref()).map_err(refuse)?;
        Ok(Self {
            path: path.to_owned(),
            in_features: fields.in_features,
            out_features: fields.out_features,
            bias: fields.bias,
            activation,
        })
    }
}

fn dense_activation(class: Option<&str>) -> Result<DenseActivation, String> {
    match class {
        Some("torch.nn.modules.linear.Identity") => Ok(DenseActivation::Identity),
        // A Dense that names none has sentence-transformers' default.
        Some("torch.nn.modules.activation.Tanh") | None => Ok(DenseActivation::Tanh),
        Some(other) => Err(format!(
            "activation `{other}` is not supported, expected `torch.nn.modules.linear.Identity` or \
             `torch.nn.modules.activation.Tanh`"
        )),
    }
}
