//! The agent's own interpreter of call frame information, held against gimli's: the same rule at
//! every row of every FDE.
//!
//! The agent's source is compiled in here as it is: the agent itself is a library that nobody can
//! link.

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EndianSlice, LittleEndian, Operation, Register, RegisterRule,
    UnwindSection,
};
use object::{Object, ObjectSection, ObjectSegment};
use std::path::{Path, PathBuf};

#[allow(dead_code, missing_docs, reason = "the agent's file, of which a part is asked for")]
#[path = "../../agent/src/walk/cfi.rs"]
mod cfi;
#[allow(dead_code, missing_docs, reason = "the agent's file, of which a part is asked for")]
#[path = "../../agent/src/walk/cursor.rs"]
mod cursor;
#[allow(dead_code, missing_docs, reason = "the agent's file, of which a part is asked for")]
#[path = "../../agent/src/arch/x86_64/dwarf.rs"]
mod dwarf;
#[allow(dead_code, missing_docs, reason = "the agent's file, of which a part is asked for")]
#[path = "../../agent/src/walk/opcodes.rs"]
mod opcodes;

pub use cfi::{Cfa, Fp, Rule, Section, rule_at};

/// Where libraries are pretended to be loaded: arithmetic must hold up there too.
pub const BIAS: u64 = 0x7fff_0000_0000;

const RBP: Register = Register(6);
const RSP: Register = Register(7);
const RA: Register = Register(16);

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// What was compared.
#[derive(Debug, Default)]
pub struct Tally {
    /// Libraries with unwind tables and a header that finds them.
    pub libraries: u64,
    /// FDEs.
    pub fdes: u64,
    /// Rows of them.
    pub rows: u64,
    /// Rows that gimli knows a rule for and the agent does not: its stacks end there.
    pub declined: u64,
    /// The first few of those, in words.
    pub declined_at: Vec<String>,
    /// Rows where the two differ, in words: there must be none.
    pub wrong: Vec<String>,
}

/// The segment of `file` that holds its .eh_frame_hdr, as the loader would map it, and the header's
/// address.
pub fn tables<'a>(file: &object::File<'a>) -> Option<(Section<'a>, u64)> {
    let header = file.section_by_name(".eh_frame_hdr")?.address();
    let segment = file.segments().find(|segment| {
        let (_, length) = segment.file_range();
        header >= segment.address() && header - segment.address() < length
    })?;
    let section = Section { start: BIAS + segment.address(), bytes: segment.data().ok()? };
    Some((section, BIAS + header))
}

/// Compares both at every row of every FDE of the library at `path`.
pub fn compare(path: &Path, tally: &mut Tally) {
    let Ok(bytes) = std::fs::read(path) else { return };
    let Ok(file) = object::File::parse(&*bytes) else { return };
    if file.architecture() != object::Architecture::X86_64 || !file.is_64() {
        return;
    }
    let (Some((section, header)), Some(frames)) = (tables(&file), file.section_by_name(".eh_frame")) else {
        return;
    };
    let Ok(data) = frames.data() else { return };
    // Debug files have the section without its bytes.
    if data.is_empty() || section.bytes.is_empty() {
        return;
    }
    tally.libraries += 1;
    let mut bases = BaseAddresses::default().set_eh_frame(frames.address());
    if let Some(text) = file.section_by_name(".text") {
        bases = bases.set_text(text.address());
    }
    let frames = EhFrame::new(data, LittleEndian);
    let mut entries = frames.entries(&bases);
    let mut context = gimli::UnwindContext::new();
    while let Ok(Some(entry)) = entries.next() {
        let gimli::CieOrFde::Fde(partial) = entry else { continue };
        let Ok(fde) = partial.parse(EhFrame::cie_from_offset) else { continue };
        tally.fdes += 1;
        let Ok(mut table) = fde.rows(&frames, &bases, &mut context) else { continue };
        while let Ok(Some(row)) = table.next_row() {
            let pc = row.start_address();
            if pc >= fde.end_address() || row.end_address() <= pc {
                continue;
            }
            tally.rows += 1;
            let expected = expected(row, &fde, &frames);
            let last = row.end_address().min(fde.end_address()) - 1;
            for pc in [pc, last] {
                let found = rule_at(section, header, BIAS + pc);
                if found == expected {
                    continue;
                }
                if found.is_none() {
                    tally.declined += u64::from(pc == last);
                    if tally.declined_at.len() < 20 && tally.declined % 1000 == 1 {
                        tally.declined_at.push(format!("{} at {pc:#x}: gimli: {expected:?}", path.display()));
                    }
                } else if tally.wrong.len() < 20 {
                    tally
                        .wrong
                        .push(format!("{} at {pc:#x}: {found:?}, gimli: {expected:?}", path.display()));
                }
            }
        }
    }
}

/// The rule at `pc` as gimli reads it from tables that begin with their .eh_frame_hdr, at [`BIAS`];
/// `None` where gimli refuses them, or the agent would not follow the rule.
pub fn by_gimli(bytes: &[u8], pc: u64) -> Option<Rule> {
    let bases = BaseAddresses::default().set_eh_frame_hdr(BIAS).set_eh_frame(BIAS);
    let header = gimli::EhFrameHdr::new(bytes, LittleEndian).parse(&bases, 8).ok()?;
    let frames = EhFrame::new(bytes, LittleEndian);
    // gimli 0.34 multiplies it unchecked.
    entries(bytes).filter(|entries| *entries <= bytes.len() as u64)?;
    let pointer = header.table()?.lookup(pc, &bases).ok()?;
    let gimli::Pointer::Direct(address) = pointer else { return None };
    let offset = usize::try_from(address.checked_sub(BIAS)?).ok().filter(|offset| *offset < bytes.len())?;
    let fde = frames.fde_from_offset(&bases, offset.into(), EhFrame::cie_from_offset).ok()?;
    if !fde.contains(pc) {
        return None;
    }
    let mut context = gimli::UnwindContext::new();
    let row = fde.unwind_info_for_address(&frames, &bases, &mut context, pc).ok()?;
    expected(row, &fde, &frames)
}

/// How many entries an .eh_frame_hdr says that its table has; `None` for lengths that are no whole
/// number of bytes known beforehand (LSB 5.0, "DWARF Exception Header Encoding").
fn entries(header: &[u8]) -> Option<u64> {
    let [_, frame_encoding, count_encoding] = *header.first_chunk()?;
    let size = |encoding: u8| match encoding & 7 {
        2 => Some(2),
        3 => Some(4),
        0 | 4 => Some(8),
        _ => None,
    };
    let from = 4 + size(frame_encoding)?;
    let count = header.get(from..from + size(count_encoding)?)?;
    Some(count.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// What the agent's rule has to be by gimli's row; `None` where the row is none that the agent
/// follows.
fn expected(
    row: &gimli::UnwindTableRow<usize>,
    fde: &gimli::FrameDescriptionEntry<Slice<'_>>,
    frames: &EhFrame<Slice<'_>>,
) -> Option<Rule> {
    if fde.is_signal_trampoline() {
        return Some(Rule { cfa: Cfa::Signal, fp: Fp::Same, return_address: 0 });
    }
    let encoding = fde.cie().encoding();
    let simple = |expression: &gimli::UnwindExpression<usize>| {
        let mut operations = expression.get(frames).ok()?.operations(encoding);
        let Operation::RegisterOffset { register, offset, .. } = operations.next().ok()?? else {
            return None;
        };
        let deref = match operations.next().ok()? {
            None => false,
            Some(Operation::Deref { space: false, .. }) if operations.next().ok()?.is_none() => true,
            _ => return None,
        };
        Some((register, offset, deref))
    };
    match row.register(RA) {
        Some(RegisterRule::Undefined) => {
            return Some(Rule { cfa: Cfa::End, fp: Fp::Same, return_address: 0 });
        }
        Some(RegisterRule::Offset(-8)) => {}
        _ => return None,
    }
    let cfa = match row.cfa() {
        CfaRule::RegisterAndOffset { register: RSP, offset } => Cfa::Sp(i32::try_from(*offset).ok()?),
        CfaRule::RegisterAndOffset { register: RBP, offset } => Cfa::Fp(i32::try_from(*offset).ok()?),
        CfaRule::RegisterAndOffset { .. } => return None,
        CfaRule::Expression(expression) => match simple(expression)? {
            (RBP, n, true) => Cfa::AtFp(i32::try_from(n).ok()?),
            (RBP, n, false) => Cfa::Fp(i32::try_from(n).ok()?),
            (RSP, n, false) => Cfa::Sp(i32::try_from(n).ok()?),
            _ => return None,
        },
    };
    let fp = match row.register(RBP) {
        None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => Fp::Same,
        Some(RegisterRule::Offset(n)) => Fp::AtCfa(i16::try_from(n).ok()?),
        Some(RegisterRule::Expression(expression)) => match simple(&expression)? {
            (RBP, n, false) => Fp::AtOld(i16::try_from(n).ok()?),
            _ => return None,
        },
        Some(_) => return None,
    };
    Some(Rule { cfa, fp, return_address: 0 })
}

/// Every shared library and program below these folders, each once.
pub fn libraries(folders: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_file() && is_elf(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn is_elf(path: &Path) -> bool {
    use std::os::unix::fs::FileExt;
    let mut head = [0; 4];
    std::fs::File::open(path).is_ok_and(|file| file.read_exact_at(&mut head, 0).is_ok())
        && head == *b"\x7fELF"
}
