//! Whether there is room for the agent, and for offheap itself, below the limit at which the kernel
//! kills.

use anyhow::bail;
use offheap_linux::{Cgroup, Process};
use offheap_live::{DEFAULT_FILE_BYTES, MIN_FILE_BYTES};
use offheap_model::units::bytes;

/// What loading the agent takes beside its live file: the JVM's attach thread, the library, its
/// tables, copied unwind tables (measured below 3 MiB on JDK 11 to 25), and what the program itself
/// takes meanwhile.
const BESIDE: u64 = 8 << 20;
/// The live file takes at most this part of what is left.
const PART: u64 = 8;

/// What offheap itself takes while it looks at a small process (its own memory, and page tables;
/// measured: killed in 5 of 5 looks where 16 MiB were left, in none of 3 `diagnose` where 32 MiB
/// were). It counts against the limit of the process that is looked at where offheap runs in the
/// same control group, as in `docker exec` and `kubectl exec`.
const OWN: u64 = 24 << 20;
/// What it takes above that where it reads the agent's live file and looks up symbols.
const OWN_WITH_AGENT: u64 = 48 << 20;
/// Two looks at the usage of one group differ by less.
const MEANWHILE: u64 = 1 << 20;

/// Whether there is room for offheap itself.
///
/// # Errors
/// It could get itself killed, and all of the group with it where the group is killed as one
/// (`memory.oom.group`).
pub fn for_offheap() -> anyhow::Result<()> {
    match own_group().and_then(|group| group.until_kill()) {
        Some(left) if left < OWN => bail!(
            "only {} of memory are left until the kernel kills in the control group that offheap itself runs in, and it needs \
             {}: start it from outside of the container, on the node or by kubectl debug, or raise the limit first",
            bytes(left),
            bytes(OWN)
        ),
        _ => Ok(()),
    }
}

fn own_group() -> Option<Cgroup> {
    Cgroup::of(&Process::open(std::process::id().try_into().ok()?).ok()?)
}

/// Bytes for the live file in `process`, less than usual where little memory is left: the file lies
/// in memory and counts against the limit.
///
/// # Errors
/// There is no room: loading the agent could get the process killed.
pub fn for_agent(process: &Process) -> anyhow::Result<u64> {
    let group = Cgroup::of(process);
    let until_kill = group.as_ref().and_then(Cgroup::until_kill);
    let own = match (&group, own_group()) {
        (Some(group), Some(own)) if is_same(group, &own) => OWN_WITH_AGENT,
        _ => 0,
    };
    let left = [until_kill.map(|left| left.saturating_sub(own)), available()].into_iter().flatten().min();
    let Some(size) = size(left) else {
        bail!(
            "only {} of memory are left until the kernel kills in process {}'s control group (or on this host), and {} needs \
             {}: loading it could get the process killed. offheap diagnose --no-agent and offheap map do without it; or {}raise \
             the limit first",
            bytes(until_kill.into_iter().chain(available()).min().unwrap_or(0)),
            process.pid(),
            if own > 0 { "the agent, with offheap in the same group," } else { "the agent" },
            bytes(MIN_FILE_BYTES + BESIDE + own),
            if own > 0 { "start offheap from outside of the container, or " } else { "" },
        );
    };
    Ok(size)
}

/// Whether the same limit is nearest for both.
fn is_same(one: &Cgroup, other: &Cgroup) -> bool {
    one.limit == other.limit
        && one.headroom.zip(other.headroom).is_some_and(|(one, other)| one.abs_diff(other) < MEANWHILE)
}

/// The size of the live file where `left` bytes are left; `None` where there is no room for any.
fn size(left: Option<u64>) -> Option<u64> {
    let Some(left) = left else { return Some(DEFAULT_FILE_BYTES) };
    let mut size = DEFAULT_FILE_BYTES;
    while size > left / PART && size > MIN_FILE_BYTES {
        size /= 2;
    }
    (size + BESIDE <= left).then_some(size)
}

/// `MemAvailable` of this host, in bytes: what can be had without swapping
/// (Documentation/filesystems/proc.rst).
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse().ok())?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_file_is_smaller_where_memory_is_short_and_none_is_made_near_the_limit() {
        assert_eq!(size(None), Some(32 << 20), "no limit");
        assert_eq!(size(Some(512 << 20)), Some(32 << 20));
        assert_eq!(size(Some(100 << 20)), Some(8 << 20));
        assert_eq!(size(Some(16 << 20)), Some(4 << 20));
        assert_eq!(size(Some(12 << 20)), Some(4 << 20));
        assert_eq!(size(Some((12 << 20) - 1)), None);
        assert_eq!(size(Some(0)), None);
        let group = |limit: u64, headroom: u64| {
            let mut group = Cgroup::default();
            (group.limit, group.headroom) = (Some(limit), Some(headroom));
            group
        };
        assert!(is_same(&group(256 << 20, 30 << 20), &group(256 << 20, (31 << 20) - 1)));
        assert!(!is_same(&group(256 << 20, 30 << 20), &group(512 << 20, 30 << 20)));
        assert!(!is_same(&group(256 << 20, 30 << 20), &group(256 << 20, 100 << 20)));
        assert!(!is_same(&Cgroup::default(), &Cgroup::default()), "no limit");
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
