//! What is in use by itself: static fields, threads, what lies on their stacks, and what JNI code
//! holds.

use super::Marker;
use super::blocks::Blocks;
use super::shapes::Shapes;
use crate::classes;
use crate::handles;
use crate::libjvm::GLOBAL_HANDLES;
use crate::oops::Oops;
use crate::target::word;
use crate::threads::{self, JavaStack};
use crate::vm::Vm;
use offheap_target::Task;
use offheap_target::page_start;
use std::collections::HashMap;

/// Bytes of one stack that are looked at.
const MOST_STACK: u64 = 8 << 20;

/// Where objects were reached from.
pub(super) enum Root {
    /// A static field of a class: the class, the offset in its mirror, and the object that it
    /// refers to.
    Static { klass: u64, offset: u64, object: u64 },
    /// The stack of a thread, by its name.
    Stack(String),
    /// What a thread's object holds: its ThreadLocals.
    Thread(String),
    /// A global reference of JNI code.
    Jni,
    /// The mirror of a class.
    Class,
}

impl Root {
    /// In words.
    pub(super) fn words(&self, vm: &Vm<'_>, shapes: &Shapes<'_>, blocks: &mut Blocks<'_>) -> Option<String> {
        Some(match self {
            Root::Static { klass, offset, object } => {
                let fields = classes::fields(vm, *klass).unwrap_or_default();
                let field = fields.iter().find(|(_, field)| field.is_static && field.offset == *offset);
                let of = shapes.class_of(blocks, *object).and_then(|class| classes::name(vm, class));
                format!(
                    "static field {}.{} ({})",
                    dotted(&classes::name(vm, *klass)?),
                    field.map_or("?", |(name, _)| name),
                    dotted(&of.unwrap_or_default())
                )
            }
            Root::Stack(thread) => format!("the stack of thread {thread}"),
            Root::Thread(thread) => format!("thread {thread}'s ThreadLocals or fields"),
            Root::Jni => "a global reference of JNI code".to_owned(),
            Root::Class => "a class".to_owned(),
        })
    }
}

fn dotted(name: &str) -> String {
    name.replace('/', ".")
}

/// Marks from every root; `None` where that was too much or the threads can't be listed. Gives how
/// many global references JNI code holds, `None` inside where they were not found. The
/// application's own static fields come first, so that what they hold counts as theirs.
pub(super) fn each(vm: &Vm<'_>, oops: &Oops, marker: &mut Marker<'_>, tasks: &[Task]) -> Option<Option<u64>> {
    let (own, of_jdk): (Vec<u64>, Vec<u64>) =
        marker.shapes.loaded().into_iter().partition(|klass| !is_of_jdk(vm, *klass));
    statics(vm, oops, marker, own)?;
    let tasks: HashMap<i32, &Task> = tasks.iter().map(|task| (task.inner_tid, task)).collect();
    let threads = threads::java_stacks(vm)?;
    for thread in &threads {
        let task = tasks.get(&thread.tid);
        let name = task.map_or_else(|| thread.tid.to_string(), |task| task.name.clone());
        let words = stack(vm, &marker.blocks, thread, task.and_then(|task| task.stack_pointer));
        marker.from(|_| Root::Stack(name.clone()), words)?;
        let object = oops.held(vm, thread.object, "JavaThread", "_threadObj");
        marker.from(|_| Root::Thread(name.clone()), object)?;
    }
    let mut handles = handles::stored(vm, oops, GLOBAL_HANDLES);
    if let Some(handles) = &mut handles {
        handles.retain(|object| *object != 0);
    }
    let count = handles.as_ref().map(|handles| handles.len() as u64);
    marker.from(|_| Root::Jni, handles.unwrap_or_default())?;
    statics(vm, oops, marker, of_jdk)?;
    Some(count)
}

fn is_of_jdk(vm: &Vm<'_>, klass: u64) -> bool {
    let name = classes::name(vm, klass).unwrap_or_default();
    ["java/", "javax/", "jdk/", "sun/", "com/sun/", "["].iter().any(|prefix| name.starts_with(prefix))
}

fn statics(vm: &Vm<'_>, oops: &Oops, marker: &mut Marker<'_>, classes: Vec<u64>) -> Option<()> {
    for klass in classes {
        let Some(mirror) = classes::mirror(vm, oops, klass) else { continue };
        for offset in classes::static_references(vm, klass) {
            let object = marker.blocks.reference(oops, mirror.wrapping_add(offset));
            marker.from(|object| Root::Static { klass, offset, object }, object)?;
        }
        marker.from(|_| Root::Class, [mirror])?;
    }
    Some(())
}

/// Every word on a stack that may be a reference: an interpreted frame has them in full, a compiled
/// one compressed as well.
fn stack(vm: &Vm<'_>, blocks: &Blocks<'_>, thread: &JavaStack, pointer: Option<u64>) -> Vec<u64> {
    // Where it is known how deep the stack is now, what lies below is of calls that are over.
    let top = pointer.filter(|top| thread.stack.contains(top)).unwrap_or(thread.stack.start);
    let start = top.max(thread.stack.end.saturating_sub(MOST_STACK)) & !7;
    let mut found = Vec::new();
    for run in vm.target.runs(page_start(start), thread.stack.end) {
        let mut bytes = vec![0; (run.end - run.start) as usize];
        let count = vm.target.read_bulk(run.start, &mut bytes);
        let skip = start.saturating_sub(run.start) as usize;
        for word in bytes.get(skip..count).unwrap_or_default().chunks_exact(8).map(word) {
            found.extend(blocks.may_be(word));
        }
    }
    found
}
