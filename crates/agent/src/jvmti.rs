//! The parts of JVMTI and JNI that the agent uses.
//!
//! Numbers and layouts are those of the specifications (jvmti.xml in hotspot/share/prims, from
//! which jvmti.h is made; jni.h): a JVMTI function's place in the table is its number minus one, an
//! event's place among the callbacks its number minus 50 (`JVMTI_MIN_EVENT_TYPE_VAL`). They have
//! been the same since JDK 11, in which the sampling of objects came (JEP 331).

use core::ffi::{CStr, c_char, c_void};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Places in the tables of functions.
mod function {
    // JNIInvokeInterface_
    pub const GET_ENV: usize = 6;
    // JNINativeInterface_
    pub const EXCEPTION_CLEAR: usize = 17;
    pub const IS_SAME_OBJECT: usize = 24;
    pub const NEW_WEAK_GLOBAL_REF: usize = 226;
    pub const DELETE_WEAK_GLOBAL_REF: usize = 227;
    // jvmtiInterface_1_
    pub const SET_EVENT_NOTIFICATION_MODE: usize = 1;
    pub const DEALLOCATE: usize = 46;
    pub const GET_CLASS_SIGNATURE: usize = 47;
    pub const SET_EVENT_CALLBACKS: usize = 121;
    pub const ADD_CAPABILITIES: usize = 141;
    pub const RELINQUISH_CAPABILITIES: usize = 142;
    pub const SET_HEAP_SAMPLING_INTERVAL: usize = 155;
}

/// `JVMTI_VERSION_11`.
const JVMTI_11: i32 = 0x300b_0000;
/// `JNI_VERSION_1_6`.
const JNI_6: i32 = 0x0001_0006;
/// `JNI_EVERSION`: there is no such interface.
pub const NO_SUCH_VERSION: i32 = -3;
/// `JVMTI_ERROR_NOT_AVAILABLE`, for one: another environment has a capability that only one may
/// have.
pub const NOT_AVAILABLE: i32 = 98;

/// `JVMTI_EVENT_SAMPLED_OBJECT_ALLOC`.
const SAMPLED_OBJECT_ALLOC: i32 = 86;
/// Its place in `jvmtiEventCallbacks`.
const CALLBACK: usize = SAMPLED_OBJECT_ALLOC as usize - 50;

/// `jvmtiCapabilities`: 128 bits.
type Capabilities = [u8; 16];
/// `can_generate_sampled_object_alloc_events`, bit 43. A JVM gives it to one environment at a time
/// (`init_always_solo_capabilities` in jvmtiManageCapabilities.cpp).
const SAMPLING: Capabilities = [0, 0, 0, 0, 0, 1 << 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A JNI reference.
pub type Reference = *mut c_void;
/// JVMTI's SampledObjectAlloc: the environment, JNI's, the thread, the object, its class, its size.
pub type Sampled = unsafe extern "C" fn(*mut c_void, *mut c_void, Reference, Reference, Reference, i64);

/// A pointer to a pointer to a table of functions, as all these interfaces are.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Interface(NonNull<*const usize>);

impl Interface {
    /// The function at a place of the table.
    ///
    /// # Safety
    /// The table is as long.
    unsafe fn function(self, place: usize) -> usize {
        // SAFETY: by the caller; the tables are constants of the JVM.
        unsafe { *(*self.0.as_ptr()).add(place) }
    }

    fn as_raw(self) -> *mut c_void {
        self.0.as_ptr().cast()
    }
}

/// Calls a function of an interface, which is its first argument.
macro_rules! call {
    ($interface:expr, $function:ident, fn($($t:ty),*) -> $r:ty $(, $a:expr)*) => {{
        type Function = unsafe extern "C" fn(*mut c_void $(, $t)*) -> $r;
        let this = $interface.0;
        // SAFETY: this place is this function's; the arguments are what it wants.
        unsafe {
            let f = core::mem::transmute::<usize, Function>(this.function(function::$function));
            f(this.as_raw() $(, $a)*)
        }
    }};
}

/// `JavaVM*`.
#[derive(Clone, Copy)]
pub struct Vm(Interface);

impl Vm {
    /// # Safety
    /// `vm` is the running JVM's `JavaVM*`, or null.
    pub unsafe fn new(vm: *mut c_void) -> Option<Vm> {
        NonNull::new(vm.cast()).map(|vm| Vm(Interface(vm)))
    }

    fn get(self, version: i32) -> Result<Interface, i32> {
        let mut made = null_mut();
        let code = call!(self, GET_ENV, fn(*mut *mut c_void, i32) -> i32, &mut made, version);
        NonNull::new(made.cast()).filter(|_| code == 0).map(Interface).ok_or(code)
    }

    /// Makes a JVMTI environment; JNI's error otherwise.
    pub fn environment(self) -> Result<Environment, i32> {
        self.get(JVMTI_11).map(Environment)
    }

    /// JNI, for the calling thread; `None` if it is none of the JVM's.
    pub fn jni(self) -> Option<Jni> {
        self.get(JNI_6).ok().map(Jni)
    }
}

/// `JNIEnv*`. What is here may also be called with an exception pending.
#[derive(Clone, Copy)]
pub struct Jni(Interface);

impl Jni {
    /// # Safety
    /// `jni` is the calling thread's `JNIEnv*`, or null.
    pub unsafe fn new(jni: *mut c_void) -> Option<Jni> {
        NonNull::new(jni.cast()).map(|jni| Jni(Interface(jni)))
    }

    /// A weak reference to an object; `None` if there is no memory for one.
    pub fn weak(self, object: Reference) -> Option<NonNull<c_void>> {
        let weak = NonNull::new(call!(self, NEW_WEAK_GLOBAL_REF, fn(Reference) -> Reference, object));
        if weak.is_none() {
            // An OutOfMemoryError, of which the application is to know nothing.
            call!(self, EXCEPTION_CLEAR, fn() -> ());
        }
        weak
    }

    /// Whether a collection has freed what `weak` refers to. From JDK 21 on, see [`is_cleared`].
    pub fn is_freed(self, weak: Reference) -> bool {
        call!(self, IS_SAME_OBJECT, fn(Reference, Reference) -> u8, weak, null_mut()) != 0
    }

    /// Gives a weak reference back.
    pub fn delete_weak(self, weak: Reference) {
        call!(self, DELETE_WEAK_GLOBAL_REF, fn(Reference) -> (), weak);
    }
}

/// Whether a collection has freed what a weak reference refers to, up to JDK 20: IsSameObject of
/// older releases keeps an object that it looks at alive while it is being marked
/// (`JNIHandles::resolve` in jni.cpp of 11), and all that hangs on it.
///
/// # Safety
/// The reference is one of [`Jni::weak`]'s, not yet given back, of a JVM before 21.
pub unsafe fn is_cleared(weak: Reference) -> bool {
    const WEAK_TAG: usize = 1;
    // SAFETY: the reference is the address of the JVM's word that points to the object, plus a tag
    // (runtime/jniHandles.hpp). Collections write it with one store, 0 when they have freed the
    // object. (Generational ZGC, of 21, colours its nulls.)
    unsafe { AtomicUsize::from_ptr((weak as usize & !WEAK_TAG) as *mut usize).load(Ordering::Relaxed) == 0 }
}

/// `jvmtiEnv*`.
#[derive(Clone, Copy)]
pub struct Environment(Interface);

/// Nothing, or JVMTI's error.
pub type Outcome = Result<(), i32>;

fn outcome(code: i32) -> Outcome {
    if code == 0 { Ok(()) } else { Err(code) }
}

impl Environment {
    /// # Safety
    /// `env` is a `jvmtiEnv*`, or null.
    pub unsafe fn from_raw(env: *mut c_void) -> Option<Environment> {
        NonNull::new(env.cast()).map(|env| Environment(Interface(env)))
    }

    /// As the JVM hands it to callbacks.
    pub fn as_raw(self) -> *mut c_void {
        self.0.as_raw()
    }

    /// Asks for the sampling of objects; nobody else can have it then.
    pub fn take_sampling(self) -> Outcome {
        outcome(call!(self, ADD_CAPABILITIES, fn(*const Capabilities) -> i32, &SAMPLING))
    }

    /// Gives it back.
    pub fn give_sampling_back(self) -> Outcome {
        outcome(call!(self, RELINQUISH_CAPABILITIES, fn(*const Capabilities) -> i32, &SAMPLING))
    }

    /// Says what is to be called for a sampled object.
    pub fn set_callback(self, sampled: Sampled) -> Outcome {
        let mut all = [0usize; CALLBACK + 1];
        if let Some(place) = all.last_mut() {
            *place = sampled as usize;
        }
        // The JVM copies as much as it is given.
        let bytes = size_of_val(&all) as i32;
        outcome(call!(self, SET_EVENT_CALLBACKS, fn(*const usize, i32) -> i32, all.as_ptr(), bytes))
    }

    /// Turns the event on or off, for all threads.
    pub fn notify(self, on: bool) -> Outcome {
        outcome(call!(
            self,
            SET_EVENT_NOTIFICATION_MODE,
            fn(i32, i32, Reference) -> i32,
            i32::from(on),
            SAMPLED_OBJECT_ALLOC,
            null_mut()
        ))
    }

    /// Sets the mean of bytes between samples, of all threads; 0: every object.
    pub fn set_interval(self, bytes: i32) -> Outcome {
        outcome(call!(self, SET_HEAP_SAMPLING_INTERVAL, fn(i32) -> i32, bytes))
    }

    /// Calls `f` with a class's signature, as the class file format spells it (JVMS 4.3.2).
    pub fn with_signature<T>(self, class: Reference, f: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let mut text: *mut c_char = null_mut();
        let generic: *mut *mut c_char = null_mut();
        let code = call!(
            self,
            GET_CLASS_SIGNATURE,
            fn(Reference, *mut *mut c_char, *mut *mut c_char) -> i32,
            class,
            &mut text,
            generic
        );
        if code != 0 || text.is_null() {
            return None;
        }
        // SAFETY: the JVM has made this string, and it is ours until given back.
        let result = f(unsafe { CStr::from_ptr(text) }.to_bytes());
        call!(self, DEALLOCATE, fn(*const c_char) -> i32, text);
        Some(result)
    }
}
