//! A run on disk: everything a second process needs to go on as if the first had never stopped.
//!
//! One safetensors file, so that weights, moments and the step they belong to cannot come apart: the tensors
//! under `student.`, `first.`, `second.` and, where a mean of the weights is kept, `average.`, and a JSON header (the `checkpoint` entry of its metadata). It is
//! written in a folder beside the old one and renamed over it, so one whole checkpoint stands at any moment.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hpd_files::{Error, Result, atomic};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, View};
use serde::{Deserialize, Serialize};

use crate::average::Average;
use crate::optimizer::{Moments, Optimizer};
use crate::recipe::Recipe;
use crate::student::Student;

/// The format written here; readers refuse others.
const VERSION: u32 = 1;
const HEADER: &str = "checkpoint";
/// The folder a checkpoint is written in.
const UNFINISHED: &str = "unfinished";

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Format of the file.
    pub version: u32,
    /// Steps taken.
    pub step: u64,
    /// The best score so far, larger is better whatever the measure, and the step that reached it.
    pub best: Option<(f64, u64)>,
    /// The resolved recipe, as TOML.
    pub recipe: String,
    /// Fingerprints of what is trained on, by what they are of: sentences, teacher, projection, student.
    pub data: BTreeMap<String, String>,
}

impl RunState {
    /// The beginning of a run.
    pub fn new(recipe: &Recipe, data: BTreeMap<String, String>) -> Self {
        Self { version: VERSION, step: 0, best: None, recipe: recipe.to_toml(), data }
    }

    /// Refuses to go on with another recipe or other data than `now`, naming what changed.
    ///
    /// # Errors
    /// Then.
    pub fn check_same(&self, now: &Self, path: &Path) -> Result<()> {
        let place = path.display();
        let refuse = |what: String| {
            Err(Error::mismatch(format!("`{place}` cannot be resumed: {what}"))
                .hint("give what it was started with, or another `--output`"))
        };
        if let Some((before, after)) = first_difference(&self.recipe, &now.recipe) {
            return refuse(format!("its recipe has `{before}`, the one given has `{after}`"));
        }
        for (name, found) in &now.data {
            let expected = self.data.get(name).map_or("nothing", String::as_str);
            if expected != found {
                return refuse(format!("it was made with {name} {expected}, found {found}"));
            }
        }
        Ok(())
    }
}

/// The first lines in which two TOML texts of the same keys differ.
fn first_difference<'a>(a: &'a str, b: &'a str) -> Option<(&'a str, &'a str)> {
    let longest = a.lines().count().max(b.lines().count());
    let lines = |text: &'a str| text.lines().chain(std::iter::repeat("nothing"));
    lines(a).zip(lines(b)).take(longest).find(|(a, b)| a != b)
}

/// Writes `student`, what `optimizer` remembers, the mean of the weights if one is kept, and `state` as one file.
///
/// # Errors
/// When the disk is full; the checkpoint before stands then.
pub fn save(
    path: &Path,
    student: &Student,
    optimizer: &mut Optimizer,
    average: Option<&Average>,
    state: &RunState,
) -> Result<()> {
    let mut tensors = student_tensors(student);
    for (name, mean) in average.into_iter().flat_map(Average::tensors) {
        tensors.push(Numbers::flat(format!("average.{name}"), mean));
    }
    for (name, moments) in optimizer.moments() {
        tensors.push(Numbers::flat(format!("first.{name}"), &moments.first));
        tensors.push(Numbers::flat(format!("second.{name}"), &moments.second));
    }
    write(path, &tensors, state)
}

/// Writes `student` alone, for the best one so far.
///
/// # Errors
/// As [`save`].
pub fn save_student(path: &Path, student: &Student, state: &RunState) -> Result<()> {
    write(path, &student_tensors(student), state)
}

/// A checkpoint opened.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Where the run stands.
    pub state: RunState,
}

impl Checkpoint {
    /// Opens the checkpoint at `path`; `None` if there is none.
    ///
    /// # Errors
    /// When it is damaged or of another version.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path, error)),
        };
        let damaged = |what: String| {
            Error::model(format!("`{}` is not a whole checkpoint: {what}", path.display()))
                .hint("delete it to begin again")
        };
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
        let header = metadata.metadata().as_ref().and_then(|entries| entries.get(HEADER));
        let header = header.ok_or_else(|| damaged(format!("no `{HEADER}` in its header")))?;
        let mut state: RunState =
            serde_json::from_str(header).map_err(|e| damaged(e.to_string()))?;
        if state.version != VERSION {
            return Err(damaged(format!("version {}, expected {VERSION}", state.version)));
        }
        state.recipe = Recipe::rewritten(&state.recipe);
        Ok(Some(Self { path: path.to_owned(), bytes, state }))
    }

    /// The student it holds, in the shape of `student`.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn student(&self, student: &Student) -> Result<Student> {
        let tensors = self.tensors()?;
        student.reload(&mut |name, shape| {
            let (found, numbers) = tensors.get(&format!("student.{name}"))?;
            if found != shape {
                return Err(Error::mismatch(format!(
                    "`{name}` in `{}` has shape {found:?}, expected {shape:?}",
                    self.path.display()
                )));
            }
            Ok(numbers)
        })
    }

    /// What the optimiser remembered.
    ///
    /// # Errors
    /// When one of a pair of moments is missing or their lengths differ.
    pub fn moments(&self) -> Result<BTreeMap<String, Moments>> {
        let tensors = self.tensors()?;
        let names = tensors.names();
        let names = names.iter().filter_map(|name| name.strip_prefix("first."));
        let pair = |name: &str| {
            let (first_shape, first) = tensors.get(&format!("first.{name}"))?;
            let (second_shape, second) = tensors.get(&format!("second.{name}"))?;
            if first_shape != second_shape {
                let place = self.path.display();
                return Err(Error::model(format!(
                    "the moments of `{name}` in `{place}` differ in shape"
                )));
            }
            Ok((name.to_owned(), Moments { first, second }))
        };
        names.map(pair).collect()
    }

    /// The mean of the weights, by the names of tensors; empty where none was kept.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn average(&self) -> Result<BTreeMap<String, Vec<f32>>> {
        let tensors = self.tensors()?;
        let names = tensors.names();
        let names = names.iter().filter_map(|name| name.strip_prefix("average."));
        let mean = |name: &str| Ok((name.to_owned(), tensors.get(&format!("average.{name}"))?.1));
        names.map(mean).collect()
    }

    fn tensors(&self) -> Result<Tensors<'_>> {
        let inner = SafeTensors::deserialize(&self.bytes).map_err(|e| {
            Error::model(format!("`{}` is damaged", self.path.display())).caused_by(e)
        })?;
        Ok(Tensors { path: &self.path, inner })
    }
}

struct Tensors<'a> {
    path: &'a Path,
    inner: SafeTensors<'a>,
}

impl Tensors<'_> {
    fn names(&self) -> Vec<String> {
        self.inner.names().into_iter().map(ToString::to_string).collect()
    }

    fn get(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let view = self.inner.tensor(name).ok().filter(|view| view.dtype() == Dtype::F32);
        let Some(view) = view else {
            let place = self.path.display();
            return Err(Error::mismatch(format!("`{place}` has no f32 tensor `{name}`")));
        };
        let numbers = view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        Ok((view.shape().to_vec(), numbers.collect()))
    }
}

/// A tensor on its way into a file: borrowed where it can be, since moments are most of a checkpoint.
struct Numbers<'a> {
    name: String,
    shape: Vec<usize>,
    numbers: Cow<'a, [f32]>,
}

impl<'a> Numbers<'a> {
    fn flat(name: String, numbers: &'a [f32]) -> Self {
        Self { name, shape: vec![numbers.len()], numbers: numbers.into() }
    }
}

impl View for &Numbers<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        bytemuck::cast_slice(&self.numbers).into()
    }

    fn data_len(&self) -> usize {
        size_of_val(&*self.numbers)
    }
}

fn student_tensors(student: &Student) -> Vec<Numbers<'static>> {
    let named = |tensor: hpd_encoder::tensor::Tensor| Numbers {
        name: format!("student.{}", tensor.name),
        shape: tensor.shape,
        numbers: tensor.data.into(),
    };
    student.tensors().into_iter().map(named).collect()
}

fn write(path: &Path, tensors: &[Numbers<'_>], state: &RunState) -> Result<()> {
    let failed =
        |e: &dyn std::fmt::Display| Error::io("write", path, std::io::Error::other(e.to_string()));
    let header = serde_json::to_string(state).map_err(|e| failed(&e))?;
    let metadata = HashMap::from([(HEADER.to_owned(), header)]);
    let views = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor));
    let folder = path.with_file_name(UNFINISHED);
    clear(&folder)?;
    fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
    let unfinished = folder.join("checkpoint.safetensors");
    // Tensor by tensor: in one piece, a checkpoint would need its size in memory once more.
    let written = safetensors::serialize_to_file(views, Some(metadata), &unfinished);
    written.map_err(|e| failed(&e))?;
    // Windows flushes only what is open for writing.
    let file = File::options().write(true).open(&unfinished).and_then(|file| file.sync_all());
    file.map_err(|e| Error::io("sync", &unfinished, e))?;
    atomic::rename(&unfinished, path)?;
    clear(&folder)
}

/// Removes what a killed process was writing, which is as large as a checkpoint and has a name that nobody knows.
fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io("remove", folder, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use hpd_encoder::{EncoderConfig, ModelType};
    use proptest::prelude::*;

    use super::*;
    use crate::damage::damage;
    use crate::recipe::Activation;
    use crate::student::HeadShape;

    fn student() -> Student {
        let config = EncoderConfig {
            model_type: ModelType::Bert,
            hidden_size: 8,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 12,
            vocab_size: 12,
            max_position_embeddings: 10,
            type_vocab_size: 1,
            layer_norm_eps: 1e-5,
            hidden_act: hpd_encoder::Activation::Gelu,
            pad_token_id: 0,
        };
        let head =
            HeadShape { dim: 4, bias: false, activation: Activation::Identity, normalize: true };
        Student::fresh(config, head, 3, &Device::flex().autodiff()).unwrap()
    }

    #[test]
    fn what_a_killed_process_was_writing_is_gone_with_the_next_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(UNFINISHED);
        fs::create_dir(&left).unwrap();
        fs::write(left.join(".tmpa1b2c3"), "half of it").unwrap();
        let state = RunState::new(&Recipe::load("hpd").unwrap(), BTreeMap::new());
        let path = folder.path().join("best.safetensors");
        save_student(&path, &student(), &state).unwrap();
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["best.safetensors"]);
        assert!(Checkpoint::open(&path).unwrap().is_some());
    }

    #[test]
    fn wrong_bytes_are_an_error_or_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let recipe = Recipe::load("hpd").unwrap();
        let state = RunState::new(&recipe, BTreeMap::new());
        let student = student();
        let moments = Moments { first: vec![0.5; 32], second: vec![0.25; 32] };
        let moments = BTreeMap::from([("head".to_owned(), moments)]);
        let mut optimizer = Optimizer::resumed(recipe.optimizer, 1, moments);
        let average = BTreeMap::from([("head.weight".to_owned(), vec![0.5; 32])]);
        let average = Average::resumed(0.5, average);
        save(&path, &student, &mut optimizer, average.as_ref(), &state).unwrap();
        let whole = fs::read(&path).unwrap();
        let header = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
        let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(damage in damage(), in_header in any::<bool>())| {
            let bytes = if in_header {
                [damage.done_to(&whole[..header]), whole[header..].to_vec()].concat()
            } else {
                damage.done_to(&whole)
            };
            fs::write(&path, bytes).unwrap();
            if let Ok(Some(checkpoint)) = Checkpoint::open(&path) {
                let _ = checkpoint.state.check_same(&state, &path);
                let _ = checkpoint.student(&student);
                let _ = checkpoint.moments();
                let _ = checkpoint.average();
            }
        });
    }
}
