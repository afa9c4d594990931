//! What a log speaks of, and what to do.

use super::HsErr;
use crate::figures::{Named, sum};
use offheap_model::units::bytes as in_words;
use offheap_model::{Frame, FrameKind};

/// What the log speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Crash {
    /// Native memory ran out: malloc or mmap failed.
    NativeMemory,
    /// The JVM's initial heap does not fit into memory.
    HeapDoesNotFit,
    /// A thread could not be created.
    Threads,
    /// A thread may not be created: the sandbox forbids the system call.
    ThreadsForbidden,
    /// Another process sent the signal.
    SentFromOutside,
    /// A mapped file has become shorter than its mapping, or its disk is full or broken.
    MappedFile,
    /// Off-heap memory was read or written by its address after it was freed, or at a wrong
    /// address.
    OffHeapAccess,
    /// A compiler failed on a method.
    Compiler,
    /// In CPython's own code.
    Python,
    /// In a native library that is not the JVM's.
    NativeLibrary,
    /// In Java code itself: something has written over memory before.
    JavaFrame,
    /// In the JVM.
    Jvm,
    /// The log does not say.
    Unknown,
}

impl Crash {
    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Crash::NativeMemory => "The JVM ran out of native memory",
            Crash::HeapDoesNotFit => "The JVM's initial heap does not fit into memory",
            Crash::Threads => "The JVM could not create a thread",
            Crash::ThreadsForbidden => {
                "The JVM may not create threads (EPERM): a seccomp filter of an old container runtime forbids it"
            }
            Crash::SentFromOutside => "Another process sent the JVM a signal",
            Crash::MappedFile => "A mapped file became shorter than its mapping, or its disk is full",
            Crash::OffHeapAccess => {
                "Off-heap memory was used after it was freed, or at a wrong address (Unsafe)"
            }
            Crash::Compiler => "A compiler of the JVM failed",
            Crash::Python => "CPython failed within the JVM's process",
            Crash::NativeLibrary => "A native library failed",
            Crash::JavaFrame => "Java code failed on memory that something else has written over",
            Crash::Jvm => "The JVM itself failed",
            Crash::Unknown => "The JVM failed, and the log does not say why",
        }
    }
}

/// Seconds after its start within which a JVM that can't commit memory was still making its heap.
const STARTING: f64 = 5.0;
/// So many Java threads are worth a word.
const MANY_THREADS: u64 = 1000;

/// Whether a module is of the C library, or of the system below all libraries: who called it is
/// what counts.
fn is_libc(module: &str) -> bool {
    let name = module.to_ascii_lowercase();
    [
        "libc.so",
        "libc-",
        "libpthread",
        "ld-musl",
        "ld-linux",
        "libsystem_",
        "libc++",
        "libstdc++",
        "ntdll.dll",
        "ucrtbase",
        "msvcrt",
        "kernelbase",
        "kernel32",
        "vcruntime",
        "linux-vdso",
    ]
    .iter()
    .any(|begin| name.starts_with(begin))
}

/// Whether a module is the JVM itself.
fn is_jvm(module: &str) -> bool {
    ["libjvm.so", "libjvm.dylib", "jvm.dll", "libj9vm", "j9vm"].iter().any(|name| module.starts_with(name))
}

/// Whether a module is CPython: a library, the program, or macOS' framework.
fn is_python(module: &str) -> bool {
    let name = module.to_ascii_lowercase();
    name.starts_with("libpython") || name.starts_with("python") && !name.contains("jni")
}

/// Whether a frame is a way by which Java reads memory by its address.
fn is_raw_access(name: &str) -> bool {
    [
        "Unsafe_",
        "Unsafe.",
        "ScopedMemoryAccess.",
        "unsafe_arraycopy",
        "Copy::conjoint_memory_atomic",
        "Copy::fill_to_memory",
    ]
    .iter()
    .any(|word| name.contains(word))
}

impl HsErr {
    /// The stack, or what the head says of it.
    fn stack(&self) -> impl Iterator<Item = &Frame> {
        let head = self.problematic_frame.iter().filter(|_| self.native_stack.is_empty());
        self.native_stack.iter().chain(head)
    }

    /// The first native library in the stack that is neither the JVM's nor the C library's.
    fn library(&self) -> Option<&Frame> {
        self.stack().find(|frame| {
            frame.kind == FrameKind::Native
                && frame
                    .module
                    .as_deref()
                    .is_some_and(|module| !is_libc(module) && !is_jvm(module) && module.contains('.'))
        })
    }

    fn says(&self, words: &str) -> bool {
        self.headline.iter().chain(&self.warnings).any(|line| line.contains(words))
    }

    fn is_out_of_memory(&self) -> bool {
        [
            "insufficient memory",
            "Out of Memory Error",
            "Native memory allocation",
            "os::commit_memory(",
            // JDK 6 and before.
            "OutOfMemoryError: requested ",
        ]
        .iter()
        .any(|words| self.says(words))
    }

    /// What a flag of a size says: `-Xms3g`.
    pub(super) fn flag(&self, name: &str) -> Option<u64> {
        // The last one counts.
        self.command_line
            .split_ascii_whitespace()
            .rev()
            .find_map(|word| super::size(word.strip_prefix(name)?))
    }

    /// What happened, as far as the log says.
    pub fn crash(&self) -> Crash {
        let says = |words: &str| self.says(words);
        let threads = [
            "unable to create native thread",
            "Cannot create worker",
            "Cannot create GC thread",
            "pthread_create failed",
        ];
        if threads.iter().any(|words| says(words)) {
            return if says("EPERM") { Crash::ThreadsForbidden } else { Crash::Threads };
        }
        if self.is_out_of_memory() {
            let by_mmap = self.refused.as_ref().filter(|refused| refused.by == "mmap");
            let starting = self.uptime_s.is_some_and(|uptime| uptime < STARTING);
            let initial = self.flag("-Xms");
            let is_heap = by_mmap.is_some_and(|refused| {
                starting || initial.is_some_and(|initial| refused.bytes >= initial / 2)
            });
            // On the terminal alone, a commit of so much at once is a heap's start.
            let alone = self.native_stack.is_empty() && self.uptime_s.is_none() && self.rss_bytes.is_none();
            let large = by_mmap.is_some_and(|refused| refused.bytes >= 64 << 20);
            return if is_heap || alone && large { Crash::HeapDoesNotFit } else { Crash::NativeMemory };
        }
        if self.signal.as_ref().is_some_and(|signal| signal.sender.is_some()) {
            return Crash::SentFromOutside;
        }
        let top = self.stack().find(|frame| !frame.module.as_deref().is_some_and(is_libc));
        let signal = self.signal.as_ref().map_or("", |signal| signal.name.as_str());
        let in_library = top.is_some_and(|top| {
            top.kind == FrameKind::Native && top.module.as_deref().is_some_and(|module| !is_jvm(module))
        });
        let code = self.signal.as_ref().map_or("", |signal| signal.code.as_str());
        if signal == "SIGBUS" && code != "BUS_ADRALN" && !(in_library && code.is_empty()) {
            return Crash::MappedFile;
        }
        let is_segv =
            matches!(signal, "SIGSEGV" | "SIGBUS" | "EXCEPTION_ACCESS_VIOLATION" | "EXCEPTION_IN_PAGE_ERROR");
        // Above the way by which it was read there is nothing but the C library's and the JVM's
        // copying.
        let raw = self.stack().chain(&self.java_stack).take_while(|frame| {
            frame.module.as_deref().is_none_or(|module| is_libc(module) || is_jvm(module))
        });
        if is_segv && !in_library && raw.take(8).any(|frame| is_raw_access(&frame.name)) {
            return Crash::OffHeapAccess;
        }
        match top {
            Some(top) if top.module.as_deref().is_some_and(is_jvm) || top.kind == FrameKind::Jvm => {
                if self.is_compiling() { Crash::Compiler } else { Crash::Jvm }
            }
            Some(top) if top.kind == FrameKind::Java => Crash::JavaFrame,
            Some(top) if top.module.as_deref().is_some_and(is_python) => Crash::Python,
            Some(_) => Crash::NativeLibrary,
            None if says("Internal Error") || says("guarantee(") => Crash::Jvm,
            // The C library alone: it was called with what is no memory, and the log has no caller.
            None if self.stack().next().is_some() => Crash::NativeLibrary,
            None => Crash::Unknown,
        }
    }

    fn is_compiling(&self) -> bool {
        !self.compile_task.is_empty() || self.thread.contains("CompilerThread")
    }

    /// The method that was being compiled: `org.demo.Big::huge`.
    pub fn compiled_method(&self) -> Option<&str> {
        self.compile_task.split(' ').find(|word| word.contains("::"))
    }

    /// What to do, best first; `nmt` are the figures of its NMT section.
    pub fn advice(&self, nmt: &[Named]) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        match self.crash() {
            Crash::HeapDoesNotFit => {
                let initial =
                    self.flag("-Xms").map_or_else(String::new, |bytes| format!(" of {}", in_words(bytes)));
                all.push(format!("The JVM could not get the memory for its heap as it started: -Xms{initial} does not fit into what the machine or container has left."));
                all.push("Lower -Xms (and -Xmx, or -XX:MaxRAMPercentage), or raise the limit. Look for a second JVM beside it: free -m, docker stats.".to_owned());
                all.push("If there is memory left, vm.overcommit_memory=2 (CommitLimit in this log) or ulimit -v refuses it.".to_owned());
            }
            Crash::NativeMemory if self.says("errno=1)") => {
                all.push("The system forbids it (EPERM): memory that is to be run as code may not be made (PaX, SELinux, a seccomp filter), which is no lack of memory.".to_owned());
                all.push(
                    "Allow it for java (paxctl -m, setsebool execmem, the container's security profile)."
                        .to_owned(),
                );
            }
            Crash::NativeMemory => self.out_of_memory(nmt, &mut all),
            Crash::Threads => {
                if let Some((pool, count)) =
                    self.pools.first().filter(|(_, count)| *count >= MANY_THREADS / 2)
                {
                    all.push(format!("{count} threads are named {pool}: find what starts them without an end (a pool that is made for each request, or one without a limit)."));
                } else {
                    all.push("A thread could not be created: find the pool that grows (offheap map shows threads by pool).".to_owned());
                }
                all.push("Compare the number of threads with ulimit -u, kernel.threads-max, kernel.pid_max, vm.max_map_count and the container's pids.max.".to_owned());
            }
            Crash::ThreadsForbidden => {
                all.push("The system call that creates threads (clone3) is forbidden with EPERM: that is a seccomp filter of an old container runtime under a new C library, and not a lack of memory or threads.".to_owned());
                all.push("Update the container runtime (Docker 20.10.10 and later, runc 1.0.0-rc93 and later, libseccomp 2.4.4 and later), or take an image with an older C library.".to_owned());
                all.push(
                    "To see that it is that: run once with --security-opt seccomp=unconfined.".to_owned(),
                );
            }
            Crash::SentFromOutside => {
                let sender = self.signal.as_ref().and_then(|signal| signal.sender);
                let who = sender.map_or_else(String::new, |pid| format!(" (pid {pid})"));
                all.push(format!("Another process{who} sent this signal: it is no crash of the JVM. Find out what that process was."));
            }
            Crash::MappedFile => {
                all.push("A page of a mapped file could not be read: the file was made shorter while it was mapped (truncated or rewritten in place), or its disk is full (a sparse file on a full disk, /dev/shm or tmpfs at its limit) or broken.".to_owned());
                all.push("Find the file: it is the mapping around si_addr in the list of libraries and files below in the log. Replace files by writing a new one and renaming it, never in place; look at df and at the kernel's log for I/O errors.".to_owned());
                all.push("In a JAR that is overwritten while the JVM has it open the same happens: restart with every deployment.".to_owned());
            }
            Crash::OffHeapAccess => {
                let caller = self.stack().chain(&self.java_stack).find(|frame| {
                    frame.kind == FrameKind::Java
                        && !is_raw_access(&frame.name)
                        && !frame.name.starts_with("java.")
                        && !frame.name.starts_with("jdk.")
                        && !frame.name.starts_with("sun.")
                });
                let who = caller.map_or_else(String::new, |frame| format!(" in {}", frame.name));
                all.push(format!("Java code read or wrote off-heap memory by its address{who}, and nothing is there: the memory was freed or unmapped before (a buffer used after its release, a file unmapped by hand), or the address is wrong."));
                all.push("Look for who frees it: close(), release(), Unsafe.freeMemory, a Cleaner that ran, in another thread. Netty: -Dio.netty.leakDetection.level=paranoid and -Dio.netty.noUnsafe=true turn the crash into an exception.".to_owned());
            }
            Crash::Compiler => {
                if let Some(method) = self.compiled_method() {
                    all.push(format!(
                        "The compiler failed on {method}: leave it out with {} until the JDK is updated.",
                        exclude(method)
                    ));
                } else {
                    all.push("A compiler of the JVM failed: find the method under \"Current CompileTask\" and leave it out with -XX:CompileCommand=exclude,CLASS.METHOD.".to_owned());
                }
                all.push("Update to the latest release of the same JDK, and report it with the log and the replay file (replay_pidN.log) beside it.".to_owned());
            }
            Crash::Python => {
                all.push("CPython's code was running: make sure that the thread holds the GIL (PyGILState_Ensure, or the embedding library's own rule of one interpreter per thread).".to_owned());
                all.push("Check reference counts: an object that was released too often is reused while it is still pointed to.".to_owned());
                all.push(
                    "Run once with PYTHONMALLOC=debug and PYTHONFAULTHANDLER=1 to be told earlier."
                        .to_owned(),
                );
            }
            Crash::NativeLibrary => {
                // The C library's own frame, where there is no other.
                let what = self.library().or_else(|| self.stack().next()).map_or_else(
                    || "A native library".to_owned(),
                    |frame| {
                        format!("{} ({})", frame.module.as_deref().unwrap_or("a native library"), frame.name)
                    },
                );
                all.push(format!(
                    "{what} failed outside the JVM: update it, or report it to its maintainers with this log."
                ));
                all.push("Run once with -Xcheck:jni: wrong use of JNI often shows only later.".to_owned());
            }
            Crash::JavaFrame => {
                match self.library().and_then(|frame| frame.module.as_deref()) {
                    Some(module) => all.push(format!("Java code itself can't fail like this: something has written over memory before. {module} is below it in the stack and the first suspect: it may have called back with a wrong thread, reference or buffer.")),
                    None => all.push("Java code itself can't fail like this: a native library, Unsafe or a wrong JNI call has written over memory before.".to_owned()),
                }
                all.push("Run once with -Xcheck:jni, and once without the native library. If it fails at the same method always, exclude that method from compilation and update the JDK.".to_owned());
            }
            Crash::Jvm => {
                all.push(
                    "The JVM's own code failed: update to the latest release of the same JDK first."
                        .to_owned(),
                );
                all.push("If native libraries or agents are loaded, run once without them: they can write over the JVM's memory.".to_owned());
            }
            Crash::Unknown => {
                all.push("The log does not say what happened: look at the core dump, or reproduce with -XX:+CreateCoredumpOnCrash.".to_owned());
            }
        }
        all
    }

    fn out_of_memory(&self, nmt: &[Named], all: &mut Vec<String>) {
        let compiler = nmt.iter().find(|named| named.name == "Compiler").map_or(0, |named| named.bytes);
        if compiler >= 1 << 30 || self.is_compiling() && compiler >= 256 << 20 {
            let method = self.compiled_method();
            let what = method.map_or_else(String::new, |method| format!(" compiling {method}"));
            let how = method.map_or_else(
                || "the method under \"Current CompileTask\" from compilation".to_owned(),
                |method| format!("it with {}", exclude(method)),
            );
            all.push(format!("The JIT compiler itself has {}{what}: exclude {how}; JDK 22 and later can limit it (-XX:CompileCommand=MemLimit,*.*,1g). Update the JDK.", in_words(compiler)));
        }
        if let Some((pool, count)) = self.pools.first().filter(|(_, count)| *count >= MANY_THREADS) {
            let all_threads = self.java_threads.unwrap_or(*count);
            all.push(format!("{count} of {all_threads} Java threads are named {pool}: that is a leak of threads; each has a stack, and maps of its own (vm.max_map_count). Find what starts them without an end."));
        }
        let largest = nmt.iter().max_by_key(|named| named.bytes).filter(|named| named.bytes > 0);
        let accounted = sum(nmt);
        match (largest, self.rss_bytes) {
            (Some(_), Some(rss)) if rss > accounted.saturating_add(accounted / 4) => all.push(format!(
                "{} are resident and NMT knows {}: the rest was allocated by native libraries, or is held by the allocator. offheap map PID of the next one splits it.",
                in_words(rss),
                in_words(accounted)
            )),
            (Some(named), _) if all.is_empty() => all.push(format!("NMT's largest category is {}: {}.", named.name, in_words(named.bytes))),
            (None, _) if all.is_empty() => all.push("The process could not get native memory: look at what fills it, not at the Java heap alone (this log has no NMT section: -XX:NativeMemoryTracking=summary makes one; on Linux, offheap map PID).".to_owned()),
            _ => {}
        }
        let get = |key: &str| self.host.iter().find(|(known, _)| known == key).map(|(_, bytes)| *bytes);
        if let (Some(limit), Some(committed)) = (get("CommitLimit"), get("Committed_AS"))
            && committed > limit
        {
            all.push(format!("The machine has promised {} and may promise {} (CommitLimit): with vm.overcommit_memory=2 that is refused though memory is free.", in_words(committed), in_words(limit)));
        }
        if self.is_windows() {
            let left = self
                .commit_bytes
                .map_or_else(String::new, |(_, left)| format!(" ({} is left)", in_words(left)));
            all.push(format!("Windows promises no more than memory and page file have together{left}: enlarge the page file, end other programs, or lower -Xmx, -XX:MaxDirectMemorySize or the number of threads."));
            return;
        }
        all.push("Make room: raise the container's limit, or lower -Xmx, -XX:MaxDirectMemorySize or the number of threads.".to_owned());
        all.push(
            "If it failed with memory left, look at vm.max_map_count, vm.overcommit_memory and ulimit -v."
                .to_owned(),
        );
    }
}

/// What excludes `org.demo.Big::huge` from compilation:
/// `-XX:CompileCommand=exclude,org.demo.Big.huge`
fn exclude(method: &str) -> String {
    format!("-XX:CompileCommand=exclude,{}", method.replace("::", "."))
}
