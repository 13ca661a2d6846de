//! Nanoseconds that the attention of one text takes, by its length.
//!
//! `cargo run --release -p hpd-kernels --example attention_speed`
//!
//! The best of many short runs, since anything else on the machine only makes one slower.

#![allow(clippy::print_stdout, reason = "the numbers are all it is for")]

use std::time::Instant;

use hpd_kernels::Level;
use hpd_kernels::rows::{AttentionShape, attend};

const HEADS: usize = 12;
const WIDTH: usize = 384;

fn main() {
    for level in Level::available() {
        for tokens in [8, 14, 16, 23, 40, 64, 96] {
            println!("{level}: {tokens} tokens, {:.0} ns a token", nanoseconds(level, tokens));
        }
    }
}

fn nanoseconds(level: Level, tokens: usize) -> f64 {
    let shape =
        AttentionShape { tokens, heads: HEADS, width: WIDTH, first_token: 0, dropout: None };
    let qkv: Vec<f32> = (0..tokens * 3 * WIDTH).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut context = vec![0.0; tokens * WIDTH];
    let mut scratch = Vec::new();
    let mut best = f64::MAX;
    for _ in 0..200 {
        let began = Instant::now();
        for _ in 0..10 {
            attend(level, &shape, &qkv, &mut context, &mut scratch);
        }
        best = best.min(began.elapsed().as_secs_f64());
    }
    best / 10.0 / tokens as f64 * 1e9
}
