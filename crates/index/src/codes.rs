//! Codes: compact copies of the vectors in a file of their own, which a search reads instead of the database.
//!
//! A row is kept in 8 bits a number and in one bit, see [`hpd_kernels::scan`]; the numbers themselves stay in the database,
//! where the few that decide a search are looked up. The file is derived: whatever is wrong with it, it is made again
//! from the database, which remains the only truth. What is deleted is written down there too and only remembered
//! here, as a bit a row.
//!
//! `database ─build─> file `codes` ─Codes::open─> Codes ─search─> candidates`
//!
//! A search sees one [`Moment`] of the database. Blocks written later are left aside, rows that are in no block yet
//! (fewer than a block, when all is well) are read from the database.

mod build;
mod layout;
mod of_store;

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

use hpd_kernels::map::FileMap;
use hpd_kernels::scan::Rotation;
use rusqlite::{Connection, OptionalExtension};

use crate::schema::Moment;
use crate::search::row_and_bytes;

pub(crate) use build::{bring_up_to_date, file_in};
pub(crate) use layout::{BLOCK_ROWS, Block, BlockHeader, FileHeader};

/// Rows of a word of a mask.
pub(crate) const WORD: usize = 64;

/// Blocks of which the last row may be deleted before we give up finding one that is not.
const SAMPLES: usize = 16;

/// The codes in a file, as far as one moment of the database goes.
#[derive(Debug)]
pub(crate) struct Codes {
    file: FileMap,
    header: FileHeader,
    blocks: usize,
    last: BlockHeader,
    rotation: Rotation,
    /// A bit a row, set until the row is deleted.
    alive: Vec<u64>,
    dead: usize,
    /// Deletions up to this one have been noted in `alive`.
    known_deletion: u64,
    /// Which halves of each block have been compared with their checksums.
    looked_at: Vec<AtomicU8>,
    /// The last row of each block, read when the first deletion has to be noted.
    last_rows: Vec<u64>,
}

/// The halves of a block; each has a checksum of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Half {
    /// Row numbers and signs.
    Coarse = 1,
    /// Rows in 8 bits.
    Fine = 2,
}

/// A block is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

/// What a store expects of its codes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) identity: [u8; 16],
    pub(crate) dim: usize,
    pub(crate) block_rows: usize,
    /// Deletions up to this one are not written down any more.
    pub(crate) forgotten_deletions: u64,
}

impl Codes {
    /// Opens the codes in `folder` as they were at `moment`, which is that of `snapshot`. `None` when there are none that
    /// can be used.
    ///
    /// # Errors
    /// When the database cannot be read.
    ///
    /// # Cost
    /// Does not depend on the number of rows, but on that of rows deleted since the file was made anew.
    pub(crate) fn open(
        folder: &Path,
        expected: &Expected,
        snapshot: &Connection,
        moment: Moment,
    ) -> rusqlite::Result<Option<Self>> {
        let Some(mut codes) = Self::map(&file_in(folder), expected, moment) else {
            return Ok(None);
        };
        let usable = codes.is_of(snapshot)? && codes.note_deletions(snapshot, moment)?;
        Ok(usable.then_some(codes))
    }

    /// The blocks that `moment` includes.
    fn map(path: &Path, expected: &Expected, moment: Moment) -> Option<Self> {
        let file = FileMap::open(path).ok()?;
        let header = FileHeader::read(&file).filter(|header| header.is(expected))?;
        let last = (0..header.blocks_in(file.len())).rev().find_map(|block| {
            let last = header.block_header(&file, block)?;
            moment.includes(last.moment).then_some((block, last))
        });
        let (block, last) = last?;
        let first = header.block_header(&file, 0)?;
        if first.moment.last_deletion < expected.forgotten_deletions {
            return None;
        }
        let blocks = block + 1;
        let file = FileMap::open_beginning(path, header.file_bytes(blocks)).ok()?;
        // The name may have been given to another file meanwhile.
        if FileHeader::read(&file) != Some(header) {
            return None;
        }
        Some(Self {
            file,
            header,
            blocks,
            last,
            rotation: header.rotation(),
            alive: vec![u64::MAX; blocks * header.block_rows / WORD],
            dead: 0,
            known_deletion: first.moment.last_deletion,
            looked_at: (0..blocks).map(|_| AtomicU8::new(0)).collect(),
            last_rows: Vec::new(),
        })
    }

    /// Whether the last block that has a last row left is of this database and not of one that only was the same once.
    fn is_of(&self, snapshot: &Connection) -> rusqlite::Result<bool> {
        let mut find = snapshot.prepare_cached("SELECT checksum FROM vectors WHERE row = ?1")?;
        for block in (0..self.blocks).rev().take(SAMPLES) {
            let Some(header) = self.header.block_header(&self.file, block) else {
                return Ok(false);
            };
            let checksum: Option<i64> =
                find.query_row([header.moment.last_row], |row| row.get(0)).optional()?;
            if let Some(checksum) = checksum {
                return Ok(checksum == header.sample);
            }
        }
        Ok(true)
    }

    /// Notes what was deleted up to `moment`; `false` when a block is not what was written.
    fn note_deletions(&mut self, snapshot: &Connection, moment: Moment) -> rusqlite::Result<bool> {
        if moment.last_deletion <= self.known_deletion {
            return Ok(true);
        }
        if self.last_rows.is_empty() {
            let last_row =
                |block| Some(self.header.block_header(&self.file, block)?.moment.last_row);
            let Some(last_rows) = (0..self.blocks).map(last_row).collect() else {
                return Ok(false);
            };
            self.last_rows = last_rows;
        }
        let mut statement = snapshot
            .prepare_cached("SELECT row FROM deletions WHERE number > ?1 AND number <= ?2")?;
        let mut deletions = statement.query([self.known_deletion, moment.last_deletion])?;
        while let Some(deletion) = deletions.next()? {
            self.note_deletion(deletion.get(0)?);
        }
        self.known_deletion = moment.last_deletion;
        Ok(true)
    }

    fn note_deletion(&mut self, row: u64) {
        let block = self.last_rows.partition_point(|last| *last < row);
        if block == self.blocks {
            return;
        }
        // A row that is not there was deleted before its block was written.
        if let Ok(i) = self.header.block(&self.file, block).rows.binary_search(&row) {
            let position = block * self.header.block_rows + i;
            let (word, bit) = (&mut self.alive[position / WORD], 1 << (position % WORD));
            self.dead += usize::from(*word & bit != 0);
            *word &= !bit;
        }
    }

    /// Moves on to `moment`, which is not before the one these codes were opened at. `None` when they must be opened
    /// anew.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) fn follow(
        mut self,
        folder: &Path,
        expected: &Expected,
        snapshot: &Connection,
        moment: Moment,
    ) -> rusqlite::Result<Option<Self>> {
        let of_another = !self.header.is(expected);
        if of_another || self.known_deletion < expected.forgotten_deletions {
            return Self::open(folder, expected, snapshot, moment);
        }
        let missing = moment.last_row.saturating_sub(self.covered());
        if missing >= self.header.block_rows as u64
            && let Some(newer) = Self::open(folder, expected, snapshot, moment)?
        {
            newer.remember(&self);
            return Ok(Some(newer));
        }
        Ok(self.note_deletions(snapshot, moment)?.then_some(self))
    }

    /// Takes over which blocks were looked at.
    fn remember(&self, older: &Self) {
        if self.header != older.header {
            return;
        }
        for (own, known) in self.looked_at.iter().zip(&older.looked_at) {
            own.store(known.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// All rows of the database up to this one stand here, but for deleted ones.
    pub(crate) fn covered(&self) -> u64 {
        self.last.moment.last_row
    }

    /// How many rows there are, deleted ones included.
    pub(crate) fn len(&self) -> usize {
        self.blocks * self.header.block_rows
    }

    /// How many of them are deleted.
    pub(crate) fn dead(&self) -> usize {
        self.dead
    }

    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    pub(crate) fn block_rows(&self) -> usize {
        self.header.block_rows
    }

    /// What turns a query before it is compared with signs.
    pub(crate) fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    /// What was found out about all rows: the longest error of 8 bits, the longest and the shortest row.
    pub(crate) fn extremes(&self) -> (f32, [f32; 2]) {
        (self.last.largest_error, self.last.norms)
    }

    /// Which rows of a block are not deleted, a bit each.
    pub(crate) fn alive(&self, block: usize) -> &[u64] {
        let words = self.header.block_rows / WORD;
        &self.alive[block * words..][..words]
    }

    /// What stands in a block, after a look at its checksum when nobody had one yet.
    ///
    /// # Errors
    /// When the half is not what was written.
    pub(crate) fn block(&self, block: usize, half: Half) -> Result<Block<'_>, Damaged> {
        let looked_at = &self.looked_at[block];
        if looked_at.load(Ordering::Relaxed) & half as u8 == 0 {
            let is_whole = match half {
                Half::Coarse => self.header.coarse_is_whole(&self.file, block),
                Half::Fine => self.header.fine_is_whole(&self.file, block),
            };
            if !is_whole {
                return Err(Damaged);
            }
            looked_at.fetch_or(half as u8, Ordering::Relaxed);
        }
        Ok(self.header.block(&self.file, block))
    }

    /// The database's number of the row at `position`.
    ///
    /// # Errors
    /// When its block is not what was written.
    pub(crate) fn row_at(&self, position: u64) -> Result<u64, Damaged> {
        let (block, i) = self.place(position);
        Ok(self.block(block, Half::Coarse)?.rows[i])
    }

    /// Block and place in it of the row at `position`.
    pub(crate) fn place(&self, position: u64) -> (usize, usize) {
        let position = position as usize;
        (position / self.header.block_rows, position % self.header.block_rows)
    }
}

/// What is wrong with the codes in `folder`; nothing when they are whole, or there are none. Reads all of them and all vectors.
///
/// # Errors
/// When the database cannot be read.
pub(crate) fn problems(
    folder: &Path,
    expected: &Expected,
    snapshot: &Connection,
) -> rusqlite::Result<Vec<String>> {
    let path = file_in(folder);
    // One without a whole block holds nothing yet.
    let is_empty = |file: &FileMap| {
        FileHeader::read(file).is_some_and(|header| header.blocks_in(file.len()) == 0)
    };
    if !path.exists() || FileMap::open(&path).is_ok_and(|file| is_empty(&file)) {
        return Ok(Vec::new());
    }
    match Codes::open(folder, expected, snapshot, Moment::of(snapshot)?)? {
        None => Ok(vec!["`codes` are damaged or of another store".to_owned()]),
        Some(codes) => codes.problems(snapshot),
    }
}

impl Codes {
    fn problems(&self, snapshot: &Connection) -> rusqlite::Result<Vec<String>> {
        let is_whole = |block| {
            self.block(block, Half::Coarse).is_ok() && self.block(block, Half::Fine).is_ok()
        };
        let damaged = (0..self.blocks).filter(|block| !is_whole(*block));
        let problems: Vec<_> = damaged
            .map(|block| format!("block {block} of `codes` does not match its checksum"))
            .collect();
        if problems.is_empty() { self.differences(snapshot) } else { Ok(problems) }
    }

    /// Rows that are not those of the database.
    fn differences(&self, snapshot: &Connection) -> rusqlite::Result<Vec<String>> {
        let is_alive = |position: &usize| self.alive[position / WORD] >> (position % WORD) & 1 == 1;
        let mut positions = (0..self.len()).filter(is_alive);
        let mut statement =
            snapshot.prepare("SELECT row, vector FROM vectors WHERE row <= ?1 ORDER BY row")?;
        let mut vectors = statement.query([self.covered()])?;
        while let Some(vector) = vectors.next()? {
            let (row, bytes) = row_and_bytes(vector)?;
            let numbers = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x));
            let numbers: Vec<f32> = numbers.collect();
            let is_of = |position| {
                let (block, i) = self.place(position as u64);
                let block = self.header.block(&self.file, block);
                block.rows[i] == row
                    && numbers.len() == self.header.dim
                    && block.row_is_of(i, &numbers, &self.rotation)
            };
            if !positions.next().is_some_and(is_of) {
                return Ok(vec![format!("`codes` differ from the vectors from row {row} on")]);
            }
        }
        let left = positions.count();
        let problem = || format!("`codes` have {left} rows that the database has not");
        Ok(if left > 0 { vec![problem()] } else { Vec::new() })
    }
}

impl FileHeader {
    fn is(&self, expected: &Expected) -> bool {
        (self.identity, self.dim, self.block_rows)
            == (expected.identity, expected.dim, expected.block_rows)
    }
}
