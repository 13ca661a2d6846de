//! Teacher in, student out: homomorphic projective distillation.

pub mod batches;
pub mod card;
pub mod checkpoint;
pub mod export;
pub mod fused;
pub mod loss;
pub mod metrics;
pub mod optimizer;
pub mod random;
pub mod recipe;
pub mod schedule;
pub mod student;
pub mod train;
