//! A student that knows fewer tokens than its start: which stay, and the smaller tokenizer that knows only them.
//!
//! Most tokens of a vocabulary are rare, and their rows are most of a small student. A word whose token goes is
//! spelled from those that stay, so the text is tokenised twice: once to count, once to train. Apart from
//! [`crate::start`], which owns the rows, because this is about other people's files, in which many numbers are ids and
//! all of them have to follow.
//!
//! ```text
//! tokenizer.json ─Vocabulary─> tokens, and those that must stay ─keep(Tokens)─> Kept ─write─> a smaller tokenizer
//! ```
//!
//! Tokens keep their order. WordPiece, which takes the longest token that fits, and Unigram, which takes the likeliest
//! row of tokens, cut a text as before when all its tokens stayed. BPE makes tokens of smaller ones, so none can be
//! taken out alone; it is refused.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};

use hpd_encoder::{Folder, Tokens};
use hpd_files::fingerprint::Fingerprinter;
use hpd_files::{Error, Fingerprint, Result, atomic};
use serde::Serialize;
use serde_json::{Map, Value, json};

const TOKENIZER: &str = "tokenizer.json";

/// The tokens of a tokenizer that can lose some.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// Where the tokenizer's files lie.
    folder: PathBuf,
    /// `tokenizer.json`.
    file: Map<String, Value>,
    algorithm: Algorithm,
    /// Each token by its id.
    tokens: BTreeMap<u32, String>,
    /// Those that stand in the file apart from the vocabulary, most of them special.
    added: BTreeSet<u32>,
    /// Those that no text makes dispensable.
    always: BTreeSet<u32>,
}

/// How a word becomes tokens.
#[derive(Clone, Debug)]
enum Algorithm {
    /// The longest token that fits, again and again.
    WordPiece {
        /// Stands in front of tokens that go on with a word.
        prefix: String,
    },
    /// The likeliest row of tokens.
    Unigram,
}

/// The tokens that stay.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The ids that they had, rising: the student's token `i` was `ids[i]`.
    pub ids: Vec<u32>,
    /// What that means for the text.
    pub facts: KeptFacts,
    /// Tokens that the text had when all were there.
    pub tokens_before: usize,
    /// Where the smaller tokenizer is written.
    pub folder: PathBuf,
    vocabulary: Vocabulary,
}

/// How much of a vocabulary stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct KeptFacts {
    /// Tokens that stay.
    pub tokens: usize,
    /// Tokens that there were.
    pub of: usize,
    /// Which share of the training text's tokens are among those that stay, 0 to 1; added tokens do not count.
    pub share: f64,
}

impl Vocabulary {
    /// Reads the tokens of a model folder.
    ///
    /// # Errors
    /// When `tokenizer.json` is missing or damaged, is of a kind that can lose no token, or has ids that contradict
    /// each other or the model's table of words.
    pub fn read(folder: &Folder) -> Result<Self> {
        let path = folder.transformer.join(TOKENIZER);
        let file = read_object(&path)?.ok_or_else(|| {
            let place = folder.transformer.display();
            Error::model(format!("`{place}` has no `{TOKENIZER}`")).hint(
                "save the tokenizer with transformers (`AutoTokenizer`), which writes that file",
            )
        })?;
        let odd = |what: String| odd(&path, &what);
        let algorithm = Algorithm::of(&file).map_err(|kind| {
            Error::model(format!(
                "`{}` cuts texts by {kind}, whose tokens cannot be taken out one by one; expected WordPiece or Unigram",
                path.display()
            ))
            .hint("leave `--vocabulary` out, or start from a model with such a tokenizer: --student DIR")
        })?;
        let mut tokens = BTreeMap::new();
        for (token, id) in algorithm.tokens(&file).map_err(odd)? {
            if let Some(other) = tokens.insert(id, token.clone()) {
                return Err(odd(format!("gives `{other}` and `{token}` the same id {id}")));
            }
        }
        let ids: BTreeMap<&str, u32> = tokens.iter().map(|(id, token)| (&**token, *id)).collect();
        let listed = added(&file).map_err(odd)?;
        let mut outside = Vec::new();
        for (token, id) in &listed {
            match (ids.get(&**token), tokens.get(id)) {
                (Some(known), _) if known == id => {}
                (None, None) => outside.push((*id, token.clone())),
                _ => return Err(odd(format!("has another id or token than {id} for `{token}`"))),
            }
        }
        drop(ids);
        tokens.extend(outside);
        let rows = folder.config.vocab_size;
        if let Some((id, token)) = tokens.last_key_value().filter(|(id, _)| **id as usize >= rows) {
            return Err(odd(format!("gives `{token}` the id {id}, but the model has {rows} rows")));
        }
        let added = listed.into_iter().map(|(_, id)| id).collect();
        let (folder_of_files, always) = (folder.transformer.clone(), BTreeSet::new());
        let mut vocabulary =
            Self { folder: folder_of_files, file, algorithm, tokens, added, always };
        vocabulary.always = vocabulary.indispensable(folder).map_err(odd)?;
        Ok(vocabulary)
    }

    /// Refuses a number of tokens that cannot be kept.
    ///
    /// # Errors
    /// When `count` is less than what must stay, or more than there are.
    pub fn check(&self, count: usize) -> Result<()> {
        let (least, most) = (self.always.len(), self.tokens.len());
        let path = self.folder.join(TOKENIZER);
        if count < least {
            return Err(Error::input(format!(
                "`--vocabulary {count}`: {least} tokens of `{}` have to stay, the special ones and those without which \
                 some word could not be spelled",
                path.display()
            ))
            .hint(format!("--vocabulary {least}, or more")));
        }
        if count > most {
            return Err(Error::input(format!(
                "`--vocabulary {count}`: `{}` has {most} tokens",
                path.display()
            ))
            .hint(format!("leave it out to keep all, or give a number from {least} to {most}")));
        }
        Ok(())
    }

    /// Keeps the `count` tokens that `text`, split by this very tokenizer, needs most; of two that it needs as much
    /// the one with the lower id. `folder` is where [`Kept::write`] will write.
    ///
    /// # Errors
    /// As [`Vocabulary::check`].
    pub fn keep(self, count: usize, text: &Tokens, folder: PathBuf) -> Result<Kept> {
        self.check(count)?;
        let mut counts: BTreeMap<u32, u64> = self.tokens.keys().map(|id| (*id, 0)).collect();
        for id in &text.ids {
            counts.entry(*id).and_modify(|count| *count += 1);
        }
        let free = |id: &u32| !self.always.contains(id);
        let mut by_need: Vec<u32> = self.tokens.keys().copied().filter(free).collect();
        by_need.sort_by_key(|id| (Reverse(counts[id]), *id));
        by_need.truncate(count - self.always.len());
        let mut ids: Vec<u32> = self.always.iter().copied().chain(by_need).collect();
        ids.sort_unstable();
        let sum = |ids: &mut dyn Iterator<Item = &u32>| -> u64 {
            ids.filter(|id| !self.added.contains(id)).map(|id| counts[id]).sum()
        };
        let share = sum(&mut ids.iter()) as f64 / sum(&mut self.tokens.keys()).max(1) as f64;
        let facts = KeptFacts { tokens: count, of: self.tokens.len(), share };
        Ok(Kept { ids, facts, tokens_before: text.ids.len(), folder, vocabulary: self })
    }

    /// All tokens by rising id.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.tokens.values().map(String::as_str)
    }

    /// Where the tokenizer's files lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The tokens that have to stay whatever the text.
    fn indispensable(&self, folder: &Folder) -> Result<BTreeSet<u32>, String> {
        let mut always = self.added.clone();
        always.extend(self.unspellable());
        always.extend(self.unknown());
        let mut processor = self.file.get("post_processor").cloned().unwrap_or_default();
        let framing = frame_ids(&mut processor).ok_or("has a `post_processor` of unknown shape")?;
        for id in framing {
            always.insert(self.known(id, "post_processor")?);
        }
        if folder.config.model_type.is_static() {
            return Ok(always);
        }
        let pad = folder.config.pad_token_id;
        always.insert(self.known(&pad.into(), "pad_token_id")?);
        if folder.config.first_position() > 0 {
            // Positions are counted from the id of the padding, which therefore must not change.
            let before = self.tokens.range(..pad).map(|(id, _)| *id);
            always.extend(before.clone());
            if before.count() != pad as usize {
                return Err(format!("lacks ids below {pad}, the `pad_token_id`"));
            }
        }
        Ok(always)
    }

    fn known(&self, id: &Value, place: &str) -> Result<u32, String> {
        let known = number(id).filter(|id| self.tokens.contains_key(id));
        known.ok_or_else(|| format!("has no token with the id {id}, which `{place}` names"))
    }

    /// The token for what no other token says.
    fn unknown(&self) -> Option<u32> {
        let model = self.file.get("model")?;
        match self.algorithm {
            Algorithm::WordPiece { .. } => {
                let name = model.get("unk_token")?.as_str()?;
                self.tokens.iter().find(|(_, token)| *token == name).map(|(id, _)| *id)
            }
            Algorithm::Unigram => number(model.get("unk_id")?),
        }
    }

    /// Single characters, and tokens with a character that no single one writes: without these a word that had
    /// tokens could lose them.
    fn unspellable(&self) -> Vec<u32> {
        let single = |body: &str| {
            let mut letters = body.chars();
            letters.next().filter(|_| letters.next().is_none())
        };
        let (mut heads, mut tails) = (BTreeSet::new(), BTreeSet::new());
        for token in self.tokens.values() {
            let (is_tail, body) = self.algorithm.body(token);
            let letters = if is_tail { &mut tails } else { &mut heads };
            letters.extend(single(body));
        }
        let goes_on = match self.algorithm {
            Algorithm::WordPiece { .. } => &tails,
            Algorithm::Unigram => &heads,
        };
        let is_spelled = |token: &str| {
            let (is_tail, body) = self.algorithm.body(token);
            let mut letters = body.chars();
            let begins = is_tail || letters.next().is_some_and(|letter| heads.contains(&letter));
            single(body).is_none() && begins && letters.all(|letter| goes_on.contains(&letter))
        };
        let is_byte = |token: &str| {
            matches!(self.algorithm, Algorithm::Unigram)
                && token.len() == 6
                && token.starts_with("<0x")
        };
        let tokens = self.tokens.iter();
        let stays = tokens.filter(|(_, token)| !is_spelled(token) || is_byte(token));
        stays.map(|(id, _)| *id).collect()
    }
}

impl Algorithm {
    /// That of a tokenizer; what it is instead where it can lose no token.
    fn of(file: &Map<String, Value>) -> Result<Self, String> {
        let model = file.get("model").unwrap_or(&Value::Null);
        match model.get("type").and_then(Value::as_str) {
            Some("WordPiece") => {
                let prefix = model.get("continuing_subword_prefix").and_then(Value::as_str);
                Ok(Self::WordPiece { prefix: prefix.unwrap_or("##").to_owned() })
            }
            Some("Unigram") => Ok(Self::Unigram),
            Some(other) => Err(other.to_owned()),
            None => Err("what its `model` does not name".to_owned()),
        }
    }

    /// The model's tokens and their ids.
    fn tokens(&self, file: &Map<String, Value>) -> Result<Vec<(String, u32)>, String> {
        let vocabulary = file.get("model").and_then(|model| model.get("vocab"));
        let tokens: Option<Vec<_>> = match (self, vocabulary) {
            (Self::WordPiece { .. }, Some(Value::Object(ids))) => {
                ids.iter().map(|(token, id)| Some((token.clone(), number(id)?))).collect()
            }
            (Self::Unigram, Some(Value::Array(rows))) => (0..)
                .zip(rows)
                .map(|(id, row)| Some((row.get(0)?.as_str()?.to_owned(), id)))
                .collect(),
            _ => None,
        };
        tokens.ok_or_else(|| "has a `vocab` of unknown shape".to_owned())
    }

    /// Whether a token goes on with a word, and what it writes.
    fn body<'a>(&self, token: &'a str) -> (bool, &'a str) {
        let tail = match self {
            Self::WordPiece { prefix } => token.strip_prefix(&**prefix).filter(|it| !it.is_empty()),
            Self::Unigram => None,
        };
        tail.map_or((false, token), |tail| (true, tail))
    }
}

impl Kept {
    /// The id that a token has among those that stay.
    pub fn new_id(&self, id: u32) -> Option<u32> {
        // There are no more of them than ids, which are u32.
        self.ids.binary_search(&id).ok().map(|place| place as u32)
    }

    /// The tokens that stay, by rising id.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.ids.iter().map(|id| &*self.vocabulary.tokens[id])
    }

    /// Their rows of a table with a row of `width` numbers for each token that there was.
    pub fn gather(&self, table: &[f32], width: usize) -> Vec<f32> {
        let row = |id: &u32| &table[*id as usize * width..][..width];
        self.ids.iter().flat_map(row).copied().collect()
    }

    /// Names the tokens that stay.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprinter::new().add_part(bytemuck::cast_slice(&self.ids)).finish()
    }

    /// Lets the ids in a `config.json` follow; one whose token is gone, or never was, is left out.
    pub fn renumber_config(&self, config: &mut Map<String, Value>) {
        let is_id = |name: &str, value: &Value| name.ends_with("_token_id") && value.is_number();
        config.retain(|name, value| !is_id(name, value) || self.renumber(value).is_some());
    }

    /// Writes the smaller tokenizer's files into [`Kept::folder`]; those of another program's format, such as
    /// `sentencepiece.bpe.model`, which the start may have too, are left out.
    ///
    /// # Errors
    /// When a file of the start is damaged or gone, or the disk is full.
    pub fn write(&self) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(|e| Error::io("create", &self.folder, e))?;
        let source = |name: &str| self.vocabulary.folder.join(name);
        let path = source(TOKENIZER);
        let file = self.tokenizer().ok_or_else(|| odd(&path, "has parts of unknown shape"))?;
        self.write_object(TOKENIZER, &file)?;
        if let Some(mut config) = read_object(&source("tokenizer_config.json"))? {
            if let Some(Value::Object(tokens)) = config.get_mut("added_tokens_decoder") {
                let renumbered = std::mem::take(tokens).into_iter().filter_map(|(id, token)| {
                    Some((self.new_id(id.parse().ok()?)?.to_string(), token))
                });
                *tokens = renumbered.collect();
            }
            self.write_object("tokenizer_config.json", &config)?;
        }
        if let Some(mut ids) = read_object(&source("added_tokens.json"))? {
            ids.retain(|_, id| self.renumber(id).is_some());
            self.write_object("added_tokens.json", &ids)?;
        }
        if let Some(names) = read_object(&source("special_tokens_map.json"))? {
            self.write_object("special_tokens_map.json", &names)?;
        }
        if source("vocab.txt").is_file() {
            let lines: String = self.tokens().flat_map(|token| [token, "\n"]).collect();
            atomic::write(&self.folder.join("vocab.txt"), lines.as_bytes())?;
        }
        Ok(())
    }

    /// `tokenizer.json` with the tokens that stay. Its padding and truncation, which name an id too, go: lengths are
    /// the model's matter.
    fn tokenizer(&self) -> Option<Map<String, Value>> {
        let mut file = self.vocabulary.file.clone();
        file.insert("padding".to_owned(), Value::Null);
        file.insert("truncation".to_owned(), Value::Null);
        if let Some(Value::Array(tokens)) = file.get_mut("added_tokens") {
            for token in tokens {
                self.renumber(token.get_mut("id")?)?;
            }
        }
        if let Some(processor) = file.get_mut("post_processor") {
            for id in frame_ids(processor)? {
                self.renumber(id)?;
            }
        }
        let model = file.get_mut("model")?.as_object_mut()?;
        match model.get_mut("vocab")? {
            Value::Object(ids) => ids.retain(|_, id| self.renumber(id).is_some()),
            Value::Array(rows) => {
                let rows_of_kept = (0..).zip(std::mem::take(rows));
                let stays = |id: u32| self.new_id(id).is_some();
                *rows = rows_of_kept.filter(|(id, _)| stays(*id)).map(|(_, row)| row).collect();
            }
            _ => return None,
        }
        if let Some(id) = model.get_mut("unk_id").filter(|id| !id.is_null()) {
            self.renumber(id)?;
        }
        Some(file)
    }

    /// Puts the new id in place of the old one, if there is one.
    fn renumber(&self, id: &mut Value) -> Option<()> {
        *id = json!(self.new_id(number(id)?)?);
        Some(())
    }

    fn write_object(&self, name: &str, object: &Map<String, Value>) -> Result<()> {
        let path = self.folder.join(name);
        let text = serde_json::to_string_pretty(object)
            .map_err(|e| Error::io("write", &path, std::io::Error::other(e)))?;
        atomic::write(&path, (text + "\n").as_bytes())
    }
}

/// The added tokens and their ids.
fn added(file: &Map<String, Value>) -> Result<Vec<(String, u32)>, String> {
    let Some(list) = file.get("added_tokens").filter(|list| !list.is_null()) else {
        return Ok(Vec::new());
    };
    let token = |entry: &Value| {
        Some((entry.get("content")?.as_str()?.to_owned(), number(entry.get("id")?)?))
    };
    let tokens: Option<Vec<_>> = list.as_array().and_then(|list| list.iter().map(token).collect());
    tokens.ok_or_else(|| "has `added_tokens` of unknown shape".to_owned())
}

/// Every id in a post-processor, of which a file may have none; `None` for one of unknown shape.
fn frame_ids(processor: &mut Value) -> Option<Vec<&mut Value>> {
    if processor.is_null() {
        return Some(Vec::new());
    }
    let kind = processor.get("type")?.as_str()?.to_owned();
    let parts = processor.as_object_mut()?;
    match kind.as_str() {
        "BertProcessing" | "RobertaProcessing" => parts
            .iter_mut()
            .filter(|(name, _)| ["sep", "cls"].contains(&name.as_str()))
            .map(|(_, pair)| pair.get_mut(1))
            .collect(),
        "TemplateProcessing" => {
            let mut ids = Vec::new();
            for token in parts.get_mut("special_tokens")?.as_object_mut()?.values_mut() {
                ids.extend(token.get_mut("ids")?.as_array_mut()?);
            }
            Some(ids)
        }
        "Sequence" => {
            let mut ids = Vec::new();
            for part in parts.get_mut("processors")?.as_array_mut()? {
                ids.extend(frame_ids(part)?);
            }
            Some(ids)
        }
        "ByteLevel" => Some(Vec::new()),
        _ => None,
    }
}

fn number(id: &Value) -> Option<u32> {
    id.as_u64()?.try_into().ok()
}

fn odd(path: &Path, what: &str) -> Error {
    Error::model(format!("`{}` {what}, so that it can lose no token", path.display()))
        .hint("leave `--vocabulary` out")
}

fn read_object(path: &Path) -> Result<Option<Map<String, Value>>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            Error::model(format!("`{}` is damaged", path.display())).caused_by(error)
        }),
        Err(error) if error.kind() == NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hpd_encoder::Tokenizer;

    fn fixture(name: &str) -> Folder {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/encoder");
        Folder::open(&fixtures.join(name)).unwrap()
    }

    /// A text that needs only some of the tokens.
    const TEXT: [&str; 3] =
        ["the spider and the sea", "the bridge is on the river", "she eats rice in the sea"];

    /// `folder` with the `count` tokens that [`TEXT`] needs most, written to `place`.
    fn narrowed(folder: &Folder, count: usize, place: &Path) -> (Kept, Folder) {
        let text = Tokenizer::of(folder, None).unwrap().tokenize(&TEXT).unwrap();
        let vocabulary = Vocabulary::read(folder).unwrap();
        let kept = vocabulary.keep(count, &text, place.to_owned()).unwrap();
        kept.write().unwrap();
        let mut narrow = folder.clone();
        narrow.transformer = place.to_owned();
        narrow.config.vocab_size = count;
        (kept, narrow)
    }

    /// Two thirds of the way from what must stay to all.
    fn some(folder: &Folder) -> usize {
        let vocabulary = Vocabulary::read(folder).unwrap();
        let (least, most) = (vocabulary.always.len(), vocabulary.tokens.len());
        assert!(least + 10 < most, "{least} of {most}");
        least + (most - least) / 3
    }

    fn names(kept: &Kept, ids: &[u32]) -> Vec<String> {
        let tokens: Vec<&str> = kept.tokens().collect();
        ids.iter().map(|id| tokens[*id as usize].to_owned()).collect()
    }

    const KINDS: [&str; 4] =
        ["bert_mean", "xlm_roberta_max", "static_embedding", "model2vec_plain"];

    #[test]
    fn the_smaller_tokenizer_is_what_the_library_reads_in_its_file() {
        for name in KINDS {
            let (place, folder) = (tempfile::tempdir().unwrap(), fixture(name));
            let (kept, narrow) = narrowed(&folder, some(&folder), place.path());
            let theirs = tokenizers::Tokenizer::from_file(place.path().join(TOKENIZER)).unwrap();
            assert_eq!(theirs.get_vocab_size(true), kept.ids.len(), "{name}");
            for (id, token) in (0..).zip(kept.tokens()) {
                assert_eq!(theirs.token_to_id(token), Some(id), "{name}: {token}");
            }
            // What model2vec does besides is not the library's.
            if name == "model2vec_plain" {
                continue;
            }
            let ours = Tokenizer::of(&narrow, None).unwrap();
            let words = Vocabulary::read(&folder).unwrap();
            let texts: Vec<&str> = TEXT.into_iter().chain(words.tokens()).collect();
            let tokens = ours.tokenize(&texts).unwrap();
            for (i, text) in texts.iter().enumerate() {
                let frames = !folder.config.model_type.is_static();
                let lower = folder.do_lower_case.then(|| text.to_lowercase());
                let read = lower.as_deref().unwrap_or(text);
                let expected = theirs.encode(read, frames).unwrap();
                assert_eq!(tokens.text(i), expected.get_ids(), "{name}: {text}");
            }
        }
    }

    #[test]
    fn whatever_had_tokens_still_has_some() {
        for name in ["bert_mean", "xlm_roberta_max"] {
            let (place, folder) = (tempfile::tempdir().unwrap(), fixture(name));
            let least = Vocabulary::read(&folder).unwrap().always.len();
            let (_, narrow) = narrowed(&folder, least, place.path());
            let (before, after) =
                (Tokenizer::of(&folder, None).unwrap(), Tokenizer::of(&narrow, None).unwrap());
            let special = |token: &str| token.starts_with(['[', '<']);
            let words = before.vocabulary().unwrap();
            for word in words.iter().filter(|word| !special(word)) {
                let word = word.trim_start_matches("##").replace('▁', " ");
                if before.tokenize(&[&word]).unwrap().unknown == 0 {
                    let tokens = after.tokenize(&[&word]).unwrap();
                    assert_eq!(tokens.unknown, 0, "{name}: {word}");
                }
            }
        }
    }

    #[test]
    fn a_text_whose_tokens_all_stay_is_cut_as_before() {
        for name in ["bert_mean", "xlm_roberta_max"] {
            let (place, folder) = (tempfile::tempdir().unwrap(), fixture(name));
            let (kept, narrow) = narrowed(&folder, some(&folder), place.path());
            let before = Tokenizer::of(&folder, None).unwrap().tokenize(&TEXT).unwrap();
            let after = Tokenizer::of(&narrow, None).unwrap().tokenize(&TEXT).unwrap();
            assert!((kept.facts.share - 1.0).abs() < 1e-12, "{name}: {:?}", kept.facts);
            let ids: Vec<u32> = before.ids.iter().map(|id| kept.new_id(*id).unwrap()).collect();
            assert_eq!(ids, after.ids, "{name}");
            let whole: Vec<String> =
                Vocabulary::read(&folder).unwrap().tokens.into_values().collect();
            let pieces: Vec<String> =
                before.ids.iter().map(|id| whole[*id as usize].clone()).collect();
            assert_eq!(pieces, names(&kept, &after.ids), "{name}");
        }
    }

    /// A folder with this tokenizer and the shape of `bert_mean`.
    fn folder_of(tokenizer: &str, place: &Path) -> Folder {
        fs::write(place.join(TOKENIZER), tokenizer).unwrap();
        Folder { transformer: place.to_owned(), ..fixture("bert_mean") }
    }

    const SMALL: &str = r###"{
        "added_tokens": [{"id": 0, "content": "[PAD]"}, {"id": 9, "content": "<new>"}],
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
        "padding": {"pad_id": 0},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "vocab": {
            "[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "a": 4, "##a": 5, "aa": 6, "##aa": 7, "aaa": 8, "xa": 11
        }}
    }"###;

    #[test]
    fn the_text_chooses_and_the_lower_id_wins() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder_of(SMALL, place.path());
        let vocabulary = Vocabulary::read(&folder).unwrap();
        // No single character writes `x`; `[CLS]` and `[SEP]` frame, and `<new>` is added.
        let always: Vec<u32> = vocabulary.always.iter().copied().collect();
        assert_eq!(always, [0, 1, 2, 3, 4, 5, 9, 11]);
        let keep = |count, ids: &[u32]| {
            let text =
                Tokens { ids: ids.to_vec(), offsets: vec![0, ids.len()], ..Tokens::default() };
            vocabulary.clone().keep(count, &text, place.path().join("new")).unwrap()
        };
        assert_eq!(keep(9, &[8, 8, 7, 4, 999]).ids, [0, 1, 2, 3, 4, 5, 8, 9, 11]);
        assert_eq!(keep(9, &[7, 8]).ids, [0, 1, 2, 3, 4, 5, 7, 9, 11]);
        assert_eq!(keep(8, &[9, 4, 8, 8, 8]).facts, KeptFacts { tokens: 8, of: 11, share: 0.25 });
        let kept = keep(9, &[8, 8, 7]);
        kept.write().unwrap();
        let file = read_object(&place.path().join("new").join(TOKENIZER)).unwrap().unwrap();
        assert_eq!(file["post_processor"]["sep"], json!(["[SEP]", 2]));
        assert_eq!(file["added_tokens"][1]["id"], 7);
        assert_eq!(file["model"]["vocab"]["aaa"], 6);
        assert_eq!(file["padding"], Value::Null);
        assert_eq!(kept.gather(&[0.0; 24], 2), [0.0; 18]);
        let mut config = Map::from_iter([
            ("pad_token_id".to_owned(), json!(0)),
            ("eos_token_id".to_owned(), json!(9)),
            ("bos_token_id".to_owned(), json!(7)),
            ("sep_token_id".to_owned(), Value::Null),
        ]);
        kept.renumber_config(&mut config);
        assert_eq!(
            Value::from(config),
            json!({ "pad_token_id": 0, "eos_token_id": 7, "sep_token_id": null })
        );
    }

    #[test]
    fn all_files_with_ids_follow() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder_of(SMALL, place.path());
        let write = |name: &str, text: &str| fs::write(place.path().join(name), text).unwrap();
        write("vocab.txt", "[PAD]\n");
        write("merges.txt", "a a\n");
        write("special_tokens_map.json", r#"{"pad_token": "[PAD]"}"#);
        write("added_tokens.json", r#"{"<new>": 9, "aa": 6}"#);
        write("tokenizer_config.json", r#"{"added_tokens_decoder": {"9": {}, "6": {}, "x": {}}}"#);
        let output = place.path().join("new");
        let kept = Vocabulary::read(&folder).unwrap().keep(8, &Tokens::default(), output.clone());
        kept.unwrap().write().unwrap();
        let object = |name: &str| Value::from(read_object(&output.join(name)).unwrap().unwrap());
        assert_eq!(object("added_tokens.json"), json!({ "<new>": 6 }));
        assert_eq!(object("tokenizer_config.json"), json!({ "added_tokens_decoder": { "6": {} } }));
        assert_eq!(object("special_tokens_map.json"), json!({ "pad_token": "[PAD]" }));
        let lines = fs::read_to_string(output.join("vocab.txt")).unwrap();
        assert_eq!(lines, "[PAD]\n[CLS]\n[SEP]\n[UNK]\na\n##a\n<new>\nxa\n");
        assert!(!output.join("merges.txt").exists());
    }

    #[test]
    fn a_number_of_tokens_that_cannot_stay_is_refused_with_one_that_can() {
        let place = tempfile::tempdir().unwrap();
        let vocabulary = Vocabulary::read(&folder_of(SMALL, place.path())).unwrap();
        let few = vocabulary.check(7).unwrap_err();
        assert!(few.to_string().contains("`--vocabulary 7`: 8 tokens of `"), "{few}");
        assert_eq!(few.hint_text(), Some("--vocabulary 8, or more"));
        let many = vocabulary.check(12).unwrap_err();
        assert!(many.to_string().contains("has 11 tokens"), "{many}");
        assert_eq!(
            many.hint_text(),
            Some("leave it out to keep all, or give a number from 8 to 11")
        );
        assert!(vocabulary.check(8).is_ok() && vocabulary.check(11).is_ok());
    }

    #[test]
    fn tokenizers_that_cannot_lose_a_token_are_refused() {
        let place = tempfile::tempdir().unwrap();
        for (old, new, words) in [
            (SMALL, "", "is damaged"),
            (SMALL, "[1]", "is damaged"),
            (SMALL, "{}", "by what its `model` does not name"),
            ("WordPiece", "BPE", "cuts texts by BPE, whose tokens cannot"),
            (r#""aa": 6"#, r#""aa": -6"#, "has a `vocab` of unknown shape"),
            (r#""aa": 6"#, r#""aa": 4294967296"#, "has a `vocab` of unknown shape"),
            (r#""aa": 6"#, r#""aa": 7"#, "the same id 7"),
            (r#""aa": 6"#, r#""aa": 300"#, "`aa` the id 300, but the model has 300 rows"),
            (r#""id": 9"#, r#""id": 8"#, "has another id or token than 8 for `<new>`"),
            (r#""id": 0"#, r#""id": 10"#, "has another id or token than 10 for `[PAD]`"),
            (r#""id": 0, "content""#, r#""id": 0, "contents""#, "has `added_tokens` of unknown"),
            (r#""sep": ["[SEP]", 2]"#, r#""sep": ["[SEP]", 99]"#, "no token with the id 99"),
            ("BertProcessing", "Other", "has a `post_processor` of unknown shape"),
            (r#""sep": ["[SEP]", 2]"#, r#""sep": 2"#, "has a `post_processor` of unknown shape"),
        ] {
            let folder = folder_of(&SMALL.replace(old, new), place.path());
            let error = format!("{:?}", Vocabulary::read(&folder).unwrap_err());
            assert!(error.contains(words), "`{words}` is not in {error}");
        }
        for name in ["roberta_new", "mpnet_cls"] {
            let error = Vocabulary::read(&fixture(name)).unwrap_err();
            assert!(error.to_string().contains("cuts texts by BPE"), "{error}");
        }
    }

    #[test]
    fn positions_that_are_counted_from_the_padding_stay() {
        let place = tempfile::tempdir().unwrap();
        let folder = fixture("xlm_roberta_max");
        let (kept, _) = narrowed(&folder, some(&folder), place.path());
        assert_eq!(kept.new_id(folder.config.pad_token_id), Some(folder.config.pad_token_id));
        // A padding token far back would move, so everything in front of it stays.
        let mut odd = folder.clone();
        odd.config.pad_token_id = 100;
        let vocabulary = Vocabulary::read(&odd).unwrap();
        assert!((0..=100).all(|id| vocabulary.always.contains(&id)));
    }
}
