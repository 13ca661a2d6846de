//! Texts in, documents found: a store together with the model that makes its vectors.
//!
//! `texts ─StoreEncoder─> vectors ─Store─> Hits`
//!
//! The room [`hpd_index`] knows vectors and no model, [`hpd_encoder`] models and no store. Here they meet: a store remembers
//! which model it was made with, by which prompts and at which length, and [`StoreEncoder`] is that model, opened, so that
//! adding and searching agree to the letter. [`TextStore`] is both in one value that many threads may use, for programs that
//! want nothing but to add texts and to find them:
//!
//! ```no_run
//! # use std::path::Path;
//! # use hpd_encoder::{Lookup, ModelChoice};
//! # use hpd_files::Silent;
//! # use hpd_index::Document;
//! # use hpd_texts::{Prompts, TextSearch, TextStore};
//! # fn main() -> hpd_files::Result<()> {
//! let (folder, lookup) = (Path::new("notes.store"), Lookup::from_environment());
//! let choice = ModelChoice { model: Some("minilm-3x128".to_owned()), ..ModelChoice::default() };
//! let store = TextStore::create(folder, lookup, choice, Prompts::default(), &Silent)?;
//! let text = "a morbid fear of spiders".to_owned();
//! store.add([Ok(Document { id: "a".to_owned(), text, ..Document::default() })], &Silent)?;
//! for hit in &store.search(&["arachnophobia"], &TextSearch::default(), &Silent)?[0] {
//!     println!("{:.3} {}", hit.score, hit.id);
//! }
//! # Ok(())
//! # }
//! ```

mod encoder;
mod store;

pub use encoder::{Prompts, StoreEncoder, document_options, query_options};
pub use store::{Filled, TextSearch, TextStore};
