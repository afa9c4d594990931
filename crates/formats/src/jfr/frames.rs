//! Stack traces.

use super::chunk::{Chunk, View};
use crate::Builder;
use crate::builder::MAX_DEPTH;
use foldhash::fast::RandomState;
use offheap_model::{Frame, FrameKind};
use std::collections::HashMap;

/// A chunk's frames, each named once: the same few thousand are in all stacks.
#[derive(Default)]
pub(super) struct Frames {
    is_async_profiler: bool,
    /// By all their fields that are numbers or constants.
    known: HashMap<Box<[i64]>, Option<u32>, RandomState>,
}

impl Frames {
    pub(super) fn new(chunk: &Chunk) -> Frames {
        Frames { is_async_profiler: chunk.is_async_profiler(), known: HashMap::default() }
    }

    /// The frames of the stack trace `key` of the pool `class`, innermost first.
    pub(super) fn stack(&mut self, chunk: &Chunk, class: u64, key: u64, builder: &mut Builder) -> Vec<u32> {
        let frames = chunk.constant(class, key).and_then(|trace| trace.field("frames"));
        let frames = frames.into_iter().flat_map(View::elements).take(MAX_DEPTH);
        frames.filter_map(|view| self.frame(view, builder)).collect()
    }

    fn frame(&mut self, view: View<'_>, builder: &mut Builder) -> Option<u32> {
        let mut name = || frame(view, self.is_async_profiler).map(|frame| builder.frame(frame));
        let Some(numbers) = view.numbers() else { return name() };
        match self.known.get(numbers) {
            Some(known) => *known,
            None => {
                let number = name();
                self.known.insert(numbers.into(), number);
                number
            }
        }
    }
}

fn frame(view: View<'_>, is_async_profiler: bool) -> Option<Frame> {
    let method = view.field("method")?;
    let name = method.field_text("name")?;
    let class = method.field("type").and_then(|class| class.field_text("name")).unwrap_or_default();
    let described = view.field("type").and_then(|kind| kind.field_text("description")).unwrap_or_default();
    // async-profiler's machine code is `Native`, `C++` (by how the name is mangled) or `Kernel`,
    // and its class is the library. The JDK's `Native` are Java's native methods.
    let is_code = is_async_profiler && matches!(described.as_str(), "Native" | "C++" | "Kernel");
    if is_code || class.is_empty() {
        let library = class.rsplit('/').next().unwrap_or_default();
        let is_jvm = library == "libjvm.so" || library.is_empty() && described == "C++";
        let kind = if is_jvm { FrameKind::Jvm } else { FrameKind::Native };
        return Some(Frame {
            name,
            kind,
            file: None,
            line: None,
            module: Some(class).filter(|class| !class.is_empty()),
        });
    }
    let name = format!("{}.{name}", class.replace('/', "."));
    let line =
        view.field_number("lineNumber").and_then(|line| u32::try_from(line).ok()).filter(|line| *line > 0);
    Some(Frame { name, kind: FrameKind::Java, file: None, line, module: None })
}
