//! Products in 8 bits: rows of activations, rounded row by row as they come, times weights that were rounded once.
//!
//! Why separate from `rows`: those passes mean one number at a time; here the numbers are whole, their sums
//! exact, and only [`quantize()`] and the last step ([`finish()`]) know of f32.
//!
//! `f32 rows ─quantize─> QuantizedRows ─product with PackedWeights─> whole sums ─scale, bias, activation─> f32 rows`
//!
//! A row is rounded to 256 steps between its least and its greatest number, 0 being one of them. The form in which
//! steps and weights are held is the level's own ([`Form`]): `i16` counted from 0, so that a sum needs no correction
//! and AVX2's `vpmaddwd` adds it up exactly (with a byte each and `vpmaddubsw` two products of large numbers would
//! overflow its 16 bits), or bytes where `vpdpbusd` adds four of their products to 32 bits at once. Sums fit `i32` up to
//! [`MOST_INPUTS`]. They are the same at every level, and a row's result does not depend on its neighbours.
//!
//! # Source
//! Dynamic quantisation as in ONNX Runtime and `gemmlowp`: <https://arxiv.org/abs/1712.05877>, section 2.

mod finish;
mod form;
mod product;
mod quantize;
mod tile;
mod weights;

pub use finish::finish;
use form::Form;
pub use product::{Product, product};
pub use quantize::{QuantizedRows, STEPS, quantize};
pub use weights::PackedWeights;

use crate::Level;
use crate::level::Instructions;

/// Widest row whose sums fit 32 bits whatever the numbers are: `2^31 / (255 · 128)`.
pub const MOST_INPUTS: usize = 65_536;

/// Whether [`product()`] uses the best instructions that `level` has for it.
///
/// Not those of ARM: no machine was at hand on which a kernel for them could have been run. There [`product()`] works,
/// but a library's sums with [`finish()`] behind them are faster.
pub fn is_native(level: Level) -> bool {
    match level.0 {
        Instructions::Portable => true,
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 | Instructions::Avx512 | Instructions::Vnni | Instructions::Bfloat16 => {
            true
        }
        #[cfg(target_arch = "aarch64")]
        Instructions::Neon => false,
    }
}
