//! The best k of many scores, in memory for k.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

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
    kept: BinaryHeap<WorstFirst>,
}

impl TopK {
    /// Will keep `k` rows.
    pub fn new(k: usize) -> Self {
        Self { k, kept: BinaryHeap::new() }
    }

    /// Considers one row.
    pub fn offer(&mut self, row: u64, score: f32) {
        if score.is_nan() || self.k == 0 {
            return;
        }
        let offered = WorstFirst(Scored { row, score });
        if self.kept.len() < self.k {
            self.kept.push(offered);
        } else if let Some(mut worst) = self.kept.peek_mut()
            && offered < *worst
        {
            *worst = offered;
        }
    }

    /// The score below which neither `row` nor one behind it would be kept.
    pub fn threshold(&self, row: u64) -> f32 {
        match self.kept.peek() {
            Some(WorstFirst(worst)) if self.kept.len() >= self.k => {
                // Among equals the lower row stays.
                if worst.row < row { worst.score.next_up() } else { worst.score }
            }
            None if self.k == 0 => f32::INFINITY,
            _ => f32::NEG_INFINITY,
        }
    }

    /// What was kept, best first.
    pub fn into_sorted(self) -> Vec<Scored> {
        self.kept.into_sorted_vec().into_iter().map(|kept| kept.0).collect()
    }
}

/// The best compares as least, so that the heap's head is what the next better row replaces.
#[derive(Clone, Copy, Debug)]
struct WorstFirst(Scored);

impl Ord for WorstFirst {
    fn cmp(&self, other: &Self) -> Ordering {
        // Never NaN; adding zero makes -0 and 0 the equals they are.
        let (a, b) = (self.0.score + 0.0, other.0.score + 0.0);
        b.total_cmp(&a).then(self.0.row.cmp(&other.0.row))
    }
}

impl PartialOrd for WorstFirst {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for WorstFirst {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for WorstFirst {}

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
            }
            prop_assert_eq!(sieved.into_sorted(), top.clone().into_sorted());

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
