//! The results as one page for a browser: tables, curves, a map of similarities, and where every number came from.
//!
//! Apart from [`crate::report`], which is for terminals and machines. The page is one file without scripts and without
//! anything that would be fetched, so that it can be sent by mail and still opens in ten years. Everything that came
//! from outside (names, sentences, file names) is escaped where it is written down, in [`html`].
//!
//! `Results, Run, Map ─> sections ─> page`

mod chart;
mod html;
mod map;
mod run;

use crate::report::{ModelResults, Results, Table, TaskResult, tables};
use crate::tasks::Kind;

use chart::{Series, Spot, lines, scatter};
use html::{definitions, escape, table};
pub use map::{Map, SENTENCES, sentences_of};
pub use run::Run;

const STYLE: &str = include_str!("page/style.css");

/// What a page shows.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// What was measured.
    pub results: &'a Results,
    /// The training of one of the models, if it is known.
    pub run: Option<&'a Run>,
    /// How alike each model finds the same sentences.
    pub maps: &'a [Map],
}

impl Page<'_> {
    /// The page.
    pub fn html(&self) -> String {
        let models: Vec<&str> =
            self.results.models.iter().map(|model| model.name.as_str()).collect();
        let title = escape(&format!("hpd evaluate: {}", models.join(", ")));
        let sections = [
            self.scores(),
            self.size_and_speed(),
            self.run.map(training).unwrap_or_default(),
            self.maps(),
            self.provenance(),
        ];
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <h1>{title}</h1>\n<p>Measured on {} with hpd {}.</p>\n{}</main>\n</body>\n</html>\n",
            escape(&self.results.date),
            escape(&self.results.hpd_version),
            sections.concat()
        )
    }

    fn scores(&self) -> String {
        let limited = self.results.limit.map_or_else(String::new, |limit| {
            format!(
                "<p><strong>Only the first {limit} pairs or queries of each task, or so many labelled texts, were \
                 used: not comparable with whole ones.</strong></p>\n"
            )
        });
        let tables = tables(&self.results.models);
        let tables = tables
            .iter()
            .map(|Table { title, rows, note }| table(&format!("{title}; {note}"), rows));
        section("Scores", &(limited + &tables.collect::<String>()))
    }

    /// What a model costs, and what is had for it.
    fn size_and_speed(&self) -> String {
        let models = &self.results.models;
        let header = ["model", "dimensions", "parameters", "MB", "sentences/s", "ms a sentence"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(models.iter().filter(|model| model.parameters.is_some()).map(size_row));
        if rows.len() == 1 {
            return String::new();
        }
        let mut body = table("What a model takes; variants share what their model takes", &rows);
        let bytes = |model: &ModelResults| Some(model.bytes? as f64 / 1e6);
        let speed = |model: &ModelResults| Some(model.speed.as_ref()?.sentences_per_second);
        let mut charts = String::new();
        for (kind, name) in KINDS {
            charts += &quality(models, kind, &format!("{name} against size"), "MB on disk", bytes);
            charts +=
                &quality(models, kind, &format!("{name} against speed"), "sentences/s", speed);
        }
        if !charts.is_empty() {
            body += &format!("<div class=\"charts\">\n{charts}</div>\n");
        }
        section("Size and speed", &body)
    }

    fn maps(&self) -> String {
        let Some(first) = self.maps.first() else { return String::new() };
        let maps: String = self.maps.iter().map(Map::figure).collect();
        let body = format!("<div class=\"charts\">\n{maps}</div>\n{}", first.legend());
        section("Which sentences are alike", &body)
    }

    fn provenance(&self) -> String {
        let Results { machine, hpd_version, date, .. } = self.results;
        let mut body = definitions(&[
            ("program", format!("hpd {hpd_version}")),
            ("date", date.clone()),
            ("processor", machine.cpu.clone()),
            ("system", machine.system.clone()),
            ("threads", machine.threads.to_string()),
        ]);
        for model in &self.results.models {
            body += &format!("<h3>{}</h3>\n{}", escape(&model.name), definitions(&facts(model)));
        }
        section("Provenance", &body)
    }
}

/// Kinds of tasks and what their mean is called.
const KINDS: [(Kind, &str); 3] = [
    (Kind::Sts, "Mean Spearman"),
    (Kind::Retrieval, "Mean nDCG@10"),
    (Kind::Classification, "Mean accuracy"),
];

fn section(title: &str, body: &str) -> String {
    format!("<section>\n<h2>{title}</h2>\n{body}</section>\n")
}

fn size_row(model: &ModelResults) -> Vec<String> {
    let number = |number: Option<f64>, digits: usize| {
        number.map_or_else(|| "–".to_owned(), |number| format!("{number:.digits$}"))
    };
    let speed = model.speed.as_ref();
    vec![
        model.name.clone(),
        model.dimensions.to_string(),
        model.parameters.map_or_else(|| "–".to_owned(), |count| count.to_string()),
        number(model.bytes.map(|bytes| bytes as f64 / 1e6), 1),
        number(speed.map(|speed| speed.sentences_per_second), 0),
        number(speed.map(|speed| speed.p50_milliseconds), 2),
    ]
}

/// The mean of a kind of tasks over what a model takes; nothing unless two models have both.
fn quality(
    models: &[ModelResults],
    kind: Kind,
    title: &str,
    across: &str,
    of: impl Fn(&ModelResults) -> Option<f64>,
) -> String {
    let mean = |model: &ModelResults| {
        let mean = model.means.iter().find(|mean| mean.task_type == kind)?;
        Some(100.0 * mean.main_score?)
    };
    let spot = |model: &ModelResults| {
        Some(Spot { name: model.name.clone(), x: of(model)?, y: mean(model)? })
    };
    let spots: Vec<Spot> = models.iter().filter_map(spot).collect();
    if spots.len() < 2 { String::new() } else { scatter(title, across, &spots) }
}

fn training(run: &Run) -> String {
    let mut body = definitions(&run.facts);
    if run.rows.len() > 1 {
        let note = "On held-back sentences, compared with the teacher, × 100";
        body += &table(note, &run.rows);
    }
    let names = run.course.names();
    let series = |name: &str| Series {
        name: name.replace('_', " "),
        points: run.course.curve(name).into_iter().map(|(step, y)| (step as f64, y)).collect(),
    };
    let (losses, others): (Vec<&str>, Vec<&str>) =
        names.into_iter().filter(|name| *name != "epoch").partition(|name| is_loss(name));
    let mut charts = String::new();
    if !losses.is_empty() {
        let losses: Vec<Series> = losses.into_iter().map(series).collect();
        charts += &lines("loss and its parts", "step", &losses);
    }
    for name in others {
        charts += &lines(&name.replace('_', " "), "step", &[series(name)]);
    }
    if !charts.is_empty() {
        body += &format!("<div class=\"charts\">\n{charts}</div>\n");
    }
    if !run.recipe.is_empty() {
        let recipe = escape(&run.recipe);
        body += &format!("<details>\n<summary>Recipe</summary>\n<pre>{recipe}</pre>\n</details>\n");
    }
    section(&format!("Training of {}", escape(&run.name)), &body)
}

fn is_loss(name: &str) -> bool {
    name == "loss" || name.starts_with("loss_")
}

fn facts(model: &ModelResults) -> Vec<(&'static str, String)> {
    let mut facts = vec![("asked for", model.path.clone())];
    if !model.weights.is_empty() {
        facts.extend([
            ("weights", model.weights.clone()),
            ("space", model.space.clone()),
            ("longest text", format!("{} tokens", model.max_seq_length)),
            ("arithmetic", model.arithmetic.to_string()),
            ("texts", format!("{}, of which {} cut", model.texts, model.truncated)),
        ]);
    }
    if let Some(projection) = &model.projection {
        facts.push((
            "projection",
            format!(
                "PCA of {} vectors of sentences {}, which keeps {:.1} % of the variance",
                projection.fitted_on.rows,
                projection.fitted_on.sentences,
                100.0 * projection.explained_ratio
            ),
        ));
    }
    let files = |task: &TaskResult| format!("{}, files {}", task.task_name, task.dataset_revision);
    let files: Vec<String> = model.tasks.iter().map(files).collect();
    facts.push(("data", files.join("; ")));
    facts
}

#[cfg(test)]
mod tests;
