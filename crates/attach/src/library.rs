//! A library put where the target can load it, and nobody can exchange it: the ways there are, in
//! the order in which they are tried, and why one can't be gone.

use std::ffi::CStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use offheap_linux::folder::{self, Unguarded};
use rustix::fs::{
    Access, AtFlags, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags, accessat, fcntl_add_seals,
    fstatfs, fstatvfs, memfd_create, openat, unlinkat,
};
use rustix::io::Errno;

use crate::identity::Identity;
use crate::process::Process;
use crate::session::Session;

/// Folders of the target that are tried, in this order; its own run-time folder and its working
/// directory come after them.
const FOLDERS: [&str; 3] = ["/tmp", "/dev/shm", "/var/tmp"];

/// File systems of other machines (include/uapi/linux/magic.h): NFS, SMB 1, SMB 2 and later, Ceph,
/// AFS.
const REMOTE: [u64; 5] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x00c3_6400, 0x5346_414f];

/// How a file in memory is named in the target's maps: this, then the name that it was given.
const MEMORY_FILE: &str = "/memfd:";

/// Bytes of such a name at most, with its end (memfd_create(2)).
const NAME_BYTES: usize = 250;

/// Why a folder can't hold a library for the target.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// Somebody else could exchange the library before it is loaded, and so run code as the target.
    #[error(transparent)]
    Unguarded(Unguarded),
    /// Mounted read-only.
    #[error("it is read-only")]
    ReadOnly,
    /// Nothing can be loaded from there.
    #[error("it is mounted noexec, so no library can be loaded from there")]
    NoExec,
    /// The server could be gone when the library's pages are read anew, and a file that is open
    /// stays there under another name.
    #[error("it lies on another machine (NFS, SMB, Ceph, AFS)")]
    Remote,
    /// The target's user may not write there.
    #[error("user {0} may not write there")]
    NotWritable(u32),
    /// No room.
    #[error("it has {free} bytes left, and {needed} are needed")]
    Full {
        /// Bytes that the target's user can still write.
        free: u64,
        /// Bytes that it takes.
        needed: u64,
    },
    /// No room for another file.
    #[error("it has no free inode")]
    NoInode,
    /// There is no such way for this target.
    #[error("{0}")]
    Inapplicable(&'static str),
    /// What the kernel said.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// A way that a library could go, and whether it can.
#[derive(Debug)]
pub struct Way {
    /// The folder as the target sees it; empty for memory.
    pub folder: String,
    /// Why not.
    pub unfit: Option<Unfit>,
}

impl fmt::Display for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.unfit {
            None => write!(formatter, "{}: it can be used", self.place()),
            Some(unfit) => write!(formatter, "{}: {unfit}", self.place()),
        }
    }
}

/// No way is open.
#[derive(Debug, thiserror::Error)]
#[error("the library can't be put where JVM {pid} could load it and nobody exchange it{}{}", listed(.ways), remedy(.pid, .ways))]
pub struct NoWay {
    /// The target.
    pub pid: u32,
    /// All that were tried.
    pub ways: Vec<Way>,
}

fn listed(ways: &[Way]) -> String {
    ways.iter().map(|way| format!("\n  {way}")).collect()
}

/// The next command: the first way that one can open.
fn remedy(pid: &u32, ways: &[Way]) -> String {
    ways.iter().find_map(|way| way.remedy(*pid)).map_or_else(String::new, |remedy| format!("\n{remedy}"))
}

impl Way {
    /// The folder, in words.
    pub fn place(&self) -> &str {
        if self.folder.is_empty() { "memory" } else { &self.folder }
    }

    /// What would open it, where that is one command.
    pub fn remedy(&self, pid: u32) -> Option<String> {
        let path = format!("/proc/{pid}/root{}", self.folder);
        let remount = |option: &str| format!("nsenter -t {pid} -m mount -o remount,{option} {}", self.folder);
        match self.unfit.as_ref()? {
            Unfit::Unguarded(Unguarded::Open { place, .. }) => {
                Some(format!("chmod +t /proc/{pid}/root{place}"))
            }
            Unfit::ReadOnly => Some(remount("rw")),
            Unfit::NoExec => Some(remount("exec")),
            Unfit::NotWritable(_) => Some(format!("chmod 1777 {path}")),
            Unfit::Full { .. } | Unfit::NoInode => Some(format!("remove files below {path}")),
            _ => None,
        }
    }
}

/// A library that the target can load. It is taken away again when this is dropped; what is loaded
/// stays loaded.
#[derive(Debug)]
pub struct Placed {
    path: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Folder {
        folder: OwnedFd,
        name: String,
        identity: Identity,
    },
    /// Held open as long as the target has to open it.
    Memory {
        _file: OwnedFd,
    },
    /// Held open by that one.
    Held(Child),
}

impl Placed {
    /// Its path as the target sees it, by which the loader knows it from then on.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        match &mut self.place {
            Place::Folder { folder, name, identity } => {
                let _ = identity.run(|| unlinkat(&*folder, name.as_str(), AtFlags::empty()));
            }
            Place::Memory { .. } => {}
            Place::Held(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// The path under which the loader knows the library that is mapped as `mapped`: of one that came
/// from memory, what it was loaded by stands in its name ([`Session::place`]).
pub fn loaded_as(mapped: &str) -> String {
    let from_memory = || {
        let (_, origin) = mapped.strip_prefix(MEMORY_FILE)?.rsplit_once('@')?;
        let (pid, number) = origin.split_once('-')?;
        Some(format!("/proc/{}/fd/{}", pid.parse::<u32>().ok()?, number.parse::<u32>().ok()?))
    };
    from_memory().unwrap_or_else(|| mapped.to_owned())
}

impl Session {
    /// Puts `bytes` where the target can load them as a library, as a file whose name has `name` in
    /// it: the first way that is open. It belongs to the target's user and nobody else may read it.
    ///
    /// # Errors
    /// No way is open; what each lacks.
    pub fn place(&self, name: &str, bytes: &[u8]) -> Result<Placed, NoWay> {
        let target = Target::of(&self.process, self.rendezvous.identity);
        let mut ways = Vec::new();
        for folder in target.folders() {
            match target.place_in(&folder, name, bytes) {
                Ok(placed) => return Ok(placed),
                Err(unfit) => ways.push(Way { folder, unfit: Some(unfit) }),
            }
        }
        match target.place_in_memory(name, bytes) {
            Ok(placed) => return Ok(placed),
            Err(unfit) => ways.push(Way { folder: String::new(), unfit: Some(unfit) }),
        }
        Err(NoWay { pid: self.process.pid, ways })
    }
}

/// The ways up to the first that is open, for a library of `bytes`. Nothing is written.
pub(crate) fn ways(process: &Process, identity: Identity, bytes: u64) -> Vec<Way> {
    let target = Target::of(process, identity);
    let mut ways = Vec::new();
    for folder in target.folders() {
        let unfit = target.look_at(&folder, bytes).err();
        let open = unfit.is_none();
        ways.push(Way { folder, unfit });
        if open {
            return ways;
        }
    }
    ways.push(Way { folder: String::new(), unfit: target.memory_reaches().map(drop).err() });
    ways
}

struct Target<'a> {
    process: &'a Process,
    identity: Identity,
}

impl<'a> Target<'a> {
    fn of(process: &'a Process, identity: Identity) -> Self {
        Target { process, identity }
    }

    fn folders(&self) -> Vec<String> {
        let mut folders: Vec<String> = FOLDERS.map(str::to_owned).into();
        folders.push(format!("/run/user/{}", self.identity.uid));
        // A directory that was removed, or that lies outside of the target's root, has no such path
        // there.
        let cwd = self.process.cwd().filter(|cwd| cwd != "/" && !folders.contains(cwd));
        folders.extend(cwd);
        folders
    }

    /// Holds the folder if a library of `bytes` can be put there.
    fn look_at(&self, folder: &str, bytes: u64) -> Result<OwnedFd, Unfit> {
        let root = self.process.directory("root")?;
        let held = match folder::guarded(root, folder, self.identity.uid) {
            Ok(held) => held,
            Err(Unguarded::Refused(refused)) => return Err(Unfit::System(refused.into())),
            Err(unguarded) => return Err(Unfit::Unguarded(unguarded)),
        };
        if fstatfs(&held).is_ok_and(|stat| REMOTE.contains(&(stat.f_type as u64 & u64::from(u32::MAX)))) {
            return Err(Unfit::Remote);
        }
        let stat = fstatvfs(&held).map_err(io::Error::from)?;
        if stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Err(Unfit::ReadOnly);
        } else if stat.f_flag.contains(StatVfsMountFlags::NOEXEC) {
            return Err(Unfit::NoExec);
        } else if stat.f_files > 0 && stat.f_ffree == 0 {
            return Err(Unfit::NoInode);
        }
        // A file system without a size says 0 of 0 blocks.
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if stat.f_blocks > 0 && free < bytes {
            return Err(Unfit::Full { free, needed: bytes });
        }
        let access = Access::WRITE_OK | Access::EXEC_OK;
        match self.identity.run(|| accessat(&held, ".", access, AtFlags::EACCESS)) {
            Ok(Err(_)) => Err(Unfit::NotWritable(self.identity.uid)),
            // Who can't act as the target's user finds that out when he attaches.
            Ok(Ok(())) | Err(_) => Ok(held),
        }
    }

    fn place_in(&self, folder: &str, name: &str, bytes: &[u8]) -> Result<Placed, Unfit> {
        let held = self.look_at(folder, bytes.len() as u64)?;
        let name = format!("{name}.so");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make = || openat(&held, name.as_str(), flags, Mode::RUSR | Mode::WUSR).map(File::from);
        let mut file = self.identity.run(make)?.map_err(io::Error::from)?;
        // From here on it is taken away again, whatever happens.
        let path = format!("{}/{name}", folder.trim_end_matches('/'));
        let placed = Placed { path, place: Place::Folder { folder: held, name, identity: self.identity } };
        self.identity.run(|| file.write_all(bytes))??;
        Ok(placed)
    }

    /// Who can hold a file in memory so that the target may open it through `/proc/PID/fd`
    /// (proc_pid_fd(5)): a process that it sees under the same pid, of its user, and with no
    /// capability that it lacks.
    fn memory_reaches(&self) -> Result<Holder, Unfit> {
        if !self.process.shares("pid") || !self.process.shares("user") {
            return Err(Unfit::Inapplicable(
                "the target is in a container of its own, and does not see offheap",
            ));
        }
        if self.identity.is_ours() && self.process.has_our_capabilities() {
            return Ok(Holder::Ourselves);
        }
        if self.identity.uid != 0 && rustix::process::geteuid().is_root() {
            return Ok(Holder::Child);
        }
        Err(Unfit::Inapplicable(if self.identity.is_ours() {
            "offheap has more rights than the target, which can't open it then"
        } else {
            "offheap does not run as the target's user, who can't open it then"
        }))
    }

    /// A file in memory that nobody can change any more, for the target to open through its
    /// holder's descriptor.
    fn place_in_memory(&self, name: &str, bytes: &[u8]) -> Result<Placed, Unfit> {
        match self.memory_reaches()? {
            Holder::Ourselves => {
                // Its number has to be known before it has its name.
                let mut held = memory_file("reserved")?;
                let (pid, number) = (std::process::id(), held.as_raw_fd());
                let file = sealed_file(format!("{name}@{pid}-{number}").as_str(), bytes)?;
                rustix::io::dup3(&file, &mut held, rustix::io::DupFlags::CLOEXEC).map_err(io::Error::from)?;
                Ok(Placed { path: path_of(pid, number), place: Place::Memory { _file: held } })
            }
            Holder::Child => {
                let child = self.hold(name, bytes)?;
                Ok(Placed { path: path_of(child.id(), libc::STDOUT_FILENO), place: Place::Held(child) })
            }
        }
    }

    /// Has another program of the target's user hold the file, as its standard output: we ourselves
    /// are root, and whom we let look at our descriptors could look into all of us. `cat` waits as
    /// long as its input is open, that is as long as we live.
    fn hold(&self, name: &str, bytes: &[u8]) -> io::Result<Child> {
        let mut command = Command::new("cat");
        command
            .uid(self.identity.uid)
            .gid(self.identity.gid)
            .current_dir("/")
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let (name, bytes) = (name.to_owned(), bytes.to_owned());
        let make = move || {
            let mut text = [0; NAME_BYTES];
            let mut rest = &mut text[..NAME_BYTES - 1];
            write!(rest, "{name}@{}-{}", rustix::process::getpid().as_raw_nonzero(), libc::STDOUT_FILENO)?;
            let text = CStr::from_bytes_until_nul(&text).map_err(|_| io::ErrorKind::InvalidInput)?;
            let file = sealed_file(text, &bytes)?;
            // SAFETY: two descriptors of this process, of which the second is its standard output
            // and nobody else's.
            if unsafe { libc::dup2(file.as_raw_fd(), libc::STDOUT_FILENO) } < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        };
        // SAFETY: between fork and exec there is but one thread, and `make` allocates nothing,
        // takes no lock and only makes system calls on memory that was there before: its text is
        // written into an array.
        unsafe { command.pre_exec(make) };
        command.spawn()
    }
}

enum Holder {
    Ourselves,
    Child,
}

fn path_of(pid: u32, number: i32) -> String {
    format!("/proc/{pid}/fd/{number}")
}

fn sealed_file(name: impl rustix::path::Arg + Copy, bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = memory_file(name)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).filter(|_| written > 0).ok_or(io::ErrorKind::WriteZero)?;
    }
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&file, seals)?;
    Ok(file)
}

fn memory_file(name: impl rustix::path::Arg + Copy) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Since Linux 6.3 it is to be said that its code may be run.
    match memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => Ok(memfd_create(name, flags)?),
        made => Ok(made?),
    }
}
