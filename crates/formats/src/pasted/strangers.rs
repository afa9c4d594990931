//! Texts that people post and that have nothing to read: what they are, and what to bring instead.

/// A kind of such a text.
struct Stranger {
    /// Whether a line of it tells.
    tells: fn(&str) -> bool,
    /// What it is, and what to bring.
    what: &'static str,
    bring: &'static str,
}

const PROCESS: &str =
    "what one process has, by mapping: /proc/PID/smaps, or pmap -X PID; or run offheap map PID";
const BESIDE_THE_HEAP: &str =
    "what the JVM has beside its heap: jcmd PID VM.native_memory, and /proc/PID/smaps";

/// All of them; those with the clearest lines first.
#[rustfmt::skip]
const STRANGERS: [Stranger; 14] = [
    Stranger { tells: |line| line.contains("J9Generic_Signal_Number="), what: "what OpenJ9 says of a crash", bring: "the javacore.*.txt that it wrote beside it" },
    Stranger { tells: |line| line.contains("top - ") && line.contains("load average"), what: "the screen of top", bring: PROCESS },
    Stranger { tells: |line| line.contains("PID") && line.contains("RSS") && (line.contains("COMMAND") || line.contains("CMD")), what: "the table of ps", bring: PROCESS },
    Stranger { tells: |line| line.contains("Start Addr") && line.contains("End Addr"), what: "gdb's list of mappings, which has nothing of what is resident", bring: PROCESS },
    Stranger { tells: |line| line.contains("total") && line.contains("used") && line.contains("buff/cache"), what: "the table of free", bring: PROCESS },
    Stranger { tells: |line| line.contains("MemAvailable:") || line.contains("MemTotal:"), what: "/proc/meminfo, of the machine and not of a process", bring: PROCESS },
    Stranger { tells: |line| line.contains("procs") && line.contains("-memory-"), what: "the table of vmstat, of the machine and not of a process", bring: PROCESS },
    Stranger { tells: |line| line.contains("S0C") && line.contains("S1C") || line.contains("S0 ") && line.contains(" S1 ") && line.contains("YGC"), what: "the table of jstat", bring: BESIDE_THE_HEAP },
    Stranger { tells: |line| line.contains("size=") && line.contains("count=") && line.contains("average="), what: "tracemalloc's list", bring: "nothing: offheap python PID names types and holders of the running process" },
    Stranger { tells: |line| line.trim().starts_with("oom_kill ") || line.trim().starts_with("oom_group_kill "), what: "memory.events, which counts how often a limit was met and what was killed for it", bring: "the kernel's message (dmesg), and memory.stat beside it" },
    Stranger { tells: |line| line.contains("tcmalloc: large alloc "), what: "tcmalloc's warnings of large blocks, which say nothing of whether they were freed", bring: "its statistics (MALLOCSTATS=1) or a heap profile (HEAPPROFILE)" },
    Stranger { tells: |line| line.trim().starts_with("Event Type") && line.contains("Size (bytes)"), what: "jfr summary", bring: "the recording itself (FILE.jfr)" },
    Stranger { tells: |line| line.contains("\"OOMKilled\":"), what: "docker inspect, or a pod in JSON", bring: "kubectl describe pod or kubectl get pod -o yaml, docker stats, and the kernel's message (dmesg)" },
    Stranger { tells: |line| line.contains("# Overhead") && line.contains("Symbol"), what: "perf report, which counts time and not memory", bring: "offheap profile PID, or a heap profile of jemalloc or async-profiler" },
];

/// What stands in a text beside all sorts of reports, and is only named where no words of those are.
#[rustfmt::skip]
const BESIDE: [Stranger; 3] = [
    Stranger { tells: |line| line.contains("[gc") && line.contains("->") || line.contains("[GC (") || line.contains("[Full GC"), what: "a log of the garbage collector, which knows nothing beside the heap", bring: BESIDE_THE_HEAP },
    Stranger { tells: |line| line.contains("OutOfMemoryError"), what: "an OutOfMemoryError and its stack, which is the code that came last and need not be what fills the memory", bring: BESIDE_THE_HEAP },
    Stranger { tells: |line| line.contains("Exception in thread \"") || line.trim_start().starts_with("Traceback (most recent call last)"), what: "an exception and its stack", bring: BESIDE_THE_HEAP },
];

/// What `text` is, if it is none of what is read, and what to bring instead; `has_words` where it has
/// the words of something that is.
pub(super) fn name(text: &str, has_words: bool) -> Option<(&'static str, &'static str)> {
    let is_of = |stranger: &&Stranger| text.lines().any(|line| (stranger.tells)(line));
    let beside: &[Stranger] = if has_words { &[] } else { &BESIDE };
    STRANGERS.iter().chain(beside).find(is_of).map(|stranger| (stranger.what, stranger.bring))
}
