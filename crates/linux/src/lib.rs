//! What Linux tells about a process: `/proc`, pagemap, cgroups, namespaces, remote memory, ELF.
//!
//! The law of this crate: looking changes nothing. No attach, no signal, no stop, and never a read
//! of a page that is not present: such a read would map or even allocate it, and the target's RSS
//! would grow under the measurement.

mod cgroup;
mod error;
pub mod folder;
pub mod foreign;
mod holds;
mod hugetlb;
mod incore;
mod live;
mod maps;
mod pagemap;
mod process;
mod residency;
mod shares;
mod signals;
mod tasks;
mod users;

pub use cgroup::{Cgroup, parse_cgroup_file, parse_mountinfo};
pub use error::Error;
pub use holds::Held;
pub use live::Live;
pub use maps::parse_smaps;
pub use offheap_target::{
    Bounded, ELF_BYTES, Elf, Memory, PageKind, ProcText, ReadError, Reads, Run, Symbol, Target, Task, Vma,
    arch, image_of, page_bytes, page_start,
};
pub use pagemap::Pagemap;
pub use process::{Process, Stat, Status, proc_hides_others};
pub use residency::{Residency, Source};
pub use shares::Shares;
pub use signals::{be_killed_first, is_ignored, restore_sigpipe};
pub use users::user_name;
