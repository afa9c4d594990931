//! The exec family: a process that replaces itself takes the agent along (see
//! [`crate::environment`]). All forms, since those of libc don't call each other by way of import
//! slots. Children are not concerned: what fork, vfork, posix_spawn, popen and system start gets
//! the environment as the program sees it.

use core::ffi::{c_char, c_int};
use core::ptr::null;

use crate::arch::{ARGUMENT_WORDS, function_listed};
use crate::environment::{self, Block};
use crate::hooks::call;
use crate::real::{Function, real};

/// Most arguments of a variadic form that are followed.
const MAX_ARGUMENTS: usize = 256;
/// In place of a result: the real function is to be called.
const UNCHANGED: c_int = 1;

unsafe extern "C" {
    static environ: Block;
}

pub unsafe extern "C" fn execve(path: *const c_char, arguments: Block, environment: Block) -> c_int {
    let go = |environment| {
        call!(0, Execve, fn(*const c_char, Block, Block) -> c_int, path, arguments, environment)
    };
    // SAFETY: the caller's environment.
    unsafe { environment::exec(environment, &go) }
}

pub unsafe extern "C" fn execv(path: *const c_char, arguments: Block) -> c_int {
    // SAFETY: the caller's arguments, and libc's environment, which this function is defined to
    // hand on.
    unsafe { execve(path, arguments, environ) }
}

pub unsafe extern "C" fn execvpe(file: *const c_char, arguments: Block, environment: Block) -> c_int {
    let go = |environment| {
        call!(0, Execvpe, fn(*const c_char, Block, Block) -> c_int, file, arguments, environment)
    };
    // SAFETY: the caller's environment.
    unsafe { environment::exec(environment, &go) }
}

pub unsafe extern "C" fn execvp(file: *const c_char, arguments: Block) -> c_int {
    // SAFETY: as for execv.
    unsafe { execvpe(file, arguments, environ) }
}

pub unsafe extern "C" fn fexecve(fd: c_int, arguments: Block, environment: Block) -> c_int {
    let go = |environment| call!(0, Fexecve, fn(c_int, Block, Block) -> c_int, fd, arguments, environment);
    // SAFETY: the caller's environment.
    unsafe { environment::exec(environment, &go) }
}

pub unsafe extern "C" fn execveat(
    folder: c_int,
    path: *const c_char,
    arguments: Block,
    environment: Block,
    flags: c_int,
) -> c_int {
    let go = |environment| {
        call!(
            0,
            Execveat,
            fn(c_int, *const c_char, Block, Block, c_int) -> c_int,
            folder,
            path,
            arguments,
            environment,
            flags
        )
    };
    // SAFETY: the caller's environment.
    unsafe { environment::exec(environment, &go) }
}

/// The words that a variadic function was called with: the first in registers, the others on its
/// caller's stack.
struct Given {
    registers: *const [Block; ARGUMENT_WORDS],
    stack: *const Block,
}

impl Given {
    /// # Safety
    /// There are more than `i`.
    unsafe fn word(&self, i: usize) -> Block {
        // SAFETY: by the caller.
        unsafe { if i < ARGUMENT_WORDS { (*self.registers)[i] } else { *self.stack.add(i - ARGUMENT_WORDS) } }
    }
}

/// A form that lists its arguments: collects them and calls `go` with the first word, the list, and
/// the word behind its end (execle's environment).
///
/// # Safety
/// The words of such a call: a list that ends with a null.
#[inline(always)]
unsafe fn listed(given: &Given, go: impl FnOnce(*const c_char, Block, &dyn Fn() -> Block) -> c_int) -> c_int {
    let mut list = [null::<c_char>(); MAX_ARGUMENTS + 1];
    for (i, place) in list.iter_mut().enumerate() {
        // SAFETY: not beyond the list's end, by the caller.
        let word = unsafe { given.word(i + 1) };
        if word.is_null() {
            // SAFETY: there is a first word; and with execle one behind the end.
            return unsafe { go(given.word(0).cast(), list.as_ptr(), &|| given.word(i + 2)) };
        }
        *place = word.cast();
    }
    UNCHANGED
}

unsafe extern "C" fn list(registers: *const [Block; ARGUMENT_WORDS], stack: *const Block) -> c_int {
    // SAFETY: what execl was called with.
    unsafe { listed(&Given { registers, stack }, |path, list, _| execve(path, list, environ)) }
}

unsafe extern "C" fn list_environment(
    registers: *const [Block; ARGUMENT_WORDS],
    stack: *const Block,
) -> c_int {
    // SAFETY: what execle was called with.
    unsafe { listed(&Given { registers, stack }, |path, list, behind| execve(path, list, behind())) }
}

unsafe extern "C" fn list_path(registers: *const [Block; ARGUMENT_WORDS], stack: *const Block) -> c_int {
    // SAFETY: what execlp was called with.
    unsafe { listed(&Given { registers, stack }, |file, list, _| execvpe(file, list, environ)) }
}

// Too many arguments leave the call as it was.
function_listed!(execl, Execl, list, UNCHANGED);
function_listed!(execle, Execle, list_environment, UNCHANGED);
function_listed!(execlp, Execlp, list_path, UNCHANGED);
