//! The environment under LD_PRELOAD: what it asks for, and that it ends here.
//!
//! A preloaded process hands its environment on to all it starts: without more, every child would
//! carry the agent. So, unless `OFFHEAP_CHILDREN` is set, the agent's variables are taken out of
//! the environment when it has started, before main. Only a process that replaces *itself* (exec in
//! a start script, Java's launcher) gets them back: see [`exec`].

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_int};
use core::ptr::null;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::sample;
use crate::sys;

/// A null-terminated array of `NAME=value` strings.
pub type Block = *const *const c_char;

/// No more entries of an environment are looked at.
const MAX_ENTRIES: usize = 100_000;
/// Entries of an environment that an exec can get the agent's variables back into.
const MAX_RESTORED: usize = 1024;

/// The entries that were taken out: LD_PRELOAD as it was, and the agent's own.
const PRELOAD: &[u8] = b"LD_PRELOAD=";
const OWN: [&[u8]; 4] = [b"OFFHEAP_FILE=", b"OFFHEAP_SIZE=", b"OFFHEAP_INTERVAL=", b"OFFHEAP_LEASE="];
static TAKEN: [AtomicPtr<c_char>; 1 + OWN.len()] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; 1 + OWN.len()];
/// The process they were taken out of; 0: none.
static TAKEN_BY: AtomicU32 = AtomicU32::new(0);

/// LD_PRELOAD as it is left, where others are preloaded too.
struct Left(UnsafeCell<[u8; LEFT_BYTES]>);
/// Room for it.
const LEFT_BYTES: usize = 4096;
// SAFETY: written once, in the constructor, before anybody can read it.
unsafe impl Sync for Left {}
static LEFT: Left = Left(UnsafeCell::new([0; LEFT_BYTES]));

/// The string at `place`; `None` at the end.
///
/// # Safety
/// `place` is in an environment, at its end at the latest.
unsafe fn entry(place: Block) -> Option<&'static CStr> {
    // SAFETY: by the caller.
    let text = unsafe { *place };
    // SAFETY: a string of the environment.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// The value of a variable.
pub fn variable(environment: Block, name: &[u8]) -> Option<&'static [u8]> {
    for i in 0..MAX_ENTRIES {
        // SAFETY: a null-terminated array, of which all before were not null.
        let text = unsafe { entry(environment.add(i)) }?.to_bytes();
        if let Some([b'=', value @ ..]) = text.strip_prefix(name) {
            return Some(value);
        }
    }
    None
}

/// Whether a path of LD_PRELOAD is the agent's.
fn is_agent(path: &[u8]) -> bool {
    path.windows(13).any(|w| w == b"offheap_agent")
}

/// Whether LD_PRELOAD names the agent.
pub fn preloaded(environment: Block) -> bool {
    variable(environment, b"LD_PRELOAD").is_some_and(is_agent)
}

/// Takes the agent's variables out. Before main: nobody else changes the environment then.
pub fn take_out(environment: Block) {
    let mut place = environment.cast_mut();
    for _ in 0..MAX_ENTRIES {
        // SAFETY: within the array: every round goes on by one entry or removes one.
        let Some(text) = (unsafe { entry(place) }) else { break };
        let bytes = text.to_bytes();
        let own = OWN.iter().position(|name| bytes.starts_with(name)).map(|i| i + 1);
        let preload = bytes.strip_prefix(PRELOAD).filter(|paths| is_agent(paths));
        let (Some(taken), left) = (match preload {
            None => (own, None),
            Some(paths) => match others(paths) {
                // Longer than anything sensible: left alone.
                None => (None, None),
                Some(left) => (Some(0), left),
            },
        }) else {
            // SAFETY: not the end.
            place = unsafe { place.add(1) };
            continue;
        };
        if let Some(to) = TAKEN.get(taken) {
            to.store(text.as_ptr().cast_mut(), Relaxed);
        }
        match left {
            // SAFETY: the array is writable memory: at a program's start it lies on its stack.
            Some(left) => unsafe {
                *place = left.as_ptr();
                place = place.add(1);
            },
            // SAFETY: as above; the rest moves up, with its end.
            None => unsafe { remove(place) },
        }
    }
    TAKEN_BY.store(sys::getpid(), Release);
}

/// # Safety
/// `place` is in a writable environment, before its end.
unsafe fn remove(place: *mut *const c_char) {
    let mut at = place;
    for _ in 0..MAX_ENTRIES {
        // SAFETY: up to the end and no further.
        unsafe {
            *at = *at.add(1);
            if (*at).is_null() {
                break;
            }
            at = at.add(1);
        }
    }
}

/// `LD_PRELOAD=` with what else is preloaded; `Some(None)` where that is nothing, `None` where
/// there is no room for it.
fn others(paths: &[u8]) -> Option<Option<&'static CStr>> {
    // SAFETY: only the constructor calls this, once.
    let buffer = unsafe { &mut *LEFT.0.get() };
    let mut n = 0;
    let mut put = |bytes: &[u8]| {
        buffer.get_mut(n..n + bytes.len())?.copy_from_slice(bytes);
        n += bytes.len();
        Some(())
    };
    put(PRELOAD)?;
    let mut any = false;
    for path in paths.split(|b| matches!(b, b':' | b' ')).filter(|path| !path.is_empty() && !is_agent(path)) {
        if any {
            put(b":")?;
        }
        put(path)?;
        any = true;
    }
    put(b"\0")?;
    let buffer: &'static [u8] = buffer;
    Some(if any { CStr::from_bytes_until_nul(buffer).ok() } else { None })
}

/// Calls `go` with the environment that a process of ours replaces itself with: `environment`, and
/// the agent's variables again if they were taken out of this very process. A child between fork
/// (or vfork) and exec gets it unchanged.
///
/// # Safety
/// `environment` is one, or null.
pub unsafe fn exec(environment: Block, go: &dyn Fn(Block) -> c_int) -> c_int {
    let by = TAKEN_BY.load(Acquire);
    if by == 0 || by != sys::getpid() || environment.is_null() || sample::interval() == 0 {
        return go(environment);
    }
    // SAFETY: by the caller.
    unsafe { restored(environment, go) }
}

/// # Safety
/// As [`exec`].
#[inline(never)]
unsafe fn restored(environment: Block, go: &dyn Fn(Block) -> c_int) -> c_int {
    let mut block = [null::<c_char>(); MAX_RESTORED];
    let mut n = 0;
    let mut put = |text: *const c_char| {
        let place = block.get_mut(n).filter(|_| n + 1 < MAX_RESTORED)?;
        *place = text;
        n += 1;
        Some(())
    };
    let mut fits = true;
    for i in 0..MAX_RESTORED {
        // SAFETY: a null-terminated array, of which all before were not null.
        let Some(text) = (unsafe { entry(environment.add(i)) }) else { break };
        let bytes = text.to_bytes();
        if bytes.starts_with(PRELOAD) {
            // SAFETY: written in the constructor, never again.
            let left = unsafe { &*LEFT.0.get() };
            // Somebody has another mind about what is to be preloaded.
            fits &= left.starts_with(bytes);
        } else if !OWN.iter().any(|name| bytes.starts_with(name)) {
            fits &= put(text.as_ptr()).is_some();
        }
    }
    for taken in TAKEN.iter().map(|t| t.load(Relaxed)).filter(|t| !t.is_null()) {
        fits &= put(taken).is_some();
    }
    go(if fits { block.as_ptr() } else { environment })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(block: Block) -> Vec<String> {
        // SAFETY: the tests' arrays end with a null.
        let all = (0..).map_while(|i| unsafe { entry(block.add(i)) });
        all.map(|text| text.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn what_was_taken_out_comes_back_for_the_process_itself() {
        let mut block = [
            c"A=1".as_ptr(),
            c"LD_PRELOAD=/tmp/.offheap_agent-1.so:/lib/other.so".as_ptr(),
            c"OFFHEAP_FILE=/tmp/x".as_ptr(),
            c"OFFHEAP_SIZE=4194304".as_ptr(),
            c"OFFHEAP_INTERVAL=1".as_ptr(),
            c"OFFHEAP_LEASE=60".as_ptr(),
            c"B=2".as_ptr(),
            null(),
        ];
        assert!(preloaded(block.as_ptr()));
        assert_eq!(variable(block.as_ptr(), b"OFFHEAP_FILE"), Some(&b"/tmp/x"[..]));
        take_out(block.as_mut_ptr());
        assert_eq!(texts(block.as_ptr()), ["A=1", "LD_PRELOAD=/lib/other.so", "B=2"]);
        let restored = |block: Block| {
            let seen = core::cell::RefCell::new(Vec::new());
            // SAFETY: the array above.
            let code = unsafe {
                super::restored(block, &|block| {
                    *seen.borrow_mut() = texts(block);
                    7
                })
            };
            assert_eq!(code, 7);
            seen.into_inner()
        };
        let mut wanted = vec!["A=1", "B=2", "LD_PRELOAD=/tmp/.offheap_agent-1.so:/lib/other.so"];
        wanted.extend([
            "OFFHEAP_FILE=/tmp/x",
            "OFFHEAP_SIZE=4194304",
            "OFFHEAP_INTERVAL=1",
            "OFFHEAP_LEASE=60",
        ]);
        assert_eq!(restored(block.as_ptr()), wanted);
        // Somebody's own LD_PRELOAD is not touched.
        let own = [c"LD_PRELOAD=/mine.so".as_ptr(), null()];
        assert_eq!(restored(own.as_ptr()), ["LD_PRELOAD=/mine.so"]);
    }
}
