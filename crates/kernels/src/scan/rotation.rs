//! A fixed turn of the space before signs are taken.
//!
//! A sign says most when each number of a row carries as much as any other. Embeddings are not so; turned at random they
//! are, and a turn changes no length and no angle. Codes of a store are signs of turned rows and a query is turned like
//! them, so the turn is part of the store's format and never changes:
//!
//! With `p` the greatest power of two that is at most `dim`, a row `x` goes through three rounds of
//! 1. order and signs: `x[j] ← s[j] · x[o[j]]` for all `j` at once;
//! 2. `x[0..p] ← H x[0..p]`;
//! 3. where `p < dim`: signs again, `x[j] ← t[j] · x[j]`, then `x[dim-p..dim] ← H x[dim-p..dim]`.
//!
//! `H` is the Walsh-Hadamard transform of `p` numbers: for `h = 1, 2, 4 … p/2`, each pair `(a, b)` of numbers `h` apart within
//! a block of `2h` becomes `(a + b, a - b)`; then each number is multiplied by the f32 nearest to `1/√p`. All in f32, so
//! every machine turns a row to the same bits.
//!
//! `o`, `s` and `t` come from `SplitMix64` begun with the seed (each draw adds `0x9e3779b97f4a7c15` to the state, wrapping, and
//! mixes `z = state` by `z = (z ^ z >> 30) · 0xbf58476d1ce4e5b9`, `z = (z ^ z >> 27) · 0x94d049bb133111eb`, `z ^ z >> 31`), for each
//! round in this order:
//! - `o` is `0, 1 … dim-1`, of which for `i = dim-1 … 1` entry `i` was swapped with entry `⌊draw · (i+1) / 2^64⌋`;
//! - `s[j]` is -1 where the highest bit of the next draw is set, else 1, for `j = 0, 1 … dim-1`;
//! - `t` likewise, where `p < dim`.
//!
//! # Source
//! Three rounds of signs and Hadamard in place of a random matrix: <https://arxiv.org/abs/1509.02897>, section 5.

use crate::Level;
use crate::kernel::kernel;

/// Rounds of a turn.
const ROUNDS: usize = 3;

/// Rows that are turned together.
const LANES: usize = 16;

/// The turn that the module describes, for rows of one width.
///
/// # Cost
/// Turning a row costs about `3 · dim · log2(dim)` additions.
#[derive(Clone, Debug)]
pub struct Rotation {
    dim: usize,
    rounds: Vec<Round>,
}

#[derive(Clone, Debug)]
struct Round {
    order: Vec<u32>,
    signs: Vec<f32>,
    /// Empty where the transform is as wide as the row.
    second_signs: Vec<f32>,
}

impl Rotation {
    /// The turn that belongs to a seed.
    ///
    /// # Panics
    /// When `dim` is 0.
    pub fn new(dim: usize, seed: u64) -> Self {
        assert!(dim > 0, "rows must have numbers");
        let mut draws = Draws(seed);
        let rounds = (0..ROUNDS).map(|_| Round::new(dim, &mut draws)).collect();
        Self { dim, rounds }
    }

    /// Turns rows.
    ///
    /// # Shapes
    /// - `rows`, `turned`: `[n, dim]`
    ///
    /// # Panics
    /// When they are not whole rows, or not as many.
    pub fn turn(&self, level: Level, rows: &[f32], turned: &mut [f32]) {
        assert!(rows.len().is_multiple_of(self.dim), "rows must be whole");
        assert_eq!(rows.len(), turned.len(), "each row must have its place");
        turn(level.without_avx512(), self, rows, turned);
    }
}

impl Round {
    fn new(dim: usize, draws: &mut Draws) -> Self {
        let mut order: Vec<u32> = (0..dim as u32).collect();
        for i in (1..dim).rev() {
            order.swap(i, draws.below(i as u64 + 1) as usize);
        }
        let signs = draws.signs(dim);
        let second_signs = draws.signs(if dim.is_power_of_two() { 0 } else { dim });
        Self { order, signs, second_signs }
    }
}

/// One number of [`LANES`] rows.
type Lanes = [f32; LANES];

kernel! {
    fn turn(rotation: &Rotation, rows: &[f32], turned: &mut [f32]) {
        let dim = rotation.dim;
        let width = 1 << dim.ilog2();
        // Numbers of the same place in some rows lie side by side, so that any order and any distance is one to vectors.
        let (mut columns, mut before) = (vec![[0.0; LANES]; dim], vec![[0.0; LANES]; dim]);
        for (rows, turned) in rows.chunks(LANES * dim).zip(turned.chunks_mut(LANES * dim)) {
            side_by_side(rows, dim, &mut columns);
            for round in &rotation.rounds {
                std::mem::swap(&mut columns, &mut before);
                for ((x, from), sign) in columns.iter_mut().zip(&round.order).zip(&round.signs) {
                    *x = scaled(&before[*from as usize], *sign);
                }
                hadamard(&mut columns[..width]);
                if width < dim {
                    columns.iter_mut().zip(&round.second_signs).for_each(|(x, sign)| *x = scaled(x, *sign));
                    hadamard(&mut columns[dim - width..]);
                }
            }
            one_by_one(&columns, dim, turned);
        }
    }
}

/// Some rows of [`LANES`] numbers.
type Square = [Lanes; LANES];

/// From rows to columns; where there are fewer rows than lanes, the others become zeros.
#[inline(always)]
fn side_by_side(rows: &[f32], dim: usize, columns: &mut [Lanes]) {
    for (at, columns) in columns.chunks_mut(LANES).enumerate() {
        let mut square = [[0.0; LANES]; LANES];
        for (lanes, row) in square.iter_mut().zip(rows.chunks_exact(dim)) {
            let numbers = &row[at * LANES..];
            match numbers.first_chunk() {
                Some(whole) => *lanes = *whole,
                None => lanes[..numbers.len()].copy_from_slice(numbers),
            }
        }
        transpose(&mut square);
        columns.iter_mut().zip(square).for_each(|(column, lanes)| *column = lanes);
    }
}

/// And back.
#[inline(always)]
fn one_by_one(columns: &[Lanes], dim: usize, rows: &mut [f32]) {
    for (at, columns) in columns.chunks(LANES).enumerate() {
        let mut square = [[0.0; LANES]; LANES];
        square.iter_mut().zip(columns).for_each(|(lanes, column)| *lanes = *column);
        transpose(&mut square);
        for (lanes, row) in square.iter().zip(rows.chunks_exact_mut(dim)) {
            let numbers = &mut row[at * LANES..];
            match numbers.first_chunk_mut() {
                Some(whole) => *whole = *lanes,
                None => numbers.copy_from_slice(&lanes[..numbers.len()]),
            }
        }
    }
}

/// Rows become columns, by shuffles: what compilers make of plain loops stores numbers one by one.
#[inline(always)]
fn transpose(square: &mut Square) {
    // A place has four bits of its row and four of its lane. Each time, the lane's highest bit becomes the row's lowest and
    // the row's highest the lane's lowest; after four times they have changed places.
    for _ in 0..LANES.ilog2() {
        let before = *square;
        for i in 0..LANES / 2 {
            let (a, b) = (&before[i], &before[i + LANES / 2]);
            for lane in 0..LANES / 2 {
                square[2 * i][2 * lane] = a[lane];
                square[2 * i][2 * lane + 1] = b[lane];
                square[2 * i + 1][2 * lane] = a[lane + LANES / 2];
                square[2 * i + 1][2 * lane + 1] = b[lane + LANES / 2];
            }
        }
    }
}

/// The Walsh-Hadamard transform of as many numbers of each row as a power of two.
#[inline(always)]
fn hadamard(numbers: &mut [Lanes]) {
    let mut half = 1;
    while half < numbers.len() {
        for block in numbers.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                for lane in 0..LANES {
                    (a[lane], b[lane]) = (a[lane] + b[lane], a[lane] - b[lane]);
                }
            }
        }
        half *= 2;
    }
    let scale = (1.0 / (numbers.len() as f64).sqrt()) as f32;
    numbers.iter_mut().for_each(|x| *x = scaled(x, scale));
}

/// Each times the same.
#[inline(always)]
fn scaled(numbers: &Lanes, by: f32) -> Lanes {
    let mut product = *numbers;
    for lane in 0..LANES {
        product[lane] *= by;
    }
    product
}

/// `SplitMix64`.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// From 0 to before `end`.
    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    fn signs(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| if self.next() >> 63 == 1 { -1.0 } else { 1.0 }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn length(x: &[f32]) -> f64 {
        product(x, x).sqrt()
    }

    fn product(x: &[f32], y: &[f32]) -> f64 {
        x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    }

    proptest! {
        #[test]
        fn lengths_and_products_stay_and_levels_agree(
            seed: u64,
            (dim, rows) in (1_usize..300).prop_flat_map(|dim| {
                (Just(dim), prop::collection::vec(-1_f32..1.0, 2 * dim))
            }),
        ) {
            let rotation = Rotation::new(dim, seed);
            let mut turned = vec![f32::NAN; 2 * dim];
            rotation.turn(Level::available()[0], &rows, &mut turned);
            let ([x, y], [u, v]) = ([&rows[..dim], &rows[dim..]], [&turned[..dim], &turned[dim..]]);
            let slack = 1e-5 * length(x).max(1e-3) * length(y).max(1e-3);
            prop_assert!((length(x) - length(u)).abs() <= 1e-5 * length(x));
            prop_assert!((product(x, y) - product(u, v)).abs() <= slack);
            for level in Level::available() {
                let mut found = vec![f32::NAN; 2 * dim];
                rotation.turn(level, &rows, &mut found);
                let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(&found), bits(&turned), "{}", level);
            }
        }
    }

    /// One row, step by step as the module says.
    fn turned_by_itself(rotation: &Rotation, row: &[f32]) -> Vec<f32> {
        let width = 1 << rotation.dim.ilog2();
        let transform = |numbers: &mut [f32]| {
            let mut half = 1;
            while half < width {
                for i in (0..width).filter(|i| i & half == 0) {
                    let (a, b) = (numbers[i], numbers[i + half]);
                    (numbers[i], numbers[i + half]) = (a + b, a - b);
                }
                half *= 2;
            }
            let scale = (1.0 / (width as f64).sqrt()) as f32;
            numbers.iter_mut().for_each(|x| *x *= scale);
        };
        let mut turned = row.to_vec();
        for round in &rotation.rounds {
            let before = turned.clone();
            for j in 0..rotation.dim {
                turned[j] = round.signs[j] * before[round.order[j] as usize];
            }
            transform(&mut turned[..width]);
            if width < rotation.dim {
                turned.iter_mut().zip(&round.second_signs).for_each(|(x, sign)| *x *= sign);
                transform(&mut turned[rotation.dim - width..]);
            }
        }
        turned
    }

    proptest! {
        #[test]
        fn a_row_is_turned_alike_alone_and_in_company(
            (dim, rows) in (1_usize..200, 0_usize..40).prop_flat_map(|(dim, n)| {
                (Just(dim), prop::collection::vec(-1_f32..1.0, n * dim))
            }),
        ) {
            let rotation = Rotation::new(dim, 3);
            let expected: Vec<f32> =
                rows.chunks_exact(dim).flat_map(|row| turned_by_itself(&rotation, row)).collect();
            for level in Level::available() {
                let mut turned = vec![f32::NAN; rows.len()];
                rotation.turn(level, &rows, &mut turned);
                let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(&turned), bits(&expected), "{}", level);
            }
        }
    }

    /// Whatever axis a row lies on and whatever its width, no number of it keeps more than a few times its share.
    #[test]
    fn a_row_on_one_axis_is_spread_over_all() {
        for dim in [64, 100, 127, 128, 129, 255, 384, 511, 768] {
            let rotation = Rotation::new(dim, 7);
            for axis in 0..dim {
                let (mut row, mut turned) = (vec![0.0; dim], vec![0.0; dim]);
                row[axis] = 1.0;
                rotation.turn(Level::best(), &row, &mut turned);
                let most = turned.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
                assert!(most < 6.5 / (dim as f32).sqrt(), "{dim} {axis}: {most}");
                let halves = turned.split_at(dim / 2);
                assert!(length(halves.0).min(length(halves.1)) > 0.35, "{dim} {axis}");
            }
        }
    }

    /// Part of a file format: these bits were found when the module was written.
    #[test]
    fn the_turn_of_a_seed_never_changes() {
        let rows: Vec<f32> = (0..12).map(|i| i as f32 - 4.0).collect();
        let turned = |dim: usize| {
            let mut turned = vec![0.0_f32; dim];
            Rotation::new(dim, 42).turn(Level::best(), &rows[..dim], &mut turned);
            turned.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let eight = [
            0x3fb5_04f3,
            0x409e_6454,
            0x4007_c3b5,
            0xbf35_04f4,
            0x3335_04f3,
            0x34b5_04f3,
            0x4035_04f2,
            0xc007_c3b6,
        ];
        assert_eq!(turned(8), eight);
        let twelve = [
            0xc007_3229,
            0x40f2_6452,
            0x4085_8a02,
            0xc027_876d,
            0xc03c_afb1,
            0x4035_413b,
            0xc086_0f10,
            0x4077_c3b4,
            0x4092_39b2,
            0xbf10_7897,
            0xbe89_18bc,
            0xc06a_09e4,
        ];
        assert_eq!(turned(12), twelve);
    }
}
