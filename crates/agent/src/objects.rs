//! Java objects: the JVM itself samples them (JVMTI's SampledObjectAlloc, JEP 331), the agent records where they were
//! allocated and, by a tag, when a collection frees them.
//!
//! HotSpot's sampler (runtime/threadHeapSampler.cpp) is of the same kind as ours: each thread counts allocated bytes down
//! from a geometrically distributed number, so an object of `size` bytes is sampled with probability
//! 1 - exp(-size/interval) and stands for the reciprocal of that many. It costs nothing between samples: the end of the
//! thread's allocation buffer is moved to where the next one is due.
//!
//! An object moves, so its key in the live table is no address but a number (`offheap_live::object_key`), which is also its
//! tag. ObjectFree brings the tag back: from a GC pause (JDK 11), the VM thread or the service thread. There the record is
//! taken out, which is all that may be done there, and needs no help from the JVM. So what is in the table is what has been
//! allocated and not yet freed, with no reference that would keep it or make it weak.
//!
//! When it stops, tags would stay with the objects, and a JVM with tags looks through them at each collection. So the
//! environment is disposed of, which takes them away, and the records with them; but not before the last callback
//! has left it: JDK 11 frees the tags at once. What the JVM keeps of an environment it frees at its next collection; one that has
//! tagged nothing, for which there may be none, is kept for the next start.

use core::ffi::c_void;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64};

use offheap_live::{Counter, ObjectState, SampleRec, object_key};

use crate::elf;
use crate::jvmti::{self, Environment, Event, Reference, Vm};
use crate::sample;
use crate::sys;
use crate::table::{self, File};

/// The JVM, as it told the agent's entry; null: not yet.
static VM: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
/// The JVMTI environment; null: none.
static ENVIRONMENT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
/// Mean bytes between samples; 0: off, and then no callback goes on.
static INTERVAL: AtomicU64 = AtomicU64::new(0);
/// Callbacks under way.
static UNDER_WAY: AtomicU32 = AtomicU32::new(0);
/// Whether the environment has tagged anything.
static TAGGED: AtomicBool = AtomicBool::new(false);
/// Objects in the live table.
static LIVE: AtomicU64 = AtomicU64::new(0);
/// The last object's number.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// How long a stop waits for callbacks under way: a collection may hold them up.
const PATIENCE_MS: u32 = 3000;

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
                let mut n = 0;
                // SAFETY: jni.h's function; it copies as many pointers as there is room for.
                unsafe {
                    let get = core::mem::transmute::<
                        usize,
                        unsafe extern "C" fn(*mut *mut c_void, i32, *mut i32) -> i32,
                    >(address as usize);
                    get(&mut vm, 1, &mut n);
                }
            }
        });
    }
    // SAFETY: by the JVM itself.
    unsafe { Vm::new(vm) }
}

fn environment() -> Option<Environment> {
    // SAFETY: taken out before it is disposed of.
    unsafe { Environment::from_raw(ENVIRONMENT.load(Acquire)) }
}

/// Writes down what has become of it, for the reader.
fn tell(file: File, state: ObjectState, error: i32) {
    let h = file.header();
    h.objects_error.store(error, Relaxed);
    h.objects.store(state as u32, Release);
}

/// Samples Java objects from now on, one each `interval` bytes (1: every one). Whether that can be done stands in the live
/// file. Not for use in a hook; the caller sees to it that nobody else starts or stops.
pub fn start(file: File, interval: u64) {
    let interval = interval.min(i32::MAX as u64);
    let h = file.header();
    h.objects_interval.store(interval, Relaxed);
    let running = INTERVAL.load(SeqCst);
    if running == interval {
        return;
    }
    match turn_on(interval, running != 0) {
        Ok(()) => {
            if running == 0 {
                h.objects_started_ns.store(sys::clock_ns(libc::CLOCK_MONOTONIC), Relaxed);
            }
            INTERVAL.store(interval, SeqCst);
            tell(file, ObjectState::On, 0);
        }
        Err((state, error)) => {
            stop(file);
            tell(file, state, error);
        }
    }
}

fn turn_on(interval: u64, running: bool) -> Result<(), (ObjectState, i32)> {
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
    env.add(&jvmti::ALL).map_err(|error| match error {
        jvmti::NOT_AVAILABLE => (ObjectState::Taken, error),
        error => failed(error),
    })?;
    env.set_callbacks(sampled, freed).map_err(failed)?;
    env.set_interval(bytes).map_err(failed)?;
    env.notify(Event::ObjectFree, true).map_err(failed)?;
    // Callbacks that come before the interval is known are left out.
    env.notify(Event::SampledObjectAlloc, true).map_err(failed)
}

/// Stops, and forgets the objects. As [`start`].
pub fn stop(file: File) {
    INTERVAL.store(0, SeqCst);
    tell(file, ObjectState::Off, 0);
    let Some(env) = environment() else { return };
    let _ = env.notify(Event::SampledObjectAlloc, false);
    // For other agents.
    let _ = env.relinquish(&jvmti::SAMPLING);
    if !all_gone() {
        // Then it stays, and frees are followed, until the next stop.
        return;
    }
    if !TAGGED.swap(false, SeqCst) {
        return;
    }
    ENVIRONMENT.store(core::ptr::null_mut(), Release);
    let _ = env.notify(Event::ObjectFree, false);
    env.dispose();
    file.objects(|key| {
        take_out(file, key);
    });
}

/// Waits for the callbacks under way; those that come now see that it is off. False if it takes too long.
fn all_gone() -> bool {
    for _ in 0..PATIENCE_MS {
        if UNDER_WAY.load(SeqCst) == 0 {
            return true;
        }
        sys::sleep_ms(1);
    }
    false
}

fn take_out(file: File, key: u64) -> Option<SampleRec> {
    let record = file.remove(key)?;
    LIVE.fetch_sub(1, Relaxed);
    Some(record)
}

/// JVMTI's SampledObjectAlloc: on the allocating thread, in native state.
unsafe extern "C" fn sampled(
    env: *mut c_void,
    _: *mut c_void,
    _: Reference,
    object: Reference,
    class: Reference,
    size: i64,
) {
    UNDER_WAY.fetch_add(1, SeqCst);
    let interval = INTERVAL.load(SeqCst);
    // Not one of an environment that was disposed of just before.
    if interval != 0
        && sample::interval() != 0
        && ENVIRONMENT.load(SeqCst) == env
        && let Some(env) = environment()
        && let Some(file) = table::file()
    {
        sys::keeping_errno(|| record(env, file, object, class, size.max(0) as u64, interval));
    }
    UNDER_WAY.fetch_sub(1, SeqCst);
}

fn record(env: Environment, file: File, object: Reference, class: Reference, size: u64, interval: u64) {
    // Heap blocks are to have room too.
    if LIVE.fetch_add(1, Relaxed) >= file.slots() / 2 {
        LIVE.fetch_sub(1, Relaxed);
        table::count(Counter::DropObjects);
        return;
    }
    let mut kept = false;
    sample::object(size, interval, |t, s| {
        let class = sample::unsampled(t, || env.with_signature(class, |text| class_name(file, text)));
        let key = object_key(class.unwrap_or(0), NUMBER.fetch_add(1, Relaxed));
        file.add_allocated(s.stack, size, s.weight);
        kept = file.insert(&SampleRec {
            addr: key,
            size,
            time_ns: s.time_ns,
            weight: s.weight,
            stack: s.stack,
            tid: s.tid,
            seq: s.seq,
            check: 0,
        });
        if kept {
            TAGGED.store(true, SeqCst);
            let tagged = sample::unsampled(t, || env.set_tag(object, key as i64));
            if tagged.is_err() {
                table::count(Counter::DropObjects);
                kept = file.remove(key).is_none();
            }
        }
    });
    if !kept {
        LIVE.fetch_sub(1, Relaxed);
    }
}

/// JVMTI's ObjectFree: wherever the JVM has found out. Nothing of the JVM may be used here.
unsafe extern "C" fn freed(_: *mut c_void, tag: i64) {
    if sample::is_forked_child() {
        return;
    }
    if let Some(file) = table::file()
        && let Some(record) = take_out(file, tag as u64)
    {
        table::count(Counter::ObjectFrees);
        file.add_freed(record.stack, record.size, record.weight);
    }
}

/// Interns a class's name, as it is spelled in Java but for the slashes; 0 if it can't be kept.
fn class_name(file: File, signature: &[u8]) -> u32 {
    let mut buffer = [0; 1024];
    readable(signature, &mut buffer).map_or(0, |name| file.string(name))
}

/// `[[Lapp/Foo;` → `app/Foo[][]`, `[B` → `byte[]`. Names that are too long are cut, brackets and all.
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
