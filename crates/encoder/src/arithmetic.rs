//! In which numbers a Transformer multiplies.
//!
//! Apart from [`Precision`](crate::Precision), which says how finished vectors are stored: a model may compute in 8
//! bits and give floats, and the other way round.

use std::fmt;
use std::str::FromStr;

use hpd_files::Error;
use serde::{Deserialize, Serialize};

/// Numbers in which a Transformer's matrix products are computed.
///
/// Layer norms, attention, embeddings and the head are in f32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// f32, as the weights were trained.
    #[default]
    Float32,
    /// Weights and activations rounded to bfloat16 as they meet, sums in f32: twice as fast where the CPU multiplies
    /// bfloat16, and the same but for the order of sums where it does not.
    Bfloat16,
    /// Weights rounded to 8 bits by output, activations by token while they are computed.
    Int8,
}

impl Arithmetic {
    const NAMES: [(&str, Self); 3] =
        [("float32", Self::Float32), ("bfloat16", Self::Bfloat16), ("int8", Self::Int8)];
}

impl FromStr for Arithmetic {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let known = Self::NAMES.into_iter().find(|(known, _)| *known == name);
        known.map(|(_, arithmetic)| arithmetic).ok_or_else(|| {
            let names = Self::NAMES.map(|(name, _)| name).join(", ");
            Error::input(format!("`{name}` is nothing to compute in; expected one of {names}"))
        })
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.into_iter().find(|(_, arithmetic)| arithmetic == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}
