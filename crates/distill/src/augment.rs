//! More text out of little: copies of sentences in which some words are replaced by synonyms.
//!
//! Apart from everything that trains, because its outcome is a file, to be looked at before it is used: copies as
//! further `--sentences`, each with a target of its own (the teacher reads the copy, as in the code released with the
//! paper), or pairs for `--paraphrases`, where the student reads the copy and the target is the teacher's vector of
//! the original.
//!
//! WordNet knows words, not sentences, so what is unsure stays: a word that text shows as two parts of speech, one
//! within an expression (`hot dog`), a name, a form that letters do not tell (`inflection`), a synonym that usually
//! means something else. What is drawn is a function of the seed and the sentence, so order and number of the files
//! do not matter.
//!
//! `Records ─clean─> words ─replacements(WordNet)─> places with synonyms ─Random─> copies ─> TextFile`

mod inflection;

use std::path::PathBuf;

use hpd_files::records::{RecordOptions, Records, Source};
use hpd_files::text_file::TextFile;
use hpd_files::{Error, Fingerprint, Progress, Result, interrupt};
use serde::Serialize;

use crate::random::Random;
use crate::sentences::clean;
use crate::wordnet::{Entry, PartOfSpeech, WordNet};
use inflection::{Form, inflect, is_irregular_past, possible_bases};

/// How often a part of speech must have been met for each time the others were.
const SURE: usize = 4;
/// Shorter words are names of letters and chemical elements more often than words.
const SHORTEST: usize = 3;

/// Words that build sentences rather than mean something, though WordNet has senses for many.
const STOP_WORDS: &str = "\
    about above across after again against ago all almost alone along already also although always among and \
    another any anybody anyone anything are around away back because been before behind being below between both \
    but came can cannot could did does doing done down during each either else enough even ever every everyone \
    everything except few first for from front further get gets getting going gone got had has have having her \
    here hers herself him himself his how however into its itself just last least less like lot lots made many \
    may maybe might mine more most much must myself near neither never next nobody none nor not nothing now off \
    often once one only onto other others our ours ourselves out outside over own per perhaps quite rather same \
    several shall she should since some somebody someone something sometimes somewhere still such than that the \
    their theirs them themselves then there these they thing things this those though through thus till today \
    together too toward towards two three four five six seven eight nine ten under unless until upon use used \
    using usually very was way ways well went were what whatever when where whether which while who whole whom \
    whose why will with within without would yes yet you your yours yourself";

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct AugmentOptions {
    /// Share of a sentence's words that is replaced, at least one.
    pub share: f64,
    /// Copies of each sentence; fewer where words and synonyms are few.
    pub copies: usize,
    /// Where the draws come from.
    pub seed: u64,
}

impl Default for AugmentOptions {
    fn default() -> Self {
        Self { share: 0.15, copies: 1, seed: 1 }
    }
}

/// Replaces words by synonyms.
#[derive(Debug)]
pub struct Augmenter {
    wordnet: WordNet,
    options: AugmentOptions,
}

/// What becomes of the copies of a file.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of WordNet's database.
    pub wordnet: PathBuf,
    /// The sentences.
    pub input: Vec<Source>,
    /// How they are read.
    pub records: RecordOptions,
    /// The file to write, packed when it ends in `.gz`.
    pub output: PathBuf,
    /// Writes each sentence before its copies, tab-separated under a header, instead of a copy a line.
    pub pairs: bool,
    /// What is drawn.
    pub options: AugmentOptions,
}

/// What became of the sentences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Sentences read.
    pub sentences: usize,
    /// Copies written.
    pub copies: usize,
    /// Sentences without a word that can be replaced.
    pub unchanged: usize,
    /// Records that could not be read and were skipped.
    pub bad: u64,
}

/// Writes copies of all sentences.
///
/// # Errors
/// When WordNet or a record cannot be read, an option is out of bounds, the output cannot be written, or the
/// user interrupts; the output is then not there.
///
/// # Cost
/// Memory for WordNet and one sentence.
pub fn write(settings: &Settings, progress: &dyn Progress) -> Result<Counts> {
    let augmenter = Augmenter::new(WordNet::open(&settings.wordnet)?, settings.options)?;
    let mut records = Records::open_all(&settings.input, &settings.records)?;
    let mut file = TextFile::create(&settings.output)?;
    if settings.pairs {
        file.line(&header(settings.options.copies))?;
    }
    let mut counts = Counts::default();
    progress.stage("replacing words", None);
    for record in records.by_ref() {
        let mut sentence = String::new();
        clean(&record?.text, &mut sentence);
        let copies = augmenter.copies(&sentence)?;
        counts.sentences += 1;
        counts.copies += copies.len();
        counts.unchanged += usize::from(copies.is_empty());
        write_copies(&mut file, settings, sentence, copies)?;
        if counts.sentences.is_multiple_of(4096) {
            progress.advance(4096);
            interrupt::check("nothing was written")?;
        }
    }
    counts.bad = records.bad();
    file.commit()?;
    Ok(counts)
}

fn header(copies: usize) -> String {
    let names = (1..=copies).map(|i| format!("\tparaphrase{i}"));
    "sentence".to_owned() + &names.collect::<String>()
}

fn write_copies(
    file: &mut TextFile,
    settings: &Settings,
    sentence: String,
    mut copies: Vec<String>,
) -> Result<()> {
    if !settings.pairs {
        return copies.iter().try_for_each(|copy| file.line(copy));
    }
    if copies.is_empty() {
        return Ok(());
    }
    // Every row has as many fields as the header.
    copies.resize(settings.options.copies, String::new());
    copies.insert(0, sentence);
    file.line(&copies.join("\t"))
}

/// A word that may be replaced.
#[derive(Debug)]
struct Place {
    /// Which word it is.
    word: usize,
    /// What it may become, as it would be written there.
    synonyms: Vec<String>,
}

impl Augmenter {
    /// Of a database.
    ///
    /// # Errors
    /// When the share is not above 0 and at most 1, or no copies are asked for.
    pub fn new(wordnet: WordNet, options: AugmentOptions) -> Result<Self> {
        let AugmentOptions { share, copies, .. } = options;
        if !(share > 0.0 && share <= 1.0) {
            return Err(Error::input(format!(
                "the share of words to replace is {share}, must be above 0 and at most 1"
            ))
            .hint("--share 0.15"));
        }
        if copies == 0 {
            return Err(
                Error::input("0 copies of each sentence, must be at least 1").hint("--copies 1")
            );
        }
        Ok(Self { wordnet, options })
    }

    /// Copies of a sentence with single spaces, all different from it and from each other.
    ///
    /// # Errors
    /// When WordNet's files do not belong together.
    pub fn copies(&self, sentence: &str) -> Result<Vec<String>> {
        const AUGMENT: u64 = 0xa6;
        let words: Vec<Word<'_>> = words(sentence);
        let places = self.places(&words)?;
        let goal = (self.options.share * words.len() as f64).round().max(1.0) as usize;
        let of_sentence = Fingerprint::of(sentence.as_bytes()).leading();
        let mut copies: Vec<String> = Vec::new();
        for copy in 0..self.options.copies as u64 {
            let mut random = Random::new(self.options.seed, &[AUGMENT, of_sentence, copy]);
            let copy = draw(&words, &places, goal, &mut random);
            if copy != sentence && !copies.contains(&copy) {
                copies.push(copy);
            }
        }
        Ok(copies)
    }

    fn places(&self, words: &[Word<'_>]) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        for (i, word) in words.iter().enumerate() {
            let next = words.get(i + 1);
            let before = i.checked_sub(1).and_then(|i| words.get(i));
            let is_apart =
                !self.is_expression(Some(word), next) && !self.is_expression(before, Some(word));
            if !is_apart || !word.is_plain(before) {
                continue;
            }
            let mut synonyms = self.replacements(&word.lower)?;
            if let Some(article) = before.map(|before| before.lower.as_str()) {
                synonyms.retain(|synonym| suits_article(article, synonym));
            }
            if !synonyms.is_empty() {
                places.push(Place { word: i, synonyms });
            }
        }
        Ok(places)
    }

    /// Whether two words in a row are one word of WordNet's, such as `hot dogs`.
    fn is_expression(&self, first: Option<&Word<'_>>, second: Option<&Word<'_>>) -> bool {
        let (Some(first), Some(second)) = (first, second) else { return false };
        let both = format!("{}_{}", first.lower, second.lower);
        first.after.is_empty()
            && second.before.is_empty()
            && (self.wordnet.has(&both)
                || both.strip_suffix('s').is_some_and(|both| self.wordnet.has(both)))
    }

    /// What may stand for `word`, in its form.
    fn replacements(&self, word: &str) -> Result<Vec<String>> {
        if word.len() < SHORTEST || STOP_WORDS.split(' ').any(|stop| stop == word) {
            return Ok(Vec::new());
        }
        let Some((base, form, entry)) = self.sure_reading(word) else { return Ok(Vec::new()) };
        if form == Form::Base && is_irregular_past(word) {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for synonym in self.wordnet.synonyms(entry)? {
            // Capital letters are names and Latin, and a word that first means something else would mean that.
            let is_plain =
                synonym.bytes().all(|byte| byte.is_ascii_lowercase() || b"_-".contains(&byte));
            if !is_plain || synonym == base || !self.wordnet.is_first_sense(&synonym, entry) {
                continue;
            }
            // A verb of several words may take its object in between: `pick up`.
            if entry.part == PartOfSpeech::Verb && synonym.contains('_') {
                continue;
            }
            found.extend(self.inflected(&synonym.replace('_', " "), entry.part, form));
        }
        found.retain(|synonym| synonym != word);
        Ok(found)
    }

    /// The one way to read `word`, if text shows hardly another.
    fn sure_reading(&self, word: &str) -> Option<(String, Form, Entry)> {
        let readings = self.readings(word);
        let met: usize = readings.iter().map(|reading| reading.2.senses_met).sum();
        let is_sure = |reading: &&(String, Form, Entry)| {
            let senses = reading.2.senses_met;
            readings.len() == 1 || senses > 0 && senses >= SURE * (met - senses)
        };
        let (base, form, entry) = readings.iter().find(is_sure)?;
        // `covered`, `walking`: what describes may as well be done.
        let is_participle = *form == Form::Base
            && entry.part != PartOfSpeech::Verb
            && (word.ends_with("ed") || word.ends_with("ing"));
        (!is_participle).then(|| (base.clone(), *form, *entry))
    }

    fn readings(&self, word: &str) -> Vec<(String, Form, Entry)> {
        use PartOfSpeech::{Noun, Verb};
        let mut found: Vec<_> =
            self.wordnet.entries(word).map(|entry| (word.to_owned(), Form::Base, entry)).collect();
        let mut add = |base: &str, form, part| {
            let entry = self.wordnet.entries(base).find(|entry| entry.part == part);
            found.extend(entry.map(|entry| (base.to_owned(), form, entry)));
        };
        for (form, part) in [
            (Form::Plural, Noun),
            (Form::ThirdPerson, Verb),
            (Form::Past, Verb),
            (Form::Gerund, Verb),
        ] {
            possible_bases(word, form).iter().for_each(|base| add(base, form, part));
        }
        self.wordnet.bases(word, Noun).iter().for_each(|base| add(base, Form::Plural, Noun));
        // `ran` and `given` alike: the `-ed` of a regular synonym is past and participle.
        let form = if word.ends_with("ing") { Form::Gerund } else { Form::Past };
        self.wordnet.bases(word, Verb).iter().for_each(|base| add(base, form, Verb));
        found.dedup();
        found
    }

    /// A base form in another form, by WordNet's exceptions or else by rule.
    fn inflected(&self, base: &str, part: PartOfSpeech, form: Form) -> Option<String> {
        let forms = self.wordnet.forms(base, part);
        let with = |ending: &str| {
            forms.iter().find(|form| form.ends_with(ending)).map(ToString::to_string)
        };
        match form {
            Form::Base | Form::ThirdPerson => inflect(base, form),
            Form::Plural => match forms {
                [] => inflect(base, form),
                [one] => Some(one.to_string()),
                _ => None,
            },
            Form::Past if forms.is_empty() => inflect(base, form),
            Form::Past => with("ed"),
            Form::Gerund => with("ing").or_else(|| inflect(base, form)),
        }
    }
}

fn draw(words: &[Word<'_>], places: &[Place], goal: usize, random: &mut Random) -> String {
    let mut order: Vec<usize> = (0..places.len()).collect();
    random.shuffle(&mut order);
    let mut written: Vec<String> = words.iter().map(|word| word.as_written.to_owned()).collect();
    for &place in order.iter().take(goal) {
        let Place { word, synonyms } = &places[place];
        written[*word] = words[*word].replaced_by(&synonyms[random.below(synonyms.len())]);
    }
    written.join(" ")
}

/// What stands between two spaces.
#[derive(Debug)]
struct Word<'a> {
    as_written: &'a str,
    /// Marks in front.
    before: &'a str,
    core: &'a str,
    /// Marks behind.
    after: &'a str,
    lower: String,
}

fn words(sentence: &str) -> Vec<Word<'_>> {
    sentence.split(' ').map(Word::new).collect()
}

impl<'a> Word<'a> {
    fn new(as_written: &'a str) -> Self {
        let core = as_written.trim_matches(|c: char| !c.is_alphanumeric());
        let start = as_written.find(core).unwrap_or(0);
        Self {
            as_written,
            before: &as_written[..start],
            core,
            after: &as_written[start + core.len()..],
            lower: core.to_lowercase(),
        }
    }

    /// Whether it is letters alone and no name, as far as its capitals tell behind the word `before`.
    fn is_plain(&self, before: Option<&Self>) -> bool {
        let begins = before.is_none_or(|before| before.after.contains(['.', '!', '?', ':']));
        let core = if begins { self.core.get(1..).unwrap_or_default() } else { self.core };
        !core.is_empty()
            && self.core.bytes().all(|byte| byte.is_ascii_alphabetic())
            && core.bytes().all(|byte| byte.is_ascii_lowercase())
    }

    /// `synonym` with the marks and the first capital of this word.
    fn replaced_by(&self, synonym: &str) -> String {
        let mut synonym = synonym.to_owned();
        if self.core.starts_with(|first: char| first.is_ascii_uppercase())
            && let Some(first) = synonym.get_mut(..1)
        {
            first.make_ascii_uppercase();
        }
        format!("{}{synonym}{}", self.before, self.after)
    }
}

/// Whether `word` may follow `a` or `an`, by its first letters; after any other word it may.
fn suits_article(article: &str, word: &str) -> bool {
    let starts = |starts: &[&str]| starts.iter().any(|start| word.starts_with(start));
    match article {
        "a" => !starts(&["a", "e", "i", "o", "u", "hour", "hono", "hones", "heir"]),
        "an" => starts(&["a", "e", "i", "o"]) && !starts(&["eu", "ew", "one", "once"]),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use hpd_files::Silent;
    use proptest::prelude::*;

    use super::*;
    use crate::wordnet::tests::write as write_wordnet;

    const SENSES: [(PartOfSpeech, &[(&str, usize)]); 15] = [
        (
            PartOfSpeech::Noun,
            &[("car", 2), ("auto", 1), ("automobile", 1), ("machine", 1), ("Felis_auto", 0)],
        ),
        (PartOfSpeech::Noun, &[("film", 1), ("movie", 1), ("motion_picture", 1)]),
        (PartOfSpeech::Noun, &[("doctor", 6), ("physician", 1)]),
        (PartOfSpeech::Noun, &[("guard", 3), ("sentry", 0)]),
        (PartOfSpeech::Noun, &[("hot_dog", 0), ("frank", 0)]),
        (PartOfSpeech::Noun, &[("dog", 4), ("hound", 1)]),
        (PartOfSpeech::Noun, &[("thief", 1), ("stealer", 0)]),
        (PartOfSpeech::Noun, &[("saw", 1), ("adage", 0)]),
        (PartOfSpeech::Verb, &[("guard", 3), ("ward", 0)]),
        (PartOfSpeech::Verb, &[("buy", 3), ("purchase", 1)]),
        (PartOfSpeech::Verb, &[("assist", 1), ("help", 3), ("bear_up", 1)]),
        (PartOfSpeech::Verb, &[("doctor", 1), ("sophisticate", 1)]),
        (PartOfSpeech::Adjective, &[("big", 5), ("large", 4), ("bigish(p)", 1)]),
        (PartOfSpeech::Verb, &[("steal", 3), ("thieve", 1)]),
        (PartOfSpeech::Adjective, &[("hot", 5), ("torrid", 4)]),
    ];

    fn augmenter(options: AugmentOptions) -> Augmenter {
        let folder = tempfile::tempdir().unwrap();
        let mut senses = SENSES.to_vec();
        // Its most frequent sense is another, and it comes first.
        senses.insert(0, (PartOfSpeech::Noun, &[("machine", 3)]));
        write_wordnet(folder.path(), &senses);
        Augmenter::new(WordNet::open(folder.path()).unwrap(), options).unwrap()
    }

    /// All that can become of a sentence.
    fn all(sentence: &str) -> Vec<String> {
        let options = AugmentOptions { share: 1.0, copies: 60, seed: 3 };
        let mut copies = augmenter(options).copies(sentence).unwrap();
        copies.sort_unstable();
        copies
    }

    #[test]
    fn words_become_synonyms_of_their_first_sense_in_their_form() {
        assert_eq!(all("The car."), ["The auto.", "The automobile."]);
        // Letters do not tell how `auto` ends.
        assert_eq!(all("(Cars!)"), ["(Automobiles!)"]);
        assert_eq!(all("two films, one"), ["two motion pictures, one", "two movies, one"]);
        assert_eq!(all("She helped her."), ["She assisted her."]);
        assert_eq!(all("Helping us."), ["Assisting us."]);
        // A doctor is met six times as often as doctoring.
        assert_eq!(all("her doctor"), ["her physician"]);
    }

    #[test]
    fn what_is_unsure_stays() {
        for sentence in [
            "",
            "the guard",          // or to guard
            "They purchased it.", // bought
            "hot dogs",           // neither hot nor dogs
            "my Dog",             // a name
            "DOG",                // shouted
            "car's car-like c4r",
            "dög",
        ] {
            assert!(all(sentence).is_empty(), "{sentence}");
        }
        assert!(all("a car").is_empty(), "a auto");
        assert_eq!(all("an auto"), ["an automobile"]);
    }

    #[test]
    fn as_many_words_change_as_were_asked_for_and_seeds_decide_which() {
        let sentence = "The doctor saw a big dog near my car and his film";
        let copies = |seed, share, copies| {
            augmenter(AugmentOptions { share, copies, seed }).copies(sentence).unwrap()
        };
        let changed = |copy: &str| {
            let pairs = copy.split(' ').zip(sentence.split(' '));
            pairs.filter(|(a, b)| a != b).count()
        };
        let some = copies(1, 0.2, 5);
        assert!(some.len() > 2 && !some.contains(&sentence.to_owned()));
        assert_eq!(some, copies(1, 0.2, 5));
        assert_ne!(some, copies(2, 0.2, 5));
        assert_eq!(copies(1, 0.2, 2), copies(1, 0.2, 5)[..2]);
        let one = copies(1, 0.05, 1);
        assert_eq!(changed(&one[0].replace("motion picture", "film2")), 1, "{one:?}");
    }

    #[test]
    fn copies_alone_are_text_and_with_their_sentences_a_table() {
        let folder = tempfile::tempdir().unwrap();
        write_wordnet(folder.path(), &SENSES);
        let input = folder.path().join("in.txt");
        std::fs::write(&input, "A  big\tfilm.\nnone\n\nThe dog\n").unwrap();
        let mut settings = Settings {
            wordnet: folder.path().to_owned(),
            input: vec![Source::File(input)],
            records: RecordOptions::default(),
            output: folder.path().join("out.tsv"),
            pairs: true,
            options: AugmentOptions { share: 0.1, copies: 2, seed: 5 },
        };
        let read = |settings: &Settings| std::fs::read_to_string(&settings.output).unwrap();
        let counts = write(&settings, &Silent).unwrap();
        let text = read(&settings);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "sentence\tparaphrase1\tparaphrase2");
        assert!(lines[1].starts_with("A big film.\tA "), "{text}");
        assert_eq!(lines[2], "The dog\tThe hound\t");
        assert_eq!((lines.len(), counts.sentences, counts.unchanged), (3, 4, 2));
        settings.pairs = false;
        assert_eq!(write(&settings, &Silent).unwrap(), counts);
        assert_eq!(read(&settings).lines().count(), counts.copies);
        settings.options.share = f64::NAN;
        assert!(write(&settings, &Silent).unwrap_err().to_string().contains("must be above 0"));
    }

    proptest! {
        #[test]
        fn any_text_is_taken_and_its_other_words_stay(text in "(\\PC|car| |dogs|big|é|\u{301}|A ){0,30}") {
            let mut cleaned = String::new();
            clean(&text, &mut cleaned);
            let augmenter = augmenter(AugmentOptions { share: 0.3, copies: 2, seed: 1 });
            for copy in augmenter.copies(&cleaned).unwrap() {
                prop_assert!(copy.split(' ').count() >= cleaned.split(' ').count());
            }
        }
    }
}
