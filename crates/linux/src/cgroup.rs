//! The memory control group of a process (Documentation/admin-guide/cgroup-v1/memory.rst,
//! cgroup-v2.rst).

use crate::Process;
use std::path::{Path, PathBuf};

/// A limit this high means none: v1 writes the largest page multiple of a signed 64-bit number.
const NO_LIMIT: u64 = 1 << 62;

/// The memory control group of a process, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// 1 or 2.
    pub version: u8,
    /// The group's path as `/proc/PID/cgroup` names it.
    pub path: String,
    /// The lowest limit of the group and its parents.
    pub limit: Option<u64>,
    /// Usage of the group that limit belongs to.
    pub limiting_usage: u64,
    /// The fewest bytes that the group or one of its parents is below its own limit: a parent with
    /// a higher limit may be nearer to it. `None` without a limit.
    pub headroom: Option<u64>,
    /// Charged to the process's own group.
    pub current: u64,
    /// Anonymous memory.
    pub anon: u64,
    /// Page cache.
    pub file: u64,
    /// Page cache that was not used lately.
    pub inactive_file: u64,
    /// Page cache that has to be written to disk before it can be dropped.
    pub dirty: u64,
    /// Shared memory and tmpfs.
    pub shmem: u64,
    /// Kernel memory.
    pub kernel: u64,
    /// Of the kernel memory, slab.
    pub slab: u64,
    /// Processes killed for memory.
    pub oom_kills: u64,
    /// Processes in the group.
    pub processes: u64,
    directory: PathBuf,
}

impl Cgroup {
    /// The memory group of `process`; `None` where there is no memory controller or its files can't
    /// be read.
    pub fn of(process: &Process) -> Option<Cgroup> {
        let membership = process.text("cgroup").ok()?;
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        let groups = parse_cgroup_file(&membership);
        let mounts = parse_mountinfo(&mountinfo);
        // A hybrid host mounts both; the memory controller is then in v1.
        groups
            .iter()
            .filter(|(version, _)| *version == 1)
            .chain(groups.iter().filter(|(version, _)| *version == 2))
            .find_map(|(version, path)| {
                let (_, root, mount) = mounts.iter().find(|(mounted, ..)| mounted == version)?;
                // Inside a container the mount shows the group itself as its root, while the path
                // is the host's.
                let inside = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path);
                let directory = Path::new(mount).join(inside.trim_start_matches('/'));
                read(*version, path, &directory, Path::new(mount))
                    .or_else(|| read(*version, path, Path::new(mount), Path::new(mount)))
            })
    }

    /// Processes killed for memory until now, also when the one this group was read for is gone;
    /// `None` where the group is gone too.
    pub fn oom_kills_now(&self) -> Option<u64> {
        let events = if self.version == 1 { "memory.oom_control" } else { "memory.events" };
        let text = std::fs::read_to_string(self.directory.join(events)).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    }

    /// Bytes that processes of the group can still take before the kernel kills: what is below the
    /// nearest limit, and the page cache that the kernel drops first, without waiting for a disk.
    /// `None` without a limit.
    pub fn until_kill(&self) -> Option<u64> {
        Some(self.headroom?.saturating_add(self.inactive_file.saturating_sub(self.dirty)))
    }
}

/// `/proc/PID/cgroup` → (version, path) of the groups that may control memory.
pub fn parse_cgroup_file(text: &str) -> Vec<(u8, String)> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let hierarchy = fields.next()?;
            let controllers = fields.next()?;
            let path = fields.next()?.to_owned();
            match (hierarchy, controllers) {
                ("0", "") => Some((2, path)),
                (_, names) if names.split(',').any(|name| name == "memory") => Some((1, path)),
                _ => None,
            }
        })
        .collect()
}

/// `/proc/self/mountinfo` → (version, root inside the hierarchy, mount point) of the mounts that
/// may show memory groups.
pub fn parse_mountinfo(text: &str) -> Vec<(u8, String, String)> {
    text.lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut left = left.split(' ').skip(3);
            let (root, point) = (left.next()?, left.next()?);
            let mut right = right.split(' ');
            let version = match right.next()? {
                "cgroup2" => 2,
                "cgroup" if right.nth(1)?.split(',').any(|option| option == "memory") => 1,
                _ => return None,
            };
            Some((version, unescape(root), unescape(point)))
        })
        .collect()
}

/// mountinfo writes blanks and backslashes in octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

fn read(version: u8, path: &str, directory: &Path, mount: &Path) -> Option<Cgroup> {
    let number = |directory: &Path, name: &str| -> Option<u64> {
        std::fs::read_to_string(directory.join(name)).ok()?.trim().parse().ok()
    };
    let (current_file, limit_file) = if version == 1 {
        ("memory.usage_in_bytes", "memory.limit_in_bytes")
    } else {
        ("memory.current", "memory.max")
    };
    let current = number(directory, current_file)?;
    let stat = std::fs::read_to_string(directory.join("memory.stat")).unwrap_or_default();
    let field = |name: &str| -> u64 {
        stat.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
            .unwrap_or(0)
    };
    let mut group = Cgroup {
        version,
        path: path.to_owned(),
        current,
        directory: directory.to_owned(),
        ..Cgroup::default()
    };
    if version == 1 {
        group.anon = field("total_rss");
        group.file = field("total_cache");
        group.inactive_file = field("total_inactive_file");
        group.dirty = field("total_dirty").saturating_add(field("total_writeback"));
        group.shmem = field("total_shmem");
        group.kernel = number(directory, "memory.kmem.usage_in_bytes").unwrap_or(0);
        group.slab = field("total_slab");
    } else {
        group.anon = field("anon");
        group.file = field("file");
        group.inactive_file = field("inactive_file");
        group.dirty = field("file_dirty").saturating_add(field("file_writeback"));
        group.shmem = field("shmem");
        group.kernel = field("kernel");
        group.slab = field("slab");
    }
    group.oom_kills = group.oom_kills_now().unwrap_or(0);
    group.processes =
        std::fs::read_to_string(directory.join("cgroup.procs")).map_or(0, |text| text.lines().count() as u64);
    // The nearest limit counts, wherever up the tree it is set.
    let mut at: PathBuf = directory.to_owned();
    loop {
        if let Some(limit) = number(&at, limit_file).filter(|limit| *limit < NO_LIMIT) {
            let usage = number(&at, current_file).unwrap_or(current);
            let left = limit.saturating_sub(usage);
            group.headroom = Some(group.headroom.map_or(left, |least| least.min(left)));
            if group.limit.is_none_or(|known| limit < known) {
                group.limit = Some(limit);
                group.limiting_usage = usage;
            }
        }
        if at == mount || !at.pop() || !at.starts_with(mount) {
            break;
        }
    }
    Some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_in_a_hybrid_host() {
        let groups = parse_cgroup_file("5:cpu,cpuacct:/x\n4:memory:/kube/pod\n0::/init.scope\n");
        assert_eq!(groups, [(1, "/kube/pod".to_owned()), (2, "/init.scope".to_owned())]);
        let mounts = parse_mountinfo(
            "31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
             33 24 0:29 /a\\040b /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
             34 24 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
        );
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[1], (1, "/a b".to_owned(), "/sys/fs/cgroup/memory".to_owned()));
    }

    #[test]
    fn the_limit_of_a_parent_counts() {
        let root = tempfile::tempdir().unwrap();
        let child = root.path().join("pod/container");
        std::fs::create_dir_all(&child).unwrap();
        let write =
            |directory: &Path, name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
        write(&child, "memory.current", "700\n");
        write(&child, "memory.max", "max\n");
        write(&child, "memory.stat", "anon 300\nfile 200\nslab 50\nkernel 90\n");
        write(&child, "memory.events", "oom 1\noom_kill 3\n");
        write(&child, "cgroup.procs", "1\n2\n");
        write(&root.path().join("pod"), "memory.max", "1000\n");
        write(&root.path().join("pod"), "memory.current", "900\n");
        let group = read(2, "/pod/container", &child, root.path()).unwrap();
        assert_eq!((group.limit, group.headroom, group.current), (Some(1000), Some(100), 700));
        assert_eq!((group.anon, group.file, group.kernel, group.slab), (300, 200, 90, 50));
        assert_eq!((group.oom_kills, group.processes), (3, 2));
    }

    #[test]
    fn the_parent_that_is_nearest_to_its_limit_counts() {
        let root = tempfile::tempdir().unwrap();
        let child = root.path().join("pod/container");
        std::fs::create_dir_all(&child).unwrap();
        let pod = root.path().join("pod");
        for (directory, usage, limit) in [(&child, "400\n", "1000\n"), (&pod, "1990\n", "2000\n")] {
            std::fs::write(directory.join("memory.usage_in_bytes"), usage).unwrap();
            std::fs::write(directory.join("memory.limit_in_bytes"), limit).unwrap();
        }
        std::fs::write(
            child.join("memory.stat"),
            "total_inactive_file 70\ntotal_dirty 20\ntotal_writeback 10\n",
        )
        .unwrap();
        let group = read(1, "/pod/container", &child, root.path()).unwrap();
        assert_eq!((group.limit, group.limiting_usage), (Some(1000), 400));
        assert_eq!((group.headroom, group.until_kill()), (Some(10), Some(50)));
    }

    #[test]
    fn this_process_has_the_group_the_kernel_says() {
        let process = Process::open(std::process::id() as i32).unwrap();
        if let Some(group) = Cgroup::of(&process) {
            assert!(group.current > 0 && group.processes > 0, "{group:?}");
        }
    }
}
