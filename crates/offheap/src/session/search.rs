//! The search for the code while a process is watched: the agent beside the snapshots, on a thread
//! of its own, so that a JVM that is slow to answer leaves no gap in the series. Where there is no
//! JVM to load it, probes of the kernel take its place.

use super::events::{NoCode, SearchProgress};
use crate::profile::{Following, Probed};
use anyhow::Context;
use offheap_model::Profile;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The mean bytes between two samples that the sampling starts with: what any program can bear.
const WIDEST: u64 = 512 << 10;
/// The mean bytes between two samples are never fewer than this: every allocation of this size is
/// seen then.
const CLOSEST: u64 = 16 << 10;
/// Samples a second that cost the target well below one percent of a core, at a microsecond or two
/// each.
/// Unit: samples/s.
const SAMPLES_PER_S: f64 = 2_000.0;
/// Samples of Java objects a second that a target can bear, at some ten microseconds each.
/// Unit: samples/s.
const OBJECTS_PER_S: f64 = 300.0;
/// The most mean bytes between two samples of objects, which may be sampled more widely than
/// blocks: many programs make gigabytes of them a second.
const WIDEST_OBJECTS: u64 = 8 << 20;
/// This many samples of what grows name a site for sure.
/// Unit: samples.
const ENOUGH: f64 = 400.0;
/// How long the rate of samples is looked at before the interval is chosen.
const TRIAL: Duration = Duration::from_millis(1_500);
/// Least time between two readings of the live file.
const READ: Duration = Duration::from_secs(1);
/// The time between two readings is one part in this many of what has passed.
/// Unit: parts.
const READ_PART: u32 = 30;
/// Most time between two readings of the live file, however long the window is.
const SELDOM: Duration = Duration::from_secs(20);

/// A search under way. Dropping it stops the sampling.
#[derive(Debug)]
pub struct SiteSearch {
    orders: Option<Sender<Order>>,
    progress: Receiver<SearchProgress>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

#[derive(Debug)]
enum Order {
    /// The sites as they are now.
    Profile(Sender<anyhow::Result<Profile>>),
    /// Sample Java objects too.
    Objects,
    /// Sample blocks as closely as the target can bear.
    Closely,
}

impl SiteSearch {
    /// Puts the agent into the JVM `pid` and samples. `per_s`: what is thought to grow, bytes per
    /// second, over the `remaining` window.
    pub fn start(pid: i32, per_s: f64, remaining: Duration) -> SiteSearch {
        SiteSearch::on_a_thread(move |inbox, tell| with_agent(pid, per_s, remaining, inbox, tell))
    }

    /// For a process `pid` without a JVM: looks on where it came with the agent, and probes its
    /// malloc where not.
    pub fn start_without_jvm(pid: i32) -> SiteSearch {
        SiteSearch::on_a_thread(move |inbox, tell| match Following::look_on(pid)? {
            Some(following) => look_on(following, inbox, tell),
            None => by_probes(pid, inbox, tell),
        })
    }

    fn on_a_thread(
        work: impl FnOnce(&Receiver<Order>, &Sender<SearchProgress>) -> anyhow::Result<()> + Send + 'static,
    ) -> SiteSearch {
        let (orders, inbox) = channel();
        let (tell, progress) = channel();
        let thread = std::thread::spawn(move || work(&inbox, &tell));
        SiteSearch { orders: Some(orders), progress, thread: Some(thread) }
    }

    /// Samples Java objects too from now on, where there is an agent of ours to do it.
    pub fn sample_objects(&self) {
        self.order(Order::Objects);
    }

    /// Samples blocks as closely from now on as the target can bear: what is looked for is small.
    pub fn sample_closely(&self) {
        self.order(Order::Closely);
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // Where it has ended there is nobody to sample.
            let _ = orders.send(order);
        }
    }

    /// What it has to say since it was asked last.
    pub fn progress(&mut self) -> Vec<SearchProgress> {
        let mut progress: Vec<SearchProgress> = self.progress.try_iter().collect();
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            progress.extend(self.end());
        }
        progress
    }

    /// The sites as they are now; `None` where the agent could not be loaded or has nothing yet.
    pub fn profile(&self) -> Option<Profile> {
        let (answer, profile) = channel();
        self.orders.as_ref()?.send(Order::Profile(answer)).ok()?;
        profile.recv().ok()?.ok()
    }

    /// Stops the sampling and waits until the agent sleeps.
    pub fn finish(mut self) -> Vec<SearchProgress> {
        let last = self.end();
        self.progress.try_iter().chain(last).collect()
    }

    fn end(&mut self) -> Option<SearchProgress> {
        self.orders = None;
        let result =
            self.thread.take()?.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the search broke down")));
        Some(SearchProgress::NoCode(NoCode::Failed(format!("{:#}", result.err()?))))
    }
}

impl Drop for SiteSearch {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread: loads the agent, keeps readings of the live file, answers; ends when the orders do.
fn with_agent(
    pid: i32,
    per_s: f64,
    remaining: Duration,
    inbox: &Receiver<Order>,
    tell: &Sender<SearchProgress>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut following = Following::start(pid, WIDEST, None)?;
    let _ = tell.send(SearchProgress::Loaded(begun.elapsed()));
    let (mut chosen, mut widest_rate) = (false, 0.0);
    // How fast what is looked for grows, bytes per second.
    let mut per_s = per_s;
    // When the sampling of objects began, until its interval is chosen.
    let mut objects: Option<Instant> = None;
    loop {
        let wait = if chosen { (begun.elapsed() / READ_PART).clamp(READ, SELDOM) } else { TRIAL };
        match inbox.recv_timeout(wait) {
            Ok(Order::Profile(answer)) => {
                let _ = answer.send(following.read_swept().and_then(|()| following.profile()));
            }
            Ok(Order::Closely) if chosen => {
                // The rate was that of the widest; a wider one would be chosen again.
                following.set_interval(interval(0.0, remaining, widest_rate))?;
            }
            Ok(Order::Closely) => per_s = 0.0,
            Ok(Order::Objects) => match following.sample_objects(WIDEST) {
                Ok(()) => {
                    objects = Some(Instant::now());
                    let _ = tell.send(SearchProgress::Objects);
                }
                Err(why) => {
                    let _ = tell.send(SearchProgress::NoObjects(format!("{why:#}")));
                }
            },
            Err(RecvTimeoutError::Timeout) => {
                following.read()?;
                if let Some(since) = objects.take_if(|since| since.elapsed() >= TRIAL) {
                    let rate = following.objects() as f64 / since.elapsed().as_secs_f64();
                    let interval = object_interval(rate);
                    if interval != WIDEST {
                        following.sample_objects(interval)?;
                    }
                }
                if !chosen {
                    chosen = true;
                    widest_rate = following.samples() as f64 / begun.elapsed().as_secs_f64();
                    let interval = interval(per_s, remaining, widest_rate);
                    if interval < WIDEST {
                        following.set_interval(interval)?;
                    }
                    let _ = tell.send(SearchProgress::Interval(interval));
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if following.is_alive() {
        following.stop().context("the agent could not be told to stop and samples on")?;
    }
    Ok(())
}

/// The mean bytes between two samples of objects that the target can bear, whose JVM took `rate`
/// samples a second with one each [`WIDEST`]: each costs some ten microseconds, most of it the
/// JVM's own.
fn object_interval(rate: f64) -> u64 {
    ((WIDEST as f64 * rate / OBJECTS_PER_S) as u64).clamp(CLOSEST, WIDEST_OBJECTS).next_power_of_two()
}

/// The same with an agent that came with the program and samples on as it was told.
fn look_on(
    mut following: Following,
    inbox: &Receiver<Order>,
    tell: &Sender<SearchProgress>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let _ = tell.send(SearchProgress::CameWithIt);
    loop {
        match inbox.recv_timeout((begun.elapsed() / READ_PART).clamp(READ, SELDOM)) {
            Ok(Order::Profile(answer)) => {
                let _ = answer.send(following.read().and_then(|()| following.profile()));
            }
            // It samples on as it was told.
            Ok(Order::Objects | Order::Closely) => {}
            Err(RecvTimeoutError::Timeout) => following.read()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// The same by probes.
fn by_probes(pid: i32, inbox: &Receiver<Order>, tell: &Sender<SearchProgress>) -> anyhow::Result<()> {
    let mut probed =
        Probed::start(pid).context("from its start it can be watched: offheap run -- COMMAND")?;
    let _ = tell.send(SearchProgress::Probing);
    loop {
        match inbox.recv_timeout(probed.wait()) {
            Ok(Order::Profile(answer)) => {
                let _ = answer.send(Ok(probed.profile()));
            }
            Ok(Order::Objects | Order::Closely) => {}
            Err(RecvTimeoutError::Timeout) => probed.step(),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// The mean bytes between two samples that give enough samples of growth by `per_s`, as far as the
/// target can bear it: it took `rate` samples a second at the widest.
fn interval(per_s: f64, remaining: Duration, rate: f64) -> u64 {
    let wanted = per_s * remaining.as_secs_f64() / ENOUGH;
    let bearable = WIDEST as f64 * rate / SAMPLES_PER_S;
    // As a power of two: a figure that a person can say, and that an agent of an earlier run may
    // have already.
    (wanted.max(bearable) as u64).clamp(CLOSEST, WIDEST).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_gives_enough_samples_and_no_burden() {
        let minute = Duration::from_secs(60);
        // 1 MB/s over a minute: 60 MB in 400 samples would be 150 kB.
        assert_eq!(interval(1e6, minute, 10.0), 256 << 10);
        assert_eq!(interval(1e5, minute, 10.0), 16 << 10);
        assert_eq!(interval(1e5, minute, 400.0), 128 << 10);
        assert_eq!(interval(1e5, minute, 4_000.0), WIDEST);
        assert_eq!(interval(1e9, minute, 0.0), WIDEST);
    }

    #[test]
    fn objects_are_sampled_as_often_as_can_be_borne() {
        assert_eq!(object_interval(0.0), CLOSEST);
        assert_eq!(object_interval(300.0), WIDEST);
        // 1.5 GB/s, and what no program does.
        assert_eq!(object_interval(3_000.0), WIDEST_OBJECTS);
        assert_eq!(object_interval(1e9), WIDEST_OBJECTS);
    }
}
