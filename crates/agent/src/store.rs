//! Where the live file lies, from its making to the moment when the agent stops and gives its
//! memory back.
//!
//! In memory, unless the user names a path: a hook that writes to a file on a disk would wait
//! whenever the disk does. So it is a memfd, or where the kernel refuses that a file in /dev/shm
//! whose name is gone at once. Its descriptor stays open until the reader has opened it by
//! /proc/PID/fd, which the next command tells.
//!
//! The mapping stays at one address for ever, so that no thread ever finds nothing there: a stop
//! puts private memory in the file's place, the next start another file. A child made by fork has
//! neither: not the file (MADV_DONTFORK), but memory of its own in its place, should it be in the
//! middle of a hook ([`in_child`]).

use core::ffi::CStr;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize};

use offheap_live::{
    HEADER_BYTES, Header, LEASE_NAME, LIVE_NAME, Layout, MAGIC, MAX_FILE_BYTES, MIN_FILE_BYTES, VERSION,
};

use crate::sys;

/// Why there is no live file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The size or the path can't be used.
    Options,
    /// The named file can't be made.
    File,
    /// None can be made in memory.
    Memory,
}

/// File systems over a network, as statfs names them (linux/magic.h and fs/smb, fs/ceph): NFS,
/// CIFS, SMB 2 and 3, Ceph, AFS.
const REMOTE: [u64; 5] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x00c3_6400, 0x5346_414f];
/// Bytes of the page that a reader renews the lease in.
pub const LEASE_BYTES: usize = 4096;
/// Bytes of a path with its end (`PATH_MAX`).
const PATH_BYTES: usize = libc::PATH_MAX as usize;
/// linux/memfd.h, since Linux 6.3: without it some systems refuse (vm.memfd_noexec).
const MFD_NOEXEC_SEAL: usize = 8;
/// linux/fcntl.h, since Linux 5.1: no new mapping may write.
const F_SEAL_FUTURE_WRITE: i32 = 16;

/// Address and length of the live file's mapping (of the first one; later ones may be shorter), and
/// of the lease's.
static FILE: (AtomicUsize, AtomicUsize) = (AtomicUsize::new(0), AtomicUsize::new(0));
static LEASE: AtomicUsize = AtomicUsize::new(0);

/// A descriptor that waits for the reader: itself, and what it was made as (device and number),
/// since the program may have closed it and opened something else.
struct Open {
    fd: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
}
static OPEN: [Open; 2] =
    [const { Open { fd: AtomicI32::new(-1), device: AtomicU64::new(0), inode: AtomicU64::new(0) } }; 2];

impl Open {
    fn keep(&self, fd: i32) {
        let Some((device, inode, _)) = sys::stat(fd) else { return sys::close(fd) };
        self.device.store(device, Relaxed);
        self.inode.store(inode, Relaxed);
        self.fd.store(fd, Release);
    }

    fn close(&self) {
        let fd = self.fd.swap(-1, AcqRel);
        if fd >= 0
            && sys::stat(fd).is_some_and(|(device, inode, _)| {
                device == self.device.load(Relaxed) && inode == self.inode.load(Relaxed)
            })
        {
            // What remains: that the program closes it itself, and opens another, between these two
            // system calls.
            sys::close(fd);
        }
    }
}

/// Closes what waits for the reader. Not for use in a hook.
pub fn close() {
    OPEN.iter().for_each(Open::close);
}

/// A live file that is being made: mapped, but not yet the process's.
pub struct Made {
    /// Where it is mapped.
    pub base: *mut u8,
    /// Its size.
    pub size: u64,
    /// Where the lease's page is mapped, if it is one of its own.
    pub lease: Option<*mut AtomicU64>,
}

/// The size that a file made now can have: as wanted, or what the first one had.
fn allowed(wanted: u64) -> u64 {
    match FILE.1.load(Relaxed) {
        0 => wanted,
        first => wanted.min(first as u64),
    }
}

/// Makes and maps a live file, at `path` or in memory.
///
/// Its blocks are allocated now: a write to a hole of a file on a full disk would end the target
/// with SIGBUS.
pub fn make(path: Option<&[u8]>, wanted: u64, lease: bool) -> Result<Made, Refusal> {
    let size = allowed(wanted);
    if Layout::new(size).is_none() {
        return Err(Refusal::Options);
    }
    // Beyond the limit on the size of files the kernel would not only refuse, but send SIGXFSZ,
    // which ends a program.
    let limited = sys::limit(libc::RLIMIT_FSIZE as i32).is_none_or(|limit| limit < size);
    let made = match path {
        Some(path) => named(path, size, limited)?,
        None => in_memory(size, limited).ok_or(Refusal::Memory)?,
    };
    let lease = if lease && path.is_none() { lease_page() } else { None };
    Ok(Made { lease, ..made })
}

/// Maps a file that was made, in the place of what was there before.
fn map(fd: i32, size: u64) -> Option<*mut u8> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let base = match FILE.0.load(Relaxed) {
        0 => sys::map(size as usize, protection, libc::MAP_SHARED, fd, 0)?,
        at => {
            let flags = libc::MAP_SHARED | libc::MAP_FIXED;
            // SAFETY: the range that was set aside for the live file, at least as long. Who still
            // writes there (a sample that a stop overtook) writes within it.
            match unsafe { sys::map_at(at, size as usize, protection, flags, fd) } {
                true => at as *mut u8,
                false => {
                    put_private_memory(at, size as usize);
                    return None;
                }
            }
        }
    };
    FILE.0.store(base as usize, Relaxed);
    let _ = FILE.1.compare_exchange(0, size as usize, Release, Relaxed);
    sys::advise(base as usize, size as usize, libc::MADV_DONTFORK);
    Some(base)
}

/// Private memory at an address of ours, of which nothing is resident; not for children either.
fn put_private_memory(at: usize, len: usize) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    // SAFETY: the agent's own range; nobody has references into it, only addresses.
    if unsafe { sys::map_at(at, len, libc::PROT_READ | libc::PROT_WRITE, flags, -1) } {
        sys::advise(at, len, libc::MADV_DONTFORK);
    }
}

/// Gives the memory of live file and lease back. By one system call each that libc's malloc makes
/// too.
pub fn give_back() {
    for (at, len) in [(FILE.0.load(Relaxed), FILE.1.load(Relaxed)), (LEASE.load(Relaxed), LEASE_BYTES)] {
        if at != 0 {
            put_private_memory(at, len);
        }
    }
}

/// After [`give_back`]: in a program that has all its memory locked (mlockall) the private memory
/// is resident, though nobody needs it. Not for use in a hook.
pub fn unlock() {
    let (at, len) = range();
    if at != 0 {
        // SAFETY: the agent's own range; the agent is not at work.
        unsafe { sys::syscall(libc::SYS_munlock, [at, len, 0, 0, 0, 0]) };
        sys::advise(at, len, libc::MADV_DONTNEED);
    }
}

/// In a child, right after fork: memory of its own where its parent has the live file, for a hook
/// that was interrupted by the signal handler that forked.
pub unsafe extern "C" fn in_child() {
    crate::sample::forked();
    give_back();
}

fn fallocate(fd: i32, size: u64) -> bool {
    // SAFETY: no pointers.
    unsafe { sys::syscall(libc::SYS_fallocate, [fd as usize, 0, 0, size as usize, 0, 0]) == 0 }
}

/// An anonymous file of so many bytes, all there.
fn memfd(name: &CStr, size: u64) -> Option<i32> {
    let flags = (libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) as usize;
    let create = |flags: usize| {
        // SAFETY: a string.
        let fd = unsafe { sys::syscall(libc::SYS_memfd_create, [name.as_ptr() as usize, flags, 0, 0, 0, 0]) };
        (fd >= 0).then_some(fd as i32)
    };
    let fd = create(flags | MFD_NOEXEC_SEAL).or_else(|| create(flags))?;
    // SAFETY: no pointers. Nobody but the target's own user, and root, may open it by /proc.
    let ready = unsafe {
        sys::syscall(libc::SYS_fchmod, [fd as usize, 0o600, 0, 0, 0, 0]) == 0
            && sys::syscall(libc::SYS_ftruncate, [fd as usize, size as usize, 0, 0, 0, 0]) == 0
    } && fallocate(fd, size);
    if !ready {
        sys::close(fd);
    }
    ready.then_some(fd)
}

fn seal(fd: i32, seals: i32) -> bool {
    // SAFETY: no pointers.
    unsafe {
        sys::syscall(libc::SYS_fcntl, [fd as usize, libc::F_ADD_SEALS as usize, seals as usize, 0, 0, 0]) == 0
    }
}

const NO_RESIZING: i32 = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;

fn in_memory(size: u64, limited: bool) -> Option<Made> {
    if limited {
        return None;
    }
    let (fd, sealed) = match memfd(LIVE_NAME, size) {
        Some(fd) => (fd, true),
        None => (in_shm(size)?, false),
    };
    let Some(base) = map(fd, size) else {
        sys::close(fd);
        return None;
    };
    if sealed {
        // Now that the one mapping that writes is made. Without it (before 5.1) a child in which
        // the descriptor is still open could write: into what readers see, which the agent believes
        // nothing of.
        let _ = seal(fd, NO_RESIZING | F_SEAL_FUTURE_WRITE) || seal(fd, NO_RESIZING);
        seal(fd, libc::F_SEAL_SEAL);
    }
    OPEN[0].keep(fd);
    Some(Made { base, size, lease: None })
}

/// A file in /dev/shm, which loses its name at once.
fn in_shm(size: u64) -> Option<i32> {
    let mut buffer = [0u8; PATH_BYTES];
    let path = expand(b"/dev/shm/.offheap-live-%p", &mut buffer)?;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let fd = sys::open(path.as_ptr().cast(), flags, 0o600)?;
    unlink(path);
    let ready = is_local(fd) && fallocate(fd, size);
    if !ready {
        sys::close(fd);
    }
    ready.then_some(fd)
}

/// A page that a reader can write and nobody can make shorter.
fn lease_page() -> Option<*mut AtomicU64> {
    let fd = memfd(LEASE_NAME, LEASE_BYTES as u64)?;
    seal(fd, NO_RESIZING | libc::F_SEAL_SEAL);
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let at = match LEASE.load(Relaxed) {
        0 => sys::map(LEASE_BYTES, protection, libc::MAP_SHARED, fd, 0).map(|at| at as usize),
        at => {
            let flags = libc::MAP_SHARED | libc::MAP_FIXED;
            // SAFETY: the page that was set aside for it.
            unsafe { sys::map_at(at, LEASE_BYTES, protection, flags, fd) }.then_some(at)
        }
    };
    match at {
        Some(at) => {
            LEASE.store(at, Relaxed);
            sys::advise(at, LEASE_BYTES, libc::MADV_DONTFORK);
            OPEN[1].keep(fd);
        }
        None => sys::close(fd),
    }
    at.map(|at| at as *mut AtomicU64)
}

fn is_local(fd: i32) -> bool {
    sys::file_system(fd).is_some_and(|kind| !REMOTE.contains(&kind))
}

fn unlink(path: &CStr) {
    let args = [libc::AT_FDCWD as usize, path.as_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: a string; the file is a live file of a process that is gone, or of this one's making.
    unsafe { sys::syscall(libc::SYS_unlinkat, args) };
}

/// Replaces `%p` by the process id and adds a NUL.
pub fn expand<'a>(path: &[u8], buffer: &'a mut [u8; PATH_BYTES]) -> Option<&'a CStr> {
    let mut n = 0;
    let mut put = |b: u8| {
        *buffer.get_mut(n)? = b;
        n += 1;
        Some(())
    };
    let mut rest = path;
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        if b == b'%' && rest.first() == Some(&b'p') {
            rest = rest.get(1..)?;
            let mut digits = [0u8; 10];
            let (mut pid, mut len) = (sys::getpid(), 0);
            while len == 0 || pid > 0 {
                *digits.get_mut(len)? = b'0' + (pid % 10) as u8;
                pid /= 10;
                len += 1;
            }
            digits.get(..len)?.iter().rev().try_for_each(|&d| put(d))?;
        } else {
            put(b)?;
        }
    }
    put(0)?;
    CStr::from_bytes_until_nul(buffer).ok()
}

/// Makes the file that the user named. On a local file system only: with the server out of reach,
/// every hook that touches the file would hang.
fn named(path: &[u8], size: u64, limited: bool) -> Result<Made, Refusal> {
    let mut buffer = [0u8; PATH_BYTES];
    let path = expand(path, &mut buffer).ok_or(Refusal::Options)?;
    if limited || in_use(path) {
        return Err(Refusal::File);
    }
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let open = || sys::open(path.as_ptr().cast(), flags, 0o600);
    let fd = open().or_else(|| {
        is_dead_live_file(path).then(|| {
            unlink(path);
            open()
        })?
    });
    let fd = fd.ok_or(Refusal::File)?;
    let base =
        if is_local(fd) && (fallocate(fd, size) || write_zeroes(fd, size)) { map(fd, size) } else { None };
    sys::close(fd);
    match base {
        Some(base) => Ok(Made { base, size, lease: None }),
        None => {
            unlink(path);
            Err(Refusal::File)
        }
    }
}

static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// Allocates by writing, on file systems without fallocate.
fn write_zeroes(fd: i32, size: u64) -> bool {
    let mut at = 0;
    while at < size {
        let n = (size - at).min(ZEROES.len() as u64) as usize;
        let args = [fd as usize, ZEROES.as_ptr() as usize, n, at as usize, 0, 0];
        // SAFETY: the buffer is as long as said.
        let wrote = unsafe { sys::syscall(libc::SYS_pwrite64, args) };
        if wrote <= 0 {
            return false;
        }
        at += wrote as u64;
    }
    true
}

/// What a file begins with, if it is long enough, and its size.
fn head_of(fd: i32) -> Option<([u8; size_of::<Header>()], u64)> {
    let mut head = [0u8; size_of::<Header>()];
    let n = sys::read_at(fd, &mut head, 0);
    Some((head, sys::file_size(fd)?)).filter(|_| n == size_of::<Header>())
}

fn look(path: &CStr) -> Option<i32> {
    sys::open(path.as_ptr().cast(), libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK, 0)
}

fn word(head: &[u8], at: usize) -> u64 {
    head.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

fn half(head: &[u8], at: usize) -> u32 {
    head.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// Whether this is the beginning of a live file of `size` bytes.
fn is_header(head: &[u8], size: u64) -> bool {
    word(head, 0) == MAGIC
        && (1..=VERSION).contains(&half(head, core::mem::offset_of!(Header, version)))
        && half(head, core::mem::offset_of!(Header, header_bytes)) == HEADER_BYTES as u32
        && word(head, core::mem::offset_of!(Header, file_bytes)) == size
        && (MIN_FILE_BYTES..=MAX_FILE_BYTES).contains(&size)
}

/// Whether the file is a live file of another process that is still there: a child must not take
/// its parent's.
fn in_use(path: &CStr) -> bool {
    let Some(fd) = look(path) else { return false };
    let head = head_of(fd);
    sys::close(fd);
    head.is_some_and(|(head, _)| {
        let pid = half(&head, core::mem::offset_of!(Header, pid));
        // SAFETY: signal 0 only asks.
        let there = unsafe { sys::syscall(libc::SYS_kill, [pid as usize, 0, 0, 0, 0, 0]) } == 0;
        word(&head, 0) == MAGIC && pid != sys::getpid() && there
    })
}

/// Only what is recognisably a dead live file is replaced: one with a whole header. A file that
/// holds nothing but zeroes may be somebody's disk image; one whose agent was ended while it made
/// it is left to the user.
fn is_dead_live_file(path: &CStr) -> bool {
    let Some(fd) = look(path) else { return false };
    let dead = head_of(fd).is_some_and(|(head, there)| is_header(&head, there));
    sys::close(fd);
    dead
}

/// Address and length of the live file's mapping; 0: none was ever made.
pub fn range() -> (usize, usize) {
    (FILE.0.load(Acquire), FILE.1.load(Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_goes_into_the_path() {
        let mut buffer = [0; 4096];
        let want = format!("/tmp/a.{}.live", std::process::id());
        assert_eq!(expand(b"/tmp/a.%p.live", &mut buffer).unwrap().to_bytes(), want.as_bytes());
        assert_eq!(expand(&[b'x'; 4096], &mut buffer), None);
    }

    #[test]
    fn only_what_is_recognisably_a_live_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let is_dead = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
            is_dead_live_file(&path)
        };
        let size = MIN_FILE_BYTES as usize;
        let mut live = vec![0; size];
        assert!(!is_dead("zeroes", &live));
        assert!(!is_dead("an image", &[live.as_slice(), &[0]].concat()));
        live[size - 1] = 1;
        assert!(!is_dead("an image that ends", &live));
        live[..8].copy_from_slice(&MAGIC.to_ne_bytes());
        assert!(!is_dead("no more than eight bytes", &live));
        let mut put = |at: usize, bytes: &[u8]| live[at..at + bytes.len()].copy_from_slice(bytes);
        put(core::mem::offset_of!(Header, version), &VERSION.to_ne_bytes());
        put(core::mem::offset_of!(Header, header_bytes), &(HEADER_BYTES as u32).to_ne_bytes());
        put(core::mem::offset_of!(Header, file_bytes), &MIN_FILE_BYTES.to_ne_bytes());
        assert!(is_dead("whole", &live));
        assert!(!is_dead("cut", &live[..size - 4096]));
    }
}
