//! Text in, vectors out: sentence encoders on the CPU, without padding.
//!
//! `&str ─tokenize─> Tokens ─encode─> Hidden ─pool─> Pooled ─project─> Projected ─normalize─> Embeddings`
//!
//! [`Model::open`] reads a sentence-transformers folder; [`Model::encode`] does the rest. One model serves many
//! threads (`&self`). Nothing here knows of training: a student and this room meet only in the model folder.

pub mod checkpoint;
mod embeddings;
mod identity;
mod model;
pub mod tensor;
mod tokenizer_files;
pub mod writer;

pub use embeddings::Embeddings;
pub use identity::Identity;
pub use model::{EncodeOptions, Model, OpenOptions, Prompt};
