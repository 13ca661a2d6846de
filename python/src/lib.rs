//! The Rust half of the Python package `hpd`: strings and arrays in, arrays and tuples out.
//!
//! Separate from the Python half, which has the classes, their documentation and all that is a convention of Python. Nothing
//! is computed here either: the encoder and the store of the other rooms do that, without Python's lock, on threads of this
//! module's own ([`threads`]). Their errors become Python's in [`errors`].

mod encoder;
mod errors;
mod log;
mod quantize;
mod store;
mod threads;

use std::path::PathBuf;

use hpd_encoder::Lookup;
use hpd_encoder::shipped::ShippedModels;
use pyo3::prelude::*;
use pyo3::types::PyModuleMethods;

/// Where models are looked for: where every hpd looks, with this package and the folder of Python itself in the place of
/// the program. A wheel has its models in `share/hpd/models` of that folder, where the program beside it finds them too.
fn lookup(py: Python<'_>) -> PyResult<Lookup> {
    let package: PathBuf = py.import("hpd")?.getattr("__file__")?.extract()?;
    let python: PathBuf = py.import("sys")?.getattr("prefix")?.extract()?;
    let programs = [package.as_path(), &python.join("bin").join("python")];
    let shipped = ShippedModels::from_variables(|name| std::env::var_os(name), programs);
    Ok(Lookup { shipped, ..Lookup::from_environment() })
}

/// Name, what it is best at, and whether it is the default, of each model that comes with hpd.
#[pyfunction]
fn shipped_models(py: Python<'_>) -> PyResult<Vec<(String, String, bool)>> {
    let models = lookup(py)?.shipped.all().map_err(|error| errors::raised(py, &error))?;
    Ok(models.into_iter().map(|model| (model.name, model.role, model.is_default)).collect())
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<encoder::Encoder>()?;
    module.add_class::<store::Store>()?;
    module.add_function(wrap_pyfunction!(quantize::quantize, module)?)?;
    module.add_function(wrap_pyfunction!(shipped_models, module)?)?;
    module.add_function(wrap_pyfunction!(threads::set_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(threads::get_num_threads, module)?)
}
