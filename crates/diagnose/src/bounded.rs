//! Memory that fills to a bound and stays: caches, pools and arenas, told by the functions that
//! fill them. What a read leaves behind in a cache is no leak until it passes the cache's bound.

use crate::sites;
use offheap_model::{Evidence as Observation, Finding, Frame, FrameKind, Status};

/// What fills, and what bounds it.
struct Filling {
    /// Parts of the names of the functions or methods that fill it; any of them.
    by: &'static [&'static str],
    /// What it is.
    what: &'static str,
    /// Where its bound is set.
    bound: &'static str,
}

const FILLINGS: [Filling; 11] = [
    Filling {
        by: &[
            "LoadToCache",
            "LRUCacheShard",
            "ClockCacheShard",
            "HyperClockCache",
            "BlockBasedTable::RetrieveBlock",
        ],
        what: "RocksDB's block cache",
        bound: "the capacity of its LRUCache (BlockBasedTableConfig.setBlockCache; 32 MiB a column family where none is set)",
    },
    Filling {
        by: &["ConcurrentArena::Allocate", "rocksdb::MemTable::Add", "rocksdb::MemTable::MemTable"],
        what: "RocksDB's memtables",
        bound: "write_buffer_size × max_write_buffer_number of each column family, or its WriteBufferManager",
    },
    Filling {
        by: &["leveldb::ShardedLRUCache", "leveldb::(anonymous namespace)::ShardedLRUCache"],
        what: "LevelDB's block cache",
        bound: "Options.block_cache, 8 MiB where none is set",
    },
    Filling {
        by: &["pcache1", "sqlite3PcacheFetch"],
        what: "SQLite's page cache",
        bound: "PRAGMA cache_size of each connection",
    },
    Filling {
        by: &["duckdb::StandardBufferManager", "duckdb::BufferManager", "duckdb::BufferPool"],
        what: "DuckDB's buffer manager",
        bound: "SET memory_limit",
    },
    Filling {
        by: &[
            "PoolArena.newChunk",
            "PoolArena$DirectArena.newChunk",
            "AdaptivePoolingAllocator.allocateChunk",
        ],
        what: "Netty's pool of buffers",
        bound: "-Dio.netty.maxDirectMemory; it takes a chunk more only while all it has are in use",
    },
    Filling {
        by: &["BFCArena::", "BFCAllocator::Extend"],
        what: "the arena of a machine-learning runtime",
        bound: "its memory limit (gpu_mem_limit, arena_extend_strategy); it keeps its peak",
    },
    Filling {
        by: &["SSL_CTX_add_session", "ssl_update_cache"],
        what: "OpenSSL's session cache",
        bound: "SSL_CTX_sess_set_cache_size, 20480 sessions",
    },
    Filling {
        by: &["icu::UnifiedCache", "UnifiedCache::_put"],
        what: "ICU's cache",
        bound: "UnifiedCache::setEvictionPolicy",
    },
    Filling {
        by: &["wt_cache", "__wt_page_in", "__wt_page_alloc"],
        what: "WiredTiger's cache",
        bound: "cache_size",
    },
    Filling {
        // Modules/_functoolsmodule.c; the functions for a maxsize of None and of 0 have other
        // names.
        by: &["bounded_lru_cache_wrapper"],
        what: "a functools.lru_cache",
        bound: "its maxsize, in entries and not in bytes",
    },
];

/// How sure one can be of anything while a cache fills.
const OPEN: f64 = 0.55;
/// Only functions this near to the allocation decide what the memory is.
const NEAR: usize = 14;

/// What the stack of `frames`, innermost first, fills.
fn filling(frames: &[Frame]) -> Option<&'static Filling> {
    let own = |frame: &&Frame| frame.kind == FrameKind::Native || frame.kind == FrameKind::Java;
    frames.iter().filter(own).take(NEAR).find_map(|frame| {
        FILLINGS.iter().find(|filling| filling.by.iter().any(|part| frame.name.contains(part)))
    })
}

/// Takes back that it is a leak where the site fills something that has a bound, and says which
/// bound that is.
pub(crate) fn take_back(finding: &mut Finding) {
    let Some(filling) = finding.site.as_ref().and_then(|site| filling(&site.frames)) else { return };
    if finding.status != Status::Leak {
        return;
    }
    finding.status = Status::Inconclusive;
    finding.confidence = finding.confidence.min(OPEN);
    finding.summary.push_str(&format!(
        " The code fills {}, whose bound is {}: until it has passed that it looks like a leak and is none.",
        filling.what, filling.bound
    ));
    finding.evidence.push(Observation {
        text: format!("the stack fills {}", filling.what),
        source: sites::LIVE_TABLE.to_owned(),
    });
    finding.fix.insert(
        0,
        format!(
            "read the bound of {}: {}; lower it if the limit has no room for it",
            filling.what, filling.bound
        ),
    );
    finding.next = None;
    finding.confirm.insert(
        0,
        "watch until it is full: what fills to its bound stops there, and is used again".to_owned(),
    );
}

#[cfg(test)]
mod tests {
    use super::{FILLINGS, filling};
    use offheap_model::{Frame, FrameKind};

    fn what(name: &str, kind: FrameKind) -> Option<&'static str> {
        let frame = Frame { name: name.to_owned(), kind, file: None, line: None, module: None };
        filling(&[frame]).map(|filling| filling.what)
    }

    #[test]
    fn a_cache_without_a_bound_is_none_that_fills() {
        let of_python = Some("a functools.lru_cache");
        assert_eq!(what("bounded_lru_cache_wrapper", FrameKind::Native), of_python);
        for without in ["infinite_lru_cache_wrapper", "uncached_lru_cache_wrapper", "lru_cache_new"] {
            assert_eq!(what(without, FrameKind::Native), None, "{without}");
        }
    }

    #[test]
    fn what_a_program_calls_its_own_methods_makes_no_cache() {
        for own in ["com.store._cache.put", "app.core._cacheEntry", "shop.more._cache"] {
            assert_eq!(what(own, FrameKind::Java), None, "{own}");
        }
        assert!(FILLINGS.iter().all(|filling| !filling.by.is_empty()));
    }
}
