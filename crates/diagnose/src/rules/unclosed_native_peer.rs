//! # Java objects with native memory are not closed
//!
//! ## Signature
//! The C heap grows to the end of the window, and the stack that allocates what stays belongs to a
//! library whose Java objects own native memory. Needs the agent.
//!
//! ## Why
//! Such an object is small on the Java heap and large outside. Without `close()` its memory waits
//! for a collection, or for ever: many libraries have no finalizer. The Java heap stays small, so
//! collections come rarely, and nobody is warned.
//!
//! ## Confirm
//! - `jcmd PID GC.class_histogram`, twice: if the class's count grows, something holds the objects; if not, they were
//!   dropped without `close()`.
//! - The site's age: half of what is live is as old as the window.
//!
//! ## Fix
//! | Library | What gives it back |
//! |---|---|
//! | RocksDB | `close()` on iterators, batches, options, handles |
//! | zstd-jni | `close()` on streams, contexts, dictionaries |
//! | java.util.zip | `end()` on Inflater and Deflater, `close()` on streams |
//! | ImageIO | `dispose()` on readers and writers |
//! | netty-tcnative | `release()` SslContext and SslEngine |
//! | Netty | `release()` every ByteBuf |
//! | Arrow | `close()` vectors, roots, readers, allocators |
//! | ONNX Runtime, TensorFlow | `close()` tensors and results after each run |
//! | JavaCPP, OpenCV | `close()`, `PointerScope`; `Mat.release()` |
//! | SQLite, DuckDB | `close()` result sets, statements, connections |
//!
//! ## Example
//! *In process 4711, native memory of java.util.zip grew steadily over 1 min (61 snapshots)… Most
//! of what stays is allocated by inflateInit2_ in libzip.so, called by app.Compression.unpack
//! (Compression.java:41).*

use super::Rule;
use super::native_malloc_growth::{domain, rest_growth};
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::series::Key;
use crate::sites;
use offheap_model::{Domain, Finding, Status};

/// See the page.
pub struct UnclosedNativePeer;

/// How sure it can be at most of growth whose owners were not seen to become more.
const UNSEEN: f64 = 0.80;
/// How sure it can be at most of the same in a window in which most caches have filled.
const UNSEEN_LONG: f64 = 0.88;
/// In a window as long as this most caches have filled.
/// Chosen: nominal 600 s, less the slack of a first and a last snapshot.
const LONG_S: f64 = 590.0;

/// How many more objects own native memory than at the first look, if that rises from look to look.
fn more_owners(evidence: &Evidence<'_>) -> Option<f64> {
    let looks = evidence.series(&Key::OwnersInUse)?;
    evidence.rises(looks).then(|| looks.last() - looks.first())
}

impl Rule for UnclosedNativePeer {
    fn id(&self) -> &'static str {
        "unclosed-native-peer"
    }

    fn asks_what_is_in_use(&self) -> &'static [Status] {
        &[Status::Leak]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let domain = domain(evidence.last()?);
        // Memory of Unsafe is direct memory, whichever library asked for it:
        // direct-memory-uncounted speaks of that.
        let origin = sites::best(evidence, domain).filter(|origin| origin.domain != Domain::DirectMemory)?;
        let library = origin.library?;
        let growth = rest_growth(evidence)?;
        let what = format!("native memory of {}", library.library.name);
        let in_use = more_owners(evidence);
        let meaning = match in_use {
            Some(_) => "Ever more of the Java objects that own it are in use: they are not closed.",
            None => {
                "Its Java objects are not closed, or were dropped without it; or it is a cache that fills."
            }
        };
        let subject =
            Subject { what: &what, meaning, source: "walk of the C heap and the agent's live table" };
        let mut draft = Draft::of_growth(self.id(), evidence, origin.domain, &growth, &subject)?;
        draft = match in_use {
            Some(more) => draft.saw(
                format!("objects in use that own native memory: {more:.0} more than at the first look"),
                "references on the Java heap, followed from outside",
            ),
            // A cache that fills looks the same for as long as it does.
            None => draft.at_most(if evidence.seconds() < LONG_S { UNSEEN } else { UNSEEN_LONG }),
        };
        let draft = draft
            .also(&format!("Most of what stays is allocated by {}.", origin.words()))
            .saw(sites::age_words(&origin, false), "the agent's live table")
            .fix(library.advice())
            .confirm([format!(
                "jcmd {} GC.class_histogram, twice some minutes apart: a count that grows is held, one that does not was \
                 dropped without close()",
                evidence.pid()
            )]);
        let mut finding = draft.finish();
        finding.site = Some(sites::site(origin));
        Some(finding)
    }
}
