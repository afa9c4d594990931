//! # Mapped files accumulate
//!
//! ## Signature
//! The address space of files mapped as data (also memfd and shared memory) grows steadily to the
//! end of the window, their resident bytes with it, and collections did not unmap them. A fixed
//! mapping whose pages become resident one by one is bounded by its size and healthy.
//!
//! ## Why
//! A `MappedByteBuffer` is unmapped after a collection finds it dead; one that is referenced, or a
//! map made by native code, stays. Deleting the file does not help: the mapping keeps it, on disk
//! too. Clean pages of files are reclaimed by the kernel under pressure, dirty pages of deleted
//! files and shared memory are not.
//!
//! ## Confirm
//! - `offheap map PID`: files with their mappings and whether they are deleted.
//! - `grep deleted /proc/PID/maps`; `lsof -p PID` for descriptors.
//!
//! ## Fix
//! - Java 22+: map with `FileChannel.map(mode, offset, size, arena)` and close the `Arena`.
//! - Older: drop the references, or read with `FileChannel.read` where a map brings nothing.
//! - Libraries (Lucene, Kafka, RocksDB): close readers and segments; bound what is kept open.
//!
//! ## Example
//! *In process 4711, files mapped as data grew steadily over 1 min (61 snapshots): 12.0 MiB → 131
//! MiB, +1.98 MiB/s…*

use super::Rule;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::Freed;
use crate::series::{Key, is_data, total};
use offheap_model::{Domain, Finding, Status, units};

/// See the page.
pub struct MappedFiles;

impl Rule for MappedFiles {
    fn id(&self) -> &'static str {
        "mapped-files"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let last = evidence.last()?;
        let least = evidence.material();
        let resident = evidence.growth(&Key::Domain(Domain::MappedFiles), Freed::ByCollector, least)?;
        if !resident.grew() {
            return None;
        }
        let space = evidence.growth(&Key::FilesVirtual, Freed::ByCollector, least)?;
        let data = || last.files.iter().filter(|f| is_data(f.kind, &f.path));
        let deleted = total(data().filter(|f| f.deleted).map(|f| f.rss_bytes));
        let counts = format!(
            "{} data files with {} mappings, {} of {} resident bytes in deleted ones",
            data().count(),
            total(data().map(|f| f.mappings)),
            units::bytes(deleted),
            units::bytes(total(data().map(|f| f.rss_bytes)))
        );
        if !space.grew() {
            return Some(self.being_read(evidence, resident.per_s, &counts));
        }
        let subject = Subject {
            what: "files mapped as data",
            meaning: "New mappings come and none is unmapped.",
            source: "/proc/PID/smaps",
        };
        // Resident bytes decide the rate; the mappings decide whether it is growth without bound.
        let growth = if space.status() == Some(Status::Leak) { resident } else { space };
        let mut draft = Draft::of_growth(self.id(), evidence, Domain::MappedFiles, &growth, &subject)?
            .also(&format!("{counts}."))
            .saw(counts.clone(), "/proc/PID/smaps");
        if let Some(largest) = data().max_by_key(|f| f.rss_bytes) {
            draft = draft.saw(
                format!(
                    "largest: {}{}, {}",
                    largest.path,
                    if largest.deleted { " (deleted)" } else { "" },
                    units::bytes(largest.rss_bytes)
                ),
                "/proc/PID/smaps",
            );
        }
        let draft = draft
            .fix([
                "JDK 22 and later: FileChannel.map(mode, offset, size, arena), and close the Arena",
                "older: drop the references to MappedByteBuffers, close readers and segments, bound what is kept open",
            ])
            .confirm([
                format!("offheap map {}: files by resident bytes", evidence.pid()),
                format!("grep -c deleted /proc/{}/maps", evidence.pid()),
            ]);
        Some(draft.finish())
    }
}

impl MappedFiles {
    /// The mappings are there and become resident: bounded by their size.
    fn being_read(&self, evidence: &Evidence<'_>, per_s: f64, counts: &str) -> Finding {
        let space = evidence.series(&Key::FilesVirtual).map_or(0.0, crate::Series::last);
        Draft::new(self.id(), Status::Healthy, Domain::MappedFiles, 0.85)
            .slope(per_s.max(0.0))
            .summary(format!(
                "In {}, pages of files that were mapped before become resident, {} over {}. That is bounded by the \
                 mappings' size ({}), and the kernel takes clean pages back when it needs them. {}. Source: \
                 /proc/PID/smaps.",
                evidence.who(),
                units::rate(per_s),
                evidence.window(),
                units::bytes(space as u64),
                evidence.rss_words()
            ))
            .saw(counts.to_owned(), "/proc/PID/smaps")
            .fix(["nothing, unless the container counts it against its limit: then map less or use FileChannel.read"])
            .confirm([format!("offheap map {}", evidence.pid())])
            .finish()
    }
}
