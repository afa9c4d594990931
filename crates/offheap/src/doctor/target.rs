//! One process: what may be read of it, what it is, whether it can be attached to and load the
//! agent.

use super::host::{CAP_SYS_ADMIN, CAP_SYS_PTRACE, has, ptrace_scope, seccomp};
use super::{Ability, Check};
use crate::profile;
use offheap_attach::{AttachError, Prospects, library_ways, prospects};
use offheap_collect::{Collector, Effort};
use offheap_linux::foreign::{self, Expect};
use offheap_linux::{Cgroup, Elf, Process, Vma, user_name};
use offheap_model::Snapshot;
use offheap_model::units::bytes;
use std::io::Read;
use std::os::unix::fs::FileExt;

/// Bytes of libc that are searched for its version.
const LIBC_LIMIT: u64 = 8 << 20;
/// The oldest glibc that the agent can be loaded into.
const OLDEST_GLIBC: (u32, u32) = (2, 17);

/// A target that was looked at.
#[derive(Debug)]
pub struct Examined {
    /// What was found.
    pub checks: Vec<Check>,
    /// It is a JVM that HotSpot's attach is known of.
    pub is_jvm: bool,
    /// What it is, where it could be read.
    pub account: Option<Snapshot>,
}

/// Looks at the process `pid`. Nothing is sent to it and nothing written.
pub fn target(pid: i32, verb_target: &str) -> Examined {
    let mut examined = Examined { checks: Vec::new(), is_jvm: false, account: None };
    let process = match Process::open(pid) {
        Ok(process) => process,
        Err(error) => {
            let all = [Ability::Account, Ability::Attach, Ability::Profile];
            examined.checks.push(Check::problem("process", error.to_string(), &all).fix("offheap ps"));
            return examined;
        }
    };
    let readable = rights(&process, verb_target, &mut examined.checks);
    namespaces(&process, &mut examined.checks);
    examined.checks.push(seccomp(&pid.to_string(), "the target"));
    if !readable {
        return examined;
    }
    let vmas = process.maps().unwrap_or_default();
    account(&process, &mut examined);
    libc(&process, &vmas, &mut examined.checks);
    allocator(&vmas, &mut examined.checks);
    cgroup(&process, &vmas, &mut examined.checks);
    match prospects(pid.unsigned_abs()) {
        Ok(found) => {
            examined.is_jvm = found.hotspot;
            jvm(&process, &vmas, &found, &mut examined.checks);
        }
        Err(error) => examined.checks.push(refused("attach", &error)),
    }
    examined
}

fn refused(id: &'static str, error: &AttachError) -> Check {
    Check::problem(id, error.to_string(), &[Ability::Attach, Ability::Profile])
}

/// Tries what the account reads; whether it can.
fn rights(process: &Process, verb_target: &str, checks: &mut Vec<Check>) -> bool {
    let pid = process.pid();
    let mut denied = Vec::new();
    for name in ["maps", "smaps", "pagemap"] {
        // smaps opens for everybody who may read maps; what counts is reading.
        let read = process.file(name).map(|mut file| file.read(&mut [0; 64]).is_ok());
        if !read.unwrap_or(false) {
            denied.push(name);
        }
    }
    let vmas = process.maps().unwrap_or_default();
    let probe = vmas.iter().find(|vma| vma.exec && vma.is_file());
    let memory = process.file("mem").ok().filter(|memory| {
        probe.is_none_or(|vma| memory.read_at(&mut [0; 8], vma.start).is_ok_and(|count| count > 0))
    });
    if memory.is_none() {
        denied.push("mem");
    }
    let euid = process.status().map(|status| status.euid).ok();
    let owner = euid.map_or_else(|| "another user".to_owned(), |uid| format!("{} ({uid})", user_name(uid)));
    if denied.is_empty() {
        checks.push(Check::ok(
            "rights",
            format!("the process of {owner} may be looked into: {}", "maps, smaps, pagemap, mem"),
        ));
        let mapped =
            vmas.iter().find(|vma| vma.exec && vma.is_file()).map(|vma| process.holds_mapped_files(vma));
        checks.push(if mapped == Some(true) {
            Check::ok("map-files", "mapped files can be opened also where they were replaced or deleted")
        } else {
            Check::note(
                "map-files",
                "mapped files can be opened by their path only: where a library was replaced on disk since the start \
                 (an update), its symbols are not known; that takes SYS_ADMIN or CHECKPOINT_RESTORE",
            )
            .fix(format!("sudo offheap map {verb_target}"))
        });
        return true;
    }
    let own = rustix::process::geteuid().as_raw();
    let why = match euid {
        _ if has(CAP_SYS_PTRACE) => {
            "though offheap has SYS_PTRACE: the target is of an outer user namespace, or a security \
                                     module (SELinux, AppArmor, seccomp) forbids it"
                .to_owned()
        }
        Some(uid) if uid != own => {
            format!("it belongs to {owner}, and offheap runs as {} ({own})", user_name(own))
        }
        _ if ptrace_scope().is_some_and(|scope| scope > 0) => {
            "Yama's ptrace_scope forbids it without SYS_PTRACE".to_owned()
        }
        _ => "it has more rights than offheap, or is marked as not dumpable".to_owned(),
    };
    let fix = match euid {
        Some(uid) if uid != own && uid != 0 && !has(CAP_SYS_ADMIN) => {
            format!("sudo -u {} offheap map {pid}   (or: sudo offheap map {pid})", user_name(uid))
        }
        _ => format!("sudo offheap map {pid}   (in a container: add the capability SYS_PTRACE)"),
    };
    let all = [Ability::Account, Ability::Attach, Ability::Profile];
    checks
        .push(Check::problem("rights", format!("{} can't be read: {why}", denied.join(", ")), &all).fix(fix));
    false
}

fn namespaces(process: &Process, checks: &mut Vec<Check>) {
    let differ: Vec<&str> = ["pid", "mnt", "user"]
        .into_iter()
        .filter(|kind| {
            let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).ok();
            let its = process.link(&format!("ns/{kind}")).ok();
            matches!((own, its), (Some(own), Some(its)) if own.to_string_lossy() != its)
        })
        .collect();
    let inner = process.status().map_or(process.pid(), |status| status.inner_pid());
    checks.push(if differ.is_empty() {
        Check::ok("namespaces", "the target shares our namespaces")
    } else {
        let pid =
            if inner == process.pid() { String::new() } else { format!("; it knows itself as pid {inner}") };
        Check::ok(
            "namespaces",
            format!(
                "the target has its own {} namespace (a container), which offheap reaches into{pid}",
                differ.join(", ")
            ),
        )
    });
}

/// Takes an account: the proof that it works.
fn account(process: &Process, examined: &mut Examined) {
    let taken = Collector::open(process.pid()).and_then(|mut collector| collector.snapshot(Effort::ACCOUNT));
    examined.checks.push(match taken {
        Ok(account) => {
            let rss = account.memory.rss_bytes;
            let check = Check::ok("account", format!("an account was taken: RSS {}", bytes(rss)));
            examined.account = Some(account);
            check
        }
        Err(error) => Check::problem("account", error.to_string(), &[Ability::Account]),
    });
}

fn base(vma: &Vma) -> &str {
    vma.path.rsplit('/').next().unwrap_or_default()
}

/// The C library: the agent knows glibc.
fn libc(process: &Process, vmas: &[Vma], checks: &mut Vec<Check>) {
    let blocked = [Ability::Profile];
    let agentless = "offheap map and diagnose work without the agent";
    if let Some(vma) =
        vmas.iter().find(|vma| base(vma).starts_with("ld-musl") || base(vma).starts_with("libc.musl"))
    {
        let text = format!("the C library is musl ({}), which the agent does not know", vma.path);
        checks.push(Check::problem("libc", text, &blocked).fix(agentless));
        return;
    }
    let is_glibc = |vma: &&Vma| {
        base(vma) == "libc.so.6" || (base(vma).starts_with("libc-2.") && base(vma).ends_with(".so"))
    };
    let Some(vma) = vmas.iter().find(is_glibc) else {
        let text = "no C library is mapped: a statically linked program, into which no agent can be loaded";
        checks.push(Check::problem("libc", text, &blocked).fix(agentless));
        return;
    };
    checks.push(match glibc_version(process, vma) {
        Some(version) if version < OLDEST_GLIBC => {
            let text = format!("glibc {}.{} is older than 2.17, which the agent needs", version.0, version.1);
            Check::problem("libc", text, &blocked).fix(agentless)
        }
        Some((major, minor)) => Check::ok("libc", format!("glibc {major}.{minor}")),
        None => Check::note("libc", format!("glibc ({}), of a version that can't be told", vma.path)),
    });
}

/// From the words that glibc says when it is run (csu/version.c): "GNU C Library (…) stable release
/// version 2.36."
fn glibc_version(process: &Process, vma: &Vma) -> Option<(u32, u32)> {
    let file = process.mapped_file(vma, &Expect::LIBRARY).ok()?;
    let bytes = foreign::read(file, LIBC_LIMIT).ok()?;
    let place = bytes.windows(14).position(|window| window == b"GNU C Library ")?;
    let words = String::from_utf8_lossy(bytes.get(place..place + 200)?).into_owned();
    let version = words.split_once(" version ")?.1;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|word| word.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn allocator(vmas: &[Vma], checks: &mut Vec<Check>) {
    let known = ["jemalloc", "tcmalloc", "mimalloc", "rpmalloc", "snmalloc"];
    let found = known.iter().find(|name| vmas.iter().any(|vma| base(vma).contains(*name)));
    checks.push(match found {
        Some(name) => Check::note(
            "allocator",
            format!(
                "malloc is {name}'s: the account can't look into it (glibc's only); the agent works over it"
            ),
        ),
        None => Check::ok("allocator", "malloc is glibc's, or the executable's own"),
    });
}

/// Room below the limit at which the kernel kills: the agent takes some.
fn cgroup(process: &Process, vmas: &[Vma], checks: &mut Vec<Check>) {
    if vmas.iter().any(|vma| base(vma) == "libjvm.so")
        && let Err(no_room) = crate::room::for_agent(process)
    {
        let check = Check::problem("room", no_room.to_string(), &[Ability::Profile]);
        checks.push(check.fix(format!("offheap diagnose --no-agent {}", process.pid())));
    }

    let Some(group) = Cgroup::of(process) else {
        checks.push(Check::note(
            "cgroup",
            "no memory group, or one whose files are not mounted here: limits are not known",
        ));
        return;
    };
    checks.push(match (group.limit, group.headroom) {
        (Some(limit), Some(left)) => {
            Check::ok("cgroup", format!("the memory limit is {}, {} are left", bytes(limit), bytes(left)))
        }
        _ => Check::ok("cgroup", "no memory limit"),
    });
}

fn jvm(process: &Process, vmas: &[Vma], found: &Prospects, checks: &mut Vec<Check>) {
    let attach = [Ability::Attach, Ability::Profile];
    if !found.hotspot {
        let what = if found.openj9 { "the JVM is OpenJ9" } else { "the target is no JVM" };
        checks.push(
            Check::problem(
                "jvm",
                format!("{what}: only HotSpot takes commands and agents while it runs"),
                &[Ability::Attach],
            )
            .fix("offheap map, diagnose and profile work all the same"),
        );
        checks.push(match offheap_probe::Sampler::start(process.pid()) {
            Ok(_) => Check::ok(
                "probes",
                "its malloc can be probed: diagnose and profile name the code without an agent (record --profile needs one)",
            ),
            Err(error) => {
                Check::problem("probes", format!("its malloc can't be probed: {error}"), &[Ability::Profile])
                    .fix("offheap run -- COMMAND starts it with the agent")
            }
        });
        return;
    }
    symbols(process, vmas, checks);
    let arguments = process.arguments().unwrap_or_default();
    let has_flag = |flag: &str| arguments.iter().any(|argument| argument == flag);
    checks.push(if found.enabled == Some(false) || has_flag("-XX:+DisableAttachMechanism") {
        Check::problem("attach", "the JVM was started with -XX:+DisableAttachMechanism", &attach)
            .fix("restart it without that flag; for the code also: offheap run -- java …")
    } else if found.stopped {
        Check::problem("attach", "the process is stopped", &attach).fix(format!("kill -CONT {}", process.pid()))
    } else if !found.may_act_as_user {
        let text = format!("commands are given as the JVM's own user, {} ({})", user_name(found.user.0), found.user.0);
        let fix = format!("sudo -u {} offheap jcmd {}", user_name(found.user.0), process.pid());
        Check::problem("attach", text, &attach).fix(fix)
    } else if found.listening {
        Check::ok("attach", "the JVM listens for commands")
    } else if !found.handles_sigquit {
        let text = "the JVM does not handle SIGQUIT (-Xrs), and its socket is gone: asking it to listen would kill it";
        Check::problem("attach", text, &attach).fix("restart it without -Xrs")
    } else {
        Check::ok("attach", "the JVM can be asked to listen for commands")
    });
    checks.push(if has_flag("-XX:-EnableDynamicAgentLoading") {
        Check::problem(
            "agents",
            "the JVM takes no agents while it runs (-XX:-EnableDynamicAgentLoading)",
            &[Ability::Profile],
        )
        .fix("restart it without that flag, or: offheap run -- java …")
    } else {
        Check::ok(
            "agents",
            "the JVM takes agents (JDK 21 and later print a warning, see docs/which-code-allocates.md)",
        )
    });
    tmp(found, process.pid(), checks);
}

/// Whether libjvm's tables can be read: the account of a JVM needs them.
fn symbols(process: &Process, vmas: &[Vma], checks: &mut Vec<Check>) {
    let Some(vma) = vmas.iter().find(|vma| base(vma) == "libjvm.so") else { return };
    let file = process.mapped_file(vma, &Expect::LIBRARY);
    let elf = file.ok().and_then(|file| Elf::parse_wanted(file, |name| name.starts_with("gHotSpotVM")).ok());
    checks.push(match elf {
        None => Check::note("libjvm", format!("{} can't be read: the JVM's own memory stays unlabelled", vma.path))
            .fix("run offheap as root"),
        Some(elf) if elf.symbol("gHotSpotVMStructs").is_none() => {
            Check::note("libjvm", "libjvm has no vmStructs: the JVM's own memory stays unlabelled")
        }
        Some(elf) if elf.section(".symtab").is_none() => Check::note(
            "libjvm",
            "libjvm has its vmStructs, but no symbol table: JVM frames are named by exported functions only, and NMT's \
             counters can't be read from outside",
        )
        .fix("install the JDK's debug symbols (Debian: openjdk-NN-dbg)"),
        Some(_) => Check::ok("libjvm", "libjvm's vmStructs and symbol table can be read"),
    });
}

fn tmp(found: &Prospects, pid: i32, checks: &mut Vec<Check>) {
    let attach = [Ability::Attach, Ability::Profile];
    // A JVM that listens already has no use for /tmp.
    let blocked = if found.listening { &[][..] } else { &attach[..] };
    let tmp = match &found.tmp {
        Ok(tmp) => tmp,
        Err(error) => return checks.push(Check::problem("tmp", error.to_string(), blocked)),
    };
    let mount = format!("nsenter -t {pid} -m mount -o remount");
    let run = "or: offheap run -- COMMAND";
    checks.push(if tmp.read_only {
        Check::problem("tmp", "the target's /tmp is read-only: the JVM's socket can't be put there", blocked)
            .fix(format!("{mount},rw /tmp   (in a container: mount an emptyDir or tmpfs at /tmp)"))
    } else if tmp.writable == Some(false) {
        Check::problem("tmp", "the target's user may not write to its /tmp", blocked)
            .fix(format!("chmod 1777 /proc/{pid}/root/tmp"))
    } else if tmp.no_inodes {
        Check::problem("tmp", "the target's /tmp has no free inode", blocked).fix("remove files there")
    } else if tmp.free_bytes == 0 {
        Check::problem("tmp", "the target's /tmp is full", blocked)
            .fix(format!("remove files below /proc/{pid}/root/tmp   ({run})"))
    } else {
        Check::ok("tmp", "the target's /tmp is writable and has room")
    });
    checks.extend(library(pid));
}

/// Where the agent's library can be put: not where it can't be loaded from, nor where somebody else
/// could exchange it.
fn library(pid: i32) -> Option<Check> {
    let ways = library_ways(pid.unsigned_abs(), profile::agent_bytes()).ok()?;
    let (open, shut): (Vec<_>, Vec<_>) = ways.iter().partition(|way| way.unfit.is_none());
    let shut: Vec<String> = shut.iter().map(|way| way.to_string()).collect();
    Some(match open.first() {
        Some(way) if shut.is_empty() => Check::ok(
            "library",
            format!("the agent can be loaded from {}, where nobody can exchange it", way.place()),
        ),
        Some(way) => Check::note(
            "library",
            format!("the agent can be loaded from {} only, not from {}", way.place(), shut.join("; ")),
        ),
        None => {
            let text = format!("there is no place to load the agent from: {}", shut.join("; "));
            let remedy = ways.iter().find_map(|way| way.remedy(pid.unsigned_abs()));
            let remedy = remedy.map_or_else(String::new, |remedy| format!("{remedy}   (or: "));
            let end = if remedy.is_empty() { "" } else { ")" };
            Check::problem("library", text, &[Ability::Profile])
                .fix(format!("{remedy}offheap run -- COMMAND{end}"))
        }
    })
}
