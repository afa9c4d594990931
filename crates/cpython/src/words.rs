//! Memory as the readers of this crate see it: bytes at addresses, or nothing.

use offheap_target::Memory;

/// Reads bytes at addresses. What can't be read is `None`: garbage is followed all the time.
pub(crate) trait Words {
    /// Fills `buffer` from `address`; false where a byte of it can't be read.
    fn fill(&self, address: u64, buffer: &mut [u8]) -> bool;

    /// The word at `address`.
    fn word(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.fill(address, &mut bytes).then(|| u64::from_le_bytes(bytes))
    }

    /// The half word at `address`.
    fn half(&self, address: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        self.fill(address, &mut bytes).then(|| u32::from_le_bytes(bytes))
    }

    /// The byte at `address`.
    fn byte(&self, address: u64) -> Option<u8> {
        let mut bytes = [0; 1];
        self.fill(address, &mut bytes).then(|| bytes[0])
    }

    /// The `len` bytes at `address`.
    fn bytes(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.fill(address, &mut bytes).then_some(bytes)
    }
}

impl<T: Memory + ?Sized> Words for T {
    fn fill(&self, address: u64, buffer: &mut [u8]) -> bool {
        self.read(address, buffer).is_ok()
    }
}

/// The word at `offset` of `bytes`; 0 behind their end.
pub(crate) fn word_in(bytes: &[u8], offset: usize) -> u64 {
    bytes
        .get(offset..offset.saturating_add(8))
        .and_then(|word| word.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}
