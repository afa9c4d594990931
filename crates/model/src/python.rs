//! What is known of the inside of a CPython interpreter.

use crate::Frame;
use serde::{Deserialize, Serialize};

/// A census of its objects at one instant, or close to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct PythonObjects {
    /// By type, most bytes first; of many types the largest.
    pub types: Vec<PythonType>,
    /// How many objects, of all types.
    pub objects: u64,
    /// Bytes of blocks in the arenas that hold neither objects nor a container's elements.
    pub other_bytes: u64,
    /// Bytes of free blocks in pools that hold others.
    pub free_block_bytes: u64,
    /// Bytes of free pools, in arenas that hold others.
    pub free_pool_bytes: u64,
    /// How many arenas.
    pub arenas: u64,
    /// Bytes that were not looked at: in swap, or of the C heap beyond what a census may read.
    #[serde(default)]
    pub unread_bytes: u64,
    /// How long the census took, microseconds.
    pub took_us: u64,
}

/// The objects of one type.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct PythonType {
    /// `"dict"`, `"shop.Cart"`.
    pub name: String,
    /// How many.
    pub count: u64,
    /// Bytes in pymalloc's arenas, with the blocks that they keep their elements in.
    pub arena_bytes: u64,
    /// The same in the C heap.
    pub heap_bytes: u64,
    /// The collector follows them.
    pub gc: bool,
}

impl PythonType {
    /// All their bytes.
    pub fn bytes(&self) -> u64 {
        self.arena_bytes.saturating_add(self.heap_bytes)
    }
}

/// Who holds objects of one type.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct PythonHeld {
    /// The type.
    pub name: String,
    /// How many of its objects there are, or came since the window began.
    pub of: u64,
    /// How many of those were looked at, evenly picked.
    pub looked_at: u64,
    /// Of the latter, to how many nothing in memory refers.
    pub lonely: u64,
    /// The holders, of most objects first.
    pub holders: Vec<PythonHolder>,
    /// Why there may be others; empty where the search is complete.
    pub cut: String,
}

impl PythonHeld {
    /// Of those looked at, how many neither a holder nor the lack of any reference was told of:
    /// they refer to each other, or are about to go.
    pub fn untold(&self) -> u64 {
        let told = self.holders.iter().map(|holder| holder.objects).fold(self.lonely, u64::saturating_add);
        self.looked_at.saturating_sub(told)
    }
}

/// What holds Python objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PythonHolderKind {
    /// A variable of a module.
    #[default]
    Module,
    /// An attribute of a class.
    Class,
    /// An `lru_cache`.
    LruCache,
    /// A function: its closure or defaults.
    Function,
    /// A variable of a function that runs.
    Frame,
    /// Something outside of the interpreter, such as a Java object.
    Outside,
    /// Data of a library.
    Static,
    /// Memory of native code.
    Native,
    /// A thread's native stack.
    Stack,
}

impl PythonHolderKind {
    /// Whether it says who holds; the others only say where.
    pub fn says_who(self) -> bool {
        !matches!(self, PythonHolderKind::Static | PythonHolderKind::Native | PythonHolderKind::Stack)
    }
}

/// One that holds objects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct PythonHolder {
    /// ``"`carts` of module shop"``.
    pub what: String,
    /// What it is.
    pub kind: PythonHolderKind,
    /// How many of the objects that were looked at.
    pub objects: u64,
    /// The nearest container that holds all of them: `"dict of 5203"`; empty where there is none.
    pub container: String,
    /// How many entries that container has.
    #[serde(default)]
    pub entries: Option<u64>,
    /// Of an `lru_cache` with a bound: how many entries it may have.
    #[serde(default)]
    pub most_entries: Option<u64>,
    /// The way from the holder to one of the objects, a type each.
    pub path: Vec<String>,
    /// The Python functions that use it by its name, with the line where each begins; empty where
    /// they are unknown, or too many to tell which.
    #[serde(default)]
    pub used_by: Vec<Frame>,
    /// The Python functions that make objects of the nearest class of the program's on the way.
    #[serde(default)]
    pub made_by: Vec<Frame>,
}

/// An interpreter: the main one, or one that the program made beside it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct PythonInterpreter {
    /// 0 is the main one.
    pub id: i64,
    /// Whether its collector runs by itself, where that can be read.
    pub collects: Option<bool>,
    /// Its threads, the oldest first.
    pub threads: Vec<PythonThread>,
}

/// A thread that runs Python, or did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct PythonThread {
    /// Its id, where it can be told and the thread still runs.
    pub tid: Option<i32>,
    /// The name the kernel keeps.
    pub name: String,
    /// It holds the GIL.
    pub holds_gil: bool,
    /// The innermost first; empty while it runs no Python.
    pub frames: Vec<Frame>,
    /// There are more frames, or the stack changed while it was read.
    pub cut: bool,
}
