//! The one pass that counts: instances by class, native peers, direct buffers; and the parts of the
//! dump, for whoever looks for something afterwards.

use super::chunks::Chunks;
use super::stream::{Class, Stream, Visit, number, sized};
use super::tables::{Map, Tables};
use crate::{Cut, Error};

/// Sizes of direct buffers that are told apart.
const MAX_SIZES: usize = 1 << 16;
/// References of all classes' instances together that are followed.
const MAX_PLACES: usize = 4 << 20;
/// Kinds that are found without a look into the table, by the low bits of a hash.
const RECENT: usize = 1 << 9;

/// A class of which there are instances.
pub(super) struct Kind {
    pub(super) class: u64,
    pub(super) count: u64,
    pub(super) bytes: u64,
    /// Instances whose native handle is set.
    pub(super) open: u64,
    pub(super) peer: Option<Peer>,
    /// Of a direct buffer: where its capacity and its cleaner are.
    direct: Option<((usize, usize), (usize, usize))>,
    /// Its references: where they are among the places.
    places: std::ops::Range<usize>,
}

/// A native handle.
pub(super) struct Peer {
    /// Where the handle is in an instance.
    place: (usize, usize),
    /// The field's name.
    pub(super) field: u64,
    /// What must be set for the instance to own what the handle leads to; slices, duplicates and
    /// views of another buffer have its address, and own nothing.
    owner: Option<(usize, usize)>,
}

/// Direct buffers of one capacity.
pub(super) struct Buffers {
    pub(super) count: u64,
    /// One of them, and its class.
    pub(super) first: u64,
    pub(super) class: u64,
}

/// What is counted.
pub(super) struct Census {
    pub(super) kinds: Vec<Kind>,
    by_class: Map<u64, u32>,
    /// Class and kind of those that were met last.
    recent: Vec<(u64, u32)>,
    /// Where instances hold references, and the field's name.
    places: Vec<(usize, u64)>,
    pub(super) primitive_arrays: [(u64, u64); 12],
    direct: Map<u64, Buffers>,
    pub(super) chunks: Chunks,
    /// The array whose elements come.
    array: u64,
    /// An object came before its class was known: what was counted is not all.
    is_early: bool,
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

/// The number at `place` (offset, size) of an instance's bytes.
fn at(fields: &[u8], (offset, size): (usize, usize)) -> Option<u64> {
    fields.get(offset..offset.checked_add(size)?).map(number)
}

/// Counts; and takes the tables, unless it has them.
struct Count<'t> {
    tables: &'t mut Tables,
    has_tables: bool,
    census: Census,
}

impl Visit for Count<'_> {
    fn text(&mut self, id: u64, text: &[u8]) {
        if !self.has_tables {
            self.tables.add_text(id, text);
        }
    }

    fn name(&mut self, class: u64, name: u64) {
        if !self.has_tables {
            self.tables.add_name(class, name);
        }
    }

    #[inline(always)]
    fn place(&mut self, at: u64, end: u64) {
        self.census.chunks.place(at, end);
    }

    fn class(&mut self, class: Class) {
        class.statics.iter().for_each(|(_, to)| self.census.chunks.refers_far(*to));
        if !self.has_tables {
            self.tables.add_class(class);
        }
    }

    #[inline(always)]
    fn instance<const ID: usize>(&mut self, id: u64, class: u64, fields: &[u8]) {
        let kind = self.census.kind(self.tables, self.has_tables, class);
        self.census.instance::<ID>(id, kind, fields);
    }

    fn array(&mut self, id: u64, class: u64, bytes: u64) {
        let kind = self.census.kind(self.tables, self.has_tables, class);
        self.census.chunks.array(bytes / self.tables.id_size.max(1) as u64);
        self.census.array(id, kind, bytes);
    }

    #[inline(always)]
    fn elements<const ID: usize>(&mut self, elements: &[u8]) {
        self.census.elements::<ID>(elements);
    }

    #[inline(always)]
    fn primitives(&mut self, id: u64, kind: u8, bytes: u64) {
        self.census.primitives(id, kind, bytes);
    }

    fn root(&mut self, tag: u8, id: u64) {
        if !self.has_tables {
            self.tables.add_root(tag, id);
        }
    }
}

impl Census {
    /// Counts what `stream` has, and takes its names, classes and roots into `tables`; says where
    /// it ends, where that is too early. HotSpot writes classes before objects; where others don't,
    /// it is read once more.
    ///
    /// # Errors
    /// The file unfolds to more than is allowed.
    pub(super) fn take(stream: &mut Stream<'_>, tables: &mut Tables) -> Result<(Census, Option<Cut>), Error> {
        let mut count = Count { tables, has_tables: false, census: Census::new() };
        let cut = stream.all(&mut count)?;
        if count.census.is_early {
            (count.has_tables, count.census) = (true, Census::new());
            stream.again(&mut count)?;
        }
        let mut census = count.census;
        census.chunks.finish(stream.at());
        Ok((census, cut))
    }

    fn new() -> Census {
        Census {
            kinds: Vec::new(),
            by_class: Map::default(),
            recent: vec![(u64::MAX, 0); RECENT],
            places: Vec::new(),
            primitive_arrays: [(0, 0); 12],
            direct: Map::default(),
            chunks: Chunks::new(),
            array: 0,
            is_early: false,
        }
    }

    /// The kind of the instances of `class`, made where there was none.
    #[inline(always)]
    fn kind(&mut self, tables: &Tables, has_tables: bool, class: u64) -> Option<usize> {
        let slot = class.wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> 40 & (RECENT - 1);
        match self.recent.get(slot) {
            Some((known, kind)) if *known == class => Some(*kind as usize),
            _ => self.kind_of(tables, has_tables, class, slot),
        }
    }

    #[inline(never)]
    fn kind_of(&mut self, tables: &Tables, has_tables: bool, class: u64, slot: usize) -> Option<usize> {
        let kind = match self.by_class.get(&class) {
            Some(kind) => *kind,
            None => {
                if !(if has_tables { tables.is_known(class) } else { tables.is_complete(class) }) {
                    self.is_early = true;
                    return None;
                }
                let kind = self.new_kind(tables, class);
                self.kinds.push(kind);
                self.by_class.insert(class, (self.kinds.len() - 1) as u32);
                (self.kinds.len() - 1) as u32
            }
        };
        if let Some(recent) = self.recent.get_mut(slot) {
            *recent = (class, kind);
        }
        Some(kind as usize)
    }

    fn new_kind(&mut self, tables: &Tables, class: u64) -> Kind {
        let fields = tables.all_fields(class);
        let name = tables.raw_name(class);
        let find = |wanted: &[u8]| {
            fields.iter().find(|field| tables.text(field.name) == wanted).map(|field| field.place)
        };
        // Of the JDK's buffers only those with a cleaner own anything: on the heap `address` is an
        // offset into the array, and views of other types (DirectLongBufferU…) have no cleaner at
        // all.
        let is_buffer = name.starts_with(b"java/nio/");
        let cleaner = find(b"cleaner");
        let owner = cleaner.filter(|_| is_buffer);
        let handle = fields.iter().find(|field| {
            field.kind == 11 && HANDLES.contains(&tables.text(field.name).to_ascii_lowercase().as_slice())
        });
        let peer = handle.filter(|_| !is_buffer || owner.is_some()).map(|field| Peer {
            place: field.place,
            field: field.name,
            owner,
        });
        let is_direct = name == b"java/nio/DirectByteBuffer";
        let direct = find(b"capacity").zip(cleaner).filter(|_| is_direct);
        let start = self.places.len();
        // `java.lang.ref.Reference.referent` keeps nothing alive.
        let held = fields.iter().filter(|field| {
            field.kind == 2 && !(field.is_of_reference && tables.text(field.name) == b"referent")
        });
        let room = MAX_PLACES.saturating_sub(start);
        self.places.extend(held.take(room).map(|field| (field.place.0, field.name)));
        Kind { class, count: 0, bytes: 0, open: 0, peer, direct, places: start..self.places.len() }
    }

    #[inline(always)]
    fn instance<const ID: usize>(&mut self, id: u64, kind: Option<usize>, fields: &[u8]) {
        self.chunks.object(id);
        let Some(kind) = kind.and_then(|kind| self.kinds.get_mut(kind)) else { return };
        kind.count += 1;
        kind.bytes = kind.bytes.saturating_add(fields.len() as u64);
        for (place, _) in self.places.get(kind.places.clone()).unwrap_or_default() {
            if let Some(to) = sized::<ID>(fields, *place) {
                self.chunks.refers(id, to);
            }
        }
        if let Some(peer) = &kind.peer {
            // 0 is none or closed, and so is -1 in the JDK's file descriptors.
            let is_open = at(fields, peer.place).is_some_and(|handle| handle != 0 && handle != u64::MAX)
                && peer.owner.is_none_or(|owner| at(fields, owner).is_some_and(|cleaner| cleaner != 0));
            kind.open += u64::from(is_open);
        }
        if let Some((capacity, cleaner)) = kind.direct {
            let class = kind.class;
            self.direct_buffer(id, class, at(fields, capacity), at(fields, cleaner));
        }
    }

    /// Views and slices have no cleaner: they own nothing.
    fn direct_buffer(&mut self, id: u64, class: u64, capacity: Option<u64>, cleaner: Option<u64>) {
        let Some(capacity) = capacity.filter(|_| cleaner.is_some_and(|cleaner| cleaner != 0)) else { return };
        if self.direct.len() < MAX_SIZES || self.direct.contains_key(&capacity) {
            self.direct.entry(capacity).or_insert(Buffers { count: 0, first: id, class }).count += 1;
        }
    }

    fn array(&mut self, id: u64, kind: Option<usize>, bytes: u64) {
        self.chunks.object(id);
        self.array = id;
        if let Some(kind) = kind.and_then(|kind| self.kinds.get_mut(kind)) {
            kind.count += 1;
            kind.bytes = kind.bytes.saturating_add(bytes);
        }
    }

    #[inline(always)]
    fn elements<const ID: usize>(&mut self, elements: &[u8]) {
        for element in elements.chunks_exact(ID) {
            self.chunks.refers(self.array, sized::<ID>(element, 0).unwrap_or(0));
        }
    }

    #[inline(always)]
    fn primitives(&mut self, id: u64, kind: u8, bytes: u64) {
        self.chunks.object(id);
        if let Some((count, sum)) = self.primitive_arrays.get_mut(usize::from(kind)) {
            *count += 1;
            *sum = sum.saturating_add(bytes);
        }
    }

    /// Where the instances of `class` hold references, and the fields' names.
    pub(super) fn layout(&self, class: u64) -> &[(usize, u64)] {
        let kind = self.by_class.get(&class).and_then(|kind| self.kinds.get(*kind as usize));
        kind.and_then(|kind| self.places.get(kind.places.clone())).unwrap_or_default()
    }

    /// By the memory that all of one capacity hold, most first.
    pub(super) fn by_capacity(&self) -> Vec<(u64, &Buffers)> {
        let mut sizes: Vec<_> = self.direct.iter().map(|(capacity, found)| (*capacity, found)).collect();
        sizes.sort_by_key(|(capacity, buffers)| {
            std::cmp::Reverse((capacity.saturating_mul(buffers.count), *capacity))
        });
        sizes
    }
}
