//! Rows put aside until a long run is done.
//!
//! A `.parquet` is not whole before its end, and byte ranges need every row before the first can be written. So a
//! long run appends plain rows to files beside its output, acknowledges them now and then, and makes the output of
//! them at the end. Separate from [`crate::vectors`] because this format never leaves the run that wrote it.
//!
//! `append, append, …, acknowledge, … ─kill -9─> resume ─> append, … ─> blocks ─> VectorWriter`
//!
//! Beside `OUT` lie `.OUT.unfinished` (little-endian f32), `.OUT.unfinished-ids` (one JSON string or null a line) and
//! `.OUT.progress.json`, which says how much of both is acknowledged and with which settings it was made.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::vectors::Matrix;
use crate::{Error, Result, atomic};

/// What the rows depend on, by the name of the flag that sets it. A run resumes only with equal settings.
pub type Settings = BTreeMap<String, String>;

/// How far a run has come in its input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Records consumed, bad ones included.
    pub records: u64,
    /// Fingerprint of the records consumed.
    pub consumed: String,
    /// Records left out because they were bad.
    pub bad: u64,
    /// Texts that lost their end.
    pub truncated: u64,
}

/// The progress file.
#[derive(Debug, Serialize, Deserialize)]
struct Acknowledged {
    version: u32,
    settings: Settings,
    width: usize,
    rows: u64,
    id_bytes: u64,
    standing: Standing,
}

const VERSION: u32 = 1;

/// The files beside an output.
struct Paths {
    output: PathBuf,
    rows: PathBuf,
    ids: PathBuf,
    progress: PathBuf,
}

impl Paths {
    fn beside(output: &Path) -> Self {
        Self {
            output: output.to_owned(),
            rows: atomic::sibling(output, "unfinished"),
            ids: atomic::sibling(output, "unfinished-ids"),
            progress: atomic::sibling(output, "progress.json"),
        }
    }

    /// The progress file goes first: without it the others are nothing.
    fn remove(&self) -> Result<()> {
        for path in [&self.progress, &self.rows, &self.ids] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Rows of f32 with an id each, growing on disk.
pub struct Spool {
    paths: Paths,
    rows: BufWriter<File>,
    ids: BufWriter<File>,
    acknowledged: Acknowledged,
    appended_rows: u64,
    appended_id_bytes: u64,
}

impl Spool {
    /// Whether a run that made `output` was stopped before its end.
    pub fn exists(output: &Path) -> bool {
        Paths::beside(output).progress.exists()
    }

    /// Starts anew at `standing`; what a stopped run has left is removed.
    ///
    /// # Errors
    /// When the files cannot be created, or another process is writing them.
    pub fn start(
        output: &Path,
        settings: Settings,
        width: usize,
        standing: &Standing,
    ) -> Result<Self> {
        let paths = Paths::beside(output);
        atomic::create_parent(output)?;
        let acknowledged = Acknowledged {
            version: VERSION,
            settings,
            width,
            rows: 0,
            id_bytes: 0,
            standing: standing.clone(),
        };
        drop(open_alone(&paths.rows, output)?);
        paths.remove()?;
        let mut spool = Self::open(paths, acknowledged)?;
        spool.acknowledge(standing)?;
        Ok(spool)
    }

    /// Goes on where a stopped run was last acknowledged; rows behind that are dropped.
    ///
    /// # Errors
    /// When other settings are given, naming each; when the files are damaged, or another process is writing them.
    pub fn resume(output: &Path, settings: &Settings, width: usize) -> Result<Self> {
        let paths = Paths::beside(output);
        let text = fs::read(&paths.progress).map_err(|e| Error::io("read", &paths.progress, e))?;
        let damaged = || {
            Error::input(format!("the unfinished work beside `{}` is damaged", output.display()))
                .hint("start again with `--overwrite`")
        };
        let acknowledged: Acknowledged =
            serde_json::from_slice(&text).map_err(|e| damaged().caused_by(e))?;
        refuse_changes(&acknowledged.settings, settings)?;
        if acknowledged.version != VERSION || acknowledged.width != width {
            return Err(damaged());
        }
        let spool = Self::open(paths, acknowledged)?;
        if spool.is_shorter_than_acknowledged()? {
            Err(damaged())
        } else {
            spool.cut_to_acknowledged()
        }
    }

    fn open(paths: Paths, acknowledged: Acknowledged) -> Result<Self> {
        let rows = open_alone(&paths.rows, &paths.output)?;
        let ids = open_alone(&paths.ids, &paths.output)?;
        Ok(Self {
            appended_rows: acknowledged.rows,
            appended_id_bytes: acknowledged.id_bytes,
            rows: BufWriter::with_capacity(1 << 18, rows),
            ids: BufWriter::with_capacity(1 << 16, ids),
            paths,
            acknowledged,
        })
    }

    fn is_shorter_than_acknowledged(&self) -> Result<bool> {
        let length = |file: &BufWriter<File>| file.get_ref().metadata().map(|about| about.len());
        let short = length(&self.rows).and_then(|rows| {
            Ok(rows < self.row_bytes() || length(&self.ids)? < self.acknowledged.id_bytes)
        });
        short.map_err(|e| Error::io("read", &self.paths.rows, e))
    }

    fn cut_to_acknowledged(mut self) -> Result<Self> {
        for (file, path, length) in [
            (&mut self.rows, &self.paths.rows, self.acknowledged.row_bytes()),
            (&mut self.ids, &self.paths.ids, self.acknowledged.id_bytes),
        ] {
            file.get_ref()
                .set_len(length)
                .and_then(|()| file.seek(SeekFrom::End(0)))
                .map_err(|e| Error::io("write", path, e))?;
        }
        Ok(self)
    }

    fn row_bytes(&self) -> u64 {
        self.acknowledged.row_bytes()
    }

    /// Rows appended so far.
    pub fn rows(&self) -> u64 {
        self.appended_rows
    }

    /// Where the last acknowledged row stands in the input.
    pub fn standing(&self) -> &Standing {
        &self.acknowledged.standing
    }

    /// Appends rows with one id each; a kill may still lose them.
    ///
    /// # Errors
    /// When the disk is full. What was acknowledged stays.
    pub fn append(&mut self, ids: &[Option<String>], rows: &Matrix) -> Result<()> {
        self.rows
            .write_all(bytemuck::cast_slice(&rows.data))
            .map_err(|e| Error::io("write", &self.paths.rows, e))?;
        let mut lines = Vec::new();
        for id in ids {
            serde_json::to_writer(&mut lines, id)
                .map_err(|e| Error::input("cannot write an id").caused_by(e))?;
            lines.push(b'\n');
        }
        self.ids.write_all(&lines).map_err(|e| Error::io("write", &self.paths.ids, e))?;
        self.appended_rows += ids.len() as u64;
        self.appended_id_bytes += lines.len() as u64;
        Ok(())
    }

    /// Makes all appended rows durable; from now on a kill or a power cut loses none of them.
    ///
    /// # Errors
    /// When the disk is full. What was acknowledged before stays.
    pub fn acknowledge(&mut self, standing: &Standing) -> Result<()> {
        for (file, path) in [(&mut self.rows, &self.paths.rows), (&mut self.ids, &self.paths.ids)] {
            file.flush()
                .and_then(|()| file.get_ref().sync_data())
                .map_err(|e| Error::io("write", path, e))?;
        }
        self.acknowledged.rows = self.appended_rows;
        self.acknowledged.id_bytes = self.appended_id_bytes;
        self.acknowledged.standing = standing.clone();
        let text = serde_json::to_vec_pretty(&self.acknowledged)
            .map_err(|e| Error::input("cannot write the progress").caused_by(e))?;
        atomic::write(&self.paths.progress, &text)
    }

    /// The acknowledged rows from the first on, in blocks.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn blocks(&self) -> Result<SpoolBlocks<'_>> {
        let open = |path| File::open(path).map_err(|e| Error::io("open", path, e));
        Ok(SpoolBlocks {
            spool: self,
            rows: BufReader::with_capacity(1 << 18, open(&self.paths.rows)?),
            ids: BufReader::new(open(&self.paths.ids)?),
            left: self.acknowledged.rows,
        })
    }

    /// Removes the files, once the output stands.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn remove(self) -> Result<()> {
        self.paths.remove()
    }
}

impl Acknowledged {
    fn row_bytes(&self) -> u64 {
        self.rows * (self.width * size_of::<f32>()) as u64
    }
}

/// Two runs that append to one file would ruin both.
fn open_alone(path: &Path, output: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(|e| Error::io("create", path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::input(format!(
            "another process is writing `{}` right now",
            output.display()
        ))),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", path, error)),
    }
}

fn refuse_changes(before: &Settings, now: &Settings) -> Result<()> {
    let none = "nothing".to_owned();
    let changes: Vec<String> = before
        .keys()
        .chain(now.keys().filter(|name| !before.contains_key(*name)))
        .filter(|name| before.get(*name) != now.get(*name))
        .map(|name| {
            let (before, now) = (before.get(name).unwrap_or(&none), now.get(name).unwrap_or(&none));
            format!("{name} was {before} and is {now}")
        })
        .collect();
    if changes.is_empty() {
        return Ok(());
    }
    Err(Error::mismatch(format!(
        "cannot resume, the settings have changed: {}",
        changes.join("; ")
    ))
    .hint("repeat the first command with `--resume`, or start again with `--overwrite`"))
}

/// Blocks of a [`Spool`], see [`Spool::blocks`].
pub struct SpoolBlocks<'a> {
    spool: &'a Spool,
    rows: BufReader<File>,
    ids: BufReader<File>,
    left: u64,
}

/// Rows in a block: a megabyte or two at usual widths.
const BLOCK_ROWS: u64 = 1024;

impl SpoolBlocks<'_> {
    fn read_block(&mut self) -> io::Result<(Vec<Option<String>>, Matrix)> {
        let count = self.left.min(BLOCK_ROWS) as usize;
        let dim = self.spool.acknowledged.width;
        let mut data = vec![0f32; count * dim];
        self.rows.read_exact(bytemuck::cast_slice_mut(&mut data))?;
        let ids =
            self.ids.by_ref().lines().take(count).map(|line| Ok(serde_json::from_str(&line?)?));
        let ids = ids.collect::<io::Result<Vec<_>>>()?;
        if ids.len() < count {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "there are fewer ids than rows",
            ));
        }
        self.left -= count as u64;
        Ok((ids, Matrix { data, dim }))
    }
}

impl Iterator for SpoolBlocks<'_> {
    type Item = Result<(Vec<Option<String>>, Matrix)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let block = self.read_block();
        Some(block.map_err(|e| Error::io("read", &self.spool.paths.rows, e)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WIDTH: usize = 3;

    fn settings(dimensions: &str) -> Settings {
        [("model".to_owned(), "abc".to_owned()), ("--dimensions".to_owned(), dimensions.to_owned())]
            .into()
    }

    fn rows(start: usize, count: usize) -> (Vec<Option<String>>, Matrix) {
        let ids =
            (start..start + count).map(|i| (i % 2 == 0).then(|| format!("{i}\n\"ü"))).collect();
        let data = (start * WIDTH..(start + count) * WIDTH).map(|i| i as f32).collect();
        (ids, Matrix { data, dim: WIDTH })
    }

    fn append(spool: &mut Spool, start: usize, count: usize) {
        let (ids, rows) = rows(start, count);
        spool.append(&ids, &rows).unwrap();
    }

    fn at(records: u64) -> Standing {
        Standing { records, ..Standing::default() }
    }

    fn all(spool: &Spool) -> (Vec<Option<String>>, Vec<f32>) {
        let (mut ids, mut data) = (Vec::new(), Vec::new());
        for block in spool.blocks().unwrap() {
            let (block_ids, block_rows) = block.unwrap();
            ids.extend(block_ids);
            data.extend(block_rows.data);
        }
        (ids, data)
    }

    #[test]
    fn acknowledged_rows_survive_and_later_ones_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("deep/out.npy");
        let mut spool = Spool::start(&output, settings("3"), WIDTH, &at(0)).unwrap();
        append(&mut spool, 0, 5);
        spool.acknowledge(&at(5)).unwrap();
        append(&mut spool, 5, 2000);
        drop(spool);

        let mut spool = Spool::resume(&output, &settings("3"), WIDTH).unwrap();
        assert_eq!((spool.rows(), spool.standing()), (5, &at(5)));
        append(&mut spool, 5, 3000);
        spool.acknowledge(&at(3005)).unwrap();
        let (ids, expected) = rows(0, 3005);
        assert_eq!(all(&spool), (ids, expected.data));
        spool.remove().unwrap();
        assert_eq!(fs::read_dir(output.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn a_run_stopped_before_its_first_row_resumes_too() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.npy");
        assert!(!Spool::exists(&output));
        drop(Spool::start(&output, settings("3"), WIDTH, &at(0)).unwrap());
        assert!(Spool::exists(&output));
        let spool = Spool::resume(&output, &settings("3"), WIDTH).unwrap();
        assert_eq!(all(&spool), (Vec::new(), Vec::new()));
    }

    #[test]
    fn changed_settings_are_refused_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.npy");
        drop(Spool::start(&output, settings("3"), WIDTH, &at(0)).unwrap());
        let error = Spool::resume(&output, &settings("2"), WIDTH).err().unwrap();
        assert_eq!(
            error.to_string(),
            "cannot resume, the settings have changed: --dimensions was 3 and is 2"
        );
    }

    #[test]
    fn two_runs_do_not_write_one_output() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.npy");
        let _running = Spool::start(&output, settings("3"), WIDTH, &at(0)).unwrap();
        for second in [
            Spool::resume(&output, &settings("3"), WIDTH),
            Spool::start(&output, settings("3"), WIDTH, &at(0)),
        ] {
            assert!(second.err().unwrap().to_string().contains("another process is writing"));
        }
    }

    /// What a run leaves that stopped after five rows.
    fn five_acknowledged_rows(output: &Path) -> Paths {
        let mut spool = Spool::start(output, settings("3"), WIDTH, &at(0)).unwrap();
        append(&mut spool, 0, 5);
        spool.acknowledge(&at(5)).unwrap();
        Paths::beside(output)
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.npy");
        let paths = five_acknowledged_rows(&output);
        File::options().write(true).open(&paths.rows).unwrap().set_len(7).unwrap();
        let resume = || Spool::resume(&output, &settings("3"), WIDTH).err().unwrap();
        assert!(resume().to_string().contains("is damaged"));
        fs::write(&paths.progress, b"{").unwrap();
        assert!(resume().to_string().contains("is damaged"));
    }

    #[test]
    fn wrong_bytes_are_refused_or_read_to_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.npy");
        let paths = five_acknowledged_rows(&output);
        let files = [&paths.progress, &paths.ids, &paths.rows];
        let whole = files.map(|path| fs::read(path).unwrap());
        let byte = prop_oneof![any::<u8>(), prop::sample::select(&b"0123456789,\"}]- e\n"[..])];
        let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(file in 0usize..3, place in 0.0..1.0, bytes in prop::collection::vec(byte, 0..4))| {
            for (i, (path, whole)) in files.iter().zip(&whole).enumerate() {
                let mut contents = whole.clone();
                let at = (place * contents.len() as f64) as usize;
                match &bytes[..] {
                    _ if i != file => {}
                    [] => contents.truncate(at),
                    new => contents.iter_mut().skip(at).zip(new).for_each(|(old, new)| *old = *new),
                }
                fs::write(path, contents).unwrap();
            }
            if let Ok(spool) = Spool::resume(&output, &settings("3"), WIDTH) {
                for block in spool.blocks().into_iter().flatten().map_while(Result::ok) {
                    prop_assert_eq!(block.0.len() * WIDTH, block.1.data.len());
                }
            }
        });
    }
}
