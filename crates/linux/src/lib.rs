//! What Linux tells about a process: `/proc`, pagemap, cgroups, namespaces, remote memory, ELF.
//!
//! The law of this crate: looking changes nothing. No attach, no signal, no stop, and never a read of a page that is not
//! present: such a read would map or even allocate it, and the target's RSS would grow under the measurement.

mod bounded;
mod cgroup;
mod elf;
mod error;
pub mod folder;
pub mod foreign;
mod holds;
mod hugetlb;
mod maps;
mod memory;
mod pagemap;
mod process;
mod residency;
mod shares;
mod signals;
mod tasks;
mod users;

pub use bounded::{Bounded, ELF_BYTES};
pub use cgroup::{Cgroup, parse_cgroup_file, parse_mountinfo};
pub use elf::{Elf, Symbol};
pub use error::Error;
pub use holds::Held;
pub use maps::{Vma, image_of, parse_smaps};
pub use memory::{Memory, ReadError};
pub use pagemap::{PageKind, Pagemap, Run};
pub use process::{Process, Stat, Status, proc_hides_others};
pub use residency::{Residency, Source};
pub use shares::Shares;
pub use signals::{be_killed_first, is_ignored, restore_sigpipe};
pub use tasks::Task;
pub use users::user_name;

/// Bytes in a page. x86-64 has no other base page size; aarch64 kernels may.
pub const PAGE: u64 = 4096;
