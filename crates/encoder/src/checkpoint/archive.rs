//! The part of the zip format that PyTorch writes: stored entries, found through the central directory.
//!
//! A reader of one's own, because nothing is compressed in these files: what is left of zip is a table of
//! names and places. All places come out of the file, so each is checked before it is used.

use std::collections::BTreeMap;
use std::ops::Range;

use super::bytes::Bytes;

/// Names and places of the entries of a zip file.
#[derive(Debug)]
pub(super) struct Archive<'file> {
    file: &'file [u8],
    entries: BTreeMap<String, Range<usize>>,
}

const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const END_64_LOCATOR: u32 = 0x0706_4b50;
const DIRECTORY_ENTRY: u32 = 0x0201_4b50;
const LOCAL_HEADER: u32 = 0x0403_4b50;
const END_LENGTH: usize = 22;
const LOCATOR_LENGTH: usize = 20;
/// A field that does not fit, so that its value stands in the 64-bit record.
const ELSEWHERE: u64 = 0xffff_ffff;

impl<'file> Archive<'file> {
    /// Reads the table of contents.
    pub(super) fn open(file: &'file [u8]) -> Result<Self, String> {
        let (start, count) = directory(file)?;
        let mut directory = Bytes::at(file, start)?;
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let (name, place) = entry(file, &mut directory)?;
            entries.insert(name, place);
        }
        Ok(Self { file, entries })
    }

    /// The contents of an entry.
    pub(super) fn get(&self, name: &str) -> Option<&'file [u8]> {
        self.entries.get(name).map(|place| &self.file[place.clone()])
    }

    /// Names of all entries, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }
}

/// Where the central directory begins and how many entries it has.
fn directory(file: &[u8]) -> Result<(u64, u64), String> {
    let end =
        find_end(file).ok_or("the zip directory at its end is missing; is the file cut off?")?;
    let mut record = Bytes::at(file, end as u64 + 10)?;
    let count = u64::from(record.u16()?);
    record.skip(4)?;
    let start = u64::from(record.u32()?);
    if start != ELSEWHERE && count != 0xffff {
        return Ok((start, count));
    }
    let locator = end.checked_sub(LOCATOR_LENGTH).ok_or("the 64-bit zip directory is missing")?;
    let mut locator = Bytes::at(file, locator as u64)?;
    locator.expect_u32(END_64_LOCATOR, "locator of the 64-bit zip directory")?;
    locator.skip(4)?;
    let mut record = Bytes::at(file, locator.u64()?)?;
    record.expect_u32(END_64, "end of the 64-bit zip directory")?;
    record.skip(28)?;
    let count = record.u64()?;
    record.skip(8)?;
    Ok((record.u64()?, count))
}

/// The end record stands before a comment of at most 65,535 bytes.
fn find_end(file: &[u8]) -> Option<usize> {
    let last = file.len().checked_sub(END_LENGTH)?;
    let first = last.saturating_sub(0xffff);
    (first..=last).rev().find(|&at| file[at..].starts_with(&END.to_le_bytes()))
}

/// The next entry of the directory: its name and where its contents are.
fn entry(file: &[u8], directory: &mut Bytes<'_>) -> Result<(String, Range<usize>), String> {
    directory.expect_u32(DIRECTORY_ENTRY, "entry of the zip directory")?;
    directory.skip(4)?;
    let flags = directory.u16()?;
    let method = directory.u16()?;
    directory.skip(8)?;
    let stored = u64::from(directory.u32()?);
    let size = u64::from(directory.u32()?);
    let name_length = directory.u16()?;
    let extra_length = directory.u16()?;
    let comment_length = directory.u16()?;
    directory.skip(8)?;
    let header = u64::from(directory.u32()?);
    let name = String::from_utf8_lossy(directory.take(name_length.into())?).into_owned();
    let extra = directory.take(extra_length.into())?;
    directory.skip(comment_length.into())?;

    if flags & 1 != 0 || method != 0 {
        return Err(format!(
            "entry `{name}` is compressed or encrypted, which PyTorch never writes"
        ));
    }
    let [size, _, header] = widen([size, stored, header], extra)?;
    let place =
        contents(file, header, size).map_err(|reason| format!("entry `{name}`: {reason}"))?;
    Ok((name, place))
}

/// Replaces fields that stand elsewhere by those of the 64-bit extra field, which lists them in this order.
fn widen(fields: [u64; 3], extra: &[u8]) -> Result<[u64; 3], String> {
    const ID_64: u16 = 1;
    if !fields.contains(&ELSEWHERE) {
        return Ok(fields);
    }
    let mut extra = Bytes::at(extra, 0)?;
    loop {
        let id = extra.u16().map_err(|_| "a 64-bit size is missing")?;
        let length = extra.u16()?;
        let mut field = Bytes::at(extra.take(length.into())?, 0)?;
        if id == ID_64 {
            let mut wide = fields;
            for value in wide.iter_mut().filter(|value| **value == ELSEWHERE) {
                *value = field.u64()?;
            }
            return Ok(wide);
        }
    }
}

/// The bytes behind a local header, whose name and extra field may be longer than the directory's.
fn contents(file: &[u8], header: u64, size: u64) -> Result<Range<usize>, String> {
    let mut local = Bytes::at(file, header)?;
    local.expect_u32(LOCAL_HEADER, "header")?;
    local.skip(22)?;
    let name_length = local.u16()?;
    let extra_length = local.u16()?;
    local.skip(usize::from(name_length) + usize::from(extra_length))?;
    let start = local.position();
    let size = usize::try_from(size).map_err(|_| format!("{size} bytes do not fit in memory"))?;
    local.skip(size)?;
    Ok(start..start + size)
}
