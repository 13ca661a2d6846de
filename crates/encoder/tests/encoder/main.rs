//! Tests of the whole room, from a folder to vectors; one binary, so that it is linked once.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod arithmetic;
mod golden;
mod goldens;
mod hostile;
mod int8;
mod invariants;
mod levels;
mod teacher;
