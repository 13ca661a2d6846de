//! Writes a model folder that sentence-transformers, text-embeddings-inference and `hpd` open alike.
//!
//! The layout is the *legacy* one of sentence-transformers (module types `sentence_transformers.models.*`,
//! one boolean per pooling mode): newer versions still read it, while text-embeddings-inference drops a
//! Dense head without a word when it meets the new names. It stands apart from reading because reading
//! takes both layouts and many dialects, and writing exactly one. A static model is written as `StaticEmbedding`
//! in a folder below, since the first versions that know the class find it nowhere else.
//!
//! A [`ModelFolder`] in, a folder out, whole or not at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::{fs, io};

use hpd_files::atomic::AtomicFolder;
use hpd_files::{Error, Result};
use serde_json::{Map, Value, json};

use crate::architectures::static_embedding;
use crate::tensor::{self, StoredTensor, Tensor};
use crate::{DenseActivation, Identity, Pooling, PoolingMode, int8, tokenizer_files};

/// A model folder has one of these.
const MARKS: [&str; 3] = ["modules.json", "config.json", "hpd.json"];

/// What happens to a pooled vector.
#[derive(Clone, Debug, PartialEq)]
pub enum Module {
    /// `activation(weight · vector + bias)`.
    Dense(Dense),
    /// To unit length.
    Normalize,
}

/// The numbers of a Dense module.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// Numbers that go in.
    pub in_features: usize,
    /// Numbers that come out.
    pub out_features: usize,
    /// `[out_features, in_features]`, row-major.
    pub weight: Vec<f32>,
    /// `[out_features]`, if there is one.
    pub bias: Option<Vec<f32>>,
    /// What is applied last.
    pub activation: DenseActivation,
}

impl Dense {
    /// As sentence-transformers names them: `linear.weight`, `linear.bias`.
    fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = vec![Tensor {
            name: "linear.weight".to_owned(),
            shape: vec![self.out_features, self.in_features],
            data: self.weight.clone(),
        }];
        tensors.extend(self.bias.as_ref().map(|bias| Tensor {
            name: "linear.bias".to_owned(),
            shape: vec![self.out_features],
            data: bias.clone(),
        }));
        tensors
    }

    /// text-embeddings-inference knows exactly these two activations.
    fn config(&self) -> Value {
        json!({
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": self.bias.is_some(),
            "activation_function": match self.activation {
                DenseActivation::Identity => "torch.nn.modules.linear.Identity",
                DenseActivation::Tanh => "torch.nn.modules.activation.Tanh",
            },
        })
    }
}

/// How the Transformer's matrices are stored. Heads, norms, biases and positions are f32 either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// `model.safetensors`, which every reader takes.
    Float32,
    /// `model.int8.safetensors`, a quarter as large, which only `hpd` takes.
    Int8,
}

impl Storage {
    fn file(self) -> &'static str {
        match self {
            Self::Float32 => "model.safetensors",
            Self::Int8 => int8::FILE,
        }
    }

    fn stored(self, tensors: &[Tensor]) -> Vec<StoredTensor<'_>> {
        match self {
            Self::Float32 => tensors.iter().map(StoredTensor::from).collect(),
            Self::Int8 => tensors.iter().flat_map(int8::stored).collect(),
        }
    }
}

/// What makes one vector of a text, in front of the head.
#[derive(Clone, Debug)]
pub enum Encoder {
    /// A Transformer and a pooling.
    Transformer(TransformerModules),
    /// A table of words, whose one tensor is [`STATIC_TABLE`], `[tokens, width]`. Texts get no special tokens.
    Static {
        /// Longest text in tokens; `None` for any length.
        max_tokens: Option<usize>,
    },
}

/// What the folder of a Transformer says beside its tensors.
#[derive(Clone, Debug)]
pub struct TransformerModules {
    /// `config.json`; its `num_hidden_layers` is that of the tensors.
    pub config: Map<String, Value>,
    /// How token vectors become one.
    pub pooling: Pooling,
    /// Longest text in tokens, special ones included.
    pub max_seq_length: usize,
    /// Whether texts are put in lower case before the tokenizer sees them (rare; the tokenizer usually does it).
    pub do_lower_case: bool,
}

/// The tensor of a static model.
pub const STATIC_TABLE: &str = static_embedding::NAMES.words;

/// All that goes into a model folder.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    /// What stands in front of the head.
    pub encoder: Encoder,
    /// The encoder's tensors by their Hugging Face names.
    pub tensors: Vec<Tensor>,
    /// What follows, in order.
    pub head: Vec<Module>,
    /// Words to put in front of texts, by name.
    pub prompts: BTreeMap<String, String>,
    /// Which of the prompts is used when none is named.
    pub default_prompt_name: Option<String>,
    /// Folder whose tokenizer files are taken over.
    pub tokenizer_from: PathBuf,
    /// The space the vectors belong to; `None` makes the model a space of its own, named by its weights.
    pub space: Option<String>,
    /// More fields for `hpd.json`.
    pub about: Map<String, Value>,
    /// The model card, Markdown with YAML front matter.
    pub readme: String,
}

impl ModelFolder {
    /// Writes the folder and tells its identity.
    ///
    /// # Errors
    /// When shapes disagree, a number is not finite, the tokenizer is missing, `output` is there already and
    /// `replace` is off, or the disk is full. `output` is then what it was before.
    pub fn write(&self, output: &Path, replace: bool) -> Result<Identity> {
        let folder = begin(output, replace)?;
        let identity = self.write_into(folder.unfinished(), Storage::Float32)?;
        folder.commit()?;
        Ok(identity)
    }

    /// Writes the files into an empty folder that is there, not yet durable.
    pub(crate) fn write_into(&self, root: &Path, storage: Storage) -> Result<Identity> {
        let dim = self.check()?;
        let tensors = storage.stored(&self.tensors);
        let mut modules = self.encoder.write(root, &self.tokenizer_from)?;
        let place = root.join(self.encoder.place());
        write_tensors(&place, storage.file(), &tensors)?;
        let identity = self.identity_of(tensors);
        write_json(
            root,
            "config_sentence_transformers.json",
            &prompts_config(&self.prompts, self.default_prompt_name.as_deref()),
        )?;
        self.write_head(root, &mut modules)?;
        write_json(root, "modules.json", &modules.into())?;
        write_json(root, "hpd.json", &about(self.about.clone(), &identity, dim))?;
        write(root, "README.md", self.readme.as_bytes())?;
        Ok(identity)
    }

    /// Refuses what could be written but not be read back; gives the width of the vectors.
    pub(crate) fn check(&self) -> Result<usize> {
        let mut output = match &self.encoder {
            Encoder::Transformer(modules) => modules.hidden()? * modules.pooling.modes.len(),
            Encoder::Static { .. } => self.table_width()?,
        };
        let mut names = BTreeSet::new();
        for tensor in &self.tensors {
            tensor.check()?;
            if !names.insert(&tensor.name) {
                return Err(Error::model(format!("tensor `{}` comes twice", tensor.name)));
            }
        }
        for dense in self.dense() {
            if dense.in_features != output {
                return Err(Error::mismatch(format!(
                    "the head takes {} numbers, expected {output}, which come in",
                    dense.in_features
                )));
            }
            dense.tensors().iter().try_for_each(Tensor::check)?;
            output = dense.out_features;
        }
        Ok(output)
    }

    fn table_width(&self) -> Result<usize> {
        match self.tensors.as_slice() {
            [Tensor { name, shape, .. }]
                if name == STATIC_TABLE && shape.len() == 2 && shape[1] > 0 =>
            {
                Ok(shape[1])
            }
            _ => Err(Error::model(format!(
                "a static model has the one tensor `{STATIC_TABLE}` of rows and columns, found {:?}",
                self.tensors.iter().map(|tensor| (&tensor.name, &tensor.shape)).collect::<Vec<_>>()
            ))),
        }
    }

    /// How many numbers the tensors of the head have.
    #[cfg(feature = "onnx")]
    pub(crate) fn head_numbers(&self) -> usize {
        self.dense().flat_map(Dense::tensors).map(|tensor| tensor.data.len()).sum()
    }

    fn dense(&self) -> impl Iterator<Item = &Dense> {
        self.head.iter().filter_map(|module| match module {
            Module::Dense(dense) => Some(dense),
            Module::Normalize => None,
        })
    }

    /// That of the folder in f32.
    #[cfg(feature = "onnx")]
    pub(crate) fn identity(&self) -> Identity {
        self.identity_of(Storage::Float32.stored(&self.tensors))
    }

    /// As [`Identity::of_tensors`] would tell it from the written folder.
    fn identity_of(&self, tensors: Vec<StoredTensor<'_>>) -> Identity {
        let head: Vec<_> = self.dense().flat_map(Dense::tensors).collect();
        let all = tensors.into_iter().chain(head.iter().map(StoredTensor::from));
        let weights = tensor::fingerprint(all).to_string();
        let space = self.space.clone().unwrap_or_else(|| weights.clone());
        Identity { weights, space }
    }

    /// One folder and one entry of `modules` for each module of the head.
    fn write_head(&self, root: &Path, modules: &mut Vec<Value>) -> Result<()> {
        for (index, part) in (modules.len()..).zip(&self.head) {
            let (path, class) = match part {
                Module::Dense(_) => (format!("{index}_Dense"), "Dense"),
                Module::Normalize => (format!("{index}_Normalize"), "Normalize"),
            };
            create_folder(&root.join(&path))?;
            if let Module::Dense(dense) = part {
                write_json(root, &format!("{path}/config.json"), &dense.config())?;
                let tensors = dense.tensors();
                let stored: Vec<_> = tensors.iter().map(StoredTensor::from).collect();
                write_tensors(root, &format!("{path}/model.safetensors"), &stored)?;
            }
            modules.push(module(index, &path, class));
        }
        Ok(())
    }
}

impl Encoder {
    /// Where its tensors and its tokenizer lie.
    fn place(&self) -> &'static str {
        match self {
            Self::Transformer(_) => "",
            Self::Static { .. } => "0_StaticEmbedding",
        }
    }

    /// Writes all but the tensors; gives the entries of `modules.json`.
    fn write(&self, root: &Path, tokenizer: &Path) -> Result<Vec<Value>> {
        let place = root.join(self.place());
        create_folder(&place)?;
        match self {
            Self::Transformer(modules) => {
                tokenizer_files::copy(tokenizer, &place, modules.max_seq_length)?;
                modules.write(root)
            }
            Self::Static { max_tokens } => {
                tokenizer_files::copy_for_static(tokenizer, &place, *max_tokens)?;
                Ok(vec![module(0, self.place(), "StaticEmbedding")])
            }
        }
    }
}

impl TransformerModules {
    fn hidden(&self) -> Result<usize> {
        // DistilBERT calls it `dim`.
        let width = self.config.get("hidden_size").or_else(|| self.config.get("dim"));
        match width.and_then(Value::as_u64) {
            None | Some(0) => Err(Error::model("`config.json` has no `hidden_size` above 0")),
            Some(width) => Ok(width as usize),
        }
    }

    fn write(&self, root: &Path) -> Result<Vec<Value>> {
        write_json(root, "config.json", &self.config())?;
        let lengths =
            json!({ "max_seq_length": self.max_seq_length, "do_lower_case": self.do_lower_case });
        write_json(root, "sentence_bert_config.json", &lengths)?;
        let pooling = pooling_config(&self.pooling, self.hidden()?);
        write_json(root, "1_Pooling/config.json", &pooling)?;
        Ok(vec![module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling")])
    }

    /// The config as given, but for the type of the numbers: they are written as f32, and transformers would
    /// otherwise round them to what the source had.
    pub(crate) fn config(&self) -> Value {
        let mut config = self.config.clone();
        config.remove("dtype");
        config.insert("torch_dtype".to_owned(), "float32".into());
        config.into()
    }
}

pub(crate) fn module(index: usize, path: &str, class: &str) -> Value {
    json!({
        "idx": index,
        "name": index.to_string(),
        "path": path,
        "type": format!("sentence_transformers.models.{class}"),
    })
}

/// `config_sentence_transformers.json`.
pub(crate) fn prompts_config(prompts: &BTreeMap<String, String>, default: Option<&str>) -> Value {
    json!({
        "__version__": { "hpd": env!("CARGO_PKG_VERSION") },
        "prompts": prompts,
        "default_prompt_name": default,
        "similarity_fn_name": "cosine",
    })
}

/// `hpd.json`: what every model says, beside what this one says more.
pub(crate) fn about(mut about: Map<String, Value>, identity: &Identity, dim: usize) -> Value {
    about.insert("format".to_owned(), 1.into());
    about.insert("weights".to_owned(), identity.weights.clone().into());
    about.insert("space".to_owned(), identity.space.clone().into());
    about.insert("dim".to_owned(), dim.into());
    about.insert("made_by".to_owned(), concat!("hpd ", env!("CARGO_PKG_VERSION")).into());
    about.into()
}

/// Starts a model folder, which may replace another one, but nothing else.
///
/// # Errors
/// When `output` is there already and `replace` is off, or it holds something and is no model folder.
pub(crate) fn begin(output: &Path, replace: bool) -> Result<AtomicFolder> {
    check_replaceable(output, replace)?;
    AtomicFolder::create(output, replace)
}

/// Refuses an output that holds something already, unless it is a model folder and `replace` is on.
///
/// # Errors
/// As told.
pub fn check_replaceable(output: &Path, replace: bool) -> Result<()> {
    let mut entries = match fs::read_dir(output) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("use as a folder", output, error)),
    };
    if entries.next().is_none() {
        return Ok(());
    }
    let name = output.display();
    let is_model = MARKS.iter().any(|mark| output.join(mark).is_file());
    match (is_model, replace) {
        (true, true) => Ok(()),
        (true, false) => Err(Error::input(format!("folder `{name}` is there already"))
            .hint("choose another --output, or replace it with --overwrite")),
        (false, _) => {
            Err(Error::input(format!("folder `{name}` is there already and is no model"))
                .hint("choose another --output"))
        }
    }
}

/// Every mode is named, used or not: text-embeddings-inference has no default for them. They are read in an order of their
/// own; modes in another one are listed beside them, which sentence-transformers takes from version 6 on (before, it refuses
/// the folder).
fn pooling_config(pooling: &Pooling, hidden: usize) -> Value {
    let has = |mode| pooling.modes.contains(&mode);
    let mut config = json!({
        "word_embedding_dimension": hidden,
        "pooling_mode_cls_token": has(PoolingMode::Cls),
        "pooling_mode_max_tokens": has(PoolingMode::Max),
        "pooling_mode_mean_tokens": has(PoolingMode::Mean),
        "pooling_mode_mean_sqrt_len_tokens": has(PoolingMode::MeanSqrtLen),
        "pooling_mode_weightedmean_tokens": false,
        "pooling_mode_lasttoken": false,
        "include_prompt": pooling.include_prompt,
    });
    let as_read = PoolingMode::IN_ORDER.into_iter().filter(|mode| has(*mode));
    if !as_read.eq(pooling.modes.iter().copied()) {
        let names: Vec<_> = pooling.modes.iter().map(|mode| mode.name()).collect();
        config["pooling_mode"] = names.into();
    }
    config
}

fn write_tensors(root: &Path, name: &str, tensors: &[StoredTensor<'_>]) -> Result<()> {
    let path = root.join(name);
    // transformers refuses weights that do not say which framework they are laid out for.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let named = tensors.iter().map(|tensor| (&tensor.name, tensor));
    // The crate leaves files that only their owner may read; a model is like any other file.
    let permissions = fs::write(&path, []).and_then(|()| fs::metadata(&path));
    let permissions = permissions.map_err(|e| Error::io("write", &path, e))?.permissions();
    safetensors::serialize_to_file(named, Some(metadata), &path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(error) => Error::io("write", &path, error),
        error => Error::model(format!("cannot write `{}`", path.display())).caused_by(error),
    })?;
    fs::set_permissions(&path, permissions).map_err(|e| Error::io("write", &path, e))
}

pub(crate) fn write_json(root: &Path, name: &str, value: &Value) -> Result<()> {
    write(root, name, format!("{value:#}\n").as_bytes())
}

/// Writes a file of the unfinished folder; the commit makes it durable.
pub(crate) fn write(root: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = root.join(name);
    create_folder(path.parent().unwrap_or(root))?;
    fs::write(&path, bytes).map_err(|e| Error::io("write", &path, e))
}

pub(crate) fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| Error::io("create", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 12] = [
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "README.md",
        "config.json",
        "config_sentence_transformers.json",
        "hpd.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn dense(first: f32) -> Dense {
        Dense {
            in_features: 2,
            out_features: 1,
            weight: vec![first, -1.0],
            bias: None,
            activation: DenseActivation::Identity,
        }
    }

    /// A model of width 2 with a head of width 1, and a source of tokenizer files in `dir`.
    fn model(dir: &Path) -> ModelFolder {
        let source = dir.join("source");
        fs::create_dir_all(&source).unwrap();
        let fixed =
            r#"{"padding":{"strategy":{"Fixed":9}},"truncation":{"max_length":9},"model":{}}"#;
        fs::write(source.join("tokenizer.json"), fixed).unwrap();
        fs::write(source.join("tokenizer_config.json"), r#"{"model_max_length":512}"#).unwrap();
        let config = json!({ "hidden_size": 2, "model_type": "bert", "dtype": "float16" });
        ModelFolder {
            encoder: Encoder::Transformer(TransformerModules {
                config: object(config),
                pooling: Pooling::mean(),
                max_seq_length: 64,
                do_lower_case: false,
            }),
            tensors: vec![Tensor {
                name: "embeddings.word_embeddings.weight".to_owned(),
                shape: vec![3, 2],
                data: vec![0.5, 1.0, 1.5, 2.0, 2.5, 3.0],
            }],
            head: vec![Module::Dense(dense(1.0)), Module::Normalize],
            prompts: BTreeMap::from([("query".to_owned(), "query: ".to_owned())]),
            default_prompt_name: None,
            tokenizer_from: source,
            space: Some("a space".to_owned()),
            about: object(json!({ "teacher": "a teacher" })),
            readme: "# A model\n".to_owned(),
        }
    }

    fn modules(model: &mut ModelFolder) -> &mut TransformerModules {
        match &mut model.encoder {
            Encoder::Transformer(modules) => modules,
            Encoder::Static { .. } => panic!("a Transformer"),
        }
    }

    fn json_of(folder: &Path, name: &str) -> Value {
        serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
    }

    #[test]
    fn folder_has_the_legacy_layout() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("model");
        let identity = model(dir.path()).write(&output, false).unwrap();

        assert!(FILES.iter().all(|name| output.join(name).is_file()));
        let permissions = |name| fs::metadata(output.join(name)).unwrap().permissions();
        assert_eq!(permissions("model.safetensors"), permissions("config.json"));
        assert!(output.join("3_Normalize").is_dir());
        let types: Vec<_> = json_of(&output, "modules.json")
            .as_array()
            .unwrap()
            .iter()
            .map(|module| format!("{} {}", module["path"], module["type"]))
            .collect();
        let models = "sentence_transformers.models";
        assert_eq!(
            types,
            [
                format!(r#""" "{models}.Transformer""#),
                format!(r#""1_Pooling" "{models}.Pooling""#),
                format!(r#""2_Dense" "{models}.Dense""#),
                format!(r#""3_Normalize" "{models}.Normalize""#),
            ]
        );
        let dense = json_of(&output, "2_Dense/config.json");
        assert_eq!(dense["activation_function"], "torch.nn.modules.linear.Identity");
        assert_eq!((&dense["in_features"], &dense["bias"]), (&json!(2), &json!(false)));
        let pooling = json_of(&output, "1_Pooling/config.json");
        assert_eq!(pooling["pooling_mode_mean_tokens"], true);
        assert_eq!(pooling["pooling_mode_cls_token"], false);
        let about = json_of(&output, "hpd.json");
        assert_eq!(about["weights"], identity.weights);
        assert_eq!((&about["space"], &about["dim"]), (&json!("a space"), &json!(1)));
        assert_eq!(about["teacher"], "a teacher");
        assert_eq!(json_of(&output, "config.json")["torch_dtype"], "float32");
    }

    #[test]
    fn pooled_parts_are_read_back_in_the_order_they_were_written_in() {
        use PoolingMode::{Cls, Max, Mean, MeanSqrtLen};
        let dir = tempfile::tempdir().unwrap();
        let several: [&[PoolingMode]; 5] =
            [&[Mean], &[Cls, Mean], &[Mean, Cls], &[MeanSqrtLen, Max, Cls], &[Mean, Mean]];
        for modes in several {
            let pooling = Pooling { modes: modes.to_vec(), include_prompt: false };
            write_json(dir.path(), "config.json", &pooling_config(&pooling, 8)).unwrap();
            assert_eq!(Pooling::open(&dir.path().join("config.json")).unwrap(), pooling);
        }
        let plain = pooling_config(&Pooling { modes: vec![Cls, Mean], include_prompt: true }, 8);
        assert!(plain.get("pooling_mode").is_none(), "versions before 6 can read this one");
    }

    #[test]
    fn a_static_model_is_a_table_in_a_folder_below() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("model");
        let mut model = model(dir.path());
        model.encoder = Encoder::Static { max_tokens: None };
        model.tensors[0].name = STATIC_TABLE.to_owned();
        model.head = vec![Module::Normalize];
        model.write(&output, false).unwrap();
        let modules = json_of(&output, "modules.json");
        assert_eq!(modules[0]["type"], "sentence_transformers.models.StaticEmbedding");
        assert_eq!(
            (&modules[0]["path"], &modules[1]["path"]),
            (&json!("0_StaticEmbedding"), &json!("1_Normalize"))
        );
        assert!(output.join("0_StaticEmbedding/model.safetensors").is_file());
        assert!(!output.join("config.json").exists());
        assert_eq!(json_of(&output, "hpd.json")["dim"], 2);
        let truncation =
            || json_of(&output, "0_StaticEmbedding/tokenizer.json")["truncation"].clone();
        assert_eq!(truncation(), Value::Null);
        model.encoder = Encoder::Static { max_tokens: Some(7) };
        model.write(&output, true).unwrap();
        assert_eq!(truncation()["max_length"], 7);
    }

    #[test]
    fn tokenizer_neither_pads_nor_truncates_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("model");
        model(dir.path()).write(&output, false).unwrap();
        let tokenizer = json_of(&output, "tokenizer.json");
        assert_eq!((&tokenizer["padding"], &tokenizer["truncation"]), (&Value::Null, &Value::Null));
        assert_eq!(json_of(&output, "tokenizer_config.json")["model_max_length"], 64);
    }

    #[test]
    fn tensors_come_back_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("model");
        let model = model(dir.path());
        model.write(&output, false).unwrap();
        let bytes = fs::read(output.join("model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = file.tensor("embeddings.word_embeddings.weight").unwrap();
        assert_eq!(tensor.shape(), [3, 2]);
        assert_eq!(tensor.data(), bytemuck::cast_slice::<f32, u8>(&model.tensors[0].data));
    }

    #[test]
    fn same_weights_have_the_same_identity_and_others_another() {
        let dir = tempfile::tempdir().unwrap();
        let mut model = model(dir.path());
        let first = model.write(&dir.path().join("first"), false).unwrap();
        let second = model.write(&dir.path().join("second"), false).unwrap();
        assert_eq!(first, second);
        model.head[0] = Module::Dense(dense(2.0));
        model.space = None;
        let third = model.write(&dir.path().join("third"), false).unwrap();
        assert_ne!(first.weights, third.weights);
        assert_eq!(third.space, third.weights);
    }

    #[test]
    fn what_does_not_fit_leaves_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("model");
        let refuse = |spoil: fn(&mut ModelFolder), words: &str| {
            let mut model = model(dir.path());
            spoil(&mut model);
            let error = model.write(&output, false).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert!(!output.exists());
        };
        refuse(|model| model.tensors[0].data[1] = f32::NAN, "NaN");
        refuse(|model| model.tensors.push(model.tensors[0].clone()), "twice");
        refuse(
            |model| modules(model).pooling.modes.push(PoolingMode::Max),
            "takes 2 numbers, expected 4",
        );
        refuse(
            |model| model.encoder = Encoder::Static { max_tokens: None },
            "one tensor `embedding.weight`",
        );
        refuse(
            |model| model.head[0] = Module::Dense(Dense { weight: vec![], ..dense(1.0) }),
            "0 numbers",
        );
        refuse(
            |model| model.head[0] = Module::Dense(Dense { bias: Some(vec![]), ..dense(1.0) }),
            "0 numbers",
        );
        refuse(|model| modules(model).config.clear(), "hidden_size");
        refuse(|model| model.tokenizer_from = PathBuf::from("/nowhere"), "tokenizer.json");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "only the source is left");
    }
}
