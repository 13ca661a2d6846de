//! What a run began with, written down once before its first step.
//!
//! So that [`crate::inspection`] can tell at any moment where the points went, without teacher, tokenizer or text at
//! hand, and without a word from the process that trains: the held-back sentences as text and as token ids, the
//! teacher's vectors of them and those of the student at its start, and what cannot be computed again cheaply, such
//! as the teacher's score on the development pairs.
//!
//! ```text
//! student.run/beginning.json            for people and machines
//!             held_back.safetensors     teacher [n, teacher_dim], start [n, dim], ids, offsets
//! ```

use std::path::{Path, PathBuf};

use hpd_encoder::Tokens;
use hpd_eval::sts::Pairs;
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Fingerprint, Result, atomic};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::run::spearman;
use crate::sentences::{FileReport, SentenceOptions, Sentences};
use crate::shards::TeacherCard;
use crate::student::Student;

const VERSION: u32 = 1;
const FACTS: &str = "beginning.json";
const NUMBERS: &str = "held_back.safetensors";

/// What a run began with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Beginning {
    version: u32,
    /// Who is learnt from.
    pub teacher: TeacherCard,
    /// The files trained on, with whole paths, and what became of their records.
    pub files: Vec<FileReport>,
    /// How they were read.
    pub options: SentenceOptions,
    /// Steps over all epochs.
    pub steps: usize,
    /// Sentences in a step.
    pub batch_size: usize,
    /// What the student's tokenizer made of all sentences.
    pub tokens: TokenCounts,
    /// The sentences held back from training.
    pub held_back: Vec<String>,
    /// Spearman on the development pairs, where there are such pairs.
    pub dev_sts: Option<DevSts>,
}

/// What a tokenizer made of sentences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCounts {
    /// Sentences, held back or not.
    pub sentences: usize,
    /// Their tokens, special ones included.
    pub tokens: usize,
    /// Tokens that stand for "not in the vocabulary".
    pub unknown: usize,
    /// Sentences that lost their end.
    pub truncated: usize,
    /// Tokens at which they were cut.
    pub max_tokens: usize,
}

/// Spearman's correlation on the development pairs before training, 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DevSts {
    /// The file of pairs.
    pub file: PathBuf,
    /// Names the pairs.
    pub fingerprint: String,
    /// How many there are.
    pub pairs: usize,
    /// Of the teacher; `None` when it cannot be asked.
    pub teacher: Option<f64>,
    /// Of the teacher's projection.
    pub projected: Option<f64>,
    /// Of the student at its start.
    pub student: Option<f64>,
}

/// The held-back sentences in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldBack {
    /// Their token ids.
    pub tokens: Tokens,
    /// The teacher's vectors, `[n, teacher_dim]`.
    pub teacher: Matrix,
    /// The student's vectors at its start, `[n, dim]`.
    pub start: Matrix,
}

impl Beginning {
    /// Gathers what a run begins with; scores and token counts are given, being the dear part.
    pub(crate) fn new(
        teacher: TeacherCard,
        sentences: &Sentences,
        options: SentenceOptions,
        [steps, batch_size]: [usize; 2],
        tokens: TokenCounts,
        dev_sts: Option<DevSts>,
    ) -> Self {
        let whole = |file: &FileReport| {
            let mut file = file.clone();
            file.path = file.path.canonicalize().unwrap_or(file.path);
            file
        };
        let held_back = sentences.held_back().iter();
        Self {
            version: VERSION,
            teacher,
            files: sentences.files().iter().map(whole).collect(),
            options,
            steps,
            batch_size,
            tokens,
            held_back: held_back.map(|&row| sentences.get(row as usize).to_owned()).collect(),
            dev_sts,
        }
    }

    /// Writes it into the run's folder, the facts last, so that facts never stand without their numbers.
    ///
    /// # Errors
    /// When the disk is full.
    pub(crate) fn save(&self, folder: &Path, numbers: &HeldBack) -> Result<()> {
        numbers.save(&folder.join(NUMBERS))?;
        let path = folder.join(FACTS);
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::io("write", &path, std::io::Error::other(e)))?;
        atomic::write(&path, text.as_bytes())
    }

    /// Reads what a run began with; `None` where nothing is written down: not yet, or by an earlier hpd.
    ///
    /// # Errors
    /// When the files are damaged or of a later version.
    pub fn read(folder: &Path) -> Result<Option<(Self, HeldBack)>> {
        let path = folder.join(FACTS);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let damaged = || Error::input(format!("`{}` is damaged", path.display()));
        let facts: Self = serde_json::from_slice(&bytes).map_err(|e| damaged().caused_by(e))?;
        if facts.version > VERSION {
            return Err(Error::input(format!(
                "`{}` has version {}, this hpd knows {VERSION}",
                path.display(),
                facts.version
            )));
        }
        let numbers = HeldBack::read(&folder.join(NUMBERS))?;
        let rows = [facts.held_back.len(), numbers.tokens.len()];
        if rows != [numbers.teacher.len(), numbers.start.len()] || rows[0] != rows[1] {
            return Err(damaged());
        }
        Ok(Some((facts, numbers)))
    }
}

impl DevSts {
    /// Names a file of pairs, before anyone is scored on it.
    pub(crate) fn of(file: &Path, pairs: &Pairs) -> Result<Self> {
        Ok(Self {
            file: file.canonicalize().unwrap_or_else(|_| file.to_owned()),
            fingerprint: Fingerprint::of_file(file)?.to_string(),
            pairs: pairs.len(),
            teacher: None,
            projected: None,
            student: None,
        })
    }

    /// Scores the student at its start.
    pub(crate) fn score_start(&mut self, student: &Student, tokens: &Tokens, pairs: &Pairs) {
        self.student = spearman(Some(pairs), &student.embed(&texts_of(tokens)));
    }
}

/// The ids of each text.
pub(crate) fn texts_of(tokens: &Tokens) -> Vec<&[u32]> {
    (0..tokens.len()).map(|i| tokens.text(i)).collect()
}

impl HeldBack {
    /// The rows `held_back` of all sentences' tokens, their teacher vectors, and what `student` makes of them now.
    pub(crate) fn of(
        tokens: &Tokens,
        held_back: &[u32],
        teacher: Matrix,
        student: &Student,
    ) -> Self {
        let mut own = Tokens { offsets: vec![0], ..Tokens::default() };
        for &row in held_back {
            own.ids.extend_from_slice(tokens.text(row as usize));
            own.offsets.push(own.ids.len());
        }
        let start = student.embed(&texts_of(&own));
        Self { tokens: own, teacher, start }
    }

    fn save(&self, path: &Path) -> Result<()> {
        let offsets: Vec<u32> = self.tokens.offsets.iter().map(|&offset| offset as u32).collect();
        let matrix = |matrix: &Matrix| vec![matrix.len(), matrix.dim];
        let teacher: &[u8] = bytemuck::cast_slice(&self.teacher.data);
        let start: &[u8] = bytemuck::cast_slice(&self.start.data);
        let ids: &[u8] = bytemuck::cast_slice(&self.tokens.ids);
        let tensors = [
            ("teacher", Dtype::F32, matrix(&self.teacher), teacher),
            ("start", Dtype::F32, matrix(&self.start), start),
            ("ids", Dtype::U32, vec![self.tokens.ids.len()], ids),
            ("offsets", Dtype::U32, vec![offsets.len()], bytemuck::cast_slice(&offsets)),
        ];
        let fail = |error| Error::io("write", path, std::io::Error::other(error));
        let views = tensors
            .into_iter()
            .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(dtype, shape, bytes)?)));
        let views = views.collect::<Result<Vec<_>, _>>().map_err(fail)?;
        atomic::write(path, &safetensors::serialize(views, None).map_err(fail)?)
    }

    fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
        let damaged = || Error::input(format!("`{}` is damaged", path.display()));
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged().caused_by(e))?;
        let words = |name: &str, dtype| {
            let view = tensors.tensor(name).ok().filter(|view| view.dtype() == dtype);
            let view = view.ok_or_else(damaged)?;
            Ok((view.shape().to_vec(), view.data().as_chunks::<4>().0.to_vec()))
        };
        let whole = |name| {
            let (_, numbers) = words(name, Dtype::U32)?;
            Ok(numbers.into_iter().map(u32::from_le_bytes).collect::<Vec<_>>())
        };
        let matrix = |name| {
            let (shape, numbers) = words(name, Dtype::F32)?;
            let data = numbers.into_iter().map(f32::from_le_bytes).collect();
            let &[_, dim] = &shape[..] else { return Err(damaged()) };
            Ok(Matrix { data, dim })
        };
        let ids = whole("ids")?;
        let offsets: Vec<usize> = whole("offsets")?.into_iter().map(|o| o as usize).collect();
        let ascend = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        if !ascend || offsets.first() != Some(&0) || offsets.last() != Some(&ids.len()) {
            return Err(damaged());
        }
        let tokens = Tokens { ids, offsets, ..Tokens::default() };
        Ok(Self { tokens, teacher: matrix("teacher")?, start: matrix("start")? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::damage::damage;

    fn held_back() -> HeldBack {
        HeldBack {
            tokens: Tokens {
                ids: vec![2, 7, 3, 2, 3],
                offsets: vec![0, 3, 5],
                ..Tokens::default()
            },
            teacher: Matrix { data: vec![0.5; 6], dim: 3 },
            start: Matrix { data: vec![0.25; 4], dim: 2 },
        }
    }

    fn beginning() -> Beginning {
        Beginning {
            version: VERSION,
            teacher: TeacherCard::new("model", "toy", &[]),
            files: Vec::new(),
            options: SentenceOptions::default(),
            steps: 3,
            batch_size: 2,
            tokens: TokenCounts::default(),
            held_back: vec!["one \"two\"".to_owned(), "three".to_owned()],
            dev_sts: None,
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Beginning::read(folder.path()).unwrap().is_none());
        beginning().save(folder.path(), &held_back()).unwrap();
        let (facts, numbers) = Beginning::read(folder.path()).unwrap().unwrap();
        assert_eq!((facts.held_back, numbers), (beginning().held_back, held_back()));
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let fewer = Beginning { held_back: vec!["one".to_owned()], ..beginning() };
        fewer.save(folder.path(), &held_back()).unwrap();
        assert!(Beginning::read(folder.path()).unwrap_err().to_string().ends_with("is damaged"));
        let later = Beginning { version: 9, ..beginning() };
        later.save(folder.path(), &held_back()).unwrap();
        assert!(Beginning::read(folder.path()).unwrap_err().to_string().contains("version 9"));
        let mut torn = held_back();
        torn.tokens.offsets = vec![0, 9, 5];
        beginning().save(folder.path(), &torn).unwrap();
        assert!(Beginning::read(folder.path()).is_err());
        for (name, bytes) in [(NUMBERS, &b"no tensors"[..]), (FACTS, b"{")] {
            beginning().save(folder.path(), &held_back()).unwrap();
            std::fs::write(folder.path().join(name), bytes).unwrap();
            assert!(Beginning::read(folder.path()).is_err(), "{name}");
        }
    }

    #[test]
    fn wrong_bytes_are_an_error_or_are_read() {
        let folder = tempfile::tempdir().unwrap();
        beginning().save(folder.path(), &held_back()).unwrap();
        let whole = [FACTS, NUMBERS].map(|name| std::fs::read(folder.path().join(name)).unwrap());
        let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(damage in damage(), file in 0usize..2)| {
            for (i, (name, whole)) in [FACTS, NUMBERS].iter().zip(&whole).enumerate() {
                let bytes = if i == file { damage.done_to(whole) } else { whole.clone() };
                std::fs::write(folder.path().join(name), bytes).unwrap();
            }
            if let Ok(Some((facts, numbers))) = Beginning::read(folder.path()) {
                prop_assert_eq!(texts_of(&numbers.tokens).len(), facts.held_back.len());
            }
        });
    }
}
