//! The ways in, and the commands. Options and return codes: see the crate's page.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicU32, Ordering::AcqRel, Ordering::Relaxed, Ordering::Release};

use offheap_live::{
    DEFAULT_FILE_BYTES, DEFAULT_INTERVAL, HEADER_BYTES, Header, Layout, MAGIC, State, VERSION,
};

use crate::clock;
use crate::elf;
use crate::environment;
use crate::guard;
use crate::memory::Memory;
use crate::objects;
use crate::patch;
use crate::real;
use crate::sample;
use crate::sys;
use crate::table;
use crate::threads;
use crate::tid;

/// Return codes of [`command`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    Done = 0,
    BadOptions = 100,
    NoFile = 101,
    FileFailed = 102,
    NotStarted = 103,
    NoAllocator = 104,
    Busy = 105,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Start,
    Stop,
    Status,
    Trim,
    Sweep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Options<'a> {
    file: Option<&'a [u8]>,
    size: u64,
    interval: Option<u64>,
    /// 0: not; `None`: as it is.
    objects: Option<u64>,
    command: Command,
}

impl Options<'_> {
    const NONE: Options<'static> = Options {
        file: None,
        size: DEFAULT_FILE_BYTES,
        interval: None,
        objects: None,
        command: Command::Start,
    };
}

fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |n, b| {
        let digit = b.checked_sub(b'0').filter(|&d| d < 10)?;
        n.checked_mul(10)?.checked_add(digit.into())
    })
}

fn parse(text: &[u8]) -> Option<Options<'_>> {
    let mut o = Options::NONE;
    for part in text.split(|&b| b == b',').filter(|p| !p.is_empty()) {
        let at = part.iter().position(|&b| b == b'=')?;
        let (name, value) = part.split_at_checked(at)?;
        let value = value.get(1..)?;
        match name {
            b"file" if !value.is_empty() => o.file = Some(value),
            b"size" => o.size = number(value)?,
            b"interval" => o.interval = Some(number(value).filter(|&n| n > 0)?),
            b"objects" => o.objects = Some(number(value)?),
            b"cmd" => {
                o.command = match value {
                    b"start" => Command::Start,
                    b"stop" => Command::Stop,
                    b"status" => Command::Status,
                    b"trim" => Command::Trim,
                    b"sweep" => Command::Sweep,
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
    Some(o)
}

/// The thread that follows a command; 0: none.
static STARTING: AtomicU32 = AtomicU32::new(0);

/// Runs `f`, unless somebody follows a command already.
fn alone(f: impl FnOnce() -> Code) -> Code {
    let tid = sys::gettid();
    if let Err(there) = STARTING.compare_exchange(0, tid, AcqRel, Relaxed) {
        // A thread that ended in the middle of a command is at no work.
        if !Memory::new().has_ended(there) || STARTING.compare_exchange(there, tid, AcqRel, Relaxed).is_err()
        {
            return Code::Busy;
        }
    }
    let code = sys::keeping_errno(f);
    STARTING.store(0, Release);
    code
}

/// Follows a command. Not for use in a hook.
fn command(text: &[u8]) -> Code {
    let Some(options) = parse(text) else { return Code::BadOptions };
    alone(|| follow(&options))
}

fn follow(o: &Options) -> Code {
    if table::file().is_some() && sample::is_forked_child() {
        return Code::NotStarted;
    }
    match o.command {
        Command::Status => table::file().map_or(Code::NotStarted, |_| Code::Done),
        Command::Trim => {
            // SAFETY: takes no pointer; it locks one arena after the other, as any malloc does, and this is not a hook.
            unsafe { libc::malloc_trim(0) };
            Code::Done
        }
        Command::Sweep => table::file().map_or(Code::NotStarted, |file| {
            objects::sweep(file);
            Code::Done
        }),
        Command::Stop => match table::file() {
            Some(file) => {
                if sample::interval() != 0 {
                    sample::set_interval(0);
                }
                objects::stop(file);
                Code::Done
            }
            None => Code::NotStarted,
        },
        Command::Start => {
            if table::file().is_none() {
                let Some(path) = o.file else { return Code::NoFile };
                if !real::resolve() {
                    return Code::NoAllocator;
                }
                tid::init();
                guard::init_copying();
                sample::init();
                if let Err(code) = make_file(path, o.size) {
                    return code;
                }
                threads::init();
            }
            clock::init();
            patch::refresh();
            let interval = o.interval.unwrap_or_else(|| {
                table::file().map_or(DEFAULT_INTERVAL, |f| f.header().interval.load(Relaxed))
            });
            if sample::interval() != interval {
                sample::set_interval(interval);
            }
            match (o.objects, table::file()) {
                (Some(0), Some(file)) => objects::stop(file),
                (Some(interval), Some(file)) => objects::start(file, interval),
                _ => {}
            }
            Code::Done
        }
    }
}

/// Replaces `%p` by the process id and adds a NUL.
fn expand<'a>(path: &[u8], buffer: &'a mut [u8; 4096]) -> Option<&'a CStr> {
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

/// File systems over a network, as statfs names them (linux/magic.h and fs/smb, fs/ceph): NFS, CIFS, SMB 2 and 3, Ceph, AFS.
const REMOTE: [u64; 5] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x00c3_6400, 0x5346_414f];

/// Makes, fills and maps the live file.
///
/// On a local file system only: with the server out of reach, every hook that touches the file would hang.
///
/// Its blocks are allocated now: a write to a hole of a file on a full disk would end the target with SIGBUS.
fn make_file(path: &[u8], size: u64) -> Result<(), Code> {
    let layout = Layout::new(size).ok_or(Code::BadOptions)?;
    let mut buffer = [0u8; 4096];
    let path = expand(path, &mut buffer).ok_or(Code::BadOptions)?;
    // Beyond the limit on the size of files the kernel would not only refuse, but send SIGXFSZ, which ends a program.
    if in_use(path) || sys::limit(libc::RLIMIT_FSIZE as i32).is_none_or(|limit| limit < size) {
        return Err(Code::FileFailed);
    }
    let unlink = || {
        let args = [libc::AT_FDCWD as usize, path.as_ptr() as usize, 0, 0, 0, 0];
        // SAFETY: a string; the file is a live file of a process that is gone, or of this one's making.
        unsafe { sys::syscall(libc::SYS_unlinkat, args) };
    };
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let open = || sys::open(path.as_ptr().cast(), flags, 0o600);
    let fd = open().or_else(|| {
        // Only what is recognisably a dead live file is replaced.
        dead_live_file(path).then(|| {
            unlink();
            open()
        })?
    });
    let fd = fd.ok_or(Code::FileFailed)?;
    if sys::file_system(fd).is_none_or(|kind| REMOTE.contains(&kind)) {
        sys::close(fd);
        unlink();
        return Err(Code::FileFailed);
    }
    // SAFETY: no pointers.
    let allocated = unsafe { sys::syscall(libc::SYS_fallocate, [fd as usize, 0, 0, size as usize, 0, 0]) }
        == 0
        || write_zeroes(fd, size);
    let flags = libc::MAP_SHARED;
    let base = if allocated {
        sys::map(size as usize, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0)
    } else {
        None
    };
    sys::close(fd);
    let Some(base) = base else {
        unlink();
        return Err(Code::FileFailed);
    };
    let write_header = |h: &mut Header| {
        h.version = VERSION;
        h.header_bytes = HEADER_BYTES as u32;
        h.file_bytes = size;
        h.layout = layout;
        h.pid = sys::getpid();
        h.start_realtime_ns = sys::clock_ns(libc::CLOCK_REALTIME);
        h.start_monotonic_ns = sys::clock_ns(libc::CLOCK_MONOTONIC);
        h.state = (State::Stopped as u32).into();
        h.interval = DEFAULT_INTERVAL.into();
        h.magic.store(MAGIC, Release);
    };
    // SAFETY: a fresh mapping of the planned size, kept for ever.
    unsafe { table::publish(base, write_header) };
    Ok(())
}

/// Allocates by writing, on file systems without fallocate.
fn write_zeroes(fd: i32, size: u64) -> bool {
    static ZEROES: [u8; 64 << 10] = [0; 64 << 10];
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

fn header_of(path: &CStr) -> Option<(u64, u32)> {
    let fd = sys::open(path.as_ptr().cast(), libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK, 0)?;
    let mut head = [0u8; size_of::<Header>()];
    let n = sys::read_at(fd, &mut head, 0);
    sys::close(fd);
    let at = core::mem::offset_of!(Header, pid);
    let magic = u64::from_ne_bytes(head.get(..8)?.try_into().ok()?);
    let pid = u32::from_ne_bytes(head.get(at..at + 4)?.try_into().ok()?);
    (n == head.len()).then_some((magic, pid))
}

/// Whether the file is a live file of another process that is still there: a child must not take its parent's.
fn in_use(path: &CStr) -> bool {
    header_of(path).is_some_and(|(magic, pid)| {
        // SAFETY: signal 0 only asks.
        let there = unsafe { sys::syscall(libc::SYS_kill, [pid as usize, 0, 0, 0, 0, 0]) } == 0;
        magic == MAGIC && pid != sys::getpid() && there
    })
}

fn dead_live_file(path: &CStr) -> bool {
    header_of(path).is_some_and(|(magic, _)| magic == MAGIC || magic == 0)
}

/// The command interface for another copy of the agent, loaded from another path: it hands its commands on.
///
/// # Safety
/// `text` points to `len` bytes.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[cfg_attr(test, allow(dead_code, reason = "called from outside"))]
pub unsafe extern "C" fn offheap_agent_command(text: *const u8, len: usize) -> c_int {
    // SAFETY: by the caller.
    command(unsafe { core::slice::from_raw_parts(text, len) }) as c_int
}

/// Gives a command to the copy of the agent that is at work in this process, or to this one.
fn dispatch(text: &[u8]) -> c_int {
    guard::init();
    let mut other = None;
    elf::for_each(|o| {
        if other.is_none()
            && !real::is_self(o)
            && let Some(d) = o.dynamic()
        {
            other = o.lookup(&d, c"offheap_agent_command");
        }
    });
    if table::file().is_none()
        && let Some(address) = other
    {
        // SAFETY: the function above, in a copy of this library.
        let f: unsafe extern "C" fn(*const u8, usize) -> c_int = unsafe { core::mem::transmute(address) };
        // SAFETY: the slice's own pointer and length.
        let asked = unsafe { f(b"cmd=status".as_ptr(), 10) };
        if asked == Code::Done as c_int {
            // SAFETY: as above.
            return unsafe { f(text.as_ptr(), text.len()) };
        }
    }
    command(text) as c_int
}

fn from_jvm(vm: *mut c_void, options: *const c_char) -> c_int {
    objects::set_vm(vm);
    let text = if options.is_null() {
        &[]
    } else {
        // SAFETY: the JVM passes a string.
        unsafe { CStr::from_ptr(options) }.to_bytes()
    };
    dispatch(text)
}

/// Attach (`JVMTI.agent_load`, `load instrument` protocol): the JVM calls this with the options.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[allow(non_snake_case, dead_code, reason = "the JVM looks for this name")]
pub extern "C" fn Agent_OnAttach(vm: *mut c_void, options: *const c_char, _: *mut c_void) -> c_int {
    from_jvm(vm, options)
}

/// `-agentpath`. A failure would keep the JVM from starting, so there is none: the application comes first.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[allow(non_snake_case, dead_code, reason = "the JVM looks for this name")]
pub extern "C" fn Agent_OnLoad(vm: *mut c_void, options: *const c_char, _: *mut c_void) -> c_int {
    from_jvm(vm, options);
    0
}

unsafe extern "C" {
    static environ: environment::Block;
}

/// LD_PRELOAD: starts as the environment says, if it names this library as preloaded.
fn start_from_environment(environment: environment::Block) {
    if environment.is_null() || table::file().is_some() || !environment::preloaded(environment) {
        return;
    }
    let variable = |name| environment::variable(environment, name);
    let Some(file) = variable(b"OFFHEAP_FILE").filter(|f| !f.is_empty()) else {
        return;
    };
    let size = match variable(b"OFFHEAP_SIZE") {
        Some(text) => number(text),
        None => Some(DEFAULT_FILE_BYTES),
    };
    let interval = match variable(b"OFFHEAP_INTERVAL") {
        Some(text) => number(text).filter(|&n| n > 0).map(Some),
        None => Some(None),
    };
    let (Some(size), Some(interval)) = (size, interval) else { return };
    let options = Options { file: Some(file), size, interval, ..Options::NONE };
    alone(|| follow(&options));
}

/// The first call of an exported hook, possibly before any constructor has run.
pub fn start_early() {
    // SAFETY: libc's variable; null until libc has been initialised.
    start_from_environment(unsafe { environ });
}

extern "C" fn constructor(_: c_int, _: *const *const c_char, initial: environment::Block) {
    start_from_environment(initial);
    if table::file().is_none() {
        return;
    }
    // SAFETY: libc's variable. Another constructor may have changed the environment, which then is a copy.
    for block in [initial, unsafe { environ }] {
        if !block.is_null()
            && environment::preloaded(block)
            && environment::variable(block, b"OFFHEAP_CHILDREN").is_none()
        {
            environment::take_out(block);
        }
    }
}

/// The loader calls this when the library is loaded, with main's arguments.
#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = constructor;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_refused() {
        let o = parse(b"file=/tmp/x,interval=1,size=4194304,cmd=start").unwrap();
        assert_eq!((o.objects, parse(b"objects=0").unwrap().objects), (None, Some(0)));
        assert_eq!(o.file, Some(&b"/tmp/x"[..]));
        assert_eq!((o.interval, o.size, o.command), (Some(1), 4 << 20, Command::Start));
        assert_eq!(parse(b""), Some(Options::NONE));
        assert_eq!(parse(b"cmd=stop").unwrap().command, Command::Stop);
        for bad in [
            "interval=0",
            "interval=x",
            "interval=",
            "objects=x",
            "what=1",
            "file",
            "cmd=go",
            "size=99999999999999999999",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn the_pid_goes_into_the_path() {
        let mut buffer = [0; 4096];
        let want = format!("/tmp/a.{}.live", std::process::id());
        assert_eq!(expand(b"/tmp/a.%p.live", &mut buffer).unwrap().to_bytes(), want.as_bytes());
        assert_eq!(expand(&[b'x'; 4096], &mut buffer), None);
    }

    #[test]
    fn nothing_to_stop_or_start_without_a_file() {
        assert_eq!(command(b"cmd=stop"), Code::NotStarted);
        assert_eq!(command(b"cmd=start"), Code::NoFile);
        assert_eq!(command(b"nonsense"), Code::BadOptions);
        let _ = constructor;
    }
}
