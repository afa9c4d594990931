//! How long a thread of the target that does nothing but look at the clock is kept from it by an attach.

use crate::{Jdk, offheap, run_within, storm};
use std::process::Command;
use std::time::Duration;

/// The longest times between two looks, a window each: in a native thread, and in a Java thread, which waits for safepoints too.
#[derive(Debug, Default, Clone)]
pub struct Gaps {
    /// Of the native threads.
    pub native: Vec<Duration>,
    /// Of the Java threads.
    pub java: Vec<Duration>,
}

impl Gaps {
    fn add(&mut self, answer: &str) {
        let mut numbers = answer.split(' ').filter_map(|word| word.parse().ok().map(Duration::from_nanos));
        self.native.extend(numbers.next());
        self.java.extend(numbers.next());
    }
}

/// The `part` (0 to 1) of them, counted from the shortest.
pub fn quantile(gaps: &[Duration], part: f64) -> Duration {
    let mut all = gaps.to_vec();
    all.sort_unstable();
    let at = (all.len() as f64 * part).ceil() as usize;
    all.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

/// Loads the agent into so many new JVMs; what the clock showed while it was loaded and stopped, and for as long in the same JVM
/// without that.
///
/// # Panics
/// When a JVM ends.
pub fn attaches(jdk: &Jdk, count: u32) -> (Gaps, Gaps) {
    let (mut attached, mut control) = (Gaps::default(), Gaps::default());
    for _ in 0..count {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let mut jvm = storm::start(jdk, &["-XX:+UseSerialGC"], &["clock", "objects"], folder.path());
        std::thread::sleep(Duration::from_millis(300));
        let pid = jvm.pid().to_string();
        jvm.ask("gap");
        let mut command = Command::new(offheap());
        let ended =
            run_within(command.args(["profile", &pid, "--for", "100ms", "--json"]), Duration::from_secs(60));
        attached.add(&jvm.ask("gap"));
        assert_eq!(ended.code(), Some(0), "{}", ended.err);
        std::thread::sleep(Duration::from_millis(100));
        jvm.ask("gap");
        std::thread::sleep(ended.took);
        control.add(&jvm.ask("gap"));
    }
    (attached, control)
}
