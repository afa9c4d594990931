//! The bytes of another address space.

/// Why an address could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No mapping holds it, or not all of it.
    #[error("address {0:#x} is not mapped")]
    NotMapped(u64),
    /// Reading it would make it resident, or the core file doesn't hold it.
    #[error("the page of address {0:#x} is not present, so it was not read")]
    NotPresent(u64),
    /// The kernel refused, or the process ended.
    #[error("address {0:#x} could not be read")]
    Failed(u64),
}

/// The bytes of another address space. A read never maps, allocates or changes anything there.
pub trait Memory {
    /// Fills `buffer` from `address`. For structures; large ranges go faster by
    /// [`Memory::read_bulk`].
    ///
    /// # Errors
    /// Where a byte is not mapped, not present or can't be read; the buffer is then in no
    /// particular state.
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError>;

    /// Reads a range whose pages the caller knows to hold something ([`crate::Target::runs`]);
    /// returns how many bytes were read, which is less than the buffer where the memory was
    /// unmapped meanwhile.
    fn read_bulk(&self, address: u64, buffer: &mut [u8]) -> usize;

    /// Forgets what was read, so that the next reads see the memory as it is then. Nothing to do
    /// where it never changes.
    fn forget(&self) {}
}
