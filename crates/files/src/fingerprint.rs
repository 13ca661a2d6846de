//! Names for contents: the same bytes have the same fingerprint, on every machine and in every version.

use std::fmt;
use std::io::Read;
use std::path::Path;

use crate::{Error, Result};

/// A 128-bit content hash (the first half of BLAKE3), printed as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 16]);

/// Collects bytes into a [`Fingerprint`].
#[derive(Clone, Default)]
pub struct Fingerprinter(blake3::Hasher);

impl Fingerprinter {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes` as they are; the borders between two calls leave no trace.
    pub fn add(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// Adds `bytes` with their length in front, so that ("ab", "c") differs from ("a", "bc").
    pub fn add_part(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// The fingerprint of all that was added.
    pub fn finish(&self) -> Fingerprint {
        let mut half = [0; 16];
        half.copy_from_slice(&self.0.finalize().as_bytes()[..16]);
        Fingerprint(half)
    }
}

impl Fingerprint {
    /// Of a run of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Fingerprinter::new().add(bytes).finish()
    }

    /// Of a file's contents, read in pieces.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_file(path: &Path) -> Result<Self> {
        let fail = |error| Error::io("read", path, error);
        let mut file = std::fs::File::open(path).map_err(fail)?;
        let mut hasher = Fingerprinter::new();
        let mut piece = vec![0; 1 << 20];
        loop {
            match file.read(&mut piece).map_err(fail)? {
                0 => return Ok(hasher.finish()),
                n => hasher.add(&piece[..n]),
            };
        }
    }

    /// The hash itself.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The first eight bytes as a number, for draws.
    pub fn leading(&self) -> u64 {
        self.0.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
    }

    /// The first 12 digits, enough for people to tell two apart.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
