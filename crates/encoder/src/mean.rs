//! The mean of models that began as one: their weights, number by number.
//!
//! Students that go on from the same weights over different text, or in another order, err in different directions;
//! between them the loss is low, so the mean of their weights is mostly better than each, and as small and quick as one.
//! Separate from [`crate::convert`], which moves weights and never changes them.
//!
//! # Source
//! Wortsman et al. 2022 (model soups), <https://arxiv.org/abs/2203.05482>.

use hpd_files::{Error, Result};
use serde_json::json;

use crate::Tokenizer;
use crate::convert::Source;
use crate::tensor::Tensor;
use crate::writer::{Dense, Module};

/// Weights that began as the same have a cosine of 0.9 and more after any training that went well; others have none.
const LEAST_COSINE: f64 = 0.5;

/// The model whose weights are the mean of those of `sources`; all else is the first one's.
///
/// # Errors
/// When there are less than two, or they differ in architecture, tokens, head or space, or their weights have nothing to
/// do with each other.
pub(crate) fn of(sources: Vec<Source>) -> Result<Source> {
    let count = sources.len();
    let mut sources = sources.into_iter();
    let Some(mut mean) = sources.next().filter(|_| count > 1) else {
        return Err(Error::input(format!("a mean of {count} models")).hint("name at least two"));
    };
    let mut weights = vec![fingerprint(&mean)];
    let mut sums: Vec<Vec<f64>> = numbers(&mut mean).map(|x| wide(x)).collect();
    for mut other in sources {
        check(&mean, &other)?;
        check_start(&mean, &other)?;
        weights.push(fingerprint(&other));
        for (sum, x) in sums.iter_mut().zip(numbers(&mut other)) {
            sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += f64::from(*x));
        }
    }
    for (x, sum) in numbers(&mut mean).zip(&sums) {
        x.iter_mut().zip(sum).for_each(|(x, sum)| *x = (sum / count as f64) as f32);
    }
    mean.about.insert("mean_of".to_owned(), json!(weights));
    mean.readme = noted(&mean.readme, count);
    Ok(mean)
}

/// All numbers of a model: its tensors in the order of their names, then its head.
fn numbers(source: &mut Source) -> impl Iterator<Item = &mut Vec<f32>> {
    source.tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let head = source.head.iter_mut().flat_map(|module| match module {
        Module::Dense(Dense { weight, bias, .. }) => [Some(weight), bias.as_mut()],
        Module::Normalize => [None, None],
    });
    source.tensors.iter_mut().map(|tensor| &mut tensor.data).chain(head.flatten())
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

fn fingerprint(source: &Source) -> String {
    source.about.get("weights").and_then(|it| it.as_str()).unwrap_or("unknown").to_owned()
}

/// Refuses models that differ in more than their weights.
fn check(first: &Source, other: &Source) -> Result<()> {
    let refuse = |what: &str, found: &str, expected: &str| {
        Err(Error::mismatch(format!(
            "`{}` has {what} {found}, expected that of `{}`, {expected}",
            other.folder.path.display(),
            first.folder.path.display()
        )))
    };
    let shape = |source: &Source| {
        let config = &source.folder.config;
        format!(
            "{}, {} layers, {} wide, feed-forward {}, {} tokens",
            config.model_type.name(),
            config.num_hidden_layers,
            config.hidden_size,
            config.intermediate_size,
            config.vocab_size
        )
    };
    let tensors = |source: &Source| {
        let mut names: Vec<String> =
            source.tensors.iter().map(|it| format!("{} {:?}", it.name, it.shape)).collect();
        names.sort();
        names.join(", ")
    };
    for (what, of) in [("the shape", &shape as &dyn Fn(&Source) -> String), ("tensors", &tensors)] {
        let (found, expected) = (of(other), of(first));
        if found != expected {
            return refuse(what, &found, &expected);
        }
    }
    let head = |source: &Source| {
        let modules = source.head.iter().map(|module| match module {
            Module::Dense(Dense { in_features, out_features, bias, activation, .. }) => {
                let bias = if bias.is_some() { "with" } else { "without" };
                format!("{in_features} → {out_features}, {activation:?}, {bias} bias")
            }
            Module::Normalize => "normalized".to_owned(),
        });
        modules.collect::<Vec<_>>().join(", ")
    };
    let (found, expected) = (head(other), head(first));
    if found != expected {
        return refuse("the head", &found, &expected);
    }
    let (found, expected) = (&other.folder.pooling, &first.folder.pooling);
    if found != expected {
        return refuse("the pooling", &format!("{found:?}"), &format!("{expected:?}"));
    }
    let tokenizer = |source: &Source| Tokenizer::of(&source.folder, None);
    if tokenizer(other)?.vocabulary()? != tokenizer(first)?.vocabulary()? {
        return refuse("tokens", "of its own", "which are others");
    }
    if other.space != first.space || first.space.is_none() {
        let name = |source: &Source| source.space.clone().unwrap_or_else(|| "unknown".to_owned());
        let hint = "train students for one space: hpd distill --projection STUDENT.run";
        return refuse("the space", &name(other), &name(first)).map_err(|error| error.hint(hint));
    }
    Ok(())
}

/// Refuses models whose weights did not begin as the same, as far as can be seen.
fn check_start(first: &Source, other: &Source) -> Result<()> {
    let (mut dot, mut squares, mut other_squares) = (0.0, 0.0, 0.0);
    let matrices = first.tensors.iter().filter(|tensor| tensor.shape.len() == 2);
    for tensor in matrices {
        let named = |it: &&Tensor| it.name == tensor.name;
        let Some(twin) = other.tensors.iter().find(named) else { continue };
        for (a, b) in tensor.data.iter().zip(&twin.data) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            dot += a * b;
            squares += a * a;
            other_squares += b * b;
        }
    }
    let cosine = dot / (squares * other_squares).sqrt();
    if cosine >= LEAST_COSINE || squares * other_squares == 0.0 {
        return Ok(());
    }
    Err(Error::mismatch(format!(
        "the weights of `{}` and `{}` have a cosine of {cosine:.2}, expected {LEAST_COSINE} or more: they did not begin as \
         the same, and between them lies no model",
        other.folder.path.display(),
        first.folder.path.display()
    ))
    .hint("let both go on from one student: hpd distill --student"))
}

/// The first one's card, which says whose mean this is.
fn noted(readme: &str, count: usize) -> String {
    let note = format!(
        "> **A mean.** The weights of this model are the mean of {count} models' that began as the same (`mean_of` in `hpd.json`). What is told \
         here of training and results is the first one's.\n\n"
    );
    let at = readme.find("## ").unwrap_or(readme.len());
    format!("{}{note}{}", &readme[..at], &readme[at..])
}
