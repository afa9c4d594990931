//! A file of knowledge: its schema, and what is checked of it.

use serde::{Deserialize, Serialize};

/// A file may have this many bytes; the largest bundled one has 8 KB.
pub const LIMIT_BYTES: usize = 1 << 20;
/// A file may have this many entries.
const MOST_ENTRIES: usize = 1_000;
/// A list may have this many members.
const MOST_IN_LIST: usize = 1_000;
/// Bytes of a sentence at most.
const LONGEST_TEXT: usize = 600;
/// Bytes of a pattern: a shorter one would match by chance.
const PATTERN: std::ops::RangeInclusive<usize> = 3..=200;

/// A library, a part of a runtime, or a family of functions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Library {
    /// What people call it.
    pub name: String,
    /// What it is, in a sentence.
    pub about: String,
    /// True for what only calls other people's code: it is to answer for what its own functions
    /// allocate, and not for what they call.
    #[serde(default)]
    pub passes_through: bool,
    /// Where its makers describe it.
    #[serde(default)]
    pub links: Vec<String>,
    /// How its frames are recognised.
    #[serde(default)]
    pub recognised: Recognised,
    /// What it allocates. Where none of the entries with patterns is in a stack, the one without
    /// holds; a library has one such at most.
    pub memory: Vec<Memory>,
}

/// What tells a library's frames from others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recognised {
    /// How names of its Java methods start, with the package: `org.rocksdb.`. Its native methods
    /// (`Java_org_rocksdb_…`) follow from them.
    #[serde(default)]
    pub java: Vec<String>,
    /// Parts of its native libraries' file names, from the start of a word; or start and end, with
    /// `*` between.
    #[serde(default)]
    pub files: Vec<String>,
    /// Its Python modules: `numpy`, `google.protobuf`.
    #[serde(default)]
    pub python: Vec<String>,
    /// Its native functions, C++ with the namespace: whole names, or starts, which end with `::`,
    /// `_` or `*`: `rocksdb::`, `inflateInit*`.
    #[serde(default)]
    pub functions: Vec<String>,
    /// Functions that hand out memory for whoever asks: never the answer, only the end of every
    /// stack. Whole names, or starts followed by `*`.
    #[serde(default)]
    pub allocators: Vec<String>,
    /// How the file names start outside of which functions of these names are somebody else's.
    #[serde(default)]
    pub only_in: Vec<String>,
}

/// One kind of memory: how it is recognised, whose it is, what gives it back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// How names of the Java methods start that take it: `java.util.zip.Inflater.`.
    #[serde(default)]
    pub java: Vec<String>,
    /// The native functions that take it: whole names, or starts as in [`Recognised::functions`].
    #[serde(default)]
    pub functions: Vec<String>,
    /// The Python functions that take it, with their module: `numpy.load`.
    #[serde(default)]
    pub python: Vec<String>,
    /// What is allocated.
    pub what: String,
    /// Whose it is.
    pub owner: Owner,
    /// What gives it back: the exact call.
    pub gives_back: String,
    /// What to write, a line of code.
    #[serde(default)]
    pub write: String,
    /// What bounds it: a flag, a method, a property.
    #[serde(default)]
    pub bound: String,
    /// Where that is described.
    #[serde(default)]
    pub links: Vec<String>,
}

/// Who has memory given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum Owner {
    /// Whoever called the function.
    #[serde(rename = "caller")]
    Caller,
    /// A Java object, which is closed.
    #[serde(rename = "java object")]
    JavaObject,
    /// A Python object, which is dropped or closed.
    #[serde(rename = "python object")]
    PythonObject,
    /// The library: a cache, a pool.
    #[serde(rename = "library")]
    Library,
    /// The JVM.
    #[serde(rename = "jvm")]
    Jvm,
    /// A thread: it goes when the thread ends.
    #[serde(rename = "thread")]
    Thread,
    /// The process: it stays until that ends.
    #[serde(rename = "process")]
    Process,
    /// A garbage collector: it goes with an object that nothing refers to.
    #[serde(rename = "collector")]
    Collector,
}

impl Owner {
    /// In words: whose it is.
    pub fn words(self) -> &'static str {
        match self {
            Owner::Caller => "the caller",
            Owner::JavaObject => "a Java object that is closed",
            Owner::PythonObject => "a Python object",
            Owner::Library => "the library",
            Owner::Jvm => "the JVM",
            Owner::Thread => "the thread",
            Owner::Process => "the process",
            Owner::Collector => "an object that the collector finds",
        }
    }
}

/// What is wrong with a file of knowledge, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Problem {
    /// The file and the line: `mine.toml:12`.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

impl Problem {
    /// Knowledge is in use already.
    pub(crate) fn late() -> Problem {
        Problem {
            place: "knowledge".to_owned(),
            what: "it is in use already: add files at the start".to_owned(),
        }
    }
}

impl Memory {
    /// Whether it is recognised by frames of its own, and not only by its library.
    pub fn has_patterns(&self) -> bool {
        !(self.java.is_empty() && self.functions.is_empty() && self.python.is_empty())
    }
}

impl Library {
    /// Reads a file; `name` is for messages.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, and the line.
    pub fn parse(name: &str, text: &str) -> Result<Library, Problem> {
        let problem = |line: Option<usize>, what: String| Problem {
            place: line.map_or_else(|| name.to_owned(), |line| format!("{name}:{line}")),
            what,
        };
        if text.len() > LIMIT_BYTES {
            return Err(problem(None, format!("it has more than {LIMIT_BYTES} bytes, which is the limit")));
        }
        let library: Library = toml::from_str(text).map_err(|error| {
            let line =
                error.span().map(|span| 1 + text.bytes().take(span.start).filter(|b| *b == b'\n').count());
            problem(line, error.message().trim().replace('\n', "; "))
        })?;
        match library.wrong() {
            None => Ok(library),
            Some((about, what)) => {
                let at = text.lines().position(|line| !about.is_empty() && line.contains(&about));
                Err(problem(at.map(|at| at + 1), what))
            }
        }
    }

    /// The first thing that the schema can't say and is wrong: a text to find its line by, and
    /// what is wrong.
    fn wrong(&self) -> Option<(String, String)> {
        let of = |about: &str, what: String| Some((about.to_owned(), what));
        if self.memory.is_empty() {
            return of("memory", "it has no [[memory]]: nothing to say".to_owned());
        }
        if self.memory.len() > MOST_ENTRIES {
            return of("", format!("it has more than {MOST_ENTRIES} entries"));
        }
        let texts = self.memory.iter().flat_map(|m| [&m.what, &m.gives_back]);
        for text in [&self.name, &self.about].into_iter().chain(texts) {
            if text.trim().is_empty() {
                return of("\"\"", "a sentence is empty".to_owned());
            }
        }
        let more = self.memory.iter().flat_map(|m| [&m.what, &m.gives_back, &m.write, &m.bound]);
        for text in [&self.name, &self.about].into_iter().chain(more) {
            if text.len() > LONGEST_TEXT || text.chars().any(char::is_control) {
                let start: String = text.chars().take_while(|c| !c.is_control()).take(40).collect();
                return of(
                    &start,
                    format!("a sentence has more than {LONGEST_TEXT} bytes, or several lines"),
                );
            }
        }
        for (list, patterns) in self.lists() {
            if patterns.len() > MOST_IN_LIST {
                return of(list, format!("`{list}` has more than {MOST_IN_LIST} members"));
            }
            for pattern in patterns {
                if let Some(what) = wrong_pattern(list, pattern) {
                    return of(pattern, format!("`{list}`: {pattern:?} {what}"));
                }
            }
        }
        for link in self.links.iter().chain(self.memory.iter().flat_map(|m| &m.links)) {
            let rest = link.strip_prefix("https://").unwrap_or_default();
            if rest.is_empty()
                || !rest.contains('.')
                || link.contains(char::is_whitespace)
                || link.len() > LONGEST_TEXT
            {
                return of(link, format!("`links`: {link:?} is no address that starts with https://"));
            }
        }
        let without = self.memory.iter().filter(|m| !m.has_patterns()).count();
        if without > 1 {
            return of(
                "[[memory]]",
                "two entries have no pattern: which is meant where neither is named?".to_owned(),
            );
        }
        let recognised = &self.recognised;
        let has_frames = [&recognised.java, &recognised.files, &recognised.python, &recognised.functions]
            .iter()
            .any(|list| !list.is_empty());
        if without == 1 && !has_frames {
            return of(
                "[[memory]]",
                "an entry has no pattern, and [recognised] none either: it is never found".to_owned(),
            );
        }
        None
    }

    /// All lists of patterns with their names.
    pub(crate) fn lists(&self) -> impl Iterator<Item = (&'static str, &Vec<String>)> {
        let recognised = &self.recognised;
        let own = [
            ("java", &recognised.java),
            ("files", &recognised.files),
            ("python", &recognised.python),
            ("functions", &recognised.functions),
            ("allocators", &recognised.allocators),
            ("only_in", &recognised.only_in),
        ];
        let entries = self
            .memory
            .iter()
            .flat_map(|m| [("java", &m.java), ("functions", &m.functions), ("python", &m.python)]);
        own.into_iter().chain(entries)
    }
}

/// What is wrong with a pattern of a list.
fn wrong_pattern(list: &str, pattern: &str) -> Option<&'static str> {
    // Python modules are matched as whole words.
    if !(PATTERN.contains(&pattern.len()) || list == "python" && pattern.len() == 2) {
        return Some("has less than 3 or more than 200 bytes");
    }
    if !pattern.is_ascii() || pattern.bytes().any(|b| b.is_ascii_control()) {
        return Some("has other than ASCII characters");
    }
    let stars = pattern.matches('*').count();
    match list {
        "only_in" if pattern.contains(['/', '*']) => Some("is how a file name starts"),
        "only_in" => None,
        "files" if stars > 1 || pattern.contains('/') => Some("is a part of a file name, with one * at most"),
        "files" => None,
        "allocators" if stars > 1 || stars == 1 && !pattern.ends_with('*') => {
            Some("may have a * at its end only")
        }
        "allocators" => None,
        "functions" if stars > 1 || stars == 1 && !pattern.ends_with('*') => {
            Some("may have a * at its end only")
        }
        _ if stars > 0 && list != "functions" => Some("has a *: a pattern is how a name starts"),
        "functions" if pattern.contains(['<', '(']) => {
            Some("has brackets: names are matched without their parameters")
        }
        "java" if !pattern.contains(['.', '$']) => Some("has no package"),
        _ => None,
    }
}
