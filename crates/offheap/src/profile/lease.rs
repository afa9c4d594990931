//! The agent's lease: it samples only as long as its reader shows that it lives.
//!
//! A reader that is killed can't stop the agent. So the agent stops by itself once the word of its
//! lease has not changed for [`SECONDS`]; a thread here changes it well before that.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Seconds that an agent goes on without a sign of its reader.
pub const SECONDS: u64 = 60;
/// Time between two signs: a reader that the machine starves of processor time may miss some.
pub const EVERY: Duration = Duration::from_secs(10);

/// Where the word is written.
#[derive(Debug)]
pub struct Word {
    file: File,
    at: u64,
}

/// What makes every word differ from the one before.
static BEATS: AtomicU64 = AtomicU64::new(1);

impl Word {
    /// The word at offset `at` of `file`, which is open for writing.
    pub fn new(file: File, at: u64) -> Word {
        Word { file, at }
    }

    /// Shows the agent that its reader lives.
    ///
    /// # Errors
    /// What the kernel says: the target has ended.
    pub fn renew(&self) -> std::io::Result<()> {
        // The pid keeps two readers from writing the same.
        let beat = BEATS.fetch_add(1, Ordering::Relaxed) << 32 | u64::from(std::process::id());
        self.file.write_all_at(&beat.to_ne_bytes(), self.at)
    }
}

/// Renews a lease from a thread of its own until it is dropped: whatever else this tool waits for,
/// its agent goes on.
#[derive(Debug)]
pub struct Heart {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heart {
    /// Calls `beat` now and each [`EVERY`].
    pub fn start(beat: impl Fn() + Send + 'static) -> Heart {
        let (stop, stopped) = channel();
        beat();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                beat();
            }
        });
        Heart { stop: Some(stop), thread: Some(thread) }
    }

    /// Renews `word`.
    pub fn of(word: Word) -> Heart {
        let word = Arc::new(word);
        Heart::start(move || {
            let _ = word.renew();
        })
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_word_changes_with_each_sign() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(64).unwrap();
        let word = Word::new(file.try_clone().unwrap(), 16);
        let mut seen = Vec::new();
        for _ in 0..3 {
            word.renew().unwrap();
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, 16).unwrap();
            seen.push(u64::from_ne_bytes(bytes));
        }
        seen.dedup();
        assert_eq!(seen.len(), 3);
        assert!(!seen.contains(&0));
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).unwrap();
        assert!(rest[..16].iter().chain(&rest[24..]).all(|byte| *byte == 0));
    }

    #[test]
    fn a_heart_beats_at_once_and_ends_when_it_is_dropped() {
        let count = Arc::new(AtomicU64::new(0));
        let beats = Arc::clone(&count);
        let heart = Heart::start(move || {
            beats.fetch_add(1, Ordering::Relaxed);
        });
        drop(heart);
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert_eq!(Arc::strong_count(&count), 1, "the thread is gone");
    }
}
