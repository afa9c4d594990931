//! # The JIT compilers' working memory
//!
//! ## Signature
//! With native memory tracking on: the categories Compiler and Arena Chunk stood 64 MiB or more
//! above their lowest within the window, or are growing at its end.
//!
//! ## Why
//! C2 works in arenas that it throws away after each method. One huge method (generated code, large
//! `switch`es) can take a gigabyte for a second, which the allocator then may keep. It comes back,
//! so it is no leak, but it may be what the container was killed for.
//!
//! ## Confirm
//! - `jcmd PID Compiler.memory` (JDK 22 and later, with `-XX:CompileCommand=memstat,*.*`): the method and its peak.
//! - `jcmd PID VM.native_memory summary`: the peak of Arena Chunk (JDK 17 and later).
//!
//! ## Fix
//! - JDK 22 and later: `-XX:CompileCommand=MemLimit,*.*,256m~stop`; older: `-XX:CompileCommand=exclude,Class::method`.
//! - `-XX:CICompilerCount=2` lets fewer compile at once.
//!
//! ## Example
//! *The JIT compilers of process 4711 used up to 212 MiB within 1 min (61 snapshots) and gave it
//! back…*

use super::Rule;
use crate::draft::Draft;
use crate::evidence::Evidence;
use crate::growth::{Freed, Kind};
use crate::series::Key;
use offheap_model::{Domain, Finding, Status, units};

/// See the page.
pub struct CompilerArenas;

/// Arenas that rise by less than this and fall again are not worth a word.
const LEAST_SPIKE: f64 = 64.0 * 1024.0 * 1024.0;

impl Rule for CompilerArenas {
    fn id(&self) -> &'static str {
        "compiler-arenas"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        // Whatever is in an arena was taken as Arena Chunk; Compiler's own figure says whose it is.
        let series = ["Compiler", "Arena Chunk"]
            .into_iter()
            .filter_map(|name| evidence.series(&Key::NmtMalloc(name.to_owned())))
            .max_by(|a, b| a.max().total_cmp(&b.max()))?;
        let lowest = series.points().iter().map(|p| p.v).fold(f64::INFINITY, f64::min);
        let growth = evidence.growth_of(series, Freed::ByProgram, evidence.material());
        let spike = series.max() - lowest;
        let grows = growth.kind == Kind::Lasting;
        if spike < LEAST_SPIKE && !grows {
            return None;
        }
        let (status, confidence) = if grows { (Status::Inconclusive, 0.5) } else { (Status::Healthy, 0.8) };
        let figures = format!(
            "between {} and {}, {} at the end",
            units::bytes(lowest.max(0.0) as u64),
            units::bytes(series.max() as u64),
            units::bytes(series.last() as u64)
        );
        let draft = Draft::new(self.id(), status, Domain::JvmInternal, confidence)
            .slope(if grows { growth.per_s } else { 0.0 })
            .summary(format!(
                "The JIT compilers of {} worked in {figures}, over {}. They give it back after each method, so it is a \
                 peak and no leak. {}. Source: NMT counters.",
                evidence.who(),
                evidence.window(),
                evidence.rss_words()
            ))
            .saw(figures, "NMT counters")
            .fix([
                "JDK 22 and later: -XX:CompileCommand=MemLimit,*.*,256m~stop",
                "older: -XX:CompileCommand=exclude,Class::method for the method that takes it",
            ])
            .confirm([format!("jcmd {} Compiler.memory (JDK 22 and later)", evidence.pid())]);
        Some(draft.finish())
    }
}
