//! Scans against a sort of every score, at every level.

use proptest::prelude::*;

use super::*;
use crate::Scored;

/// Numbers of which some are equal, so that scores are, and some rows are zeros.
fn number() -> impl Strategy<Value = f32> {
    prop_oneof![(-2_i8..3).prop_map(f32::from), -1.0_f32..1.0]
}

/// Rows, queries and a mask of one width.
#[derive(Clone, Debug)]
struct Case {
    dim: usize,
    rows: Vec<f32>,
    queries: Vec<Vec<f32>>,
    mask: Option<Vec<u64>>,
    k: usize,
}

fn case() -> impl Strategy<Value = Case> {
    let dim = prop_oneof![
        1_usize..40,
        120_usize..140,
        Just(64),
        Just(128),
        Just(256),
        Just(384),
        Just(1030)
    ];
    let word =
        prop_oneof![Just(0), Just(u64::MAX), any::<u64>(), (0..64).prop_map(|bit| 1_u64 << bit)];
    (dim, 0_usize..300, 0_usize..4, 0_usize..20).prop_flat_map(move |(dim, n, queries, k)| {
        // A few different rows, repeated: rows that are equal must come in their order.
        let several = prop::collection::vec(number(), 13 * dim);
        let rows =
            several.prop_map(move |several| several.into_iter().cycle().take(n * dim).collect());
        let queries = prop::collection::vec(prop::collection::vec(number(), dim), queries);
        let mask = prop::option::of(prop::collection::vec(word.clone(), n.div_ceil(64)));
        (Just(dim), rows, queries, mask, Just(k)).prop_map(|(dim, rows, queries, mask, k)| Case {
            dim,
            rows,
            queries,
            mask,
            k,
        })
    })
}

/// What every kind of rows owes: each level and each way of asking keeps what sorting the twin's scores would.
fn keeps_the_best<Q: Query>(
    case: &Case,
    queries: &[Q],
    rows: Q::Rows<'_>,
    same_at_all_levels: bool,
) {
    let n = rows.len();
    let every: Vec<usize> = (0..n).collect();
    let score = |level, query: &Q| {
        let mut scores = vec![f32::NAN; n];
        scores_of(level, query, rows, &every, &mut scores);
        scores
    };
    let selection = Selection { first: 1000, mask: case.mask.as_deref() };
    for level in Level::available() {
        let mut together: Vec<_> = queries.iter().map(|_| TopK::new(case.k)).collect();
        scan_many(level, queries, rows, selection, &mut together);
        for (query, together) in queries.iter().zip(together) {
            let scores = score(level, query);
            if same_at_all_levels {
                assert_eq!(scores, score(Level::available()[0], query), "{level}");
            }
            let mut best = TopK::new(case.k);
            for (row, score) in scores.iter().enumerate() {
                if case.mask.as_ref().is_none_or(|mask| mask[row / 64] >> (row % 64) & 1 == 1) {
                    best.offer(1000 + row as u64, *score);
                }
            }
            let best = best.into_sorted();
            assert_eq!(together.into_sorted(), best, "{level}");
            assert_eq!(in_parts(level, query, rows, selection, case.k), best, "{level}");
        }
    }
}

/// The best of two parts, the later one first.
fn in_parts<Q: Query>(
    level: Level,
    query: &Q,
    rows: Q::Rows<'_>,
    selection: Selection<'_>,
    k: usize,
) -> Vec<Scored> {
    let cut = rows.len() / 128 * 64;
    let mut top = TopK::new(k);
    for part in [cut..rows.len(), 0..cut] {
        scan(level, query, rows.part(part.clone()), selection.part(part), &mut top);
    }
    top.into_sorted()
}

proptest! {
    #[test]
    fn bytes_keep_the_best(case in case()) {
        let n = case.rows.len() / case.dim;
        let (mut codes, mut scales) = (vec![0; n * case.dim], vec![0.0; n]);
        encode_bytes(Level::best(), &case.rows, &mut codes, &mut scales);
        let queries: Vec<_> = case.queries.iter().map(|query| ByteQuery::new(query)).collect();
        keeps_the_best(&case, &queries, ByteRows::new(&codes, &scales, case.dim), true);
    }

    #[test]
    fn bits_keep_the_best(case in case(), graded: bool) {
        let mut words = vec![0; case.rows.len() / case.dim * words_of(case.dim)];
        encode_bits(Level::best(), &case.rows, case.dim, &mut words);
        let prepare = if graded { BitQuery::graded } else { BitQuery::signs };
        let queries: Vec<_> = case.queries.iter().map(|query| prepare(query)).collect();
        keeps_the_best(&case, &queries, BitRows::new(&words, case.dim), true);
    }

    #[test]
    fn floats_keep_the_best(case in case()) {
        let queries: Vec<_> = case.queries.iter().map(|query| FloatQuery::new(query)).collect();
        keeps_the_best(&case, &queries, FloatRows::new(&case.rows, case.dim), false);
    }

    #[test]
    fn scores_of_bytes_are_near_the_dot_product(case in case()) {
        let n = case.rows.len() / case.dim;
        let (mut codes, mut scales) = (vec![0; n * case.dim], vec![0.0; n]);
        encode_bytes(Level::best(), &case.rows, &mut codes, &mut scales);
        let every: Vec<usize> = (0..n).collect();
        for query in &case.queries {
            let mut scores = vec![f32::NAN; n];
            let rows = ByteRows::new(&codes, &scales, case.dim);
            scores_of(Level::best(), &ByteQuery::new(query), rows, &every, &mut scores);
            for (row, score) in scores.iter().enumerate() {
                let numbers = &case.rows[row * case.dim..][..case.dim];
                let exact: f32 = query.iter().zip(numbers).map(|(x, y)| x * y).sum();
                let size: f32 = query.iter().map(|x| x.abs()).sum();
                prop_assert!((score - exact).abs() <= 0.51 * scales[row] * size + 1e-3 * (1.0 + exact.abs()));
            }
        }
    }

    #[test]
    fn offering_all_is_offering_each(scores in prop::collection::vec(number(), 0..2500), k in 0_usize..20) {
        let mut each = TopK::new(k);
        (7..).zip(&scores).for_each(|(row, score)| each.offer(row, *score));
        let each = each.into_sorted();
        for level in Level::available() {
            let mut all = TopK::new(k);
            offer_all(level, 7, &scores, &mut all);
            prop_assert_eq!(all.into_sorted(), each.clone(), "{}", level);
        }
    }

    #[test]
    fn levels_encode_alike(case in case(), size in -30_i32..30) {
        let rows: Vec<f32> = case.rows.iter().map(|x| x * 2_f32.powi(size)).collect();
        let n = rows.len() / case.dim;
        let encode = |level| {
            let (mut codes, mut scales) = (vec![1; rows.len()], vec![1.0; n]);
            encode_bytes(level, &rows, &mut codes, &mut scales);
            let mut words = vec![1; n * words_of(case.dim)];
            encode_bits(level, &rows, case.dim, &mut words);
            (codes, scales, words)
        };
        let expected = encode(Level::available()[0]);
        for (i, x) in rows.iter().enumerate() {
            let (row, j) = (i / case.dim, i % case.dim);
            let (code, scale) = (f32::from(expected.0[i]), expected.1[row]);
            prop_assert!((x - code * scale).abs() <= 0.501 * scale, "{} is not {} · {}", x, code, scale);
            let word = expected.2[row * words_of(case.dim) + j / 64];
            prop_assert_eq!(word >> (j % 64) & 1 == 1, *x > 0.0);
        }
        for level in Level::available() {
            prop_assert_eq!(encode(level), expected.clone(), "{}", level);
        }
    }

    /// The scores by their definitions, without planes.
    #[test]
    fn scores_of_bits_are_sums_of_grades(case in case()) {
        let mut words = vec![0; case.rows.len() / case.dim * words_of(case.dim)];
        encode_bits(Level::best(), &case.rows, case.dim, &mut words);
        let rows = BitRows::new(&words, case.dim);
        for query in &case.queries {
            let largest = query.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            for (row, numbers) in case.rows.chunks_exact(case.dim).enumerate() {
                let [mut signs, mut graded] = [[f32::NAN]; 2];
                scores_of(Level::best(), &BitQuery::signs(query), rows, &[row], &mut signs);
                scores_of(Level::best(), &BitQuery::graded(query), rows, &[row], &mut graded);
                let pairs = || query.iter().zip(numbers).map(|(q, x)| (q, if *x > 0.0 { 1.0 } else { -1.0 }));
                let of_signs: f32 = pairs().map(|(q, x)| if *q > 0.0 { x } else { -x }).sum();
                prop_assert_eq!(signs[0], of_signs);
                let exact: f32 = pairs().map(|(q, x)| q * x).sum();
                let slack = case.dim as f32 * largest * (0.501 / 15.5);
                prop_assert!((graded[0] - exact).abs() <= slack, "{} is not {}", graded[0], exact);
            }
        }
    }
}

/// Sums of the largest codes and queries there can be still fit.
#[test]
fn the_largest_numbers_do_not_overflow() {
    for dim in [1, 16, 127, 128, 515, 516, 1024, MOST_NUMBERS] {
        for (code, sign) in [(127, 1.0), (-127, -1.0), (-128, -1.0)] {
            let (codes, scales) = (vec![code; dim], [1.0]);
            let query = ByteQuery::new(&vec![3.0; dim]);
            let expected = f64::from(code) * 3.0 * dim as f64;
            for level in Level::available() {
                let mut score = [0.0];
                let rows = ByteRows::new(&codes, &scales, dim);
                scores_of(level, &query, rows, &[0], &mut score);
                assert!(
                    (f64::from(score[0]) / expected - 1.0).abs() < 0.01,
                    "{level} {dim} {code}"
                );
                assert!(score[0] * sign > 0.0);
            }
        }
    }
}

#[test]
fn zeros_score_zero_and_what_is_not_finite_is_never_found() {
    let rows = [0.0, 0.0, 1.0, f32::NAN, f32::INFINITY, 1.0, 1e-44, 0.0, 3.0, -4.0];
    for level in Level::available() {
        let (mut codes, mut scales) = ([1; 10], [1.0; 5]);
        encode_bytes(level, &rows, &mut codes, &mut scales);
        assert_eq!(codes, [0, 0, 0, 0, 0, 0, 0, 0, 95, -127]);
        assert!(scales[0] == 0.0 && scales[1].is_nan() && scales[2].is_nan() && scales[3] == 0.0);
        let found = |query: &ByteQuery| {
            let mut top = TopK::new(9);
            scan(level, query, ByteRows::new(&codes, &scales, 2), Selection::ALL, &mut top);
            top.into_sorted().iter().map(|found| found.row).collect::<Vec<_>>()
        };
        assert_eq!(found(&ByteQuery::new(&[1.0, 0.0])), [4, 0, 3]);
        assert_eq!(found(&ByteQuery::new(&[0.0, 0.0])), [0, 3, 4]);
        assert!(found(&ByteQuery::new(&[f32::NAN, 0.0])).is_empty());

        let words = [0b01, 0b10];
        let top = |query: &BitQuery| {
            let mut top = TopK::new(2);
            scan(level, query, BitRows::new(&words, 2), Selection::ALL, &mut top);
            top.into_sorted().iter().map(|found| (found.row, found.score)).collect::<Vec<_>>()
        };
        assert_eq!(top(&BitQuery::graded(&[0.0, 0.0])), [(0, 0.0), (1, 0.0)]);
        assert!(top(&BitQuery::graded(&[f32::INFINITY, 0.0])).is_empty());
    }
}

#[test]
#[should_panic(expected = "a bit a row")]
fn a_mask_of_another_length_is_a_bug() {
    let rows = FloatRows::new(&[1.0; 65], 1);
    let selection = Selection { first: 0, mask: Some(&[1]) };
    scan(Level::best(), &FloatQuery::new(&[1.0]), rows, selection, &mut TopK::new(1));
}

#[test]
#[should_panic(expected = "as wide as the rows")]
fn a_query_of_another_width_is_a_bug() {
    let rows = FloatRows::new(&[1.0; 6], 2);
    scan(Level::best(), &FloatQuery::new(&[1.0]), rows, Selection::ALL, &mut TopK::new(1));
}
