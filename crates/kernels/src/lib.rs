//! Arithmetic on slices that no library gives us, and file mapping: the only room with `unsafe`.
//!
//! Every kernel has a scalar twin that is its meaning; property tests hold the fast ones to it at every level
//! the CPU has. Levels are chosen at run time.
#![allow(unsafe_code, reason = "this is the room for it; each block says why it is sound")]

mod columns;
mod dot;
pub mod float;
pub mod int8;
mod kernel;
mod level;
mod lines;
pub mod map;
pub mod memory;
mod prefetch;
pub mod rows;
pub mod scan;
mod top_k;

pub use columns::Activation;
pub use dot::{dot, dots, dots_at};
pub use level::{Level, UnusableLevel};
pub use lines::Lines;
pub use top_k::{Scored, TopK};
