//! How many operations a second products of floats reach, rounding and packing of rows included.
//!
//! `cargo run --release -p hpd-kernels --example float_speed`
//!
//! The best of many short runs, since anything else on the machine only makes one slower.

#![allow(clippy::print_stdout, reason = "the numbers are all it is for")]

use std::time::Instant;

use hpd_kernels::float::{Numbers, Panels, Product, RowScratch, View, product};
use hpd_kernels::{Activation, Level};

fn main() {
    for level in Level::available() {
        for numbers in [Numbers::Float32, Numbers::Bfloat16] {
            for [n, depth, columns] in [
                [512, 384, 384],
                [512, 384, 1536],
                [512, 1536, 384],
                [16, 384, 1536],
                [384, 2176, 1536],
            ] {
                for activation in [Activation::Identity, Activation::Gelu] {
                    let speed = speed(level, numbers, [n, depth, columns], activation);
                    println!(
                        "{level:>8} {numbers:?} {n:4} x {depth:4} x {columns:4} {activation:?}: {speed:6.1} GFLOP/s"
                    );
                }
            }
        }
    }
}

fn speed(
    level: Level,
    numbers: Numbers,
    [n, depth, columns]: [usize; 3],
    activation: Activation,
) -> f64 {
    let wave = |count: usize| -> Vec<f32> { (0..count).map(|i| (i as f32 * 0.37).sin()).collect() };
    let (a, b, bias) = (wave(n * depth), wave(depth * columns), wave(columns));
    let panels = Panels::new(level, numbers, View::new(&b, [depth, columns]));
    let (mut scratch, mut output) = (RowScratch::default(), vec![0.0; n * columns]);
    let mut best = f64::INFINITY;
    for _ in 0..40 {
        let start = Instant::now();
        let rows = scratch.rows(level, numbers, View::new(&a, [n, depth]));
        product(
            level,
            Product { rows, panels: &panels, bias: &bias, activation },
            &mut output,
            columns,
        );
        best = best.min(start.elapsed().as_secs_f64());
    }
    (2 * n * depth * columns) as f64 / best / 1e9
}
