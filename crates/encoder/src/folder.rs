//! What a sentence-transformers folder says, before a tensor is read: modules, pooling, head, prompts, lengths.
//!
//! Both layouts are read: the old one (`sentence_transformers.models.Pooling`, `pooling_mode_*` booleans) and
//! that of version 6 (`sentence_transformers.….modules.pooling.Pooling`, `pooling_mode`). A folder without
//! `modules.json` is a plain Transformer and gets mean pooling, as sentence-transformers does, or a model of
//! model2vec. A folder with a `Router` is described one route at a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hpd_files::{Error, Result};
use serde::Deserialize;

use crate::config::EncoderConfig;
use crate::json;
use crate::modules::{MODULES, Module, Router, Side};

mod dense;
mod lengths;
mod pooling;
mod static_model;

pub use dense::{DenseActivation, DenseModule};
use lengths::Lengths;
pub use pooling::{Pooling, PoolingMode};
use static_model::StaticModel;

/// A model folder's description.
#[derive(Clone, Debug)]
pub struct Folder {
    /// The folder itself.
    pub path: PathBuf,
    /// Of a folder with a model for queries and another for documents, which of them is described here.
    pub side: Option<Side>,
    /// Where `config.json`, tokenizer and tensors of the Transformer or of the static model are; mostly the folder
    /// itself.
    pub transformer: PathBuf,
    /// Shape of the Transformer, or what a static model amounts to.
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

/// A module after pooling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadModule {
    /// A matrix, an optional bias and an activation.
    Dense(DenseModule),
    /// To unit length.
    Normalize,
}

#[derive(Default, Deserialize)]
struct PromptsFile {
    prompts: Option<BTreeMap<String, String>>,
    default_prompt_name: Option<String>,
}

impl Folder {
    /// Reads a folder's JSON files; of a `Router` those of the route that texts of no side take.
    ///
    /// # Errors
    /// When a file is missing or wrong, or names something that is not computed here.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_for(path, None)
    }

    /// The same for texts of a side.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn open_for(path: &Path, side: Option<Side>) -> Result<Self> {
        if !path.is_dir() {
            return Err(Error::input(format!("`{}` is not a model folder", path.display()))
                .hint("name a folder that holds `config.json` and `model.safetensors`"));
        }
        refuse_onnx_alone(path)?;
        let modules = Modules::open(path, side)?;
        let transformer = path.join(&modules.transformer);
        let input = Input::open(&transformer, &modules)?;
        let prompts: PromptsFile =
            json::read_if_present(&path.join("config_sentence_transformers.json"))?
                .unwrap_or_default();
        let folder = Self {
            path: path.to_owned(),
            side: modules.side,
            max_seq_length: input.max_tokens,
            do_lower_case: input.do_lower_case,
            transformer,
            config: input.config,
            pooling: modules.pooling(path)?,
            head: with_normalize(modules.head(path)?, input.normalizes),
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

/// What `hpd export --onnx` writes, and what others publish for other programs: there are no weights to compute with.
fn refuse_onnx_alone(path: &Path) -> Result<()> {
    let has = |name: &str| path.join(name).is_file();
    let others =
        [MODULES, "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"];
    if !has("onnx/model.onnx") || others.into_iter().any(has) {
        return Ok(());
    }
    Err(Error::model(format!(
        "`{}` holds a model as ONNX alone, which hpd writes and does not run",
        path.display()
    ))
    .hint("name the folder that it was made from"))
}

/// What the first module says.
struct Input {
    config: EncoderConfig,
    max_tokens: usize,
    do_lower_case: bool,
    /// Whether it gives unit vectors of its own accord.
    normalizes: bool,
}

impl Input {
    fn open(folder: &Path, modules: &Modules) -> Result<Self> {
        let is_listed = modules.pooling.is_some();
        if modules.is_static || !is_listed && static_model::says_model2vec(folder)? {
            let StaticModel { config, max_tokens, normalizes } = StaticModel::open(folder)?;
            return Ok(Self { config, max_tokens, do_lower_case: false, normalizes });
        }
        let config = EncoderConfig::open(&folder.join("config.json"))?;
        let lengths = Lengths::open(folder)?;
        let max_tokens = lengths.max_tokens(config.max_tokens());
        Ok(Self { config, max_tokens, do_lower_case: lengths.do_lower_case, normalizes: false })
    }
}

/// The head, ending in Normalize if it shall. `modules.json` of a folder of model2vec says it too, if it is there.
fn with_normalize(mut head: Vec<HeadModule>, normalizes: bool) -> Vec<HeadModule> {
    if normalizes && head.last() != Some(&HeadModule::Normalize) {
        head.push(HeadModule::Normalize);
    }
    head
}

/// `modules.json`, sorted by role.
#[derive(Default)]
struct Modules {
    /// Which route of a router they are.
    side: Option<Side>,
    /// Path of the first module.
    transformer: String,
    /// Whether that is a `StaticEmbedding`, which pools too.
    is_static: bool,
    pooling: Option<String>,
    /// What follows pooling.
    head: Vec<Module>,
}

impl Modules {
    fn open(folder: &Path, side: Option<Side>) -> Result<Self> {
        let file = folder.join(MODULES);
        let Some(listed) = json::read_if_present::<Vec<Module>>(&file)? else {
            return Ok(Self::default());
        };
        let (side, listed) = routed(folder, listed, side)?;
        let classes: Vec<&str> = listed.iter().map(Module::class).collect();
        let is_static = match classes.as_slice() {
            ["Transformer", "Pooling", head @ ..] if is_head(head) => false,
            ["StaticEmbedding", head @ ..] if is_head(head) => true,
            found => {
                return Err(Error::model(format!(
                    "`{}` lists {found:?}, expected `Transformer`, `Pooling` (or `StaticEmbedding`), then any of \
                     `Dense` and `Normalize`",
                    file.display()
                )));
            }
        };
        let mut modules = listed.into_iter();
        Ok(Self {
            side,
            transformer: modules.next().map(|module| module.path).unwrap_or_default(),
            is_static,
            pooling: if is_static { None } else { modules.next().map(|module| module.path) },
            // Dropout does nothing outside training.
            head: modules.filter(|module| module.class() != "Dropout").collect(),
        })
    }

    fn pooling(&self, folder: &Path) -> Result<Pooling> {
        match &self.pooling {
            Some(path) => Pooling::open(&folder.join(path).join("config.json")),
            None => Ok(Pooling::mean()),
        }
    }

    fn head(&self, folder: &Path) -> Result<Vec<HeadModule>> {
        let module = |module: &Module| match module.class() {
            "Dense" => DenseModule::open(&folder.join(&module.path)).map(HeadModule::Dense),
            _ => Ok(HeadModule::Normalize),
        };
        self.head.iter().map(module).collect()
    }
}

fn is_head(classes: &[&str]) -> bool {
    classes.iter().all(|class| ["Dense", "Normalize", "Dropout"].contains(class))
}

/// The modules that texts of `side` go through, and which side's they are where a router makes a difference.
fn routed(
    folder: &Path,
    mut listed: Vec<Module>,
    side: Option<Side>,
) -> Result<(Option<Side>, Vec<Module>)> {
    let Some(file) = listed.first().and_then(Module::router_file) else {
        return Ok((None, listed));
    };
    let file = folder.join(file);
    let router: Router = json::read(&file)?;
    let routes = [Side::Query, Side::Document].map(|side| router.route(Some(side)));
    let Some(route) = router.route(side) else {
        return Err(Error::model(format!(
            "`{}` has no route for {} and no default, only {:?}",
            file.display(),
            side.map_or("a text of no side", Side::name),
            router.routes()
        )));
    };
    let side = match routes {
        [query, document] if query == document => None,
        [Some(query), _] if query == route => Some(Side::Query),
        [_, Some(document)] if document == route => Some(Side::Document),
        _ => {
            return Err(Error::model(format!(
                "`{}` sends texts of no side to `{route}`, expected the route of queries or of documents",
                file.display()
            )));
        }
    };
    let place = listed.remove(0).path;
    let Some(mut modules) = router.modules(&place, route) else {
        return Err(Error::model(format!(
            "`{}` does not describe the modules of its route `{route}`",
            file.display()
        )));
    };
    modules.extend(listed);
    Ok((side, modules))
}
