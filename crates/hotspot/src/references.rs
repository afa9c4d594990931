//! Reference objects in the Java heap: how many there are of the kinds through which garbage gives
//! native memory back.
//!
//! A Cleaner, a finalizer and a library's own reference queue are all subclasses of three classes
//! of `java.lang.ref`. Nothing that lives off the heap is freed by the collector without one of
//! them.

use crate::classes::{self, FINAL_REFERENCE, KnownClasses, PHANTOM_REFERENCE, WEAK_REFERENCE};
use crate::heap::Part;
use crate::oops::Oops;
use crate::scan;
use crate::target::word;
use crate::vm::Vm;

/// Superclasses followed: Reference, its three kinds, and what a library derives from them.
const MAX_DEPTH: u32 = 12;
/// Words of the filter that most headers fail at once, 64 values each.
const FILTER_WORDS: usize = 1 << 10;

/// Counts them in the resident part of the heap, garbage included; `None` where more than `budget`
/// bytes would have to be read or the classes can't be told.
pub(crate) fn count(
    vm: &Vm<'_>,
    oops: &Oops,
    known: &KnownClasses,
    heap: &[Part],
    budget: u64,
) -> Option<u64> {
    let kinds = Kinds::of(vm, oops, known, &[PHANTOM_REFERENCE, FINAL_REFERENCE, WEAK_REFERENCE])?;
    let mut count = 0;
    let scanned = scan::each_chunk(vm, heap, budget, |_, chunk, starts| {
        kinds.each(chunk, starts, |_| count += 1);
    });
    scanned.incomplete.is_none().then_some(count)
}

/// The headers to look for.
pub(crate) struct Kinds {
    offset: usize,
    mask: u64,
    /// Ascending.
    values: Vec<u64>,
    filter: Vec<u64>,
}

impl Kinds {
    /// Those of the classes `names` and of everything derived from them; `None` where there is no
    /// way to the classes.
    pub(crate) fn of(vm: &Vm<'_>, oops: &Oops, known: &KnownClasses, names: &[&str]) -> Option<Kinds> {
        let roots: Vec<u64> = names.iter().map(|name| known.klass(name)).collect::<Option<_>>()?;
        let (offset, mask, _) = oops.header.pattern(*roots.first()?)?;
        let mut kinds =
            Kinds { offset: offset as usize, mask, values: Vec::new(), filter: vec![0; FILTER_WORDS] };
        classes::each_class(vm, |klass| {
            if extends(vm, klass, &roots)
                && let Some((_, _, value)) = oops.header.pattern(klass)
            {
                kinds.values.push(value);
            }
        })?;
        kinds.values.sort_unstable();
        for value in &kinds.values {
            let (index, bit) = slot(*value);
            if let Some(word) = kinds.filter.get_mut(index) {
                *word |= bit;
            }
        }
        Some(kinds)
    }

    /// Calls `found` with the place of each object of these classes that starts in the first
    /// `starts` bytes of `chunk`.
    pub(crate) fn each(&self, chunk: &[u8], starts: usize, mut found: impl FnMut(usize)) {
        let is_one = |object: usize| {
            let header = chunk.get(object + self.offset..object + self.offset + 8).map(word);
            let Some(value) = header.map(|header| header & self.mask) else { return false };
            let (index, bit) = slot(value);
            self.filter.get(index).is_some_and(|word| word & bit != 0)
                && self.values.binary_search(&value).is_ok()
                // An object that nobody locks: the mark word ends in 01, with the bit of biased
                // locking before JDK 15 or without (oops/markWord.hpp).
                && chunk.get(object..object + 8).map(word).is_some_and(|mark| mark & 3 == 1)
        };
        (0..starts.min(chunk.len())).step_by(8).filter(|&object| is_one(object)).for_each(&mut found);
    }
}

/// Where a header's value is noted in the filter. The bits of a class pointer above the alignment
/// differ most.
fn slot(value: u64) -> (usize, u64) {
    let folded = value ^ value >> 16 ^ value >> 32 ^ value >> 48;
    ((folded >> 6) as usize % FILTER_WORDS, 1 << (folded & 63))
}

/// True where `klass` is a subclass of one of `roots`, or one of them.
fn extends(vm: &Vm<'_>, klass: u64, roots: &[u64]) -> bool {
    let mut at = Some(klass);
    for _ in 0..MAX_DEPTH {
        match at {
            Some(class) if roots.contains(&class) => return true,
            Some(class) => at = vm.pointer(class, "Klass", "_super"),
            None => return false,
        }
    }
    false
}
