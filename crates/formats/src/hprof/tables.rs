//! What a dump says of names, classes and roots.

use super::census::Census;
use super::stream::{self, Visit, size_of};
use super::{ClassFigure, Hprof, LoaderFigure, PeerFigure, primitive, spelled};
use foldhash::fast::RandomState;
use std::collections::{HashMap, HashSet};

pub(super) type Map<K, V> = HashMap<K, V, RandomState>;
pub(super) type Set<K> = HashSet<K, RandomState>;

/// JNI global references that are looked up; a leak of more is told by its number.
const MAX_ROOTS: usize = 1 << 20;
/// Names longer than this together are not kept: no program has so many.
const MAX_TEXT: usize = 128 << 20;
/// Classes that are kept.
const MAX_CLASSES: usize = 1 << 21;
/// Fields that all classes together declare, as far as they are kept.
const MAX_FIELDS: usize = 4 << 20;
/// Fields of an instance that are looked at, its class's own first: no program has more.
const MAX_INSTANCE: usize = 4096;
/// Ancestors of a class that are looked at.
const MAX_ANCESTORS: usize = 64;
/// Characters of a class's name that are shown: a million objects can be of one class with a name
/// of 64 KiB.
const MAX_NAME: usize = 1000;

#[derive(Default)]
struct Class {
    name: u64,
    parent: u64,
    loader: u64,
    /// Name and type of its own fields, in the order of an instance's bytes.
    fields: Vec<(u64, u8)>,
    /// Whether the dump has described it, not only named it.
    is_described: bool,
}

/// A field of an instance.
pub(super) struct Field {
    pub(super) name: u64,
    pub(super) kind: u8,
    /// Where it is in an instance's bytes, and how long it is.
    pub(super) place: (usize, usize),
    /// Whether `java.lang.ref.Reference` declares it.
    pub(super) is_of_reference: bool,
}

#[derive(Default)]
pub(super) struct Tables {
    pub(super) id_size: usize,
    text_bytes: usize,
    /// Fields that are kept.
    fields: usize,
    strings: Map<u64, Box<[u8]>>,
    classes: Map<u64, Class>,
    /// Objects by the tag of their first root.
    pub(super) roots: Map<u64, u8>,
    jni_globals: Set<u64>,
    jni_beyond: u64,
    threads: u64,
    /// What the objects asked for are: JNI globals and class loaders.
    class_of: Map<u64, Of>,
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

/// Looks up what some objects are.
pub(super) struct LookUp<'t> {
    asked: &'t Set<u64>,
    class_of: &'t mut Map<u64, Of>,
}

impl Visit for LookUp<'_> {
    fn instance<const ID: usize>(&mut self, id: u64, class: u64, _fields: &[u8]) {
        self.is_of(id, Of::Class(class));
    }

    fn array(&mut self, id: u64, class: u64, _bytes: u64) {
        self.is_of(id, Of::Class(class));
    }

    fn primitives(&mut self, id: u64, kind: u8, _bytes: u64) {
        self.is_of(id, Of::Primitives(kind));
    }
}

impl LookUp<'_> {
    fn is_of(&mut self, id: u64, of: Of) {
        if self.asked.contains(&id) {
            self.class_of.insert(id, of);
        }
    }
}

/// What the tables take of a dump: all that is no object.
impl Tables {
    pub(super) fn new(id_size: usize) -> Tables {
        Tables { id_size, ..Tables::default() }
    }

    pub(super) fn add_text(&mut self, id: u64, text: &[u8]) {
        if self.text_bytes < MAX_TEXT {
            self.text_bytes += text.len() + 64;
            self.strings.insert(id, text.into());
        }
    }

    pub(super) fn add_name(&mut self, class: u64, name: u64) {
        if self.classes.len() < MAX_CLASSES {
            self.classes.entry(class).or_default().name = name;
        }
    }

    pub(super) fn add_class(&mut self, class: stream::Class) {
        if self.jni_globals.contains(&class.id) {
            self.class_of.insert(class.id, Of::Itself);
        }
        if self.classes.len() >= MAX_CLASSES {
            return;
        }
        let room = MAX_FIELDS.saturating_sub(self.fields);
        let fields: Vec<(u64, u8)> = class.fields.into_iter().take(room.min(MAX_INSTANCE)).collect();
        self.fields += fields.len();
        let known = self.classes.entry(class.id).or_default();
        (known.parent, known.loader, known.fields) = (class.parent, class.loader, fields);
        known.is_described = true;
    }

    pub(super) fn add_root(&mut self, tag: u8, id: u64) {
        self.threads += u64::from(tag == 0x08);
        if self.roots.len() < MAX_ROOTS {
            self.roots.entry(id).or_insert(tag);
        }
        if tag == 0x01 {
            if self.jni_globals.len() < MAX_ROOTS {
                self.jni_globals.insert(id);
                if self.classes.get(&id).is_some_and(|class| class.is_described) {
                    self.class_of.insert(id, Of::Itself);
                }
            } else {
                self.jni_beyond += 1;
            }
        }
    }

    /// The objects whose class is asked for.
    pub(super) fn asked(&self) -> Set<u64> {
        let globals = self.jni_globals.iter().filter(|id| !self.class_of.contains_key(id));
        globals.copied().chain(self.classes.values().map(|class| class.loader)).collect()
    }

    /// Takes what the objects of `asked` are.
    pub(super) fn looked_up<'t>(&'t mut self, asked: &'t Set<u64>) -> LookUp<'t> {
        LookUp { asked, class_of: &mut self.class_of }
    }

    pub(super) fn is_known(&self, id: u64) -> bool {
        self.classes.contains_key(&id)
    }

    /// Whether the class and its ancestors are described, with all their names.
    pub(super) fn is_complete(&self, id: u64) -> bool {
        let mut at = id;
        for _ in 0..MAX_ANCESTORS {
            let Some(class) = self.classes.get(&at).filter(|class| class.is_described) else { return false };
            let mut names = class.fields.iter().map(|(name, _)| name).chain([&class.name]);
            if !names.all(|name| self.strings.contains_key(name)) {
                return false;
            }
            at = class.parent;
            if at == 0 {
                return true;
            }
        }
        false
    }

    /// The name of the class as the dump has it.
    pub(super) fn raw_name(&self, id: u64) -> &[u8] {
        self.classes.get(&id).map_or(&b""[..], |class| self.text(class.name))
    }

    /// All fields of an instance: its own class's first, then its parent's, and so on.
    pub(super) fn all_fields(&self, id: u64) -> Vec<Field> {
        let (mut all, mut at, mut offset) = (Vec::new(), id, 0);
        // A class is its own ancestor only in a damaged dump.
        let mut seen = HashSet::new();
        while let Some(class) =
            self.classes.get(&at).filter(|_| seen.len() < MAX_ANCESTORS && seen.insert(at))
        {
            let is_of_reference = self.text(class.name) == b"java/lang/ref/Reference";
            let room = MAX_INSTANCE.saturating_sub(all.len());
            for (name, kind) in class.fields.iter().take(room) {
                let size = size_of(*kind, self.id_size).unwrap_or(0);
                all.push(Field { name: *name, kind: *kind, place: (offset, size), is_of_reference });
                offset += size;
            }
            at = class.parent;
        }
        all
    }

    pub(super) fn text(&self, id: u64) -> &[u8] {
        self.strings.get(&id).map(AsRef::as_ref).unwrap_or_default()
    }

    pub(super) fn class_name(&self, id: u64) -> String {
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

    pub(super) fn finish(&self, census: &Census) -> Hprof {
        let alive = || census.kinds.iter().filter(|kind| kind.count > 0);
        let mut classes: Vec<ClassFigure> = alive()
            .map(|kind| ClassFigure {
                name: self.class_name(kind.class),
                count: kind.count,
                bytes: kind.bytes,
            })
            .collect();
        for (kind, (count, bytes)) in
            census.primitive_arrays.iter().enumerate().filter(|(_, (count, _))| *count > 0)
        {
            let name = format!("{}[]", primitive(kind as u8).0);
            classes.push(ClassFigure { name, count: *count, bytes: *bytes });
        }
        classes.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        let mut peers: Vec<PeerFigure> = alive()
            .filter_map(|kind| {
                let peer = kind.peer.as_ref()?;
                Some(PeerFigure {
                    class: self.class_name(kind.class),
                    field: String::from_utf8_lossy(self.text(peer.field)).into_owned(),
                    count: kind.count,
                    open: kind.open,
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
