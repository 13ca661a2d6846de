//! Documents as columns on the wire, and hits as they come back.

use half::f16;
use hpd_files::fingerprint::Fingerprinter;
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Fingerprint, Result};
use hpd_index::{Document, Hit};

use super::messages::{
    Arrays, Column, Floats, Found, Json, Longs, Scalars, Strings, Vectors, kind,
};
use super::terms::{Filterable, LONGEST_JSON};

/// Bytes of the longest string that Milvus holds.
pub(super) const LONGEST_TEXT: usize = 65_535;

/// The name of a document in expressions, and its primary key: of letters that need no escape, and short whatever the id.
pub(super) fn key(id: &str) -> String {
    Fingerprint::of(id.as_bytes()).to_string()
}

/// A document as it will lie there.
pub(super) struct Row<'a> {
    pub(super) key: String,
    /// Of all that is written. Two rows that have the same need not be written over each other.
    pub(super) checksum: String,
    pub(super) was_cut: bool,
    id: &'a str,
    text: &'a str,
    metadata: String,
    vector: &'a [f32],
    filterable: Filterable,
}

impl<'a> Row<'a> {
    /// # Errors
    /// When id or metadata are longer than Milvus takes. A text is cut.
    pub(super) fn of(document: &'a Document, vector: &'a [f32]) -> Result<Self> {
        let Document { id, text, metadata } = document;
        let refuse = |what: &str, found: usize, expected: usize| {
            let beginning: String = id.chars().take(40).collect();
            Error::input(format!(
                "cannot push the document `{beginning}`, whose {what} has {found} bytes: Milvus takes at most {expected}"
            ))
        };
        if id.len() > LONGEST_TEXT {
            return Err(refuse("id", id.len(), LONGEST_TEXT)
                .hint("give it another id: `hpd index delete`, then `hpd index add`"));
        }
        let json = serde_json::to_string(metadata)
            .map_err(|e| Error::input(format!("cannot push the document `{id}`")).caused_by(e))?;
        if json.len() > LONGEST_JSON {
            return Err(refuse("metadata", json.len(), LONGEST_JSON)
                .hint("add it again with less metadata: `hpd index add`"));
        }
        let cut = &text[..text.floor_char_boundary(LONGEST_TEXT)];
        let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
        let mut checksum = Fingerprinter::new();
        checksum.add_part(cut.as_bytes()).add_part(json.as_bytes()).add_part(&bytes);
        Ok(Self {
            key: key(id),
            checksum: checksum.finish().to_string(),
            was_cut: cut.len() < text.len(),
            id,
            text: cut,
            metadata: json,
            vector,
            filterable: Filterable::of(metadata),
        })
    }
}

/// Rows as columns.
pub(super) fn columns(rows: &[&Row<'_>], half: bool) -> Vec<Column> {
    let strings = |name: &str, of: &dyn Fn(&Row<'_>) -> String| {
        let strings = Strings { data: rows.iter().map(|row| of(row)).collect() };
        scalars(name, kind::VARCHAR, Scalars { strings: Some(strings), ..Scalars::default() })
    };
    let json = |name: &str, of: &dyn Fn(&Row<'_>) -> String| {
        let json = Json { data: rows.iter().map(|row| of(row).into_bytes()).collect() };
        scalars(name, kind::JSON, Scalars { json: Some(json), ..Scalars::default() })
    };
    let terms = rows.iter().map(|row| Scalars {
        longs: Some(Longs { data: row.filterable.terms.clone() }),
        ..Scalars::default()
    });
    let terms = Arrays { data: terms.collect(), element_type: kind::INT64 };
    vec![
        strings("key", &|row| row.key.clone()),
        strings("id", &|row| row.id.to_owned()),
        strings("text", &|row| row.text.to_owned()),
        json("metadata", &|row| row.metadata.clone()),
        strings("checksum", &|row| row.checksum.clone()),
        scalars("terms", kind::ARRAY, Scalars { arrays: Some(terms), ..Scalars::default() }),
        json("ordered", &|row| row.filterable.ordered.clone()),
        vectors(rows, half),
    ]
}

fn scalars(name: &str, data_type: i32, scalars: Scalars) -> Column {
    Column { data_type, name: name.to_owned(), scalars: Some(scalars), vectors: None }
}

fn vectors(rows: &[&Row<'_>], half: bool) -> Column {
    let dim = rows.first().map_or(0, |row| row.vector.len()) as i64;
    let numbers = || rows.iter().flat_map(|row| row.vector.iter().copied());
    let vectors = if half {
        let halves = numbers().flat_map(|number| f16::from_f32(number).to_le_bytes()).collect();
        Vectors { dim, halves: Some(halves), floats: None }
    } else {
        Vectors { dim, floats: Some(Floats { data: numbers().collect() }), halves: None }
    };
    Column {
        data_type: numbers_of(half),
        name: "vector".to_owned(),
        scalars: None,
        vectors: Some(vectors),
    }
}

/// The kind of a vector's field.
pub(super) fn numbers_of(half: bool) -> i32 {
    if half { kind::FLOAT16_VECTOR } else { kind::FLOAT_VECTOR }
}

/// Some rows of queries, each as its bytes.
pub(super) fn query_bytes(queries: &Matrix, rows: &[usize], half: bool) -> Vec<Vec<u8>> {
    let bytes = |&row: &usize| {
        let numbers = queries.row(row).iter();
        if half {
            numbers.flat_map(|number| f16::from_f32(*number).to_le_bytes()).collect()
        } else {
            numbers.flat_map(|number| number.to_le_bytes()).collect()
        }
    };
    rows.iter().map(bytes).collect()
}

/// The strings of a column, if it came.
pub(super) fn strings<'a>(columns: &'a [Column], name: &str) -> Option<&'a [String]> {
    let column = columns.iter().find(|column| column.name == name)?;
    Some(&column.scalars.as_ref()?.strings.as_ref()?.data)
}

/// Hits for each query.
///
/// # Errors
/// When what came is not what was asked for.
pub(super) fn hits(found: &Found, queries: usize) -> Result<Vec<Vec<Hit>>> {
    let total = found.scores.len();
    if total == 0 {
        return Ok(vec![Vec::new(); queries]);
    }
    let metadata = found.columns.iter().find(|column| column.name == "metadata");
    let metadata = metadata.and_then(|column| Some(&column.scalars.as_ref()?.json.as_ref()?.data));
    let (Some(ids), Some(texts), Some(metadata)) =
        (strings(&found.columns, "id"), strings(&found.columns, "text"), metadata)
    else {
        return Err(Error::input("the server answered without id, text or metadata"));
    };
    let counts: Vec<usize> =
        found.counts.iter().map(|count| usize::try_from(*count).unwrap_or(0)).collect();
    let is_whole = [ids.len(), texts.len(), metadata.len(), counts.iter().sum()]
        .iter()
        .all(|length| *length == total);
    if !is_whole || counts.len() != queries {
        return Err(Error::input("the server answered with columns of different lengths"));
    }
    let mut at = 0;
    let of_query = |count| {
        let range = at..at + count;
        at += count;
        range.map(|i| hit(&ids[i], &texts[i], &metadata[i], found.scores[i])).collect()
    };
    counts.into_iter().map(of_query).collect()
}

fn hit(id: &str, text: &str, metadata: &[u8], score: f32) -> Result<Hit> {
    let metadata = serde_json::from_slice(metadata).map_err(|e| {
        Error::input(format!("the metadata of `{id}` there is no JSON object")).caused_by(e)
    })?;
    Ok(Hit { score, id: id.to_owned(), text: text.to_owned(), metadata })
}
