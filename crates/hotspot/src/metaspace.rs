//! Metaspace and the compressed class space (memory/metaspace/virtualSpaceList.hpp,
//! virtualSpaceNode.hpp).
//!
//! vmStructs doesn't name their nodes. libjvm's symbols lead to the two lists; a build without them
//! is read by where its classes and their constant pools lie, in slots of the size that nodes are
//! made of.

use crate::classes;
use crate::flags::Flags;
use crate::hsperf::Hsperf;
use crate::labels::Labels;
use crate::libjvm::{
    METASPACE_CLASS, METASPACE_CLASS_11, METASPACE_NONCLASS, METASPACE_NONCLASS_11, METASPACE_USED_11,
    METASPACE_USED_CLASS, METASPACE_USED_NONCLASS,
};
use crate::target::Peek;
use crate::vm::Vm;
use crate::{Space, What};
use offheap_target::page_bytes;
use std::collections::BTreeSet;
use std::ops::Range;

/// More nodes than there are: one of 64 MB (16 MB before 24, 4 MB before 16) each.
const MAX_NODES: usize = 100_000;
/// Words of a list or a node that are searched.
const OBJECT_WORDS: usize = 12;

/// What was read of them.
pub(crate) struct Metaspace {
    pub(crate) metaspace: Space,
    pub(crate) class_space: Space,
    /// False where nodes may be missing.
    pub(crate) complete: bool,
    /// The slots that classes were found in, to be labelled again without another walk.
    pub(crate) slots: Slots,
}

/// Address ranges found by the classes in them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slots {
    metaspace: BTreeSet<(u64, u64)>,
    class_space: BTreeSet<(u64, u64)>,
}

/// Reads both spaces and labels them.
pub(crate) fn read(
    vm: &Vm<'_>,
    flags: &Flags,
    hsperf: Option<&Hsperf>,
    feature: u32,
    earlier: Option<Slots>,
    labels: &mut Labels,
) -> Metaspace {
    let class = list(vm, METASPACE_CLASS, METASPACE_CLASS_11);
    let nonclass = list(vm, METASPACE_NONCLASS, METASPACE_NONCLASS_11);
    let mut slots = Slots::default();
    let complete = if let Some(list) = &nonclass {
        for node in class.iter().flat_map(|list| &list.nodes) {
            labels.add(node.start, node.end, What::ClassSpace, "class space", "symbols");
        }
        for node in &list.nodes {
            labels.add(node.start, node.end, What::Metaspace, "metaspace", "symbols");
        }
        true
    } else {
        slots = earlier.unwrap_or_else(|| find_slots(vm, feature));
        for (start, end) in &slots.class_space {
            labels.add(*start, *end, What::ClassSpace, "class space", "classes");
        }
        for (start, end) in &slots.metaspace {
            labels.add(*start, *end, What::Metaspace, "metaspace", "classes");
        }
        !slots.metaspace.is_empty()
    };
    let [class_used, nonclass_used] = used(vm);
    let counter = |space: &str, name: &str| {
        hsperf.and_then(|hsperf| hsperf.number(&format!("sun.gc.{space}.{name}"))).filter(|bytes| *bytes != 0)
    };
    let space = |list: Option<&List>, used: Option<u64>, slots: &BTreeSet<(u64, u64)>, name: &str| Space {
        reserved: list.map_or_else(
            || slots.iter().map(|(start, end)| end - start).sum(),
            |list| list.nodes.iter().map(|node| node.end - node.start).sum(),
        ),
        // The collectors publish these at a collection, so they are 0 before the first one and may
        // be late.
        committed: list.and_then(|list| list.committed).or_else(|| counter(name, "capacity")),
        used: used.or_else(|| counter(name, "used")),
        max: None,
    };
    let mut class_space = space(class.as_ref(), class_used, &slots.class_space, "compressedclassspace");
    // hsperfdata counts both spaces together under "metaspace".
    let mut metaspace = space(nonclass.as_ref(), nonclass_used, &slots.metaspace, "metaspace");
    if nonclass.as_ref().is_none_or(|list| list.committed.is_none()) {
        metaspace.committed =
            metaspace.committed.map(|both| both.saturating_sub(class_space.committed.unwrap_or(0)));
    }
    if nonclass_used.is_none() {
        let class_used = counter("compressedclassspace", "used").unwrap_or(0);
        metaspace.used = metaspace.used.map(|both| both.saturating_sub(class_used));
    }
    if class_space.reserved > 0 {
        class_space.max = flags.number(vm.target, "CompressedClassSpaceSize");
    }
    // The default is "no limit", kept as a page multiple just below 2^64.
    metaspace.max = flags.number(vm.target, "MaxMetaspaceSize").filter(|max| *max < 1 << 60);
    Metaspace { metaspace, class_space, complete, slots }
}

/// A `VirtualSpaceList`.
#[derive(Debug)]
struct List {
    nodes: Vec<Range<u64>>,
    committed: Option<u64>,
}

/// The list behind one of the two contexts, or up to JDK 15 behind the pointer to the list itself.
fn list(vm: &Vm<'_>, context: &str, list_11: &str) -> Option<List> {
    let list = match vm.variable(context).filter(|context| *context != 0) {
        // MetaspaceContext: name, list, chunk manager.
        Some(context) => vm.target.pointer(context.checked_add(8)?)?,
        None => vm.variable(list_11).filter(|list| *list != 0)?,
    };
    // VirtualSpaceList: first node; from 16 a vtable and a name before it.
    let first = vm.target.words_while_readable(list, 3).into_iter().find(|node| {
        *node != 0 && node_range(vm, &vm.target.words_while_readable(*node, OBJECT_WORDS)).is_some()
    })?;
    read_list(vm, list, first)
}

fn read_list(vm: &Vm<'_>, list: u64, first: u64) -> Option<List> {
    let mut nodes = Vec::new();
    let mut node = first;
    while node != 0 && nodes.len() < MAX_NODES {
        let words = vm.target.words_while_readable(node, OBJECT_WORDS);
        nodes.push(node_range(vm, &words)?);
        node = *words.first()?;
    }
    // The counters of reserved and committed words follow each other; the reserved one proves
    // itself.
    let reserved: u64 = nodes.iter().map(|node| (node.end - node.start) / 8).sum();
    let words = vm.target.words_while_readable(list, OBJECT_WORDS);
    let committed = words
        .windows(2)
        .find(|pair| pair[0] == reserved && reserved != 0 && pair[1] <= reserved)
        .map(|pair| pair[1] * 8);
    (!nodes.is_empty()).then_some(List { nodes, committed })
}

/// The `ReservedSpace` in a node: the first address and size that are a mapped, page-aligned range.
fn node_range(vm: &Vm<'_>, words: &[u64]) -> Option<Range<u64>> {
    words.windows(2).skip(1).find_map(|pair| {
        let [start, size] = *pair.first_chunk::<2>()?;
        let end = start.checked_add(size)?;
        let aligned = start % page_bytes() == 0 && size % page_bytes() == 0;
        (aligned && start != 0 && (page_bytes()..1 << 42).contains(&size) && vm.target.is_mapped(start, end))
            .then_some(start..end)
    })
}

/// Bytes in use of the class space and the rest, where libjvm has symbols for the counters (11 to
/// 21; kept in words).
fn used(vm: &Vm<'_>) -> [Option<u64>; 2] {
    // MetaspaceUtils::_used_words is indexed by MetadataType: ClassType is 0, NonClassType 1.
    if let Some(both) = vm.libjvm.variable(METASPACE_USED_11) {
        return [0, 8].map(|offset| vm.target.u64(both.address + offset)?.checked_mul(8));
    }
    [METASPACE_USED_CLASS, METASPACE_USED_NONCLASS].map(|symbol| vm.variable(symbol)?.checked_mul(8))
}

/// Where classes and constant pools lie, as slots of the nodes' size clipped to their mappings.
fn find_slots(vm: &Vm<'_>, feature: u32) -> Slots {
    // A node is a multiple of the largest chunk, aligned to it.
    let slot_size: u64 = match feature {
        24.. => 16 << 20,
        16..24 => 4 << 20,
        _ => 1 << 20,
    };
    let slot = |address: u64| {
        let vma = vm.target.vma(address).filter(|vma| vma.path.is_empty())?;
        let start = address - address % slot_size;
        Some((start.max(vma.start), (start + slot_size).min(vma.end)))
    };
    let mut slots = Slots::default();
    classes::each_class(vm, |klass| {
        slots.class_space.extend(slot(klass));
        let is_instance = vm.u32(klass, "Klass", "_layout_helper").is_some_and(|helper| helper as i32 > 0);
        if is_instance && let Some(pool) = vm.pointer(klass, "InstanceKlass", "_constants") {
            slots.metaspace.extend(slot(pool));
        }
    });
    // Without a class space, classes lie among the rest.
    slots.class_space = slots.class_space.difference(&slots.metaspace).copied().collect();
    slots
}
