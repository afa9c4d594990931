//! What is known of functions and libraries: whose the memory is that they allocate, what gives it
//! back, and what to write. It is data, one file a library in `knowledge/`, and a user may add
//! files of their own.
//!
//! A stack is what is asked about, never a command line: [`Knowledge::answer`] says who is to
//! answer for what the stack allocated.
//!
//! ```
//! use offheap_model::{Frame, FrameKind};
//!
//! let frame = |name: &str, kind| {
//!     Frame { name: name.to_owned(), kind, file: None, line: None, module: None }
//! };
//! let stack = [
//!     frame("malloc", FrameKind::Native),
//!     frame("Java_java_util_zip_Inflater_init", FrameKind::Native),
//!     frame("java.util.zip.Inflater.<init>", FrameKind::Java),
//!     frame("app.Reader.open", FrameKind::Java),
//! ];
//! let answer = offheap_knowledge::knowledge().answer(&stack).unwrap();
//! assert!(answer.memory.gives_back.contains("end()"));
//! ```

mod file;
mod matching;
mod page;
mod prefixes;

pub use file::{LIMIT_BYTES, Library, Memory, Owner, Problem, Recognised};
pub use matching::{Answer, Knowledge};
pub use page::page;

use std::sync::OnceLock;

/// What the files of `knowledge/` say; the build has read and checked them.
const BUNDLED: &str = include_str!(concat!(env!("OUT_DIR"), "/knowledge.json"));

/// What is known, with what [`add`] has added.
static KNOWLEDGE: OnceLock<Knowledge> = OnceLock::new();

/// All that is known. It is read at the first call.
pub fn knowledge() -> &'static Knowledge {
    KNOWLEDGE.get_or_init(|| Knowledge::of(bundled()))
}

/// Adds files of the user's, each a name for messages and its text, for as long as the process
/// lives. Where a pattern of theirs is one of ours, theirs counts.
///
/// # Errors
///
/// The first thing that is wrong with a file, with its place; and if [`knowledge`] was asked for
/// before.
pub fn add(files: &[(String, String)]) -> Result<(), Problem> {
    let mut libraries = bundled();
    for (name, text) in files {
        libraries.push(Library::parse(name, text)?);
    }
    KNOWLEDGE.set(Knowledge::of(libraries)).map_err(|_| Problem::late())
}

/// The libraries of [`BUNDLED`]; a test holds that they can be read.
fn bundled() -> Vec<Library> {
    serde_json::from_str(BUNDLED).unwrap_or_default()
}
