//! Local references of native code: the threads that gather them.

use crate::draft::sentence;
use crate::evidence::Evidence;
use crate::libraries;
use crate::series::Key;
use offheap_model::{Domain, Evidence as Observation, Finding, LocalReferences, Status};

/// A thread must hold this many more for that to be growth: native methods may make some hundreds
/// (the JVM itself warns of more than 32 with `-Xcheck:jni`).
/// Unit: references.
const LEAST_REFERENCES: f64 = 500.0;
/// One thread must have this share of what came.
const THREAD_SHARE: f64 = 0.5;

/// A thread whose native code gathers local references.
struct Gatherer<'a> {
    thread: &'a LocalReferences,
    /// How many more references there are…
    more: f64,
    /// …or frames that were pushed and not popped.
    frames: f64,
}

/// The thread that gathers them, where they become more at each look.
fn gatherer<'a>(evidence: &Evidence<'a>) -> Option<Gatherer<'a>> {
    let more = |key: &Key| {
        let looks = evidence.series(key)?;
        Some(looks.last() - looks.first()).filter(|more| *more >= LEAST_REFERENCES && evidence.rises(looks))
    };
    let (references, frames) = (more(&Key::LocalReferences), more(&Key::PushedFrames));
    let last = evidence.last_handles()?;
    let has = |thread: &LocalReferences| match (references, frames) {
        (_, Some(more)) => thread.pushed_frames as f64 >= THREAD_SHARE * more,
        (Some(more), None) => thread.references.count as f64 >= THREAD_SHARE * more,
        (None, None) => false,
    };
    let thread = last.threads.iter().flatten().find(|thread| has(thread))?;
    Some(Gatherer { thread, more: references.unwrap_or(0.0), frames: frames.unwrap_or(0.0) })
}

/// Says in a leak of what Java objects own, or of the JVM's own memory for references, which thread
/// holds it by local references.
pub(crate) fn attach(finding: &mut Finding, evidence: &Evidence<'_>) {
    let concerned = matches!(
        finding.domain,
        Some(Domain::DirectMemory | Domain::JavaHeap | Domain::JvmInternal | Domain::Malloc)
            | Some(Domain::NativeMalloc | Domain::MappedFiles)
    );
    if finding.status != Status::Leak || !concerned {
        return;
    }
    let Some(Gatherer { thread, more, frames }) = gatherer(evidence) else { return };
    let name = &thread.thread;
    let (text, fix) = if frames > 0.0 {
        (
            format!(
                "native code of thread {name} has pushed {} frames for local references and not popped them, {frames:.0} more than \
                 at the first look",
                thread.pushed_frames
            ),
            format!("PopLocalFrame for every PushLocalFrame in the native code that thread {name} runs"),
        )
    } else {
        let class = thread.references.by_class.first();
        let mostly = class.map_or_else(String::new, |class| format!(", most of them to {}", class.class));
        (
            format!(
                "native code of thread {name} holds {} local references, {more:.0} more than at the first look{mostly}",
                thread.references.count
            ),
            format!(
                "DeleteLocalRef in the loop, or PushLocalFrame and PopLocalFrame around it, in the native code that thread {name} \
                 runs: a local reference lasts until the native method returns or the thread detaches"
            ),
        )
    };
    finding.summary.push_str(&format!(" {}.", sentence(&text)));
    finding.evidence.push(Observation { text, source: "the VM's handle blocks, from outside".to_owned() });
    // Where the code was found its own advice says so already.
    if !finding.site.as_ref().is_some_and(|site| libraries::speaks_of_local_references(&site.frames)) {
        finding.fix.insert(0, fix);
    }
}
