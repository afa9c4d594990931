//! The part of JVMTI that the agent uses: an environment and a few of its functions.
//!
//! Numbers and layouts are those of the specification (jvmti.xml in hotspot/share/prims, from which jvmti.h is made): a
//! function's place in the table is its number minus one, an event's place among the callbacks its number minus 50
//! (`JVMTI_MIN_EVENT_TYPE_VAL`). They have been the same since JDK 11, in which the sampling of objects came (JEP 331).

use core::ffi::{CStr, c_char, c_void};
use core::ptr::{NonNull, null, null_mut};

/// Places in an environment's table of functions.
mod function {
    pub const SET_EVENT_NOTIFICATION_MODE: usize = 1;
    pub const DEALLOCATE: usize = 46;
    pub const GET_CLASS_SIGNATURE: usize = 47;
    pub const SET_TAG: usize = 106;
    pub const SET_EVENT_CALLBACKS: usize = 121;
    pub const DISPOSE_ENVIRONMENT: usize = 126;
    pub const ADD_CAPABILITIES: usize = 141;
    pub const RELINQUISH_CAPABILITIES: usize = 142;
    pub const SET_HEAP_SAMPLING_INTERVAL: usize = 155;
}

/// `GetEnv`'s place in `JNIInvokeInterface_` (jni.h).
const GET_ENV: usize = 6;
/// `JVMTI_VERSION_11`.
const VERSION_11: i32 = 0x300b_0000;
/// `JNI_EVERSION`: there is no such interface.
pub const NO_SUCH_VERSION: i32 = -3;
/// `JVMTI_ERROR_NOT_AVAILABLE`, for one: another environment has a capability that only one may have.
pub const NOT_AVAILABLE: i32 = 98;

/// Events.
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum Event {
    ObjectFree = 83,
    SampledObjectAlloc = 86,
}
const FIRST_EVENT: i32 = 50;
/// Places up to the last event that is used.
const CALLBACKS: usize = (Event::SampledObjectAlloc as i32 - FIRST_EVENT) as usize + 1;

/// A place in `jvmtiEventCallbacks`; others than those two are empty.
#[derive(Clone, Copy)]
#[repr(C)]
union Callback {
    none: usize,
    freed: unsafe extern "C" fn(*mut c_void, i64),
    sampled: unsafe extern "C" fn(*mut c_void, *mut c_void, Reference, Reference, Reference, i64),
}

/// `jvmtiCapabilities`: 128 bits.
pub type Capabilities = [u8; 16];

/// The capabilities with these places in `jvmtiCapabilities`.
const fn capabilities<const N: usize>(bits: [usize; N]) -> Capabilities {
    let mut all = [0; 16];
    let mut i = 0;
    while i < N {
        all[bits[i] / 8] |= 1 << (bits[i] % 8);
        i += 1;
    }
    all
}
const CAN_TAG_OBJECTS: usize = 0;
const CAN_GENERATE_OBJECT_FREE_EVENTS: usize = 32;
const CAN_GENERATE_SAMPLED_OBJECT_ALLOC_EVENTS: usize = 43;
/// What the sampling of objects takes.
pub const ALL: Capabilities = capabilities([
    CAN_TAG_OBJECTS,
    CAN_GENERATE_OBJECT_FREE_EVENTS,
    CAN_GENERATE_SAMPLED_OBJECT_ALLOC_EVENTS,
]);
/// The one of them that a JVM gives to one environment at a time (`init_always_solo_capabilities` in
/// jvmtiManageCapabilities.cpp).
pub const SAMPLING: Capabilities = capabilities([CAN_GENERATE_SAMPLED_OBJECT_ALLOC_EVENTS]);

/// `JavaVM*`.
#[derive(Clone, Copy)]
pub struct Vm(NonNull<*const usize>);

impl Vm {
    /// # Safety
    /// `vm` is the running JVM's `JavaVM*`, or null.
    pub unsafe fn new(vm: *mut c_void) -> Option<Vm> {
        NonNull::new(vm.cast()).map(Vm)
    }

    /// Makes a JVMTI environment; JNI's error otherwise. The calling thread is one of the JVM's.
    pub fn environment(self) -> Result<Environment, i32> {
        type GetEnv = unsafe extern "C" fn(*mut c_void, *mut *mut c_void, i32) -> i32;
        let mut made = null_mut();
        // SAFETY: a JavaVM* points to a pointer to its table of functions, which GetEnv is in.
        let code = unsafe {
            let get = core::mem::transmute::<usize, GetEnv>(*(*self.0.as_ptr()).add(GET_ENV));
            get(self.0.as_ptr().cast(), &mut made, VERSION_11)
        };
        match NonNull::new(made.cast()) {
            Some(made) if code == 0 => Ok(Environment(made)),
            _ => Err(code),
        }
    }
}

/// A JNI reference.
pub type Reference = *mut c_void;

/// `jvmtiEnv*`.
#[derive(Clone, Copy)]
pub struct Environment(NonNull<*const usize>);

/// Nothing, or JVMTI's error.
pub type Outcome = Result<(), i32>;

/// Calls a function of the environment.
macro_rules! call {
    ($env:expr, $function:ident, fn($($t:ty),*), $($a:expr),*) => {{
        type Function = unsafe extern "C" fn(*mut c_void $(, $t)*) -> i32;
        let this = $env.0.as_ptr();
        // SAFETY: a jvmtiEnv* points to a pointer to its table of functions; this place is this function's.
        let code = unsafe {
            let f = core::mem::transmute::<usize, Function>(*(*this).add(function::$function));
            f(this.cast() $(, $a)*)
        };
        if code == 0 { Ok(()) } else { Err(code) }
    }};
}

impl Environment {
    /// # Safety
    /// `env` is a `jvmtiEnv*` that has not been disposed of, or null.
    pub unsafe fn from_raw(env: *mut c_void) -> Option<Environment> {
        NonNull::new(env.cast()).map(Environment)
    }

    /// As JVMTI's functions want it.
    pub fn as_raw(self) -> *mut c_void {
        self.0.as_ptr().cast()
    }

    /// Asks for capabilities, all or none.
    pub fn add(self, wanted: &Capabilities) -> Outcome {
        call!(self, ADD_CAPABILITIES, fn(*const Capabilities), wanted)
    }

    /// Gives capabilities back.
    pub fn relinquish(self, given_back: &Capabilities) -> Outcome {
        call!(self, RELINQUISH_CAPABILITIES, fn(*const Capabilities), given_back)
    }

    /// Says what is to be called at the two events.
    pub fn set_callbacks(
        self,
        sampled: unsafe extern "C" fn(*mut c_void, *mut c_void, Reference, Reference, Reference, i64),
        freed: unsafe extern "C" fn(*mut c_void, i64),
    ) -> Outcome {
        let mut all = [Callback { none: 0 }; CALLBACKS];
        let mut set = |event: Event, callback| {
            if let Some(place) = all.get_mut((event as i32 - FIRST_EVENT) as usize) {
                *place = callback;
            }
        };
        set(Event::SampledObjectAlloc, Callback { sampled });
        set(Event::ObjectFree, Callback { freed });
        // The JVM copies as much as it is given.
        let bytes = size_of_val(&all) as i32;
        call!(self, SET_EVENT_CALLBACKS, fn(*const Callback, i32), all.as_ptr(), bytes)
    }

    /// Turns an event on or off, for all threads.
    pub fn notify(self, event: Event, on: bool) -> Outcome {
        call!(
            self,
            SET_EVENT_NOTIFICATION_MODE,
            fn(i32, i32, Reference),
            i32::from(on),
            event as i32,
            null_mut()
        )
    }

    /// Sets the mean of bytes between samples, of all threads; 0: every object.
    pub fn set_interval(self, bytes: i32) -> Outcome {
        call!(self, SET_HEAP_SAMPLING_INTERVAL, fn(i32), bytes)
    }

    /// Gives an object a tag; 0 takes it away.
    pub fn set_tag(self, object: Reference, tag: i64) -> Outcome {
        call!(self, SET_TAG, fn(Reference, i64), object, tag)
    }

    /// Calls `f` with a class's signature, as the class file format spells it (JVMS 4.3.2).
    pub fn with_signature<T>(self, class: Reference, f: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let mut text: *mut c_char = null_mut();
        let generic: *const c_void = null();
        let got = call!(
            self,
            GET_CLASS_SIGNATURE,
            fn(Reference, *mut *mut c_char, *const c_void),
            class,
            &mut text,
            generic
        );
        if got.is_err() || text.is_null() {
            return None;
        }
        // SAFETY: the JVM has made this string, and it is ours until given back.
        let result = f(unsafe { CStr::from_ptr(text) }.to_bytes());
        let _ = call!(self, DEALLOCATE, fn(*mut c_char), text);
        Some(result)
    }

    /// Gives the environment back, with its tags and capabilities. It is not used again.
    pub fn dispose(self) {
        let _ = call!(self, DISPOSE_ENVIRONMENT, fn(),);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_their_places() {
        let mut wanted = [0u8; 16];
        (wanted[0], wanted[4], wanted[5]) = (1, 1, 8);
        assert_eq!(ALL, wanted);
        assert_eq!(CALLBACKS, 37);
    }
}
