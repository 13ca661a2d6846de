//! How good is one ranked list of hits.
//!
//! Each function sees a list as the `gains` of its hits in rank order: the judged relevance of each hit, 0 for an
//! unjudged one. Definitions are those of `trec_eval`, which MTEB and BEIR report: linear gain, and an ideal list
//! made of every judged document, whether a search could have found it or not.

/// Normalised discounted cumulative gain of the first `depth` hits.
///
/// `judged` holds the relevance of every document judged for the query, in any order; 0 when none is relevant.
///
/// # Source
/// Järvelin and Kekäläinen 2002, with gain = relevance and discount = log2(rank + 1).
pub fn ndcg(gains: &[f64], judged: &[f64], depth: usize) -> f64 {
    let mut ideal = judged.to_vec();
    ideal.sort_by(|a, b| b.total_cmp(a));
    let best = discounted(&ideal, depth);
    if best > 0.0 { discounted(gains, depth) / best } else { 0.0 }
}

/// 1 / rank of the first relevant hit among the first `depth`, or 0. Its mean over queries is MRR.
pub fn reciprocal_rank(gains: &[f64], depth: usize) -> f64 {
    let first = gains.iter().take(depth).position(|&gain| gain > 0.0);
    first.map_or(0.0, |position| 1.0 / (position as f64 + 1.0))
}

/// Share of the `relevant` documents that stand among the first `depth` hits.
pub fn recall(gains: &[f64], relevant: usize, depth: usize) -> f64 {
    let found = gains.iter().take(depth).filter(|&&gain| gain > 0.0).count();
    if relevant == 0 { 0.0 } else { found as f64 / relevant as f64 }
}

fn discounted(gains: &[f64], depth: usize) -> f64 {
    let discount = |position: usize| (position as f64 + 2.0).log2();
    // A negative judgement means spam in some collections; it gains nothing and costs nothing.
    gains.iter().take(depth).enumerate().map(|(i, gain)| gain.max(0.0) / discount(i)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ndcg_of_a_small_list_by_hand() {
        // Hits: relevance 0, 2, 1; one more document of relevance 3 was missed.
        let found = 2.0 / 3f64.log2() + 1.0 / 2.0;
        let ideal = 3.0 + 2.0 / 3f64.log2() + 1.0 / 2.0;
        assert!((ndcg(&[0.0, 2.0, 1.0], &[1.0, 3.0, 2.0], 10) - found / ideal).abs() < 1e-15);
    }

    #[test]
    fn only_the_first_hits_count() {
        let gains = [0.0, 0.0, 1.0];
        assert_eq!(ndcg(&gains, &[1.0], 2), 0.0);
        assert_eq!(reciprocal_rank(&gains, 2), 0.0);
        assert_eq!(recall(&gains, 1, 2), 0.0);
        assert_eq!(reciprocal_rank(&gains, 3), 1.0 / 3.0);
        assert_eq!(recall(&gains, 2, 3), 0.5);
    }

    #[test]
    fn nothing_relevant_scores_nothing() {
        assert_eq!(ndcg(&[0.0], &[0.0, -1.0], 10), 0.0);
        assert_eq!(recall(&[], 0, 10), 0.0);
        assert_eq!(reciprocal_rank(&[], 10), 0.0);
    }

    proptest! {
        #[test]
        fn every_measure_stays_between_0_and_1(
            gains in prop::collection::vec(0..4, 0..20), missed in prop::collection::vec(0..4, 0..5), depth in 1..12usize,
        ) {
            let gains: Vec<f64> = gains.into_iter().map(f64::from).collect();
            let judged: Vec<f64> = gains.iter().copied().chain(missed.into_iter().map(f64::from)).collect();
            let relevant = judged.iter().filter(|&&gain| gain > 0.0).count();
            for value in [ndcg(&gains, &judged, depth), reciprocal_rank(&gains, depth), recall(&gains, relevant, depth)] {
                prop_assert!((0.0..=1.0 + 1e-12).contains(&value));
            }
        }

        #[test]
        fn the_ideal_order_is_perfect(judged in prop::collection::vec(0..4, 1..20), depth in 1..12usize) {
            let mut judged: Vec<f64> = judged.into_iter().map(f64::from).collect();
            judged.sort_by(|a, b| b.total_cmp(a));
            prop_assume!(judged[0] > 0.0);
            prop_assert!((ndcg(&judged, &judged, depth) - 1.0).abs() < 1e-12);
        }
    }
}
