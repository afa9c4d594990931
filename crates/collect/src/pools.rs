//! Threads grouped by pool: names that differ only in their numbers.

use offheap_model::{ThreadKind, ThreadPool};
use std::collections::BTreeMap;

/// One thread with its stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadStack {
    /// Its name.
    pub name: String,
    /// What kind.
    pub kind: ThreadKind,
    /// Address space of its stack.
    pub reserved: u64,
    /// Resident bytes of its stack.
    pub resident: u64,
    /// Of that, in huge pages.
    pub huge: u64,
}

/// `"pekko.actor.default-dispatcher-12"` → `"pekko.actor.default-dispatcher-*"`. A hexadecimal
/// number that hangs on a separator counts as one too (`lettuce-5f3a9c`), a digit inside a word
/// does not (`G1 Main Marker` and `C2` stay apart from `C1`).
pub fn pool_name(name: &str) -> String {
    let mut pool = String::with_capacity(name.len());
    let mut word = String::new();
    for character in name.chars().chain(std::iter::once('\0')) {
        if character.is_alphanumeric() {
            word.push(character);
            continue;
        }
        pool.push_str(&without_number(&word));
        word.clear();
        if character != '\0' {
            pool.push(character);
        }
    }
    pool
}

fn without_number(word: &str) -> String {
    let letters = word.trim_end_matches(|c: char| c.is_ascii_digit());
    if letters.is_empty() && !word.is_empty() {
        return "*".to_owned();
    }
    let digits = word.len() - letters.len();
    let is_hash = word.len() >= 6
        && word.bytes().all(|byte| byte.is_ascii_hexdigit())
        && word.bytes().any(|byte| byte.is_ascii_digit());
    if is_hash {
        return "*".to_owned();
    }
    // "CompilerThread0" is numbered, "G1" and "C2" are names.
    if digits > 0 && letters.chars().count() > 2 { format!("{letters}*") } else { word.to_owned() }
}

/// Groups `threads`, the pool with most resident bytes first.
pub fn pools(threads: &[ThreadStack]) -> Vec<ThreadPool> {
    let mut pools: BTreeMap<(String, ThreadKind), ThreadPool> = BTreeMap::new();
    for thread in threads {
        let key = (pool_name(&thread.name), thread.kind);
        let pool = pools.entry(key).or_insert_with_key(|(name, kind)| ThreadPool {
            pool: name.clone(),
            kind: *kind,
            count: 0,
            reserved_bytes: 0,
            resident_bytes: 0,
            huge_bytes: 0,
        });
        pool.count += 1;
        pool.reserved_bytes += thread.reserved;
        pool.resident_bytes += thread.resident;
        pool.huge_bytes += thread.huge;
    }
    // The star stays also for a pool of one: the name must not change when the second thread
    // starts.
    let mut list: Vec<ThreadPool> = pools.into_values().collect();
    list.sort_by(|a, b| b.resident_bytes.cmp(&a.resident_bytes).then_with(|| a.pool.cmp(&b.pool)));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_stars_and_names_stay() {
        let cases = [
            ("pekko.actor.default-dispatcher-12", "pekko.actor.default-dispatcher-*"),
            ("pool-3-thread-17", "pool-*-thread-*"),
            ("C2 CompilerThread0", "C2 CompilerThread*"),
            ("C1 CompilerThread0", "C1 CompilerThread*"),
            ("G1 Conc#0", "G1 Conc#*"),
            ("GC Thread#11", "GC Thread#*"),
            ("http-nio-8080-exec-4", "http-nio-*-exec-*"),
            ("lettuce-5f3a9c-1", "lettuce-*-*"),
            ("main", "main"),
            ("Thread-0", "Thread-*"),
            ("ForkJoinPool.commonPool-worker-1", "ForkJoinPool.commonPool-worker-*"),
            ("decade", "decade"),
            ("", ""),
        ];
        for (name, pool) in cases {
            assert_eq!(pool_name(name), pool);
        }
    }

    #[test]
    fn pools_add_up_and_the_largest_comes_first() {
        let thread = |name: &str, resident| ThreadStack {
            name: name.to_owned(),
            kind: ThreadKind::Java,
            reserved: 1 << 20,
            resident,
            huge: 0,
        };
        let pools = pools(&[thread("a-1", 10), thread("b-1", 30), thread("a-2", 15)]);
        assert_eq!(pools.iter().map(|pool| pool.pool.as_str()).collect::<Vec<_>>(), ["b-*", "a-*"]);
        assert_eq!((pools[1].count, pools[1].resident_bytes, pools[1].reserved_bytes), (2, 25, 2 << 20));
    }
}
