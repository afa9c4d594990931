//! What is in use by itself: static fields, threads, what lies on their stacks, and what JNI code holds.

use super::Marker;
use crate::classes;
use crate::libjvm::GLOBAL_HANDLES;
use crate::oops::Oops;
use crate::target::word;
use crate::threads;
use crate::vm::Vm;
use offheap_linux::Task;
use std::collections::HashMap;

/// Bytes of one stack that are looked at.
const MOST_STACK: u64 = 8 << 20;

/// Marks every root; `None` where the threads can't be listed, false where what JNI code holds was not found.
pub(super) fn each(vm: &Vm<'_>, oops: &Oops, marker: &mut Marker<'_>, tasks: &[Task]) -> Option<bool> {
    for klass in marker.shapes.loaded() {
        let Some(mirror) = classes::mirror(vm, oops, klass) else { continue };
        marker.mark(mirror);
        for offset in classes::static_references(vm, klass) {
            if let Some(object) = marker.blocks.reference(oops, mirror.wrapping_add(offset)) {
                marker.mark(object);
            }
        }
    }
    let pointers: HashMap<i32, u64> =
        tasks.iter().filter_map(|task| Some((task.inner_tid, task.stack_pointer?))).collect();
    for thread in threads::java_stacks(vm)? {
        if let Some(object) = oops.held(vm, thread.object, "JavaThread", "_threadObj") {
            marker.mark(object);
        }
        // Where it is known how deep the stack is now, what lies below is of calls that are over.
        let top = pointers.get(&thread.tid).copied().filter(|top| thread.stack.contains(top));
        let start = top.unwrap_or(thread.stack.start).max(thread.stack.end.saturating_sub(MOST_STACK)) & !7;
        stack(vm, marker, start, thread.stack.end);
    }
    Some(global_handles(vm, oops, marker).is_some())
}

/// Marks every word on a stack that looks like a reference.
fn stack(vm: &Vm<'_>, marker: &mut Marker<'_>, start: u64, end: u64) {
    for run in vm.target.runs(start & !4095, end) {
        let mut bytes = vec![0; (run.end - run.start) as usize];
        let count = vm.target.read_bulk(run.start, &mut bytes);
        let skip = start.saturating_sub(run.start) as usize;
        for word in bytes.get(skip..count).unwrap_or_default().chunks_exact(8).map(word) {
            marker.mark_word(word);
        }
    }
}

/// Marks what JNI code holds by global references (gc/shared/oopStorage.hpp): the storage has an array of blocks of 64
/// references. vmStructs says nothing of it, so the array is told by its shape: a size, a smaller count, then the blocks.
fn global_handles(vm: &Vm<'_>, oops: &Oops, marker: &mut Marker<'_>) -> Option<()> {
    const FIELDS: usize = 8;
    const MOST_BLOCKS: u64 = 1 << 20;
    /// Size, count and a counter of users.
    const HEADER: u64 = 24;
    const REFERENCES: usize = 64;
    let storage = vm.target.pointer(vm.libjvm.variable(GLOBAL_HANDLES)?.address)?;
    let mut found = None;
    for field in vm.target.words_while_readable(storage, FIELDS) {
        let Some(head) = (field % 8 == 0).then(|| vm.target.words(field, 3)).flatten() else { continue };
        let [size, count, _users] = head.as_slice() else { continue };
        if *size == 0 || *size > MOST_BLOCKS || count > size {
            continue;
        }
        let Some(blocks) = vm.target.words(field.checked_add(HEADER)?, *count as usize) else { continue };
        for block in blocks {
            for reference in vm.target.words(block, REFERENCES).unwrap_or_default() {
                marker.mark(oops.address(reference));
            }
        }
        found = Some(());
    }
    found
}
