//! Redirects the import slots of every loaded library to the hooks.
//!
//! A slot is redirected only when it leads to a function that the hook really stands in for ([`family_of`]): a
//! library that brings its own allocator keeps it. Slots in pages that the loader has made read-only are written
//! through /proc/self/mem, which changes no page protection that another thread might rely on; where that is
//! forbidden, pages are made writable for the moment, but only of libraries whose relocation is complete.
//!
//! Under the loader's lock; never called from a hook of malloc.

use core::cell::UnsafeCell;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU64};

use offheap_live::Counter;

use crate::arch;
use crate::elf::{self, Dynamic, Object};
use crate::hooks::hook_of;
use crate::modules::Builder;
use crate::real::{ALLOCATOR_FUNCTIONS, FAMILIES, family_of, index_of, is_hook, is_libc, is_self, real_of};
use crate::sys;
use crate::table;
use crate::walk;

const R_X86_64_64: u32 = 1;
const R_X86_64_GLOB_DAT: u32 = 6;
const R_X86_64_JUMP_SLOT: u32 = 7;
/// Most data searched for stored function pointers, per library.
const MAX_SCAN: u64 = 4 << 20;

static LOCK: AtomicBool = AtomicBool::new(false);
static DIRTY: AtomicBool = AtomicBool::new(false);

struct Locked(UnsafeCell<Builder>);
// SAFETY: only used while LOCK is held.
unsafe impl Sync for Locked {}
static BUILDER: Locked = Locked(UnsafeCell::new(Builder::new()));

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

/// Looks for new and vanished libraries. Does not wait: whoever is at it already does the work for both.
pub fn refresh() {
    if table::file().is_none() || crate::sample::is_forked_child() {
        return;
    }
    DIRTY.store(true, Release);
    let t = arch::thread();
    t.busy.set(t.busy.get() + 1);
    sys::keeping_errno(|| {
        // Bounded: a thread that loads libraries without end does not keep another one here.
        for _ in 0..4 {
            if !DIRTY.load(Acquire) || LOCK.compare_exchange(false, true, AcqRel, Acquire).is_err() {
                break;
            }
            DIRTY.store(false, Release);
            // SAFETY: the lock is held.
            pass(unsafe { &mut *BUILDER.0.get() });
            LOCK.store(false, Release);
        }
    });
    t.busy.set(t.busy.get() - 1);
}

fn pass(builder: &mut Builder) {
    let Some(mut build) = builder.begin() else {
        DIRTY.store(true, Release);
        return;
    };
    let memory = Memory::open();
    let mut executable = [0u8; 4096];
    elf::for_each(|o| {
        let dynamic = o.dynamic();
        let path = match o.name.to_bytes() {
            b"" => executable_path(&mut executable),
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
        } else if relocated(o, &d) {
            imports(o, &d, &memory);
            stored_pointers(o, &d);
            walk::vmstructs::discover(o, &d);
            module.unfinished = false;
        }
        if !module.unfinished {
            build.changed();
        }
    });
    builder.finish(build);
}

fn executable_path(buffer: &mut [u8; 4096]) -> &[u8] {
    let args = [
        libc::AT_FDCWD as usize,
        c"/proc/self/exe".as_ptr() as usize,
        buffer.as_mut_ptr() as usize,
        buffer.len(),
        0,
        0,
    ];
    // SAFETY: the buffer is as long as said.
    let n = unsafe { sys::syscall(libc::SYS_readlinkat, args) };
    usize::try_from(n).ok().and_then(|n| buffer.get(..n)).unwrap_or(b"")
}

/// Whether the loader has finished an object's relocations: their last ones, which it does in order, show it. Until
/// then a slot holds an offset, far below the object's own addresses.
fn relocated(o: &Object, d: &Dynamic) -> bool {
    let (start, end) = o.range();
    if o.bias == 0 {
        return true;
    }
    let mut last = 0;
    for r in d.relocations() {
        let kind = r.r_info as u32;
        if matches!(kind, R_X86_64_JUMP_SLOT | R_X86_64_GLOB_DAT) {
            let slot = o.bias.wrapping_add(r.r_offset);
            if slot & 7 == 0 && slot >= start && slot.saturating_add(8) <= end {
                // SAFETY: a relocation's place, in a loaded object.
                let value = unsafe { (slot as *const u64).read_volatile() };
                // Zero says nothing: an absent weak symbol.
                if value != 0 {
                    last = value;
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
    for r in d.relocations() {
        let (kind, symbol) = (r.r_info as u32, (r.r_info >> 32) as u32);
        let wanted = kind == R_X86_64_JUMP_SLOT
            || kind == R_X86_64_GLOB_DAT
            || (kind == R_X86_64_64 && r.r_addend == 0);
        if !wanted || symbol == 0 {
            continue;
        }
        // SAFETY: the symbol of one of this object's relocations.
        let Some((name, value)) = (unsafe { d.symbol(symbol) }) else { continue };
        let Some(index) = index_of(name) else { continue };
        let slot = o.bias.wrapping_add(r.r_offset);
        if slot & 7 != 0 || slot < start || slot.saturating_add(8) > end {
            continue;
        }
        let own = if value == 0 { 0 } else { o.bias.wrapping_add(value) };
        // SAFETY: a relocated place in a loaded object; the loader may bind it lazily at this moment.
        let cell = unsafe { &*(slot as *const AtomicU64) };
        let target = cell.load(Relaxed);
        let family = match family_of(index, target) {
            Some(family) => family,
            // Not bound yet: it leads to the object's own PLT, and would be bound to the process's allocator.
            None if kind == R_X86_64_JUMP_SLOT && target >= start && target < end && target != own => 0,
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
        let read_only = slot >= relro_start && slot < relro_end;
        let done = if read_only {
            memory.write(slot, hook)
        } else {
            cell.store(hook, Release);
            true
        };
        if done {
            table::count(Counter::SlotsPatched);
        }
    }
}

/// Redirects pointers to allocator functions that a library keeps in its data: it got them by dlsym before the agent
/// came. Libraries that are allocators themselves, or stand before one, keep theirs.
fn stored_pointers(o: &Object, d: &Dynamic) {
    let allocator = [c"malloc", c"_rtld_global"].iter().any(|name| o.lookup(d, name).is_some());
    if allocator || is_libc(o, d) {
        return;
    }
    // Eleven or so distinct addresses: a range check spares almost every word the closer look.
    let lo = known().map(|(f, i)| real_of(f, i) as u64).filter(|&a| a != 0).min().unwrap_or(0);
    let hi = known().map(|(f, i)| real_of(f, i) as u64).max().unwrap_or(0);
    let pages = sys::open(c"/proc/self/pagemap".as_ptr().cast(), libc::O_RDONLY, 0);
    for (start, end) in o.writable() {
        let mut page = start & !4095;
        let end = end.min(start.saturating_add(MAX_SCAN));
        while page < end {
            if pages.is_none_or(|fd| touched(fd, page)) {
                let (mut at, stop) = (page.max((start + 7) & !7), (page + 4096).min(end));
                while at + 8 <= stop {
                    // SAFETY: aligned and in a writable segment; the program may write it meanwhile, so atomically.
                    redirect(unsafe { &*(at as *const AtomicU64) }, lo, hi);
                    at += 8;
                }
            }
            page += 4096;
        }
    }
    if let Some(fd) = pages {
        sys::close(fd);
    }
}

/// Allocator functions, by family and index.
fn known() -> impl Iterator<Item = (usize, usize)> {
    (0..FAMILIES).flat_map(|f| (0..ALLOCATOR_FUNCTIONS).map(move |i| (f, i)))
}

/// Redirects one stored pointer, if it is one; all of them lie within lo..=hi.
#[inline]
fn redirect(cell: &AtomicU64, lo: u64, hi: u64) {
    let value = cell.load(Relaxed);
    if value < lo || value > hi {
        return;
    }
    if let Some((family, index)) = known().find(|&(f, i)| real_of(f, i) as u64 == value) {
        let hook = hook_of(family, index) as u64;
        if hook != 0 && cell.compare_exchange(value, hook, AcqRel, Relaxed).is_ok() {
            table::count(Counter::PointersPatched);
        }
    }
}

/// Whether a page was ever used: reading an untouched one would make it present, and spoil accounts by page.
fn touched(pagemap: i32, addr: u64) -> bool {
    let mut entry = [0u8; 8];
    let n = sys::read_at(pagemap, &mut entry, addr / 4096 * 8);
    // Present or swapped (Documentation/admin-guide/mm/pagemap.rst).
    n != 8 || u64::from_ne_bytes(entry) >> 62 != 0
}

/// Writes to read-only pages of this process.
struct Memory {
    fd: Option<i32>,
}

impl Memory {
    fn open() -> Memory {
        Memory { fd: sys::open(c"/proc/self/mem".as_ptr().cast(), libc::O_RDWR, 0) }
    }

    fn write(&self, at: u64, value: u64) -> bool {
        if let Some(fd) = self.fd {
            let args = [fd as usize, &raw const value as usize, 8, at as usize, 0, 0];
            // SAFETY: an aligned slot of a loaded library; eight bytes are copied at once.
            if unsafe { sys::syscall(libc::SYS_pwrite64, args) } == 8 {
                return true;
            }
        }
        let page = (at & !4095) as usize;
        let protect = |protection: i32| {
            // SAFETY: a page of import slots of a library that is loaded and relocated.
            unsafe { sys::syscall(libc::SYS_mprotect, [page, 4096, protection as usize, 0, 0, 0]) == 0 }
        };
        if !protect(libc::PROT_READ | libc::PROT_WRITE) {
            return false;
        }
        // SAFETY: writable now.
        unsafe { (*(at as *const AtomicU64)).store(value, Release) };
        protect(libc::PROT_READ);
        true
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(fd) = self.fd {
            sys::close(fd);
        }
    }
}
