//! The words of offheap as plain data: domains, snapshots, profiles, findings.
//!
//! Everything here is a value: no I/O, no clock, no platform code. Every other crate speaks in
//! these words, so a figure means the same on the screen, in JSON, in a recording and in a verdict.
//!
//! Units: bytes (`u64`) unless a name says otherwise; times are milliseconds since the Unix epoch.

mod account;
mod core;
pub mod diff;
mod domain;
mod figure;
mod finding;
mod frame_label;
mod handles;
mod profile;
mod python;
pub mod secrets;
mod snapshot;
pub mod units;
pub mod vocabulary;

pub use crate::core::CoreFile;
pub use account::{Detail, DomainFigure, Note};
pub use domain::{Domain, UnknownDomain};
pub use figure::{FigureKind, SnapshotFigure};
pub use finding::{Evidence, Finding, Next, Site, Status};
pub use frame_label::FrameLabel;
pub use handles::{ClassCount, Handles, LocalReferences, References};
pub use profile::{Age, Frame, FrameKind, Profile, ProfileSite, Sampling};
pub use python::{
    PythonHeld, PythonHolder, PythonHolderKind, PythonInterpreter, PythonObjects, PythonThread, PythonType,
};
pub use snapshot::{
    Arena, Cgroup, ContentHint, DirectBuffers, FileFigure, FileKind, HeapFigure, Holder, Jvm, Malloc,
    MemoryTotals, NmtCategory, NmtCounters, Process, Python, Reach, SizeClass, Snapshot, SpaceFigure,
    ThreadKind, ThreadPool,
};
