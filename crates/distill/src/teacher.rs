//! The teacher: sentences in, the vectors that a student shall learn out, whoever makes them.
//!
//! Separate from the shards, which only keep vectors, and from training, which only reads them. Data passes
//! `Sentences → Teacher::embed → shards → TeacherVectors`; a second run finds finished shards and goes on.

mod on_device;

use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use hpd_encoder::{Arithmetic, EncodeOptions, Folder, Model, OpenOptions};
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Fingerprint, Progress, Result, interrupt};

use crate::endpoint::{Endpoint, EndpointOptions};
use crate::given::{GivenRows, GivenVectors};
use crate::sentences::Sentences;
use crate::shards::{TeacherCache, TeacherCard, TeacherVectors, first_unfit};
use crate::student::Student;

/// Sentences between two signs of life; on a card more, so that each length finds company.
const SLICE: usize = 512;
const SLICE_ON_DEVICE: usize = 4096;

/// Vectors of one sentence made today and at the start may differ by arithmetic, not by this much.
const SAME_TEACHER_COSINE: f32 = 0.98;

/// What a teacher argument means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TeacherKind {
    /// A model folder or hub id.
    Model(String),
    /// A file of vectors.
    Vectors(PathBuf),
    /// An OpenAI-compatible server.
    Endpoint(String),
}

impl TeacherKind {
    /// An `http://` or `https://` address is an endpoint, an existing `.npy` or `.safetensors` file is vectors,
    /// everything else a model.
    pub fn parse(text: &str) -> Self {
        let path = Path::new(text);
        let ending = path.extension().and_then(|ending| ending.to_str());
        if text.starts_with("http://") || text.starts_with("https://") {
            Self::Endpoint(text.to_owned())
        } else if matches!(ending, Some("npy" | "safetensors")) && path.is_file() {
            Self::Vectors(path.to_owned())
        } else {
            Self::Model(text.to_owned())
        }
    }
}

/// A teacher, opened.
pub enum Teacher {
    /// A model that runs here.
    Model(Box<ModelTeacher>),
    /// Vectors made elsewhere: row i belongs to record i of the sentence files.
    Vectors(GivenVectors),
    /// A server.
    Endpoint(Endpoint),
}

/// A model that runs here and how it is asked.
pub struct ModelTeacher {
    name: String,
    model: Model,
    options: EncodeOptions,
    /// Its layers on a graphics card, where there is one that can have them.
    on_device: Option<Student>,
}

impl Teacher {
    /// Opens a model folder; `name` is what people call it, such as a hub id.
    ///
    /// # Errors
    /// As [`Model::open_with`].
    pub fn model(
        name: &str,
        folder: &Path,
        opening: &OpenOptions,
        options: EncodeOptions,
    ) -> Result<Self> {
        let model = Model::open_with(folder, opening)?;
        let name = name.to_owned();
        Ok(Self::Model(Box::new(ModelTeacher { name, model, options, on_device: None })))
    }

    /// The same teacher, its layers on `device` if that is a graphics card and they can be there.
    ///
    /// # Errors
    /// When a tensor cannot be read.
    pub fn on(mut self, device: &Device) -> Result<Self> {
        if let Self::Model(teacher) = &mut self {
            teacher.on_device = on_device::body(&teacher.model, device)?;
        }
        Ok(self)
    }

    /// Opens a file of vectors.
    ///
    /// # Errors
    /// As [`GivenVectors::open`].
    pub fn vectors(path: &Path) -> Result<Self> {
        GivenVectors::open(path).map(Self::Vectors)
    }

    /// Takes the address of a server; asks it nothing yet.
    ///
    /// # Errors
    /// As [`Endpoint::new`].
    pub fn endpoint(url: &str, options: EndpointOptions) -> Result<Self> {
        Endpoint::new(url, options).map(Self::Endpoint)
    }

    /// Who this is, for the cache over `sentences` and for people.
    pub fn card(&self, sentences: &Sentences) -> TeacherCard {
        match self {
            Self::Model(teacher) => teacher.card(),
            Self::Vectors(given) => {
                let parts = [given.fingerprint(), sentences.records_fingerprint()];
                let parts = parts.map(|part| part.to_string());
                TeacherCard::new("vectors", &given.path().display().to_string(), &parts)
            }
            Self::Endpoint(endpoint) => {
                TeacherCard::new("endpoint", endpoint.name(), &endpoint.identity())
            }
        }
    }

    /// Numbers in its vectors; `None` for a server, which tells with its first answer.
    pub fn width(&self) -> Option<usize> {
        match self {
            Self::Model(teacher) => teacher.options.dimensions.or(Some(teacher.model.dim())),
            Self::Vectors(given) => Some(given.width()),
            Self::Endpoint(_) => None,
        }
    }

    /// Whether vectors whose teacher has the fingerprint `earlier` are this teacher's, whose own card is `card`; of a
    /// model in whatever numbers it computed.
    pub fn could_have_made(&self, earlier: &str, card: &TeacherCard) -> bool {
        match self {
            Self::Model(teacher) => could_have_made(&teacher.model, earlier),
            _ => card.fingerprint == earlier,
        }
    }

    /// The teacher's vectors of texts outside the sentence list; `None` when there is only a file of vectors.
    ///
    /// # Errors
    /// When the teacher fails.
    pub fn vectors_of(&self, texts: &[&str]) -> Result<Option<Matrix>> {
        match self {
            Self::Model(teacher) => teacher
                .model
                .encode(texts, &teacher.options)
                .map(|embeddings| Some(embeddings.rows)),
            Self::Vectors(_) => Ok(None),
            Self::Endpoint(endpoint) => endpoint.embed(texts, |_| ()).map(Some),
        }
    }

    /// Embeds all sentences into the cache under `parent`, going on where an earlier run stopped.
    ///
    /// # Errors
    /// When the teacher fails, its vectors do not belong to the sentences or to those made before, a vector
    /// does not fit into half precision (with its sentence), or the disk is full. Finished shards stay.
    pub fn embed(
        &self,
        sentences: &Sentences,
        parent: &Path,
        progress: &dyn Progress,
    ) -> Result<TeacherVectors> {
        if let Self::Vectors(given) = self {
            given.check_belonging(sentences)?;
        }
        let card = self.card(sentences);
        let mut cache =
            TeacherCache::open(parent, &card, sentences.fingerprint(), sentences.len())?;
        let missing = cache.missing();
        let to_do: usize = missing.iter().map(|(_, rows)| rows.len()).sum();
        progress.stage("embedding with the teacher", Some(sentences.len() as u64));
        progress.advance((sentences.len() - to_do) as u64);
        if to_do > 0 {
            self.check_still_the_same(&cache, sentences)?;
        }
        let mut lesson = Lesson::new(self, sentences, progress)?;
        for (shard, rows) in missing {
            interrupt::check(&format!("finished shards stay in `{}`", cache.folder().display()))?;
            let first = rows.start;
            let vectors = lesson.vectors(rows)?;
            check_fit(&vectors, first, sentences)?;
            cache.write(shard, &vectors)?;
        }
        if lesson.truncated > 0 {
            let count = lesson.truncated;
            progress.note(&format!("{count} sentences were too long for the teacher and cut"));
        }
        cache.into_vectors()
    }

    /// The same address may serve another model by now: a sentence embedded before is embedded again.
    fn check_still_the_same(&self, cache: &TeacherCache, sentences: &Sentences) -> Result<()> {
        let Self::Endpoint(endpoint) = self else { return Ok(()) };
        let Some((row, before)) = cache.some_row()? else { return Ok(()) };
        let now = endpoint.embed(&[sentences.get(row)], |_| ())?;
        cache.check_width(now.dim)?;
        let cosine = cosine(&before, &now.data);
        if cosine >= SAME_TEACHER_COSINE {
            return Ok(());
        }
        Err(Error::mismatch(format!(
            "`{}` gives another vector for sentence {row} than before (cosine {cosine:.3}): another model?",
            endpoint.name()
        ))
        .hint(format!("to start again, remove the folder `{}`", cache.folder().display())))
    }
}

impl ModelTeacher {
    fn card(&self) -> TeacherCard {
        let Self { name, model, options, .. } = self;
        TeacherCard {
            prompt: Some(format!("{:?}", options.prompt)),
            max_seq_length: Some(model.max_seq_length()),
            ..TeacherCard::new(
                "model",
                name,
                &in_numbers(identity(model, options), model.arithmetic()),
            )
        }
    }

    /// The vectors of `texts`, and how many of them were too long.
    fn encode(&self, texts: &[&str], progress: &dyn Progress) -> Result<(Matrix, usize)> {
        let mut all = Matrix { data: Vec::new(), dim: 0 };
        let mut truncated = 0;
        let slice = if self.on_device.is_some() { SLICE_ON_DEVICE } else { SLICE };
        for slice in texts.chunks(slice) {
            interrupt::check("finished shards are kept")?;
            let (rows, too_long) = match &self.on_device {
                Some(body) => on_device::encode(&self.model, body, slice)?,
                None => {
                    let vectors = self.model.encode(slice, &self.options)?;
                    (vectors.rows, vectors.truncated)
                }
            };
            truncated += too_long;
            all.dim = rows.dim;
            all.data.extend(rows.data);
            progress.advance(slice.len() as u64);
        }
        Ok((all, truncated))
    }
}

/// Whether vectors whose teacher has this fingerprint may be `model`'s, in whatever numbers it computed.
pub(crate) fn could_have_made(model: &Model, fingerprint: &str) -> bool {
    let parts = identity(model, &EncodeOptions::default());
    [Arithmetic::Float32, Arithmetic::Bfloat16, Arithmetic::Int8].into_iter().any(|arithmetic| {
        let card = TeacherCard::new("model", "", &in_numbers(parts.clone(), arithmetic));
        card.fingerprint == fingerprint
    })
}

/// All that a model's vectors depend on, but for the numbers it computes in.
fn identity(model: &Model, options: &EncodeOptions) -> Vec<String> {
    // Word for word as ever: caches and projections are known by it.
    let EncodeOptions { prompt, normalize, dimensions, side: _ } = options;
    let options = format!(
        "EncodeOptions {{ prompt: {prompt:?}, normalize: {normalize}, dimensions: {dimensions:?} }}"
    );
    vec![
        model.identity().weights.clone(),
        describe(model.folder()),
        format!("{} {options}", model.max_seq_length()),
    ]
}

/// The same with those.
fn in_numbers(mut parts: Vec<String>, arithmetic: Arithmetic) -> Vec<String> {
    // Caches of floats keep the name they had before there was a choice.
    if arithmetic != Arithmetic::Float32 {
        parts.push(format!("{arithmetic:?}"));
    }
    parts
}

/// What the vectors depend on beside the tensors, without the place of the folder.
fn describe(folder: &Folder) -> String {
    let Folder { config, pooling, do_lower_case, prompts, default_prompt_name, .. } = folder;
    let activations: Vec<_> = folder.dense().map(|dense| dense.activation).collect();
    let normalizes = folder.normalizes();
    let tokenizer = Fingerprint::of_file(&folder.transformer.join("tokenizer.json")).ok();
    format!(
        "{config:?} {pooling:?} {do_lower_case} {prompts:?} {default_prompt_name:?} {activations:?} \
         {normalizes} {tokenizer:?}"
    )
}

/// One pass over the sentences whose vectors are missing.
struct Lesson<'a> {
    source: Source<'a>,
    sentences: &'a Sentences,
    progress: &'a dyn Progress,
    /// Sentences that were too long.
    truncated: usize,
}

/// A teacher at work: as [`Teacher`], but the file is open.
enum Source<'a> {
    Model(&'a ModelTeacher),
    Vectors(GivenRows),
    Endpoint(&'a Endpoint),
}

impl<'a> Lesson<'a> {
    fn new(
        teacher: &'a Teacher,
        sentences: &'a Sentences,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let source = match teacher {
            Teacher::Model(teacher) => Source::Model(teacher),
            Teacher::Vectors(given) => Source::Vectors(given.stream()?),
            Teacher::Endpoint(endpoint) => Source::Endpoint(endpoint),
        };
        Ok(Self { source, sentences, progress, truncated: 0 })
    }

    /// The vectors of these sentences; ranges ascend from call to call.
    fn vectors(&mut self, rows: Range<usize>) -> Result<Matrix> {
        let (sentences, progress) = (self.sentences, self.progress);
        let texts = || rows.clone().map(|row| sentences.get(row)).collect::<Vec<&str>>();
        match &mut self.source {
            Source::Model(teacher) => {
                let (vectors, truncated) = teacher.encode(&texts(), progress)?;
                self.truncated += truncated;
                Ok(vectors)
            }
            Source::Vectors(given) => {
                progress.advance(rows.len() as u64);
                given.gather(rows.map(|row| sentences.source_row(row)))
            }
            Source::Endpoint(endpoint) => {
                endpoint.embed(&texts(), |count| progress.advance(count as u64))
            }
        }
    }
}

fn check_fit(vectors: &Matrix, first: usize, sentences: &Sentences) -> Result<()> {
    let Some((row, number)) = first_unfit(vectors) else { return Ok(()) };
    let sentence = first + row;
    let beginning: String = sentences.get(sentence).chars().take(60).collect();
    Err(Error::input(format!(
        "the teacher's vector of sentence {sentence} (`{beginning}`) holds {number}, \
         which half precision cannot"
    ))
    .hint("use a teacher whose vectors are normalised"))
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use hpd_files::Silent;
    use serde_json::json;

    use super::*;
    use crate::endpoint::tests::{Asked, Said, Server, good, ok, quick, vector};
    use crate::sentences::{SentenceFile, SentenceOptions};
    use crate::shards::SHARD_ROWS;

    #[test]
    fn a_model_is_known_by_the_fingerprint_that_older_caches_and_projections_have() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/encoder/bert_mean");
        let model = Model::open(Path::new(folder)).unwrap();
        assert!(could_have_made(&model, "e2a9f8cbf0130b24d54d24310cd42842"));
    }

    /// As many sentences as `count` lines, after one line that is dropped.
    fn sentences(folder: &Path, count: usize) -> Sentences {
        let path = folder.join("sentences.txt");
        let lines: String = (0..count).map(|i| format!("{i:05} words\n")).collect();
        fs::write(&path, format!("...\n{lines}")).unwrap();
        let options = SentenceOptions { dev: 1, ..SentenceOptions::default() };
        Sentences::read(&[SentenceFile { path, weight: 1.0 }], &options, &Silent).unwrap()
    }

    /// A file of vectors as numpy writes it.
    fn given(folder: &Path, data: &[f32], dim: usize) -> Teacher {
        let path = folder.join("vectors.npy");
        let shape = format!("({}, {dim})", data.len() / dim);
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        let header = format!("{header:117}\n");
        let bytes =
            [&b"\x93NUMPY\x01\x00\x76\x00"[..], header.as_bytes(), bytemuck::cast_slice(data)];
        fs::write(&path, bytes.concat()).unwrap();
        Teacher::vectors(&path).unwrap()
    }

    fn row(vectors: &TeacherVectors, i: usize) -> Vec<f32> {
        vectors.gather(&[i as u32]).data
    }

    #[test]
    fn teachers_are_told_by_what_they_look_like() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("vectors.npy");
        fs::write(&there, "").unwrap();
        let parse = |text: &str| TeacherKind::parse(text);
        assert_eq!(parse("https://h/v1"), TeacherKind::Endpoint("https://h/v1".to_owned()));
        assert_eq!(parse(there.to_str().unwrap()), TeacherKind::Vectors(there.clone()));
        assert_eq!(parse("gone.npy"), TeacherKind::Model("gone.npy".to_owned()));
        assert_eq!(parse("owner/name"), TeacherKind::Model("owner/name".to_owned()));
    }

    #[test]
    fn row_i_of_given_vectors_belongs_to_record_i_before_cleaning() {
        let folder = tempfile::tempdir().unwrap();
        let sentences = sentences(folder.path(), 4);
        let teacher = given(folder.path(), &[0., 1., 2., 3., 4., 5., 6., 7., 8., 9.], 2);
        let vectors = teacher.embed(&sentences, &folder.path().join("cache"), &Silent).unwrap();
        assert_eq!(vectors.len(), 4);
        assert_eq!((row(&vectors, 0), row(&vectors, 3)), (vec![2.0, 3.0], vec![8.0, 9.0]));
    }

    #[test]
    fn given_vectors_of_another_number_are_refused_with_both_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let sentences = sentences(folder.path(), 4);
        let error = given(folder.path(), &[0.0; 8], 2).embed(&sentences, folder.path(), &Silent);
        let message = error.unwrap_err().to_string();
        assert!(message.ends_with("has 4 vectors, the sentence files have 5 records"), "{message}");
    }

    #[test]
    fn given_vectors_of_another_sentence_list_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let sentences = sentences(folder.path(), 4);
        let teacher = given(folder.path(), &[0.5; 10], 2);
        let cache = folder.path().join("cache");
        let beside = |json: String| {
            fs::write(folder.path().join("vectors.npy.json"), json).unwrap();
            teacher.embed(&sentences, &cache, &Silent)
        };
        let right = sentences.records_fingerprint();
        beside(format!(r#"{{"sentences": "{right}", "more": 1}}"#)).unwrap();
        beside("{}".to_owned()).unwrap();
        let message = beside(r#"{"sentences": "00"}"#.to_owned()).unwrap_err().to_string();
        assert!(message.contains("another sentence list"), "{message}");
        assert!(beside("{".to_owned()).unwrap_err().to_string().ends_with("is damaged"));
    }

    #[test]
    fn a_vector_that_half_precision_cannot_hold_is_refused_with_its_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let sentences = sentences(folder.path(), 4);
        let mut data = [0.5; 10];
        data[7] = 70000.0;
        let error = given(folder.path(), &data, 2).embed(&sentences, folder.path(), &Silent);
        let message = error.unwrap_err().to_string();
        assert!(message.contains("sentence 2 (`00002 words`) holds 70000"), "{message}");
    }

    /// A server that cuts one connection after the eight batches of the first shard.
    fn interrupted_run(
        folder: &Path,
        later: fn(&Asked) -> Said,
    ) -> (Server, Sentences, Result<TeacherVectors>) {
        let sentences = sentences(folder, SHARD_ROWS + 300);
        let server = Server::start(move |asked| match asked.number {
            0..8 => good(asked),
            8 => None,
            _ => later(asked),
        });
        let options = EndpointOptions { batch: SHARD_ROWS / 8, tries: 1, ..quick() };
        let teacher = Teacher::endpoint(&server.url, options).unwrap();
        let cache = folder.join("cache");
        let error = teacher.embed(&sentences, &cache, &Silent).unwrap_err();
        assert!(error.to_string().contains("gave up"), "{error}");
        let again = teacher.embed(&sentences, &cache, &Silent);
        (server, sentences, again)
    }

    #[test]
    fn an_endpoint_that_failed_is_resumed_after_its_last_whole_shard() {
        let folder = tempfile::tempdir().unwrap();
        let (server, sentences, vectors) = interrupted_run(folder.path(), good);
        let vectors = vectors.unwrap();
        // Nine before the failure, one to see whether the teacher is still the same, one for the rest.
        assert_eq!(server.count(), 11);
        for i in [0, SHARD_ROWS - 1, SHARD_ROWS, SHARD_ROWS + 299] {
            assert_eq!(row(&vectors, i), vector(sentences.get(i)), "row {i}");
        }
    }

    #[test]
    fn an_endpoint_that_serves_another_model_by_now_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let another = |_: &Asked| ok(vec![json!({ "index": 0, "embedding": [1.0, -9.0, 1.0] })]);
        let (_, _, error) = interrupted_run(folder.path(), another);
        let message = error.unwrap_err().to_string();
        assert!(message.contains("another vector for sentence 0 than before"), "{message}");
    }
}
