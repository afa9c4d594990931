//! mimalloc: memory comes in segments (1 and 2) or arenas (3) of its own making, each told by its
//! head.

mod arenas;
mod segments;

use crate::allocator::Version;
use crate::named::Named;
use crate::ranges::Ranges;
use crate::{Allocator, Options};
use offheap_target::Target;

pub(crate) static ALLOCATOR: Allocator = Allocator {
    name: "mimalloc",
    gives_back_by: Some("mi_collect(true)"),
    marks: &["mi_malloc"],
    libraries: &["libmimalloc"],
    // libc.so.6 and libjemalloc.so.2 name an interface; libmimalloc.so.2.0 names a version.
    version: Version::FileName,
    open: |_| Box::new(Named { allocator: "mimalloc", ranges, belongs: |_| false }),
};

fn ranges(target: &dyn Target, options: &Options<'_>) -> Ranges {
    // No process has both: it is of one release. The marks of segments are the surer ones.
    let segments = segments::ranges(target, options);
    if segments.iter().next().is_some() { segments } else { arenas::ranges(target, options) }
}
