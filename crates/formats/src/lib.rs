//! Foreign file formats in and out: bytes in, values out. No I/O.
//!
//! One module a format. A reader takes the whole file as bytes, already [unwrapped](unwrap()) of gzip or zstd, and is
//! bounded: what it allocates is in proportion to the bytes it was given, whatever counts those claim. A file that is cut off
//! gives what is there, and a [`Cut`] says where it ends. A writer takes a [`Profile`](offheap_model::Profile).

mod builder;
mod bytes;
mod detect;
mod error;
mod figure;
mod figures;
mod maps;
mod protobuf;
mod table;
mod unwrap;

pub mod collapsed;
pub mod csv;
pub mod firefox;
pub mod flamegraph;
pub mod gperftools;
pub mod heaptrack;
pub mod hprof;
pub mod hs_err;
pub mod jcmd;
pub mod jemalloc;
pub mod jfr;
pub mod json;
pub mod massif;
pub mod memcheck;
pub mod memleak;
pub mod otlp;
pub mod perf_map;
pub mod pprof;
pub mod sanitizer;
pub mod smaps;
pub mod speedscope;

pub use builder::{Builder, Mapping, Parsed};
pub use detect::{Format, detect, read_profile};
pub use error::{Cut, Error};
pub use figure::Figure;
pub use figures::{Figures, Named, of_dump, of_log, read_figures};
pub use hprof::Hprof;
pub use table::{Row, Table};
pub use unwrap::{Wrapping, unwrap, unwrapped, wrapping};
