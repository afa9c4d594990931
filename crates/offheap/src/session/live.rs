//! A session's hands on a running process: the collector, the agent, `jcmd`, each that takes long on
//! a thread of its own.

use super::actions::{Actions, Hunt, Seen};
use super::events::{Collected, SearchProgress};
use super::histogram::{self, Histogram};
use super::search::SiteSearch;
use crate::clock;
use crate::sampler::{Sampler, Stop};
use crate::verbs::jcmd;
use offheap_model::{Profile, PythonHeld, Reach};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the JVM may take for a collection: a large heap on a busy machine.
const COLLECTION: Duration = Duration::from_secs(120);

/// The hands.
#[derive(Debug)]
pub struct Live {
    begun: Instant,
    sampler: Sampler,
    stop: Stop,
    search: Option<SiteSearch>,
    collection: Option<JoinHandle<Collected>>,
    count: Option<JoinHandle<Option<Histogram>>>,
}

impl Live {
    /// On the process of `sampler`; the window starts now.
    pub fn new(sampler: Sampler, stop: Stop) -> Live {
        Live { begun: Instant::now(), sampler, stop, search: None, collection: None, count: None }
    }
}

/// The result of a thread that has ended, or that is waited for.
fn taken<T>(thread: &mut Option<JoinHandle<T>>, wait: bool) -> Option<std::thread::Result<T>> {
    thread.take_if(|thread| wait || thread.is_finished()).map(JoinHandle::join)
}

impl Actions for Live {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn spent(&self) -> Duration {
        clock::cpu_time()
    }

    fn now_ms(&self) -> i64 {
        clock::now_ms()
    }

    fn snapshot(&mut self) -> anyhow::Result<Seen> {
        match self.sampler.snapshot() {
            Ok(snapshot) if offheap_collect::is_last_words(&snapshot) => Ok(Seen::LastWords),
            Ok(snapshot) => Ok(Seen::Snapshot(Box::new(snapshot))),
            Err(error) if error.is_gone() => {
                Ok(Seen::Ended(format!("{error}: {}", self.sampler.collector().end())))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn wait(&mut self, end: Duration) -> bool {
        if self.stop.is_wanted() || self.sampler.due() > self.begun + end {
            return false;
        }
        self.stop.sleep_until(self.sampler.due());
        !self.stop.is_wanted()
    }

    fn reach(&mut self) -> Option<Reach> {
        self.sampler.collector().reach()
    }

    fn python_holders(&mut self, name: &str) -> Option<PythonHeld> {
        self.sampler.collector().python_holders(name).ok()
    }

    fn search(&mut self, pid: i32, hunt: Hunt) {
        self.search = Some(match hunt {
            Hunt::Agent { per_s, remaining } => SiteSearch::start(pid, per_s, remaining),
            Hunt::WithoutJvm => SiteSearch::start_without_jvm(pid),
        });
    }

    fn search_progress(&mut self) -> Vec<SearchProgress> {
        self.search.as_mut().map(SiteSearch::progress).unwrap_or_default()
    }

    fn profile(&mut self) -> Option<Profile> {
        self.search.as_ref().and_then(SiteSearch::profile)
    }

    fn sample_objects(&mut self) {
        if let Some(search) = &self.search {
            search.sample_objects();
        }
    }

    fn sample_closely(&mut self) {
        if let Some(search) = &self.search {
            search.sample_closely();
        }
    }

    fn end_search(&mut self) -> Vec<SearchProgress> {
        self.search.take().map(SiteSearch::finish).unwrap_or_default()
    }

    fn collect(&mut self, pid: i32) {
        self.collection = Some(std::thread::spawn(move || collect(pid)));
    }

    fn collected(&mut self, wait: bool) -> Option<Collected> {
        let result = taken(&mut self.collection, wait)?;
        Some(result.unwrap_or_else(|_| Collected::Failed("asking for it broke down".to_owned())))
    }

    fn count(&mut self, pid: i32) {
        self.count = Some(std::thread::spawn(move || histogram::take(pid).ok()));
    }

    fn counted(&mut self, wait: bool) -> Option<Option<Histogram>> {
        Some(taken(&mut self.count, wait)?.ok().flatten())
    }
}

/// Has the JVM `pid` run one full collection.
fn collect(pid: i32) -> Collected {
    let session = match jcmd::open(pid, COLLECTION) {
        Ok(session) => session,
        Err(error) => return Collected::Failed(format!("{error:#}")),
    };
    let begun = Instant::now();
    match session.jcmd("GC.run") {
        Ok(reply) if reply.text.contains("disabled") => Collected::Said(reply.text.trim().to_owned()),
        Ok(_) => Collected::Took(begun.elapsed()),
        Err(error) => Collected::Failed(format!("{error:#}")),
    }
}
