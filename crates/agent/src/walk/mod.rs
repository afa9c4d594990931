//! Walks the current thread's stack: native frames by unwind tables, Java frames by HotSpot's own
//! structures, until the thread's first frame. The result is an interned stack; frames and their
//! names are interned when first seen.

pub mod cfi;
mod code;
mod cursor;
pub mod hotspot;
mod memo;
mod names;
mod opcodes;
mod vm_thread;
pub mod vmstructs;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use offheap_live::{Counter, FrameKind, MAX_FRAMES, NO_STACK, combine, mix, stack_flags};

use crate::arch::{self, PageAligned, Regs, dwarf, frame, page_bytes};
use crate::busy::Busy;
use crate::guard::Stack;
use crate::hooks;
use crate::modules::{self, Guard};
use crate::sys;
use crate::table::{self, File, LOST, NewFrame};
use cfi::{Cfa, Fp, Rule};
use memo::{Memo, Reads, Start};
pub use names::major_version as vm_release;

/// What came of a walk.
pub enum Outcome {
    /// A stack's index in the live file, or `NO_STACK`.
    Stack(u32),
    /// This is a call inside another allocator call, which will be counted itself.
    Nested,
}

/// A walk under way.
pub struct Walk {
    regs: Regs,
    stack: Stack,
    file: File,
    /// Part of every cache key: indices are of one live file.
    salt: u64,
    flags: u16,
    len: usize,
    frames: [u32; MAX_FRAMES],
    /// The interpreted method looked at last, and its identity.
    method: (u64, u64),
    /// Where the words that this walk depends on are written down.
    reads: Option<&'static Reads>,
}

impl Walk {
    /// A word of the stack, of which the walk's result does not depend yet.
    #[inline]
    fn look(&self, at: u64) -> Option<u64> {
        let value = self.stack.read(at)?;
        if let Some(reads) = self.reads {
            reads.on_stack(at);
        }
        Some(value)
    }

    /// A word of the stack that decides how the walk goes on.
    #[inline]
    fn read(&self, at: u64) -> Option<u64> {
        let value = self.look(at)?;
        self.note(at, value);
        Some(value)
    }

    /// The frame pointer, which now decides how the walk goes on. Mostly it is some value of no
    /// meaning to anybody on this stack.
    #[inline]
    fn fp(&self, regs: Regs) -> u64 {
        if let Some(reads) = self.reads {
            match regs.fp_at {
                0 => reads.starting_fp(regs.fp),
                at => reads.word(at, regs.fp),
            }
        }
        regs.fp
    }

    /// The caller of a frame that has saved the frame pointer in the usual place.
    fn by_record(&self, fp: u64) -> Option<Regs> {
        let pc = self.read(fp.wrapping_add_signed(frame::record::RETURN_ADDRESS))?;
        Some(Regs { pc, sp: fp.wrapping_add(frame::record::BYTES), fp: self.look(fp)?, fp_at: fp })
    }

    /// The walk depends on this word.
    #[inline]
    fn note(&self, at: u64, value: u64) {
        if let Some(reads) = self.reads {
            reads.word(at, value);
        }
    }

    /// The walk depends on these four bytes.
    #[inline]
    fn note_half(&self, at: u64, value: u32) {
        if let Some(reads) = self.reads {
            reads.half(at, value);
        }
    }

    /// The walk depends on more than can be noted.
    fn spoil(&self) {
        if let Some(reads) = self.reads {
            reads.spoil();
        }
    }

    /// Whether this is still below the frame that allocates a Java object: in the stub that it did
    /// so by.
    fn allocates(&self) -> bool {
        self.len == 0 && self.flags & stack_flags::OBJECT != 0
    }

    fn full(&self) -> bool {
        self.len >= MAX_FRAMES
    }

    fn push(&mut self, frame: u32) {
        if frame == LOST {
            self.spoil();
            self.flags |= stack_flags::NATIVE_GAP;
            return;
        }
        if let Some(place) = self.frames.get_mut(self.len) {
            *place = frame;
            self.len += 1;
        }
    }
}

/// What is known of a code address: how to find its caller, and its frame's index.
#[derive(Clone, Copy)]
struct Cached {
    rule: u64,
    frame: u32,
    /// For generated code: what tells its blob from a later one at the same address. For other
    /// code: [`Rule::return_address`].
    tag: u32,
}

/// One entry of the cache of code addresses, within one cache line. Written and read without a
/// lock: the first word is the key combined with the others, so that a mixture of two writes
/// matches no key.
#[repr(align(32))]
struct Entry([AtomicU64; 3]);
const CACHE_SLOTS: usize = 8192;
static CACHE: PageAligned<[Entry; CACHE_SLOTS]> =
    PageAligned([const { Entry([AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)]) }; CACHE_SLOTS]);

fn seal(key: u64, rule: u64, frame: u64) -> u64 {
    key ^ rule.rotate_left(17) ^ frame.rotate_left(40)
}

/// Gives the cache's memory back: zeroes are empty entries.
pub fn forget() {
    let (at, len) = (CACHE.0.as_ptr() as usize, size_of_val(&CACHE.0));
    sys::advise(at, len, libc::MADV_DONTNEED);
    memo::forget();
}

#[inline]
fn cache_get(key: u64) -> Option<Cached> {
    let Entry([check, rule, frame]) = CACHE.0.get((key >> 40) as usize % CACHE_SLOTS)?;
    let (rule, frame) = (rule.load(Relaxed), frame.load(Relaxed));
    let sealed = check.load(Relaxed);
    // A frame index is stored plus one: an entry of zeroes is an empty one.
    (frame as u32 != 0 && sealed == seal(key, rule, frame)).then(|| Cached {
        rule,
        frame: frame as u32 - 1,
        tag: (frame >> 32) as u32,
    })
}

fn cache_put(key: u64, c: Cached) {
    if let Some(Entry([check, rule, frame])) = CACHE.0.get((key >> 40) as usize % CACHE_SLOTS) {
        let index = u64::from(c.tag) << 32 | u64::from(c.frame.wrapping_add(1));
        rule.store(c.rule, Relaxed);
        frame.store(index, Relaxed);
        check.store(seal(key, c.rule, index), Relaxed);
    }
}

/// The caller's registers.
#[inline]
fn step(w: &Walk, rule: Rule) -> Option<Regs> {
    let regs = w.regs;
    let cfa = match rule.cfa {
        Cfa::Sp(n) => regs.sp.wrapping_add_signed(n.into()),
        Cfa::Fp(n) => w.fp(regs).wrapping_add_signed(n.into()),
        Cfa::AtFp(n) => w.read(w.fp(regs).wrapping_add_signed(n.into()))?,
        Cfa::Signal => {
            w.spoil();
            let fp_at = regs.sp.wrapping_add(frame::signal::FP);
            return Some(Regs {
                fp: w.read(fp_at)?,
                fp_at,
                sp: w.read(regs.sp.wrapping_add(frame::signal::SP))?,
                pc: w.read(regs.sp.wrapping_add(frame::signal::PC))?,
            });
        }
        Cfa::End => return None,
    };
    if cfa <= regs.sp {
        return None;
    }
    let pc = w.read(cfa.wrapping_add_signed(dwarf::return_address_at(rule.return_address)))?;
    let fp_at = match rule.fp {
        Fp::Same => return Some(Regs { pc, sp: cfa, ..regs }),
        Fp::AtCfa(n) => cfa.wrapping_add_signed(n.into()),
        Fp::AtOld(n) => w.fp(regs).wrapping_add_signed(n.into()),
    };
    Some(Regs { pc, sp: cfa, fp: w.look(fp_at)?, fp_at })
}

/// [`step`] by a packed rule. The two common kinds of CFA are told apart without a jump: a stack of
/// many functions would mispredict nearly every one.
#[inline]
fn step_packed(w: &Walk, word: u64, return_address: u32) -> Option<Regs> {
    let regs = w.regs;
    let kind = word >> 56;
    if kind == Rule::SP || kind == Rule::FP {
        let base = if kind == Rule::SP { regs.sp } else { w.fp(regs) };
        let cfa = base.wrapping_add_signed(i64::from(word as u32 as i32));
        let saved = word >> 48 & 0xff;
        if cfa > regs.sp && saved <= Rule::FP_AT_CFA {
            let pc_offset = dwarf::return_address_at(return_address);
            let pc = w.read(cfa.wrapping_add_signed(pc_offset))?;
            // Reading a word too many is cheaper than guessing; it is on the stack or the frame is
            // no good.
            let offset = if saved == 0 { pc_offset } else { i64::from((word >> 32) as u16 as i16) };
            let at = cfa.wrapping_add_signed(offset);
            let there = w.look(at)?;
            let (fp, fp_at) = if saved == 0 { (regs.fp, regs.fp_at) } else { (there, at) };
            return Some(Regs { pc, sp: cfa, fp, fp_at });
        }
    }
    step(w, Rule::unpack(word, return_address)?)
}

/// Walks from here; the agent's own frames are left out.
#[inline(never)]
pub fn current(file: File, work: &Busy, flags: u16, now: u64) -> Outcome {
    let t = work.thread();
    let regs = arch::registers();
    let stack = Stack::current(regs.sp);
    let java_thread = vm_thread::current(t);
    let session = file.session();
    let mut start = Start { sp: regs.sp, java_thread, session, generation: modules::generation(), flags };
    let mut memo = Memo::take(&start, work);
    if let Some(memo) = &memo
        && let Some(known) = memo.find(&start, regs.fp, &stack)
    {
        stack.remember();
        return Outcome::Stack(known);
    }
    let reads = memo.as_mut().and_then(Memo::record);
    let salt = mix(session);
    let mut w =
        Walk { regs, stack, file, salt, flags, len: 0, frames: [0; MAX_FRAMES], method: (0, 0), reads };
    let outcome = match Guard::new(work) {
        Some(modules) => {
            start.generation = modules.generation();
            walk(&mut w, java_thread, &modules)
        }
        None => {
            w.flags |= stack_flags::TRUNCATED;
            Some(())
        }
    };
    w.stack.remember();
    if outcome.is_none() {
        return Outcome::Nested;
    }
    if w.full() {
        w.flags |= stack_flags::DEEP;
    }
    let doubtful = stack_flags::TRUNCATED | stack_flags::DEEP | stack_flags::JAVA_BROKEN;
    if w.flags & (stack_flags::TRUNCATED | stack_flags::DEEP) != 0 {
        table::count(Counter::Truncated);
    }
    if w.flags & stack_flags::JAVA_BROKEN != 0 {
        table::count(Counter::JavaBroken);
    }
    let stack = file.stack(w.frames.get(..w.len).unwrap_or(&[]), w.flags, now);
    if w.flags & doubtful == 0
        && stack != NO_STACK
        && let Some(memo) = memo
    {
        memo.finish(&start, stack);
    }
    Outcome::Stack(stack)
}

/// `None`: nested in another hook.
fn walk(w: &mut Walk, java_thread: u64, modules: &Guard) -> Option<()> {
    let mut anchor = None;
    if java_thread != 0 {
        w.flags |= stack_flags::JAVA_THREAD;
        anchor = hotspot::anchor(w, java_thread);
    }
    let had_anchor = anchor.is_some();
    let mut exact = true; // the first address, and one interrupted by a signal, is no return address
    let mut own = true;
    let mut java_seen = false;
    if w.flags & stack_flags::OBJECT != 0 && anchor.is_some() {
        // Which of the JVM's functions come between is of no interest: begins where Java was left.
        (exact, own, java_seen) = (false, false, true);
        match hotspot::walk(w, anchor.take()) {
            hotspot::End::Native(next) => anchor = next,
            hotspot::End::Stop => return Some(()),
        }
    }
    while !w.full() {
        let pc = w.regs.pc;
        if pc < page_bytes() {
            break; // some runtimes end their stacks with a null return address
        }
        if code::in_code(pc) {
            java_seen = true;
            match hotspot::walk(w, anchor.take()) {
                hotspot::End::Native(next) => anchor = next,
                hotspot::End::Stop => break,
            }
            exact = false;
            continue;
        }
        let at = if exact { pc } else { pc - 1 };
        exact = false;
        let entry = native(w, modules, at, pc);
        if modules::is_own(pc) {
            if !own && hooks::in_allocator_hook(pc) {
                return None;
            }
        } else {
            own = false;
            w.push(entry.frame);
        }
        let rule = entry.rule;
        let sp = w.regs.sp;
        match step_packed(w, rule, entry.tag) {
            Some(next) => {
                w.regs = next;
                if rule >> 56 == Rule::SIGNAL {
                    exact = true;
                    w.stack = Stack::current(next.sp);
                }
            }
            None if rule >> 56 == Rule::END => break,
            // Code without tables. The anchor says where Java goes on; or there may be frame
            // pointers.
            None => match anchor {
                Some(_) => {
                    w.flags |= stack_flags::NATIVE_GAP;
                    java_seen = true;
                    match hotspot::walk(w, anchor.take()) {
                        hotspot::End::Native(next) => anchor = next,
                        hotspot::End::Stop => break,
                    }
                }
                None => match by_frame_pointer(w, modules) {
                    Some(next) if next.sp > sp => {
                        w.flags |= stack_flags::NATIVE_GAP;
                        w.regs = next;
                    }
                    _ => {
                        w.flags |= stack_flags::TRUNCATED;
                        break;
                    }
                },
            },
        }
    }
    if java_thread != 0 && !had_anchor && !java_seen && !w.full() {
        w.spoil();
        if let Some(frame) = hotspot::compiling(w, java_thread) {
            w.push(frame);
        }
    }
    Some(())
}

/// What is known of a native code address.
#[inline]
fn native(w: &Walk, modules: &Guard, at: u64, pc: u64) -> Cached {
    let key = combine(at, w.salt ^ u64::from(modules.generation()));
    match cache_get(key) {
        Some(c) => c,
        None => resolve_native(w, modules, at, pc, key),
    }
}

#[cold]
#[inline(never)]
fn resolve_native(w: &Walk, modules: &Guard, at: u64, pc: u64, key: u64) -> Cached {
    let module = modules.find(at);
    let (kind, record) = match module {
        Some(m) => (FrameKind::Native, modules.record(m, w.file)),
        None => (FrameKind::Unknown, 0),
    };
    let rule = module.and_then(|m| m.rule_at(at));
    let frame_key = mix(combine(combine(0x6e61, pc), u64::from(record)));
    let frame = w.file.frame(frame_key, || NewFrame { module: record, ..NewFrame::at(kind, pc) });
    let cached =
        Cached { rule: rule.map_or(0, Rule::pack), frame, tag: rule.map_or(0, |rule| rule.return_address) };
    cache_put(key, cached);
    cached
}

/// The caller if this frame keeps the old conventions: believed only if it leads into known code.
fn by_frame_pointer(w: &Walk, modules: &Guard) -> Option<Regs> {
    w.spoil();
    let Regs { sp, fp, .. } = w.regs;
    if fp < sp || fp - sp > 1 << 20 {
        return None;
    }
    let next = w.by_record(fp)?;
    (modules.find(next.pc).is_some() || code::in_code(next.pc)).then_some(next)
}
