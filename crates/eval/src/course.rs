//! The course of a training: what `metrics.jsonl` tells, as curves over steps.
//!
//! Read by name and not by a fixed list of fields, so that a loss that is invented tomorrow has its curve too. The
//! file may be written to at the same time, or end in half a line; whatever is not a whole line is passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hpd_files::{Error, Result};
use serde::Serialize;
use serde_json::Value;

use crate::files::evenly_spaced;

/// What is not a curve but the place on one.
const STEP: &str = "step";

/// Numbers over steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Course {
    /// One for each step that something was measured at, ascending.
    pub points: Vec<Point>,
}

/// What was measured at a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Steps taken.
    pub step: u64,
    /// By name, such as `loss` or `dev_cosine`.
    #[serde(flatten)]
    pub numbers: BTreeMap<String, f64>,
}

impl Course {
    /// Reads a metrics file; one that is not there is a course without points.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Self::parse(&String::from_utf8_lossy(&bytes))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::io("read", path, error)),
        }
    }

    /// Lines about the same step are one point; of two that name the same number the later holds.
    fn parse(text: &str) -> Self {
        let mut points: BTreeMap<u64, BTreeMap<String, f64>> = BTreeMap::new();
        for line in text.lines() {
            let Ok(Value::Object(fields)) = serde_json::from_str(line) else { continue };
            let Some(step) = fields.get(STEP).and_then(Value::as_u64) else { continue };
            let numbers = fields.iter().filter(|(name, _)| *name != STEP);
            let numbers = numbers.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)));
            points.entry(step).or_default().extend(numbers);
        }
        let point = |(step, numbers)| Point { step, numbers };
        Self { points: points.into_iter().map(point).collect() }
    }

    /// What was measured, in alphabetical order.
    pub fn names(&self) -> Vec<&str> {
        let names = self.points.iter().flat_map(|point| point.numbers.keys());
        names.map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Step and number wherever `name` was measured.
    pub fn curve(&self, name: &str) -> Vec<(u64, f64)> {
        let at = |point: &Point| Some((point.step, *point.numbers.get(name)?));
        self.points.iter().filter_map(at).collect()
    }

    /// The last number of that name.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.points.iter().rev().find_map(|point| point.numbers.get(name).copied())
    }

    /// Steps taken when the last line was written.
    pub fn step(&self) -> u64 {
        self.points.last().map_or(0, |point| point.step)
    }

    /// Sentences a second over the whole course: each line that tells its speed is about as many steps as any other.
    pub fn sentences_per_second(&self) -> Option<f64> {
        let speeds: Vec<f64> =
            self.curve("sentences_per_second").into_iter().map(|(_, speed)| speed).collect();
        let times: f64 = speeds.iter().map(|speed| 1.0 / speed.max(f64::MIN_POSITIVE)).sum();
        (!speeds.is_empty()).then(|| speeds.len() as f64 / times)
    }

    /// At most `count` points, evenly spaced, the last among them, each with all that was known of the course by then.
    pub fn thinned(&self, count: usize) -> Self {
        let mut known = BTreeMap::new();
        let mut told = Vec::with_capacity(self.points.len());
        for point in &self.points {
            known.extend(point.numbers.clone());
            told.push(Point { step: point.step, numbers: known.clone() });
        }
        told.reverse();
        let places = evenly_spaced(told.len(), count);
        let mut points: Vec<Point> = places.map(|i| told[i].clone()).collect();
        points.reverse();
        Self { points }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"{"step":10,"epoch":0.1,"loss":0.5,"sentences_per_second":100.0}
{"step":20,"epoch":0.2,"loss":0.4,"loss_new":0.1,"sentences_per_second":300.0}
{"step":20,"epoch":0.2,"dev_cosine":0.8}
not a line
{"step":30,"epoch":0.3,"loss":0.3,"note":"words","sentences_per_second":300.0}
{"step":40,"epo"#;

    #[test]
    fn every_number_has_its_curve_and_half_lines_are_passed_over() {
        let course = Course::parse(METRICS);
        assert_eq!(course.curve("loss"), [(10, 0.5), (20, 0.4), (30, 0.3)]);
        assert_eq!((course.curve("loss_new"), course.step()), (vec![(20, 0.1)], 30));
        assert_eq!(
            course.names(),
            ["dev_cosine", "epoch", "loss", "loss_new", "sentences_per_second"]
        );
        assert_eq!((course.last("dev_cosine"), course.last("note")), (Some(0.8), None));
    }

    #[test]
    fn speed_is_sentences_over_time() {
        let speed = Course::parse(METRICS).sentences_per_second().unwrap();
        assert!((speed - 180.0).abs() < 1e-9, "{speed}");
        assert_eq!(Course::default().sentences_per_second(), None);
    }

    #[test]
    fn a_thinned_course_ends_where_the_whole_one_does_and_forgets_nothing() {
        let course = Course::parse(METRICS).thinned(2);
        let steps: Vec<u64> = course.points.iter().map(|point| point.step).collect();
        assert_eq!(steps, [20, 30]);
        assert_eq!(course.points[1].numbers["dev_cosine"], 0.8);
        assert!(Course::default().thinned(5).points.is_empty());
    }

    #[test]
    fn a_run_without_metrics_has_no_points() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Course::read(&folder.path().join("metrics.jsonl")).unwrap(), Course::default());
        assert!(Course::read(folder.path()).is_err());
    }
}
