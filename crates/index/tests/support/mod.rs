//! Stores and documents for the tests.
#![allow(dead_code, reason = "each test file uses its own part of a module it shares")]

use hpd_files::vectors::Matrix;
use hpd_index::{Document, StoreModel, StoreSettings};

pub(crate) const DIM: usize = 8;

pub(crate) fn settings() -> StoreSettings {
    let model = StoreModel {
        name: "models/student".to_owned(),
        revision: None,
        weights: "weights-1".to_owned(),
        space: "space-1".to_owned(),
        dim: DIM,
    };
    StoreSettings { model, ..StoreSettings::default() }
}

pub(crate) fn document(id: &str, text: &str) -> Document {
    let metadata =
        serde_json::Map::from_iter([("words".to_owned(), text.split(' ').count().into())]);
    Document { id: id.to_owned(), text: text.to_owned(), metadata }
}

pub(crate) fn matrix(rows: &[[f32; DIM]]) -> Matrix {
    Matrix { data: rows.concat(), dim: DIM }
}

/// A vector that depends on the text alone, with few enough values that scores tie.
pub(crate) fn vector_of(text: &str) -> [f32; DIM] {
    let hash = text.bytes().fold(17u64, |hash, byte| hash.wrapping_mul(31) ^ u64::from(byte));
    std::array::from_fn(|i| ((hash >> (3 * i)) % 3) as f32 - 1.0)
}
