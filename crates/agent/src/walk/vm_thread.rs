//! Which thread of the VM the current one is.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicI32, AtomicU32};

use super::vmstructs::{self, Field, get};
use crate::arch::{Thread, page_bytes};
use crate::guard::{peek, peek_bytes};
use crate::real;

/// The thread-specific slot that holds the VM's Thread*; -1: not found yet.
static KEY: AtomicI32 = AtomicI32::new(-1);
static KEY_TRIES: AtomicU32 = AtomicU32::new(0);

/// The current thread's JavaThread; 0 if it is none.
#[inline]
pub fn current(t: &Thread) -> u64 {
    if !vmstructs::present() {
        return 0;
    }
    let key = KEY.load(Relaxed);
    if key < 0 {
        return find_key(t);
    }
    let v = real::thread_specific(key as u32);
    if v == 0 {
        return 0;
    }
    let known = t.vm_thread.get();
    if known == v | 1 {
        return v;
    }
    // A VM thread that runs no Java, or one that is only just being attached: ask again now and
    // then.
    if known == v && !t.seq.get().is_multiple_of(16) {
        return 0;
    }
    let java = is_java_thread(v, t.tid.get());
    t.vm_thread.set(v | u64::from(java));
    if java { v } else { 0 }
}

/// Finds the slot by trying them: the one that holds a thread of the VM with this thread's id.
#[cold]
fn find_key(t: &Thread) -> u64 {
    if KEY_TRIES.fetch_add(1, Relaxed) > 100_000 {
        return 0;
    }
    for key in 0..256 {
        let v = real::thread_specific(key);
        if v > page_bytes() && v & 7 == 0 && is_java_thread(v, t.tid.get()) {
            KEY.store(key as i32, Relaxed);
            t.vm_thread.set(v | 1);
            return v;
        }
    }
    0
}

/// Whether `v` is in the VM's list of Java threads, with this thread id.
#[cold]
fn is_java_thread(v: u64, tid: u32) -> bool {
    let check = || -> Option<bool> {
        let os: u64 = peek(v.wrapping_add_signed(get(Field::OsThread)?))?;
        if peek::<u32>(os.wrapping_add_signed(get(Field::ThreadId)?))? != tid {
            return Some(false);
        }
        if let Some(list) = get(Field::ThreadsList) {
            let list: u64 = peek(list as u64)?;
            let len = peek::<u32>(list.wrapping_add_signed(get(Field::ListLength)?))?;
            let array: u64 = peek(list.wrapping_add_signed(get(Field::ListThreads)?))?;
            return Some(contains(array, u64::from(len).min(100_000), v));
        }
        let mut at: u64 = peek(get(Field::ThreadsHead)? as u64)?;
        for _ in 0..20_000 {
            if at == v || at == 0 {
                break;
            }
            at = peek(at.wrapping_add_signed(get(Field::NextThread)?))?;
        }
        Some(at == v)
    };
    check().unwrap_or(false)
}

/// Whether an array of words contains `v`, piece by piece.
fn contains(array: u64, len: u64, v: u64) -> bool {
    let (mut at, mut left) = (array, len);
    while left > 0 {
        let mut words = [0u8; 512];
        let n = left.min(words.len() as u64 / 8);
        let Some(part) = words.get_mut(..n as usize * 8) else { return false };
        if !peek_bytes(at, part) {
            return false;
        }
        if part.chunks_exact(8).any(|word| word == v.to_ne_bytes()) {
            return true;
        }
        (at, left) = (at.wrapping_add(n * 8), left - n);
    }
    false
}
