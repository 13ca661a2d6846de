//! The running mean of a student's weights over its steps, which is steadier than where the last step left them.
//!
//! Kept on the host by name, apart from the student that is trained, and brought up to date every few steps: at the
//! pace at which weights move that loses nothing, and costs a copy of the student now and then instead of every step.

use std::collections::BTreeMap;

use hpd_files::{Error, Result};
use rayon::prelude::*;

use crate::student::Student;

/// Steps between two looks at the weights.
const EVERY: u64 = 10;

/// An exponential mean, corrected for having begun at the first look.
///
/// # Source
/// Polyak and Juditsky 1992; the correction is that of Adam's moments (Kingma and Ba 2015, §3).
#[derive(Clone, Debug)]
pub struct Average {
    decay: f64,
    tensors: BTreeMap<String, Vec<f32>>,
}

impl Average {
    /// The mean of which `decay` stays from step to step, as `tensors` had it; `None` where nothing stays, so that
    /// the weights themselves would be their mean.
    pub fn resumed(decay: f64, tensors: BTreeMap<String, Vec<f32>>) -> Option<Self> {
        (decay > 0.0).then_some(Self { decay, tensors })
    }

    /// Looks at the student after `step` steps, if it is time to or that was the `last`.
    pub fn look(&mut self, student: &Student, step: u64, last: bool) {
        if !step.is_multiple_of(EVERY) && !last {
            return;
        }
        let since = (step - 1) % EVERY + 1;
        let stays = |steps: u64| self.decay.powf(steps as f64);
        let share = ((1.0 - stays(since)) / (1.0 - stays(step))) as f32;
        for tensor in student.tensors() {
            match self.tensors.get_mut(&tensor.name) {
                Some(mean) => {
                    mean.par_iter_mut()
                        .zip(&tensor.data)
                        .for_each(|(mean, x)| *mean += share * (x - *mean));
                }
                None => drop(self.tensors.insert(tensor.name, tensor.data)),
            }
        }
    }

    /// The mean, as a student in the shape of `student`; `student` itself before the first look.
    ///
    /// # Errors
    /// When the mean, read from a checkpoint, is of another shape.
    pub fn student(&self, student: &Student) -> Result<Student> {
        if self.tensors.is_empty() {
            return Ok(student.clone());
        }
        student.reload(&mut |name, shape| match self.tensors.get(name) {
            Some(mean) if mean.len() == shape.iter().product::<usize>() => Ok(mean.clone()),
            found => Err(Error::model(format!(
                "the mean of `{name}` has {} numbers, expected the shape {shape:?}",
                found.map_or(0, Vec::len)
            ))
            .hint("begin again with --overwrite")),
        })
    }

    /// The mean by the tensors' names.
    pub fn tensors(&self) -> &BTreeMap<String, Vec<f32>> {
        &self.tensors
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use hpd_encoder::{EncoderConfig, ModelType};

    use super::*;
    use crate::recipe::Activation;
    use crate::student::HeadShape;

    /// A static student whose numbers are all `number`.
    fn student(number: f32) -> Student {
        let config = EncoderConfig {
            model_type: ModelType::StaticEmbedding,
            hidden_size: 3,
            num_hidden_layers: 0,
            num_attention_heads: 0,
            intermediate_size: 0,
            vocab_size: 4,
            max_position_embeddings: usize::MAX,
            type_vocab_size: 0,
            layer_norm_eps: 1e-5,
            hidden_act: hpd_encoder::Activation::Gelu,
            pad_token_id: 0,
        };
        let head =
            HeadShape { dim: 2, bias: false, activation: Activation::Identity, normalize: true };
        let (words, weight) = ([number; 12], [number; 6]);
        Student::from_table(config, &words, head, Some(&weight), 1, &Device::flex()).unwrap()
    }

    #[test]
    fn it_is_the_mean_with_shares_that_fall_with_age() {
        let decay: f64 = 0.98;
        let numbers = [1.0f32, -2.0, 4.0, 0.5];
        let steps = [10u64, 20, 30, 34]; // the last one, which comes early
        let mut average = Average::resumed(decay, BTreeMap::new()).unwrap();
        let (mut sum, mut shares, mut before) = (0.0, 0.0, 0);
        for (number, step) in numbers.into_iter().zip(steps) {
            average.look(&student(9.0), step - 1, false); // between two looks
            average.look(&student(number), step, step == 34);
            // All steps since the last look count as this one.
            let faded = decay.powf((step - before) as f64);
            (sum, shares) =
                (sum * faded + (1.0 - faded) * f64::from(number), shares * faded + 1.0 - faded);
            before = step;
            let mean = average.student(&student(0.0)).unwrap();
            let all = mean.tensors().into_iter().flat_map(|tensor| tensor.data);
            assert!(all.into_iter().all(|x| (f64::from(x) - sum / shares).abs() < 1e-6));
        }
    }

    #[test]
    fn without_a_decay_there_is_none_and_a_foreign_one_is_refused() {
        assert!(Average::resumed(0.0, BTreeMap::new()).is_none());
        let foreign = BTreeMap::from([("head.weight".to_owned(), vec![0.0; 5])]);
        let average = Average::resumed(0.9, foreign).unwrap();
        assert!(average.student(&student(1.0)).is_err());
    }
}
