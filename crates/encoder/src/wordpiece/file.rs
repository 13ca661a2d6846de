//! `tokenizer.json`, as far as it describes what is computed here.
//!
//! The types are strict on purpose: a field that is not known, a part of another type, a token that would get another
//! id than the file says, and the file is not ours. Parts that change no id (padding, truncation, decoder) are skipped.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::WordPiece;
use super::added::{AddedToken, AddedTokens};
use super::normalizer::{Normalizer, Switches};
use super::pieces::Pieces;
use super::words::Words;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<'a> {
    version: Option<String>,
    #[serde(rename = "truncation")]
    _truncation: Option<IgnoredAny>,
    #[serde(rename = "padding")]
    _padding: Option<IgnoredAny>,
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: BertNormalizer,
    #[serde(rename = "pre_tokenizer")]
    _pre_tokenizer: BertPreTokenizer,
    post_processor: Frame,
    #[serde(rename = "decoder")]
    _decoder: Option<IgnoredAny>,
    #[serde(borrow)]
    model: Model<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    id: u32,
    content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    #[serde(rename = "special")]
    _special: bool,
}

#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum BertNormalizer {
    BertNormalizer {
        clean_text: bool,
        handle_chinese_chars: bool,
        strip_accents: Option<bool>,
        lowercase: bool,
    },
}

#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum BertPreTokenizer {
    BertPreTokenizer {},
}

/// What comes before and behind a text.
#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum Frame {
    #[serde(rename = "BertProcessing")]
    Bert { sep: (String, u32), cls: (String, u32) },
    #[serde(rename = "RobertaProcessing")]
    Roberta {
        sep: (String, u32),
        cls: (String, u32),
        #[serde(rename = "trim_offsets")]
        _trim_offsets: bool,
        #[serde(rename = "add_prefix_space")]
        _add_prefix_space: bool,
    },
    #[serde(rename = "TemplateProcessing")]
    Template {
        single: Vec<Part>,
        #[serde(rename = "pair")]
        _pair: Vec<Part>,
        special_tokens: BTreeMap<String, Special>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
enum Part {
    Sequence {
        id: Sequence,
        #[serde(rename = "type_id")]
        _type_id: u32,
    },
    SpecialToken {
        id: String,
        #[serde(rename = "type_id")]
        _type_id: u32,
    },
}

#[derive(Deserialize)]
enum Sequence {
    A,
    B,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Special {
    #[serde(rename = "id")]
    _id: String,
    ids: Vec<u32>,
    #[serde(rename = "tokens")]
    _tokens: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model<'a> {
    #[serde(rename = "type")]
    kind: String,
    unk_token: String,
    continuing_subword_prefix: String,
    max_input_chars_per_word: usize,
    #[serde(borrow)]
    vocab: Vocabulary<'a>,
}

/// Tokens and ids in the file's order, borrowed from it wherever nothing is escaped.
struct Vocabulary<'a>(Vec<(Cow<'a, str>, u32)>);

/// Reads a file; nothing if it is not ours.
pub(super) fn read(json: &[u8], lower_case: bool) -> Option<WordPiece> {
    // The text is proved to be UTF-8 once, not string by string.
    let file: File<'_> = serde_json::from_str(std::str::from_utf8(json).ok()?).ok()?;
    if file.version.is_some_and(|version| version != "1.0") || file.model.kind != "WordPiece" {
        return None;
    }
    let Vocabulary(vocabulary) = &file.model.vocab;
    let (heads, tails) = pieces(vocabulary, file.model.continuing_subword_prefix.as_bytes())?;
    let normalizer = Normalizer::new(file.normalizer.switches(lower_case));
    let (raw, normalized) = added(file.added_tokens, &heads, vocabulary.len(), &normalizer)?;
    let ours = vocabulary.iter().map(|(token, id)| (token.as_ref(), *id));
    let last = ours.chain(raw.names()).chain(normalized.names()).max_by_key(|(_, id)| *id)?;
    Some(WordPiece {
        last: (last.0.to_owned(), last.1),
        unknown: heads.get(file.model.unk_token.as_bytes())?,
        longest_word: file.model.max_input_chars_per_word,
        frame: file.post_processor.ids()?,
        words: Words::new(),
        normalizer,
        raw,
        normalized,
        heads,
        tails,
    })
}

/// Tokens that start a word, and those that go on with it. A token is always the former too.
fn pieces(vocabulary: &[(Cow<'_, str>, u32)], prefix: &[u8]) -> Option<(Pieces, Pieces)> {
    let mut heads = Pieces::with_capacity(vocabulary.len());
    let mut tails = Pieces::with_capacity(vocabulary.len());
    for (token, id) in vocabulary {
        let tail = token.as_bytes().strip_prefix(prefix).unwrap_or_default();
        if token.is_empty() || !heads.insert(token.as_bytes(), *id) || !tails.insert(tail, *id) {
            return None;
        }
    }
    Some((heads, tails))
}

/// Added tokens looked for in the text as it is, and in the normalised one.
///
/// `tokenizers` gives a token the id that it has in the vocabulary, and otherwise the next free one after it, whatever
/// the file says; a file that says something else, or names a token or an id twice, is left to it.
fn added(
    tokens: Vec<Added>,
    vocabulary: &Pieces,
    size: usize,
    normalizer: &Normalizer,
) -> Option<(AddedTokens, AddedTokens)> {
    let mut next = u32::try_from(size).ok()?;
    let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
    let (mut raw, mut normalized) = (Vec::new(), Vec::new());
    for token in tokens {
        let expected = vocabulary.get(token.content.as_bytes()).unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        let is_new = ids.insert(token.id) && names.insert(token.content.clone());
        if token.id != expected || !is_new || token.single_word {
            return None;
        }
        let mut pattern = String::new();
        if token.normalized {
            normalizer.apply(&token.content, &mut String::new(), &mut pattern);
        } else {
            pattern.clone_from(&token.content);
        }
        let list = if token.normalized { &mut normalized } else { &mut raw };
        list.push(AddedToken {
            id: token.id,
            content: token.content,
            pattern,
            strip_left: token.lstrip,
            strip_right: token.rstrip,
        });
    }
    Some((AddedTokens::new(raw)?, AddedTokens::new(normalized)?))
}

impl BertNormalizer {
    fn switches(&self, lower_first: bool) -> Switches {
        let Self::BertNormalizer { clean_text, handle_chinese_chars, strip_accents, lowercase } =
            *self;
        Switches {
            lower_first,
            clean: clean_text,
            chinese: handle_chinese_chars,
            strip: strip_accents.unwrap_or(lowercase),
            lower: lowercase,
        }
    }
}

impl Frame {
    /// Ids before and behind the text; nothing if it is not there once, or there are none.
    fn ids(&self) -> Option<(Vec<u32>, Vec<u32>)> {
        let (single, special_tokens) = match self {
            Self::Bert { sep, cls } | Self::Roberta { sep, cls, .. } => {
                return Some((vec![cls.1], vec![sep.1]));
            }
            Self::Template { single, special_tokens, .. } => (single, special_tokens),
        };
        let text = single.iter().position(|part| matches!(part, Part::Sequence { .. }))?;
        let ids = |parts: &[Part]| {
            let ids = parts.iter().map(|part| match part {
                Part::SpecialToken { id, .. } => special_tokens.get(id).map(|token| &token.ids),
                Part::Sequence { .. } => None,
            });
            Some(ids.collect::<Option<Vec<_>>>()?.into_iter().flatten().copied().collect())
        };
        let (before, behind): (Vec<u32>, Vec<u32>) =
            (ids(&single[..text])?, ids(&single[text + 1..])?);
        let is_first = matches!(single[text], Part::Sequence { id: Sequence::A, .. });
        (is_first && before.len() + behind.len() > 0).then_some((before, behind))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Vocabulary<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

struct Entries;

/// A key that borrows where it can; `Cow` alone always copies.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for Entries {
    type Value = Vocabulary<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("tokens and their ids")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut entries = Vec::new();
        while let Some((Key(token), id)) = map.next_entry()? {
            entries.push((token, id));
        }
        Ok(Vocabulary(entries))
    }
}
