//! A set of rows as a bitmap, so that a scan asks one bit for each row.

/// Rows of a store: one bit for each, up to the last that is in the set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowSet {
    words: Vec<u64>,
}

impl RowSet {
    /// Puts a row in.
    ///
    /// # Cost
    /// The bitmap grows to `row / 8` bytes.
    pub fn insert(&mut self, row: u64) {
        let (word, bit) = place(row);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
    }

    /// Whether a row is in the set.
    pub fn contains(&self, row: u64) -> bool {
        let (word, bit) = place(row);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// How many rows are in the set.
    pub fn len(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether no row is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }
}

impl FromIterator<u64> for RowSet {
    fn from_iter<I: IntoIterator<Item = u64>>(rows: I) -> Self {
        let mut set = Self::default();
        rows.into_iter().for_each(|row| set.insert(row));
        set
    }
}

fn place(row: u64) -> (usize, u64) {
    // A row too large for memory ends past every bitmap.
    (usize::try_from(row / 64).unwrap_or(usize::MAX), 1 << (row % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn holds_what_a_tree_of_rows_holds(rows in prop::collection::btree_set(0u64..500, 0..40)) {
            let set: RowSet = rows.iter().copied().collect();
            prop_assert_eq!(set.len(), rows.len() as u64);
            prop_assert_eq!(set.is_empty(), rows.is_empty());
            let held: BTreeSet<u64> = (0..600).filter(|row| set.contains(*row)).collect();
            prop_assert_eq!(held, rows);
            prop_assert!(!set.contains(u64::MAX));
        }
    }
}
