//! Whether a JVM could be attached to, found out without touching it.

use rustix::fs::{Access, AtFlags, StatVfsMountFlags, accessat, fstatvfs};

use crate::error::AttachError;
use crate::identity::Identity;
use crate::process::Process;
use crate::socket::Rendezvous;

/// What attaching to a process would meet.
#[derive(Debug)]
#[non_exhaustive]
pub struct Prospects {
    /// The pid as the target knows it itself.
    pub inner_pid: u32,
    /// Effective user and group of the target.
    pub user: (u32, u32),
    /// Its memory map has a HotSpot libjvm.
    pub hotspot: bool,
    /// Its memory map has OpenJ9.
    pub openj9: bool,
    /// It listens already: there is a socket of its own.
    pub listening: bool,
    /// Its performance counters say whether it takes attaches; `None` where it has none that can be
    /// read.
    pub enabled: Option<bool>,
    /// It handles SIGQUIT, by which it is asked to listen.
    pub handles_sigquit: bool,
    /// It is stopped (by SIGSTOP or a debugger) and answers nothing.
    pub stopped: bool,
    /// The target's user can be taken on, which files and sockets of its need.
    pub may_act_as_user: bool,
    /// Its `/tmp`.
    pub tmp: Result<Tmp, AttachError>,
}

/// The `/tmp` of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tmp {
    /// Mounted read-only.
    pub read_only: bool,
    /// Mounted noexec: no library can be loaded from it.
    pub noexec: bool,
    /// Bytes that the target's user can still write.
    pub free_bytes: u64,
    /// No further file can be made.
    pub no_inodes: bool,
    /// The target's user may make files there; `None` where that can't be asked.
    pub writable: Option<bool>,
}

/// Looks at the process `pid`. Nothing is sent to it and nothing written.
///
/// # Errors
/// There is no such process, or nothing of it may be read.
pub fn prospects(pid: u32) -> Result<Prospects, AttachError> {
    let process = Process::open(pid)?;
    let status = process.status()?;
    let maps = process.maps(status.inner_pid)?;
    let identity = Identity { uid: status.effective_uid, gid: status.effective_gid };
    let inner_pid = status.inner_pid;
    let opened = process.tmp();
    let (mut listening, mut enabled) = (false, None);
    let tmp = opened.map(|tmp| {
        let rendezvous = Rendezvous { tmp, inner_pid, identity };
        enabled = process.attach_enabled(&rendezvous, &maps);
        listening = rendezvous.find(&process).is_ok_and(|socket| socket.is_some());
        look(&rendezvous)
    });
    Ok(Prospects {
        inner_pid,
        user: (identity.uid, identity.gid),
        hotspot: maps.libjvm,
        openj9: maps.openj9,
        listening,
        enabled,
        handles_sigquit: status.catches_sigquit,
        stopped: matches!(status.state, 'T' | 't'),
        may_act_as_user: identity.run(|| ()).is_ok(),
        tmp,
    })
}

fn look(rendezvous: &Rendezvous) -> Tmp {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    let writable = rendezvous.identity.run(|| accessat(&rendezvous.tmp, ".", access, AtFlags::EACCESS)).ok();
    let mut tmp = Tmp {
        read_only: false,
        noexec: false,
        free_bytes: u64::MAX,
        no_inodes: false,
        writable: writable.map(|allowed| allowed.is_ok()),
    };
    if let Ok(stat) = fstatvfs(&rendezvous.tmp) {
        tmp.read_only = stat.f_flag.contains(StatVfsMountFlags::RDONLY);
        tmp.noexec = stat.f_flag.contains(StatVfsMountFlags::NOEXEC);
        // A file system without a size says 0 of 0 blocks.
        if stat.f_blocks > 0 {
            tmp.free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        }
        tmp.no_inodes = stat.f_files > 0 && stat.f_ffree == 0;
    }
    tmp
}
