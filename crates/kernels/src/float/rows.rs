//! The left factor: rows in any order in memory that the product can read.

use super::form::{alone, bfloat16};
use super::{Form, Numbers, Panels, View};
use crate::Level;
use crate::columns::COLUMNS;
use crate::kernel::kernel;

/// Memory for left factors that cannot be read as they are; kept from product to product.
#[derive(Clone, Debug, Default)]
pub struct RowScratch {
    rounded: Rounded,
    packed: Panels,
}

/// Rows in the numbers of a product.
#[derive(Clone, Debug, Default)]
struct Rounded {
    words: Vec<u32>,
    form: Form,
    width: usize,
}

impl RowScratch {
    /// A left factor, `[n, depth]`, for products at `level`: where it lies if it can be read there, else copied.
    pub fn rows<'a>(&'a mut self, level: Level, numbers: Numbers, factor: View<'a>) -> Rows<'a> {
        let [count, depth] = factor.shape();
        match (factor.whole(), Form::of(level, numbers)) {
            (Some(rows), Form::Float) => {
                let (words, layout) = (Words::Floats(rows), Layout::Rows);
                Rows { words, form: Form::Float, depth, count, layout }
            }
            (Some(rows), form) => {
                self.rounded.fill(level, form, rows, depth);
                let (words, layout) = (Words::Words(&self.rounded.words), Layout::Rows);
                Rows { words, form, depth, count, layout }
            }
            (None, form) => {
                self.packed.fill(level, numbers, factor.transposed());
                let (words, layout) = (Words::Words(&self.packed.words), Layout::Panels);
                Rows { words, form, depth, count, layout }
            }
        }
    }
}

impl Rounded {
    fn fill(&mut self, level: Level, form: Form, rows: &[f32], width: usize) {
        (self.form, self.width) = (form, width);
        self.words.resize(rows.len() / width * form.words(width), 0);
        round(level, rows, self);
    }
}

kernel! {
    fn round(rows: &[f32], output: &mut Rounded) {
        let (width, form) = (output.width, output.form);
        let rows = rows.chunks_exact(width);
        for (row, words) in rows.zip(output.words.chunks_exact_mut(form.words(width))) {
            match form {
                Form::Float => words.iter_mut().zip(row).for_each(|(word, x)| *word = alone::<false>(*x)),
                Form::RoundedFloat => words.iter_mut().zip(row).for_each(|(word, x)| *word = alone::<true>(*x)),
                Form::Pair => {
                    let (pairs, last) = row.as_chunks::<2>();
                    for (word, [x, y]) in words.iter_mut().zip(pairs) {
                        *word = bfloat16(*x) | bfloat16(*y) << 16;
                    }
                    if let Some(x) = last.first() {
                        words[pairs.len()] = bfloat16(*x);
                    }
                }
            }
        }
    }
}

/// Rows of a left factor, `[count, depth]`.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    pub(super) words: Words<'a>,
    pub(super) form: Form,
    pub(super) depth: usize,
    pub(super) count: usize,
    layout: Layout,
}

/// Words of either origin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Words<'a> {
    Floats(&'a [f32]),
    Words(&'a [u32]),
}

#[derive(Clone, Copy, Debug)]
enum Layout {
    /// Row after row.
    Rows,
    /// A panel for each 16 rows.
    Panels,
}

impl<'a> Rows<'a> {
    /// Words along the sum.
    pub(super) fn steps(&self) -> usize {
        self.form.words(self.depth)
    }

    /// Rows that a tile may not reach beyond, from a multiple of them on.
    #[inline(always)]
    pub(super) fn together(&self) -> usize {
        match self.layout {
            Layout::Rows => usize::MAX,
            Layout::Panels => COLUMNS,
        }
    }

    /// The rows from `first` on, which is within the same [`Rows::together`] as all that are read of it.
    #[inline(always)]
    pub(super) fn from(&self, first: usize) -> Steps<'a> {
        let steps = self.steps();
        let (start, row, step) = match self.layout {
            Layout::Rows => (first * steps, steps, 1),
            Layout::Panels => (first / COLUMNS * COLUMNS * steps + first % COLUMNS, 1, COLUMNS),
        };
        // Empty sums have no words, wherever the row would begin.
        let words = match self.words {
            Words::Floats(floats) => Words::Floats(&floats[start.min(floats.len())..]),
            Words::Words(words) => Words::Words(&words[start.min(words.len())..]),
        };
        Steps { words, row, step }
    }
}

/// A few rows as a tile reads them: word `k` of row `r` is `words[r · row + k · step]`.
#[derive(Clone, Copy)]
pub(super) struct Steps<'a> {
    pub(super) words: Words<'a>,
    pub(super) row: usize,
    pub(super) step: usize,
}

impl Steps<'_> {
    /// Where the words begin and how many there are.
    #[inline(always)]
    pub(super) fn raw(&self) -> (*const u32, usize) {
        match self.words {
            Words::Floats(floats) => (floats.as_ptr().cast(), floats.len()),
            Words::Words(words) => (words.as_ptr(), words.len()),
        }
    }

    #[inline(always)]
    pub(super) fn float(&self, row: usize, step: usize) -> f32 {
        let at = row * self.row + step * self.step;
        match self.words {
            Words::Floats(floats) => floats[at],
            Words::Words(words) => f32::from_bits(words[at]),
        }
    }
}
