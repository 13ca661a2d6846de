//! A filter as an SQL/JSON path on the column `metadata`, for `jsonb_path_exists(metadata, path, values)`.
//!
//! Both path and values are parameters of the statement; values are never part of the path either, and names stand in
//! it between quotes as JSON quotes them. A path in lax mode takes arrays apart one level deep, on the way to a field and at
//! its end, as the language of filters does. `exists` is true or false and never unknown, so `!` is the opposite.

use std::ops::Bound;

use hpd_index::{Field, Filter, Scalar, Test};
use serde_json::{Map, Value};

/// A path that exists in the metadata of matching documents, and its values `$v0`, `$v1` and so on.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) path: String,
    pub(super) values: Value,
}

impl Condition {
    pub(super) fn of(filter: &Filter) -> Self {
        let mut values = Values::default();
        let path = format!("$ ? ({})", values.filter(filter));
        Self { path, values: Value::Object(values.0) }
    }
}

#[derive(Default)]
struct Values(Map<String, Value>);

impl Values {
    /// Makes `value` a variable; returns how the path calls it.
    fn add(&mut self, value: Value) -> String {
        let name = format!("v{}", self.0.len());
        let called = format!("${name}");
        self.0.insert(name, value);
        called
    }

    fn filter(&mut self, filter: &Filter) -> String {
        match filter {
            Filter::And(filters) => self.joined(filters, " && ", "1 == 1"),
            Filter::Or(filters) => self.joined(filters, " || ", "1 == 0"),
            Filter::Not(filter) => format!("!({})", self.filter(filter)),
            Filter::Field(Field(names), _) if names.is_empty() => "1 == 0".to_owned(),
            Filter::Field(Field(names), test) => {
                let names = names.iter().map(|name| format!(".{}", Value::from(name.as_str())));
                format!("exists(@{}{})", names.collect::<String>(), self.test(test))
            }
        }
    }

    fn joined(&mut self, filters: &[Filter], operator: &str, of_none: &str) -> String {
        let each = filters.iter().map(|filter| format!("({})", self.filter(filter)));
        let each: Vec<_> = each.collect();
        if each.is_empty() { of_none.to_owned() } else { each.join(operator) }
    }

    /// What follows the path of a field. An array within an array is no element that could be compared.
    fn test(&mut self, test: &Test) -> String {
        match test {
            Test::Exists => String::new(),
            Test::OneOf(scalars) => {
                let values = self.add(scalars.iter().map(json).collect());
                format!(" ? (@.type() != \"array\" && @ == {values}[*])")
            }
            Test::Between(low, high) => {
                let bounds = [self.bound(low, ">", ">="), self.bound(high, "<", "<=")];
                format!(" ? ({} && {})", bounds[0], bounds[1])
            }
        }
    }

    fn bound(&mut self, bound: &Bound<Scalar>, open: &str, closed: &str) -> String {
        let (operator, scalar) = match bound {
            // Whatever can be ordered lies behind no bound.
            Bound::Unbounded => {
                return "(@.type() == \"number\" || @.type() == \"string\")".to_owned();
            }
            Bound::Included(scalar) => (closed, scalar),
            Bound::Excluded(scalar) => (open, scalar),
        };
        let type_of = match scalar {
            Scalar::Whole(_) | Scalar::Real(_) => "number",
            Scalar::Text(_) => "string",
            Scalar::Null | Scalar::Boolean(_) => return "1 == 0".to_owned(),
        };
        format!("@.type() == \"{type_of}\" && @ {operator} {}", self.add(json(scalar)))
    }
}

fn json(scalar: &Scalar) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(value) => (*value).into(),
        Scalar::Whole(number) => (*number).into(),
        Scalar::Real(number) => (*number).into(),
        Scalar::Text(text) => text.as_str().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_values_stand_apart() {
        let filter = "`a\"b'c`.d = 'x\"y' AND NOT year >= 1990".parse().expect("a filter");
        let condition = Condition::of(&filter);
        assert_eq!(
            condition.path,
            r#"$ ? ((exists(@."a\"b'c"."d" ? (@.type() != "array" && @ == $v0[*]))) && (!(exists(@."year" ? (@.type() == "number" && @ >= $v1 && (@.type() == "number" || @.type() == "string"))))))"#
        );
        assert_eq!(condition.values, serde_json::json!({"v0": ["x\"y"], "v1": 1990}));
    }
}
