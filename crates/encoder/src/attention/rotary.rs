//! Rotary positions (Su et al. 2021, arXiv 2104.09864): queries and keys are rotated by angles that grow with the
//! token's place, so that their products depend on the distance between them.

/// Cosines and sines of all places.
pub(crate) struct Rotary {
    /// `[positions, half]`.
    cosines: Vec<f32>,
    /// `[positions, half]`.
    sines: Vec<f32>,
    /// Half of a head's width: number `i` is rotated together with number `i + half`.
    half: usize,
}

impl Rotary {
    /// For heads of an even width. Pair `i` turns by `theta` to the power of `-2i / head_size` from place to place.
    pub(crate) fn new(theta: f64, head_size: usize, positions: usize) -> Self {
        let half = head_size / 2;
        // Rounded where transformers rounds: at far places half a bit of the product is a visible angle.
        let turns: Vec<f32> =
            (0..half).map(|i| 1.0 / theta.powf((2 * i) as f64 / head_size as f64) as f32).collect();
        let angles =
            (0..positions).flat_map(|place| turns.iter().map(move |turn| place as f32 * turn));
        let (sines, cosines) = angles
            .map(|angle| f64::from(angle).sin_cos())
            .map(|(sine, cosine)| (sine as f32, cosine as f32))
            .unzip();
        Self { cosines, sines, half }
    }

    /// Rotates the queries and keys of packed texts, each text from place 0.
    ///
    /// # Shapes
    /// `qkv` is `[tokens, 3 · width]`, as attention takes it.
    pub(crate) fn rotate(&self, qkv: &mut [f32], offsets: &[usize], heads: usize) {
        let width = 2 * self.half * heads;
        for text in offsets.windows(2) {
            let rows = qkv[3 * width * text[0]..3 * width * text[1]].chunks_exact_mut(3 * width);
            for (place, row) in rows.enumerate() {
                row[..2 * width]
                    .chunks_exact_mut(2 * self.half)
                    .for_each(|head| self.rotate_head(head, place));
            }
        }
    }

    fn rotate_head(&self, head: &mut [f32], place: usize) {
        let angles = place * self.half..(place + 1) * self.half;
        let (cosines, sines) = (&self.cosines[angles.clone()], &self.sines[angles]);
        let (first, second) = head.split_at_mut(self.half);
        for ((a, b), (cosine, sine)) in first.iter_mut().zip(second).zip(cosines.iter().zip(sines))
        {
            (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_depend_on_the_distance_alone() {
        let rotary = Rotary::new(100.0, 6, 40);
        let at = |head: [f32; 6], place| {
            let mut head = head;
            rotary.rotate_head(&mut head, place);
            head
        };
        let (a, b) = ([0.3, -1.0, 0.5, 2.0, 0.1, -0.7], [1.0, 0.2, -0.4, 0.9, -1.3, 0.6]);
        let product = |i, j| -> f32 { at(a, i).iter().zip(at(b, j)).map(|(x, y)| x * y).sum() };
        for place in 0..30 {
            assert!((product(place, place + 5) - product(0, 5)).abs() < 1e-5);
        }
        assert!((product(0, 5) - product(5, 0)).abs() > 1e-2);
    }

    #[test]
    fn every_text_begins_at_place_zero_and_values_stay() {
        let rotary = Rotary::new(10.0, 2, 4);
        let row = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0];
        let mut qkv = row.repeat(3);
        rotary.rotate(&mut qkv, &[0, 2, 2, 3], 1);
        let turned = [1_f32.cos(), 1_f32.sin(), 1_f32.cos(), 1_f32.sin(), 1.0, 0.0];
        assert_eq!((&qkv[..6], &qkv[12..]), (&row[..], &row[..]));
        assert!(
            qkv[6..12].iter().zip(turned).all(|(found, expected)| (found - expected).abs() < 1e-6)
        );
    }
}
