//! What an embedding server answers, read with distrust.
//!
//! Separate from the asking because this part is a pure function of bytes: `body → Matrix`, or words that say
//! what is wrong with it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hpd_files::vectors::Matrix;
use serde::Deserialize;
use serde_json::Value;

/// The longest piece of a server's own words that goes into an error.
const MOST_WORDS: usize = 300;

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    embedding: Embedding,
    index: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Embedding {
    Base64(String),
    Numbers(Vec<Value>),
}

/// Reads an answer that must hold `expected` vectors of one width, in any order, or says what is wrong.
pub(crate) fn read(body: &[u8], expected: usize) -> Result<Matrix, String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        format!("the answer is no list of embeddings: {error}: {}", server_words(body))
    })?;
    if answer.data.len() != expected {
        return Err(format!("asked for {expected} vectors, got {}", answer.data.len()));
    }
    let mut rows = vec![None; expected];
    for (position, item) in answer.data.into_iter().enumerate() {
        let index = item.index.unwrap_or(position);
        let place = rows.get_mut(index).ok_or_else(|| {
            format!("vector with index {index}, but only {expected} were asked for")
        })?;
        if place.replace(item.embedding.numbers(index)?).is_some() {
            return Err(format!("two vectors with index {index}"));
        }
    }
    one_width(rows.into_iter().flatten().collect())
}

fn one_width(rows: Vec<Vec<f32>>) -> Result<Matrix, String> {
    let dim = rows.first().map_or(0, Vec::len);
    if dim == 0 {
        return Err("the vectors are empty".to_owned());
    }
    if let Some(other) = rows.iter().find(|row| row.len() != dim) {
        return Err(format!("vectors of {dim} and of {} numbers in one answer", other.len()));
    }
    Ok(Matrix { data: rows.concat(), dim })
}

impl Embedding {
    fn numbers(self, index: usize) -> Result<Vec<f32>, String> {
        let numbers = match self {
            Self::Base64(text) => floats(&text)
                .ok_or_else(|| format!("vector {index} holds no 32-bit floats in base64"))?,
            Self::Numbers(values) => values.iter().map(number).collect(),
        };
        match numbers.iter().position(|number| !number.is_finite()) {
            Some(place) => Err(format!("number {place} of vector {index} is not finite")),
            None => Ok(numbers),
        }
    }
}

/// NaN for everything that JSON can hold and that is no number.
fn number(value: &Value) -> f32 {
    value.as_f64().map_or(f32::NAN, |number| number as f32)
}

/// Little-endian 32-bit floats in standard base64, padded or not.
fn floats(text: &str) -> Option<Vec<f32>> {
    let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
    let (floats, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| floats.iter().map(|four| f32::from_le_bytes(*four)).collect())
}

/// What the server says about a refusal, in its own words, cut to a length that fits on a screen.
pub(crate) fn server_words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let words = message(&text).unwrap_or_else(|| text.into_owned());
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|c| !c.is_control()).take(MOST_WORDS).collect()
}

/// Whether a 429 is about money, which waiting does not bring.
pub(crate) fn is_out_of_quota(body: &[u8]) -> bool {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    answer["error"]["code"] == "insufficient_quota"
}

/// The places where OpenAI and its kin put their words.
fn message(text: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(text).ok()?;
    let places =
        [&answer["error"]["message"], &answer["error"], &answer["message"], &answer["detail"]];
    places.into_iter().find_map(Value::as_str).map(str::to_owned)
}
