//! Embedding and search over HTTP.
//!
//! `request ─tokenize─> Tokens ─Queue─> Batch ─encode─> rows ─> answer`, and for a search on `─> Store ─> Hits ─> answer`
//!
//! The routes are those that clients know: OpenAI's under `/v1` ([`openai`]), those of text-embeddings-inference ([`tei`]), and
//! `/search` for a store ([`search`]); [`openapi`] describes them. [`app()`] puts them together and can be called without a port; [`serve`] binds it to one.
//!
//! Connections are many and wait, computing is as many threads as there are cores: so requests leave their tokens in a
//! [`queue`], one thread takes as many as fit a batch, from all requests in turn, and the encoder's own threads compute it. Who comes
//! when too many wait already is told so at once. Nothing is written: a store is opened for reading, and what others add
//! to it is found by the next search.

mod access;
mod app;
mod embedding;
mod failure;
mod listen;
mod metrics;
mod openai;
mod openapi;
mod page;
mod queue;
mod search;
mod searched;
mod service;
mod tei;

pub use access::Keys;
pub use app::app;
pub use listen::{bind, serve};
pub use searched::Searched;
pub use service::{Limits, Service, Settings};
