//! x86-64 (Documentation/arch/x86/x86_64/mm.rst).

/// Bytes of a page. There is no other base page size.
#[inline]
pub const fn page_bytes() -> u64 {
    4096
}

/// The half of the address space that programs get with five levels of page tables.
pub const END_OF_ADDRESSES: u64 = 1 << 56;
/// The same with four, which is what mmap gives out unless it is asked for more.
pub const END_OF_USUAL_ADDRESSES: u64 = 1 << 47;
/// `EM_X86_64`.
pub const MACHINE: u16 = object::elf::EM_X86_64.0;
