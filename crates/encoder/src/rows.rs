//! What happens to each row between two matrix products, at the CPU's best level.

use hpd_kernels::Level;
use hpd_kernels::rows::{self, Norm};

/// Gain, shift and epsilon of a layer norm.
pub(crate) struct LayerNorm {
    pub(crate) gain: Vec<f32>,
    pub(crate) shift: Vec<f32>,
    pub(crate) epsilon: f32,
}

impl LayerNorm {
    /// `row = norm(row + delta + bias)`, the residual connection and the norm after it.
    ///
    /// # Shapes
    /// `rows` and `deltas` are `[tokens, width]`, `bias` is `[width]`.
    pub(crate) fn add_and_normalize(&self, rows: &mut [f32], deltas: &[f32], bias: &[f32]) {
        rows::add_and_normalize(Level::best(), rows, deltas, bias, self.norm());
    }

    /// `row = norm(row)` for each row.
    pub(crate) fn normalize(&self, rows: &mut [f32]) {
        rows::normalize(Level::best(), rows, self.norm());
    }

    fn norm(&self) -> Norm<'_> {
        Norm { gain: &self.gain, shift: &self.shift, epsilon: self.epsilon }
    }
}

/// `row = row + bias`.
pub(crate) fn add_bias(rows: &mut [f32], bias: &[f32]) {
    rows::activate(Level::best(), rows, bias, hpd_kernels::Activation::Identity);
}

/// Scales each row to unit length; a row of zeros stays.
pub(crate) fn normalize_length(rows: &mut [f32], width: usize) {
    for row in rows.chunks_exact_mut(width) {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        // The floor is that of PyTorch's `normalize`.
        let scale = 1.0 / length.max(1e-12);
        row.iter_mut().for_each(|x| *x *= scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_zeros_has_no_direction_and_stays() {
        let mut rows = [3.0, 4.0, 0.0, 0.0];
        normalize_length(&mut rows, 2);
        assert_eq!(rows, [0.6, 0.8, 0.0, 0.0]);
    }
}
