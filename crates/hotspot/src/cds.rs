//! Archives of class data sharing: files that the VM maps, mostly called `classes.jsa`.

use crate::What;
use crate::flags::Flags;
use crate::labels::Labels;
use crate::target::Peek;
use crate::vm::Vm;
use offheap_target::page_bytes;
use std::collections::HashSet;

/// Labels every mapping of an archive. Parts of an archive that are mapped into the Java heap stay
/// the heap's.
pub(crate) fn label(vm: &Vm<'_>, flags: &Flags, labels: &mut Labels) {
    let files = named_by_flags(vm, flags);
    for vma in vm.target.vmas() {
        let by_name = vma.path.ends_with(".jsa") || vma.path.ends_with(".aot");
        if vma.is_file() && (by_name || files.contains(&vma.path)) {
            let name = vma.path.rsplit('/').next().unwrap_or_default();
            labels.add(vma.start, vma.end, What::Cds, name, "maps");
        }
    }
    // An archive that could not be mapped where it wants to be is read into anonymous memory of the
    // same range.
    let bounds =
        ["_shared_metaspace_base", "_shared_metaspace_top"].map(|field| vm.static_u64("MetaspaceObj", field));
    if let [Some(base), Some(top)] = bounds
        && base != 0
        && top > base
        && vm.target.is_mapped(base, top)
    {
        labels.add(base, top.next_multiple_of(page_bytes()), What::Cds, "shared classes", "vmStructs");
    }
}

/// Archives with other names, as the command line gave them; up to JDK 23 two may be joined by a
/// colon.
fn named_by_flags(vm: &Vm<'_>, flags: &Flags) -> HashSet<String> {
    ["SharedArchiveFile", "AOTCache"]
        .into_iter()
        .filter_map(|name| flags.text(vm.target, name))
        .flat_map(|value| value.split(':').map(str::to_owned).collect::<Vec<_>>())
        .filter(|path| path.starts_with('/'))
        .collect()
}
