//! Teacher in, student out: homomorphic projective distillation.

pub mod card;
pub mod export;
