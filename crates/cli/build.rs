//! Puts a model into the program, if the feature `bundled-model` asks for one: writes the expression that names its
//! files.
//!
//! The folder is that of `HPD_BUNDLED_MODEL`, or the smallest in `models` of this crate, which a package can bring along,
//! or of the workspace, which a clone and `cargo install --git` have. Its bytes get into the program, its path does not.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=HPD_BUNDLED_MODEL");
    if env::var_os("CARGO_FEATURE_BUNDLED_MODEL").is_none() {
        return Ok(());
    }
    let model = model()?;
    println!("cargo:rerun-if-changed={}", model.display());
    let output = PathBuf::from(env::var("OUT_DIR")?).join("bundled_model.rs");
    fs::write(output, expression(&model)?)?;
    Ok(())
}

fn model() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("HPD_BUNDLED_MODEL").map(PathBuf::from) {
        // Cargo runs this elsewhere than where the variable was set.
        return match folder.is_absolute() && is_model(&folder) {
            true => Ok(folder),
            false => Err(format!(
                "`HPD_BUNDLED_MODEL` is `{}`, expected the whole path of a model folder",
                folder.display()
            )
            .into()),
        };
    }
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let mut models = Vec::new();
    for place in [here.join("models"), here.join("../../models")] {
        if !place.is_dir() {
            continue;
        }
        println!("cargo:rerun-if-changed={}", place.display());
        for entry in fs::read_dir(&place)? {
            let folder = entry?.path();
            if is_model(&folder) {
                let sizes = files(&folder)?.into_iter().map(|(_, path)| size(&path));
                models.push((sizes.sum::<Result<u64>>()?, folder));
            }
        }
    }
    let smallest = models.into_iter().min().map(|(_, folder)| folder);
    smallest.ok_or_else(|| {
        "the feature `bundled-model` finds no model in `models` of the crate or the workspace; name \
         one by `HPD_BUNDLED_MODEL=/path/of/its/folder`"
            .into()
    })
}

/// A static model has no `config.json`, one of the old layout may have no `modules.json`.
fn is_model(folder: &Path) -> bool {
    ["modules.json", "config.json"].iter().any(|name| folder.join(name).is_file())
}

fn size(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path)?.len())
}

/// A `BundledModel`, as the program includes it. Beside a registry lie licence and notice of its models, which go along.
fn expression(model: &Path) -> Result<String> {
    let name =
        model.file_name().and_then(|name| name.to_str()).ok_or("the model folder has no name")?;
    let mut files = files(model)?;
    if model.with_file_name("hpd-models.json").is_file() {
        for name in ["LICENSE", "NOTICE"] {
            let path = model.with_file_name(name);
            if path.is_file() && !files.iter().any(|(known, _)| known == name) {
                files.push((name.to_owned(), path));
            }
        }
    }
    let mut text = format!("BundledModel {{ name: {name:?}, files: &[\n");
    for (name, path) in files {
        text += &format!("    ({name:?}, include_bytes!({:?})),\n", fs::canonicalize(path)?);
    }
    Ok(text + "] }")
}

/// Names below `folder`, with `/`, and paths of its files, in order; what begins with a dot is left out.
fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name =
            path.file_name().and_then(|name| name.to_str()).ok_or("a file's name is not UTF-8")?;
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            let below = files(&path)?;
            found.extend(below.into_iter().map(|(below, path)| (format!("{name}/{below}"), path)));
        } else {
            found.push((name.to_owned(), path));
        }
    }
    found.sort();
    Ok(found)
}
