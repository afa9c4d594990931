//! What JNI code holds of the Java heap: global and weak global references by class, the local
//! references of each thread.
//!
//! Layouts: gc/shared/oopStorage.hpp and runtime/jniHandles.hpp of JDK 11 to 25.

use crate::classes;
use crate::heap::z::Moved;
use crate::libjvm::{GLOBAL_HANDLES, WEAK_GLOBAL_HANDLES};
use crate::oops::Oops;
use crate::target::Peek;
use crate::threads;
use crate::vm::Vm;
use offheap_target::Task;
use std::collections::{HashMap, HashSet};

/// References in one block of an `OopStorage` (`BitsPerWord`).
const REFERENCES: usize = 64;
/// Blocks of one storage that are read: 64 million references.
const MOST_BLOCKS: u64 = 1 << 20;
/// References in one block of local ones (`JNIHandleBlock::block_size_in_oops`).
const LOCAL_REFERENCES: u32 = 32;
/// Blocks of one thread that are read: 2 million references.
const MOST_LOCAL_BLOCKS: u64 = 1 << 16;
/// From a block's `_next` to its `_pop_frame_link`, with `_last` between them.
const NEXT_TO_LINK: u64 = 16;

/// What JNI code holds at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Handles {
    /// `NewGlobalRef` without its `DeleteGlobalRef`, the JVM's own included; `None` where they were
    /// not found.
    pub global: Option<References>,
    /// `NewWeakGlobalRef` without its `DeleteWeakGlobalRef`; `None` where they were not found.
    pub weak: Option<References>,
    /// Threads with local references, or with frames that were pushed; `None` where the VM's list
    /// of threads can't be read.
    pub threads: Option<Vec<LocalReferences>>,
    /// Threads that were attached and have ended without `DetachCurrentThread`: the VM lists them,
    /// the kernel does not. By their Java names, or their ids.
    pub ended_attached: Vec<String>,
}

/// References of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct References {
    /// How many there are.
    pub count: u64,
    /// Of these, the ones whose object is gone: a weak reference that nobody has deleted.
    pub cleared: u64,
    /// How many refer to objects of each class, the most first. What moved while it was read is
    /// missing.
    pub by_class: Vec<(String, u64)>,
}

/// The local references of one thread, of the native method that it is in, or was in last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalReferences {
    /// Its id in its own namespace.
    pub tid: i32,
    /// Its Java name; where that can't be read, the 15 bytes that the kernel keeps.
    pub thread: String,
    /// Frames pushed (`PushLocalFrame`) and not popped.
    pub pushed_frames: u64,
    /// Blocks of 32 references.
    pub blocks: u64,
    /// The references.
    pub references: References,
}

/// Reads them all; `names` are the threads' Java names.
pub(crate) fn read(vm: &Vm<'_>, oops: &Oops, tasks: &[Task], names: &HashMap<i32, String>) -> Handles {
    let mut known = Known::new(vm, *oops);
    let (threads, ended) = locals(vm, &mut known, tasks, names).unzip();
    Handles {
        global: stored(vm, oops, GLOBAL_HANDLES).map(|all| known.count(all)),
        weak: stored(vm, oops, WEAK_GLOBAL_HANDLES).map(|all| known.count(all)),
        threads,
        ended_attached: ended.unwrap_or_default(),
    }
}

/// The objects that the references of one of the VM's storages refer to, 0 for those that were
/// cleared. The storage has an array of blocks. vmStructs says nothing of it, so it is found by its
/// shape: a size, a smaller count, then blocks that name their storage.
pub(crate) fn stored(vm: &Vm<'_>, oops: &Oops, symbol: &str) -> Option<Vec<u64>> {
    const FIELDS: usize = 8;
    /// Size, count and a counter of users.
    const HEADER: u64 = 24;
    let storage = vm.target.pointer(vm.libjvm.variable(symbol)?.address)?;
    let moved = Moved::new(vm, oops);
    let mut found = None;
    for field in vm.target.words_while_readable(storage, FIELDS) {
        let Some(head) = (field % 8 == 0).then(|| vm.target.words(field, 3)).flatten() else { continue };
        let [size, count, _users] = head.as_slice() else { continue };
        if *size == 0 || *size > MOST_BLOCKS || count > size {
            continue;
        }
        let Some(blocks) = vm.target.words(field.checked_add(HEADER)?, *count as usize) else { continue };
        for block in blocks {
            // The references, a bit for each that is in use, and the storage.
            let Some(words) = vm.target.words(block, REFERENCES + 2) else { continue };
            let (references, [used, owner]) = words.split_at(REFERENCES) else { continue };
            if *owner != storage {
                continue;
            }
            let in_use = (0..REFERENCES).filter(|bit| used >> bit & 1 == 1);
            let objects =
                in_use.filter_map(|bit| references.get(bit)).map(|reference| moved.reference(*reference));
            found.get_or_insert_with(Vec::new).extend(objects);
        }
        // A storage has one array; several fields may point at it.
        if !found.get_or_insert_with(Vec::new).is_empty() {
            break;
        }
    }
    found
}

/// The local references of each Java thread, and the names of those that the kernel no longer has.
fn locals(
    vm: &Vm<'_>,
    known: &mut Known<'_>,
    tasks: &[Task],
    names: &HashMap<i32, String>,
) -> Option<(Vec<LocalReferences>, Vec<String>)> {
    let threads = threads::java_stacks(vm)?;
    let tasks: HashMap<i32, &Task> = tasks.iter().map(|task| (task.inner_tid, task)).collect();
    let (mut found, mut ended) = (Vec::new(), Vec::new());
    for thread in threads {
        let name = names.get(&thread.tid).cloned();
        let Some(task) = tasks.get(&thread.tid) else {
            ended.push(name.unwrap_or_else(|| thread.tid.to_string()));
            continue;
        };
        let name = name.unwrap_or_else(|| task.name.clone());
        let mut local = LocalReferences { tid: thread.tid, thread: name, ..Default::default() };
        let objects = frames(vm, known, thread.object, &mut local).unwrap_or_default();
        local.references = known.count(objects);
        if local.references.count > 0 || local.pushed_frames > 0 {
            found.push(local);
        }
    }
    found.sort_by_key(|local| std::cmp::Reverse((local.pushed_frames, local.references.count, local.tid)));
    Some((found, ended))
}

/// Follows the blocks of a thread's frames, the innermost first; counts them in `local`.
fn frames(vm: &Vm<'_>, known: &Known<'_>, thread: u64, local: &mut LocalReferences) -> Option<Vec<u64>> {
    let link = vm.tables.offset("JNIHandleBlock", "_next")?.checked_add(NEXT_TO_LINK)?;
    let mut frame = vm.u64(thread, "JavaThread", "_active_handles")?;
    let mut objects = Vec::new();
    let mut frames = 0;
    while frame != 0 && local.blocks < MOST_LOCAL_BLOCKS {
        frames += 1;
        let mut block = frame;
        while block != 0 && local.blocks < MOST_LOCAL_BLOCKS {
            local.blocks += 1;
            let top = vm.u32(block, "JNIHandleBlock", "_top")?.min(LOCAL_REFERENCES);
            let slots = vm.target.words(vm.place(block, "JNIHandleBlock", "_handles")?, top as usize)?;
            // Free ones are empty, or carry a bit and point to the next free one.
            let used = slots.into_iter().filter(|slot| *slot != 0 && slot & 1 == 0);
            objects.extend(used.map(|slot| known.local(slot)).filter(|object| *object != 0));
            // What lies behind is kept for later.
            if top < LOCAL_REFERENCES {
                break;
            }
            block = vm.u64(block, "JNIHandleBlock", "_next")?;
        }
        frame = vm.target.u64(frame.checked_add(link)?)?;
    }
    local.pushed_frames = u64::saturating_sub(frames, 1);
    Some(objects)
}

/// The classes, and their names as far as they were asked for.
struct Known<'a> {
    vm: Vm<'a>,
    oops: Oops,
    moved: Moved<'a>,
    /// `None` where the classes can't be listed: then a class is what has a name.
    loaded: Option<HashSet<u64>>,
    names: HashMap<u64, Option<String>>,
}

impl<'a> Known<'a> {
    fn new(vm: &Vm<'a>, oops: Oops) -> Self {
        let mut loaded = HashSet::new();
        let all = classes::each_class(vm, |klass| {
            loaded.insert(klass);
        });
        Known {
            vm: *vm,
            oops,
            moved: Moved::new(vm, &oops),
            loaded: all.map(|_| loaded),
            names: HashMap::new(),
        }
    }

    /// The object in the slot of a local reference. ZGC colours them in some versions, and not in
    /// others.
    fn local(&self, slot: u64) -> u64 {
        if !self.oops.is_coloured() {
            return self.moved.reference(slot);
        }
        let plain = [Some(slot), self.moved.gone_from(slot)];
        plain
            .into_iter()
            .flatten()
            .find(|object| self.class_of(*object).is_some())
            .unwrap_or_else(|| self.moved.reference(slot))
    }

    /// Counts references by the classes of their objects.
    fn count(&mut self, mut objects: Vec<u64>) -> References {
        let count = objects.len() as u64;
        objects.retain(|object| *object != 0);
        let cleared = count - objects.len() as u64;
        objects.sort_unstable();
        let mut of: HashMap<u64, u64> = HashMap::new();
        for object in objects {
            if let Some(klass) = self.class_of(object) {
                *of.entry(klass).or_default() += 1;
            }
        }
        let mut by_class: HashMap<String, u64> = HashMap::new();
        for (klass, count) in of {
            if let Some(name) = self.name(klass) {
                *by_class.entry(name).or_default() += count;
            }
        }
        let mut by_class: Vec<(String, u64)> = by_class.into_iter().collect();
        by_class.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        References { count, cleared, by_class }
    }

    fn class_of(&self, object: u64) -> Option<u64> {
        let target = self.vm.target;
        let (mark, next) = (target.u64(object)?, target.u64(object.checked_add(8)?)?);
        // The two lowest bits of an object that was moved (markWord.hpp).
        let klass = (mark & 3 != 3).then(|| self.oops.header.klass(mark, next)).flatten()?;
        self.loaded.as_ref().is_none_or(|loaded| loaded.contains(&klass)).then_some(klass)
    }

    fn name(&mut self, klass: u64) -> Option<String> {
        let vm = self.vm;
        self.names
            .entry(klass)
            .or_insert_with(|| classes::name(&vm, klass).map(|name| readable(&name)))
            .clone()
    }
}

/// `"[Ljava/lang/String;"` as `"java.lang.String[]"`.
fn readable(name: &str) -> String {
    let element = name.trim_start_matches('[');
    let dimensions = name.len() - element.len();
    let element = match (dimensions, element) {
        (0, class) => class,
        (_, "Z") => "boolean",
        (_, "B") => "byte",
        (_, "C") => "char",
        (_, "S") => "short",
        (_, "I") => "int",
        (_, "J") => "long",
        (_, "F") => "float",
        (_, "D") => "double",
        (_, class) => class.strip_prefix('L').and_then(|class| class.strip_suffix(';')).unwrap_or(class),
    };
    element.replace('/', ".") + &"[]".repeat(dimensions)
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn classes_are_named_as_in_a_program() {
        for (internal, written) in [
            ("java/lang/String", "java.lang.String"),
            ("[B", "byte[]"),
            ("[[I", "int[][]"),
            ("[Ljava/lang/Object;", "java.lang.Object[]"),
            ("[", "[]"),
            ("L;", "L;"),
        ] {
            assert_eq!(readable(internal), written);
        }
    }
}
