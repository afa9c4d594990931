//! Labels: what stands in a profile in the place of a stack's innermost frame where that is no
//! function.

use crate::{Frame, FrameKind};
use std::fmt;

/// What a stack's memory is, where its functions don't say. Profiles keep labels as the names of
/// frames, so that they survive every format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameLabel<'a> {
    /// The code was first to write to pages of a block of malloc with a mapping of its own.
    FirstWrite,
    /// The code was first to write to pages of a mapping that the program made.
    FirstWriteToMap,
    /// The code mapped memory.
    Map,
    /// The code mapped a file.
    MapOfFile,
    /// The stack of a thread that the code started.
    ThreadStack,
    /// The JVM mapped one of its own spaces.
    JvmSpace,
    /// No stack is known.
    NoStack,
    /// Java objects of this class (`app.Session`, `byte[]`); `None` where they are of several.
    Objects(Option<&'a str>),
}

/// How the label of objects starts.
const OBJECTS: &str = "[new ";
/// What stands for objects of several classes.
const SEVERAL: &str = "objects";

impl<'a> FrameLabel<'a> {
    /// The labels whose words are always the same.
    const FIXED: [FrameLabel<'static>; 7] = [
        FrameLabel::FirstWrite,
        FrameLabel::FirstWriteToMap,
        FrameLabel::Map,
        FrameLabel::MapOfFile,
        FrameLabel::ThreadStack,
        FrameLabel::JvmSpace,
        FrameLabel::NoStack,
    ];

    /// The label that `frame` is; `None` for a function.
    pub fn of(frame: &'a Frame) -> Option<FrameLabel<'a>> {
        let name = frame.name.as_str();
        if let Some(class) = name.strip_prefix(OBJECTS).map(|class| class.strip_suffix(']').unwrap_or(class))
        {
            return Some(FrameLabel::Objects(Some(class).filter(|class| *class != SEVERAL)));
        }
        FrameLabel::FIXED.into_iter().find(|label| label.fixed() == Some(name))
    }

    /// The frame that says so.
    pub fn frame(self) -> Frame {
        let kind = match self {
            FrameLabel::JvmSpace | FrameLabel::Objects(_) => FrameKind::Jvm,
            _ => FrameKind::Native,
        };
        Frame { name: self.to_string(), kind, file: None, line: None, module: None }
    }

    /// Whether the figures are of pages that the code was first to write to.
    pub fn is_of_pages(self) -> bool {
        matches!(self, FrameLabel::FirstWrite | FrameLabel::FirstWriteToMap)
    }

    fn fixed(self) -> Option<&'static str> {
        Some(match self {
            FrameLabel::FirstWrite => "[first write to a large block]",
            FrameLabel::FirstWriteToMap => "[first write to a map]",
            FrameLabel::Map => "[mmap]",
            FrameLabel::MapOfFile => "[mmap of a file]",
            FrameLabel::ThreadStack => "[stack of a thread]",
            FrameLabel::JvmSpace => "[space of the JVM]",
            FrameLabel::NoStack => "[no stack]",
            FrameLabel::Objects(_) => return None,
        })
    }
}

impl fmt::Display for FrameLabel<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameLabel::Objects(class) => write!(out, "{OBJECTS}{}]", class.unwrap_or(SEVERAL)),
            label => out.write_str(label.fixed().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_off_its_frame_and_a_function_is_none() {
        let objects = [FrameLabel::Objects(None), FrameLabel::Objects(Some("byte[]"))];
        for label in FrameLabel::FIXED.into_iter().chain(objects) {
            assert_eq!(FrameLabel::of(&label.frame()), Some(label), "{label}");
        }
        assert_eq!(FrameLabel::Objects(Some("byte[]")).to_string(), "[new byte[]]");
        let function = Frame { name: "mmap".to_owned(), ..FrameLabel::Map.frame() };
        assert_eq!(FrameLabel::of(&function), None);
    }
}
