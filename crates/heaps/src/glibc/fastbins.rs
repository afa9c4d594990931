//! The lists of fastbins (up to glibc 2.42): their chunks look in use by boundary tags, so they are
//! listed first.

use super::arenas::{FLAGS, State};
use super::tcache::Links;
use offheap_target::{Reads, Target};

/// Chunks listed at most: 8 MB of addresses.
const MOST_CHUNKS: usize = 1 << 20;

/// Chunks in fastbins, ascending.
#[derive(Debug, Default)]
pub(super) struct Fast {
    pub chunks: Vec<u64>,
    /// True where a list did not end as a list ends: a thread changed it.
    pub raced: bool,
    /// True where there were too many.
    pub cut: bool,
}

/// Follows every arena's lists.
pub(super) fn list(memory: &dyn Target, states: &[State], links: &Links) -> Fast {
    let mut fast = Fast::default();
    for state in states.iter().filter(|state| state.top != 0) {
        for (bin, head) in state.fastbins.iter().enumerate() {
            let size = 32 + 16 * bin as u64;
            let mut chunk = *head;
            while chunk != 0 {
                let fits = chunk % 16 == 0
                    && chunk < u64::MAX - 16
                    && memory.u64(chunk + 8).is_ok_and(|word| word & !FLAGS == size);
                if !fits {
                    fast.raced = true;
                    break;
                }
                if fast.chunks.len() >= MOST_CHUNKS {
                    fast.cut = true;
                    break;
                }
                fast.chunks.push(chunk);
                chunk = links.follow(memory, chunk + 16).unwrap_or(0);
            }
        }
    }
    fast.chunks.sort_unstable();
    // A list that ran in a circle holds its chunks more than once.
    let listed = fast.chunks.len();
    fast.chunks.dedup();
    fast.raced |= fast.chunks.len() < listed;
    fast
}
