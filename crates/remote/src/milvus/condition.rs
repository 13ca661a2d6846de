//! A filter as an expression of Milvus that holds for every document that matches, and for few others.
//!
//! What it finds is then asked whether it really matches ([`Filter::matches`]): an expression sees numbers as 64-bit floats and strings
//! by their beginning, and cannot look into fields with several. So `NOT` is not the opposite of an expression, but
//! written anew for what may not match. Expressions have numbers, hexadecimal digits and names of columns, and no word of a person.

use std::ops::Bound;

use hpd_index::{Field, Filter, Scalar, Test};

use super::terms::{Path, TOO_MANY, Term, beginning, term_of_value};

/// From here whole numbers of 64 bits are rounded when they become floats.
const ROUNDED: f64 = 9_007_199_254_740_992.0;

const ALL: &str = "key != \"\"";
const NONE: &str = "key == \"\"";

/// The expression for a filter.
pub(super) fn expression(filter: &Filter) -> String {
    format!("({}) or {}", may(filter, true), has(TOO_MANY))
}

/// Holds where a document may match, or where it may not.
fn may(filter: &Filter, matches: bool) -> String {
    match filter {
        Filter::And(filters) => joined(filters, matches, matches),
        Filter::Or(filters) => joined(filters, matches, !matches),
        Filter::Not(filter) => may(filter, !matches),
        Filter::Field(Field(names), _) if names.is_empty() => constant(!matches).to_owned(),
        Filter::Field(Field(names), test) => {
            let path = names.iter().fold(Path::root(), |path, name| path.join(name));
            field(&path, test, matches)
        }
    }
}

fn joined(filters: &[Filter], matches: bool, all: bool) -> String {
    let each: Vec<_> = filters.iter().map(|filter| format!("({})", may(filter, matches))).collect();
    match each.is_empty() {
        true => constant(all).to_owned(),
        false => each.join(if all { " and " } else { " or " }),
    }
}

fn constant(holds: bool) -> &'static str {
    if holds { ALL } else { NONE }
}

fn has(term: i64) -> String {
    format!("array_contains(terms, {term})")
}

fn field(path: &Path, test: &Test, matches: bool) -> String {
    let not = if matches { "" } else { "not " };
    match test {
        Test::Exists => format!("{not}{}", has(Term::Exists.of(path))),
        Test::OneOf(scalars) => {
            let terms = scalars.iter().map(|scalar| term_of_value(path, scalar));
            any_of(terms, matches)
        }
        Test::Between(low, high) => match of_bounds(low, high) {
            Some(OfBounds::Anything) => {
                any_of([Term::Number, Term::Text].map(|term| term.of(path)), matches)
            }
            Some(OfBounds::Numbers) => {
                let slot = Slot(path, Term::Number, Term::Numbers);
                slot.between(low, high, matches)
            }
            Some(OfBounds::Texts) => {
                let slot = Slot(path, Term::Text, Term::Texts);
                slot.between(low, high, matches)
            }
            None => constant(!matches).to_owned(),
        },
    }
}

fn any_of(terms: impl IntoIterator<Item = i64>, matches: bool) -> String {
    let terms: Vec<_> = terms.into_iter().map(|term| term.to_string()).collect();
    let not = if matches { "" } else { "not " };
    match terms.is_empty() {
        true => constant(!matches).to_owned(),
        false => format!("{not}array_contains_any(terms, [{}])", terms.join(", ")),
    }
}

/// What lies between two bounds.
#[derive(Clone, Copy, PartialEq)]
enum OfBounds {
    Anything,
    Numbers,
    Texts,
}

/// `None` where nothing can.
fn of_bounds(low: &Bound<Scalar>, high: &Bound<Scalar>) -> Option<OfBounds> {
    let of_bound = |bound: &Bound<Scalar>| match bound {
        Bound::Unbounded => Some(OfBounds::Anything),
        Bound::Included(scalar) | Bound::Excluded(scalar) => match scalar {
            Scalar::Whole(_) | Scalar::Real(_) => Some(OfBounds::Numbers),
            Scalar::Text(_) => Some(OfBounds::Texts),
            Scalar::Null | Scalar::Boolean(_) => None,
        },
    };
    match (of_bound(low)?, of_bound(high)?) {
        (OfBounds::Anything, other) | (other, OfBounds::Anything) => Some(other),
        (low, high) => (low == high).then_some(low),
    }
}

/// A field's place in `ordered`, the term that it is filled or could be, and the one that there are several instead.
struct Slot<'a>(&'a Path, Term, Term);

impl Slot<'_> {
    fn between(&self, low: &Bound<Scalar>, high: &Bound<Scalar>, matches: bool) -> String {
        let Self(path, one, several) = self;
        let sides = [(low, Side::Above), (high, Side::Below)];
        let sides = sides.into_iter().filter_map(|(bound, side)| self.side(bound, side, matches));
        let sides = sides.collect::<Vec<_>>().join(if matches { " and " } else { " or " });
        let several = has(several.of(path));
        match matches {
            true => format!("({sides}) or {several}"),
            false => format!("not {} or {sides} or {several}", has(one.of(path))),
        }
    }

    /// Holds where the value may lie on that side of the bound, or where it may not.
    fn side(&self, bound: &Bound<Scalar>, side: Side, matches: bool) -> Option<String> {
        let (scalar, is_included) = match bound {
            Bound::Unbounded => return None,
            Bound::Included(scalar) => (scalar, true),
            Bound::Excluded(scalar) => (scalar, false),
        };
        let (literal, is_exact) = match scalar {
            Scalar::Whole(number) => (format!("{:?}", *number as f64), is_exact(*number as f64)),
            Scalar::Real(number) => (format!("{number:?}"), is_exact(*number)),
            Scalar::Text(text) => (format!("\"{}\"", beginning(text)), false),
            Scalar::Null | Scalar::Boolean(_) => return None,
        };
        let direction = match (side, matches) {
            (Side::Above, true) | (Side::Below, false) => ">",
            (Side::Below, true) | (Side::Above, false) => "<",
        };
        let or_equal = if !is_exact || is_included == matches { "=" } else { "" };
        let Self(path, one, _) = self;
        Some(format!("ordered[\"{}\"] {direction}{or_equal} {literal}", one.of(path)))
    }
}

#[derive(Clone, Copy)]
enum Side {
    Above,
    Below,
}

/// Whether the numbers that are less stay less as floats, and the others likewise.
fn is_exact(bound: f64) -> bool {
    bound.abs() < ROUNDED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(filter: &str) -> String {
        expression(&filter.parse().expect("a filter"))
    }

    #[test]
    fn expressions_have_no_word_of_a_person() {
        let hostile =
            of("`a\"]\\` = '\" or 1 == 1' OR `b'` > '\"' AND NOT `c` IN ('\\', -1.5, null)");
        let known = ["array", "contains", "any", "terms", "ordered", "and", "or", "not"];
        for word in hostile.split(|letter: char| !letter.is_ascii_alphanumeric()) {
            let is_number = word.chars().all(|letter| letter.is_ascii_digit());
            let is_hexadecimal = word == "22";
            assert!(is_number || is_hexadecimal || known.contains(&word), "{word}: {hostile}");
        }
    }

    #[test]
    fn negation_is_written_for_what_may_not_match() {
        let year = Path::root().join("year");
        let [one, several] = [Term::Number, Term::Numbers].map(|term| term.of(&year));
        let slot = format!("ordered[\"{one}\"]");
        let [has_one, has_several] = [has(one), has(several)];
        let too_many = has(TOO_MANY);
        assert_eq!(
            of("year BETWEEN 1 AND 2.5"),
            format!("(({slot} >= 1.0 and {slot} <= 2.5) or {has_several}) or {too_many}")
        );
        assert_eq!(
            of("NOT (year > 1)"),
            format!("(not {has_one} or {slot} <= 1.0 or {has_several}) or {too_many}")
        );
        // Beyond 53 bits what is equal as a float may be either.
        assert!(of("year > 9007199254740993").contains(">= 9007199254740992.0"));
        assert!(of("NOT year >= 9007199254740993").contains("<= 9007199254740992.0"));
    }
}
