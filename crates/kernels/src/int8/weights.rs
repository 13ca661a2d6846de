//! Weights in the order in which the product reads them.

use super::tile::COLUMNS;

/// A matrix of whole weights with one scale an output, packed once.
///
/// Panels of 16 outputs; in a panel, for each pair of inputs, the two weights of each output beside each other.
/// Outputs and inputs that are not there are zeros.
#[derive(Clone, Debug)]
pub struct PackedWeights {
    panels: Vec<i8>,
    /// One an output, then zeros up to a whole panel.
    pub(super) scales: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

impl PackedWeights {
    /// Packs weights: output `o` is `Σ_i x[i] · values[o][i] · scales[o]`.
    ///
    /// # Shapes
    /// `values`: `[outputs, inputs]`, row-major; `scales`: `[outputs]`.
    ///
    /// # Panics
    /// When the lengths disagree, there are no inputs or outputs, or more inputs than
    /// [`MOST_INPUTS`](super::MOST_INPUTS).
    pub fn new(values: &[i8], scales: &[f32], inputs: usize) -> Self {
        let outputs = scales.len();
        assert_eq!(values.len(), inputs * outputs, "values must be [scales, inputs] numbers");
        assert!(!values.is_empty(), "a matrix has inputs and outputs");
        assert!(inputs <= super::MOST_INPUTS, "{inputs} inputs do not fit 32-bit sums");
        let panel = inputs.next_multiple_of(2) * COLUMNS;
        let mut panels = vec![0; outputs.div_ceil(COLUMNS) * panel];
        for (output, row) in values.chunks_exact(inputs).enumerate() {
            let panel = &mut panels[output / COLUMNS * panel..][..panel];
            for (input, weight) in row.iter().enumerate() {
                panel[(input / 2 * COLUMNS + output % COLUMNS) * 2 + input % 2] = *weight;
            }
        }
        let mut scales = scales.to_vec();
        scales.resize(outputs.next_multiple_of(COLUMNS), 0.0);
        Self { panels, scales, inputs, outputs }
    }

    /// Numbers in a row that is multiplied.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Numbers in a row that comes out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The weights of outputs `16 · index` and on.
    pub(super) fn panel(&self, index: usize) -> &[i8] {
        let panel = self.inputs.next_multiple_of(2) * COLUMNS;
        &self.panels[index * panel..][..panel]
    }
}
