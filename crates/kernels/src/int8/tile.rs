//! The innermost loop: whole sums of a few rows by 16 outputs or a few times 16, held in registers.

use std::mem::MaybeUninit;

use crate::columns::COLUMNS;
use crate::lines::Aligned;
use crate::prefetch::prefetch;

/// Most rows of a tile: with one panel they fill 12 of AVX2's 16 registers, with four 24 of AVX-512's 32.
pub(super) const ROWS: usize = 6;

/// Bytes of a panel that are asked for before they are read, since few rows are done with one before the processor has
/// seen that it comes from memory.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 2048;

/// `sums[r][p][c] = Σ_i rows[r][i] · weight of panel p's output c at input i`.
pub(super) type Sums<const R: usize, const P: usize> = Aligned<[[[i32; COLUMNS]; P]; R]>;

/// How a level adds up a tile.
pub(super) trait Tile {
    /// What rows are made of.
    type Step;

    /// Panels of a tile, at most 4; fewer where the outputs end.
    const PANELS: usize;

    /// Whether steps are counted from the row's least number, so that sums are too much by zero times weights.
    const FROM_LEAST: bool;

    /// Writes the sums to the place they are given, since as a result they would be copied, and returns it. Clearing that
    /// place before would cost 3 % of encoding.
    ///
    /// # Shapes
    /// Row `r` begins at `rows[r · stride]`, as wide as a panel; `panels` are `P` times `[inputs / n, 16, n]`, where `n`
    /// is that of the level's form.
    fn add_up<'s, const R: usize, const P: usize>(
        &self,
        rows: &[Self::Step],
        stride: usize,
        panels: &[i8],
        sums: &'s mut MaybeUninit<Sums<R, P>>,
    ) -> &'s mut Sums<R, P>;
}

/// The meaning of the others, and what runs where they do not.
pub(super) struct Portable;

impl Tile for Portable {
    type Step = i16;
    const PANELS: usize = 1;
    const FROM_LEAST: bool = false;

    #[inline(always)]
    fn add_up<'s, const R: usize, const P: usize>(
        &self,
        rows: &[i16],
        stride: usize,
        panels: &[i8],
        sums: &'s mut MaybeUninit<Sums<R, P>>,
    ) -> &'s mut Sums<R, P> {
        let sums = sums.write(Aligned([[[0; COLUMNS]; P]; R]));
        for (p, panel) in panels.chunks_exact(panels.len() / P).enumerate() {
            for (pair, weights) in panel.as_chunks::<{ 2 * COLUMNS }>().0.iter().enumerate() {
                for (r, sums) in sums.0.iter_mut().enumerate() {
                    let at = r * stride + 2 * pair;
                    let (x, y) = (i32::from(rows[at]), i32::from(rows[at + 1]));
                    for (sum, weights) in sums[p].iter_mut().zip(weights.as_chunks::<2>().0) {
                        *sum += x * i32::from(weights[0]) + y * i32::from(weights[1]);
                    }
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
    type Step = i16;
    const PANELS: usize = 1;
    const FROM_LEAST: bool = false;

    #[inline(always)]
    fn add_up<'s, const R: usize, const P: usize>(
        &self,
        rows: &[i16],
        stride: usize,
        panels: &[i8],
        sums: &'s mut MaybeUninit<Sums<R, P>>,
    ) -> &'s mut Sums<R, P> {
        let sums = sums.write(Aligned([[[0; COLUMNS]; P]; R]));
        for (p, panel) in panels.chunks_exact(panels.len() / P).enumerate() {
            // SAFETY: only a function that needs AVX2 itself makes an `Avx2`.
            let of_panel = unsafe { avx2::<R>(rows, stride, panel) };
            for (sums, of_panel) in sums.0.iter_mut().zip(of_panel) {
                sums[p] = of_panel;
            }
        }
        sums
    }
}

/// One `vpmaddwd` for 8 outputs and two inputs: 16 products, exact, since 255 · 127 · 2 is far from 32 bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<const R: usize>(rows: &[i16], stride: usize, panel: &[i8]) -> [[i32; COLUMNS]; R] {
    use std::arch::x86_64::{
        _mm_loadu_si128, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_madd_epi16,
        _mm256_set1_epi32, _mm256_setzero_si256, _mm256_storeu_si256,
    };
    let panel = panel.as_chunks::<{ 2 * COLUMNS }>().0;
    assert!(rows.len() >= (R - 1) * stride + 2 * panel.len(), "a row ends before the weights");
    let mut vectors = [[_mm256_setzero_si256(); 2]; R];
    for (pair, weights) in panel.iter().enumerate() {
        prefetch(weights.as_ptr().wrapping_add(AHEAD), 1);
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

/// Sums of [`vnni`]; made only at levels that have it.
#[cfg(target_arch = "x86_64")]
pub(super) struct Vnni(());

#[cfg(target_arch = "x86_64")]
impl Vnni {
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn new() -> Self {
        Self(())
    }
}

#[cfg(target_arch = "x86_64")]
impl Tile for Vnni {
    type Step = u8;
    const PANELS: usize = 4;
    const FROM_LEAST: bool = true;

    #[inline(always)]
    fn add_up<'s, const R: usize, const P: usize>(
        &self,
        rows: &[u8],
        stride: usize,
        panels: &[i8],
        sums: &'s mut MaybeUninit<Sums<R, P>>,
    ) -> &'s mut Sums<R, P> {
        // SAFETY: only a function that needs VNNI itself makes a `Vnni`.
        unsafe { vnni(rows, stride, panels, sums) }
    }
}

/// One `vpdpbusd` for 16 outputs and four inputs: 64 products, added to 32 bits without saturation.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn vnni<'s, const R: usize, const P: usize>(
    rows: &[u8],
    stride: usize,
    panels: &[i8],
    sums: &'s mut MaybeUninit<Sums<R, P>>,
) -> &'s mut Sums<R, P> {
    use std::arch::x86_64::{
        _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512,
        _mm512_storeu_si512,
    };
    const FOUR: usize = 4 * COLUMNS;
    let panel = panels.len() / P;
    let fours = panel / FOUR;
    assert!(rows.len() >= (R - 1) * stride + 4 * fours, "a row ends before the weights");
    let mut vectors = [[_mm512_setzero_si512(); P]; R];
    for four in 0..fours {
        let mut weights = [_mm512_setzero_si512(); P];
        for (p, weights) in weights.iter_mut().enumerate() {
            // SAFETY: the last vector of the last panel ends at `(P - 1) · panel + FOUR · fours`, at most all of them.
            let at = unsafe { panels.as_ptr().add(p * panel + FOUR * four) };
            // SAFETY: as above.
            *weights = unsafe { _mm512_loadu_si512(at.cast()) };
        }
        for (r, vectors) in vectors.iter_mut().enumerate() {
            // SAFETY: checked above for the last row and the last four inputs, which lie furthest.
            let x =
                unsafe { rows.as_ptr().add(r * stride + 4 * four).cast::<i32>().read_unaligned() };
            let x = _mm512_set1_epi32(x);
            for (sum, weights) in vectors.iter_mut().zip(weights) {
                *sum = _mm512_dpbusd_epi32(*sum, x, weights);
            }
        }
    }
    let first = sums.as_mut_ptr().cast::<i32>();
    for (i, vector) in vectors.as_flattened().iter().enumerate() {
        // SAFETY: the sums are R · P vectors of 16 numbers of 32 bits, one behind the other.
        unsafe { _mm512_storeu_si512(first.add(i * COLUMNS).cast(), *vector) };
    }
    // SAFETY: the loop wrote all of them.
    unsafe { sums.assume_init_mut() }
}
