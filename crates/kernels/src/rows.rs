//! Row operations of a Transformer: GELU, layer norm, attention, AdamW, for training each with its gradient.
//!
//! Why separate from the products: these passes touch every activation once and do little arithmetic, so as
//! chains of general tensor operations they cost as much as the matrix products between them. Here each is one
//! pass over plain slices. Nothing allocates or spawns threads; callers cut rows into pieces for that.
//!
//! Every kernel takes a [`Level`](crate::Level) first and is compiled once for each: the body is ordinary Rust that the
//! compiler turns into 512-bit, 256-bit or baseline vectors. Twins in `f64` (`reference.rs`, for tests) are
//! their meaning.
//!
//! Letters: `n` rows or tokens, `width` numbers in a row.

pub(crate) mod activation;
mod adamw;
mod attention;
mod dropout;
mod norm;
mod passes;
mod product;
#[cfg(test)]
mod reference;
mod sums;

pub use activation::{gelu, gelu_gradient};
pub use adamw::{AdamW, adamw};
use attention::softmax;
pub use attention::{AttentionShape, attend, attention, attention_gradient};
pub use dropout::Dropout;
pub use norm::{LayerNormGradient, add_layer_norm, layer_norm_gradient};
pub use passes::{
    Norm, activate, add_and_normalize, add_rows, multiply_rows, normalize, softmax_rows,
};
pub use sums::{column_sums, sum_of_squares};
