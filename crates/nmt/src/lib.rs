//! Native Memory Tracking text of every JDK: parsed, added up, compared. No I/O.
//!
//! NMT is HotSpot's own ledger of the memory it asked for
//! (`-XX:NativeMemoryTracking=summary|detail`), printed as text by `jcmd PID VM.native_memory`, by
//! `-XX:+PrintNMTStatistics` and into hs_err logs. [`parse`] reads what JDK 8 to 26 print, in every
//! mode, scale and locale:
//!
//! ```
//! let report = offheap_nmt::parse(b"\nNative Memory Tracking:\n\nTotal: reserved=9KB, committed=9KB\n\
//! -                    Module (reserved=9KB, committed=9KB)\n                            (malloc=9KB #20)\n");
//! assert_eq!(report.categories[0].malloc.unwrap().bytes, 9 * 1024);
//! assert!(offheap_nmt::check_sums(&report).iter().all(|check| check.holds()));
//! ```
//!
//! A [`Report`] serialises to the `offheap/nmt/v1` contract. All sizes in it are bytes, whatever
//! the scale of the text; [`Report::scale`] says how exact they are.

mod check;
mod diff;
mod parse;
mod render;
mod report;

pub use check::{SumCheck, check_sums};
pub use diff::{DiffError, diff};
pub use parse::parse;
pub use render::{RenderOptions, render};
pub use report::{
    Allocations, Category, CommittedRegion, Counted, Frame, Kind, Mapping, MemoryFile, Problem, Region,
    Reply, ReplyKind, Report, Scale, Schema, Site, SiteKind, Space, Statistic, Total,
};
