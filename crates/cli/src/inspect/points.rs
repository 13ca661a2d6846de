//! Where the points of a run went, in words.

use std::path::Path;

use clap::Args;
use hpd_distill::inspection::{self, Bar, Inspection, Questions, Sentence};
use hpd_distill::overlap::Overlap;
use hpd_distill::scores::{Row, table};
use hpd_eval::course::{Course, Point};
use hpd_eval::report::aligned;
use hpd_eval::tasks::{self, Loaded};
use hpd_files::{Error, Progress, Result};
use serde_json::json;

use super::{Findings, Section};
use crate::arguments::SetArguments;
use crate::columns::{cut, one_line, terminal_width};
use crate::terminal::Terminal;

/// Letters of the longest bar of the histogram.
const LONGEST_BAR: usize = 40;

/// What can be asked of a run.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Of a run, show so many of the held-back sentences that are farthest from their targets
    #[arg(long, value_name = "N", default_value_t = 5)]
    worst: usize,
    #[command(flatten)]
    sets: SetArguments,
}

impl Arguments {
    /// Refuses to look for training text where there is none.
    pub(super) fn refuse(&self) -> Result<()> {
        if self.sets.is_empty() {
            return Ok(());
        }
        Err(Error::input("only a run has training text that sets could be compared with")
            .hint("inspect the folder `STUDENT.run`, or leave the sets out"))
    }

    fn load(&self, terminal: &Terminal) -> Result<Vec<Loaded>> {
        if self.sets.is_empty() {
            return Ok(Vec::new());
        }
        let chosen = tasks::choose(self.sets.find()?, &[])?;
        terminal.stage("reading", Some(chosen.len() as u64));
        let load = |task: &tasks::Task| {
            terminal.advance(1);
            task.load(None)
        };
        chosen.iter().map(load).collect()
    }
}

/// Adds what the run's folder tells to what its `run.json` says.
pub(super) fn add(
    findings: &mut Findings,
    path: &Path,
    arguments: &Arguments,
    terminal: &Terminal,
) -> Result<()> {
    let tasks = arguments.load(terminal)?;
    let questions = Questions { worst: arguments.worst, tasks: &tasks };
    let found = inspection::inspect(path, &questions, terminal)?;
    terminal.finish();
    progress_facts(findings, &found);
    let mut section = |name, value, text| findings.sections.push(Section { name, value, text });
    if !found.rows.is_empty() {
        let text = table(found.held_back, &found.rows) + &costs(&found.rows);
        section("rows", json!(found.rows), text);
    }
    if !found.cosine_to_target.is_empty() {
        section("cosine to target", json!(found.cosine_to_target), histogram(&found));
    }
    if !found.worst.is_empty() {
        section("worst", json!(found.worst), worst(&found.worst));
    }
    if !found.course.points.is_empty() {
        section("course", json!(found.course), course(&found.course));
    }
    if !found.overlap.is_empty() {
        section("overlap", json!(found.overlap), overlap(&found.overlap));
    }
    if !found.notes.is_empty() {
        section("notes", json!(found.notes), found.notes.join("\n"));
    }
    Ok(())
}

fn progress_facts(findings: &mut Findings, found: &Inspection) {
    if let Some(seconds) = found.quiet_seconds {
        findings.fact("seconds since written", seconds);
    }
    let of = found.steps.map_or_else(String::new, |steps| format!(" of {steps}"));
    findings.fact_in_words("step", found.step, format!("{}{of}", found.step));
    findings.fact_in_words(
        "steps",
        found.steps,
        found.steps.map_or("unknown".into(), |n| n.to_string()),
    );
    if let Some(speed) = found.sentences_per_second {
        findings.fact_in_words("sentences per second", speed, format!("{speed:.0}"));
    }
    if let Some(student) = &found.student {
        let words = format!("step {}, `{}`", student.step, student.file);
        findings.fact_in_words("student", json!(student), words);
    }
    if let Some(counts) = found.tokens {
        let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
        let words = format!(
            "{:.1} a sentence, {:.3} % unknown; {:.2} % of {} sentences cut at {} tokens",
            counts.tokens as f64 / counts.sentences.max(1) as f64,
            share(counts.unknown, counts.tokens),
            share(counts.truncated, counts.sentences),
            counts.sentences,
            counts.max_tokens,
        );
        findings.fact_in_words("tokens", json!(counts), words);
    }
}

/// What each step on the way from the teacher to the student costs of each measure, and what training won.
fn costs(rows: &[Row]) -> String {
    let named = |name: &str| rows.iter().find(|row| row.name.starts_with(name));
    let (Some(teacher), Some(projected), Some(start), Some(now)) =
        (named("teacher"), named("teacher + "), named("student at start"), named("student now"))
    else {
        return String::new();
    };
    type Measure = fn(&Row) -> Option<f64>;
    let measures: [(&str, Measure); 3] = [
        ("similarities", |row| row.held_back.map(|held_back| held_back.spearman)),
        ("neighbours", |row| row.held_back.map(|held_back| held_back.recall_at_10)),
        ("dev STS", |row| row.dev_sts),
    ];
    let mut text = String::new();
    for (name, of) in measures {
        let numbers = [of(teacher), of(projected), of(start), of(now)];
        let [Some(teacher), Some(projected), Some(start), Some(now)] = numbers else { continue };
        text += &format!(
            "{name}: the projection costs {:.2}, the student {:.2} beyond it; training won {:.2}\n",
            100.0 * (teacher - projected),
            100.0 * (projected - now),
            100.0 * (now - start),
        );
    }
    text
}

fn histogram(found: &Inspection) -> String {
    let of = |bar: &Bar| bar.now.unwrap_or(bar.start);
    let most = found.cosine_to_target.iter().map(of).max().unwrap_or(0).max(1);
    let mut rows = vec![["cosine to target", "at start", "now"].map(str::to_owned).to_vec()];
    rows.extend(found.cosine_to_target.iter().map(|bar| {
        let now = bar.now.map_or_else(|| "–".to_owned(), |now| now.to_string());
        vec![format!("{:.2} to {:.2}", bar.from, bar.to), bar.start.to_string(), now]
    }));
    let bars = found.cosine_to_target.iter().map(|bar| {
        let length = (of(bar) * LONGEST_BAR).div_ceil(most);
        format!("  {}", "█".repeat(length))
    });
    let lines = aligned(&rows);
    let bars = std::iter::once(String::new()).chain(bars);
    let line = |(line, bar): (&str, String)| format!("{line}{bar}").trim_end().to_owned() + "\n";
    lines.lines().zip(bars).map(line).collect()
}

fn worst(sentences: &[Sentence]) -> String {
    let width = terminal_width();
    let line = |sentence: &Sentence| {
        let Sentence { cosine, start, tokens, text } = sentence;
        cut(&format!("{cosine:>6.3}{start:>10.3}{tokens:>8}  {}", one_line(text)), width) + "\n"
    };
    let header = "cosine  at start  tokens  the farthest from their targets\n";
    header.to_owned() + &sentences.iter().map(line).collect::<String>()
}

fn course(course: &Course) -> String {
    let names = course.names();
    let mut rows =
        vec![std::iter::once("step").chain(names.iter().copied()).map(in_words).collect()];
    rows.extend(course.points.iter().map(|point: &Point| {
        let number = |name: &&str| point.numbers.get(*name).map_or("–".to_owned(), |n| short(*n));
        std::iter::once(point.step.to_string()).chain(names.iter().map(number)).collect()
    }));
    aligned(&rows)
}

fn in_words(name: &str) -> String {
    name.replace('_', " ")
}

/// A number in as many digits as it deserves.
fn short(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        size if size < 1e-3 => format!("{number:.1e}"),
        size if size < 10.0 => format!("{number:.4}"),
        size if size < 100.0 => format!("{number:.2}"),
        _ => format!("{number:.0}"),
    }
}

fn overlap(parts: &[Overlap]) -> String {
    let mut rows =
        vec![["in the training text", "texts", "seen", "share"].map(str::to_owned).to_vec()];
    rows.extend(parts.iter().map(|part| {
        let share = 100.0 * part.seen as f64 / part.texts.max(1) as f64;
        vec![
            part.name.clone(),
            part.texts.to_string(),
            part.seen.to_string(),
            format!("{share:.2} %"),
        ]
    }));
    let mut text = aligned(&rows);
    let width = terminal_width();
    for part in parts {
        for example in &part.examples {
            text += &cut(&format!("{}: {}", part.name, one_line(example)), width);
            text.push('\n');
        }
    }
    text
}
