//! The folder a run works in: what it is, how far it has come, and whether this command may go on with it.
//!
//! ```text
//! student/               the exported model, only when it is whole
//! student.run/
//!   run.json             what the run was started with and how far it has come
//!   recipe.toml          the resolved recipe
//!   tokenizer/           the student's tokenizer, where it keeps only part of its start's vocabulary
//!   pca.safetensors      the projection, when fitted; `mcr2.safetensors` where it is a trained map
//!   beginning.json       what it began with: teacher, files, token counts, held-back sentences
//!   held_back.safetensors  those sentences as the teacher and the student at its start see them
//!   metrics.jsonl        one line a logged step
//!   last.safetensors     the last checkpoint
//!   best.safetensors     the best student so far
//!   teacher/             teacher vectors, unless they are kept elsewhere
//! ```
//!
//! A run is bound to its teacher, sentences, start and recipe; going on with others would train something
//! that no command line describes.

use std::fs;
use std::path::{Path, PathBuf};

use hpd_encoder::writer;
use hpd_files::{Error, Result, atomic};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::recipe::Recipe;

const VERSION: u32 = 1;
/// Name of the resolved recipe in a binding.
pub(crate) const RECIPE: &str = "recipe";

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Started; teacher vectors, training or export may be in work.
    Running,
    /// The student stands.
    Done,
}

/// What `run.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunFile {
    version: u32,
    /// How far the run has come.
    pub status: Status,
    /// Where the student goes.
    pub output: PathBuf,
    /// All that decides the student's numbers, by name; see `run::binding`.
    pub binding: serde_json::Map<String, Value>,
    /// The scores, once the run is done.
    pub results: Option<Value>,
}

/// A run's folder, open.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
    output: PathBuf,
    resume: bool,
    overwrite: bool,
}

impl RunFolder {
    /// Claims `OUTPUT.run` for a student at `output`; what `overwrite` replaces stands until [`RunFolder::bind`].
    ///
    /// # Errors
    /// When the student or an earlier run is there and neither `resume` nor `overwrite` is asked for, when `resume` is
    /// and what is there was made by no run, or when a file has the place.
    pub fn open(output: &Path, resume: bool, overwrite: bool) -> Result<Self> {
        let folder = Self { path: run_path(output)?, output: output.to_owned(), resume, overwrite };
        if output.exists() && !output.is_dir() {
            return Err(Error::input(format!(
                "`{}` is a file, expected a folder or nothing",
                output.display()
            ))
            .hint("choose another --output"));
        }
        if overwrite {
            writer::check_replaceable(output, true)?;
        }
        let goes_on = resume && folder.run_file().exists();
        if output.exists() && !overwrite && !goes_on {
            let (there, run) = (output.display(), folder.path.display());
            let none = if resume {
                format!(", and `{run}` holds no run to go on with")
            } else {
                String::new()
            };
            return Err(Error::input(format!("`{there}` is there already{none}"))
                .hint("choose another --output, or replace it with --overwrite"));
        }
        if folder.run_file().exists() && !resume && !overwrite {
            return Err(Error::input(format!("`{}` holds an earlier run", folder.path.display()))
                .hint("go on with it by --resume, or start again with --overwrite"));
        }
        fs::create_dir_all(&folder.path).map_err(|e| Error::io("create", &folder.path, e))?;
        Ok(folder)
    }

    /// Records what the run is about, or makes sure that it still is about the same. Gives the results of a
    /// run that is done. An earlier run that is to be replaced goes now, when all that was typed has proved usable.
    ///
    /// # Errors
    /// When an earlier run was started with something else; names what.
    pub fn bind(&self, binding: &serde_json::Map<String, Value>) -> Result<Option<Value>> {
        if self.overwrite {
            fs::remove_dir_all(&self.path).map_err(|e| Error::io("remove", &self.path, e))?;
            fs::create_dir_all(&self.path).map_err(|e| Error::io("create", &self.path, e))?;
        }
        if !self.resume || !self.run_file().exists() {
            self.write(Status::Running, binding, None)?;
            return Ok(None);
        }
        let earlier = read(&self.path)?;
        let changed = differences(&earlier.binding, binding);
        if !changed.is_empty() {
            return Err(Error::mismatch(format!(
                "cannot go on with `{}`: {}",
                self.path.display(),
                changed.join("; ")
            ))
            .hint("repeat the command of that run, or start again with --overwrite"));
        }
        Ok(if earlier.status == Status::Done { earlier.results } else { None })
    }

    /// Marks the run as done.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn finish(&self, binding: &serde_json::Map<String, Value>, results: Value) -> Result<()> {
        self.write(Status::Done, binding, Some(results))
    }

    fn write(
        &self,
        status: Status,
        binding: &serde_json::Map<String, Value>,
        results: Option<Value>,
    ) -> Result<()> {
        let output = self.output.clone();
        let file = RunFile { version: VERSION, status, output, binding: binding.clone(), results };
        let text = serde_json::to_string_pretty(&file)
            .map_err(|e| Error::input("cannot write down the run").caused_by(e))?;
        atomic::write(&self.run_file(), text.as_bytes())
    }

    fn run_file(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// A place in the folder.
    pub fn place(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this command goes on with an earlier run.
    pub fn resumes(&self) -> bool {
        self.resume
    }
}

/// What was started otherwise, a phrase each.
fn differences(
    earlier: &serde_json::Map<String, Value>,
    now: &serde_json::Map<String, Value>,
) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in earlier {
        match now.get(name) {
            Some(now) => compare(name, &by_knobs(name, value), &by_knobs(name, now), &mut found),
            None => found.push(format!("its {name} was {value}, this command has none")),
        }
    }
    let added = now.iter().filter(|(name, _)| !earlier.contains_key(*name));
    found.extend(added.map(|(name, now)| format!("it had no {name}, this command has {now}")));
    found
}

/// A recipe's text as the table it is; everything else as it stands.
fn by_knobs(name: &str, value: &Value) -> Value {
    let text = value.as_str().filter(|_| name == RECIPE);
    text.and_then(|text| toml::from_str(text).ok()).unwrap_or_else(|| value.clone())
}

/// Puts down where two values differ, down to the parts of objects.
fn compare(name: &str, earlier: &Value, now: &Value, found: &mut Vec<String>) {
    match (earlier, now) {
        (Value::Object(parts), Value::Object(others)) if parts.keys().eq(others.keys()) => {
            for ((part, earlier), now) in parts.iter().zip(others.values()) {
                compare(&format!("{name}.{part}"), earlier, now, found);
            }
        }
        _ if earlier != now => {
            found.push(format!("its {name} was {earlier}, this command has {now}"));
        }
        _ => {}
    }
}

/// `dir/student` → `dir/student.run`.
pub(crate) fn run_path(output: &Path) -> Result<PathBuf> {
    let name = output.file_name().ok_or_else(|| {
        Error::input(format!("`--output {}` has no name", output.display()))
            .hint("name a new folder")
    })?;
    let mut name = name.to_os_string();
    name.push(".run");
    Ok(output.with_file_name(name))
}

/// Reads the `run.json` of a run's folder.
///
/// # Errors
/// When it is missing, damaged or of a later version.
pub fn read(folder: &Path) -> Result<RunFile> {
    let path = folder.join("run.json");
    let text = fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
    let mut file: RunFile = serde_json::from_str(&text).map_err(|e| {
        Error::input(format!("`{}` is damaged", path.display()))
            .caused_by(e)
            .hint("start the run again with --overwrite")
    })?;
    if file.version > VERSION {
        return Err(Error::input(format!(
            "`{}` has version {}, this hpd knows {VERSION}",
            path.display(),
            file.version
        )));
    }
    if let Some(Value::String(recipe)) = file.binding.get_mut(RECIPE) {
        *recipe = Recipe::rewritten(recipe);
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::damage::damage;

    fn binding(teacher: &str) -> serde_json::Map<String, Value> {
        serde_json::Map::from_iter([("teacher".to_owned(), Value::from(teacher))])
    }

    #[test]
    fn an_earlier_run_is_never_taken_over_silently() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("student");
        RunFolder::open(&output, false, false).unwrap().bind(&binding("a")).unwrap();
        let refused = RunFolder::open(&output, false, false).unwrap_err();
        assert!(refused.hint_text().unwrap().contains("--resume"));
        assert!(
            RunFolder::open(&output, true, false).unwrap().bind(&binding("a")).unwrap().is_none()
        );
        let other = RunFolder::open(&output, true, false).unwrap().bind(&binding("b")).unwrap_err();
        assert!(other.to_string().contains("its teacher was \"a\", this command has \"b\""));
        RunFolder::open(&output, false, true).unwrap().bind(&binding("b")).unwrap();
    }

    #[test]
    fn what_is_given_beside_or_left_out_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("student");
        let mut more = binding("a");
        more.insert("paraphrases".to_owned(), Value::from("b"));
        RunFolder::open(&output, false, false).unwrap().bind(&binding("a")).unwrap();
        let again = || RunFolder::open(&output, true, false).unwrap();
        let added = again().bind(&more).unwrap_err().to_string();
        assert!(added.ends_with("it had no paraphrases, this command has \"b\""), "{added}");
        RunFolder::open(&output, false, true).unwrap().bind(&more).unwrap();
        let left_out = again().bind(&binding("a")).unwrap_err().to_string();
        assert!(
            left_out.ends_with("its paraphrases was \"b\", this command has none"),
            "{left_out}"
        );
    }

    #[test]
    fn what_differs_in_a_recipe_is_named_by_its_knobs() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("student");
        let recipe = Recipe::load("hpd").unwrap();
        let mut other = Recipe { epochs: recipe.epochs + 1, ..recipe.clone() };
        other.schedule.learning_rate = 0.5;
        let binding = |recipe: &Recipe| {
            serde_json::Map::from_iter([(RECIPE.to_owned(), Value::from(recipe.to_toml()))])
        };
        RunFolder::open(&output, false, false).unwrap().bind(&binding(&recipe)).unwrap();
        let refused = RunFolder::open(&output, true, false).unwrap().bind(&binding(&other));
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(
            "its recipe.epochs was 1, this command has 2; its recipe.schedule.learning_rate was "
        ));
        assert!(!refused.contains("batch_size"), "{refused}");
    }

    #[test]
    fn a_run_of_an_earlier_hpd_goes_on_when_its_knobs_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("student");
        let mut recipe = Recipe::load("hpd").unwrap();
        let bound =
            |recipe: String| serde_json::Map::from_iter([(RECIPE.to_owned(), Value::from(recipe))]);
        let now = recipe.to_toml();
        let earlier = now.lines().filter(|line| !line.starts_with("hsic"));
        let earlier = earlier.collect::<Vec<_>>().join("\n");
        RunFolder::open(&output, false, false).unwrap().bind(&bound(earlier)).unwrap();
        let folder = RunFolder::open(&output, true, false).unwrap();
        assert_eq!(folder.bind(&bound(now)).unwrap(), None);
        recipe.set("loss.hsic", "1").unwrap();
        assert!(folder.bind(&bound(recipe.to_toml())).is_err());
    }

    #[test]
    fn a_run_that_is_done_gives_its_results_again() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("student");
        let folder = RunFolder::open(&output, false, false).unwrap();
        folder.bind(&binding("a")).unwrap();
        folder.finish(&binding("a"), Value::from(1)).unwrap();
        let again = RunFolder::open(&output, true, false).unwrap().bind(&binding("a")).unwrap();
        assert_eq!(again, Some(Value::from(1)));
    }

    #[test]
    fn an_existing_student_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("student");
        fs::create_dir(&output).unwrap();
        assert!(RunFolder::open(&output, false, false).is_err());
    }

    #[test]
    fn a_folder_that_no_run_made_is_not_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("notes");
        fs::create_dir(&output).unwrap();
        let refused = RunFolder::open(&output, true, false).unwrap_err();
        assert!(refused.to_string().contains("is there already"), "{refused}");
        assert!(refused.hint_text().unwrap().contains("--overwrite"));
    }

    #[test]
    fn a_file_is_never_replaced_by_a_student() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("notes.txt");
        fs::write(&output, "mine").unwrap();
        for (resume, overwrite) in [(false, false), (true, false), (false, true)] {
            let refused = RunFolder::open(&output, resume, overwrite).unwrap_err();
            assert!(refused.to_string().contains("is a file"), "{refused}");
        }
    }

    #[test]
    fn a_run_file_with_wrong_bytes_is_an_error_or_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("student");
        let folder = RunFolder::open(&output, false, false).unwrap();
        folder.bind(&binding("a")).unwrap();
        let path = folder.path().join("run.json");
        let whole = fs::read(&path).unwrap();
        let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(damage in damage())| {
            fs::write(&path, damage.done_to(&whole)).unwrap();
            let _ = read(folder.path());
            let _ = RunFolder::open(&output, true, false).and_then(|run| run.bind(&binding("a")));
        });
    }
}
