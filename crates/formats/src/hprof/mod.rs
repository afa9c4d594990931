//! Java heap dumps (hprof, 1.0.1 and 1.0.2): what in the heap holds memory outside of it. Source:
//! HotSpot, share/services/heapDumper.cpp, "HPROF binary format".
//!
//! Not a heap analyser: classes with their instances, native peers, class loaders, JNI global
//! references, direct buffers and what keeps the largest of them alive. One pass over the file
//! ([`census`]) counts, and notes which parts of it refer to what ([`chunks`]); what is asked then
//! (the class of a JNI reference, who refers to a buffer) is looked up in the few parts that can
//! tell. Tables of classes and roots, none of objects: beside them at most 256 MiB of filters
//! and 64 MiB of parts, some 2 % of the dump.

mod census;
mod chunks;
mod input;
mod paths;
mod stream;
mod tables;

use crate::jfr::Source;
use crate::{Cut, Error};
use census::Census;
use input::{Again, Input};
use std::io::Read;
use stream::Stream;
use tables::Tables;

const FORMAT: &str = "heap dump";

/// What a dump says.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Hprof {
    /// When it was taken, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// Classes, most instances first.
    pub classes: Vec<ClassFigure>,
    /// Class loaders by the classes they hold, most first; the boot loader is the one without a
    /// class.
    pub loaders: Vec<LoaderFigure>,
    /// JNI global references by the class of what they hold, most first.
    pub jni_globals: Vec<(String, u64)>,
    /// Classes whose instances own something outside of the heap, by the instances that still do,
    /// most first.
    pub peers: Vec<PeerFigure>,
    /// Direct ByteBuffers that own their memory.
    pub direct: Direct,
    /// Threads among the roots.
    pub threads: u64,
    /// Where the readable part ends, where that is before the file's end.
    pub cut: Option<Cut>,
}

/// A class and its instances.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct ClassFigure {
    /// `java.util.zip.Inflater`; arrays as `byte[]` or `java.lang.String[]`.
    pub name: String,
    /// Instances.
    pub count: u64,
    /// Bytes of their fields or elements, without headers.
    pub bytes: u64,
}

/// A class with a field that holds a native handle or address, by the field's name.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct PeerFigure {
    /// The class.
    pub class: String,
    /// The field: `address`, `handle`, `swigCPtr`…
    pub field: String,
    /// Instances.
    pub count: u64,
    /// Those whose field is neither 0 nor -1: not closed yet.
    pub open: u64,
}

/// A chain of references.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Path {
    /// The object it leads to.
    pub object: u64,
    /// The root, or in brackets why none was found.
    pub root: String,
    /// True where a root was found.
    pub is_held: bool,
    /// From the root on; the last is the object itself.
    pub steps: Vec<Step>,
}

/// An object on the way.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Step {
    /// Its class.
    pub class: String,
    /// Its field that refers to the next one; `[]` of an array, empty of the last.
    pub field: String,
}

/// A class loader.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct LoaderFigure {
    /// Its object's id; 0 is the boot loader.
    pub id: u64,
    /// Its class.
    pub class: String,
    /// Classes it holds.
    pub classes: u64,
}

/// Direct ByteBuffers with a cleaner: views and slices have none, and own nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Direct {
    /// How many.
    pub count: u64,
    /// Their capacity together.
    pub capacity_bytes: u64,
    /// By capacity: how many of each; at most 4096 sizes, largest total first.
    pub by_capacity: Vec<(u64, u64)>,
    /// What keeps one buffer of each of the first sizes alive: capacity, path.
    pub paths: Vec<(u64, Path)>,
}

/// True where `head` starts like one.
pub(crate) fn is(head: &[u8]) -> bool {
    head.starts_with(b"JAVA PROFILE 1.0.")
}

/// Reads a dump.
///
/// # Errors
/// It does not start like one, or has ids that are not of 4 or 8 bytes.
pub fn read(bytes: &[u8]) -> Result<Hprof, Error> {
    read_at(&bytes)
}

/// The same, of a file that can be read at any place.
///
/// # Errors
/// As [`read`].
pub fn read_at(source: &dyn Source) -> Result<Hprof, Error> {
    let mut input = source;
    read_input(&mut input)
}

/// The same, of a file that can only be read from its start on: `open` opens it anew.
///
/// # Errors
/// As [`read`]; or it unfolds to more than is allowed.
pub fn read_from<'a>(open: &mut dyn FnMut() -> std::io::Result<Box<dyn Read + 'a>>) -> Result<Hprof, Error> {
    read_input(&mut Again::new(open))
}

fn read_input(input: &mut dyn Input) -> Result<Hprof, Error> {
    let mut stream = Stream::open(input)?;
    let (mut tables, time_ms) = (Tables::new(stream.id_size), stream.time_ms);
    let (census, cut) = Census::take(&mut stream, &mut tables)?;
    let asked = tables.asked();
    for span in census.chunks.with(asked.iter().copied().collect()) {
        stream.part(span, &mut tables.looked_up(&asked));
    }
    let by_capacity = census.by_capacity();
    let largest = by_capacity.iter().take(paths::MAX_TARGETS);
    let targets: Vec<(u64, u64)> = largest.map(|(_, buffer)| (buffer.first, buffer.class)).collect();
    let paths = paths::search(&tables, &census, &targets, &mut stream);
    let capacities = by_capacity.iter().map(|(capacity, _)| *capacity);
    let direct = Direct {
        count: by_capacity.iter().map(|(_, buffer)| buffer.count).sum(),
        capacity_bytes: by_capacity
            .iter()
            .fold(0, |sum, (size, buffer)| sum.saturating_add(size.saturating_mul(buffer.count))),
        paths: capacities.zip(paths).collect(),
        by_capacity: by_capacity.iter().map(|(size, buffer)| (*size, buffer.count)).take(4096).collect(),
    };
    Ok(Hprof { time_ms, cut, direct, ..tables.finish(&census) })
}

/// What a root's tag means.
fn root_name(tag: u8) -> &'static str {
    match tag {
        0x01 => "JNI global reference",
        0x02 => "JNI local reference",
        0x03 => "a Java frame's local variable",
        0x04 => "a native frame",
        0x05 => "system class",
        0x06 => "a thread's block",
        0x07 => "a monitor in use",
        0x08 => "thread",
        _ => "root",
    }
}

/// Dimensions of an array (JVMS 4.9.1).
const MAX_DIMENSIONS: usize = 255;

/// A class's name as people write it: `[Ljava/lang/String;` → `java.lang.String[]`.
pub(crate) fn spelled(name: &str) -> String {
    let name = name.replace('/', ".");
    let element = name.trim_start_matches('[');
    let dimensions = name.len() - element.len();
    if dimensions == 0 {
        return name;
    }
    let element = match element.strip_prefix('L') {
        Some(class) => class.trim_end_matches(';'),
        None => [("Z", 4), ("C", 5), ("F", 6), ("D", 7), ("B", 8), ("S", 9), ("I", 10), ("J", 11)]
            .into_iter()
            .find_map(|(letter, kind)| (letter == element).then_some(primitive(kind).0))
            .unwrap_or(element),
    };
    format!("{element}{}", "[]".repeat(dimensions.min(MAX_DIMENSIONS)))
}

/// Name and size of a primitive type.
fn primitive(kind: u8) -> (&'static str, usize) {
    match kind {
        4 => ("boolean", 1),
        5 => ("char", 2),
        6 => ("float", 4),
        7 => ("double", 8),
        8 => ("byte", 1),
        9 => ("short", 2),
        10 => ("int", 4),
        11 => ("long", 8),
        _ => ("unknown", 1),
    }
}
