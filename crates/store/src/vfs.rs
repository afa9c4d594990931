//! How a recording is written: by SQLite's own ways to files, but without rollback journals.
//!
//! SQLite rolls back what lies beside a file as its `-journal`: it writes what that says over the
//! file, unasked, before anything else. Who may write to the folder could leave one there. A
//! recording is written through a write-ahead log and needs none; so here there is none, whatever
//! lies beside it.

use rusqlite::ffi;
use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;

/// The name to open with.
pub(crate) const NAME: &CStr = c"offheap";

type Open = unsafe extern "C" fn(
    *mut ffi::sqlite3_vfs,
    ffi::sqlite3_filename,
    *mut ffi::sqlite3_file,
    c_int,
    *mut c_int,
) -> c_int;
type Access = unsafe extern "C" fn(*mut ffi::sqlite3_vfs, *const c_char, c_int, *mut c_int) -> c_int;

/// SQLite's own functions, behind ours; `None` where these are not known to SQLite.
static OWN: OnceLock<Option<(Open, Access)>> = OnceLock::new();

/// Makes the name known to SQLite; false where that can't be.
pub(crate) fn register() -> bool {
    OWN.get_or_init(make).is_some()
}

fn make() -> Option<(Open, Access)> {
    // SAFETY: without a name it gives the default one, which lives as long as the process, or null.
    let own = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()).as_ref() }?;
    // The default one's functions look at its name, `pAppData` and `mxPathname`, and only the name
    // is another in this copy.
    let ours = ffi::sqlite3_vfs {
        pNext: std::ptr::null_mut(),
        zName: NAME.as_ptr(),
        xOpen: Some(open),
        xAccess: Some(access),
        ..*own
    };
    // SAFETY: a whole structure that is never freed: it is SQLite's from now on.
    let code = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(ours)), 0) };
    (code == ffi::SQLITE_OK).then_some((own.xOpen?, own.xAccess?))
}

/// No journal is there.
unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    result: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a name that ends with 0, or null.
    let is_journal = !name.is_null() && unsafe { CStr::from_ptr(name) }.to_bytes().ends_with(b"-journal");
    if is_journal {
        // SAFETY: SQLite gives a place for the answer.
        unsafe { *result = 0 };
        return ffi::SQLITE_OK;
    }
    match OWN.get().copied().flatten() {
        // SAFETY: called as SQLite called us.
        Some((_, access)) => unsafe { access(vfs, name, flags, result) },
        None => ffi::SQLITE_IOERR_ACCESS,
    }
}

/// And none is opened.
unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let is_journal = flags & (ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL) != 0;
    match OWN.get().copied().flatten().filter(|_| !is_journal) {
        // SAFETY: called as SQLite called us.
        Some((open, _)) => unsafe { open(vfs, name, file, flags, out_flags) },
        None => {
            // Where that is null, SQLite does not call `close` on it.
            // SAFETY: SQLite gives room for a file.
            unsafe { (*file).pMethods = std::ptr::null() };
            ffi::SQLITE_CANTOPEN
        }
    }
}
