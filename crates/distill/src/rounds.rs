//! What a step takes beside its sentences: all of a list in random order, then all of it in another.
//!
//! Separate from the batches because it knows no epochs: a list may be longer or shorter than the sentences, and each of
//! its items comes as often as any other. A function of seed and step alone, so any step can be jumped to.

use crate::random::Random;

/// What is dealt out, to keep the draws of one list apart from those of another.
#[derive(Clone, Copy, Debug)]
pub enum Of {
    /// [`crate::triplets`].
    Triplets = 0x3a,
    /// [`crate::paraphrases`].
    Paraphrases = 0x9a,
}

/// Items in rounds.
#[derive(Debug)]
pub struct Rounds<'a, T> {
    items: &'a [T],
    of: Of,
    seed: u64,
    round: Option<usize>,
    order: Vec<u32>,
}

impl<'a, T: Copy> Rounds<'a, T> {
    /// Of these.
    pub fn new(items: &'a [T], of: Of, seed: u64) -> Self {
        Self { items, of, seed, round: None, order: Vec::new() }
    }

    /// The `count` items of `step`; none when there are none.
    pub fn of_step(&mut self, step: u64, count: usize) -> Vec<T> {
        let places = if self.items.is_empty() { 0 } else { count };
        let first = step as usize * count;
        (first..first + places).map(|place| self.at(place)).collect()
    }

    fn at(&mut self, place: usize) -> T {
        let round = place / self.items.len();
        if self.round != Some(round) {
            self.order = (0..self.items.len() as u32).collect();
            Random::new(self.seed, &[self.of as u64, round as u64]).shuffle(&mut self.order);
            self.round = Some(round);
        }
        self.items[self.order[place % self.items.len()] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_comes_once_in_a_round_and_any_step_can_be_jumped_to() {
        let items: Vec<u32> = (0..10).collect();
        let rounds = |of, seed| Rounds::new(&items, of, seed);
        let mut dealt = rounds(Of::Triplets, 3);
        let steps: Vec<Vec<u32>> = (0..10).map(|step| dealt.of_step(step, 4)).collect();
        for round in steps.concat().chunks(10) {
            let mut all = round.to_vec();
            all.sort_unstable();
            assert_eq!(all, items);
        }
        assert_eq!(rounds(Of::Triplets, 3).of_step(7, 4), steps[7]);
        assert_ne!(rounds(Of::Triplets, 4).of_step(7, 4), steps[7]);
        assert_ne!(rounds(Of::Paraphrases, 3).of_step(7, 4), steps[7]);
        assert!(Rounds::<u32>::new(&[], Of::Triplets, 3).of_step(7, 4).is_empty());
    }
}
