//! A bound on what is read of an ELF file: its headers say how large its tables are and how many
//! names they have, and a file that is not ours may say anything.

use object::ReadRef;
use std::cell::Cell;
use std::ops::Range;

/// Bytes that are read of one file: libjvm with all of its debugging information has 200 MB of
/// tables and names, a browser 1 GB.
pub const ELF_BYTES: u64 = 1 << 30;

/// The data of an ELF file, of which a bounded number of bytes is read in all; what comes after is
/// an error.
#[derive(Debug, Clone, Copy)]
pub struct Bounded<'b, R> {
    data: R,
    left: &'b Cell<u64>,
}

impl<'b, R> Bounded<'b, R> {
    /// `left` is how much may be read yet.
    pub fn new(data: R, left: &'b Cell<u64>) -> Self {
        Bounded { data, left }
    }

    fn take(&self, bytes: u64) -> Result<(), ()> {
        self.left.set(self.left.get().checked_sub(bytes).ok_or(())?);
        Ok(())
    }
}

impl<'a, R: ReadRef<'a>> ReadRef<'a> for Bounded<'_, R> {
    fn len(self) -> Result<u64, ()> {
        self.data.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        self.take(size)?;
        self.data.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        let bytes = self.data.read_bytes_at_until(range, delimiter)?;
        // The cache below remembers each with its end.
        self.take(bytes.len() as u64 + 1)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_is_left() {
        let left = Cell::new(10);
        let data = Bounded::new(&b"name\0name\0name\0"[..], &left);
        assert_eq!(data.read_bytes_at(0, 4), Ok(&b"name"[..]));
        assert_eq!(data.read_bytes_at_until(5..15, 0), Ok(&b"name"[..]));
        assert_eq!(data.read_bytes_at_until(10..15, 0), Err(()), "one is left");
        assert_eq!(data.read_bytes_at(0, 2), Err(()));
        assert_eq!(data.read_bytes_at(0, 1), Ok(&b"n"[..]));
        assert_eq!(data.len(), Ok(15));
    }
}
