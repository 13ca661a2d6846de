//! Several texts, one target: other words for a sentence, of which the student is taught the teacher's vector of the
//! sentence itself.
//!
//! Separate from the sentences, where each text has a target of its own, and from [`crate::triplets`], which the
//! teacher embeds in full: of a pair here the teacher reads one text and the student the other. A step takes a few of
//! them beside its sentences, and to the losses they are rows like any other. Where a sentence is trained on anyway,
//! its vector is there already; where not, the teacher embeds it too. Should a sentence and its paraphrase meet in
//! one batch, the relational loss draws them together; InfoNCE to the targets would take the one's target for a wrong
//! answer of the other, which is rare and costs it a constant.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use hpd_eval::tsv::Rows;
use hpd_files::fingerprint::Fingerprinter;
use hpd_files::{Error, Fingerprint, Result};

use crate::sentences::{DistinctTexts, Sentences, letters_and_digits};

/// A text of the student's and whose vector it is taught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paraphrase {
    /// Number of the text that the student reads.
    pub text: u32,
    /// Number of the text whose vector of the teacher's is the target.
    pub taught_by: u32,
}

/// Where the vector of a sentence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taught {
    /// Among those of the sentences trained on.
    BySentence(u32),
    /// Among those of the sentences that only the paraphrases name.
    ByFurther(u32),
}

/// Paraphrases, their texts and the sentences that they are of.
#[derive(Debug)]
pub struct Paraphrases {
    texts: Sentences,
    further: Sentences,
    pairs: Vec<(u32, Taught)>,
    files: Vec<(PathBuf, usize)>,
    left_out: LeftOut,
}

/// Why paraphrases are left out, and how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Of texts that are empty or too long.
    pub no_text: usize,
    /// The letters and digits of their sentence.
    pub same: usize,
    /// Of a sentence held back, or one themselves.
    pub held_back: usize,
}

impl LeftOut {
    fn total(self) -> usize {
        self.no_text + self.same + self.held_back
    }
}

impl Paraphrases {
    /// Reads tab-separated files with a header line: sentence and paraphrase in this order, whatever the header calls
    /// them. Further columns are further paraphrases; empty ones are none.
    ///
    /// Texts are cleaned as sentences are, and a sentence that is among `sentences` by its letters and digits is that
    /// one. What is empty, too long, the sentence again or held back from training is left out and counted.
    ///
    /// # Errors
    /// When a file cannot be read, has fewer than two columns or a malformed line, or nothing is left.
    pub fn read(files: &[PathBuf], sentences: &Sentences) -> Result<Self> {
        let mut reader = Reader::new(sentences);
        let mut counts = Vec::new();
        for path in files {
            let before = reader.pairs.len();
            let mut rows = Rows::open(path)?;
            check_columns(path, rows.columns())?;
            while let Some(fields) = rows.next_row()? {
                reader.add(&fields);
            }
            counts.push((path.clone(), reader.pairs.len() - before));
        }
        let Reader { texts, further, pairs, left_out, .. } = reader;
        if pairs.is_empty() {
            let names: Vec<_> = files.iter().map(|path| format!("`{}`", path.display())).collect();
            return Err(Error::input(format!(
                "no paraphrase left of {}: {} are empty or too long, {} the sentence itself, {} of sentences held back",
                names.join(", "),
                left_out.no_text,
                left_out.same,
                left_out.held_back
            )));
        }
        let (texts, further) = (texts.finish(), further.finish());
        Ok(Self { texts, further, pairs, files: counts, left_out })
    }

    /// The distinct texts that the student reads.
    pub fn texts(&self) -> &Sentences {
        &self.texts
    }

    /// Sentences that are not trained on otherwise, so that the teacher has to embed them; there may be none.
    pub fn further(&self) -> &Sentences {
        &self.further
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Never true of those that were read.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The paraphrases in the order of their files; the texts and the further sentences are both counted from `first`.
    pub fn numbered_from(&self, first: u32) -> Vec<Paraphrase> {
        let number = |&(text, taught): &(u32, Taught)| Paraphrase {
            text: first + text,
            taught_by: match taught {
                Taught::BySentence(row) => row,
                Taught::ByFurther(row) => first + row,
            },
        };
        self.pairs.iter().map(number).collect()
    }

    /// Each file and how many paraphrases it gave.
    pub fn files(&self) -> &[(PathBuf, usize)] {
        &self.files
    }

    /// What was left out.
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// A line about each file, and one about what was left out.
    pub fn notes(&self) -> Vec<String> {
        let of_file =
            |(path, count): &(PathBuf, usize)| format!("{}: {count} paraphrases", path.display());
        let mut notes: Vec<String> = self.files.iter().map(of_file).collect();
        if self.left_out.total() > 0 {
            let LeftOut { no_text, same, held_back } = self.left_out;
            notes.push(format!(
                "{} paraphrases are left out: {no_text} empty or too long, {same} the sentence itself, {held_back} of \
                 sentences held back",
                self.left_out.total()
            ));
        }
        notes
    }

    /// Names the texts and what teaches them.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut all = Fingerprinter::new();
        for sentences in [&self.texts, &self.further] {
            all.add_part(sentences.fingerprint().to_string().as_bytes());
        }
        for (text, taught) in &self.pairs {
            let (kind, row) = match taught {
                Taught::BySentence(row) => (0_u32, row),
                Taught::ByFurther(row) => (1, row),
            };
            for number in [*text, kind, *row] {
                all.add_part(&number.to_le_bytes());
            }
        }
        all.finish()
    }
}

fn check_columns(path: &Path, columns: usize) -> Result<()> {
    if columns >= 2 {
        return Ok(());
    }
    Err(Error::input(format!(
        "`{}` has {columns} column, expected a sentence and its paraphrases",
        path.display()
    ))
    .hint("the first line must name the columns, with tabs between them"))
}

/// Paraphrases on their way in.
struct Reader<'a> {
    sentences: &'a Sentences,
    /// Sentences by their letters and digits.
    known: HashMap<Fingerprint, u32>,
    texts: DistinctTexts,
    further: DistinctTexts,
    pairs: Vec<(u32, Taught)>,
    left_out: LeftOut,
}

impl<'a> Reader<'a> {
    fn new(sentences: &'a Sentences) -> Self {
        let number = |i: usize| (letters(sentences.get(i)), i as u32);
        Self {
            sentences,
            known: (0..sentences.len()).map(number).collect(),
            texts: DistinctTexts::default(),
            further: DistinctTexts::default(),
            pairs: Vec::new(),
            left_out: LeftOut::default(),
        }
    }

    fn add(&mut self, fields: &[String]) {
        let Some((sentence, paraphrases)) = fields.split_first() else { return };
        let paraphrases = paraphrases.iter().filter(|text| !text.trim().is_empty());
        let sentence_letters = letters(sentence);
        for paraphrase in paraphrases {
            let paraphrase_letters = letters(paraphrase);
            let is_held_back =
                |letters| self.known.get(letters).is_some_and(|row| self.is_held_back(*row));
            if is_held_back(&sentence_letters) || is_held_back(&paraphrase_letters) {
                self.left_out.held_back += 1;
            } else if paraphrase_letters == sentence_letters {
                self.left_out.same += 1;
            } else {
                match self.pair(sentence, &sentence_letters, paraphrase) {
                    Some(pair) => self.pairs.push(pair),
                    None => self.left_out.no_text += 1,
                }
            }
        }
    }

    fn is_held_back(&self, row: u32) -> bool {
        self.sentences.held_back().binary_search(&row).is_ok()
    }

    fn pair(
        &mut self,
        sentence: &str,
        letters: &Fingerprint,
        paraphrase: &str,
    ) -> Option<(u32, Taught)> {
        // Of a pair that is left out for one text the other is not kept either.
        if !DistinctTexts::takes(sentence) || !DistinctTexts::takes(paraphrase) {
            return None;
        }
        let taught = match self.known.get(letters) {
            Some(&row) => Taught::BySentence(row),
            None => Taught::ByFurther(self.further.add(sentence)?),
        };
        Some((self.texts.add(paraphrase)?, taught))
    }
}

fn letters(text: &str) -> Fingerprint {
    let mut letters = String::new();
    letters_and_digits(text, &mut letters);
    Fingerprint::of(letters.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sentences::{SentenceFile, SentenceOptions};
    use hpd_files::Silent;

    /// Ten sentences, three of them held back.
    fn sentences(folder: &Path) -> Sentences {
        let path = folder.join("sentences.txt");
        let lines: String = (0..10).map(|i| format!("Sentence number {i}.\n")).collect();
        std::fs::write(&path, lines).unwrap();
        let options = SentenceOptions { dev: 3, ..SentenceOptions::default() };
        Sentences::read(&[SentenceFile { path, weight: 1.0 }], &options, &Silent).unwrap()
    }

    fn read(text: &str) -> (Sentences, Result<Paraphrases>) {
        let folder = tempfile::tempdir().unwrap();
        let sentences = sentences(folder.path());
        let path = folder.path().join("paraphrases.tsv");
        let [kept, other] = [0, 1].map(|i| sentences.get(sentences.training()[i] as usize));
        let held_back = sentences.get(sentences.held_back()[0] as usize);
        let text = text.replace("KEPT", kept).replace("OTHER", other).replace("HELD", held_back);
        std::fs::write(&path, text).unwrap();
        let found = Paraphrases::read(&[path], &sentences);
        (sentences, found)
    }

    #[test]
    fn a_paraphrase_is_taught_by_its_sentence_wherever_that_stands() {
        let (sentences, found) = read(
            "sentence\tparaphrase\tanother\n\
             kept\tnothing but\t\n\
             KEPT\tFirst  words\tSecond words\n\
             Unknown\tFirst words.\t \n\
             unknown!\tThird\tUNKNOWN\n\
             HELD\tleaks\t\n\
             OTHER\tHELD\t?!\n",
        );
        let found = found.unwrap();
        let kept = sentences.training()[0];
        let paraphrase = |text, taught_by| Paraphrase { text, taught_by };
        assert_eq!(
            found.numbered_from(50),
            [
                paraphrase(50, 50),
                paraphrase(51, kept),
                paraphrase(52, kept),
                paraphrase(51, 51),
                paraphrase(53, 51)
            ]
        );
        assert_eq!((found.texts().get(1), found.texts().len()), ("First words", 4));
        assert_eq!((found.further().get(1), found.further().len()), ("Unknown", 2));
        assert_eq!(found.left_out(), LeftOut { no_text: 1, same: 1, held_back: 2 });
        assert_eq!(found.notes().len(), 2);
    }

    #[test]
    fn what_is_no_paraphrase_is_refused_with_its_place() {
        for (text, word) in [
            ("one column\nx\n", "has 1 column, expected a sentence and its paraphrases"),
            ("a\tb\nx\ty\nz\n", "line 3: expected 2 columns, found 1"),
            ("a\tb\nHELD\tleaks\n", "no paraphrase left"),
            ("a\tb\nHELD\tleaks\n", "1 of sentences held back"),
            ("", "is empty"),
        ] {
            let error = read(text).1.unwrap_err().to_string();
            assert!(error.contains(word), "{text:?}: {error}");
        }
    }

    #[test]
    fn another_text_or_teacher_is_another_fingerprint() {
        let fingerprint = |text: &str| read(text).1.unwrap().fingerprint();
        let first = fingerprint("a\tb\nKEPT\tone\n");
        assert_eq!(first, fingerprint("c\td\nKEPT\t one\n"));
        for other in ["KEPT\ttwo", "OTHER\tone", "else\tone", "KEPT\tone\nOTHER\tone"] {
            assert_ne!(first, fingerprint(&format!("a\tb\n{other}\n")));
        }
    }
}
