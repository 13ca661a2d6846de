//! What a file of vectors is.

use std::path::Path;

use hpd_files::vectors::MatrixReader;
use hpd_files::{Error, Result};

use super::Findings;

/// Rows looked at in one go.
const BLOCK_ROWS: usize = 4096;

/// Shape and type from the header; with `verify`, every number is looked at.
pub(super) fn inspect(path: &Path, verify: bool) -> Result<Findings> {
    let mut reader = MatrixReader::open(path)?;
    let bytes = path.metadata().map_err(|e| Error::io("read", path, e))?.len();
    let mut findings = Findings::new("vectors");
    findings.fact("rows", reader.rows());
    findings.fact("dimensions", reader.dim());
    findings.fact("type", reader.number_name());
    findings.bytes("bytes", bytes);
    if verify {
        findings.problems = problems(&mut reader);
        findings.fact("whole", findings.problems.is_empty());
    }
    Ok(findings)
}

fn problems(reader: &mut MatrixReader) -> Vec<String> {
    loop {
        match reader.next_block(BLOCK_ROWS) {
            Ok(Some(_)) => {}
            Ok(None) => return Vec::new(),
            Err(error) => return vec![error.to_string()],
        }
    }
}
