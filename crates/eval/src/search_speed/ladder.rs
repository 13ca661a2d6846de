//! More vectors than there are texts: made from real ones, and with their statistics.
//!
//! A made vector is a real one plus half of what another real one differs by from the mean, at unit length. So the mean stays, and
//! each direction keeps its share of the variance; nothing is assumed about how the numbers are distributed. Which two they are
//! depends on the place alone, so the vectors of two models stay those of the same documents.

use hpd_files::vectors::Matrix;
use rayon::prelude::*;

/// How much of the second vector's difference from the mean is added.
const SHARE: f32 = 0.5;

/// `size` rows: the real ones first, as many as are wanted, then made ones.
///
/// # Shapes
/// - `real`: `[n, dim]`, rows of length 1, at least one
/// - returns: `[size, dim]`
pub(super) fn grown(real: &Matrix, size: usize) -> Matrix {
    let (dim, there) = (real.dim, real.len());
    let mean = mean(real);
    let mut data = vec![0.0; size * dim];
    data.par_chunks_exact_mut(dim).enumerate().for_each(|(i, row)| {
        if i < there {
            return row.copy_from_slice(real.row(i));
        }
        let [first, second] = [2 * i as u64, 2 * i as u64 + 1].map(|draw| below(draw, there));
        let numbers = real.row(first).iter().zip(real.row(second)).zip(&mean);
        row.iter_mut().zip(numbers).for_each(|(x, ((a, b), mean))| *x = a + SHARE * (b - mean));
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|x| *x /= length);
        }
    });
    Matrix { data, dim }
}

fn mean(rows: &Matrix) -> Vec<f32> {
    let mut sums = vec![0.0_f64; rows.dim];
    for row in rows.rows() {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    sums.iter().map(|sum| (sum / rows.len() as f64) as f32).collect()
}

/// Draw number `draw` of a number below `end`, by `SplitMix64`.
fn below(draw: u64, end: usize) -> usize {
    let mut z = (draw + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((u128::from(z ^ z >> 31) * end as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_rows_come_first_and_made_ones_have_length_1_and_the_same_mean() {
        let angles: Vec<f32> = (0..500).map(|i| (i % 97) as f32 / 97.0).collect();
        let data = angles.iter().flat_map(|angle| [angle.cos(), angle.sin()]).collect();
        let real = Matrix { data, dim: 2 };
        let grown = grown(&real, 5000);
        assert_eq!(grown.len(), 5000);
        assert_eq!(grown.data[..1000], real.data);
        for row in grown.rows() {
            assert!((row[0].hypot(row[1]) - 1.0).abs() < 1e-5);
        }
        let (a, b) = (mean(&real), mean(&grown));
        assert!((a[0] - b[0]).abs() < 0.05 && (a[1] - b[1]).abs() < 0.05, "{a:?} {b:?}");
        assert_eq!(super::grown(&real, 10).data, real.data[..20]);
    }
}
