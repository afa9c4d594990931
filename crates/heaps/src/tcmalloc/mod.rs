//! tcmalloc, gperftools' and Google's: known by name, and by the maps that bear its own.
//!
//! gperftools' takes memory by `sbrk` first and keeps its own structures there too
//! (`DefaultSysAllocator` in system-alloc.cc); Google's names its maps.

use crate::Allocator;
use crate::allocator::Version;
use crate::named::Named;
use crate::ranges::Ranges;

pub(crate) static ALLOCATOR: Allocator = Allocator {
    name: "tcmalloc",
    gives_back_by: Some("MallocExtension_ReleaseFreeMemory()"),
    marks: &["tc_malloc", "TCMallocInternalMalloc", "MallocExtension_Internal_GetNumericProperty"],
    libraries: &["libtcmalloc"],
    version: Version::Text {
        part: b"gperftools ",
        accepts: |_| true,
        take: |text| crate::identify::after(text, "gperftools "),
    },
    open: |_| {
        Box::new(Named {
            allocator: "tcmalloc",
            ranges: |_, _| Ranges::default(),
            belongs: |vma| vma.path == "[heap]" || vma.path.starts_with("[anon:tcmalloc"),
        })
    },
};
