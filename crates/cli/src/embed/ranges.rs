//! Where the ranges of int8 and uint8 come from, and where they are kept for the next set of vectors.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::Args;
use hpd_encoder::{Precision, Ranges};
use hpd_files::spool::Spool;
use hpd_files::vectors::MatrixReader;
use hpd_files::{Error, Progress, Result, atomic};

use crate::terminal::Terminal;

/// Rows of calibration vectors read at a time.
const BLOCK_ROWS: usize = 4096;

/// Ranges on the command line.
#[derive(Args, Debug)]
#[group(id = "given-ranges", multiple = false)]
pub(super) struct RangeArguments {
    /// For int8 and uint8: take each dimension's range from these vectors (.npy, .safetensors) [default: from
    /// the vectors of the output itself]
    #[arg(long, value_name = "FILE")]
    calibration_vectors: Option<PathBuf>,
    /// For int8 and uint8: take the ranges of an earlier output, which stand beside it as OUTPUT.ranges.json.
    /// Only vectors made with the same ranges may be compared
    #[arg(long, value_name = "FILE")]
    ranges: Option<PathBuf>,
}

impl RangeArguments {
    pub(super) fn are_given(&self) -> bool {
        self.calibration_vectors.is_some() || self.ranges.is_some()
    }

    /// The ranges asked for, if any, checked against the width of the vectors.
    pub(super) fn given(
        &self,
        precision: Precision,
        width: usize,
        terminal: &Terminal,
    ) -> Result<Option<Ranges>> {
        if self.are_given() && !precision.needs_ranges() {
            return Err(Error::input(format!("precision {precision} has no ranges"))
                .hint("leave the ranges out, or ask for `--precision int8`"));
        }
        let ranges = match (&self.calibration_vectors, &self.ranges) {
            (Some(path), _) => of_vectors(path, terminal)?,
            (_, Some(path)) => read(path)?,
            (None, None) => return Ok(None),
        };
        ranges.check(width)?;
        Ok(Some(ranges))
    }
}

fn of_vectors(path: &Path, terminal: &Terminal) -> Result<Ranges> {
    let mut reader = MatrixReader::open(path)?;
    let mut ranges = Ranges::new(reader.dim());
    while let Some(rows) = reader.next_block(BLOCK_ROWS)? {
        ranges.widen(&rows);
    }
    warn_of_few(&ranges, terminal);
    Ok(ranges)
}

/// The ranges of the output itself, as sentence-transformers takes them when none are given.
pub(super) fn of_all(spool: &Spool, width: usize, terminal: &Terminal) -> Result<Ranges> {
    let mut ranges = Ranges::new(width);
    for block in spool.blocks()? {
        ranges.widen(&block?.1);
    }
    if ranges.vectors == 0 {
        // Nothing to quantise, and nothing to take ranges from.
        ranges = Ranges { minimum: vec![0.0; width], maximum: vec![0.0; width], vectors: 0 };
    }
    warn_of_few(&ranges, terminal);
    Ok(ranges)
}

fn warn_of_few(ranges: &Ranges, terminal: &Terminal) {
    if ranges.vectors < Ranges::FEW {
        let (found, few) = (ranges.vectors, Ranges::FEW);
        terminal.note(&format!(
            "the int8 ranges come from {found} vectors; with fewer than {few}, other vectors will often fall outside"
        ));
    }
}

fn read(path: &Path) -> Result<Ranges> {
    let text = fs::read(path).map_err(|e| Error::io("read", path, e))?;
    serde_json::from_slice(&text).map_err(|e| {
        Error::input(format!("`{}` holds no ranges", path.display()))
            .caused_by(e)
            .hint("name the `.ranges.json` beside an int8 output")
    })
}

/// Writes `OUTPUT.ranges.json`.
pub(super) fn write_beside(output: &Path, ranges: &Ranges) -> Result<()> {
    atomic::write(&beside(output), &written(ranges)?)
}

/// Removes `OUTPUT.ranges.json` if it holds other ranges.
pub(super) fn remove_others_beside(output: &Path, ranges: &Ranges) -> Result<()> {
    let file = beside(output);
    let found = match fs::read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|e| Error::io("read", &file, e))?,
    };
    if found == written(ranges)? {
        return Ok(());
    }
    fs::remove_file(&file).map_err(|e| Error::io("remove", &file, e))
}

fn beside(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".ranges.json");
    name.into()
}

fn written(ranges: &Ranges) -> Result<Vec<u8>> {
    serde_json::to_vec(ranges).map_err(|e| Error::input("cannot write the ranges").caused_by(e))
}
