//! The type most people need: a folder opened for encoding.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use hpd_files::vectors::Matrix;
use hpd_files::{Error, Progress, Result, interrupt};
use hpd_kernels::Level;
use rayon::prelude::*;

use crate::arithmetic::Arithmetic;
use crate::folder::Folder;
use crate::head::Head;
use crate::other_route::OtherRoute;
use crate::rows::normalize_length;
use crate::tokenizer::{Tokenizer, Tokens};
use crate::transformer::{Scratch, Transformer};
use crate::weights::Weights;
use crate::{Embeddings, Identity, Prompt, Side, blocks};

/// Tokens of a vocabulary between two signs of life.
const VOCABULARY_SLICE: usize = 1 << 11;

/// Makes texts' vectors of their tokens', given where each text begins.
type BlockHead<'a> = dyn Fn(&[f32], &[usize]) -> Vec<f32> + Sync + 'a;

/// How to open a model.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Truncates at this many tokens instead of the folder's `max_seq_length`.
    pub max_seq_length: Option<usize>,
    /// In which numbers the Transformer's matrix products are computed; `None` for those the folder stores.
    pub arithmetic: Option<Arithmetic>,
    /// Of a folder with a model for queries and another for documents, the one to open first; the other follows when a
    /// text needs it. `None` for the one that texts of no side go to.
    pub side: Option<Side>,
}

/// How to encode. The defaults give what sentence-transformers' `encode` gives.
#[derive(Clone, Debug, Default)]
pub struct EncodeOptions {
    /// The prompt.
    pub prompt: Prompt,
    /// What the texts are, where the prompt does not say it: a few folders have a model for each.
    pub side: Option<Side>,
    /// Normalises to unit length even if the folder has no Normalize module.
    pub normalize: bool,
    /// Keeps the first so many numbers (and renormalises when the model's output is normalised).
    pub dimensions: Option<usize>,
}

/// A sentence encoder, opened. `Sync`: share one by reference.
///
/// Of a folder with two models (sentence-transformers' `Router`) this is the one that [`OpenOptions::side`] asks for, and
/// [`Model::encode`] sends texts of the other side to the other. All else is told of this one alone, but for the identity,
/// which is of both.
pub struct Model {
    folder: Folder,
    tokenizer: Tokenizer,
    arithmetic: Arithmetic,
    transformer: Transformer,
    head: Head,
    /// Kept for the fingerprint, which few callers ask for.
    weights: Vec<Weights>,
    identity: OnceLock<Identity>,
    other: Option<OtherRoute>,
    /// Matrices of blocks that are done, for the next ones. A thread-local would not do: while a thread waits for
    /// its share of a product, rayon may give it a second block.
    scratch: Mutex<Vec<Scratch>>,
}

impl Model {
    /// Opens a sentence-transformers folder.
    ///
    /// # Errors
    /// When a file is missing or damaged, shapes disagree, or the architecture is not supported.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::open_with(folder, &OpenOptions::default())
    }

    /// Opens a folder with options.
    ///
    /// # Errors
    /// As [`Model::open`], and when `HPD_SIMD` names no vector instructions of this CPU.
    ///
    /// # Cost
    /// Reads all tensors once and packs the matrices for multiplication.
    pub fn open_with(folder: &Path, options: &OpenOptions) -> Result<Self> {
        Level::chosen().map_err(|error| {
            Error::input(error.to_string()).hint("unset it to use the fastest there are")
        })?;
        let folder = Folder::open_for(folder, options.side)?;
        let other = OtherRoute::beside(&folder, options)?;
        Ok(Self { other, ..Self::of_folder(folder, options)? })
    }

    /// The model of one route.
    pub(crate) fn of_folder(folder: Folder, options: &OpenOptions) -> Result<Self> {
        let tokenizer = Tokenizer::of(&folder, options.max_seq_length)?;
        let weights = Weights::of_folder(&folder)?;
        let stored = if weights[0].is_int8() { Arithmetic::Int8 } else { Arithmetic::Float32 };
        let arithmetic = options.arithmetic.unwrap_or(stored);
        Ok(Self {
            arithmetic,
            transformer: Transformer::read(&folder.config, &weights[0], arithmetic)?,
            head: Head::new(&folder, &weights[1..])?,
            identity: Identity::written(&folder)?.map_or_else(OnceLock::new, OnceLock::from),
            other: None,
            weights,
            tokenizer,
            folder,
            scratch: Mutex::default(),
        })
    }

    /// Width of the vectors.
    pub fn dim(&self) -> usize {
        self.folder.dim()
    }

    /// Longest text in tokens, special ones included.
    pub fn max_seq_length(&self) -> usize {
        self.tokenizer.max_tokens()
    }

    /// What the folder says of itself.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Of a folder with two models, what it says of the other one.
    pub fn other_folder(&self) -> Option<&Folder> {
        self.other.as_ref().map(OtherRoute::folder)
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// In which numbers its matrix products are computed.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Whether weights are stored in 8 bits, of either model where the folder has two.
    pub fn is_int8(&self) -> bool {
        self.all_weights().any(Weights::is_int8)
    }

    /// How many numbers its tensors have, those of the head included, scales of 8 bits not counted; of both models
    /// where the folder has two.
    pub fn parameters(&self) -> u64 {
        self.all_weights().map(Weights::parameters).sum()
    }

    /// Which vectors its vectors may be compared with.
    ///
    /// # Cost
    /// For a folder without `hpd.json` the first call reads all tensors.
    pub fn identity(&self) -> &Identity {
        self.identity.get_or_init(|| Identity::of_tensors(self.all_weights()))
    }

    /// What the tensors themselves say [`Identity::weights`] is, whatever `hpd.json` says.
    ///
    /// # Cost
    /// Reads all tensors.
    pub fn fingerprint(&self) -> String {
        Identity::of_tensors(self.all_weights()).weights
    }

    /// Those of both routes, in the same order whichever is this one's.
    fn all_weights(&self) -> impl Iterator<Item = &Weights> {
        let own = &self.weights[..];
        let others = self.other.as_ref().map_or(&[][..], OtherRoute::weights);
        let is_of_queries = self.folder.side == Some(Side::Query);
        let [first, second] = if is_of_queries { [others, own] } else { [own, others] };
        first.iter().chain(second)
    }

    /// Encodes texts, one row each, empty ones included, on rayon's current pool.
    ///
    /// A text's row has the same bits alone and in any batch, on any number of threads. Of a folder with two models the
    /// texts take the one of their side.
    ///
    /// # Errors
    /// When the prompt is unknown or more dimensions are asked than there are, or the folder's other model is needed and
    /// damaged.
    pub fn encode<S: AsRef<str> + Sync>(
        &self,
        texts: &[S],
        options: &EncodeOptions,
    ) -> Result<Embeddings> {
        let model = self.route(options)?;
        let tokens = model.tokenize(texts, options)?;
        let rows = model.encode_tokens(&tokens, options)?;
        Ok(Embeddings { rows, truncated: tokens.truncated, tokens: tokens.ids.len() })
    }

    /// The model that texts encoded with `options` take: this one, unless the folder has another for their side.
    ///
    /// # Errors
    /// When that one is damaged.
    pub fn route(&self, options: &EncodeOptions) -> Result<&Self> {
        let side = options.side.or_else(|| options.prompt.side());
        match self.other.as_ref().filter(|other| other.folder().side == side) {
            Some(other) => other.model(),
            None => Ok(self),
        }
    }

    /// Texts as ids behind their prompt, cut where they are too long: the first half of [`Model::encode`], for those who
    /// must know how many tokens there are before they encode them.
    ///
    /// # Errors
    /// When the prompt is unknown, or the tokenizer fails on a text.
    pub fn tokenize<S: AsRef<str> + Sync>(
        &self,
        texts: &[S],
        options: &EncodeOptions,
    ) -> Result<Tokens> {
        let model = self.route(options)?;
        let prompt = options.prompt.words(&model.folder)?;
        if prompt.is_empty() {
            return model.tokenizer.tokenize(texts);
        }
        let prompted: Vec<Cow<'_, str>> =
            texts.iter().map(|text| Cow::Owned(format!("{prompt}{}", text.as_ref()))).collect();
        model.tokenizer.tokenize(&prompted)
    }

    /// One row for each text of `tokens`: the second half of [`Model::encode`], with the same options as the first.
    ///
    /// Texts of several callers may be put together ([`Tokens::append`]); a text's row is the same in any company.
    ///
    /// # Errors
    /// As [`Model::encode`] and [`Model::check_tokens`].
    pub fn encode_tokens(&self, tokens: &Tokens, options: &EncodeOptions) -> Result<Matrix> {
        let model = self.route(options)?;
        model.check_tokens(tokens)?;
        let prompt = options.prompt.words(&model.folder)?;
        let prompt_tokens = if prompt.is_empty() || model.folder.pooling.include_prompt {
            0
        } else {
            model.tokenizer.prompt_length(prompt)?
        };
        let data = model
            .in_blocks(tokens, &|hidden, offsets| model.head.apply(hidden, offsets, prompt_tokens));
        model.shorten(Matrix { data, dim: model.dim() }, options)
    }

    /// Refuses ids this model cannot encode.
    ///
    /// # Errors
    /// When a text is longer than the model takes, or an id is not in its vocabulary.
    pub fn check_tokens(&self, tokens: &Tokens) -> Result<()> {
        let (vocabulary, longest) = (self.folder.config.vocab_size, self.max_seq_length());
        for (i, text) in (0..tokens.len()).map(|i| (i, tokens.text(i))) {
            if text.len() > longest {
                let length = text.len();
                return Err(Error::input(format!(
                    "text {i} has {length} tokens, but the model takes {longest}"
                )));
            }
            if let Some(id) = text.iter().find(|&&id| id as usize >= vocabulary) {
                return Err(Error::input(format!(
                    "text {i} has token {id}, but the model's vocabulary ends at {}",
                    vocabulary - 1
                )));
            }
        }
        Ok(())
    }

    /// Vectors of this model as `options` want them: their first [`EncodeOptions::dimensions`] numbers, of length 1 where that
    /// is asked for or was so before. What [`Model::encode`] does at its end.
    ///
    /// # Errors
    /// When more dimensions are asked than there are.
    pub fn shorten(&self, rows: Matrix, options: &EncodeOptions) -> Result<Matrix> {
        let dim = self.kept_dimensions(options)?;
        let mut rows = Matrix { data: keep(rows.data, self.dim(), dim), dim };
        if options.normalize || (dim < self.dim() && self.folder.normalizes()) {
            normalize_length(&mut rows.data, dim);
        }
        Ok(rows)
    }

    /// The vector of each token of the vocabulary as a text of its own, before a Normalize at the end: what a static
    /// model that shall resemble this one can start from. Row `i` belongs to id `i`, whose text is that token within
    /// the special tokens that frame every text.
    ///
    /// # Shapes
    /// Returns `[vocab_size, dim]`.
    ///
    /// # Errors
    /// When `progress` was interrupted, or the tokenizer fails.
    ///
    /// # Cost
    /// As encoding so many texts of three tokens or so; half a minute for the 30,522 of all-MiniLM-L6-v2 on two cores.
    pub fn encode_vocabulary(&self, progress: &dyn Progress) -> Result<Matrix> {
        let frame = self.tokenizer.tokenize(&[""])?.ids;
        let (before, behind) = frame.split_at(self.tokenizer.prompt_length("")?);
        let tokens = self.folder.config.vocab_size;
        progress.stage("encoding the vocabulary", Some(tokens as u64));
        let mut data = Vec::with_capacity(tokens * self.dim());
        for first in (0..tokens).step_by(VOCABULARY_SLICE) {
            interrupt::check("nothing of the vocabulary was kept")?;
            let slice = first..tokens.min(first + VOCABULARY_SLICE);
            let text =
                |id: usize| before.iter().copied().chain([id as u32]).chain(behind.iter().copied());
            let ids: Vec<u32> = slice.clone().flat_map(text).collect();
            let offsets = (0..=slice.len()).map(|i| i * (frame.len() + 1)).collect();
            let texts = Tokens { ids, offsets, ..Tokens::default() };
            data.extend(self.in_blocks(&texts, &|hidden, offsets| {
                self.head.apply_unnormalized(hidden, offsets)
            }));
            progress.advance(slice.len() as u64);
        }
        Ok(Matrix { data, dim: self.dim() })
    }

    fn kept_dimensions(&self, options: &EncodeOptions) -> Result<usize> {
        match options.dimensions {
            None => Ok(self.dim()),
            Some(dim) if (1..=self.dim()).contains(&dim) => Ok(dim),
            Some(dim) => Err(Error::input(format!(
                "{dim} dimensions are asked for, but vectors of `{}` have {}",
                self.folder.path.display(),
                self.dim()
            ))),
        }
    }

    /// One row for each text, with what `head` makes of tokens' vectors and texts' offsets.
    fn in_blocks(&self, tokens: &Tokens, head: &BlockHead<'_>) -> Vec<f32> {
        let threads = rayon::current_num_threads();
        let blocks = blocks::cut(&tokens.offsets, threads);
        let alone = blocks.len() == 1 && threads > 1;
        let rows: Vec<Vec<f32>> = blocks
            .into_par_iter()
            .with_max_len(1)
            .map(|texts| self.encode_block(tokens, texts, alone, head))
            .collect();
        rows.concat()
    }

    fn encode_block(
        &self,
        tokens: &Tokens,
        texts: Range<usize>,
        alone: bool,
        head: &BlockHead<'_>,
    ) -> Vec<f32> {
        let bounds = &tokens.offsets[texts.start..=texts.end];
        let offsets: Vec<usize> = bounds.iter().map(|offset| offset - bounds[0]).collect();
        let ids = &tokens.ids[bounds[0]..bounds[texts.len()]];
        let mut scratch = self.scratch().pop().unwrap_or_default();
        self.transformer.apply(ids, &offsets, alone, &mut scratch);
        let rows = head(&scratch.hidden, &offsets);
        self.scratch().push(scratch);
        rows
    }

    fn scratch(&self) -> std::sync::MutexGuard<'_, Vec<Scratch>> {
        // Nothing is read from a scratch that was not written before.
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first `kept` of every `dim` numbers.
fn keep(rows: Vec<f32>, dim: usize, kept: usize) -> Vec<f32> {
    if kept == dim {
        return rows;
    }
    rows.chunks_exact(dim).flat_map(|row| &row[..kept]).copied().collect()
}
