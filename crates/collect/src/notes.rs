//! What the reader of an account must know: what can't be split and what would split it, and what
//! is approximate.

use crate::lens::Sight;
use offheap_model::units::bytes;
use offheap_model::{Domain, Note, Snapshot};
use std::time::Duration;

/// That smaps had to be read, and how long that took.
pub fn held_up(longest: Duration) -> Note {
    Note {
        id: "smaps-was-read".to_owned(),
        text: format!(
            "The process's mmap, munmap and starts of threads may have waited for {} ms: this kernel tells what is resident only by \
             smaps.",
            longest.as_millis()
        ),
        remedy: "Linux 6.7 and later tell it in pieces".to_owned(),
    }
}

/// The notes to `snapshot`, of what the lenses saw. `hides_huge_pages` where the kernel tells none
/// of them.
pub(crate) fn notes(snapshot: &Snapshot, sight: &Sight, hides_huge_pages: bool) -> Vec<Note> {
    let blind = sight.blind.as_deref();
    let mut notes = Vec::new();
    let mut note = |id: &str, text: String, remedy: &str| {
        notes.push(Note { id: id.to_owned(), text, remedy: remedy.to_owned() });
    };
    if let Some(why) = blind {
        note("jvm-not-read", format!("The JVM can't be looked into: {why}."), "");
    }
    let malloc = snapshot.rss_of(Domain::Malloc);
    if malloc > 0 && (snapshot.jvm.is_some() || blind.is_some()) {
        note(
            "malloc-not-split",
            format!(
                "{} of malloc can't be split between the JVM and native code: Native Memory Tracking is off.",
                bytes(malloc)
            ),
            "restart with -XX:NativeMemoryTracking=summary to split it (offheap reads its counters from memory)",
        );
    }
    if let Some(malloc) = &snapshot.malloc {
        if !malloc.walked {
            note(
                "allocator-not-walked",
                format!(
                    "malloc is served by {}, whose maps are told apart but not walked: what is free inside them is \
                     not known.",
                    malloc.allocator
                ),
                "",
            );
        }
        if malloc.walked && !malloc.exact {
            note(
                "malloc-approximate",
                format!("The figures of malloc are approximate: {}.", malloc.doubts.join("; ")),
                "look again when the process is quieter",
            );
        }
    }
    if let Some(jvm) = &snapshot.jvm
        && jvm.heap.mapped_times > 1
    {
        note(
            "heap-mapped-often",
            format!(
                "This collector maps every page of the heap {} times, and the RSS counts each: {} of the RSS do not \
                 exist. The PSS{} and the cgroup's figure are true.",
                jvm.heap.mapped_times,
                bytes(snapshot.rss_of(Domain::JavaHeap).saturating_sub(jvm.heap.resident_bytes)),
                snapshot.memory.pss_bytes.map_or_else(String::new, |pss| format!(" ({})", bytes(pss)))
            ),
            "",
        );
    }
    if let Some(hidden) =
        snapshot.jvm.as_ref().and_then(|jvm| jvm.direct.as_ref()?.hidden_bytes).filter(|h| *h > 0)
    {
        note(
            "hidden-direct-buffers",
            format!(
                "{} are NIO's temporary direct buffers, which this JDK leaves out of java.nio.Bits and of the \
                 BufferPool bean; garbage that was not collected yet is among them.",
                bytes(hidden)
            ),
            "",
        );
    }
    if hides_huge_pages {
        note(
            "huge-pages-not-known",
            "Huge pages are not known: this kernel tells them only while it holds up the process, which is too large for that."
                .to_owned(),
            "Linux 6.7 and later tell them in pieces",
        );
    }
    if snapshot.memory.swap_bytes > 0 {
        note(
            "swapped",
            format!(
                "{} are swapped out. They were not read, since that would bring them back.",
                bytes(snapshot.memory.swap_bytes)
            ),
            "",
        );
    }
    if snapshot.memory.vma_limit > 0 && snapshot.memory.vma_count * 10 > snapshot.memory.vma_limit * 9 {
        note(
            "many-maps",
            format!(
                "It has {} mappings of {} allowed; the next mmap or thread may fail.",
                snapshot.memory.vma_count, snapshot.memory.vma_limit
            ),
            "sysctl vm.max_map_count=262144",
        );
    }
    for problem in sight.view.as_ref().map_or(&[][..], |view| view.problems.as_slice()) {
        note("jvm-partly-read", format!("{problem}."), "");
    }
    for doubt in sight.pymalloc.as_ref().map_or(&[][..], |view| view.doubts.as_slice()) {
        note("python-approximate", format!("{doubt}."), "");
    }
    notes
}
