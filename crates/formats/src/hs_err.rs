//! HotSpot's fatal error logs (`hs_err_pidN.log`). Source: HotSpot, share/utilities/vmError.cpp and os_linux.cpp.
//!
//! Sections come in a fixed order and any may be missing: the log is written by a process that is dying. The section of NMT
//! is given as text: its reader is the `nmt` crate.

use crate::{Cut, Error, Mapping};
use offheap_model::{Frame, FrameKind};

const FORMAT: &str = "hs_err log";

/// A fatal error log.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HsErr {
    /// The first lines without their `#`: what happened.
    pub headline: Vec<String>,
    /// The process.
    pub pid: Option<i32>,
    /// `"Java VM: "` line.
    pub vm: String,
    /// The flags and the main class.
    pub command_line: String,
    /// Seconds the JVM had been running.
    pub uptime_s: Option<f64>,
    /// The thread that failed: its kind, name, state.
    pub thread: String,
    /// `siginfo` line: signal, code, address or sender.
    pub signal: Option<Signal>,
    /// The stack of native frames (with Java ones between them), innermost first.
    pub native_stack: Vec<Frame>,
    /// The stack of Java frames, innermost first.
    pub java_stack: Vec<Frame>,
    /// Java threads in the list of threads; logs of a thread that the JVM does not know have no list.
    pub java_threads: Option<u64>,
    /// Resident bytes of the process, where it got that far.
    pub rss_bytes: Option<u64>,
    /// malloc'ed and not freed, as glibc counts, where it got that far.
    pub c_heap_bytes: Option<u64>,
    /// Free, but held by glibc.
    pub c_heap_retained_bytes: Option<u64>,
    /// Memory of the machine or container: total and free.
    pub physical_bytes: Option<(u64, u64)>,
    /// What was mapped.
    pub mappings: Vec<Mapping>,
    /// The text of the NMT section, for the `nmt` crate.
    pub nmt: Option<String>,
    /// The container's lines as `key`, `value`.
    pub container: Vec<(String, String)>,
    /// Where the log ends, where that is before its `END.`
    pub cut: Option<Cut>,
}

/// What the kernel said of the signal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signal {
    /// `"SIGSEGV"`
    pub name: String,
    /// `"SEGV_MAPERR"`, `"SI_USER"`…
    pub code: String,
    /// The address that could not be reached.
    pub address: Option<u64>,
    /// Who sent it, where a process did.
    pub sender: Option<i32>,
}

/// What the log speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Crash {
    /// Native memory ran out: malloc or mmap failed.
    NativeMemory,
    /// A thread could not be created.
    Threads,
    /// Another process sent the signal.
    SentFromOutside,
    /// In CPython's own code.
    Python,
    /// In a native library that is not the JVM's.
    NativeLibrary,
    /// In the JVM.
    Jvm,
    /// The log does not say.
    Unknown,
}

impl Crash {
    /// What to do about it, best first.
    pub fn advice(self) -> &'static [&'static str] {
        match self {
            Crash::NativeMemory => &[
                "The process could not get native memory: look at what fills it, not at the Java heap alone (offheap map, the NMT section of this log).",
                "Make room: raise the container's limit, or lower -Xmx, -XX:MaxDirectMemorySize or the number of threads.",
                "If malloc failed with memory left, look at vm.max_map_count, vm.overcommit_memory and ulimit -v.",
            ],
            Crash::Threads => &[
                "A thread could not be created: find the pool that grows (offheap map shows threads by pool).",
                "Compare the number of threads with ulimit -u, kernel.threads-max and the container's pids.max.",
            ],
            Crash::SentFromOutside => &[
                "Another process sent this signal: it is no crash of the JVM. Find who sent it: the sender's pid is in siginfo.",
            ],
            Crash::Python => &[
                "CPython's code was running: make sure that the thread holds the GIL (PyGILState_Ensure, or the embedding library's own rule of one interpreter per thread).",
                "Check reference counts: an object that was released too often is reused while it is still pointed to.",
                "Run once with PYTHONMALLOC=debug and PYTHONFAULTHANDLER=1 to be told earlier.",
            ],
            Crash::NativeLibrary => &[
                "A native library failed outside the JVM: update it, or report it to its maintainers with this log.",
                "Run once with -Xcheck:jni: wrong use of JNI often shows only later.",
            ],
            Crash::Jvm => &[
                "The JVM's own code failed: update to the latest release of the same JDK first.",
                "If native libraries or agents are loaded, run once without them: they can write over the JVM's memory.",
            ],
            Crash::Unknown => &[
                "The log does not say what happened: look at the core dump, or reproduce with -XX:+CreateCoredumpOnCrash.",
            ],
        }
    }
}

impl HsErr {
    /// What happened, as far as the log says.
    pub fn crash(&self) -> Crash {
        let says = |words: &str| self.headline.iter().any(|line| line.contains(words));
        if says("unable to create native thread")
            || says("Cannot create worker")
            || says("Cannot create GC thread")
        {
            return Crash::Threads;
        }
        if says("insufficient memory") || says("Out of Memory Error") || says("Native memory allocation") {
            return Crash::NativeMemory;
        }
        if self.signal.as_ref().is_some_and(|signal| signal.sender.is_some()) {
            return Crash::SentFromOutside;
        }
        let modules = || self.native_stack.iter().filter_map(|frame| frame.module.as_deref());
        // Below frames of libc (memcpy, abort) is who called them.
        let first =
            modules().find(|module| !module.starts_with("libc.so") && !module.starts_with("libpthread"));
        match first {
            Some(module) if module.starts_with("libpython") || module.starts_with("python") => Crash::Python,
            Some("libjvm.so") => Crash::Jvm,
            Some(_) => Crash::NativeLibrary,
            None => Crash::Unknown,
        }
    }
}

/// True where `head` begins like one.
pub(crate) fn is(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head.get(..512).unwrap_or(head));
    text.starts_with('#')
        && (text.contains("fatal error has been detected by the Java Runtime Environment")
            || text.contains("insufficient memory for the Java Runtime Environment"))
}

/// True where `head` begins like `jcmd PID VM.info`: the log's sections of a JVM that lives. Behind `12345:` or a status.
pub(crate) fn is_vm_info(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head.get(..1024).unwrap_or(head));
    let mut lines = text.lines().map(str::trim).peekable();
    lines.next_if(|line| line.trim_end_matches(':').parse::<i64>().is_ok());
    let mut lines = lines.skip_while(|line| line.is_empty() || *line == "#");
    lines.next().is_some_and(|line| line.starts_with("# JRE version:"))
        && lines.next().is_some_and(|line| line.starts_with("# Java VM:"))
}

/// The part being read.
#[derive(PartialEq)]
enum Part {
    Head,
    Other,
    NativeStack,
    JavaStack,
    Threads,
    Libraries,
    Nmt,
    Container,
}

/// Reads a log, or `VM.info`, as far as it got.
///
/// # Errors
/// It does not begin like one.
pub fn read(bytes: &[u8]) -> Result<HsErr, Error> {
    if !is(bytes) && !is_vm_info(bytes) {
        return Err(Error::NotThis {
            format: FORMAT,
            reason: "it does not begin with what the JVM says of a fatal error".into(),
        });
    }
    let text = String::from_utf8_lossy(bytes);
    let mut log = HsErr::default();
    let mut part = Part::Head;
    let mut nmt = String::new();
    let mut complete = false;
    for line in text.lines() {
        if part == Part::Nmt {
            // Its own headings have two blanks and a dash; the section ends where the next one's title stands.
            if line.starts_with("---------------") || line.starts_with("Periodic native trim") {
                part = Part::Other;
            } else {
                nmt.push_str(line);
                nmt.push('\n');
                continue;
            }
        }
        match begin(line) {
            Some(next) => {
                part = next;
                continue;
            }
            None if line.trim().is_empty() && part != Part::Threads => part = Part::Other,
            None => {}
        }
        // JDK 8 ends with how long it ran; later ones begin with that, behind the time.
        complete |= line == "END." || line.starts_with("elapsed time: ");
        match part {
            Part::Head => head(&mut log, line),
            Part::NativeStack => log.native_stack.extend(frame(line)),
            Part::JavaStack => log.java_stack.extend(frame(line)),
            Part::Threads if line.contains(" JavaThread \"") => {
                log.java_threads = Some(log.java_threads.unwrap_or(0) + 1);
            }
            Part::Threads => {}
            Part::Libraries => log.mappings.extend(crate::maps::mappings(line)),
            Part::Container => log.container.extend(pair(line)),
            Part::Other => other(&mut log, line),
            Part::Nmt => {}
        }
        if line.starts_with('#') {
            part = Part::Head;
        }
    }
    log.nmt = (!nmt.trim().is_empty()).then_some(nmt);
    if !complete {
        log.cut = Some(Cut { at: bytes.len() as u64, reading: "the log: END. does not follow".into() });
    }
    Ok(log)
}

fn begin(line: &str) -> Option<Part> {
    [
        ("Native frames:", Part::NativeStack),
        ("Java frames:", Part::JavaStack),
        ("Java Threads:", Part::Threads),
        ("Dynamic libraries:", Part::Libraries),
        ("Native Memory Tracking:", Part::Nmt),
        ("container (cgroup) information:", Part::Container),
        ("Other Threads:", Part::Other),
        ("VM Arguments:", Part::Other),
    ]
    .into_iter()
    .find_map(|(title, part)| line.starts_with(title).then_some(part))
}

fn head(log: &mut HsErr, line: &str) {
    let Some(text) = line.strip_prefix('#').map(str::trim).filter(|text| !text.is_empty()) else { return };
    if let Some(vm) = text.strip_prefix("Java VM: ") {
        log.vm = vm.to_owned();
    }
    if let Some((_, pid)) = text.split_once(" pid=") {
        log.pid = pid.split(',').next().and_then(|pid| pid.parse().ok());
    }
    log.headline.push(text.to_owned());
}

fn other(log: &mut HsErr, line: &str) {
    if let Some(command) = line.strip_prefix("Command Line: ") {
        log.command_line = command.to_owned();
    } else if let Some(thread) = line.strip_prefix("Current thread ") {
        log.thread = thread.split_once("):").map_or(thread, |(_, thread)| thread).trim().to_owned();
    } else if let Some(command) = line.strip_prefix("java_command: ").filter(|_| log.command_line.is_empty())
    {
        log.command_line = command.to_owned();
    } else if let Some(signal) = line.strip_prefix("siginfo:") {
        log.signal = Some(signal_info(signal.trim()));
    } else if let Some((before, elapsed)) = line.split_once("elapsed time: ")
        && (before.is_empty() || before.starts_with("Time: "))
    {
        log.uptime_s = elapsed.split(' ').next().and_then(|seconds| seconds.parse().ok());
    } else if let Some(sizes) = line.strip_prefix("Resident Set Size: ") {
        log.rss_bytes = size(sizes);
    } else if let Some(sizes) = line.strip_prefix("C-Heap outstanding allocations: ") {
        log.c_heap_bytes = size(sizes);
        log.c_heap_retained_bytes = sizes.split_once("retained: ").and_then(|(_, retained)| size(retained));
    } else if let Some((_, sizes)) = line.split_once(", physical ").filter(|_| line.starts_with("Memory: ")) {
        log.physical_bytes = size(sizes).zip(sizes.split_once('(').and_then(|(_, free)| size(free)));
    }
}

/// `185282K, …` → bytes.
fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.chars().next() {
        Some('k' | 'K') => 1 << 10,
        Some('m' | 'M') => 1 << 20,
        Some('g' | 'G') => 1 << 30,
        _ => 1,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// `si_signo: 11 (SIGSEGV), si_code: 1 (SEGV_MAPERR), si_addr: 0x10`; the first of JDK 8
/// `si_signo=SIGSEGV: si_errno=0, si_code=1 (SEGV_MAPERR), si_addr=0x10`.
fn signal_info(text: &str) -> Signal {
    let in_brackets = |text: &str| Some(text.split_once('(')?.1.split_once(')')?.0.to_owned());
    let mut signal = Signal::default();
    let text = text.replacen(": si_errno", ", si_errno", 1);
    let parts = text.split(", ").filter_map(|part| part.split_once(": ").or_else(|| part.split_once('=')));
    for (key, value) in parts {
        match key {
            "si_signo" => signal.name = in_brackets(value).unwrap_or_else(|| value.to_owned()),
            "si_code" => signal.code = in_brackets(value).unwrap_or_default(),
            "si_addr" => {
                signal.address = value.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok())
            }
            "si_pid" => signal.sender = value.parse().ok(),
            _ => {}
        }
    }
    signal
}

/// `key: value` of the container's section; keys have no blanks.
fn pair(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once(':')?;
    (!key.contains(' ')).then(|| (key.to_owned(), value.trim().to_owned()))
}

/// A line of a stack: `V  [libjvm.so+0xedfde1]  os::malloc+0x1`, `j  app.Main.leak(I)V+4`,
/// `J 33 c1 app.Main.leak(I)V (279 bytes) @ 0x…`, `v  ~StubRoutines::call_stub`.
fn frame(line: &str) -> Option<Frame> {
    let (kind, rest) = line.split_once(' ')?;
    let rest = rest.trim();
    let mut frame =
        Frame { name: rest.to_owned(), kind: FrameKind::Native, file: None, line: None, module: None };
    match kind {
        "C" | "V" => {
            frame.kind = if kind == "V" { FrameKind::Jvm } else { FrameKind::Native };
            if let Some((place, name)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                let (module, offset) = place.rsplit_once("+0x").unwrap_or((place, ""));
                frame.module = Some(module.to_owned());
                let name = name.trim();
                // JDK 21 and later add the file: `  (os_linux.cpp:123)`.
                let (name, source) = match name.rsplit_once("  (") {
                    Some((name, source)) => (name, source.trim_end_matches(')')),
                    None => (name, ""),
                };
                if let Some((file, at)) = source.rsplit_once(':') {
                    frame.file = Some(file.to_owned());
                    frame.line = at.parse().ok();
                }
                frame.name = match name.rsplit_once("+0x") {
                    Some((name, _)) => name.to_owned(),
                    None if name.is_empty() => format!("{module}+0x{offset}"),
                    None => name.to_owned(),
                };
            }
        }
        "j" => {
            frame.kind = FrameKind::Java;
            frame.name = rest.split('(').next().unwrap_or(rest).to_owned();
        }
        "J" => {
            frame.kind = FrameKind::Java;
            let method =
                rest.split(' ').find(|word| word.contains('(') && word.contains('.')).unwrap_or(rest);
            frame.name = method.split('(').next().unwrap_or(method).to_owned();
        }
        "v" => frame.kind = FrameKind::Jvm,
        _ => return None,
    }
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The lines that differ from later releases, as JDK 8's vmError.cpp and os_posix.cpp print them.
    #[test]
    fn a_log_of_jdk_8() {
        let log = |siginfo: &str| {
            let text = format!(
                "#\n# A fatal error has been detected by the Java Runtime Environment:\n#\n\
                #  SIGSEGV (0xb) at pc=0x00007f3c5b1f2a10, pid=4711, tid=0x00007f3c5c1f3700\n#\n\n\
                ---------------  T H R E A D  ---------------\n\n\
                Current thread (0x00007f3c54009800):  JavaThread \"main\" [_thread_in_native, id=4712]\n\n{siginfo}\n\n\
                Native frames: (J=compiled Java code, j=interpreted, Vv=VM code, C=native code)\n\
                C  [libfoo.so+0xa10]  frob+0x10\nj  Foo.frob()V+0\n\n\
                VM Arguments:\njava_command: Foo 1\n\ntime: Wed Jun  9 12:00:00 2021\n\
                elapsed time: 12 seconds (0d 0h 0m 12s)\n"
            );
            read(text.as_bytes()).unwrap()
        };
        for siginfo in [
            "siginfo: si_signo: 11 (SIGSEGV), si_code: 1 (SEGV_MAPERR), si_addr: 0x0000000000000008",
            "siginfo:si_signo=SIGSEGV: si_errno=0, si_code=1 (SEGV_MAPERR), si_addr=0x0000000000000008",
        ] {
            let log = log(siginfo);
            let signal = log.signal.clone().unwrap();
            assert_eq!((signal.name.as_str(), signal.code.as_str()), ("SIGSEGV", "SEGV_MAPERR"), "{siginfo}");
            assert_eq!(signal.address, Some(8));
            assert_eq!((log.cut.clone(), log.uptime_s, log.pid), (None, Some(12.0), Some(4711)));
            assert_eq!((log.command_line.as_str(), log.crash()), ("Foo 1", Crash::NativeLibrary));
        }
    }
}
