//! The best k of many scores, in memory for a few times k.
//!
//! Rows that may be among the best are only put down, and from time to time the list is cut to the `k` best. That takes a
//! few steps a row however large `k` is and goes through memory in order; a heap takes `log k` jumps, and heaps of many
//! queries drive each other out of the cache.

/// A row and how well it did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Which row.
    pub row: u64,
    /// Higher is better.
    pub score: f32,
}

/// Keeps the `k` best of all rows offered: higher scores first, the lower row among equals.
///
/// What is kept does not depend on the order of offers. A score that is not a number is never kept.
#[derive(Clone, Debug)]
pub struct TopK {
    k: usize,
    /// The best so far, as [`key`]s, and what came since.
    kept: Vec<u128>,
    /// What a key must be above to be kept: the `k`-th of the last cut.
    bar: u128,
}

impl TopK {
    /// Will keep `k` rows.
    pub fn new(k: usize) -> Self {
        Self { k, kept: Vec::new(), bar: if k == 0 { u128::MAX } else { 0 } }
    }

    /// Considers one row.
    pub fn offer(&mut self, row: u64, score: f32) {
        let key = key(row, score);
        if score.is_nan() || key <= self.bar {
            return;
        }
        self.kept.push(key);
        if self.kept.len() == self.k.saturating_mul(2) {
            self.tighten();
        }
    }

    /// Lets [`TopK::threshold`] be that of the best so far; without it, the threshold may lag behind them.
    ///
    /// # Cost
    /// Some steps for each row offered since, and for each of the best if there was one.
    pub fn tighten(&mut self) {
        if self.kept.len() >= self.k && self.k > 0 {
            let (_, worst, _) = self.kept.select_nth_unstable_by(self.k - 1, |a, b| b.cmp(a));
            self.bar = *worst;
            self.kept.truncate(self.k);
        }
    }

    /// A score below which neither `row` nor one behind it would be kept.
    pub fn threshold(&self, row: u64) -> f32 {
        match self.bar {
            0 => f32::NEG_INFINITY,
            u128::MAX => f32::INFINITY,
            bar => {
                let worst = scored(bar);
                // Among equals the lower row stays.
                if worst.row < row { worst.score.next_up() } else { worst.score }
            }
        }
    }

    /// What was kept, best first.
    pub fn into_sorted(mut self) -> Vec<Scored> {
        self.tighten();
        self.kept.sort_unstable_by(|a, b| b.cmp(a));
        self.kept.into_iter().map(scored).collect()
    }
}

/// A number that is the larger the better: the score's bits in their order, above the row's, turned over. Never 0 and
/// never the largest there is, unless the score is not a number.
fn key(row: u64, score: f32) -> u128 {
    // Adding zero makes -0 and 0 the equals they are.
    let bits = (score + 0.0).to_bits();
    let negative = bits >> 31 == 1;
    let in_order = if negative { !bits } else { bits | 1 << 31 };
    u128::from(in_order) << 64 | u128::from(!row)
}

/// Whose [`key`] it is.
fn scored(key: u128) -> Scored {
    let in_order = (key >> 64) as u32;
    let bits = if in_order >> 31 == 1 { in_order & !(1 << 31) } else { !in_order };
    Scored { row: !(key as u64), score: f32::from_bits(bits) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn score() -> impl Strategy<Value = f32> {
        prop_oneof![
            (-3i8..3).prop_map(f32::from),
            Just(-0.0),
            Just(f32::NAN),
            Just(f32::INFINITY),
            Just(f32::NEG_INFINITY),
        ]
    }

    proptest! {
        #[test]
        fn keeps_what_sorting_everything_would(
            scores in prop::collection::vec(score(), 0..60),
            k in 0usize..20,
            backwards: bool,
            tightening: bool,
        ) {
            let mut rows: Vec<u64> = (0..scores.len() as u64).collect();
            if backwards {
                rows.reverse();
            }
            let (mut top, mut sieved) = (TopK::new(k), TopK::new(k));
            for row in &rows {
                let score = scores[*row as usize];
                top.offer(*row, score);
                if score >= sieved.threshold(*row) {
                    sieved.offer(*row, score);
                }
                if tightening {
                    sieved.tighten();
                }
            }
            let (bar, best) = (sieved.threshold(0), top.clone().into_sorted());
            if tightening && k > 0 && best.len() == k {
                prop_assert_eq!(bar, best[k - 1].score);
            }
            prop_assert_eq!(sieved.into_sorted(), best);

            let mut sorted: Vec<u64> = (0..scores.len() as u64).collect();
            sorted.retain(|row| !scores[*row as usize].is_nan());
            sorted.sort_by(|a, b| {
                scores[*b as usize].partial_cmp(&scores[*a as usize]).unwrap()
            });
            sorted.truncate(k);
            let kept: Vec<u64> = top.into_sorted().iter().map(|scored| scored.row).collect();
            prop_assert_eq!(kept, sorted);
        }
    }
}
