//! Where objects of a class keep their references (oops/instanceKlass.hpp, oops/oopMap of klass,
//! oops/klass.hpp).

use super::blocks::Blocks;
use crate::classes;
use crate::oops::Oops;
use crate::target::Peek;
use crate::vm::Vm;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// Runs of references that one class may have in practice.
const MOST_RUNS: u32 = 1024;
/// Entries of a table of virtual functions that a class may have in practice.
const MOST_ENTRIES: u32 = 1 << 20;

/// Where the references of an object are.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// Runs of fields: offset and count of each.
    Fields(Rc<[(u32, u32)]>),
    /// An array of references: offsets of the first one and of the length.
    Elements { data: u64, length: u64 },
    /// None: an array of numbers.
    None,
    /// The stack of a virtual thread that is not running (`jdk.internal.vm.StackChunk`): beside its
    /// fields frames, from an offset on, as many words as a field says.
    Stack { runs: Rc<[(u32, u32)]>, data: u64, size: u64 },
}

/// The shapes of the loaded classes, read when first asked for.
pub(super) struct Shapes<'a> {
    vm: Vm<'a>,
    oops: Oops,
    loaded: HashSet<u64>,
    known: HashMap<u64, Option<Shape>>,
    /// The class of virtual threads' stacks, and where it says how many words there are.
    stack: Option<(u64, u64)>,
    /// The class of virtual threads (`java.lang.VirtualThread`), from JDK 19 on.
    virtual_thread: Option<u64>,
    /// Objects that were found moved: a collection is at it.
    moved: Cell<u64>,
}

impl<'a> Shapes<'a> {
    /// `None` where the classes can't be listed.
    pub(super) fn new(vm: &Vm<'a>, oops: Oops) -> Option<Self> {
        let mut loaded = HashSet::new();
        let (mut stack, mut virtual_thread) = (None, None);
        classes::each_class(vm, |klass| {
            loaded.insert(klass);
            if virtual_thread.is_none() && classes::is_named(vm, klass, "java/lang/VirtualThread") {
                virtual_thread = Some(klass);
            }
            if stack.is_none() && classes::is_named(vm, klass, "jdk/internal/vm/StackChunk") {
                stack = classes::fields(vm, klass)
                    .and_then(|fields| fields.get("size").map(|size| (klass, size.offset)));
            }
        })?;
        Some(Shapes {
            vm: *vm,
            oops,
            loaded,
            known: HashMap::new(),
            stack,
            virtual_thread,
            moved: Cell::new(0),
        })
    }

    /// Whether the class is that of virtual threads.
    pub(super) fn is_virtual_thread(&self, klass: u64) -> bool {
        self.virtual_thread == Some(klass)
    }

    /// Addresses of all classes.
    pub(super) fn loaded(&self) -> Vec<u64> {
        self.loaded.iter().copied().collect()
    }

    /// The class of the object at `object`; `None` where that is no object: its header names no
    /// loaded class, or it was moved (markWord.hpp: both lowest bits are set).
    pub(super) fn class_of(&self, blocks: &mut Blocks<'_>, object: u64) -> Option<u64> {
        let mark = blocks.u64(object)?;
        let klass = self.oops.header.klass(mark, blocks.u64(object.checked_add(8)?)?)?;
        if mark & 3 == 3 {
            self.moved.set(self.moved.get() + 1);
            return None;
        }
        self.loaded.contains(&klass).then_some(klass)
    }

    /// Takes back what was found moved since there were `count`: words of frames are often stale.
    pub(super) fn forget_moved(&self, count: u64) {
        self.moved.set(count);
    }

    /// How many objects were found moved.
    pub(super) fn moved(&self) -> u64 {
        self.moved.get()
    }

    /// The shape of the objects of a class.
    pub(super) fn of(&mut self, klass: u64) -> Option<Shape> {
        if let Some(known) = self.known.get(&klass) {
            return known.clone();
        }
        let shape = self.read(klass);
        self.known.insert(klass, shape.clone());
        shape
    }

    fn read(&self, klass: u64) -> Option<Shape> {
        let vm = &self.vm;
        let helper = vm.u32(klass, "Klass", "_layout_helper")? as i32;
        if helper > 0 {
            let runs: Rc<[(u32, u32)]> = self.fields(klass)?.into();
            return Some(match self.stack {
                Some((stack, size)) if stack == klass => {
                    Shape::Stack { runs, data: instance_bytes(helper), size }
                }
                _ => Shape::Fields(runs),
            });
        }
        // An array (klass.hpp): two bits of kind, then eight bits each of header size, element
        // type, and its log2 size.
        const NUMBERS: i32 = -1;
        match helper >> 30 {
            NUMBERS => Some(Shape::None),
            _ if helper == 0 => None,
            _ => Some(Shape::Elements {
                data: u64::from(helper as u32 >> 16 & 0xff),
                length: self.oops.array_length(),
            }),
        }
    }

    /// Bytes of the object at `object`, which is of the class `klass`; without the static fields of
    /// a class's mirror and the frames of a virtual thread's stack.
    pub(super) fn bytes(&self, blocks: &mut Blocks<'_>, object: u64, klass: u64) -> u64 {
        let helper = self.vm.u32(klass, "Klass", "_layout_helper").unwrap_or(0) as i32;
        if helper >= 0 {
            return instance_bytes(helper);
        }
        let length = object.checked_add(self.oops.array_length()).and_then(|at| blocks.u32(at)).unwrap_or(0);
        let (header, log2) = (u64::from(helper as u32 >> 16 & 0xff), helper as u32 & 0x3f);
        (header + (u64::from(length) << log2.min(3))).next_multiple_of(8)
    }

    /// The map blocks of an instance class lie behind its tables of virtual and interface
    /// functions.
    fn fields(&self, klass: u64) -> Option<Vec<(u32, u32)>> {
        let vm = &self.vm;
        let count = vm.u32(klass, "InstanceKlass", "_nonstatic_oop_map_size")?.min(MOST_RUNS);
        let tables = u64::from(vm.u32(klass, "Klass", "_vtable_len")?.min(MOST_ENTRIES))
            + u64::from(vm.u32(klass, "InstanceKlass", "_itable_len")?.min(MOST_ENTRIES));
        let header = vm.tables.size_of("InstanceKlass")?.next_multiple_of(8);
        let at = klass.checked_add(header + tables * 8)?;
        let words = vm.target.words(at, count as usize)?;
        Some(words.into_iter().map(|word| (word as u32, (word >> 32) as u32 & 0xffff)).collect())
    }
}

/// Bytes of an instance from its layout helper, whose lowest bit only says how it is allocated
/// (klass.hpp).
fn instance_bytes(helper: i32) -> u64 {
    u64::from(helper as u32 & !7)
}
