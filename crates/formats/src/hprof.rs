//! Java heap dumps (hprof, 1.0.1 and 1.0.2): what in the heap holds memory outside of it. Source: HotSpot,
//! share/services/heapDumper.cpp, "HPROF binary format".
//!
//! Not a heap analyser: classes with their instances, class loaders, JNI global references, direct buffers. Two passes over the
//! bytes (give a mapped file) and tables of classes and roots, none of objects, so memory does not grow with the heap.

use crate::bytes::Bytes;
use crate::{Cut, Error};
use std::collections::{HashMap, HashSet};

const FORMAT: &str = "heap dump";

/// JNI global references that are looked up; a leak of more is told by its number.
const MAX_ROOTS: usize = 1 << 20;

/// What a dump says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hprof {
    /// When it was taken, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// Classes, most instances first.
    pub classes: Vec<ClassFigure>,
    /// Class loaders by the classes they hold, most first; the boot loader is the one without a class.
    pub loaders: Vec<LoaderFigure>,
    /// JNI global references by the class of what they hold, most first.
    pub jni_globals: Vec<(String, u64)>,
    /// Direct ByteBuffers that own their memory.
    pub direct: Direct,
    /// Threads among the roots.
    pub threads: u64,
    /// Where the readable part ends, where that is before the file's end.
    pub cut: Option<Cut>,
}

/// A class and its instances.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClassFigure {
    /// `java.util.zip.Inflater`; arrays as `byte[]` or `java.lang.String[]`.
    pub name: String,
    /// Instances.
    pub count: u64,
    /// Bytes of their fields or elements, without headers.
    pub bytes: u64,
}

/// A class loader.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoaderFigure {
    /// Its object's id; 0 is the boot loader.
    pub id: u64,
    /// Its class.
    pub class: String,
    /// Classes it holds.
    pub classes: u64,
}

/// Direct ByteBuffers with a cleaner: views and slices have none, and own nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Direct {
    /// How many.
    pub count: u64,
    /// Their capacity together.
    pub capacity_bytes: u64,
    /// By capacity: how many of each; at the most 4096 sizes, largest total first.
    pub by_capacity: Vec<(u64, u64)>,
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
}

#[derive(Default)]
struct Tables<'a> {
    id_size: usize,
    strings: HashMap<u64, &'a [u8]>,
    classes: HashMap<u64, Class>,
    jni_globals: HashSet<u64>,
    jni_beyond: u64,
    threads: u64,
    /// Classes of the objects asked for: JNI globals and class loaders.
    class_of: HashMap<u64, String>,
    loaders: HashSet<u64>,
    primitive_arrays: [(u64, u64); 12],
    direct: HashMap<u64, u64>,
    direct_class: Option<u64>,
}

/// Reads a dump.
///
/// # Errors
/// It does not begin like one, or has ids that are not of 4 or 8 bytes.
pub fn read(bytes: &[u8]) -> Result<Hprof, Error> {
    if !is(bytes) {
        return Err(Error::NotThis {
            format: FORMAT,
            reason: "it does not begin with JAVA PROFILE 1.0.".into(),
        });
    }
    let header_cut =
        || Error::Damaged { format: FORMAT, at: bytes.len() as u64, reason: "its header is cut off".into() };
    let mut reader = Bytes::new(bytes);
    while reader.u8().ok_or_else(header_cut)? != 0 {}
    let id_size = number(&mut reader, 4).ok_or_else(header_cut)?;
    if id_size != 4 && id_size != 8 {
        return Err(Error::Unsupported { format: FORMAT, reason: format!("its ids have {id_size} bytes") });
    }
    let time_ms = number(&mut reader, 8).ok_or_else(header_cut)? as i64;
    let mut tables = Tables { id_size: id_size as usize, ..Tables::default() };
    let cut = records(bytes, reader.at(), |tag, body| tables.first_pass(tag, body));
    tables.loaders = tables.classes.values().map(|class| class.loader).collect();
    tables.direct_class = tables.class_named("java/nio/DirectByteBuffer");
    records(bytes, reader.at(), |tag, body| tables.second_pass(tag, body));
    Ok(tables.finish(time_ms, cut))
}

/// Walks over the records; `each` says how far it got in one.
fn records<'a>(
    bytes: &'a [u8],
    from: usize,
    mut each: impl FnMut(u8, &'a [u8]) -> Result<(), usize>,
) -> Option<Cut> {
    let mut reader = Bytes::new(bytes);
    reader.take(from)?;
    while !reader.is_empty() {
        let at = reader.at();
        let head = (|| {
            let tag = reader.u8()?;
            let (_time, length) = (number(&mut reader, 4)?, number(&mut reader, 4)?);
            Some((tag, length))
        })();
        let cut = |at: usize, reading: &str| Some(Cut { at: at as u64, reading: reading.to_owned() });
        let Some((tag, length)) = head else { return cut(at, "the head of a record") };
        // A dump of one segment of 4 GB or more says 0, or too little; HotSpot writes segments since JDK 6.
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let start = reader.at();
        let whole = reader.rest().len() >= length;
        let body = reader.take(length.min(reader.rest().len())).unwrap_or_default();
        if let Err(place) = each(tag, body) {
            return cut(start + place, "a record of the heap");
        }
        if !whole {
            return cut(bytes.len(), "a record");
        }
    }
    None
}

fn number(bytes: &mut Bytes<'_>, size: usize) -> Option<u64> {
    Some(bytes.take(size)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

const HEAP_DUMP: u8 = 0x0c;
const HEAP_DUMP_SEGMENT: u8 = 0x1c;

/// An object as the heap's records have them.
enum Object<'a> {
    Instance { id: u64, class: u64, fields: &'a [u8] },
    Array { id: u64, class: u64, bytes: u64 },
    Primitives { id: u64, kind: u8, bytes: u64 },
    Class { id: u64, class: Class },
    JniGlobal(u64),
    Thread,
    Other,
}

impl<'a> Tables<'a> {
    fn first_pass(&mut self, tag: u8, body: &'a [u8]) -> Result<(), usize> {
        let mut reader = Bytes::new(body);
        match tag {
            1 => {
                if let Some(id) = number(&mut reader, self.id_size) {
                    self.strings.insert(id, reader.rest());
                }
            }
            2 => {
                let (_serial, id) = (number(&mut reader, 4), number(&mut reader, self.id_size));
                let (_trace, name) = (number(&mut reader, 4), number(&mut reader, self.id_size));
                if let (Some(id), Some(name)) = (id, name) {
                    self.classes.entry(id).or_default().name = name;
                }
            }
            HEAP_DUMP | HEAP_DUMP_SEGMENT => {
                while !reader.is_empty() {
                    let at = reader.at();
                    match self.object(&mut reader).ok_or(at)? {
                        Object::Class { id, class } => {
                            let known = self.classes.entry(id).or_default();
                            *known = Class { name: known.name, ..class };
                        }
                        Object::JniGlobal(id) if self.jni_globals.len() < MAX_ROOTS => {
                            _ = self.jni_globals.insert(id)
                        }
                        Object::JniGlobal(_) => self.jni_beyond += 1,
                        Object::Thread => self.threads += 1,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn second_pass(&mut self, tag: u8, body: &'a [u8]) -> Result<(), usize> {
        if tag != HEAP_DUMP && tag != HEAP_DUMP_SEGMENT {
            return Ok(());
        }
        let mut reader = Bytes::new(body);
        while !reader.is_empty() {
            let at = reader.at();
            match self.object(&mut reader).ok_or(at)? {
                Object::Instance { id, class, fields } => {
                    self.count(class, fields.len() as u64);
                    self.is_of(id, class);
                    if self.direct_class == Some(class) {
                        self.direct_buffer(class, fields);
                    }
                }
                Object::Array { id, class, bytes } => {
                    self.count(class, bytes);
                    self.is_of(id, class);
                }
                Object::Primitives { id, kind, bytes } => {
                    if let Some((count, sum)) = self.primitive_arrays.get_mut(usize::from(kind)) {
                        *count += 1;
                        *sum = sum.saturating_add(bytes);
                    }
                    if self.jni_globals.contains(&id) {
                        self.class_of.insert(id, format!("{}[]", primitive(kind).0));
                    }
                }
                Object::Class { id, .. } if self.jni_globals.contains(&id) => {
                    self.class_of.insert(id, "java.lang.Class".to_owned());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn count(&mut self, class: u64, bytes: u64) {
        if let Some(class) = self.classes.get_mut(&class) {
            class.count += 1;
            class.bytes = class.bytes.saturating_add(bytes);
        }
    }

    /// Remembers the class of an object that is asked for.
    fn is_of(&mut self, id: u64, class: u64) {
        if self.jni_globals.contains(&id) || self.loaders.contains(&id) {
            let name = self.class_name(class);
            self.class_of.insert(id, name);
        }
    }

    fn object(&self, reader: &mut Bytes<'a>) -> Option<Object<'a>> {
        let id_size = self.id_size;
        let tag = reader.u8()?;
        // Layouts of roots: the id, and this much more.
        let root = match tag {
            0xff | 0x05 | 0x07 => Some(0),
            0x01 => Some(id_size),
            0x02 | 0x03 | 0x08 => Some(8),
            0x04 | 0x06 => Some(4),
            _ => None,
        };
        let id = number(reader, id_size)?;
        if let Some(more) = root {
            reader.take(more)?;
            return Some(match tag {
                0x01 => Object::JniGlobal(id),
                0x08 => Object::Thread,
                _ => Object::Other,
            });
        }
        number(reader, 4)?;
        match tag {
            0x20 => Some(Object::Class { id, class: self.class(reader)? }),
            0x21 => {
                let class = number(reader, id_size)?;
                let length = usize::try_from(number(reader, 4)?).ok()?;
                Some(Object::Instance { id, class, fields: reader.take(length)? })
            }
            0x22 => {
                let count = usize::try_from(number(reader, 4)?).ok()?;
                let class = number(reader, id_size)?;
                let bytes = count.checked_mul(id_size)?;
                reader.take(bytes)?;
                Some(Object::Array { id, class, bytes: bytes as u64 })
            }
            0x23 => {
                let count = usize::try_from(number(reader, 4)?).ok()?;
                let kind = reader.u8()?;
                let bytes = count.checked_mul(primitive(kind).1)?;
                reader.take(bytes)?;
                Some(Object::Primitives { id, kind, bytes: bytes as u64 })
            }
            _ => None,
        }
    }

    fn class(&self, reader: &mut Bytes<'a>) -> Option<Class> {
        let id = |reader: &mut Bytes<'a>| number(reader, self.id_size);
        let mut class = Class { parent: id(reader)?, loader: id(reader)?, ..Class::default() };
        // Signers, protection domain, two reserved, the size of an instance.
        reader.take(4 * self.id_size + 4)?;
        for _ in 0..number(reader, 2)? {
            reader.take(2)?;
            let kind = reader.u8()?;
            reader.take(self.size(kind)?)?;
        }
        for _ in 0..number(reader, 2)? {
            id(reader)?;
            let kind = reader.u8()?;
            reader.take(self.size(kind)?)?;
        }
        for _ in 0..number(reader, 2)? {
            class.fields.push((id(reader)?, reader.u8()?));
        }
        Some(class)
    }

    fn size(&self, kind: u8) -> Option<usize> {
        match kind {
            2 => Some(self.id_size),
            4..=11 => Some(primitive(kind).1),
            _ => None,
        }
    }

    /// An instance has its own class's fields first, then its parent's, and so on.
    fn direct_buffer(&mut self, class: u64, fields: &[u8]) -> Option<()> {
        let mut reader = Bytes::new(fields);
        let (mut capacity, mut has_cleaner, mut at) = (None, false, class);
        // A class is its own ancestor only in a damaged dump.
        for _ in 0..16 {
            let Some(class) = self.classes.get(&at) else { break };
            for (name, kind) in &class.fields {
                let value = number(&mut reader, self.size(*kind)?)?;
                match self.strings.get(name).copied() {
                    Some(b"capacity") => capacity = Some(value),
                    Some(b"cleaner") => has_cleaner = value != 0,
                    _ => {}
                }
            }
            at = class.parent;
        }
        let capacity = capacity?;
        if has_cleaner && (self.direct.len() < 1 << 16 || self.direct.contains_key(&capacity)) {
            *self.direct.entry(capacity).or_default() += 1;
        }
        Some(())
    }

    fn class_named(&self, name: &str) -> Option<u64> {
        let is = |class: &Class| self.strings.get(&class.name).is_some_and(|bytes| *bytes == name.as_bytes());
        self.classes.iter().find(|(_, class)| is(class)).map(|(id, _)| *id)
    }

    /// `[Ljava/lang/String;` → `java.lang.String[]`
    fn class_name(&self, id: u64) -> String {
        let name = self
            .classes
            .get(&id)
            .and_then(|class| self.strings.get(&class.name))
            .copied()
            .unwrap_or_default();
        let name = String::from_utf8_lossy(name).replace('/', ".");
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
        format!("{element}{}", "[]".repeat(dimensions))
    }

    fn finish(self, time_ms: i64, cut: Option<Cut>) -> Hprof {
        let mut classes: Vec<ClassFigure> = self
            .classes
            .iter()
            .filter(|(_, class)| class.count > 0)
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
        let mut by_loader: HashMap<u64, u64> = HashMap::new();
        self.classes.values().for_each(|class| *by_loader.entry(class.loader).or_default() += 1);
        let mut loaders: Vec<LoaderFigure> = by_loader
            .into_iter()
            .map(|(id, classes)| LoaderFigure {
                id,
                class: self.class_of.get(&id).cloned().unwrap_or_default(),
                classes,
            })
            .collect();
        loaders.sort_by(|a, b| b.classes.cmp(&a.classes).then_with(|| a.id.cmp(&b.id)));
        let mut globals: HashMap<String, u64> = HashMap::new();
        for id in &self.jni_globals {
            let class = self.class_of.get(id).map_or("(unknown)", String::as_str);
            *globals.entry(class.to_owned()).or_default() += 1;
        }
        if self.jni_beyond > 0 {
            globals.insert("(not looked up)".to_owned(), self.jni_beyond);
        }
        let mut jni_globals: Vec<(String, u64)> = globals.into_iter().collect();
        jni_globals.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let mut by_capacity: Vec<(u64, u64)> = self.direct.into_iter().collect();
        by_capacity
            .sort_by_key(|(capacity, count)| std::cmp::Reverse((capacity.saturating_mul(*count), *capacity)));
        let direct = Direct {
            count: by_capacity.iter().map(|(_, count)| count).sum(),
            capacity_bytes: by_capacity
                .iter()
                .fold(0, |sum, (size, count)| sum.saturating_add(size.saturating_mul(*count))),
            by_capacity: by_capacity.into_iter().take(4096).collect(),
        };
        Hprof { time_ms, classes, loaders, jni_globals, direct, threads: self.threads, cut }
    }
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
