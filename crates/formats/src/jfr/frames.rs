//! Stack traces.

use super::chunk::{Chunk, View};
use crate::Builder;
use crate::builder::MAX_DEPTH;
use offheap_model::{Frame, FrameKind};

/// The frames of the stack trace `key` of the pool `class`, innermost first.
pub(super) fn stack(chunk: &Chunk<'_>, class: u64, key: u64, builder: &mut Builder) -> Vec<u32> {
    let frames = chunk.constant(class, key).and_then(|trace| trace.field("frames"));
    let frames = frames.into_iter().flat_map(View::elements).take(MAX_DEPTH);
    frames.filter_map(frame).map(|frame| builder.frame(frame)).collect()
}

fn frame(view: View<'_, '_>) -> Option<Frame> {
    let method = view.field("method")?;
    let name = method.field_text("name")?;
    let class = method.field("type").and_then(|class| class.field_text("name")).unwrap_or_default();
    // async-profiler's words: `C++` is the JVM itself, `Native` without a class a library, `Kernel` the kernel. The JDK calls
    // Java's native methods `Native`; they have a class.
    let described = view.field("type").and_then(|kind| kind.field_text("description")).unwrap_or_default();
    let kind = match described.as_str() {
        "C++" => FrameKind::Jvm,
        _ if class.is_empty() => FrameKind::Native,
        _ => FrameKind::Java,
    };
    let name = if class.is_empty() { name } else { format!("{}.{name}", class.replace('/', ".")) };
    let line =
        view.field_number("lineNumber").and_then(|line| u32::try_from(line).ok()).filter(|line| *line > 0);
    Some(Frame { name, kind, file: None, line, module: None })
}
