//! Python code that speaks of a name: functions that use a container, or make objects of a class.

use crate::kinds::Role;
use crate::names::Names;
use offheap_linux::Reads;

/// A function, by its code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Code {
    /// `"Cart.add"`; before 3.11 without its class.
    pub function: String,
    /// The file it was compiled from.
    pub file: String,
    /// The line where it starts.
    pub line: u32,
}

/// Variables of a module that are looked through, and of a class.
const MOST_ENTRIES: u64 = 1 << 12;
/// Names and constants of one function that are looked through.
const MOST_NAMES: u64 = 1 << 10;
/// Functions inside of functions that are looked into.
const MOST_DEPTH: u32 = 3;
/// Variables and functions that are looked at for one name; where a program has more, none says who
/// it is.
const MOST_LOOKS: u32 = 50_000;
/// Of more functions than this none says who it is.
pub(crate) const MOST_USERS: usize = 4;
/// What the methods are called by which containers grow.
const GROWS: [&str; 12] = [
    "append",
    "appendleft",
    "add",
    "insert",
    "extend",
    "extendleft",
    "setdefault",
    "update",
    "put",
    "put_nowait",
    "push",
    "register",
];

/// What a function's code was found to do with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It calls a method by which containers grow, too.
    Grows,
    Speaks,
}

/// A search for the code that speaks of a name.
struct About<'a> {
    /// Of the module that is searched.
    globals: u64,
    name: &'a str,
    /// Variables and functions that may still be looked at.
    left: u32,
    found: Vec<(Use, Code)>,
}

impl Names<'_, '_> {
    /// Functions of the module with these globals, and of its classes, that speak of `name`; of
    /// several the ones that call a method by which containers grow, where some do. Empty where
    /// they are too many to say anything.
    pub(crate) fn code_about(&self, globals: u64, name: &str) -> Vec<Code> {
        let mut about = About { globals, name, left: MOST_LOOKS, found: Vec::new() };
        let objects = self.kinds.objects;
        objects.entries(globals, MOST_ENTRIES, |_, value| {
            self.code_in(value, 0, &mut about);
            about.left > 0
        });
        if about.left == 0 {
            return Vec::new();
        }
        let mut found = about.found;
        if found.iter().any(|(does, _)| *does == Use::Grows) {
            found.retain(|(does, _)| *does == Use::Grows);
        }
        let mut code: Vec<Code> = found.into_iter().map(|(_, code)| code).collect();
        code.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        code.dedup();
        if code.len() > MOST_USERS { Vec::new() } else { code }
    }

    /// The globals of the module that a class was written in, by a method of it.
    pub(crate) fn globals_of_class(&self, class: u64) -> Option<u64> {
        let dict = self.memory.u64(class.checked_add(crate::objects::TP_DICT)?).ok()?;
        let mut globals = None;
        self.kinds.objects.entries(dict, MOST_ENTRIES, |_, value| {
            globals = self.function_in(value).and_then(|function| self.globals_of(function));
            globals.is_none()
        });
        globals
    }

    /// The function `object` is, or wraps: a cache, a class or static method, a property.
    fn function_in(&self, object: u64) -> Option<u64> {
        let word = |at: u64| self.memory.u64(object.checked_add(at)?).ok();
        match self.role_at(object)? {
            Role::Function => Some(object),
            Role::LruCache => word(0x58).filter(|at| self.role_at(*at) == Some(Role::Function)),
            Role::Other => {
                let name = self.kinds.objects.type_of(object)?.name;
                let wraps = matches!(name.as_str(), "staticmethod" | "classmethod" | "property");
                word(0x10).filter(|at| wraps && self.role_at(*at) == Some(Role::Function))
            }
            _ => None,
        }
    }

    fn code_in(&self, value: u64, depth: u32, about: &mut About<'_>) {
        about.left = about.left.saturating_sub(1);
        if let Some(function) = self.function_in(value) {
            // What was imported is another module's.
            if self.globals_of(function) == Some(about.globals)
                && let Some(code) = self.code_of(function)
            {
                self.code_speaks(code, 0, about);
            }
        } else if depth == 0 && self.role_at(value) == Some(Role::Class) {
            let Ok(dict) = self.memory.u64(value.saturating_add(crate::objects::TP_DICT)) else { return };
            self.kinds.objects.entries(dict, MOST_ENTRIES, |_, method| {
                self.code_in(method, depth + 1, about);
                about.left > 0
            });
        }
    }

    /// The code of a function object.
    pub(crate) fn code_of(&self, function: u64) -> Option<u64> {
        let at = if self.kinds.objects.offsets.minor <= 9 { 0x10 } else { 0x30 };
        self.memory.u64(function.checked_add(at)?).ok()
    }

    fn globals_of(&self, function: u64) -> Option<u64> {
        let at = if self.kinds.objects.offsets.minor <= 9 { 0x18 } else { 0x10 };
        self.memory.u64(function.checked_add(at)?).ok()
    }

    /// Adds the code at `code`, or code inside of it, if it speaks of `name` (`co_names`, and
    /// `co_consts` for what is inside).
    fn code_speaks(&self, code: u64, depth: u32, about: &mut About<'_>) {
        let objects = self.kinds.objects;
        if about.left == 0 || !objects.is_a(code, "code") {
            return;
        }
        about.left -= 1;
        let (consts, names) = if objects.offsets.minor <= 10 { (0x38, 0x40) } else { (0x18, 0x20) };
        let (mut speaks, mut grows) = (false, false);
        self.each_of_tuple(code, names, |item| {
            let text = objects.text(item);
            speaks |= text.as_deref() == Some(about.name);
            grows |= text.is_some_and(|text| GROWS.contains(&text.as_str()));
        });
        if speaks && let Some(code) = self.described(code) {
            about.found.push((if grows { Use::Grows } else { Use::Speaks }, code));
        }
        if depth < MOST_DEPTH {
            self.each_of_tuple(code, consts, |item| self.code_speaks(item, depth + 1, about));
        }
    }

    fn each_of_tuple(&self, code: u64, field: u64, mut see: impl FnMut(u64)) {
        let objects = self.kinds.objects;
        let word = |at: u64| self.memory.u64(at).ok();
        let Some(tuple) = code.checked_add(field).and_then(word).filter(|at| objects.is_a(*at, "tuple"))
        else {
            return;
        };
        let length = tuple.checked_add(0x10).and_then(word).unwrap_or(0).min(MOST_NAMES);
        let items = tuple.saturating_add(objects.offsets.tuple_items);
        for number in 0..length {
            let Some(item) = items.checked_add(8 * number).and_then(word) else { return };
            see(item);
        }
    }

    /// What the code at `code` is called and where it stands.
    pub(crate) fn described(&self, code: u64) -> Option<Code> {
        let objects = self.kinds.objects;
        let offsets = objects.offsets;
        let field = |at: u64| self.memory.u64(code.checked_add(at)?).ok();
        Some(Code {
            function: objects.text(field(offsets.code_name)?)?,
            file: objects.text(field(offsets.code_filename)?).unwrap_or_default(),
            line: field(offsets.code_first_line)? as u32,
        })
    }
}
