//! A filter's meaning, asked of one document: for engines whose own filters say less.

use std::cmp::Ordering;
use std::ops::Bound;

use serde_json::{Map, Value};

use super::{Field, Filter, Scalar, Test};

impl Filter {
    /// Whether a document with this metadata matches, just as a search in a store has it.
    pub fn matches(&self, metadata: &Map<String, Value>) -> bool {
        match self {
            Self::And(filters) => filters.iter().all(|filter| filter.matches(metadata)),
            Self::Or(filters) => filters.iter().any(|filter| filter.matches(metadata)),
            Self::Not(filter) => !filter.matches(metadata),
            Self::Field(field, test) => {
                let mut values = field.values(metadata).into_iter();
                match test {
                    Test::Exists => values.next().is_some(),
                    test => values.flat_map(elements).any(|value| test.passes(value)),
                }
            }
        }
    }
}

impl Field {
    /// All values that its names lead to: arrays on the way are taken apart, one level deep.
    fn values<'a>(&self, metadata: &'a Map<String, Value>) -> Vec<&'a Value> {
        let Some((last, way)) = self.0.split_last() else { return Vec::new() };
        let mut objects = vec![metadata];
        for name in way {
            let values = objects.iter().filter_map(|object| object.get(name));
            objects = values.flat_map(elements).filter_map(Value::as_object).collect();
        }
        objects.iter().filter_map(|object| object.get(last)).collect()
    }
}

impl Test {
    /// Whether a value that is no array passes.
    fn passes(&self, value: &Value) -> bool {
        match self {
            Self::Exists => true,
            Self::OneOf(scalars) => {
                scalars.iter().any(|scalar| compare(value, scalar) == Some(Ordering::Equal))
            }
            Self::Between(low, high) => {
                lies_beyond(value, low, Ordering::Greater)
                    && lies_beyond(value, high, Ordering::Less)
            }
        }
    }
}

/// An array's elements, or the value itself.
fn elements(value: &Value) -> &[Value] {
    match value {
        Value::Array(elements) => elements,
        alone => std::slice::from_ref(alone),
    }
}

/// Whether a value lies on one side of a bound. Whatever can be ordered lies on both sides of none.
fn lies_beyond(value: &Value, bound: &Bound<Scalar>, side: Ordering) -> bool {
    let (scalar, is_included) = match bound {
        Bound::Unbounded => return value.is_number() || value.is_string(),
        Bound::Included(scalar) => (scalar, true),
        Bound::Excluded(scalar) => (scalar, false),
    };
    if matches!(scalar, Scalar::Null | Scalar::Boolean(_)) {
        return false;
    }
    compare(value, scalar)
        .is_some_and(|found| found == side || is_included && found == Ordering::Equal)
}

/// How a value compares with one of the same type.
fn compare(value: &Value, scalar: &Scalar) -> Option<Ordering> {
    match (value, scalar) {
        (Value::Null, Scalar::Null) => Some(Ordering::Equal),
        (Value::Bool(a), Scalar::Boolean(b)) => Some(a.cmp(b)),
        (Value::String(a), Scalar::Text(b)) => Some(a.as_str().cmp(b)),
        (Value::Number(a), Scalar::Whole(b)) => match a.as_i64() {
            Some(a) => Some(a.cmp(b)),
            None => compare_whole(*b, a.as_f64()?).map(Ordering::reverse),
        },
        (Value::Number(a), Scalar::Real(b)) => match a.as_i64() {
            Some(a) => compare_whole(a, *b),
            None => a.as_f64()?.partial_cmp(b),
        },
        _ => None,
    }
}

/// Exactly, where making the whole number a real one would round it.
fn compare_whole(whole: i64, real: f64) -> Option<Ordering> {
    /// The first real number that no whole one of 64 bits reaches.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if real.is_nan() {
        return None;
    }
    if real >= BEYOND {
        return Some(Ordering::Less);
    }
    if real < -BEYOND {
        return Some(Ordering::Greater);
    }
    let floor = real.floor();
    Some(whole.cmp(&(floor as i64)).then(if real > floor {
        Ordering::Less
    } else {
        Ordering::Equal
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_and_real_numbers_compare_without_rounding() {
        let largest = 9_007_199_254_740_992;
        assert_eq!(compare_whole(largest + 1, largest as f64), Some(Ordering::Greater));
        assert_eq!(compare_whole(largest, largest as f64), Some(Ordering::Equal));
        assert_eq!(compare_whole(-1, -0.5), Some(Ordering::Less));
        assert_eq!(compare_whole(-1, -1.5), Some(Ordering::Greater));
        assert_eq!(compare_whole(i64::MAX, 9.3e18), Some(Ordering::Less));
        assert_eq!(compare_whole(i64::MIN, -9.3e18), Some(Ordering::Greater));
        assert_eq!(compare_whole(0, f64::NAN), None);
    }
}
