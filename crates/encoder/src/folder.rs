//! What a sentence-transformers folder says, before a tensor is read: modules, pooling, head, prompts, lengths.
//!
//! Both layouts are read: the old one (`sentence_transformers.models.Pooling`, `pooling_mode_*` booleans) and
//! that of version 6 (`sentence_transformers.….modules.pooling.Pooling`, `pooling_mode`). A folder without
//! `modules.json` is a plain Transformer and gets mean pooling, as sentence-transformers does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hpd_files::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::EncoderConfig;
use crate::json;

/// A model folder's description.
#[derive(Clone, Debug)]
pub struct Folder {
    /// The folder itself.
    pub path: PathBuf,
    /// Where the Transformer's `config.json`, tokenizer and tensors are; mostly the folder itself.
    pub transformer: PathBuf,
    /// Shape of the Transformer.
    pub config: EncoderConfig,
    /// Longest text in tokens, special ones included; never more than the model has positions.
    pub max_seq_length: usize,
    /// Whether texts are lower-cased before the tokenizer sees them.
    pub do_lower_case: bool,
    /// How tokens become one vector.
    pub pooling: Pooling,
    /// What happens to that vector, in order.
    pub head: Vec<HeadModule>,
    /// Prompts by name.
    pub prompts: BTreeMap<String, String>,
    /// The prompt that is used when none is asked for.
    pub default_prompt_name: Option<String>,
}

/// How the vectors of a text's tokens become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pooling {
    /// Each gives a vector; several stand one after another.
    pub modes: Vec<PoolingMode>,
    /// Whether the tokens of a prompt count.
    pub include_prompt: bool,
}

/// One way of pooling, under sentence-transformers' name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolingMode {
    /// The first token's vector.
    Cls,
    /// The largest value of each dimension.
    Max,
    /// The mean over tokens.
    Mean,
    /// The sum over tokens divided by the square root of their number.
    MeanSqrtLen,
}

/// A module after pooling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadModule {
    /// A matrix, an optional bias and an activation.
    Dense(DenseModule),
    /// To unit length.
    Normalize,
}

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
struct Module {
    path: String,
    #[serde(rename = "type")]
    class: String,
}

#[derive(Default, Deserialize)]
struct PromptsFile {
    prompts: Option<BTreeMap<String, String>>,
    default_prompt_name: Option<String>,
}

impl Folder {
    /// Reads a folder's JSON files.
    ///
    /// # Errors
    /// When a file is missing or wrong, or names something that is not computed here.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Err(Error::input(format!("`{}` is not a model folder", path.display()))
                .hint("name a folder that holds `config.json` and `model.safetensors`"));
        }
        let modules = Modules::open(path)?;
        let transformer = path.join(&modules.transformer);
        let config = EncoderConfig::open(&transformer.join("config.json"))?;
        let lengths = Lengths::open(&transformer)?;
        let prompts: PromptsFile =
            json::read_if_present(&path.join("config_sentence_transformers.json"))?
                .unwrap_or_default();
        let folder = Self {
            path: path.to_owned(),
            max_seq_length: lengths.max_tokens(config.max_tokens()),
            do_lower_case: lengths.do_lower_case,
            transformer,
            config,
            pooling: modules.pooling(path)?,
            head: modules.head(path)?,
            prompts: prompts.prompts.unwrap_or_default(),
            default_prompt_name: prompts.default_prompt_name,
        };
        folder.check_widths()?;
        folder.check_default_prompt()?;
        Ok(folder)
    }

    /// Width of the vectors that come out.
    pub fn dim(&self) -> usize {
        let pooled = self.config.hidden_size * self.pooling.modes.len();
        self.head.iter().fold(pooled, |width, module| match module {
            HeadModule::Dense(dense) => dense.out_features,
            HeadModule::Normalize => width,
        })
    }

    /// Whether the vectors come out with unit length.
    pub fn normalizes(&self) -> bool {
        self.head.last() == Some(&HeadModule::Normalize)
    }

    /// The `Dense` modules in order.
    pub fn dense(&self) -> impl Iterator<Item = &DenseModule> {
        self.head.iter().filter_map(|module| match module {
            HeadModule::Dense(dense) => Some(dense),
            HeadModule::Normalize => None,
        })
    }

    fn check_default_prompt(&self) -> Result<()> {
        match &self.default_prompt_name {
            Some(name) if !self.prompts.contains_key(name) => Err(Error::model(format!(
                "`{}` has the `default_prompt_name` `{name}`, but no prompt so named",
                self.path.join("config_sentence_transformers.json").display()
            ))),
            _ => Ok(()),
        }
    }

    fn check_widths(&self) -> Result<()> {
        let mut width = self.config.hidden_size * self.pooling.modes.len();
        for dense in self.dense() {
            if dense.in_features != width {
                return Err(Error::model(format!(
                    "`{}` has `in_features` {}, expected {width}, which the module before it gives",
                    dense.path.join("config.json").display(),
                    dense.in_features
                )));
            }
            width = dense.out_features;
        }
        Ok(())
    }
}

/// `modules.json`, sorted by role.
#[derive(Default)]
struct Modules {
    transformer: String,
    pooling: Option<String>,
    /// Class and path of what follows pooling.
    head: Vec<(String, String)>,
}

impl Modules {
    fn open(folder: &Path) -> Result<Self> {
        let file = folder.join("modules.json");
        let Some(listed) = json::read_if_present::<Vec<Module>>(&file)? else {
            return Ok(Self::default());
        };
        let order: Vec<(String, String)> = listed
            .into_iter()
            .map(|module| (module.class_name().to_owned(), module.path))
            .collect();
        let classes: Vec<&str> = order.iter().map(|(class, _)| class.as_str()).collect();
        match classes.as_slice() {
            ["Transformer", "Pooling", head @ ..]
                if head.iter().all(|class| ["Dense", "Normalize", "Dropout"].contains(class)) => {}
            found => {
                return Err(Error::model(format!(
                    "`{}` lists {found:?}, expected `Transformer`, `Pooling`, then any of `Dense` and `Normalize`",
                    file.display()
                )));
            }
        }
        let mut paths = order.into_iter();
        Ok(Self {
            transformer: paths.next().unwrap_or_default().1,
            pooling: paths.next().map(|(_, path)| path),
            // Dropout does nothing outside training.
            head: paths.filter(|(class, _)| class != "Dropout").collect(),
        })
    }

    fn pooling(&self, folder: &Path) -> Result<Pooling> {
        match &self.pooling {
            Some(path) => Pooling::open(&folder.join(path).join("config.json")),
            None => Ok(Pooling::mean()),
        }
    }

    fn head(&self, folder: &Path) -> Result<Vec<HeadModule>> {
        let module = |(class, path): &(String, String)| match class.as_str() {
            "Dense" => DenseModule::open(&folder.join(path)).map(HeadModule::Dense),
            _ => Ok(HeadModule::Normalize),
        };
        self.head.iter().map(module).collect()
    }
}

impl Module {
    /// The class without its Python module: every version of sentence-transformers moved the modules about.
    fn class_name(&self) -> &str {
        match self.class.strip_prefix("sentence_transformers.") {
            Some(path) => path.rsplit('.').next().unwrap_or(path),
            None => &self.class,
        }
    }
}

impl Pooling {
    /// The mean over all tokens.
    pub fn mean() -> Self {
        Self { modes: vec![PoolingMode::Mean], include_prompt: true }
    }

    fn open(path: &Path) -> Result<Self> {
        let fields: Map<String, Value> = json::read(path)?;
        let include_prompt = fields.get("include_prompt") != Some(&Value::Bool(false));
        let modes = mode_names(&fields)
            .iter()
            .map(|name| PoolingMode::named(name))
            .collect::<Result<_, _>>()
            .map_err(|reason| Error::model(format!("`{}`: {reason}", path.display())))?;
        Ok(Self { modes, include_prompt })
    }
}

impl PoolingMode {
    fn named(name: &str) -> Result<Self, String> {
        match name {
            "cls" => Ok(Self::Cls),
            "max" => Ok(Self::Max),
            "mean" => Ok(Self::Mean),
            "mean_sqrt_len_tokens" => Ok(Self::MeanSqrtLen),
            other => Err(format!(
                "pooling mode `{other}` is not supported, expected `cls`, `max`, `mean` or `mean_sqrt_len_tokens`"
            )),
        }
    }
}

/// The old booleans in the order in which sentence-transformers concatenates their vectors.
const OLD_MODES: [(&str, &str); 6] = [
    ("pooling_mode_cls_token", "cls"),
    ("pooling_mode_max_tokens", "max"),
    ("pooling_mode_mean_tokens", "mean"),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    ("pooling_mode_weightedmean_tokens", "weightedmean"),
    ("pooling_mode_lasttoken", "lasttoken"),
];

fn mode_names(fields: &Map<String, Value>) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match fields.get("pooling_mode") {
        Some(Value::Array(modes)) => return modes.iter().map(text).collect(),
        Some(mode) => return vec![text(mode)],
        None => {}
    }
    let is_on = |field: &str| fields.get(field) == Some(&Value::Bool(true));
    let old: Vec<String> = OLD_MODES
        .iter()
        .filter(|(field, _)| is_on(field))
        .map(|(_, mode)| (*mode).to_owned())
        .collect();
    if old.is_empty() { vec!["mean".to_owned()] } else { old }
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
    fn open(path: &Path) -> Result<Self> {
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

/// What the folder says of the longest text.
#[derive(Default)]
struct Lengths {
    max_seq_length: Option<usize>,
    /// A float, because transformers writes 1e30 for "none".
    model_max_length: Option<f64>,
    do_lower_case: bool,
}

#[derive(Default, Deserialize)]
struct TransformerFile {
    max_seq_length: Option<usize>,
    do_lower_case: Option<bool>,
}

#[derive(Default, Deserialize)]
struct TokenizerFile {
    model_max_length: Option<f64>,
}

/// Names under which versions of sentence-transformers have written the Transformer module's settings.
const TRANSFORMER_FILES: [&str; 4] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_camembert_config.json",
    "sentence_xlm-roberta_config.json",
];

impl Lengths {
    fn open(transformer: &Path) -> Result<Self> {
        let mut settings = None;
        for name in TRANSFORMER_FILES {
            settings =
                settings.or(json::read_if_present::<TransformerFile>(&transformer.join(name))?);
        }
        let settings = settings.unwrap_or_default();
        let tokenizer: TokenizerFile =
            json::read_if_present(&transformer.join("tokenizer_config.json"))?.unwrap_or_default();
        Ok(Self {
            max_seq_length: settings.max_seq_length,
            model_max_length: tokenizer.model_max_length,
            do_lower_case: settings.do_lower_case.unwrap_or(false),
        })
    }

    fn max_tokens(&self, positions: usize) -> usize {
        match (self.max_seq_length, self.model_max_length) {
            (Some(length), _) => length.min(positions),
            (None, Some(length)) => (length as usize).min(positions),
            (None, None) => positions,
        }
    }
}
