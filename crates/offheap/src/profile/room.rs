//! Whether there is room for the agent below the limit at which the kernel kills.

use anyhow::bail;
use offheap_linux::{Cgroup, Process};
use offheap_live::{DEFAULT_FILE_BYTES, MIN_FILE_BYTES};
use offheap_model::units::bytes;

/// What loading the agent takes beside its live file: the JVM's attach thread, the library, its tables, copied unwind tables
/// (measured below 3 MiB on JDK 11 to 25), and what the program itself takes meanwhile.
const BESIDE: u64 = 8 << 20;
/// The live file takes at most this part of what is left.
const PART: u64 = 8;

/// Bytes for the live file in `process`, less than usual where little memory is left: the file lies in memory and counts
/// against the limit.
///
/// # Errors
/// There is no room: loading the agent could get the process killed.
pub fn file_bytes(process: &Process) -> anyhow::Result<u64> {
    let group = Cgroup::of(process).and_then(|group| group.until_kill());
    let left = [group, available()].into_iter().flatten().min();
    let Some(size) = size(left) else {
        bail!(
            "only {} of memory are left until the kernel kills in process {}'s control group (or on this host), and the agent \
             needs {}: loading it could get the process killed. offheap diagnose --no-agent and offheap map do without it; \
             or raise the limit first",
            bytes(left.unwrap_or(0)),
            process.pid(),
            bytes(MIN_FILE_BYTES + BESIDE)
        );
    };
    Ok(size)
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

/// `MemAvailable` of this host, in bytes: what can be had without swapping (Documentation/filesystems/proc.rst).
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
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
