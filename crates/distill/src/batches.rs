//! Which sentences meet in which step: a function of seed and epoch alone, so any step can be jumped to.

use crate::random::Random;
use crate::recipe::Order;

/// Sentences the released code draws and shuffles at a time.
const WINDOW: usize = 100;
/// Batches whose sentences are sorted by length together: few enough that batches differ between epochs.
const BUCKET_BATCHES: usize = 50;

/// How batches are made.
#[derive(Clone, Copy, Debug)]
pub struct Batches {
    /// How sentences come together.
    pub order: Order,
    /// Sentences in a batch; the last of an epoch may have fewer.
    pub size: usize,
    /// Sentences of one topic that stay together, for [`Order::Topics`].
    pub topic_group: usize,
    /// Where the randomness comes from.
    pub seed: u64,
}

impl Batches {
    /// The batches of an epoch over the sentences `rows`, where `key` gives what the order goes by: a sentence's
    /// tokens for [`Order::LengthBuckets`], its topic for [`Order::Topics`].
    pub fn epoch(&self, epoch: usize, rows: Vec<u32>, key: impl Fn(u32) -> usize) -> Vec<Vec<u32>> {
        const BATCHES: u64 = 0xba;
        let mut random = Random::new(self.seed, &[BATCHES, epoch as u64]);
        match self.order {
            Order::LengthBuckets => self.length_buckets(rows, key, &mut random),
            Order::Topics => self.topics(rows, key, &mut random),
            Order::Shuffled => self.shuffled(rows, &mut random),
            Order::Windows => self.windows(rows, epoch, &mut random),
        }
    }

    fn length_buckets(
        &self,
        mut rows: Vec<u32>,
        length: impl Fn(u32) -> usize,
        random: &mut Random,
    ) -> Vec<Vec<u32>> {
        random.shuffle(&mut rows);
        for bucket in rows.chunks_mut(self.size * BUCKET_BATCHES) {
            bucket.sort_by_key(|&row| length(row)); // stable: equal lengths stay in random order
        }
        let mut batches = self.cut(&rows);
        random.shuffle(&mut batches);
        batches
    }

    fn topics(
        &self,
        mut rows: Vec<u32>,
        topic: impl Fn(u32) -> usize,
        random: &mut Random,
    ) -> Vec<Vec<u32>> {
        random.shuffle(&mut rows);
        rows.sort_by_key(|&row| topic(row)); // stable: within a topic in random order
        let mut groups: Vec<&[u32]> = rows.chunks(self.topic_group).collect();
        random.shuffle(&mut groups);
        self.cut(&groups.concat())
    }

    fn shuffled(&self, mut rows: Vec<u32>, random: &mut Random) -> Vec<Vec<u32>> {
        random.shuffle(&mut rows);
        self.cut(&rows)
    }

    fn windows(&self, mut rows: Vec<u32>, epoch: usize, random: &mut Random) -> Vec<Vec<u32>> {
        if epoch > 0 {
            random.shuffle(&mut rows);
        }
        for window in rows.chunks_mut(WINDOW) {
            random.shuffle(window);
        }
        self.cut(&rows)
    }

    fn cut(&self, rows: &[u32]) -> Vec<Vec<u32>> {
        rows.chunks(self.size).map(<[u32]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn length(row: u32) -> usize {
        3 + (row as usize * 37) % 60
    }

    proptest! {
        #[test]
        fn every_sentence_comes_once_and_the_same_seed_gives_the_same_batches(
            count in 0u32..5000, size in 1usize..70, seed: u64, epoch in 0usize..3,
            order in prop_oneof![
                Just(Order::LengthBuckets), Just(Order::Topics), Just(Order::Shuffled), Just(Order::Windows)
            ],
            topic_group in 1usize..40,
        ) {
            let batches = Batches { order, size, topic_group, seed };
            let made = batches.epoch(epoch, (0..count).collect(), length);
            prop_assert_eq!(&made, &batches.epoch(epoch, (0..count).collect(), length));
            prop_assert_eq!(made.len(), (count as usize).div_ceil(size));
            let mut rows: Vec<u32> = made.concat();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn length_buckets_keep_padding_small() {
        let batches = Batches { order: Order::LengthBuckets, size: 32, topic_group: 1, seed: 1 };
        let made = batches.epoch(0, (0..5000).collect(), length);
        let longest = |batch: &Vec<u32>| batch.iter().map(|&row| length(row)).max().unwrap_or(0);
        let padded: usize = made.iter().map(|batch| batch.len() * longest(batch)).sum();
        let tokens: usize = (0..5000).map(length).sum();
        assert!((padded as f64) < 1.1 * tokens as f64, "{padded} for {tokens}");
    }

    #[test]
    fn a_batch_of_topics_holds_several_and_most_of_their_sentences_have_company() {
        let batches = Batches { order: Order::Topics, size: 64, topic_group: 16, seed: 1 };
        let topic = |row: u32| row as usize % 100;
        for batch in &batches.epoch(0, (0..6400).collect(), topic)[1..] {
            let mut counts = std::collections::BTreeMap::<usize, usize>::new();
            batch.iter().for_each(|&row| *counts.entry(topic(row)).or_default() += 1);
            assert!((3..=4).contains(&counts.len()), "{counts:?}");
            assert!(counts.values().all(|&count| count >= 16), "{counts:?}");
        }
    }

    #[test]
    fn windows_stay_near_the_list_in_the_first_epoch_only() {
        let batches = Batches { order: Order::Windows, size: 50, topic_group: 1, seed: 1 };
        let near = |epoch| {
            let rows = batches.epoch(epoch, (0..1000).collect(), length).concat();
            rows.iter().enumerate().all(|(i, &row)| i / WINDOW == row as usize / WINDOW)
        };
        assert!(near(0) && !near(1));
    }
}
