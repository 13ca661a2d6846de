//! The sentences of a distillation: read, cleaned, each kept once, some held back, fingerprinted.
//!
//! Separate from teacher and training because everything after it only needs three things of a sentence:
//! its number, its text and whether it is held back. Data passes `files → Records → clean → distinct →
//! held back | training`, and stays in one string with offsets, so that millions of sentences cost little
//! more than their bytes.
//!
//! Which sentences are held back, and which are taken under a limit, is decided by a hash of the sentence
//! and the seed: the order of the files does not matter, the held-back set is the same for every limit, and
//! a larger limit contains the smaller one.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use hpd_files::fingerprint::Fingerprinter;
use hpd_files::records::{RecordOptions, Records, Source};
use hpd_files::{Error, Fingerprint, Progress, Result, interrupt};
use serde::{Deserialize, Serialize};

/// A file of sentences and how often an epoch sees them.
#[derive(Clone, Debug, PartialEq)]
pub struct SentenceFile {
    /// Text lines, `.jsonl`, `.csv`, `.tsv` or `.parquet`, each gzipped or not.
    pub path: PathBuf,
    /// Below 1 the share of the file's sentences that is drawn, once and for all epochs, so that the teacher
    /// embeds no sentence in vain; from 1 on how often an epoch sees each of them.
    pub weight: f64,
}

impl SentenceFile {
    /// Reads `PATH` or `PATH@WEIGHT`; a path that exists with the `@` in its name wins.
    ///
    /// # Errors
    /// When the weight is not a number above 0 and at most 100.
    pub fn parse(text: &str) -> Result<Self> {
        let whole = Self { path: PathBuf::from(text), weight: 1.0 };
        let Some((path, weight)) = text.rsplit_once('@') else { return Ok(whole) };
        let number = weight.parse::<f64>();
        if whole.path.exists() || (number.is_err() && !Path::new(path).exists()) {
            return Ok(whole);
        }
        match number {
            Ok(weight) if weight > 0.0 && weight <= 100.0 => {
                Ok(Self { path: PathBuf::from(path), weight })
            }
            _ => Err(Error::input(format!(
                "weight of `{path}`: expected a number above 0 and at most 100, found `{weight}`"
            ))
            .hint(format!("{path}@0.5"))),
        }
    }
}

/// Keeps the draw of a file's share apart from the draw that holds sentences back.
const SHARE: u64 = 0x5a4e;

/// What counts as a sentence and how many are taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SentenceOptions {
    /// Shorter sentences are left out; in characters, after cleaning.
    pub min_characters: usize,
    /// Longer sentences are left out; in characters, after cleaning.
    pub max_characters: usize,
    /// Sentences held back from training.
    pub dev: usize,
    /// At most so many training sentences, drawn over all files.
    pub limit: Option<usize>,
    /// Decides which are held back and which are drawn.
    pub seed: u64,
    /// Field of the text in files that have fields.
    pub text_field: String,
    /// Counts bad records and goes on instead of failing at the first.
    pub skip_bad: bool,
}

impl Default for SentenceOptions {
    fn default() -> Self {
        Self {
            min_characters: 1,
            max_characters: 2000,
            dev: 1000,
            limit: None,
            seed: 0,
            text_field: RecordOptions::default().text_field,
            skip_bad: false,
        }
    }
}

/// What became of the records of one file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Times that one epoch sees each of its training sentences.
    pub weight: f64,
    /// Records in the file: the sum of the counts from `bad` to `kept`.
    pub records: usize,
    /// Records that could not be read and were skipped.
    pub bad: usize,
    /// Without a letter or digit.
    pub empty: usize,
    /// Left out because the weight of the file is below 1.
    pub not_drawn: usize,
    /// Shorter than the minimum.
    pub too_short: usize,
    /// Longer than the maximum.
    pub too_long: usize,
    /// The same letters and digits, case aside, as an earlier sentence of this or an earlier file.
    pub duplicates: usize,
    /// Distinct sentences.
    pub kept: usize,
    /// Those of the kept that the limit left out.
    pub beyond_limit: usize,
    #[serde(skip)]
    rows: Range<usize>,
}

/// Distinct sentences in file order, and which of them are held back.
///
/// # Cost
/// The bytes of the text and 24 bytes a sentence; while reading, another 40.
#[derive(Debug)]
pub struct Sentences {
    texts: Texts,
    /// Record number over all files, before cleaning.
    source_rows: Vec<usize>,
    training: Vec<u32>,
    held_back: Vec<u32>,
    files: Vec<FileReport>,
    records: Fingerprint,
    fingerprint: Fingerprint,
}

impl Sentences {
    /// Reads `files` in their order.
    ///
    /// # Errors
    /// When a file cannot be read, holds a bad record (with its line), nothing is left, or more is to be held
    /// back than there is.
    pub fn read(
        files: &[SentenceFile],
        options: &SentenceOptions,
        progress: &dyn Progress,
    ) -> Result<Self> {
        progress.stage("reading sentences", None);
        let mut reader = Reader::new(options);
        for file in files {
            reader.read_file(file, progress)?;
        }
        reader.finish()
    }

    /// How many there are, held back or not.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Never true of sentences that were read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sentence `i`.
    pub fn get(&self, i: usize) -> &str {
        self.texts.get(i)
    }

    /// The number of the record, over all files and before cleaning, that sentence `i` came from.
    pub fn source_row(&self, i: usize) -> usize {
        self.source_rows[i]
    }

    /// Records in all files, before cleaning.
    pub fn records(&self) -> usize {
        self.files.iter().map(|file| file.records).sum()
    }

    /// Numbers of the training sentences, ascending.
    pub fn training(&self) -> &[u32] {
        &self.training
    }

    /// Numbers of the sentences held back from training, ascending.
    pub fn held_back(&self) -> &[u32] {
        &self.held_back
    }

    /// What became of each file.
    pub fn files(&self) -> &[FileReport] {
        &self.files
    }

    /// Names the kept sentences and their order, not which of them are held back.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Names the texts of all records and their order, before cleaning: what a file of vectors belongs to.
    pub fn records_fingerprint(&self) -> Fingerprint {
        self.records
    }

    /// At most `count` training sentences, the same for the same seed, ascending.
    pub fn sample(&self, count: usize, seed: u64) -> Vec<u32> {
        let mut drawn = shuffled(&self.training, seed);
        drawn.truncate(count);
        drawn.sort_unstable();
        drawn
    }

    /// The training sentences that epoch `epoch` sees, as often as the weight of their file says, in no useful
    /// order. Of a file with a weight that is not whole, the epochs take turns, so that none is left out for long.
    pub fn epoch(&self, epoch: usize, seed: u64) -> Vec<u32> {
        let mut rows = Vec::with_capacity(self.training.len());
        for file in &self.files {
            let of_file = &self.training[self.training_of(file)];
            if file.weight <= 1.0 || of_file.is_empty() {
                rows.extend_from_slice(of_file);
                continue;
            }
            let share = (of_file.len() as f64 * file.weight).round() as usize;
            let order = shuffled(of_file, seed);
            rows.extend((0..share).map(|k| order[(epoch * share + k) % order.len()]));
        }
        rows
    }

    fn training_of(&self, file: &FileReport) -> Range<usize> {
        let place = |row: usize| self.training.partition_point(|&i| (i as usize) < row);
        place(file.rows.start)..place(file.rows.end)
    }
}

/// `rows` in an order that the seed and the number of the row decide, not their place.
fn shuffled(rows: &[u32], seed: u64) -> Vec<u32> {
    let mut drawn: Vec<_> = rows.iter().map(|&row| (draw(seed, &row.to_le_bytes()), row)).collect();
    drawn.sort_unstable();
    drawn.into_iter().map(|(_, row)| row).collect()
}

/// Many texts in one string.
#[derive(Debug, Default)]
struct Texts {
    bytes: String,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, i: usize) -> &str {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start..self.ends[i]]
    }

    fn fingerprint(&self) -> Fingerprint {
        let mut all = Fingerprinter::new();
        for i in 0..self.len() {
            all.add_part(self.get(i).as_bytes());
        }
        all.finish()
    }
}

/// Texts that are numbered as they come, the same text with the same number.
#[derive(Debug, Default)]
pub struct DistinctTexts {
    texts: Texts,
    /// By their letters and digits.
    numbers: HashMap<Fingerprint, u32>,
    cleaned: String,
    letters: String,
}

impl DistinctTexts {
    /// Whether `text` has a letter or digit and is no longer than a sentence may be.
    pub fn takes(text: &str) -> bool {
        let mut cleaned = String::new();
        clean(text, &mut cleaned);
        cleaned.contains(char::is_alphanumeric)
            && cleaned.chars().count() <= SentenceOptions::default().max_characters
    }

    /// The number of `text`; `None` for one that it does not take, see [`DistinctTexts::takes`].
    pub fn add(&mut self, text: &str) -> Option<u32> {
        if !Self::takes(text) {
            return None;
        }
        clean(text, &mut self.cleaned);
        letters_and_digits(&self.cleaned, &mut self.letters);
        let next = self.texts.len() as u32;
        let letters = Fingerprint::of(self.letters.as_bytes());
        let number = *self.numbers.entry(letters).or_insert(next);
        if number == next {
            self.texts.push(&self.cleaned);
        }
        Some(number)
    }

    /// All of them as sentences to train on.
    pub fn finish(self) -> Sentences {
        let records = self.texts.fingerprint();
        Sentences {
            source_rows: (0..self.texts.len()).collect(),
            training: (0..self.texts.len() as u32).collect(),
            held_back: Vec::new(),
            files: Vec::new(),
            records,
            fingerprint: records,
            texts: self.texts,
        }
    }
}

/// Sentences on their way in.
struct Reader<'a> {
    options: &'a SentenceOptions,
    texts: Texts,
    source_rows: Vec<usize>,
    /// What decides over sentence i: the smallest are held back, the next are drawn.
    draws: Vec<Fingerprint>,
    seen: HashSet<Fingerprint>,
    records: Fingerprinter,
    record_count: usize,
    files: Vec<FileReport>,
    cleaned: String,
    letters: String,
}

impl<'a> Reader<'a> {
    fn new(options: &'a SentenceOptions) -> Self {
        Self {
            options,
            texts: Texts::default(),
            source_rows: Vec::new(),
            draws: Vec::new(),
            seen: HashSet::new(),
            records: Fingerprinter::new(),
            record_count: 0,
            files: Vec::new(),
            cleaned: String::new(),
            letters: String::new(),
        }
    }

    fn read_file(&mut self, file: &SentenceFile, progress: &dyn Progress) -> Result<()> {
        let options = RecordOptions {
            text_field: self.options.text_field.clone(),
            skip_bad: self.options.skip_bad,
            ..RecordOptions::default()
        };
        let mut records = Records::open(&Source::File(file.path.clone()), &options)?;
        let mut report = FileReport::new(file, self.texts.len());
        let mut good = 0;
        while let Some(record) = records.next() {
            // Bad records count, so that row i of a file of vectors stays with line i.
            let row = self.record_count + good + records.bad() as usize;
            self.add(&record?.text, row, &mut report);
            good += 1;
            if good.is_multiple_of(4096) {
                progress.advance(4096);
                interrupt::check("nothing was written yet")?;
            }
        }
        report.bad = records.bad() as usize;
        report.records = good + report.bad;
        report.rows.end = self.texts.len();
        self.record_count += report.records;
        self.files.push(report);
        Ok(())
    }

    fn add(&mut self, text: &str, row: usize, report: &mut FileReport) {
        self.records.add_part(text.as_bytes());
        clean(text, &mut self.cleaned);
        letters_and_digits(&self.cleaned, &mut self.letters);
        let characters = self.cleaned.chars().count();
        let count = if self.letters.is_empty() {
            &mut report.empty
        } else if report.weight < 1.0 && !self.is_drawn(report.weight) {
            &mut report.not_drawn
        } else if characters < self.options.min_characters {
            &mut report.too_short
        } else if characters > self.options.max_characters {
            &mut report.too_long
        } else if !self.seen.insert(Fingerprint::of(self.letters.as_bytes())) {
            &mut report.duplicates
        } else {
            self.texts.push(&self.cleaned);
            self.source_rows.push(row);
            self.draws.push(draw(self.options.seed, self.letters.as_bytes()));
            &mut report.kept
        };
        *count += 1;
    }

    /// Whether the sentence at hand is among the share `weight` of its file; not by the draw that holds back.
    fn is_drawn(&self, weight: f64) -> bool {
        let draw = draw(self.options.seed ^ SHARE, self.letters.as_bytes());
        (draw.leading() as f64) < weight * 2f64.powi(64)
    }

    fn finish(mut self) -> Result<Sentences> {
        self.check()?;
        self.draw_under_limit();
        let (training, held_back) = split(&self.draws, self.options.dev);
        Ok(Sentences {
            fingerprint: self.texts.fingerprint(),
            records: self.records.finish(),
            texts: self.texts,
            source_rows: self.source_rows,
            training,
            held_back,
            files: self.files,
        })
    }

    fn check(&self) -> Result<()> {
        let (kept, dev) = (self.texts.len(), self.options.dev);
        if kept == 0 {
            return Err(Error::input(format!(
                "no sentence left of {}: {}",
                names(&self.files),
                what_became(&self.files)
            )));
        }
        if kept > u32::MAX as usize {
            return Err(Error::input(format!("{kept} sentences; at most {} are taken", u32::MAX)));
        }
        if self.options.limit == Some(0) {
            return Err(
                Error::input("a limit of 0 leaves nothing to train on").hint("--limit 1000")
            );
        }
        if dev >= kept {
            return Err(Error::input(format!(
                "cannot hold back {dev} sentences: there are {kept} distinct ones, and training needs one"
            ))
            .hint(format!("--held-back {}", kept / 10)));
        }
        Ok(())
    }

    /// Keeps the sentences with the smallest draws: those to hold back and `limit` for training.
    fn draw_under_limit(&mut self) {
        let Some(limit) = self.options.limit else { return };
        let taken = self.options.dev.saturating_add(limit);
        let Some(border) = smallest_left_out(&self.draws, taken) else { return };
        let all = std::mem::take(&mut self.texts);
        let mut rows = 0..0;
        for file in &mut self.files {
            rows.start = self.texts.len();
            for i in file.rows.clone().filter(|&i| self.draws[i] < border) {
                self.source_rows[self.texts.len()] = self.source_rows[i];
                self.texts.push(all.get(i));
            }
            rows.end = self.texts.len();
            file.beyond_limit = file.rows.len() - rows.len();
            file.rows = rows.clone();
        }
        self.source_rows.truncate(rows.end);
        self.draws.retain(|draw| *draw < border);
    }
}

impl FileReport {
    fn new(file: &SentenceFile, first: usize) -> Self {
        Self {
            path: file.path.clone(),
            weight: file.weight,
            records: 0,
            bad: 0,
            empty: 0,
            not_drawn: 0,
            too_short: 0,
            too_long: 0,
            duplicates: 0,
            kept: 0,
            beyond_limit: 0,
            rows: first..first,
        }
    }
}

impl fmt::Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} of {} records",
            self.path.display(),
            self.kept - self.beyond_limit,
            self.records
        )?;
        for (count, what) in [
            (self.bad, "bad"),
            (self.empty, "empty"),
            (self.not_drawn, "not drawn"),
            (self.too_short, "too short"),
            (self.too_long, "too long"),
            (self.duplicates, "duplicates"),
            (self.beyond_limit, "beyond the limit"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// One space for each run of white space, none at the ends, no control characters.
pub(crate) fn clean(text: &str, cleaned: &mut String) {
    cleaned.clear();
    let mut space = false;
    for character in text.chars() {
        if character.is_whitespace() {
            space = !cleaned.is_empty();
        } else if !character.is_control() {
            if std::mem::take(&mut space) {
                cleaned.push(' ');
            }
            cleaned.push(character);
        }
    }
}

/// What two sentences must share to count as one.
pub(crate) fn letters_and_digits(text: &str, letters: &mut String) {
    letters.clear();
    letters.extend(text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase));
}

fn draw(seed: u64, bytes: &[u8]) -> Fingerprint {
    Fingerprinter::new().add(&seed.to_le_bytes()).add(bytes).finish()
}

/// The draw from which on sentences are left out when `taken` are to stay, or `None` when all do.
fn smallest_left_out(draws: &[Fingerprint], taken: usize) -> Option<Fingerprint> {
    let mut draws = draws.to_vec();
    (taken < draws.len()).then(|| *draws.select_nth_unstable(taken).1)
}

/// Numbers of (training, held back) sentences: the `dev` smallest draws are held back.
fn split(draws: &[Fingerprint], dev: usize) -> (Vec<u32>, Vec<u32>) {
    let border = smallest_left_out(draws, dev);
    (0..draws.len() as u32).partition(|&i| border.is_some_and(|border| draws[i as usize] >= border))
}

fn names(files: &[FileReport]) -> String {
    let names: Vec<_> = files.iter().map(|file| format!("`{}`", file.path.display())).collect();
    names.join(", ")
}

fn what_became(files: &[FileReport]) -> String {
    let sum = |count: fn(&FileReport) -> usize| files.iter().map(count).sum::<usize>();
    format!(
        "{} records, of which {} empty, {} too short, {} too long, {} bad",
        sum(|file| file.records),
        sum(|file| file.empty),
        sum(|file| file.too_short),
        sum(|file| file.too_long),
        sum(|file| file.bad)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use hpd_files::Silent;
    use proptest::prelude::*;

    use super::*;

    fn options(dev: usize) -> SentenceOptions {
        SentenceOptions { dev, ..SentenceOptions::default() }
    }

    /// Reads the given texts as files in a folder of their own.
    fn read(files: &[(&str, f64)], options: &SentenceOptions) -> Result<Sentences> {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<SentenceFile> = files
            .iter()
            .enumerate()
            .map(|(i, (text, weight))| {
                let path = folder.path().join(format!("{i}.txt"));
                fs::write(&path, text).unwrap();
                SentenceFile { path, weight: *weight }
            })
            .collect();
        Sentences::read(&files, options, &Silent)
    }

    fn numbered(range: Range<usize>) -> String {
        range.map(|i| format!("sentence number {i}\n")).collect()
    }

    fn texts(sentences: &Sentences) -> Vec<&str> {
        (0..sentences.len()).map(|i| sentences.get(i)).collect()
    }

    fn chosen<'a>(sentences: &'a Sentences, rows: &[u32]) -> BTreeSet<&'a str> {
        rows.iter().map(|&i| sentences.get(i as usize)).collect()
    }

    #[test]
    fn white_space_is_one_space_and_control_characters_are_dropped() {
        let text = "  two\t words\u{a0}\u{3000} here \u{7}\u{0} \nÅ naïve 文 😀\n";
        let sentences = read(&[(text, 1.0)], &options(0)).unwrap();
        assert_eq!(texts(&sentences), ["two words here", "Å naïve 文 😀"]);
    }

    #[test]
    fn the_same_letters_and_digits_count_once_and_the_first_stays() {
        let text = "It's 5 o'clock.\nits 5 OCLOCK\nits 6 oclock\n...\n\nÉté\nété!\n";
        let sentences = read(&[(text, 1.0), ("ITS 6 oclock\nnew\n", 1.0)], &options(0)).unwrap();
        assert_eq!(texts(&sentences), ["It's 5 o'clock.", "its 6 oclock", "Été", "new"]);
        assert_eq!((0..4).map(|i| sentences.source_row(i)).collect::<Vec<_>>(), [0, 2, 5, 8]);
        assert_eq!(sentences.records(), 9);
        let [first, second] = sentences.files() else { panic!("two files") };
        assert_eq!((first.records, first.empty, first.duplicates, first.kept), (7, 2, 2, 3));
        assert_eq!((second.records, second.duplicates, second.kept), (2, 1, 1));
    }

    #[test]
    fn lengths_are_in_characters_after_cleaning() {
        let options = SentenceOptions { min_characters: 3, max_characters: 5, ..options(0) };
        let sentences = read(&[("ää\n äää \nö ö  ö\nääääää\n", 1.0)], &options).unwrap();
        assert_eq!(texts(&sentences), ["äää", "ö ö ö"]);
        assert_eq!((sentences.files()[0].too_short, sentences.files()[0].too_long), (1, 1));
    }

    #[test]
    fn nothing_left_is_an_error_that_tells_what_became_of_the_records() {
        let error =
            read(&[("\n...\nabc\n", 1.0)], &SentenceOptions { min_characters: 9, ..options(0) });
        let message = error.unwrap_err().to_string();
        assert!(message.starts_with("no sentence left of `"), "{message}");
        assert!(message.contains("3 records, of which 2 empty, 1 too short"), "{message}");
    }

    #[test]
    fn invalid_utf8_is_an_error_with_file_and_line_or_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.txt");
        fs::write(&path, b"good one\nbad \xff one\nlast\n").unwrap();
        let files = [SentenceFile { path, weight: 1.0 }];
        let message = Sentences::read(&files, &options(0), &Silent).unwrap_err().to_string();
        assert!(message.contains("bad.txt") && message.contains('2'), "{message}");
        let skipping = SentenceOptions { skip_bad: true, ..options(0) };
        let sentences = Sentences::read(&files, &skipping, &Silent).unwrap();
        assert_eq!((sentences.files()[0].bad, sentences.records()), (1, 3));
        assert_eq!(sentences.source_row(1), 2);
    }

    #[test]
    fn the_order_of_files_changes_the_fingerprint_but_not_what_is_held_back_or_drawn() {
        let (a, b) = (numbered(0..300), numbered(200..700));
        let options = SentenceOptions { dev: 50, limit: Some(100), ..SentenceOptions::default() };
        let forth = read(&[(&a, 1.0), (&b, 1.0)], &options).unwrap();
        let back = read(&[(&b, 1.0), (&a, 1.0)], &options).unwrap();
        assert_eq!((forth.len(), forth.held_back().len(), forth.training().len()), (150, 50, 100));
        assert_eq!(chosen(&forth, forth.held_back()), chosen(&back, back.held_back()));
        assert_eq!(chosen(&forth, forth.training()), chosen(&back, back.training()));
        assert_ne!(forth.fingerprint(), back.fingerprint());
        let other = read(&[(&a, 1.0), (&b, 1.0)], &SentenceOptions { seed: 1, ..options }).unwrap();
        assert_ne!(chosen(&forth, forth.held_back()), chosen(&other, other.held_back()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_larger_limit_contains_the_smaller_and_holds_back_the_same(
            dev in 0usize..40, small in 1usize..60, more in 0usize..60
        ) {
            let text = numbered(0..120);
            let under = |limit| {
                read(&[(&text, 1.0)], &SentenceOptions { limit: Some(limit), ..options(dev) }).unwrap()
            };
            let (small, large) = (under(small), under(small + more));
            prop_assert_eq!(chosen(&small, small.held_back()), chosen(&large, large.held_back()));
            prop_assert!(chosen(&small, small.training()).is_subset(&chosen(&large, large.training())));
            prop_assert!(texts(&small).is_sorted_by_key(|t| t[16..].parse::<usize>().unwrap()));
            for i in 0..small.len() {
                prop_assert_eq!(small.get(i), format!("sentence number {}", small.source_row(i)));
            }
        }
    }

    #[test]
    fn the_limit_is_reported_by_file() {
        let (a, b) = (numbered(0..100), numbered(100..150));
        let options = SentenceOptions { limit: Some(30), ..options(10) };
        let sentences = read(&[(&a, 1.0), (&b, 1.0)], &options).unwrap();
        let left_out: usize = sentences.files().iter().map(|file| file.beyond_limit).sum();
        assert_eq!((sentences.len(), left_out), (40, 110));
    }

    #[test]
    fn holding_back_everything_is_refused_with_a_smaller_number() {
        let error = read(&[(&numbered(0..80), 1.0)], &options(80)).unwrap_err();
        assert_eq!(error.hint_text(), Some("--held-back 8"));
        assert!(error.to_string().contains("80 distinct"), "{error}");
    }

    #[test]
    fn the_fingerprint_sees_borders_between_sentences() {
        let one = read(&[("ab\nc\n", 1.0)], &options(0)).unwrap();
        let other = read(&[("a\nbc\n", 1.0)], &options(0)).unwrap();
        assert_ne!(one.fingerprint(), other.fingerprint());
        let spaced = read(&[(" ab\nc\n", 1.0)], &options(0)).unwrap();
        assert_eq!(one.fingerprint(), spaced.fingerprint());
        assert_ne!(one.records_fingerprint(), spaced.records_fingerprint());
    }

    #[test]
    fn a_weight_below_one_draws_a_share_of_the_file_once_and_for_all_epochs() {
        let (a, b) = (numbered(0..400), numbered(400..450));
        let sentences = read(&[(&a, 0.25), (&b, 1.0)], &options(5)).unwrap();
        let [first, second] = sentences.files() else { panic!("two files") };
        assert_eq!((first.records, first.kept + first.not_drawn, second.kept), (400, 400, 50));
        assert!((60..140).contains(&first.kept), "a quarter of 400 is {}", first.kept);
        assert_eq!(sentences.epoch(0, 7), sentences.training());
        assert_eq!(sentences.epoch(1, 7), sentences.training());
        let alone = read(&[(&a, 0.25)], &options(5)).unwrap();
        assert_eq!(alone.len(), first.kept);
    }

    #[test]
    fn a_weight_above_one_says_how_often_an_epoch_sees_a_sentence() {
        let (a, b) = (numbered(0..40), numbered(40..60));
        let sentences = read(&[(&a, 1.0), (&b, 2.5)], &options(5)).unwrap();
        let mut seen = vec![0; sentences.len()];
        for epoch in 0..2 {
            let rows = sentences.epoch(epoch, 7);
            assert_eq!(rows, sentences.epoch(epoch, 7));
            rows.iter().for_each(|&i| seen[i as usize] += 1);
        }
        assert!(sentences.held_back().iter().all(|&i| seen[i as usize] == 0));
        for (file, expected) in sentences.files().iter().zip([2.0, 5.0]) {
            let of_file = &sentences.training()[sentences.training_of(file)];
            // An odd number of sentences cannot be halved: one may come once more.
            assert!(of_file.iter().all(|&i| (f64::from(seen[i as usize]) - expected).abs() <= 1.0));
        }
    }

    #[test]
    fn a_sample_is_of_training_sentences_and_repeats() {
        let sentences = read(&[(&numbered(0..200), 1.0)], &options(100)).unwrap();
        let sample = sentences.sample(30, 3);
        assert_eq!((sample.len(), &sample), (30, &sentences.sample(30, 3)));
        assert!(sample.is_sorted() && sample.iter().all(|i| sentences.training().contains(i)));
        assert_ne!(sample, sentences.sample(30, 4));
        assert_eq!(sentences.sample(1000, 3), sentences.training());
    }

    #[test]
    fn a_path_may_carry_a_weight() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("odd@2");
        fs::write(&odd, "x").unwrap();
        let parse = |text: &str| SentenceFile::parse(text).unwrap();
        let odd_name = odd.to_str().unwrap();
        assert_eq!(parse(odd_name), SentenceFile { path: odd.clone(), weight: 1.0 });
        assert_eq!(
            parse(&format!("{odd_name}@0.5")),
            SentenceFile { path: odd.clone(), weight: 0.5 }
        );
        assert_eq!(parse("a.txt@3"), SentenceFile { path: "a.txt".into(), weight: 3.0 });
        assert_eq!(parse("me@home.txt"), SentenceFile { path: "me@home.txt".into(), weight: 1.0 });
        for bad in ["a.txt@0", "a.txt@-1", "a.txt@nan", "a.txt@1e9", &format!("{odd_name}@much")] {
            assert!(SentenceFile::parse(bad).is_err(), "{bad}");
        }
    }
}
