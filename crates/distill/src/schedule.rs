//! The learning rate over time.

use crate::recipe::ScheduleRecipe;

/// Up from 0 in a line, down to 0 in a line.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    peak: f64,
    warmup: u64,
    steps: u64,
}

impl Schedule {
    /// For a run of `steps` steps.
    pub fn new(recipe: &ScheduleRecipe, steps: u64) -> Self {
        let share = (recipe.warmup_ratio * steps as f64).ceil() as u64;
        let warmup = if recipe.warmup_steps > 0 { recipe.warmup_steps as u64 } else { share };
        Self { peak: recipe.learning_rate, warmup, steps }
    }

    /// The rate of step `step`, counted from 0.
    ///
    /// The first step has rate 0, as in transformers' `get_linear_schedule_with_warmup`: it only fills the moments.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * step as f64 / self.warmup as f64;
        }
        let left = self.steps.saturating_sub(step) as f64;
        self.peak * left / self.steps.saturating_sub(self.warmup).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(warmup_ratio: f64, warmup_steps: usize) -> Schedule {
        Schedule::new(&ScheduleRecipe { learning_rate: 2.0, warmup_ratio, warmup_steps }, 100)
    }

    #[test]
    fn rises_to_the_peak_and_falls_towards_zero() {
        for schedule in [schedule(0.2, 0), schedule(0.0, 20)] {
            assert_eq!(
                [0, 10, 20, 60, 99, 100].map(|step| schedule.rate(step)),
                [0.0, 1.0, 2.0, 1.0, 0.025, 0.0]
            );
        }
    }

    #[test]
    fn a_run_shorter_than_its_warm_up_only_rises() {
        let schedule = schedule(0.0, 1000);
        assert!((0..100).all(|step| schedule.rate(step) == 2.0 * step as f64 / 1000.0));
        assert_eq!(self::schedule(0.0, 0).rate(0), 2.0);
    }
}
