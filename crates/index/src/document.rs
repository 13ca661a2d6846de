//! What a store holds: a text with an id and whatever else its record said.

use hpd_files::fingerprint::Fingerprinter;
use hpd_files::records::Record;
use serde_json::{Map, Value};

/// One document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// Names it in its store; adding another of the same id replaces it.
    pub id: String,
    /// What is searched.
    pub text: String,
    /// What comes back with a hit beside the text.
    pub metadata: Map<String, Value>,
}

/// A record becomes a document; one without an id is named by the fingerprint of its contents.
///
/// A line of a text file thus keeps its name when lines above it come or go, a second copy of it is the same
/// document, and a changed line is a new one.
impl From<Record> for Document {
    fn from(record: Record) -> Self {
        let id = record.id.unwrap_or_else(|| contents_id(&record.text, &record.fields));
        Self { id, text: record.text, metadata: record.fields }
    }
}

fn contents_id(text: &str, fields: &Map<String, Value>) -> String {
    let mut contents = Fingerprinter::new();
    contents.add_part(text.as_bytes());
    for (name, value) in fields {
        contents.add_part(name.as_bytes()).add_part(value.to_string().as_bytes());
    }
    contents.finish().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str, field: &str) -> Record {
        let fields = Map::from_iter([("source".to_owned(), Value::from(field))]);
        Record { id: None, text: text.to_owned(), fields }
    }

    #[test]
    fn records_without_an_id_are_named_by_all_they_say() {
        let id = |text, field| Document::from(record(text, field)).id;
        assert_eq!(id("a", "x"), id("a", "x"));
        assert_ne!(id("a", "x"), id("b", "x"));
        assert_ne!(id("a", "x"), id("a", "y"));
        assert_eq!(id("a", "x").len(), 32);
    }

    #[test]
    fn an_id_given_is_kept() {
        let given = Record { id: Some("7".to_owned()), ..record("a", "x") };
        assert_eq!(Document::from(given).id, "7");
    }
}
