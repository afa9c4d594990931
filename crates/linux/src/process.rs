//! One process, held by its `/proc` directory so that a reused pid is never mistaken for it.

use crate::holds::{Held, Holds};
use crate::{Error, Live, Pagemap, Task, Vma, maps};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Files of `/proc/PID` larger than this are cut off: none but `smaps` of a monstrous process comes
/// near.
const PROC_FILE_LIMIT: u64 = 1 << 30;

/// A process, held by an open `/proc/PID` directory: once it ends, every read fails, also when its
/// pid is reused.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    dir: OwnedFd,
    start_ticks: u64,
    holds: Holds,
}

/// What `/proc/PID/status` tells (proc_pid_status(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Short name.
    pub name: String,
    /// Effective user id.
    pub euid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Pids from the outermost namespace we see to the innermost.
    pub ns_pids: Vec<i32>,
    /// Thread-group id.
    pub tgid: i32,
    /// Threads.
    pub threads: u64,
    /// Highest resident bytes so far.
    pub peak_rss_bytes: u64,
    /// Resident bytes by the kernel's own (batched, slightly late) counters.
    pub rss_bytes: u64,
    /// Of these, anonymous ones.
    pub anon_bytes: u64,
    /// Swapped bytes, those of shared memory left out.
    pub swap_bytes: u64,
    /// Bytes in pages of `hugetlbfs`, which are not among the resident ones.
    pub hugetlb_bytes: u64,
    /// Bit mask of caught signals, bit 0 is signal 1.
    pub caught_signals: u64,
    /// True for a kernel thread or a zombie: no address space.
    pub no_memory: bool,
}

impl Status {
    /// The pid inside the process's own namespace.
    pub fn inner_pid(&self) -> i32 {
        self.ns_pids.last().copied().unwrap_or(self.tgid)
    }
}

/// What `/proc/PID/stat` tells (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// State letter.
    pub state: char,
    /// Pid of the process that started it, or has adopted it; 0 where that one is not seen from
    /// here.
    pub parent: i32,
    /// Clock ticks after boot at which it started.
    pub start_ticks: u64,
    /// CPU time in user and kernel mode, clock ticks.
    pub cpu_ticks: u64,
}

impl Process {
    /// Takes hold of the process `pid`.
    ///
    /// # Errors
    /// [`Error::NoSuchProcess`], or what the kernel said.
    pub fn open(pid: i32) -> Result<Self, Error> {
        let dir = rustix::fs::open(
            format!("/proc/{pid}"),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| match errno {
            rustix::io::Errno::NOENT | rustix::io::Errno::SRCH => {
                Error::NoSuchProcess { pid, hidden: proc_hides_others() }
            }
            other => Error::Io { pid, what: "its directory".to_owned(), source: other.into() },
        })?;
        let mut process = Process { pid, dir, start_ticks: 0, holds: Holds::default() };
        process.start_ticks = process.stat()?.start_ticks;
        Ok(process)
    }

    /// Every pid that `/proc` shows, ascending.
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub fn list() -> io::Result<Vec<i32>> {
        let mut pids: Vec<i32> = std::fs::read_dir("/proc")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        pids.sort_unstable();
        Ok(pids)
    }

    /// The pid as this tool sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Clock ticks after boot at which it started.
    pub fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// Seconds since it started.
    ///
    /// # Errors
    /// When `/proc/uptime` can't be read.
    pub fn uptime_s(&self) -> io::Result<f64> {
        let text = std::fs::read_to_string("/proc/uptime")?;
        let up: f64 = text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
        Ok((up - self.start_ticks as f64 / rustix::param::clock_ticks_per_second() as f64).max(0.0))
    }

    /// True while the process runs (a zombie does not).
    pub fn is_alive(&self) -> bool {
        self.stat().is_ok_and(|stat| !matches!(stat.state, 'Z' | 'X'))
    }

    /// The same process, held once more.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<Process> {
        let dir = self.dir.try_clone()?;
        Ok(Process { pid: self.pid, dir, start_ticks: self.start_ticks, holds: self.holds.clone() })
    }

    /// `/proc/PID`, held.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Opens a file below `/proc/PID`: one that the kernel itself makes, not one that a link there
    /// leads to ([`Process::mapped_file`], [`Process::open_in_root`]).
    ///
    /// # Errors
    /// [`Error::Died`] when the process has ended, [`Error::NotAllowed`] with the next command, or
    /// what the kernel said.
    pub fn file(&self, name: &str) -> Result<File, Error> {
        rustix::fs::openat(
            &self.dir,
            name,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
            Mode::empty(),
        )
        .map(File::from)
        .map_err(|errno| self.explain(name, errno.into()))
    }

    /// The whole of a file below `/proc/PID`.
    ///
    /// # Errors
    /// As [`Process::file`].
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.file(name)?
            .take(PROC_FILE_LIMIT)
            .read_to_end(&mut bytes)
            .map_err(|error| self.explain(name, error))?;
        Ok(bytes)
    }

    /// The whole of a file below `/proc/PID` as text; what is not UTF-8 is replaced.
    ///
    /// # Errors
    /// As [`Process::file`].
    pub fn text(&self, name: &str) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.bytes(name)?).into_owned())
    }

    /// What the symbolic link `name` below `/proc/PID` points to.
    ///
    /// # Errors
    /// As [`Process::file`].
    pub fn link(&self, name: &str) -> Result<String, Error> {
        let target = rustix::fs::readlinkat(&self.dir, name, Vec::new())
            .map_err(|errno| self.explain(name, errno.into()))?;
        Ok(target.to_string_lossy().into_owned())
    }

    /// Path of the executable, without the mark of a deleted file.
    ///
    /// # Errors
    /// As [`Process::file`].
    pub fn exe(&self) -> Result<String, Error> {
        Ok(self.link("exe")?.trim_end_matches(" (deleted)").to_owned())
    }

    /// The arguments it was started with; empty for a kernel thread.
    ///
    /// # Errors
    /// As [`Process::file`].
    pub fn arguments(&self) -> Result<Vec<String>, Error> {
        let bytes = self.bytes("cmdline")?;
        let trimmed = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
        if trimmed.is_empty() {
            return Ok(Vec::new());
        }
        Ok(trimmed.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect())
    }

    /// `/proc/PID/status`.
    ///
    /// # Errors
    /// As [`Process::file`].
    pub fn status(&self) -> Result<Status, Error> {
        Ok(parse_status(&self.text("status")?))
    }

    /// `/proc/PID/stat`.
    ///
    /// # Errors
    /// As [`Process::file`], or [`Error::Malformed`].
    pub fn stat(&self) -> Result<Stat, Error> {
        let text = self.text("stat")?;
        parse_stat(&text).ok_or(Error::Malformed { pid: self.pid, what: "stat".to_owned(), text })
    }

    /// Its mappings with the kernel's figures for each, ascending by address. The target's mmap
    /// lock is held for as long as the kernel walks the largest of them (13 to 80 ns a page);
    /// [`Process::residency`] doesn't.
    ///
    /// # Errors
    /// As [`Process::file`].
    pub fn smaps(&self) -> Result<Vec<Vma>, Error> {
        Ok(maps::parse_smaps(&self.bytes_in_turns("smaps")?))
    }

    /// Its mappings without figures (`/proc/PID/maps`).
    ///
    /// # Errors
    /// As [`Process::file`].
    pub fn maps(&self) -> Result<Vec<Vma>, Error> {
        Ok(maps::parse_smaps(&self.bytes_in_turns("maps")?))
    }

    /// How long reading has held the target's mmap lock since this was last asked.
    pub fn held(&self) -> Held {
        self.holds.take()
    }

    /// The whole of a file below `/proc/PID` for which the kernel holds the mmap lock: a call gives
    /// one buffer of the kernel's (4 KiB) whatever is asked for, and there are pauses between them.
    pub(crate) fn bytes_in_turns(&self, name: &str) -> Result<Vec<u8>, Error> {
        let file = self.file(name)?;
        let mut bytes = Vec::new();
        let mut piece = [0; 8 << 10];
        while (bytes.len() as u64) < PROC_FILE_LIMIT {
            match self.holds.during(|| (&file).read(&mut piece)).0 {
                Ok(0) => break,
                Ok(count) => bytes.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.explain(name, error)),
            }
        }
        Ok(bytes)
    }

    /// Which pages are present.
    ///
    /// # Errors
    /// As [`Process::file`].
    pub fn pagemap(&self) -> Result<Pagemap, Error> {
        Ok(Pagemap::new(self.file("pagemap")?, self.holds.clone()))
    }

    /// Its memory, read without disturbing it.
    ///
    /// # Errors
    /// As [`Process::file`].
    pub fn memory(&self, vmas: &[Vma]) -> Result<Live, Error> {
        Live::open(self, vmas)
    }

    /// The processes it has started that still run (`/proc/PID/task/TID/children`,
    /// proc_pid_task_children(5)).
    ///
    /// # Errors
    /// As [`Process::file`].
    pub fn children(&self) -> Result<Vec<i32>, Error> {
        let text = self.text(&format!("task/{}/children", self.pid))?;
        Ok(text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    }

    /// Its threads. A thread that ends meanwhile is left out.
    ///
    /// # Errors
    /// As [`Process::file`].
    pub fn tasks(&self) -> Result<Vec<Task>, Error> {
        crate::tasks::list(self)
    }

    /// What counts how long its mmap lock is held.
    pub(crate) fn holds(&self) -> &Holds {
        &self.holds
    }

    /// The directory `name` below `/proc/PID`, listed.
    pub(crate) fn names(&self, name: &str) -> Result<Vec<String>, Error> {
        let fd = rustix::fs::openat(
            &self.dir,
            name,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| self.explain(name, errno.into()))?;
        let dir = rustix::fs::Dir::new(fd).map_err(|errno| self.explain(name, errno.into()))?;
        Ok(dir
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .filter(|name| !name.starts_with('.'))
            .collect())
    }

    /// Gives the kernel's word its meaning for this process.
    pub(crate) fn explain(&self, what: &str, source: io::Error) -> Error {
        let pid = self.pid;
        match source.raw_os_error() {
            // After the exit the directory is empty (ENOENT) or the task gone (ESRCH); a live
            // process may lack a file too.
            Some(libc::ESRCH) => Error::Died { pid, doing: format!("{what} was read") },
            Some(libc::ENOENT) if what != "stat" && !self.is_alive() => {
                Error::Died { pid, doing: format!("{what} was read") }
            }
            Some(libc::ENOENT) if what == "stat" => Error::Died { pid, doing: format!("{what} was read") },
            Some(libc::EACCES | libc::EPERM) => {
                Error::NotAllowed { pid, what: what.to_owned(), remedy: self.remedy() }
            }
            _ => Error::Io { pid, what: what.to_owned(), source },
        }
    }

    fn remedy(&self) -> String {
        let verb = std::env::args().nth(1).unwrap_or_else(|| "map".to_owned());
        match self.status().map(|status| status.euid) {
            Ok(uid) if uid != rustix::process::geteuid().as_raw() && uid != 0 => format!(
                "sudo -u {} offheap {verb} {}   (or as root; in a container: add the capability SYS_PTRACE)",
                crate::user_name(uid),
                self.pid
            ),
            _ => {
                format!("sudo offheap {verb} {}   (in a container: add the capability SYS_PTRACE)", self.pid)
            }
        }
    }
}

/// True where `/proc` is mounted so that a user sees only his own processes (`hidepid=1`, `2`,
/// `invisible`…).
pub fn proc_hides_others() -> bool {
    std::fs::read_to_string("/proc/self/mounts").is_ok_and(|mounts| {
        mounts.lines().any(|line| {
            let mut words = line.split(' ').skip(1);
            words.next() == Some("/proc")
                && words.nth(1).is_some_and(|options| {
                    options
                        .split(',')
                        .any(|o| o.starts_with("hidepid=") && !matches!(o, "hidepid=0" | "hidepid=off"))
                })
        })
    })
}

fn parse_status(text: &str) -> Status {
    let mut status = Status { no_memory: true, ..Status::default() };
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        let nth = |n: usize| value.split_whitespace().nth(n);
        match key {
            "Name" => status.name = value.to_owned(),
            "Tgid" => status.tgid = value.parse().unwrap_or(0),
            // Real, effective, saved, file system.
            "Uid" => status.euid = nth(1).and_then(|word| word.parse().ok()).unwrap_or(u32::MAX),
            "Gid" => status.egid = nth(1).and_then(|word| word.parse().ok()).unwrap_or(u32::MAX),
            "NStgid" => {
                status.ns_pids = value.split_whitespace().filter_map(|word| word.parse().ok()).collect()
            }
            "Threads" => status.threads = value.parse().unwrap_or(0),
            "VmHWM" => status.peak_rss_bytes = maps::kib(value.as_bytes()),
            "VmRSS" => {
                status.rss_bytes = maps::kib(value.as_bytes());
                status.no_memory = false;
            }
            "RssAnon" => status.anon_bytes = maps::kib(value.as_bytes()),
            "VmSwap" => status.swap_bytes = maps::kib(value.as_bytes()),
            "HugetlbPages" => status.hugetlb_bytes = maps::kib(value.as_bytes()),
            "SigCgt" => status.caught_signals = u64::from_str_radix(value, 16).unwrap_or(0),
            _ => {}
        }
    }
    status
}

/// The name stands in parentheses and may hold anything, so the fields are counted from the last
/// one.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    // Field 3 is the state, 4 the parent; utime is 14, stime 15, starttime 22.
    let user: u64 = fields.nth(9)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let start_ticks = fields.nth(6)?.parse().ok()?;
    Some(Stat { state, parent, start_ticks, cpu_ticks: user.saturating_add(system) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let text = "42 (a) b) S 1 42 42 0 -1 4194560 1 2 3 4 50 60 7 8 20 0 5 0 987654 100 200";
        assert_eq!(
            parse_stat(text),
            Some(Stat { state: 'S', parent: 1, start_ticks: 987_654, cpu_ticks: 110 })
        );
        assert_eq!(parse_stat("42 (a"), None);
    }

    #[test]
    fn this_process_is_seen_as_it_is() {
        let process = Process::open(std::process::id() as i32).unwrap();
        let status = process.status().unwrap();
        assert_eq!(status.tgid, process.pid());
        assert_eq!(status.euid, rustix::process::geteuid().as_raw());
        assert!(process.is_alive() && !status.no_memory);
        assert_eq!(process.arguments().unwrap(), std::env::args().collect::<Vec<_>>());
        assert!(process.uptime_s().unwrap() < 3600.0);
    }

    #[test]
    fn an_ended_process_is_told_apart_from_its_successor() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::open(child.id() as i32).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.is_alive());
        assert!(process.text("maps").unwrap_err().is_gone());
        assert!(matches!(Process::open(i32::MAX), Err(Error::NoSuchProcess { .. })));
    }
}
