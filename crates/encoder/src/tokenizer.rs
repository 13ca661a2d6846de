//! Texts to token ids, truncated as sentence-transformers truncates them.
//!
//! What a `tokenizer.json` means is what the crate `tokenizers` makes of it. Where the file describes BERT's tokenizer,
//! as most small encoders have it, `wordpiece` computes the same ids many times as fast and opens as much faster;
//! which of the two runs is read from the file when it is opened.

pub(crate) mod library;
mod model2vec;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hpd_files::{Error, Result};
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use crate::config::ModelType;
use crate::folder::Folder;
use crate::json;
use crate::wordpiece::{Scratch, WordPiece};
use library::Library;
use model2vec::Model2Vec;

/// Texts that a thread takes at once.
const CHUNK: usize = 32;

/// A model folder's tokenizer.
pub struct Tokenizer {
    path: PathBuf,
    engine: Engine,
    max_tokens: usize,
    side: Side,
    unknown_id: Option<u32>,
    model2vec: Option<Model2Vec>,
    /// What [`Tokenizer::vocabulary`] read.
    vocabulary: OnceLock<Vec<String>>,
}

enum Engine {
    WordPiece(Box<WordPiece>),
    Library(Box<Library>),
}

/// Which end of a text that is too long is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The start.
    Left,
    /// The end.
    Right,
}
/// Token ids of texts, one text after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// The ids, special tokens included.
    pub ids: Vec<u32>,
    /// Text `i` has `ids[offsets[i]..offsets[i + 1]]`; one more than there are texts.
    pub offsets: Vec<usize>,
    /// Texts that lost their end.
    pub truncated: usize,
    /// Ids that stand for "not in the vocabulary".
    pub unknown: usize,
}

impl Tokens {
    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of text `i`.
    pub fn text(&self, i: usize) -> &[u32] {
        &self.ids[self.offsets[i]..self.offsets[i + 1]]
    }

    fn none() -> Self {
        Self { offsets: vec![0], ..Self::default() }
    }

    /// The texts of all parts, in their order.
    fn joined(parts: &[Self]) -> Self {
        let mut all = Self::none();
        all.ids.reserve_exact(parts.iter().map(|part| part.ids.len()).sum());
        all.offsets.reserve_exact(parts.iter().map(Self::len).sum());
        parts.iter().for_each(|part| all.append(part));
        all
    }

    /// Puts the texts of `others` behind these.
    pub fn append(&mut self, others: &Self) {
        let shift = self.ids.len();
        self.ids.extend_from_slice(&others.ids);
        self.offsets.extend(others.offsets[1..].iter().map(|offset| offset + shift));
        self.truncated += others.truncated;
        self.unknown += others.unknown;
    }
}

impl Tokenizer {
    /// Opens the tokenizer of a model folder; `max_tokens` replaces the folder's `max_seq_length`.
    ///
    /// # Errors
    /// When a file is missing or damaged, the tokenizer has ids that the word embeddings lack, or `max_tokens` is
    /// more than the model has positions or leaves no room for text.
    pub fn open(folder: &Path, max_tokens: Option<usize>) -> Result<Self> {
        Self::of(&Folder::open(folder)?, max_tokens)
    }

    /// As [`Tokenizer::open`], for a folder already read.
    ///
    /// # Errors
    /// As [`Tokenizer::open`].
    pub fn of(folder: &Folder, max_tokens: Option<usize>) -> Result<Self> {
        let path = folder.transformer.join("tokenizer.json");
        let mut engine = Engine::open(&path, folder)?;
        check_vocabulary(&engine, folder, &path)?;
        let settings: Settings =
            json::read_if_present(&folder.transformer.join("tokenizer_config.json"))?
                .unwrap_or_default();
        let max_tokens = check_length(&engine, folder, max_tokens)?;
        if let Engine::Library(library) = &mut engine {
            library.truncate(max_tokens, settings.side())?;
        }
        let model2vec = match (&engine, &folder.config.model_type) {
            (Engine::Library(library), ModelType::Model2Vec) => {
                Some(Model2Vec::of(library, max_tokens, &path)?)
            }
            _ => None,
        };
        let unknown_id = match &model2vec {
            Some(habits) => habits.unknown_id,
            None => settings.unknown_token().and_then(|token| engine.id(token)),
        };
        let side = settings.side();
        let vocabulary = OnceLock::new();
        let tokenizer = Self { path, engine, max_tokens, side, unknown_id, model2vec, vocabulary };
        tokenizer.check_special_tokens(folder)?;
        Ok(tokenizer)
    }

    /// The ids that frame a text stand in the file apart from the vocabulary.
    fn check_special_tokens(&self, folder: &Folder) -> Result<()> {
        let frame = self.tokenize(&[""])?;
        match frame.ids.iter().find(|id| **id as usize >= folder.config.vocab_size) {
            Some(id) => {
                Err(mismatch(&format!("a special token has the id {id}"), folder, &self.path))
            }
            None => Ok(()),
        }
    }

    /// Longest text in tokens, special ones included.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The tokens it knows, by rising id, as its file writes them.
    ///
    /// # Errors
    /// When the file can no longer be read.
    ///
    /// # Cost
    /// The first call reads the file again: few callers ask, and what tokenises keeps no such list.
    pub fn vocabulary(&self) -> Result<&[String]> {
        if let Some(vocabulary) = self.vocabulary.get() {
            return Ok(vocabulary);
        }
        let library = Library::read(&read(&self.path)?, false, false);
        let vocabulary = library.map_err(|e| refused(&self.path, e))?.vocabulary();
        Ok(self.vocabulary.get_or_init(|| vocabulary))
    }

    /// Tokenises texts on rayon's current pool, in their order.
    ///
    /// # Errors
    /// When the tokenizer fails on a text, which a tokenizer without an unknown token can.
    pub fn tokenize<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Result<Tokens> {
        // A few texts are done before another thread would wake up.
        if texts.len() <= CHUNK {
            return self.tokenize_chunk(texts);
        }
        let chunks: Vec<Tokens> = texts
            .par_chunks(CHUNK)
            .map(|texts| self.tokenize_chunk(texts))
            .collect::<Result<_>>()?;
        Ok(Tokens::joined(&chunks))
    }

    fn tokenize_chunk<S: AsRef<str>>(&self, texts: &[S]) -> Result<Tokens> {
        let mut tokens = Tokens::none();
        tokens.offsets.reserve_exact(texts.len());
        let mut scratch = Scratch::default();
        for text in texts {
            let (text, is_cut) = match &self.model2vec {
                Some(habits) => habits.cut(text.as_ref()),
                None => (text.as_ref(), false),
            };
            let ids = &mut tokens.ids;
            let is_truncated = match &self.engine {
                Engine::WordPiece(wordpiece) => {
                    wordpiece.tokenize(text, (self.max_tokens, self.side), &mut scratch, ids)
                }
                Engine::Library(library) => library.tokenize(text, ids)?,
            };
            let start = tokens.offsets.last().copied().unwrap_or(0);
            tokens.unknown += self.take_unknown(&mut tokens.ids, start);
            tokens.offsets.push(tokens.ids.len());
            tokens.truncated += usize::from(is_truncated || is_cut);
        }
        Ok(tokens)
    }

    /// Counts the unknown tokens from `start` on; model2vec leaves them out too.
    fn take_unknown(&self, ids: &mut Vec<u32>, start: usize) -> usize {
        let is_unknown = |id: &u32| Some(*id) == self.unknown_id;
        let unknown = ids[start..].iter().filter(|id| is_unknown(id)).count();
        if unknown > 0 && self.model2vec.is_some() {
            let kept: Vec<u32> = ids.drain(start..).filter(|id| !is_unknown(id)).collect();
            ids.extend(kept);
        }
        unknown
    }

    /// How many tokens at the head of `prompt + text` belong to the prompt, the first special one included.
    pub(crate) fn prompt_length(&self, prompt: &str) -> Result<usize> {
        let length = self.tokenize(&[prompt])?.ids.len();
        let ends_special = match &self.engine {
            Engine::WordPiece(wordpiece) => wordpiece.ends_special(length),
            Engine::Library(library) => library.ends_special(prompt)?,
        };
        Ok(length - usize::from(ends_special))
    }
}

impl Engine {
    fn open(path: &Path, folder: &Folder) -> Result<Self> {
        let (lower_case, model_type) = (folder.do_lower_case, &folder.config.model_type);
        let frames = !model_type.is_static();
        let bytes = read(path)?;
        // What model2vec does besides needs the library's vocabulary.
        if *model_type != ModelType::Model2Vec
            && let Some(wordpiece) = WordPiece::read(&bytes, lower_case, frames)
        {
            return Ok(Self::WordPiece(Box::new(wordpiece)));
        }
        let library = Library::read(&bytes, lower_case, frames).map_err(|e| refused(path, e))?;
        Ok(Self::Library(Box::new(library)))
    }

    /// The token with the largest id.
    fn last_token(&self) -> Option<(String, u32)> {
        match self {
            Self::WordPiece(wordpiece) => Some(wordpiece.last_token()),
            Self::Library(library) => library.last_token(),
        }
    }

    /// How many special tokens frame each text.
    fn special_tokens(&self) -> usize {
        match self {
            Self::WordPiece(wordpiece) => wordpiece.special_tokens(),
            Self::Library(library) => library.special_tokens(),
        }
    }

    fn id(&self, token: &str) -> Option<u32> {
        match self {
            Self::WordPiece(wordpiece) => wordpiece.id(token),
            Self::Library(library) => library.id(token),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| {
        Error::io("read", path, e)
            .hint("a folder with `vocab.txt` only gets one from `AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)` in Python")
    })
}

fn refused(path: &Path, error: tokenizers::Error) -> Error {
    Error::model(format!("`{}` is not a tokenizer that can be used", path.display()))
        .caused_by(error)
}

fn check_vocabulary(engine: &Engine, folder: &Folder, path: &Path) -> Result<()> {
    match engine.last_token() {
        Some((token, id)) if id as usize >= folder.config.vocab_size => {
            Err(mismatch(&format!("`{token}` has the id {id}"), folder, path))
        }
        Some(_) => Ok(()),
        None => Err(Error::model(format!("`{}` has an empty vocabulary", path.display()))),
    }
}

fn mismatch(what: &str, folder: &Folder, path: &Path) -> Error {
    let (place, rows) = (folder.transformer.display(), folder.config.vocab_size);
    let vocabulary = if folder.config.model_type.is_static() {
        format!("the tensors of `{place}` have {rows} tokens")
    } else {
        format!(
            "`{place}/config.json` has a `vocab_size` of {rows}, which is how many rows the word embeddings have"
        )
    };
    Error::mismatch(format!("in `{}` {what}, but {vocabulary}", path.display()))
        .hint("take tokenizer and model from the same place")
}

/// The length to truncate at, proved to have room for a token besides the special ones.
fn check_length(engine: &Engine, folder: &Folder, asked: Option<usize>) -> Result<usize> {
    let positions = folder.config.max_tokens();
    let special = engine.special_tokens();
    let length = asked.unwrap_or(folder.max_seq_length);
    if length > positions {
        return Err(Error::input(format!(
            "{length} tokens a text are asked for, but `{}` has {positions} positions",
            folder.path.display()
        )));
    }
    if length <= special {
        return Err(Error::input(format!(
            "{length} tokens a text leave no room beside {special} special tokens, expected at least {}",
            special + 1
        )));
    }
    Ok(length)
}

/// The fields of `tokenizer_config.json` that matter here.
#[derive(Default, Deserialize)]
struct Settings {
    truncation_side: Option<String>,
    /// A string, or an object with `content`.
    unk_token: Option<Value>,
}

impl Settings {
    fn side(&self) -> Side {
        match self.truncation_side.as_deref() {
            Some("left") => Side::Left,
            _ => Side::Right,
        }
    }

    fn unknown_token(&self) -> Option<&str> {
        match self.unk_token.as_ref()? {
            Value::String(token) => Some(token),
            other => other.get("content")?.as_str(),
        }
    }
}
