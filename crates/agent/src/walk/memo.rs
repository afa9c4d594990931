//! Walks that are remembered.
//!
//! What a walk finds follows from what it reads: return addresses and saved registers on the stack,
//! and the words of the JVM that tell what those mean. So a stack that comes again is recognised by
//! reading the same words in the same order and finding the same values: exactly the walk's answer,
//! for a fraction of its work. Each address is as safe to read as it was in the walk, because every
//! word that led to it has just been found unchanged.
//!
//! Each thread has place for a few stacks, by where its stack pointer is. A stack's words are
//! written down when it comes for the second time: most samples of a program with many stacks
//! should not pay for that.

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64};

use offheap_live::mix;

use crate::arch::PageAligned;
use crate::busy::Busy;
use crate::guard::Stack;
use crate::sys;
use crate::tid;

/// Most words of one walk; longer ones are not remembered.
const MAX_READS: usize = 512;
const SETS: usize = 128;
/// Sets of one thread: as long as there are enough, threads don't get into each other's way.
const SETS_OF_THREAD: usize = 4;
const WAYS: usize = 4;
/// Stacks that a set has seen lately.
const SEEN: usize = 16;
/// Stacks that a set does not try to write down again.
const HOPELESS: usize = 4;
/// In an address: only the four bytes there count.
const HALF: u64 = 1;

/// What a walk starts from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Stack pointer; 0: nothing is remembered here.
    pub sp: u64,
    /// The thread's `JavaThread`, or 0.
    pub java_thread: u64,
    /// The live file's: the walk's result is an index there.
    pub session: u64,
    /// [`crate::modules::generation`].
    pub generation: u32,
    /// [`offheap_live::stack_flags`] that are known beforehand.
    pub flags: u16,
}

const NOTHING: Start = Start { sp: 0, java_thread: 0, session: 0, generation: 0, flags: 0 };

/// One remembered walk.
pub struct Reads {
    /// The frame pointer at the start, if the walk needed it.
    fp: Cell<Option<u64>>,
    stack: Cell<u32>,
    /// Lowest and highest stack address that was read.
    low: Cell<u64>,
    high: Cell<u64>,
    len: Cell<usize>,
    /// What was last noted of four bytes.
    last_half: Cell<(u64, u64)>,
    /// It can't be remembered after all.
    spoilt: Cell<bool>,
    words: [Cell<(u64, u64)>; MAX_READS],
}

impl Reads {
    #[allow(clippy::declare_interior_mutable_const, reason = "the initialiser of a static")]
    const EMPTY: Reads = Reads {
        fp: Cell::new(None),
        stack: Cell::new(0),
        low: Cell::new(0),
        high: Cell::new(0),
        len: Cell::new(0),
        last_half: Cell::new((0, 0)),
        spoilt: Cell::new(false),
        words: [const { Cell::new((0, 0)) }; MAX_READS],
    };

    fn begin(&self) {
        self.fp.set(None);
        self.low.set(u64::MAX);
        self.high.set(0);
        self.len.set(0);
        self.last_half.set((0, 0));
        self.spoilt.set(false);
    }

    fn push(&self, at: u64, value: u64) {
        let n = self.len.get();
        match self.words.get(n) {
            Some(place) => {
                place.set((at, value));
                self.len.set(n + 1);
            }
            None => self.spoilt.set(true),
        }
    }

    /// The walk looked at this address of the stack.
    pub fn on_stack(&self, at: u64) {
        self.low.set(self.low.get().min(at));
        self.high.set(self.high.get().max(at));
    }

    /// The walk depends on the word at `at`, an aligned address that is readable whenever all
    /// before it are unchanged.
    pub fn word(&self, at: u64, value: u64) {
        self.push(at, value);
    }

    /// The same for four bytes.
    pub fn half(&self, at: u64, value: u32) {
        let word = (at | HALF, value.into());
        // The interpreter's, frame after frame.
        if self.last_half.replace(word) != word {
            self.push(word.0, word.1);
        }
    }

    /// The walk depends on the frame pointer as it was at the start.
    pub fn starting_fp(&self, fp: u64) {
        self.fp.set(Some(fp));
    }

    /// The walk depends on something that can't be written down.
    pub fn spoil(&self) {
        self.spoilt.set(true);
    }

    /// Whether a walk from the same start would go the same way again. Out of line: most walks
    /// start elsewhere.
    #[inline(never)]
    fn same(&self, fp: u64, stack: &Stack) -> bool {
        if self.fp.get().is_some_and(|known| known != fp) || !stack.covers(self.low.get(), self.high.get()) {
            return false;
        }
        let words = self.words.get(..self.len.get()).unwrap_or(&[]);
        words.iter().all(|word| {
            let (at, value) = word.get();
            // SAFETY: on the stack, within what is known to be readable; or in a structure of the
            // JVM that the words before it have shown to be the one that the walk found there,
            // alive and aligned.
            unsafe {
                if at & HALF == 0 {
                    AtomicU64::from_ptr(at as *mut u64).load(Relaxed) == value
                } else {
                    u64::from(AtomicU32::from_ptr((at & !HALF) as *mut u32).load(Relaxed)) == value
                }
            }
        })
    }
}

struct Ways {
    /// Where each of the walks starts, apart from them: a set is looked through in a few cache
    /// lines.
    starts: [Cell<Start>; WAYS],
    walks: [Reads; WAYS],
    /// Decides which way is written next: at random, so that a few stacks more than ways don't push
    /// each other out in turn.
    random: Cell<u64>,
    /// Stacks whose words were not written down.
    seen: [Cell<u32>; SEEN],
    next_seen: Cell<usize>,
    /// Stacks with more words than there is room for.
    hopeless: [Cell<u32>; HOPELESS],
    /// The next walk is to be written down.
    again: Cell<bool>,
}

struct Set {
    ways: UnsafeCell<Ways>,
}
// SAFETY: the ways are only touched by who has taken the set.
unsafe impl Sync for Set {}

/// Each of whole pages: sets of different threads share no cache line, and each can be given back.
static MEMORY: [PageAligned<Set>; SETS] = [const {
    PageAligned(Set {
        ways: UnsafeCell::new(Ways {
            starts: [const { Cell::new(NOTHING) }; WAYS],
            walks: [const { Reads::EMPTY }; WAYS],
            random: Cell::new(0),
            seen: [const { Cell::new(0) }; SEEN],
            next_seen: Cell::new(0),
            hopeless: [const { Cell::new(0) }; HOPELESS],
            again: Cell::new(false),
        }),
    })
}; SETS];

/// The thread that has taken a set; 0: none.
static TAKEN: [AtomicU32; SETS] = [const { AtomicU32::new(0) }; SETS];

/// Gives the memory of all sets back that nobody has taken at this moment: zeroes are nothing
/// remembered.
pub fn forget() {
    for (set, taken) in MEMORY.iter().zip(&TAKEN) {
        // Any mark will do: no thread has this id.
        if taken.compare_exchange(0, u32::MAX, Acquire, Relaxed).is_ok() {
            sys::advise(core::ptr::from_ref(set) as usize, size_of_val(set), libc::MADV_DONTNEED);
            taken.store(0, Release);
        }
    }
}

/// The walks remembered for one place, taken by this thread until it is dropped.
pub struct Memo {
    set: &'static PageAligned<Set>,
    taken: &'static AtomicU32,
    recording: Option<(usize, &'static Reads)>,
}

impl Memo {
    /// `None` while another thread has it: nobody waits.
    pub fn take(start: &Start, work: &Busy) -> Option<Memo> {
        let tid = tid::current(work.thread());
        let own = mix(start.sp) as usize % SETS_OF_THREAD;
        let index = (tid as usize * SETS_OF_THREAD + own) % SETS;
        let (set, taken) = (MEMORY.get(index)?, TAKEN.get(index)?);
        let memo = Memo { set, taken, recording: None };
        match taken.compare_exchange(0, tid, Acquire, Relaxed) {
            Ok(_) => Some(memo),
            // Left behind by a longjmp (see `busy`): what was being written down is worth nothing.
            Err(owner) if owner == tid && work.is_outermost() => {
                memo.ways().starts.iter().for_each(|start| start.set(NOTHING));
                Some(memo)
            }
            Err(_) => {
                core::mem::forget(memo);
                None
            }
        }
    }

    fn ways(&self) -> &'static Ways {
        // SAFETY: this thread has taken the set; all further changes go through cells.
        unsafe { &*self.set.0.ways.get() }
    }

    /// The stack that a walk from here would end with, if it is one that is remembered.
    #[inline]
    pub fn find(&self, start: &Start, fp: u64, stack: &Stack) -> Option<u32> {
        let ways = self.ways();
        let mut all = ways.starts.iter().zip(&ways.walks);
        all.find(|(s, walk)| s.get() == *start && walk.same(fp, stack)).map(|(_, walk)| walk.stack.get())
    }

    /// Where this walk is to be written down; `None` if it isn't.
    pub fn record(&mut self) -> Option<&'static Reads> {
        let ways = self.ways();
        if ways.again.replace(false) {
            let n = ways.random.get().wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            ways.random.set(n);
            let i = ways.starts.iter().position(|s| s.get() == NOTHING).unwrap_or((n >> 40) as usize % WAYS);
            let (start, walk) = (ways.starts.get(i)?, ways.walks.get(i)?);
            start.set(NOTHING);
            walk.begin();
            self.recording = Some((i, walk));
        }
        self.recording.map(|(_, walk)| walk)
    }

    /// The walk from `start` has ended with this stack, and wholly.
    pub fn finish(self, start: &Start, stack: u32) {
        let ways = self.ways();
        // Plus one: 0 is an empty place.
        let known = stack.wrapping_add(1);
        let has = |list: &[Cell<u32>]| list.iter().any(|s| s.get() == known);
        match self.recording {
            Some((_, walk)) if walk.spoilt.get() => {
                // Too long it will be next time too; what else was in the way may not be there
                // then.
                let place = ways.hopeless.get(known as usize % HOPELESS);
                if let Some(place) = place.filter(|_| walk.len.get() == MAX_READS) {
                    place.set(known);
                }
            }
            Some((i, walk)) => {
                if let Some(place) = ways.starts.get(i) {
                    walk.stack.set(stack);
                    place.set(*start);
                }
            }
            None if has(&ways.seen) => ways.again.set(!has(&ways.hopeless)),
            None => {
                if let Some(place) = ways.seen.get(ways.next_seen.get() % SEEN) {
                    place.set(known);
                    ways.next_seen.set(ways.next_seen.get().wrapping_add(1));
                }
            }
        }
    }
}

impl Drop for Memo {
    fn drop(&mut self) {
        self.taken.store(0, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch;
    use crate::busy;
    use crate::guard;

    /// Walks twice to have it written down, then once more; what the fourth finds.
    fn remembered(start: Start, words: &[AtomicU64], spoil: bool, stack: u32, work: &Busy) -> Memo {
        for round in 0..3 {
            let mut memo = Memo::take(&start, work).unwrap();
            let reads = memo.record();
            assert_eq!(reads.is_some(), round == 2, "the second time it is known to come again");
            if let Some(reads) = reads {
                for word in words {
                    let at = word.as_ptr() as u64;
                    reads.on_stack(at);
                    reads.word(at, word.load(Relaxed));
                }
                reads.half(words[0].as_ptr() as u64, words[0].load(Relaxed) as u32);
                reads.starting_fp(99);
                if spoil {
                    reads.spoil();
                }
            }
            memo.finish(&start, stack);
        }
        Memo::take(&start, work).unwrap()
    }

    #[test]
    fn the_same_words_are_the_same_stack_and_others_are_not() {
        guard::init();
        let words = [3, 4, 5].map(AtomicU64::new);
        let sp = arch::registers().sp;
        // Known to be the thread's own: it has been read up to the thread's control block.
        let stack = Stack::current(sp);
        stack.read(arch::thread_pointer() & !7);
        stack.remember();
        let stack = Stack::current(sp);
        let start = Start { sp, java_thread: 0, session: 1, generation: 1, flags: 0 };
        let place = busy::Place::new();
        let work = busy::begin(arch::thread(), &place);
        let memo = remembered(start, &words, false, 5, &work);
        assert_eq!(memo.find(&start, 99, &stack), Some(5));
        assert_eq!(memo.find(&start, 98, &stack), None, "another frame pointer");
        for other in [
            Start { sp: sp + 16, ..start },
            Start { java_thread: 8, ..start },
            Start { session: 2, ..start },
            Start { generation: 2, ..start },
            Start { flags: 64, ..start },
        ] {
            assert_eq!(memo.find(&other, 99, &stack), None);
        }
        for word in &words {
            let was = word.swap(1 << 32 | 3, Relaxed);
            assert_eq!(memo.find(&start, 99, &stack), None, "a word that changed");
            word.store(was, Relaxed);
        }
        let inner = busy::Place::new();
        let nested = busy::begin(arch::thread(), &inner);
        assert!(Memo::take(&start, &nested).is_none(), "taken");
        // As a longjmp leaves it; the next work takes it back, and what it remembered is gone.
        core::mem::forget(memo);
        let memo = Memo::take(&start, &work).unwrap();
        assert_eq!(memo.find(&start, 99, &stack), None);
        drop(memo);
        let spoilt = Start { sp: sp + 32, ..start };
        assert_eq!(remembered(spoilt, &words, true, 6, &work).find(&spoilt, 99, &stack), None);
        // Longer than there is room for.
        let long: Vec<AtomicU64> = (0..=MAX_READS as u64).map(AtomicU64::new).collect();
        let start = Start { sp: sp + 64, ..start };
        assert_eq!(remembered(start, &long, false, 7, &work).find(&start, 99, &stack), None);
    }
}
