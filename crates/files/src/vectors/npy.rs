//! The header of numpy's `.npy`: a Python literal behind a magic, a version and a length.
//!
//! # Source
//! NEP 1 and numpy's `lib/format.py`.

use std::io::{self, Read};

use super::layout::{Layout, Number};
use super::writer::Element;
use crate::{Error, Result};

pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// Headers written here all have this length, so that a row count can be put in when it is known.
pub(crate) const HEADER_BYTES: usize = 128;

/// Headers are about a hundred bytes; only a damaged file claims more than this.
const LONGEST_HEADER: u64 = 1 << 20;

/// The header of `rows × dim` numbers, [`HEADER_BYTES`] long for any size.
pub(crate) fn header(element: Element, rows: u64, dim: usize) -> Vec<u8> {
    let descr = match element {
        Element::Float32 => "<f4",
        Element::Int8 => "|i1",
        Element::UInt8 => "|u1",
    };
    let literal =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
    let length = HEADER_BYTES - MAGIC.len() - 4;
    let mut header = MAGIC.to_vec();
    header.extend([1, 0]);
    header.extend((length as u16).to_le_bytes());
    header.extend(format!("{literal:<width$}\n", width = length - 1).bytes());
    header
}

/// Reads the rest of a header, behind the magic, in a file of `file_bytes`.
pub(super) fn read_layout(file: &mut impl Read, file_bytes: u64) -> Result<Layout> {
    let (text, start) = read_header(file).map_err(|error| {
        Error::input("the header is cut off or of an unknown version").caused_by(error)
    })?;
    let header = Header::parse(&text).ok_or_else(|| {
        Error::input(format!("the header `{}` cannot be understood", text.trim()))
    })?;
    let number = match header.descr.as_str() {
        "<f2" => Number::Float16,
        "<f4" => Number::Float32,
        "<f8" => Number::Float64,
        other => {
            return Err(Error::input(format!(
                "the numbers are of type `{other}`; expected `<f2`, `<f4` or `<f8`"
            ))
            .hint("in Python: `numpy.save(path, array.astype('<f4'))`"));
        }
    };
    // One row or one column is the same in both orders.
    if header.fortran_order && header.shape.iter().all(|&length| length > 1) {
        return Err(Error::input("the array is stored by columns (Fortran order)")
            .hint("in Python: `numpy.save(path, numpy.ascontiguousarray(array))`"));
    }
    Layout::new(&header.shape, number, start, file_bytes.saturating_sub(start))
}

fn read_header(file: &mut impl Read) -> io::Result<(String, u64)> {
    let mut version = [0; 2];
    file.read_exact(&mut version)?;
    let (length, before) = match version[0] {
        1 => {
            let mut length = [0; 2];
            file.read_exact(&mut length)?;
            (u64::from(u16::from_le_bytes(length)), 10)
        }
        2 | 3 => {
            let mut length = [0; 4];
            file.read_exact(&mut length)?;
            (u64::from(u32::from_le_bytes(length)), 12)
        }
        other => return Err(io::Error::other(format!("version {other}"))),
    };
    if length > LONGEST_HEADER {
        return Err(io::Error::other(format!("a header of {length} bytes")));
    }
    let mut text = String::new();
    file.take(length).read_to_string(&mut text)?;
    if text.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((text, before + length))
}

#[derive(Debug, Default, PartialEq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, keys in any order.
    fn parse(text: &str) -> Option<Self> {
        let mut header = Self::default();
        let mut rest = Literal(text.trim());
        rest.expect("{")?;
        while rest.expect("}").is_none() {
            let key = rest.string()?;
            rest.expect(":")?;
            match key {
                "descr" => rest.string()?.clone_into(&mut header.descr),
                "fortran_order" => header.fortran_order = rest.boolean()?,
                "shape" => header.shape = rest.tuple()?,
                _ => return None,
            }
            rest.expect(",");
        }
        rest.0.is_empty().then_some(header)
    }
}

/// What is left of a Python literal.
struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    fn expect(&mut self, token: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(token)?.trim_start();
        Some(())
    }

    fn string(&mut self) -> Option<&'a str> {
        let quote = self.0.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (string, rest) = self.0[1..].split_once(quote)?;
        self.0 = rest.trim_start();
        Some(string)
    }

    fn boolean(&mut self) -> Option<bool> {
        match self.expect("True") {
            Some(()) => Some(true),
            None => self.expect("False").map(|()| false),
        }
    }

    fn tuple(&mut self) -> Option<Vec<usize>> {
        let mut numbers = Vec::new();
        self.expect("(")?;
        while self.expect(")").is_none() {
            let digits = self.0.find(|c: char| !c.is_ascii_digit())?;
            numbers.push(self.0[..digits].parse().ok()?);
            self.0 = self.0[digits..].trim_start();
            self.expect(",");
        }
        Some(numbers)
    }
}
