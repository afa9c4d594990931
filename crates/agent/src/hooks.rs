//! What the target calls instead of its allocator.
//!
//! The hooks of allocating functions lie in a section of their own (`offheap_hooks`): a walk that
//! finds a return address in there, beyond the hook it was started from, knows that it is inside
//! another allocator call.
//!
//! Order matters on the way out: a block leaves the live table *before* the real free, since
//! afterwards its address belongs to whoever asks next.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use crate::arch::{self, function_by_caller, function_followed, function_watched};
use crate::busy;
use crate::exec;
use crate::filter;
use crate::guard;
use crate::modules;
use crate::patch;
use crate::real::{FAMILIES, FUNCTIONS, Function, OPERATORS, family_of, index_of, real, real_of};
use crate::regions;
use crate::sample;
use crate::threads;

type Ptr = *mut c_void;

/// Counts `size` bytes against the thread's countdown and samples when that is used up.
#[inline(always)]
fn account(p: Ptr, size: usize) {
    let t = arch::thread();
    let left = t.countdown.get().wrapping_sub(size as i64);
    t.countdown.set(left);
    if left < 0 || t.epoch.get() != sample::EPOCH.load(Relaxed) {
        sample::allocated(p as u64, size as u64);
    }
}

/// Calls the real function of a family.
macro_rules! call {
    ($f:expr, $function:ident, fn($($t:ty),*) -> $r:ty, $($a:expr),*) => {{
        type Real = unsafe extern "C" fn($($t),*) -> $r;
        // SAFETY: the address of the real function of that name, or of its boot stand-in.
        let f = unsafe { core::mem::transmute::<usize, Real>(real::<$f>(Function::$function)) };
        // SAFETY: the caller's arguments, handed on.
        unsafe { f($($a),*) }
    }};
}
pub(crate) use call;

#[unsafe(link_section = "offheap_hooks")]
unsafe extern "C" fn malloc_hook<const F: usize>(size: usize) -> Ptr {
    let p = call!(F, Malloc, fn(usize) -> Ptr, size);
    account(p, size);
    p
}

#[unsafe(link_section = "offheap_hooks")]
unsafe extern "C" fn calloc_hook<const F: usize>(n: usize, size: usize) -> Ptr {
    let p = call!(F, Calloc, fn(usize, usize) -> Ptr, n, size);
    account(p, n.wrapping_mul(size));
    p
}

#[unsafe(link_section = "offheap_hooks")]
unsafe extern "C" fn free_hook<const F: usize>(p: Ptr) {
    if filter::maybe_sampled(p as u64) {
        sample::freed(p as u64);
    }
    call!(F, Free, fn(Ptr) -> (), p)
}

#[unsafe(link_section = "offheap_hooks")]
unsafe extern "C" fn realloc_hook<const F: usize>(p: Ptr, size: usize) -> Ptr {
    // The address may belong to another thread as soon as the real function has moved the block.
    let taken = if filter::maybe_sampled(p as u64) { sample::take(p as u64) } else { None };
    let q = call!(F, Realloc, fn(Ptr, usize) -> Ptr, p, size);
    if let Some(record) = taken {
        // NULL for a size of 0 means freed, otherwise failed: then the old block is as it was.
        if q.is_null() && size != 0 {
            sample::put_back(&record);
            return q;
        }
        sample::account_free(&record);
    }
    account(q, size);
    q
}

#[unsafe(link_section = "offheap_hooks")]
unsafe extern "C" fn reallocarray_hook<const F: usize>(p: Ptr, n: usize, size: usize) -> Ptr {
    match n.checked_mul(size) {
        // glibc's own goes through realloc just the same; counted once.
        // SAFETY: the caller's arguments.
        Some(bytes) => unsafe { realloc_hook::<F>(p, bytes) },
        None => {
            // SAFETY: errno's address is valid.
            unsafe { *libc::__errno_location() = libc::ENOMEM };
            core::ptr::null_mut()
        }
    }
}

#[unsafe(link_section = "offheap_hooks")]
unsafe extern "C" fn posix_memalign_hook<const F: usize>(out: *mut Ptr, align: usize, size: usize) -> c_int {
    let result = call!(F, PosixMemalign, fn(*mut Ptr, usize, usize) -> c_int, out, align, size);
    if result == 0 {
        // SAFETY: set by the real function.
        account(unsafe { *out }, size);
    }
    result
}

#[unsafe(link_section = "offheap_hooks")]
unsafe extern "C" fn aligned_alloc_hook<const F: usize>(align: usize, size: usize) -> Ptr {
    let p = call!(F, AlignedAlloc, fn(usize, usize) -> Ptr, align, size);
    account(p, size);
    p
}

#[unsafe(link_section = "offheap_hooks")]
unsafe extern "C" fn memalign_hook<const F: usize>(align: usize, size: usize) -> Ptr {
    let p = call!(F, Memalign, fn(usize, usize) -> Ptr, align, size);
    account(p, size);
    p
}

#[unsafe(link_section = "offheap_hooks")]
unsafe extern "C" fn valloc_hook<const F: usize>(size: usize) -> Ptr {
    let p = call!(F, Valloc, fn(usize) -> Ptr, size);
    account(p, size);
    p
}

#[unsafe(link_section = "offheap_hooks")]
unsafe extern "C" fn pvalloc_hook<const F: usize>(size: usize) -> Ptr {
    let p = call!(F, Pvalloc, fn(usize) -> Ptr, size);
    account(p, size);
    p
}

unsafe extern "C" fn mmap_hook(
    p: Ptr,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    at: libc::off_t,
) -> Ptr {
    let _change = (flags & libc::MAP_FIXED != 0).then(guard::Change::begin);
    if flags & libc::MAP_FIXED != 0 {
        regions::unmapped(p as u64, len as u64);
    }
    let q =
        call!(0, Mmap, fn(Ptr, usize, c_int, c_int, c_int, libc::off_t) -> Ptr, p, len, prot, flags, fd, at);
    // Address space is no memory: the JVM reserves its heap so, and commits parts of it by mapping
    // over them.
    let reserved = prot == libc::PROT_NONE && flags & libc::MAP_NORESERVE != 0;
    if q != libc::MAP_FAILED && !reserved {
        regions::mapped(q as u64, len as u64, flags & libc::MAP_ANONYMOUS != 0);
    }
    q
}

unsafe extern "C" fn munmap_hook(p: Ptr, len: usize) -> c_int {
    let _change = guard::Change::begin();
    regions::unmapped(p as u64, len as u64);
    call!(0, Munmap, fn(Ptr, usize) -> c_int, p, len)
}

unsafe extern "C" fn mprotect_hook(p: Ptr, len: usize, prot: c_int) -> c_int {
    let _change = guard::Change::begin();
    call!(0, Mprotect, fn(Ptr, usize, c_int) -> c_int, p, len, prot)
}

unsafe extern "C" fn pkey_mprotect_hook(p: Ptr, len: usize, prot: c_int, key: c_int) -> c_int {
    let _change = guard::Change::begin();
    call!(0, PkeyMprotect, fn(Ptr, usize, c_int, c_int) -> c_int, p, len, prot, key)
}

/// The fifth argument is only read by the kernel with MREMAP_FIXED; handing on what is in the
/// register is harmless.
unsafe extern "C" fn mremap_hook(p: Ptr, old: usize, new: usize, flags: c_int, to: Ptr) -> Ptr {
    if flags & libc::MREMAP_FIXED != 0 {
        regions::unmapped(to as u64, new as u64);
    }
    let _change = guard::Change::begin();
    let taken = regions::take(p as u64, old as u64);
    let q = call!(0, Mremap, fn(Ptr, usize, usize, c_int, Ptr) -> Ptr, p, old, new, flags, to);
    match taken {
        Some(region) if q == libc::MAP_FAILED => regions::put_back(&region, p as u64, old as u64),
        Some(region) => regions::put_back(&region, q as u64, new as u64),
        None if q != libc::MAP_FAILED && new > old => regions::mapped(q as u64, new as u64, true),
        None => {}
    }
    q
}

// dlopen's answer depends on who calls: the loader looks at the return address for search paths and
// namespace. So unless the call means the same from anywhere, it is passed on with its return
// address untouched, and the new library is found at the next chance (any dlopen, dlclose or
// dlsym).
function_by_caller!(
    dlopen_hook,
    Dlopen,
    dlopen_is_independent,
    dlopen_from_here,
    fn(*const c_char, c_int) -> Ptr
);

unsafe extern "C" fn dlopen_is_independent(name: *const c_char, _: c_int, caller: u64) -> bool {
    // A null name opens the program itself: nothing new.
    if name.is_null() {
        return false;
    }
    // SAFETY: the caller of dlopen passes a string.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    let plain = !name.contains(&b'$') && !modules::rpath_seen();
    let place = busy::Place::new();
    let work = busy::begin(arch::thread(), &place);
    let own_path = modules::Guard::new(&work).is_none_or(|g| g.find(caller).is_none_or(|m| m.runpath));
    let independent = plain && (name.contains(&b'/') || !own_path);
    if !independent {
        patch::mark_dirty();
    }
    independent
}

unsafe extern "C" fn dlopen_from_here(name: *const c_char, flags: c_int) -> Ptr {
    let handle = call!(0, Dlopen, fn(*const c_char, c_int) -> Ptr, name, flags);
    if !handle.is_null() {
        patch::refresh();
    }
    handle
}

unsafe extern "C" fn dlmopen_hook(namespace: libc::Lmid_t, name: *const c_char, flags: c_int) -> Ptr {
    let handle = call!(0, Dlmopen, fn(libc::Lmid_t, *const c_char, c_int) -> Ptr, namespace, name, flags);
    patch::refresh();
    handle
}

unsafe extern "C" fn dlclose_hook(handle: Ptr) -> c_int {
    let result = call!(0, Dlclose, fn(Ptr) -> c_int, handle);
    patch::refresh();
    result
}

// dlsym too looks at its caller (RTLD_NEXT). Only lookups of hooked functions by an explicit handle
// or RTLD_DEFAULT are answered here; everything else goes through untouched.
function_by_caller!(dlsym_hook, Dlsym, dlsym_is_ours, dlsym_from_here, fn(Ptr, *const c_char) -> Ptr);

unsafe extern "C" fn dlsym_is_ours(handle: Ptr, name: *const c_char, _: u64) -> bool {
    patch::refresh_if_dirty();
    // SAFETY: the caller of dlsym passes a string.
    handle != libc::RTLD_NEXT && !name.is_null() && index_of(unsafe { CStr::from_ptr(name) }).is_some()
}

unsafe extern "C" fn dlsym_from_here(handle: Ptr, name: *const c_char) -> Ptr {
    let p = call!(0, Dlsym, fn(Ptr, *const c_char) -> Ptr, handle, name);
    // SAFETY: as above.
    let index = index_of(unsafe { CStr::from_ptr(name) });
    match index.and_then(|i| family_of(i, p as u64).map(|f| hook_of(f, i))) {
        Some(hook) if hook != 0 => hook as Ptr,
        _ => p,
    }
}

// A filter for system calls is installed by prctl or syscall. Both are variadic, and go on as they
// came.
function_watched!(prctl_hook, Prctl, filter_comes, libc::PR_SET_SECCOMP);
function_watched!(
    syscall_hook,
    Syscall,
    filter_comes,
    libc::SYS_seccomp,
    (libc::SYS_prctl, libc::PR_SET_SECCOMP)
);

unsafe extern "C" fn filter_comes() {
    guard::filter_comes();
    // Who is at a system call now that the filter may not allow has ended it when no walk is under
    // way.
    for _ in 0..1_000_000 {
        if !modules::is_walked() {
            break;
        }
        core::hint::spin_loop();
    }
}

unsafe extern "C" fn pthread_create_hook(
    thread: *mut libc::pthread_t,
    attr: *const libc::pthread_attr_t,
    start: threads::Start,
    arg: Ptr,
) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe { threads::create(thread, attr, start, arg) }
}

/// Operator new, after the real one has returned.
unsafe extern "C" fn account_new(p: Ptr, size: usize) -> Ptr {
    account(p, size);
    p
}

// Operator new may throw through its hook, which a Rust function must not be party to.
macro_rules! operators_new {
    ($($name:ident = $i:literal),*) => {
        $(function_followed!($name, Function::OperatorNew as usize + $i, account_new);)*
        const NEW_HOOKS: [*const (); OPERATORS] = [$($name as *const ()),*];
    };
}
operators_new!(
    offheap_new_0 = 0,
    offheap_new_1 = 1,
    offheap_new_2 = 2,
    offheap_new_3 = 3,
    offheap_new_4 = 4,
    offheap_new_5 = 5,
    offheap_new_6 = 6,
    offheap_new_7 = 7
);

/// Operator delete; size and alignment, where a form has them, are handed on.
#[unsafe(link_section = "offheap_hooks")]
unsafe extern "C" fn delete_hook<const I: usize>(p: Ptr, a: usize, b: usize) {
    if filter::maybe_sampled(p as u64) {
        sample::freed(p as u64);
    }
    let f = real_of(0, Function::OperatorNew as usize + OPERATORS + I);
    // SAFETY: the real function; argument registers that it doesn't use don't matter.
    unsafe { core::mem::transmute::<usize, unsafe extern "C" fn(Ptr, usize, usize)>(f)(p, a, b) }
}

/// Address of the hook of a function, 0 if it has none in that family.
pub fn hook_of(family: usize, index: usize) -> usize {
    const fn family_hooks<const F: usize>() -> [*const (); FUNCTIONS] {
        [
            malloc_hook::<F> as *const (),
            calloc_hook::<F> as *const (),
            realloc_hook::<F> as *const (),
            free_hook::<F> as *const (),
            posix_memalign_hook::<F> as *const (),
            aligned_alloc_hook::<F> as *const (),
            memalign_hook::<F> as *const (),
            valloc_hook::<F> as *const (),
            pvalloc_hook::<F> as *const (),
            reallocarray_hook::<F> as *const (),
            mmap_hook as *const (),
            mmap_hook as *const (),
            munmap_hook as *const (),
            mremap_hook as *const (),
            mprotect_hook as *const (),
            pkey_mprotect_hook as *const (),
            dlopen_hook as *const (),
            dlmopen_hook as *const (),
            dlclose_hook as *const (),
            dlsym_hook as *const (),
            pthread_create_hook as *const (),
            prctl_hook as *const (),
            syscall_hook as *const (),
            exec::execve as *const (),
            exec::execv as *const (),
            exec::execvp as *const (),
            exec::execvpe as *const (),
            exec::execl as *const (),
            exec::execle as *const (),
            exec::execlp as *const (),
            exec::fexecve as *const (),
            exec::execveat as *const (),
            NEW_HOOKS[0],
            NEW_HOOKS[1],
            NEW_HOOKS[2],
            NEW_HOOKS[3],
            NEW_HOOKS[4],
            NEW_HOOKS[5],
            NEW_HOOKS[6],
            NEW_HOOKS[7],
            delete_hook::<0> as *const (),
            delete_hook::<1> as *const (),
            delete_hook::<2> as *const (),
            delete_hook::<3> as *const (),
            delete_hook::<4> as *const (),
            delete_hook::<5> as *const (),
            delete_hook::<6> as *const (),
            delete_hook::<7> as *const (),
        ]
    }
    const HOOKS: [[*const (); FUNCTIONS]; FAMILIES] = [family_hooks::<0>(), family_hooks::<1>()];
    // A hook of a function that the process doesn't have would call address 0.
    if real_of(family, index) == 0 {
        return 0;
    }
    let hook = HOOKS.get(family).and_then(|f| f.get(index)).map_or(0, |&p| p as usize);
    // Whatever the linker made of the table: only the agent's own code is a hook.
    if modules::is_own(hook as u64) { hook } else { 0 }
}

unsafe extern "C" {
    // Made by the linker: the ends of the section.
    #[link_name = "__start_offheap_hooks"]
    static HOOKS_START: u8;
    #[link_name = "__stop_offheap_hooks"]
    static HOOKS_STOP: u8;
}

/// Whether a return address lies in the hook of an allocating function.
#[inline]
pub fn in_allocator_hook(pc: u64) -> bool {
    pc >= &raw const HOOKS_START as u64 && pc < &raw const HOOKS_STOP as u64
}

/// Stand-ins for the real functions until they are known: the exported hooks are called before any
/// constructor.
pub mod boot {
    use super::*;

    macro_rules! stand_in {
        ($name:ident, $function:ident, fn($($a:ident: $t:ty),*) -> $r:ty) => {
            unsafe extern "C" fn $name($($a: $t),*) -> $r {
                start();
                call!(0, $function, fn($($t),*) -> $r, $($a),*)
            }
        };
    }
    stand_in!(malloc, Malloc, fn(size: usize) -> Ptr);
    stand_in!(calloc, Calloc, fn(n: usize, size: usize) -> Ptr);
    stand_in!(realloc, Realloc, fn(p: Ptr, size: usize) -> Ptr);
    stand_in!(free, Free, fn(p: Ptr) -> ());
    stand_in!(posix_memalign, PosixMemalign, fn(out: *mut Ptr, align: usize, size: usize) -> c_int);
    stand_in!(aligned_alloc, AlignedAlloc, fn(align: usize, size: usize) -> Ptr);
    stand_in!(memalign, Memalign, fn(align: usize, size: usize) -> Ptr);
    stand_in!(valloc, Valloc, fn(size: usize) -> Ptr);
    stand_in!(pvalloc, Pvalloc, fn(size: usize) -> Ptr);

    /// Resolves the real functions. Without an allocator there is nothing to call: the process
    /// could not go on, and could not have come here, since libc always has one.
    fn start() {
        if !crate::real::resolve() {
            // SAFETY: ends the process as a missing symbol would have.
            unsafe { crate::sys::syscall(libc::SYS_exit_group, [127, 0, 0, 0, 0, 0]) };
        }
        crate::control::start_early();
    }

    const fn slot(f: *const ()) -> AtomicPtr<()> {
        AtomicPtr::new(f.cast_mut())
    }

    #[allow(clippy::declare_interior_mutable_const, reason = "the initialiser of a static")]
    /// The first family's functions at the start, in the order of [`Function`].
    pub const STAND_INS: [AtomicPtr<()>; FUNCTIONS] = {
        let mut all = [const { slot(core::ptr::null()) }; FUNCTIONS];
        all[Function::Malloc as usize] = slot(malloc as *const ());
        all[Function::Calloc as usize] = slot(calloc as *const ());
        all[Function::Realloc as usize] = slot(realloc as *const ());
        all[Function::Free as usize] = slot(free as *const ());
        all[Function::PosixMemalign as usize] = slot(posix_memalign as *const ());
        all[Function::AlignedAlloc as usize] = slot(aligned_alloc as *const ());
        all[Function::Memalign as usize] = slot(memalign as *const ());
        all[Function::Valloc as usize] = slot(valloc as *const ());
        all[Function::Pvalloc as usize] = slot(pvalloc as *const ());
        all
    };
}

/// The names that LD_PRELOAD interposes. Loaded late, the agent is nobody's first choice and these
/// do nothing.
#[cfg(not(test))]
mod exports {
    use super::*;

    macro_rules! export {
        ($name:ident, $hook:ident, fn($($a:ident: $t:ty),*) -> $r:ty) => {
            #[unsafe(no_mangle)]
            #[unsafe(link_section = "offheap_hooks")]
            unsafe extern "C" fn $name($($a: $t),*) -> $r {
                // SAFETY: the caller's arguments, handed on.
                unsafe { $hook::<0>($($a),*) }
            }
        };
    }
    export!(malloc, malloc_hook, fn(size: usize) -> Ptr);
    export!(calloc, calloc_hook, fn(n: usize, size: usize) -> Ptr);
    export!(realloc, realloc_hook, fn(p: Ptr, size: usize) -> Ptr);
    export!(reallocarray, reallocarray_hook, fn(p: Ptr, n: usize, size: usize) -> Ptr);
    export!(free, free_hook, fn(p: Ptr) -> ());
    export!(posix_memalign, posix_memalign_hook, fn(out: *mut Ptr, align: usize, size: usize) -> c_int);
    export!(aligned_alloc, aligned_alloc_hook, fn(align: usize, size: usize) -> Ptr);
    export!(memalign, memalign_hook, fn(align: usize, size: usize) -> Ptr);
    export!(valloc, valloc_hook, fn(size: usize) -> Ptr);
    export!(pvalloc, pvalloc_hook, fn(size: usize) -> Ptr);
}
