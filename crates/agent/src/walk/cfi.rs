//! Call frame information: from .eh_frame to "where is the caller's stack pointer, frame pointer
//! and return address".
//!
//! Bytes in, values out; sources: the DWARF standard (6.4), the LSB's description of .eh_frame and
//! .eh_frame_hdr. Only what unwinding needs is followed: the stack pointer, the frame pointer and
//! the return address, under the numbers that the processor gives them (`dwarf`). Input is trusted
//! with nothing: every read is bounded by the section, every loop by a budget.

use super::cursor::Cursor;
use super::dwarf::{self, FRAME_POINTER, STACK_POINTER};
use super::opcodes::*;

/// Instructions that are followed for one address.
const MAX_INSTRUCTIONS: u32 = 4096;

/// Bytes of one library's unwind sections, addressed as they are at run time.
#[derive(Clone, Copy)]
pub struct Section<'a> {
    /// Run time address of the first byte.
    pub start: u64,
    /// The bytes: a copy or a private mapping of the file, so that they outlive the library.
    pub bytes: &'a [u8],
}

impl Section<'_> {
    fn at(&self, addr: u64, end: u64) -> Cursor<'_> {
        let offset = addr.wrapping_sub(self.start).min(self.bytes.len() as u64) as usize;
        let end = end.wrapping_sub(self.start).min(self.bytes.len() as u64) as usize;
        Cursor { bytes: self.bytes.get(..end).unwrap_or(&[]), pos: offset, start: self.start }
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// Where the caller's registers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// How to find the CFA, the caller's stack pointer.
    pub cfa: Cfa,
    /// How to find the caller's frame pointer.
    pub fp: Fp,
    /// For the processor's `dwarf::return_address_at`.
    pub return_address: u32,
}

/// The canonical frame address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cfa {
    /// The stack pointer + n.
    Sp(i32),
    /// The frame pointer + n.
    Fp(i32),
    /// The word at the frame pointer + n (functions that realign their stack).
    AtFp(i32),
    /// A signal frame: the kernel's saved registers lie at the stack
    /// pointer.
    Signal,
    /// The thread's first frame: nobody called it.
    End,
}

/// The caller's frame pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fp {
    /// Untouched.
    Same,
    /// Saved at CFA + n.
    AtCfa(i16),
    /// Saved at the frame pointer + n.
    AtOld(i16),
}

impl Rule {
    /// Kinds of CFA in the top byte of a packed rule: [`Cfa::Sp`].
    pub const SP: u64 = 1;
    /// [`Cfa::Fp`].
    pub const FP: u64 = 2;
    const AT_FP: u64 = 3;
    /// [`Cfa::Signal`].
    pub const SIGNAL: u64 = 4;
    /// [`Cfa::End`].
    pub const END: u64 = 5;
    /// [`Fp::AtCfa`] in the byte below; [`Fp::Same`] is 0.
    pub const FP_AT_CFA: u64 = 1;
    const FP_AT_OLD: u64 = 2;

    /// As one word, without the return address; never 0. The offsets of the CFA and of the frame
    /// pointer are in the lower half and the 16 bits above it.
    pub fn pack(self) -> u64 {
        let (kind, offset) = match self.cfa {
            Cfa::Sp(n) => (Self::SP, n),
            Cfa::Fp(n) => (Self::FP, n),
            Cfa::AtFp(n) => (Self::AT_FP, n),
            Cfa::Signal => (Self::SIGNAL, 0),
            Cfa::End => (Self::END, 0),
        };
        let (fp, fp_offset) = match self.fp {
            Fp::Same => (0, 0),
            Fp::AtCfa(n) => (Self::FP_AT_CFA, n),
            Fp::AtOld(n) => (Self::FP_AT_OLD, n),
        };
        u64::from(offset as u32) | u64::from(fp_offset as u16) << 32 | fp << 48 | kind << 56
    }

    /// From [`Rule::pack`].
    #[inline]
    pub fn unpack(word: u64, return_address: u32) -> Option<Rule> {
        let offset = word as u32 as i32;
        let cfa = match word >> 56 {
            Self::SP => Cfa::Sp(offset),
            Self::FP => Cfa::Fp(offset),
            Self::AT_FP => Cfa::AtFp(offset),
            Self::SIGNAL => Cfa::Signal,
            Self::END => Cfa::End,
            _ => return None,
        };
        let fp_offset = (word >> 32) as u16 as i16;
        let fp = match word >> 48 & 0xff {
            0 => Fp::Same,
            Self::FP_AT_CFA => Fp::AtCfa(fp_offset),
            _ => Fp::AtOld(fp_offset),
        };
        Some(Rule { cfa, fp, return_address })
    }
}

/// The rule at `pc`, looked up through .eh_frame_hdr's table; `None` if nothing covers it or it
/// isn't understood.
pub fn rule_at(section: Section, hdr: u64, pc: u64) -> Option<Rule> {
    let fde = find_fde(section, hdr, pc)?;
    let mut c = section.at(fde, section.end());
    let len = u64::from(c.u32()?);
    if len == 0 || len >= 0xffff_fff0 {
        return None;
    }
    let body = c.addr();
    let cie = body.wrapping_sub(u64::from(c.u32()?));
    let cie = Cie::parse(section, cie)?;
    let mut c = section.at(body + 4, body + len);
    let start = c.pointer(cie.encoding)?;
    // The range has the pointer's format, but is never relative.
    let range = c.pointer(cie.encoding & DW_EH_PE_FORMAT)?;
    if pc.wrapping_sub(start) >= range {
        return None;
    }
    if cie.signal {
        return Some(Rule { cfa: Cfa::Signal, fp: Fp::Same, return_address: 0 });
    }
    if cie.augmented {
        let n = c.uleb()?;
        c.skip(n)?;
    }
    let mut state = State::default();
    let mut run =
        Run { saved: [State::default(); 8], depth: 0, initial: State::default(), budget: MAX_INSTRUCTIONS };
    let mut initial = section.at(cie.instructions, cie.end);
    run.execute(&mut initial, &cie, &mut state, start, u64::MAX)?;
    run.initial = state;
    run.execute(&mut c, &cie, &mut state, start, pc)?;
    state.rule()
}

fn find_fde(section: Section, hdr: u64, pc: u64) -> Option<u64> {
    let mut c = section.at(hdr, section.end());
    let [version, frame_enc, count_enc, table_enc] = [c.u8()?, c.u8()?, c.u8()?, c.u8()?];
    // The only sorted form that linkers write.
    if version != 1 || table_enc != DW_EH_PE_DATAREL | DW_EH_PE_SDATA4 {
        return None;
    }
    c.pointer(frame_enc)?;
    let count = c.pointer(count_enc)?;
    let table = c.addr();
    let entry = |i: u64| {
        let mut c = section.at(table.wrapping_add(i.wrapping_mul(8)), section.end());
        let start = hdr.wrapping_add_signed(i64::from(c.u32()? as i32));
        Some((start, hdr.wrapping_add_signed(i64::from(c.u32()? as i32))))
    };
    let (mut lo, mut hi) = (0, count.min(section.bytes.len() as u64 / 8));
    while lo < hi {
        let mid = (lo + hi) / 2;
        if entry(mid)?.0 <= pc {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    Some(entry(lo.checked_sub(1)?)?.1)
}

struct Cie {
    code_align: u64,
    data_align: i64,
    encoding: u8,
    augmented: bool,
    signal: bool,
    instructions: u64,
    end: u64,
}

impl Cie {
    fn parse(section: Section, at: u64) -> Option<Cie> {
        let mut c = section.at(at, section.end());
        let len = u64::from(c.u32()?);
        if len == 0 || len >= 0xffff_fff0 {
            return None;
        }
        let end = c.addr() + len;
        let mut c = section.at(c.addr(), end);
        if c.u32()? != 0 {
            return None;
        }
        let version = c.u8()?;
        let mut augmentation = [0u8; 8];
        let mut n = 0;
        loop {
            match c.u8()? {
                0 => break,
                b => *augmentation.get_mut(n)? = b,
            }
            n += 1;
        }
        let code_align = c.uleb()?;
        let data_align = c.sleb()?;
        let ra = if version == 1 { u64::from(c.u8()?) } else { c.uleb()? };
        if ra != dwarf::RETURN_ADDRESS {
            return None;
        }
        let mut cie = Cie {
            code_align,
            data_align,
            encoding: 0,
            augmented: augmentation[0] == b'z',
            signal: false,
            instructions: 0,
            end,
        };
        if cie.augmented {
            let n = c.uleb()?;
            let data_end = c.addr().wrapping_add(n);
            for &a in &augmentation[1..] {
                match a {
                    0 => break,
                    b'R' => cie.encoding = c.u8()?,
                    b'L' => c.skip(1)?,
                    b'P' => {
                        let encoding = c.u8()?;
                        c.pointer(encoding)?;
                    }
                    b'S' => cie.signal = true,
                    b'B' => {}
                    _ => return None,
                }
            }
            cie.instructions = data_end;
        } else if n == 0 {
            cie.instructions = c.addr();
        } else {
            return None;
        }
        Some(cie)
    }
}

/// A row of the unwind table, as far as it is followed.
#[derive(Clone, Copy)]
struct State {
    cfa: Place,
    fp: Place,
    ra: Place,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Same,
    Undefined,
    /// Register + offset (the CFA itself).
    Reg(u64, i64),
    /// Memory at CFA + offset.
    AtCfa(i64),
    /// Memory at register + offset, from an expression.
    AtReg(u64, i64),
    Unknown,
}

impl Default for State {
    fn default() -> State {
        State { cfa: Place::Unknown, fp: Place::Same, ra: Place::Unknown }
    }
}

impl State {
    fn rule(&self) -> Option<Rule> {
        if self.ra == Place::Undefined {
            return Some(Rule { cfa: Cfa::End, fp: Fp::Same, return_address: 0 });
        }
        let Place::AtCfa(at) = self.ra else { return None };
        let return_address = dwarf::remember_return_address(at)?;
        let cfa = match self.cfa {
            Place::Reg(STACK_POINTER, n) => Cfa::Sp(n.try_into().ok()?),
            Place::Reg(FRAME_POINTER, n) => Cfa::Fp(n.try_into().ok()?),
            Place::AtReg(FRAME_POINTER, n) => Cfa::AtFp(n.try_into().ok()?),
            _ => return None,
        };
        let fp = match self.fp {
            Place::Same | Place::Undefined => Fp::Same,
            Place::AtCfa(n) => Fp::AtCfa(n.try_into().ok()?),
            Place::AtReg(FRAME_POINTER, n) => Fp::AtOld(n.try_into().ok()?),
            _ => return None,
        };
        Some(Rule { cfa, fp, return_address })
    }

    fn place(&mut self, register: u64) -> Option<&mut Place> {
        match register {
            FRAME_POINTER => Some(&mut self.fp),
            dwarf::RETURN_ADDRESS => Some(&mut self.ra),
            _ => None,
        }
    }

    fn set(&mut self, register: u64, place: Place) {
        if let Some(p) = self.place(register) {
            *p = place;
        }
    }
}

struct Run {
    saved: [State; 8],
    depth: usize,
    initial: State,
    budget: u32,
}

impl Run {
    /// Executes instructions until the row for `pc` is complete.
    fn execute(&mut self, c: &mut Cursor, cie: &Cie, s: &mut State, start: u64, pc: u64) -> Option<()> {
        let mut at = start;
        while !c.done() {
            self.budget = self.budget.checked_sub(1)?;
            let op = c.u8()?;
            match advanced(op, c, cie, at)? {
                Some(next) if next > pc => return Some(()),
                Some(next) => at = next,
                None => self.row(op, c, cie, s)?,
            }
        }
        Some(())
    }

    /// An instruction that changes the row.
    fn row(&mut self, op: u8, c: &mut Cursor, cie: &Cie, s: &mut State) -> Option<()> {
        let low = u64::from(op & !DW_CFA_HIGH_BITS);
        match op & DW_CFA_HIGH_BITS {
            DW_CFA_OFFSET => s.set(low, Place::AtCfa(c.factored(cie)?)),
            DW_CFA_RESTORE => self.restore(s, low),
            _ => match op {
                DW_CFA_NOP => {}
                DW_CFA_OFFSET_EXTENDED => s.set(c.uleb()?, Place::AtCfa(c.factored(cie)?)),
                DW_CFA_OFFSET_EXTENDED_SF => s.set(c.uleb()?, Place::AtCfa(c.factored_signed(cie)?)),
                DW_CFA_RESTORE_EXTENDED => self.restore(s, c.uleb()?),
                DW_CFA_UNDEFINED => s.set(c.uleb()?, Place::Undefined),
                DW_CFA_SAME_VALUE => s.set(c.uleb()?, Place::Same),
                // In another register, or the value itself: for what is followed nobody does so.
                DW_CFA_REGISTER | DW_CFA_VAL_OFFSET | DW_CFA_VAL_OFFSET_SF => {
                    let register = c.uleb()?;
                    c.uleb()?;
                    s.set(register, Place::Unknown);
                }
                DW_CFA_REMEMBER_STATE => {
                    *self.saved.get_mut(self.depth)? = *s;
                    self.depth += 1;
                }
                DW_CFA_RESTORE_STATE => {
                    self.depth = self.depth.checked_sub(1)?;
                    *s = *self.saved.get(self.depth)?;
                }
                DW_CFA_DEF_CFA => s.cfa = Place::Reg(c.uleb()?, c.uleb()? as i64),
                DW_CFA_DEF_CFA_SF => s.cfa = Place::Reg(c.uleb()?, c.factored_signed(cie)?),
                DW_CFA_DEF_CFA_REGISTER => {
                    let register = c.uleb()?;
                    s.cfa = match s.cfa {
                        Place::Reg(_, n) => Place::Reg(register, n),
                        _ => Place::Unknown,
                    };
                }
                DW_CFA_DEF_CFA_OFFSET | DW_CFA_DEF_CFA_OFFSET_SF => {
                    let n =
                        if op == DW_CFA_DEF_CFA_OFFSET { c.uleb()? as i64 } else { c.factored_signed(cie)? };
                    s.cfa = match s.cfa {
                        Place::Reg(register, _) => Place::Reg(register, n),
                        _ => Place::Unknown,
                    };
                }
                DW_CFA_DEF_CFA_EXPRESSION => {
                    let len = c.uleb()?;
                    s.cfa = c.expression(len, true)?;
                }
                DW_CFA_EXPRESSION | DW_CFA_VAL_EXPRESSION => {
                    let register = c.uleb()?;
                    let len = c.uleb()?;
                    let place = c.expression(len, false)?;
                    s.set(register, if op == DW_CFA_EXPRESSION { place } else { Place::Unknown });
                }
                DW_CFA_GNU_ARGS_SIZE => {
                    c.uleb()?;
                }
                _ => return None,
            },
        }
        Some(())
    }

    /// Takes back what was said of a register since the function's start.
    fn restore(&self, s: &mut State, register: u64) {
        let mut first = self.initial;
        let place = first.place(register).map_or(Place::Same, |p| *p);
        s.set(register, place);
    }
}

/// The address from which the row that comes next holds, by an instruction that says so; `None`
/// inside where it is another kind.
fn advanced(op: u8, c: &mut Cursor, cie: &Cie, at: u64) -> Option<Option<u64>> {
    let units = match op {
        DW_CFA_SET_LOC => return Some(Some(c.pointer(cie.encoding)?)),
        DW_CFA_ADVANCE_LOC1 => u64::from(c.u8()?),
        DW_CFA_ADVANCE_LOC2 => u64::from(c.u16()?),
        DW_CFA_ADVANCE_LOC4 => u64::from(c.u32()?),
        _ if op & DW_CFA_HIGH_BITS == DW_CFA_ADVANCE_LOC => u64::from(op & !DW_CFA_HIGH_BITS),
        _ => return Some(None),
    };
    Some(Some(at.wrapping_add(units.wrapping_mul(cie.code_align))))
}

impl Cursor<'_> {
    /// An offset in units of the CIE's data alignment.
    fn factored(&mut self, cie: &Cie) -> Option<i64> {
        Some((self.uleb()? as i64).wrapping_mul(cie.data_align))
    }

    /// The same, of a number with a sign.
    fn factored_signed(&mut self, cie: &Cie) -> Option<i64> {
        Some(self.sleb()?.wrapping_mul(cie.data_align))
    }

    /// A DWARF expression of the two forms that compilers write for realigned stacks: `breg r n`
    /// and `breg r n; deref`. Anything else (PLT stubs) is `Unknown`: no call is made from there.
    fn expression(&mut self, len: u64, is_cfa: bool) -> Option<Place> {
        let end = self.pos.checked_add(usize::try_from(len).ok()?)?;
        if end > self.bytes.len() {
            return None;
        }
        let place = self.simple_expression(end, is_cfa).unwrap_or(Place::Unknown);
        self.pos = end;
        Some(place)
    }

    fn simple_expression(&mut self, end: usize, is_cfa: bool) -> Option<Place> {
        let op = self.u8()?;
        if !(DW_OP_BREG0..=DW_OP_BREG31).contains(&op) {
            return None;
        }
        let register = u64::from(op - DW_OP_BREG0);
        let n = self.sleb()?;
        let deref = self.pos < end && self.u8()? == DW_OP_DEREF;
        if self.pos != end {
            return None;
        }
        match (is_cfa, deref) {
            (true, true) => Some(Place::AtReg(register, n)),
            (true, false) => Some(Place::Reg(register, n)),
            // For other registers the expression gives the place of the saved value.
            (false, false) => Some(Place::AtReg(register, n)),
            (false, true) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Regs;

    #[test]
    fn rules_survive_packing() {
        for cfa in [Cfa::Sp(8), Cfa::Sp(-8), Cfa::Fp(16), Cfa::AtFp(-8), Cfa::Signal, Cfa::End] {
            for fp in [Fp::Same, Fp::AtCfa(-16), Fp::AtOld(0), Fp::AtOld(-32768)] {
                let rule = Rule { cfa, fp, return_address: 5 };
                assert_eq!(Rule::unpack(rule.pack(), 5), Some(rule));
            }
        }
        assert_eq!(Rule::unpack(0, 0), None);
    }

    /// Unwinds this very stack with the test binary's own tables, and compares with frames known to
    /// be there.
    #[test]
    fn finds_the_callers_of_this_test() {
        #[inline(never)]
        fn outer(depth: u32) -> usize {
            if depth == 0 {
                return std::hint::black_box(walk());
            }
            std::hint::black_box(outer(depth - 1)) + usize::from(depth == 200)
        }
        #[inline(never)]
        fn walk() -> usize {
            let mut found = None;
            crate::elf::for_each(|o| {
                let (lo, hi) = o.range();
                let here = walk as *const () as u64;
                if here >= lo && here < hi {
                    let (hdr, _) = o.eh_frame_hdr().unwrap();
                    let (start, len, _) = o.segment_of(hdr).unwrap();
                    found = Some((hdr, start, len));
                }
            });
            let (hdr, start, len) = found.unwrap();
            // SAFETY: the segment of this binary stays mapped.
            let bytes = unsafe { std::slice::from_raw_parts(start as *const u8, len as usize) };
            let section = Section { start, bytes };
            let mut regs = crate::arch::registers();
            let outer = outer as *const () as u64;
            let mut calls = 0;
            for i in 0..200 {
                let Some(rule) = rule_at(section, hdr, regs.pc - u64::from(i > 0)) else { break };
                let Some(next) = up(regs, rule) else { break };
                regs = next;
                calls += usize::from(regs.pc > outer && regs.pc < outer + 200);
            }
            calls
        }
        fn up(regs: Regs, rule: Rule) -> Option<Regs> {
            let stack = crate::guard::Stack::current(regs.sp);
            let cfa = match rule.cfa {
                Cfa::Sp(n) => regs.sp.wrapping_add_signed(n.into()),
                Cfa::Fp(n) => regs.fp.wrapping_add_signed(n.into()),
                _ => return None,
            };
            let fp = match rule.fp {
                Fp::AtCfa(n) => stack.read(cfa.wrapping_add_signed(n.into()))?,
                _ => regs.fp,
            };
            Some(Regs {
                pc: stack.read(cfa.wrapping_add_signed(dwarf::return_address_at(rule.return_address)))?,
                sp: cfa,
                fp,
                fp_at: 0,
            })
        }
        crate::guard::init();
        assert_eq!(outer(20), 21);
    }

    #[test]
    fn never_panics_on_garbage() {
        let mut x = 99u64;
        let mut bytes = vec![0u8; 4096];
        for round in 0..3000 {
            for b in &mut bytes {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                *b = x as u8;
            }
            bytes[..4].copy_from_slice(&[1, 0x1b, 0x03, 0x3b]);
            bytes[8..12].copy_from_slice(&300u32.to_le_bytes());
            for i in 0..300u32 {
                let at = 12 + 8 * i as usize;
                bytes[at..at + 4].copy_from_slice(&(i * 64).to_le_bytes());
                bytes[at + 4..at + 8].copy_from_slice(&(2500 + (i % 40) * 16).to_le_bytes());
            }
            for i in 0..40 {
                let at = 2500 + i * 16;
                bytes[at..at + 4].copy_from_slice(&40u32.to_le_bytes());
                bytes[at + 4..at + 8].copy_from_slice(&((at as u32 + 4) - 2420).to_le_bytes());
            }
            bytes[2420..2429].copy_from_slice(&[60, 0, 0, 0, 0, 0, 0, 0, 1]);
            bytes[2429..2436].copy_from_slice(&[b'z', b'R', 0, 1, 0x78, 16, 1]);
            let section = Section { start: 1 << 40, bytes: &bytes };
            let _ = rule_at(section, 1 << 40, (1 << 40) + round * 7);
        }
    }
}
