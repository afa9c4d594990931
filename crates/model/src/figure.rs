//! Figures: what of a snapshot is followed over time. One definition of each for everybody who
//! shows, stores or compares them: its name, its unit, what it means and where it comes from.

use crate::{Arena, NmtCategory, SizeClass, Snapshot};
use std::collections::HashMap;

/// A kind of figures: a snapshot has one for each domain, pool, arena…
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FigureKind {
    /// Of each domain.
    Domain,
    /// Of each pool of threads.
    Threads,
    /// Of each arena of the C heap.
    Arena,
    /// Of each size of live chunks of the C heap.
    SizeClass,
    /// Of each category of NMT.
    Nmt,
    /// Of each mapped file.
    File,
}

/// One figure of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFigure {
    /// What it is of: a domain's word, a pool's name, a path.
    pub name: String,
    /// Bytes: see [`FigureKind::bytes`].
    pub bytes: u64,
    /// How many: see [`FigureKind::counts`].
    pub count: Option<u64>,
}

impl FigureKind {
    /// All of them.
    pub const ALL: [FigureKind; 6] = [
        FigureKind::Domain,
        FigureKind::Threads,
        FigureKind::Arena,
        FigureKind::SizeClass,
        FigureKind::Nmt,
        FigureKind::File,
    ];

    /// Its word in a recording.
    pub fn as_str(self) -> &'static str {
        match self {
            FigureKind::Domain => "domain",
            FigureKind::Threads => "threads",
            FigureKind::Arena => "arena",
            FigureKind::SizeClass => "size-class",
            FigureKind::Nmt => "nmt",
            FigureKind::File => "file",
        }
    }

    /// What the bytes are.
    pub fn bytes(self) -> &'static str {
        match self {
            FigureKind::Domain => "resident bytes that lie in it",
            FigureKind::Threads => "resident bytes of its threads' stacks",
            FigureKind::Arena => "resident bytes of its memory",
            FigureKind::SizeClass => "bytes of its live chunks, headers included",
            FigureKind::Nmt => "live malloc, arena and committed bytes",
            FigureKind::File => "resident bytes of its mappings",
        }
    }

    /// What is counted beside the bytes; `None` where nothing is.
    pub fn counts(self) -> Option<&'static str> {
        match self {
            FigureKind::Domain => None,
            FigureKind::Threads => Some("threads"),
            FigureKind::Arena | FigureKind::SizeClass => Some("live chunks"),
            FigureKind::Nmt => Some("live malloc blocks"),
            FigureKind::File => Some("mappings"),
        }
    }

    /// Where they come from.
    pub fn source(self) -> &'static str {
        match self {
            FigureKind::Domain => "the account of every resident byte",
            FigureKind::Threads => "/proc/PID/task and the VM's thread list",
            FigureKind::Arena | FigureKind::SizeClass => "the walk of the C heap",
            FigureKind::Nmt => "the VM's counters of its native memory tracking",
            FigureKind::File => "the page map",
        }
    }

    /// These figures of `snapshot`, in its order. What has one name is one figure: a pool of two
    /// kinds of threads, or a file that was deleted and written anew.
    pub fn of(self, snapshot: &Snapshot) -> Vec<SnapshotFigure> {
        let malloc = || snapshot.malloc.iter();
        match self {
            FigureKind::Domain => {
                let domains = snapshot.domains.iter();
                merged(domains.map(|figure| (figure.domain.to_string(), figure.rss_bytes, None)))
            }
            FigureKind::Threads => {
                let pools = snapshot.threads.iter();
                merged(pools.map(|pool| (pool.pool.clone(), pool.resident_bytes, Some(pool.count))))
            }
            FigureKind::Arena => {
                let arenas = malloc().flat_map(|malloc| &malloc.arenas);
                merged(arenas.map(|arena| (arena.name(), arena.resident_bytes, Some(arena.in_use_count))))
            }
            FigureKind::SizeClass => {
                let classes = malloc().flat_map(|malloc| &malloc.size_classes);
                merged(classes.map(|class| (class.name(), class.total_bytes, Some(class.count))))
            }
            FigureKind::Nmt => {
                let nmt = snapshot.jvm.iter().filter_map(|jvm| jvm.nmt.as_ref());
                let categories = nmt.flat_map(|nmt| &nmt.categories);
                merged(
                    categories.map(|category| {
                        (category.name.clone(), category.bytes(), Some(category.malloc_count))
                    }),
                )
            }
            FigureKind::File => {
                let files = snapshot.files.iter();
                merged(files.map(|file| (file.path.clone(), file.rss_bytes, Some(file.mappings))))
            }
        }
    }
}

/// Figures of one name summed, in the order in which the names come first.
fn merged(figures: impl Iterator<Item = (String, u64, Option<u64>)>) -> Vec<SnapshotFigure> {
    let mut at: HashMap<String, usize> = HashMap::new();
    let mut all: Vec<SnapshotFigure> = Vec::new();
    for (name, bytes, count) in figures {
        let index = *at.entry(name.clone()).or_insert(all.len());
        match all.get_mut(index) {
            Some(known) => {
                known.bytes = known.bytes.saturating_add(bytes);
                known.count = known.count.zip(count).map(|(a, b)| a.saturating_add(b));
            }
            None => all.push(SnapshotFigure { name, bytes, count }),
        }
    }
    all
}

impl NmtCategory {
    /// Live malloc and arena bytes.
    pub fn in_c_heap(&self) -> u64 {
        self.malloc_bytes.saturating_add(self.arena_bytes)
    }

    /// All that the category has: live malloc, arena and committed bytes.
    pub fn bytes(&self) -> u64 {
        self.in_c_heap().saturating_add(self.committed_bytes)
    }
}

impl Arena {
    /// What to call it: `"main"`, or its address.
    pub fn name(&self) -> String {
        if self.main { "main".to_owned() } else { format!("{:#x}", self.address) }
    }
}

impl SizeClass {
    /// What to call it: `"chunks of 4112 bytes"`; what lies beyond the listed sizes is one.
    pub fn name(&self) -> String {
        match self.chunk_bytes {
            0 => "other sizes".to_owned(),
            size => format!("chunks of {size} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileFigure, FileKind, Jvm, Malloc, NmtCounters, ThreadKind, ThreadPool};

    fn snapshot() -> Snapshot {
        let pool = |kind, resident_bytes| ThreadPool {
            pool: "worker-*".to_owned(),
            kind,
            count: 2,
            reserved_bytes: 100,
            resident_bytes,
            huge_bytes: 0,
        };
        let compiler = NmtCategory {
            name: "Compiler".to_owned(),
            malloc_bytes: 1,
            malloc_count: 7,
            arena_bytes: 20,
            reserved_bytes: 4_000,
            committed_bytes: 300,
        };
        Snapshot {
            threads: vec![pool(ThreadKind::Java, 10), pool(ThreadKind::Native, 5)],
            files: vec![FileFigure {
                path: "/a".to_owned(),
                kind: FileKind::Data,
                deleted: false,
                mappings: 1,
                virtual_bytes: 10,
                rss_bytes: 9,
                text_bytes: 0,
                dirty_bytes: 0,
            }],
            jvm: Some(Jvm {
                nmt: Some(NmtCounters { categories: vec![compiler], ..NmtCounters::default() }),
                ..Jvm::default()
            }),
            malloc: Some(Malloc {
                arenas: vec![Arena { address: 0x10, resident_bytes: 3, ..Arena::default() }],
                size_classes: vec![SizeClass {
                    chunk_bytes: 32,
                    count: 2,
                    total_bytes: 64,
                    ..SizeClass::default()
                }],
                ..Malloc::default()
            }),
            ..Snapshot::default()
        }
    }

    #[test]
    fn an_nmt_category_is_malloc_arenas_and_committed_for_everybody() {
        let now = snapshot();
        let figures = FigureKind::Nmt.of(&now);
        assert_eq!((figures[0].bytes, figures[0].count), (321, Some(7)));
        let change = &crate::diff::diff(&Snapshot::default(), &now).nmt[0];
        assert_eq!((change.after_bytes, change.after_count), (321, Some(7)));
    }

    #[test]
    fn what_has_one_name_is_one_figure_and_every_kind_says_what_it_is() {
        let now = snapshot();
        let names =
            |kind: FigureKind| kind.of(&now).into_iter().map(|f| (f.name, f.bytes)).collect::<Vec<_>>();
        assert_eq!(names(FigureKind::Threads), [("worker-*".to_owned(), 15)]);
        assert_eq!(FigureKind::Threads.of(&now)[0].count, Some(4));
        assert_eq!(names(FigureKind::Arena), [("0x10".to_owned(), 3)]);
        assert_eq!(names(FigureKind::SizeClass), [("chunks of 32 bytes".to_owned(), 64)]);
        assert_eq!(names(FigureKind::File), [("/a".to_owned(), 9)]);
        for kind in FigureKind::ALL {
            assert!(!kind.bytes().is_empty() && !kind.source().is_empty() && !kind.as_str().is_empty());
        }
    }
}
