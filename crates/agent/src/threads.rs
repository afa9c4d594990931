//! Thread stacks. The C library maps, caches and unmaps them behind the hooks, so pthread_create is
//! hooked instead: a sampled stack is recorded by its new thread when it begins, and forgotten when
//! that thread ends (by a thread-specific slot's destructor, which also runs on pthread_exit and
//! cancellation).

use core::ffi::c_void;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize};

use core::cell::UnsafeCell;

use offheap_live::{Counter, RegionKind, RegionRec};

use crate::arch::{self, thread_pointer, thread_start};
use crate::real::{Function, Helper, helper, real};
use crate::regions;
use crate::sample;
use crate::table;
use crate::tid;

type Attr = libc::pthread_attr_t;
/// What pthread_create runs.
pub type Start = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
type Create = unsafe extern "C" fn(*mut libc::pthread_t, *const Attr, Start, *mut c_void) -> i32;

/// A thread that is being made.
struct Birth {
    /// 0: free, 1: taken.
    taken: AtomicU32,
    start: AtomicUsize,
    arg: AtomicUsize,
    /// The live file's, that its stack is in.
    session: AtomicU64,
    region: UnsafeCell<RegionRec>,
}
// SAFETY: the region is written by the creator before the new thread exists, and read by that
// thread alone.
unsafe impl Sync for Birth {}

const EMPTY: RegionRec =
    RegionRec { start: 0, end: 0, size: 0, time_ns: 0, weight: 0.0, stack: 0, tid: 0, kind: 0, check: 0 };
/// Threads that can be on their way at a time; more are not sampled.
static BIRTHS: [Birth; 256] = [const {
    Birth {
        taken: AtomicU32::new(0),
        start: AtomicUsize::new(0),
        arg: AtomicUsize::new(0),
        session: AtomicU64::new(0),
        region: UnsafeCell::new(EMPTY),
    }
}; 256];

/// The slot whose destructor tells that a thread ends; -1: none.
static KEY: AtomicI32 = AtomicI32::new(-1);

/// Makes the slot. Once, when the agent is started.
pub fn init() {
    let f = helper(Helper::KeyCreate);
    if f == 0 || KEY.load(Relaxed) >= 0 {
        return;
    }
    type Destructor = unsafe extern "C" fn(*mut c_void);
    // SAFETY: the address of pthread_key_create. The destructor stays: the agent is never unloaded.
    let created = unsafe {
        let f = core::mem::transmute::<usize, unsafe extern "C" fn(*mut u32, Destructor) -> i32>(f);
        let mut key = 0;
        (f(&mut key, ended) == 0).then_some(key)
    };
    if let Some(key) = created {
        KEY.store(key as i32, Relaxed);
    }
}

/// Bytes of the stack that pthread_create will map; 0 if the caller brings one or it can't be told.
unsafe fn stack_size(attr: *const Attr) -> u64 {
    let [init, get, destroy] = [Helper::AttrInit, Helper::AttrGetstacksize, Helper::AttrDestroy].map(helper);
    if init == 0 || get == 0 || destroy == 0 {
        return 0;
    }
    let mut size = 0usize;
    // SAFETY: the addresses of these functions. They read and write the attribute only; a null one
    // stands for the defaults, which a fresh attribute has.
    unsafe {
        let get = core::mem::transmute::<usize, unsafe extern "C" fn(*const Attr, *mut usize) -> i32>(get);
        if attr.is_null() {
            let init = core::mem::transmute::<usize, unsafe extern "C" fn(*mut Attr) -> i32>(init);
            let destroy = core::mem::transmute::<usize, unsafe extern "C" fn(*mut Attr) -> i32>(destroy);
            let mut defaults = core::mem::MaybeUninit::<Attr>::zeroed();
            if init(defaults.as_mut_ptr()) == 0 {
                get(defaults.as_ptr(), &mut size);
                destroy(defaults.as_mut_ptr());
            }
        } else {
            get(attr, &mut size);
        }
    }
    if size > 1 << 40 { 0 } else { size as u64 }
}

/// pthread_create, with the new stack sampled.
///
/// # Safety
/// As pthread_create itself.
pub unsafe fn create(thread: *mut libc::pthread_t, attr: *const Attr, start: Start, arg: *mut c_void) -> i32 {
    // SAFETY: the address of the real function.
    let create = unsafe { core::mem::transmute::<usize, Create>(real::<0>(Function::PthreadCreate)) };
    // SAFETY: the caller's attribute.
    let size = if KEY.load(Relaxed) < 0 { 0 } else { unsafe { stack_size(attr) } };
    let sample = if size == 0 { None } else { sample::region(size) };
    let birth = match &sample {
        Some(_) => BIRTHS.iter().find(|b| b.taken.compare_exchange(0, 1, AcqRel, Relaxed).is_ok()),
        None => None,
    };
    let (Some(s), Some(birth)) = (&sample, birth) else {
        if sample.is_some() {
            table::count(Counter::DropThreads);
        }
        // SAFETY: the caller's arguments.
        return unsafe { create(thread, attr, start, arg) };
    };
    let region = RegionRec {
        size,
        time_ns: s.time_ns,
        weight: s.weight,
        stack: s.stack,
        kind: RegionKind::ThreadStack as u32,
        ..EMPTY
    };
    birth.start.store(start as usize, Relaxed);
    birth.arg.store(arg as usize, Relaxed);
    birth.session.store(s.file.session(), Relaxed);
    // SAFETY: this thread has taken the entry.
    unsafe { birth.region.get().write(region) };
    // SAFETY: the caller's arguments, but for the function, which calls the caller's.
    let result =
        unsafe { create(thread, attr, offheap_thread_start, core::ptr::from_ref(birth).cast_mut().cast()) };
    if result != 0 {
        birth.taken.store(0, Release);
    }
    result
}

/// What a thread goes on with.
#[repr(C)]
struct Work {
    start: usize,
    arg: usize,
}

/// The new thread's first steps.
unsafe extern "C" fn begin(birth: *const Birth) -> Work {
    // SAFETY: an entry of the static table, kept for this thread.
    let birth = unsafe { &*birth };
    birth.taken.load(Acquire);
    let work = Work { start: birth.start.load(Relaxed), arg: birth.arg.load(Relaxed) };
    // SAFETY: written before this thread was made.
    let mut region = unsafe { birth.region.get().read() };
    let session = birth.session.load(Relaxed);
    birth.taken.store(0, Release);
    // SAFETY: no arguments.
    region.start = thread_pointer();
    region.end = region.start.saturating_add(region.size);
    region.tid = tid::current(arch::thread());
    let set = helper(Helper::Setspecific);
    if set != 0 && regions::add(region, session) {
        // SAFETY: the address of pthread_setspecific; any value but null will do.
        unsafe {
            let set = core::mem::transmute::<usize, unsafe extern "C" fn(u32, usize) -> i32>(set);
            set(KEY.load(Relaxed) as u32, 1);
        }
    }
    work
}

/// The slot's destructor.
unsafe extern "C" fn ended(_: *mut c_void) {
    regions::thread_ended(thread_pointer());
}

// Not in Rust, because pthread_exit and cancellation unwind through it, which Rust frames don't
// allow.
thread_start!(offheap_thread_start, begin);
