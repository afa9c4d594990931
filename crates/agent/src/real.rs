//! The functions that the hooks stand in for.
//!
//! A process can have two allocators: the one that symbol lookup finds first (jemalloc under
//! LD_PRELOAD, say), and libc's own, which RTLD_DEEPBIND plug-ins get. Each is a *family*: a block
//! must go back to where it came from, so each has hooks of its own.

use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use crate::elf::{self, Dynamic, Object};
use crate::guard;
use crate::hooks;
use crate::modules;

/// Number of families.
pub const FAMILIES: usize = 2;

/// Functions that are hooked, as indices into the tables of this module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
#[allow(missing_docs, dead_code, reason = "named like the functions; two are only ever indices")]
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
    Mprotect,
    PkeyMprotect,
    Dlopen,
    Dlmopen,
    Dlclose,
    Dlsym,
    PthreadCreate,
    Prctl,
    Syscall,
    Execve,
    Execv,
    Execvp,
    Execvpe,
    Execl,
    Execle,
    Execlp,
    Fexecve,
    Execveat,
    /// The first of [`OPERATORS`] forms of operator new, then as many of operator delete. Hooked
    /// only where the allocator brings its own (jemalloc, tcmalloc): libstdc++'s go through malloc
    /// and free.
    OperatorNew,
}

/// Forms of operator new: with and without array, nothrow, alignment. And of delete, with size
/// instead of nothrow.
pub const OPERATORS: usize = 8;
/// Number of functions.
pub const FUNCTIONS: usize = Function::OperatorNew as usize + 2 * OPERATORS;
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
    c"mprotect",
    c"pkey_mprotect",
    c"dlopen",
    c"dlmopen",
    c"dlclose",
    c"dlsym",
    c"pthread_create",
    c"prctl",
    c"syscall",
    c"execve",
    c"execv",
    c"execvp",
    c"execvpe",
    c"execl",
    c"execle",
    c"execlp",
    c"fexecve",
    c"execveat",
    c"_Znwm",
    c"_Znam",
    c"_ZnwmRKSt9nothrow_t",
    c"_ZnamRKSt9nothrow_t",
    c"_ZnwmSt11align_val_t",
    c"_ZnamSt11align_val_t",
    c"_ZnwmSt11align_val_tRKSt9nothrow_t",
    c"_ZnamSt11align_val_tRKSt9nothrow_t",
    c"_ZdlPv",
    c"_ZdaPv",
    c"_ZdlPvm",
    c"_ZdaPvm",
    c"_ZdlPvSt11align_val_t",
    c"_ZdaPvSt11align_val_t",
    c"_ZdlPvmSt11align_val_t",
    c"_ZdaPvmSt11align_val_t",
];

/// Addresses of the real functions. The first family's begin as [`hooks::boot`] stand-ins, which
/// resolve on first use.
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
        || !matches!(
            bytes.first(),
            Some(b'm' | b'c' | b'r' | b'f' | b'p' | b'a' | b'v' | b'd' | b'e' | b's' | b'_')
        )
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
    guard::init();
    elf::for_each(|o| {
        if is_self(o) {
            let (start, end) = o.range();
            modules::set_own(start, end);
        }
    });
    let [process, libc] = &REAL.0;
    let mut complete = true;
    for (i, name) in NAMES.iter().enumerate() {
        let found = if i >= Function::OperatorNew as usize {
            // Only the allocator's own, which don't go through its malloc.
            let malloc = real::<0>(Function::Malloc) as u64;
            let all = first(name, &mut |_, _| true);
            let own = first(name, &mut |o, _| {
                let (start, end) = o.range();
                malloc >= start && malloc < end
            });
            if all == own { own } else { 0 }
        } else {
            first(name, &mut |_, _| true)
        };
        let of_libc = if i < ALLOCATOR_FUNCTIONS { first(name, &mut |o, d| is_libc(o, d)) } else { found };
        if let (Some(a), Some(b)) = (process.get(i), libc.get(i)) {
            // The stand-ins stay only where nothing was found; then nobody can have a reason to
            // call them.
            if found != 0 {
                a.store(found as *mut (), Relaxed);
            }
            b.store(of_libc as *mut (), Relaxed);
        }
        complete &= found != 0 || i > Function::Free as usize;
    }
    let end = first(c"__libc_stack_end", &mut |_, _| true) as u64;
    // SAFETY: a variable of the loader's, of a pointer's size, written once before any program
    // runs.
    guard::set_main_stack(if end == 0 { 0 } else { unsafe { *(end as *const u64) } });
    for (name, place) in HELPERS.iter().zip(&HELPER) {
        place.store(first(name, &mut |_, _| true) as *mut (), Relaxed);
    }
    complete
}

/// Functions of libc and libpthread that the agent calls itself. Looked up rather than linked:
/// glibc 2.34 moved them into libc under a new symbol version, which a library linked there could
/// not do without.
#[derive(Clone, Copy)]
#[repr(usize)]
#[allow(missing_docs, reason = "named like the functions")]
pub enum Helper {
    Getspecific = 0,
    AttrInit,
    AttrGetstacksize,
    AttrDestroy,
    KeyCreate,
    Setspecific,
    RegisterAtfork,
}

const HELPERS: [&CStr; 7] = [
    c"pthread_getspecific",
    c"pthread_attr_init",
    c"pthread_attr_getstacksize",
    c"pthread_attr_destroy",
    c"pthread_key_create",
    c"pthread_setspecific",
    c"__register_atfork",
];
static HELPER: [AtomicPtr<()>; HELPERS.len()] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; HELPERS.len()];

/// The address of a helper, 0 if the process has no such function.
#[inline]
pub fn helper(h: Helper) -> usize {
    HELPER.get(h as usize).map_or(0, |p| p.load(Relaxed) as usize)
}

/// pthread_getspecific, which reads a slot of the calling thread and neither locks nor allocates.
#[inline]
pub fn thread_specific(key: u32) -> u64 {
    let f = helper(Helper::Getspecific);
    if f == 0 {
        return 0;
    }
    // SAFETY: the address of that function; keys that were never made read as null.
    unsafe { core::mem::transmute::<usize, unsafe extern "C" fn(u32) -> u64>(f)(key) }
}

/// Which family's function `index` this address is.
pub fn family_of(index: usize, address: u64) -> Option<usize> {
    (0..FAMILIES).find(|&f| address != 0 && real_of(f, index) as u64 == address)
}

/// Whether an address is one of the agent's hooks.
pub fn is_hook(address: u64) -> bool {
    modules::is_own(address)
}
