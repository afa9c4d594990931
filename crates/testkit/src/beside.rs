//! Others that change a process as the agent does, in the same JVM: allocators, profilers, an
//! auditor, an older agent. Loaded before ours and after it, both work and nobody is harmed.

use crate::{Jdk, build_harm, offheap, run_within, storm};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How a neighbour comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// LD_PRELOAD, from the JVM's begin.
    Preload,
    /// LD_AUDIT, from the JVM's begin.
    Audit,
    /// -agentpath, from the JVM's begin.
    AgentPath,
    /// JVMTI.agent_load, when ours has been there.
    Later,
    /// By a debugger, while ours is at work; taken out again when ours has come back twice.
    Debugger,
}

/// Somebody who may be there too.
#[derive(Debug, Clone)]
pub struct Neighbour {
    /// Its name.
    pub name: &'static str,
    /// Its library.
    pub library: PathBuf,
    /// How it comes in.
    pub way: Way,
    /// The options of an agent.
    pub options: String,
    /// Weather that it does not survive alone.
    pub shy_of: &'static [&'static str],
}

/// heaptrack 1.4, without us: hangs where libraries come and go while other threads allocate, and
/// loses the errno of a program with many threads.
const OF_HEAPTRACK: &[&str] = &["dlopen", "threads"];

impl Neighbour {
    fn new(name: &'static str, library: PathBuf, way: Way) -> Neighbour {
        Neighbour { name, library, way, options: String::new(), shy_of: &[] }
    }

    /// Whether it comes before ours or after it.
    pub fn order(&self) -> &'static str {
        match self.way {
            Way::Preload => "before ours (LD_PRELOAD)",
            Way::Audit => "before ours (LD_AUDIT)",
            Way::AgentPath => "before ours (-agentpath)",
            Way::Later => "after ours (JVMTI.agent_load)",
            Way::Debugger => "while ours is at work (heaptrack -p)",
        }
    }
}

/// Those that are on this machine.
pub fn neighbours() -> Vec<Neighbour> {
    let mut all = vec![Neighbour::new("nobody", PathBuf::new(), Way::Preload)];
    let of_debian = [
        ("jemalloc 5.3", "libjemalloc.so.2", Way::Preload),
        ("tcmalloc 2.10", "libtcmalloc_minimal.so.4", Way::Preload),
        ("mimalloc 2.0", "libmimalloc.so.2", Way::Preload),
        ("heaptrack 1.4", "heaptrack/libheaptrack_preload.so", Way::Preload),
        ("heaptrack 1.4", "heaptrack/libheaptrack_inject.so", Way::Debugger),
    ];
    for (name, file, way) in of_debian {
        let found = ["/usr/lib", "/usr/lib/x86_64-linux-gnu"].map(|folder| Path::new(folder).join(file));
        let Some(library) = found.into_iter().find(|path| path.exists()) else {
            eprintln!("NOT TRIED: {name}: it is not installed");
            continue;
        };
        let shy_of = if name.starts_with("heaptrack") { OF_HEAPTRACK } else { &[] };
        all.push(Neighbour { shy_of, ..Neighbour::new(name, library, way) });
    }
    let audit = build_harm("audit", &["targets/audit.c"], &["-shared"]);
    all.push(Neighbour::new("an auditor", audit, Way::Audit));
    let given = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let agents = [
        ("async-profiler (nativemem)", "ASYNC_PROFILER", "start,nativemem=4k,file=/dev/null,quiet"),
        ("async-profiler (cpu, alloc)", "ASYNC_PROFILER", "start,event=cpu,alloc=64k,file=/dev/null,quiet"),
        ("an older agent of ours", "OLD_AGENT", "file=/tmp/.offheap-live-older-%p,interval=4096"),
    ];
    for (name, variable, options) in agents {
        let Some(library) = given(variable) else {
            eprintln!("NOT TRIED: {name}: {variable} is not set");
            continue;
        };
        for way in [Way::AgentPath, Way::Later] {
            let options = options.to_owned();
            all.push(Neighbour { options, ..Neighbour::new(name, library.clone(), way) });
        }
    }
    all
}

/// What was seen with a neighbour.
#[derive(Debug, Default)]
pub struct Tried {
    /// Profiles of ours that were whole.
    pub profiles: u32,
    /// In words: what ours said where it refused, whether the neighbour is there.
    pub seen: String,
    /// What went wrong.
    pub harm: Vec<String>,
}

/// Brings heaptrack into `pid` by its own script, a moment from now.
fn inject(pid: &str, folder: &Path) -> Child {
    let script = format!("sleep 2; exec heaptrack -p {pid}");
    let said = std::fs::File::create(folder.join("heaptrack.said")).expect("the folder is writable");
    let same = said.try_clone().expect("a descriptor is free");
    Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(said)
        .stderr(same)
        .spawn()
        .expect("there is a shell")
}

/// Has heaptrack go; what it said, unless it had come.
fn withdraw(mut debugger: Child, folder: &Path) -> Option<String> {
    // As ^C does: it then takes its hooks out again.
    // SAFETY: a signal to a process that this one has started and not yet waited for.
    unsafe { libc::kill(debugger.id() as i32, libc::SIGINT) };
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until && matches!(debugger.try_wait(), Ok(None)) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = debugger.kill();
    let _ = debugger.wait();
    let said = std::fs::read_to_string(folder.join("heaptrack.said")).unwrap_or_default();
    (!said.contains("injection finished")).then(|| format!("heaptrack did not come: {said:.300}"))
}

/// Weather in which allocations matter.
const KINDS: &[&str] = &["fork", "dlopen", "maps", "threads", "blocks", "mprotect", "classes", "objects"];

/// Starts a JVM with it, profiles so often, and looks at every byte.
pub fn run(jdk: &Jdk, neighbour: &Neighbour, profiles: u32) -> Tried {
    let mut tried = Tried::default();
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let library = neighbour.library.to_string_lossy().into_owned();
    let out = folder.path().join("heaptrack").to_string_lossy().into_owned();
    let agent_path = format!("-agentpath:{library}={}", neighbour.options);
    let (variables, flags): (Vec<(&str, &str)>, Vec<&str>) = match neighbour.way {
        _ if library.is_empty() => (vec![], vec![]),
        Way::Preload => {
            (vec![("LD_PRELOAD", library.as_str()), ("DUMP_HEAPTRACK_OUTPUT", out.as_str())], vec![])
        }
        Way::Audit => (vec![("LD_AUDIT", library.as_str())], vec![]),
        Way::AgentPath => (vec![], vec![agent_path.as_str()]),
        Way::Later | Way::Debugger => (vec![], vec![]),
    };
    let flags = [&["-XX:+UseSerialGC"][..], &flags].concat();
    let kinds: Vec<&str> = KINDS.iter().copied().filter(|kind| !neighbour.shy_of.contains(kind)).collect();
    let mut jvm = storm::start_with(jdk, &flags, &kinds, &variables, folder.path());
    let pid = jvm.pid().to_string();
    let mut words: Vec<String> = Vec::new();
    let mut debugger = None;
    for n in 0..profiles {
        let mut length = "500ms";
        if neighbour.way == Way::Debugger {
            match n {
                // It is there before this profile is over.
                0 => {
                    debugger = Some(inject(&pid, folder.path()));
                    length = "6s";
                }
                2 => words.extend(debugger.take().and_then(|debugger| withdraw(debugger, folder.path()))),
                _ => {}
            }
        }
        let mut command = Command::new(offheap());
        let ended = run_within(
            command.args(["profile", &pid, "--for", length, "--interval", "4k", "--json"]),
            Duration::from_secs(90),
        );
        match ended.code() {
            Some(0) if ended.out.contains("\"live_bytes\"") => tried.profiles += 1,
            Some(0) => words.push("a profile without sites".to_owned()),
            Some(_) => words.push(format!("ours: {:.200}", ended.reason())),
            None => tried.harm.push(format!("offheap: {:?} {}", ended.status, ended.err)),
        }
        if n == 0 && neighbour.way == Way::Later {
            let load = format!("JVMTI.agent_load {library} \"{}\"", neighbour.options);
            let mut command = Command::new(offheap());
            let ended = run_within(command.args(["jcmd", &pid, &load]), Duration::from_secs(60));
            words.push(format!("it said {:?}", ended.out.trim()));
        }
    }
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    if !library.is_empty() && !maps.contains(&library) {
        words.push("the neighbour is not there".to_owned());
    }
    match jvm.try_ask("end") {
        Some(answer) if answer.starts_with("bad 0") => {}
        answer => {
            let status = jvm.ends_within(Duration::from_secs(5));
            let err = std::fs::read_to_string(folder.path().join("err")).unwrap_or_default();
            tried
                .harm
                .push(format!("the JVM: {status:?} {answer:?} {err:.500}{}", storm::crash(folder.path())));
        }
    }
    words.sort();
    words.dedup();
    tried.seen = words.join("; ");
    tried
}
