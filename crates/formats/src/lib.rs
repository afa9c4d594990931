//! Foreign file formats in and out: bytes in, values out. No I/O.
//!
//! One module a format. A reader takes the whole file as bytes, already [unwrapped](unwrap()) of
//! gzip or zstd, and is bounded: what it allocates is in proportion to the bytes it was given,
//! whatever counts those claim. A file that is cut off gives what is there, and a [`Cut`] says
//! where it ends. A writer takes a [`Profile`](offheap_model::Profile).

mod builder;
mod bytes;
mod error;
mod figure;
mod figures;
mod mangled;
mod maps;
mod nmt;
mod protobuf;
mod registry;
mod table;
mod unwrap;
mod words;
mod writers;

pub mod collapsed;
pub mod csv;
pub mod docker_stats;
pub mod firefox;
pub mod flamegraph;
pub mod gperftools;
pub mod heaptrack;
pub mod heaptrack_print;
pub mod hprof;
pub mod hs_err;
pub mod javacore;
pub mod jcmd;
pub mod jemalloc;
pub mod jemalloc_stats;
pub mod jfr;
pub mod jfr_text;
pub mod json;
pub mod kubectl;
pub mod malloc_stats;
pub mod massif;
pub mod memcheck;
pub mod memleak;
pub mod memory_stat;
pub mod mimalloc_stats;
pub mod ms_print;
pub mod oom;
pub mod otlp;
pub mod pasted;
pub mod perf_map;
pub mod pprof;
pub mod proc_status;
pub mod sanitizer;
pub mod smaps;
pub mod speedscope;
pub mod symbolised;
pub mod tcmalloc_stats;
pub mod top;
pub mod vmmap;

pub use builder::{Builder, Mapping, Parsed};
pub use error::{Cut, Error};
pub use figure::Figure;
pub use figures::{BY_CATEGORY, BY_CLASS, Figures, Named, OF_LOG, RESIDENT, ROLLUP, of_dump, of_log, sum};
pub use hprof::Hprof;
pub use registry::{Format, Gives, detect, read_figures, read_profile};
pub use table::{Row, Table};
pub use unwrap::{Wrapping, unwrap, unwrapped, wrapping};
pub use writers::{WRITERS, Writer};
