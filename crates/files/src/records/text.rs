//! Bytes to lines: gzip, byte order marks, line ends and UTF-8.
//!
//! Everything that can be wrong with a text file before its format matters.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use super::{LONGEST_RECORD, Record, Source};
use crate::fingerprint::Fingerprinter;
use crate::{Error, ErrorKind, Result};

const BUFFER_BYTES: usize = 1 << 18;
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Opens a source for reading by line, decompressed (all gzip members) and without a byte order mark.
pub(super) fn open(source: &Source) -> Result<Box<dyn BufRead + Send>> {
    let raw: Box<dyn BufRead + Send> = match source {
        Source::File(path) => {
            let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, file))
        }
        Source::Stdin => Box::new(BufReader::with_capacity(BUFFER_BYTES, io::stdin())),
    };
    plain_text(raw).map_err(|e| cannot_read(source, 0, e))
}

fn plain_text(raw: Box<dyn BufRead + Send>) -> io::Result<Box<dyn BufRead + Send>> {
    let (head, raw) = peek(raw, GZIP_MAGIC.len())?;
    let text: Box<dyn BufRead + Send> = if head == GZIP_MAGIC {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(raw)))
    } else {
        raw
    };
    let (head, mut text) = peek(text, BYTE_ORDER_MARK.len())?;
    if head == BYTE_ORDER_MARK {
        text.read_exact(&mut [0; BYTE_ORDER_MARK.len()])?;
    }
    Ok(text)
}

/// Looks at the first bytes and puts them back; a pipe may give them one by one.
fn peek(
    mut input: Box<dyn BufRead + Send>,
    count: usize,
) -> io::Result<(Vec<u8>, Box<dyn BufRead + Send>)> {
    let mut head = Vec::new();
    input.by_ref().take(count as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(input))))
}

/// An error of reading as opposed to one of content; gzip tells of damage by these kinds.
pub(super) fn cannot_read(source: &Source, line: u64, error: io::Error) -> Error {
    let past = if line == 0 { String::new() } else { format!(" past line {line}") };
    let damaged = matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
    );
    let error = Error::new(ErrorKind::Io, format!("cannot read {source}{past}")).caused_by(error);
    if damaged { error.hint("the file is cut off or damaged; fetch it again") } else { error }
}

/// Lines of a source, one at a time; with [`Lines::record`] each is a text.
pub(super) struct Lines {
    source: Source,
    input: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    number: u64,
    too_long: bool,
}

impl Lines {
    pub(super) fn open(source: &Source) -> Result<Self> {
        let input = open(source)?;
        Ok(Self { source: source.clone(), input, line: Vec::new(), number: 0, too_long: false })
    }

    pub(super) fn advance(&mut self, seen: &mut Fingerprinter) -> Result<bool> {
        let more = self.read_line().map_err(|e| cannot_read(&self.source, self.number, e))?;
        if more {
            self.number += 1;
            seen.add_part(&self.line);
        }
        Ok(more)
    }

    fn read_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        let mut bounded = self.input.by_ref().take(LONGEST_RECORD);
        if bounded.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(false);
        }
        let ended = self.line.last() == Some(&b'\n');
        self.too_long = !ended && bounded.limit() == 0;
        if self.too_long {
            self.input.skip_until(b'\n')?;
        } else if ended {
            self.line.pop();
        }
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        Ok(true)
    }

    /// The current line as it stands in the file, without its end.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.line
    }

    /// The current line as text.
    pub(super) fn text(&self) -> Result<&str> {
        if self.too_long {
            let limit = LONGEST_RECORD >> 20;
            return Err(Error::input(format!("{} is longer than {limit} MiB", self.place())));
        }
        utf8(&self.line, || self.place())
    }

    /// `line 3 of `file``, for errors.
    pub(super) fn place(&self) -> String {
        format!("line {} of {}", self.number, self.source)
    }

    pub(super) fn record(&self) -> Result<Record> {
        let text = self.text()?.to_owned();
        Ok(Record { text, ..Record::default() })
    }
}

/// `bytes` as text, or an error that shows the first byte that is none.
pub(super) fn utf8(bytes: &[u8], place: impl Fn() -> String) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let byte = bytes.get(at).copied().unwrap_or_default();
        Error::input(format!("{} is not UTF-8: found byte 0x{byte:02x} at offset {at}", place()))
    })
}
