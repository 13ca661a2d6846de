//! How many operations a second 8-bit products reach, rounding of the rows included and left out.
//!
//! `cargo run --release -p hpd-kernels --example int8_speed`
//!
//! The best of many short runs, since anything else on the machine only makes one slower.

#![allow(clippy::print_stdout, reason = "the numbers are all it is for")]

use std::time::Instant;

use hpd_kernels::Activation;
use hpd_kernels::Level;
use hpd_kernels::int8::{PackedWeights, Product, QuantizedRows, product, quantize};

fn main() {
    for level in Level::available() {
        for [inputs, outputs] in [[384, 384], [384, 1536], [1536, 384]] {
            for rows in [256, 16] {
                for activation in [Activation::Identity, Activation::Gelu] {
                    let [whole, bare] = speeds(level, [rows, inputs, outputs], activation);
                    println!(
                        "{level}: {rows} × {inputs} × {outputs}, {activation:?}: {whole:.1} GOP/s, the product alone {bare:.1}"
                    );
                }
            }
        }
    }
}

/// GOP/s with the rounding of the rows and without.
fn speeds(level: Level, [n, inputs, outputs]: [usize; 3], activation: Activation) -> [f64; 2] {
    let numbers: Vec<f32> = (0..n * inputs).map(|i| (i as f32 * 0.7).sin()).collect();
    let weights: Vec<i8> = (0..inputs * outputs).map(|i| (i * 89 % 255) as i8).collect();
    let weights = PackedWeights::new(level, &weights, &vec![0.001; outputs], inputs);
    let bias = vec![0.1; outputs];
    let (mut rows, mut output) = (QuantizedRows::default(), vec![0.0; n * outputs]);
    let mut best = [f64::MAX; 2];
    for _ in 0..200 {
        let start = Instant::now();
        quantize(level, &numbers, inputs, &mut rows);
        let rounded = start.elapsed().as_secs_f64();
        product(
            level,
            Product { rows: &rows, weights: &weights, bias: &bias, activation },
            &mut output,
            outputs,
        );
        let whole = start.elapsed().as_secs_f64();
        best = [best[0].min(whole), best[1].min(whole - rounded)];
    }
    best.map(|seconds| (2 * n * inputs * outputs) as f64 / seconds / 1e9)
}
