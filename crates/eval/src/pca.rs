//! The projection that keeps most of what varies in the teacher's vectors, and how much it keeps.
//!
//! Separate from the teacher because it is fitted once, saved, and then belongs to the run: it makes the
//! targets, starts the student's head and names the space that student and projected teacher share.
//! Data passes `rows → mean → covariance → eigenvectors`, in double precision, a block of rows at a time, so
//! memory does not grow with the rows.
//!
//! The same rows give the same bits for any number of threads: work is cut by rows and columns, never by thread.

use std::path::Path;

use hpd_files::fingerprint::Fingerprinter;
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Fingerprint, Result, atomic, interrupt};
use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

/// Rows that enter the covariance together: 8 MB for vectors of 1024 numbers.
const BLOCK_ROWS: usize = 1024;

/// Columns of the covariance that one task computes.
const STRIP_COLUMNS: usize = 64;

/// Rows that are projected together. A last block is filled with zeros, so that a row alone is computed as
/// in company.
const PROJECTED_ROWS: usize = 64;

/// What is taken from a vector before it is projected. Fitting always takes the mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Center {
    /// Nothing, as the released code of HPD does it; keeps inner products best.
    None,
    /// The mean of the vectors it was fitted on, as Algorithm 1 of the paper does it.
    Mean,
}

/// A fitted projection.
///
/// # Source
/// Zhao et al., Findings of ACL 2022, Algorithm 1, from the covariance instead of the singular values.
#[derive(Clone, Debug, PartialEq)]
pub struct Pca {
    /// `[dimensions, width]`, row-major; as fitted, orthonormal rows in order of variance.
    components: Vec<f64>,
    mean: Vec<f64>,
    explained_variance: Vec<f64>,
    total_variance: f64,
    origin: Origin,
}

/// What a projection was fitted on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Fingerprint of the teacher.
    pub teacher: String,
    /// Fingerprint of the sentences.
    pub sentences: String,
    /// Vectors it was fitted on.
    pub rows: usize,
}

impl Pca {
    /// Fits `dimensions` components to `rows` vectors of `width` numbers; `row` copies one of them.
    ///
    /// # Errors
    /// When more dimensions are asked than the vectors have or span, or one holds NaN or infinity (with its row).
    ///
    /// # Cost
    /// `rows × width²` multiplications and one eigendecomposition, `9 × width³`; memory for a few `width²`.
    pub fn fit(
        rows: usize,
        width: usize,
        dimensions: usize,
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Self> {
        check_dimensions(rows, width, dimensions)?;
        let mean = mean(rows, width, &row)?;
        let covariance = covariance(rows, &mean, &row)?;
        let total_variance = covariance.trace();
        let (variances, vectors) = sorted_eigen(covariance)?;
        check_rank(&variances, rows, dimensions)?;
        Ok(Self {
            components: vectors.into_iter().take(dimensions).flat_map(with_fixed_sign).collect(),
            mean,
            explained_variance: variances[..dimensions].to_vec(),
            total_variance,
            origin: Origin { rows, ..Origin::default() },
        })
    }

    /// The same with other components, `[dimensions, width]`, that were made of these; the variances stay those of the
    /// components it was fitted with.
    ///
    /// # Panics
    /// When their number is another.
    #[must_use]
    pub fn with_components(mut self, components: &[f32]) -> Self {
        assert_eq!(components.len(), self.components.len(), "as many numbers as before");
        self.components = components.iter().map(|&number| f64::from(number)).collect();
        self
    }

    /// Notes what it was fitted on.
    #[must_use]
    pub fn of(mut self, teacher: impl Into<String>, sentences: Fingerprint) -> Self {
        self.origin.teacher = teacher.into();
        self.origin.sentences = sentences.to_string();
        self
    }

    /// What it was fitted on.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Numbers in a projected vector.
    pub fn dimensions(&self) -> usize {
        self.explained_variance.len()
    }

    /// Numbers in a vector before it.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// The mean of the vectors it was fitted on, in single precision.
    pub fn mean(&self) -> Vec<f32> {
        self.mean.iter().map(|&number| number as f32).collect()
    }

    /// The components in single precision, `[dimensions, width]`: what a student's head starts as.
    pub fn components(&self) -> Matrix {
        let data = self.components.iter().map(|&number| number as f32).collect();
        Matrix { data, dim: self.width() }
    }

    /// Variance along each component, falling, with `rows − 1` in the denominator.
    pub fn explained_variance(&self) -> &[f64] {
        &self.explained_variance
    }

    /// Variance of the vectors in all their dimensions.
    pub fn total_variance(&self) -> f64 {
        self.total_variance
    }

    /// The share of the variance that the components keep, from 0 to 1.
    pub fn explained_ratio(&self) -> f64 {
        self.explained_variance.iter().sum::<f64>() / self.total_variance
    }

    /// Names the projection: components and mean, bit by bit.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut parts = Fingerprinter::new();
        parts.add_part(bytemuck::cast_slice(&self.components));
        parts.add_part(bytemuck::cast_slice(&self.mean)).finish()
    }

    /// Projects rows; a row alone gives the same bits as among others. With [`Center::None`] it is
    /// `components × x`, as the released code of HPD does it, with [`Center::Mean`] `components × (x − mean)`,
    /// as the paper's Algorithm 1 does it. Fitting subtracts the mean in either case.
    ///
    /// # Shapes
    /// `[n, width]` to `[n, dimensions]`.
    ///
    /// # Errors
    /// When the rows have another width or hold NaN or infinity.
    pub fn project(&self, rows: &Matrix, center: Center) -> Result<Matrix> {
        if rows.dim != self.width() {
            return Err(Error::mismatch(format!(
                "width of the vectors to project: expected {}, found {}",
                self.width(),
                rows.dim
            )));
        }
        check_finite(rows.len(), rows.dim, |i, numbers| numbers.copy_from_slice(rows.row(i)))?;
        let mut data = vec![0.0; rows.len() * self.dimensions()];
        data.par_chunks_mut(PROJECTED_ROWS * self.dimensions())
            .zip(rows.data.par_chunks(PROJECTED_ROWS * rows.dim))
            .for_each(|(projected, rows)| self.project_block(rows, center, projected));
        Ok(Matrix { data, dim: self.dimensions() })
    }

    fn project_block(&self, rows: &[f32], center: Center, projected: &mut [f32]) {
        let width = self.width();
        let mut wide = vec![0.0; width];
        let narrow = projected.chunks_exact_mut(self.dimensions());
        for (row, narrow) in rows.chunks_exact(width).zip(narrow) {
            match center {
                Center::None => widen(row, &mut wide),
                Center::Mean => subtract(row, &self.mean, &mut wide),
            }
            for (number, component) in narrow.iter_mut().zip(self.components.chunks_exact(width)) {
                *number = dot(component, &wide) as f32;
            }
        }
    }

    /// Writes the projection as a safetensors file.
    ///
    /// # Errors
    /// When the disk is full or the place cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let total = [self.total_variance];
        let (dimensions, width) = (self.dimensions(), self.width());
        let tensors = [
            ("components", vec![dimensions, width], &self.components[..]),
            ("explained_variance", vec![dimensions], &self.explained_variance),
            ("mean", vec![width], &self.mean),
            ("total_variance", vec![1], &total),
        ];
        let fail = |error| Error::io("write", path, std::io::Error::other(error));
        let views = tensors.into_iter().map(|(name, shape, numbers)| {
            TensorView::new(Dtype::F64, shape, bytemuck::cast_slice(numbers)).map(|v| (name, v))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(fail)?;
        // One key, because the order of several would change from run to run.
        let origin = serde_json::to_string(&self.origin).unwrap_or_default();
        let metadata = [("pca".to_owned(), origin)].into();
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(fail)?;
        atomic::write(path, &bytes)
    }

    /// Reads what [`Pca::save`] wrote.
    ///
    /// # Errors
    /// When the file is missing, damaged or not a projection.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
        let what = || format!("`{}` is no PCA projection", path.display());
        let bad = |error: safetensors::SafeTensorError| Error::input(what()).caused_by(error);
        let tensors = SafeTensors::deserialize(&bytes).map_err(bad)?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(bad)?;
        let origin = header.metadata().as_ref().and_then(|metadata| metadata.get("pca"));
        let origin = origin.and_then(|json| serde_json::from_str(json).ok());
        let numbers =
            |name| doubles(&tensors.tensor(name).map_err(bad)?).ok_or_else(|| Error::input(what()));
        let pca = Self {
            components: numbers("components")?,
            mean: numbers("mean")?,
            explained_variance: numbers("explained_variance")?,
            total_variance: numbers("total_variance")?.first().copied().unwrap_or(f64::NAN),
            origin: origin.ok_or_else(|| Error::input(what()))?,
        };
        if pca.is_consistent() { Ok(pca) } else { Err(Error::input(what())) }
    }

    fn is_consistent(&self) -> bool {
        self.dimensions() > 0
            && self.components.len() == self.dimensions() * self.width()
            && self.components.iter().chain(&self.mean).all(|number| number.is_finite())
            && self.total_variance > 0.0
    }
}

fn check_dimensions(rows: usize, width: usize, dimensions: usize) -> Result<()> {
    if dimensions == 0 {
        return Err(Error::input("a projection to 0 dimensions keeps nothing").hint("--dim 128"));
    }
    if dimensions > width {
        return Err(Error::input(format!(
            "{dimensions} dimensions asked, but the teacher's vectors have {width}"
        ))
        .hint(format!("--dim {width}")));
    }
    if rows <= dimensions {
        return Err(Error::input(format!(
            "a projection to {dimensions} dimensions needs more than {dimensions} sentences, found {rows}"
        ))
        .hint("give more sentences, or fewer dimensions with --dim"));
    }
    Ok(())
}

/// Fewer distinct vectors than dimensions leave directions that nothing decides.
fn check_rank(variances: &[f64], rows: usize, dimensions: usize) -> Result<()> {
    let noise = variances[0].max(0.0) * variances.len() as f64 * f64::EPSILON;
    let rank = variances.iter().filter(|&&variance| variance > noise).count();
    if rank >= dimensions {
        return Ok(());
    }
    Err(Error::input(format!(
        "{dimensions} dimensions asked, but the {rows} vectors vary in {rank} only"
    ))
    .hint("give more distinct sentences, or fewer dimensions with --dim"))
}

fn check_finite(rows: usize, width: usize, row: impl Fn(usize, &mut [f32])) -> Result<()> {
    let mut numbers = vec![0.0; width];
    for i in 0..rows {
        row(i, &mut numbers);
        if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
            return Err(Error::input(format!("vector {i} holds {number}")));
        }
    }
    Ok(())
}

fn mean(rows: usize, width: usize, row: &(impl Fn(usize, &mut [f32]) + Sync)) -> Result<Vec<f64>> {
    let sums: Vec<Vec<f64>> = (0..rows.div_ceil(BLOCK_ROWS))
        .into_par_iter()
        .map(|block| {
            let mut numbers = vec![0.0; width];
            let mut sum = vec![0.0; width];
            for i in block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(rows) {
                row(i, &mut numbers);
                sum.iter_mut().zip(&numbers).for_each(|(sum, &number)| *sum += f64::from(number));
            }
            sum
        })
        .collect();
    let mut mean = vec![0.0; width];
    for sum in sums {
        mean.iter_mut().zip(&sum).for_each(|(mean, sum)| *mean += sum / rows as f64);
    }
    if mean.iter().any(|number| !number.is_finite()) {
        check_finite(rows, width, row)?;
    }
    Ok(mean)
}

/// The covariance with `rows − 1` in the denominator.
fn covariance(
    rows: usize,
    mean: &[f64],
    row: &(impl Fn(usize, &mut [f32]) + Sync),
) -> Result<DMatrix<f64>> {
    let width = mean.len();
    let mut covariance = DMatrix::zeros(width, width);
    for first in (0..rows).step_by(BLOCK_ROWS) {
        interrupt::check("the projection was not finished")?;
        let block = centred_block(first..(first + BLOCK_ROWS).min(rows), mean, row);
        add_products(&block, &mut covariance);
    }
    covariance.fill_upper_triangle_with_lower_triangle();
    covariance /= (rows - 1) as f64;
    Ok(covariance)
}

fn centred_block(
    rows: std::ops::Range<usize>,
    mean: &[f64],
    row: &(impl Fn(usize, &mut [f32]) + Sync),
) -> Vec<f64> {
    let width = mean.len();
    let mut block = vec![0.0; rows.len() * width];
    block.par_chunks_exact_mut(width).zip(rows).for_each_init(
        || vec![0.0; width],
        |numbers, (centred, i)| {
            row(i, numbers);
            subtract(numbers, mean, centred);
        },
    );
    block
}

/// Adds `blockᵀ × block` to the lower triangle, strips of columns in parallel.
///
/// Plain loops over slices, four rows a pass: nalgebra's products of strided views read past the end of their
/// slice (0.35, seen under valgrind).
fn add_products(block: &[f64], covariance: &mut DMatrix<f64>) {
    let width = covariance.nrows();
    let strips = covariance.as_mut_slice().par_chunks_mut(STRIP_COLUMNS * width).enumerate();
    strips.for_each(|(strip, columns)| {
        for rows in block.chunks(4 * width) {
            for (column, sums) in columns.chunks_exact_mut(width).enumerate() {
                add_outer(rows, width, strip * STRIP_COLUMNS + column, sums);
            }
        }
    });
}

/// Adds to `sums`, from number `first` on, the products of each of up to four rows with its number `first`.
fn add_outer(rows: &[f64], width: usize, first: usize, sums: &mut [f64]) {
    let sums = &mut sums[first..];
    if let [a, b, c, d] = rows.chunks_exact(width).map(|row| &row[first..]).collect::<Vec<_>>()[..]
    {
        let (a0, b0, c0, d0) = (a[0], b[0], c[0], d[0]);
        for ((((sum, a), b), c), d) in sums.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *sum += (a0 * a + b0 * b) + (c0 * c + d0 * d);
        }
        return;
    }
    for row in rows.chunks_exact(width) {
        let row = &row[first..];
        sums.iter_mut().zip(row).for_each(|(sum, number)| *sum += row[0] * number);
    }
}

/// Eigenvalues falling, each with its vector.
fn sorted_eigen(covariance: DMatrix<f64>) -> Result<(Vec<f64>, Vec<Vec<f64>>)> {
    let eigen = SymmetricEigen::try_new(covariance, f64::EPSILON, 0)
        .ok_or_else(|| Error::input("the covariance of the vectors has no eigenvectors"))?;
    let mut pairs: Vec<(f64, Vec<f64>)> = eigen
        .eigenvalues
        .iter()
        .zip(eigen.eigenvectors.column_iter())
        .map(|(&value, vector)| (value, vector.iter().copied().collect()))
        .collect();
    pairs.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    Ok(pairs.into_iter().unzip())
}

/// An eigenvector's sign is arbitrary; the entry farthest from zero becomes positive.
fn with_fixed_sign(mut vector: Vec<f64>) -> Vec<f64> {
    let farthest = vector.iter().fold(0.0_f64, |far, &x| if x.abs() > far.abs() { x } else { far });
    if farthest < 0.0 {
        vector.iter_mut().for_each(|number| *number = -*number);
    }
    vector
}

/// Eight running sums, so that the additions do not wait for each other.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_eights, a_rest) = a.as_chunks::<8>();
    let (b_eights, b_rest) = b.as_chunks::<8>();
    for (a, b) in a_eights.iter().zip(b_eights) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

fn widen(row: &[f32], wide: &mut [f64]) {
    wide.iter_mut().zip(row).for_each(|(wide, &number)| *wide = f64::from(number));
}

fn subtract(row: &[f32], mean: &[f64], centred: &mut [f64]) {
    for ((centred, &number), mean) in centred.iter_mut().zip(row).zip(mean) {
        *centred = f64::from(number) - mean;
    }
}

fn doubles(tensor: &TensorView) -> Option<Vec<f64>> {
    if tensor.dtype() != Dtype::F64 {
        return None;
    }
    let (eights, rest) = tensor.data().as_chunks::<8>();
    rest.is_empty().then(|| eights.iter().map(|eight| f64::from_le_bytes(*eight)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers without structure, the same in every run.
    fn noise(i: usize) -> f32 {
        let bits = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bits = (bits ^ (bits >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (bits >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Rows whose column j varies with 1 / (j + 1), round a mean of 0.3.
    fn rows(count: usize, width: usize) -> Matrix {
        let number = |i: usize| noise(i) / ((i % width) + 1) as f32 + 0.3;
        Matrix { data: (0..count * width).map(number).collect(), dim: width }
    }

    fn fit(rows: &Matrix, dimensions: usize) -> Result<Pca> {
        Pca::fit(rows.len(), rows.dim, dimensions, |i, to| to.copy_from_slice(rows.row(i)))
    }

    /// The covariance by its definition.
    fn slow_covariance(rows: &Matrix) -> Vec<Vec<f64>> {
        let n = rows.len();
        let at = |i: usize, j: usize| f64::from(rows.row(i)[j]);
        let mean: Vec<f64> =
            (0..rows.dim).map(|j| (0..n).map(|i| at(i, j)).sum::<f64>() / n as f64).collect();
        let product = |j: usize, k: usize| {
            let sum: f64 = (0..n).map(|i| (at(i, j) - mean[j]) * (at(i, k) - mean[k])).sum();
            sum / (n - 1) as f64
        };
        (0..rows.dim).map(|j| (0..rows.dim).map(|k| product(j, k)).collect()).collect()
    }

    fn component(pca: &Pca, k: usize) -> &[f64] {
        &pca.components[k * pca.width()..][..pca.width()]
    }

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn components_are_eigenvectors_of_the_slow_covariance(
            count in 40usize..90, width in 2usize..80, more_blocks in any::<bool>()
        ) {
            let rows = rows(if more_blocks { count + BLOCK_ROWS } else { count.max(width + 2) }, width);
            let dimensions = width.div_ceil(2);
            let pca = fit(&rows, dimensions).unwrap();
            let covariance = slow_covariance(&rows);
            for k in 0..dimensions {
                let vector = component(&pca, k);
                let value = pca.explained_variance()[k];
                for (j, row) in covariance.iter().enumerate() {
                    prop_assert!((dot(row, vector) - value * vector[j]).abs() < 1e-9);
                }
                for other in 0..dimensions {
                    let expected = if k == other { 1.0 } else { 0.0 };
                    prop_assert!((dot(vector, component(&pca, other)) - expected).abs() < 1e-9);
                }
            }
            let trace: f64 = (0..width).map(|j| covariance[j][j]).sum();
            prop_assert!((pca.total_variance() - trace).abs() < 1e-9);
            prop_assert!(pca.explained_variance().is_sorted_by(|a, b| a >= b));
        }
    }

    #[test]
    fn what_is_lost_is_the_variance_not_explained() {
        let rows = rows(500, 20);
        let pca = fit(&rows, 7).unwrap();
        let projected = pca.project(&rows, Center::Mean).unwrap();
        let mut lost = 0.0;
        for i in 0..rows.len() {
            for j in 0..20 {
                let rebuilt: f64 = (0..7)
                    .map(|k| f64::from(projected.row(i)[k]) * component(&pca, k)[j])
                    .sum::<f64>()
                    + pca.mean[j];
                lost += (f64::from(rows.row(i)[j]) - rebuilt).powi(2);
            }
        }
        let unexplained = pca.total_variance() * (1.0 - pca.explained_ratio());
        assert!((lost / 499.0 - unexplained).abs() < 1e-6, "{lost} {unexplained}");
    }

    #[test]
    fn all_dimensions_keep_every_distance() {
        let rows = rows(60, 9);
        let pca = fit(&rows, 9).unwrap();
        let projected = pca.project(&rows, Center::None).unwrap();
        let distance = |rows: &Matrix| {
            rows.row(3).iter().zip(rows.row(40)).map(|(a, b)| (a - b).powi(2)).sum::<f32>()
        };
        assert!((distance(&rows) - distance(&projected)).abs() < 1e-5);
        assert!((pca.explained_ratio() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn uncentred_projection_is_components_times_row_and_centred_differs_by_one_vector() {
        let rows = rows(100, 12);
        let pca = fit(&rows, 4).unwrap();
        let plain = pca.project(&rows, Center::None).unwrap();
        let centred = pca.project(&rows, Center::Mean).unwrap();
        for i in 0..100 {
            let row: Vec<f64> = rows.row(i).iter().map(|&x| f64::from(x)).collect();
            for k in 0..4 {
                let expected = dot(component(&pca, k), &row);
                assert!((f64::from(plain.row(i)[k]) - expected).abs() < 1e-6);
                let shift = dot(component(&pca, k), &pca.mean);
                let difference = f64::from(plain.row(i)[k]) - f64::from(centred.row(i)[k]);
                assert!((difference - shift).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_row_alone_is_projected_as_in_company() {
        let rows = rows(150, 33);
        let pca = fit(&rows, 8).unwrap();
        let together = pca.project(&rows, Center::Mean).unwrap();
        for i in [0, 63, 64, 149] {
            let alone = Matrix { data: rows.row(i).to_vec(), dim: 33 };
            assert_eq!(pca.project(&alone, Center::Mean).unwrap().row(0), together.row(i));
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let rows = rows(2 * BLOCK_ROWS + 77, 130);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| fit(&rows, 40).unwrap())
        };
        let (one, three) = (with(1), with(3));
        assert_eq!(one, three);
        assert_eq!(one.fingerprint(), three.fingerprint());
    }

    #[test]
    fn the_entry_farthest_from_zero_is_positive() {
        let pca = fit(&rows(200, 15), 15).unwrap();
        for k in 0..15 {
            let vector = component(&pca, k);
            let farthest = vector.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()));
            assert!(farthest.unwrap() > 0.0);
        }
    }

    #[test]
    fn too_many_dimensions_are_refused_with_both_numbers() {
        let message = |count, width, dimensions| {
            fit(&rows(count, width), dimensions).unwrap_err().to_string()
        };
        assert_eq!(message(50, 8, 9), "9 dimensions asked, but the teacher's vectors have 8");
        assert!(message(5, 8, 5).contains("more than 5 sentences, found 5"));
        assert!(message(50, 8, 0).contains("0 dimensions"));
    }

    #[test]
    fn few_distinct_vectors_are_refused() {
        let few = rows(4, 10);
        let many = Matrix { data: few.data.repeat(20), dim: 10 };
        let message = fit(&many, 5).unwrap_err().to_string();
        assert_eq!(message, "5 dimensions asked, but the 80 vectors vary in 3 only");
        let same = Matrix { data: vec![0.5; 300], dim: 3 };
        assert!(fit(&same, 1).unwrap_err().to_string().contains("vary in 0 only"));
    }

    #[test]
    fn nan_is_refused_with_its_row() {
        let mut bad = rows(60, 4);
        bad.data[37 * 4 + 2] = f32::NAN;
        assert_eq!(fit(&bad, 2).unwrap_err().to_string(), "vector 37 holds NaN");
        let pca = fit(&rows(60, 4), 2).unwrap();
        assert!(pca.project(&bad, Center::None).unwrap_err().to_string().contains("vector 37"));
    }

    #[test]
    fn another_width_is_refused() {
        let pca = fit(&rows(60, 4), 2).unwrap();
        let message = pca.project(&rows(60, 5), Center::None).unwrap_err().to_string();
        assert!(message.ends_with("expected 4, found 5"), "{message}");
    }

    #[test]
    fn saved_is_reopened_and_saved_twice_is_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let pca = fit(&rows(60, 6), 3).unwrap().of("teacher", Fingerprint::of(b"sentences"));
        let (first, second) = (folder.path().join("a"), folder.path().join("b"));
        pca.save(&first).unwrap();
        pca.save(&second).unwrap();
        assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
        assert_eq!(Pca::load(&first).unwrap(), pca);
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pca.safetensors");
        fit(&rows(60, 6), 3).unwrap().save(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in [0, 7, 60, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(Pca::load(&path).is_err(), "{cut} bytes");
        }
        let tensor = TensorView::new(Dtype::F64, vec![1], &[0; 8]).unwrap();
        let other = safetensors::serialize([("components", tensor)], None).unwrap();
        std::fs::write(&path, other).unwrap();
        assert!(Pca::load(&path).is_err());
    }

    #[derive(Deserialize)]
    struct Golden {
        rows: Vec<Vec<f32>>,
        components: Vec<Vec<f64>>,
        mean: Vec<f64>,
        explained_variance: Vec<f64>,
        explained_variance_ratio: Vec<f64>,
    }

    #[test]
    fn agrees_with_scikit_learn() {
        let golden: Golden = serde_json::from_str(include_str!("../fixtures/pca.json")).unwrap();
        let rows = Matrix { dim: golden.rows[0].len(), data: golden.rows.concat() };
        let pca = fit(&rows, golden.components.len()).unwrap();
        let close = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(pca.mean.iter().zip(&golden.mean).all(|(&a, &b)| close(a, b)));
        for (k, expected) in golden.components.iter().enumerate() {
            assert!(close(dot(component(&pca, k), expected).abs(), 1.0), "component {k}");
            assert!(close(pca.explained_variance()[k], golden.explained_variance[k]));
        }
        let ratio: f64 = golden.explained_variance_ratio.iter().sum();
        assert!(close(pca.explained_ratio(), ratio));
    }
}
