//! This machine and this process: rights, Yama, seccomp, namespaces.

use super::{Ability, Check};
use crate::profile;
use offheap_linux::{folder, foreign, proc_hides_others, user_name};
use rustix::fs::{StatVfsMountFlags, statvfs};
use std::fs;

/// Inode of the initial pid namespace (include/linux/proc_ns.h, PROC_PID_INIT_INO).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Capabilities that matter, by their bit (include/uapi/linux/capability.h).
pub const CAP_SYS_PTRACE: u32 = 19;
pub const CAP_SYS_ADMIN: u32 = 21;
const CAP_CHECKPOINT_RESTORE: u32 = 40;
const CAPABILITIES: [(u32, &str); 5] = [
    (CAP_SYS_PTRACE, "SYS_PTRACE"),
    (CAP_SYS_ADMIN, "SYS_ADMIN"),
    (CAP_CHECKPOINT_RESTORE, "CHECKPOINT_RESTORE"),
    (6, "SETGID"),
    (7, "SETUID"),
];

/// The checks that need no target.
pub fn host() -> Vec<Check> {
    let mut checks = vec![user(), kernel(), yama(), seccomp("self", "offheap"), namespace()];
    checks.extend(hidepid());
    checks.extend(openat2());
    checks.extend([agent(), folder(), perf()]);
    checks
}

/// Effective capabilities of `/proc/WHO`, a bit each.
pub fn capabilities(who: &str) -> u64 {
    status_field(who, "CapEff:").and_then(|text| u64::from_str_radix(&text, 16).ok()).unwrap_or(0)
}

/// Whether this process has the capability.
pub fn has(capability: u32) -> bool {
    capabilities("self") & (1 << capability) != 0
}

/// A field of `/proc/WHO/status`.
pub fn status_field(who: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{who}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned())
}

fn user() -> Check {
    let uid = rustix::process::geteuid().as_raw();
    let held: Vec<&str> = CAPABILITIES.iter().filter(|(bit, _)| has(*bit)).map(|(_, name)| *name).collect();
    let held = if held.is_empty() { "none that matter".to_owned() } else { held.join(", ") };
    Check::ok("user", format!("offheap runs as {} ({uid}), capabilities: {held}", user_name(uid)))
}

fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut numbers = release.split(['.', '-']).map(|word| word.parse::<u32>().unwrap_or(0));
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= (4, 14) => {
            Check::ok("kernel", format!("Linux {release}"))
        }
        // MADV_WIPEONFORK and smaps_rollup.
        _ => {
            Check::note("kernel", format!("Linux {release}: older than 4.14, which offheap is not tested on"))
        }
    }
}

/// Yama's restriction of ptrace (Documentation/admin-guide/LSM/Yama.rst).
fn yama() -> Check {
    match ptrace_scope() {
        None => Check::ok("yama", "Yama does not restrict who may look into processes"),
        Some(0) => Check::ok("yama", "Yama's ptrace_scope is 0: any process of one's own user may be looked into"),
        Some(scope) if has(CAP_SYS_PTRACE) && scope < 3 => {
            Check::ok("yama", format!("Yama's ptrace_scope is {scope}, which SYS_PTRACE overrules"))
        }
        Some(3) => Check::problem(
            "yama",
            "Yama's ptrace_scope is 3: nobody may look into another process until the next boot",
            &[Ability::Account, Ability::Attach, Ability::Profile],
        )
        .fix("set kernel.yama.ptrace_scope to 1 in /etc/sysctl.d and reboot; until then: offheap run -- COMMAND"),
        Some(scope) => Check::note(
            "yama",
            format!("Yama's ptrace_scope is {scope}: one may look into one's own children only"),
        )
        .fix("sudo offheap …   (or: sudo sysctl kernel.yama.ptrace_scope=0)"),
    }
}

/// `kernel.yama.ptrace_scope`; `None` without Yama.
pub fn ptrace_scope() -> Option<u32> {
    fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok()?.trim().parse().ok()
}

/// The system-call filter of `/proc/WHO`.
pub fn seccomp(who: &str, name: &str) -> Check {
    let id = if who == "self" { "seccomp" } else { "target-seccomp" };
    match status_field(who, "Seccomp:").as_deref() {
        Some("0") | None => Check::ok(id, format!("{name} runs without a seccomp filter")),
        Some(mode) => {
            let what = if mode == "1" { "in seccomp's strict mode" } else { "with a seccomp filter" };
            let text = format!(
                "{name} runs {what}, which may forbid calls; the checks below have tried what matters"
            );
            let check = Check::note(id, text);
            // What the filter says can't be read without CAP_SYS_ADMIN and a stop.
            if id == "seccomp" {
                check
            } else {
                check.fix(format!("offheap diagnose --no-agent {who}   looks from outside only"))
            }
        }
    }
}

fn namespace() -> Check {
    match fs::read_link("/proc/self/ns/pid") {
        Ok(link) if link.as_os_str() == FIRST_PID_NAMESPACE => {
            Check::ok("namespace", "offheap runs in the host's pid namespace and sees every process")
        }
        Ok(_) => Check::note(
            "namespace",
            "offheap runs in a pid namespace of its own (a container): it sees the processes of that one only",
        )
        .fix(
            "to see another container's: docker run --pid=container:NAME --cap-add=SYS_PTRACE …, or kubectl debug POD \
             --target=CONTAINER --profile=sysadmin --image=…, or shareProcessNamespace: true for a sidecar, or run it on \
             the host",
        ),
        Err(error) => Check::note("namespace", format!("the pid namespace can't be told: {error}")),
    }
}

/// `/proc` that hides what other users run.
fn hidepid() -> Option<Check> {
    (proc_hides_others() && !has(CAP_SYS_PTRACE)).then(|| {
        Check::note("hidepid", "/proc is mounted with hidepid: other users' processes can't be seen")
            .fix("sudo offheap …   (or: sudo mount -o remount,hidepid=0 /proc)")
    })
}

/// Only where the kernel lacks it, or a sandbox forbids it.
fn openat2() -> Option<Check> {
    (!foreign::has_openat2()).then(|| {
        Check::note(
            "openat2",
            "the system call openat2 can't be used (Linux before 5.6, or a seccomp filter): files of a target are opened part \
             by part, which is slower",
        )
    })
}

fn agent() -> Check {
    if profile::has_agent() {
        return Check::ok("agent", "this offheap carries its agent (x86-64, glibc 2.17 or later)");
    }
    let blocked = [Ability::Profile, Ability::Run];
    Check::problem("agent", "this offheap was built without its agent, which knows x86-64 only", &blocked)
}

/// Where `run` puts the agent.
fn folder() -> Check {
    let folder = std::env::temp_dir();
    let shown = folder.display();
    let elsewhere = |why: String| {
        Check::note("tmpdir", format!("{why}: offheap run looks for another folder"))
            .fix("TMPDIR=/a/folder/of/your/own offheap run -- COMMAND")
    };
    if statvfs(&folder).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::NOEXEC)) {
        return elsewhere(format!("{shown} is mounted noexec"));
    }
    if let Err(unguarded) = folder::guarded_here(&folder) {
        return elsewhere(format!("{shown} can't hold the agent ({unguarded})"));
    }
    let writable = rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK).is_ok();
    if writable {
        Check::ok("tmpdir", format!("{shown} can hold the agent for offheap run"))
    } else {
        Check::problem("tmpdir", format!("{shown} can't be written to"), &[Ability::Run])
            .fix("TMPDIR=/a/folder/of/your/own offheap run -- COMMAND")
    }
}

fn perf() -> Check {
    let level = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok();
    let level =
        level.map_or_else(|| "there is none".to_owned(), |text| format!("paranoid level {}", text.trim()));
    Check::ok("perf", format!("perf_event ({level}) is not needed: offheap doesn't use it"))
}
