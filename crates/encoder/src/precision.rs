//! Vectors in fewer bits, with the meaning of sentence-transformers' `quantize_embeddings`.
//!
//! Separate from encoding, because the ranges of int8 come from many vectors and outlive a batch: whoever compares
//! two sets of int8 vectors must have made both with the same [`Ranges`].
//!
//! `Matrix ─Quantizer─> Block`
//!
//! # Source
//! sentence-transformers 6, `util/quantization.py`; "Binary and Scalar Embedding Quantization", Hugging Face 2024.

use std::fmt;
use std::str::FromStr;

use hpd_files::vectors::{Block, Element, Matrix};
use hpd_files::{Error, Result};
use serde::{Deserialize, Serialize};

/// How the numbers of a vector are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they are.
    #[default]
    Float32,
    /// 256 steps between the least and the greatest value of each dimension, -128 to 127.
    Int8,
    /// The same from 0 to 255.
    UInt8,
    /// One bit a number, set where it is positive, eight to a byte from the highest bit down, minus 128.
    Binary,
    /// The same without the subtraction.
    UBinary,
}

impl Precision {
    const NAMES: [(&str, Self); 5] = [
        ("float32", Self::Float32),
        ("int8", Self::Int8),
        ("uint8", Self::UInt8),
        ("binary", Self::Binary),
        ("ubinary", Self::UBinary),
    ];

    /// Whether [`Ranges`] are needed.
    pub fn needs_ranges(self) -> bool {
        matches!(self, Self::Int8 | Self::UInt8)
    }

    /// Numbers in a stored row for a vector of `dim`; bits fill up a last byte with zeros.
    pub fn width(self, dim: usize) -> usize {
        match self {
            Self::Float32 | Self::Int8 | Self::UInt8 => dim,
            Self::Binary | Self::UBinary => dim.div_ceil(8),
        }
    }

    /// Type of the stored numbers.
    pub fn element(self) -> Element {
        match self {
            Self::Float32 => Element::Float32,
            Self::Int8 | Self::Binary => Element::Int8,
            Self::UInt8 | Self::UBinary => Element::UInt8,
        }
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::NAMES.into_iter().find(|(known, _)| *known == name);
        known.map(|(_, precision)| precision).ok_or_else(|| {
            let names = Self::NAMES.map(|(name, _)| name).join(", ");
            Error::input(format!("`{name}` is no precision; expected one of {names}"))
        })
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.into_iter().find(|(_, precision)| precision == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// The least and the greatest value of each dimension over a set of vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranges {
    /// `[dim]`.
    pub minimum: Vec<f32>,
    /// `[dim]`.
    pub maximum: Vec<f32>,
    /// How many vectors they were taken from.
    pub vectors: u64,
}

impl Ranges {
    /// Fewer vectors than this give ranges that many later values fall outside of (sentence-transformers warns at the same number).
    pub const FEW: u64 = 100;

    /// Ranges of no vectors yet.
    pub fn new(dim: usize) -> Self {
        Self {
            minimum: vec![f32::INFINITY; dim],
            maximum: vec![f32::NEG_INFINITY; dim],
            vectors: 0,
        }
    }

    /// Takes in more vectors, of the same width.
    pub fn widen(&mut self, rows: &Matrix) {
        for row in rows.rows() {
            for ((least, greatest), &value) in
                self.minimum.iter_mut().zip(&mut self.maximum).zip(row)
            {
                *least = least.min(value);
                *greatest = greatest.max(value);
            }
        }
        self.vectors += rows.len() as u64;
    }

    /// Checks ranges that come from outside.
    ///
    /// # Errors
    /// When they are of another width than `dim`, empty or not finite.
    pub fn check(&self, dim: usize) -> Result<()> {
        let width = self.minimum.len();
        if width != dim || self.maximum.len() != dim {
            return Err(Error::mismatch(format!(
                "the ranges are of {width} dimensions, but the vectors have {dim}"
            )));
        }
        let mut pairs = self.minimum.iter().zip(&self.maximum);
        match pairs
            .position(|(least, greatest)| !(greatest - least).is_finite() || least > greatest)
        {
            None => Ok(()),
            Some(at) => Err(Error::input(format!(
                "the range of dimension {at} is {} to {}; expected finite numbers in this order",
                self.minimum[at], self.maximum[at]
            ))),
        }
    }
}

/// Brings vectors to a precision.
#[derive(Clone, Debug)]
pub struct Quantizer {
    precision: Precision,
    /// Start and step of each dimension, for the precisions that have them.
    scale: Vec<(f32, f32)>,
}

impl Quantizer {
    /// For vectors of `dim`.
    ///
    /// # Errors
    /// When the precision needs ranges and there are none, or not for this width.
    pub fn new(precision: Precision, dim: usize, ranges: Option<&Ranges>) -> Result<Self> {
        let scale = match ranges.filter(|_| precision.needs_ranges()) {
            Some(ranges) => {
                ranges.check(dim)?;
                ranges.minimum.iter().zip(&ranges.maximum).map(|(&a, &b)| (a, step(a, b))).collect()
            }
            None if precision.needs_ranges() => {
                return Err(Error::input(format!("precision {precision} needs ranges")));
            }
            None => Vec::new(),
        };
        Ok(Self { precision, scale })
    }

    /// Rows of [`Precision::width`] numbers.
    pub fn quantize(&self, rows: &Matrix) -> Block {
        match self.precision {
            Precision::Float32 => Block::Float32(rows.data.clone()),
            Precision::UInt8 => Block::UInt8(self.bytes(rows).collect()),
            Precision::Int8 => Block::Int8(self.bytes(rows).map(minus_128).collect()),
            Precision::UBinary => Block::UInt8(bits(rows).collect()),
            Precision::Binary => Block::Int8(bits(rows).map(minus_128).collect()),
        }
    }

    fn bytes(&self, rows: &Matrix) -> impl Iterator<Item = u8> {
        // Values outside the ranges stop at their ends: a cast from float saturates.
        let values = rows.data.iter().zip(self.scale.iter().cycle());
        values.map(|(value, (start, step))| ((value - start) / step).floor() as u8)
    }
}

/// A dimension that never changes has no width to divide by; all its values become 0.
fn step(least: f32, greatest: f32) -> f32 {
    let step = (greatest - least) / 255.0;
    if step == 0.0 { 1.0 } else { step }
}

fn minus_128(byte: u8) -> i8 {
    (byte ^ 0x80).cast_signed()
}

fn bits(rows: &Matrix) -> impl Iterator<Item = u8> {
    rows.rows().flat_map(|row| row.chunks(8)).map(|eight| {
        let byte = eight.iter().fold(0, |bits, &value| bits << 1 | u8::from(value > 0.0));
        byte << (8 - eight.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const GOLDENS: &str = include_str!("../../../fixtures/precision/goldens.json");

    fn numbers(value: &Value) -> Vec<f32> {
        value.as_array().unwrap().iter().map(|n| n.as_f64().unwrap() as f32).collect()
    }

    /// Rows of equal length as one matrix.
    fn matrix(value: &Value) -> Matrix {
        let rows = value.as_array().unwrap();
        let dim = rows[0].as_array().unwrap().len();
        Matrix { data: rows.iter().flat_map(numbers).collect(), dim }
    }

    fn as_floats(block: Block) -> Vec<f32> {
        match block {
            Block::Float32(numbers) => numbers,
            Block::Int8(numbers) => numbers.into_iter().map(f32::from).collect(),
            Block::UInt8(numbers) => numbers.into_iter().map(f32::from).collect(),
        }
    }

    #[test]
    fn every_precision_is_that_of_sentence_transformers() {
        let cases: Vec<Value> = serde_json::from_str(GOLDENS).unwrap();
        for case in &cases {
            let vectors = matrix(&case["vectors"]);
            let mut ranges = Ranges::new(vectors.dim);
            ranges.widen(&matrix(&case["calibration"]));
            for (name, expected) in case["expected"].as_object().unwrap() {
                let precision: Precision = name.parse().unwrap();
                let quantizer = Quantizer::new(precision, vectors.dim, Some(&ranges)).unwrap();
                let found = quantizer.quantize(&vectors);
                assert_eq!(found.element(), precision.element());
                assert_eq!(as_floats(found), matrix(expected).data, "{name} of {}", case["name"]);
                assert_eq!(matrix(expected).dim, precision.width(vectors.dim));
            }
        }
    }

    #[test]
    fn values_outside_the_ranges_stop_at_their_ends() {
        let ranges = Ranges { minimum: vec![0.0], maximum: vec![255.0], vectors: 2 };
        let vectors = Matrix { data: vec![-9.0, 0.0, 255.0, 999.0], dim: 1 };
        let quantizer = Quantizer::new(Precision::Int8, 1, Some(&ranges)).unwrap();
        assert_eq!(quantizer.quantize(&vectors), Block::Int8(vec![-128, -128, 127, 127]));
    }

    #[test]
    fn ranges_grow_the_same_in_blocks_and_at_once() {
        let data: Vec<f32> = (0u16..60).map(|i| f32::from(i * 37 % 61) - 30.0).collect();
        let mut at_once = Ranges::new(3);
        at_once.widen(&Matrix { data: data.clone(), dim: 3 });
        let mut in_blocks = Ranges::new(3);
        data.chunks(12).for_each(|block| in_blocks.widen(&Matrix { data: block.to_vec(), dim: 3 }));
        assert_eq!(at_once, in_blocks);
        assert_eq!(at_once.vectors, 20);
    }

    #[test]
    fn unfit_ranges_are_refused() {
        let fit = Ranges { minimum: vec![0.0, 0.0], maximum: vec![1.0, 1.0], vectors: 9 };
        assert!(Quantizer::new(Precision::Int8, 2, Some(&fit)).is_ok());
        assert!(Quantizer::new(Precision::Int8, 3, Some(&fit)).is_err());
        assert!(Quantizer::new(Precision::Int8, 2, None).is_err());
        assert!(Quantizer::new(Precision::Int8, 2, Some(&Ranges::new(2))).is_err());
        let turned = Ranges { minimum: vec![0.0, 2.0], ..fit };
        assert!(Quantizer::new(Precision::UInt8, 2, Some(&turned)).is_err());
        assert!(Quantizer::new(Precision::Binary, 2, Some(&turned)).is_ok());
    }

    #[test]
    fn names_read_back() {
        for (name, precision) in Precision::NAMES {
            assert_eq!(name.parse::<Precision>().unwrap(), precision);
            assert_eq!(precision.to_string(), name);
        }
        assert!("int4".parse::<Precision>().is_err());
    }
}
