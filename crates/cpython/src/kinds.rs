//! What blocks of memory hold: the types met on the way, told fast.

use crate::objects::{Objects, Type};
use crate::words::word_in;
use offheap_target::arch::END_OF_USUAL_ADDRESSES;
use std::collections::HashMap;

/// Places of the table that is looked at first; a program has some hundred types in use.
const FAST: usize = 1 << 10;
/// Types kept apart at the most.
const MOST_KINDS: usize = 1 << 16;
/// No type, in the tables.
const NONE: u32 = u32::MAX;
/// Types between a class and what it derives from, at the most.
const MOST_BASES: usize = 16;
/// Bytes of what an object keeps beside itself; a figure above is one that was read in a bad
/// moment.
const MOST_STORAGE: u64 = 1 << 44;

/// What is known of a type's inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    List,
    Dict,
    Set,
    Tuple,
    Text,
    Bytes,
    ByteArray,
    Deque,
    LruCache,
    Module,
    Function,
    Cell,
    Class,
    Frame,
    /// A reference that holds nothing.
    Weak,
    Other,
}

impl Role {
    fn named(name: &str) -> Option<Role> {
        Some(match name {
            "list" => Role::List,
            "dict" => Role::Dict,
            "set" | "frozenset" => Role::Set,
            "tuple" => Role::Tuple,
            "str" => Role::Text,
            "bytes" => Role::Bytes,
            "bytearray" => Role::ByteArray,
            "collections.deque" => Role::Deque,
            "functools._lru_cache_wrapper" => Role::LruCache,
            "module" => Role::Module,
            "function" => Role::Function,
            "cell" => Role::Cell,
            "type" => Role::Class,
            "frame" => Role::Frame,
            "weakref"
            | "weakref.ReferenceType"
            | "weakproxy"
            | "weakcallableproxy"
            | "weakref.ProxyType"
            | "weakref.CallableProxyType" => Role::Weak,
            "object" => Role::Other,
            _ => return None,
        })
    }
}

/// A type that was met.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    pub info: Type,
    pub role: Role,
}

/// The types met so far.
pub(crate) struct Kinds<'a> {
    pub objects: &'a Objects<'a>,
    pub list: Vec<Kind>,
    by_address: HashMap<u64, u32>,
    fast: Vec<(u64, u32)>,
    /// Where pymalloc's arenas are, ascending. No type is so small that it lies there.
    arenas: Vec<(u64, u64)>,
}

impl<'a> Kinds<'a> {
    pub(crate) fn new(objects: &'a Objects<'a>, arenas: Vec<(u64, u64)>) -> Kinds<'a> {
        let mut kinds = Kinds {
            objects,
            list: Vec::new(),
            by_address: HashMap::new(),
            fast: vec![(0, NONE); FAST],
            arenas,
        };
        kinds.of(objects.type_type());
        kinds
    }

    /// True where pymalloc's arenas hold `address`.
    pub(crate) fn in_arena(&self, address: u64) -> bool {
        let behind = self.arenas.partition_point(|(_, end)| *end <= address);
        self.arenas.get(behind).is_some_and(|(start, _)| *start <= address)
    }

    /// The arenas in `start..end`, ascending.
    pub(crate) fn arenas_in(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
        let all = self.arenas.iter().copied();
        all.skip_while(move |arena| arena.1 <= start).take_while(move |arena| arena.0 < end)
    }

    /// The number of the type at `address`.
    pub(crate) fn of(&mut self, address: u64) -> Option<u32> {
        let place = (address >> 4) as usize % FAST;
        if let Some((known, number)) = self.fast.get(place).copied()
            && known == address
            && address != 0
        {
            return (number != NONE).then_some(number);
        }
        let number = match self.by_address.get(&address) {
            Some(number) => *number,
            None => self.add(address),
        };
        if let Some(slot) = self.fast.get_mut(place) {
            *slot = (address, number);
        }
        (number != NONE).then_some(number)
    }

    /// The number of the type at `address` if it was met before.
    pub(crate) fn known(&self, address: u64) -> Option<u32> {
        self.by_address.get(&address).copied().filter(|number| *number != NONE)
    }

    fn add(&mut self, address: u64) -> u32 {
        // Most words that are no types are pointers into the arenas, or none at all.
        if !address.is_multiple_of(8) || address >= END_OF_USUAL_ADDRESSES || self.in_arena(address) {
            return NONE;
        }
        let found = self.objects.as_type(address).filter(|_| self.list.len() < MOST_KINDS);
        let number = match found {
            None => NONE,
            Some(info) => {
                let role = self.role(address, &info);
                self.list.push(Kind { info, role });
                self.list.len() as u32 - 1
            }
        };
        if number != NONE || self.by_address.len() < 2 * MOST_KINDS {
            self.by_address.insert(address, number);
        }
        if number != NONE
            && let Some(meta) = self.objects.type_address(address)
            && !self.by_address.contains_key(&meta)
        {
            // Instances of metaclasses are types too.
            self.add(meta);
        }
        number
    }

    /// That of the nearest type it derives from that has one.
    fn role(&self, address: u64, info: &Type) -> Role {
        let mut role = Role::named(&info.name);
        let mut base = self.objects.base_of(address);
        for _ in 0..MOST_BASES {
            let Some(at) = base.filter(|base| *base != 0 && role.is_none()) else { break };
            role = self.objects.as_type(at).and_then(|info| Role::named(&info.name));
            base = self.objects.base_of(at);
        }
        role.unwrap_or(Role::Other)
    }

    /// The object that a block begins with, and where in the block it begins: behind the
    /// collector's head of two words, and from 3.11 on behind two more for its attributes.
    pub(crate) fn object_in(&mut self, block: &[u8]) -> Option<(usize, u32)> {
        let places: &[usize] = if self.objects.offsets.minor >= 11 { &[0, 16, 32] } else { &[0, 16] };
        places.iter().filter(|at| **at + 16 <= block.len()).find_map(|&at| {
            if !self.is_count(word_in(block, at)) {
                return None;
            }
            let number = self.of(word_in(block, at + 8))?;
            // The collector's head is there where its type says so.
            let gc = self.list.get(number as usize)?.info.gc;
            (gc == (at > 0)).then_some((at, number))
        })
    }

    /// True where `word` may be a count of references, and no pointer.
    pub(crate) fn is_count(&self, word: u64) -> bool {
        let low = word & 0xffff_ffff;
        match self.objects.offsets.minor {
            // A signed count; far below 2^32 but for garbage.
            ..=11 => word != 0 && word >> 32 == 0,
            12 | 13 => low != 0 && word >> 32 == 0,
            // The upper half has sixteen bits of overflow, and flags.
            _ => low != 0 && word >> 32 & 0xffff == 0,
        }
    }

    pub(crate) fn role_of(&self, number: u32) -> Role {
        self.list.get(number as usize).map_or(Role::Other, |kind| kind.role)
    }

    pub(crate) fn name_of(&self, number: u32) -> &str {
        self.list.get(number as usize).map_or("", |kind| kind.info.name.as_str())
    }

    /// How many elements the container has.
    pub(crate) fn length(&self, number: u32, object: u64) -> Option<u64> {
        let field = match self.role_of(number) {
            Role::List | Role::Tuple | Role::Dict | Role::Deque | Role::Bytes | Role::ByteArray => 0x10,
            Role::Set => 0x18,
            _ => return None,
        };
        self.objects.words.word(object.checked_add(field)?).filter(|length| *length < 1 << 40)
    }

    /// The block outside of the object that a container keeps its elements in, and its bytes.
    /// `head` are the object's first bytes.
    pub(crate) fn storage(&self, number: u32, object: u64, head: &[u8]) -> Option<(u64, u64)> {
        let sized = |at: usize, count: u64, each: u64| {
            let (block, bytes) = (word_in(head, at), count.checked_mul(each)?);
            (block != 0 && bytes > 0 && bytes < MOST_STORAGE).then_some((block, bytes))
        };
        match self.role_of(number) {
            Role::List => sized(0x18, word_in(head, 0x20), 8),
            Role::ByteArray => sized(0x20, word_in(head, 0x18), 1),
            Role::Set => {
                let found = sized(0x28, word_in(head, 0x20).checked_add(1)?, 16)?;
                // A small one has its table inside.
                (found.0.wrapping_sub(object) >= 512).then_some(found)
            }
            Role::Dict => {
                let keys = word_in(head, 0x20);
                // Keys that several dicts share belong to none of them.
                let is_own = self.objects.words.word(keys)? == 1;
                let table = self.objects.dict_table(object).filter(|_| is_own)?;
                Some((table.keys, table.bytes)).filter(|(_, bytes)| *bytes < MOST_STORAGE)
            }
            _ => None,
        }
    }
}
