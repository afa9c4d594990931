//! # The container is full of page cache
//!
//! ## Signature
//! Page cache is a third or more of the control group's limit, and the group is within a tenth of
//! its limit, while the process itself does not account for it.
//!
//! ## Why
//! Reading and writing files fills the page cache, which is charged to the control group but
//! belongs to no process. The kernel drops clean pages before it kills, so dashboards that show
//! `memory.current` near the limit are no sign of a leak. Tmpfs (`/dev/shm`, `emptyDir` in memory)
//! is charged alike and can't be dropped.
//!
//! ## Confirm
//! - `cat /sys/fs/cgroup/memory.stat`: `file`, `inactive_file`, `shmem`, against `anon`.
//! - Kubernetes' working set is `memory.current` less `inactive_file`.
//!
//! ## Fix
//! - Nothing, where it is `inactive_file`. Watch the working set or `anon` instead.
//! - Tmpfs: delete its files or give it a size limit.
//!
//! ## Example
//! *The control group of process 4711 holds 1.90 GiB of its 2.00 GiB limit, 1.21 GiB of that page
//! cache…*

use super::Rule;
use crate::draft::Draft;
use crate::evidence::Evidence;
use crate::series::Key;
use offheap_model::{Domain, Finding, Status, units};

/// See the page.
pub struct CgroupPageCache;

impl Rule for CgroupPageCache {
    fn id(&self) -> &'static str {
        "cgroup-page-cache"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let last = evidence.last()?;
        let cgroup = last.cgroup.as_ref()?;
        let limit = cgroup.limit_bytes.filter(|limit| *limit > 0)?;
        let headroom = cgroup.headroom_bytes.unwrap_or(limit.saturating_sub(cgroup.current_bytes));
        if cgroup.file_bytes < limit / 3 || headroom > limit / 10 {
            return None;
        }
        let figures = format!(
            "{} of {} used, {} of that page cache ({} can be dropped at once), {} anonymous",
            units::bytes(cgroup.current_bytes),
            units::bytes(limit),
            units::bytes(cgroup.file_bytes),
            units::bytes(cgroup.inactive_file_bytes),
            units::bytes(cgroup.anon_bytes)
        );
        let slope = evidence.trend(&Key::CgroupFile).map_or(0.0, |t| t.slope.per_s);
        let mut draft = Draft::new(self.id(), Status::Healthy, Domain::MappedFiles, 0.8)
            .summary(format!(
                "The control group of {} is full of page cache, not of the process's memory: {figures}; page cache {} \
                 over {}. The kernel drops it before it kills. {}. Source: memory.stat of the control group.",
                evidence.who(),
                units::rate(slope),
                evidence.window(),
                evidence.rss_words()
            ))
            .saw(figures, "memory.stat")
            .fix(["watch the working set (memory.current less inactive_file) or anon instead of memory.current"])
            .confirm(["cat /sys/fs/cgroup/memory.stat: file, inactive_file, shmem, anon"]);
        if cgroup.shmem_bytes > cgroup.file_bytes / 2 {
            draft = draft.also(&format!(
                "But {} of it is tmpfs or shared memory, which can't be dropped: delete those files or limit the tmpfs.",
                units::bytes(cgroup.shmem_bytes)
            ));
        }
        Some(draft.finish())
    }
}
