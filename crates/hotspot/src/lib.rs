//! HotSpot seen from outside: hsperfdata, vmStructs, NMT counters in memory.
//!
//! Nothing here touches the target: no attach, no signal, no stop, and only pages that are present
//! are read.
//!
//! [`HotSpot::open`] finds libjvm and reads its tables once; [`HotSpot::view`] then takes one
//! instant after the other. [`brief`] is the cheap look for a list of processes.

mod arch;
mod brief;
mod buffers;
mod cds;
mod classes;
mod code;
mod counters;
mod direct;
mod error;
mod flags;
mod handles;
mod heap;
pub mod hsperf;
mod labels;
mod libjvm;
mod metaspace;
mod nmt;
mod oops;
mod pthreads;
mod reach;
mod references;
mod scan;
mod still;
mod tables;
mod target;
mod threads;
mod view;
mod vm;

pub use brief::brief;
pub use error::Error;
pub use handles::{Handles, LocalReferences, References};
pub use offheap_target::Target;
pub use reach::{Holder, Reach};
pub use view::{
    Brief, Coverage, Direct, DirectBuffer, DirectBuffers, Heap, Label, NmtCategory, Space, Thread,
    ThreadKind, View, ViewOptions, What,
};

use crate::target::Peek;
use classes::KnownClasses;
use flags::Flags;
use hsperf::Hsperf;
use labels::Labels;
use libjvm::{ARRAY_CLASSES, INSTANCE_CLASSES, Libjvm, POLLING_PAGE};
use metaspace::Slots;
use offheap_target::Task;
use offheap_target::page_bytes;
use oops::Oops;
use std::cell::RefCell;
use tables::Tables;
use vm::Vm;

/// A HotSpot JVM whose tables were read, so that views of it are cheap.
#[derive(Debug)]
pub struct HotSpot {
    libjvm: Libjvm,
    tables: Tables,
    flags: Flags,
    oops: Oops,
    gc: &'static str,
    learnt: RefCell<Learnt>,
}

/// What stays true from one view to the next, or costs too much to find anew each time.
#[derive(Debug, Default)]
struct Learnt {
    known: KnownClasses,
    slots: Option<Slots>,
    loaders: Option<u64>,
}

impl HotSpot {
    /// Finds libjvm in `target` and reads its tables.
    ///
    /// # Errors
    /// See [`Error`]: not a JVM, another kind of JVM, no permission.
    pub fn open(target: &dyn Target) -> Result<HotSpot, Error> {
        let libjvm = Libjvm::find(target)?;
        let refuse = |reason| Error::NoVmStructs { pid: target.pid(), path: libjvm.path.clone(), reason };
        let exports = |name: &str| -> Option<u64> { target.u64(libjvm.export(name)?) };
        let tables = Tables::read(target, &exports).map_err(refuse)?;
        if tables.is_empty() {
            return Err(refuse("they are empty".to_owned()));
        }
        let vm = Vm { target, tables: &tables, libjvm: &libjvm };
        let flags = Flags::find(&vm);
        let oops = Oops::read(&vm, &flags);
        let gc = flags.collector(target);
        Ok(HotSpot { libjvm, tables, flags, oops, gc, learnt: RefCell::default() })
    }

    /// Path of libjvm as the kernel shows it.
    pub fn libjvm_path(&self) -> &str {
        &self.libjvm.path
    }

    fn vm<'a>(&'a self, target: &'a dyn Target) -> Vm<'a> {
        Vm { target, tables: &self.tables, libjvm: &self.libjvm }
    }

    /// How references are coded; ZGC's tables are sought again where there were none when the JVM
    /// was opened, which may have been while it started.
    fn oops(&self, vm: &Vm<'_>) -> Oops {
        let z = self.oops.z.or_else(|| heap::z::Tables::find(vm, &self.flags).filter(|_| self.gc == "Z"));
        self.oops.with_tables(z)
    }

    /// What the JVM is now. `memory` is a fresh one or one that was told to forget; `tasks` are its
    /// threads.
    pub fn view(&self, memory: &dyn Target, tasks: &[Task], options: ViewOptions) -> View {
        let vm = self.vm(memory);
        let learnt = &mut *self.learnt.borrow_mut();
        let hsperf = counters::from_memory(&vm);
        let mut view = self.identity(&vm, hsperf.as_ref());
        let mut labels = Labels::default();
        self.read_heap(&vm, hsperf.as_ref(), &mut labels, &mut view);
        self.read_classes(&vm, hsperf.as_ref(), options, learnt, &mut labels, &mut view);
        match code::read(&vm, &mut labels) {
            Some(space) => {
                view.code_cache = space;
                view.coverage.code = true;
            }
            None => view.problems.push("the code cache could not be read".to_owned()),
        }
        let threads = threads::read(
            &vm,
            &self.oops,
            &mut learnt.known,
            options.thread_names,
            view.feature,
            tasks,
            &mut labels,
        );
        view.coverage.threads = threads.java_known && threads.without_stack == 0;
        if !threads.java_known {
            view.problems.push("the list of Java threads could not be read".to_owned());
        }
        if threads.without_stack > 0 {
            view.problems.push(format!("the stacks of {} threads were not found", threads.without_stack));
        }
        view.threads = threads.threads;
        view.direct = direct::read(&vm, &self.oops, &mut learnt.known, view.feature);
        view.nmt = nmt::categories(&vm);
        self.label_rest(&vm, &mut labels);
        view.labels = labels.finish();
        view
    }

    /// Where the Java heap lies; empty where it was not found (the JVM is still starting).
    pub fn heap_ranges(&self, memory: &dyn Target) -> Vec<std::ops::Range<u64>> {
        heap::read(&self.vm(memory), &self.flags, self.gc, None, &mut Labels::default())
            .map_or_else(Vec::new, |read| read.parts.into_iter().map(|part| part.range).collect())
    }

    /// How many objects of the resident part of the Java heap are references through which garbage
    /// gives native memory back, garbage itself included. Between two collections the figure only
    /// rises. `None` where that takes reading more than `budget` bytes.
    pub fn references(&self, memory: &dyn Target, budget: u64) -> Option<u64> {
        let vm = self.vm(memory);
        let learnt = &mut *self.learnt.borrow_mut();
        learnt.known.search(&vm, None);
        memory.forget();
        let read = heap::read(&vm, &self.flags, self.gc, None, &mut Labels::default())?;
        let filled = read.filled(&vm, &self.oops(&vm));
        references::count(&vm, &self.oops, &learnt.known, &filled, budget)
    }

    /// Follows the references on the Java heap from what is in use by itself, and says how many of
    /// the objects that own native memory are in use. Takes about a second for each four million
    /// objects. `None` where the heap has more than `budget` resident bytes, or a collection ran
    /// meanwhile.
    pub fn reach(&self, memory: &dyn Target, tasks: &[Task], budget: u64) -> Option<Reach> {
        let vm = self.vm(memory);
        let learnt = &mut *self.learnt.borrow_mut();
        learnt.known.search(&vm, None);
        let oops = self.oops(&vm);
        let (reach, is_whole) = still::during(&vm, &oops, |before| {
            if !before.knows_pages(self.gc) {
                return None;
            }
            let read = heap::read(&vm, &self.flags, self.gc, None, &mut Labels::default())?;
            reach::look(&vm, &oops, &mut learnt.known, &read, tasks, budget)
        });
        reach.filter(|_| is_whole)
    }

    /// What JNI code holds now. Takes about a tenth of a microsecond for each reference, and twice
    /// or three times as long where a collection runs meanwhile; after the third, the classes of
    /// objects that it moved are missing.
    pub fn handles(&self, memory: &dyn Target, tasks: &[Task]) -> Handles {
        const LOOKS: u32 = 3;
        let vm = self.vm(memory);
        let learnt = &mut *self.learnt.borrow_mut();
        learnt.known.search(&vm, None);
        let feature = self.identity(&vm, counters::from_memory(&vm).as_ref()).feature;
        let oops = self.oops(&vm);
        let mut look = || {
            still::during(&vm, &oops, |_| {
                let names = threads::java_names(&vm, &oops, &mut learnt.known, feature);
                handles::read(&vm, &oops, tasks, &names)
            })
        };
        let (mut found, mut is_whole) = look();
        let mut left = LOOKS - 1;
        while !is_whole && left > 0 {
            (found, is_whole) = look();
            left -= 1;
        }
        found
    }

    /// Looks for direct buffers in the resident part of the Java heap, reading at most `budget`
    /// bytes.
    pub fn direct_buffers(&self, memory: &dyn Target, budget: u64) -> DirectBuffers {
        let vm = self.vm(memory);
        let learnt = &mut *self.learnt.borrow_mut();
        learnt.known.search(&vm, None);
        match heap::read(&vm, &self.flags, self.gc, None, &mut Labels::default()) {
            Some(read) => {
                // What is left behind of a buffer names the same memory, so it does no harm.
                buffers::find(&vm, &self.oops, &mut learnt.known, &read.parts, budget)
            }
            None => DirectBuffers {
                incomplete: Some("the Java heap was not found".to_owned()),
                ..DirectBuffers::default()
            },
        }
    }

    /// Version, main class, flags and the counters that are only copied.
    fn identity(&self, vm: &Vm<'_>, hsperf: Option<&Hsperf>) -> View {
        let text = |name: &str| hsperf.and_then(|hsperf| hsperf.text(name)).unwrap_or_default().to_owned();
        let number = |name: &str| hsperf.and_then(|hsperf| hsperf.number(name));
        let c_string = |class: &str, field: &str| {
            vm.static_pointer(class, field)
                .and_then(|at| vm.target.c_string(at, target::MOST_TEXT))
                .unwrap_or_default()
        };
        let mut version = text("java.property.java.vm.version");
        if version.is_empty() {
            version = c_string("Abstract_VM_Version", "_s_vm_release");
        }
        let mut main = text("sun.rt.javaCommand");
        if main.is_empty() {
            main = c_string("Arguments", "_java_command");
        }
        let specification = text("java.property.java.vm.specification.version");
        let collections = hsperf.map(counters::collections).unwrap_or_default();
        let level = nmt::level(vm).map(str::to_owned);
        View {
            vendor: text("java.property.java.vm.vendor"),
            feature: counters::feature_of_specification(&specification)
                .or_else(|| counters::feature_of_release(&version))
                .unwrap_or(0),
            version,
            gc: self.gc.to_owned(),
            main,
            flags: self.flags.shown(vm.target),
            nmt_level: level
                .or_else(|| self.flags.text(vm.target, "NativeMemoryTracking"))
                .unwrap_or_default(),
            gc_young_count: collections.young,
            gc_old_count: collections.old,
            gc_old_us: collections.old_us,
            java_threads: number("java.threads.live"),
            java_threads_started: number("java.threads.started"),
            classes_unloaded: number("java.cls.unloadedClasses")
                .zip(number("java.cls.sharedUnloadedClasses"))
                .map(|(own, shared)| own.saturating_add(shared)),
            ..View::default()
        }
    }

    fn read_heap(&self, vm: &Vm<'_>, hsperf: Option<&Hsperf>, labels: &mut Labels, view: &mut View) {
        match heap::read(vm, &self.flags, self.gc, hsperf, labels) {
            Some(read) => {
                view.coverage.heap = view.heap.reserved > 0 || read.heap.reserved > 0;
                view.coverage.gc = read.gc_complete;
                view.heap = read.heap;
            }
            None => view.problems.push("the Java heap was not found".to_owned()),
        }
        if !view.coverage.gc {
            view.problems.push(format!(
                "not all structures of the collector {} were found, so some of them may be counted as the program's",
                view.gc
            ));
        }
    }

    fn read_classes(
        &self,
        vm: &Vm<'_>,
        hsperf: Option<&Hsperf>,
        options: ViewOptions,
        learnt: &mut Learnt,
        labels: &mut Labels,
        view: &mut View,
    ) {
        let number = |name: &str| hsperf.and_then(|hsperf| hsperf.number(name));
        let loaded = number("java.cls.loadedClasses").zip(number("java.cls.sharedLoadedClasses"));
        let loaded = loaded.map(|(own, shared)| own.saturating_add(shared));
        learnt.known.search(vm, loaded);
        view.classes = vm
            .variable(INSTANCE_CLASSES)
            .zip(vm.variable(ARRAY_CLASSES))
            .map(|(instances, arrays)| instances.saturating_add(arrays))
            .or_else(|| Some(loaded?.saturating_sub(view.classes_unloaded?)));
        if options.walk_classes {
            learnt.slots = None;
            learnt.loaders = classes::loader_count(vm);
        }
        view.class_loaders = learnt.loaders;
        cds::label(vm, &self.flags, labels);
        let earlier = learnt.slots.take();
        let read = metaspace::read(vm, &self.flags, hsperf, view.feature, earlier, labels);
        view.metaspace = read.metaspace;
        view.class_space = read.class_space;
        view.coverage.classes = read.complete;
        if !read.complete {
            view.problems.push("metaspace was not found".to_owned());
        }
        learnt.slots = Some(read.slots);
    }

    /// What the VM has besides: the memory of the counters and the page that safepoints are polled
    /// at.
    fn label_rest(&self, vm: &Vm<'_>, labels: &mut Labels) {
        if let Some(start) = vm.static_pointer("PerfMemory", "_start")
            && let Some(vma) = vm.target.vma(start)
        {
            labels.add(vma.start, vma.end, What::JvmInternal, "hsperfdata", "vmStructs");
        }
        if let Some(page) = vm.variable(POLLING_PAGE).filter(|page| *page != 0 && page % page_bytes() == 0) {
            labels.add(
                page,
                page.saturating_add(page_bytes()),
                What::JvmInternal,
                "safepoint polling page",
                "symbols",
            );
        }
    }
}
