//! The ways in, and the commands. Options and return codes: see the crate's page.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::AcqRel, Ordering::Relaxed, Ordering::Release};

use offheap_live::{DEFAULT_FILE_BYTES, DEFAULT_INTERVAL, HEADER_BYTES, MAGIC, State, VERSION};

use crate::arch;
use crate::busy::{self, Busy};
use crate::clock;
use crate::elf;
use crate::environment;
use crate::filter;
use crate::guard;
use crate::lease;
use crate::memory::Memory;
use crate::modules;
use crate::objects;
use crate::patch;
use crate::real;
use crate::regions;
use crate::sample;
use crate::store::{self, Refusal};
use crate::sys;
use crate::table;
use crate::threads;
use crate::tid;
use crate::walk;

/// Return codes of [`command`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    Done = 0,
    BadOptions = 100,
    FileFailed = 102,
    NotStarted = 103,
    NoAllocator = 104,
    Busy = 105,
    MemoryFailed = 106,
}

impl From<Refusal> for Code {
    fn from(refusal: Refusal) -> Code {
        match refusal {
            Refusal::Options => Code::BadOptions,
            Refusal::File => Code::FileFailed,
            Refusal::Memory => Code::MemoryFailed,
        }
    }
}

/// Seconds that the agent of an attach goes on without a sign of its reader, unless told otherwise.
const LEASE: u64 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Start,
    Stop,
    Status,
    Trim,
    Sweep,
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Options<'a> {
    file: Option<&'a [u8]>,
    size: u64,
    interval: Option<u64>,
    /// 0: not; `None`: as it is.
    objects: Option<u64>,
    /// In seconds, 0: none; `None`: as it is usual.
    lease: Option<u64>,
    command: Command,
}

impl Options<'_> {
    const NONE: Options<'static> = Options {
        file: None,
        size: DEFAULT_FILE_BYTES,
        interval: None,
        objects: None,
        lease: None,
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
            b"lease" => o.lease = Some(number(value).filter(|&n| n <= lease::LONGEST)?),
            b"cmd" => {
                o.command = match value {
                    b"start" => Command::Start,
                    b"stop" => Command::Stop,
                    b"status" => Command::Status,
                    b"trim" => Command::Trim,
                    b"sweep" => Command::Sweep,
                    b"close" => Command::Close,
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

/// In [`STARTING`]: no command, but a lease that runs out.
const IN_HOOK: u32 = 1 << 30;

/// Runs `f`, unless somebody follows a command already.
fn alone(f: impl FnOnce() -> Code) -> Code {
    let tid = sys::gettid();
    if let Err(there) = STARTING.compare_exchange(0, tid, AcqRel, Relaxed) {
        // A thread that ended in the middle of a command is at no work.
        if !Memory::new().has_ended(there & !IN_HOOK)
            || STARTING.compare_exchange(there, tid, AcqRel, Relaxed).is_err()
        {
            return Code::Busy;
        }
    }
    let code = sys::keeping_errno(f);
    STARTING.store(0, Release);
    code
}

/// Follows a command. Not for use in a hook.
fn command(text: &[u8], lease: u64) -> Code {
    let Some(options) = parse(text) else { return Code::BadOptions };
    alone(|| {
        let code = follow(&options, lease);
        if table::was_started() {
            watch_forks();
        }
        code
    })
}

/// Follows options. `usual`: the lease of a file in memory unless they say.
fn follow(o: &Options, usual: u64) -> Code {
    if table::was_started() && sample::is_forked_child() {
        return Code::NotStarted;
    }
    let started = || if table::was_started() { Code::Done } else { Code::NotStarted };
    if o.command != Command::Status {
        // The reader has opened what it wants to.
        store::close();
    }
    clock::init();
    lease::renew();
    match o.command {
        Command::Status | Command::Close => started(),
        Command::Trim => {
            // SAFETY: takes no pointer; it locks one arena after the other, as any malloc does, and
            // this is not a hook.
            unsafe { libc::malloc_trim(0) };
            Code::Done
        }
        Command::Sweep => table::file().map_or(Code::NotStarted, |file| {
            objects::sweep(file);
            Code::Done
        }),
        Command::Stop => {
            if let Some(file) = table::file() {
                objects::stop(Some(file));
                let place = busy::Place::new();
                stop(&busy::begin(arch::thread(), &place));
            } else if table::was_started() {
                // It has stopped by itself, perhaps; that could not be done then.
                objects::stop(None);
            }
            store::close();
            store::unlock();
            started()
        }
        Command::Start => match table::file() {
            Some(file) => {
                if let Some(seconds) = o.lease {
                    file.header().set_lease(lease::lengthen(seconds));
                }
                change(o)
            }
            None => start(o, usual).err().unwrap_or_else(|| change(o)),
        },
    }
}

/// Makes a live file, and so begins a session.
fn start(o: &Options, usual: u64) -> Result<(), Code> {
    if !real::resolve() {
        return Err(Code::NoAllocator);
    }
    tid::init();
    guard::init_copying();
    sample::init();
    // An object of a session that stopped by itself is none of this one.
    objects::stop(None);
    let seconds = o.lease.unwrap_or(if o.file.is_some() { 0 } else { usual });
    let made = store::make(o.file, o.size, seconds != 0)?;
    let write_header = |h: &mut offheap_live::Header| {
        h.version = VERSION;
        h.header_bytes = HEADER_BYTES as u32;
        h.pid = sys::getpid();
        h.start_realtime_ns = sys::clock_ns(libc::CLOCK_REALTIME);
        h.start_monotonic_ns = sys::clock_ns(libc::CLOCK_MONOTONIC);
        h.state = (State::Stopped as u32).into();
        h.interval = o.interval.unwrap_or(DEFAULT_INTERVAL).into();
        h.lease_seconds = (seconds as u32).into();
        h.magic.store(MAGIC, Release);
    };
    // SAFETY: a fresh mapping of that size at the address of all live files.
    if !unsafe { table::publish(made.base, made.size, write_header) } {
        store::give_back();
        store::close();
        return Err(Code::BadOptions);
    }
    regions::begin();
    if seconds != 0 {
        let word = made.lease.or_else(|| table::file().map(|file| file.header().lease.as_ptr().cast()));
        if let Some(word) = word {
            // SAFETY: both pages stay mapped for ever.
            unsafe { lease::begin(word, seconds) };
        }
    } else {
        lease::end();
    }
    threads::init();
    Ok(())
}

/// Starts the sampling, or changes how it is done.
fn change(o: &Options) -> Code {
    patch::refresh();
    let interval = o.interval.unwrap_or_else(sample::last_interval);
    if sample::interval() != interval {
        sample::set_interval(interval);
    }
    match (o.objects, table::file()) {
        (Some(0), file) => objects::stop(file),
        (Some(interval), Some(file)) => objects::start(file, interval),
        _ => {}
    }
    Code::Done
}

/// Stops the sampling, lets go of the live file, and gives back what memory the agent has. By
/// system calls that malloc makes too, since a lease may run out in a hook.
fn stop(work: &Busy) {
    sample::set_interval(0);
    lease::end();
    table::withdraw();
    regions::end();
    store::give_back();
    filter::forget();
    walk::forget();
    objects::forget();
    modules::give_back(work);
}

/// The lease has run out, in a hook: stops. What waits for a reader that never came is closed by
/// the next command; Java objects are the next callback's.
#[cold]
pub fn run_out(work: &Busy) {
    let mark = tid::current(work.thread()) | IN_HOOK;
    // Who follows a command renews the lease or stops the agent; and of those who notice one is
    // enough. What carries this thread's own mark a longjmp has left behind.
    if STARTING.compare_exchange(0, mark, AcqRel, Relaxed).is_ok() || STARTING.load(Relaxed) == mark {
        if let Some(file) = table::file().filter(|_| lease::has_run_out(clock::now_ns())) {
            objects::leave(file);
            stop(work);
        }
        STARTING.store(0, Release);
    }
}

/// The command interface for another copy of the agent, loaded from another path: it hands its
/// commands on.
///
/// # Safety
/// `text` points to `len` bytes.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[cfg_attr(test, allow(dead_code, reason = "called from outside"))]
pub unsafe extern "C" fn offheap_agent_command(text: *const u8, len: usize) -> c_int {
    // SAFETY: by the caller.
    command(unsafe { core::slice::from_raw_parts(text, len) }, LEASE) as c_int
}

/// Gives a command to the copy of the agent that is at work in this process, or to this one.
fn dispatch(text: &[u8], lease: u64) -> c_int {
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
    if !table::was_started()
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
    command(text, lease) as c_int
}

/// Has libc tell of children that fork makes. Not early: its list has a lock, and may be made
/// longer by malloc.
fn watch_forks() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    let f = real::helper(real::Helper::RegisterAtfork);
    if f == 0 || WATCHED.swap(true, Relaxed) {
        return;
    }
    type Handler = Option<unsafe extern "C" fn()>;
    type Register = unsafe extern "C" fn(Handler, Handler, Handler, *mut c_void) -> c_int;
    // SAFETY: what pthread_atfork calls (nptl/pthread_atfork.c). The handler stays: the agent is
    // never unloaded.
    unsafe {
        let register = core::mem::transmute::<usize, Register>(f);
        register(None, None, Some(store::in_child), core::ptr::null_mut());
    }
}

fn from_jvm(vm: *mut c_void, options: *const c_char, lease: u64) -> c_int {
    objects::set_vm(vm);
    let text = if options.is_null() {
        &[]
    } else {
        // SAFETY: the JVM passes a string.
        unsafe { CStr::from_ptr(options) }.to_bytes()
    };
    dispatch(text, lease)
}

/// Attach (`JVMTI.agent_load`, `load instrument` protocol): the JVM calls this with the options.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[allow(non_snake_case, dead_code, reason = "the JVM looks for this name")]
pub extern "C" fn Agent_OnAttach(vm: *mut c_void, options: *const c_char, _: *mut c_void) -> c_int {
    from_jvm(vm, options, LEASE)
}

/// `-agentpath`. A failure would keep the JVM from starting, so there is none: the application
/// comes first.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[allow(non_snake_case, dead_code, reason = "the JVM looks for this name")]
pub extern "C" fn Agent_OnLoad(vm: *mut c_void, options: *const c_char, _: *mut c_void) -> c_int {
    from_jvm(vm, options, 0);
    0
}

unsafe extern "C" {
    static environ: environment::Block;
}

/// LD_PRELOAD: starts as the environment says, if it names this library as preloaded.
fn start_from_environment(environment: environment::Block) {
    if environment.is_null() || table::was_started() || !environment::preloaded(environment) {
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
    let lease = match variable(b"OFFHEAP_LEASE") {
        Some(text) => number(text).filter(|&n| n <= lease::LONGEST),
        None => Some(0),
    };
    let (Some(size), Some(interval), Some(lease)) = (size, interval, lease) else { return };
    let options = Options { file: Some(file), size, interval, lease: Some(lease), ..Options::NONE };
    alone(|| follow(&options, 0));
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
    watch_forks();
    // SAFETY: libc's variable. Another constructor may have changed the environment, which then is
    // a copy.
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
            "lease=3601",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn nothing_to_stop_or_ask_before_the_first_start() {
        for text in ["cmd=stop", "cmd=status", "cmd=close", "cmd=sweep"] {
            assert_eq!(command(text.as_bytes(), LEASE), Code::NotStarted);
        }
        assert_eq!(command(b"nonsense", LEASE), Code::BadOptions);
        let _ = constructor;
    }
}
