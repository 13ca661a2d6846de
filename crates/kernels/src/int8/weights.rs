//! Weights in the order in which the product reads them.

use super::Form;
use crate::Level;
use crate::columns::COLUMNS;
use crate::lines::Lines;

/// A matrix of whole weights with one scale an output, packed once.
///
/// Panels of 16 outputs; in a panel, for each two or four inputs, those weights of each output beside each other.
/// Outputs and inputs that are not there are zeros.
#[derive(Clone, Debug)]
pub struct PackedWeights {
    panels: Lines<i8>,
    /// One an output, then zeros up to a whole panel.
    pub(super) scales: Vec<f32>,
    /// The sum of each output's weights, padded alike: what a sum over bytes is too much, for each step of the row's zero.
    pub(super) sums: Vec<i32>,
    pub(super) form: Form,
    inputs: usize,
    outputs: usize,
}

impl PackedWeights {
    /// Packs weights for products at `level`: output `o` is `Σ_i x[i] · values[o][i] · scales[o]`.
    ///
    /// # Shapes
    /// `values`: `[outputs, inputs]`, row-major; `scales`: `[outputs]`.
    ///
    /// # Panics
    /// When the lengths disagree, there are no inputs or outputs, or more inputs than
    /// [`MOST_INPUTS`](super::MOST_INPUTS).
    pub fn new(level: Level, values: &[i8], scales: &[f32], inputs: usize) -> Self {
        let outputs = scales.len();
        assert_eq!(values.len(), inputs * outputs, "values must be [scales, inputs] numbers");
        assert!(!values.is_empty(), "a matrix has inputs and outputs");
        assert!(inputs <= super::MOST_INPUTS, "{inputs} inputs do not fit 32-bit sums");
        let form = Form::of(level);
        let together = form.inputs();
        let panel = inputs.next_multiple_of(together) * COLUMNS;
        let mut panels = Lines::default();
        panels.resize(outputs.div_ceil(COLUMNS) * panel);
        for (output, row) in values.chunks_exact(inputs).enumerate() {
            let panel = &mut panels[output / COLUMNS * panel..][..panel];
            for (input, weight) in row.iter().enumerate() {
                let group = input / together * COLUMNS + output % COLUMNS;
                panel[group * together + input % together] = *weight;
            }
        }
        let mut scales = scales.to_vec();
        scales.resize(outputs.next_multiple_of(COLUMNS), 0.0);
        let sum = |row: &[i8]| row.iter().map(|weight| i32::from(*weight)).sum();
        let mut sums: Vec<i32> = values.chunks_exact(inputs).map(sum).collect();
        sums.resize(scales.len(), 0);
        Self { panels, scales, sums, form, inputs, outputs }
    }

    /// Numbers in a row that is multiplied.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Numbers in a row that comes out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The weights of `16 · count` outputs, from `16 · first` on.
    pub(super) fn panels(&self, first: usize, count: usize) -> &[i8] {
        let panel = self.inputs.next_multiple_of(self.form.inputs()) * COLUMNS;
        &self.panels[first * panel..][..count * panel]
    }
}
