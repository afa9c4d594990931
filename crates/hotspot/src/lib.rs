//! HotSpot seen from outside: hsperfdata, vmStructs, NMT counters in memory.
//!
//! Nothing here touches the target: no attach, no signal, no stop, and only pages that are present are read.
//!
//! [`HotSpot::open`] finds libjvm and reads its tables once; [`HotSpot::view`] then takes one instant after the other.
//! [`brief`] is the cheap look for a list of processes.

mod error;
mod view;

pub use error::Error;
pub use view::{
    Brief, Coverage, Direct, DirectBuffer, DirectBuffers, Heap, Label, NmtCategory, Space, Thread,
    ThreadKind, View, ViewOptions, What,
};

use offheap_linux::{Memory, Process, Task};

/// A HotSpot JVM whose tables were read, so that views of it are cheap.
#[derive(Debug)]
pub struct HotSpot {}

impl HotSpot {
    /// Finds libjvm in `process` and reads its tables through `memory`.
    ///
    /// # Errors
    /// See [`Error`]: not a JVM, another kind of JVM, no permission.
    pub fn open(process: &Process, memory: &Memory) -> Result<HotSpot, Error> {
        let _ = memory;
        Err(Error::NotJvm { pid: process.pid() })
    }

    /// What the JVM is now. `memory` is a fresh one or one that was told to forget; `tasks` are its threads.
    pub fn view(&self, memory: &Memory, tasks: &[Task], options: ViewOptions) -> View {
        let _ = (memory, tasks, options);
        View::default()
    }

    /// Looks for direct buffers in the resident part of the Java heap, reading at most `budget` bytes.
    pub fn direct_buffers(&self, memory: &Memory, budget: u64) -> DirectBuffers {
        let _ = (memory, budget);
        DirectBuffers::default()
    }
}

/// The cheap look for a list of processes: from the hsperfdata file alone where it can be read, else from memory. `None` for
/// a process that is not a HotSpot JVM or can't be looked at.
pub fn brief(process: &Process) -> Option<Brief> {
    let _ = process;
    None
}
