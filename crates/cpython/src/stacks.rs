//! Interpreters, their threads and the Python stacks of those, as they are at one instant or close
//! to it.

use crate::arch::PTHREAD_TID;
use crate::lines::{Form, line};
use crate::objects::Objects;
use crate::offsets::Gil;
use std::collections::HashSet;

/// Interpreters, threads of each, and frames of a thread that are followed at the most.
const MOST_INTERPRETERS: usize = 1_000;
const MOST_THREADS: usize = 10_000;
const MOST_FRAMES: usize = 1_000;
/// Bytes of a table of lines.
const MOST_LINES: u64 = 1 << 20;
/// `gc.enabled` in a `_gc_runtime_state`.
const GC_ENABLED: u64 = 0xc;

/// An interpreter: the main one, or one of those that a program made beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubInterpreter {
    /// 0 is the main one.
    pub id: i64,
    /// Whether its collector runs by itself; `None` where that can't be read.
    pub collects: Option<bool>,
    /// Its threads, the oldest first.
    pub threads: Vec<Thread>,
}

/// A thread that runs Python, or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its id in its own pid namespace; `None` where it can't be told.
    pub tid: Option<i32>,
    /// It holds the GIL.
    pub holds_gil: bool,
    /// The innermost first; empty while it runs no Python.
    pub frames: Vec<Frame>,
    /// There are more than were followed, or the stack changed while it was read.
    pub cut: bool,
}

/// A Python function at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// `"Shop.add"`, before 3.11 `"add"`.
    pub function: String,
    /// The file it is in.
    pub file: String,
    /// The line it is at.
    pub line: i64,
    /// Its code object, and where its variables begin.
    pub(crate) code: u64,
    pub(crate) locals: u64,
}

/// The interpreters of the `_PyRuntime` at `runtime`.
pub(crate) fn interpreters(objects: &Objects<'_>, runtime: u64) -> Vec<SubInterpreter> {
    let (words, offsets) = (objects.words, objects.offsets);
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut next = words.word(runtime.saturating_add(offsets.interpreters)).unwrap_or(0);
    while next != 0 && found.len() < MOST_INTERPRETERS && seen.insert(next) {
        let Some(id) = words.word(next.saturating_add(offsets.interp_id)) else { break };
        let holder = match offsets.gil {
            Gil::Current(at) => words.word(runtime.saturating_add(at)),
            Gil::Own { pointer, holder, locked } => {
                words.word(next.saturating_add(pointer)).and_then(|gil| {
                    let is_locked = words.half(gil.checked_add(locked)?)? == 1;
                    words.word(gil.checked_add(holder)?).filter(|_| is_locked)
                })
            }
        };
        let collects = offsets
            .interp_gc
            .and_then(|gc| words.half(next.checked_add(gc)?.checked_add(GC_ENABLED)?))
            .filter(|enabled| *enabled <= 1);
        found.push(SubInterpreter {
            id: id.cast_signed(),
            collects: collects.map(|enabled| enabled == 1).filter(|_| !offsets.free_threaded),
            threads: threads(objects, next, holder.unwrap_or(0)),
        });
        next = words.word(next.saturating_add(offsets.interp_next)).unwrap_or(0);
    }
    found.reverse();
    found
}

fn threads(objects: &Objects<'_>, interpreter: u64, holder: u64) -> Vec<Thread> {
    let (words, offsets) = (objects.words, objects.offsets);
    let mut threads = Vec::new();
    let mut seen = HashSet::new();
    let mut next = words.word(interpreter.saturating_add(offsets.interp_threads)).unwrap_or(0);
    while next != 0 && threads.len() < MOST_THREADS && seen.insert(next) {
        let Some(pthread) = words.word(next.saturating_add(offsets.thread_pthread)) else { break };
        let tid = match offsets.thread_native {
            Some(native) => words.half(next.saturating_add(native)),
            None => pthread.checked_add(PTHREAD_TID).and_then(|tid| words.half(tid)),
        };
        let (frames, cut) = frames(objects, next);
        threads.push(Thread {
            tid: tid.and_then(|tid| i32::try_from(tid).ok()).filter(|tid| *tid > 0),
            holds_gil: next == holder,
            frames,
            cut,
        });
        next = words.word(next.saturating_add(offsets.thread_next)).unwrap_or(0);
    }
    threads.reverse();
    threads
}

/// The frames of a thread, the innermost first, and whether some are missing.
fn frames(objects: &Objects<'_>, thread: u64) -> (Vec<Frame>, bool) {
    let (words, offsets) = (objects.words, objects.offsets);
    let first = words.word(thread.saturating_add(offsets.thread_frame)).and_then(|at| match offsets.cframe {
        Some(field) => words.word(at.checked_add(field)?),
        None => Some(at),
    });
    let (mut frames, mut seen) = (Vec::new(), HashSet::new());
    let Some(mut next) = first else { return (frames, true) };
    while next != 0 {
        if frames.len() >= MOST_FRAMES || !seen.insert(next) {
            return (frames, true);
        }
        let owner = offsets.frame_owner.map(|owner| words.byte(next.saturating_add(owner)));
        // What the interpreter put between two calls from C runs no function.
        if !matches!(owner, Some(Some(3..))) {
            match frame(objects, next) {
                Some(frame) => frames.push(frame),
                None => return (frames, true),
            }
        }
        match words.word(next.saturating_add(offsets.frame_back)) {
            Some(back) => next = back,
            None => return (frames, true),
        }
    }
    (frames, false)
}

fn frame(objects: &Objects<'_>, address: u64) -> Option<Frame> {
    let (words, offsets) = (objects.words, objects.offsets);
    // The lowest bits of a reference on a stack say how it is counted (3.14, and builds without the
    // GIL).
    let code = words.word(address.checked_add(offsets.frame_code)?)? & !7;
    if !objects.is_a(code, "code") {
        return None;
    }
    let field = |offset: u64| words.word(code.checked_add(offset)?);
    let function = objects.text(field(offsets.code_name)?)?;
    let file = objects.text(field(offsets.code_filename)?).unwrap_or_default();
    let first = i64::from(words.half(code.checked_add(offsets.code_first_line)?)?);
    let offset = match offsets.minor {
        // -1 before its first instruction.
        ..=9 => words.half(address.checked_add(offsets.frame_instruction)?)?.cast_signed().max(0) as u64,
        10 => 2 * words.half(address.checked_add(offsets.frame_instruction)?)?.cast_signed().max(0) as u64,
        _ => {
            let at = words.word(address.checked_add(offsets.frame_instruction)?)?;
            at.saturating_sub(code.checked_add(offsets.code_instructions)?)
        }
    };
    let table = field(offsets.code_lines).and_then(|bytes| bytes_of(objects, bytes)).unwrap_or_default();
    Some(Frame {
        function,
        file,
        line: line(Form::of(offsets.minor), &table, first, offset),
        code,
        locals: address.checked_add(offsets.frame_locals)?,
    })
}

/// What a `bytes` holds.
fn bytes_of(objects: &Objects<'_>, address: u64) -> Option<Vec<u8>> {
    if !objects.is_a(address, "bytes") {
        return None;
    }
    // A PyBytesObject: the head, the length, a hash, the bytes.
    let head = objects.offsets.object_type + 8;
    let len = objects.words.word(address.checked_add(head)?)?;
    objects.words.bytes(address.checked_add(head + 16)?, len.min(MOST_LINES) as usize)
}
