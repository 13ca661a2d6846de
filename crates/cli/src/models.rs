//! Where models are looked for by this program: where every hpd looks, and in the program itself.

use hpd_encoder::Lookup;
use hpd_encoder::shipped::BundledModel;

/// The model that the feature `bundled-model` has put into the program; `build.rs` writes the expression.
#[cfg(feature = "bundled-model")]
const BUNDLED: Option<BundledModel> = Some(include!(concat!(env!("OUT_DIR"), "/bundled_model.rs")));
#[cfg(not(feature = "bundled-model"))]
const BUNDLED: Option<BundledModel> = None;

/// Where models are looked for.
pub(crate) fn lookup() -> Lookup {
    let lookup = Lookup::from_environment();
    Lookup { shipped: lookup.shipped.with_bundled(BUNDLED), ..lookup }
}
