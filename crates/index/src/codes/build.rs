//! Writing codes: rows are read from the database block by block, encoded on all threads and appended.
//!
//! One process at a time, the others go on without: whoever holds the lock file `codes.lock`. Nothing is made durable
//! here, because whatever a power cut takes is made again. A file that does not continue into the database as it is
//! now is not appended to; a new one is written beside it and takes its name, which leaves maps of the old one whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use hpd_kernels::map::FileMap;
use hpd_kernels::scan::Rotation;
use rayon::prelude::*;
use rusqlite::Connection;

use super::layout::{BlockHeader, FileHeader, Rows};
use super::{Codes, Expected};
use crate::schema::Moment;
use crate::search::row_and_bytes;

/// Blocks read while as many others are encoded.
const GROUP: usize = 16;

/// The file of codes of the store in `folder`.
pub(crate) fn file_in(folder: &Path) -> PathBuf {
    folder.join("codes")
}

/// Appends the blocks that are missing, or writes all of them `anew`. `false` when that is not possible here or somebody
/// else is at it; nothing is worse then.
///
/// # Errors
/// When the database cannot be read.
///
/// # Cost
/// About a second for a million rows of 128 numbers.
pub(crate) fn bring_up_to_date(
    connection: &Connection,
    folder: &Path,
    expected: &Expected,
    anew: bool,
) -> rusqlite::Result<bool> {
    let Some(_lock) = lock(folder) else { return Ok(false) };
    let snapshot = connection.unchecked_transaction()?;
    let moment = Moment::of(&snapshot)?;
    let standing = if anew { None } else { Standing::find(folder, expected, &snapshot, moment)? };
    let job = match standing {
        Some(standing) => Job::append(folder, standing),
        None => Job::anew(folder, expected),
    };
    let Ok(mut job) = job else { return Ok(false) };
    let written = job.run(&snapshot, moment);
    let stands = job.finish(folder, matches!(written, Ok(Ok(()))));
    written.map(|_| stands)
}

/// Held until it is dropped or the process ends, however it ends.
fn lock(folder: &Path) -> Option<File> {
    let path = folder.join("codes.lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).ok()?;
    match file.try_lock() {
        Ok(()) => Some(file),
        Err(TryLockError::WouldBlock) => None,
        // Some network file systems have no locks; without one, somebody else may be at it.
        Err(TryLockError::Error(_)) => None,
    }
}

/// The codes that can be appended to.
struct Standing {
    header: FileHeader,
    blocks: usize,
    last: BlockHeader,
}

impl Standing {
    fn find(
        folder: &Path,
        expected: &Expected,
        snapshot: &Connection,
        moment: Moment,
    ) -> rusqlite::Result<Option<Self>> {
        let Some(codes) = Codes::open(folder, expected, snapshot, moment)? else {
            return Ok(None);
        };
        // Under the lock nothing can be ahead of the database, unless the database was replaced by an older one.
        let ahead = FileMap::open(&file_in(folder)).is_ok_and(|file| {
            let behind = codes.blocks..codes.header.blocks_in(file.len());
            behind.into_iter().any(|block| codes.header.block_header(&file, block).is_some())
        });
        let Codes { header, blocks, last, .. } = codes;
        Ok((!ahead).then_some(Self { header, blocks, last }))
    }
}

/// Blocks on their way into a file.
struct Job {
    file: File,
    unfinished: Option<PathBuf>,
    header: FileHeader,
    rotation: Rotation,
    blocks: usize,
    last: Option<BlockHeader>,
}

impl Job {
    fn append(folder: &Path, Standing { header, blocks, last }: Standing) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).open(file_in(folder))?;
        file.seek(SeekFrom::Start(header.file_bytes(blocks) as u64))?;
        let rotation = header.rotation();
        Ok(Self { file, unfinished: None, header, rotation, blocks, last: Some(last) })
    }

    fn anew(folder: &Path, expected: &Expected) -> io::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let header = FileHeader {
            identity: expected.identity,
            generation: now.as_nanos() as u64,
            dim: expected.dim,
            block_rows: expected.block_rows,
        };
        // Always the same name: what a killed process left behind is overwritten.
        let unfinished = folder.join(".codes.unfinished");
        let file = File::create(&unfinished)?;
        let rotation = header.rotation();
        let unfinished = Some(unfinished);
        let mut job = Self { file, unfinished, header, rotation, blocks: 0, last: None };
        match job.file.write_all(&header.to_bytes()) {
            Ok(()) => Ok(job),
            Err(full) => {
                job.finish(folder, false);
                Err(full)
            }
        }
    }

    /// Reads on this thread, since a database is read by one, while others encode and write.
    fn run(&mut self, snapshot: &Connection, moment: Moment) -> rusqlite::Result<io::Result<()>> {
        let covered = self.last.map_or(0, |last| last.moment.last_row);
        let header = self.header;
        thread::scope(|scope| {
            let (sender, groups) = sync_channel::<Vec<Rows>>(1);
            let writer = scope.spawn(|| self.write_all(groups, moment.last_deletion));
            // When the writer fails it hangs up, which ends the reading.
            let read = read_groups(snapshot, &header, covered, |group| sender.send(group).is_ok());
            drop(sender);
            let written =
                writer.join().unwrap_or_else(|_| Err(io::Error::other("a thread failed")));
            read.map(|()| written)
        })
    }

    fn write_all(&mut self, groups: Receiver<Vec<Rows>>, last_deletion: u64) -> io::Result<()> {
        for group in groups {
            let encode = |rows| self.header.encode(rows, last_deletion, &self.rotation);
            let encoded: Vec<_> = group.par_iter().map(encode).collect();
            for (mut header, mut bytes) in encoded {
                header.carry_on_from(self.last.as_ref());
                self.header.seal(self.blocks, &header, &mut bytes);
                self.file.write_all(bytemuck::cast_slice(&bytes))?;
                self.blocks += 1;
                self.last = Some(header);
            }
        }
        Ok(())
    }

    /// Gives a new file its name, or removes what is not whole, for which a full disk has no room. Whether it stands.
    fn finish(self, folder: &Path, is_whole: bool) -> bool {
        let Self { file, unfinished, .. } = self;
        drop(file);
        let Some(unfinished) = unfinished else { return is_whole };
        let stands = is_whole && fs::rename(&unfinished, file_in(folder)).is_ok();
        if !stands {
            let _ = fs::remove_file(unfinished);
        }
        stands
    }
}

/// Hands on whole blocks of rows behind row `covered`, some at a time, as long as they are wanted.
fn read_groups(
    snapshot: &Connection,
    header: &FileHeader,
    covered: u64,
    mut hand_on: impl FnMut(Vec<Rows>) -> bool,
) -> rusqlite::Result<()> {
    let mut statement =
        snapshot.prepare_cached("SELECT row, vector FROM vectors WHERE row > ?1 ORDER BY row")?;
    let mut vectors = statement.query([covered])?;
    let none = || Rows::with_room_for(header.block_rows, header.dim);
    let (mut group, mut block) = (Vec::new(), none());
    while let Some(vector) = vectors.next()? {
        let (row, bytes) = row_and_bytes(vector)?;
        // One of another width is damage, which searching and verifying tell of.
        if bytes.len() != header.dim * size_of::<f32>() {
            return Ok(());
        }
        block.push(row, bytes);
        if block.rows.len() == header.block_rows {
            group.push(std::mem::replace(&mut block, none()));
        }
        if group.len() == GROUP && !hand_on(std::mem::take(&mut group)) {
            return Ok(());
        }
    }
    if !group.is_empty() {
        hand_on(group);
    }
    Ok(())
}

impl Rows {
    fn with_room_for(rows: usize, dim: usize) -> Self {
        Self { rows: Vec::with_capacity(rows), numbers: Vec::with_capacity(rows * dim) }
    }

    fn push(&mut self, row: u64, bytes: &[u8]) {
        self.rows.push(row);
        self.numbers
            .extend(bytes.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)));
    }
}
