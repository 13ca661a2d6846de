//! How rankings by vectors and by words are best joined: nDCG@10 of every choice on some retrieval sets.
//!
//! ```sh
//! cargo run --release -p hpd-eval --example choose_fusion -- MODEL 128 RETRIEVAL/wikiqa_dev RETRIEVAL/cacm
//! ```
//!
//! Takes a model folder, the tokens at which texts are cut, and sets in BEIR's shape that are kept for choosing. Each
//! set's texts are encoded and ranked once; every choice of method, weight and depth joins the same rankings.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::path::Path;

use hpd_encoder::{EncodeOptions, Model, OpenOptions, Prompt};
use hpd_eval::retrieval::{self, Collection};
use hpd_files::{Error, Result, Silent};
use hpd_index::{Fusion, FusionMethod};
use hpd_kernels::Scored;

const WEIGHTS: [f32; 11] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
const DEPTHS: [usize; 3] = [20, 50, 100];
const METHODS: [FusionMethod; 4] = [
    FusionMethod::ReciprocalRank { k: 10.0 },
    FusionMethod::ReciprocalRank { k: 30.0 },
    FusionMethod::ReciprocalRank { k: 60.0 },
    FusionMethod::RelativeScore,
];

/// A set and its rankings.
struct Ranked {
    collection: Collection,
    by_vectors: Vec<Vec<Scored>>,
    by_words: Vec<Vec<Scored>>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, tokens, sets @ ..] = &arguments[..] else {
        return Err(Error::input("expected a model folder, a number of tokens and retrieval sets"));
    };
    let tokens = tokens.parse().map_err(|e| Error::input("not a number of tokens").caused_by(e))?;
    let options = OpenOptions { max_seq_length: Some(tokens), ..OpenOptions::default() };
    let model = Model::open_with(Path::new(model), &options)?;
    let ranked: Vec<Ranked> =
        sets.iter().map(|set| rank(&model, Path::new(set))).collect::<Result<_>>()?;

    println!("nDCG@10 × 100, mean of {}; then each by itself", sets.join(", "));
    println!("{:<32}{}", "method, depth", WEIGHTS.map(|weight| format!("{weight:>7.1}")).concat());
    for method in METHODS {
        for depth in DEPTHS {
            let scores = WEIGHTS.map(|words_weight| {
                let fusion = Fusion { method, words_weight, depth };
                ranked.iter().map(|set| set.score(&fusion)).collect::<Vec<f64>>()
            });
            let name = format!("{method:?} {depth}");
            let mean = |scores: &Vec<f64>| scores.iter().sum::<f64>() / scores.len() as f64;
            print_row(&name, scores.each_ref().map(mean));
            for set in 0..ranked.len() {
                print_row("", scores.each_ref().map(|scores| scores[set]));
            }
        }
    }
    Ok(())
}

fn rank(model: &Model, folder: &Path) -> Result<Ranked> {
    let collection = retrieval::read(folder, "test")?;
    let encode = |texts: &[&str], prompt| {
        let options = EncodeOptions { prompt, normalize: true, ..EncodeOptions::default() };
        Ok::<_, Error>(model.encode(texts, &options)?.rows)
    };
    let documents: Vec<&str> = collection.documents.iter().map(String::as_str).collect();
    let queries = encode(&collection.query_texts(), Prompt::Query)?;
    let documents = encode(&documents, Prompt::Document)?;
    let by_vectors = retrieval::rank(&collection, &queries, &documents, &Silent)?;
    let by_words = retrieval::rank_by_words(&collection, &Silent)?;
    Ok(Ranked { collection, by_vectors, by_words })
}

impl Ranked {
    fn score(&self, fusion: &Fusion) -> f64 {
        let joined = retrieval::fuse(&self.by_vectors, &self.by_words, fusion);
        100.0 * retrieval::score_rankings(&self.collection, &joined).ndcg_at_10
    }
}

fn print_row(name: &str, scores: [f64; WEIGHTS.len()]) {
    println!("{name:<32}{}", scores.map(|score| format!("{score:>7.2}")).concat());
}
