//! What the words of a matrix hold.

use crate::Level;
use crate::level::Instructions;

/// In which numbers a product multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numbers {
    /// f32 as they are.
    #[default]
    Float32,
    /// Rounded to bfloat16, 8 bits of precision.
    Bfloat16,
}

/// How a level wants numbers to lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    /// An f32 a word.
    #[default]
    Float,
    /// An f32 a word, rounded to bfloat16.
    RoundedFloat,
    /// Two bfloat16 a word, the first in the lower half.
    Pair,
}

impl Form {
    pub(super) fn of(level: Level, numbers: Numbers) -> Self {
        match (numbers, level.0) {
            (Numbers::Float32, _) => Self::Float,
            #[cfg(target_arch = "x86_64")]
            (Numbers::Bfloat16, Instructions::Bfloat16) => Self::Pair,
            (Numbers::Bfloat16, _) => Self::RoundedFloat,
        }
    }

    /// Words for `numbers` of them along a sum.
    pub(super) fn words(self, numbers: usize) -> usize {
        match self {
            Self::Float | Self::RoundedFloat => numbers,
            Self::Pair => numbers.div_ceil(2),
        }
    }
}

/// The nearest bfloat16, the even one of two; what is not a number stays so.
#[inline(always)]
pub(super) fn bfloat16(x: f32) -> u32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // The rounding would carry some of them into the sign.
    if x.is_nan() { bits >> 16 | 0x40 } else { nearest }
}

/// The word of a number alone, in a form that has one a word.
#[inline(always)]
pub(super) fn alone<const ROUNDED: bool>(x: f32) -> u32 {
    if ROUNDED { bfloat16(x) << 16 } else { x.to_bits() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(x: f32) -> f32 {
        f32::from_bits(alone::<true>(x))
    }

    #[test]
    fn rounds_to_the_nearest_and_ties_to_the_even_one() {
        let step = 2_f32.powi(-7);
        for (x, expected) in [
            (1.0, 1.0),
            (1.0 + 0.4 * step, 1.0),
            (1.0 + 0.6 * step, 1.0 + step),
            (1.0 + 0.5 * step, 1.0),
            (1.0 + 1.5 * step, 1.0 + 2.0 * step),
            (-3.0 - step, -3.0),
            (0.0, 0.0),
            (f32::INFINITY, f32::INFINITY),
            (f32::MAX, f32::INFINITY),
        ] {
            assert_eq!(rounded(x), expected, "{x}");
        }
        assert!(rounded(f32::from_bits(0x7f80_0001)).is_nan());
        assert!(rounded(f32::from_bits(0xffff_ffff)).is_nan());
        assert!(rounded(-0.0).is_sign_negative());
    }
}
