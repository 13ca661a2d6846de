//! Which sentences are about the same: a coarse division of the training text by the teacher's vectors.
//!
//! Separate from the batches, which only need a number for each sentence. A topic is the neighbourhood of one
//! sentence drawn at random; finer means would cost more and help nothing, since a topic only has to bring
//! sentences together that the teacher finds alike.

use burn::tensor::Tensor;

use crate::random::Random;
use crate::student::normalize;

/// Sentences a topic has on average.
const TOPIC_SIZE: usize = 64;
/// Topics at most, which bounds the time.
const MOST_TOPICS: usize = 4096;
/// Sentences compared with all topics at a time.
const SLICE: usize = 4096;

/// The topic of each of `count` sentences, whose vectors `vectors` gives, `[rows, dim]`.
///
/// # Cost
/// `count · min(count / 64, 4096) · dim` multiplications: some seconds for a million sentences.
pub fn topics(count: usize, seed: u64, vectors: &dyn Fn(&[u32]) -> Tensor<2>) -> Vec<u32> {
    const TOPICS: u64 = 0x70;
    let mut rows: Vec<u32> = (0..count as u32).collect();
    Random::new(seed, &[TOPICS]).shuffle(&mut rows);
    rows.truncate((count / TOPIC_SIZE).clamp(1, MOST_TOPICS));
    let middles = normalize(vectors(&rows)).transpose(); // [dim, topics]
    let all: Vec<u32> = (0..count as u32).collect();
    let nearest = |rows| vectors(rows).matmul(middles.clone()).argmax(1).into_data();
    let topics = all.chunks(SLICE).flat_map(|rows| nearest(rows).iter::<u32>().collect::<Vec<_>>());
    topics.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn sentences_that_point_the_same_way_share_a_topic() {
        // Ten directions in a thousand sentences; row i points to i mod 10. Lengths are powers of two, so that
        // the numbers of one direction are the same but for their exponents.
        let vectors = |rows: &[u32]| {
            let numbers = rows.iter().flat_map(|&row| {
                let angle = (row % 10) as f32 * 0.6;
                let length = (1 << (row % 7)) as f32;
                [length * angle.cos(), length * angle.sin()]
            });
            let data = TensorData::new(numbers.collect::<Vec<f32>>(), [rows.len(), 2]);
            Tensor::from_data(data, &Device::flex())
        };
        let topics = topics(1000, 7, &vectors);
        assert_eq!(topics.len(), 1000);
        assert!((0..1000).all(|i| topics[i] == topics[i % 10]));
        assert!((0..10).any(|i| topics[i] != topics[0]));
    }
}
