//! Search by words: which texts share the rarest words with a query, ranked by BM25.
//!
//! `query text ─words─> FTS5 expression ─SQLite─> (row, score) ─> TopK`
//!
//! The words of all documents stand in an FTS5 table of SQLite that keeps no text of its own. Triggers keep it in step
//! with the documents within the same transactions. [`TextIndex`] is the same table over texts in memory, so that
//! what is measured is what a store does.

use hpd_files::{Error, Result};
use hpd_kernels::{Scored, TopK};
use rusqlite::{Connection, params};

use crate::RowSet;

/// Words of a query that count, from its beginning; far more than a model reads.
const MOST_WORDS: usize = 512;

/// The FTS5 table `words` beside a table `documents` with columns `row` and `text`.
///
/// `unicode61` takes words apart in all scripts that put something between them and removes diacritics; `porter` takes
/// English endings off. On the development sets the endings are worth 4 to 7 points of nDCG@10 (bench/README.md).
pub(crate) const TABLE: &str = "
    CREATE VIRTUAL TABLE words USING fts5 (
      text, content = 'documents', content_rowid = 'row', tokenize = 'porter unicode61 remove_diacritics 2'
    );
    CREATE TRIGGER words_of_new AFTER INSERT ON documents BEGIN
      INSERT INTO words (rowid, text) VALUES (new.row, new.text);
    END;
    CREATE TRIGGER words_of_deleted AFTER DELETE ON documents BEGIN
      INSERT INTO words (words, rowid, text) VALUES ('delete', old.row, old.text);
    END;";

/// The `k` documents that BM25 ranks first, of those in `allowed`; the lower row first among equals.
///
/// A document without any of the words is not found.
pub(crate) fn best(
    connection: &Connection,
    query: &str,
    k: usize,
    allowed: Option<&RowSet>,
) -> rusqlite::Result<Vec<Scored>> {
    let mut best = TopK::new(k);
    if let Some(expression) = expression(query) {
        let mut find = connection
            .prepare_cached("SELECT rowid, bm25(words) FROM words WHERE words MATCH ?1")?;
        let mut found = find.query([expression])?;
        while let Some(row) = found.next()? {
            let (number, score): (u64, f64) = (row.get(0)?, row.get(1)?);
            if allowed.is_none_or(|allowed| allowed.contains(number)) {
                // FTS5 calls the best the least.
                best.offer(number, -score as f32);
            }
        }
    }
    Ok(best.into_sorted())
}

/// A query as FTS5 reads one: any of the words, each in quotes, so that nothing in it has another meaning.
///
/// A word that comes twice counts twice, as in a text. Ends of words are seen only where they are plain: what FTS5
/// takes apart further, it looks for as a phrase.
fn expression(query: &str) -> Option<String> {
    let ends_word = |letter: char| {
        letter.is_whitespace() || letter.is_ascii() && !letter.is_ascii_alphanumeric()
    };
    let words = query.split(ends_word).filter(|word| !word.is_empty()).take(MOST_WORDS);
    let quoted: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
    (!quoted.is_empty()).then(|| quoted.join(" OR "))
}

/// Texts in memory, searched by words as a store searches its documents.
#[derive(Debug)]
pub struct TextIndex {
    connection: Connection,
}

impl TextIndex {
    /// Takes texts in; their places are their rows.
    ///
    /// # Errors
    /// When SQLite refuses, for example for want of memory.
    pub fn new<S: AsRef<str>>(texts: &[S]) -> Result<Self> {
        let make = || {
            let mut connection = Connection::open_in_memory()?;
            connection
                .execute_batch("CREATE TABLE documents (row INTEGER PRIMARY KEY, text TEXT)")?;
            connection.execute_batch(TABLE)?;
            let transaction = connection.transaction()?;
            let mut insert = transaction.prepare("INSERT INTO documents VALUES (?1, ?2)")?;
            for (row, text) in texts.iter().enumerate() {
                insert.execute(params![row, text.as_ref()])?;
            }
            drop(insert);
            transaction.commit()?;
            Ok(Self { connection })
        };
        make().map_err(failed)
    }

    /// The `k` texts that BM25 ranks first; the earlier first among equals.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn search(&self, query: &str, k: usize) -> Result<Vec<Scored>> {
        best(&self.connection, query, k, None).map_err(failed)
    }
}

fn failed(error: rusqlite::Error) -> Error {
    Error::input("cannot search texts by their words").caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(texts: &[&str], query: &str) -> Vec<u64> {
        let index = TextIndex::new(texts).unwrap();
        index.search(query, 10).unwrap().iter().map(|scored| scored.row).collect()
    }

    #[test]
    fn rare_words_come_first() {
        let texts = ["the cat", "the dog", "the cat and the dog", "the bird"];
        assert_eq!(found(&texts, "bird"), [3]);
        assert_eq!(found(&texts, "cat bird")[0], 3);
        assert!(found(&texts, "fish").is_empty());
    }

    #[test]
    fn letter_case_diacritics_and_english_endings_do_not_count() {
        let texts = ["Crème brûlée", "Спасибо", "connected graphs", "cre\u{301}me"];
        assert_eq!(found(&texts, "creme BRULEE"), [0, 3]);
        assert_eq!(found(&texts, "спасибо"), [1]);
        assert_eq!(found(&texts, "connections of a graph"), [2]);
        assert_eq!(found(&texts, "cr\u{e8}me")[0], 3);
    }

    #[test]
    fn nothing_in_a_query_is_syntax() {
        let texts = ["near or not and", "text: a -b c*", "plain words"];
        assert_eq!(found(&texts, "NOT"), [0]);
        assert_eq!(found(&texts, "NEAR(plain words)")[0], 2);
        assert_eq!(found(&texts, "pla*"), [0; 0]);
        assert_eq!(found(&texts, "-plain"), [2]);
        assert_eq!(found(&texts, "text:plain"), [2, 1]);
        for nothing in ["", " ", "\"", "\0", "()*^-:+\"\"", "—", "“”", "\u{301}"] {
            assert!(found(&texts, nothing).is_empty(), "{nothing:?}");
        }
        assert_eq!(found(&texts, "pl\0ain plain\0\""), [2]);
    }

    #[test]
    fn a_huge_query_is_answered() {
        assert_eq!(found(&["a b", "z"], &"a ".repeat(1_000_000)), [0]);
        assert_eq!(found(&["a b", "z"], &"日本語".repeat(100_000)), [0; 0]);
        assert_eq!(found(&["a b", "z"], &"é—".repeat(100_000)), [0; 0]);
    }

    proptest! {
        #[test]
        fn every_query_is_answered(query in any::<String>(), texts in prop::collection::vec(any::<String>(), 0..4)) {
            let index = TextIndex::new(&texts).unwrap();
            prop_assert!(index.search(&query, 3).unwrap().len() <= texts.len());
        }
    }
}
