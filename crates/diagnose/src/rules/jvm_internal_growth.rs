//! # The JVM's own memory grows
//!
//! ## Signature
//! A category of native memory tracking that no other rule speaks of grows steadily; without
//! tracking, the domain `jvm-internal`.
//!
//! ## Why
//! | Category | Usual cause |
//! |---|---|
//! | Internal | JNI: global references never deleted, `GetStringUTFChars` without release; JVMTI agents |
//! | Tracing | JFR: recordings without a limit, many event types |
//! | Serviceability | agents and attach operations |
//! | Native Memory Tracking | level detail, many call sites |
//! | Synchronization, Object Monitors | many inflated locks |
//! | Module, Logging, Arguments | start-up only; growth is rare |
//!
//! ## Confirm
//! - `jcmd PID VM.native_memory baseline`, later `summary.diff`.
//! - `jcmd PID Thread.print | tail`: `JNI global refs: N, weak refs: M`, twice.
//! - `jcmd PID JFR.check`; the command line for `-javaagent` and `-agentpath`.
//!
//! ## Fix
//! - JNI: `DeleteGlobalRef`, `ReleaseStringUTFChars` on every path.
//! - JFR: `maxsize=…`, `maxage=…`, `-XX:FlightRecorderOptions=memorysize=…`.
//! - Agents: compare without each.
//!
//! ## Example
//! *In process 4711, the JVM's own memory of category Internal grew steadily over 1 min (61
//! snapshots)…*

use super::Rule;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::{Freed, Growth};
use crate::series::Key;
use offheap_model::{Domain, Finding};

/// See the page.
pub struct JvmInternalGrowth;

/// Categories that other rules speak of, or that other domains are made of.
const ELSEWHERE: [&str; 17] = [
    "Java Heap",
    "Class",
    "Metaspace",
    "Thread",
    "Thread Stack",
    "Code",
    "GC",
    "GCCardSet",
    "Card Set",
    "Compiler",
    "Arena Chunk",
    "JVMCI",
    "Other",
    "Symbol",
    "Shared class space",
    "Test",
    "Unknown",
];

impl Rule for JvmInternalGrowth {
    fn id(&self) -> &'static str {
        "jvm-internal-growth"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let jvm = evidence.last()?.jvm.as_ref()?;
        let (category, growth) = match jvm.nmt {
            Some(_) => by_category(evidence, jvm.feature)?,
            None => {
                let key = Key::Domain(Domain::JvmInternal);
                (String::new(), evidence.growth(&key, Freed::ByProgram, evidence.material())?)
            }
        };
        let what = if category.is_empty() {
            "the JVM's own memory".to_owned()
        } else {
            format!("the JVM's own memory of NMT's category {category}")
        };
        let source = if category.is_empty() {
            evidence.source(Domain::JvmInternal)
        } else {
            "NMT counters".to_owned()
        };
        let (meaning, fix, confirm) = advice(&category);
        let subject = Subject { what: &what, meaning, source: &source };
        let draft = Draft::of_growth(self.id(), evidence, Domain::JvmInternal, &growth, &subject)?
            .fix([fix])
            .confirm([confirm.replace("PID", &evidence.pid().to_string())])
            .confirm([format!(
                "jcmd {0} VM.native_memory baseline, later jcmd {0} VM.native_memory summary.diff",
                evidence.pid()
            )]);
        Some(draft.finish())
    }
}

/// The category that grows most.
fn by_category(evidence: &Evidence<'_>, feature: u32) -> Option<(String, Growth)> {
    evidence
        .all_series()
        .filter_map(|(key, series)| match key {
            // JDK 8 counts direct buffers as Internal.
            Key::NmtMalloc(name)
                if !(ELSEWHERE.contains(&name.as_str()) || feature == 8 && name == "Internal") =>
            {
                Some((name.clone(), evidence.growth_of(series, Freed::ByProgram, evidence.material())))
            }
            _ => None,
        })
        .filter(|(_, growth)| growth.status().is_some())
        .max_by(|a, b| a.1.per_s.total_cmp(&b.1.per_s))
}

fn advice(category: &str) -> (&'static str, &'static str, &'static str) {
    match category {
        "Internal" | "JNI" => (
            "That is mostly JNI: global references that are never deleted, or string copies that are never released.",
            "DeleteGlobalRef and ReleaseStringUTFChars (or ReleaseStringChars) on every path of the native code",
            "jcmd PID Thread.print | tail: JNI global refs, twice some minutes apart",
        ),
        "Tracing" => (
            "That is the Flight Recorder.",
            "limit it: maxsize and maxage of the recording, -XX:FlightRecorderOptions=memorysize=10m; or stop it",
            "jcmd PID JFR.check",
        ),
        "Serviceability" => (
            "That is agents and attach operations.",
            "compare without each -javaagent and -agentpath",
            "jcmd PID VM.command_line",
        ),
        "Native Memory Tracking" => (
            "That is the tracking itself.",
            "-XX:NativeMemoryTracking=summary instead of detail",
            "jcmd PID VM.native_memory statistics",
        ),
        _ => (
            "The JVM allocates it for itself.",
            "compare without agents and with the newest update of this JDK",
            "jcmd PID VM.command_line",
        ),
    }
}
