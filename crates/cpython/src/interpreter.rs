//! Finding an interpreter and telling its version.

use crate::census::{self, Census, Counting, Look};
use crate::objects::Objects;
use crate::offsets::{COOKIE, DEBUG_BYTES, Offsets};
use crate::pymalloc::{Arenas, Geometry, Pymalloc};
use crate::stacks::{self, SubInterpreter};
use crate::words::Words;
use offheap_linux::Live;
use offheap_target::{Elf, PageKind, Reads, Target, Vma, image_of, page_bytes};
use std::cell::RefCell;

/// Text searched for the version at the most.
const MOST_TEXT: u64 = 8 << 20;

/// A CPython interpreter in a process.
#[derive(Debug)]
pub struct Interpreter {
    version: String,
    main: bool,
    path: String,
    pub(crate) arenas: RefCell<Arenas>,
    inside: Result<Inside, String>,
}

/// What leads to its objects.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inside {
    /// Address of `_PyRuntime`.
    runtime: u64,
    /// Address of `PyType_Type`.
    type_type: u64,
    offsets: Offsets,
}

impl Interpreter {
    /// Finds a CPython interpreter in the process behind `memory`: `None` where there is none.
    pub fn open(memory: &dyn Target) -> Option<Interpreter> {
        let module = module(memory.vmas())?;
        let wanted =
            |name: &str| matches!(name, "Py_Version" | "Py_GetVersion" | "PyType_Type" | "_PyRuntime");
        let elf = memory.elf_at_wanted(module.start, wanted)?;
        elf.symbol("PyType_Type").or(elf.symbol("Py_GetVersion"))?;
        let is_python = |path: &str| file_of(path).starts_with("python");
        let main = is_python(&module.path) || memory.exe().is_some_and(|exe| is_python(&exe));
        let (major, minor) = numbers(file_of(&module.path));
        let version = exported_version(memory, &elf, module)
            .or_else(|| version_in_text(memory, &elf, module, major, minor))
            .unwrap_or_else(|| minor.map_or(major.to_string(), |minor| format!("{major}.{minor}")));
        let inside = inside(memory, &elf, module, &version);
        Some(Interpreter { version, main, path: module.path.clone(), arenas: RefCell::default(), inside })
    }

    /// Its interpreters with their threads and stacks. `memory` is fresh, as for
    /// [`Interpreter::view`].
    ///
    /// # Errors
    /// Why they can't be read, a sentence.
    pub fn interpreters(&self, memory: &Live) -> Result<Vec<SubInterpreter>, String> {
        let inside = self.inside.clone()?;
        let found = stacks::interpreters(&inside.objects(memory), inside.runtime);
        if found.is_empty() {
            return Err("The interpreter is not initialised, or has ended.".to_owned());
        }
        Ok(found)
    }

    /// Counts its objects by type: `None` for what was not found. `memory` is fresh, as for
    /// [`Interpreter::view`].
    ///
    /// # Errors
    /// Why they can't be counted, a sentence.
    pub fn census(&self, memory: &Live, mut look: Look<'_>) -> Result<Census, String> {
        let (objects, view, geometry) = self.ready(memory)?;
        let mut kinds = census::kinds(&objects, &view);
        let mut counting = Counting::new(&mut kinds);
        counting.run(memory, &view, geometry, &mut look, None);
        Ok(counting.finish())
    }

    /// What a look at all objects begins with.
    pub(crate) fn ready<'a>(&self, memory: &'a Live) -> Result<(Objects<'a>, Pymalloc, Geometry), String> {
        let inside = self.inside.clone()?;
        if inside.offsets.free_threaded {
            return Err(
                "It is a build without the GIL, whose objects lie in mimalloc's heaps: those are not read \
                        yet. Its threads and stacks are."
                    .to_owned(),
            );
        }
        let view = self.view(memory);
        let geometry = self.arenas.borrow().geometry();
        let geometry = geometry.ok_or_else(|| view.doubts.first().cloned().unwrap_or_default())?;
        Ok((inside.objects(memory), view, geometry))
    }

    /// `"3.11.2"`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// True where the interpreter is what the process runs, false where it is embedded.
    pub fn is_main(&self) -> bool {
        self.main
    }

    /// The file the interpreter is in.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Looks at its arenas as they are now. `memory` is fresh: opened, or told to forget, right
    /// before.
    pub fn view(&self, memory: &dyn Target) -> Pymalloc {
        self.arenas.borrow_mut().view(memory, &self.path)
    }
}

impl Inside {
    pub(crate) fn objects<'a>(&self, words: &'a dyn Words) -> Objects<'a> {
        Objects::new(words, self.offsets, self.type_type)
    }
}

/// Finds the runtime's state and how it is laid out.
fn inside(memory: &dyn Target, elf: &Elf, module: &Vma, version: &str) -> Result<Inside, String> {
    let bias = elf.load_bias(module.start);
    let address = |name: &str| Some(bias.wrapping_add(elf.symbol(name)?.address));
    let runtime = address("_PyRuntime");
    let (runtime, offsets) = match runtime.or_else(|| with_cookie(memory, &module.path)) {
        None => {
            return Err("Its _PyRuntime was not found: neither a symbol nor its cookie is there.".to_owned());
        }
        Some(at) => {
            let named = memory.bytes(at, DEBUG_BYTES).and_then(|bytes| Offsets::named(&bytes));
            let minor = version.split('.').nth(1).and_then(|minor| minor.parse().ok());
            // A wrong guess would read other fields: only the releases that were looked at.
            (at, named.or_else(|| Offsets::of(minor?)))
        }
    };
    let offsets = offsets.ok_or_else(|| {
        format!("CPython {version} is laid out in a way that is not known here (3.8 to 3.14 are).")
    })?;
    let type_type = address("PyType_Type").ok_or("It exports no PyType_Type.")?;
    Ok(Inside { runtime, type_type, offsets })
}

/// Looks for the cookie of `_Py_DebugOffsets` in the data of the file `path`, and in what it has
/// behind that in memory.
fn with_cookie(memory: &dyn Target, path: &str) -> Option<u64> {
    let mut behind = None;
    for vma in memory.vmas() {
        let is_data = vma.path == path || vma.path.is_empty() && behind == Some(vma.start);
        if !is_data {
            continue;
        }
        behind = Some(vma.end);
        if !vma.write {
            continue;
        }
        let mut left = MOST_TEXT;
        for run in memory.runs(vma.start, vma.end) {
            let len = (run.end - run.start).min(left);
            if run.kind != PageKind::Present {
                continue;
            }
            left -= len;
            let mut bytes = vec![0; len as usize];
            let got = memory.read_bulk(run.start, &mut bytes);
            if let Some(word) = bytes[..got].chunks_exact(8).position(|word| word == COOKIE) {
                return Some(run.start + 8 * word as u64);
            }
        }
    }
    None
}

/// The first mapping of libpython, or of an executable that has the interpreter in it.
fn module(vmas: &[Vma]) -> Option<&Vma> {
    let named = |start: &str| {
        image_of(vmas, |vma| {
            let file = file_of(&vma.path);
            // libpython3.so only leads to the real one.
            vma.path.starts_with('/')
                && file.starts_with(start)
                && file != "libpython3.so"
                && !file.contains(".zip")
        })
    };
    named("libpython").or_else(|| {
        named("python").filter(|vma| vmas.iter().any(|other| other.path == vma.path && other.exec))
    })
}

fn file_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Major and minor of "libpython3.11.so.1.0" or "python3.11"; plain "python" is taken for 3.
fn numbers(file: &str) -> (u32, Option<u32>) {
    let digits = file.trim_start_matches("lib").trim_start_matches("python");
    let mut parts = digits.split(|c: char| !c.is_ascii_digit());
    let major = parts.next().and_then(|part| part.parse().ok()).unwrap_or(3);
    (major, parts.next().and_then(|part| part.parse().ok()))
}

/// `Py_Version` (from 3.11): `PY_VERSION_HEX`.
fn exported_version(memory: &dyn Target, elf: &Elf, module: &Vma) -> Option<String> {
    let address = elf.load_bias(module.start).wrapping_add(elf.symbol("Py_Version")?.address);
    let hex = memory.u64(address).ok()?;
    let [micro, minor, major] = [hex >> 8 & 0xff, hex >> 16 & 0xff, hex >> 24 & 0xff];
    let (level, serial) = (hex >> 4 & 0xf, hex & 0xf);
    let suffix = match level {
        0xa => format!("a{serial}"),
        0xb => format!("b{serial}"),
        0xc => format!("rc{serial}"),
        _ => String::new(),
    };
    (2..=9).contains(&major).then(|| format!("{major}.{minor}.{micro}{suffix}"))
}

/// `PY_VERSION`, "3.10.13", stands alone or ends a longer text: compilers keep one copy of both.
fn version_in_text(
    memory: &dyn Target,
    elf: &Elf,
    module: &Vma,
    major: u32,
    minor: Option<u32>,
) -> Option<String> {
    let (start, len) = elf.section(".rodata")?;
    let start = elf.load_bias(module.start).checked_add(start)?;
    let end = start.checked_add(len.min(MOST_TEXT))?;
    let begins = minor.map_or(format!("{major}."), |minor| format!("{major}.{minor}."));
    let mut bytes = Vec::new();
    let mut at = start;
    while at < end {
        let mut page = vec![0; (page_bytes() - at % page_bytes()).min(end - at) as usize];
        // A page that can't be read holds no text.
        let _ = memory.read(at, &mut page);
        at += page.len() as u64;
        bytes.extend_from_slice(&page);
    }
    let texts = bytes.split(|byte| *byte == 0).filter_map(|text| std::str::from_utf8(text).ok());
    texts
        .filter_map(|text| text.rsplit(|c: char| !c.is_ascii_alphanumeric() && !".+".contains(c)).next())
        .filter(|text| text.len() < 16 && text.starts_with(&begins))
        .find(|text| {
            let micro = &text[begins.len()..];
            micro.starts_with(|c: char| c.is_ascii_digit())
                && micro.chars().all(|c| c.is_ascii_alphanumeric() || c == '+')
        })
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_from_the_files_name() {
        assert_eq!(numbers("libpython3.11.so.1.0"), (3, Some(11)));
        assert_eq!(numbers("python3.8"), (3, Some(8)));
        assert_eq!(numbers("python"), (3, None));
        assert_eq!(numbers("libpython2.7.so.1.0"), (2, Some(7)));
    }
}
