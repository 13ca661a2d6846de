//! A filter as an SQL condition on the table `metadata`.
//!
//! Names of fields and values are parameters, never part of the SQL. Every condition is 0 or 1, never NULL, so that
//! `NOT` is the opposite. Conjunctions become balanced trees, because SQLite limits the depth of an expression.

use std::ops::Bound;

use hpd_files::Result;
use rusqlite::types::Value;

use super::{Field, Filter, Scalar, Test};

/// SQL that is true for the matching rows of `metadata`, and the values of its parameters `?1`, `?2` and so on.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) sql: String,
    pub(crate) parameters: Vec<Value>,
}

impl Condition {
    /// Of a filter.
    ///
    /// # Errors
    /// When the filter is larger than SQLite may be asked to bear.
    pub(crate) fn of(filter: &Filter) -> Result<Self> {
        filter.check_size()?;
        let mut parameters = Parameters::default();
        let sql = parameters.filter(filter);
        Ok(Self { sql, parameters: parameters.0 })
    }
}

#[derive(Default)]
struct Parameters(Vec<Value>);

impl Parameters {
    /// Makes `value` a parameter; returns how SQL calls it.
    fn add(&mut self, value: Value) -> String {
        self.0.push(value);
        format!("?{}", self.0.len())
    }

    fn filter(&mut self, filter: &Filter) -> String {
        match filter {
            Filter::And(filters) => self.joined(filters, "AND", "1"),
            Filter::Or(filters) => self.joined(filters, "OR", "0"),
            Filter::Not(filter) => format!("NOT {}", self.filter(filter)),
            Filter::Field(field, test) => self.field(field, test),
        }
    }

    fn joined(&mut self, filters: &[Filter], operator: &str, of_none: &str) -> String {
        match filters {
            [] => of_none.to_owned(),
            [one] => self.filter(one),
            several => {
                let (left, right) = several.split_at(several.len() / 2);
                let left = self.joined(left, operator, of_none);
                format!("({left} {operator} {})", self.joined(right, operator, of_none))
            }
        }
    }

    /// Whether a value of `field` passes: the objects on the way are joined, each array taken apart.
    fn field(&mut self, field: &Field, test: &Test) -> String {
        let Some((last, way)) = field.0.split_last() else { return "0".to_owned() };
        let mut object = "fields".to_owned();
        let mut steps = Vec::new();
        for (i, name) in way.iter().enumerate() {
            let path = self.path(name);
            steps.push(format!(
                "json_each(CASE json_type({object}, {path}) WHEN 'array' THEN {object} -> {path}
                 ELSE '[' || ({object} -> {path}) || ']' END) AS step{i}"
            ));
            object = format!("CASE step{i}.type WHEN 'object' THEN step{i}.value END");
        }
        let passes = self.member(&object, last, test);
        if steps.is_empty() {
            return passes;
        }
        format!("EXISTS (SELECT 1 FROM {} WHERE {passes})", steps.join(", "))
    }

    /// Whether a member of a JSON object passes, which for an array means one of its elements.
    fn member(&mut self, object: &str, name: &str, test: &Test) -> String {
        let path = self.path(name);
        let own_type = format!("json_type({object}, {path})");
        if matches!(test, Test::Exists) {
            return format!("({own_type} IS NOT NULL)");
        }
        let alone = self.value(test, &own_type, &format!("json_extract({object}, {path})"));
        let element = self.value(test, "element.type", "element.value");
        format!(
            "coalesce(CASE {own_type} WHEN 'array' THEN
               EXISTS (SELECT 1 FROM json_each({object}, {path}) AS element WHERE {element})
             ELSE {alone} END, 0)"
        )
    }

    /// Whether one JSON value passes, given SQL for its type and itself.
    fn value(&mut self, test: &Test, type_of: &str, value: &str) -> String {
        match test {
            Test::OneOf(scalars) => self.one_of(scalars, type_of, value),
            Test::Between(low, high) => self.between(low, high, type_of, value),
            Test::Exists => "1".to_owned(),
        }
    }

    fn one_of(&mut self, scalars: &[Scalar], type_of: &str, value: &str) -> String {
        let (mut named, mut numbers, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for scalar in scalars {
            match scalar {
                Scalar::Null => named.push("'null'"),
                Scalar::Boolean(true) => named.push("'true'"),
                Scalar::Boolean(false) => named.push("'false'"),
                Scalar::Whole(_) | Scalar::Real(_) => numbers.push(self.add(parameter(scalar))),
                Scalar::Text(_) => texts.push(self.add(parameter(scalar))),
            }
        }
        let (named, numbers, texts) = (named.join(", "), numbers.join(", "), texts.join(", "));
        format!(
            "({type_of} IN ({named})
              OR ({type_of} IN {NUMBERS} AND {value} IN ({numbers}))
              OR ({type_of} = 'text' AND {value} IN ({texts})))"
        )
    }

    fn between(
        &mut self,
        low: &Bound<Scalar>,
        high: &Bound<Scalar>,
        type_of: &str,
        value: &str,
    ) -> String {
        let mut conditions = Vec::new();
        for (bound, open, closed) in [(low, ">", ">="), (high, "<", "<=")] {
            let (operator, scalar) = match bound {
                Bound::Unbounded => continue,
                Bound::Included(scalar) => (closed, scalar),
                Bound::Excluded(scalar) => (open, scalar),
            };
            let types = match scalar {
                Scalar::Whole(_) | Scalar::Real(_) => NUMBERS,
                Scalar::Text(_) => "('text')",
                Scalar::Null | Scalar::Boolean(_) => "()",
            };
            let scalar = self.add(parameter(scalar));
            conditions.push(format!("{type_of} IN {types} AND {value} {operator} {scalar}"));
        }
        if conditions.is_empty() {
            // Whatever can be ordered lies between no bounds.
            conditions.push(format!("{type_of} IN ('integer', 'real', 'text')"));
        }
        format!("({})", conditions.join(" AND "))
    }

    /// The JSON path of a member, with its name quoted as JSON quotes it.
    fn path(&mut self, name: &str) -> String {
        self.add(Value::Text(format!("$.{}", serde_json::Value::from(name))))
    }
}

/// What SQLite calls the types of JSON numbers.
const NUMBERS: &str = "('integer', 'real')";

fn parameter(scalar: &Scalar) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(value) => Value::Integer(i64::from(*value)),
        Scalar::Whole(number) => Value::Integer(*number),
        Scalar::Real(number) => Value::Real(*number),
        Scalar::Text(text) => Value::Text(text.clone()),
    }
}
