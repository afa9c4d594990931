//! Reading the JVM's memory.

pub(crate) use offheap_target::Target;

/// Most bytes of a text that is read.
pub(crate) const MOST_TEXT: usize = 4096;

use offheap_target::{Vma, find, page_bytes};

/// What cannot be read is `None` here: a racing VM makes that an everyday event, and every caller
/// has a next best answer.
pub(crate) trait Peek: Target {
    fn array<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read(address, &mut bytes).ok()?;
        Some(bytes)
    }

    fn u64(&self, address: u64) -> Option<u64> {
        self.array(address).map(u64::from_le_bytes)
    }

    fn u32(&self, address: u64) -> Option<u32> {
        self.array(address).map(u32::from_le_bytes)
    }

    fn i32(&self, address: u64) -> Option<i32> {
        self.array(address).map(i32::from_le_bytes)
    }

    fn u16(&self, address: u64) -> Option<u16> {
        self.array(address).map(u16::from_le_bytes)
    }

    fn u8(&self, address: u64) -> Option<u8> {
        self.array::<1>(address).map(|[byte]| byte)
    }

    /// The word at `address` where it is not zero.
    fn pointer(&self, address: u64) -> Option<u64> {
        self.u64(address).filter(|pointer| *pointer != 0)
    }

    /// `len` bytes at `address`; the caller has bounded `len`.
    fn bytes(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read(address, &mut bytes).ok()?;
        Some(bytes)
    }

    /// `count` words at `address`; the caller has bounded `count`.
    fn words(&self, address: u64, count: usize) -> Option<Vec<u64>> {
        let bytes = self.bytes(address, count.checked_mul(8)?)?;
        Some(bytes.chunks_exact(8).map(word).collect())
    }

    /// As many whole words at `address` as can be read, at most `count`: for objects whose size is
    /// only guessed.
    fn words_while_readable(&self, address: u64, count: usize) -> Vec<u64> {
        let mut words = Vec::new();
        while words.len() < count {
            let at = address.saturating_add(8 * words.len() as u64);
            let in_page = ((page_bytes() - at % page_bytes()) / 8).max(1) as usize;
            match self.words(at, in_page.min(count - words.len())) {
                Some(more) => words.extend(more),
                None => break,
            }
        }
        words
    }

    /// The text that ends with a NUL, or after `limit` bytes; what is not UTF-8 is replaced.
    fn c_string(&self, address: u64, limit: usize) -> Option<String> {
        let mut text = Vec::new();
        let mut at = address;
        while text.len() < limit {
            let mut chunk = [0u8; 64];
            let len = (64 - (at % 64) as usize).min(limit - text.len());
            let chunk = chunk.get_mut(..len)?;
            self.read(at, chunk).ok()?;
            if let Some(end) = chunk.iter().position(|byte| *byte == 0) {
                text.extend_from_slice(&chunk[..end]);
                break;
            }
            text.extend_from_slice(chunk);
            at = at.checked_add(len as u64)?;
        }
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// The mapping that holds `address`.
    fn vma(&self, address: u64) -> Option<&Vma> {
        find(self.vmas(), address)
    }

    /// True where every byte of the range is mapped, by whatever number of mappings.
    fn is_mapped(&self, start: u64, end: u64) -> bool {
        let vmas = self.vmas();
        let first = vmas.partition_point(|vma| vma.end <= start);
        let mut at = start;
        for vma in vmas.iter().skip(first).take_while(|vma| vma.start < end) {
            if vma.start > at && self.lists_reservations() {
                return false;
            }
            at = vma.end;
        }
        // What nobody may access may be missing behind as well, but something is there.
        start < end && (at >= end || at > start && !self.lists_reservations())
    }
}

impl<T: Target + ?Sized> Peek for T {}

/// The eight bytes as a word.
pub(crate) fn word(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}
