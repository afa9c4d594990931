//! Which library a stack belongs to, and what is known of the memory that it took.

use crate::file::{Library, Memory, Owner};
use crate::prefixes::Prefixes;
use offheap_model::{Frame, FrameKind};
use std::collections::HashSet;

/// Of a name that many bytes are looked at: names come from the files and processes of others.
const LONGEST_NAME: usize = 2_048;
/// Of a stack that many frames are looked at, from the innermost outwards.
const MOST_FRAMES: usize = 1_024;
/// How the JVM's own library is called: its frames need not name it.
const LIBJVM: &str = "libjvm.so";

/// What a pattern stands for: a library, and which of its kinds of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    library: usize,
    memory: Option<usize>,
    /// Whether the pattern is how a name starts, and not all of it.
    is_start: bool,
}

/// All that is known, ready to be asked.
#[derive(Debug)]
pub struct Knowledge {
    libraries: Vec<Library>,
    java: Prefixes<Known>,
    functions: Prefixes<Known>,
    python: Prefixes<Known>,
    files: Prefixes<Known>,
    /// Start and end of a file name.
    files_between: Vec<(String, String, Known)>,
    allocators: HashSet<String>,
    allocator_starts: Prefixes<()>,
}

/// Who is to answer for memory, and what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The library.
    pub library: &'a Library,
    /// The kind of memory.
    pub memory: &'a Memory,
    /// The frame, counted from the innermost, that says so.
    pub frame: usize,
}

impl Answer<'_> {
    /// What to do, in sentences that start with the library's name: what gives it back with the
    /// code to write, then what bounds it.
    pub fn advice(&self) -> Vec<String> {
        let (name, memory) = (&self.library.name, self.memory);
        let mut first = format!("{name}: {}", memory.gives_back);
        if !memory.write.is_empty() {
            first.push_str(&format!("; write: {}", memory.write));
        }
        let bound = Some(&memory.bound).filter(|bound| !bound.is_empty());
        std::iter::once(first).chain(bound.map(|bound| format!("{name}: it is bounded by {bound}"))).collect()
    }

    /// Whether whoever called the function has to give it back, and not an object or a library.
    pub fn is_the_callers(&self) -> bool {
        self.memory.owner == Owner::Caller
    }
}

impl Knowledge {
    /// What these libraries' files say; where two have the same pattern, the later counts.
    pub fn of(libraries: Vec<Library>) -> Knowledge {
        let (mut java, mut functions, mut python, mut files) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut allocators, mut starts, mut files_between) = (HashSet::new(), Vec::new(), Vec::new());
        for (index, library) in libraries.iter().enumerate() {
            let recognised = &library.recognised;
            for pattern in &recognised.files {
                let known = Known { library: index, memory: None, is_start: true };
                match pattern.split_once('*') {
                    Some((start, end)) => files_between.push((start.to_owned(), end.to_owned(), known)),
                    None => files.push((pattern.clone(), known)),
                }
            }
            for pattern in &recognised.allocators {
                match pattern.strip_suffix('*') {
                    Some(start) => starts.push((start.to_owned(), ())),
                    None => _ = allocators.insert(pattern.clone()),
                }
            }
            let own = (&recognised.java, &recognised.functions, &recognised.python, None);
            let entries = library.memory.iter().enumerate();
            let entries =
                entries.map(|(at, memory)| (&memory.java, &memory.functions, &memory.python, Some(at)));
            for (in_java, in_functions, in_python, memory) in std::iter::once(own).chain(entries) {
                let known = Known { library: index, memory, is_start: true };
                let named = |list: &[String]| list.iter().map(|p| (p.clone(), known)).collect::<Vec<_>>();
                functions.extend(in_java.iter().map(|pattern| (native_name(pattern), known)));
                functions.extend(in_functions.iter().map(|pattern| {
                    let (start, is_start) = start_of(pattern);
                    (start.to_owned(), Known { is_start, ..known })
                }));
                java.extend(named(in_java));
                let whole = Known { is_start: false, ..known };
                python.extend(in_python.iter().map(|pattern| (pattern.clone(), whole)));
            }
        }
        files_between.reverse();
        Knowledge {
            libraries,
            java: Prefixes::of(java),
            functions: Prefixes::of(functions),
            python: Prefixes::of(python),
            files: Prefixes::of(files),
            files_between,
            allocators,
            allocator_starts: Prefixes::of(starts),
        }
    }

    /// The libraries, in the order of their files.
    pub fn libraries(&self) -> &[Library] {
        &self.libraries
    }

    /// Who is to answer for what a stack, innermost frame first, has allocated.
    ///
    /// From the innermost frame outwards, the first that is known decides. What only passes calls
    /// through answers for its own functions; where the memory is the caller's, the caller answers
    /// if it is known; and beyond the first method of a program that nobody knows, nobody does.
    pub fn answer(&self, frames: &[Frame]) -> Option<Answer<'_>> {
        let frames = frames.get(..MOST_FRAMES).unwrap_or(frames);
        // A label in brackets stands for how memory was taken.
        let is_end = |frame: &Frame| frame.name.starts_with('[') || self.is_allocator(&frame.name);
        let allocator = frames.iter().position(|frame| !is_end(frame));
        let mut callers: Option<Answer<'_>> = None;
        for (at, frame) in frames.iter().enumerate().skip(allocator?) {
            if is_end(frame) {
                continue;
            }
            let Some(known) = self.known(frame) else {
                // A native function that nobody knows has called what the caller must give back.
                let is_caller = callers.is_some() && frame.kind == FrameKind::Native;
                if is_caller || is_of_a_program(frame) {
                    break;
                }
                continue;
            };
            let found = self.answer_at(frames, at, known, Some(at) == allocator);
            // What a bridge's callers get of it is what it got of the function that it called.
            let is_new = |found: &Answer<'_>| {
                let is_other = |callers: Answer<'_>| !std::ptr::eq(callers.library, found.library);
                (found.memory.has_patterns() || callers.is_none_or(is_other))
                    && !(callers.is_some() && found.library.passes_through && found.is_the_callers())
            };
            let Some(found) = found.filter(is_new) else {
                continue;
            };
            if !found.is_the_callers() {
                return Some(found);
            }
            callers = Some(found);
        }
        callers
    }

    /// What the library of a frame says of the stack: the entry that the frame names, else the next
    /// that one of its frames names, else what holds for all the rest of it.
    fn answer_at(&self, frames: &[Frame], at: usize, known: Known, is_first: bool) -> Option<Answer<'_>> {
        let library = self.libraries.get(known.library)?;
        let answer =
            |memory: usize, frame| Some(Answer { library, memory: library.memory.get(memory)?, frame });
        if let Some(memory) = known.memory {
            return answer(memory, at);
        }
        let rest = library.memory.iter().position(|memory| !memory.has_patterns())?;
        if library.passes_through && !is_first {
            return None;
        }
        for (further, frame) in frames.iter().enumerate().skip(at + 1) {
            match self.known(frame) {
                Some(Known { library, memory: Some(memory), .. }) if library == known.library => {
                    return answer(memory, further);
                }
                None if is_of_a_program(frame) => break,
                _ => {}
            }
        }
        answer(rest, at)
    }

    /// Whether a frame is a known library's.
    pub fn recognises(&self, frame: &Frame) -> bool {
        self.known(frame).is_some()
    }

    /// The library of a frame.
    pub fn library_of(&self, frame: &Frame) -> Option<&Library> {
        self.known(frame).and_then(|known| self.libraries.get(known.library))
    }

    /// Whether a frame is of what only passes calls through.
    pub fn passes_through(&self, frame: &Frame) -> bool {
        self.library_of(frame).is_some_and(|library| library.passes_through)
    }

    /// Whether a function hands out memory for whoever asks: every stack ends in such.
    pub fn is_allocator(&self, name: &str) -> bool {
        self.allocators.contains(name) || self.allocator_starts.longest(name).is_some()
    }

    /// What the longest pattern that a frame matches stands for.
    fn known(&self, frame: &Frame) -> Option<Known> {
        let name = cut(&frame.name);
        match frame.kind {
            FrameKind::Java => self.java.longest(name).map(|(_, known)| known),
            FrameKind::Python => {
                let module = python_module(frame.file.as_deref()?)?;
                self.in_python(&format!("{module}.{name}"))
            }
            FrameKind::Native | FrameKind::Jvm => {
                let file = file_name(frame);
                let by_file =
                    self.by_file(file).or_else(|| self.in_python(&python_module(frame.module.as_deref()?)?));
                let here = |known: &Known| {
                    let only_in =
                        self.libraries.get(known.library).map(|library| &library.recognised.only_in);
                    only_in.is_none_or(|only| {
                        only.is_empty() || only.iter().any(|start| file.starts_with(start))
                    })
                };
                let names = name_starts(name).filter_map(|at| {
                    let name = name.get(at..)?;
                    let ends = |length| !name.as_bytes().get(length).copied().is_some_and(is_of_word);
                    self.functions.longest_that(name, |length, known: Known| {
                        (known.is_start || ends(length)) && here(&known)
                    })
                });
                let by_name = names.max_by_key(|(length, _)| *length).map(|(_, known)| known);
                match (by_name, by_file) {
                    // Whose file it is says more than how a function is called, save for an entry.
                    (Some(Known { memory: None, .. }) | None, Some(file)) => Some(file),
                    (by_name, _) => by_name,
                }
            }
        }
    }

    /// By the longest pattern that a Python name starts with, whole words of it.
    fn in_python(&self, name: &str) -> Option<Known> {
        let ends = |length| name.as_bytes().get(length).is_none_or(|byte| *byte == b'.');
        self.python.longest_that(name, |length, _| ends(length)).map(|(_, known)| known)
    }

    fn by_file(&self, file: &str) -> Option<Known> {
        let between = self.files_between.iter();
        let mut between = between.filter(|(start, end, _)| {
            file.len() >= start.len() + end.len()
                && file.starts_with(start.as_str())
                && file.ends_with(end.as_str())
        });
        let parts = word_starts(file).filter_map(|at| self.files.longest(file.get(at..)?));
        let longest = parts.max_by_key(|(length, _)| *length).map(|(_, known)| known);
        longest.or_else(|| between.next().map(|(.., known)| *known))
    }
}

/// The library that a native frame is in.
fn file_name(frame: &Frame) -> &str {
    match (frame.file_name(), frame.kind) {
        ("", FrameKind::Jvm) => LIBJVM,
        (file, _) => cut(file),
    }
}

/// Whether a frame is of a program's own code, if nobody knows it. Native code may be of any
/// library; Python's own modules are not the program's.
fn is_of_a_program(frame: &Frame) -> bool {
    match frame.kind {
        FrameKind::Java => true,
        FrameKind::Python => {
            let file = frame.file.as_deref().unwrap_or_default();
            !file.starts_with('<') && (!file.contains("/lib/python3") || file.contains("-packages/"))
        }
        FrameKind::Native | FrameKind::Jvm => false,
    }
}

/// What a name starts with that a pattern of functions matches, and whether more may follow.
fn start_of(pattern: &str) -> (&str, bool) {
    match pattern.strip_suffix('*') {
        Some(start) => (start, true),
        None => (pattern, pattern.ends_with([':', '_'])),
    }
}

/// How JNI calls native methods whose Java name starts with `pattern` (JNI specification, chapter
/// 2, "Resolving Native Method Names").
fn native_name(pattern: &str) -> String {
    let mut name = String::from("Java_");
    for c in pattern.chars() {
        match c {
            '.' | '/' => name.push('_'),
            '_' => name.push_str("_1"),
            '$' => name.push_str("_00024"),
            c => name.push(c),
        }
    }
    name
}

/// The Python module of a file: `…/site-packages/numpy/lib/npyio.py` is `numpy.lib.npyio`, and an
/// extension's `…/numpy/linalg/_umath_linalg.cpython-311-x86_64-linux-gnu.so` is
/// `numpy.linalg._umath_linalg`.
fn python_module(file: &str) -> Option<String> {
    let file = cut(file);
    let module = match file.rsplit_once("-packages/") {
        Some((_, module)) => module,
        None => file.split_once("/lib/python3").and_then(|(_, rest)| rest.split_once('/'))?.1,
    };
    let module = module.strip_prefix("lib-dynload/").unwrap_or(module);
    let (folder, name) = module.rsplit_once('/').unwrap_or(("", module));
    let name = name.split('.').next().unwrap_or(name);
    let parts = folder.split('/').chain([name]).filter(|part| !part.is_empty() && *part != "__init__");
    Some(parts.collect::<Vec<_>>().join("."))
}

/// The start of a name that is looked at.
fn cut(name: &str) -> &str {
    name.get(..name.floor_char_boundary(LONGEST_NAME)).unwrap_or(name)
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where words of a file name start: `libx` in `snappy-1.1-libx.so`. An underscore parts words and
/// may start one.
fn word_starts(file: &str) -> impl Iterator<Item = usize> {
    let bytes = file.as_bytes();
    (0..bytes.len()).filter(move |&at| match at.checked_sub(1).and_then(|before| bytes.get(before)) {
        Some(before) => !before.is_ascii_alphanumeric(),
        None => true,
    })
}

/// Where the function's name may start in `void a::f<b::C>(d::E)`: at a word that is not inside of
/// a namespace, of template arguments or of parameters.
fn name_starts(name: &str) -> impl Iterator<Item = usize> {
    let bytes = name.as_bytes();
    // Rust's `<T as Trait>::f`: what the first bracket holds is whose the function is.
    let mut depth = if name.starts_with('<') { -1i32 } else { 0 };
    let mut before = b' ';
    bytes.iter().enumerate().filter_map(move |(at, &byte)| {
        let last = std::mem::replace(&mut before, byte);
        match byte {
            b'<' | b'(' => depth += 1,
            b'>' if last == b'-' => {}
            b'>' | b')' => depth = (depth - 1).max(0),
            _ if depth <= 0 && is_of_word(byte) && !is_of_word(last) && last != b':' => return Some(at),
            _ => {}
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::{name_starts, native_name, word_starts};

    #[test]
    fn native_methods_are_named_as_jni_says() {
        assert_eq!(native_name("org.a_b.C$D."), "Java_org_a_1b_C_00024D_");
    }

    #[test]
    fn names_start_outside_of_brackets_and_namespaces() {
        let starts = |name: &'static str| name_starts(name).map(|at| &name[at..]).collect::<Vec<_>>();
        assert_eq!(starts("f"), ["f"]);
        assert_eq!(starts("void a::f<b::C>(d::E)"), ["void a::f<b::C>(d::E)", "a::f<b::C>(d::E)"]);
        assert_eq!(starts("<a::B as c::D>::f"), ["a::B as c::D>::f", "as c::D>::f", "c::D>::f"]);
        assert!(starts("a->b(c) const").contains(&"a->b(c) const"));
        for hostile in ["", ">>>>", "<<<<", "((((", "->->", "::::", "\u{1F980}\u{1F980}"] {
            assert!(starts(hostile).is_empty(), "{hostile}");
        }
    }

    #[test]
    fn words_of_a_file_name() {
        let starts = |file: &'static str| word_starts(file).map(|at| &file[at..]).collect::<Vec<_>>();
        assert_eq!(starts("x-1_libz.so"), ["x-1_libz.so", "1_libz.so", "libz.so", "so"]);
        assert_eq!(starts("_jpype.so"), ["_jpype.so", "jpype.so", "so"]);
    }
}
