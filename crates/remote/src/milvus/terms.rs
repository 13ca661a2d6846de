//! What a document can be filtered by, as whole numbers: one for each field that is there, and for each value of one.
//!
//! Milvus's own conditions on JSON know nothing of arrays of objects, and differ from the store's filters on missing fields and
//! on types. So a document carries hashes of what a filter may ask, and an expression asks for these; nothing that a
//! person wrote is ever part of an expression. Ranges are asked of `ordered`, a JSON object that has the number, or the
//! beginning of the string, of each field with exactly one.

use std::collections::{BTreeMap, BTreeSet};

use hpd_files::Fingerprint;
use hpd_files::fingerprint::Fingerprinter;
use hpd_index::Scalar;
use serde_json::{Map, Number, Value};

/// Numbers that an array in Milvus may have.
pub(super) const MOST_TERMS: usize = 4096;

/// Bytes that a JSON value in Milvus may have.
pub(super) const LONGEST_JSON: usize = 65_536;

/// Stands for all terms of a document that has too many. Whatever was asked, it may match.
pub(super) const TOO_MANY: i64 = 0;

/// Bytes of a string's beginning that ranges go by.
const BEGINNING: usize = 32;

/// Says something of a document.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Term {
    /// The field is there.
    Exists,
    /// The field is, or has, a value.
    Value,
    /// It is, or has, a number, which is in `ordered` by this term's name where it is the only one.
    Number,
    /// It has several.
    Numbers,
    /// Likewise with strings.
    Text,
    Texts,
}

impl Term {
    /// Of a field as a whole.
    pub(super) fn of(self, path: &Path) -> i64 {
        self.with(path, &[])
    }

    fn with(self, Path(path): &Path, value: &[u8]) -> i64 {
        let mut name = Fingerprinter::new();
        name.add(&[self as u8]).add(path.as_bytes()).add(value);
        // Not negative, and so one token of an expression.
        (name.finish().leading() >> 1) as i64
    }
}

/// Of a value of a field. Numbers that are equal have the same.
pub(super) fn term_of_value(path: &Path, value: &Scalar) -> i64 {
    match value {
        Scalar::Null => Term::Value.with(path, b"n"),
        Scalar::Boolean(value) => Term::Value.with(path, if *value { b"t" } else { b"f" }),
        Scalar::Text(text) => Term::Value.with(path, &[b"s", text.as_bytes()].concat()),
        Scalar::Whole(number) => {
            Term::Value.with(path, &[b"w", &number.to_le_bytes()[..]].concat())
        }
        Scalar::Real(number) => match whole(*number) {
            Some(whole) => term_of_value(path, &Scalar::Whole(whole)),
            None => Term::Value.with(path, &[b"r", &number.to_le_bytes()[..]].concat()),
        },
    }
}

/// A real number as the whole one that it is.
fn whole(number: f64) -> Option<i64> {
    let whole = number as i64;
    // Where the conversion stopped at an end of the whole numbers, the way back differs; the upper end rounds up itself.
    (whole as f64 == number && whole != i64::MAX).then_some(whole)
}

/// Names that lead to a field.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path(Fingerprint);

impl Path {
    pub(super) fn root() -> Self {
        Self(Fingerprint::of(b""))
    }

    pub(super) fn join(&self, name: &str) -> Self {
        Self(Fingerprinter::new().add(self.0.as_bytes()).add(name.as_bytes()).finish())
    }
}

/// A string's beginning, in letters that stand in an expression as they are and have the order of the strings.
pub(super) fn beginning(text: &str) -> String {
    text.bytes().take(BEGINNING).map(|byte| format!("{byte:02x}")).collect()
}

/// What a document can be filtered by.
pub(super) struct Filterable {
    pub(super) terms: Vec<i64>,
    /// JSON.
    pub(super) ordered: String,
}

impl Filterable {
    pub(super) fn of(metadata: &Map<String, Value>) -> Self {
        let mut collected = Collected::default();
        collected.object(metadata, Path::root());
        collected.finish()
    }
}

#[derive(Default)]
struct Collected {
    terms: BTreeSet<i64>,
    numbers: BTreeMap<Path, Vec<f64>>,
    texts: BTreeMap<Path, Vec<String>>,
}

impl Collected {
    fn object(&mut self, object: &Map<String, Value>, path: Path) {
        for (name, value) in object {
            let path = path.join(name);
            self.terms.insert(Term::Exists.of(&path));
            match value {
                Value::Array(elements) => {
                    elements.iter().for_each(|element| self.element(element, path));
                }
                alone => self.element(alone, path),
            }
        }
    }

    /// An array within an array is no element that could be asked for.
    fn element(&mut self, value: &Value, path: Path) {
        let scalar = match value {
            Value::Null => Scalar::Null,
            Value::Bool(value) => Scalar::Boolean(*value),
            Value::Number(number) => {
                let number = scalar(number);
                self.numbers.entry(path).or_default().push(match number {
                    Scalar::Whole(whole) => whole as f64,
                    Scalar::Real(real) => real,
                    _ => return,
                });
                number
            }
            Value::String(text) => {
                self.texts.entry(path).or_default().push(beginning(text));
                Scalar::Text(text.clone())
            }
            Value::Object(object) => return self.object(object, path),
            Value::Array(_) => return,
        };
        self.terms.insert(term_of_value(&path, &scalar));
    }

    fn finish(mut self) -> Filterable {
        let mut ordered = Map::new();
        for (path, numbers) in &self.numbers {
            self.terms.insert(Term::Number.of(path));
            match numbers[..] {
                [one] => drop(ordered.insert(Term::Number.of(path).to_string(), one.into())),
                _ => drop(self.terms.insert(Term::Numbers.of(path))),
            }
        }
        for (path, texts) in &self.texts {
            self.terms.insert(Term::Text.of(path));
            match &texts[..] {
                [one] => drop(ordered.insert(Term::Text.of(path).to_string(), one.as_str().into())),
                _ => drop(self.terms.insert(Term::Texts.of(path))),
            }
        }
        let ordered = Value::Object(ordered).to_string();
        if self.terms.len() > MOST_TERMS || ordered.len() > LONGEST_JSON {
            return Filterable { terms: vec![TOO_MANY], ordered: "{}".to_owned() };
        }
        Filterable { terms: self.terms.into_iter().collect(), ordered }
    }
}

/// A number of JSON; those beyond 64 bits are real, as in the store.
fn scalar(number: &Number) -> Scalar {
    match number.as_i64() {
        Some(whole) => Scalar::Whole(whole),
        None => Scalar::Real(number.as_f64().unwrap_or(f64::NAN)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filterable(metadata: &Value) -> Filterable {
        Filterable::of(metadata.as_object().expect("an object"))
    }

    #[test]
    fn equal_numbers_have_the_same_term_and_other_types_another() {
        let path = Path::root().join("a");
        let term = |value| term_of_value(&path, &value);
        assert_eq!(term(Scalar::Whole(1)), term(Scalar::Real(1.0)));
        assert_eq!(term(Scalar::Whole(0)), term(Scalar::Real(-0.0)));
        assert_eq!(term(Scalar::Whole(i64::MIN)), term(Scalar::Real(i64::MIN as f64)));
        assert_ne!(term(Scalar::Whole(i64::MAX)), term(Scalar::Real(i64::MAX as f64)));
        assert_ne!(term(Scalar::Whole(1)), term(Scalar::Text("1".to_owned())));
        assert_ne!(term(Scalar::Whole(1)), term(Scalar::Boolean(true)));
        assert_ne!(term(Scalar::Null), term(Scalar::Text("null".to_owned())));
    }

    #[test]
    fn what_is_there_once_can_be_compared() {
        let author = Path::root().join("author");
        let [year, name] = [author.join("year"), author.join("name")];
        let found = filterable(&json!({"author": [{"year": 7}, {"name": ["é", "x"]}]}));
        let expected = json!({Term::Number.of(&year).to_string(): 7.0}).to_string();
        assert_eq!(found.ordered, expected);
        for term in [Term::Exists.of(&name), Term::Text.of(&name), Term::Texts.of(&name)] {
            assert!(found.terms.contains(&term));
        }
        assert!(!found.terms.contains(&Term::Numbers.of(&year)));
    }

    #[test]
    fn names_are_not_confused_with_paths() {
        let [joined, nested] = [json!({"ab": 1}), json!({"a": {"b": 1}})].map(|x| filterable(&x));
        assert!(nested.terms.iter().all(|term| !joined.terms.contains(term)));
    }

    #[test]
    fn beginnings_have_the_order_of_the_strings() {
        for [low, high] in [["", "a"], ["a", "aa"], ["Z", "a"], ["z", "é"], ["\u{ffff}", "😀"]] {
            assert!(beginning(low) < beginning(high), "{low} {high}");
        }
    }

    #[test]
    fn a_document_with_too_much_may_match_anything() {
        let many = (0..5000).collect::<Vec<_>>();
        assert_eq!(filterable(&json!({"a": many})).terms, [TOO_MANY]);
    }
}
