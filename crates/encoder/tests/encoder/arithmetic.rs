//! Encoding with products in bfloat16 and in 8 bits: near to f32, and as indifferent to batches and threads.

use std::path::Path;

use crate::golden::{Golden, fixtures};
use hpd_encoder::{Arithmetic, EncodeOptions, Model, OpenOptions};
use rayon::ThreadPoolBuilder;

const MODELS: [&str; 4] = ["bert_mean", "bert_heads", "roberta_new", "xlm_roberta_max"];

pub(crate) fn open(folder: &Path, arithmetic: Arithmetic) -> Model {
    Model::open_with(
        folder,
        &OpenOptions { arithmetic: Some(arithmetic), ..OpenOptions::default() },
    )
    .unwrap()
}

fn texts() -> Vec<String> {
    Golden::read(&fixtures().join("bert_mean/golden.json")).texts
}

/// The mean and the least cosine to vectors in f32.
fn cosines(folder: &Path, arithmetic: Arithmetic, texts: &[String]) -> (f32, f32) {
    let options = EncodeOptions { normalize: true, ..EncodeOptions::default() };
    let [exact, found] = [Arithmetic::Float32, arithmetic]
        .map(|arithmetic| open(folder, arithmetic).encode(texts, &options).unwrap().rows);
    let pairs = exact.rows().zip(found.rows());
    let cosines: Vec<f32> = pairs.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum()).collect();
    let least = cosines.iter().copied().fold(1.0, f32::min);
    (cosines.iter().sum::<f32>() / cosines.len() as f32, least)
}

#[test]
fn vectors_in_fewer_bits_are_near_those_in_f32() {
    for (arithmetic, least_mean, least_of_all) in
        [(Arithmetic::Int8, 0.995, 0.98), (Arithmetic::Bfloat16, 0.9999, 0.999)]
    {
        for name in MODELS {
            let (mean, least) = cosines(&fixtures().join(name), arithmetic, &texts());
            println!("{name} in {arithmetic}: cosine {mean} on average, {least} at least");
            assert!(mean >= least_mean && least >= least_of_all, "{name}: {mean}, {least}");
        }
    }
}

#[test]
fn the_teacher_keeps_its_vectors() {
    let Some(folder) = std::env::var_os("HPD_TEACHER") else {
        eprintln!("skipped: HPD_TEACHER does not name the folder of all-MiniLM-L6-v2");
        return;
    };
    for (arithmetic, bound) in [(Arithmetic::Int8, 0.995), (Arithmetic::Bfloat16, 0.9999)] {
        let (mean, least) = cosines(Path::new(&folder), arithmetic, &texts());
        println!("{arithmetic}: cosine {mean} on average, {least} at least");
        assert!(mean >= bound, "{mean}, {least}");
    }
}

#[test]
fn neither_batch_nor_threads_leave_a_trace() {
    let arithmetics = [Arithmetic::Int8, Arithmetic::Bfloat16];
    for (name, arithmetic) in MODELS.iter().flat_map(|name| arithmetics.map(|kind| (name, kind))) {
        let model = open(&fixtures().join(name), arithmetic);
        let texts = vec![texts(); 6].concat();
        let encode = |threads| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| model.encode(&texts, &EncodeOptions::default())).unwrap().rows
        };
        let together = encode(1);
        for threads in [2, 3] {
            assert!(encode(threads) == together, "{name} on {threads} threads");
        }
        for (i, text) in texts.iter().enumerate().take(40) {
            let alone = model.encode(&[text], &EncodeOptions::default()).unwrap().rows;
            assert_eq!(alone.row(0), together.row(i), "{name}: {text:?}");
        }
    }
}
