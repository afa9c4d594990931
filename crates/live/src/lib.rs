//! The layout of the live file: what the agent keeps in the target, and how to read it.
//!
//! A live file is one shared mapping of fixed size. The agent is its only writer (but for the word
//! of the lease); anybody may read it at any time, without the target's help and also after the
//! target was killed. It therefore holds no pointers, only indices and offsets, and everything that
//! can be half written carries a checksum: a reader skips what does not match, it never believes
//! it. Nor does the agent believe anything that stands there.
//!
//! ```text
//! Header          one page: magic, version, sizes, pid, clocks, state, lease, counters
//! modules         ModuleRec   libraries: path, build id, address range
//! regions         RegionRec   live sampled mappings (mmap) and thread stacks
//! keys            u64         address of the live sample in this slot (of a Java object its number and class, see
//!                             `object_key`); buckets of BUCKET keys, one cache line
//! passed          u32         per bucket: live samples that had to move on to a later bucket
//! samples         SampleRec   one per key: live sampled heap blocks and Java objects
//! stacks          StackRec    interned stacks, with what was allocated and freed there so far
//! frame_ids       u32         the frames of all stacks, innermost first: indices into `frames`
//! frames          FrameRec    interned frames
//! strings         StrRec      interned names
//! bytes           u8          the names themselves
//! ```
//!
//! `stacks`, `frames` and `strings` are open-addressed hash tables of a power of two slots; a
//! slot's index is its identity and never changes while the file lives.
//!
//! Use [`Reader`] over a copy of the file's bytes (`std::fs::read`), not over a mapping that
//! changes underneath. All integers are in the byte order of the machine that wrote the file.
#![no_std]

mod layout;
mod reader;

pub use layout::*;
pub use reader::*;
