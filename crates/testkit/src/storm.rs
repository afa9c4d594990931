//! JVMs in bad weather while the agent comes and goes: nobody may die, no byte may be wrong, no
//! errno lost.

use crate::{Jdk, Program, build_harm, build_harm_java, offheap, run_within};
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Every kind of weather: of `harm/storm/*.c`, and Java's own of `harm/java/Storm.java`.
pub const KINDS: &[&str] = &[
    "fork",
    "spawn",
    "identity",
    "limits",
    "dlopen",
    "maps",
    "mprotect",
    "madvise",
    "userfault",
    "threads",
    "cancel",
    "signals",
    "altstack",
    "longjmp",
    "blocks",
    "coroutines",
    "classes",
    "objects",
    "overflow",
    "jthreads",
    "oom",
];

/// How dense samples are, one after the other: every allocation, some, and as by default.
const INTERVALS: &[&str] = &["1", "4k", "64k", "512k"];

/// How a JVM starts to say that it has no memory for the thread that listens.
const NOT_LISTENING: &str = "Exception in VM (AttachListener::init)";

/// A command of offheap that takes longer has hung.
const HANGS_AFTER: Duration = Duration::from_secs(90);

/// One run.
#[derive(Debug)]
pub struct Storm<'a> {
    /// The runtime.
    pub jdk: &'a Jdk,
    /// Its further flags, such as the collector's.
    pub flags: &'a [&'a str],
    /// Which weather, of [`KINDS`].
    pub kinds: &'a [&'a str],
    /// Variables of its environment, such as what is preloaded.
    pub variables: &'a [(&'a str, &'a str)],
    /// How often the agent is started and stopped.
    pub cycles: u32,
    /// It ends then, also before that.
    pub until: Instant,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Report {
    /// How often the agent was started and stopped.
    pub cycles: u32,
    /// Why it was not, how often.
    pub refused: BTreeMap<String, u32>,
    /// What went wrong: a death, a byte, an errno, a hang, words on the target's output. Empty is
    /// well.
    pub harm: Vec<String>,
    /// What the storms did.
    pub did: String,
}

/// A folder with the libraries of the storms.
pub fn libraries() -> PathBuf {
    let sources = ["storm.c", "java.c", "processes.c", "memory.c", "threads.c", "stacks.c"]
        .map(|f| format!("storm/{f}"));
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let folder =
        build_harm("storm", &sources, &["-shared"]).parent().expect("it lies in a folder").to_owned();
    for n in 0..12 {
        let path = folder.join(format!("p{n}.so"));
        if !path.exists() {
            let name = format!("-Wl,-soname,p{n}.so");
            // Beside and renamed: another test may be doing the same.
            let unfinished = folder.join(format!(".p{n}-{}", std::process::id()));
            let built = build_harm(&format!("p{n}"), &["storm/plugin/plugin.c"], &["-shared", &name]);
            std::fs::copy(built, &unfinished).expect("the folder is writable");
            std::fs::rename(&unfinished, &path).expect("the folder is writable");
        }
    }
    folder
}

/// The storms as a C program: `alone FOLDER ,kind,…, SECONDS`.
pub fn alone() -> PathBuf {
    let sources = ["storm.c", "alone.c", "processes.c", "memory.c", "threads.c", "stacks.c"]
        .map(|f| format!("storm/{f}"));
    build_harm("alone", &sources.iter().map(String::as_str).collect::<Vec<_>>(), &[])
}

/// Starts a JVM with this weather; what it prints to its standard error goes to `folder`/err.
pub fn start(jdk: &Jdk, flags: &[&str], kinds: &[&str], folder: &Path) -> Program {
    start_with(jdk, flags, kinds, &[], folder)
}

/// As [`start`], with variables in its environment.
pub fn start_with(
    jdk: &Jdk,
    flags: &[&str],
    kinds: &[&str],
    variables: &[(&str, &str)],
    folder: &Path,
) -> Program {
    let mut command = Command::new(&jdk.java);
    command.envs(variables.iter().copied());
    // Below offheap, which would otherwise wait for its turn among the storm's threads.
    // SAFETY: one system call.
    unsafe {
        command.pre_exec(|| {
            libc::setpriority(libc::PRIO_PROCESS, 0, 10);
            Ok(())
        });
    }
    command.args(["-Xmx64m", "-Xss512k", "-XX:MaxDirectMemorySize=64m"]).args(flags);
    command.arg(format!("-XX:ErrorFile={}/hs_err.log", folder.display())).arg("-XX:-CreateCoredumpOnCrash");
    if jdk.feature >= 21 {
        command.arg("-XX:+EnableDynamicAgentLoading");
    }
    if jdk.feature >= 22 {
        command.arg("--enable-native-access=ALL-UNNAMED");
    }
    command.arg("-cp").arg(build_harm_java("Storm")).arg("Storm").arg(libraries());
    command.arg(format!(",{},", kinds.join(","))).current_dir(folder);
    let err = std::fs::File::create(folder.join("err")).expect("the folder is writable");
    Program::start(command.stderr(Stdio::from(err)))
}

/// Runs one.
pub fn run(storm: &Storm<'_>) -> Report {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let mut report = Report::default();
    let mut jvm = start_with(storm.jdk, storm.flags, storm.kinds, storm.variables, folder.path());
    let pid = jvm.pid().to_string();
    while report.cycles < storm.cycles && Instant::now() < storm.until && jvm.ended().is_none() {
        let interval = INTERVALS[report.cycles as usize % INTERVALS.len()];
        let mut command = Command::new(offheap());
        command.args(["profile", &pid, "--for", "100ms", "--interval", interval, "--json"]);
        let ended = run_within(&mut command, HANGS_AFTER);
        if ended.err.contains("panicked") || ended.signal().is_some() {
            report.harm.push(format!("offheap: {:?}: {}", ended.status, ended.err));
        }
        match ended.code() {
            Some(0) => report.cycles += 1,
            Some(_) => *report.refused.entry(ended.reason().to_owned()).or_default() += 1,
            None => {
                report.harm.push(format!("offheap hung for {:.0?}", ended.took));
                break;
            }
        }
        if report.refused.values().sum::<u32>() > 20 + report.cycles {
            report.harm.push("more refusals than cycles".to_owned());
            break;
        }
    }
    let mut answer = jvm.try_ask("end");
    // A JVM whose heap is full as offheap asks it to listen says so on its standard output, as to
    // any who attach (`AttachListener::init`, src/hotspot/share/services/attachListener.cpp): the
    // exception, a few lines.
    if storm.kinds.contains(&"oom") && answer.as_ref().is_some_and(|line| line.starts_with(NOT_LISTENING)) {
        answer = (0..20).map_while(|_| jvm.try_line()).find(|line| line.starts_with("bad "));
    }
    match &answer {
        Some(answer) if answer.starts_with("bad 0") && !answer.contains("failure") => {
            report.did = answer.clone()
        }
        _ => {
            let status = jvm.ends_within(Duration::from_secs(5));
            report.harm.push(format!("the JVM: {status:?}, its answer {answer:?}{}", crash(folder.path())));
        }
    }
    jvm.kill();
    let err = std::fs::read_to_string(folder.path().join("err")).unwrap_or_default();
    if err.lines().any(|line| !is_weather(line, storm.kinds)) {
        report.harm.push(format!("the JVM's standard error: {err:.2000}"));
    }
    report
}

/// Whether a line of the JVM's standard error is only what this weather does: the JVM's words for a
/// thread that the full heap hits while it handles an earlier error (`Exception: … thrown from the
/// UncaughtExceptionHandler in thread "…"`).
fn is_weather(line: &str, kinds: &[&str]) -> bool {
    const FULL: &str =
        "Exception: java.lang.OutOfMemoryError thrown from the UncaughtExceptionHandler in thread ";
    line.is_empty() || (kinds.contains(&"oom") && line.starts_with(FULL))
}

/// The words of a crash's log that say where it was.
pub fn crash(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("hs_err.log")).unwrap_or_default();
    let mut words = String::new();
    let stack = log.lines().skip_while(|line| !line.starts_with("Native frames:")).take(14);
    for line in log.lines().filter(|line| line.starts_with("#  SIG") || line.starts_with("# C ")).chain(stack)
    {
        words.push('\n');
        words.push_str(line);
    }
    words
}
