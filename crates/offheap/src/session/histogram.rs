//! Class histograms of the JVM, for which objects become more.

use crate::clock::now_ns;
use crate::verbs::jcmd;
use anyhow::bail;
use offheap_diagnose::{ClassGrowth, source_name};
use offheap_formats::{Figures, jcmd as formats};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long the JVM may take: it stops to count.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The objects of each class at an instant, garbage included: without `-all` the JVM would collect
/// first.
#[derive(Debug)]
pub struct Histogram {
    /// On the monotonic clock.
    at: Duration,
    took: Duration,
    classes: Figures,
}

/// Asks the JVM `pid`.
///
/// # Errors
/// It does not answer, or not with a histogram.
pub fn take(pid: i32) -> anyhow::Result<Histogram> {
    let session = jcmd::open(pid, TIMEOUT)?;
    let asked = Instant::now();
    let reply = session.jcmd("GC.class_histogram -all")?;
    let took = asked.elapsed();
    if reply.status != 0 {
        bail!("the JVM says: {}", reply.text.trim());
    }
    Ok(Histogram::of(formats::read(reply.text.as_bytes())?, Duration::from_nanos(now_ns()), took))
}

impl Histogram {
    /// Of these classes, taken at `at` of a clock of the caller's, which took so long.
    pub fn of(classes: Figures, at: Duration, took: Duration) -> Histogram {
        Histogram { at, took, classes }
    }

    /// From the request to the reply: the JVM stood still for at most as long.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// What became of each class until `later`, and how many seconds that took.
    pub fn growth(&self, later: &Histogram) -> (Vec<ClassGrowth>, f64) {
        let before: HashMap<&str, (u64, u64)> = self
            .classes
            .list
            .iter()
            .map(|class| (class.name.as_str(), (class.count.unwrap_or(0), class.bytes)))
            .collect();
        let growth = later.classes.list.iter().map(|class| {
            let (count, bytes) = before.get(class.name.as_str()).copied().unwrap_or_default();
            ClassGrowth {
                name: source_name(&class.name),
                before: count,
                after: class.count.unwrap_or(0),
                after_bytes: class.bytes,
                bytes: i64::try_from(class.bytes).unwrap_or(i64::MAX)
                    - i64::try_from(bytes).unwrap_or(i64::MAX),
            }
        });
        (growth.collect(), later.at.saturating_sub(self.at).as_secs_f64())
    }
}
