//! Products of matrices in f32 and in bfloat16, with sums in f32.
//!
//! Why beside a library's: bias and activation are applied while a tile's sums are in registers, the CPU's bfloat16
//! instructions are used where it has them (twice the speed of f32), and both factors may lie in memory either way
//! round, as training has them.
//!
//! `matrix ─pack─> Panels`, `rows ─as they are, rounded or packed─> Rows`, `Rows × Panels ─product, bias, activation─> rows`
//!
//! A *word* is 32 bits: an f32, or two bfloat16 that follow each other along the sum. Words lie alike in both
//! [`Form`]s, so only the innermost instruction knows which they are. Where the CPU has no bfloat16, words hold
//! rounded f32: the products are the same, and only their sums round otherwise.
//!
//! A number is summed along its row in order, whatever stands beside it, so a row's result depends on that row alone.

mod form;
mod panels;
mod product;
mod rows;
mod tile;
mod view;

use form::Form;
pub use form::Numbers;
pub use panels::Panels;
pub use product::{Product, product};
pub use rows::{RowScratch, Rows};
pub use view::View;

use crate::Level;
use crate::level::Instructions;

/// Whether [`product()`] uses the best instructions that `level` has for it.
///
/// Not those of ARM, where no machine was at hand to write them on: [`product()`] works there, but a library is faster.
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
