//! The machine's limit: products alone, of a size that stays in a core's cache.
//!
//! Separate from the encoder's own products, so that a change there cannot move what it is measured against.

use std::thread;
use std::time::{Duration, Instant};

use hpd_encoder::Arithmetic;
use hpd_kernels::float::{self, Numbers, Panels, Product, RowScratch, View};
use hpd_kernels::{Activation, Level};
use rayon::ThreadPool;
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::Matrix;

use super::machine::timed;

/// Rows and columns of the matrices.
const SIZE: usize = 384;

/// How long to multiply.
const DURATION: Duration = Duration::from_millis(300);

/// Operations a second of a busy core while every pool, of one thread each, multiplies matrices of its own.
pub(super) fn peak(arithmetic: Arithmetic, pools: &[ThreadPool]) -> f64 {
    let multiply = match arithmetic {
        Arithmetic::Float32 => multiply_f32,
        Arithmetic::Bfloat16 => multiply_bfloat16,
        Arithmetic::Int8 => multiply_int8,
    };
    let (products, spent) = timed(pools.len(), || {
        thread::scope(|scope| {
            let running: Vec<_> =
                pools.iter().map(|pool| scope.spawn(|| pool.install(multiply))).collect();
            running.into_iter().filter_map(|thread| thread.join().ok()).sum::<usize>()
        })
    });
    (2 * SIZE * SIZE * SIZE * products) as f64 / spent.busy
}

fn multiply_f32() -> usize {
    let gemm = GemmExecutor::<f32>::default();
    let (a, mut out) = (vec![0.5; SIZE * SIZE], vec![0.0; SIZE * SIZE]);
    let b = gemm.prepack_b(square(&a));
    count(|| {
        gemm.gemm(
            &mut out,
            GemmInputA::Unpacked(square(&a)),
            GemmInputB::Packed(&b),
            GemmOptions::default(),
        )
        .is_ok()
    })
}

/// Our own kernel, since `rten-gemm` has none: pairs that were rounded before.
fn multiply_bfloat16() -> usize {
    let (level, numbers) = (Level::best(), Numbers::Bfloat16);
    let (a, mut out) = (vec![0.5; SIZE * SIZE], vec![0.0; SIZE * SIZE]);
    let panels = Panels::new(level, numbers, View::new(&a, [SIZE, SIZE]));
    let mut scratch = RowScratch::default();
    let rows = scratch.rows(level, numbers, View::new(&a, [SIZE, SIZE]));
    let product = Product { rows, panels: &panels, bias: &[], activation: Activation::Identity };
    count(|| {
        float::product(level, product, &mut out, SIZE);
        true
    })
}

/// Bytes by signed bytes, with whole numbers as the result.
fn multiply_int8() -> usize {
    let gemm = GemmExecutor::<u8, i8, i32>::default();
    let (a, weights, mut out) =
        (vec![3_u8; SIZE * SIZE], vec![5_i8; SIZE * SIZE], vec![0; SIZE * SIZE]);
    let b = gemm.prepack_b(square(&weights));
    count(|| {
        gemm.gemm(
            &mut out,
            GemmInputA::Unpacked(square(&a)),
            GemmInputB::Packed(&b),
            GemmOptions::default(),
        )
        .is_ok()
    })
}

fn square<T>(numbers: &[T]) -> Matrix<'_, T> {
    Matrix::from_data([SIZE, SIZE], numbers)
}

/// How often `multiply` succeeded in [`DURATION`].
fn count(mut multiply: impl FnMut() -> bool) -> usize {
    let start = Instant::now();
    let mut products = 0;
    while start.elapsed() < DURATION {
        products += usize::from(multiply());
    }
    products
}
