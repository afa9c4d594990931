//! Frames of a live file with the names a person knows them by.

use offheap_linux::{Process, Vma};
use offheap_live::{FrameKind as Kind, Module, Reader, Stack};
use offheap_model::{Frame, FrameKind};
use offheap_symbols::{Place, Symbols, find};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// Symbols of libraries, read once each, and kept for when their process, and with it its file
/// system, is gone.
#[derive(Debug, Default)]
pub struct Libraries(RefCell<HashMap<Library, Option<Rc<Symbols>>>>);

/// What tells libraries apart: path, first address, build id.
type Library = (String, u64, Vec<u8>);

impl Libraries {
    /// The symbols of the module that is `wanted`; `vmas` are the mappings of the process.
    pub fn symbols(
        &self,
        process: Option<&Process>,
        vmas: &[Vma],
        wanted: offheap_symbols::Module<'_>,
    ) -> Option<Rc<Symbols>> {
        let key = (wanted.path.to_owned(), wanted.start, wanted.build_id.to_vec());
        if let Some(known) = self.0.borrow().get(&key) {
            return known.clone();
        }
        let symbols = find(process, vmas, wanted).map(Rc::new);
        self.0.borrow_mut().insert(key, symbols.clone());
        symbols
    }
}

/// Names frames.
pub struct Names<'a> {
    reader: Reader<'a>,
    process: Option<&'a Process>,
    vmas: Vec<Vma>,
    libraries: &'a Libraries,
    native: HashMap<(Option<u32>, u64), Vec<Frame>>,
}

impl<'a> Names<'a> {
    /// For the live file `reader` of `process`. Once that has ended, and where it is not known
    /// (`None`), the libraries are looked for in our own file system.
    pub fn new(reader: Reader<'a>, process: Option<&'a Process>, libraries: &'a Libraries) -> Self {
        let vmas = process.and_then(|process| process.maps().ok()).unwrap_or_default();
        Names { reader, process, vmas, libraries, native: HashMap::new() }
    }

    /// The frames of `stack`, innermost first; functions inlined into native ones are frames of
    /// their own, where DWARF tells of them.
    pub fn frames(&mut self, stack: &Stack<'_>) -> Vec<Frame> {
        stack.frames().flat_map(|frame| self.frame(&frame)).collect()
    }

    fn frame(&mut self, frame: &offheap_live::Frame<'_>) -> Vec<Frame> {
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let method = || {
            let class = text(frame.class).unwrap_or_else(|| "?".to_owned()).replace('/', ".");
            format!("{class}.{}", text(frame.name).as_deref().unwrap_or("?"))
        };
        let (name, kind) = match frame.kind {
            Kind::Interpreted | Kind::C1 | Kind::C2 | Kind::Inlined | Kind::JavaNative => {
                (method(), FrameKind::Java)
            }
            Kind::Stub => (format!("[{}]", text(frame.name).as_deref().unwrap_or("stub")), FrameKind::Jvm),
            // Not on the stack: what the compiler thread works on.
            Kind::Compiling => (format!("[compiling {}]", method()), FrameKind::Jvm),
            Kind::Python => (text(frame.name).unwrap_or_else(|| "?".to_owned()), FrameKind::Python),
            _ => return self.native(frame.pc, frame.module),
        };
        vec![Frame { name, kind, file: text(frame.file), line: frame.line, module: None }]
    }

    fn native(&mut self, pc: u64, module: Option<u32>) -> Vec<Frame> {
        if let Some(known) = self.native.get(&(module, pc)) {
            return known.clone();
        }
        let frames = match module.and_then(|index| self.reader.module(index)) {
            Some(module) => self.in_module(pc, &module),
            None => vec![Frame {
                name: format!("{pc:#x}"),
                kind: FrameKind::Native,
                file: None,
                line: None,
                module: None,
            }],
        };
        self.native.insert((module, pc), frames.clone());
        frames
    }

    fn in_module(&mut self, pc: u64, module: &Module<'_>) -> Vec<Frame> {
        let path = String::from_utf8_lossy(module.path);
        // A return address may lie behind the last instruction of the caller.
        let address = pc.wrapping_sub(1).wrapping_sub(module.bias);
        let made = Duration::from_nanos(self.reader.info().start_realtime_ns);
        let wanted = offheap_symbols::Module {
            path: &path,
            start: module.start,
            build_id: module.build_id,
            // The agent came after the library, or saw it loaded: a file that was not touched since
            // the agent's begin is the one.
            loaded: SystemTime::UNIX_EPOCH.checked_add(made),
        };
        let symbols = self.libraries.symbols(self.process, &self.vmas, wanted);
        native_frames(symbols.as_deref(), address, &path)
    }
}

/// The frames at `address`, one of the file's own, of the library at `path`: functions inlined
/// there come first. What has no name is told by library and address.
pub fn native_frames(symbols: Option<&Symbols>, address: u64, path: &str) -> Vec<Frame> {
    let base = path.rsplit('/').next().unwrap_or_default();
    let mut places = symbols.map(|symbols| symbols.places(address)).unwrap_or_default();
    if places.is_empty() {
        places.push(Place::default());
    }
    let kind = if base == "libjvm.so" { FrameKind::Jvm } else { FrameKind::Native };
    let unnamed = || format!("{base}+{address:#x}");
    let frame = |place: Place| Frame {
        name: place.function.unwrap_or_else(unnamed),
        kind,
        file: place.file,
        line: place.line,
        module: Some(path.to_owned()),
    };
    places.into_iter().map(frame).collect()
}
