//! A cursor over bytes that come from outside: every step is checked, none panics.

/// Bytes and how far they were read.
#[derive(Clone, Debug)]
pub(super) struct Bytes<'file> {
    all: &'file [u8],
    position: usize,
}

impl<'file> Bytes<'file> {
    /// Starts at `position`.
    pub(super) fn at(all: &'file [u8], position: u64) -> Result<Self, String> {
        match usize::try_from(position) {
            Ok(position) if position <= all.len() => Ok(Self { all, position }),
            _ => Err(format!("it points to byte {position}, but there are {}", all.len())),
        }
    }

    /// How many bytes were read, counted from the first of all.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'file [u8], String> {
        let rest = &self.all[self.position..];
        let taken = rest.get(..count).ok_or_else(|| {
            format!("it ends {} bytes too early", count.saturating_sub(rest.len()))
        })?;
        self.position += count;
        Ok(taken)
    }

    /// The bytes before the next line feed, which is dropped.
    pub(super) fn line(&mut self) -> Result<&'file [u8], String> {
        let rest = &self.all[self.position..];
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or("it ends within a line")?;
        self.position += length + 1;
        Ok(&rest[..length])
    }

    /// Passes over `count` bytes.
    pub(super) fn skip(&mut self, count: usize) -> Result<(), String> {
        self.take(count).map(drop)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, String> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, String> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    /// Refuses anything but `value`, the mark of a `what`.
    pub(super) fn expect_u32(&mut self, value: u32, what: &str) -> Result<(), String> {
        let at = self.position;
        if self.u32()? == value { Ok(()) } else { Err(format!("at byte {at} there is no {what}")) }
    }
}
