//! What JNI code holds, in the model's words.

use crate::Collector;
use offheap_linux::Error;
use offheap_model::{ClassCount, Handles, LocalReferences, References};

impl Collector {
    /// The JNI references of the JVM now; `None` where the process is none.
    ///
    /// # Errors
    /// The process has ended, or can no longer be read.
    pub fn handles(&self) -> Result<Option<Handles>, Error> {
        let Some(hotspot) = self.hotspot() else { return Ok(None) };
        let process = self.process();
        let memory = process.memory(&process.maps()?)?;
        Ok(Some(handles(hotspot.handles(&memory, &process.tasks()?))))
    }
}

/// In the model's words.
fn handles(found: offheap_hotspot::Handles) -> Handles {
    let local = |local: offheap_hotspot::LocalReferences| LocalReferences {
        tid: local.tid,
        thread: local.thread,
        pushed_frames: local.pushed_frames,
        blocks: local.blocks,
        references: references(local.references),
    };
    Handles {
        global: found.global.map(references),
        weak: found.weak.map(references),
        threads: found.threads.map(|threads| threads.into_iter().map(local).collect()),
        ended_attached: found.ended_attached,
    }
}

/// Of each list that many entries are kept in a series.
const MOST: usize = 3;

/// What a series keeps of it: all counts, and the names of the largest.
pub(crate) fn largest(found: offheap_hotspot::Handles) -> Handles {
    let mut handles = handles(found);
    for references in handles.global.iter_mut().chain(&mut handles.weak) {
        references.by_class.truncate(MOST);
    }
    if let Some(threads) = &mut handles.threads {
        threads.sort_by_key(|thread| {
            std::cmp::Reverse((thread.pushed_frames.saturating_add(thread.references.count), thread.tid))
        });
        threads.truncate(MOST);
        threads.iter_mut().for_each(|thread| thread.references.by_class.truncate(MOST));
    }
    handles
}

fn references(found: offheap_hotspot::References) -> References {
    let by_class = found.by_class.into_iter().map(|(class, count)| ClassCount { class, count });
    References { count: found.count, cleared: found.cleared, by_class: by_class.collect() }
}
