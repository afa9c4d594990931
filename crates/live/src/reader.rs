//! Reads a live file, trusting nothing in it: every offset is checked, every loop bounded, and
//! records whose checksum does not match (half written, or damaged) are left out.

use core::fmt;
use core::mem::offset_of;

use crate::layout::*;

/// Why a file can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LiveError {
    /// Shorter than its header.
    TooShort,
    /// Not a live file, or one that its agent had not finished making.
    NotALiveFile,
    /// Made by another version of the agent.
    Version(u32),
    /// It describes tables that the file can't hold, or stacks that it has no room for.
    BadLayout,
}

impl fmt::Display for LiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LiveError::TooShort => {
                write!(f, "the file is shorter than a live file's header; was it copied whole?")
            }
            LiveError::NotALiveFile => write!(f, "not a live file, or the agent had not finished making it"),
            LiveError::Version(v) => {
                write!(
                    f,
                    "live file of version {v}, this reader knows {VERSION}; use the offheap that made it"
                )
            }
            LiveError::BadLayout => write!(f, "the live file is damaged"),
        }
    }
}

impl core::error::Error for LiveError {}

/// A live file's bytes, opened for reading.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    layout: Layout,
    version: u32,
}

/// The header's plain values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Process id in the target's own pid namespace.
    pub pid: u32,
    /// What the agent was doing; `None` for a value this reader doesn't know.
    pub state: Option<State>,
    /// Mean bytes between samples.
    pub interval: u64,
    /// CLOCK_REALTIME at the file's making, nanoseconds.
    pub start_realtime_ns: u64,
    /// CLOCK_MONOTONIC at the same moment.
    pub start_monotonic_ns: u64,
    /// CLOCK_MONOTONIC of the latest start of sampling.
    pub started_ns: u64,
    /// How often the agent has been started in the process; 0: before version 3.
    pub session: u32,
    /// Seconds after which the agent stops by itself if nobody renews its lease; 0: it does not.
    pub lease_seconds: u32,
    /// Whether Java objects are sampled too.
    pub objects: Objects,
    /// Mean bytes between samples of Java objects, the last that was asked for.
    pub objects_interval: u64,
    /// CLOCK_MONOTONIC of the latest start of sampling Java objects.
    pub objects_started_ns: u64,
}

/// Whether Java objects are sampled. Shown, it says why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Objects {
    /// Not asked for, or stopped.
    Off,
    /// They are.
    On,
    /// Asked for, but there is no JVM in the process, or it is not up yet.
    NoJvm,
    /// Asked for, but the JVM is older than 11.
    TooOld,
    /// Asked for, but another agent does so already.
    Taken,
    /// Asked for, and the JVM failed with this error: of JVMTI, or, below 0, of JNI.
    Failed(i32),
}

impl Objects {
    /// Whether it was asked for and can't be done.
    pub fn refused(self) -> bool {
        !matches!(self, Objects::Off | Objects::On)
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Objects::Off => write!(f, "Java objects are not sampled"),
            Objects::On => write!(f, "Java objects are sampled"),
            Objects::NoJvm => write!(f, "there is no JVM in the process, or it is not up yet"),
            Objects::TooOld => write!(f, "the JVM can't sample Java objects, which came with JDK 11"),
            Objects::Taken => write!(
                f,
                "another agent samples Java objects in this JVM, which allows one at a time; stop that one first"
            ),
            Objects::Failed(code) => {
                write!(f, "the JVM refused to sample Java objects: JVMTI error {code}")
            }
        }
    }
}

/// A live sampled heap block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Address.
    pub addr: u64,
    /// Bytes asked for.
    pub size: u64,
    /// Allocations of this size that it stands for. `size * weight` estimates live bytes.
    pub weight: f64,
    /// CLOCK_MONOTONIC of the allocation, nanoseconds (a few milliseconds coarse).
    pub time_ns: u64,
    /// Key for [`Reader::stack`]; `None` if the stack could not be kept.
    pub stack: Option<u32>,
    /// Thread that allocated.
    pub tid: u32,
    /// Per thread sequence number.
    pub seq: u32,
}

/// A live sampled Java object: allocated, and not yet freed by a collection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object<'a> {
    /// Its identity; never given twice.
    pub key: u64,
    /// Its class, with slashes (`app/Session`, `byte[]`, `java/lang/String[][]`); `None` if the
    /// name could not be kept.
    pub class: Option<&'a [u8]>,
    /// Bytes on the heap, header and padding included.
    pub size: u64,
    /// Objects of this size that it stands for. `size * weight` estimates live bytes.
    pub weight: f64,
    /// CLOCK_MONOTONIC of the allocation, nanoseconds (a few milliseconds coarse).
    pub time_ns: u64,
    /// Key for [`Reader::stack`]; `None` if the stack could not be kept.
    pub stack: Option<u32>,
    /// Thread that allocated.
    pub tid: u32,
}

/// A live sampled mapping or thread stack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// First address (thread stacks: the pthread_t, near the top).
    pub start: u64,
    /// End; equals `start` + `size` unless parts were unmapped.
    pub end: u64,
    /// Bytes asked for at first.
    pub size: u64,
    /// Mappings of this size that it stands for.
    pub weight: f64,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub time_ns: u64,
    /// Key for [`Reader::stack`].
    pub stack: Option<u32>,
    /// Thread that mapped it; for a thread's stack that thread itself.
    pub tid: u32,
    /// What it is.
    pub kind: RegionKind,
}

/// A stack, with the running totals of what was allocated there. Totals are estimates: sums of
/// sample weights.
#[derive(Clone, Copy, Debug)]
pub struct Stack<'a> {
    reader: Reader<'a>,
    /// Its key, as in [`Sample::stack`].
    pub id: u32,
    /// Bits of [`stack_flags`].
    pub flags: u16,
    /// Bytes allocated since the file was made.
    pub alloc_bytes: f64,
    /// Allocations.
    pub alloc_count: f64,
    /// Bytes of them freed again.
    pub free_bytes: f64,
    /// Allocations freed again.
    pub free_count: f64,
    /// CLOCK_MONOTONIC when first seen.
    pub first_ns: u64,
    first: u32,
    len: u16,
}

/// A frame. Strings are as the JVM or the loader spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: FrameKind,
    /// Native, stub: return address. Java: bytecode index, `u64::MAX` if unknown.
    pub pc: u64,
    /// Native: index of its module for [`Reader::module`].
    pub module: Option<u32>,
    /// Java class with slashes (`java/lang/String`).
    pub class: Option<&'a [u8]>,
    /// Java method or stub's name. Native frames have none: symbolise `pc` against `module`.
    pub name: Option<&'a [u8]>,
    /// Java source file.
    pub file: Option<&'a [u8]>,
    /// Java source line.
    pub line: Option<u32>,
}

/// A library or executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module<'a> {
    /// Index, as in [`Frame::module`].
    pub index: u32,
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Run time address minus ELF virtual address.
    pub bias: u64,
    /// Path as the loader knows it, in the target's mount namespace.
    pub path: &'a [u8],
    /// GNU build id, possibly empty.
    pub build_id: &'a [u8],
    /// Unloaded since.
    pub unloaded: bool,
}

impl<'a> Reader<'a> {
    /// Opens a copy of a live file.
    ///
    /// # Errors
    /// [`LiveError`] when the bytes are no complete live file of this version.
    pub fn new(bytes: &'a [u8]) -> Result<Reader<'a>, LiveError> {
        if bytes.len() < HEADER_BYTES {
            return Err(LiveError::TooShort);
        }
        let mut r = Reader { bytes, layout: Layout::default(), version: 0 };
        if r.u64(offset_of!(Header, magic)) != MAGIC {
            return Err(LiveError::NotALiveFile);
        }
        let version = r.u32(offset_of!(Header, version));
        if !(OLDEST_VERSION..=VERSION).contains(&version) {
            return Err(LiveError::Version(version));
        }
        let file_bytes = r.u64(offset_of!(Header, file_bytes));
        let layout = Layout::new(file_bytes).ok_or(LiveError::BadLayout)?;
        // The layout follows from the size: what the header says of it is only a check.
        if (bytes.len() as u64) < file_bytes || r.u64(offset_of!(Header, layout)) != layout.modules.offset {
            return Err(LiveError::BadLayout);
        }
        (r.layout, r.version) = (layout, version);
        // Each stack has frame ids of its own: a file in which they are more than there is room for
        // would be read for longer, and into more memory, than its size is worth.
        let ids: u64 = r.stacks().map(|stack| u64::from(stack.len)).sum();
        if ids > layout.frame_ids.count {
            return Err(LiveError::BadLayout);
        }
        Ok(r)
    }

    /// The header's values.
    pub fn info(&self) -> Info {
        Info {
            pid: self.u32(offset_of!(Header, pid)),
            state: match self.u32(offset_of!(Header, state)) {
                0 => Some(State::Preparing),
                1 => Some(State::Running),
                2 => Some(State::Stopped),
                _ => None,
            },
            interval: self.u64(offset_of!(Header, interval)),
            start_realtime_ns: self.u64(offset_of!(Header, start_realtime_ns)),
            start_monotonic_ns: self.u64(offset_of!(Header, start_monotonic_ns)),
            started_ns: self.u64(offset_of!(Header, started_ns)),
            session: if self.version < 3 { 0 } else { self.u32(offset_of!(Header, session)) },
            lease_seconds: if self.version < 3 { 0 } else { self.u32(offset_of!(Header, lease_seconds)) },
            objects: match self.u32(offset_of!(Header, objects)) {
                n if n == ObjectState::Off as u32 => Objects::Off,
                n if n == ObjectState::On as u32 => Objects::On,
                n if n == ObjectState::NoJvm as u32 => Objects::NoJvm,
                n if n == ObjectState::TooOld as u32 => Objects::TooOld,
                n if n == ObjectState::Taken as u32 => Objects::Taken,
                _ => Objects::Failed(self.u32(offset_of!(Header, objects_error)) as i32),
            },
            objects_interval: self.u64(offset_of!(Header, objects_interval)),
            objects_started_ns: self.u64(offset_of!(Header, objects_started_ns)),
        }
    }

    /// One of the counters.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.u64(offset_of!(Header, counters) + 8 * counter as usize)
    }

    /// Samples, regions and objects that were taken but could not be kept, for any reason.
    pub fn dropped(&self) -> u64 {
        [
            Counter::DropTableFull,
            Counter::DropStacksFull,
            Counter::DropRegionsFull,
            Counter::DropReentrant,
            Counter::DropThreads,
            Counter::DropObjects,
        ]
        .iter()
        .fold(0, |n, &c| n.saturating_add(self.counter(c)))
    }

    /// Live sampled heap blocks.
    pub fn samples(&self) -> impl Iterator<Item = Sample> + use<'a> {
        let r = *self;
        r.records().filter(|rec| rec.addr < OBJECT).map(move |rec| Sample {
            addr: rec.addr,
            size: rec.size,
            weight: rec.weight,
            time_ns: rec.time_ns,
            stack: r.stack_key(rec.stack),
            tid: rec.tid,
            seq: rec.seq,
        })
    }

    /// Live sampled Java objects; none unless the agent was asked for them, nor once it was
    /// stopped. Freed ones among them are found with time, as the program goes on allocating, and
    /// all at the agent's command `sweep`.
    pub fn objects(&self) -> impl Iterator<Item = Object<'a>> + use<'a> {
        let r = *self;
        r.records().filter(|rec| rec.addr >= OBJECT).map(move |rec| Object {
            key: rec.addr,
            class: r.string(class_of_key(rec.addr)),
            size: rec.size,
            weight: rec.weight,
            time_ns: rec.time_ns,
            stack: r.stack_key(rec.stack),
            tid: rec.tid,
        })
    }

    /// What is whole of the live table.
    fn records(&self) -> impl Iterator<Item = SampleRec> + use<'a> {
        let r = *self;
        (0..r.layout.keys.count).filter_map(move |i| {
            let key = r.u64(at(r.layout.keys, i, 8));
            if key < LOWEST_ADDRESS {
                return None;
            }
            let o = at(r.layout.samples, i, size_of::<SampleRec>());
            let rec = SampleRec {
                addr: r.u64(o + offset_of!(SampleRec, addr)),
                size: r.u64(o + offset_of!(SampleRec, size)),
                time_ns: r.u64(o + offset_of!(SampleRec, time_ns)),
                weight: f64::from_bits(r.u64(o + offset_of!(SampleRec, weight))),
                stack: r.u32(o + offset_of!(SampleRec, stack)),
                tid: r.u32(o + offset_of!(SampleRec, tid)),
                seq: r.u32(o + offset_of!(SampleRec, seq)),
                check: r.u32(o + offset_of!(SampleRec, check)),
            };
            (rec.addr == key && rec.check == sample_check(&rec) && rec.weight.is_finite()).then_some(rec)
        })
    }

    /// Live sampled mappings and thread stacks.
    pub fn regions(&self) -> impl Iterator<Item = Region> + use<'a> {
        let r = *self;
        let used = r.u64(offset_of!(Header, regions_used)).min(r.layout.regions.count);
        (0..used).filter_map(move |i| {
            let o = at(r.layout.regions, i, size_of::<RegionRec>());
            let rec = RegionRec {
                start: r.u64(o + offset_of!(RegionRec, start)),
                end: r.u64(o + offset_of!(RegionRec, end)),
                size: r.u64(o + offset_of!(RegionRec, size)),
                time_ns: r.u64(o + offset_of!(RegionRec, time_ns)),
                weight: f64::from_bits(r.u64(o + offset_of!(RegionRec, weight))),
                stack: r.u32(o + offset_of!(RegionRec, stack)),
                tid: r.u32(o + offset_of!(RegionRec, tid)),
                kind: r.u32(o + offset_of!(RegionRec, kind)),
                check: r.u32(o + offset_of!(RegionRec, check)),
            };
            let kind = match rec.kind {
                1 => RegionKind::Anonymous,
                2 => RegionKind::File,
                3 => RegionKind::ThreadStack,
                _ => return None,
            };
            (rec.check == region_check(&rec) && rec.weight.is_finite()).then(|| Region {
                start: rec.start,
                end: rec.end,
                size: rec.size,
                weight: rec.weight,
                time_ns: rec.time_ns,
                stack: r.stack_key(rec.stack),
                tid: rec.tid,
                kind,
            })
        })
    }

    /// All stacks seen so far.
    pub fn stacks(&self) -> impl Iterator<Item = Stack<'a>> + use<'a> {
        let r = *self;
        (0..r.layout.stacks.count as u32).filter_map(move |i| r.stack(i))
    }

    /// The stack with this key, unless it is half written.
    pub fn stack(&self, id: u32) -> Option<Stack<'a>> {
        if u64::from(id) >= self.layout.stacks.count {
            return None;
        }
        let o = at(self.layout.stacks, u64::from(id), size_of::<StackRec>());
        let key = self.u64(o + offset_of!(StackRec, key));
        if key == 0 {
            return None;
        }
        let first = self.u32(o + offset_of!(StackRec, first));
        let len = self.u16(o + offset_of!(StackRec, len));
        let flags = self.u16(o + offset_of!(StackRec, flags));
        if self.u32(o + offset_of!(StackRec, check)) != stack_check(key, first, len, flags) {
            return None;
        }
        let count = |field: usize| self.u64(o + field) as f64 / COUNT_UNIT as f64;
        Some(Stack {
            reader: *self,
            id,
            flags,
            alloc_bytes: self.u64(o + offset_of!(StackRec, alloc_bytes)) as f64,
            alloc_count: count(offset_of!(StackRec, alloc_count)),
            free_bytes: self.u64(o + offset_of!(StackRec, free_bytes)) as f64,
            free_count: count(offset_of!(StackRec, free_count)),
            first_ns: self.u64(o + offset_of!(StackRec, first_ns)),
            first,
            len,
        })
    }

    /// All modules seen so far.
    pub fn modules(&self) -> impl Iterator<Item = Module<'a>> + use<'a> {
        let r = *self;
        let used = r.u64(offset_of!(Header, modules_used)).min(r.layout.modules.count);
        (0..used as u32).filter_map(move |i| r.module(i))
    }

    /// The module with this index, unless it is half written.
    pub fn module(&self, index: u32) -> Option<Module<'a>> {
        if u64::from(index) >= self.layout.modules.count {
            return None;
        }
        let o = at(self.layout.modules, u64::from(index), size_of::<ModuleRec>());
        let start = self.u64(o + offset_of!(ModuleRec, start));
        let end = self.u64(o + offset_of!(ModuleRec, end));
        let bias = self.u64(o + offset_of!(ModuleRec, bias));
        let path = self.u32(o + offset_of!(ModuleRec, path));
        let id_len = self.u32(o + offset_of!(ModuleRec, build_id_len)).min(32) as usize;
        let build_id = self.slice(o + offset_of!(ModuleRec, build_id), id_len)?;
        if self.u32(o + offset_of!(ModuleRec, check)) != module_check(start, end, bias, path, build_id) {
            return None;
        }
        Some(Module {
            index,
            start,
            end,
            bias,
            path: self.string(path).unwrap_or_default(),
            build_id,
            unloaded: self.u32(o + offset_of!(ModuleRec, unloaded)) != 0,
        })
    }

    fn frame(&self, index: u32) -> Option<(Frame<'a>, u32)> {
        if u64::from(index) >= self.layout.frames.count {
            return None;
        }
        let o = at(self.layout.frames, u64::from(index), size_of::<FrameRec>());
        let key = self.u64(o + offset_of!(FrameRec, key));
        let pc = self.u64(o + offset_of!(FrameRec, pc));
        let word = |field: usize| self.u32(o + field);
        let words = [
            word(offset_of!(FrameRec, module)),
            word(offset_of!(FrameRec, class)),
            word(offset_of!(FrameRec, name)),
            word(offset_of!(FrameRec, file)),
            word(offset_of!(FrameRec, line)),
            word(offset_of!(FrameRec, next)),
        ];
        let kind = self.bytes.get(o + offset_of!(FrameRec, kind)).copied().unwrap_or(0);
        if word(offset_of!(FrameRec, check)) != frame_check(key, pc, words, kind) {
            return None;
        }
        let [module, class, name, file, line, next] = words;
        let kind = match kind {
            1 => FrameKind::Native,
            2 => FrameKind::Interpreted,
            3 => FrameKind::C1,
            4 => FrameKind::C2,
            5 => FrameKind::Inlined,
            6 => FrameKind::JavaNative,
            7 => FrameKind::Stub,
            8 => FrameKind::Compiling,
            9 => FrameKind::Python,
            _ => FrameKind::Unknown,
        };
        let frame = Frame {
            kind,
            pc,
            module: module.checked_sub(1),
            class: self.string(class),
            name: self.string(name),
            file: self.string(file),
            line: (line != 0).then_some(line),
        };
        Some((frame, next))
    }

    fn string(&self, index_plus_one: u32) -> Option<&'a [u8]> {
        let index = u64::from(index_plus_one.checked_sub(1)?);
        if index >= self.layout.strings.count {
            return None;
        }
        let o = at(self.layout.strings, index, size_of::<StrRec>());
        let len = u64::from(self.u32(o + offset_of!(StrRec, len)));
        let offset = u64::from(self.u32(o + offset_of!(StrRec, offset)));
        if len == 0 || offset + len > self.layout.bytes.count {
            return None;
        }
        let name = self.slice((self.layout.bytes.offset + offset) as usize, len as usize)?;
        (hash_bytes(name) == self.u64(o + offset_of!(StrRec, key))).then_some(name)
    }

    fn stack_key(&self, stack: u32) -> Option<u32> {
        (u64::from(stack) < self.layout.stacks.count).then_some(stack)
    }

    fn slice(&self, offset: usize, len: usize) -> Option<&'a [u8]> {
        self.bytes.get(offset..offset.checked_add(len)?)
    }

    fn u64(&self, offset: usize) -> u64 {
        self.slice(offset, 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
    }

    fn u32(&self, offset: usize) -> u32 {
        self.slice(offset, 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
    }

    fn u16(&self, offset: usize) -> u16 {
        self.slice(offset, 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes)
    }
}

impl<'a> Stack<'a> {
    /// Whether it is one of Java objects: then its totals are of the Java heap, and it begins with
    /// the Java frame that allocates.
    pub fn is_object(&self) -> bool {
        self.flags & stack_flags::OBJECT != 0
    }

    /// The frames from the innermost outwards, inlined ones spelt out; half-written ones are left
    /// out.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'a>> + use<'a> {
        let r = self.reader;
        let (mut place, end) = (u64::from(self.first), u64::from(self.first) + u64::from(self.len));
        let (mut next, mut inlined) = (0u32, 0);
        let mut budget = 16 * MAX_FRAMES;
        core::iter::from_fn(move || {
            loop {
                budget = budget.checked_sub(1)?;
                let index = match next.checked_sub(1) {
                    Some(index) if inlined < MAX_INLINED => {
                        inlined += 1;
                        index
                    }
                    _ if place < end.min(r.layout.frame_ids.count) => {
                        (place, inlined) = (place + 1, 0);
                        r.u32(at(r.layout.frame_ids, place - 1, 4))
                    }
                    _ => return None,
                };
                next = 0;
                if let Some((frame, inlined_into)) = r.frame(index) {
                    next = inlined_into;
                    return Some(frame);
                }
            }
        })
    }
}

/// Offset of a record. Sections come from [`Layout::new`], so this can't overflow.
fn at(section: Section, index: u64, record: usize) -> usize {
    (section.offset + index * record as u64) as usize
}
