//! Where a student starts: which folder's layers, vocabulary and tokenizer, and what the recipe makes of them.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use hpd_encoder::{
    DenseActivation, EncoderConfig, Folder, Model, ModelType, Tokenizer, Tokens, Weights,
};
use hpd_eval::sts::Pairs;
use hpd_files::{Error, Progress, Result};
use serde_json::{Map, Value, json};

use crate::feed_forward::{self, KeptNeurons};
use crate::projection::Projection;
use crate::recipe::{Activation, HeadStart, Recipe};
use crate::sentences::Sentences;
use crate::student::{HeadShape, Student, check_layers, spread_layers};
use crate::table;
use crate::train::TeacherLayers;
use crate::vocabulary::{Kept, Vocabulary};

/// Width of an attention head of a fresh student, as in the small models people start from.
const HEAD_WIDTH: usize = 32;
/// Sentences tokenised between two signs of life.
const SLICE: usize = 1 << 14;

/// Where a student starts, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StudentStart {
    /// Layers that have learnt.
    Cut {
        /// Whose; `None` for the teacher's.
        model: Option<PathBuf>,
        /// Which of them.
        kept: KeptLayers,
    },
    /// No layers: a table that starts as what a model makes of each token of its vocabulary.
    Static {
        /// Whose vocabulary and vectors; `None` for the teacher's.
        model: Option<PathBuf>,
    },
    /// Random weights, with the vocabulary of the teacher or of another model folder.
    Fresh {
        /// Width of the Transformer.
        width: usize,
        /// Its layers; 0 for a table of words alone.
        layers: usize,
        /// Whose vocabulary; `None` for the teacher's.
        vocabulary: Option<PathBuf>,
    },
}

/// The layers of a model that a student starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptLayers {
    /// All.
    All,
    /// So many, evenly spread, the last one among them.
    Spread(usize),
    /// These, counted from 0.
    These(Vec<usize>),
}

impl KeptLayers {
    /// Their numbers in `folder`; that those named exist is checked when they are read.
    fn of(&self, folder: &Folder) -> Result<Vec<usize>> {
        let all = folder.config.num_hidden_layers;
        match self {
            Self::All => Ok((0..all).collect()),
            Self::Spread(count) if (1..=all).contains(count) => Ok(spread_layers(*count, all)),
            Self::Spread(count) => Err(Error::input(format!(
                "`--layers {count}`: `{}` has {all} layers",
                folder.path.display()
            ))
            .hint(format!("--layers {}", (*count).clamp(1, all.max(1))))),
            Self::These(layers) => {
                check_layers(layers, all)?;
                Ok(layers.clone())
            }
        }
    }
}

/// Where a student starts, with its folder read.
#[derive(Clone, Debug)]
pub struct Start {
    /// Whose tokenizer, and mostly whose weights.
    pub folder: Folder,
    /// Shape of the student's Transformer, or what a static student amounts to.
    pub config: EncoderConfig,
    /// The layers of the folder that stay, none for a static student; `None` for random weights.
    pub layers: Option<Vec<usize>>,
    /// The tokens of the folder that stay; `None` for all.
    pub kept: Option<Kept>,
}

impl Start {
    /// Reads the folder that `start` means; `teacher` gives the teacher's.
    ///
    /// # Errors
    /// When the folder cannot be read, is of an architecture that cannot be trained, has fewer layers than are
    /// asked for, or the width of a fresh student is no multiple of a head's.
    pub fn find<'a>(
        start: &'a StudentStart,
        teacher: impl Fn() -> Result<&'a Path>,
    ) -> Result<Self> {
        let (folder, layers) = match start {
            StudentStart::Cut { model, kept } => {
                let folder = trainable(model.as_deref().map_or_else(&teacher, Ok)?)?;
                let layers = kept.of(&folder)?;
                (folder, Some(layers))
            }
            StudentStart::Static { model } => {
                let folder = tabular(model.as_deref().map_or_else(&teacher, Ok)?)?;
                let config = static_config(&folder, folder.dim());
                return Ok(Self { folder, config, layers: Some(Vec::new()), kept: None });
            }
            StudentStart::Fresh { vocabulary, width, layers: 0 } => {
                let folder = tabular(vocabulary.as_deref().map_or_else(&teacher, Ok)?)?;
                let config = static_config(&folder, *width);
                return Ok(Self { folder, config, layers: None, kept: None });
            }
            StudentStart::Fresh { vocabulary, .. } => {
                (trainable(vocabulary.as_deref().map_or_else(&teacher, Ok)?)?, None)
            }
        };
        let mut config = folder.config.clone();
        config.num_hidden_layers = layers.as_ref().map_or(0, Vec::len);
        if let StudentStart::Fresh { width, layers, .. } = start {
            reshape(&mut config, *width, *layers)?;
        }
        Ok(Self { folder, config, layers, kept: None })
    }

    /// The same with only the `count` tokens that `text`, as [`Start::tokenize`] gives it, needs most, and a smaller
    /// tokenizer for `tokenizer`, where [`Start::write_tokenizer`] writes it.
    ///
    /// # Errors
    /// When the tokenizer can lose no token, or not so many; see [`Vocabulary`].
    pub fn keeping(self, count: usize, text: &Tokens, tokenizer: PathBuf) -> Result<Self> {
        let vocabulary = Vocabulary::read(&self.folder)?;
        same_tokens(&Tokenizer::of(&self.folder, None)?, vocabulary.folder(), vocabulary.tokens())?;
        let kept = vocabulary.keep(count, text, tokenizer)?;
        let config = EncoderConfig { vocab_size: count, ..self.config };
        Ok(Self { config, kept: Some(kept), ..self })
    }

    /// The same with `count` neurons in the feed-forward of each layer: layers that have learnt keep so many of theirs,
    /// which [`Start::student`] chooses.
    ///
    /// # Errors
    /// When there are no layers, or they have fewer, or nothing would be left.
    pub fn with_neurons(self, count: usize) -> Result<Self> {
        let refuse = |why: &str, hint: String| {
            Err(Error::input(format!("`--feed-forward {count}`: {why}")).hint(hint))
        };
        if self.is_static() {
            let hint = "leave it out, or give --layers 1 or more".to_owned();
            return refuse("a student without layers has no feed-forward", hint);
        }
        let most = self.layers.as_ref().map(|_| self.config.intermediate_size);
        if count == 0 {
            let up_to = most.map_or("or more".to_owned(), |most| format!("or up to {most}"));
            return refuse("nothing would be left", format!("--feed-forward 1, {up_to}"));
        }
        if let Some(most) = most.filter(|most| count > *most) {
            let why = format!(
                "the layers of `{}` have {most} neurons in their feed-forward",
                self.folder.path.display()
            );
            let hint = format!("leave it out to keep all, or give a number from 1 to {most}");
            return refuse(&why, hint);
        }
        let config = EncoderConfig { intermediate_size: count, ..self.config };
        Ok(Self { config, ..self })
    }

    /// How many neurons of its start's feed-forward the student keeps; `None` for all, or a fresh student.
    pub fn kept_neurons(&self) -> Option<KeptNeurons> {
        let [neurons, of] = [&self.config, &self.folder.config].map(|it| it.intermediate_size);
        let is_cut = self.layers.is_some() && !self.is_static();
        (is_cut && neurons < of).then_some(KeptNeurons { neurons, of })
    }

    /// Writes the tokenizer of a student that keeps only some tokens; nothing for others.
    ///
    /// # Errors
    /// When the disk is full, or what was written is not read as it was meant.
    pub fn write_tokenizer(&self, recipe: &Recipe) -> Result<()> {
        let Some(kept) = &self.kept else { return Ok(()) };
        kept.write()?;
        same_tokens(&self.tokenizer(recipe)?, &kept.folder, kept.tokens())
    }

    /// Where the student's tokenizer lies.
    pub fn tokenizer_folder(&self) -> &Path {
        self.kept.as_ref().map_or(&self.folder.transformer, |kept| &kept.folder)
    }

    /// Whether the student has no layers.
    pub fn is_static(&self) -> bool {
        self.config.model_type.is_static()
    }

    /// Refuses a recipe that this student cannot follow.
    ///
    /// # Errors
    /// When a static student, whose head becomes part of its table, gets a head that is more than a matrix or is to
    /// forget its embeddings, which are all it has, or a student is to go on with a head that its start has not.
    pub fn check(&self, recipe: &Recipe) -> Result<()> {
        if recipe.head.start == HeadStart::Own {
            own_head(&self.folder, recipe)?;
        }
        if self.is_static() && recipe.loss.hsic > 0.0 {
            return Err(Error::input(format!(
                "`loss.hsic` is {}, but a student without layers has nothing between its embeddings and its pooled \
                 vectors",
                recipe.loss.hsic
            ))
            .hint("--set loss.hsic=0"));
        }
        let refuse = |knob: &str, found: &str, right: &str| {
            Err(Error::input(format!(
                "`{knob}` is {found}, but the head of a student without layers is folded into its table of words, \
                 expected {right}"
            ))
            .hint(format!("--set {knob}={right}")))
        };
        match recipe.head {
            _ if !self.is_static() => Ok(()),
            head if head.bias => refuse("head.bias", "true", "false"),
            head if head.activation != Activation::Identity => {
                refuse("head.activation", "tanh", "identity")
            }
            _ => Ok(()),
        }
    }

    /// The student before its first step. The training text, `tokens`, tells a static student how rare words are, and one
    /// that keeps only some neurons which are important.
    ///
    /// # Errors
    /// When a tensor is missing, the head cannot start as the projection because the widths differ, or the user
    /// interrupts.
    pub fn student(
        &self,
        recipe: &Recipe,
        projection: &Projection,
        tokens: &Tokens,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Student> {
        let head = HeadShape::of(recipe);
        let Some(layers) = &self.layers else {
            let student = Student::fresh(self.config.clone(), head, recipe.seed, device)?;
            return Ok(student.computing_in(recipe.arithmetic));
        };
        let weight = match recipe.head.start {
            HeadStart::Pca => Some(projection.components()?.data),
            HeadStart::Own => Some(own_head(&self.folder, recipe)?),
            HeadStart::Random => None,
        };
        let weight = weight.as_deref();
        if self.is_static() {
            let model = Model::open(&self.folder.path)?;
            let words = table::start(&model, self.kept.as_ref(), tokens, progress)?;
            let config = self.config.clone();
            return Student::from_table(config, &words, head, weight, recipe.seed, device);
        }
        let folder = &self.folder.transformer;
        let mut student = Student::from_folder(folder, layers, head, weight, recipe.seed, device)?;
        if let Some(kept) = &self.kept {
            student.words = kept.gather(&student.words, student.config.hidden_size);
            student.config.vocab_size = kept.ids.len();
        }
        if let Some(KeptNeurons { neurons, .. }) = self.kept_neurons() {
            student = feed_forward::narrow(student, neurons, tokens, progress);
        }
        Ok(student.computing_in(recipe.arithmetic))
    }

    /// The teacher's layers that the student's are held to, where the recipe does that; see [`Start::matched_layers`].
    ///
    /// # Errors
    /// As there, or when a tensor is missing.
    pub fn teacher_layers(
        &self,
        recipe: &Recipe,
        teacher: Option<&Path>,
        device: &Device,
    ) -> Result<Option<TeacherLayers>> {
        let Some((folder, numbers)) = self.matched_layers(recipe, teacher)? else {
            return Ok(None);
        };
        let reach: Vec<usize> = (0..=numbers.iter().copied().max().unwrap_or(0)).collect();
        let (weights, head) = (&folder.transformer, HeadShape::of(recipe));
        let mut model = Student::from_folder(weights, &reach, head, None, recipe.seed, device)?;
        if let Some(kept) = &self.kept {
            model.words = kept.gather(&model.words, model.config.hidden_size);
        }
        Ok(Some(TeacherLayers { model: model.computing_in(recipe.arithmetic), numbers }))
    }

    /// The teacher's folder and for each of the student's layers the number of the teacher's layer that it is held to,
    /// where the recipe does that: those that were cut out of it, or evenly spread ones, of which the last are mates.
    ///
    /// # Errors
    /// When the teacher is no model here that can be trained, or student and teacher differ in width or tokens, or the
    /// student has no layers or more of them.
    pub fn matched_layers(
        &self,
        recipe: &Recipe,
        teacher: Option<&Path>,
    ) -> Result<Option<(Folder, Vec<usize>)>> {
        if recipe.loss.hidden == 0.0 {
            return Ok(None);
        }
        let refuse = |why: String| {
            let weight = recipe.loss.hidden;
            Error::input(format!("`loss.hidden` is {weight}, but {why}"))
                .hint("--set loss.hidden=0")
        };
        let Some(teacher) = teacher else {
            return Err(refuse(
                "the teacher is no model folder, so its layers are not at hand".to_owned(),
            ));
        };
        let folder = trainable(teacher)?;
        let (own, of) = (&self.config, &folder.config);
        let (layers, all) = (own.num_hidden_layers, of.num_hidden_layers);
        if self.is_static() || layers > all {
            return Err(refuse(format!(
                "the student has {layers} layers, expected 1 to the teacher's {all}"
            )));
        }
        if own.hidden_size != of.hidden_size {
            return Err(refuse(format!(
                "the student's layers are {} wide, the teacher's {}",
                own.hidden_size, of.hidden_size
            )));
        }
        let tokenizer = |folder: &Folder| Tokenizer::of(folder, None);
        if self.folder.path != folder.path
            && tokenizer(&self.folder)?.vocabulary()? != tokenizer(&folder)?.vocabulary()?
        {
            return Err(refuse("student and teacher have different tokens".to_owned()));
        }
        let cut = self.layers.clone().filter(|_| self.folder.path == folder.path);
        Ok(Some((folder, cut.unwrap_or_else(|| spread_layers(layers, all)))))
    }

    /// The tokenizer, cutting where the recipe says.
    ///
    /// # Errors
    /// When the tokenizer is missing, damaged or does not fit the vocabulary.
    pub fn tokenizer(&self, recipe: &Recipe) -> Result<Tokenizer> {
        // The student's architecture decides whether special tokens frame a text.
        let folder = Folder {
            config: self.config.clone(),
            transformer: self.tokenizer_folder().to_owned(),
            ..self.folder.clone()
        };
        Tokenizer::of(&folder, Some(recipe.max_tokens.min(self.config.max_tokens())))
    }

    /// Tokenises all sentences.
    ///
    /// # Errors
    /// As [`Start::tokenizer`].
    pub fn tokenize(
        &self,
        sentences: &Sentences,
        recipe: &Recipe,
        progress: &dyn Progress,
    ) -> Result<Tokens> {
        let tokenizer = self.tokenizer(recipe)?;
        let mut all = Tokens { offsets: vec![0], ..Tokens::default() };
        progress.stage("tokenising", Some(sentences.len() as u64));
        let rows: Vec<usize> = (0..sentences.len()).collect();
        for rows in rows.chunks(SLICE) {
            let texts: Vec<&str> = rows.iter().map(|&row| sentences.get(row)).collect();
            let tokens = tokenizer.tokenize(&texts)?;
            all.append(&tokens);
            progress.advance(rows.len() as u64);
        }
        Ok(all)
    }

    /// Tokenises the sentences of scored pairs.
    ///
    /// # Errors
    /// As [`Start::tokenizer`].
    pub fn tokenize_pairs(&self, pairs: Option<&Pairs>, recipe: &Recipe) -> Result<Option<Tokens>> {
        pairs.map(|pairs| self.tokenizer(recipe)?.tokenize(&pairs.sentences)).transpose()
    }

    /// `config.json` of a student with layers: the folder's own, with the shape that changed.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn config_json(&self) -> Result<Map<String, Value>> {
        let path = self.folder.transformer.join("config.json");
        let text = fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
        let mut json: Map<String, Value> = serde_json::from_str(&text)
            .map_err(|e| Error::model(format!("`{}` is damaged", path.display())).caused_by(e))?;
        for (name, value) in [
            ("num_hidden_layers", self.config.num_hidden_layers),
            ("hidden_size", self.config.hidden_size),
            ("num_attention_heads", self.config.num_attention_heads),
            ("intermediate_size", self.config.intermediate_size),
            ("vocab_size", self.config.vocab_size),
        ] {
            json.insert(name.to_owned(), json!(value));
        }
        if let Some(kept) = &self.kept {
            kept.renumber_config(&mut json);
        }
        Ok(json)
    }
}

/// Makes sure that a tokenizer has the tokens that its file in `folder` was taken to list: the library has ids of its
/// own where a file contradicts itself.
fn same_tokens<'a>(
    tokenizer: &Tokenizer,
    folder: &Path,
    tokens: impl Iterator<Item = &'a str>,
) -> Result<()> {
    if tokenizer.vocabulary()?.iter().map(String::as_str).eq(tokens) {
        return Ok(());
    }
    Err(Error::model(format!(
        "the tokenizer in `{}` has other tokens, or in another order, than its file lists, so that it can lose none",
        folder.display()
    ))
    .hint("leave `--vocabulary` out"))
}

/// The matrix, `[dim, hidden_size]`, of the head in `folder`.
fn own_head(folder: &Folder, recipe: &Recipe) -> Result<Vec<f32>> {
    let (dim, width) = (recipe.dim, folder.config.hidden_size);
    let dense: Vec<_> = folder.dense().collect();
    let activation = match recipe.head.activation {
        Activation::Identity => DenseActivation::Identity,
        Activation::Tanh => DenseActivation::Tanh,
    };
    match dense.as_slice() {
        [dense] if dense.bias || recipe.head.bias || dense.activation != activation => {
            Err(Error::mismatch(format!(
                "`{}` is another head than the recipe's: going on with a bias or another activation is not possible",
                dense.path.display()
            ))
            .hint("--set head.start=pca"))
        }
        [dense] if dense.out_features != dim => Err(Error::mismatch(format!(
            "`{}` gives {} numbers, expected `dim` {dim}",
            dense.path.display(),
            dense.out_features
        ))
        .hint(format!("--dim {}", dense.out_features))),
        [dense] => Weights::open(&dense.path)?.tensor("linear.weight", &[dim, width]),
        _ => Err(Error::mismatch(format!(
            "`{}` has {} heads to go on with, expected one",
            folder.path.display(),
            dense.len()
        ))
        .hint("name an earlier student as --student, or give --set head.start=pca")),
    }
}

/// Reads a folder that a student can start from. A fresh student takes the shape of its positions over too.
fn trainable(path: &Path) -> Result<Folder> {
    let folder = Folder::open(path)?;
    if folder.config.model_type.is_bert_family() {
        return Ok(folder);
    }
    Err(Error::model(format!(
        "a student cannot start from `{}`, whose architecture is {}; expected bert, roberta or xlm-roberta",
        path.display(),
        folder.config.model_type.name()
    ))
    .hint("a teacher may be of any architecture; name a start of its own beside it: --student BERT_FOLDER"))
}

/// Reads a folder whose vocabulary a static student can take over.
fn tabular(path: &Path) -> Result<Folder> {
    let folder = Folder::open(path)?;
    if !folder.do_lower_case {
        return Ok(folder);
    }
    Err(Error::model(format!(
        "`{}` puts texts in lower case apart from its tokenizer (`do_lower_case`), which no static model can say",
        path.display()
    ))
    .hint("start from a model whose tokenizer does it itself: --student DIR"))
}

/// A table of `width` numbers a token of `folder`'s vocabulary, and nothing else.
fn static_config(folder: &Folder, width: usize) -> EncoderConfig {
    EncoderConfig {
        model_type: ModelType::StaticEmbedding,
        hidden_size: width,
        num_hidden_layers: 0,
        num_attention_heads: 0,
        intermediate_size: 0,
        max_position_embeddings: usize::MAX,
        type_vocab_size: 0,
        ..folder.config.clone()
    }
}

fn reshape(config: &mut EncoderConfig, width: usize, layers: usize) -> Result<()> {
    if width == 0 || !width.is_multiple_of(HEAD_WIDTH) {
        let nearest = width.next_multiple_of(HEAD_WIDTH).max(HEAD_WIDTH);
        return Err(Error::input(format!(
            "`--fresh-width {width}` is no multiple of {HEAD_WIDTH}, the width of an attention head"
        ))
        .hint(format!("--fresh-width {nearest}")));
    }
    config.hidden_size = width;
    config.num_attention_heads = width / HEAD_WIDTH;
    config.intermediate_size = 4 * width;
    config.num_hidden_layers = layers;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/encoder").join(name)
    }

    #[test]
    fn a_student_starts_from_bert_and_its_family_only() {
        let bert = fixture("bert_mean");
        for name in ["distilbert_cls", "mpnet_cls", "modernbert_new", "model2vec_plain"] {
            let teacher = fixture(name);
            let all_of = |path: &Path| StudentStart::Cut {
                model: Some(path.to_owned()),
                kept: KeptLayers::All,
            };
            let one = StudentStart::Cut { model: None, kept: KeptLayers::Spread(1) };
            for start in [one, all_of(&teacher)] {
                let error = Start::find(&start, || Ok(teacher.as_path())).unwrap_err();
                let story = format!("{error:?}");
                assert!(story.contains("expected bert, roberta or xlm-roberta"), "{story}");
                assert!(story.contains("--student BERT_FOLDER"), "{story}");
            }
            let start = all_of(&bert);
            assert!(Start::find(&start, || Ok(teacher.as_path())).is_ok());
        }
    }

    #[test]
    fn layers_are_held_to_a_teacher_of_their_width_and_tokens_only() {
        let (bert, other) = (fixture("bert_mean"), fixture("roberta_new"));
        let mut recipe = Recipe::load("hpd").unwrap();
        let matched = |recipe: &Recipe, start: StudentStart, teacher: Option<&Path>| {
            let start = Start::find(&start, || Ok(bert.as_path())).unwrap();
            start.matched_layers(recipe, teacher).map(|found| found.map(|(_, numbers)| numbers))
        };
        let cut = |model: Option<&Path>, kept| StudentStart::Cut {
            model: model.map(Path::to_owned),
            kept,
        };
        let all = Folder::open(&bert).unwrap().config.num_hidden_layers;
        assert_eq!(matched(&recipe, cut(None, KeptLayers::All), None).unwrap(), None);
        recipe.loss.hidden = 1.0;
        let first = cut(None, KeptLayers::These(vec![0]));
        assert_eq!(matched(&recipe, first, Some(&bert)).unwrap(), Some(vec![0]));
        // The same model, but not the teacher: which of its layers stay says nothing about the teacher's.
        let again = fixture("../encoder/bert_mean");
        let first = cut(Some(&again), KeptLayers::These(vec![0]));
        assert_eq!(matched(&recipe, first, Some(&bert)).unwrap(), Some(vec![all - 1]));
        let fresh = |layers| StudentStart::Fresh { width: 32, layers, vocabulary: None };
        for (start, teacher, why) in [
            (cut(None, KeptLayers::All), None, "no model folder"),
            (fresh(all + 1), Some(&bert), "layers, expected 1 to the teacher's"),
            (fresh(1), Some(&bert), "wide, the teacher's"),
            (StudentStart::Static { model: None }, Some(&bert), "has 0 layers"),
            (fresh(1), Some(&other), "different tokens"),
        ] {
            let error = matched(&recipe, start, teacher.map(PathBuf::as_path)).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(error.hint_text(), Some("--set loss.hidden=0"));
        }
    }

    #[test]
    fn a_number_of_neurons_that_cannot_be_is_refused_with_one_that_can() {
        let bert = fixture("bert_mean");
        let with = |start: StudentStart, count| {
            Start::find(&start, || Ok(bert.as_path())).unwrap().with_neurons(count)
        };
        let cut = || StudentStart::Cut { model: None, kept: KeptLayers::All };
        let fresh = |layers| StudentStart::Fresh { width: 32, layers, vocabulary: None };
        for (start, count, found, hint) in [
            (cut(), 0, "nothing would be left", "--feed-forward 1, or up to 78"),
            (
                cut(),
                79,
                "have 78 neurons",
                "leave it out to keep all, or give a number from 1 to 78",
            ),
            (fresh(1), 0, "nothing would be left", "--feed-forward 1, or more"),
            (fresh(0), 9, "without layers", "leave it out, or give --layers 1 or more"),
            (StudentStart::Static { model: None }, 9, "without layers", "leave it out, or give"),
        ] {
            let error = with(start, count).unwrap_err();
            let words = format!("`--feed-forward {count}`: ");
            let message = error.to_string();
            assert!(message.contains(&words) && message.contains(found), "{message}");
            assert!(error.hint_text().unwrap().starts_with(hint), "{:?}", error.hint_text());
        }
        let kept = |start, count| with(start, count).unwrap().kept_neurons();
        assert_eq!(kept(cut(), 7), Some(KeptNeurons { neurons: 7, of: 78 }));
        assert_eq!(kept(cut(), 78), None);
        assert_eq!(kept(fresh(1), 7), None);
        assert_eq!(with(fresh(1), 300).unwrap().config.intermediate_size, 300);
    }

    #[test]
    fn layers_are_cut_out_of_the_model_that_is_named() {
        let (bert, teacher) = (fixture("bert_mean"), fixture("distilbert_cls"));
        let all = Folder::open(&bert).unwrap().config.num_hidden_layers;
        let cut = |kept| {
            let start = StudentStart::Cut { model: Some(bert.clone()), kept };
            Start::find(&start, || Ok(teacher.as_path()))
        };
        for (kept, layers) in [
            (KeptLayers::All, (0..all).collect()),
            (KeptLayers::Spread(1), vec![all - 1]),
            (KeptLayers::These(vec![0]), vec![0]),
        ] {
            let start = cut(kept).unwrap();
            assert_eq!((&start.folder.path, start.config.num_hidden_layers), (&bert, layers.len()));
            assert_eq!(start.layers, Some(layers));
        }
        let error = cut(KeptLayers::Spread(all + 1)).unwrap_err();
        assert!(error.to_string().contains(&format!("bert_mean` has {all} layers")), "{error}");
    }
}
