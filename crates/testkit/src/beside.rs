//! Others that change a process as the agent does, in the same JVM: allocators, profilers, an
//! auditor, an older agent. Loaded before ours and after it, both work and nobody is harmed.

use crate::{Jdk, build_harm, offheap, run_within, storm};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How a neighbour comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// LD_PRELOAD, from the JVM's begin.
    Preload,
    /// LD_AUDIT, from the JVM's begin.
    Audit,
    /// -agentpath, from the JVM's begin.
    AgentPath,
    /// JVMTI.agent_load, when ours is at work.
    Later,
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
}

impl Neighbour {
    /// Whether it comes before ours or after it.
    pub fn order(&self) -> &'static str {
        match self.way {
            Way::Preload => "before ours (LD_PRELOAD)",
            Way::Audit => "before ours (LD_AUDIT)",
            Way::AgentPath => "before ours (-agentpath)",
            Way::Later => "after ours (JVMTI.agent_load)",
        }
    }
}

/// Those that are on this machine.
pub fn neighbours() -> Vec<Neighbour> {
    let mut all = vec![Neighbour {
        name: "nobody",
        library: PathBuf::new(),
        way: Way::Preload,
        options: String::new(),
    }];
    let of_debian = [
        ("jemalloc 5.3", "libjemalloc.so.2"),
        ("tcmalloc 2.10", "libtcmalloc_minimal.so.4"),
        ("mimalloc 2.0", "libmimalloc.so.2"),
        ("heaptrack 1.4", "heaptrack/libheaptrack_preload.so"),
    ];
    for (name, file) in of_debian {
        let found = ["/usr/lib", "/usr/lib/x86_64-linux-gnu"].map(|folder| Path::new(folder).join(file));
        let Some(library) = found.into_iter().find(|path| path.exists()) else {
            eprintln!("NOT TRIED: {name}: it is not installed");
            continue;
        };
        all.push(Neighbour { name, library, way: Way::Preload, options: String::new() });
    }
    let audit = build_harm("audit", &["targets/audit.c"], &["-shared"]);
    all.push(Neighbour { name: "an auditor", library: audit, way: Way::Audit, options: String::new() });
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
            all.push(Neighbour { name, library: library.clone(), way, options: options.to_owned() });
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
        Way::Later => (vec![], vec![]),
    };
    let flags = [&["-XX:+UseSerialGC"][..], &flags].concat();
    let mut jvm = storm::start_with(jdk, &flags, KINDS, &variables, folder.path());
    let pid = jvm.pid().to_string();
    let mut words: Vec<String> = Vec::new();
    for n in 0..profiles {
        let mut command = Command::new(offheap());
        let ended = run_within(
            command.args(["profile", &pid, "--for", "500ms", "--interval", "4k", "--json"]),
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
