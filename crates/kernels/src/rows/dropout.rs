//! Dropout whose mask is a function of place and seed, so that nothing has to be stored or replayed.

/// Which numbers are dropped, and by how much the others grow.
///
/// The mask of a number depends on `seed` and its place alone: the gradient recomputes it, every device and
/// thread count sees the same, and a resumed run the same as one never stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    seed: u32,
    /// Hashes below this are dropped: probability · 2^32.
    threshold: u32,
    scale: f32,
}

impl Dropout {
    /// Drops with `probability` in `0..1`.
    pub fn new(probability: f32, seed: u32) -> Self {
        let threshold = (f64::from(probability) * 4_294_967_296.0) as u32;
        Self { seed, threshold, scale: 1.0 / (1.0 - probability) }
    }

    /// What the number at `place` is multiplied by: 0 or `1 / (1 − probability)`.
    #[inline(always)]
    pub fn factor(&self, place: u32) -> f32 {
        if hash(place ^ self.seed.rotate_left(7), self.seed) < self.threshold {
            0.0
        } else {
            self.scale
        }
    }

    /// Factors of the places from `first` on.
    #[inline(always)]
    pub fn fill(&self, first: u32, factors: &mut [f32]) {
        for (i, factor) in factors.iter_mut().enumerate() {
            *factor = self.factor(first.wrapping_add(i as u32));
        }
    }

    /// The place where the attention row of the batch's token `query` in `head` begins.
    ///
    /// Rows longer than 1024 tokens share places with the next, and counting wraps after 2^32 numbers; a mask
    /// used twice does no harm there.
    #[inline(always)]
    pub fn attention_row(&self, query: usize, heads: usize, head: usize) -> u32 {
        ((query * heads + head) as u32).wrapping_mul(1024)
    }
}

/// 32 well-mixed bits. Additions and shifts of `u32` only, which every vector unit has.
///
/// # Source
/// The two-multiplication mixer of Chris Wellons' hash-prospector, with the seed added between the rounds.
#[inline(always)]
fn hash(place: u32, seed: u32) -> u32 {
    let mut x = place;
    x = (x ^ (x >> 16)).wrapping_mul(0x21f0_aaad);
    x = (x ^ (x >> 15)).wrapping_add(seed).wrapping_mul(0xd35a_2d97);
    x = (x ^ (x >> 15)).wrapping_mul(0x21f0_aaad);
    x ^ (x >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_the_share_it_was_told_and_keeps_the_mean() {
        for seed in [0, 1, 2, 0xffff_ffff] {
            let dropout = Dropout::new(0.1, seed);
            let factors: Vec<f32> = (0..100_000).map(|place| dropout.factor(place)).collect();
            let dropped = factors.iter().filter(|&&f| f == 0.0).count();
            assert!((9_700..10_300).contains(&dropped), "{dropped} of 100000 with seed {seed}");
            let mean = factors.iter().sum::<f32>() / 100_000.0;
            assert!((mean - 1.0).abs() < 0.005);
        }
    }

    #[test]
    fn neighbouring_seeds_drop_independently() {
        let [a, b] = [7, 8].map(|seed| Dropout::new(0.5, seed));
        let same = (0..100_000).filter(|&place| a.factor(place) == b.factor(place)).count();
        assert!((49_000..51_000).contains(&same), "{same}");
    }
}
