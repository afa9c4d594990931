//! Which devices are `hugetlbfs`: its pages are in nobody's RSS, and nothing in `/proc/PID/maps`
//! says what is on it.

use crate::Process;
use rustix::fs::MemfdFlags;

/// Huge pages of a size have a file system of the kernel's own each, and those that are mounted.
pub(crate) fn devices(process: &Process) -> Vec<(u32, u32)> {
    let mounts = process.text("mountinfo").unwrap_or_default();
    let mut devices: Vec<(u32, u32)> = mounts.lines().filter_map(mounted).collect();
    devices.extend(page_sizes().into_iter().filter_map(kernels_own));
    devices
}

/// proc_pid_mountinfo(5): `36 35 0:49 / /dev/hugepages rw - hugetlbfs …`.
fn mounted(line: &str) -> Option<(u32, u32)> {
    let (mount, what) = line.split_once(" - ")?;
    let (major, minor) = mount.split(' ').nth(2)?.split_once(':')?;
    what.starts_with("hugetlbfs ").then_some((major.parse().ok()?, minor.parse().ok()?))
}

/// Sizes of huge pages in bytes (Documentation/admin-guide/mm/hugetlbpage.rst).
fn page_sizes() -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let size = |name: &str| name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok();
    entries.filter_map(|entry| Some(size(entry.ok()?.file_name().to_str()?)? << 10)).collect()
}

/// The device that an empty file of such pages is on: that of `MAP_HUGETLB`, `SHM_HUGETLB` and
/// `MFD_HUGETLB`.
fn kernels_own(page_size: u64) -> Option<(u32, u32)> {
    let size = MemfdFlags::from_bits_retain(page_size.trailing_zeros() << 26);
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB | size;
    let file = rustix::fs::memfd_create("offheap", flags).ok()?;
    let device = rustix::fs::fstat(&file).ok()?.st_dev;
    Some((rustix::fs::major(device), rustix::fs::minor(device)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_of_hugetlbfs_count() {
        assert_eq!(
            mounted("36 35 0:49 / /dev/hugepages rw,relatime shared:2 - hugetlbfs hugetlbfs rw,pagesize=2M"),
            Some((0, 49))
        );
        assert_eq!(mounted("25 30 0:23 / /dev/shm rw - tmpfs tmpfs rw"), None);
        assert_eq!(mounted("damaged"), None);
    }
}
