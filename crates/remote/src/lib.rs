//! A store's documents on other machines: pushed to an engine that many may ask, and searched there.
//!
//! `Store ─push─> Collection` on the way out, `query vector ─Collection::search─> Hits` on the way back. A [`Collection`] is a
//! table of PostgreSQL or a collection of Milvus; each engine is one file and its folder, behind a cargo
//! feature of its name. An [`Address`] names one, whatever was built in, so that a build without the feature can say what is missing.
//!
//! The store stays the truth. A collection remembers the store's settings, so that vectors of another space are refused and a
//! search finds the model that its queries need.

mod address;
mod collection;
#[cfg(any(feature = "postgres", feature = "milvus"))]
mod description;
#[cfg(feature = "milvus")]
mod milvus;
#[cfg(feature = "postgres")]
mod postgres;
mod push;

use hpd_files::Result;
use hpd_index::StoreSettings;

pub use address::{Address, Engine};
pub use collection::{Collection, Layout, Upserted};
pub use push::{Push, Pushed, push};

/// Opens the collection that `address` names.
///
/// # Errors
/// When it is not there or was not made by a push, the engine does not answer, or its feature is not built in.
pub fn open(address: &Address) -> Result<Box<dyn Collection>> {
    #[cfg(feature = "postgres")]
    if address.engine() == Engine::Postgres {
        return postgres::open(address);
    }
    #[cfg(feature = "milvus")]
    if address.engine() == Engine::Milvus {
        return milvus::open(address);
    }
    Err(address.engine().not_built_in())
}

/// The same; makes it where it is not there yet, for vectors of the space that `settings` tell.
///
/// # Errors
/// As [`open`]; also when it holds vectors of another space, or in another layout.
#[cfg_attr(
    not(any(feature = "postgres", feature = "milvus")),
    expect(unused_variables, reason = "no engine is built in")
)]
pub fn open_or_create(
    address: &Address,
    settings: &StoreSettings,
    layout: Layout,
) -> Result<Box<dyn Collection>> {
    #[cfg(feature = "postgres")]
    if address.engine() == Engine::Postgres {
        return postgres::open_or_create(address, settings, layout);
    }
    #[cfg(feature = "milvus")]
    if address.engine() == Engine::Milvus {
        return milvus::open_or_create(address, settings, layout);
    }
    Err(address.engine().not_built_in())
}
