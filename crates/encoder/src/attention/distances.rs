//! A learnt number for each distance between two tokens, added to their score.
//!
//! The distances are put in buckets as in T5 (Raffel et al. 2020, section 2.1) and MPNet: half of the buckets look
//! back and half ahead; near distances have one each, farther ones share buckets that widen by √2.

/// Buckets of both directions.
pub(crate) const BUCKETS: usize = 32;
/// Buckets of one direction.
const ONE_WAY: usize = BUCKETS / 2;
/// Distances that have a bucket each.
const NEAR: usize = ONE_WAY / 2;

/// The numbers of every head for all distances in a text.
pub(crate) struct DistanceBias {
    /// `[heads, 2 · longest - 1]`, from the key farthest before the query to the one farthest after it.
    table: Vec<f32>,
    longest: usize,
}

impl DistanceBias {
    /// # Shapes
    /// `buckets` is `[BUCKETS, heads]`; texts have at most `longest` tokens.
    pub(crate) fn new(buckets: &[f32], heads: usize, longest: usize) -> Self {
        let row = |head: usize| {
            let before = (1..longest).rev().map(move |distance| bucket(distance, false));
            let after = (0..longest).map(move |distance| bucket(distance, distance > 0));
            before.chain(after).map(move |bucket| buckets[bucket * heads + head])
        };
        Self { table: (0..heads).flat_map(row).collect(), longest }
    }

    /// What is added to the scores of one query, for the keys from `first_key` on.
    pub(crate) fn of_query(&self, head: usize, query: usize, first_key: usize) -> &[f32] {
        let width = 2 * self.longest - 1;
        let row = &self.table[head * width..(head + 1) * width];
        &row[self.longest - 1 + first_key - query..]
    }
}

/// The bucket of a key so far before or after the query.
///
/// Bucket `NEAR + k` begins where `distance ≥ NEAR · √2ᵏ`, that is `distance² ≥ NEAR² · 2ᵏ`: no logarithm of a float
/// can fall on the wrong side.
fn bucket(distance: usize, after: bool) -> usize {
    let one_way = if distance < NEAR {
        distance
    } else {
        let doublings = (distance.saturating_mul(distance) / (NEAR * NEAR)).ilog2() as usize;
        (NEAR + doublings).min(ONE_WAY - 1)
    };
    if after { ONE_WAY + one_way } else { one_way }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where buckets begin, asked of `MPNetEncoder.relative_position_bucket` of transformers 5.23.0.
    const BEGINNINGS: [(usize, usize); 16] = [
        (0, 0),
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
        (5, 5),
        (6, 6),
        (7, 7),
        (8, 8),
        (12, 9),
        (16, 10),
        (23, 11),
        (32, 12),
        (46, 13),
        (64, 14),
        (91, 15),
    ];

    #[test]
    fn buckets_are_those_of_transformers() {
        for distance in 0..400 {
            let expected = BEGINNINGS.iter().rev().find(|(begin, _)| *begin <= distance).unwrap().1;
            assert_eq!(bucket(distance, false), expected, "{distance} before");
            assert_eq!(bucket(distance, true), 16 + expected, "{distance} after");
        }
        assert_eq!(bucket(usize::MAX, false), 15);
    }

    #[test]
    fn a_query_finds_the_number_of_each_key() {
        let buckets: Vec<f32> = (0..2 * BUCKETS).map(|i| i as f32).collect();
        let bias = DistanceBias::new(&buckets, 2, 50);
        for (head, query, first) in [(0, 0, 0), (1, 49, 0), (1, 20, 13), (0, 7, 30)] {
            let found = bias.of_query(head, query, first);
            for key in first..50 {
                let expected = bucket(key.abs_diff(query), key > query) * 2 + head;
                assert_eq!(found[key - first], expected as f32, "{head} {query} {key}");
            }
        }
    }
}
