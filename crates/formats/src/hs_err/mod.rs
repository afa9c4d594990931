//! HotSpot's fatal error logs (`hs_err_pidN.log`). Source: HotSpot, share/utilities/vmError.cpp and
//! os_linux.cpp.
//!
//! Sections come in a fixed order and any may be missing: the log is written by a process that is
//! dying. The section of NMT is given as text: its reader is the `nmt` crate.

mod crash;
mod facts;
mod lines;

pub use crash::Crash;

use crate::{Cut, Error, Mapping};
use lines::{frame, pair, signal_info, size};
use offheap_model::Frame;

const FORMAT: &str = "hs_err log";

/// A fatal error log.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HsErr {
    /// The first lines without their `#`: what happened.
    pub headline: Vec<String>,
    /// What the JVM said on the terminal before its log.
    pub warnings: Vec<String>,
    /// What was asked for and refused, where memory ran out.
    pub refused: Option<Refused>,
    /// What the JVM counts as possible reasons for that.
    pub reasons: Vec<String>,
    /// The frame that the head names: all that is known of the stack where nothing but the head is
    /// there.
    pub problematic_frame: Option<Frame>,
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
    /// What was being compiled by the thread that failed.
    pub compile_task: String,
    /// `siginfo` line: signal, code, address or sender.
    pub signal: Option<Signal>,
    /// The stack of native frames (with Java ones between them), innermost first.
    pub native_stack: Vec<Frame>,
    /// The stack of Java frames, innermost first.
    pub java_stack: Vec<Frame>,
    /// Java threads in the list of threads; logs of a thread that the JVM does not know have no
    /// list.
    pub java_threads: Option<u64>,
    /// Java threads by the name of their pool, most first: names that differ in nothing but numbers
    /// are one.
    pub pools: Vec<(String, u64)>,
    /// Resident bytes of the process, where it got that far.
    pub rss_bytes: Option<u64>,
    /// malloc'ed and not freed, as glibc counts, where it got that far.
    pub c_heap_bytes: Option<u64>,
    /// Free, but held by glibc.
    pub c_heap_retained_bytes: Option<u64>,
    /// Memory of the machine or container: total and free.
    pub physical_bytes: Option<(u64, u64)>,
    /// What Windows may promise, memory and page file, and what of it is left.
    pub commit_bytes: Option<(u64, u64)>,
    /// The machine's own figures by the kernel's names (`MemAvailable`, `CommitLimit`…), bytes.
    pub host: Vec<(String, u64)>,
    /// What was mapped.
    pub mappings: Vec<Mapping>,
    /// The text of the NMT section, for the `nmt` crate.
    pub nmt: Option<String>,
    /// The container's lines as `key`, `value`.
    pub container: Vec<(String, String)>,
    /// Where the log, if it is more than its head, ends, where that is before its `END.`
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

/// Memory that the JVM did not get.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refused {
    /// How much.
    pub bytes: u64,
    /// `"malloc"`, `"mmap"`…
    pub by: String,
    /// What it was for.
    pub purpose: String,
}

/// What a log says first.
const FIRST: [&str; 4] = [
    "A fatal error has been detected by the Java Runtime Environment",
    "There is insufficient memory for the Java Runtime Environment",
    "An unexpected error has been detected by",
    "A fatal error has been detected by the SAP Java",
];

/// What a log has of which the first lines were not pasted.
const LATER: [&str; 5] = [
    "---------------  S U M M A R Y",
    "---------------  T H R E A D",
    "---------------  P R O C E S S",
    "Native frames: (J=",
    "Current thread (0x",
];

/// A line without the `#` before it, which a wiki may have taken for a heading.
fn bare(line: &str) -> &str {
    line.trim().trim_start_matches('#').trim()
}

/// What the JVM says on the terminal as it gives up, before the log's own first lines.
fn is_warning(line: &str) -> bool {
    line.contains("VM warning: INFO: os::commit_memory(")
        || line.contains("VM warning: Attempt to ")
        || line.contains("Failed to start thread") && line.contains("pthread_create failed")
        || line.contains("Failed to start the native thread for java.lang.Thread")
        || line.contains("Failed to reserve and commit memory")
}

/// True where a log starts with `line`.
pub(crate) fn begins(line: &str) -> bool {
    let bare = bare(line);
    FIRST.iter().any(|first| bare.starts_with(first)) || is_warning(line)
}

/// True where one may start with it, without its head.
pub(crate) fn perhaps(line: &str) -> bool {
    LATER.iter().any(|later| line.starts_with(later))
}

/// True where `line` is its last.
pub(crate) fn ends(line: &str) -> bool {
    line == "END."
}

/// True where VM.info starts with `line`.
pub(crate) fn begins_vm_info(line: &str) -> bool {
    line.starts_with("# JRE version:")
}

/// True where `head` starts like one: what the JVM says of a fatal error, behind warnings at most;
/// or with a later section.
pub(crate) fn is(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head.get(..16 << 10).unwrap_or(head));
    let mut warned = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "#") {
        if !is_warning(line) {
            return warned || FIRST.iter().any(|first| bare(line).starts_with(first)) || perhaps(line);
        }
        warned = true;
    }
    warned
}

/// True where `head` starts like `jcmd PID VM.info`: the log's sections of a JVM that lives. Behind
/// `12345:` or a status.
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
/// It does not start like one.
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
    let mut threads = lines::Pools::default();
    // A wiki takes the marks for headings; then the head ends where a section starts.
    let unmarked = !text.lines().take(40).any(|line| line.trim_start().starts_with('#'));
    for line in text.lines() {
        if part == Part::Nmt {
            // Its own headings have two blanks and a dash; the section ends where the next one's
            // title stands.
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
            None if line.trim().is_empty() && part != Part::Threads && !(unmarked && part == Part::Head) => {
                part = Part::Other;
            }
            None => {}
        }
        // JDK 8 ends with how long it ran; later ones start with that, behind the time.
        complete |= line == "END." || line.starts_with("elapsed time: ");
        if line.starts_with("---------------") {
            part = Part::Other;
        }
        match part {
            Part::Head => head(&mut log, line, unmarked),
            Part::NativeStack => log.native_stack.extend(frame(line)),
            Part::JavaStack => log.java_stack.extend(frame(line)),
            Part::Threads => {
                if let Some(name) = lines::java_thread(line) {
                    log.java_threads = Some(log.java_threads.unwrap_or(0) + 1);
                    threads.add(name);
                }
            }
            Part::Libraries => log.mappings.extend(crate::maps::mappings(line)),
            Part::Container => log.container.extend(pair(line)),
            Part::Other if is_warning(line) => warning(&mut log, line),
            Part::Other => other(&mut log, line),
            Part::Nmt => {}
        }
        if line.starts_with('#') {
            part = Part::Head;
        }
    }
    log.nmt = (!nmt.trim().is_empty()).then_some(nmt);
    log.pools = threads.list();
    // The head alone, as it stands on the terminal, is whole by itself.
    let is_head_alone =
        !text.lines().any(|line| line.starts_with("---------------") || begin(line).is_some());
    if !complete && !is_head_alone {
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

/// Warnings, reasons and lines of the head that are kept: the JVM has a dozen.
const MOST_LINES: usize = 64;

/// Bytes of the command line from which on nothing is added to it; a log names it once or twice.
const MOST_COMMAND: usize = 64 << 10;

fn warning(log: &mut HsErr, line: &str) {
    if log.warnings.len() < MOST_LINES {
        log.warnings.push(line.trim().to_owned());
    }
    // os::commit_memory(0x00000000c0000000, 1073741824, 0) failed
    let figures = line.split_once("os::commit_memory(").and_then(|(_, rest)| rest.split(", ").nth(1));
    if let (Some(bytes), None) =
        (figures.and_then(|bytes| bytes.trim_end_matches(')').parse().ok()), &log.refused)
    {
        log.refused =
            Some(Refused { bytes, by: "mmap".to_owned(), purpose: "committing reserved memory".to_owned() });
    }
}

fn head(log: &mut HsErr, line: &str, unmarked: bool) {
    if is_warning(line) {
        warning(log, line);
        return;
    }
    let marked = line.trim_start().strip_prefix('#').or(unmarked.then_some(line));
    let Some(text) = marked.map(str::trim).filter(|text| !text.is_empty() && *text != "#") else { return };
    if let Some(vm) = text.strip_prefix("Java VM: ") {
        log.vm = vm.to_owned();
    }
    if let Some((_, pid)) = text.split_once(" pid=") {
        log.pid = pid.split(',').next().and_then(|pid| pid.parse().ok());
    }
    if let Some((name, _)) = text.split_once(" (0x").filter(|(name, _)| lines::is_signal(name)) {
        log.signal.get_or_insert_default().name = name.to_owned();
    }
    if let Some(refused) = lines::refused(text) {
        log.refused = Some(refused);
    }
    let after = log.headline.last().map_or("", String::as_str);
    if after == "Problematic frame:" {
        log.problematic_frame = frame(text);
    }
    let in_reasons = after == "Possible reasons:" || log.reasons.last().is_some_and(|last| last == after);
    if in_reasons && lines::is_reason(text) && log.reasons.len() < MOST_LINES {
        log.reasons.push(text.to_owned());
    }
    if log.headline.len() < MOST_LINES {
        log.headline.push(text.to_owned());
    }
}

fn other(log: &mut HsErr, line: &str) {
    if let Some(command) = line.strip_prefix("Command Line: ") {
        log.command_line = command.to_owned();
    } else if let Some(arguments) = line.strip_prefix("jvm_args: ").filter(|_| log.command_line.is_empty()) {
        log.command_line = arguments.to_owned();
    } else if let Some(thread) = line.strip_prefix("Current thread ") {
        log.thread = thread.split_once("):").map_or(thread, |(_, thread)| thread).trim().to_owned();
    } else if let Some(command) = line.strip_prefix("java_command: ") {
        if log.command_line.len() < MOST_COMMAND && !log.command_line.contains(command) {
            let blank = if log.command_line.is_empty() { "" } else { " " };
            log.command_line = format!("{}{blank}{command}", log.command_line);
        }
    } else if line.starts_with("C1:") || line.starts_with("C2:") || line.starts_with("JVMCI:") {
        if log.compile_task.is_empty() {
            log.compile_task = line.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        }
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
    } else if let Some((_, sizes)) = line.split_once("physical ").filter(|_| line.starts_with("Memory: ")) {
        // `, physical 16303368k(1063636k free)`; of Windows `, system-wide physical 16255M (812M
        // free)`.
        log.physical_bytes = with_free(sizes);
        if let Some((_, swap)) = sizes.split_once(", swap ").filter(|_| log.is_windows()) {
            log.commit_bytes = with_free(swap);
        }
    } else if let Some(sizes) = line.strip_prefix("TotalPageFile size ") {
        let left = sizes.split_once("AvailPageFile size ").and_then(|(_, left)| size(left));
        log.commit_bytes = size(sizes).zip(left);
    } else if let Some((_, sizes)) = line.split_once("WorkingSet (physical memory assigned to process): ") {
        log.rss_bytes = size(sizes);
    } else if let Some((key, bytes)) = lines::meminfo(line)
        && !log.host.iter().any(|(known, _)| known == key)
    {
        log.host.push((key.to_owned(), bytes));
    }
}

/// `16303368k(1063636k free)`: all, and what is free.
fn with_free(sizes: &str) -> Option<(u64, u64)> {
    size(sizes).zip(sizes.split_once('(').and_then(|(_, free)| size(free)))
}

impl HsErr {
    /// Whether it is of Windows.
    pub(crate) fn is_windows(&self) -> bool {
        self.vm.contains("windows")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_alone_is_whole_and_has_its_frame() {
        let head = "#\n# A fatal error has been detected by the Java Runtime Environment:\n#\n\
            #  SIGSEGV (0xb) at pc=0x00007f0000001000, pid=7, tid=8\n#\n# Problematic frame:\n\
            # C  [libdemo.so+0x1000]  demo_copy+0x10\n#\n";
        let log = read(head.as_bytes()).unwrap();
        let frame = log.problematic_frame.clone().unwrap();
        assert_eq!((frame.name.as_str(), frame.module.as_deref()), ("demo_copy", Some("libdemo.so")));
        assert_eq!((log.cut.clone(), log.crash()), (None, Crash::NativeLibrary));
        assert!(log.advice(&[])[0].starts_with("libdemo.so (demo_copy) failed"));
        let more = format!("{head}\n---------------  T H R E A D  ---------------\n");
        assert!(read(more.as_bytes()).unwrap().cut.is_some());
    }

    #[test]
    fn a_log_of_nothing_but_commands_has_one_that_ends() {
        let mut text =
            String::from("#\n# A fatal error has been detected by the Java Runtime Environment:\n#\n");
        text.push_str("---------------  P R O C E S S  ---------------\n\n");
        for number in 0..2000 {
            text.push_str(&format!("java_command: {number} {}\n", "x".repeat(1000)));
        }
        let log = read(text.as_bytes()).unwrap();
        assert!(log.command_line.starts_with("0 x"));
        assert!(log.command_line.len() < MOST_COMMAND + 2000, "{}", log.command_line.len());
    }

    // The lines that differ from later releases, as JDK 8's vmError.cpp and os_posix.cpp print
    // them.
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
