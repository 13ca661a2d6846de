//! The innermost loop: whole sums of a few rows by 16 outputs, held in registers.

/// Outputs of a tile: two vectors of AVX2.
pub(super) const COLUMNS: usize = 16;

/// Most rows of a tile: with 16 outputs they fill 12 of AVX2's 16 registers.
pub(super) const ROWS: usize = 6;

/// `sums[r][c] = Σ_i rows[r][i] · weight of output c at input i`.
pub(super) type Sums<const R: usize> = [[i32; COLUMNS]; R];

/// How a level adds up a tile.
pub(super) trait Tile {
    /// # Shapes
    /// Row `r` begins at `rows[r · stride]`, as wide as `panel`, which is `[pairs, 16, 2]`.
    fn sums<const R: usize>(&self, rows: &[i16], stride: usize, panel: &[i8]) -> Sums<R>;
}

/// The meaning of the others, and what runs where they do not.
pub(super) struct Portable;

impl Tile for Portable {
    #[inline(always)]
    fn sums<const R: usize>(&self, rows: &[i16], stride: usize, panel: &[i8]) -> Sums<R> {
        let mut sums = [[0; COLUMNS]; R];
        for (pair, weights) in panel.as_chunks::<{ 2 * COLUMNS }>().0.iter().enumerate() {
            for (r, sums) in sums.iter_mut().enumerate() {
                let at = r * stride + 2 * pair;
                let (x, y) = (i32::from(rows[at]), i32::from(rows[at + 1]));
                for (sum, weights) in sums.iter_mut().zip(weights.as_chunks::<2>().0) {
                    *sum += x * i32::from(weights[0]) + y * i32::from(weights[1]);
                }
            }
        }
        sums
    }
}

/// Sums of [`avx2`]; made only at levels that have it.
#[cfg(target_arch = "x86_64")]
pub(super) struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    #[target_feature(enable = "avx2")]
    pub(super) fn new() -> Self {
        Self(())
    }
}

#[cfg(target_arch = "x86_64")]
impl Tile for Avx2 {
    #[inline(always)]
    fn sums<const R: usize>(&self, rows: &[i16], stride: usize, panel: &[i8]) -> Sums<R> {
        // SAFETY: only a function that needs AVX2 itself makes an `Avx2`.
        unsafe { avx2(rows, stride, panel) }
    }
}

/// One `vpmaddwd` for 8 outputs and two inputs: 16 products, exact, since 255 · 127 · 2 is far from 32 bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<const R: usize>(rows: &[i16], stride: usize, panel: &[i8]) -> Sums<R> {
    use std::arch::x86_64::{
        _mm_loadu_si128, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_madd_epi16,
        _mm256_set1_epi32, _mm256_setzero_si256, _mm256_storeu_si256,
    };
    let panel = panel.as_chunks::<{ 2 * COLUMNS }>().0;
    assert!(rows.len() >= (R - 1) * stride + 2 * panel.len(), "a row ends before the weights");
    let mut vectors = [[_mm256_setzero_si256(); 2]; R];
    for (pair, weights) in panel.iter().enumerate() {
        // SAFETY: `weights` has 32 bytes, two vectors of 16.
        let weights = unsafe {
            [
                _mm256_cvtepi8_epi16(_mm_loadu_si128(weights.as_ptr().cast())),
                _mm256_cvtepi8_epi16(_mm_loadu_si128(weights.as_ptr().add(16).cast())),
            ]
        };
        for (r, vectors) in vectors.iter_mut().enumerate() {
            // SAFETY: checked above for the last row and the last pair, which lie furthest.
            let x =
                unsafe { rows.as_ptr().add(r * stride + 2 * pair).cast::<i32>().read_unaligned() };
            let x = _mm256_set1_epi32(x);
            for (sum, weights) in vectors.iter_mut().zip(weights) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(x, weights));
            }
        }
    }
    let mut sums = [[0; COLUMNS]; R];
    for (sums, vectors) in sums.iter_mut().zip(vectors) {
        let (low, high) = sums.split_at_mut(8);
        for (sums, vector) in [low, high].into_iter().zip(vectors) {
            // SAFETY: each half is 8 numbers long.
            unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), vector) };
        }
    }
    sums
}
