//! How codes lie in their file: a header, then blocks of as many rows each, all numbers little-endian.
//!
//! Whole blocks are only ever appended and never changed, so the file needs no other place that says how long it
//! is, and a map of its beginning stays what it is. A block's header says up to which [`Moment`] of the
//! database it has all rows, and carries what holds for all blocks up to it, so that opening looks at the last one alone.
//!
//! ```text
//! file    header · block · block · …
//! block   header · rows u64[n] · signs u64[n, dim/64] · scales f32[n] · bytes i8[n, dim]
//!                  └──────────── coarse ─────────┘ └─────────── fine ───────────┘
//! ```

use bytemuck::{cast_slice, cast_slice_mut};
use hpd_files::Fingerprint;
use hpd_kernels::scan::{BitRows, ByteRows, Rotation, encode_bits, encode_bytes, words_of};
use hpd_kernels::{Level, dot};

use crate::checksum;
use crate::schema::Moment;

/// "HPDCODES".
const MAGIC: u64 = u64::from_le_bytes(*b"HPDCODES");

/// Changes whenever the bytes would mean something else; files of another version are made anew.
const VERSION: u64 = 1;

/// Numbers in a header, of the file or of a block; the last two are the checksum of those before them.
const HEADER_WORDS: usize = 16;
const HEADER_BYTES: usize = HEADER_WORDS * 8;

/// What rows are turned by before their signs are taken; part of the format.
const ROTATION_SEED: u64 = 0;

/// Rows in a block: the codes of 128 dimensions are 128 KiB, which stay in the second-level cache while many
/// queries pass over them, and fewer rows than that are read from the database without being noticed.
pub(crate) const BLOCK_ROWS: usize = 1024;

/// Whose codes a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    /// Which store, and since when its vectors are of the present model.
    pub(crate) identity: [u8; 16],
    /// Differs between files that were made anew.
    pub(crate) generation: u64,
    pub(crate) dim: usize,
    /// Rows in a block.
    pub(crate) block_rows: usize,
}

/// What a block's header says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct BlockHeader {
    /// All rows of the database up to this moment stand in this block or one before it.
    pub(crate) moment: Moment,
    /// Checksum of the last row's vector in the database.
    pub(crate) sample: i64,
    /// The longest difference between a row and its code, in this block and those before it.
    pub(crate) largest_error: f32,
    /// The lengths of the longest and the shortest row, in this block and those before it.
    pub(crate) norms: [f32; 2],
    coarse: [u64; 2],
    fine: [u64; 2],
}

/// Some rows of the vector table, side by side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    /// Their numbers in the database, ascending.
    pub(crate) rows: Vec<u64>,
    /// `[rows, dim]`
    pub(crate) numbers: Vec<f32>,
}

/// What stands in a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    dim: usize,
    /// Row numbers in the database, ascending.
    pub(crate) rows: &'a [u64],
    sign_words: &'a [u64],
    scales: &'a [f32],
    steps: &'a [i8],
}

impl<'a> Block<'a> {
    /// Signs of the turned rows.
    pub(crate) fn signs(self) -> BitRows<'a> {
        BitRows::new(self.sign_words, self.dim)
    }

    /// The rows in 8 bits.
    pub(crate) fn bytes(self) -> ByteRows<'a> {
        ByteRows::new(self.steps, self.scales, self.dim)
    }

    /// Whether row `i` is what becomes of a vector.
    pub(crate) fn row_is_of(self, i: usize, vector: &[f32], rotation: &Rotation) -> bool {
        let words = words_of(self.dim);
        let (mut turned, mut sign_words) = (vec![0.0; self.dim], vec![0; words]);
        let (mut steps, mut scale) = (vec![0; self.dim], [0.0]);
        encode_rows(vector, rotation, &mut turned, &mut sign_words, &mut steps, &mut scale);
        sign_words == self.sign_words[i * words..][..words]
            && steps == self.steps[i * self.dim..][..self.dim]
            && scale[0] == self.scales[i]
    }
}

/// Turns rows and writes their signs, and writes them in 8 bits.
fn encode_rows(
    numbers: &[f32],
    rotation: &Rotation,
    turned: &mut [f32],
    sign_words: &mut [u64],
    steps: &mut [i8],
    scales: &mut [f32],
) {
    let (level, dim) = (Level::best(), numbers.len() / scales.len());
    rotation.turn(level, numbers, turned);
    encode_bits(level, turned, dim, sign_words);
    encode_bytes(level, numbers, steps, scales);
}

impl FileHeader {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut words = [0; HEADER_WORDS];
        let [dim, block_rows] = [self.dim as u64, self.block_rows as u64];
        words[..5].copy_from_slice(&[MAGIC, VERSION, dim, block_rows, self.generation]);
        cast_slice_mut(&mut words[5..7]).copy_from_slice(&self.identity);
        sealed(words, 0)
    }

    /// What the beginning of a file says, unless it is none of ours or damaged.
    pub(crate) fn read(file: &[u8]) -> Option<Self> {
        let words = unsealed(file.get(..HEADER_BYTES)?, 0)?;
        let identity = cast_slice(&words[5..7]).try_into().ok()?;
        let [dim, block_rows] = [words[2] as usize, words[3] as usize];
        let ours = words[..2] == [MAGIC, VERSION] && dim > 0 && block_rows > 0;
        (ours && is_countable(dim, block_rows)).then_some(Self {
            identity,
            generation: words[4],
            dim,
            block_rows,
        })
    }

    /// What turns a row, or a query, before its signs are taken.
    pub(crate) fn rotation(&self) -> Rotation {
        Rotation::new(self.dim, ROTATION_SEED)
    }

    fn coarse_bytes(&self) -> usize {
        self.block_rows * (8 + 8 * words_of(self.dim))
    }

    fn fine_bytes(&self) -> usize {
        self.block_rows * (4 + self.dim)
    }

    /// Size of a block with its header.
    pub(crate) fn block_bytes(&self) -> usize {
        HEADER_BYTES + self.coarse_bytes() + self.fine_bytes()
    }

    /// Size of a file of so many blocks.
    pub(crate) fn file_bytes(&self, blocks: usize) -> usize {
        HEADER_BYTES + blocks * self.block_bytes()
    }

    /// How many whole blocks fit into a file of so many bytes.
    pub(crate) fn blocks_in(&self, file_bytes: usize) -> usize {
        file_bytes.saturating_sub(HEADER_BYTES) / self.block_bytes()
    }

    fn block_of<'a>(&self, file: &'a [u8], block: usize) -> &'a [u8] {
        &file[self.file_bytes(block)..][..self.block_bytes()]
    }

    /// The header of block number `block`, unless it is not what was written for this place of this file.
    pub(crate) fn block_header(&self, file: &[u8], block: usize) -> Option<BlockHeader> {
        let words =
            unsealed(&self.block_of(file, block)[..HEADER_BYTES], self.seal_of_block(block))?;
        let float = |word: u64| f32::from_bits(word as u32);
        Some(BlockHeader {
            moment: Moment { last_row: words[0], last_deletion: words[1] },
            sample: words[2] as i64,
            largest_error: float(words[3]),
            norms: [float(words[4]), float(words[5])],
            coarse: [words[6], words[7]],
            fine: [words[8], words[9]],
        })
    }

    /// Ties a block's header to its place, so that one from elsewhere is none.
    fn seal_of_block(&self, block: usize) -> u64 {
        self.generation.rotate_left(32) ^ (block as u64 + 1)
    }

    /// Whether row numbers and signs of a block are what was written.
    pub(crate) fn coarse_is_whole(&self, file: &[u8], block: usize) -> bool {
        let (coarse, _) = self.halves(file, block);
        self.block_header(file, block).is_some_and(|header| header.coarse == fingerprint(coarse))
    }

    /// Whether the rows in 8 bits of a block are what was written.
    pub(crate) fn fine_is_whole(&self, file: &[u8], block: usize) -> bool {
        let (_, fine) = self.halves(file, block);
        self.block_header(file, block).is_some_and(|header| header.fine == fingerprint(fine))
    }

    fn halves<'a>(&self, file: &'a [u8], block: usize) -> (&'a [u8], &'a [u8]) {
        self.block_of(file, block)[HEADER_BYTES..].split_at(self.coarse_bytes())
    }

    /// What stands in block number `block`. Whether that is what was written is another question.
    pub(crate) fn block<'a>(&self, file: &'a [u8], block: usize) -> Block<'a> {
        let (coarse, fine) = self.halves(file, block);
        let (rows, sign_words) = coarse.split_at(8 * self.block_rows);
        let (scales, steps) = fine.split_at(4 * self.block_rows);
        Block {
            dim: self.dim,
            rows: cast_slice(rows),
            sign_words: cast_slice(sign_words),
            scales: cast_slice(scales),
            steps: cast_slice(steps),
        }
    }

    /// The bytes of a block of as many rows as a block has, and their header, still without what [`FileHeader::seal`] adds.
    pub(crate) fn encode(
        &self,
        Rows { rows, numbers }: &Rows,
        last_deletion: u64,
        rotation: &Rotation,
    ) -> (BlockHeader, Vec<u64>) {
        // As words, which numbers of every kind may lie in.
        let mut block = vec![0u64; self.block_bytes() / 8];
        let bytes: &mut [u8] = cast_slice_mut(&mut block);
        let (coarse, fine) = bytes[HEADER_BYTES..].split_at_mut(self.coarse_bytes());
        let (row_numbers, sign_words) = coarse.split_at_mut(8 * self.block_rows);
        cast_slice_mut(row_numbers).copy_from_slice(rows);
        let (scales, steps) = fine.split_at_mut(4 * self.block_rows);
        let (scales, steps) = (cast_slice_mut(scales), cast_slice_mut(steps));
        let mut turned = vec![0.0; numbers.len()];
        encode_rows(numbers, rotation, &mut turned, cast_slice_mut(sign_words), steps, scales);

        let last: &[f32] = &numbers[numbers.len() - self.dim..];
        let header = BlockHeader {
            moment: Moment { last_row: rows.last().copied().unwrap_or(0), last_deletion },
            sample: checksum::of(&[cast_slice(last)]),
            largest_error: largest_error(numbers, steps, scales),
            norms: norms(numbers, self.dim),
            coarse: fingerprint(coarse),
            fine: fingerprint(fine),
        };
        (header, block)
    }

    /// Writes the header of an encoded block; its largest numbers become those of all blocks up to it.
    pub(crate) fn seal(&self, block: usize, header: &BlockHeader, bytes: &mut [u64]) {
        let BlockHeader { moment, coarse, fine, .. } = header;
        let mut words = [0; HEADER_WORDS];
        let bits = |number: f32| u64::from(number.to_bits());
        words[..10].copy_from_slice(&[
            moment.last_row,
            moment.last_deletion,
            header.sample as u64,
            bits(header.largest_error),
            bits(header.norms[0]),
            bits(header.norms[1]),
            coarse[0],
            coarse[1],
            fine[0],
            fine[1],
        ]);
        let header = sealed(words, self.seal_of_block(block));
        cast_slice_mut::<_, u8>(bytes)[..HEADER_BYTES].copy_from_slice(&header);
    }
}

/// Whether the bytes of a block, and of as many as a disk holds, can be counted. A header that says more is made up.
fn is_countable(dim: usize, block_rows: usize) -> bool {
    (2 * dim as u128 + 20).saturating_mul(block_rows as u128) < 1 << 40
}

impl BlockHeader {
    /// Makes the largest numbers those of this block and of all before it.
    pub(crate) fn carry_on_from(&mut self, before: Option<&Self>) {
        if let Some(before) = before {
            self.largest_error = self.largest_error.max(before.largest_error);
            self.norms[0] = self.norms[0].max(before.norms[0]);
            self.norms[1] = self.norms[1].min(before.norms[1]);
        }
    }
}

/// No less than the greatest length of a row less what its bytes say.
fn largest_error(numbers: &[f32], steps: &[i8], scales: &[f32]) -> f32 {
    let dim = numbers.len() / scales.len();
    let rows = numbers.chunks_exact(dim).zip(steps.chunks_exact(dim)).zip(scales);
    let mut difference = vec![0.0; dim];
    rows.fold(0.0, |largest: f32, ((row, steps), scale)| {
        for ((difference, x), step) in difference.iter_mut().zip(row).zip(steps) {
            *difference = x - f32::from(*step) * scale;
        }
        // Each difference was rounded to a last place of its numbers, and the sum of squares many times.
        largest.max(1.001 * length(&difference) + 2.0 * f32::EPSILON * length(row))
    })
}

/// The lengths of the longest and the shortest row, but for rounding.
fn norms(numbers: &[f32], dim: usize) -> [f32; 2] {
    numbers.chunks_exact(dim).map(length).fold([0.0, f32::INFINITY], |[longest, shortest], row| {
        [longest.max(row), shortest.min(row)]
    })
}

fn length(row: &[f32]) -> f32 {
    dot(row, row).sqrt()
}

fn sealed(mut words: [u64; HEADER_WORDS], seal: u64) -> Vec<u8> {
    let checksum = seal_of(&words, seal);
    words[HEADER_WORDS - 2..].copy_from_slice(&checksum);
    cast_slice(&words).to_vec()
}

fn unsealed(bytes: &[u8], seal: u64) -> Option<[u64; HEADER_WORDS]> {
    let mut words = [0; HEADER_WORDS];
    cast_slice_mut(&mut words).copy_from_slice(bytes);
    (words[HEADER_WORDS - 2..] == seal_of(&words, seal)).then_some(words)
}

/// The checksum of a header at a place that `seal` names.
fn seal_of(words: &[u64; HEADER_WORDS], seal: u64) -> [u64; 2] {
    let mut contents = *words;
    contents[HEADER_WORDS - 2..].copy_from_slice(&[seal, 0]);
    fingerprint(cast_slice(&contents))
}

fn fingerprint(bytes: &[u8]) -> [u64; 2] {
    let mut words = [0; 2];
    cast_slice_mut(&mut words).copy_from_slice(Fingerprint::of(bytes).as_bytes());
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..2_000, any::<u64>(), (0u32..64).prop_map(|bits| 1u64 << bits)]
    }

    proptest! {
        /// A checksum keeps out what broke, not what somebody made up.
        #[test]
        fn headers_that_lie_under_a_right_checksum_are_never_a_panic(
            dim in number(), block_rows in number(), generation: u64,
            block in prop::array::uniform10(number()), rest in 0usize..5_000, filling: u8,
        ) {
            let mut words = [0; HEADER_WORDS];
            words[..5].copy_from_slice(&[MAGIC, VERSION, dim, block_rows, generation]);
            let mut file = sealed(words, 0);
            let header = FileHeader::read(&file);
            let seal = generation.rotate_left(32) ^ 1;
            words[..10].copy_from_slice(&block);
            file.extend(sealed(words, seal));
            file.extend(vec![filling; rest]);
            if let Some(header) = header {
                for block in 0..header.blocks_in(file.len()) {
                    let _ = header.block_header(&file, block);
                    prop_assert!(!header.coarse_is_whole(&file, block) || rest == 0);
                    let _ = header.fine_is_whole(&file, block);
                }
            }
        }

        #[test]
        fn no_bytes_are_a_header_by_accident(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(FileHeader::read(&bytes).is_none());
        }
    }
}
