//! What is encoded: a file's texts, or texts of an exact length made from the model's own words.

use std::path::Path;

use hpd_encoder::Tokenizer;
use hpd_files::records::{RecordOptions, Records, Source};
use hpd_files::{Error, Result};

/// Texts to measure with.
#[derive(Clone, Debug)]
pub struct Texts {
    /// Where they came from, in a few words.
    pub source: String,
    /// The texts.
    pub texts: Vec<String>,
}

impl Texts {
    /// How many texts are made.
    pub const MADE: usize = 64;
    /// Tokens of a made text where nothing else is asked for, special ones included.
    pub const TOKENS: usize = 16;

    /// The first `limit` texts of a file of records; an empty text is a text.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path, options: &RecordOptions, limit: Option<usize>) -> Result<Self> {
        let source = Source::from(path.to_owned());
        let records = Records::open(&source, options)?.take(limit.unwrap_or(usize::MAX));
        let texts =
            records.map(|record| record.map(|record| record.text)).collect::<Result<_>>()?;
        Ok(Self { source: path.display().to_string(), texts })
    }

    /// [`Texts::MADE`] texts of exactly `tokens` tokens, special ones included: the same for every run of a model.
    ///
    /// # Errors
    /// When the model takes no text of that length, or its vocabulary has no words that stand alone.
    ///
    /// # Cost
    /// Tokenises every word of the vocabulary once.
    pub fn make(tokenizer: &Tokenizer, tokens: usize) -> Result<Self> {
        let frame = tokenizer.tokenize(&[""])?.ids.len();
        if tokens <= frame || tokens > tokenizer.max_tokens() {
            return Err(Error::input(format!(
                "texts of {tokens} tokens are asked for, but the model takes {} to {}, special ones included",
                frame + 1,
                tokenizer.max_tokens()
            )));
        }
        let words = whole_words(tokenizer, frame)?;
        let (length, mut texts) = (tokens - frame, Vec::with_capacity(Self::MADE));
        // A stride without a common factor with most lengths spreads the texts over the vocabulary.
        const STRIDE: usize = 7919;
        let text = |i: usize| {
            let word = |j: usize| words[(i * length + j) * STRIDE % words.len()].as_str();
            (0..length).map(word).collect::<Vec<_>>().join(" ")
        };
        for i in 0.. {
            // Words that are one token each beside themselves may not be beside others; few are.
            if texts.len() == Self::MADE || i > 100 * Self::MADE {
                break;
            }
            let text = text(i);
            if tokenizer.tokenize(&[&text])?.ids.len() == tokens {
                texts.push(text);
            }
        }
        if texts.len() < Self::MADE {
            return Err(no_words());
        }
        Ok(Self { source: format!("made of {tokens} tokens"), texts })
    }
}

/// Words of the vocabulary that are one token at the beginning of a text and after a space.
fn whole_words(tokenizer: &Tokenizer, frame: usize) -> Result<Vec<String>> {
    let mut words = tokenizer.vocabulary()?.to_vec();
    for word in &mut words {
        // How byte-level and SentencePiece vocabularies write the space before a word.
        if let Some(bare) = word.strip_prefix(['Ġ', '▁']) {
            *word = bare.to_owned();
        }
    }
    words.retain(|word| word.len() > 1 && word.chars().all(char::is_alphanumeric));
    words.dedup();
    let twice: Vec<String> = words.iter().map(|word| format!("{word} {word}")).collect();
    let tokens = tokenizer.tokenize(&twice)?;
    let mut lengths = (0..tokens.len()).map(|i| tokens.text(i).len());
    words.retain(|_| lengths.next() == Some(frame + 2));
    if words.is_empty() { Err(no_words()) } else { Ok(words) }
}

fn no_words() -> Error {
    Error::model("the model's vocabulary has no words to make texts of")
        .hint("name a file of texts: `--texts FILE`")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/encoder");

    #[test]
    fn made_texts_have_exactly_the_asked_tokens() {
        for model in ["bert_mean", "roberta_new", "xlm_roberta_max"] {
            let tokenizer = Tokenizer::open(&Path::new(MODELS).join(model), None).unwrap();
            for tokens in [5, 16] {
                let texts = Texts::make(&tokenizer, tokens).unwrap().texts;
                assert_eq!(texts.len(), Texts::MADE);
                let found = tokenizer.tokenize(&texts).unwrap();
                assert!((0..found.len()).all(|i| found.text(i).len() == tokens), "{model}");
                assert_eq!(texts, Texts::make(&tokenizer, tokens).unwrap().texts);
            }
            for unfit in [0, 2, 100_000] {
                assert!(Texts::make(&tokenizer, unfit).is_err());
            }
        }
    }

    #[test]
    fn a_limit_takes_the_first_texts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("texts.txt");
        std::fs::write(&path, "a\n\nb\nc\n").unwrap();
        let read = |limit| Texts::read(&path, &RecordOptions::default(), limit).unwrap().texts;
        assert_eq!(read(Some(2)), ["a", ""]);
        assert_eq!(read(None).len(), 4);
    }
}
