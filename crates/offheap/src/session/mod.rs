//! A session: one process, watched for a window. The same engine whoever asks (`diagnose`, `check`,
//! `fit`): what to do next is decided in `procedure.rs` and `follower.rs`, done by [`Actions`], told
//! as [`Event`]s. It has no clock and touches no process itself, so that ten minutes of a leak are a
//! test of milliseconds (`tests.rs`).

mod actions;
mod allowed;
mod events;
mod follower;
mod histogram;
mod live;
mod pauses;
mod procedure;
mod search;
#[cfg(test)]
mod tests;

pub use actions::{Actions, Seen};
pub use allowed::{Allowed, Gc};
pub use events::Event;
pub use live::Live;
pub use pauses::DEFAULT_MAX_PAUSE;
pub use procedure::SearchResult;

use follower::Follower;
use offheap_diagnose::{Evidence, python_suspects};
use offheap_model::Snapshot;
use procedure::Procedure;
use std::time::Duration;

/// Whether it is asked who holds what became more: of use to a verdict only, and not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum References {
    /// Followed where that matters.
    Followed,
    /// Left alone.
    Left,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Observed {
    /// The snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Marks: when, and what.
    pub marks: Vec<(i64, String)>,
    /// What the search for the code found.
    pub search: SearchResult,
    /// Why it ended early, if it did.
    pub ended: Option<String>,
}

/// What a session shows while it goes on.
pub trait Audience {
    /// Something happened, so long after the start; not told for what the end brings.
    fn event(&mut self, at: Option<Duration>, event: &Event);

    /// How the verdict stands, in a few words, after one more snapshot.
    fn interim_verdict(&mut self, at: Duration, rss_bytes: u64, words: &str);

    /// What it is busy with.
    fn busy(&mut self, with: &str);
}

/// What is asked of a session.
#[derive(Debug, Clone, Copy)]
pub struct Task {
    /// The window.
    pub length: Duration,
    /// What may be done to the process.
    pub allowed: Allowed,
    /// Whether references are followed.
    pub references: References,
}

impl Task {
    /// Watches the process behind `actions`.
    ///
    /// # Errors
    /// It can't be looked at, or had ended before anything was seen.
    pub fn run(self, actions: &mut dyn Actions, audience: &mut dyn Audience) -> anyhow::Result<Observed> {
        let mut observed = Observed::default();
        let mut procedure = Procedure::new(self.allowed, self.length);
        let mut follower = (self.references == References::Followed).then(|| Follower::new(self.length));
        loop {
            match actions.snapshot()? {
                // The next look tells the end.
                Seen::LastWords => continue,
                Seen::Snapshot(snapshot) => observed.snapshots.push(*snapshot),
                Seen::Ended(how) if observed.snapshots.is_empty() => anyhow::bail!(how),
                Seen::Ended(how) => {
                    observed.ended = Some(how);
                    break;
                }
            }
            follow(follower.as_mut(), &mut observed.snapshots, false, actions, audience);
            let events = procedure.step(&observed.snapshots, actions);
            let at = actions.now();
            events.iter().for_each(|event| audience.event(Some(at), event));
            let rss = observed.snapshots.last().map_or(0, |snapshot| snapshot.memory.rss_bytes);
            audience.interim_verdict(at, rss, procedure.interim_verdict());
            if !actions.wait(self.length) {
                break;
            }
        }
        if follower.is_some() && observed.ended.is_none() {
            follow(follower.as_mut(), &mut observed.snapshots, true, actions, audience);
            python_holders(&mut observed.snapshots, actions, audience);
        }
        audience.busy("reading the allocation sites");
        let (result, events) = procedure.finish(actions);
        events.iter().for_each(|event| audience.event(None, event));
        observed.search = result;
        Ok(observed)
    }
}

/// Follows the references on the Java heap, if that is due.
fn follow(
    follower: Option<&mut Follower>,
    snapshots: &mut [Snapshot],
    end: bool,
    actions: &mut dyn Actions,
    audience: &mut dyn Audience,
) {
    let begun = actions.now();
    if let Some(follower) = follower
        && follower.is_due(snapshots, begun, end)
    {
        audience.busy("following the references on the Java heap");
        follower.follow(snapshots, begun, actions);
    }
}

/// Has it looked for who holds the Python objects that became more, if some did.
fn python_holders(snapshots: &mut [Snapshot], actions: &mut dyn Actions, audience: &mut dyn Audience) {
    if snapshots.last().is_none_or(|snapshot| snapshot.python.is_none()) {
        return;
    }
    let wanted = python_suspects(&Evidence::of(snapshots));
    let Some(python) = snapshots.last_mut().and_then(|snapshot| snapshot.python.as_mut()) else { return };
    for name in wanted {
        audience.busy(&format!("following the references to {name} objects"));
        // Where it can't be told the verdict stands without.
        python.held.extend(actions.python_holders(&name));
    }
}
