//! What four bits of a row count together, for every four and each of their 16 values: what the look-ups look up.

/// Bytes of a row that are looked up together.
pub(super) const BYTES: usize = 16;

/// Bytes whose entries lie side by side, as AVX-512 reads them.
pub(super) const SIDE_BY_SIDE: usize = 4;

/// What [`SIDE_BY_SIDE`] bytes count: by their lower halves, then by their upper ones, 16 entries for each byte.
pub(super) type Entries = [[u8; 16 * SIDE_BY_SIDE]; 2];

/// What each byte of a row counts, `[⌈dim / 128⌉, BYTES / SIDE_BY_SIDE]`.
#[derive(Clone, Debug)]
pub(super) struct Table(pub(super) Vec<[Entries; BYTES / SIDE_BY_SIDE]>);

impl Table {
    /// From each number's grade, 31 at most: a bit that is set counts what is missing from 31.
    pub(super) fn new(grades: &[u8]) -> Self {
        let count = |grades: &[u8], bits: usize| {
            let one =
                |(i, grade): (usize, &u8)| if bits >> i & 1 == 1 { 31 - grade } else { *grade };
            grades.iter().enumerate().map(one).sum()
        };
        let half = |byte: usize, upper: usize, bits: usize| {
            let at = 8 * byte + 4 * upper;
            count(&grades[at.min(grades.len())..(at + 4).min(grades.len())], bits)
        };
        let entries = |first: usize| {
            let of_half =
                |upper| std::array::from_fn(|entry| half(first + entry / 16, upper, entry % 16));
            [of_half(0), of_half(1)]
        };
        let piece = |piece: usize| {
            std::array::from_fn(|column| entries(piece * BYTES + column * SIDE_BY_SIDE))
        };
        Self((0..grades.len().div_ceil(8 * BYTES)).map(piece).collect())
    }
}
