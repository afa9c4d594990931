//! What a session does to a process, and learns by it; and its clock. One for real processes
//! (`live.rs`), one for tests, in which ten minutes take none.

use super::events::{Collected, SearchProgress};
use super::histogram::Histogram;
use offheap_model::{Profile, PythonHeld, Reach, Snapshot};
use std::time::Duration;

/// A snapshot, or why there is none.
#[derive(Debug)]
pub enum Seen {
    /// As the process is now.
    Snapshot(Box<Snapshot>),
    /// Something that is no point of a series: the process is just ending.
    LastWords,
    /// The process has ended, in these words.
    Ended(String),
}

/// How code is looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Hunt {
    /// By the agent in a JVM: this is thought to grow, bytes per second, for as long.
    Agent {
        /// Bytes per second; 0: as finely as the process can bear.
        per_s: f64,
        /// What is left of the window.
        remaining: Duration,
    },
    /// By the agent that came with the program, else by probes.
    WithoutJvm,
}

/// The hands and the clock of a session. What takes long goes on beside it: it is started, and its
/// result taken later.
pub trait Actions {
    /// Time since the window's start.
    fn now(&self) -> Duration;

    /// Processor time that the session's own thread has taken.
    fn spent(&self) -> Duration;

    /// The calendar's time, milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;

    /// Looks at the process.
    ///
    /// # Errors
    /// It can't be looked at.
    fn snapshot(&mut self) -> anyhow::Result<Seen>;

    /// Waits until the next snapshot is due; false where that is behind `end`, or where the user
    /// wants the verdict now.
    fn wait(&mut self, end: Duration) -> bool;

    /// Which Java objects are in use; `None` where that can't be told.
    fn reach(&mut self) -> Option<Reach>;

    /// Who holds the Python objects of a type.
    fn python_holders(&mut self, name: &str) -> Option<PythonHeld>;

    /// Starts to look for code in the process `pid`.
    fn search(&mut self, pid: i32, hunt: Hunt);

    /// What the search has to say since it was asked last.
    fn search_progress(&mut self) -> Vec<SearchProgress>;

    /// The sites as they are now; `None` where there are none yet.
    fn profile(&mut self) -> Option<Profile>;

    /// Samples Java objects too from now on.
    fn sample_objects(&mut self);

    /// Samples blocks as closely from now on as the process can bear.
    fn sample_closely(&mut self);

    /// Stops the sampling and waits until the agent sleeps; its last words.
    fn end_search(&mut self) -> Vec<SearchProgress>;

    /// Starts a full collection of the JVM `pid`.
    fn collect(&mut self, pid: i32);

    /// What became of the collection that was started last, once: where `wait`, waits for it.
    fn collected(&mut self, wait: bool) -> Option<Collected>;

    /// Starts to count the objects of the JVM `pid` by class.
    fn count(&mut self, pid: i32);

    /// The count that was started last, once: where `wait`, waits for it. `Some(None)`: it failed.
    fn counted(&mut self, wait: bool) -> Option<Option<Histogram>>;
}
