//! Redirects the import slots of every loaded library to the hooks.
//!
//! A slot is redirected only when it leads to a function that the hook really stands in for
//! ([`family_of`]): a library that brings its own allocator keeps it. All memory is read and
//! written through /proc/self/mem ([`Memory`]), where no protection makes an access fault; what
//! can't be written is left alone and counted.
//!
//! Under the loader's lock; never called from a hook of malloc.

use core::cell::UnsafeCell;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU32};

use offheap_live::Counter;

use crate::arch::{self, MAX_PAGE_BYTES, page_bytes, page_start, relocation};
use crate::busy;
use crate::elf::{self, Dynamic, Object};
use crate::guard;
use crate::hooks::hook_of;
use crate::memory::Memory;
use crate::modules::Builder;
use crate::real::{ALLOCATOR_FUNCTIONS, FAMILIES, family_of, index_of, is_hook, is_libc, is_self, real_of};
use crate::sys;
use crate::table;
use crate::tid;
use crate::walk;

/// Most data searched for stored function pointers, per library.
const MAX_SCAN: u64 = 4 << 20;
/// Words of a page.
const PAGE_WORDS: usize = MAX_PAGE_BYTES / 8;
/// Pages that the kernel is asked about at once.
const ENTRIES: usize = 512;
/// Bytes of a path with its end (`PATH_MAX`).
const PATH_BYTES: usize = libc::PATH_MAX as usize;

/// The thread that is at it; 0: none.
static LOCK: AtomicU32 = AtomicU32::new(0);
static DIRTY: AtomicBool = AtomicBool::new(false);

/// What the holder of [`LOCK`] works with.
struct Tools {
    builder: Builder,
    page: [u64; PAGE_WORDS],
    entries: [u64; ENTRIES],
    /// The executable's path, once it was asked for.
    executable: [u8; PATH_BYTES],
    executable_len: usize,
}
struct Locked(UnsafeCell<Tools>);
// SAFETY: only used while LOCK is held.
unsafe impl Sync for Locked {}
static TOOLS: Locked = Locked(UnsafeCell::new(Tools {
    builder: Builder::new(),
    page: [0; PAGE_WORDS],
    entries: [0; ENTRIES],
    executable: [0; PATH_BYTES],
    executable_len: 0,
}));

/// Notes that libraries may have changed.
pub fn mark_dirty() {
    DIRTY.store(true, Release);
}

/// [`refresh`], if something may have changed.
pub fn refresh_if_dirty() {
    if DIRTY.load(Acquire) {
        refresh();
    }
}

/// Takes the lock, if it is free, or this thread itself has left it behind.
fn lock(tid: u32, outermost: bool) -> bool {
    LOCK.compare_exchange(0, tid, AcqRel, Acquire).is_ok() || (outermost && LOCK.load(Relaxed) == tid)
}

/// Looks for new and vanished libraries. Does not wait: whoever is at it already does the work for
/// both.
pub fn refresh() {
    if table::file().is_none() {
        return;
    }
    DIRTY.store(true, Release);
    let t = arch::thread();
    let place = busy::Place::new();
    let work = busy::begin(t, &place);
    sys::keeping_errno(|| {
        // Bounded: a thread that loads libraries without end does not keep another one here.
        for _ in 0..4 {
            if !DIRTY.load(Acquire) || !lock(tid::current(t), work.is_outermost()) {
                break;
            }
            DIRTY.store(false, Release);
            let memory = Memory::new();
            if memory.filtered() {
                guard::filter_comes();
            }
            // A handler that leaves by longjmp would keep the loader's lock for ever. (Not where
            // system calls are filtered: dlopen itself does not make this one.)
            let signals = (!memory.filtered()).then(sys::block_signals);
            // SAFETY: the lock is held.
            pass(unsafe { &mut *TOOLS.0.get() }, &memory);
            LOCK.store(0, Release);
            if let Some(before) = signals {
                sys::unblock_signals(before);
            }
        }
    });
    drop(work);
}

fn pass(tools: &mut Tools, memory: &Memory) {
    let Tools { builder, page, entries, executable, executable_len } = tools;
    let Some(mut build) = builder.begin(memory) else {
        DIRTY.store(true, Release);
        return;
    };
    if *executable_len == 0 {
        *executable_len = executable_path(executable);
    }
    elf::for_each(|o| {
        let dynamic = o.dynamic();
        let path = match o.name.to_bytes() {
            b"" => executable.get(..*executable_len).unwrap_or(b""),
            name => name,
        };
        let (runpath, rpath) = dynamic.map_or((false, false), |d| (d.runpath, d.rpath));
        let first = build.len() == 0;
        // The executable's own DT_RPATH counts everywhere anyway.
        let Some(module) = build.add(o, path, runpath, rpath && !first) else { return };
        if !module.unfinished {
            return;
        }
        let Some(d) = dynamic else {
            module.unfinished = false;
            return;
        };
        if is_self(o) {
            module.unfinished = false;
        } else if relocated(o, &d, memory) {
            imports(o, &d, memory);
            stored_pointers(o, &d, memory, page, entries);
            walk::vmstructs::discover(o, &d);
            module.unfinished = false;
        }
        if !module.unfinished {
            build.changed();
        }
    });
    builder.finish(build, memory);
}

fn executable_path(buffer: &mut [u8; PATH_BYTES]) -> usize {
    let args = [
        libc::AT_FDCWD as usize,
        c"/proc/self/exe".as_ptr() as usize,
        buffer.as_mut_ptr() as usize,
        buffer.len(),
        0,
        0,
    ];
    // SAFETY: the buffer is as long as said.
    unsafe { sys::syscall(libc::SYS_readlinkat, args) }.max(0) as usize
}

/// Whether the loader has finished an object's relocations: their last ones, which it does in
/// order, show it. Until then a slot holds an offset, far below the object's own addresses.
fn relocated(o: &Object, d: &Dynamic, memory: &Memory) -> bool {
    let (start, end) = o.range();
    if o.bias == 0 {
        return true;
    }
    let mut last = 0;
    for r in o.relocations(d) {
        let kind = r.r_info as u32;
        if matches!(kind, relocation::JUMP_SLOT | relocation::GLOB_DAT) {
            let slot = o.bias.wrapping_add(r.r_offset);
            if slot & 7 == 0 && slot >= start && slot.saturating_add(8) <= end {
                // Zero says nothing: an absent weak symbol.
                match memory.word(&o.pages, slot) {
                    None | Some(0) => {}
                    Some(value) => last = value,
                }
            }
        }
    }
    last == 0 || last >= start || last >= end - start
}

/// Redirects one object's import slots.
fn imports(o: &Object, d: &Dynamic, memory: &Memory) {
    let (start, end) = o.range();
    let (relro_start, relro_end) = o.relro();
    for r in o.relocations(d) {
        let (kind, symbol) = (r.r_info as u32, (r.r_info >> 32) as u32);
        let wanted = kind == relocation::JUMP_SLOT
            || kind == relocation::GLOB_DAT
            || (kind == relocation::ABSOLUTE && r.r_addend == 0);
        if !wanted || symbol == 0 {
            continue;
        }
        let Some((name, value)) = o.symbol(d, symbol) else { continue };
        let Some(index) = index_of(name) else { continue };
        let slot = o.bias.wrapping_add(r.r_offset);
        if slot & 7 != 0 || slot < start || slot.saturating_add(8) > end {
            continue;
        }
        let own = if value == 0 { 0 } else { o.bias.wrapping_add(value) };
        let Some(target) = memory.word(&o.pages, slot) else {
            table::count(Counter::SlotsLeft);
            continue;
        };
        let family = match family_of(index, target) {
            Some(family) => family,
            // Not bound yet: it leads to the object's own PLT, and would be bound to the process's
            // allocator.
            None if kind == relocation::JUMP_SLOT && target >= start && target < end && target != own => 0,
            None => {
                if target != 0 && !is_hook(target) && index < ALLOCATOR_FUNCTIONS {
                    table::count(Counter::SlotsForeign);
                }
                continue;
            }
        };
        let hook = hook_of(family, index) as u64;
        if hook == 0 {
            continue;
        }
        // The loader may bind a slot lazily at this moment: whichever of both writes comes last
        // stays, and either is right.
        let relro = slot >= relro_start && slot < relro_end;
        table::count(if memory.write(slot, hook, relro) {
            Counter::SlotsPatched
        } else {
            Counter::SlotsLeft
        });
    }
}

/// Redirects pointers to allocator functions that a library keeps in its data: it got them by dlsym
/// before the agent came. Libraries that are allocators themselves, or stand before one, keep
/// theirs.
///
/// Only in pages that the program can write at this moment, and that it has written before: those
/// hold what the file doesn't.
fn stored_pointers(
    o: &Object,
    d: &Dynamic,
    memory: &Memory,
    page: &mut [u64; PAGE_WORDS],
    entries: &mut [u64; ENTRIES],
) {
    let allocator = [c"malloc", c"_rtld_global"].iter().any(|name| o.lookup(d, name).is_some());
    if allocator || is_libc(o, d) {
        return;
    }
    // Eleven or so distinct addresses: a range check spares almost every word the closer look.
    let lo = known().map(|(f, i)| real_of(f, i) as u64).filter(|&a| a != 0).min().unwrap_or(0);
    let hi = known().map(|(f, i)| real_of(f, i) as u64).max().unwrap_or(0);
    let Some(page) = page.get_mut(..page_bytes() as usize / 8) else { return };
    for (start, end) in o.writable() {
        let end = end.min(start.saturating_add(MAX_SCAN));
        let mut at = page_start(start);
        while at < end {
            let pages = ((end - at).div_ceil(page_bytes()) as usize).min(entries.len());
            let Some(part) = entries.get_mut(..pages) else { return };
            if !memory.describe(at, part) {
                table::add(Counter::PagesSkipped, pages as u64);
            } else {
                for (i, &entry) in part.iter().enumerate() {
                    let begin = at + page_bytes() * i as u64;
                    if !Memory::is_private_and_plain(entry) {
                        table::add(Counter::PagesSkipped, u64::from(Memory::is_protected(entry)));
                    } else if !memory.read_page(begin, page) {
                        table::count(Counter::PagesSkipped);
                    } else {
                        for (slot, &value) in (begin..).step_by(8).zip(page.iter()) {
                            if value >= lo && value <= hi && slot >= start && slot + 8 <= end {
                                redirect(memory, slot, value);
                            }
                        }
                    }
                }
            }
            at += page_bytes() * pages as u64;
        }
    }
}

/// Allocator functions, by family and index.
fn known() -> impl Iterator<Item = (usize, usize)> {
    (0..FAMILIES).flat_map(|f| (0..ALLOCATOR_FUNCTIONS).map(move |i| (f, i)))
}

/// Redirects one stored pointer, if it is one.
#[inline]
fn redirect(memory: &Memory, at: u64, value: u64) {
    if let Some((family, index)) = known().find(|&(f, i)| real_of(f, i) as u64 == value) {
        let hook = hook_of(family, index) as u64;
        if hook != 0 {
            let done = memory.exchange(at, value, hook);
            table::count(if done { Counter::PointersPatched } else { Counter::SlotsLeft });
        }
    }
}
