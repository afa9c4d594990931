//! The functions that the hooks stand in for.
//!
//! A process can have two allocators: the one that symbol lookup finds first (jemalloc under LD_PRELOAD, say), and
//! libc's own, which RTLD_DEEPBIND plug-ins get. Each is a *family*: a block must go back to where it came from, so
//! each has hooks of its own.

use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use crate::elf::{self, Dynamic, Object};
use crate::hooks;
use crate::modules;

/// Number of families.
pub const FAMILIES: usize = 2;

/// Functions that are hooked, as indices into the tables of this module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
#[allow(missing_docs, reason = "named like the functions")]
pub enum Function {
    Malloc = 0,
    Calloc,
    Realloc,
    Free,
    PosixMemalign,
    AlignedAlloc,
    Memalign,
    Valloc,
    Pvalloc,
    Reallocarray,
    // From here on there is one of each, whatever the family.
    Mmap,
    Mmap64,
    Munmap,
    Mremap,
    Dlopen,
    Dlmopen,
    Dlclose,
    Dlsym,
    PthreadCreate,
}

/// Number of functions.
pub const FUNCTIONS: usize = 19;
/// Those that belong to an allocator come first.
pub const ALLOCATOR_FUNCTIONS: usize = Function::Mmap as usize;

/// Their names, in the order of [`Function`].
pub const NAMES: [&CStr; FUNCTIONS] = [
    c"malloc",
    c"calloc",
    c"realloc",
    c"free",
    c"posix_memalign",
    c"aligned_alloc",
    c"memalign",
    c"valloc",
    c"pvalloc",
    c"reallocarray",
    c"mmap",
    c"mmap64",
    c"munmap",
    c"mremap",
    c"dlopen",
    c"dlmopen",
    c"dlclose",
    c"dlsym",
    c"pthread_create",
];

/// Addresses of the real functions. The first family's begin as [`hooks::boot`] stand-ins, which resolve on first use.
#[repr(C, align(64))]
pub struct Real(pub [[AtomicPtr<()>; FUNCTIONS]; FAMILIES]);

/// See [`Real`].
pub static REAL: Real =
    Real([hooks::boot::STAND_INS, [const { AtomicPtr::new(core::ptr::null_mut()) }; FUNCTIONS]]);

/// The address of a real function, 0 if the process has none.
#[inline(always)]
pub fn real<const F: usize>(function: Function) -> usize {
    // SAFETY: F < FAMILIES at every use, and a Function is below FUNCTIONS.
    unsafe { REAL.0.get_unchecked(F).get_unchecked(function as usize).load(Relaxed) as usize }
}

/// Like [`real`], for a family known only at run time.
pub fn real_of(family: usize, index: usize) -> usize {
    REAL.0.get(family).and_then(|f| f.get(index)).map_or(0, |a| a.load(Relaxed) as usize)
}

/// Index of a hooked function by name.
pub fn index_of(name: &CStr) -> Option<usize> {
    let bytes = name.to_bytes();
    if bytes.len() < 4
        || !matches!(bytes.first(), Some(b'm' | b'c' | b'r' | b'f' | b'p' | b'a' | b'v' | b'd'))
    {
        return None;
    }
    NAMES.iter().position(|n| *n == name)
}

/// Address of the first definition of `name` in load order, the agent's own left aside.
fn first(name: &CStr, accept: &mut dyn FnMut(&Object, &Dynamic) -> bool) -> usize {
    let mut found = 0;
    elf::for_each(|o| {
        if found != 0 || is_self(o) {
            return;
        }
        if let Some(d) = o.dynamic()
            && accept(o, &d)
            && let Some(address) = o.lookup(&d, name)
        {
            found = address as usize;
        }
    });
    found
}

/// Whether an object is the agent itself.
pub fn is_self(o: &Object) -> bool {
    let (start, end) = o.range();
    let here = is_self as *const () as u64;
    here >= start && here < end
}

/// Whether an object is libc.
pub fn is_libc(o: &Object, d: &Dynamic) -> bool {
    o.lookup(d, c"gnu_get_libc_version").is_some()
}

/// Finds the real functions. False if there is no allocator to be found.
pub fn resolve() -> bool {
    let [process, libc] = &REAL.0;
    let mut complete = true;
    for (i, name) in NAMES.iter().enumerate() {
        let found = first(name, &mut |_, _| true);
        let of_libc = if i < ALLOCATOR_FUNCTIONS { first(name, &mut |o, d| is_libc(o, d)) } else { found };
        if let (Some(a), Some(b)) = (process.get(i), libc.get(i)) {
            // The stand-ins stay only where nothing was found; then nobody can have a reason to call them.
            if found != 0 {
                a.store(found as *mut (), Relaxed);
            }
            b.store(of_libc as *mut (), Relaxed);
        }
        complete &= found != 0 || i > Function::Free as usize;
    }
    complete
}

/// Which family's function `index` this address is.
pub fn family_of(index: usize, address: u64) -> Option<usize> {
    (0..FAMILIES).find(|&f| address != 0 && real_of(f, index) as u64 == address)
}

/// Whether an address is one of the agent's hooks.
pub fn is_hook(address: u64) -> bool {
    modules::is_own(address)
}
