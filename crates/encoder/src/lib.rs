//! Text in, vectors out: sentence encoders on the CPU, without padding.
//!
//! `&str ─tokenize─> Tokens ─encode─> Hidden ─pool─> Pooled ─project─> Projected ─normalize─> Embeddings`
//!
//! [`Model::open`] reads a sentence-transformers folder; [`Model::encode`] does the rest. One model serves many
//! threads (`&self`). Nothing here knows of training: a student and this room meet only in the model folder.
//!
//! The parts of a folder stand alone for those who need only one: [`Folder`] is what its JSON files say,
//! [`EncoderConfig`] the Transformer's shape, [`Tokenizer`] texts to ids, [`Weights`] tensors by name.

mod architectures;
mod arithmetic;
mod attention;
mod blocks;
pub mod checkpoint;
mod config;
pub mod convert;
mod embeddings;
mod folder;
mod head;
pub mod hub;
mod identity;
mod int8;
mod json;
mod linear;
mod lookup;
mod mean;
mod model;
mod modules;
#[cfg(feature = "onnx")]
pub mod onnx;
mod other_route;
pub mod pair;
mod precision;
mod prompt;
mod quantized;
mod rows;
pub mod shipped;
mod table;
pub mod tensor;
mod tensors;
mod tokenizer;
mod tokenizer_files;
mod transformer;
mod weights;
mod wordpiece;
mod words;
pub mod writer;

pub use architectures::{LayerType, ModernBert};
pub use arithmetic::Arithmetic;
pub use config::{Activation, EncoderConfig, ModelType};
pub use embeddings::Embeddings;
pub use folder::{DenseActivation, DenseModule, Folder, HeadModule, Pooling, PoolingMode};
pub use identity::Identity;
pub use lookup::{FoundModel, Lookup, ModelChoice};
pub use model::{EncodeOptions, Model, OpenOptions};
pub use modules::Side;
pub use precision::{Precision, Quantizer, Ranges};
pub use prompt::Prompt;
pub use quantized::QuantizedMatrix;
pub use tokenizer::{Tokenizer, Tokens};
pub use weights::Weights;
