//! Java heap dumps (hprof, 1.0.1 and 1.0.2): what in the heap holds memory outside of it. Source:
//! HotSpot, share/services/heapDumper.cpp, "HPROF binary format".
//!
//! Not a heap analyser: classes with their instances, native peers, class loaders, JNI global
//! references, direct buffers and what keeps the largest of them alive. Several passes over the
//! file and tables of classes and roots, none of objects, so memory does not grow with the heap.

mod paths;
mod stream;

use crate::{Cut, Error};
use foldhash::fast::RandomState;
use std::collections::{HashMap, HashSet};
use std::io::Read;
use stream::{Item, Stream, number, size_of};

const FORMAT: &str = "heap dump";

/// JNI global references that are looked up; a leak of more is told by its number.
const MAX_ROOTS: usize = 1 << 20;

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
    /// By capacity: how many of each; at the most 4096 sizes, largest total first.
    pub by_capacity: Vec<(u64, u64)>,
    /// What keeps one buffer of each of the first sizes alive: capacity, path.
    pub paths: Vec<(u64, Path)>,
}

/// True where `head` begins like one.
pub(crate) fn is(head: &[u8]) -> bool {
    head.starts_with(b"JAVA PROFILE 1.0.")
}

#[derive(Default)]
struct Class {
    name: u64,
    parent: u64,
    loader: u64,
    /// Name and type of its own fields, in the order of an instance's bytes.
    fields: Vec<(u64, u8)>,
    count: u64,
    bytes: u64,
    open: u64,
}

/// Names longer than this together are not kept: no program has so many.
const MAX_TEXT: usize = 128 << 20;
/// Classes that are kept.
const MAX_CLASSES: usize = 1 << 21;
/// Fields that all classes together declare, as far as they are kept.
const MAX_FIELDS: usize = 4 << 20;
/// Fields of an instance that are looked at, its class's own first: no program has more.
const MAX_INSTANCE: usize = 4096;
/// Dimensions of an array (JVMS 4.9.1).
const MAX_DIMENSIONS: usize = 255;
/// Characters of a class's name that are shown: a million objects can be of one class with a name
/// of 64 KiB.
const MAX_NAME: usize = 1000;
/// Sizes of direct buffers that are told apart.
const MAX_SIZES: usize = 1 << 16;

type Map<K, V> = HashMap<K, V, RandomState>;

#[derive(Default)]
struct Tables {
    id_size: usize,
    text_bytes: usize,
    /// Fields that are kept.
    fields: usize,
    strings: Map<u64, Box<[u8]>>,
    classes: Map<u64, Class>,
    /// Objects by the tag of their first root.
    roots: Map<u64, u8>,
    jni_globals: HashSet<u64, RandomState>,
    jni_beyond: u64,
    threads: u64,
    loaders: HashSet<u64, RandomState>,
    /// What the objects asked for are: JNI globals and class loaders.
    class_of: Map<u64, Of>,
    primitive_arrays: [(u64, u64); 12],
    /// Direct buffers by capacity: how many, and one of them.
    direct: Map<u64, (u64, u64)>,
}

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    /// An instance or an array of this class.
    Class(u64),
    /// An array of primitives of this type.
    Primitives(u8),
    /// A class itself.
    Itself,
}

/// Reads a dump.
///
/// # Errors
/// It does not begin like one, or has ids that are not of 4 or 8 bytes.
pub fn read(bytes: &[u8]) -> Result<Hprof, Error> {
    read_from(&mut || Ok(Box::new(bytes)))
}

/// The same, of a file that is not in memory: `open` opens it anew for each pass.
///
/// # Errors
/// As [`read`]; or `open` fails.
pub fn read_from<'a>(open: &mut dyn FnMut() -> std::io::Result<Box<dyn Read + 'a>>) -> Result<Hprof, Error> {
    let mut tables = Tables::default();
    let mut pass = |each: &mut dyn FnMut(Item<'_>)| -> Result<(usize, i64, Option<Cut>), Error> {
        let mut input =
            open().map_err(|error| Error::Damaged { format: FORMAT, at: 0, reason: error.to_string() })?;
        let stream = Stream::open(&mut *input)?;
        Ok((stream.id_size, stream.time_ms, stream.items(each)?))
    };
    let (id_size, time_ms, cut) = pass(&mut |item| tables.first_pass(item))?;
    tables.id_size = id_size;
    tables.loaders = tables.classes.values().map(|class| class.loader).collect();
    let roles = tables.roles();
    pass(&mut |item| tables.second_pass(item, &roles))?;
    let by_capacity = tables.by_capacity();
    let first = by_capacity.iter().take(paths::MAX_TARGETS);
    let direct_class = roles.direct.unwrap_or(0);
    let targets: Vec<(u64, u64)> = first.map(|(_, (_, object))| (*object, direct_class)).collect();
    let paths = if targets.is_empty() {
        Vec::new()
    } else {
        // The file was read twice already: what fails now would only cut the search short.
        paths::search(&tables, &targets, |each| _ = pass(each))
    };
    let capacities = by_capacity.iter().map(|(capacity, _)| *capacity);
    let direct = Direct {
        count: by_capacity.iter().map(|(_, (count, _))| count).sum(),
        capacity_bytes: by_capacity
            .iter()
            .fold(0, |sum, (size, (count, _))| sum.saturating_add(size.saturating_mul(*count))),
        paths: capacities.zip(paths).collect(),
        by_capacity: by_capacity.iter().map(|(size, (count, _))| (*size, *count)).take(4096).collect(),
    };
    Ok(Hprof { time_ms, cut, direct, ..tables.finish(&roles) })
}

/// What is looked at in instances.
#[derive(Default)]
struct Roles {
    /// `java.nio.DirectByteBuffer`; where its capacity and its cleaner are.
    direct: Option<u64>,
    capacity: Option<(usize, usize)>,
    cleaner: Option<(usize, usize)>,
    /// Classes with a native handle.
    peers: Map<u64, Peer>,
}

/// A class with a native handle.
struct Peer {
    /// Where the handle is in an instance.
    place: (usize, usize),
    /// The field's name.
    field: u64,
    /// What must be set for the instance to own what the handle leads to; slices, duplicates and
    /// views of another buffer have its address, and own nothing.
    owner: Option<(usize, usize)>,
}

/// What fields that hold a native handle or address are called, in lower case. They are `long`s.
const HANDLES: [&[u8]; 16] = [
    b"address",
    b"addr",
    b"handle",
    b"peer",
    b"ptr",
    b"pointer",
    b"cptr",
    b"swigcptr",
    b"_address",
    b"_handle",
    b"nativehandle",
    b"nativehandle_",
    b"nativeptr",
    b"nativepointer",
    b"nativepeer",
    b"nativeaddress",
];

impl Tables {
    fn first_pass(&mut self, item: Item<'_>) {
        match item {
            Item::Text { id, text } if self.text_bytes < MAX_TEXT => {
                self.text_bytes += text.len() + 64;
                self.strings.insert(id, text.into());
            }
            Item::Name { class, name } if self.classes.len() < MAX_CLASSES => {
                self.classes.entry(class).or_default().name = name;
            }
            Item::Class(class) if self.classes.len() < MAX_CLASSES => {
                let room = MAX_FIELDS.saturating_sub(self.fields);
                let fields: Vec<(u64, u8)> = class.fields.into_iter().take(room.min(MAX_INSTANCE)).collect();
                self.fields += fields.len();
                let known = self.classes.entry(class.id).or_default();
                (known.parent, known.loader, known.fields) = (class.parent, class.loader, fields);
            }
            Item::Root { tag, id } => {
                self.threads += u64::from(tag == 0x08);
                if self.roots.len() < MAX_ROOTS {
                    self.roots.entry(id).or_insert(tag);
                }
                if tag == 0x01 {
                    if self.jni_globals.len() < MAX_ROOTS {
                        self.jni_globals.insert(id);
                    } else {
                        self.jni_beyond += 1;
                    }
                }
            }
            _ => {}
        }
    }

    fn second_pass(&mut self, item: Item<'_>, roles: &Roles) {
        match item {
            Item::Instance { id, class, fields } => {
                // 0 is none or closed, and so is -1 in the JDK's file descriptors.
                let open = roles.peers.get(&class).is_some_and(|peer| {
                    at(fields, peer.place).is_some_and(|handle| handle != 0 && handle != u64::MAX)
                        && peer
                            .owner
                            .is_none_or(|owner| at(fields, owner).is_some_and(|cleaner| cleaner != 0))
                });
                self.count(class, fields.len() as u64, open);
                self.is_of(id, class);
                if roles.direct == Some(class) {
                    self.direct_buffer(id, fields, roles);
                }
            }
            Item::Array { id, class, bytes } => {
                self.count(class, bytes, false);
                self.is_of(id, class);
            }
            Item::Primitives { id, kind, bytes } => {
                if let Some((count, sum)) = self.primitive_arrays.get_mut(usize::from(kind)) {
                    *count += 1;
                    *sum = sum.saturating_add(bytes);
                }
                if self.jni_globals.contains(&id) {
                    self.class_of.insert(id, Of::Primitives(kind));
                }
            }
            Item::Class(class) if self.jni_globals.contains(&class.id) => {
                self.class_of.insert(class.id, Of::Itself);
            }
            _ => {}
        }
    }

    fn count(&mut self, class: u64, bytes: u64, open: bool) {
        if let Some(class) = self.classes.get_mut(&class) {
            class.count += 1;
            class.bytes = class.bytes.saturating_add(bytes);
            class.open += u64::from(open);
        }
    }

    /// Remembers the class of an object that is asked for.
    fn is_of(&mut self, id: u64, class: u64) {
        if self.jni_globals.contains(&id) || self.loaders.contains(&id) {
            self.class_of.insert(id, Of::Class(class));
        }
    }

    /// Views and slices have no cleaner: they own nothing.
    fn direct_buffer(&mut self, id: u64, fields: &[u8], roles: &Roles) -> Option<()> {
        let capacity = at(fields, roles.capacity?)?;
        let owns = at(fields, roles.cleaner?)? != 0;
        if owns && (self.direct.len() < MAX_SIZES || self.direct.contains_key(&capacity)) {
            self.direct.entry(capacity).or_insert((0, id)).0 += 1;
        }
        Some(())
    }

    /// By the memory that all of one capacity hold, most first: capacity, how many, one of them.
    fn by_capacity(&self) -> Vec<(u64, (u64, u64))> {
        let mut sizes: Vec<_> = self.direct.iter().map(|(capacity, found)| (*capacity, *found)).collect();
        sizes.sort_by_key(|(capacity, (count, _))| {
            std::cmp::Reverse((capacity.saturating_mul(*count), *capacity))
        });
        sizes
    }

    fn roles(&self) -> Roles {
        let mut roles = Roles::default();
        for (id, class) in &self.classes {
            let fields = self.all_fields(*id);
            if self.text(class.name) == b"java/nio/DirectByteBuffer" {
                let find = |wanted: &[u8]| {
                    let field = fields.iter().find(|(name, ..)| self.text(*name) == wanted);
                    field.map(|(_, _, place)| *place)
                };
                roles.direct = Some(*id);
                (roles.capacity, roles.cleaner) = (find(b"capacity"), find(b"cleaner"));
            }
            let handle = fields.iter().find(|(name, kind, _)| {
                let name = self.text(*name).to_ascii_lowercase();
                *kind == 11 && HANDLES.contains(&name.as_slice())
            });
            // Of the JDK's buffers only those with a cleaner own anything: on the heap `address` is
            // an offset into the array, and views of other types (DirectLongBufferU…) have no
            // cleaner at all.
            let is_buffer = self.text(class.name).starts_with(b"java/nio/");
            let cleaner = fields.iter().find(|(name, ..)| self.text(*name) == b"cleaner");
            let owner = cleaner.filter(|_| is_buffer).map(|(_, _, place)| *place);
            if let Some((name, _, place)) = handle.filter(|_| !is_buffer || owner.is_some()) {
                roles.peers.insert(*id, Peer { place: *place, field: *name, owner });
            }
        }
        roles
    }

    /// Name, type and place (offset, size) of all fields of an instance: its own class's first,
    /// then its parent's, and so on.
    fn all_fields(&self, id: u64) -> Vec<(u64, u8, (usize, usize))> {
        let (mut all, mut at, mut offset) = (Vec::new(), id, 0);
        // A class is its own ancestor only in a damaged dump.
        let mut seen = HashSet::new();
        while let Some(class) = self.classes.get(&at).filter(|_| seen.len() < 64 && seen.insert(at)) {
            let room = MAX_INSTANCE.saturating_sub(all.len());
            for (name, kind) in class.fields.iter().take(room) {
                let size = size_of(*kind, self.id_size).unwrap_or(0);
                all.push((*name, *kind, (offset, size)));
                offset += size;
            }
            at = class.parent;
        }
        all
    }

    fn text(&self, id: u64) -> &[u8] {
        self.strings.get(&id).map(AsRef::as_ref).unwrap_or_default()
    }

    fn class_name(&self, id: u64) -> String {
        let name = self.classes.get(&id).map_or(&b""[..], |class| self.text(class.name));
        let mut name = spelled(&String::from_utf8_lossy(name.get(..4 * MAX_NAME).unwrap_or(name)));
        if let Some((end, _)) = name.char_indices().nth(MAX_NAME) {
            name.truncate(end);
            name.push('…');
        }
        name
    }

    fn name_of(&self, of: Of) -> String {
        match of {
            Of::Class(id) => self.class_name(id),
            Of::Primitives(kind) => format!("{}[]", primitive(kind).0),
            Of::Itself => "java.lang.Class".to_owned(),
        }
    }

    fn finish(self, roles: &Roles) -> Hprof {
        let alive = || self.classes.iter().filter(|(_, class)| class.count > 0);
        let mut classes: Vec<ClassFigure> = alive()
            .map(|(id, class)| ClassFigure {
                name: self.class_name(*id),
                count: class.count,
                bytes: class.bytes,
            })
            .collect();
        for (kind, (count, bytes)) in
            self.primitive_arrays.iter().enumerate().filter(|(_, (count, _))| *count > 0)
        {
            let name = format!("{}[]", primitive(kind as u8).0);
            classes.push(ClassFigure { name, count: *count, bytes: *bytes });
        }
        classes.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        let mut peers: Vec<PeerFigure> = alive()
            .filter_map(|(id, class)| {
                let peer = roles.peers.get(id)?;
                Some(PeerFigure {
                    class: self.class_name(*id),
                    field: String::from_utf8_lossy(self.text(peer.field)).into_owned(),
                    count: class.count,
                    open: class.open,
                })
            })
            .collect();
        peers.sort_by(|a, b| (b.open, b.count).cmp(&(a.open, a.count)).then_with(|| a.class.cmp(&b.class)));
        let mut by_loader: HashMap<u64, u64> = HashMap::new();
        self.classes.values().for_each(|class| *by_loader.entry(class.loader).or_default() += 1);
        let mut loaders: Vec<LoaderFigure> = by_loader
            .into_iter()
            .map(|(id, classes)| LoaderFigure {
                id,
                class: self.class_of.get(&id).map_or_else(String::new, |of| self.name_of(*of)),
                classes,
            })
            .collect();
        loaders.sort_by(|a, b| b.classes.cmp(&a.classes).then_with(|| a.id.cmp(&b.id)));
        let mut by_class: HashMap<Option<Of>, u64> = HashMap::new();
        for id in &self.jni_globals {
            *by_class.entry(self.class_of.get(id).copied()).or_default() += 1;
        }
        let mut globals: HashMap<String, u64> = HashMap::new();
        for (of, count) in by_class {
            let class = of.map_or_else(|| "(unknown)".to_owned(), |of| self.name_of(of));
            *globals.entry(class).or_default() += count;
        }
        if self.jni_beyond > 0 {
            globals.insert("(not looked up)".to_owned(), self.jni_beyond);
        }
        let mut jni_globals: Vec<(String, u64)> = globals.into_iter().collect();
        jni_globals.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Hprof { classes, loaders, jni_globals, peers, threads: self.threads, ..Hprof::default() }
    }
}

/// The number at `place` (offset, size) of an instance's bytes.
fn at(fields: &[u8], (offset, size): (usize, usize)) -> Option<u64> {
    fields.get(offset..offset.checked_add(size)?).map(number)
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
