//! What a mapping is that nobody claimed: libraries with their `.bss`, files, the kernel's own,
//! stacks, and the rest.

use crate::claims::{Claim, Label};
use crate::files::{self, Identity};
use offheap_model::{Domain, FileKind};
use offheap_target::{Reads, Target, Task, Vma, page_bytes};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// Image sizes by file: they never change while a file is mapped, and reading them costs an open
/// each.
pub type ImageSizes = HashMap<Identity, Option<u64>>;

/// The `.bss` of each library: anonymous memory behind its last mapping, as far as its program
/// headers say. The kernel may have merged it with a neighbour, so the mapping's own end says
/// nothing.
pub fn bss_claims(vmas: &[Vma], target: &dyn Target, sizes: &mut ImageSizes) -> Vec<Claim> {
    let label = Label::new(Domain::Libraries, "data of libraries, .bss", "ELF program headers");
    let mut claims = Vec::new();
    let mut image: Option<(Identity, u64)> = None;
    for pair in vmas.windows(2) {
        let [vma, next] = pair else { continue };
        if vma.inode != 0 {
            let file = files::identity(vma);
            // The image starts at the mapping of offset 0; its other segments follow. Somebody may
            // have mapped the file once more, to read it, right before; in a tiny file the data
            // segment has offset 0 too.
            if vma.offset == 0 && (!vma.write || image.is_none_or(|(known, _)| known != file)) {
                image = Some((file, vma.start));
            }
        }
        let Some((file, start)) = image.filter(|(file, _)| *file == files::identity(vma)) else { continue };
        if !vma.write || next.start != vma.end || next.inode != 0 || !next.path.is_empty() {
            continue;
        }
        let size = *sizes.entry(file).or_insert_with(|| target.image_bytes_at(start));
        if let Some(end) = size.and_then(|size| start.checked_add(size)).filter(|end| *end > next.start) {
            let end = end.next_multiple_of(page_bytes()).min(next.end);
            claims.push(Claim { start: next.start, end, label: Rc::clone(&label) });
        }
    }
    claims
}

/// A stack that was found for a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundStack {
    /// Its thread's id inside the process's namespace.
    pub inner_tid: i32,
    /// The thread's short name.
    pub name: String,
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
}

/// Stacks of threads the JVM doesn't know, by their stack pointers: a private writable mapping
/// right above a guard. The main thread's `[stack]` is not among them.
pub fn stacks(target: &dyn Target, tasks: &[Task], known: &HashSet<i32>) -> Vec<FoundStack> {
    /// Where guards are not listed a gap looks like one: then no more is taken for a stack.
    const LARGEST: u64 = 64 << 20;
    let vmas = target.vmas();
    tasks
        .iter()
        .filter(|task| !known.contains(&task.inner_tid))
        .filter_map(|task| {
            let pointer = task.stack_pointer?;
            let index = vmas.partition_point(|vma| vma.end <= pointer);
            let vma = vmas.get(index).filter(|vma| vma.contains(pointer))?;
            let below = index.checked_sub(1).and_then(|index| vmas.get(index));
            let guarded = match below.filter(|below| below.end == vma.start) {
                Some(guard) => !guard.read && !guard.write && guard.is_anonymous(),
                None => !target.lists_reservations() && vma.len() <= LARGEST,
            };
            (guarded && vma.write && vma.path.is_empty()).then(|| FoundStack {
                inner_tid: task.inner_tid,
                name: task.name.clone(),
                start: vma.start,
                end: vma.end,
            })
        })
        .collect()
}

/// How far anonymous memory that nobody claims may be called the program's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Everybody else's maps are known, so what remains is somebody's mmap.
    NativeMmap,
    /// Something is known to be missing.
    Unattributed,
}

/// Labels for mappings that nobody claims.
pub struct Defaults {
    with_text: HashSet<Identity>,
    library_text: Rc<Label>,
    library_data: Rc<Label>,
    cds: Rc<Label>,
    data: Rc<Label>,
    deleted: Rc<Label>,
    memfd: Rc<Label>,
    shm: Rc<Label>,
    device: Rc<Label>,
    perf: Rc<Label>,
    kernel: Rc<Label>,
    main_stack: Rc<Label>,
    brk: Rc<Label>,
    rest: Rc<Label>,
}

impl Defaults {
    /// The labels for `vmas`.
    pub fn new(vmas: &[Vma], rest: Rest) -> Self {
        let maps = "maps and page map";
        Defaults {
            with_text: files::with_text(vmas),
            library_text: Label::new(Domain::Libraries, "text of libraries", maps),
            library_data: Label::new(Domain::Libraries, "data of libraries", maps),
            cds: Label::new(Domain::Cds, "CDS archive", maps),
            data: Label::new(Domain::MappedFiles, "files", maps),
            deleted: Label::new(Domain::MappedFiles, "deleted files still mapped", maps),
            memfd: Label::new(Domain::MappedFiles, "memfd", maps),
            shm: Label::new(Domain::MappedFiles, "shared memory", maps),
            device: Label::new(Domain::MappedFiles, "devices", maps),
            perf: Label::new(Domain::JvmInternal, "hsperfdata", maps),
            kernel: Label::new(Domain::Kernel, "vdso and vvar", maps),
            main_stack: Label::new(Domain::Kernel, "stack made by the kernel for main", maps),
            brk: Label::new(Domain::Malloc, "brk heap", maps),
            rest: match rest {
                Rest::NativeMmap => Label::new(
                    Domain::NativeMmap,
                    "anonymous maps",
                    "page map, by elimination of all that is known",
                ),
                Rest::Unattributed => Label::new(Domain::Unattributed, "anonymous maps", maps),
            },
        }
    }

    /// The label of `vma`.
    pub fn label(&self, vma: &Vma) -> Rc<Label> {
        let has_text = self.with_text.contains(&files::identity(vma));
        let label = match files::kind(vma, has_text) {
            Some(FileKind::Library) if vma.write => &self.library_data,
            Some(FileKind::Library) => &self.library_text,
            Some(FileKind::CdsArchive) => &self.cds,
            Some(FileKind::Memfd) => &self.memfd,
            Some(FileKind::Shm) => &self.shm,
            Some(FileKind::Device) => &self.device,
            Some(FileKind::Data) if vma.path.contains("/hsperfdata_") => &self.perf,
            Some(FileKind::Data) if vma.deleted => &self.deleted,
            Some(FileKind::Data) => &self.data,
            None => match vma.path.as_str() {
                "[stack]" => &self.main_stack,
                "[heap]" => &self.brk,
                path if path.starts_with("[v") || path.starts_with("[uprobes") => &self.kernel,
                _ => &self.rest,
            },
        };
        Rc::clone(label)
    }
}
