//! Minimises a smooth function of many numbers from its values and gradients alone (limited-memory BFGS).
//!
//! Apart from what it minimises, because the method is the same for any function and is tested on ones whose
//! minimum is known. Nothing is drawn at random: the same function gives the same answer.

use std::collections::VecDeque;

/// Pairs of steps and gradient changes that the curvature is guessed from.
const MEMORY: usize = 10;
/// Of the fall that the slope promises, a step must keep this share.
const SUFFICIENT: f64 = 1e-4;
/// A step is halved at most so often before the search gives up: then rounding hides the slope.
const HALVINGS: usize = 30;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    /// When no number of the gradient is larger than this, up to its sign.
    pub(crate) gradient: f64,
    /// After so many steps.
    pub(crate) steps: usize,
}

/// Goes downhill from `x`; `function` gives the value at a point and writes the gradient there.
///
/// # Source
/// Nocedal and Wright, "Numerical Optimization", 2nd edition, algorithms 7.4 and 7.5, with a backtracking search.
pub(crate) fn minimise(
    mut x: Vec<f64>,
    stop: Stop,
    mut function: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Vec<f64> {
    let mut gradient = vec![0.0; x.len()];
    let mut value = function(&x, &mut gradient);
    let mut memory = Memory::default();
    let (mut next, mut next_gradient) = (x.clone(), gradient.clone());
    for _ in 0..stop.steps {
        if gradient.iter().all(|slope| slope.abs() <= stop.gradient) {
            break;
        }
        let direction = memory.direction(&gradient);
        let slope = dot(&direction, &gradient);
        // Before anything is known of the curvature, a step of length 1.
        let mut length =
            if memory.pairs.is_empty() { 1.0 / dot(&gradient, &gradient).sqrt() } else { 1.0 };
        let found = (0..HALVINGS).any(|_| {
            for ((next, x), direction) in next.iter_mut().zip(&x).zip(&direction) {
                *next = x + length * direction;
            }
            let next_value = function(&next, &mut next_gradient);
            let fell = next_value <= value + SUFFICIENT * length * slope;
            if fell {
                value = next_value;
            }
            length /= 2.0;
            fell
        });
        if !found {
            break;
        }
        memory.remember(difference(&next, &x), difference(&next_gradient, &gradient));
        std::mem::swap(&mut x, &mut next);
        std::mem::swap(&mut gradient, &mut next_gradient);
    }
    x
}

/// What the last steps told of the curvature, oldest first.
#[derive(Default)]
struct Memory {
    pairs: VecDeque<Pair>,
}

struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// `step · change`, larger than 0.
    product: f64,
}

impl Memory {
    /// Keeps a step and the change of the gradient along it, if the function curves upwards there.
    fn remember(&mut self, step: Vec<f64>, change: Vec<f64>) {
        let product = dot(&step, &change);
        if product <= f64::EPSILON * dot(&change, &change) {
            return;
        }
        if self.pairs.len() == MEMORY {
            self.pairs.pop_front();
        }
        self.pairs.push_back(Pair { step, change, product });
    }

    /// Minus the gradient times the guessed inverse of the curvature.
    fn direction(&self, gradient: &[f64]) -> Vec<f64> {
        let mut direction: Vec<f64> = gradient.iter().map(|slope| -slope).collect();
        let mut shares = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let share = dot(&pair.step, &direction) / pair.product;
            add(&mut direction, -share, &pair.change);
            shares.push(share);
        }
        if let Some(last) = self.pairs.back() {
            let scale = last.product / dot(&last.change, &last.change);
            direction.iter_mut().for_each(|number| *number *= scale);
        }
        for (pair, share) in self.pairs.iter().zip(shares.into_iter().rev()) {
            let back = dot(&pair.change, &direction) / pair.product;
            add(&mut direction, share - back, &pair.step);
        }
        direction
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += factor * what);
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: Stop = Stop { gradient: 1e-9, steps: 500 };

    #[test]
    fn a_stretched_bowl_is_minimised_at_its_bottom() {
        let bowl = |x: &[f64], gradient: &mut [f64]| {
            let mut value = 0.0;
            for (i, (x, slope)) in x.iter().zip(gradient).enumerate() {
                let (stretch, bottom) = (1.0 + 10.0 * i as f64, i as f64 / 3.0);
                value += stretch * (x - bottom).powi(2) / 2.0;
                *slope = stretch * (x - bottom);
            }
            value
        };
        let found = minimise(vec![5.0; 20], STOP, bowl);
        for (i, number) in found.iter().enumerate() {
            assert!((number - i as f64 / 3.0).abs() < 1e-8, "{i}: {number}");
        }
    }

    /// Rosenbrock's function: a bent valley, whose minimum is 0 at (1, 1).
    #[test]
    fn a_bent_valley_is_followed_to_its_end() {
        let valley = |x: &[f64], gradient: &mut [f64]| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            gradient[0] = -2.0 * a - 400.0 * x[0] * b;
            gradient[1] = 200.0 * b;
            a * a + 100.0 * b * b
        };
        let found = minimise(vec![-1.2, 1.0], STOP, valley);
        assert!(found.iter().all(|number| (number - 1.0).abs() < 1e-6), "{found:?}");
    }

    #[test]
    fn a_minimum_stays_where_it_is_and_a_plain_slope_ends_after_the_steps_allowed() {
        let flat = |_: &[f64], gradient: &mut [f64]| {
            gradient.fill(0.0);
            1.0
        };
        assert_eq!(minimise(vec![3.0], STOP, flat), [3.0]);
        let slope = |x: &[f64], gradient: &mut [f64]| {
            gradient[0] = 1.0;
            x[0]
        };
        let stop = Stop { steps: 5, ..STOP };
        assert!(minimise(vec![0.0], stop, slope)[0] < 0.0);
    }
}
