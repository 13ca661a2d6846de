//! Do two lists of numbers rise together: Pearson on the values, Spearman on their ranks.

/// Pearson's correlation, or `None` when it is not defined: fewer than two values, or a list without variance.
///
/// # Panics
/// When the lists differ in length.
pub fn pearson(left: &[f64], right: &[f64]) -> Option<f64> {
    assert_eq!(left.len(), right.len(), "correlation needs lists of one length");
    if is_constant(left) || is_constant(right) {
        return None;
    }
    let (left_mean, right_mean) = (mean(left), mean(right));
    let (mut covariance, mut left_variance, mut right_variance) = (0.0, 0.0, 0.0);
    for (l, r) in left.iter().zip(right) {
        let (l, r) = (l - left_mean, r - right_mean);
        covariance += l * r;
        left_variance += l * l;
        right_variance += r * r;
    }
    // The root of each, not of the product: that one underflows first.
    let scale = f64::sqrt(left_variance) * f64::sqrt(right_variance);
    (scale > 0.0).then(|| (covariance / scale).clamp(-1.0, 1.0))
}

/// Spearman's rank correlation, ties taking their average rank; `None` as for [`pearson`].
///
/// # Panics
/// When the lists differ in length.
pub fn spearman(left: &[f64], right: &[f64]) -> Option<f64> {
    pearson(&average_ranks(left), &average_ranks(right))
}

/// The rank of each value, counted from 1; equal values share the mean of their ranks.
pub fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    // `==` and not `total_cmp` decides what is equal, so that 0 and -0 tie.
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = before as f64 + (tied.len() as f64 + 1.0) / 2.0;
        tied.iter().for_each(|&i| ranks[i] = rank);
        before += tied.len();
    }
    ranks
}

/// Whether no two values differ, so that nothing correlates with them.
pub(crate) fn is_constant(values: &[f64]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1])
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Rank of a value = how many are smaller + half of the others that are equal + 1.
    fn slow_ranks(values: &[f64]) -> Vec<f64> {
        let rank = |v: &f64| {
            let smaller = values.iter().filter(|w| *w < v).count() as f64;
            let equal = values.iter().filter(|w| *w == v).count() as f64;
            smaller + (equal + 1.0) / 2.0
        };
        values.iter().map(rank).collect()
    }

    /// Few distinct values, so that ties are common.
    fn tied_lists() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
        prop::collection::vec((-4..4, -4..4), 2..60).prop_map(|pairs| {
            pairs.into_iter().map(|(l, r)| (f64::from(l) / 3.0, f64::from(r))).unzip()
        })
    }

    proptest! {
        #[test]
        fn ranks_equal_those_of_the_slow_twin((values, _) in tied_lists()) {
            prop_assert_eq!(average_ranks(&values), slow_ranks(&values));
        }

        #[test]
        fn spearman_does_not_see_a_monotone_map((left, right) in tied_lists()) {
            let stretched: Vec<f64> = left.iter().map(|v| v.exp() * 7.0 - 2.0).collect();
            prop_assert_eq!(spearman(&stretched, &right), spearman(&left, &right));
        }

        #[test]
        fn correlation_turns_round_with_one_list((left, right) in tied_lists()) {
            let turned: Vec<f64> = left.iter().map(|v| -v).collect();
            let (there, back) = (spearman(&left, &right), spearman(&turned, &right));
            prop_assert_eq!(there.is_some(), back.is_some());
            if let (Some(there), Some(back)) = (there, back) {
                prop_assert!((there + back).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_list_correlates_with_itself() {
        let values = [0.1, 0.4, 0.4, -3.0];
        assert!((pearson(&values, &values).unwrap() - 1.0).abs() < 1e-15);
        assert!((spearman(&values, &values).unwrap() - 1.0).abs() < 1e-15);
    }

    #[test]
    fn constant_empty_and_single_lists_have_no_correlation() {
        assert_eq!(pearson(&[], &[]), None);
        assert_eq!(spearman(&[1.0], &[2.0]), None);
        assert_eq!(pearson(&[0.1, 0.1, 0.1], &[1.0, 2.0, 3.0]), None);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[0.0, 0.0, -0.0]), None);
    }
}
