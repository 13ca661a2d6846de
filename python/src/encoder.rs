//! A model, opened.

use hpd_encoder::{EncodeOptions, Model, ModelChoice, Prompt, Side};
use hpd_files::{Error, Result};
use numpy::PyArray2;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use crate::log::Log;
use crate::lookup;
use crate::quantize::array_of;
use crate::threads::compute;

/// What `hpd.Model` stands on.
#[pyclass(frozen, module = "hpd._native")]
pub(crate) struct Encoder {
    name: String,
    model: Model,
}

/// A choice out of what Python passes on.
pub(crate) fn choice(
    model: Option<String>,
    revision: Option<String>,
    max_seq_length: Option<usize>,
    arithmetic: Option<&str>,
) -> Result<ModelChoice> {
    let arithmetic = arithmetic.map(str::parse).transpose()?;
    Ok(ModelChoice { model, revision, max_seq_length, arithmetic })
}

fn side_of(name: Option<&str>) -> Result<Option<Side>> {
    match name {
        None => Ok(None),
        Some("query") => Ok(Some(Side::Query)),
        Some("document") => Ok(Some(Side::Document)),
        Some(other) => {
            Err(Error::input(format!("`{other}` is no side; expected query or document")))
        }
    }
}

#[pymethods]
impl Encoder {
    #[new]
    #[pyo3(signature = (model, revision, max_seq_length, arithmetic, side))]
    fn new(
        py: Python<'_>,
        model: Option<String>,
        revision: Option<String>,
        max_seq_length: Option<usize>,
        arithmetic: Option<&str>,
        side: Option<&str>,
    ) -> PyResult<Self> {
        let lookup = lookup(py)?;
        let open = || {
            let choice = choice(model, revision, max_seq_length, arithmetic)?;
            lookup.open(&choice, side_of(side)?, &Log)
        };
        let (found, model) = compute(py, open)?;
        Ok(Self { name: found.lasting_name(), model })
    }

    /// Vectors of texts, `[texts, dim]`, and how many texts lost their end. `prompt` is words; `prompt_name` one of the
    /// folder's; where neither is given, that of the `side` is taken if `prompt_of_side`, else the default.
    #[pyo3(signature = (texts, prompt, prompt_name, side, prompt_of_side, normalize, dimensions))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<PyBackedStr>,
        prompt: Option<String>,
        prompt_name: Option<String>,
        side: Option<&str>,
        prompt_of_side: bool,
        normalize: bool,
        dimensions: Option<usize>,
    ) -> PyResult<(Bound<'py, PyArray2<f32>>, usize)> {
        let encode = || {
            let side = side_of(side)?;
            let prompt = match (prompt, prompt_name, side.filter(|_| prompt_of_side)) {
                (Some(words), _, _) => Prompt::Text(words),
                (_, Some(name), _) => Prompt::Named(name),
                (_, _, Some(Side::Query)) => Prompt::Query,
                (_, _, Some(Side::Document)) => Prompt::Document,
                (None, None, None) => Prompt::Default,
            };
            self.model.encode(&texts, &EncodeOptions { prompt, side, normalize, dimensions })
        };
        let encoded = compute(py, encode)?;
        Ok((array_of(py, encoded.rows)?, encoded.truncated))
    }

    /// The ids of each text, special ones included.
    fn tokenize(&self, py: Python<'_>, texts: Vec<PyBackedStr>) -> PyResult<Vec<Vec<u32>>> {
        let tokenize = || self.model.tokenizer().tokenize(&texts);
        let tokens = compute(py, tokenize)?;
        Ok((0..tokens.len()).map(|i| tokens.text(i).to_vec()).collect())
    }

    /// Folder, shipped model or id.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    #[getter]
    fn path(&self) -> &std::path::Path {
        &self.model.folder().path
    }

    #[getter]
    fn dim(&self) -> usize {
        self.model.dim()
    }

    #[getter]
    fn max_seq_length(&self) -> usize {
        self.model.max_seq_length()
    }

    #[getter]
    fn arithmetic(&self) -> String {
        self.model.arithmetic().to_string()
    }

    #[getter]
    fn parameters(&self) -> u64 {
        self.model.parameters()
    }

    #[getter]
    fn normalizes(&self) -> bool {
        self.model.folder().normalizes()
    }

    #[getter]
    fn prompts(&self) -> std::collections::BTreeMap<String, String> {
        self.model.folder().prompts.clone()
    }

    #[getter]
    fn default_prompt_name(&self) -> Option<&str> {
        self.model.folder().default_prompt_name.as_deref()
    }

    /// The fingerprint of the tensors.
    #[getter]
    fn weights(&self, py: Python<'_>) -> String {
        py.detach(|| self.model.identity().weights.clone())
    }

    #[getter]
    fn space(&self, py: Python<'_>) -> String {
        py.detach(|| self.model.identity().space.clone())
    }
}
