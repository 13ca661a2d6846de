//! A map of similarities: a dozen sentences, and how alike a model finds each two of them.

use hpd_files::vectors::Matrix;

use crate::files::evenly_spaced;
use crate::tasks::{Data, Loaded};

use super::html::escape;

/// Sentences of a map.
pub const SENTENCES: usize = 12;

/// Size of a cell, and room for the numbers of rows and columns.
const CELL: usize = 28;
const EDGE: usize = 22;
/// Above this a cell is so dark that its number must be light.
const DARK: f32 = 0.55;

/// How alike a model finds some sentences.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    model: String,
    sentences: Vec<String>,
    /// Cosines, row by row.
    cosines: Vec<f32>,
}

impl Map {
    /// From the vectors of `sentences`, one row each, of any length.
    pub fn new(model: &str, sentences: &[String], rows: &Matrix) -> Self {
        let norm = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>().sqrt();
        let cosine = |a: &[f32], b: &[f32]| {
            let (dot, norms) =
                (a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>(), norm(a) * norm(b));
            if norms > 0.0 { dot / norms } else { 0.0 }
        };
        let cosines = rows.rows().flat_map(|a| rows.rows().map(move |b| cosine(a, b)));
        Self { model: model.to_owned(), sentences: sentences.to_vec(), cosines: cosines.collect() }
    }

    /// The map; the sentences are in [`Map::legend`].
    pub(super) fn figure(&self) -> String {
        let count = self.sentences.len();
        let size = EDGE + count * CELL;
        let middle = |i: usize| EDGE + i * CELL + CELL / 2;
        let mut drawing = String::new();
        for i in 0..count {
            drawing += &format!(
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{n}</text>\n\
                 <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{n}</text>\n",
                EDGE - 4,
                middle(i) + 4,
                middle(i),
                EDGE - 6,
                n = i + 1
            );
        }
        for (place, &cosine) in self.cosines.iter().enumerate() {
            let (row, column) = (place / count, place % count);
            let darkness = cosine.clamp(0.0, 1.0);
            let class = if darkness > DARK { "cell dark" } else { "cell" };
            drawing += &format!(
                "<rect class=\"heat\" x=\"{}\" y=\"{}\" width=\"{CELL}\" height=\"{CELL}\" fill-opacity=\"{darkness:.2}\"/>\n\
                 <text class=\"{class}\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{:.0}</text>\n",
                EDGE + column * CELL,
                EDGE + row * CELL,
                middle(column),
                middle(row) + 4,
                100.0 * cosine
            );
        }
        let name = escape(&self.model);
        format!(
            "<figure>\n<figcaption>{name}, cosine × 100</figcaption>\n<svg viewBox=\"0 0 {size} {size}\" \
             role=\"img\" aria-label=\"similarities of {name}\">\n{drawing}</svg>\n</figure>\n"
        )
    }

    pub(super) fn legend(&self) -> String {
        let sentence = |sentence: &String| format!("<li>{}</li>\n", escape(sentence));
        format!("<ol>\n{}</ol>\n", self.sentences.iter().map(sentence).collect::<String>())
    }
}

/// A dozen sentences out of the tasks: of the first set of pairs those from the least to the most alike, both sentences
/// of each; without pairs, queries each with a document that answers it, or labelled texts.
pub fn sentences_of(tasks: &[Loaded]) -> Vec<String> {
    let find = |of: fn(&Data) -> Vec<String>| {
        tasks.iter().map(|task| of(&task.data)).find(|sentences| !sentences.is_empty())
    };
    find(of_pairs).or_else(|| find(of_collection)).or_else(|| find(of_labelled)).unwrap_or_default()
}

fn of_pairs(data: &Data) -> Vec<String> {
    let Data::Sts(pairs) = data else { return Vec::new() };
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by(|&a, &b| pairs.gold[a].total_cmp(&pairs.gold[b]));
    let chosen = evenly_spaced(order.len(), SENTENCES / 2).map(|i| order[i]);
    chosen.flat_map(|i| pairs.sentences[2 * i..2 * i + 2].to_vec()).collect()
}

fn of_collection(data: &Data) -> Vec<String> {
    let Data::Retrieval(collection) = data else { return Vec::new() };
    let chosen = evenly_spaced(collection.queries.len(), SENTENCES / 2);
    let pair = |i: usize| {
        let query = &collection.queries[i];
        let answer = query.relevance.keys().min().map(|&document| document as usize);
        let answer = answer.map(|document| collection.documents[document].clone());
        [Some(query.text.clone()), answer].into_iter().flatten()
    };
    chosen.flat_map(pair).collect()
}

fn of_labelled(data: &Data) -> Vec<String> {
    let Data::Classification(set) = data else { return Vec::new() };
    evenly_spaced(set.test.texts.len(), SENTENCES).map(|i| set.test.texts[i].clone()).collect()
}
