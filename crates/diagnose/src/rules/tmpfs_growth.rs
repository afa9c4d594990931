//! # Files in tmpfs grow
//!
//! ## Signature
//! Tmpfs and shared memory that are charged to the control group, beside what the process has
//! mapped of them, grow steadily to the end of the window.
//!
//! ## Why
//! A file in `/dev/shm`, in an `emptyDir` of medium `Memory`, or in `/tmp` where that is a tmpfs,
//! is memory of the container. It belongs to no process and shows in no RSS, and no page of it can
//! be dropped: spooled uploads and temporary files that are not deleted kill the container while
//! every process in it stays small. A file that was deleted stays as long as it is open.
//!
//! ## Confirm
//! - `cat /sys/fs/cgroup/memory.stat`: `shmem`.
//! - `du -sh /dev/shm /tmp` in the container; `ls -l /proc/PID/fd | grep deleted`.
//!
//! ## Fix
//! - Delete the files when they are done with, or write them to a disk.
//! - `sizeLimit` of the `emptyDir`, `--tmpfs /tmp:size=64m`: an error instead of a kill.
//!
//! ## Example
//! *Memory of files in tmpfs grows and is not given back: +1.02 MiB/s. In process 4711, files in
//! tmpfs (/dev/shm) and shared memory of the control group, beside what this process has mapped,
//! grew steadily over 1 min (61 snapshots): 40.0 MiB → 101 MiB…*

use super::Rule;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::Freed;
use crate::series::Key;
use offheap_model::{Domain, Finding};

/// See the page.
pub struct TmpfsGrowth;

impl Rule for TmpfsGrowth {
    fn id(&self) -> &'static str {
        "tmpfs-growth"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let growth = evidence.growth(&Key::CgroupTmpfs, Freed::ByProgram, evidence.material())?;
        let subject = Subject {
            what: "files in tmpfs (/dev/shm) and shared memory of the control group, beside what this process has mapped,",
            meaning: "No page of them can be dropped, and they do not show in the RSS of this process.",
            source: "memory.stat of the control group",
        };
        let draft = Draft::of_growth(self.id(), evidence, Domain::Tmpfs, &growth, &subject)?
            .fix([
                "delete files in tmpfs (/dev/shm, an emptyDir of medium Memory, /tmp) when they are done with, or write them to a disk",
                "bound it: sizeLimit of the emptyDir, --tmpfs /tmp:size=64m",
            ])
            .confirm([
                "cat /sys/fs/cgroup/memory.stat: shmem".to_owned(),
                format!("du -sh /dev/shm /tmp in the container; ls -l /proc/{}/fd | grep deleted", evidence.pid()),
            ]);
        Some(draft.finish())
    }
}
