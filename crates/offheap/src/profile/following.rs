//! A process with the agent in it that is watched for a while, perhaps to its end.

use super::live::LiveFile;
use super::{Agent, Window};
use crate::clock::{now_ms, now_ns};
use crate::verbs::jcmd;
use anyhow::{Context, bail};
use offheap_attach::Session;
use offheap_linux::Process;
use offheap_live::Reader;
use offheap_model::Profile;
use std::time::{Duration, Instant};

/// How long the JVM may take to load the agent.
const ATTACH: Duration = Duration::from_secs(30);
/// When, and how often from then on, the libraries seen since are looked into: they may be gone
/// with the process.
const LEARN: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(20)];

/// Whose the agent is.
#[derive(Debug)]
enum Source {
    /// We have loaded it, or woken it, and stop it.
    Ours(Box<Agent<Session>>),
    /// It came with the program (`offheap run`), which has no JVM that could be asked to do
    /// anything.
    Preloaded(LiveFile),
}

/// A process with the agent in it, and what was read of it so far.
#[derive(Debug)]
pub struct Following {
    process: Process,
    source: Source,
    /// Java objects are sampled too.
    objects: bool,
    window: Window,
    learn_at: Instant,
}

impl Following {
    /// Loads the agent into the JVM `pid`: one sample each `interval` bytes. With `live` its live
    /// file is made there and stays.
    ///
    /// # Errors
    /// As [`Agent::start`] and [`Agent::start_at`].
    pub fn start(pid: i32, interval: u64, live: Option<&str>) -> anyhow::Result<Following> {
        let process = Process::open(pid)?;
        let start_ms = now_ms();
        let session = jcmd::open(pid, ATTACH)?;
        let mut agent = match live {
            None => Agent::start(session, &process, interval)?,
            Some(path) => Agent::start_at(session, &process, interval, path)?,
        };
        let window = Window::begin(agent.read()?, now_ns(), start_ms, agent.was_there)?;
        let source = Source::Ours(Box::new(agent));
        Ok(Following { process, source, objects: false, window, learn_at: Instant::now() + LEARN[0] })
    }

    /// Looks on while an agent samples that came with the program `pid`; `None` where there is
    /// none.
    ///
    /// # Errors
    /// The process has ended, or its memory may not be read.
    pub fn look_on(pid: i32) -> anyhow::Result<Option<Following>> {
        let process = Process::open(pid)?;
        let start_ms = now_ms();
        let Some(live) = LiveFile::find(&process)? else { return Ok(None) };
        let window = Window::begin(live.read()?, now_ns(), start_ms, true)?;
        let source = Source::Preloaded(live);
        Ok(Some(Following { process, source, objects: false, window, learn_at: Instant::now() + LEARN[0] }))
    }

    /// Reads the live file once more. Where the process has ended and its file with it, what was
    /// read last stays.
    ///
    /// # Errors
    /// What the kernel says of a process that lives.
    pub fn read(&mut self) -> anyhow::Result<()> {
        let bytes = match &mut self.source {
            Source::Ours(agent) => agent.read(),
            Source::Preloaded(live) => live.read(),
        };
        match bytes {
            Ok(bytes) => self.window.add(bytes, now_ns())?,
            Err(_) if !self.process.is_alive() => return Ok(()),
            Err(error) => return Err(error).context("cannot read the agent's live file"),
        }
        if Instant::now() >= self.learn_at {
            self.learn_at = Instant::now() + LEARN[1];
            self.window.learn(&self.process)?;
        }
        Ok(())
    }

    /// Whether the agent was there before, with what it has sampled since.
    pub fn was_there(&self) -> bool {
        match &self.source {
            Source::Ours(agent) => agent.was_there,
            Source::Preloaded(_) => true,
        }
    }

    /// Live bytes at the latest reading.
    pub fn live_bytes(&self) -> f64 {
        self.window.live_bytes()
    }

    /// Samples taken in the window so far.
    pub fn samples(&self) -> u64 {
        self.window.samples()
    }

    /// Samples each `interval` bytes from now on; an agent that is not ours goes on as it was told.
    ///
    /// # Errors
    /// The JVM does not answer.
    pub fn set_interval(&mut self, interval: u64) -> anyhow::Result<()> {
        match &mut self.source {
            Source::Ours(agent) => agent.set_interval(interval),
            Source::Preloaded(_) => Ok(()),
        }
    }

    /// Samples Java objects too, each `interval` bytes from now on.
    ///
    /// # Errors
    /// The JVM does not answer, or why it samples none.
    pub fn sample_objects(&mut self, interval: u64) -> anyhow::Result<()> {
        let Source::Ours(agent) = &mut self.source else { return Ok(()) };
        agent.sample_objects(interval)?;
        let state = Reader::new(&agent.read()?)?.info().objects;
        if state.refused() {
            bail!("{state}");
        }
        self.objects = true;
        Ok(())
    }

    /// As [`Following::read`], with what the last collections have freed found out where Java
    /// objects are sampled.
    ///
    /// # Errors
    /// As there; the JVM does not answer.
    pub fn read_swept(&mut self) -> anyhow::Result<()> {
        if self.objects
            && self.is_alive()
            && let Source::Ours(agent) = &mut self.source
        {
            agent.sweep_objects()?;
        }
        self.read()
    }

    /// Java objects sampled so far.
    pub fn objects(&self) -> u64 {
        self.window.objects()
    }

    /// Whether the process lives.
    pub fn is_alive(&self) -> bool {
        self.process.is_alive()
    }

    /// Stops the sampling, if it is ours; dropping it does so too, but says nothing.
    ///
    /// # Errors
    /// The JVM does not answer.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        match &mut self.source {
            Source::Ours(agent) => agent.stop(),
            Source::Preloaded(_) => Ok(()),
        }
    }

    /// The profile at the latest reading.
    ///
    /// # Errors
    /// The live file is damaged.
    pub fn profile(&self) -> anyhow::Result<Profile> {
        Ok(self.window.profile(&self.process)?)
    }
}
