//! # The code cache grows
//!
//! ## Signature
//! Compiled code grows. It is bounded by `-XX:ReservedCodeCacheSize` (240 MiB by default with tiered compilation), so it is
//! healthy until it comes near that.
//!
//! ## Why
//! The JIT compiles what becomes hot; in the first minutes that is much. Growth for hours comes from ever new classes
//! (scripts, proxies, lambdas) or from agents that redefine classes again and again.
//!
//! ## Confirm
//! - `jcmd PID Compiler.codecache`: used against size of each code heap.
//! - `jcmd PID Compiler.codelist`: what the newest methods are called.
//!
//! ## Fix
//! - `-XX:ReservedCodeCacheSize=128m` where the limit matters more than speed; watch for "CodeCache is full".
//! - Ever new classes: see [class-loader-leak](class-loader-leak.md).
//!
//! ## Example
//! *The code cache of process 4711 grew from 21.0 MiB to 38.4 MiB over 1 min (61 snapshots), of at most 240 MiB…*

use super::Rule;
use crate::draft::Draft;
use crate::evidence::Evidence;
use crate::growth::Freed;
use crate::series::Key;
use offheap_model::{Domain, Finding, Status, units};

/// See the page.
pub struct CodeCacheGrowth;

impl Rule for CodeCacheGrowth {
    fn id(&self) -> &'static str {
        "code-cache-growth"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let space = &evidence.last()?.jvm.as_ref()?.code_cache;
        let growth = evidence.growth(&Key::CodeCache, Freed::ByProgram, evidence.material())?;
        if !growth.grew() {
            return None;
        }
        let max = space.max_bytes.unwrap_or(space.reserved_bytes);
        let figures = format!(
            "{} → {} of at most {}, {}",
            units::bytes(growth.from as u64),
            units::bytes(growth.to as u64),
            units::bytes(max),
            units::rate(growth.per_s)
        );
        let near = max > 0 && growth.to > 0.9 * max as f64;
        let draft = Draft::new(self.id(), Status::Healthy, Domain::CodeCache, 0.8)
            .slope(growth.per_s.max(0.0))
            .summary(format!(
                "The code cache of {} grew over {}: {figures}. It is bounded{}. {}. Source: the VM's code heaps.",
                evidence.who(),
                evidence.window(),
                if near { ", and near its bound: the JIT will soon throw code away or stop" } else { "" },
                evidence.rss_words()
            ))
            .saw(figures, "the VM's code heaps")
            .fix(["-XX:ReservedCodeCacheSize=128m where the limit matters more than speed"])
            .confirm([format!("jcmd {} Compiler.codecache", evidence.pid())]);
        Some(draft.finish())
    }
}
