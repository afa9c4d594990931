//! Which objects are in use: the Java heap marked from outside, as a collector would, while the program runs.
//!
//! It answers one question where no collection came by to answer it: are the objects that own native memory still referred
//! to, or garbage that waits? Roots are the static fields of all classes, the Java threads' objects, and every word on their
//! stacks that looks like a reference, of virtual threads' too, and what JNI code holds by global references.
//!
//! The program changes its references meanwhile. Of thousands of objects that is a few; a moving collection spoils it all,
//! so the caller compares the collectors' counters before and after.

mod blocks;
mod roots;
mod shapes;

use crate::classes::{BUFFER, DIRECT_BUFFER, FINAL_REFERENCE, KnownClasses, PHANTOM_REFERENCE, REFERENCE};
use crate::heap::Part;
use crate::oops::Oops;
use crate::references::Kinds;
use crate::scan;
use crate::vm::Vm;
use blocks::{Blocks, Marks};
use offheap_linux::Task;
use shapes::{Shape, Shapes};

/// Objects that are followed at the most; two seconds' work.
const MOST_OBJECTS: u64 = 8_000_000;
/// Elements of one array that are followed.
const MOST_ELEMENTS: u64 = 1 << 26;

/// Words of one virtual thread's stack that are followed.
const MOST_FRAME_WORDS: u64 = 1 << 20;

/// What was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// Phantom and final references (Cleaners and finalizers are made of them) that still have their object, if that is no
    /// direct buffer.
    pub owners: u64,
    /// Of these, the ones whose object is in use.
    pub owners_in_use: u64,
    /// Bytes of direct buffers that have a Cleaner.
    pub direct_bytes: u64,
    /// Of these, the bytes of buffers in use.
    pub direct_in_use_bytes: u64,
    /// Objects that were found in use, of all kinds.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// True where every kind of root was followed: what was not reached is garbage then.
    pub complete: bool,
}

/// Marks and counts; `None` where the heap has more than `budget` resident bytes, is swapped, or can't be read this way.
pub(crate) fn look(
    vm: &Vm<'_>,
    oops: &Oops,
    known: &mut KnownClasses,
    parts: &[Part],
    tasks: &[Task],
    budget: u64,
) -> Option<Reach> {
    let referent = known.field(vm, REFERENCE, "referent")?.offset;
    let capacity = known.field(vm, BUFFER, "capacity").map(|field| field.offset);
    let direct = known.klass(DIRECT_BUFFER);
    let kinds = Kinds::of(vm, oops, known, &[PHANTOM_REFERENCE, FINAL_REFERENCE])?;
    let mut marker = Marker {
        oops,
        blocks: Blocks::new(vm, parts, budget)?,
        marks: Marks::default(),
        shapes: Shapes::new(vm, *oops)?,
        waiting: Vec::new(),
        objects: 0,
        bytes: 0,
    };
    let complete = roots::each(vm, oops, &mut marker, tasks)?;
    if !marker.follow() {
        return None;
    }
    let (objects, bytes) = (marker.objects, marker.bytes);
    let mut reach = Reach { objects, bytes, complete, ..Reach::default() };
    let scanned = scan::each_chunk(vm, parts, budget, |at, chunk, starts| {
        kinds.each(chunk, starts, |place| {
            let Some(object) = marker.blocks.reference(oops, at + place as u64 + referent) else { return };
            let Some(klass) = marker.shapes.class_of(&mut marker.blocks, object) else { return };
            let in_use = marker.marks.has(marker.blocks.place(object));
            if let (true, Some(capacity)) = (Some(klass) == direct, capacity) {
                let bytes = marker.blocks.u32(object + capacity).map_or(0, u64::from);
                reach.direct_bytes += bytes;
                reach.direct_in_use_bytes += if in_use { bytes } else { 0 };
            } else {
                reach.owners += 1;
                reach.owners_in_use += u64::from(in_use);
            }
        });
    });
    scanned.incomplete.is_none().then_some(reach)
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
}

impl Marker<'_> {
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
        self.waiting.push(object);
    }

    /// Marks what a word of a frame may refer to: an interpreted one has references in full, a compiled one compressed too.
    fn mark_word(&mut self, word: u64) {
        self.mark(word);
        if self.oops.reference_bytes() == 4 {
            for half in [word as u32, (word >> 32) as u32] {
                if let Some(object) = self.oops.decode(u64::from(half)) {
                    self.mark(object);
                }
            }
        }
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
                    let words = self.blocks.u32(object + size).map_or(0, u64::from).min(MOST_FRAME_WORDS);
                    for index in 0..words {
                        if let Some(word) = self.blocks.u64(object + data + index * 8) {
                            self.mark_word(word);
                        }
                    }
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
