//! Reading libjvm's own objects: an address, a type, a field.

use crate::libjvm::Libjvm;
use crate::tables::Tables;
use crate::target::{Peek, Target};
use std::ops::Range;

/// Everything needed to read one of libjvm's objects.
#[derive(Clone, Copy)]
pub(crate) struct Vm<'a> {
    pub(crate) target: &'a dyn Target,
    pub(crate) tables: &'a Tables,
    pub(crate) libjvm: &'a Libjvm,
}

/// `VirtualSpace` (memory/virtualspace.hpp): a reserved range of which a part is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VirtualSpace {
    pub(crate) reserved: Range<u64>,
    pub(crate) committed: Range<u64>,
}

impl VirtualSpace {
    /// `None` where the two ranges don't fit each other.
    pub(crate) fn new(reserved: Range<u64>, committed: Range<u64>) -> Option<Self> {
        let fits = !reserved.is_empty()
            && reserved.start <= committed.start
            && committed.start <= committed.end
            && committed.end <= reserved.end;
        fits.then_some(VirtualSpace { reserved, committed })
    }

    pub(crate) fn reserved_len(&self) -> u64 {
        self.reserved.end - self.reserved.start
    }

    pub(crate) fn committed_len(&self) -> u64 {
        self.committed.end - self.committed.start
    }
}

impl Vm<'_> {
    /// Address of a field of the object at `object`.
    pub(crate) fn place(&self, object: u64, owner: &str, field: &str) -> Option<u64> {
        object.checked_add(self.tables.offset(owner, field)?)
    }

    pub(crate) fn u64(&self, object: u64, owner: &str, field: &str) -> Option<u64> {
        self.target.u64(self.place(object, owner, field)?)
    }

    /// A field that is a pointer and not null.
    pub(crate) fn pointer(&self, object: u64, owner: &str, field: &str) -> Option<u64> {
        self.target.pointer(self.place(object, owner, field)?)
    }

    pub(crate) fn u32(&self, object: u64, owner: &str, field: &str) -> Option<u32> {
        self.target.u32(self.place(object, owner, field)?)
    }

    pub(crate) fn static_u64(&self, owner: &str, field: &str) -> Option<u64> {
        self.target.u64(self.tables.address(owner, field)?)
    }

    pub(crate) fn static_pointer(&self, owner: &str, field: &str) -> Option<u64> {
        self.target.pointer(self.tables.address(owner, field)?)
    }

    /// The word in one of libjvm's variables.
    pub(crate) fn variable(&self, symbol: &str) -> Option<u64> {
        self.target.u64(self.libjvm.variable(symbol)?.address)
    }

    /// The `VirtualSpace` at `address`.
    pub(crate) fn virtual_space(&self, address: u64) -> Option<VirtualSpace> {
        let word = |field| self.u64(address, "VirtualSpace", field);
        let reserved = word("_low_boundary")?..word("_high_boundary")?;
        VirtualSpace::new(reserved, word("_low")?..word("_high")?)
    }

    /// The `VirtualSpace` that is a field of `object`.
    pub(crate) fn virtual_space_of(&self, object: u64, owner: &str, field: &str) -> Option<VirtualSpace> {
        self.virtual_space(self.place(object, owner, field)?)
    }

    /// The `PSVirtualSpace` (gc/parallel/psVirtualspace.hpp) at `address`.
    pub(crate) fn ps_virtual_space(&self, address: u64) -> Option<VirtualSpace> {
        let word = |field| self.u64(address, "PSVirtualSpace", field);
        let reserved = word("_reserved_low_addr")?..word("_reserved_high_addr")?;
        VirtualSpace::new(reserved, word("_committed_low_addr")?..word("_committed_high_addr")?)
    }

    /// The `MemRegion` (memory/memRegion.hpp) at `address`: a start and a length in words.
    pub(crate) fn region(&self, address: u64) -> Option<Range<u64>> {
        let start = self.u64(address, "MemRegion", "_start")?;
        let bytes = self.u64(address, "MemRegion", "_word_size")?.checked_mul(8)?;
        Some(start..start.checked_add(bytes)?)
    }

    /// True where the object at `object` is of a class with virtual functions: it starts with a
    /// pointer into libjvm.
    pub(crate) fn has_vtable(&self, object: u64) -> bool {
        self.target.u64(object).is_some_and(|vtable| self.libjvm.range.contains(&vtable))
    }
}
