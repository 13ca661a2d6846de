//! Two rankings of the same documents made one: by vectors, which know what words mean, and by the words themselves.

use std::collections::BTreeMap;

use hpd_kernels::{Scored, TopK};
use serde::{Deserialize, Serialize};

/// How two rankings become one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fusion {
    /// How a hit counts in its ranking.
    pub method: FusionMethod,
    /// Weight of the words beside the vectors: 0 is vectors alone, 1 is words alone.
    pub words_weight: f32,
    /// Hits of each ranking that are looked at; a search looks at as many as it is to give at least.
    pub depth: usize,
}

/// What a hit of one ranking adds to a document's score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FusionMethod {
    /// `(k + 1) / (k + rank)`, 1 for the first hit; scores do not matter.
    ///
    /// # Source
    /// Cormack, Clarke and Büttcher 2009, reciprocal rank fusion, here scaled to begin at 1.
    ReciprocalRank {
        /// The larger, the more alike are first and last hits.
        k: f32,
    },
    /// The score, moved and scaled so that the last hit looked at has 0 and the first 1.
    RelativeScore,
}

/// Chosen on the development sets; bench/README.md has the grid.
impl Default for Fusion {
    fn default() -> Self {
        Self { method: FusionMethod::RelativeScore, words_weight: 0.4, depth: 100 }
    }
}

impl Fusion {
    /// The `limit` best of two rankings, each best first; scores lie between 0 and 1.
    ///
    /// A document that only one ranking has gets nothing from the other. Among equals the lower row is first.
    pub fn fuse(&self, by_vectors: &[Scored], by_words: &[Scored], limit: usize) -> Vec<Scored> {
        let mut sums = BTreeMap::<u64, f32>::new();
        for (hits, weight) in [(by_vectors, 1.0 - self.words_weight), (by_words, self.words_weight)]
        {
            let hits = &hits[..hits.len().min(self.depth)];
            for (place, hit) in hits.iter().enumerate() {
                *sums.entry(hit.row).or_default() += weight * self.method.share(hits, place);
            }
        }
        let mut best = TopK::new(limit);
        sums.into_iter().for_each(|(row, score)| best.offer(row, score));
        best.into_sorted()
    }
}

impl FusionMethod {
    /// What the hit at `place` of a ranking adds.
    fn share(self, hits: &[Scored], place: usize) -> f32 {
        match self {
            Self::ReciprocalRank { k } => (k + 1.0) / (k + 1.0 + place as f32),
            Self::RelativeScore => {
                let (first, last) = (hits[0].score, hits[hits.len() - 1].score);
                let range = first - last;
                if range > 0.0 { (hits[place].score - last) / range } else { 1.0 }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranking(hits: &[(u64, f32)]) -> Vec<Scored> {
        hits.iter().map(|&(row, score)| Scored { row, score }).collect()
    }

    fn rows(hits: &[Scored]) -> Vec<u64> {
        hits.iter().map(|hit| hit.row).collect()
    }

    const BOTH: [FusionMethod; 2] =
        [FusionMethod::RelativeScore, FusionMethod::ReciprocalRank { k: 60.0 }];

    #[test]
    fn what_both_find_comes_before_what_one_finds() {
        let by_vectors = ranking(&[(1, 0.9), (2, 0.8), (3, 0.1)]);
        let by_words = ranking(&[(4, 9.0), (2, 8.5), (5, 1.0)]);
        for method in BOTH {
            let fusion = Fusion { method, words_weight: 0.5, depth: 10 };
            assert_eq!(rows(&fusion.fuse(&by_vectors, &by_words, 1)), [2], "{method:?}");
        }
    }

    #[test]
    fn relative_scores_by_hand() {
        let fusion = Fusion { method: FusionMethod::RelativeScore, words_weight: 0.25, depth: 3 };
        let fused = fusion.fuse(
            &ranking(&[(1, 1.0), (2, 0.5), (3, 0.0), (4, -9.0)]),
            &ranking(&[(2, 7.0)]),
            9,
        );
        assert_eq!(fused, ranking(&[(1, 0.75), (2, 0.625), (3, 0.0)]));
    }

    #[test]
    fn reciprocal_ranks_by_hand() {
        let method = FusionMethod::ReciprocalRank { k: 1.0 };
        let fusion = Fusion { method, words_weight: 0.5, depth: 3 };
        let fused = fusion.fuse(&ranking(&[(1, 0.1), (2, 0.1)]), &ranking(&[(2, 3.0)]), 9);
        assert_eq!(fused, ranking(&[(2, 0.5 * 2.0 / 3.0 + 0.5), (1, 0.5)]));
    }

    proptest! {
        #[test]
        fn weights_at_their_ends_leave_one_ranking(
            scores in prop::collection::vec(-1.0f32..1.0, 1..20), other in 0u64..30, both in 0..2usize,
        ) {
            let mut scores = scores;
            scores.sort_by(|a, b| b.total_cmp(a));
            scores.dedup();
            let own: Vec<Scored> = (0..).zip(scores).map(|(row, score)| Scored { row: row * 7 % 31, score }).collect();
            let other = ranking(&[(other, 1.0)]);
            let alone = Fusion { method: BOTH[both], words_weight: 0.0, depth: 100 };
            let fused = alone.fuse(&own, &other, own.len());
            prop_assert!(fused.iter().all(|hit| (0.0..=1.0).contains(&hit.score)));
            // The last of the relative scores is 0, as is what only the other ranking has.
            prop_assert_eq!(&rows(&fused)[..own.len() - 1], &rows(&own)[..own.len() - 1]);
        }
    }
}
