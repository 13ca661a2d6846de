//! Documents and their vectors in one store on disk: add, replace, delete, search.
//!
//! A store is a folder with one SQLite database in it, `store.sqlite`, which is the only truth. It is bound to a
//! *space*: only vectors that may be compared with each other get in. The room knows vectors and plain facts about
//! the model that made them, never the model itself, so that it can be tested and used without one.
//!
//! Data passes as `Documents ─Indexing─> encode (given by the caller) ─Store::add─> SQLite` on the way in and
//! `query vector ─Store::search─> Hits` on the way out. A search reads codes, compact copies of the vectors that are
//! derived from the database, and finds what comparing with every vector would find, unless less is enough
//! ([`Exactness`]). With the words of the query a second ranking is made, by BM25, and [`Fusion`] joins both. What a call to
//! [`Store::add`] or [`Store::delete`] has answered survives `kill -9` and a power cut.

mod change;
mod checksum;
mod codes;
mod compact;
mod document;
mod explain;
mod export;
mod filter;
mod fusion;
mod indexing;
mod neighbours;
mod open;
mod re_embed;
mod readers;
mod row_set;
mod schema;
mod search;
mod store;
mod text_search;
mod verify;

pub use change::Standing;
pub use compact::Compacted;
pub use document::Document;
pub use filter::{Field, Filter, Scalar, Test};
pub use fusion::{Fusion, FusionMethod};
pub use indexing::{Indexed, index_documents};
pub use open::Durability;
pub use readers::Readers;
pub use row_set::RowSet;
pub use search::{DEFAULT_LIMIT, Exactness, Hit, Search};
pub use store::{Store, StoreModel, StoreSettings};
pub use text_search::TextIndex;
pub use verify::Summary;
