//! Random numbers that depend on named seeds alone.
//!
//! burn's generator is one global state: a run that stopped and resumed would draw others than one that did not.
//! Everything random here is a function of the recipe's seed and of what it is for (epoch, step, place).

/// A small generator: splitmix64 by Steele, Lea and Flood (2014). Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator for `seed` and a path of further numbers, such as an epoch or a step.
    pub fn new(seed: u64, path: &[u64]) -> Self {
        let mut random = Self(seed);
        for &number in path {
            random = Self(random.next() ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        random
    }

    /// 64 random bits.
    #[expect(
        clippy::should_implement_trait,
        reason = "it never ends, so an iterator says too little"
    )]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Evenly from `0..end`; the bias of 2^-64 · end is nobody's business here.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// Evenly from `-1..1`.
    pub fn even(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    /// From the normal distribution of mean 0 and deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f32 {
        let uniform = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let (radius, angle) = (uniform(self.next()), uniform(self.next()));
        ((-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()) as f32
    }

    /// From Gumbel's distribution: the largest of logits with such noise is each one as often as softmax says.
    pub fn gumbel(&mut self) -> f32 {
        let uniform = ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -(-uniform.ln()).ln() as f32
    }

    /// Every order equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (2..=items.len()).rev() {
            items.swap(end - 1, self.below(end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_moments_they_should() {
        let mut random = Random::new(3, &[1, 4]);
        let moments = |draw: &mut dyn FnMut() -> f32| {
            let draws: Vec<f64> = (0..100_000).map(|_| f64::from(draw())).collect();
            let mean = draws.iter().sum::<f64>() / 1e5;
            (mean, draws.iter().map(|x| x * x).sum::<f64>() / 1e5 - mean * mean)
        };
        let (mean, variance) = moments(&mut || random.normal());
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        let (mean, variance) = moments(&mut || random.even());
        assert!(mean.abs() < 0.02 && (variance - 1.0 / 3.0).abs() < 0.01, "{mean} {variance}");
        let (mean, variance) = moments(&mut || random.gumbel());
        assert!((mean - 0.5772).abs() < 0.02, "Euler's constant, not {mean}");
        assert!((variance - std::f64::consts::PI.powi(2) / 6.0).abs() < 0.04, "{variance}");
    }

    #[test]
    fn shuffles_keep_every_item_and_depend_on_the_path() {
        let shuffled = |path: &[u64]| {
            let mut items: Vec<usize> = (0..50).collect();
            Random::new(9, path).shuffle(&mut items);
            items
        };
        let mut items = shuffled(&[1]);
        assert_eq!(items, shuffled(&[1]));
        assert_ne!(items, shuffled(&[2]));
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
