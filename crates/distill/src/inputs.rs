//! All that a run is given, read and checked before anything is embedded or written.
//!
//! Apart from the run, because its plan reads the same: what a run would refuse, `--dry-run` refuses in the same words,
//! and what is typed wrongly is found out before hours have been spent on the rest.

use std::path::Path;

use burn::tensor::Device;
use hpd_eval::sts::{self, Pairs};
use hpd_files::{Error, Progress, Result};

use crate::paraphrases::Paraphrases;
use crate::projection::Projection;
use crate::recipe::Recipe;
use crate::run::{Settings, TeacherArgument};
use crate::sentences::Sentences;
use crate::shards::TeacherCard;
use crate::teacher::Teacher;
use crate::triplets::Triplets;

/// What a run works on.
pub(crate) struct Inputs {
    /// Where it trains.
    pub(crate) device: Device,
    /// Scored pairs to watch the training by.
    pub(crate) pairs: Option<Pairs>,
    pub(crate) sentences: Sentences,
    pub(crate) triplets: Option<Triplets>,
    pub(crate) paraphrases: Option<Paraphrases>,
    pub(crate) teacher: Teacher,
    pub(crate) card: TeacherCard,
    /// The one of an earlier run, if it was named.
    pub(crate) projection: Option<Projection>,
}

impl Inputs {
    /// Reads what `settings` name, what is read fastest first.
    ///
    /// # Errors
    /// When a file cannot be read or one does not suit the others.
    pub(crate) fn read(settings: &Settings, progress: &dyn Progress) -> Result<Self> {
        let device = settings.device.open()?;
        let pairs = settings.dev_sts.as_deref().map(sts::read).transpose()?;
        let sentences = sentences(settings, progress)?;
        let triplets = triplets(settings, progress)?;
        let paraphrases = paraphrases(settings, &sentences, progress)?;
        let teacher = settings.teacher.open()?;
        if let Teacher::Vectors(given) = &teacher {
            given.check_belonging(&sentences)?;
        }
        check_width(&settings.recipe, &teacher)?;
        let card = teacher.card(&sentences);
        let path = settings.projection.as_deref();
        let projection = path.map(|path| projection(path, &settings.recipe, &teacher, &card));
        let projection = projection.transpose()?;
        Ok(Self { device, pairs, sentences, triplets, paraphrases, teacher, card, projection })
    }
}

fn sentences(settings: &Settings, progress: &dyn Progress) -> Result<Sentences> {
    let sentences = Sentences::read(&settings.sentences, &settings.resolved_options(), progress)?;
    for file in sentences.files() {
        progress.note(&file.to_string());
    }
    Ok(sentences)
}

/// The texts that belong together; `None` when there are none, and the recipe does not ask for any.
fn triplets(settings: &Settings, progress: &dyn Progress) -> Result<Option<Triplets>> {
    match (settings.triplets.is_empty(), settings.recipe.loss.contrast > 0.0) {
        (true, false) => return Ok(None),
        (true, true) => {
            return Err(Error::input("`loss.contrast` is above 0, but there are no triplets")
                .hint("--triplets FILE, or --set loss.contrast=0"));
        }
        (false, false) => {
            return Err(Error::input(
                "there are triplets, but `loss.contrast` is 0: nothing would be learnt from them",
            )
            .hint("--recipe supervised, or --set loss.contrast=0.2"));
        }
        (false, true) => {}
    }
    if let TeacherArgument::Vectors(path) = &settings.teacher {
        return Err(Error::input(format!(
            "`{}` has no vectors for the texts of triplets",
            path.display()
        ))
        .hint("name the teacher's model folder or server"));
    }
    let triplets = Triplets::read(&settings.triplets)?;
    for (path, count) in triplets.files() {
        progress.note(&format!("{}: {count} triplets", path.display()));
    }
    if triplets.left_out() > 0 {
        progress.note(&format!(
            "{} triplets are left out: a text is empty or too long, or twice the same",
            triplets.left_out()
        ));
    }
    Ok(Some(triplets))
}

/// Other words for sentences; `None` when there are none.
fn paraphrases(
    settings: &Settings,
    sentences: &Sentences,
    progress: &dyn Progress,
) -> Result<Option<Paraphrases>> {
    if settings.paraphrases.is_empty() {
        return Ok(None);
    }
    let paraphrases = Paraphrases::read(&settings.paraphrases, sentences)?;
    if let (TeacherArgument::Vectors(path), false) =
        (&settings.teacher, paraphrases.further().is_empty())
    {
        return Err(Error::input(format!(
            "`{}` has no vectors for {} sentences of the paraphrases, such as `{}`",
            path.display(),
            paraphrases.further().len(),
            paraphrases.further().get(0)
        ))
        .hint("name the teacher's model folder or server, or leave these sentences out"));
    }
    for note in paraphrases.notes() {
        progress.note(&note);
    }
    let taken = settings.steps(&settings.epochs(sentences)) * settings.recipe.paraphrases_per_step;
    progress.note(&format!(
        "{} paraphrases a step: each comes {:.1} times",
        settings.recipe.paraphrases_per_step,
        taken as f64 / paraphrases.len() as f64
    ));
    Ok(Some(paraphrases))
}

/// The projection of an earlier run of the same teacher.
fn projection(
    path: &Path,
    recipe: &Recipe,
    teacher: &Teacher,
    card: &TeacherCard,
) -> Result<Projection> {
    let projection = Projection::load(path, recipe)?;
    if !teacher.could_have_made(&projection.origin().teacher, card) {
        return Err(Error::mismatch(format!(
            "the projection in `{}` was fitted on vectors of another teacher than `{}`, or on texts cut at another length",
            path.display(),
            card.name
        ))
        .hint("name the teacher of that run, and --teacher-max-seq-length if it had one"));
    }
    if projection.dimensions() != recipe.dim {
        return Err(Error::mismatch(format!(
            "the projection in `{}` gives {} numbers, expected `dim` {}",
            path.display(),
            projection.dimensions(),
            recipe.dim
        ))
        .hint(format!("--dim {}", projection.dimensions())));
    }
    Ok(projection)
}

/// Found out now, and not after the teacher has embedded everything.
fn check_width(recipe: &Recipe, teacher: &Teacher) -> Result<()> {
    match teacher.width() {
        Some(width) if recipe.dim > width => Err(Error::input(format!(
            "`--dim {}` is more than the {width} numbers of the teacher's vectors",
            recipe.dim
        ))
        .hint(format!("--dim {}", width.min(128)))),
        _ => Ok(()),
    }
}
