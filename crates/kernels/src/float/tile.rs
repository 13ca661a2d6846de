//! The innermost loop: sums of a few rows by 16 columns or a few times 16, held in registers.

use super::rows::Steps;
use crate::columns::COLUMNS;
use crate::kernel::multiply_add;
use crate::lines::Aligned;
use crate::prefetch::prefetch;

/// `sums[r][p][c] = Σ_k row r at k · column c of panel p at k`.
pub(super) type Sums<const R: usize, const P: usize> = Aligned<[[[f32; COLUMNS]; P]; R]>;

/// How a level adds up a tile.
pub(super) trait Tile {
    /// Most rows of a tile, at most 8.
    const ROWS: usize;

    /// Panels of a tile, at most 3; fewer where the columns end.
    const PANELS: usize;

    /// Writes the sums to the place they are given, since as a result they would be copied.
    ///
    /// # Shapes
    /// `panels` are `P` times `[steps, 16]`.
    fn add_up<const R: usize, const P: usize>(
        &self,
        rows: Steps<'_>,
        panels: &[u32],
        sums: &mut Sums<R, P>,
    );
}

/// The meaning of the others, and what runs where they do not. One f32 a word.
pub(super) struct Portable<const FUSED: bool>;

impl<const FUSED: bool> Tile for Portable<FUSED> {
    const ROWS: usize = 4;
    const PANELS: usize = 1;

    #[inline(always)]
    fn add_up<const R: usize, const P: usize>(
        &self,
        rows: Steps<'_>,
        panels: &[u32],
        sums: &mut Sums<R, P>,
    ) {
        sums.0 = [[[0.0; COLUMNS]; P]; R];
        for (p, panel) in panels.chunks_exact((panels.len() / P).max(1)).enumerate() {
            for (step, words) in panel.as_chunks::<COLUMNS>().0.iter().enumerate() {
                for (r, sums) in sums.0.iter_mut().enumerate() {
                    let x = rows.float(r, step);
                    for (sum, word) in sums[p].iter_mut().zip(words) {
                        *sum = multiply_add::<FUSED>(x, f32::from_bits(*word), *sum);
                    }
                }
            }
        }
    }
}

/// One f32 a word; made only where there is AVX2.
#[cfg(target_arch = "x86_64")]
pub(super) struct Avx2(());

/// One f32 a word; made only where there is AVX-512.
#[cfg(target_arch = "x86_64")]
pub(super) struct Avx512(());

/// Two bfloat16 a word; made only where there is AVX-512 BF16.
#[cfg(target_arch = "x86_64")]
pub(super) struct Bfloat16(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn new() -> Self {
        Self(())
    }
}

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    #[target_feature(enable = "avx512f")]
    pub(super) fn new() -> Self {
        Self(())
    }
}

#[cfg(target_arch = "x86_64")]
impl Bfloat16 {
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn new() -> Self {
        Self(())
    }
}

#[cfg(target_arch = "x86_64")]
impl Tile for Avx2 {
    const ROWS: usize = 6;
    const PANELS: usize = 1;

    #[inline(always)]
    fn add_up<const R: usize, const P: usize>(
        &self,
        rows: Steps<'_>,
        panels: &[u32],
        sums: &mut Sums<R, P>,
    ) {
        // SAFETY: only a function that needs AVX2 and FMA itself makes an `Avx2`.
        unsafe { x86::avx2(rows, panels, sums) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Tile for Avx512 {
    const ROWS: usize = 8;
    const PANELS: usize = 3;

    #[inline(always)]
    fn add_up<const R: usize, const P: usize>(
        &self,
        rows: Steps<'_>,
        panels: &[u32],
        sums: &mut Sums<R, P>,
    ) {
        // SAFETY: only a function that needs AVX-512 itself makes an `Avx512`.
        unsafe { x86::avx512(rows, panels, sums) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Tile for Bfloat16 {
    const ROWS: usize = 8;
    const PANELS: usize = 3;

    #[inline(always)]
    fn add_up<const R: usize, const P: usize>(
        &self,
        rows: Steps<'_>,
        panels: &[u32],
        sums: &mut Sums<R, P>,
    ) {
        // SAFETY: only a function that needs AVX-512 BF16 itself makes a `Bfloat16`.
        unsafe { x86::bfloat16(rows, panels, sums) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, __m512bh, _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps,
        _mm256_setzero_ps, _mm256_storeu_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
        _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };
    use std::mem::transmute;

    use super::{COLUMNS, Steps, Sums, prefetch};

    /// Words of a panel that are asked for before they are read. Few rows are done with a panel before the processor
    /// has seen that it comes from memory: with this hint a single sentence takes four fifths of the time.
    const AHEAD: usize = 512;

    /// A tile from a level's vectors, `halves` of which hold 16 columns, and what it does with them.
    macro_rules! tile {
        ($name:ident, $features:literal, $vector:ty, $halves:literal, $zero:ident, $load:ident, $spread:ident, $add:ident, $store:ident) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name<const R: usize, const P: usize>(
                rows: Steps<'_>,
                panels: &[u32],
                numbers: &mut Sums<R, P>,
            ) {
                const LANES: usize = COLUMNS / $halves;
                let panel = panels.len() / P;
                let steps = panel / COLUMNS;
                let (words, count) = rows.raw();
                let last = (R - 1) * rows.row + steps.saturating_sub(1) * rows.step;
                assert!(steps == 0 || last < count, "a row ends before the panels");
                let mut sums: [[[$vector; $halves]; P]; R] = [[[$zero(); $halves]; P]; R];
                for step in 0..steps {
                    let mut columns = [[$zero(); $halves]; P];
                    for (p, columns) in columns.iter_mut().enumerate() {
                        let at = p * panel + COLUMNS * step;
                        prefetch(panels.as_ptr().wrapping_add(at + AHEAD), 1);
                        for (half, columns) in columns.iter_mut().enumerate() {
                            let at = p * panel + COLUMNS * step + LANES * half;
                            // SAFETY: the last vector of the last panel ends at `P · panel`, the length of all.
                            *columns = unsafe { $load(panels.as_ptr().add(at).cast()) };
                        }
                    }
                    for (r, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: checked above for the last row's last word, which lies furthest.
                        let x = unsafe { $spread(words.add(r * rows.row + step * rows.step)) };
                        for (sum, columns) in sums.iter_mut().zip(&columns) {
                            for (sum, columns) in sum.iter_mut().zip(columns) {
                                *sum = $add(x, *columns, *sum);
                            }
                        }
                    }
                }
                let places = numbers.0.as_flattened_mut().as_flattened_mut();
                let vectors = sums.as_flattened().as_flattened();
                for (place, sum) in places.chunks_exact_mut(LANES).zip(vectors) {
                    // SAFETY: a place is as long as a vector.
                    unsafe { $store(place.as_mut_ptr(), *sum) };
                }
            }
        };
    }

    tile!(
        avx2,
        "avx2,fma",
        __m256,
        2,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        spread_avx2,
        _mm256_fmadd_ps,
        _mm256_storeu_ps
    );
    tile!(
        avx512,
        "avx512f",
        __m512,
        1,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        spread_avx512,
        _mm512_fmadd_ps,
        _mm512_storeu_ps
    );
    tile!(
        bfloat16,
        "avx512f,avx512bf16",
        __m512,
        1,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        spread_avx512,
        add_pairs,
        _mm512_storeu_ps
    );

    /// The word in every lane.
    ///
    /// # Safety
    /// `at` must be readable.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn spread_avx2(at: *const u32) -> __m256 {
        // SAFETY: promised by the caller; every word is an f32 too.
        _mm256_broadcast_ss(unsafe { &*at.cast() })
    }

    /// The word in every lane.
    ///
    /// # Safety
    /// `at` must be readable.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn spread_avx512(at: *const u32) -> __m512 {
        // SAFETY: promised by the caller; every word is an f32 too.
        _mm512_set1_ps(unsafe { at.cast::<f32>().read() })
    }

    /// `sum + x · columns` of both bfloat16 in a word.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn add_pairs(x: __m512, columns: __m512, sum: __m512) -> __m512 {
        // SAFETY: both types are 512 bits without meaning of their own.
        let pairs = |words: __m512| unsafe { transmute::<__m512, __m512bh>(words) };
        _mm512_dpbf16_ps(sum, pairs(x), pairs(columns))
    }
}
