//! The core file as a target.

use crate::arch;
use crate::arguments::{self, Arguments};
use crate::elf;
use crate::headers::{self, Error, Segment};
use crate::held::{self, Load};
use crate::notes::{self, Identity, Notes, Thread};
use offheap_linux::foreign::{Expect, open_here};
use offheap_target::arch::{END_OF_ADDRESSES, PIECE};
use offheap_target::{
    Memory, Page, PageCache, PageKind, ProcText, ReadError, Reads, Run, Target, Task, Vma, file_segments,
    find, page_bytes, page_of, page_start,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// How far above the executable the brk heap starts at most, but for a page: 32 MiB of randomness
/// (`arch_randomize_brk`).
const BRK_DISTANCE: u64 = 32 << 20;

/// Bytes of a path with its end (`PATH_MAX`).
const MOST_PATH: usize = libc::PATH_MAX as usize;

/// A process that died, or that gcore copied, read from its core file.
#[derive(Debug)]
pub struct Core {
    file: File,
    vmas: Vec<Vma>,
    /// Ascending by address.
    loads: Vec<Load>,
    /// Pages that are not all zero, ascending by address.
    held: Vec<(u64, u64)>,
    missing: u64,
    lists_reservations: bool,
    notes: Notes,
    arguments: Arguments,
    exe: Option<String>,
    pages: PageCache,
    files: RefCell<HashMap<String, Option<File>>>,
}

impl Core {
    /// Reads the headers and notes of `file`, and looks once through its memory for pages that hold
    /// something.
    ///
    /// # Errors
    /// See [`Error`]; a core file that was cut off is none.
    pub fn open(file: File) -> Result<Core, Error> {
        let length = file.metadata()?.len();
        let segments = headers::read(&file, length)?;
        let notes = notes::read(&file, length, &segments);
        let segments = in_order(segments);
        let (loads, missing) = loads(&segments, length);
        let mut held = Vec::new();
        for load in &loads {
            held::pages(&file, load, &mut held);
        }
        let vmas = segments.iter().map(|segment| vma(segment, &notes)).collect();
        let mut core = Core {
            file,
            vmas,
            loads,
            held,
            missing,
            lists_reservations: segments.iter().any(|segment| segment.flags == 0),
            notes,
            arguments: Arguments::default(),
            exe: None,
            pages: PageCache::default(),
            files: RefCell::default(),
        };
        if let Some(bytes) = core.auxiliary(elf::AT_PAGESZ)
            && bytes.is_power_of_two()
            && bytes >= PIECE as u64
            && bytes != page_bytes()
        {
            return Err(Error::Pages { bytes });
        }
        core.add_files_left_out();
        core.name_the_kernels();
        core.exe = core.executable();
        core.name_the_heap();
        core.arguments = arguments::find(&core);
        for index in 0..core.vmas.len() {
            let held = core.held_in(core.vmas[index].start, core.vmas[index].end);
            let vma = &mut core.vmas[index];
            vma.rss = held;
            vma.anonymous = if vma.is_file() { 0 } else { held };
            // gcore writes memory that nobody may access as zeros that may be read.
            let is_data = vma.write || vma.exec || vma.is_file() || !vma.path.is_empty();
            vma.read &= is_data || held > 0;
        }
        Ok(core)
    }

    /// What the process was, as the kernel or gcore wrote it down.
    pub fn identity(&self) -> Option<&Identity> {
        self.notes.identity.as_ref()
    }

    /// Its threads; the one that caused the core first.
    pub fn threads(&self) -> &[Thread] {
        &self.notes.threads
    }

    /// Bytes of the pages that the core holds something of.
    pub fn held_bytes(&self) -> u64 {
        self.held.iter().map(|(start, end)| end - start).sum()
    }

    /// Bytes of the pages of zeros in it: untouched, or in use and zero.
    pub fn zero_bytes(&self) -> u64 {
        let all: u64 = self.loads.iter().map(|load| load.bytes.next_multiple_of(page_bytes())).sum();
        all.saturating_sub(self.held_bytes())
    }

    /// Bytes that its headers promise and the file doesn't have: it was cut off.
    pub fn missing_bytes(&self) -> u64 {
        self.missing
    }

    /// A word of the auxiliary vector (getauxval(3)).
    pub(crate) fn auxiliary(&self, kind: u64) -> Option<u64> {
        let mut pairs = self.notes.auxiliary.chunks_exact(16);
        pairs.find(|pair| headers::word_of(&pair[..8]) == kind).map(|pair| headers::word_of(&pair[8..]))
    }

    pub(crate) fn auxiliary_bytes(&self) -> &[u8] {
        &self.notes.auxiliary
    }

    fn held_in(&self, start: u64, end: u64) -> u64 {
        self.clipped(start, end).map(|(start, end)| end - start).sum()
    }

    fn clipped(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
        let first = self.held.partition_point(|run| run.1 <= start);
        let touched = self.held.iter().skip(first).take_while(move |run| run.0 < end);
        touched.map(move |run| (run.0.max(start), run.1.min(end)))
    }

    /// The mappings of files that have no segment: gcore leaves them out. Who may do what with
    /// them, the files themselves say.
    fn add_files_left_out(&mut self) {
        let mut more = Vec::new();
        for mapped in &self.notes.mapped {
            let after = self.vmas.partition_point(|vma| vma.end <= mapped.start);
            let is_free = self.vmas.get(after).is_none_or(|vma| vma.start >= mapped.end);
            let last: Option<&Vma> = more.last();
            if is_free && last.is_none_or(|last| last.end <= mapped.start) {
                let mut vma = Vma { start: mapped.start, end: mapped.end, ..Vma::default() };
                name(&mut vma, &self.notes);
                more.push(vma);
            }
        }
        let mut flags: HashMap<String, Vec<(u64, u64, u32)>> = HashMap::new();
        for vma in &mut more {
            let segments = flags.entry(vma.path.clone()).or_insert_with(|| {
                open_here(&vma.path, &Expect::LIBRARY).ok().map_or_else(Vec::new, |file| file_segments(&file))
            });
            let inside = |(offset, bytes, _): &&(u64, u64, u32)| {
                let start = page_start(*offset);
                (start..offset.saturating_add((*bytes).max(1))).contains(&vma.offset)
            };
            let flags = segments.iter().rfind(inside).map_or(elf::READ, |(_, _, flags)| *flags);
            set_flags(vma, flags);
        }
        self.vmas.extend(more);
        self.vmas.sort_unstable_by_key(|vma| vma.start);
    }

    /// The names that the kernel shows: of the stack and of its own pages.
    fn name_the_kernels(&mut self) {
        let stack = self.auxiliary(elf::AT_RANDOM).or_else(|| self.auxiliary(elf::AT_EXECFN));
        let named = [
            (stack, "[stack]"),
            (self.auxiliary(elf::AT_SYSINFO_EHDR), "[vdso]"),
            (arch::VSYSCALL, "[vsyscall]"),
        ];
        for (address, name) in named {
            let Some(address) = address else { continue };
            if let Some(vma) = self.vmas.iter_mut().find(|vma| vma.contains(address) && vma.path.is_empty()) {
                vma.path = name.to_owned();
            }
        }
    }

    /// The file that the program headers of which the kernel told the loader are in, else the one
    /// that was started.
    fn executable(&self) -> Option<String> {
        let by_headers = self.auxiliary(elf::AT_PHDR).and_then(|at| self.vma(at));
        if let Some(vma) = by_headers.filter(|vma| vma.path.starts_with('/')) {
            return Some(vma.path.clone());
        }
        self.c_string(self.auxiliary(elf::AT_EXECFN)?, MOST_PATH).ok().filter(|path| path.starts_with('/'))
    }

    /// The brk heap: what lies next above the executable and its `.bss`.
    fn name_the_heap(&mut self) {
        let Some(exe) = &self.exe else { return };
        let Some(last) = self.vmas.iter().rposition(|vma| vma.path == *exe) else { return };
        let end_of_image = self.vmas[last].end;
        let heap = self.vmas.iter_mut().skip(last + 1).find(|vma| vma.start != end_of_image);
        if let Some(vma) = heap.filter(|vma| vma.start - end_of_image <= BRK_DISTANCE + page_bytes())
            && vma.path.is_empty()
            && vma.read
            && vma.write
            && !vma.exec
        {
            vma.path = "[heap]".to_owned();
        }
    }

    fn load_at(&self, address: u64) -> Option<&Load> {
        let after = self.loads.partition_point(|load| load.start <= address);
        let load = self.loads.get(after.checked_sub(1)?)?;
        (address - load.start < load.bytes).then_some(load)
    }

    fn load(&self, page: u64) -> Result<Page, ReadError> {
        if let Some(load) = self.load_at(page) {
            let inside = page - load.start;
            let mut bytes = Box::new([0; PIECE]);
            let count = (load.bytes - inside).min(PIECE as u64) as usize;
            let read = self.file.read_exact_at(&mut bytes[..count], load.offset + inside);
            return read.map(|()| bytes).map_err(|_| ReadError::Failed(page));
        }
        let vma = find(&self.vmas, page).ok_or(ReadError::NotMapped(page))?;
        // A page that was written to is no more the file's.
        if !vma.is_file() || vma.write {
            return Err(ReadError::NotPresent(page));
        }
        let mut files = self.files.borrow_mut();
        let file = files.entry(vma.path.clone()).or_insert_with(|| self.same_file(vma));
        let file = file.as_ref().ok_or(ReadError::NotPresent(page))?;
        page_of(file, vma.offset.saturating_add(page - vma.start)).map_err(|_| ReadError::NotPresent(page))
    }

    /// The file at the path of `vma`, if it starts as the core says the mapped one did: with that
    /// go its build id and its layout.
    fn same_file(&self, vma: &Vma) -> Option<File> {
        let first = self.vmas.iter().find(|other| {
            other.path == vma.path && other.offset == 0 && self.load_at(other.start).is_some()
        })?;
        let mut wanted = [0; PIECE];
        if self.read_bulk(first.start, &mut wanted) != wanted.len() {
            return None;
        }
        let file = open_here(&vma.path, &Expect::LIBRARY).ok()?;
        (*page_of(&file, 0).ok()? == wanted).then_some(file)
    }
}

impl Memory for Core {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.pages.read(address, buffer, |page| self.load(page))
    }

    fn read_bulk(&self, address: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let Some(at) = address.checked_add(done as u64) else { break };
            let Some(load) = self.load_at(at) else { break };
            let inside = at - load.start;
            let count = (load.bytes - inside).min((buffer.len() - done) as u64) as usize;
            if self.file.read_exact_at(&mut buffer[done..done + count], load.offset + inside).is_err() {
                break;
            }
            done += count;
        }
        done
    }
}

impl Target for Core {
    fn pid(&self) -> i32 {
        self.notes.identity.as_ref().map_or(0, |identity| identity.pid)
    }

    fn vmas(&self) -> &[Vma] {
        &self.vmas
    }

    fn runs(&self, start: u64, end: u64) -> Vec<Run> {
        self.clipped(start, end).map(|(start, end)| Run { start, end, kind: PageKind::Present }).collect()
    }

    fn knows_residency(&self) -> bool {
        false
    }

    /// The kernel writes a segment for each, without bytes.
    fn lists_reservations(&self) -> bool {
        self.lists_reservations
    }

    fn open(&self, vma: &Vma) -> Option<File> {
        vma.path.starts_with('/').then(|| self.same_file(vma)).flatten()
    }

    fn tasks(&self) -> Option<Vec<Task>> {
        let pid = self.pid();
        let name = self.identity().map_or("", |identity| identity.name.as_str());
        let task = |thread: &Thread| Task {
            tid: thread.tid,
            inner_tid: thread.tid,
            name: if thread.tid == pid { name.to_owned() } else { String::new() },
            stack_pointer: Some(thread.registers.stack_pointer()),
        };
        (!self.notes.threads.is_empty()).then(|| self.notes.threads.iter().map(task).collect())
    }

    fn text(&self, text: ProcText) -> Option<Vec<u8>> {
        match text {
            ProcText::Exe => self.exe.clone().map(String::into_bytes),
            ProcText::CommandLine => self.arguments.command_line.clone().or_else(|| {
                let short = &self.identity()?.arguments;
                (!short.is_empty()).then(|| short.replace(' ', "\0").into_bytes())
            }),
            ProcText::Environment => self.arguments.environment.clone(),
        }
    }
}

/// The segments that are memory, ascending by address; one that makes no sense beside those before
/// it is left out.
fn in_order(mut segments: Vec<Segment>) -> Vec<Segment> {
    segments.retain(|segment| {
        segment.kind == elf::LOAD
            && segment.address.is_multiple_of(page_bytes())
            && segment.memory_bytes > 0
            && segment
                .address
                .checked_add(segment.memory_bytes)
                .is_some_and(|end| end <= END_OF_ADDRESSES || is_vsyscall(segment))
    });
    segments.sort_by_key(|segment| segment.address);
    let mut end = 0;
    segments.retain(|segment| {
        let fits = segment.address >= end;
        if fits {
            end = (segment.address + segment.memory_bytes).next_multiple_of(page_bytes());
        }
        fits
    });
    segments
}

/// The memory that is in the file, and how many bytes should be and are not. No byte of the file is
/// taken for two mappings'.
fn loads(segments: &[Segment], length: u64) -> (Vec<Load>, u64) {
    let mut missing = 0u64;
    let mut loads: Vec<Load> = Vec::new();
    for segment in segments {
        let wanted = segment.file_bytes.min(segment.memory_bytes);
        let bytes = wanted.min(length.saturating_sub(segment.offset));
        missing = missing.saturating_add(wanted - bytes);
        if bytes > 0 {
            loads.push(Load { start: segment.address, offset: segment.offset, bytes });
        }
    }
    loads.sort_unstable_by_key(|load| load.offset);
    let mut end = 0;
    loads.retain(|load| {
        let is_own = load.offset >= end;
        if is_own {
            end = load.offset + load.bytes;
        }
        is_own
    });
    loads.sort_unstable_by_key(|load| load.start);
    (loads, missing)
}

/// The page of the kernel's own that lies above all others, where there is one.
fn is_vsyscall(segment: &Segment) -> bool {
    Some(segment.address) == arch::VSYSCALL && segment.memory_bytes == page_bytes()
}

fn vma(segment: &Segment, notes: &Notes) -> Vma {
    let end = (segment.address + segment.memory_bytes).next_multiple_of(page_bytes());
    let mut vma = Vma { start: segment.address, end, ..Vma::default() };
    name(&mut vma, notes);
    set_flags(&mut vma, segment.flags);
    vma
}

fn set_flags(vma: &mut Vma, flags: u32) {
    vma.read = flags & elf::READ != 0;
    vma.write = flags & elf::WRITE != 0;
    vma.exec = flags & elf::EXECUTE != 0;
}

/// Gives `vma` the file that was mapped there. Its inode is not known: a number stands for each
/// path.
fn name(vma: &mut Vma, notes: &Notes) {
    let after = notes.mapped.partition_point(|mapped| mapped.end <= vma.start);
    let Some(mapped) = notes.mapped.get(after).filter(|mapped| mapped.start <= vma.start) else { return };
    let Some(path) = notes.paths.get(mapped.path) else { return };
    let kept = path.strip_suffix(" (deleted)");
    vma.deleted = kept.is_some();
    vma.path = kept.unwrap_or(path).to_owned();
    vma.inode = mapped.path as u64 + 1;
    vma.offset = mapped.offset.saturating_add(vma.start - mapped.start);
    let is_memory = ["/memfd:", "/dev/shm/", "/SYSV", "/dev/zero"];
    vma.shared = is_memory.iter().any(|start| vma.path.starts_with(start));
}
