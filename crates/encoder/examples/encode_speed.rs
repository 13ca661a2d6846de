//! How fast a model encodes the lines of a file, and how much of the machine's arithmetic that is.
//!
//! `cargo run --release -p hpd-encoder --example encode_speed -- MODEL LINES [THREADS] [f32|int8]`
//!
//! The peak is what `rten-gemm` reaches here in f32 on one product that stays in cache. Shares of it are taken in processor
//! time where the system tells it (Linux), so that other programs on the machine hardly change them.

#![allow(clippy::print_stdout, reason = "the numbers are all it is for")]

use std::path::Path;
use std::time::{Duration, Instant};

use hpd_encoder::{Arithmetic, EncodeOptions, Folder, Model, OpenOptions};
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::Matrix;

fn main() -> hpd_files::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, lines, rest @ ..] = arguments.as_slice() else {
        return Err(hpd_files::Error::input("expected MODEL LINES [THREADS] [f32|int8]"));
    };
    let arithmetic = match rest.get(1).map(String::as_str) {
        Some("int8") => Arithmetic::Int8,
        _ => Arithmetic::Float32,
    };
    let threads = rest.first().and_then(|n| n.parse().ok()).unwrap_or(1);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().ok();
    let opening = Instant::now();
    let model = Model::open_with(
        Path::new(model),
        &OpenOptions { arithmetic: Some(arithmetic), ..Default::default() },
    )?;
    println!("opened for {arithmetic:?} in {:.2} s", opening.elapsed().as_secs_f64());
    let text =
        std::fs::read_to_string(lines).map_err(|e| hpd_files::Error::io("read", lines, e))?;
    let texts: Vec<&str> = text.lines().collect();

    for round in 0..3 {
        let peak = peak();
        let (start, busy) = (Instant::now(), processor_seconds());
        let tokens = model.tokenizer().tokenize(&texts)?;
        let tokenizing = processor_seconds()
            .map_or(start.elapsed().as_secs_f64(), |now| now - busy.unwrap_or(0.0));
        let (start, busy) = (Instant::now(), processor_seconds());
        let embeddings = model.encode(&texts, &EncodeOptions::default())?;
        let seconds = start.elapsed().as_secs_f64();
        let busy =
            processor_seconds().map_or(seconds * threads as f64, |now| now - busy.unwrap_or(0.0));
        let work: f64 =
            (0..tokens.len()).map(|i| operations(model.folder(), tokens.text(i).len())).sum();
        println!(
            "round {round}: {:.0} sentences/s, {:.0} tokens/s; a busy core: {:.0} sentences/s, {:.1} of {peak:.1} \
             G/s = {:.1} %, tokenizing {:.1} %",
            texts.len() as f64 / seconds,
            embeddings.tokens as f64 / seconds,
            texts.len() as f64 / busy,
            work / busy / 1e9,
            work / busy / 1e7 / peak,
            tokenizing / busy * 100.0,
        );
    }
    Ok(())
}

/// Multiplications and additions for a text of `length` tokens: the matrix products of the layers.
fn operations(folder: &Folder, length: usize) -> f64 {
    let config = &folder.config;
    let (hidden, wide) = (config.hidden_size, config.intermediate_size);
    let per_token = 4 * hidden * hidden + 2 * hidden * wide + 2 * length * hidden;
    (2 * config.num_hidden_layers * length * per_token) as f64
}

/// GFLOP/s of a busy core on products of 384 × 384 by 384 × 384.
fn peak() -> f64 {
    const SIZE: usize = 384;
    let gemm = GemmExecutor::<f32>::default();
    let (a, mut c) = (vec![0.5; SIZE * SIZE], vec![0.0; SIZE * SIZE]);
    let b = gemm.prepack_b(Matrix::from_data([SIZE, SIZE], a.as_slice()));
    let (start, busy) = (Instant::now(), processor_seconds());
    let mut products = 0;
    while start.elapsed() < Duration::from_secs(1) {
        let a = GemmInputA::Unpacked(Matrix::from_data([SIZE, SIZE], a.as_slice()));
        gemm.gemm(&mut c, a, GemmInputB::Packed(&b), GemmOptions::default()).ok();
        products += 1;
    }
    let busy =
        processor_seconds().map_or(start.elapsed().as_secs_f64(), |now| now - busy.unwrap_or(0.0));
    (2 * SIZE * SIZE * SIZE * products) as f64 / busy / 1e9
}

/// Seconds that this program's threads have spent on processors.
fn processor_seconds() -> Option<f64> {
    let threads = std::fs::read_dir("/proc/self/task").ok()?;
    let nanoseconds = threads.filter_map(|thread| {
        let numbers = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        numbers.split(' ').next()?.parse::<f64>().ok()
    });
    Some(nanoseconds.sum::<f64>() / 1e9)
}
