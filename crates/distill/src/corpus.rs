//! Sentences beyond a batch, to whose targets the batch's vectors are compared.
//!
//! A batch is small beside the text that a search goes through: few of a sentence's nearest neighbours are in it. Those
//! that are not need no pass through the student, because their targets are known; so a thousand of them cost less
//! than one more sentence in the batch. Half are drawn from the topics of the batch, where neighbours are, the rest
//! from everywhere. A function of seed and step alone, so any step can be jumped to.

use std::collections::BTreeSet;

use crate::random::Random;

/// Sentences that may be drawn.
#[derive(Debug)]
pub struct Corpus<'a> {
    /// The topic of each sentence by its number; empty where topics are not told.
    topics: &'a [u32],
    /// The sentences, topic by topic.
    rows: Vec<u32>,
    seed: u64,
}

impl<'a> Corpus<'a> {
    /// Of the sentences `rows`.
    pub fn new(mut rows: Vec<u32>, topics: &'a [u32], seed: u64) -> Self {
        rows.sort_unstable_by_key(|&row| (topics.get(row as usize), row));
        rows.dedup();
        Self { topics, rows, seed }
    }

    /// Up to `count` sentences beyond `batch`, none twice, in the order of their numbers.
    pub fn around(&self, batch: &[u32], step: u64, count: usize) -> Vec<u32> {
        const CORPUS: u64 = 0xc0;
        let mut random = Random::new(self.seed, &[CORPUS, step]);
        let within: BTreeSet<u32> = batch.iter().copied().collect();
        let topic = |row: &u32| self.topics.get(*row as usize);
        let topics: BTreeSet<&u32> = batch.iter().filter_map(topic).collect();
        let mut drawn = BTreeSet::new();
        for (i, wanted) in topics.iter().enumerate() {
            let first = self.rows.partition_point(|row| topic(row) < Some(wanted));
            let end = self.rows.partition_point(|row| topic(row) <= Some(wanted));
            let mut neighbours = self.rows[first..end].to_vec();
            neighbours.retain(|row| !within.contains(row));
            random.shuffle(&mut neighbours);
            let share = count / 2 * (i + 1) / topics.len() - count / 2 * i / topics.len();
            drawn.extend(neighbours.into_iter().take(share));
        }
        // As many tries as are missing: a row that was drawn already is not worth another.
        for _ in drawn.len()..count {
            let Some(&row) = self.rows.get(random.below(self.rows.len())) else { break };
            if !within.contains(&row) {
                drawn.insert(row);
            }
        }
        drawn.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two thousand sentences, of which every tenth is of the same topic.
    fn topics() -> Vec<u32> {
        (0..2000).map(|row| row % 10).collect()
    }

    #[test]
    fn half_are_of_the_batchs_topics_and_none_is_in_the_batch() {
        let topics = topics();
        let corpus = Corpus::new((0..1900).collect(), &topics, 3);
        let batch: Vec<u32> = (0..40).map(|i| 10 * i + i % 2).collect(); // topics 0 and 1
        let drawn = corpus.around(&batch, 5, 200);
        assert!((180..=200).contains(&drawn.len()), "{}", drawn.len());
        assert!(drawn.is_sorted_by(|a, b| a < b));
        assert!(drawn.iter().all(|row| !batch.contains(row) && *row < 1900));
        let near = drawn.iter().filter(|&&row| topics[row as usize] < 2).count();
        assert!((100..140).contains(&near), "{near}");
        assert_eq!(corpus.around(&batch, 5, 200), drawn);
        assert_ne!(corpus.around(&batch, 6, 200), drawn);
    }

    #[test]
    fn small_texts_and_texts_without_topics_give_what_they_have() {
        let topics = topics();
        let few = Corpus::new(vec![7, 3, 7], &topics, 3);
        assert_eq!(few.around(&[3], 0, 100), [7]);
        assert!(Corpus::new(Vec::new(), &topics, 3).around(&[3], 0, 100).is_empty());
        let untold = Corpus::new((0..500).collect(), &[], 3).around(&[3, 4, 900], 0, 100);
        assert!((80..=100).contains(&untold.len()), "{}", untold.len());
    }
}
