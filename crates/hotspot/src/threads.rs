//! Threads: the VM's list of Java threads (runtime/threadSMR.hpp), and of the others what the
//! kernel and the C library know.

use crate::classes::{KnownClasses, THREAD};
use crate::labels::Labels;
use crate::oops::Oops;
use crate::pthreads::{self, Known};
use crate::target::Peek;
use crate::vm::Vm;
use crate::{Thread, ThreadKind, What};
use offheap_target::Task;
use std::collections::HashMap;
use std::ops::Range;

/// More threads than Linux runs in a process by default: `kernel.threads-max`.
const MAX_THREADS: usize = 100_000;

/// A thread of the VM's list.
struct JavaThread {
    tid: i32,
    name: Option<String>,
    stack: Range<u64>,
    pthread: u64,
}

/// What was read of the threads.
pub(crate) struct Threads {
    pub(crate) threads: Vec<Thread>,
    /// False where the list of Java threads could not be read.
    pub(crate) java_known: bool,
    /// VM threads whose stack was not found.
    pub(crate) without_stack: usize,
}

/// Reads every thread of the process and labels the stacks.
pub(crate) fn read(
    vm: &Vm<'_>,
    oops: &Oops,
    known: &mut KnownClasses,
    names: bool,
    feature: u32,
    tasks: &[Task],
    labels: &mut Labels,
) -> Threads {
    let java = java_threads(vm, oops, known, names, feature);
    let java_known = java.is_some();
    let java = java.unwrap_or_default();
    let samples: Vec<Known> = java
        .iter()
        .map(|thread| Known { pthread: thread.pthread, tid: thread.tid, stack: thread.stack.clone() })
        .collect();
    let inner: HashMap<i32, &Task> = tasks.iter().map(|task| (task.inner_tid, task)).collect();
    let stacks = pthreads::stacks(vm.target, &samples, |tid| inner.contains_key(&tid));
    let mut threads: Vec<Thread> = Vec::with_capacity(tasks.len());
    let mut listed: HashMap<i32, JavaThread> = java.into_iter().map(|thread| (thread.tid, thread)).collect();
    let mut without_stack = 0;
    for task in tasks {
        let java = listed.remove(&task.inner_tid);
        let kind = if java.is_some() { java_kind(&task.name) } else { other_kind(&task.name) };
        let stack =
            stacks.of.get(&task.inner_tid).cloned().or_else(|| java.as_ref().map(|java| java.stack.clone()));
        let stack = stack.or_else(|| by_stack_pointer(vm, task)).unwrap_or_default();
        if stack.is_empty() && kind != ThreadKind::Native {
            without_stack += 1;
        }
        let name = java.and_then(|java| java.name).unwrap_or_else(|| task.name.clone());
        labels.add(stack.start, stack.end, What::ThreadStack, &name, "threads");
        threads.push(Thread { tid: task.inner_tid, name, kind, stack });
    }
    for stack in stacks.cached {
        labels.add(stack.start, stack.end, What::ThreadStack, CACHED_STACK, "C library");
    }
    Threads { threads, java_known, without_stack }
}

/// The name of a stack that the C library keeps after its thread ended (allocatestack.c,
/// `stack_cache`).
const CACHED_STACK: &str = "(stacks kept for new threads)";

/// A Java thread, for who looks at what it holds.
pub(crate) struct JavaStack {
    /// Address of the `JavaThread`.
    pub(crate) object: u64,
    pub(crate) tid: i32,
    pub(crate) stack: Range<u64>,
}

/// The stacks of all Java threads; `None` where the list can't be read.
pub(crate) fn java_stacks(vm: &Vm<'_>) -> Option<Vec<JavaStack>> {
    let stack = |object: u64| {
        let os_thread = vm.pointer(object, "JavaThread", "_osthread")?;
        let tid = vm.u32(os_thread, "OSThread", "_thread_id")? as i32;
        let base = vm.u64(object, "JavaThread", "_stack_base")?;
        let size = vm.u64(object, "JavaThread", "_stack_size")?;
        let start = base.checked_sub(size).filter(|start| *start != 0 && size < 1 << 40)?;
        Some(JavaStack { object, tid, stack: start..base })
    };
    Some(addresses(vm)?.into_iter().filter_map(stack).collect())
}

/// Words of a thread's allocation buffer up to its ends.
const BUFFER_WORDS: usize = 5;
/// Bytes of one; more, and what was read is none.
const MOST_BUFFER: u64 = 64 << 20;

/// What is left of the threads' allocation buffers (gc/shared/threadLocalAllocBuffer.hpp): memory
/// that is a thread's own and has no objects yet, but bytes of earlier ones.
pub(crate) fn unused_buffers(vm: &Vm<'_>) -> Vec<Range<u64>> {
    let class = "ThreadLocalAllocBuffer";
    let at = |field| vm.tables.offset(class, field);
    let left = |thread: u64| {
        let start_at = at("_start")?;
        let word_at = |field| Some((at(field)?.checked_sub(start_at)? / 8) as usize);
        let (top_at, end_at) = (word_at("_top")?, word_at("_end")?);
        let buffer = vm.place(thread, "Thread", "_tlab")?.checked_add(start_at)?;
        // All at once, so that they belong to one buffer.
        let words = vm.target.words(buffer, BUFFER_WORDS)?;
        let (start, top, end) = (*words.first()?, *words.get(top_at)?, *words.get(end_at)?);
        // Where objects are sampled, `_end` is the next sample; from 11 `_allocation_end` follows
        // it.
        let real_end = words.get(end_at + 1).copied().filter(|real| *real >= end);
        let end = real_end.filter(|real| real - end <= MOST_BUFFER).unwrap_or(end);
        let fits = start != 0 && start <= top && top < end && end - start <= MOST_BUFFER;
        fits.then_some(top..end)
    };
    addresses(vm).unwrap_or_default().into_iter().filter_map(left).collect()
}

/// The Java names of all Java threads, by the thread's id.
pub(crate) fn java_names(
    vm: &Vm<'_>,
    oops: &Oops,
    known: &mut KnownClasses,
    feature: u32,
) -> HashMap<i32, String> {
    let threads = java_threads(vm, oops, known, true, feature).unwrap_or_default();
    threads.into_iter().filter_map(|thread| Some((thread.tid, thread.name?))).collect()
}

fn java_threads(
    vm: &Vm<'_>,
    oops: &Oops,
    known: &mut KnownClasses,
    names: bool,
    feature: u32,
) -> Option<Vec<JavaThread>> {
    let layout = if names { known.string_layout(vm) } else { None };
    let name_field = if names { known.field(vm, THREAD, "name") } else { None };
    let name = |thread: u64| {
        let object = oops.held(vm, thread, "JavaThread", "_threadObj")?;
        let string = oops.field(vm, object.checked_add(name_field.as_ref()?.offset)?)?;
        oops.string(vm, string, layout.as_ref()?, feature)
    };
    let threads = java_stacks(vm)?
        .into_iter()
        .map(|JavaStack { object, tid, stack }| {
            let os_thread = vm.pointer(object, "JavaThread", "_osthread");
            let pthread = os_thread.and_then(|at| vm.u64(at, "OSThread", "_pthread_id")).unwrap_or(0);
            JavaThread { tid, name: name(object), stack, pthread }
        })
        .collect();
    Some(threads)
}

/// Addresses of the `JavaThread` objects.
fn addresses(vm: &Vm<'_>) -> Option<Vec<u64>> {
    if let Some(list) = vm.static_pointer("ThreadsSMRSupport", "_java_thread_list") {
        let length = vm.u32(list, "ThreadsList", "_length")? as usize;
        return vm.target.words(vm.pointer(list, "ThreadsList", "_threads")?, length.min(MAX_THREADS));
    }
    // JDK 8 to 11 link the threads.
    let mut threads = Vec::new();
    let mut thread = vm.static_u64("Threads", "_thread_list")?;
    while thread != 0 && threads.len() < MAX_THREADS {
        threads.push(thread);
        thread = vm.u64(thread, "JavaThread", "_next").unwrap_or(0);
    }
    Some(threads)
}

/// The kind of a thread of the VM's list, by its kernel name (15 bytes).
fn java_kind(name: &str) -> ThreadKind {
    let compiler = ["C1 CompilerThre", "C2 CompilerThre", "JVMCI-native", "JVMCI Compiler"];
    if compiler.iter().any(|prefix| name.starts_with(prefix)) {
        ThreadKind::Compiler
    } else {
        ThreadKind::Java
    }
}

/// The kind of a thread that is not in the VM's list, by the name HotSpot gives it (NamedThread; 15
/// bytes of it are kept).
fn other_kind(name: &str) -> ThreadKind {
    const GC: [&str; 14] = [
        "GC Thread#",
        "ParGC Thread#",
        "G1 ",
        "ZDirector",
        "ZDriver",
        "ZWorker",
        "ZStat",
        "ZUncommitter",
        "ZUnmapper",
        "XDirector",
        "XDriver",
        "XWorker",
        "Shenandoah",
        "CMS ",
    ];
    const MORE_GC: [&str; 8] = [
        "Concurrent Mark",
        "XStat",
        "XUncommitter",
        "XUnmapper",
        "StringDedup",
        "RuntimeWorker#",
        "Safepoint Clean",
        "ParallelGC",
    ];
    const VM: [&str; 8] =
        ["VM Thread", "VM Periodic", "Watcher", "JFR ", "VM JFR", "AsyncLog", "NMT ", "Native Heap Tri"];
    let is = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if is(&GC) || is(&MORE_GC) {
        ThreadKind::Gc
    } else if is(&VM) {
        ThreadKind::Vm
    } else {
        ThreadKind::Native
    }
}

/// The mapping that holds a waiting thread's stack pointer. Below a stack lies a guard page, so the
/// mapping starts where the stack does; above, the kernel may have joined it with another one, so
/// no more is taken than the usual limit of a stack.
fn by_stack_pointer(vm: &Vm<'_>, task: &Task) -> Option<Range<u64>> {
    const USUAL_LIMIT: u64 = 8 << 20;
    let vma = vm.target.vma(task.stack_pointer?)?;
    if vma.path == "[stack]" {
        return Some(vma.start..vma.end);
    }
    vma.path.is_empty().then(|| vma.start..vma.end.min(vma.start + USUAL_LIMIT))
}
