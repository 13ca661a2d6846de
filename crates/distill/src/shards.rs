//! Teacher vectors on disk: written once, shard by shard, and read from then on without loading them.
//!
//! Separate from the teachers because all of them end here, and training needs only [`TeacherVectors`].
//! A cache is a folder named after its teacher and its sentences, so that two never mix:
//!
//! ```text
//! cache/3f0c…-91ab…/manifest.json      whose vectors, of which sentences, how many, and a checksum a shard
//!                   shard-00000.f16    4096 rows of little-endian half floats, nothing else
//!                   shard-00001.f16
//!                   lock               empty; locked while a shard and the manifest are written
//! ```
//!
//! A shard gets its name when it is whole and its checksum enters the manifest after that, so a killed process
//! loses the shard in work and nothing else. Several runs may share a cache: who writes a shard holds the lock of the folder and
//! takes over what others wrote into the manifest. Half floats, because a unit vector rounded to them moves by less
//! than 2e-4 of its length while a million rows of 384 fit in 0.8 GB.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt;
use hpd_files::fingerprint::Fingerprinter;
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Fingerprint, Result, atomic};
use hpd_kernels::map::FileMap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Rows in a shard; the last one may have fewer.
pub const SHARD_ROWS: usize = 4096;

const VERSION: u32 = 1;
const DTYPE: &str = "f16";
const MANIFEST: &str = "manifest.json";
const LOCK: &str = "lock";

/// Whose vectors a cache holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeacherCard {
    /// `model`, `vectors` or `endpoint`.
    pub kind: String,
    /// The folder, file or address, for people.
    pub name: String,
    /// Names everything that the vectors depend on: weights, prompt, length, address.
    pub fingerprint: String,
    /// The words in front of each sentence, as far as known here.
    pub prompt: Option<String>,
    /// Tokens at which sentences are cut, as far as known here.
    pub max_seq_length: Option<usize>,
}

impl TeacherCard {
    /// Of a teacher whose vectors depend on `parts`.
    pub(crate) fn new(kind: &str, name: &str, parts: &[String]) -> Self {
        let mut fingerprint = Fingerprinter::new();
        fingerprint.add_part(kind.as_bytes());
        for part in parts {
            fingerprint.add_part(part.as_bytes());
        }
        Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            fingerprint: fingerprint.finish().to_string(),
            prompt: None,
            max_seq_length: None,
        }
    }
}

/// What `manifest.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    /// Whose vectors these are.
    pub teacher: TeacherCard,
    /// Fingerprint of the sentences, content and order.
    pub sentences: String,
    /// Rows in all shards together when they are whole.
    pub rows: usize,
    /// Numbers in a row; 0 before the first shard.
    pub dim: usize,
    shard_rows: usize,
    dtype: String,
    /// A checksum for each whole shard.
    shards: Vec<Option<String>>,
}

/// A folder of shards under construction.
#[derive(Debug)]
pub struct TeacherCache {
    folder: PathBuf,
    manifest: Manifest,
}

impl TeacherCache {
    /// Opens or starts the cache of `teacher` over `rows` sentences in a folder of its own under `parent`.
    /// Shards that are missing, cut short or changed are forgotten and will be written again.
    ///
    /// # Errors
    /// When the folder cannot be made or its manifest is damaged or of another version.
    ///
    /// # Cost
    /// Reads all shards there are once, to verify them.
    pub fn open(
        parent: &Path,
        teacher: &TeacherCard,
        sentences: Fingerprint,
        rows: usize,
    ) -> Result<Self> {
        let folder = parent.join(folder_name(teacher, sentences));
        let fresh = Manifest::new(teacher, sentences, rows);
        let mut cache = match read_manifest(&folder)? {
            None => Self { folder, manifest: fresh },
            Some(found) => Self { manifest: fresh.continued(found, &folder)?, folder },
        };
        cache.forget_damaged();
        Ok(cache)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the manifest says now.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The shards still to be written, with the rows each of them takes.
    pub fn missing(&self) -> Vec<(usize, Range<usize>)> {
        let shards = self.manifest.shards.iter().enumerate();
        let missing = shards.filter(|(_, checksum)| checksum.is_none());
        missing.map(|(shard, _)| (shard, self.manifest.rows_of(shard))).collect()
    }

    /// Writes shard `shard` durably, and keeps those that another run has written meanwhile.
    ///
    /// # Errors
    /// When the rows have another width than the shards before, their number is wrong, a number does not fit
    /// into half precision, or the disk is full.
    pub fn write(&mut self, shard: usize, rows: &Matrix) -> Result<()> {
        let expected = self.manifest.rows_of(shard);
        if rows.len() != expected.len() {
            return Err(Error::mismatch(format!(
                "rows of shard {shard}: expected {}, found {}",
                expected.len(),
                rows.len()
            )));
        }
        self.check_width(rows.dim)?;
        let bytes = half_bytes(rows).map_err(|row| {
            Error::input(format!("vector {}: not finite in half precision", expected.start + row))
        })?;
        let _lock = self.lock()?;
        atomic::write(&self.shard_path(shard), &bytes)?;
        self.manifest.dim = rows.dim;
        self.take_over_shards();
        self.manifest.shards[shard] = Some(Fingerprint::of(&bytes).to_string());
        self.write_manifest()
    }

    /// Checks that vectors of `width` numbers go with the shards there are.
    ///
    /// # Errors
    /// When they do not.
    pub fn check_width(&self, width: usize) -> Result<()> {
        match self.manifest.dim {
            0 if width > 0 => Ok(()),
            dim if dim == width => Ok(()),
            dim => Err(Error::mismatch(format!(
                "width of the vectors of teacher `{}`: expected {dim} as in `{}`, found {width}",
                self.manifest.teacher.name,
                self.folder.display()
            ))),
        }
    }

    /// Opens the vectors once no shard is missing.
    ///
    /// # Errors
    /// When one is, or a shard cannot be opened.
    pub fn into_vectors(self) -> Result<TeacherVectors> {
        let missing = self.missing().len();
        if missing > 0 {
            return Err(Error::mismatch(format!(
                "teacher vectors in `{}`: {missing} shards are missing",
                self.folder.display()
            )));
        }
        let shards = (0..self.manifest.shards.len()).map(|shard| {
            let map = self.map(shard)?;
            self.manifest.check_size(shard, map.len(), &self.shard_path(shard))?;
            Ok(map)
        });
        Ok(TeacherVectors { shards: shards.collect::<Result<_>>()?, manifest: self.manifest })
    }

    /// A sentence that is embedded already, and its vector.
    ///
    /// # Errors
    /// When its shard cannot be read.
    pub fn some_row(&self) -> Result<Option<(usize, Vec<f32>)>> {
        let Some(shard) = self.manifest.shards.iter().position(Option::is_some) else {
            return Ok(None);
        };
        let mut numbers = vec![0.0; self.manifest.dim];
        copy_half_row(&self.map(shard)?, 0, &mut numbers);
        Ok(Some((shard * self.manifest.shard_rows, numbers)))
    }

    fn map(&self, shard: usize) -> Result<FileMap> {
        let path = self.shard_path(shard);
        FileMap::open(&path).map_err(|e| Error::io("read", &path, e))
    }

    fn shard_path(&self, shard: usize) -> PathBuf {
        self.folder.join(format!("shard-{shard:05}.f16"))
    }

    fn forget_damaged(&mut self) {
        let whole = |shard: usize, checksum: &str| {
            let path = self.shard_path(shard);
            let fits = fs::metadata(&path)
                .is_ok_and(|about| self.manifest.shard_bytes(shard) == Some(about.len()));
            fits && Fingerprint::of_file(&path).is_ok_and(|found| found.to_string() == checksum)
        };
        let shards =
            self.manifest.shards.par_iter().enumerate().map(|(shard, checksum)| {
                checksum.clone().filter(|checksum| whole(shard, checksum))
            });
        self.manifest.shards = shards.collect();
        if self.manifest.shards.iter().all(Option::is_none) {
            self.manifest.dim = 0;
        }
    }

    /// Held until it is dropped; nobody else writes until then.
    fn lock(&self) -> Result<File> {
        let path = self.folder.join(LOCK);
        atomic::create_parent(&path)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|e| Error::io("open", &path, e))?;
        match file.lock() {
            // Some network file systems have no locks; there, a cache is for one run at a time.
            Err(error) if error.kind() != ErrorKind::Unsupported => {
                Err(Error::io("lock", &path, error))
            }
            _ => Ok(file),
        }
    }

    /// Adds the shards that only the manifest on disk has. One of them that was found damaged here is about to be written
    /// again, or will be found so by the next run.
    fn take_over_shards(&mut self) {
        let Ok(Some(found)) = read_manifest(&self.folder) else { return };
        if !self.manifest.continues(&found) || found.dim != self.manifest.dim {
            return;
        }
        for (own, theirs) in self.manifest.shards.iter_mut().zip(found.shards) {
            *own = own.take().or(theirs);
        }
    }

    fn write_manifest(&self) -> Result<()> {
        let path = self.folder.join(MANIFEST);
        let text = serde_json::to_vec_pretty(&self.manifest)
            .map_err(|e| Error::io("write", &path, std::io::Error::other(e)))?;
        atomic::write(&path, &text)
    }
}

/// The teacher's vectors of all sentences, row i for sentence i, in half precision on disk.
#[derive(Debug)]
pub struct TeacherVectors {
    shards: Vec<FileMap>,
    manifest: Manifest,
}

impl TeacherVectors {
    /// Numbers in a row.
    pub fn dim(&self) -> usize {
        self.manifest.dim
    }

    /// Rows, one a sentence.
    pub fn len(&self) -> usize {
        self.manifest.rows
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whose vectors these are, and of which sentences.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Copies row `i` to `numbers`, which is [`TeacherVectors::dim`] long.
    pub fn copy_row(&self, i: usize, numbers: &mut [f32]) {
        let shard_rows = self.manifest.shard_rows;
        copy_half_row(&self.shards[i / shard_rows], i % shard_rows, numbers);
    }

    /// Copies the rows `rows`, one after another.
    pub fn gather(&self, rows: &[u32]) -> Matrix {
        let dim = self.dim();
        let mut data = vec![0.0; rows.len() * dim];
        for (numbers, &row) in data.chunks_exact_mut(dim).zip(rows) {
            self.copy_row(row as usize, numbers);
        }
        Matrix { data, dim }
    }
}

impl Manifest {
    fn new(teacher: &TeacherCard, sentences: Fingerprint, rows: usize) -> Self {
        Self {
            version: VERSION,
            teacher: teacher.clone(),
            sentences: sentences.to_string(),
            rows,
            dim: 0,
            shard_rows: SHARD_ROWS,
            dtype: DTYPE.to_owned(),
            shards: vec![None; rows.div_ceil(SHARD_ROWS)],
        }
    }

    /// Whether `found` is about the same vectors, however many of them it has.
    fn continues(&self, found: &Self) -> bool {
        found.version == VERSION
            && found.teacher.fingerprint == self.teacher.fingerprint
            && found.sentences == self.sentences
            && found.rows == self.rows
            && found.shard_rows == self.shard_rows
            && found.dtype == self.dtype
            && found.shards.len() == self.shards.len()
    }

    /// What to go on with, given the manifest found in the folder.
    fn continued(self, found: Self, folder: &Path) -> Result<Self> {
        if self.continues(&found) {
            return Ok(found);
        }
        Err(Error::mismatch(format!(
            "`{}` holds vectors of another teacher, sentence list or version",
            folder.join(MANIFEST).display()
        ))
        .hint(format!("remove the folder `{}`, it is only a cache", folder.display())))
    }

    fn rows_of(&self, shard: usize) -> Range<usize> {
        let start = shard * self.shard_rows;
        start..(start + self.shard_rows).min(self.rows)
    }

    /// Size of a shard's file, if it can be counted: a damaged manifest may name any width.
    fn shard_bytes(&self, shard: usize) -> Option<u64> {
        let row = (self.dim as u64).checked_mul(size_of::<f16>() as u64)?;
        row.checked_mul(self.rows_of(shard).len() as u64)
    }

    fn check_size(&self, shard: usize, found: usize, path: &Path) -> Result<()> {
        let expected = self.shard_bytes(shard).unwrap_or(u64::MAX);
        if expected == found as u64 {
            return Ok(());
        }
        let path = path.display();
        Err(Error::mismatch(format!("size of `{path}`: expected {expected} bytes, found {found}")))
    }
}

fn folder_name(teacher: &TeacherCard, sentences: Fingerprint) -> String {
    let teacher = Fingerprint::of(teacher.fingerprint.as_bytes());
    format!("{}-{}", teacher.short(), sentences.short())
}

fn read_manifest(folder: &Path) -> Result<Option<Manifest>> {
    let path = folder.join(MANIFEST);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", &path, error)),
    };
    let manifest = serde_json::from_slice(&bytes).map_err(|error| {
        Error::input(format!("`{}` is damaged", path.display()))
            .hint(format!("remove the folder `{}`, it is only a cache", folder.display()))
            .caused_by(error)
    })?;
    Ok(Some(manifest))
}

/// Row `row` of a mapped shard. A map starts at a page, so its halves are aligned.
fn copy_half_row(shard: &[u8], row: usize, numbers: &mut [f32]) {
    let halves: &[f16] = bytemuck::cast_slice(shard);
    halves[row * numbers.len()..][..numbers.len()].convert_to_f32_slice(numbers);
}

/// The first number that half precision cannot hold (NaN, infinity or beyond 65504), and its row.
pub fn first_unfit(rows: &Matrix) -> Option<(usize, f32)> {
    let unfit = rows.data.iter().position(|&number| !f16::from_f32(number).is_finite())?;
    Some((unfit / rows.dim, rows.data[unfit]))
}

/// Little-endian half floats, or the first row that does not fit.
fn half_bytes(rows: &Matrix) -> Result<Vec<u8>, usize> {
    if let Some((row, _)) = first_unfit(rows) {
        return Err(row);
    }
    let mut bytes = vec![0; rows.data.len() * size_of::<f16>()];
    for (pair, &number) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(&rows.data) {
        *pair = f16::from_f32(number).to_le_bytes();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::damage::damage;

    const ROWS: usize = 2 * SHARD_ROWS + 10;

    fn card(what: &str) -> TeacherCard {
        TeacherCard::new("model", "teacher", &[what.to_owned()])
    }

    fn open(parent: &Path) -> TeacherCache {
        TeacherCache::open(parent, &card("a"), Fingerprint::of(b"sentences"), ROWS).unwrap()
    }

    /// Row i is (i / 8, −i / 8, 1).
    fn matrix(rows: Range<usize>) -> Matrix {
        let data = rows.flat_map(|i| [i as f32 / 8.0, -(i as f32) / 8.0, 1.0]).collect();
        Matrix { data, dim: 3 }
    }

    fn fill(cache: &mut TeacherCache, at_most: usize) {
        for (shard, rows) in cache.missing().into_iter().take(at_most) {
            cache.write(shard, &matrix(rows)).unwrap();
        }
    }

    fn bytes(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn rows_come_back_rounded_to_half_precision() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = open(folder.path());
        fill(&mut cache, 3);
        let vectors = cache.into_vectors().unwrap();
        assert_eq!((vectors.len(), vectors.dim()), (ROWS, 3));
        let mut row = [0.0; 3];
        for i in [0, 1, SHARD_ROWS - 1, SHARD_ROWS, 2 * SHARD_ROWS, ROWS - 1] {
            vectors.copy_row(i, &mut row);
            let expected = f16::from_f32(i as f32 / 8.0).to_f32();
            assert_eq!(row, [expected, -expected, 1.0], "row {i}");
            assert_eq!(vectors.gather(&[7, i as u32]).row(1), row);
        }
    }

    #[test]
    fn stopped_and_resumed_is_never_stopped() {
        let (straight, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut cache = open(straight.path());
        fill(&mut cache, 3);
        for _ in 0..3 {
            let mut part = open(stopped.path());
            fill(&mut part, 1);
        }
        let resumed = open(stopped.path());
        assert!(resumed.missing().is_empty());
        assert_eq!(bytes(cache.folder()), bytes(resumed.folder()));
    }

    #[test]
    fn two_runs_that_share_a_cache_keep_each_others_shards() {
        let folder = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (open(folder.path()), open(folder.path()));
        fill(&mut one, 1);
        other.write(2, &matrix(2 * SHARD_ROWS..ROWS)).unwrap();
        let missing: Vec<usize> = open(folder.path()).missing().iter().map(|(s, _)| *s).collect();
        assert_eq!(missing, [1]);
        one.write(1, &matrix(SHARD_ROWS..2 * SHARD_ROWS)).unwrap();
        assert_eq!(one.into_vectors().unwrap().gather(&[7]).data, matrix(7..8).data);
    }

    #[test]
    fn a_shard_without_its_checksum_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = open(folder.path());
        fill(&mut cache, 1);
        let before = fs::read(cache.folder().join(MANIFEST)).unwrap();
        fill(&mut cache, 1);
        // As if killed between the shard and the manifest.
        fs::write(cache.folder().join(MANIFEST), before).unwrap();
        let missing: Vec<usize> = open(folder.path()).missing().iter().map(|(s, _)| *s).collect();
        assert_eq!(missing, [1, 2]);
    }

    #[test]
    fn changed_cut_or_lost_shards_are_written_again_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = open(folder.path());
        fill(&mut cache, 3);
        let whole = bytes(cache.folder());
        let path = cache.shard_path(1);
        let mut changed = fs::read(&path).unwrap();
        changed[100] ^= 1;
        for damage in [Some(changed.clone()), Some(changed[..100].to_vec()), None] {
            match damage {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let mut again = open(folder.path());
            assert_eq!(again.missing(), [(1, SHARD_ROWS..2 * SHARD_ROWS)]);
            fill(&mut again, 3);
            assert_eq!(bytes(again.folder()), whole);
        }
    }

    #[test]
    fn another_teacher_or_sentence_list_gets_another_folder() {
        let folder = tempfile::tempdir().unwrap();
        let sentences = Fingerprint::of(b"sentences");
        let place = |teacher, sentences| {
            let cache = TeacherCache::open(folder.path(), &card(teacher), sentences, 5).unwrap();
            cache.folder().to_owned()
        };
        assert_ne!(place("a", sentences), place("b", sentences));
        assert_ne!(place("a", sentences), place("a", Fingerprint::of(b"others")));
        assert_eq!(place("a", sentences), place("a", sentences));
    }

    #[test]
    fn another_width_is_refused_also_after_resuming() {
        let folder = tempfile::tempdir().unwrap();
        fill(&mut open(folder.path()), 1);
        let wide = Matrix { data: vec![0.0; SHARD_ROWS * 4], dim: 4 };
        let message = open(folder.path()).write(1, &wide).unwrap_err().to_string();
        assert!(message.contains("expected 3") && message.ends_with("found 4"), "{message}");
    }

    #[test]
    fn numbers_beyond_half_precision_are_refused_with_their_row() {
        let folder = tempfile::tempdir().unwrap();
        for bad in [f32::NAN, f32::INFINITY, -65520.0] {
            let mut rows = matrix(0..SHARD_ROWS);
            rows.data[3 * 41 + 1] = bad;
            let message = open(folder.path()).write(0, &rows).unwrap_err().to_string();
            assert!(message.starts_with("vector 41:"), "{message}");
        }
        let mut largest = matrix(0..SHARD_ROWS);
        largest.data[0] = 65519.0;
        open(folder.path()).write(0, &largest).unwrap();
    }

    #[test]
    fn a_damaged_or_foreign_manifest_is_an_error_that_names_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = open(folder.path());
        fill(&mut cache, 1);
        let path = cache.folder().join(MANIFEST);
        let again =
            || TeacherCache::open(folder.path(), &card("a"), Fingerprint::of(b"sentences"), ROWS);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(again().unwrap_err().hint_text().unwrap().contains("remove the folder"));
        fs::write(&path, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
        assert!(again().unwrap_err().to_string().contains("another teacher"));
    }

    /// What is read is what was written, or the cache says what is wrong, or it begins again.
    #[test]
    fn a_manifest_with_wrong_bytes_is_never_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = open(folder.path());
        fill(&mut cache, 3);
        let path = cache.folder().join(MANIFEST);
        let whole = fs::read(&path).unwrap();
        let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(damage in damage())| {
            fs::write(&path, damage.done_to(&whole)).unwrap();
            let opened =
                TeacherCache::open(folder.path(), &card("a"), Fingerprint::of(b"sentences"), ROWS);
            if let Ok(cache) = opened {
                if let Some((row, numbers)) = cache.some_row().unwrap() {
                    prop_assert_eq!(numbers, matrix(row..row + 1).data);
                }
                if let Ok(vectors) = cache.into_vectors() {
                    prop_assert_eq!(vectors.gather(&[7]).data, matrix(7..8).data);
                }
            }
        });
    }

    #[test]
    fn a_manifest_that_names_another_width_begins_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = open(folder.path());
        fill(&mut cache, 3);
        let path = cache.folder().join(MANIFEST);
        let text = fs::read_to_string(&path).unwrap();
        for width in ["4", "9000000000000000000"] {
            fs::write(&path, text.replace("\"dim\": 3", &format!("\"dim\": {width}"))).unwrap();
            let cache = open(folder.path());
            assert_eq!((cache.missing().len(), cache.some_row().unwrap()), (3, None));
        }
    }

    #[test]
    fn unfinished_vectors_do_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = open(folder.path());
        fill(&mut cache, 2);
        assert!(cache.into_vectors().unwrap_err().to_string().ends_with("1 shards are missing"));
    }
}
