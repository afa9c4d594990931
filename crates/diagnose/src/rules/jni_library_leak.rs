//! # A native library called from Java does not free
//!
//! ## Signature
//! The C heap grows to the end of the window, and the stack that allocates what stays goes from
//! Java through a native method into a library. Needs the agent.
//!
//! ## Why
//! Somebody allocates in a native method and frees on some paths only, or keeps what was allocated
//! in a container that is never emptied. Neither the collector nor native memory tracking knows of
//! it.
//!
//! ## Confirm
//! - The site's stack: the allocating function, the native method that Java called, and the Java line that called it.
//! - Call that Java method in a loop in a test; `offheap check` on the test says whether it is fixed.
//!
//! ## Fix
//! - Free on every path of the native method, also when an exception is pending; give the Java side a `close()`.
//! - Containers: erase what is done; compare the number of `new`s and `delete`s of the type.
//!
//! ## Example
//! *In process 4711, memory of libjni_codec.so grew steadily over 1 min (61 snapshots)… Most of
//! what stays is allocated by frame_new in libjni_codec.so, called by app.NativeCodec.handleFrame
//! (NativeCodec.java:88).*

use super::Rule;
use super::native_malloc_growth::{domain, rest_growth};
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::sites;
use offheap_model::{Domain, Finding, Status};

/// See the page.
pub struct JniLibraryLeak;

impl Rule for JniLibraryLeak {
    fn id(&self) -> &'static str {
        "jni-library-leak"
    }

    fn asks_what_is_in_use(&self) -> &'static [Status] {
        &[Status::Leak]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let origin = sites::best(evidence, domain(evidence.last()?))?;
        if origin.library.is_some() || origin.domain != Domain::NativeMalloc {
            return None;
        }
        let entry = origin.native_entry()?.clone();
        let growth = rest_growth(evidence)?;
        let module = origin.allocator().or(Some(&entry)).and_then(|f| f.module.clone());
        let module = module.as_deref().map_or("a native library", |m| m.rsplit('/').next().unwrap_or(m));
        let what = format!("memory of {module}");
        let subject = Subject {
            what: &what,
            meaning: "It is allocated in a native method and not freed.",
            source: "walk of the C heap and the agent's live table",
        };
        let draft = Draft::of_growth(self.id(), evidence, origin.domain, &growth, &subject)?
            .also(&format!(
                "Most of what stays is allocated by {}; Java entered it by {}.",
                origin.words(),
                entry.name
            ))
            .saw(sites::age_words(&origin, false), sites::LIVE_TABLE)
            .fix([
                "free on every path of the native method, also when an exception is pending",
                "empty the container that keeps it, or give the Java object a close() that frees",
            ])
            .confirm([
                "call that Java method in a loop in a test, with offheap check --max-growth as the gate"
                    .to_owned(),
                format!(
                    "jcmd {} GC.run, then look again: peers with cleaners are gone, a leak is not",
                    evidence.pid()
                ),
            ]);
        let mut finding = draft.finish();
        finding.site = Some(sites::site(origin));
        Some(finding)
    }
}
