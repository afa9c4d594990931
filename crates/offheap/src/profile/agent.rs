//! The agent in a running JVM: loading it, reading its live file, stopping it.

use super::live::{self, LiveFile};
use anyhow::bail;
use offheap_attach::{LoadOutcome, Placed, Session, loaded_as};
use offheap_linux::{Cgroup, Process};
use offheap_live::{DEFAULT_FILE_BYTES, MIN_FILE_BYTES};
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hasher, RandomState};

/// The library, as build.rs built it; empty where there is none for this processor.
pub(super) const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/liboffheap_agent.so"));
/// The agent only works under a file name with this in it.
pub(super) const LIBRARY_NAME: &str = ".offheap_agent-";
const LIVE_NAME: &str = ".offheap-live-";

/// The agent at work in a target. Dropping it stops the sampling.
#[derive(Debug)]
pub struct Agent<S: Borrow<Session>> {
    session: S,
    /// The library's path in the target, under which the loader knows it also once the file is gone.
    library: String,
    live: LiveFile,
    /// The agent was there before, with what it has sampled since.
    pub was_there: bool,
    running: bool,
}

impl<S: Borrow<Session>> Agent<S> {
    /// Loads the agent into `session`'s JVM and starts sampling, one sample each `interval` bytes. Both files are gone
    /// from the target's `/tmp` when this returns, whatever the result: the target keeps what it has mapped, and we keep
    /// the live file open.
    ///
    /// # Errors
    /// The JVM takes no agents, there is no way to put one before it, or the agent's own reason.
    pub fn start(session: S, process: &Process, interval: u64) -> anyhow::Result<Self> {
        Self::begin(session, process, interval, None)
    }

    /// As [`Agent::start`]; the live file is made at `path`, in the target's own file system, and stays there, to be read
    /// after the target *and* this process were killed.
    ///
    /// # Errors
    /// As [`Agent::start`]; also that an agent is there already, which has its live file elsewhere.
    pub fn start_at(session: S, process: &Process, interval: u64, path: &str) -> anyhow::Result<Self> {
        if !path.starts_with('/') || path.contains([',', '%']) {
            bail!(
                "the live file's path is an absolute one in the target's file system, without , and %: not {path}"
            );
        }
        Self::begin(session, process, interval, Some(path))
    }

    fn begin(session: S, process: &Process, interval: u64, keep: Option<&str>) -> anyhow::Result<Self> {
        let jvm = session.borrow();
        // An agent from an earlier run is still in the target, asleep: it is woken, and goes on with its live file.
        let earlier = Earlier::find(process)?;
        if let Some(Earlier { live: Some(_), .. }) = &earlier
            && keep.is_some()
        {
            bail!(
                "an agent is in the target already and goes on with the live file that it has; leave --live out, or \
                 restart the target"
            );
        }
        if let Some(Earlier { library: Some(library), live: Some(_) }) = &earlier
            && let Ok(LoadOutcome::Loaded) = jvm.load_agent(library, &format!("interval={interval}"))
        {
            let library = library.clone();
            return Self::join(session, library, earlier);
        }
        let tag = tag();
        let name = format!("{LIVE_NAME}{tag}");
        let library = put_library(jvm, &tag)?;
        let path = library.path().to_owned();
        let file = keep.map_or_else(|| format!("/tmp/{name}"), str::to_owned);
        let size = file_bytes(Cgroup::of(process).as_ref());
        let outcome = jvm.load_agent(&path, &format!("file={file},interval={interval},size={size}"));
        let opened = match keep {
            None => jvm.open_in_tmp(&name),
            Some(path) => live::open(&process.path_in_root(path)),
        };
        drop(library);
        if keep.is_none() {
            let _ = jvm.remove_from_tmp(&name);
        }
        explain(outcome?, &file)?;
        match opened {
            Ok(live) => {
                let live = LiveFile::Opened(live);
                Ok(Agent { session, library: path, live, was_there: false, running: true })
            }
            // The new copy of the library has handed the command on to one that was there.
            Err(_) => Self::join(session, path, Earlier::find(process)?),
        }
    }

    fn join(session: S, library: String, earlier: Option<Earlier>) -> anyhow::Result<Self> {
        let Some(live) = earlier.and_then(|earlier| earlier.live) else {
            let _ = session.borrow().load_agent(&library, "cmd=stop");
            bail!(
                "an agent that another tool or -agentpath started is in the target; read its live file where it was put"
            );
        };
        Ok(Agent { session, library, live, was_there: true, running: true })
    }

    /// A copy of the live file as it is now. After the target has ended only where the file could be opened: that is of the
    /// first run, or as root.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read(&mut self) -> std::io::Result<Vec<u8>> {
        self.live.read()
    }

    /// Samples each `interval` bytes from now on.
    ///
    /// # Errors
    /// The target has ended, or does not answer.
    pub fn set_interval(&mut self, interval: u64) -> anyhow::Result<()> {
        explain(self.session.borrow().load_agent(&self.library, &format!("interval={interval}"))?, "")
    }

    /// Samples Java objects too from now on, each `interval` bytes; whether the JVM lets it stands in the live file.
    ///
    /// # Errors
    /// The target has ended, or does not answer.
    pub fn sample_objects(&mut self, interval: u64) -> anyhow::Result<()> {
        explain(self.session.borrow().load_agent(&self.library, &format!("objects={interval}"))?, "")
    }

    /// Has the agent find out which of the sampled objects a collection has freed; it does so by and by without being told.
    ///
    /// # Errors
    /// The target has ended, or does not answer.
    pub fn sweep_objects(&mut self) -> anyhow::Result<()> {
        explain(self.session.borrow().load_agent(&self.library, "cmd=sweep")?, "")
    }

    /// Stops the sampling. The library stays loaded and passes every call through.
    ///
    /// # Errors
    /// The target has ended, or does not answer.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        if !std::mem::take(&mut self.running) {
            return Ok(());
        }
        // The loader knows the library by this name and does not look for the file.
        explain(self.session.borrow().load_agent(&self.library, "cmd=stop")?, "")
    }
}

impl<S: Borrow<Session>> Drop for Agent<S> {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Has glibc in `session`'s JVM give back what is free, by the agent: `malloc_trim(0)`. No sampling is started; the library
/// stays loaded and does nothing.
///
/// # Errors
/// As [`Agent::start`].
pub fn trim(session: &Session, process: &Process) -> anyhow::Result<()> {
    if let Some(Earlier { library: Some(library), .. }) = Earlier::find(process)?
        && let Ok(LoadOutcome::Loaded) = session.load_agent(&library, "cmd=trim")
    {
        return Ok(());
    }
    let library = put_library(session, &tag())?;
    explain(session.load_agent(library.path(), "cmd=trim")?, "")
}

/// Bytes of the live file: less than usual where little memory is left until the kernel kills, since a `/tmp` in memory
/// counts against that.
fn file_bytes(group: Option<&Cgroup>) -> u64 {
    let left = group.and_then(Cgroup::until_kill);
    let wanted = left.unwrap_or(u64::MAX) / 8;
    let (mut size, least) = (DEFAULT_FILE_BYTES, MIN_FILE_BYTES);
    while size > wanted && size > least {
        size /= 2;
    }
    size
}

/// Puts the agent's library where the target can load it and nobody exchange it.
fn put_library(session: &Session, tag: &str) -> anyhow::Result<Placed> {
    if LIBRARY.is_empty() {
        bail!("this offheap was built without its agent, which knows x86-64 only");
    }
    Ok(session.place(&format!("{LIBRARY_NAME}{tag}"), LIBRARY)?)
}

/// What an agent that came earlier has mapped.
#[derive(Debug)]
struct Earlier {
    library: Option<String>,
    live: Option<LiveFile>,
}

impl Earlier {
    fn find(process: &Process) -> anyhow::Result<Option<Earlier>> {
        let vmas = process.maps()?;
        let is_agent =
            |path: &str| path.rsplit('/').next().is_some_and(|name| name.contains("offheap_agent"));
        let library = vmas.iter().find(|vma| vma.exec && is_agent(&vma.path)).map(|vma| loaded_as(&vma.path));
        if library.is_none() {
            return Ok(None);
        }
        Ok(Some(Earlier { library, live: LiveFile::find(process)? }))
    }
}

/// What no other file is named.
pub(super) fn tag() -> String {
    format!("{}-{:016x}", std::process::id(), RandomState::new().build_hasher().finish())
}

/// The outcome in words; the codes are the agent's own (crates/agent/src/lib.rs).
fn explain(outcome: LoadOutcome, file: &str) -> anyhow::Result<()> {
    match outcome {
        LoadOutcome::Loaded => Ok(()),
        LoadOutcome::AgentFailed { code: 102 } => bail!(
            "the agent could not make its live file {file}: it takes 4 to 32 MiB there, and the target's user must be allowed \
             to write there, also files of that size (df /proc/PID/root/tmp; prlimit --fsize --pid PID); not over \
             a network (NFS, SMB, Ceph)"
        ),
        LoadOutcome::AgentFailed { code: 104 } => {
            bail!("the agent found no allocator in the target that it knows")
        }
        LoadOutcome::AgentFailed { code: 105 } => {
            bail!("another offheap is starting the agent in the target; try again")
        }
        LoadOutcome::AgentFailed { code } => bail!("the agent refused to start (code {code})"),
        LoadOutcome::Disabled { .. } => bail!(
            "the JVM takes no agents while it runs (-XX:-EnableDynamicAgentLoading); start it without that flag"
        ),
        LoadOutcome::Refused { text } if text.is_empty() => bail!(
            "the JVM did not load the agent and gives no reason: -XX:-EnableDynamicAgentLoading, or a C library other \
             than glibc"
        ),
        LoadOutcome::Refused { text } => bail!("the JVM did not load the agent: {text}"),
        outcome => bail!("the JVM did not load the agent: {outcome:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_file_is_smaller_where_memory_is_short() {
        let left = |left: u64, cache: u64| {
            let mut group = Cgroup::default();
            group.headroom = Some(left);
            group.inactive_file = cache;
            file_bytes(Some(&group))
        };
        assert_eq!(file_bytes(None), 32 << 20);
        assert_eq!(file_bytes(Some(&Cgroup::default())), 32 << 20, "no limit");
        assert_eq!(left(512 << 20, 0), 32 << 20);
        assert_eq!(left(100 << 20, 0), 8 << 20);
        assert_eq!(left(0, 300 << 20), 32 << 20, "cache that the kernel takes back first");
        assert_eq!(left(0, 0), 4 << 20);
    }
}
