//! Watching a scenario without offheap: whether it does what the table says of it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::table::Language;
use crate::workshop::output_of;
use crate::{Error, Jdk, Scenario, StartOptions, Workshop};

/// What the kernel and the JVM's own tracking say of a scenario over a window.
#[derive(Debug)]
pub struct Measurement {
    /// RSS in bytes, once a second from READY on.
    pub rss: Vec<u64>,
    /// The growth of file-backed and shared resident memory in bytes.
    pub file_growth: i64,
    /// Threads at the start and at the end.
    pub threads: (u64, u64),
    /// The growth of each NMT category's committed bytes, largest first; empty without a JVM.
    pub nmt: Vec<(String, i64)>,
}

impl Measurement {
    /// RSS growth in bytes per second from `from` (0 to 1) of the window to its end.
    pub fn growth_since(&self, from: f64) -> f64 {
        let first = (self.rss.len() as f64 * from) as usize;
        match (self.rss.get(first), self.rss.last()) {
            (Some(&start), Some(&end)) if self.rss.len() > first + 1 => {
                (end as f64 - start as f64) / (self.rss.len() - 1 - first) as f64
            }
            _ => 0.0,
        }
    }
}

/// Runs the scenario for `window` with NMT on and reads /proc once a second.
pub fn measure(
    scenario: &Scenario,
    workshop: &Workshop,
    options: &StartOptions,
    window: Duration,
) -> Result<Measurement, Error> {
    let mut options = options.clone();
    options.flags.push("-XX:NativeMemoryTracking=summary".into());
    let mut running = scenario.start(workshop, &options)?;
    let pid = running.pid();
    let jcmd = match scenario.language {
        Language::Java => Jdk::installed().iter().map(|jdk| jdk.tool("jcmd")).find(|jcmd| jcmd.is_file()),
        _ => None,
    };
    let nmt = || match &jcmd {
        Some(jcmd) => committed(
            &output_of(Command::new(jcmd).args([&pid.to_string(), "VM.native_memory", "summary", "scale=b"]))
                .unwrap_or_default(),
        ),
        None => BTreeMap::new(),
    };
    let (before, first) = (nmt(), status(pid)?);
    let mut rss = vec![first.rss];
    let mut last = first.clone();
    let start = Instant::now();
    while start.elapsed() < window {
        thread::sleep(Duration::from_secs(1));
        if !running.is_alive() {
            let (reason, stderr) = ("it ended in the window".into(), running.stderr());
            return Err(Error::NotReady { scenario: scenario.name.clone(), reason, stderr });
        }
        last = status(pid)?;
        rss.push(last.rss);
    }
    let mut growth: Vec<(String, i64)> = nmt()
        .into_iter()
        .map(|(name, bytes)| {
            let delta = bytes - before.get(&name).copied().unwrap_or(0);
            (name, delta)
        })
        .collect();
    growth.sort_by_key(|(_, delta)| -delta.abs());
    Ok(Measurement {
        rss,
        file_growth: last.file as i64 - first.file as i64,
        threads: (first.threads, last.threads),
        nmt: growth,
    })
}

#[derive(Clone)]
struct ProcStatus {
    rss: u64,
    file: u64,
    threads: u64,
}

/// /proc/PID/status: VmRSS, RssFile and RssShmem in kB, Threads (proc_pid_status(5)).
fn status(pid: u32) -> Result<ProcStatus, Error> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(Error::at(&path))?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0)
    };
    Ok(ProcStatus {
        rss: field("VmRSS:") << 10,
        file: (field("RssFile:") + field("RssShmem:")) << 10,
        threads: field("Threads:"),
    })
}

/// Committed bytes by category: lines like `-      Java Heap (reserved=…, committed=…)`.
fn committed(summary: &str) -> BTreeMap<String, i64> {
    summary
        .lines()
        .filter_map(|line| {
            let (name, figures) = line.strip_prefix('-')?.split_once('(')?;
            let bytes = figures.split_once("committed=")?.1;
            let digits = bytes.find(|c: char| !c.is_ascii_digit()).map_or(bytes, |end| &bytes[..end]);
            Some((name.trim().to_owned(), digits.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_per_second_of_the_rest() {
        let rss = vec![0, 50, 100, 110, 120];
        let measured = Measurement { rss, file_growth: 0, threads: (1, 1), nmt: Vec::new() };
        assert_eq!(measured.growth_since(0.0), 30.0);
        assert_eq!(measured.growth_since(0.4), 10.0);
        assert_eq!(measured.growth_since(1.0), 0.0);
    }

    #[test]
    fn nmt_categories_are_read() {
        let text = "Total: reserved=9, committed=8\n-                 Java Heap (reserved=134217728, committed=100)\n";
        assert_eq!(committed(text), BTreeMap::from([("Java Heap".to_owned(), 100)]));
    }
}
