//! From named fields to a record: which one is the id, which the text.
//!
//! JSON lines, tables and Parquet differ in how they store fields and agree from here on.

use serde_json::{Map, Value};

use super::{Record, RecordOptions};
use crate::{Error, Result};

/// Takes id and text out of `fields`; `place` names the record in errors.
pub(super) fn into_record(
    mut fields: Map<String, Value>,
    options: &RecordOptions,
    place: impl Fn() -> String,
) -> Result<Record> {
    let id = take_id(&mut fields, options, &place)?;
    let text = match fields.remove(&options.text_field) {
        Some(Value::String(text)) => text,
        Some(other) => return Err(wrong_type(&place(), &options.text_field, "a string", &other)),
        None => return Err(no_field(&place(), "--text-field", &options.text_field, fields.keys())),
    };
    Ok(Record { id, text, fields })
}

fn take_id(
    fields: &mut Map<String, Value>,
    options: &RecordOptions,
    place: impl Fn() -> String,
) -> Result<Option<String>> {
    let asked = options.id_field.as_deref();
    let present = match asked {
        Some(name) => fields.contains_key(name).then_some(name),
        None => ["id", "_id"].into_iter().find(|name| fields.contains_key(*name)),
    };
    let Some(name) = present else {
        return match asked {
            Some(name) => Err(no_field(&place(), "--id-field", name, fields.keys())),
            None => Ok(None),
        };
    };
    match fields.remove(name) {
        // An empty cell of a table is how it says that there is none.
        Some(Value::String(id)) if id.is_empty() && asked.is_none() => Ok(None),
        Some(Value::String(id)) if id.is_empty() => {
            Err(Error::input(format!("field `{name}` in {} is empty; expected an id", place())))
        }
        Some(Value::String(id)) => Ok(Some(id)),
        // A float would not come back as it was spelled: 2^64 is 1.8446744073709552e19.
        Some(Value::Number(id)) if !id.is_f64() => Ok(Some(id.to_string())),
        Some(Value::Null) | None if asked.is_none() => Ok(None),
        other => {
            let found = other.unwrap_or_default();
            Err(wrong_type(&place(), name, "a string or a 64-bit integer", &found))
        }
    }
}

fn wrong_type(place: &str, field: &str, expected: &str, found: &Value) -> Error {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Error::input(format!("field `{field}` in {place} is {found}; expected {expected}"))
}

/// The error of a missing field, with the fields there are.
pub(super) fn no_field<'a>(
    place: &str,
    flag: &str,
    field: &str,
    present: impl Iterator<Item = &'a String>,
) -> Error {
    let present: Vec<String> = present.map(|name| format!("`{name}`")).collect();
    let error = if present.is_empty() {
        Error::input(format!("no field `{field}` in {place}; it has no other field"))
    } else {
        Error::input(format!("no field `{field}` in {place}; it has {}", present.join(", ")))
    };
    error.hint(format!("name the field with `{flag} NAME`"))
}
