//! What has a name: modules, classes, functions, caches, frames, and memory that is not Python's.

use crate::code::Code;
use crate::holders::{HolderKind, Place};
use crate::kinds::{Kinds, Role};
use crate::stacks::SubInterpreter;
use offheap_linux::{Live, Reads, Target, Task};

/// How far behind the start of its variables a frame's stack may reach.
const MOST_FRAME: u64 = 16 << 10;
/// Elements of a list or tuple that are looked through for one.
const MOST_ENTRIES: u64 = 1 << 16;

/// Something that holds and has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// The globals of a module.
    Module(String),
    Class(String),
    LruCache,
    Function,
    Frame(String),
    /// What a call keeps for a moment, beside its variables.
    Call(String),
    Place(String),
    Static(String),
    Native,
    Stack,
}

impl Named {
    /// It says who holds; the others only where.
    pub(crate) fn is_good(&self) -> bool {
        !matches!(self, Named::Call(_) | Named::Static(_) | Named::Native | Named::Stack)
    }

    pub(crate) fn kind(&self) -> HolderKind {
        match self {
            Named::Module(_) => HolderKind::Module,
            Named::Class(_) => HolderKind::Class,
            Named::LruCache => HolderKind::LruCache,
            Named::Function => HolderKind::Function,
            Named::Frame(_) | Named::Call(_) => HolderKind::Frame,
            Named::Place(_) => HolderKind::Outside,
            Named::Static(_) => HolderKind::Static,
            Named::Native => HolderKind::Native,
            Named::Stack => HolderKind::Stack,
        }
    }
}

/// Where an `lru_cache` has its function and its bound (Modules/_functoolsmodule.c).
const LRU_FUNCTION: u64 = 0x58;
const LRU_MAXSIZE: u64 = 0x60;

/// A frame's variables.
struct Variables {
    locals: u64,
    code: u64,
    what: String,
}

/// Names things.
pub(crate) struct Names<'k, 'a> {
    pub kinds: &'k mut Kinds<'a>,
    pub memory: &'a Live,
    /// Ascending.
    frames: Vec<Variables>,
    stacks: Vec<u64>,
    places: Vec<Place>,
}

impl<'k, 'a> Names<'k, 'a> {
    pub(crate) fn new(
        kinds: &'k mut Kinds<'a>,
        memory: &'a Live,
        interpreters: &[SubInterpreter],
        tasks: &[Task],
        places: &[Place],
    ) -> Names<'k, 'a> {
        let threads = interpreters.iter().flat_map(|interpreter| &interpreter.threads);
        let mut frames: Vec<Variables> = threads
            .flat_map(|thread| &thread.frames)
            .map(|frame| {
                let file = frame.file.rsplit('/').next().unwrap_or_default();
                let what = format!("{} ({file}:{})", frame.function, frame.line);
                Variables { locals: frame.locals, code: frame.code, what }
            })
            .collect();
        frames.sort_by_key(|frame| frame.locals);
        let stacks = tasks.iter().filter_map(|task| Some(memory.vma(task.stack_pointer?)?.start)).collect();
        Names { kinds, memory, frames, stacks, places: places.to_vec() }
    }

    /// Memory outside of the arenas in which references may lie.
    pub(crate) fn scanned(&self) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        for vma in self.memory.vmas() {
            let is_private = vma.read && vma.write && !vma.shared && !vma.path.starts_with("/dev/");
            if is_private && !self.kinds.in_arena(vma.start) {
                ranges.push((vma.start, vma.end));
            } else if is_private {
                // Arenas may have other memory beside them in one mapping.
                let mut at = vma.start;
                for (start, end) in self.kinds.arenas_in(vma.start, vma.end) {
                    if at < start {
                        ranges.push((at, start));
                    }
                    at = end;
                }
                if at < vma.end {
                    ranges.push((at, vma.end));
                }
            }
            if vma.shared && vma.write {
                ranges.extend(
                    self.places
                        .iter()
                        .map(|place| (place.start.max(vma.start), place.end.min(vma.end)))
                        .filter(|(start, end)| start < end),
                );
            }
        }
        ranges
    }

    /// The type of the object at `object`.
    pub(crate) fn kind_at(&mut self, object: u64) -> Option<u32> {
        crate::holders::kind_at(self.kinds, self.memory, object)
    }

    /// The name of an object, if it has one.
    pub(crate) fn of_object(&self, object: u64, kind: u32) -> Option<Named> {
        match self.kinds.role_of(kind) {
            Role::Dict => self.module_of(object).map(Named::Module),
            Role::Module => {
                let dict = self.memory.u64(object.checked_add(0x10)?).ok()?;
                self.module_of(dict).map(Named::Module)
            }
            Role::Class => self.kinds.objects.as_type(object).map(|info| Named::Class(info.name)),
            Role::LruCache => Some(Named::LruCache),
            Role::Function => Some(Named::Function),
            // A module's variables are its globals, which have their own name.
            Role::Frame => Some(match self.of_frame(object).as_str() {
                module @ "<module>" => Named::Call(format!("a call under way in {module}")),
                function => Named::Frame(format!("a variable of {function}")),
            }),
            _ => None,
        }
    }

    /// The function that the frame object at `object` is of.
    fn of_frame(&self, object: u64) -> String {
        let offsets = self.kinds.objects.offsets;
        let name = || {
            // From 3.11 on the object leads to the frame proper.
            let frame = if offsets.minor <= 10 { object } else { self.memory.u64(object + 0x18).ok()? };
            let code = self.memory.u64(frame.checked_add(offsets.frame_code)?).ok()? & !7;
            self.kinds.objects.text(self.memory.u64(code.checked_add(offsets.code_name)?).ok()?)
        };
        name().unwrap_or_else(|| "a function that was left".to_owned())
    }

    /// The name of the module whose globals `dict` are: they begin with it.
    fn module_of(&self, dict: u64) -> Option<String> {
        let objects = self.kinds.objects;
        let (mut name, mut has_doc) = (None, false);
        objects.entries(dict, 6, |key, value| {
            match objects.text(key).as_deref() {
                Some("__name__") => name = objects.text(value),
                Some("__doc__" | "__builtins__" | "__spec__") => has_doc = true,
                _ => {}
            }
            true
        });
        name.filter(|_| has_doc)
    }

    /// The name of the memory at `at`, which is no object's, and an address that stands for all of
    /// that.
    pub(crate) fn of_memory(&self, at: u64) -> (u64, Named) {
        if let Some(place) = self.places.iter().find(|place| (place.start..place.end).contains(&at)) {
            return (place.start, Named::Place(place.what.clone()));
        }
        let vma = self.memory.vma(at);
        let start = vma.map_or(at, |vma| vma.start);
        let behind = self.frames.partition_point(|frame| frame.locals <= at);
        if let Some(frame) = behind.checked_sub(1).and_then(|number| self.frames.get(number))
            && frame.locals >= start
            && at - frame.locals < MOST_FRAME
        {
            let variable = self.variable(frame.code, (at - frame.locals) / 8);
            let name = match variable {
                Some(name) => Named::Frame(format!("variable `{name}` of {}", frame.what)),
                None => Named::Call(format!("a call under way in {}", frame.what)),
            };
            return (at, name);
        }
        let Some(vma) = vma else { return (at, Named::Native) };
        if vma.path == "[stack]" || self.stacks.contains(&vma.start) {
            return (vma.start, Named::Stack);
        }
        // Behind the data of a file lies what it has of zeros.
        let file = if vma.is_file() {
            Some(vma)
        } else {
            self.memory.vmas().iter().find(|other| other.end == vma.start && other.is_file() && other.write)
        };
        match file.filter(|_| vma.path != "[heap]") {
            Some(file) => {
                let name = file.path.rsplit('/').next().unwrap_or_default();
                (file.start, Named::Static(name.to_owned()))
            }
            None => (vma.start, Named::Native),
        }
    }

    /// The name of a variable, by its number (`co_localsplusnames`, from 3.11, two words before the
    /// file's name).
    fn variable(&self, code: u64, number: u64) -> Option<String> {
        let objects = self.kinds.objects;
        if objects.offsets.minor < 11 {
            return None;
        }
        let names = self.memory.u64(code.checked_add(objects.offsets.code_filename)? - 0x10).ok()?;
        if !objects.is_a(names, "tuple") || number >= self.memory.u64(names.checked_add(0x10)?).ok()? {
            return None;
        }
        let at = names.checked_add(objects.offsets.tuple_items)?.checked_add(8 * number)?;
        objects.text(self.memory.u64(at).ok()?)
    }

    /// The holder `name` in words; it is the object at `address`, of the type `kind`, and refers to
    /// the first of `children`, that one to the next, and so on.
    pub(crate) fn what(&self, name: &Named, address: u64, kind: Option<u32>, children: &[u64]) -> String {
        let word = |offset: u64| self.memory.u64(address.saturating_add(offset)).unwrap_or(0);
        let key = || self.key_in(name, self.dict_of(address, kind), children);
        match name {
            Named::Module(module) => match key() {
                Some(key) => format!("`{key}` of module {module}"),
                None => format!("module {module}"),
            },
            Named::Class(class) => match key() {
                Some(key) => format!("class attribute {class}.{key}"),
                None => format!("class {class}"),
            },
            Named::LruCache => {
                let function = self.function(word(LRU_FUNCTION));
                let bound = match word(LRU_MAXSIZE).cast_signed() {
                    -1 => " (maxsize=None: without bound)".to_owned(),
                    most => format!(" (maxsize={most})"),
                };
                format!("the lru_cache of {function}{bound}")
            }
            Named::Function => format!("the closure or defaults of {}", self.function(address)),
            Named::Frame(what) | Named::Call(what) | Named::Place(what) => what.clone(),
            Named::Static(file) => format!("static data of {file}"),
            Named::Native => "memory of native code".to_owned(),
            Named::Stack => "a thread's native stack".to_owned(),
        }
    }

    /// How many entries the holder `name` at `address` may have, where it is a cache with a bound.
    pub(crate) fn most_entries(&self, name: &Named, address: u64) -> Option<u64> {
        let at = address.checked_add(LRU_MAXSIZE).filter(|_| matches!(name, Named::LruCache))?;
        u64::try_from(self.memory.u64(at).ok()?.cast_signed()).ok()
    }

    /// The dict in which a module or class at `address` has its variables; of a module's globals,
    /// these.
    fn dict_of(&self, address: u64, kind: Option<u32>) -> u64 {
        let word = |offset: u64| self.memory.u64(address.saturating_add(offset)).unwrap_or(0);
        match kind.map(|kind| self.kinds.role_of(kind)) {
            Some(Role::Module) => word(0x10),
            Some(Role::Class) => word(crate::objects::TP_DICT),
            _ => address,
        }
    }

    /// What the module or class calls what it holds.
    fn key_in(&self, name: &Named, dict: u64, children: &[u64]) -> Option<String> {
        // The dict itself may be on the way.
        let child = children.iter().find(|child| **child != dict).copied().unwrap_or(0);
        matches!(name, Named::Module(_) | Named::Class(_)).then(|| self.key_of(dict, child)).flatten()
    }

    /// The functions that use the holder `name` by its name; see [`Names::what`].
    pub(crate) fn users(&self, name: &Named, address: u64, kind: Option<u32>, children: &[u64]) -> Vec<Code> {
        let dict = self.dict_of(address, kind);
        let own = |function: u64| self.code_of(function).and_then(|code| self.described(code));
        match name {
            Named::Module(_) => self.key_in(name, dict, children).map(|key| self.code_about(dict, &key)),
            Named::Class(_) => self
                .key_in(name, dict, children)
                .zip(self.globals_of_class(address))
                .map(|(key, globals)| self.code_about(globals, &key)),
            Named::LruCache => {
                self.memory.u64(address.saturating_add(0x58)).ok().and_then(own).map(|code| vec![code])
            }
            Named::Function => own(address).map(|code| vec![code]),
            _ => None,
        }
        .unwrap_or_default()
    }

    /// The functions that make objects of the class of `object`, as far as its own module has them;
    /// empty where that is none of the program's.
    pub(crate) fn makers(&self, object: u64) -> Vec<Code> {
        let objects = self.kinds.objects;
        let class = objects.type_address(object);
        let Some((globals, name)) = class.and_then(|class| {
            let name = objects.as_type(class)?.name;
            Some((self.globals_of_class(class)?, name.rsplit('.').next()?.to_owned()))
        }) else {
            return Vec::new();
        };
        let mut makers = self.code_about(globals, &name);
        makers.retain(|code| !is_of_the_library(&code.file));
        makers
    }

    /// The role of the object at `object`.
    pub(crate) fn role_at(&self, object: u64) -> Option<Role> {
        let class = self.kinds.objects.type_address(object)?;
        Some(self.kinds.role_of(self.kinds.known(class)?))
    }

    /// The name of the function at `address`.
    fn function(&self, address: u64) -> String {
        let objects = self.kinds.objects;
        let offset = if objects.offsets.minor <= 9 { 0x68 } else { 0x28 };
        let name = self.memory.u64(address.saturating_add(offset)).ok().and_then(|name| objects.text(name));
        name.unwrap_or_else(|| "a function".to_owned())
    }

    /// The key that the dict at `dict` has for `value`, or what a module's dict has for what holds
    /// it.
    fn key_of(&self, dict: u64, value: u64) -> Option<String> {
        let objects = self.kinds.objects;
        let mut found = None;
        objects.entries(dict, MOST_ENTRIES, |key, held| {
            if held == value {
                found = objects.text(key);
            }
            found.is_none()
        });
        found
    }

    /// A type with its length, if it has one.
    pub(crate) fn sized(&self, address: u64, kind: u32) -> String {
        let name = self.kinds.name_of(kind);
        match self.kinds.length(kind, address) {
            Some(length) => format!("{name} of {length}"),
            None => name.to_owned(),
        }
    }
}

/// Whether a file is one of Python's own library, which has no cause in it.
fn is_of_the_library(file: &str) -> bool {
    let outside = file.contains("/site-packages/") || file.contains("/dist-packages/");
    file.starts_with("<frozen") || file.contains("/lib/python3") && !outside
}
