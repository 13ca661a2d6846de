//! How a level wants rows and weights to lie.

use crate::Level;
use crate::level::Instructions;

/// What one instruction of a level reads of a row and of an output's weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    /// Two steps of 16 bits, counted from 0, and two weights.
    #[default]
    Words,
    /// Four steps of 8 bits, counted from the row's least number, and four weights.
    Bytes,
}

impl Form {
    /// The one that the level's product reads.
    pub(super) fn of(level: Level) -> Self {
        match level.0 {
            #[cfg(target_arch = "x86_64")]
            Instructions::Vnni | Instructions::Bfloat16 => Self::Bytes,
            _ => Self::Words,
        }
    }

    /// Inputs that are read at once; rows and weights are filled up to a multiple.
    pub(super) fn inputs(self) -> usize {
        match self {
            Self::Words => 2,
            Self::Bytes => 4,
        }
    }
}
