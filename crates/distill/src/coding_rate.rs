//! Rate reduction: how many bits vectors take as one crowd, and how many when each cluster is coded for itself.
//!
//! Separate from the map that is trained by it ([`crate::mcr2`]) because it is the one loss here that autodiff cannot
//! give: it is made of log-determinants, so value and gradient are computed together, by hand and in f64, and handed to
//! autodiff as numbers.
//!
//! For m vectors of p numbers, of which a cluster holds the shares π, with `t = Σ π`:
//!
//! ```text
//! rate(π) = t/2m · logdet(I + p/(t ε) · Z diag(π) Zᵀ)        R = rate(1, …, 1),  Rc = Σ over clusters rate(π)
//! ```
//!
//! The determinant is taken of the cluster's members instead, `I + p/(t ε) · √π ZᵀZ √π`, which is the same number. A
//! cluster has few members, so thousands of clusters cost what their members cost and not thousands of p × p matrices.

use nalgebra::DMatrix;
use rayon::prelude::*;

/// The square of the error that coding may make, as the released code has it.
const EPSILON: f64 = 0.01;
/// Smaller shares are no membership. With the thousands of clusters of the released code nearly all shares are.
const SMALLEST_SHARE: f64 = 1e-6;
/// Keeps a cluster without members from dividing by zero, as the released code does.
const NO_MEMBERS: f64 = 1e-8;

/// What a batch's rates are, and where they lead.
#[derive(Clone, Debug)]
pub struct RateReduction {
    /// Bits (in nats) of all vectors as one crowd: R, which is to grow.
    pub whole: f64,
    /// Bits of all clusters, each for itself: Rc, which is to shrink.
    pub parts: f64,
    /// Gradient of `Rc − R` with respect to the vectors, `[vectors, dim]`.
    pub of_vectors: Vec<f32>,
    /// Gradient of `Rc − R` with respect to the shares, `[vectors, clusters]`; 0 where a share is no membership.
    pub of_shares: Vec<f32>,
}

/// The rates of `vectors`, `[n, dim]`, which `shares`, `[n, clusters]`, divide into clusters. `None` when a number is
/// not finite.
///
/// # Source
/// Yu, Chan, You, Song and Ma 2020, <https://arxiv.org/abs/2006.08558>, with the constants of the code released with
/// Severdija et al. 2023, <https://arxiv.org/abs/2304.12674>.
///
/// # Cost
/// `n³` multiplications for the crowd, and for each cluster the cube of its members. The same bits for any number of
/// threads.
pub fn rate_reduction(
    vectors: &[f32],
    dim: usize,
    shares: &[f32],
    clusters: usize,
) -> Option<RateReduction> {
    let count = vectors.len() / dim;
    let z: Vec<f64> = vectors.iter().map(|&x| f64::from(x)).collect();
    let gram = gram(&z, dim);
    let mut groups = vec![Vec::new(); clusters + 1];
    groups[0] = (0..count).map(|i| (i, 1.0)).collect(); // the crowd
    for (i, row) in shares.chunks_exact(clusters).enumerate() {
        for (k, &share) in row.iter().enumerate() {
            if f64::from(share) >= SMALLEST_SHARE {
                groups[k + 1].push((i, f64::from(share)));
            }
        }
    }
    let rates: Option<Vec<Rate>> =
        groups.par_iter().map(|group| Rate::of(group, &gram, dim)).collect();
    let rates = rates?;
    // How the rates pull at each pair of vectors, summed in the order of the clusters.
    let mut pull = vec![0.0; count * count];
    let mut of_shares = vec![0.0; count * clusters];
    for (k, (rate, group)) in rates.iter().zip(&groups).enumerate() {
        let sign = if k == 0 { -1.0 } else { 1.0 };
        for (a, &(i, _)) in group.iter().enumerate() {
            for (b, &(j, _)) in group.iter().enumerate() {
                pull[i * count + j] += sign * rate.pull[(a, b)];
            }
            if k > 0 {
                of_shares[i * clusters + k - 1] = rate.of_shares[a] as f32;
            }
        }
    }
    let of_vectors = pull.par_chunks_exact(count).flat_map_iter(|pulls| combined(pulls, &z, dim));
    Some(RateReduction {
        whole: rates[0].value,
        parts: rates[1..].iter().map(|rate| rate.value).sum(),
        of_vectors: of_vectors.map(|x| x as f32).collect(),
        of_shares,
    })
}

/// A cluster's rate and its gradients.
struct Rate {
    value: f64,
    /// `[members, members]`: times the members' vectors, the gradient with respect to those.
    pull: DMatrix<f64>,
    of_shares: Vec<f64>,
}

impl Rate {
    /// Of the members and their shares; `gram` are the inner products of all vectors.
    fn of(members: &[(usize, f64)], gram: &DMatrix<f64>, dim: usize) -> Option<Self> {
        let count = members.len();
        if count == 0 {
            return Some(Self { value: 0.0, pull: DMatrix::zeros(0, 0), of_shares: Vec::new() });
        }
        let all = gram.nrows() as f64;
        let size = members.iter().map(|(_, share)| share).sum::<f64>() + NO_MEMBERS;
        let scale = dim as f64 / (size * EPSILON);
        let roots: Vec<f64> = members.iter().map(|(_, share)| share.sqrt()).collect();
        let matrix = DMatrix::from_fn(count, count, |a, b| {
            let product = scale * roots[a] * roots[b] * gram[(members[a].0, members[b].0)];
            if a == b { 1.0 + product } else { product }
        });
        let cholesky = matrix.cholesky()?;
        let diagonal = cholesky.l_dirty().diagonal();
        let bits = 2.0 * diagonal.iter().map(|x| x.ln()).sum::<f64>();
        let inverse = cholesky.inverse();
        // A member's part in the determinant: d logdet / d ln π.
        let parts: Vec<f64> = (0..count).map(|a| 1.0 - inverse[(a, a)]).collect();
        let spread = parts.iter().sum::<f64>() / size;
        let of_share = |a: usize| (bits + size * (parts[a] / members[a].1 - spread)) / (2.0 * all);
        let factor = dim as f64 / (all * EPSILON);
        Some(Self {
            value: size / (2.0 * all) * bits,
            of_shares: (0..count).map(of_share).collect(),
            pull: DMatrix::from_fn(count, count, |a, b| {
                factor * roots[a] * inverse[(a, b)] * roots[b]
            }),
        })
    }
}

/// The inner products of the rows of `z`.
fn gram(z: &[f64], dim: usize) -> DMatrix<f64> {
    let count = z.len() / dim;
    let columns: Vec<f64> = (0..dim).flat_map(|d| z.iter().skip(d).step_by(dim).copied()).collect();
    let row = |vector: &[f64]| combined(vector, &columns, count);
    DMatrix::from_vec(count, count, z.par_chunks_exact(dim).flat_map_iter(row).collect())
}

/// The sum of the rows of `matrix`, `[factors, width]`, each times its factor.
fn combined(factors: &[f64], matrix: &[f64], width: usize) -> Vec<f64> {
    let mut sum = vec![0.0; width];
    for (factor, row) in factors.iter().zip(matrix.chunks_exact(width)) {
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += factor * x);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const VECTORS: usize = 7;
    const DIM: usize = 4;

    /// `ln |I + scale · Z diag(π) Zᵀ|` by elimination on the dim × dim matrix of the definition.
    fn log_determinant(z: &[f64], shares: &[f64], scale: f64) -> f64 {
        let mut matrix = vec![vec![0.0; DIM]; DIM];
        for (i, row) in matrix.iter_mut().enumerate() {
            for (j, number) in row.iter_mut().enumerate() {
                let products = z.chunks(DIM).zip(shares).map(|(z, share)| share * z[i] * z[j]);
                *number = scale * products.sum::<f64>() + f64::from(u8::from(i == j));
            }
        }
        let mut sum = 0.0;
        for k in 0..DIM {
            sum += matrix[k][k].ln(); // positive definite, so no pivot is 0
            for i in k + 1..DIM {
                let factor = matrix[i][k] / matrix[k][k];
                let upper = matrix[k].clone();
                matrix[i].iter_mut().zip(upper).for_each(|(x, y)| *x -= factor * y);
            }
        }
        sum
    }

    /// R and Rc by their definitions; shares below the smallest one count here.
    fn rates(z: &[f64], shares: &[f64], clusters: usize) -> [f64; 2] {
        let (m, p) = (VECTORS as f64, DIM as f64);
        let whole = 0.5 * log_determinant(z, &[1.0; VECTORS], p / (m * EPSILON));
        let cluster = |k: usize| {
            let shares: Vec<f64> = shares.chunks(clusters).map(|row| row[k]).collect();
            let size = shares.iter().sum::<f64>() + 1e-8;
            size / (2.0 * m) * log_determinant(z, &shares, p / (size * EPSILON))
        };
        [whole, (0..clusters).map(cluster).sum()]
    }

    fn vectors() -> Vec<f32> {
        let mut random = Random::new(3, &[]);
        (0..VECTORS * DIM).map(|_| 0.5 * random.normal()).collect()
    }

    fn shares(clusters: usize) -> Vec<f32> {
        let mut random = Random::new(4, &[]);
        let mut shares: Vec<f32> =
            (0..VECTORS * clusters).map(|_| (2.0 * random.normal()).exp()).collect();
        for row in shares.chunks_mut(clusters) {
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|share| *share /= sum);
        }
        shares
    }

    fn wide(x: &[f32]) -> Vec<f64> {
        x.iter().map(|&x| f64::from(x)).collect()
    }

    /// Compares `gradient` with central differences of `value` around `at`.
    fn check(gradient: &[f32], at: &[f64], value: impl Fn(&[f64]) -> f64) {
        for i in 0..at.len() {
            let moved = |by: f64| {
                let mut x = at.to_vec();
                x[i] += by;
                value(&x)
            };
            let difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            let off = (f64::from(gradient[i]) - difference).abs();
            assert!(off < 1e-4 * (1.0 + difference.abs()), "at {i}: {} {difference}", gradient[i]);
        }
    }

    #[test]
    fn rates_and_their_gradients_are_those_of_the_definition() {
        for clusters in [1, 3, 20] {
            let (vectors, shares) = (vectors(), shares(clusters));
            let found = rate_reduction(&vectors, DIM, &shares, clusters).unwrap();
            let (z, pi) = (wide(&vectors), wide(&shares));
            let [whole, parts] = rates(&z, &pi, clusters);
            assert!((found.whole - whole).abs() < 1e-7, "{} {whole}", found.whole);
            assert!((found.parts - parts).abs() < 1e-7, "{} {parts}", found.parts);
            let loss = |[whole, parts]: [f64; 2]| parts - whole;
            check(&found.of_vectors, &z, |z| loss(rates(z, &pi, clusters)));
            check(&found.of_shares, &pi, |pi| loss(rates(&z, pi, clusters)));
        }
    }

    #[test]
    fn a_cluster_of_all_vectors_is_the_crowd() {
        let found = rate_reduction(&vectors(), DIM, &[1.0; VECTORS], 1).unwrap();
        assert!((found.whole - found.parts).abs() < 1e-6);
        assert!(found.of_vectors.iter().all(|x| x.abs() < 1e-4));
    }

    #[test]
    fn shares_that_are_no_membership_change_next_to_nothing() {
        // One cluster holds nearly all of a vector, nineteen hold a millionth or less of it.
        let clusters = 20;
        let mut shares = vec![8e-7; VECTORS * clusters];
        (0..VECTORS).for_each(|i| shares[i * clusters + i % 3] = 1.0 - 19.0 * 8e-7);
        let found = rate_reduction(&vectors(), DIM, &shares, clusters).unwrap();
        let [_, parts] = rates(&wide(&vectors()), &wide(&shares), clusters);
        assert!((found.parts - parts).abs() < 1e-3 * parts, "{} {parts}", found.parts);
        assert_eq!(found.of_shares[19], 0.0);
    }

    #[test]
    fn vectors_that_are_not_finite_have_no_rate() {
        let mut vectors = vectors();
        vectors[5] = f32::NAN;
        assert!(rate_reduction(&vectors, DIM, &shares(3), 3).is_none());
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| rate_reduction(&vectors(), DIM, &shares(20), 20).unwrap())
        };
        let (one, three) = (with(1), with(3));
        assert_eq!(one.of_vectors, three.of_vectors);
        assert_eq!((one.of_shares, one.parts), (three.of_shares, three.parts));
    }
}
