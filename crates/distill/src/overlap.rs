//! How much of the text that a student is measured on did it see in training?
//!
//! Two texts are the same when their lower-cased letters and digits are, which is how sentences are told apart when
//! they are read ([`crate::sentences`]). Only whole texts are compared: a sentence inside a longer document, or a
//! paraphrase, is not found.

use std::collections::HashMap;

use hpd_eval::tasks::{Data, Loaded};
use hpd_files::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::sentences::{Sentences, letters_and_digits};

/// Texts shown of those that were seen.
const EXAMPLES: usize = 3;

/// What one part of an evaluation set shares with the training text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlap {
    /// The task, and for retrieval whether its queries or its documents.
    pub name: String,
    /// Different texts in it.
    pub texts: usize,
    /// Those of them that are training sentences.
    pub seen: usize,
    /// A few of these.
    pub examples: Vec<String>,
}

/// Compares the texts of each task with the sentences trained on; held-back ones were not seen.
///
/// # Cost
/// One pass over the sentences; memory for 16 bytes and a few words of each evaluation text.
pub fn overlap(tasks: &[Loaded], sentences: &Sentences) -> Vec<Overlap> {
    let parts: Vec<(String, Vec<&str>)> = tasks.iter().flat_map(parts).collect();
    // For each text whether it was seen, by its letters.
    let mut seen: HashMap<Fingerprint, bool> = HashMap::new();
    let mut letters = Letters::default();
    for text in parts.iter().flat_map(|(_, texts)| texts) {
        seen.extend(letters.of(text).map(|text| (text, false)));
    }
    for &row in sentences.training() {
        let known = letters.of(sentences.get(row as usize));
        if let Some(known) = known.and_then(|text| seen.get_mut(&text)) {
            *known = true;
        }
    }
    parts.into_iter().map(|(name, texts)| count(name, &texts, &seen, &mut letters)).collect()
}

fn count(
    name: String,
    texts: &[&str],
    seen: &HashMap<Fingerprint, bool>,
    letters: &mut Letters,
) -> Overlap {
    let mut different = HashMap::new();
    for &text in texts {
        if let Some(fingerprint) = letters.of(text) {
            different.entry(fingerprint).or_insert(text);
        }
    }
    let is_seen = |text: &Fingerprint| seen.get(text).copied().unwrap_or_default();
    let mut examples: Vec<&str> =
        different.iter().filter(|(text, _)| is_seen(text)).map(|(_, &text)| text).collect();
    examples.sort_unstable();
    Overlap {
        name,
        texts: different.len(),
        seen: examples.len(),
        examples: examples.into_iter().take(EXAMPLES).map(str::to_owned).collect(),
    }
}

/// The texts that a task measures on; what classifiers learn from is none of these.
fn parts(task: &Loaded) -> Vec<(String, Vec<&str>)> {
    let name = &task.task.name;
    match &task.data {
        Data::Sts(pairs) => vec![(name.clone(), strings(&pairs.sentences))],
        Data::Retrieval(collection) => vec![
            (format!("{name} queries"), collection.query_texts()),
            (format!("{name} documents"), strings(&collection.documents)),
        ],
        Data::Classification(set) => vec![(name.clone(), strings(&set.test.texts))],
    }
}

fn strings(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// Names texts by their letters and digits; one string is used again and again.
#[derive(Default)]
struct Letters {
    letters: String,
}

impl Letters {
    /// `None` for a text without any.
    fn of(&mut self, text: &str) -> Option<Fingerprint> {
        letters_and_digits(text, &mut self.letters);
        (!self.letters.is_empty()).then(|| Fingerprint::of(self.letters.as_bytes()))
    }
}
