//! Stacks from registers and a copy of the stack's memory, by the unwind tables of the libraries.

use crate::arch::{Cache, Registers, UnwindRegs, Unwinder};
use framehop::{ExplicitModuleSectionInfo, Unwinder as _};
use object::read::ReadCache;
use object::{Object, ObjectSection, ObjectSegment};
use offheap_linux::foreign::Expect;
use offheap_linux::{Bounded, ELF_BYTES, Process, Vma};
use std::cell::Cell;
use std::collections::HashSet;
use std::fs::File;

/// Most frames of one stack.
const MAX_FRAMES: usize = 128;
/// Most modules; a process with more has its others' stacks end there.
const MAX_MODULES: usize = 4_096;
/// Unwind tables larger than this are not read: Chromium's, the largest known, are 30 MB.
const MAX_TABLE: u64 = 256 << 20;

/// A library or executable of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its path in the process's own file system.
    pub path: String,
    /// Its first address.
    pub start: u64,
    /// The first address behind its code.
    pub end: u64,
    /// What is to be taken from an address to have the file's own.
    pub bias: u64,
    /// The GNU build id; empty where it has none.
    pub build_id: Vec<u8>,
}

impl Module {
    /// Whether `address` lies in it.
    pub fn holds(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }
}

/// The modules of a process as far as they are known.
pub struct Modules {
    unwinder: Unwinder,
    cache: Cache,
    known: Vec<Module>,
    /// First address of their code and the file of those that were looked at, whatever came of it.
    seen: HashSet<(u64, u64)>,
}

impl Modules {
    /// None yet.
    pub fn new() -> Self {
        Modules { unwinder: Unwinder::new(), cache: Cache::new(), known: Vec::new(), seen: HashSet::new() }
    }

    /// Those that are known, in the order they were found.
    pub fn known(&self) -> &[Module] {
        &self.known
    }

    /// Adds what `process` has mapped since.
    pub fn refresh(&mut self, process: &Process, vmas: &[Vma]) {
        for code in vmas.iter().filter(|vma| vma.exec && vma.is_file()) {
            // Looked at first: there may be tens of thousands of mappings.
            if self.known.len() >= MAX_MODULES || !self.seen.insert((code.start, code.inode)) {
                continue;
            }
            // The file's mappings lie next to each other; the first holds the ELF header. Somewhere
            // else the program may have the file mapped once more, to read it: symbolizers do.
            let same = |vma: &&Vma| vma.inode == code.inode && vma.device == code.device;
            let below = |vma: &&Vma| same(vma) && vma.start <= code.start && vma.offset == 0;
            let Some(first) = vmas.iter().rfind(below) else { continue };
            let end = code.end;
            let file = process.mapped_file(code, &Expect::LIBRARY);
            let Some((bias, build_id, sections)) = file.ok().and_then(|file| read(&file, first.start)) else {
                continue;
            };
            // What was there before is gone.
            self.known.retain(|module| {
                let gone = module.start < end && first.start < module.end;
                if gone {
                    self.unwinder.remove_module(module.start);
                    self.seen.retain(|(start, _)| *start == code.start || !module.holds(*start));
                }
                !gone
            });
            self.unwinder.add_module(framehop::Module::new(
                code.path.clone(),
                first.start..end,
                first.start,
                sections,
            ));
            self.known.push(Module { path: code.path.clone(), start: first.start, end, bias, build_id });
        }
    }

    /// The addresses of the frames of who called a function that returns now, innermost first:
    /// where it returns to, then further return addresses. Ends at the first frame that lies in no
    /// known module: what comes after is a guess.
    pub fn unwind(&mut self, registers: &Registers, stack: &[u8]) -> Vec<u64> {
        registers
            .caller(stack)
            .map_or_else(Vec::new, |(to, start)| self.frames(to, start, registers.sp, stack))
    }

    /// The same from amidst a function. The first address is the one behind the first byte of the
    /// instruction, so that it reads like a return address: one less lies in it.
    pub fn unwind_here(&mut self, registers: &Registers, stack: &[u8]) -> Vec<u64> {
        let (at, start) = registers.here();
        let mut frames = self.frames(at, start, registers.sp, stack);
        if let Some(first) = frames.first_mut() {
            *first += 1;
        }
        frames
    }

    /// From the instruction `at`; `stack` is the memory from the stack pointer `sp` up.
    fn frames(&mut self, at: u64, start: UnwindRegs, sp: u64, stack: &[u8]) -> Vec<u64> {
        let mut read = |address: u64| {
            let offset = address.checked_sub(sp).and_then(|offset| usize::try_from(offset).ok()).ok_or(())?;
            let bytes = stack.get(offset..).and_then(|rest| rest.first_chunk::<8>()).ok_or(())?;
            Ok(u64::from_ne_bytes(*bytes))
        };
        let mut frames = Vec::new();
        let mut all = self.unwinder.iter_frames(at, start, &mut self.cache, &mut read);
        while let Ok(Some(frame)) = all.next() {
            let address = frame.address();
            if frames.len() == MAX_FRAMES || !self.known.iter().any(|module| module.holds(address)) {
                break;
            }
            frames.push(address);
        }
        frames
    }
}

type Sections = ExplicitModuleSectionInfo<Vec<u8>>;

/// Bias, build id and unwind tables of an ELF file that is mapped at `start`; `None` for what is
/// none.
fn read(file: &File, start: u64) -> Option<(u64, Vec<u8>, Sections)> {
    let cache = ReadCache::new(file);
    let left = Cell::new(ELF_BYTES);
    let object = object::File::parse(Bounded::new(&cache, &left)).ok()?;
    let base = object.segments().map(|segment| segment.address()).min()? & !(offheap_linux::page_bytes() - 1);
    let range = |name: &str| {
        let section = object.section_by_name(name).filter(|section| section.size() <= MAX_TABLE)?;
        let range = section.address()..section.address().checked_add(section.size())?;
        Some((range, section))
    };
    let table = |name: &str| {
        let (range, section) = range(name)?;
        // The file is the process's, not ours: what it says of itself may be anything.
        let bytes = section.compressed_file_range().ok()?.uncompressed_size;
        (bytes <= MAX_TABLE).then_some(())?;
        Some((range, section.uncompressed_data().ok()?.into_owned()))
    };
    let (eh_frame_svma, eh_frame) = table(".eh_frame").unzip();
    let (eh_frame_hdr_svma, eh_frame_hdr) = table(".eh_frame_hdr").unzip();
    let sections = ExplicitModuleSectionInfo {
        base_svma: base,
        text_svma: range(".text").map(|(range, _)| range),
        got_svma: range(".got").map(|(range, _)| range),
        eh_frame_svma,
        eh_frame,
        eh_frame_hdr_svma,
        eh_frame_hdr,
        debug_frame: table(".debug_frame").map(|(_, data)| data),
        ..ExplicitModuleSectionInfo::default()
    };
    let build_id = object.build_id().ok().flatten().unwrap_or_default().to_vec();
    Some((start.wrapping_sub(base), build_id, sections))
}
