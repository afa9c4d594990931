//! When the references on the Java heap are followed within a window.

use super::actions::Actions;
use offheap_diagnose::rules::{IN_USE_DECIDES_S, asks_what_is_in_use};
use offheap_diagnose::{Evidence, diagnose};
use offheap_model::Snapshot;
use std::time::Duration;

/// Times in a window that references are followed: three of them, which make a series, by half of
/// it.
const FOLLOWED: u32 = 6;
/// How often between two times of following references it is asked whether that matters yet.
const ASKED: u32 = 10;
/// References are followed only at the end where one time takes more than one part in this many of
/// the window as processor time.
/// Unit: parts.
const FOLLOWED_SHARE: u32 = 60;
/// By the clock one time may take this many times as long as in processor time, on a machine that
/// has other things to do: no snapshot is taken meanwhile.
/// Unit: times.
const WAITS: u32 = 5;
/// A look that a collection has spoilt is made again after one part in this many of the time
/// between two.
/// Unit: parts.
const AGAIN: u32 = 3;

/// Follows the references on the Java heap where it matters: where only a collection could tell
/// garbage from a leak, what is in use can be seen from outside, too.
#[derive(Debug)]
pub struct Follower {
    every: Duration,
    next: Duration,
    most: Duration,
    /// Once it mattered, or where it always does, the looks go on, to make a series.
    begun: bool,
}

impl Follower {
    /// For a window of this length that starts now.
    pub fn new(length: Duration) -> Follower {
        let every = length / FOLLOWED;
        // In a long window what is in use decides by itself, also where the rest seems to be still.
        let begun = length.as_secs_f64() > IN_USE_DECIDES_S;
        Follower { every, next: every, most: length / FOLLOWED_SHARE, begun }
    }

    /// Whether it is to be done now: it is due, or this is the end.
    pub fn is_due(&mut self, snapshots: &[Snapshot], now: Duration, end: bool) -> bool {
        let done = snapshots.last().and_then(|s| s.jvm.as_ref()).is_none_or(|jvm| jvm.reach.is_some());
        if done || !(end || now >= self.next) {
            return false;
        }
        if !self.begun && !asks_what_is_in_use(&diagnose(&Evidence::of(snapshots)).verdict) {
            // Each second in a window of a minute; a long one has many snapshots to judge.
            self.next = now + self.every / ASKED;
            return false;
        }
        self.begun = true;
        true
    }

    /// Does it, from `begun` on.
    pub fn follow(&mut self, snapshots: &mut [Snapshot], begun: Duration, actions: &mut dyn Actions) {
        let spent = actions.spent();
        let reach = actions.reach();
        let cost = actions.spent().saturating_sub(spent);
        let too_much = cost > self.most || actions.now() - begun > self.most * WAITS;
        self.next = begun
            + match &reach {
                _ if too_much => NEVER,
                // A collection came in between; the next look may be luckier.
                None => self.every / AGAIN,
                Some(_) => self.every.mul_f64(0.98),
            };
        if let Some(jvm) = snapshots.last_mut().and_then(|snapshot| snapshot.jvm.as_mut()) {
            jvm.reach = reach;
        }
    }
}

/// Later than any window's end that matters here.
const NEVER: Duration = Duration::from_secs(86_400);
