//! Which numbers reach a bound, a bit each: how scores are held against the worst one kept, and how signs are taken.

use crate::TopK;
use crate::level::{Instructions, Level};

/// Numbers of a word.
const WORD: usize = u64::BITS as usize;

/// Bit `i % 64` of `words[i / 64]` says whether `numbers[i] >= least`; bits behind the last are 0.
///
/// # Panics
/// When there are not as many words as the numbers need.
pub(super) fn mark(level: Level, numbers: &[f32], least: f32, words: &mut [u64]) {
    assert_eq!(words.len(), numbers.len().div_ceil(WORD), "each number needs a bit");
    match level.0 {
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 | Instructions::Vnni | Instructions::Bfloat16 => {
            // SAFETY: a level exists only where the CPU has it.
            unsafe { avx512(numbers, least, words) }
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a level exists only where the CPU has it.
        Instructions::Avx2 => unsafe { avx2(numbers, least, words) },
        _ => portable(numbers, least, words),
    }
}

/// Offers the scores that reach what was kept: the `i`-th as that of row `name(i)`, of each 64 those that `counting` has a bit for.
///
/// `good` is room for a bit a score; names must ascend.
#[inline(always)]
pub(super) fn offer_good(
    level: Level,
    scores: &[f32],
    good: &mut [u64],
    top: &mut TopK,
    name: impl Fn(usize) -> u64,
    counting: impl Fn(usize) -> u64,
) {
    mark(level, scores, top.threshold(name(0)), good);
    for (at, good) in good.iter().enumerate() {
        let mut left = good & counting(at);
        while left != 0 {
            let i = at * WORD + left.trailing_zeros() as usize;
            top.offer(name(i), scores[i]);
            left &= left - 1;
        }
    }
}

/// The meaning of the others, and what runs where they do not.
#[inline(always)]
fn portable(numbers: &[f32], least: f32, words: &mut [u64]) {
    for (numbers, word) in numbers.chunks(WORD).zip(words) {
        let bits = numbers.iter().enumerate();
        *word = bits.fold(0, |word, (i, x)| word | u64::from(*x >= least) << i);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(numbers: &[f32], least: f32, words: &mut [u64]) {
    use std::arch::x86_64::{_CMP_GE_OQ, _mm512_cmp_ps_mask, _mm512_loadu_ps, _mm512_set1_ps};
    let (whole, rest) = numbers.as_chunks::<WORD>();
    let (of_whole, of_rest) = words.split_at_mut(whole.len());
    let bound = _mm512_set1_ps(least);
    for (numbers, word) in whole.iter().zip(of_whole) {
        *word = 0;
        for (i, sixteen) in numbers.as_chunks::<16>().0.iter().enumerate() {
            // SAFETY: sixteen numbers are one vector.
            let numbers = unsafe { _mm512_loadu_ps(sixteen.as_ptr()) };
            *word |= u64::from(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(numbers, bound)) << (16 * i);
        }
    }
    portable(rest, least, of_rest);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(numbers: &[f32], least: f32, words: &mut [u64]) {
    use std::arch::x86_64::{
        _CMP_GE_OQ, _mm256_cmp_ps, _mm256_loadu_ps, _mm256_movemask_ps, _mm256_set1_ps,
    };
    let (whole, rest) = numbers.as_chunks::<WORD>();
    let (of_whole, of_rest) = words.split_at_mut(whole.len());
    let bound = _mm256_set1_ps(least);
    for (numbers, word) in whole.iter().zip(of_whole) {
        *word = 0;
        for (i, eight) in numbers.as_chunks::<8>().0.iter().enumerate() {
            // SAFETY: eight numbers are one vector.
            let numbers = unsafe { _mm256_loadu_ps(eight.as_ptr()) };
            let reached = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(numbers, bound));
            *word |= (reached as u64) << (8 * i);
        }
    }
    portable(rest, least, of_rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn levels_mark_alike(
            numbers in prop::collection::vec(prop_oneof![
                (-2_i8..3).prop_map(f32::from), Just(f32::NAN), Just(f32::INFINITY), Just(-0.0), -1_f32..1.0,
            ], 0..300),
            least in prop_oneof![Just(0.0_f32), Just(1.0), Just(f32::NEG_INFINITY), Just(f32::INFINITY), -1_f32..1.0],
        ) {
            for level in Level::available() {
                let mut words = vec![u64::MAX; numbers.len().div_ceil(WORD)];
                mark(level, &numbers, least, &mut words);
                for i in 0..words.len() * WORD {
                    let expected = numbers.get(i).is_some_and(|x| *x >= least);
                    prop_assert_eq!(words[i / WORD] >> (i % WORD) & 1 == 1, expected, "{} {}", level, i);
                }
            }
        }
    }
}
