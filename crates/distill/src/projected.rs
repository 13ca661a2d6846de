//! The teacher as a model in its students' space: its own vectors, projected as a run projected them.
//!
//! A student lands near its teacher's projected vectors, so the two may be mixed: documents embedded once by the
//! projected teacher, which misses nothing, and queries at any time by the student, which is quick. This writes that
//! teacher as a model folder with the student's `space`, and everything that takes models takes it.

use std::path::Path;

use hpd_encoder::convert::{self, Conversion};
use hpd_encoder::writer::{Dense, Module};
use hpd_encoder::{DenseActivation, Model};
use hpd_files::{Error, Result};

use crate::export::Space;
use crate::pca::{Center, Pca};
use crate::projection::Projection;
use crate::recipe::Recipe;
use crate::run_folder::run_path;
use crate::teacher;

/// Writes `model`, projected as the run in `run` projected its teacher, as the folder `output`. Of the run only
/// `pca.safetensors` and `recipe.toml` are read.
///
/// # Errors
/// When the run projected by a network, its teacher was another model or cut texts elsewhere, a file is missing or damaged, or `output` is
/// there already and `replace` is off.
pub fn export(model: &Path, run: &Path, output: &Path, replace: bool) -> Result<Conversion> {
    let recipe_path = run.join("recipe.toml");
    if !recipe_path.is_file() {
        let beside = run_path(run)?;
        let error = Error::input(format!(
            "`{}` is no run of `hpd distill`: it has no `recipe.toml`",
            run.display()
        ));
        let hint = if beside.is_dir() {
            format!("--project {}", beside.display())
        } else {
            "name the folder that `hpd distill` left beside the student, STUDENT.run".to_owned()
        };
        return Err(error.hint(hint));
    }
    let recipe = Recipe::load(&recipe_path.display().to_string())?;
    let (Projection::Pca(pca, center) | Projection::Neighbours(pca, center)) =
        Projection::load(run, &recipe)?
    else {
        return Err(Error::input(format!(
            "the run in `{}` maps its teacher's vectors by an MCR² map, which no model folder can hold",
            run.display()
        ))
        .hint("only runs with `projection.kind` pca or neighbours have a projected teacher"));
    };
    check_teacher(&Model::open(model)?, &pca, run)?;
    let (components, mean) = (pca.components(), pca.mean());
    let centred = center == Center::Mean;
    let space = Space {
        teacher: &pca.origin().teacher,
        projection: &components.data,
        dim: recipe.dim,
        center: if centred { &mean } else { &[] },
    };
    let space = space.fingerprint().to_string();
    let mut more = vec![Module::Dense(Dense {
        in_features: pca.width(),
        out_features: pca.dimensions(),
        // Taking the mean away before the projection is adding its negated projection behind it.
        bias: centred
            .then(|| components.data.chunks_exact(pca.width()).map(|c| -dot(c, &mean)).collect()),
        weight: components.data,
        activation: DenseActivation::Identity,
    })];
    more.extend(recipe.normalize.then_some(Module::Normalize));
    convert::extend(model, output, replace, more, space)
}

fn check_teacher(model: &Model, pca: &Pca, run: &Path) -> Result<()> {
    if teacher::could_have_made(model, &pca.origin().teacher) {
        return Ok(());
    }
    Err(Error::mismatch(format!(
        "the projection in `{}` was fitted on vectors of another teacher than `{}`, or on texts cut at another length \
         than its {} tokens",
        run.display(),
        model.folder().path.display(),
        model.max_seq_length()
    ))
    .hint("name the teacher of that run"))
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32
}
