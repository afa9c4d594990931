//! Which objects are in use: the Java heap marked from outside, as a collector would, while the
//! program runs.
//!
//! It answers one question where no collection came by to answer it: are the objects that own
//! native memory still referred to, or garbage that waits? Roots are the static fields of all
//! classes, the Java threads' objects, and every word on their stacks that looks like a reference,
//! of virtual threads' too, and what JNI code holds by global references.
//!
//! The program changes its references meanwhile. Of thousands of objects that is a few; a moving
//! collection spoils it all, so the caller looks whether one ran (`still.rs`).

mod blocks;
mod roots;
mod shapes;

use crate::classes::{BUFFER, DIRECT_BUFFER, FINAL_REFERENCE, KnownClasses, PHANTOM_REFERENCE, REFERENCE};
use crate::heap::{self, Part};
use crate::oops::Oops;
use crate::references::Kinds;
use crate::scan;
use crate::vm::Vm;
use blocks::{Blocks, Marks};
use offheap_target::Task;
use roots::Root;
use shapes::{Shape, Shapes};
use std::collections::HashMap;

/// Objects that are followed at most; two seconds' work.
const MOST_OBJECTS: u64 = 8_000_000;
/// Elements of one array that are followed.
const MOST_ELEMENTS: u64 = 1 << 26;

/// Objects found moved that are put down to words that only look like references; more, and a
/// collection is at it.
const MOST_MOVED: u64 = 100;

/// Words of one virtual thread's stack that are followed.
const MOST_FRAME_WORDS: u64 = 1 << 20;

/// Owners of native memory that are told apart; more are not looked at.
const MOST_OWNERS: usize = 1_000_000;

/// What was reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reach {
    /// Phantom and final references (Cleaners and finalizers are made of them) that still have
    /// their object, if that is no direct buffer.
    pub owners: u64,
    /// Of these, the ones whose object is in use.
    pub owners_in_use: u64,
    /// What holds most of them.
    pub owners_holder: Option<Holder>,
    /// Bytes of direct buffers that have a Cleaner.
    pub direct_bytes: u64,
    /// Of these, the bytes of buffers in use.
    pub direct_in_use_bytes: u64,
    /// What holds most of them.
    pub direct_holder: Option<Holder>,
    /// Objects that were found in use, of all kinds.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the objects in use, virtual threads: they wait, or run.
    pub virtual_threads: u64,
    /// Global references that JNI code holds; `None` where they were not found.
    pub jni_references: Option<u64>,
    /// True where every kind of root was followed: what was not reached is garbage then.
    pub complete: bool,
}

/// What holds objects: the root they were reached from first, the application's static fields
/// before all others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// `"static field app.Cache.ENTRIES (java.util.HashMap)"`, `"the stack of thread main"`, `"JNI
    /// code"`.
    pub what: String,
    /// How many of the owners, or how many bytes of the buffers.
    pub amount: u64,
}

/// An object that owns native memory.
struct Owner {
    /// Bytes, of a direct buffer.
    direct: Option<u64>,
    /// Index of the root it was reached from.
    root: Option<u32>,
}

/// Marks and counts; `None` where the heap has more than `budget` resident bytes, is swapped, or
/// can't be read this way.
pub(crate) fn look(
    vm: &Vm<'_>,
    oops: &Oops,
    known: &mut KnownClasses,
    heap: &heap::Read,
    tasks: &[Task],
    budget: u64,
) -> Option<Reach> {
    let mut blocks = Blocks::new(vm, oops, &heap.parts, budget)?;
    let shapes = Shapes::new(vm, *oops)?;
    let owners = owners(vm, oops, known, &heap.filled(vm, oops), budget, &mut blocks, &shapes)?;
    let mut marker = Marker {
        oops,
        blocks,
        marks: Marks::default(),
        shapes,
        waiting: Vec::new(),
        objects: 0,
        bytes: 0,
        virtual_threads: 0,
        owners,
        roots: Vec::new(),
    };
    let jni_references = roots::each(vm, oops, &mut marker, tasks)?;
    if marker.shapes.moved() > MOST_MOVED {
        return None;
    }
    let mut reach = Reach {
        objects: marker.objects,
        bytes: marker.bytes,
        virtual_threads: marker.virtual_threads,
        complete: jni_references.is_some(),
        jni_references,
        ..Reach::default()
    };
    let mut by_root: [HashMap<u32, u64>; 2] = Default::default();
    for owner in marker.owners.values() {
        let in_use = u64::from(owner.root.is_some());
        match owner.direct {
            Some(bytes) => {
                reach.direct_bytes += bytes;
                reach.direct_in_use_bytes += in_use * bytes;
            }
            None => {
                reach.owners += 1;
                reach.owners_in_use += in_use;
            }
        }
        if let Some(root) = owner.root {
            *by_root[usize::from(owner.direct.is_some())].entry(root).or_default() +=
                owner.direct.unwrap_or(1);
        }
    }
    let [of_owners, of_direct] = by_root.map(|sums| {
        let (root, amount) = sums.into_iter().max_by_key(|(root, amount)| (*amount, u32::MAX - root))?;
        let what = marker.roots.get(root as usize)?.words(vm, &marker.shapes, &mut marker.blocks)?;
        Some(Holder { what, amount })
    });
    (reach.owners_holder, reach.direct_holder) = (of_owners, of_direct);
    Some(reach)
}

/// The objects that references of the kinds in question still have, by their address.
fn owners(
    vm: &Vm<'_>,
    oops: &Oops,
    known: &mut KnownClasses,
    filled: &[Part],
    budget: u64,
    blocks: &mut Blocks<'_>,
    shapes: &Shapes<'_>,
) -> Option<HashMap<u64, Owner>> {
    let referent = known.field(vm, REFERENCE, "referent")?.offset;
    let capacity = known.field(vm, BUFFER, "capacity").map(|field| field.offset);
    let direct = known.klass(DIRECT_BUFFER);
    let kinds = Kinds::of(vm, oops, known, &[PHANTOM_REFERENCE, FINAL_REFERENCE])?;
    let mut owners = HashMap::new();
    let scanned = scan::each_chunk(vm, filled, budget, |at, chunk, starts| {
        kinds.each(chunk, starts, |place| {
            let Some(object) = blocks.reference(oops, at + place as u64 + referent) else { return };
            let Some(klass) = shapes.class_of(blocks, object) else { return };
            let capacity = capacity.filter(|_| Some(klass) == direct);
            let direct = capacity.map(|capacity| blocks.u32(object + capacity).map_or(0, u64::from));
            if owners.len() < MOST_OWNERS {
                // By its place: what is mapped three times is referred to by any of the three
                // addresses.
                owners.insert(blocks.place(object).unwrap_or(object), Owner { direct, root: None });
            }
        });
    });
    scanned.incomplete.is_none().then_some(owners)
}

/// The marking.
struct Marker<'a> {
    oops: &'a Oops,
    blocks: Blocks<'a>,
    marks: Marks,
    shapes: Shapes<'a>,
    /// Objects that are marked and not yet looked into.
    waiting: Vec<u64>,
    objects: u64,
    bytes: u64,
    virtual_threads: u64,
    owners: HashMap<u64, Owner>,
    /// The roots so far; all that is marked now is reached from the last one.
    roots: Vec<Root>,
}

impl Marker<'_> {
    /// Marks all that is reached from one root, which refers to `objects`; `None` where that was
    /// too much.
    fn from(&mut self, root: impl Fn(u64) -> Root, objects: impl IntoIterator<Item = u64>) -> Option<()> {
        for object in objects {
            self.roots.push(root(object));
            self.mark(object);
            if !self.follow() {
                return None;
            }
        }
        Some(())
    }

    /// Marks what may be an object, if it is one.
    fn mark(&mut self, object: u64) {
        let place = self.blocks.place(object);
        if place.is_none() || !object.is_multiple_of(8) || self.marks.has(place) {
            return;
        }
        let Some(klass) = self.shapes.class_of(&mut self.blocks, object) else { return };
        let bytes = self.shapes.bytes(&mut self.blocks, object, klass);
        if !self.blocks.has_room(object, bytes) {
            return;
        }
        self.marks.set(place);
        self.objects += 1;
        self.bytes += bytes;
        self.virtual_threads += u64::from(self.shapes.is_virtual_thread(klass));
        if let Some(owner) = place.and_then(|place| self.owners.get_mut(&place)) {
            owner.root = u32::try_from(self.roots.len().saturating_sub(1)).ok();
        }
        self.waiting.push(object);
    }

    /// Follows the references of everything that waits; false where that was too much.
    fn follow(&mut self) -> bool {
        while let Some(object) = self.waiting.pop() {
            if self.objects > MOST_OBJECTS {
                return false;
            }
            let Some(klass) = self.shapes.class_of(&mut self.blocks, object) else { continue };
            match self.shapes.of(klass) {
                Some(Shape::Fields(runs)) => self.fields(object, &runs),
                Some(Shape::Stack { runs, data, size }) => {
                    self.fields(object, &runs);
                    let moved = self.shapes.moved();
                    let words = self.blocks.u32(object + size).map_or(0, u64::from).min(MOST_FRAME_WORDS);
                    for index in 0..words {
                        let word = self.blocks.u64(object + data + index * 8);
                        let objects: Vec<u64> =
                            word.into_iter().flat_map(|word| self.blocks.may_be(word)).collect();
                        objects.into_iter().for_each(|object| self.mark(object));
                    }
                    // What a frame had before a collection is still in it, and a hundred threads
                    // have a hundred such words: no sign of a collection that is at it.
                    self.shapes.forget_moved(moved);
                }
                Some(Shape::Elements { data, length }) => {
                    let count = self.blocks.u32(object + length).map_or(0, u64::from).min(MOST_ELEMENTS);
                    self.references(object + data, count);
                }
                Some(Shape::None) | None => {}
            }
        }
        true
    }

    fn fields(&mut self, object: u64, runs: &[(u32, u32)]) {
        for (offset, count) in runs {
            self.references(object + u64::from(*offset), u64::from(*count));
        }
    }

    fn references(&mut self, first: u64, count: u64) {
        let bytes = self.oops.reference_bytes();
        for index in 0..count {
            if let Some(object) = self.blocks.reference(self.oops, first + index * bytes) {
                self.mark(object);
            }
        }
    }
}
