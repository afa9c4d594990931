//! Reading unwind tables: numbers and pointers as DWARF and the LSB encode them, within bounds.

use super::opcodes::*;

/// A place in a section's bytes.
pub struct Cursor<'a> {
    /// All that may be read.
    pub bytes: &'a [u8],
    /// Where the next byte is.
    pub pos: usize,
    /// Run time address of the first byte.
    pub start: u64,
}

impl Cursor<'_> {
    /// Whether all is read.
    pub fn done(&self) -> bool {
        self.pos >= self.bytes.len()
    }

    /// Run time address of the next byte.
    pub fn addr(&self) -> u64 {
        self.start + self.pos as u64
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let end = self.pos.checked_add(N)?;
        let a = self.bytes.get(self.pos..end)?.try_into().ok()?;
        self.pos = end;
        Some(a)
    }

    /// The next byte; `None` at the end, as below.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Leaves bytes out.
    pub fn skip(&mut self, n: u64) -> Option<()> {
        let n = usize::try_from(n).ok()?;
        self.pos = self.pos.checked_add(n).filter(|&p| p <= self.bytes.len())?;
        Some(())
    }

    /// An unsigned LEB128 number.
    pub fn uleb(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let b = self.u8()?;
            value |= u64::from(b & 0x7f) << shift;
            if b & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A signed LEB128 number.
    pub fn sleb(&mut self) -> Option<i64> {
        let mut value = 0i64;
        for shift in (0..63).step_by(7) {
            let b = self.u8()?;
            value |= i64::from(b & 0x7f) << shift;
            if b & 0x80 == 0 {
                let bits = shift + 7;
                return Some(if b & 0x40 != 0 && bits < 64 { value | -1i64 << bits } else { value });
            }
        }
        None
    }

    /// A DW_EH_PE-encoded value: absolute or relative to its own place.
    pub fn pointer(&mut self, encoding: u8) -> Option<u64> {
        let here = self.addr();
        let value = match encoding & DW_EH_PE_FORMAT {
            DW_EH_PE_ABSPTR | DW_EH_PE_UDATA8 | DW_EH_PE_SDATA8 => self.u64()?,
            DW_EH_PE_ULEB128 => self.uleb()?,
            DW_EH_PE_UDATA2 => u64::from(self.u16()?),
            DW_EH_PE_UDATA4 => u64::from(self.u32()?),
            DW_EH_PE_SDATA2 => self.u16()? as i16 as u64,
            DW_EH_PE_SDATA4 => self.u32()? as i32 as u64,
            _ => return None,
        };
        match encoding & DW_EH_PE_APPLICATION {
            DW_EH_PE_ABSPTR => Some(value),
            DW_EH_PE_PCREL => Some(here.wrapping_add(value)),
            _ => None,
        }
    }
}
