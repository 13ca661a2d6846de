//! Teacher in, student out: homomorphic projective distillation.

mod answer;
pub mod batches;
pub mod card;
pub mod checkpoint;
pub mod endpoint;
pub mod export;
pub mod fused;
pub mod given;
pub mod loss;
pub mod metrics;
pub mod optimizer;
pub mod random;
pub mod recipe;
pub mod schedule;
pub mod sentences;
pub mod shards;
pub mod student;
pub mod teacher;
pub mod train;
