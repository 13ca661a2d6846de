//! One step of AdamW as a single pass over parameter, gradient and both moments.

use crate::kernel::{kernel, multiply_add};

/// The numbers of one AdamW step, all that depend on the step already worked in.
///
/// # Source
/// Loshchilov and Hutter 2019, <https://arxiv.org/abs/1711.05101>, with decoupled decay
/// (`parameter · decay` before the move).
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// What the gradient is multiplied by first: the clip.
    pub gradient_scale: f32,
    /// How much of the first moment stays.
    pub beta1: f32,
    /// How much of the second moment stays.
    pub beta2: f32,
    /// `learning_rate / (1 − beta1^step)`, or the bare rate without bias correction.
    pub rate: f32,
    /// `1 / √(1 − beta2^step)`, or 1 without bias correction; multiplies the root of the second moment.
    pub second_correction: f32,
    /// Added to the root, so that tiny gradients make no giant steps.
    pub epsilon: f32,
    /// `1 − learning_rate · weight_decay`.
    pub decay: f32,
}

kernel! {
    /// Moves `parameters` by one step and updates both moments; an empty `gradient` stands for zeros.
    ///
    /// # Shapes
    /// All of one length.
    pub fn adamw(
        step: &AdamW,
        gradient: &[f32],
        parameters: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
    ) {
        let n = parameters.len();
        assert!(first.len() == n && second.len() == n);
        assert!(gradient.is_empty() || gradient.len() == n);
        let state = parameters.iter_mut().zip(first).zip(second);
        if gradient.is_empty() {
            state.for_each(|((p, m), v)| one::<FUSED>(step, 0.0, p, m, v));
        } else {
            state.zip(gradient).for_each(|(((p, m), v), g)| one::<FUSED>(step, *g, p, m, v));
        }
    }
}

#[inline(always)]
fn one<const FUSED: bool>(
    step: &AdamW,
    gradient: f32,
    parameter: &mut f32,
    first: &mut f32,
    second: &mut f32,
) {
    let g = gradient * step.gradient_scale;
    *first = multiply_add::<FUSED>(step.beta1, *first, (1.0 - step.beta1) * g);
    *second = multiply_add::<FUSED>(step.beta2, *second, (1.0 - step.beta2) * g * g);
    let root = multiply_add::<FUSED>(second.sqrt(), step.second_correction, step.epsilon);
    *parameter = multiply_add::<FUSED>(*parameter, step.decay, -step.rate * *first / root);
}

#[cfg(test)]
mod tests {
    use super::super::reference::{assert_close, at_every_level};
    use super::*;
    use proptest::prelude::*;

    const STEP: AdamW = AdamW {
        gradient_scale: 0.5,
        beta1: 0.9,
        beta2: 0.999,
        rate: 0.01,
        second_correction: 3.0,
        epsilon: 1e-8,
        decay: 0.99,
    };

    /// Parameter, first and second moment after one step, in f64.
    fn twin(g: f32, p: f32, m: f32, v: f32) -> [f64; 3] {
        let [g, p, m, v] = [g * STEP.gradient_scale, p, m, v].map(f64::from);
        let [beta1, beta2] = [STEP.beta1, STEP.beta2].map(f64::from);
        let m = beta1 * m + (1.0 - beta1) * g;
        let v = beta2 * v + (1.0 - beta2) * g * g;
        let root = v.sqrt() * f64::from(STEP.second_correction) + f64::from(STEP.epsilon);
        [p * f64::from(STEP.decay) - f64::from(STEP.rate) * m / root, m, v]
    }

    proptest! {
        #[test]
        fn adamw_is_its_twin_at_every_level(
            state in prop::collection::vec((-2f32..2.0, -2f32..2.0, -1f32..1.0, 0.01f32..1.0), 0..50),
            has_gradient: bool,
        ) {
            let column = |f: fn(&(f32, f32, f32, f32)) -> f32| state.iter().map(f).collect::<Vec<_>>();
            let gradient = if has_gradient { column(|s| s.0) } else { Vec::new() };
            let expected: Vec<[f64; 3]> = state
                .iter()
                .map(|&(g, p, m, v)| twin(if has_gradient { g } else { 0.0 }, p, m, v))
                .collect();
            let expect = |i: usize| expected.iter().map(|e| e[i]).collect::<Vec<_>>();
            at_every_level(|level| {
                let (mut p, mut m, mut v) = (column(|s| s.1), column(|s| s.2), column(|s| s.3));
                adamw(level, &STEP, &gradient, &mut p, &mut m, &mut v);
                assert_close(&p, &expect(0), 2e-6);
                assert_close(&m, &expect(1), 2e-6);
                assert_close(&v, &expect(2), 2e-6);
            });
        }
    }
}
