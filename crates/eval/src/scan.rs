//! The exact nearest documents of many queries: blocks of products, and the best of each kept.

use hpd_files::vectors::Matrix;
use hpd_files::{Error, Progress, Result, interrupt};
use hpd_kernels::scan::offer_all;
use hpd_kernels::{Level, Scored, TopK};
use rayon::prelude::*;
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::NdTensorView;

/// Queries scored together; enough for the products to be bound by arithmetic.
const QUERY_BLOCK: usize = 128;
/// Documents scored together: 128 × 2048 scores stay in a core's cache.
const DOCUMENT_BLOCK: usize = 2048;

/// The `depth` documents of largest cosine for each query, best first; equal ones in document order.
///
/// # Errors
/// When the widths differ, a vector is not finite, or a stop was asked for.
///
/// # Cost
/// `queries × documents × dim` multiplications on all threads, and a normalised copy of both sides.
pub(crate) fn nearest(
    queries: &Matrix,
    documents: &Matrix,
    depth: usize,
    progress: &dyn Progress,
) -> Result<Vec<Vec<Scored>>> {
    if queries.dim != documents.dim {
        let (queries, documents) = (queries.dim, documents.dim);
        let message = format!("queries have {queries} dimensions, documents have {documents}");
        return Err(Error::mismatch(message));
    }
    let (queries, documents) = (unit_rows(queries)?, unit_rows(documents)?);
    let blocks: Result<Vec<Vec<Vec<Scored>>>> = queries
        .data
        .par_chunks(QUERY_BLOCK * queries.dim.max(1))
        .map(|block| {
            interrupt::check("nothing was written")?;
            let hits = nearest_to_block(block, &documents, depth)?;
            progress.advance(hits.len() as u64);
            Ok(hits)
        })
        .collect();
    Ok(blocks?.into_iter().flatten().collect())
}

fn nearest_to_block(queries: &[f32], documents: &Matrix, depth: usize) -> Result<Vec<Vec<Scored>>> {
    let mut best = vec![TopK::new(depth); queries.len() / documents.dim];
    offer_products(queries, &documents.data, documents.dim, 0, &mut best)?;
    Ok(best.into_iter().map(TopK::into_sorted).collect())
}

/// Offers each query's dot products with some rows, of which the first is called `first`.
///
/// # Shapes
/// - `queries`: `[best, dim]`
/// - `rows`: `[n, dim]`
pub(crate) fn offer_products(
    queries: &[f32],
    rows: &[f32],
    dim: usize,
    first: u64,
    best: &mut [TopK],
) -> Result<()> {
    let gemm = GemmExecutor::<f32>::new();
    let left = NdTensorView::from_data([best.len(), dim], queries);
    let mut scores = vec![0.0; best.len() * DOCUMENT_BLOCK];
    for (block, rows) in rows.chunks(DOCUMENT_BLOCK * dim).enumerate() {
        let width = rows.len() / dim;
        let right = NdTensorView::from_data([width, dim], rows);
        let scores = &mut scores[..best.len() * width];
        let (left, right) = (GemmInputA::Unpacked(left), GemmInputB::Unpacked(right.transposed()));
        gemm.gemm(scores, left, right, GemmOptions::default())
            .map_err(|e| Error::input("cannot multiply queries and documents").caused_by(e))?;
        for (best, scores) in best.iter_mut().zip(scores.chunks(width)) {
            offer_all(Level::best(), first + (block * DOCUMENT_BLOCK) as u64, scores, best);
        }
    }
    Ok(())
}

/// Rows at unit length; a row of zeros stays one, so that its cosine with anything is 0.
pub(crate) fn unit_rows(matrix: &Matrix) -> Result<Matrix> {
    let mut data = matrix.data.clone();
    for (i, row) in data.chunks_mut(matrix.dim.max(1)).enumerate() {
        let norm = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Err(Error::model(format!("the vector of text {} is not finite", i + 1)));
        }
        if norm > 0.0 {
            row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
        }
    }
    Ok(Matrix { data, dim: matrix.dim })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hpd_files::Silent;
    use proptest::prelude::*;

    fn slow_nearest(query: &[f32], documents: &Matrix, depth: usize) -> Vec<usize> {
        let dot = |row: &[f32]| row.iter().zip(query).map(|(a, b)| a * b).sum::<f32>();
        let mut order: Vec<usize> = (0..documents.len()).collect();
        // A stable sort keeps equal ones in document order.
        order.sort_by(|&a, &b| dot(documents.row(b)).total_cmp(&dot(documents.row(a))));
        order.truncate(depth);
        order
    }

    /// Rows of ±1: their norms and dot products are whole numbers, so that ties are real ones.
    fn signs(rows: usize) -> impl Strategy<Value = Matrix> {
        prop::collection::vec(prop::bool::ANY, rows * 4).prop_map(|signs| Matrix {
            data: signs.into_iter().map(|sign| if sign { 1.0 } else { -1.0 }).collect(),
            dim: 4,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn hits_equal_those_of_the_slow_twin(queries in signs(130), documents in signs(2100), depth in 1..40usize) {
            let hits = nearest(&queries, &documents, depth, &Silent).unwrap();
            for (i, hits) in hits.iter().enumerate() {
                let found: Vec<usize> = hits.iter().map(|hit| hit.row as usize).collect();
                prop_assert_eq!(found, slow_nearest(queries.row(i), &documents, depth));
            }
        }
    }

    #[test]
    fn fewer_documents_than_asked_are_all_given() {
        let documents = Matrix { data: vec![1.0, 0.0, 0.0, 2.0, 0.0, 0.0], dim: 2 };
        let query = Matrix { data: vec![0.0, 3.0], dim: 2 };
        let hits = nearest(&query, &documents, 100, &Silent).unwrap();
        let expected = [(1, 1.0), (0, 0.0), (2, 0.0)].map(|(row, score)| Scored { row, score });
        assert_eq!(hits, [expected]);
    }

    #[test]
    fn vectors_that_are_not_finite_are_refused() {
        let bad = Matrix { data: vec![1.0, f32::NAN], dim: 1 };
        let error = nearest(&bad, &bad, 1, &Silent).unwrap_err();
        assert_eq!(error.to_string(), "the vector of text 2 is not finite");
    }

    #[test]
    fn widths_that_differ_are_refused() {
        let (queries, documents) =
            (Matrix { data: vec![1.0], dim: 1 }, Matrix { data: vec![1.0, 1.0], dim: 2 });
        assert!(nearest(&queries, &documents, 1, &Silent).is_err());
    }
}
