//! Token ids to the vectors that the first layer takes: the table of words, and what is done to its rows.

use crate::rows::LayerNorm;
use crate::table::Table;

/// The table of words.
pub(crate) struct Words {
    width: usize,
    /// `[rows, width]`, a row a token unless `rows` says otherwise.
    table: Table,
    /// The row of each token.
    rows: Option<Vec<u32>>,
    /// What each token's row is multiplied by.
    factors: Option<Vec<f32>>,
    finish: Finish,
    /// `[width]` zeros, where a row operation wants a bias and there is none.
    no_bias: Vec<f32>,
}

/// What is done to a token's row.
pub(crate) enum Finish {
    /// Nothing.
    AsTheyAre,
    /// It is normalised.
    Norm(LayerNorm),
    /// The row of the token's place is added, and the sum normalised.
    Places(Positions, LayerNorm),
}

/// The table of positions.
pub(crate) struct Positions {
    /// `[positions, width]`.
    pub(crate) table: Vec<f32>,
    /// RoBERTa's numbering: texts start one row after this id, and a padding token written in a text does not
    /// count. Without it they start at row 0.
    pub(crate) padding: Option<u32>,
}

impl Words {
    /// `table` is `[tokens, width]`.
    pub(crate) fn new(width: usize, table: Table, finish: Finish) -> Self {
        Self { width, table, rows: None, factors: None, finish, no_bias: vec![0.0; width] }
    }

    /// `rows[token]` is a row of the table.
    pub(crate) fn with_rows(self, rows: Vec<u32>) -> Self {
        Self { rows: Some(rows), ..self }
    }

    /// `factors[token]` goes with that row.
    pub(crate) fn with_factors(self, factors: Vec<f32>) -> Self {
        Self { factors: Some(factors), ..self }
    }

    /// Writes the vectors of packed texts to `hidden`, with `places` as scratch.
    ///
    /// # Shapes
    /// `hidden` becomes `[tokens, width]`. Text `i` has the ids `offsets[i]..offsets[i + 1]`.
    pub(crate) fn apply(
        &self,
        ids: &[u32],
        offsets: &[usize],
        hidden: &mut Vec<f32>,
        places: &mut Vec<f32>,
    ) {
        hidden.clear();
        ids.iter().for_each(|&id| self.look_up(id as usize, hidden));
        match &self.finish {
            Finish::AsTheyAre => {}
            Finish::Norm(norm) => norm.normalize(hidden),
            Finish::Places(positions, norm) => {
                places.clear();
                for text in offsets.windows(2) {
                    positions.look_up(&ids[text[0]..text[1]], self.width, places);
                }
                norm.add_and_normalize(hidden, places, &self.no_bias);
            }
        }
    }

    fn look_up(&self, id: usize, hidden: &mut Vec<f32>) {
        let row = self.rows.as_ref().map_or(id, |rows| rows[id] as usize);
        let start = hidden.len();
        self.table.append_row(row, hidden);
        if let Some(factors) = &self.factors {
            hidden[start..].iter_mut().for_each(|x| *x *= factors[id]);
        }
    }
}

impl Positions {
    /// Appends the rows for one text's tokens.
    fn look_up(&self, ids: &[u32], width: usize, places: &mut Vec<f32>) {
        let mut next = self.padding.map_or(0, |padding| padding as usize + 1);
        for &id in ids {
            let row = if self.padding == Some(id) {
                id as usize
            } else {
                next += 1;
                next - 1
            };
            places.extend_from_slice(&self.table[row * width..][..width]);
        }
    }
}
