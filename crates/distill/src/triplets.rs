//! Texts that belong together by people's word: an anchor, a text that means the same and, if there is one, a text that
//! looks alike and does not.
//!
//! Separate from the sentences, because nothing here is drawn, weighed or held back, and one text may stand in many
//! triplets: each is kept once, embedded once by the teacher, and triplets are numbers of texts. A step takes a few
//! triplets beside its sentences; their texts are sentences like any other to the losses that imitate the teacher,
//! and [`crate::loss::contrast`] alone knows what belongs together.

use std::path::{Path, PathBuf};

use hpd_eval::tsv::Rows;
use hpd_files::fingerprint::Fingerprinter;
use hpd_files::{Error, Fingerprint, Result};

use crate::sentences::{DistinctTexts, Sentences};

/// Numbers of texts that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Triplet {
    /// The text at hand.
    pub anchor: u32,
    /// A text that means the same.
    pub positive: u32,
    /// A text that does not, though it may look so.
    pub negative: Option<u32>,
}

/// Triplets and their texts.
#[derive(Debug)]
pub struct Triplets {
    texts: Sentences,
    triplets: Vec<Triplet>,
    files: Vec<(PathBuf, usize)>,
    left_out: usize,
}

impl Triplets {
    /// Reads tab-separated files with a header line: anchor, positive and, where there is a third column, negative, in
    /// this order, whatever the header calls them. An empty third field is a pair.
    ///
    /// Texts are cleaned as sentences are; a triplet whose texts are empty or too long, or whose positive is its anchor,
    /// is left out and counted.
    ///
    /// # Errors
    /// When a file cannot be read, has fewer than two or more than three columns or a malformed line, or nothing is left.
    pub fn read(files: &[PathBuf]) -> Result<Self> {
        let mut texts = DistinctTexts::default();
        let (mut triplets, mut counts, mut left_out) = (Vec::new(), Vec::new(), 0);
        for path in files {
            let before = triplets.len();
            let mut rows = Rows::open(path)?;
            check_columns(path, rows.columns())?;
            while let Some(fields) = rows.next_row()? {
                match triplet(&fields, &mut texts) {
                    Some(triplet) => triplets.push(triplet),
                    None => left_out += 1,
                }
            }
            counts.push((path.clone(), triplets.len() - before));
        }
        if triplets.is_empty() {
            let names: Vec<_> = files.iter().map(|path| format!("`{}`", path.display())).collect();
            return Err(Error::input(format!(
                "no triplet left of {}: {left_out} have an empty or too long text, or twice the same",
                names.join(", ")
            )));
        }
        Ok(Self { texts: texts.finish(), triplets, files: counts, left_out })
    }

    /// The distinct texts.
    pub fn texts(&self) -> &Sentences {
        &self.texts
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.triplets.len()
    }

    /// Never true of those that were read.
    pub fn is_empty(&self) -> bool {
        self.triplets.is_empty()
    }

    /// The triplets, in the order of their files, as numbers of [`Triplets::texts`] counted from `first`.
    pub fn numbered_from(&self, first: u32) -> Vec<Triplet> {
        let shift = |row| row + first;
        let shifted = self.triplets.iter().map(|triplet| Triplet {
            anchor: shift(triplet.anchor),
            positive: shift(triplet.positive),
            negative: triplet.negative.map(shift),
        });
        shifted.collect()
    }

    /// Each file and how many triplets it gave.
    pub fn files(&self) -> &[(PathBuf, usize)] {
        &self.files
    }

    /// How many were left out.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Names the texts and what belongs together.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut all = Fingerprinter::new();
        all.add_part(self.texts.fingerprint().to_string().as_bytes());
        for Triplet { anchor, positive, negative } in &self.triplets {
            for row in [*anchor, *positive, negative.unwrap_or(u32::MAX)] {
                all.add_part(&row.to_le_bytes());
            }
        }
        all.finish()
    }
}

fn check_columns(path: &Path, columns: usize) -> Result<()> {
    if (2..=3).contains(&columns) {
        return Ok(());
    }
    Err(Error::input(format!(
        "`{}` has {columns} columns, expected anchor, positive and, if there are any, negatives",
        path.display()
    ))
    .hint("the first line must name the columns, with tabs between them"))
}

fn triplet(fields: &[String], texts: &mut DistinctTexts) -> Option<Triplet> {
    let (anchor, positive) = (texts.add(&fields[0])?, texts.add(&fields[1])?);
    let negative = match fields.get(2) {
        Some(text) if !text.trim().is_empty() => Some(texts.add(text)?),
        _ => None,
    };
    let distinct = anchor != positive && negative != Some(anchor) && negative != Some(positive);
    distinct.then_some(Triplet { anchor, positive, negative })
}

/// The triplets of one step, laid out for the loss.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepTriplets {
    /// Numbers of the texts: all anchors, all positives in their order, then the negatives there are.
    pub rows: Vec<u32>,
    /// How many triplets.
    pub count: usize,
    /// How many of them, from the first on, have a negative.
    pub with_negative: usize,
}

impl StepTriplets {
    /// Lays these out.
    pub fn new(mut triplets: Vec<Triplet>) -> Self {
        triplets.sort_by_key(|triplet| triplet.negative.is_none()); // stable
        let negatives: Vec<u32> = triplets.iter().filter_map(|triplet| triplet.negative).collect();
        let anchors = triplets.iter().map(|triplet| triplet.anchor);
        let positives = triplets.iter().map(|triplet| triplet.positive);
        Self {
            rows: anchors.chain(positives).chain(negatives.iter().copied()).collect(),
            count: triplets.len(),
            with_negative: negatives.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[&str]) -> Result<Triplets> {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = (0..files.len())
            .map(|i| {
                let path = folder.path().join(format!("{i}.tsv"));
                std::fs::write(&path, files[i]).unwrap();
                path
            })
            .collect();
        Triplets::read(&files)
    }

    #[test]
    fn texts_are_kept_once_and_triplets_are_their_numbers() {
        let found = read(&[
            "anchor\tpositive\tnegative\nA dog runs.\tAn animal  moves.\tA dog sleeps.\n",
            "question1\tquestion2\nHow are you?\tHow do you do?\na dog runs\tHow are you\n?!\tempty\nsame\tSame.\n",
        ])
        .unwrap();
        // The last one is of a triplet that was left out.
        assert_eq!(found.texts().len(), 6);
        assert_eq!(found.texts().get(1), "An animal moves.");
        let triplet = |anchor, positive, negative| Triplet { anchor, positive, negative };
        let expected = [triplet(7, 8, Some(9)), triplet(10, 11, None), triplet(7, 10, None)];
        assert_eq!(found.numbered_from(7), expected);
        assert_eq!(found.files().iter().map(|file| file.1).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(found.left_out(), 2);
    }

    #[test]
    fn what_is_no_triplet_is_refused_with_its_place() {
        for (text, word) in [
            ("one column\nx\n", "expected anchor, positive"),
            ("a\tb\tc\td\n", "has 4 columns"),
            ("a\tb\nx\ty\nz\n", "line 3: expected 2 columns, found 1"),
            ("a\tb\n...\t!\n", "no triplet left"),
            ("a\tb\n", "no triplet left"),
            ("", "is empty"),
        ] {
            let error = read(&[text]).unwrap_err().to_string();
            assert!(error.contains(word), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_texts_of_a_step_stand_in_the_order_in_which_the_loss_takes_them() {
        let triplet =
            |i| Triplet { anchor: i, positive: 10 + i, negative: (i % 2 == 0).then_some(20 + i) };
        let step = StepTriplets::new((1..=4).map(triplet).collect());
        let rows = vec![2, 4, 1, 3, 12, 14, 11, 13, 22, 24];
        assert_eq!(step, StepTriplets { rows, count: 4, with_negative: 2 });
        assert_eq!(StepTriplets::new(Vec::new()), StepTriplets::default());
    }
}
