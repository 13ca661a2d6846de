//! Teacher in, student out: homomorphic projective distillation.

pub mod agreement;
mod answer;
pub mod augment;
pub mod batches;
pub mod beginning;
pub mod card;
pub mod checkpoint;
pub mod coding_rate;
#[cfg(test)]
mod damage;
pub mod endpoint;
pub mod export;
mod finish;
pub mod fused;
pub mod given;
pub mod inspection;
pub mod loss;
pub mod mcr2;
pub mod metrics;
pub mod neighbours;
pub mod optimizer;
pub mod overlap;
pub mod paraphrases;
pub mod plan;
pub mod projected;
pub mod projection;
pub mod random;
pub mod recipe;
pub mod rounds;
pub mod run;
pub mod run_folder;
pub mod schedule;
pub mod scores;
pub mod sentences;
pub mod shards;
pub mod start;
pub mod student;
pub mod table;
pub mod teacher;
pub mod topics;
pub mod train;
pub mod triplets;
pub mod vocabulary;
pub mod wordnet;

pub use hpd_eval::pca;
pub use hpd_kernels::memory::keep_freed as keep_freed_memory;
