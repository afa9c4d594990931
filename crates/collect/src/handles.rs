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
        let found = hotspot.handles(&memory, &process.tasks()?);
        let local = |local: offheap_hotspot::LocalReferences| LocalReferences {
            tid: local.tid,
            thread: local.thread,
            pushed_frames: local.pushed_frames,
            blocks: local.blocks,
            references: references(local.references),
        };
        Ok(Some(Handles {
            global: found.global.map(references),
            weak: found.weak.map(references),
            threads: found.threads.map(|threads| threads.into_iter().map(local).collect()),
            ended_attached: found.ended_attached,
        }))
    }
}

fn references(found: offheap_hotspot::References) -> References {
    let by_class = found.by_class.into_iter().map(|(class, count)| ClassCount { class, count });
    References { count: found.count, cleared: found.cleared, by_class: by_class.collect() }
}
