//! Walks the Java frames of the current thread, in process, by what vmStructs says.
//!
//! The hooks run synchronously: the thread has called out of Java, so HotSpot has left an anchor
//! (`JavaThread::_anchor`) that says exactly where its Java frames begin, and every frame is at a
//! call. Sources for the shapes: hotspot runtime/frame.hpp, code/codeBlob.hpp, nmethod.hpp,
//! pcDesc.hpp, scopeDesc.cpp, runtime/javaCalls.hpp.
//!
//! Code heap memory is never given back, and what belongs to a method on the stack is alive; the
//! rest is peeked at.

use offheap_live::{Counter, FrameKind, MAX_INLINED, combine, mix, stack_flags};

use super::code::{blob, blob_of, in_code, load};
use super::names;
use super::vmstructs::{Field, get};
use super::{Cached, Walk, cache_get, cache_put};
use crate::arch::frame::{self, interpreter};
use crate::arch::{Regs, page_bytes};
use crate::guard::peek;
use crate::table::{File, LOST, NewFrame};

/// Largest frame of the interpreter or of compiled code that is believed.
const MAX_FRAME: u64 = 1 << 20;

/// Where Java frames begin, as the VM left it.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    sp: u64,
    fp: u64,
    /// Where `fp` is kept.
    fp_at: u64,
    pc: u64,
}

/// The thread's anchor, if it has left Java.
#[inline]
pub fn anchor(w: &Walk, java_thread: u64) -> Option<Anchor> {
    let read = |at: u64| {
        // SAFETY: the calling thread's own JavaThread lives as long as its slot holds it.
        let value = unsafe { load::<u64>(at) };
        w.note(at, value);
        Some(value)
    };
    anchor_at(java_thread.wrapping_add_signed(get(Field::Anchor)?), &read)
}

#[inline]
fn anchor_at(at: u64, read: &impl Fn(u64) -> Option<u64>) -> Option<Anchor> {
    let sp = read(at.wrapping_add_signed(get(Field::LastSp)?))?;
    if sp == 0 {
        return None;
    }
    let fp_at = get(Field::LastFp).map_or(0, |o| at.wrapping_add_signed(o));
    let fp = if fp_at == 0 { 0 } else { read(fp_at).unwrap_or(0) };
    Some(Anchor { sp, fp, fp_at, pc: read(at.wrapping_add_signed(get(Field::LastPc)?))? })
}

/// How to get from a frame in generated code to its caller.
mod step {
    /// A compiled method, of known frame size.
    pub const SIZED: u64 = 1;
    pub const INTERPRETER: u64 = 2;
    pub const ENTRY: u64 = 3;
    pub const FRAME_POINTER: u64 = 4;
    pub const STOP: u64 = 5;
    /// A stub of known frame size.
    pub const STUB: u64 = 6;
}

/// Why the Java part of a walk ended.
pub enum End {
    /// At native code again, with the anchor of the next older Java frames, if there are any.
    Native(Option<Anchor>),
    /// It can't go on.
    Stop,
}

/// Walks from `w.regs`, which are in generated code, to the next native frame.
pub fn walk(w: &mut Walk, start: Option<Anchor>) -> End {
    let trusted = start.is_some();
    if let Some(a) = start {
        // Younger stubs between the native frames and the anchor are of no interest.
        if a.sp < w.regs.sp.saturating_sub(64) {
            return broken(w);
        }
        let pc = if a.pc != 0 { Some(a.pc) } else { w.read(a.sp.wrapping_add_signed(frame::LAST_JAVA_PC)) };
        let Some(pc) = pc.filter(|&pc| in_code(pc)) else { return broken(w) };
        let (fp, fp_at) = if a.fp != 0 { (a.fp, a.fp_at) } else { (w.regs.fp, w.regs.fp_at) };
        w.regs = Regs { pc, sp: a.sp, fp, fp_at };
    }
    let mut next = None;
    while !w.full() {
        let Regs { pc, sp, .. } = w.regs;
        if !in_code(pc) {
            return End::Native(next);
        }
        let Some(entry) = frame(w, pc) else { return broken(w) };
        let caller = match entry.rule >> 56 {
            how @ (step::SIZED | step::STUB) => {
                if how == step::SIZED || !w.allocates() {
                    w.push(entry.frame);
                }
                let size = (entry.rule & 0xff_ffff) * 8;
                let top = sp.wrapping_add(size);
                let pc_at = top.wrapping_add_signed(frame::compiled::RETURN_ADDRESS);
                let fp_at = top.wrapping_add_signed(frame::compiled::FP);
                w.read(pc_at).zip(w.look(fp_at)).map(|(pc, fp)| Regs { pc, sp: top, fp, fp_at })
            }
            step::INTERPRETER => interpreted(w, trusted),
            step::ENTRY => {
                let fp = w.fp(w.regs);
                next = get(Field::EntryFrameWrapper).zip(get(Field::WrapperAnchor)).and_then(
                    |(slot, offset)| {
                        let wrapper = w.read(fp.wrapping_add_signed(slot * 8))?;
                        anchor_at(wrapper.wrapping_add_signed(offset), &|at| w.read(at))
                    },
                );
                by_frame_pointer(w)
            }
            step::FRAME_POINTER => {
                if !w.allocates() {
                    w.push(entry.frame);
                }
                by_frame_pointer(w)
            }
            _ => {
                w.flags |= stack_flags::VIRTUAL;
                return End::Stop;
            }
        };
        match caller {
            Some(regs) if regs.sp > sp && regs.sp - sp <= MAX_FRAME && regs.pc > page_bytes() => {
                w.regs = regs
            }
            _ => return broken(w),
        }
    }
    End::Stop
}

fn broken(w: &mut Walk) -> End {
    w.flags |= stack_flags::JAVA_BROKEN;
    End::Stop
}

/// The caller of a frame that has saved the frame pointer in the usual place.
fn by_frame_pointer(w: &Walk) -> Option<Regs> {
    let (sp, fp) = (w.regs.sp, w.fp(w.regs));
    if fp < sp || fp - sp > MAX_FRAME {
        return None;
    }
    w.by_record(fp)
}

/// An interpreted frame: the frame pointer is its base.
fn interpreted(w: &mut Walk, trusted: bool) -> Option<Regs> {
    let (sp, fp) = (w.regs.sp, w.fp(w.regs));
    if fp < sp || fp - sp > MAX_FRAME {
        return None;
    }
    let slot = |at: i64| w.read(fp.wrapping_add_signed(at));
    let method = slot(interpreter::METHOD)?;
    let pc = slot(frame::record::RETURN_ADDRESS)?;
    let caller = Regs { pc, sp: slot(interpreter::SENDER_SP)?, fp: w.look(fp)?, fp_at: fp };
    let bcp = slot(if get(Field::CodeHeaps).is_some() { interpreter::BCP } else { interpreter::BCP_JDK8 })?;
    let identity = match w.method {
        (known, identity) if known == method => identity,
        _ => identity_on_stack(w, method, trusted)?,
    };
    w.method = (method, identity);
    let key = combine(combine(identity, method), bcp ^ w.salt);
    let frame = match cache_get(key) {
        Some(c) => c.frame,
        None => {
            let bci = get(Field::ConstMethod)
                .and_then(|o| peek::<u64>(method.wrapping_add_signed(o)))
                .and_then(names::code_base)
                .filter(|&base| bcp >= base && bcp - base < 65536)
                .map_or(-1, |base| (bcp - base) as i32);
            let id = java_frame(w.file, method, bci, FrameKind::Interpreted, 0);
            cache_put(key, Cached { rule: step::INTERPRETER << 56, frame: id, tag: 0 });
            id
        }
    };
    w.push(frame);
    Some(caller)
}

/// The identity of a method that an interpreted frame names; with an anchor the frame is real
/// (`trusted`), and then so is the method in it.
#[inline]
fn identity_on_stack(w: &Walk, method: u64, trusted: bool) -> Option<u64> {
    if !trusted {
        w.spoil();
        return names::identity(method, peek);
    }
    names::identity(method, |at| {
        // SAFETY: alive, being on the current thread's stack; aligned by the check.
        let value = (at & 7 == 0 && at > page_bytes()).then(|| unsafe { load::<u64>(at) })?;
        w.note(at, value);
        Some(value)
    })
}

/// Interns a Java frame. It is recognised by its method and place, not by its machine code: what is
/// compiled again and again stays one frame.
fn java_frame(file: File, method: u64, bci: i32, kind: FrameKind, next: u32) -> u32 {
    let identity = names::identity(method, peek).unwrap_or(0);
    let place = u64::from(bci as u32) << 32 | u64::from(next);
    let key = combine(combine(combine(identity, method), place), kind as u64 + 0x4a00);
    file.frame(mix(key), || {
        let n = names::of_method(file, method, bci).unwrap_or_else(|| {
            crate::table::count(Counter::NamesLost);
            names::Names::default()
        });
        let kind =
            if n.native && matches!(kind, FrameKind::Interpreted) { FrameKind::JavaNative } else { kind };
        let pc = if bci < 0 || n.native { u64::MAX } else { bci as u64 };
        NewFrame { pc, class: n.class, name: n.name, file: n.file, line: n.line, next, kind, module: 0 }
    })
}

/// A rule for generated code: how to step, a frame's size in words, and how far before the address
/// its blob begins.
fn rule(step: u64, words: i32, distance: u64) -> u64 {
    step << 56 | (distance & 0xff_ffff) << 24 | words as u64 & 0xff_ffff
}
/// Set in a rule: the frame is marked for deoptimisation, so its address says nothing about where
/// it is.
const DEOPTIMISED: u64 = 1 << 48;

/// What tells one blob at an address from the next: a compiled method's id, which is never given
/// twice; else its size. And where that is.
#[inline]
fn tag(b: u64, step: u64) -> Option<(u64, u32)> {
    let field = if step == step::SIZED { Field::CompileId } else { Field::BlobSize };
    Some((b.wrapping_add_signed(get(field)?), blob(b, field)?))
}

/// What is known of a return address in generated code; worked out when first seen.
#[inline]
fn frame(w: &Walk, pc: u64) -> Option<Cached> {
    let key = combine(pc, 0x6a76 ^ w.salt);
    if let Some(c) = cache_get(key)
        && c.rule & DEOPTIMISED == 0
        && let Some((at, tag)) = tag(pc - (c.rule >> 24 & 0xff_ffff), c.rule >> 56)
        && tag == c.tag
    {
        w.note_half(at, tag);
        return Some(c);
    }
    w.spoil();
    make_frame(w, blob_of(pc)?, pc, key)
}

#[cold]
fn make_frame(w: &Walk, b: u64, pc: u64, key: u64) -> Option<Cached> {
    let name: u64 = blob(b, Field::BlobName)?;
    let mut text = [0u8; 64];
    for (i, place) in text.iter_mut().enumerate() {
        match peek::<u8>(name + i as u64)? {
            0 => break,
            c => *place = c,
        }
    }
    let len = text.iter().position(|&c| c == 0).unwrap_or(text.len());
    let name = text.get(..len)?;
    let words: i32 = blob(b, Field::BlobFrameSize)?;
    let file = w.file;
    let distance = pc - b;
    if distance > 0xff_ffff {
        return None;
    }
    let nmethod = name == b"nmethod" || name == b"native nmethod";
    let (step, frame, flags) = if name == b"Interpreter" {
        (step::INTERPRETER, 0, 0)
    } else if nmethod && words > 0 {
        let (real_pc, deoptimised) = undeoptimised(w, b, pc);
        let frame = compiled(file, b, real_pc, name == b"native nmethod")?;
        (step::SIZED, frame, if deoptimised { DEOPTIMISED } else { 0 })
    } else if Some(pc) == get(Field::CallStubReturn).and_then(|at| peek::<u64>(at as u64)) {
        (step::ENTRY, 0, 0)
    } else if name.starts_with(b"StubRoutines (cont") || name.starts_with(b"cont") {
        // The frames below live in a heap object until the virtual thread returns to them.
        (step::STOP, 0, 0)
    } else {
        let key = mix(offheap_live::hash_bytes(name) ^ 0x5708);
        let id =
            file.frame(key, || NewFrame { name: file.string(name), ..NewFrame::at(FrameKind::Stub, pc) });
        (if words > 0 { step::STUB } else { step::FRAME_POINTER }, id, 0)
    };
    let cached = Cached { rule: rule(step, words, distance) | flags, frame, tag: tag(b, step)?.1 };
    cache_put(key, cached);
    Some(cached)
}

/// The address that a frame was at before it was marked for deoptimisation, and whether it was.
fn undeoptimised(w: &Walk, b: u64, pc: u64) -> (u64, bool) {
    let handlers = [
        blob::<u64>(b, Field::DeoptBegin),
        blob::<u64>(b, Field::DeoptMhBegin),
        blob::<i32>(b, Field::DeoptOffset).map(|o| b.wrapping_add_signed(o.into())),
        blob::<i32>(b, Field::DeoptMhOffset).map(|o| b.wrapping_add_signed(o.into())),
    ];
    if !handlers.contains(&Some(pc)) {
        return (pc, false);
    }
    let original = blob::<i32>(b, Field::OrigPcOffset)
        .and_then(|o| w.look(w.regs.sp.wrapping_add_signed(o.into())))
        .filter(|&p| p >= b && p - b < 64 << 20);
    (original.unwrap_or(pc), true)
}

/// Interns a compiled frame with everything inlined into it; the index of the innermost.
fn compiled(file: File, b: u64, pc: u64, native: bool) -> Option<u32> {
    let method: u64 = blob(b, Field::CompiledMethod)?;
    let level: u8 = blob(b, Field::CompileLevel).unwrap_or(0);
    let kind = match (native, level) {
        (true, _) => FrameKind::JavaNative,
        (false, 1..=3) => FrameKind::C1,
        (false, _) => FrameKind::C2,
    };
    let mut scopes = [(0u64, 0i32); MAX_INLINED];
    let n = if native { None } else { read_scopes(b, pc, &mut scopes) }.unwrap_or(0);
    if n == 0 {
        return Some(java_frame(file, method, -1, kind, 0));
    }
    let (mut next, mut id) = (0, LOST);
    for (depth, &(method, bci)) in scopes.get(..n)?.iter().enumerate().rev() {
        let kind = if depth + 1 == n { kind } else { FrameKind::Inlined };
        id = java_frame(file, method, bci, kind, next);
        next = if id == LOST { 0 } else { id + 1 };
    }
    Some(id)
}

/// The methods at a return address, innermost first: PcDesc → ScopeDesc and its senders.
fn read_scopes(b: u64, pc: u64, out: &mut [(u64, i32); MAX_INLINED]) -> Option<usize> {
    let code = match blob::<u64>(b, Field::BlobCodeBegin) {
        Some(code) => code,
        None => b.wrapping_add_signed(blob::<i32>(b, Field::BlobCodeOffset)?.into()),
    };
    let at = |base: u64, f: Field| Some(base.wrapping_add_signed(blob::<i32>(b, f)?.into()));
    // From JDK 23 debug information is in a block of its own, and metadata (25) in a third.
    let (pcs, pcs_end, data, metadata) = match blob::<u64>(b, Field::ImmutableData) {
        Some(immutable) => {
            let data = at(immutable, Field::ScopesDataOffset)?;
            let metadata = match blob::<u64>(b, Field::BlobMutableData) {
                Some(mutable) => at(mutable, Field::BlobRelocationSize)?,
                None => {
                    let offset = u64::from(blob::<u16>(b, Field::MetadataOffset)?);
                    at(b, Field::BlobDataOffset)? + offset
                }
            };
            (at(immutable, Field::ScopesPcsOffset)?, data, data, metadata)
        }
        None => {
            let data = match blob::<u64>(b, Field::ScopesDataBegin) {
                Some(data) => data,
                None => at(b, Field::ScopesDataOffset)?,
            };
            (
                at(b, Field::ScopesPcsOffset)?,
                at(b, Field::DependenciesOffset)?,
                data,
                at(b, Field::MetadataOffset)?,
            )
        }
    };
    // PcDesc: pc offset, scope offset, object offset, flags; four ints, sorted by the first.
    let (mut lo, mut hi) = (0, pcs_end.checked_sub(pcs)? / 16);
    let wanted = i32::try_from(pc.checked_sub(code)?).ok()?;
    if hi > 1 << 20 {
        return None;
    }
    while lo < hi {
        let mid = (lo + hi) / 2;
        if peek::<i32>(pcs + 16 * mid)? < wanted {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    let [_, mut scope] = peek::<[i32; 2]>(pcs + 16 * lo)?;
    let mut n = 0;
    while scope > 0 {
        let mut place = data + scope as u64;
        let mut byte = || -> Option<u32> {
            let v: u8 = peek(place)?;
            place += 1;
            Some(v.into())
        };
        let sender = names::unsigned5(&mut byte)? as i32;
        let method = names::unsigned5(&mut byte)?;
        // Stored plus one: -1 stands for the method's entry.
        let bci = names::unsigned5(&mut byte)? as i32 - 1;
        let method = if method == 0 { 0 } else { peek::<u64>(metadata + 8 * (u64::from(method) - 1))? };
        match out.get_mut(n) {
            Some(place) => *place = (method, bci),
            None => break,
        }
        n += 1;
        // Senders are written before their callees, so this can't go in circles.
        scope = if sender < scope { sender } else { 0 };
    }
    Some(n)
}

/// The method that a compiler thread is compiling: `CompilerThread::_env`, which lies on that
/// thread's own stack.
pub fn compiling(w: &Walk, java_thread: u64) -> Option<u32> {
    let env: u64 = peek(java_thread.wrapping_add_signed(get(Field::CompilerEnv)?))?;
    let base: u64 = peek(java_thread.wrapping_add_signed(get(Field::StackBase)?))?;
    if env < w.regs.sp.saturating_sub(MAX_FRAME * 64) || env >= base {
        return None;
    }
    let task: u64 = peek(env.wrapping_add_signed(get(Field::EnvTask)?))?;
    let method: u64 = peek(task.wrapping_add_signed(get(Field::TaskMethod)?))?;
    names::identity(method, peek)?;
    Some(java_frame(w.file, method, -1, FrameKind::Compiling, 0))
}
