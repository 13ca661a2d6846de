//! Runs tasks on a model: every text is encoded once, and every variant of the vectors is scored.
//!
//! The only module here that knows of models. A variant is what could be done to the vectors without training,
//! such as keeping their first numbers; its scores are the floor and the ceiling that stand beside a student.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use hpd_encoder::{EncodeOptions, Model, Prompt};
use hpd_files::fingerprint::Fingerprinter;
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Progress, Result, interrupt};
use hpd_index::Fusion;
use hpd_kernels::Scored;

use crate::page::Map;
use crate::pca::{Center, Pca};
use crate::report::{ModelResults, Projection, Scores, TaskResult};
use crate::retrieval::Collection;
use crate::tasks::{Data, Loaded};
use crate::{classification, retrieval, sts};

/// Texts between two looks at the clock and at Ctrl-C.
const CHUNK: usize = 512;

/// What can be had of a model's vectors without training.
#[derive(Clone, Debug)]
pub enum Variant {
    /// The vectors as they come.
    Whole,
    /// The first so many numbers of each.
    First(usize),
    /// The vectors projected by a PCA fitted on the model's own: the ceiling of a student of that width.
    Projected(Box<Pca>, Center),
}

/// Fits a PCA on a model's vectors of `sentences`, which should not be those it is then measured on.
///
/// # Errors
/// When the sentences are too few or too alike for `dimensions`, encoding fails, or a stop was asked for.
pub fn fit_pca(
    model: &Model,
    sentences: &[String],
    dimensions: usize,
    progress: &dyn Progress,
) -> Result<Pca> {
    progress.stage("PCA sentences", Some(sentences.len() as u64));
    let rows = encode(model, sentences, Prompt::Default, progress)?.rows;
    let copy = |i: usize, numbers: &mut [f32]| numbers.copy_from_slice(rows.row(i));
    let pca = Pca::fit(rows.len(), rows.dim, dimensions, copy)?;
    let mut fingerprint = Fingerprinter::new();
    sentences.iter().for_each(|sentence| {
        fingerprint.add_part(sentence.as_bytes());
    });
    Ok(pca.of(model.identity().weights.clone(), fingerprint.finish()))
}

/// The rankings that BM25 gives for some tasks, to stand beside models and to be joined with theirs.
#[derive(Debug)]
pub struct WordRankings {
    /// One for each task, none where nothing is ranked.
    rankings: Vec<Option<Vec<Vec<Scored>>>>,
    row: ModelResults,
    fusion: Fusion,
}

impl WordRankings {
    /// Ranks the documents of every retrieval task.
    ///
    /// # Errors
    /// As [`retrieval::rank_by_words`].
    pub fn of(tasks: &[Loaded], fusion: Fusion, progress: &dyn Progress) -> Result<Self> {
        let row = ModelResults { name: "BM25".to_owned(), ..ModelResults::default() };
        let mut words = Self { rankings: Vec::new(), row, fusion };
        for task in tasks {
            let start = Instant::now();
            let Data::Retrieval(collection) = &task.data else {
                words.rankings.push(None);
                continue;
            };
            let queries = collection.queries.len();
            progress.stage(&format!("{} words", task.task.name), Some(queries as u64));
            let ranking = retrieval::rank_by_words(collection, progress)?;
            let scores = Scores::Retrieval(retrieval::score_rankings(collection, &ranking));
            let encoding = Encoding { start, texts: 0, truncated: 0 };
            words.row.tasks.push(encoding.result(task, scores));
            words.rankings.push(Some(ranking));
        }
        progress.finish();
        words.row.summarise();
        Ok(words)
    }

    /// The row of the table for BM25 alone.
    pub fn row(&self) -> &ModelResults {
        &self.row
    }
}

/// Scores each variant of a model on each task: one row of the table for each variant, and with `words` one more,
/// for its rankings joined with those.
///
/// `name` is what tables call the model and `path` where it was found; `words` are those of the same `tasks`.
///
/// # Errors
/// When a variant asks for more dimensions than there are, encoding fails, or a stop was asked for.
///
/// # Cost
/// One encoding of each different text; the vectors of one task at a time are in memory.
pub fn evaluate(
    model: &Model,
    name: &str,
    path: &str,
    tasks: &[Loaded],
    variants: &[Variant],
    words: Option<&WordRankings>,
    progress: &dyn Progress,
) -> Result<Vec<ModelResults>> {
    let mut rows = Vec::new();
    for variant in variants {
        let row = variant.describe(model, name, path)?;
        let joined = words.map(|words| ModelResults {
            name: format!("{} + BM25", row.name),
            fusion: Some(words.fusion),
            ..row.clone()
        });
        rows.push(row);
        rows.extend(joined);
    }
    for (i, task) in tasks.iter().enumerate() {
        let ranking = words.and_then(|words| Some((words.rankings[i].as_ref()?, words.fusion)));
        let mut results = measure(model, task, variants, ranking, progress)?.into_iter();
        for row in &mut rows {
            // Words say nothing about similarity.
            if row.fusion.is_none() || ranking.is_some() {
                row.tasks.extend(results.next());
            }
        }
    }
    progress.finish();
    rows.retain(|row| !row.tasks.is_empty());
    rows.iter_mut().for_each(ModelResults::summarise);
    Ok(rows)
}

/// How alike a model finds each two of some sentences.
///
/// # Errors
/// When encoding fails.
pub fn map(model: &Model, name: &str, sentences: &[String]) -> Result<Map> {
    let embeddings = model.encode(sentences, &EncodeOptions::default())?;
    Ok(Map::new(name, sentences, &embeddings.rows))
}

/// The results of each variant, each followed by what it reaches together with the ranking by words.
fn measure(
    model: &Model,
    loaded: &Loaded,
    variants: &[Variant],
    words: Option<(&Vec<Vec<Scored>>, Fusion)>,
    progress: &dyn Progress,
) -> Result<Vec<TaskResult>> {
    let start = Instant::now();
    let name = &loaded.task.name;
    match &loaded.data {
        Data::Sts(pairs) => {
            progress.stage(name, Some(pairs.sentences.len() as u64));
            let sentences = encode(model, &pairs.sentences, Prompt::Default, progress)?;
            let encoding =
                Encoding { start, texts: sentences.texts, truncated: sentences.truncated };
            let score = |variant: &Variant| {
                let scores = sts::score(pairs, variant.of(&sentences.rows)?.as_ref())?;
                Ok(encoding.result(loaded, Scores::Sts(scores)))
            };
            variants.iter().map(score).collect()
        }
        Data::Retrieval(collection) => {
            let texts = collection.queries.len() + collection.documents.len();
            progress.stage(name, Some(texts as u64));
            let queries = encode(model, &collection.query_texts(), Prompt::Query, progress)?;
            let documents = encode(model, &collection.documents, Prompt::Document, progress)?;
            let encoding = Encoding {
                start,
                texts: queries.texts + documents.texts,
                truncated: queries.truncated + documents.truncated,
            };
            let score = |variant: &Variant| {
                progress.stage(&format!("{name} search"), Some(collection.queries.len() as u64));
                let (queries, documents) =
                    (variant.of(&queries.rows)?, variant.of(&documents.rows)?);
                let ranking = retrieval::rank(collection, &queries, &documents, progress)?;
                let joined =
                    words.map(|(by_words, fusion)| retrieval::fuse(&ranking, by_words, &fusion));
                let result = |ranking: &Vec<Vec<Scored>>| {
                    let scores = retrieval::score_rankings(collection, ranking);
                    encoding.result(loaded, Scores::Retrieval(scores))
                };
                Ok([Some(result(&ranking)), joined.as_ref().map(result)])
            };
            let results = variants.iter().map(score).collect::<Result<Vec<_>>>()?;
            Ok(results.into_iter().flatten().flatten().collect())
        }
        Data::Classification(set) => {
            progress.stage(name, Some((set.train.texts.len() + set.test.texts.len()) as u64));
            let train = encode(model, &set.train.texts, Prompt::Default, progress)?;
            let test = encode(model, &set.test.texts, Prompt::Default, progress)?;
            let encoding = Encoding {
                start,
                texts: train.texts + test.texts,
                truncated: train.truncated + test.truncated,
            };
            let score = |variant: &Variant| {
                progress.stage(&format!("{name} probe"), Some(set.test.texts.len() as u64));
                let (train, test) = (variant.of(&train.rows)?, variant.of(&test.rows)?);
                let scores = classification::score(set, &train, &test, progress)?;
                Ok(encoding.result(loaded, Scores::Classification(scores)))
            };
            variants.iter().map(score).collect()
        }
    }
}

/// A model's vectors of the queries and of the documents of a collection, a row each.
///
/// # Errors
/// When encoding fails, or a stop was asked for.
pub fn vectors(
    model: &Model,
    collection: &Collection,
    progress: &dyn Progress,
) -> Result<[Matrix; 2]> {
    let queries = encode(model, &collection.query_texts(), Prompt::Query, progress)?;
    let documents = encode(model, &collection.documents, Prompt::Document, progress)?;
    Ok([queries.rows, documents.rows])
}

/// What encoding the texts of a task took.
struct Encoding {
    start: Instant,
    texts: usize,
    truncated: usize,
}

impl Encoding {
    fn result(&self, loaded: &Loaded, scores: Scores) -> TaskResult {
        TaskResult {
            task_name: loaded.task.name.clone(),
            task_type: loaded.task.kind,
            dataset_revision: loaded.revision.to_string(),
            evaluation_time: self.start.elapsed().as_secs_f64(),
            texts: self.texts,
            truncated: self.truncated,
            scores: BTreeMap::from([(loaded.task.split.clone(), vec![scores])]),
        }
    }
}

/// Vectors of texts, one row each, and how many different texts there were.
struct Encoded {
    rows: Matrix,
    texts: usize,
    truncated: usize,
}

fn encode<S: AsRef<str>>(
    model: &Model,
    texts: &[S],
    prompt: Prompt,
    progress: &dyn Progress,
) -> Result<Encoded> {
    let (distinct, places) = distinct(texts);
    let options = EncodeOptions { prompt, ..EncodeOptions::default() };
    let mut rows =
        Matrix { data: Vec::with_capacity(distinct.len() * model.dim()), dim: model.dim() };
    let mut truncated = 0;
    for chunk in distinct.chunks(CHUNK) {
        interrupt::check("nothing was written")?;
        let embeddings = model.encode(chunk, &options)?;
        rows.data.extend_from_slice(&embeddings.rows.data);
        truncated += embeddings.truncated;
        progress.advance(chunk.len() as u64);
    }
    progress.advance((texts.len() - distinct.len()) as u64);
    let data = places.iter().flat_map(|&place| rows.row(place)).copied().collect();
    Ok(Encoded { rows: Matrix { data, dim: rows.dim }, texts: distinct.len(), truncated })
}

/// Each different text once, in order of appearance, and the place of every text among them.
fn distinct<S: AsRef<str>>(texts: &[S]) -> (Vec<&str>, Vec<usize>) {
    let mut distinct = Vec::new();
    let mut known = HashMap::new();
    let place = |text| {
        *known.entry(text).or_insert_with(|| {
            distinct.push(text);
            distinct.len() - 1
        })
    };
    let places = texts.iter().map(AsRef::as_ref).map(place).collect();
    (distinct, places)
}

impl Variant {
    /// Its vectors of a model's whole ones.
    fn of<'a>(&self, whole: &'a Matrix) -> Result<Cow<'a, Matrix>> {
        Ok(match self {
            Variant::Whole => Cow::Borrowed(whole),
            Variant::Projected(pca, center) => Cow::Owned(pca.project(whole, *center)?),
            &Variant::First(dimensions) => {
                let rows = whole.data.chunks(whole.dim);
                let data = rows.flat_map(|row| &row[..dimensions]).copied().collect();
                Cow::Owned(Matrix { data, dim: dimensions })
            }
        })
    }

    /// The row of the table that its scores go to.
    fn describe(&self, model: &Model, name: &str, path: &str) -> Result<ModelResults> {
        let width = model.dim();
        let (name, dimensions) = match self {
            &Variant::First(dimensions) if dimensions == 0 || dimensions > width => {
                let message = format!("`{name}` has {width} dimensions, asked for {dimensions}");
                return Err(Error::input(message));
            }
            &Variant::First(dimensions) if dimensions < width => {
                (format!("{name} first {dimensions}"), dimensions)
            }
            Variant::Projected(pca, _) => {
                (format!("{name} + PCA-{}", pca.dimensions()), pca.dimensions())
            }
            Variant::Whole | Variant::First(_) => (name.to_owned(), width),
        };
        Ok(ModelResults {
            name,
            path: path.to_owned(),
            weights: model.identity().weights.clone(),
            space: model.identity().space.clone(),
            dimensions,
            max_seq_length: model.max_seq_length(),
            arithmetic: model.arithmetic(),
            parameters: Some(model.parameters()),
            projection: self.projection(),
            ..ModelResults::default()
        })
    }

    /// What the projection was fitted on and how much it keeps.
    fn projection(&self) -> Option<Projection> {
        let Variant::Projected(pca, center) = self else { return None };
        Some(Projection {
            fitted_on: pca.origin().clone(),
            center: *center,
            explained_ratio: pca.explained_ratio(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_comes_twice_is_encoded_once() {
        let (texts, places) = distinct(&["b", "a", "b", "", "a"]);
        assert_eq!(texts, ["b", "a", ""]);
        assert_eq!(places, [0, 1, 0, 2, 1]);
    }

    #[test]
    fn the_first_numbers_of_every_row_are_kept() {
        let whole = Matrix { data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], dim: 3 };
        let first = Variant::First(2).of(&whole).unwrap();
        assert_eq!(*first, Matrix { data: vec![1.0, 2.0, 4.0, 5.0], dim: 2 });
    }
}
