//! Which documents a search may find, told by their metadata.
//!
//! `text ─parse─> Filter ─sql─> condition with parameters ─SQLite─> RowSet ─> scan`
//!
//! The language:
//!
//! | filter | matches a document whose field |
//! |---|---|
//! | `lang = 'en'`, `lang != 'en'` | is, or is not, that string, number, `true`, `false` or `null` |
//! | `year < 1990`, `<=`, `>`, `>=` | is a number, or a string, that lies before or behind |
//! | `year BETWEEN 1980 AND 1990` | lies between both, ends included |
//! | `lang IN ('en', 'de')`, `NOT IN` | is, or is not, one of them |
//! | `tag EXISTS`, `tag NOT EXISTS` | is there, or is not, whatever its value |
//! | `tag IS NULL`, `tag IS NOT NULL` | is, or is not, `null`; a field that is absent is not `null` |
//! | `author.name = 'Poe'` | `name` in the object `author` is that |
//! | `NOT a`, `a AND b`, `a OR b`, `(a)` | binding in this order |
//!
//! Strings stand between `'` or `"`, written twice within; strange field names between backticks. Keywords may be
//! in any letter case.
//!
//! Types are strict: `1` equals `1.0` but never `'1'` or `true`. An array matches when one of its elements does; this
//! holds on the way to a nested field too. Strings compare by Unicode code points. A filter is true or false, never
//! unknown: `!=`, `NOT IN` and `IS NOT NULL` are the opposite of `=`, `IN` and `IS NULL`, and so match documents
//! without the field.

mod matches;
mod parse;
mod sql;

use std::ops::Bound;

use hpd_files::{Error, Result};

pub(crate) use sql::Condition as SqlCondition;

/// Nested parentheses and `NOT`s that a filter may have.
const DEEPEST: usize = 50;

/// Comparisons, with the names of their fields, that a filter may have.
const MOST_TESTS: usize = 500;

/// Names that lead to a field. Each object on the way is a table of a join, of which SQLite takes 64.
const MOST_NAMES: usize = 32;

/// Strings, numbers and other values that a filter may have.
const MOST_VALUES: usize = 10_000;

/// Letters (bytes) that the text of a filter may have.
const LONGEST: usize = 1 << 20;

/// Which documents match, by their metadata; [`str::parse`] reads one from text.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Those that match each; all documents when there is none.
    And(Vec<Filter>),
    /// Those that match at least one; no document when there is none.
    Or(Vec<Filter>),
    /// Those that do not match.
    Not(Box<Filter>),
    /// Those that have a value in a field which passes a test.
    Field(Field, Test),
}

/// Names of the objects' members that lead to a value, outermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field(pub Vec<String>);

/// What is asked of the values of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// One is equal to one of these.
    OneOf(Vec<Scalar>),
    /// One lies between two numbers, or between two strings.
    Between(Bound<Scalar>, Bound<Scalar>),
    /// The field is there, whatever its value.
    Exists,
}

/// A value that can be compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number of 64 bits.
    Whole(i64),
    /// Any other number.
    Real(f64),
    /// A string.
    Text(String),
}

impl Filter {
    /// Refuses what would be too much for SQLite, for every engine alike.
    ///
    /// # Errors
    /// Naming what there is too much of; also for a NUL character in a name or string.
    pub fn check_size(&self) -> Result<()> {
        let mut size = Size::default();
        size.add(self, 0);
        if size.has_nul {
            // SQLite takes it for the end of a name in JSON.
            return Err(Error::input("the filter has a NUL character in a name or string"));
        }
        for (found, most, what) in [
            (size.depth, DEEPEST, "nested parentheses and `NOT`s"),
            (size.tests, MOST_TESTS, "comparisons and names"),
            (size.names, MOST_NAMES, "names in one field"),
            (size.values, MOST_VALUES, "values"),
        ] {
            if found > most {
                return Err(Error::input(format!(
                    "the filter has {found} {what}, but may have at most {most}"
                ))
                .hint("split it into several searches"));
            }
        }
        Ok(())
    }
}

/// How large a filter is.
#[derive(Default)]
struct Size {
    depth: usize,
    tests: usize,
    names: usize,
    values: usize,
    has_nul: bool,
}

impl Size {
    fn add(&mut self, filter: &Filter, depth: usize) {
        self.depth = self.depth.max(depth);
        // What is too deep already need not be walked to its end, which would take as much stack.
        if self.depth > DEEPEST {
            return;
        }
        match filter {
            Filter::And(filters) | Filter::Or(filters) => {
                filters.iter().for_each(|filter| self.add(filter, depth + 1));
            }
            Filter::Not(filter) => self.add(filter, depth + 1),
            Filter::Field(Field(names), test) => {
                self.tests += names.len().max(1);
                self.names = self.names.max(names.len());
                self.has_nul |= names.iter().any(|name| name.contains('\0'));
                match test {
                    Test::OneOf(values) => values.iter().for_each(|value| self.add_value(value)),
                    Test::Between(low, high) => {
                        self.add_bound(low);
                        self.add_bound(high);
                    }
                    Test::Exists => {}
                }
            }
        }
    }

    fn add_bound(&mut self, bound: &Bound<Scalar>) {
        match bound {
            Bound::Included(value) | Bound::Excluded(value) => self.add_value(value),
            Bound::Unbounded => {}
        }
    }

    fn add_value(&mut self, value: &Scalar) {
        self.values += 1;
        self.has_nul |= matches!(value, Scalar::Text(text) if text.contains('\0'));
    }
}
