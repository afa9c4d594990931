//! Java objects: the JVM itself samples them (JVMTI's SampledObjectAlloc, JEP 331), the agent
//! records where they were allocated, and finds out by weak references which of them a collection
//! has freed.
//!
//! HotSpot's sampler (runtime/threadHeapSampler.cpp) is of the same kind as ours: each thread
//! counts allocated bytes down from a geometrically distributed number, so an object of `size`
//! bytes is sampled with probability 1 - exp(-size/interval) and stands for the reciprocal of that
//! many. It costs nothing between samples: the end of the thread's allocation buffer is moved to
//! where the next one is due.
//!
//! An object moves, so its key in the live table is no address but a number
//! (`offheap_live::object_key`). Whether it still is there is looked up from time to time: each
//! sample looks at a few of those before it, in turn, and a command at all of them ([`sweep`]).
//!
//! A collection clears weak references when it finds their objects dead. Generational ZGC does so
//! in its major collections only: until then even what died young counts as live.
//!
//! Tags and JVMTI's ObjectFree would need no looking up, but a JVM can hang with them: two threads
//! that deliver these events (the service thread after a collection; who turns the event off, gives
//! the environment back or ends the JVM) wait for each other without letting a safepoint happen,
//! for which one of them waits (`JvmtiTagMap::flush_object_free_events` from 17 to 25 at least;
//! seen within a hundred stops).

use core::ffi::c_void;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};

use offheap_live::{Counter, ObjectState, SampleRec, object_key};

use crate::elf;
use crate::jvmti::{self, Environment, Jni, Reference, Vm};
use crate::sample;
use crate::sys;
use crate::table::{self, File};
use crate::walk;

/// The JVM, as it told the agent's entry; null: not yet.
static VM: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
/// The JVMTI environment, once there is one. It is kept: what a JVM has of an idle one is a few
/// hundred bytes.
static ENVIRONMENT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
/// Mean bytes between samples; 0: off, and then no callback goes on.
static INTERVAL: AtomicU64 = AtomicU64::new(0);
/// Callbacks under way.
static UNDER_WAY: AtomicU32 = AtomicU32::new(0);
/// Whether the JVM is older than 21: see [`jvmti::is_cleared`].
static OLD: AtomicBool = AtomicBool::new(false);
/// Set when a lease has run out: the JVM still calls, and has references of ours.
static LEFT: AtomicBool = AtomicBool::new(false);
/// The last object's number.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// How long a stop waits for callbacks under way: a collection may hold them up.
const PATIENCE_MS: u32 = 3000;
/// References that one sample looks at, and places that it looks for them in.
const LOOK_AT: usize = 16;
const LOOK_IN: usize = 256;
/// Tries to take a place out of the list of free ones that others are at too.
const TRIES: usize = 64;

/// A place for an object that is in the live table.
struct Place {
    /// Its weak reference. 0: free, 1: somebody is at it.
    weak: AtomicUsize,
    /// Its key.
    key: AtomicU64,
    /// While it is free: the next free place's index plus one, 0 at the end.
    next: AtomicU32,
}
const FREE: usize = 0;
const HELD: usize = 1;

/// The places: a mapping made with the first start and kept.
static PLACES: AtomicPtr<Place> = AtomicPtr::new(core::ptr::null_mut());
/// How many there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// The list of free places, but for those that have never been used: the first one's index plus
/// one, and above it the number of changes, so that a place that was taken and given back in
/// between is told from one that was not.
static FREE_LIST: AtomicU64 = AtomicU64::new(0);
/// From this one on all have always been free.
static END: AtomicUsize = AtomicUsize::new(0);
/// Where the next sample looks.
static NEXT: AtomicUsize = AtomicUsize::new(0);

fn places() -> &'static [Place] {
    let (places, count) = (PLACES.load(Acquire), COUNT.load(Relaxed));
    if places.is_null() {
        return &[];
    }
    // SAFETY: a mapping of that many, kept for ever; only its atomics change.
    unsafe { core::slice::from_raw_parts(places, count) }
}

/// Makes the places: half as many as fit into the first live table (none is larger), so that heap
/// blocks have room too.
fn make_places(file: File) -> bool {
    if PLACES.load(Relaxed).is_null() {
        let count = file.slots() as usize / 2;
        let Some(mapped) = sys::map_anonymous(count * size_of::<Place>()) else { return false };
        COUNT.store(count, Relaxed);
        PLACES.store(mapped.cast(), Release);
    }
    true
}

/// Remembers the JVM.
pub fn set_vm(vm: *mut c_void) {
    if !vm.is_null() {
        VM.store(vm, Relaxed);
    }
}

/// The JVM of this process, if it has one that is up.
fn vm() -> Option<Vm> {
    let mut vm = VM.load(Relaxed);
    if vm.is_null() {
        // The agent was preloaded, or got its command from another copy of it.
        elf::for_each(|o| {
            if vm.is_null()
                && let Some(d) = o.dynamic()
                && o.lookup(&d, c"gHotSpotVMStructs").is_some()
                && let Some(address) = o.lookup(&d, c"JNI_GetCreatedJavaVMs")
            {
                type Get = unsafe extern "C" fn(*mut *mut c_void, i32, *mut i32) -> i32;
                let mut n = 0;
                // SAFETY: jni.h's function; it copies as many pointers as there is room for.
                unsafe {
                    let get = core::mem::transmute::<usize, Get>(address as usize);
                    get(&mut vm, 1, &mut n);
                }
            }
        });
    }
    // SAFETY: by the JVM itself.
    unsafe { Vm::new(vm) }
}

fn environment() -> Option<Environment> {
    // SAFETY: the one that was made, never disposed of.
    unsafe { Environment::from_raw(ENVIRONMENT.load(Acquire)) }
}

/// Writes down what has become of it, for the reader.
fn tell(file: File, state: ObjectState, error: i32) {
    let h = file.header();
    h.objects_error.store(error, Relaxed);
    h.objects.store(state as u32, Release);
}

/// Samples Java objects from now on, one each `interval` bytes (1: every one). Whether that can be
/// done stands in the live file. Not for use in a hook; the caller sees to it that nobody else
/// starts or stops.
pub fn start(file: File, interval: u64) {
    let interval = interval.min(i32::MAX as u64);
    let h = file.header();
    h.objects_interval.store(interval, Relaxed);
    let running = INTERVAL.load(SeqCst);
    if running == interval {
        return;
    }
    match turn_on(file, interval, running != 0) {
        Ok(()) => {
            if running == 0 {
                h.objects_started_ns.store(sys::clock_ns(libc::CLOCK_MONOTONIC), Relaxed);
            }
            INTERVAL.store(interval, SeqCst);
            tell(file, ObjectState::On, 0);
        }
        Err((state, error)) => {
            stop(Some(file));
            tell(file, state, error);
        }
    }
}

fn turn_on(file: File, interval: u64, running: bool) -> Result<(), (ObjectState, i32)> {
    let failed = |error| (ObjectState::Failed, error);
    let env = match environment() {
        Some(env) => env,
        None => {
            let vm = vm().ok_or((ObjectState::NoJvm, 0))?;
            let env = vm.environment().map_err(|error| match error {
                jvmti::NO_SUCH_VERSION => (ObjectState::TooOld, error),
                error => failed(error),
            })?;
            ENVIRONMENT.store(env.as_raw(), Release);
            env
        }
    };
    // Every object is what the JVM means by 0.
    let bytes = if interval == 1 { 0 } else { interval as i32 };
    if running {
        return env.set_interval(bytes).map_err(failed);
    }
    OLD.store((1..21).contains(&walk::vm_release()), Relaxed);
    if !make_places(file) {
        return Err(failed(-libc::ENOMEM));
    }
    env.take_sampling().map_err(|error| match error {
        jvmti::NOT_AVAILABLE => (ObjectState::Taken, error),
        error => failed(error),
    })?;
    env.set_callback(sampled).map_err(failed)?;
    env.set_interval(bytes).map_err(failed)?;
    // Callbacks that come before the interval is known are left out.
    env.notify(true).map_err(failed)
}

/// Stops, and forgets the objects: nothing of ours is left in the JVM that its collections would
/// look at. As [`start`]. Without a file: what a lease that ran out has left to be done.
pub fn stop(file: Option<File>) {
    INTERVAL.store(0, SeqCst);
    if let Some(file) = file {
        tell(file, ObjectState::Off, 0);
    } else if !LEFT.swap(false, SeqCst) {
        return;
    }
    turn_off(0);
    if let Some(jni) = vm().and_then(Vm::jni) {
        forget_all(jni, file);
    }
}

fn turn_off(own_callbacks: u32) {
    let Some(env) = environment() else { return };
    let _ = env.notify(false);
    // For other agents.
    let _ = env.give_sampling_back();
    wait_for_callbacks(own_callbacks);
}

fn forget_all(jni: Jni, file: Option<File>) {
    for (i, place) in used().iter().enumerate() {
        look(i, place, |weak, key| {
            jni.delete_weak(weak);
            if let Some(file) = file {
                file.remove(key);
            }
            false
        });
    }
}

/// In a hook, where the JVM can't be told anything: no object is sampled any more, and the next
/// callback sees to the rest.
pub fn leave(file: File) {
    if INTERVAL.swap(0, SeqCst) != 0 {
        LEFT.store(true, SeqCst);
        tell(file, ObjectState::Off, 0);
    }
}

/// Gives the memory of the places back, if none is in use.
pub fn forget() {
    if UNDER_WAY.load(SeqCst) == 0 && !LEFT.load(SeqCst) && used().iter().all(|p| p.weak.load(SeqCst) == FREE)
    {
        let all = places();
        END.store(0, SeqCst);
        FREE_LIST.store(0, SeqCst);
        sys::advise(all.as_ptr() as usize, size_of_val(all), libc::MADV_DONTNEED);
    }
}

/// Takes all objects out of the live table that collections have freed. As [`start`].
pub fn sweep(file: File) {
    if let Some(jni) = vm().and_then(Vm::jni) {
        for (i, place) in used().iter().enumerate() {
            look_up(jni, file, i, place);
        }
    }
}

/// Waits until no callback is under way, but not for ever; those that come now see that it is off.
/// What one of them should leave behind all the same is the next stop's.
fn wait_for_callbacks(own: u32) {
    for _ in 0..PATIENCE_MS {
        if UNDER_WAY.load(SeqCst) <= own {
            break;
        }
        sys::sleep_ms(1);
    }
}

/// The places that have ever been used.
fn used() -> &'static [Place] {
    let all = places();
    all.get(..END.load(Acquire).min(all.len())).unwrap_or(&[])
}

/// Looks at an object, if there is one at the place and nobody else is at it; it stays if `stays`
/// says so. Whether there was one.
fn look(index: usize, place: &Place, stays: impl FnOnce(Reference, u64) -> bool) -> bool {
    let weak = place.weak.load(Acquire);
    if weak <= HELD || place.weak.compare_exchange(weak, HELD, AcqRel, Relaxed).is_err() {
        return false;
    }
    if stays(weak as Reference, place.key.load(Relaxed)) {
        place.weak.store(weak, Release);
    } else {
        give_back(index, place);
    }
    true
}

/// Takes the object at a place out of the live table, if a collection has freed it.
fn look_up(jni: Jni, file: File, index: usize, place: &Place) -> bool {
    look(index, place, |weak, key| {
        let freed = if OLD.load(Relaxed) {
            // SAFETY: made by this JVM, and nobody else is at it.
            unsafe { jvmti::is_cleared(weak) }
        } else {
            jni.is_freed(weak)
        };
        if !freed {
            return true;
        }
        jni.delete_weak(weak);
        if let Some(record) = file.remove(key) {
            table::count(Counter::ObjectFrees);
            file.add_freed(record.stack, record.size, record.weight);
        }
        false
    })
}

/// Looks at the next few objects.
fn look_at_some(jni: Jni, file: File) {
    let used = used();
    if used.is_empty() {
        return;
    }
    let mut at = NEXT.fetch_add(LOOK_AT, Relaxed);
    let mut looked = 0;
    for _ in 0..LOOK_IN.min(used.len()) {
        at %= used.len();
        if let Some(place) = used.get(at) {
            looked += usize::from(look_up(jni, file, at, place));
        }
        at += 1;
        if looked == LOOK_AT {
            break;
        }
    }
    NEXT.store(at, Relaxed);
}

/// Changes the list of free places: `first` gives the new first place for the old one. The old one.
fn change_list(first: impl Fn(u32) -> Option<u32>, tries: usize) -> Option<u32> {
    let mut list = FREE_LIST.load(Acquire);
    for _ in 0..tries {
        let new = first(list as u32)?;
        let changes = (list >> 32) as u32;
        let changed = u64::from(changes.wrapping_add(1)) << 32 | u64::from(new);
        match FREE_LIST.compare_exchange_weak(list, changed, AcqRel, Acquire) {
            Ok(_) => return Some(list as u32),
            Err(now) => list = now,
        }
    }
    None
}

/// A free place, held, and its index.
fn hold() -> Option<(usize, &'static Place)> {
    let all = places();
    let next = |first: u32| Some(all.get((first as usize).checked_sub(1)?)?.next.load(Relaxed));
    let index = match change_list(next, TRIES) {
        Some(first) => first as usize - 1,
        None => {
            let more = |end: usize| (end < all.len()).then_some(end + 1);
            END.fetch_update(AcqRel, Acquire, more).ok()?
        }
    };
    let place = all.get(index)?;
    place.weak.store(HELD, Relaxed);
    Some((index, place))
}

/// Gives a held place back.
fn give_back(index: usize, place: &Place) {
    place.weak.store(FREE, Release);
    let listed = |first: u32| {
        place.next.store(first, Relaxed);
        Some(index as u32 + 1)
    };
    // Where so many others are at the list that it doesn't come into it, it is lost; that has not
    // been seen.
    change_list(listed, 16 * TRIES);
}

/// JVMTI's SampledObjectAlloc: on the allocating thread, in native state.
unsafe extern "C" fn sampled(
    _: *mut c_void,
    jni: *mut c_void,
    _: Reference,
    object: Reference,
    class: Reference,
    size: i64,
) {
    UNDER_WAY.fetch_add(1, SeqCst);
    let interval = INTERVAL.load(SeqCst);
    // SAFETY: the JVM's own, for this thread.
    let jni = unsafe { Jni::new(jni) };
    if interval == 0
        && let Some(jni) = jni
        && LEFT.swap(false, SeqCst)
    {
        // Two callbacks may stand here one after the other, but only one does the work.
        turn_off(1);
        forget_all(jni, None);
    }
    if interval != 0
        && sample::interval() != 0
        && let (Some(env), Some(jni), Some(file)) = (environment(), jni, table::file())
    {
        let size = size.max(0) as u64;
        sys::keeping_errno(|| {
            sample::object(size, interval, |t, s| {
                // What the JVM allocates for this is no sample.
                sample::unsampled(t, || {
                    look_at_some(jni, file);
                    let class = env.with_signature(class, |text| class_name(file, text)).unwrap_or(0);
                    record(
                        jni,
                        file,
                        object,
                        SampleRec {
                            addr: object_key(class, NUMBER.fetch_add(1, Relaxed)),
                            size,
                            time_ns: s.time_ns,
                            weight: s.weight,
                            stack: s.stack,
                            tid: s.tid,
                            seq: s.seq,
                            check: 0,
                        },
                    );
                });
            });
        });
    }
    UNDER_WAY.fetch_sub(1, SeqCst);
}

/// Puts an object into the live table, with a reference that tells how long it is to be there.
fn record(jni: Jni, file: File, object: Reference, record: SampleRec) {
    file.add_allocated(record.stack, record.size, record.weight);
    let Some((index, place)) = hold() else {
        table::count(Counter::DropObjects);
        return;
    };
    let mut weak = None;
    if file.insert(&record) {
        weak = jni.weak(object);
        if weak.is_none() {
            table::count(Counter::DropObjects);
            file.remove(record.addr);
        }
    }
    match weak {
        Some(weak) => {
            place.key.store(record.addr, Relaxed);
            place.weak.store(weak.as_ptr() as usize, Release);
        }
        None => give_back(index, place),
    }
}

/// Interns a class's name, as it is spelled in Java but for the slashes; 0 if it can't be kept.
fn class_name(file: File, signature: &[u8]) -> u32 {
    let mut buffer = [0; 1024];
    readable(signature, &mut buffer).map_or(0, |name| file.string(name))
}

/// `[[Lapp/Foo;` → `app/Foo[][]`, `[B` → `byte[]`. Names that are too long are cut, brackets and
/// all.
fn readable<'a>(signature: &[u8], buffer: &'a mut [u8; 1024]) -> Option<&'a [u8]> {
    let dimensions = signature.iter().take_while(|&&b| b == b'[').count();
    let element = signature.get(dimensions..)?;
    let name: &[u8] = match element {
        b"B" => b"byte",
        b"C" => b"char",
        b"D" => b"double",
        b"F" => b"float",
        b"I" => b"int",
        b"J" => b"long",
        b"S" => b"short",
        b"Z" => b"boolean",
        [b'L', name @ .., b';'] => name,
        other => other,
    };
    let brackets = core::iter::repeat_n(b"[]", dimensions).flatten();
    let mut len = 0;
    for (place, byte) in buffer.iter_mut().zip(name.iter().chain(brackets)) {
        *place = *byte;
        len += 1;
    }
    buffer.get(..len)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test for all that touches the places: they are the process's.
    #[test]
    fn a_place_is_one_objects_at_a_time() {
        const MANY: usize = 64;
        let mapped = sys::map_anonymous(MANY * size_of::<Place>()).unwrap();
        COUNT.store(MANY, Relaxed);
        PLACES.store(mapped.cast(), Release);
        let held: Vec<_> = (0..MANY).map(|_| hold().unwrap()).collect();
        assert!(hold().is_none(), "all are held");
        assert_eq!(used().len(), MANY);
        for (i, place) in held {
            assert!(!look(i, place, |_, _| true), "nobody looks at what is held");
            give_back(i, place);
        }
        std::thread::scope(|scope| {
            for thread in 1..=8u64 {
                scope.spawn(move || {
                    for n in 0..20_000 {
                        let (i, place) = hold().expect("more places than are held at a time");
                        place.key.store(thread << 32 | n, SeqCst);
                        std::hint::spin_loop();
                        assert_eq!(place.key.load(SeqCst), thread << 32 | n, "held by two");
                        give_back(i, place);
                    }
                });
            }
        });
        assert_eq!((0..MANY).filter(|_| hold().is_some()).count(), MANY, "a place was lost");
    }

    #[test]
    fn classes_are_named_as_in_java() {
        let mut buffer = [0; 1024];
        for (signature, name) in [
            ("Lapp/Session;", "app/Session"),
            ("[B", "byte[]"),
            ("[[Ljava/lang/String;", "java/lang/String[][]"),
            ("[[[Z", "boolean[][][]"),
            ("Lapp/A$$Lambda.0x00007f;", "app/A$$Lambda.0x00007f"),
            ("", ""),
            ("[", "[]"),
        ] {
            assert_eq!(readable(signature.as_bytes(), &mut buffer), Some(name.as_bytes()));
        }
        let long = [b'L'; 5000];
        assert_eq!(readable(&long, &mut buffer).map(<[u8]>::len), Some(1024));
    }
}
