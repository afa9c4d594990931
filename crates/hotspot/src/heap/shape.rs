//! Mappings that an object of libjvm's speaks of, told by their shape.
//!
//! A collector keeps the range of a table it reserved in one of four ways, none of which vmStructs
//! names: two addresses (`VirtualSpace`, `G1PageBasedVirtualSpace`), an address and a number of
//! words (`MemRegion`) or of bytes (`ReservedSpace`). An object of a few hundred words holds few
//! page-aligned words, so that asking for a mapped, page-aligned range of a plausible size leaves
//! none but those.

use crate::target::Peek;
use crate::vm::Vm;
use offheap_target::page_bytes;
use std::ops::Range;

/// Ranges that the `words` of an object speak of: mapped anonymous memory outside `except`, of a
/// size that `fits`.
pub(crate) fn ranges_in(
    vm: &Vm<'_>,
    words: &[u64],
    except: &Range<u64>,
    fits: impl Fn(u64) -> bool,
) -> Vec<Range<u64>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    for pair in words.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        if first == 0 || first % page_bytes() != 0 || except.contains(&first) {
            continue;
        }
        let ends = [
            Some(second),
            first.checked_add(second),
            second.checked_mul(8).and_then(|bytes| first.checked_add(bytes)),
        ];
        let range = ends
            .into_iter()
            .flatten()
            .filter(|end| end % page_bytes() == 0 && *end > first)
            .map(|end| first..end)
            .find(|range| fits(range.end - range.start) && is_own_mapping(vm, range));
        if let Some(range) = range
            && !found.contains(&range)
        {
            found.push(range);
        }
    }
    found
}

/// True where all of the range is anonymous private memory of any protection.
pub(super) fn is_own_mapping(vm: &Vm<'_>, range: &Range<u64>) -> bool {
    vm.target.vma(range.start).is_some_and(|vma| vma.path.is_empty() && !vma.shared)
        && vm.target.is_mapped(range.start, range.end)
}
