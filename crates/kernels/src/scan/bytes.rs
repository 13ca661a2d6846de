//! Rows of 8-bit numbers with a scale each.
//!
//! The query has 16 bits: it is read from the cache, so they cost no memory traffic, and half of the error of a score
//! would be the query's with 8.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod vnni;

use std::ops::Range;

use super::{Pick, Query, Rows, ahead, prefetch};
use crate::Level;
use crate::kernel::kernel;
#[cfg(target_arch = "x86_64")]
use crate::level::Instructions;

/// Widest row that a [`ByteQuery`] takes.
pub const MOST_NUMBERS: usize = 65_536;

/// Numbers of a row that AVX2 reads at once.
const CHUNK: usize = 16;

/// Numbers of a row that AVX-512 reads at once.
const LINE: usize = 64;

/// Sums that are held in registers at once.
#[cfg(target_arch = "x86_64")]
const TILE: usize = 8;

/// The largest code.
const MOST_STEPS: f32 = 127.0;

/// The most steps in a number of a query: two signed bytes, `256 · high + low`.
const MOST_QUERY_STEPS: f64 = 127.0 * 256.0;

/// What the sum of a query's steps, taken as positive, may not reach, so that whatever the codes are sums fit 32 bits.
const MOST_STEPS_IN_ALL: f64 = (1_u32 << 24) as f64;

/// Rows in 8 bits: number `j` of row `i` is about `codes[i, j] · scales[i]`.
#[derive(Clone, Copy, Debug)]
pub struct ByteRows<'a> {
    codes: &'a [i8],
    scales: &'a [f32],
    dim: usize,
}

impl<'a> ByteRows<'a> {
    /// # Shapes
    /// - `codes`: `[n, dim]`
    /// - `scales`: `[n]`
    ///
    /// # Panics
    /// When those are not the shapes, or `dim` is 0.
    pub fn new(codes: &'a [i8], scales: &'a [f32], dim: usize) -> Self {
        assert!(dim > 0, "rows must have numbers");
        assert_eq!(codes.len(), scales.len() * dim, "codes must be [scales, dim] bytes");
        Self { codes, scales, dim }
    }

    #[inline(always)]
    fn row(self, row: usize) -> &'a [i8] {
        &self.codes[row * self.dim..][..self.dim]
    }
}

impl Rows for ByteRows<'_> {
    fn len(self) -> usize {
        self.scales.len()
    }

    fn dim(self) -> usize {
        self.dim
    }

    fn part(self, rows: Range<usize>) -> Self {
        let codes = &self.codes[rows.start * self.dim..rows.end * self.dim];
        Self { codes, scales: &self.scales[rows], dim: self.dim }
    }

    fn stride(self) -> usize {
        self.dim
    }

    #[inline(always)]
    fn prefetch(self, row: usize) {
        prefetch(self.codes.as_ptr().wrapping_add(row * self.dim), self.dim);
        prefetch(self.scales.as_ptr().wrapping_add(row), 1);
    }
}

/// Rounds rows to the nearest of 255 steps each, from `-127` to `127` times the row's scale.
///
/// The same codes at every level. A row of zeros, or of numbers too small for a step, becomes zeros with the scale 0. A row
/// with a number that is not finite becomes zeros with the scale NaN, so that no search finds it.
///
/// # Shapes
/// - `rows`, `codes`: `[n, dim]`
/// - `scales`: `[n]`
///
/// # Panics
/// When those are not the shapes.
pub fn encode_bytes(level: Level, rows: &[f32], codes: &mut [i8], scales: &mut [f32]) {
    assert_eq!(rows.len(), codes.len(), "each number needs a code");
    if scales.is_empty() {
        return assert!(rows.is_empty(), "each row needs a scale");
    }
    assert!(
        rows.len().is_multiple_of(scales.len()) && !rows.is_empty(),
        "rows must be [scales, dim]"
    );
    encode(level.without_avx512(), rows, codes, scales);
}

kernel! {
    fn encode(rows: &[f32], codes: &mut [i8], scales: &mut [f32]) {
        let dim = rows.len() / scales.len();
        let rows = rows.chunks_exact(dim).zip(codes.chunks_exact_mut(dim));
        for ((row, codes), scale) in rows.zip(scales) {
            let largest = largest(row);
            // Below, the number of steps in 1 would not be finite.
            let seen = largest > MOST_STEPS * f32::MIN_POSITIVE && largest < f32::INFINITY;
            let per_one = if seen { MOST_STEPS / largest } else { 0.0 };
            *scale = if seen { largest / MOST_STEPS } else if largest < 1.0 { 0.0 } else { f32::NAN };
            for (code, x) in codes.iter_mut().zip(row) {
                *code = if seen { nearest(x * per_one) } else { 0 };
            }
        }
    }
}

/// The largest number of a row, taken as positive, or infinity when one is not finite.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    const LANES: usize = 16;
    // As whole numbers, since positive floats are in their order and what is not finite is above them.
    const INFINITE: u32 = f32::INFINITY.to_bits();
    let (whole, rest) = row.as_chunks::<LANES>();
    let mut most = [0_u32; LANES];
    for chunk in whole {
        let mut larger = most;
        for lane in 0..LANES {
            larger[lane] = larger[lane].max(chunk[lane].abs().to_bits());
        }
        most = larger;
    }
    let rest = rest.iter().map(|x| x.abs().to_bits());
    let most = most.into_iter().chain(rest).fold(0, u32::max);
    f32::from_bits(most.min(INFINITE))
}

/// The nearest whole number of one from -127 to 127.
#[inline(always)]
fn nearest(x: f32) -> i8 {
    // Adding 1.5 · 2^23 leaves no bits for fractions, so the addition itself rounds, and the lowest bits are the number.
    const ROUND: f32 = 12_582_912.0;
    (x + ROUND).to_bits() as i8
}

/// A query for [`ByteRows`]: number `j` is about `steps[j] · scale`.
///
/// A score is the dot product of the query and the row, both as rounded.
#[derive(Clone, Debug)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only the steps are read there"))]
pub struct ByteQuery {
    /// `[dim]`
    steps: Vec<i16>,
    /// The last `dim % CHUNK` steps at its end, zeros before them.
    last: [i16; CHUNK],
    /// `256 · high[j] + low[j]` are the steps; both filled up with zeros to a multiple of [`LINE`].
    high: Vec<i8>,
    low: Vec<i8>,
    /// What sums are too much by where codes are counted from -128.
    surplus: i32,
    /// Size of a step.
    scale: f32,
}

impl ByteQuery {
    /// Rounds a query of f32. One with a number that is not finite has scores that are not numbers: it finds nothing.
    ///
    /// # Panics
    /// When it is empty or wider than [`MOST_NUMBERS`].
    pub fn new(query: &[f32]) -> Self {
        assert!(!query.is_empty(), "a query must have numbers");
        assert!(query.len() <= MOST_NUMBERS, "a query may not be wider than {MOST_NUMBERS}");
        if !query.iter().all(|x| x.is_finite()) {
            return Self::from_steps(vec![0; query.len()], f32::NAN);
        }
        let size = step_size(query);
        let step =
            |x: &f32| if size > 0.0 { (f64::from(*x) / f64::from(size)).round() } else { 0.0 };
        Self::from_steps(query.iter().map(|x| step(x) as i16).collect(), size)
    }

    fn from_steps(steps: Vec<i16>, scale: f32) -> Self {
        let padded = steps.len().next_multiple_of(LINE);
        let (mut high, mut low) = (vec![0; padded], vec![0; padded]);
        for (j, step) in steps.iter().enumerate() {
            low[j] = *step as i8;
            high[j] = ((step - i16::from(low[j])) >> 8) as i8;
        }
        let rest = &steps[steps.len() / CHUNK * CHUNK..];
        let mut last = [0; CHUNK];
        last[CHUNK - rest.len()..].copy_from_slice(rest);
        // Wraps where the sums do.
        let surplus =
            steps.iter().fold(0_i32, |sum, step| sum.wrapping_add(128 * i32::from(*step)));
        Self { steps, last, high, low, surplus, scale }
    }
}

/// Small enough for the query, large enough for sums to fit 32 bits.
fn step_size(query: &[f32]) -> f32 {
    let sizes = || query.iter().map(|x| f64::from(x.abs()));
    let (most, total) = (sizes().fold(0.0, f64::max), sizes().sum::<f64>());
    // Rounding adds at most half a step a number.
    let room = MOST_STEPS_IN_ALL - 1.0 - query.len() as f64;
    (most / MOST_QUERY_STEPS).max(total / room) as f32
}

impl ByteQuery {
    /// No less than the length of what rounding took from the query.
    pub fn error(&self) -> f32 {
        0.501 * self.scale * (self.steps.len() as f32).sqrt()
    }
}

impl Query for ByteQuery {
    type Rows<'a> = ByteRows<'a>;

    fn dim(&self) -> usize {
        self.steps.len()
    }

    fn score<P: Pick>(
        level: Level,
        queries: &[Self],
        rows: ByteRows<'_>,
        picked: P,
        scores: &mut [f32],
    ) {
        assert_eq!(scores.len(), queries.len() * picked.count(), "each needs a score");
        assert!(queries.iter().all(|query| query.dim() == rows.dim), "as wide as the rows");
        match level.0 {
            #[cfg(target_arch = "x86_64")]
            Instructions::Vnni | Instructions::Bfloat16 => {
                // SAFETY: a level exists only where the CPU has it.
                unsafe { vnni::scores(queries, rows, picked, scores) }
            }
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 | Instructions::Avx512 if rows.dim >= CHUNK => {
                // SAFETY: a level exists only where the CPU has it.
                unsafe { avx2::scores(queries, rows, picked, scores) }
            }
            _ => portable(queries, rows, picked, scores),
        }
    }
}

/// The meaning of the others, and what runs where they do not.
fn portable<P: Pick>(queries: &[ByteQuery], rows: ByteRows<'_>, picked: P, scores: &mut [f32]) {
    for (query, scores) in queries.iter().zip(scores.chunks_mut(picked.count().max(1))) {
        for (i, score) in scores.iter_mut().enumerate() {
            let row = picked.row(i);
            let products = rows.row(row).iter().zip(&query.steps);
            let sum = products.map(|(code, step)| i32::from(*code) * i32::from(*step)).sum();
            *score = score_of(sum, rows.scales[row], query.scale);
        }
    }
}

/// The order in which a sum of steps becomes a score, at every level.
#[inline(always)]
fn score_of(sum: i32, row: f32, query: f32) -> f32 {
    sum as f32 * row * query
}

/// Some rows and some queries.
#[cfg(target_arch = "x86_64")]
struct Tile<'a, const R: usize, const Q: usize> {
    rows: [&'a [i8]; R],
    queries: [&'a ByteQuery; Q],
}

/// Scores by tiles: queries in pairs, and one left by itself.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn tiles<P: Pick>(
    queries: &[ByteQuery],
    rows: ByteRows<'_>,
    picked: P,
    scores: &mut [f32],
    one: impl Fn(Tile<'_, TILE, 1>) -> [i32; TILE],
    two: impl Fn(Tile<'_, { TILE / 2 }, 2>) -> [i32; TILE],
) {
    let count = picked.count();
    if count == 0 {
        return;
    }
    let (pairs, single) = queries.as_chunks::<2>();
    let (of_pairs, of_single) = scores.split_at_mut(2 * pairs.len() * count);
    for ([a, b], scores) in pairs.iter().zip(of_pairs.chunks_exact_mut(2 * count)) {
        tiles_of(rows, picked, [a, b], scores, &two);
    }
    for (query, scores) in single.iter().zip(of_single.chunks_exact_mut(count)) {
        tiles_of(rows, picked, [query], scores, &one);
    }
}

/// Scores of some queries, `[Q, picked]`; where rows end within a tile, the last of them fills it up.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn tiles_of<P: Pick, const R: usize, const Q: usize>(
    rows: ByteRows<'_>,
    picked: P,
    queries: [&ByteQuery; Q],
    scores: &mut [f32],
    add_up: &impl Fn(Tile<'_, R, Q>) -> [i32; TILE],
) {
    let count = picked.count();
    for start in (0..count).step_by(R) {
        if P::NEIGHBOURS {
            ahead(rows.codes, picked.row(start) * rows.dim, R * rows.dim);
        }
        let (mut tile, mut scales) = ([&[][..]; R], [0.0; R]);
        for r in 0..R {
            let row = picked.row((start + r).min(count - 1));
            (tile[r], scales[r]) = (rows.row(row), rows.scales[row]);
        }
        let sums = add_up(Tile { rows: tile, queries });
        for (q, query) in queries.iter().enumerate() {
            let sums: [i32; R] = std::array::from_fn(|r| sums[q * R + r]);
            let of_tile: [f32; R] =
                std::array::from_fn(|r| score_of(sums[r], scales[r], query.scale));
            let scores = &mut scores[q * count..][..count][start..];
            match scores.first_chunk_mut() {
                Some(scores) => *scores = of_tile,
                None => scores.iter_mut().zip(of_tile).for_each(|(score, found)| *score = found),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What VNNI adds up, also where no CPU with it runs this.
        #[test]
        fn unsigned_codes_times_two_bytes_less_the_surplus_are_codes_times_steps(
            pairs in prop::collection::vec((any::<i8>(), -32_512_i16..=32_512), 1..200),
        ) {
            let steps: Vec<i16> = pairs.iter().map(|pair| pair.1).collect();
            let query = ByteQuery::from_steps(steps, 1.0);
            let (mut high, mut low, mut expected) = (0_i32, 0_i32, 0_i32);
            for (j, (code, step)) in pairs.iter().enumerate() {
                let code = i32::from(*code);
                high = high.wrapping_add((code + 128) * i32::from(query.high[j]));
                low = low.wrapping_add((code + 128) * i32::from(query.low[j]));
                expected = expected.wrapping_add(code * i32::from(*step));
            }
            let sum = high.wrapping_shl(8).wrapping_add(low).wrapping_sub(query.surplus);
            prop_assert_eq!(sum, expected);
            prop_assert!(query.high[pairs.len()..].iter().chain(&query.low[pairs.len()..]).all(|byte| *byte == 0));
        }
    }
}
