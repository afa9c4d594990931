//! # The code cache grows
//!
//! ## Signature
//! Compiled code grows. It is bounded by `-XX:ReservedCodeCacheSize` (240 MiB by default with
//! tiered compilation), so it is healthy until it comes near that. Stubs and adapters are no
//! methods and have a heap of their own in it: where that grows steadily to the end of the window,
//! code makes them without giving them back, and it is a leak. So it is where that heap is full and
//! the others grow, or where the VM has a global reference more for each stub's worth of code.
//!
//! ## Why
//! The JIT compiles what becomes hot; in the first minutes that is much. Growth for hours comes
//! from ever new classes (scripts, proxies, lambdas) or from agents that redefine classes again and
//! again.
//!
//! ## Confirm
//! - `jcmd PID Compiler.codecache`: used against size of each code heap.
//! - `jcmd PID Compiler.codelist`: what the newest methods are called.
//!
//! ## Fix
//! - Upcall stubs (`Linker.upcallStub`): make each once, or in an `Arena` that is closed; those of `Arena.global()` stay for good.
//! - `-XX:ReservedCodeCacheSize=128m` where the limit matters more than speed; watch for "CodeCache is full".
//! - Ever new classes: see [class-loader-leak](class-loader-leak.md).
//!
//! ## Example
//! *The code cache of process 4711 grew from 21.0 MiB to 38.4 MiB over 1 min (61 snapshots), of at
//! most 240 MiB…*

use super::Rule;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::{Freed, Kind};
use crate::series::Key;
use offheap_model::{Domain, DomainFigure, Finding, Status, units};

/// See the page.
pub struct CodeCacheGrowth;

/// Growth of stubs that is worth a word: they are small, and a JVM has its own within seconds.
const STUBS: f64 = 512.0 * 1024.0;

/// A JVM's own stubs take about half of the heap for them; from this share on it is full, but for
/// pages that nobody wrote to.
const STUBS_FULL: f64 = 0.85;
/// An upcall stub has one global reference, to what it calls (prims/upcallLinker.cpp), and takes so
/// many bytes of code.
const BYTES_PER_REFERENCE: std::ops::RangeInclusive<f64> = 200.0..=4096.0;
/// What comes on the heap with a byte of stubs, at most.
/// Unit: bytes.
/// Measured: 0.4 with small objects.
const PER_STUB: f64 = 4.0;
/// How the classes' names start that a stub calls.
const METHOD_HANDLES: &str = "java.lang.invoke.";
/// Of the references this share must be to what stubs call.
const MOSTLY: f64 = 0.8;
/// Fewer references more are no sign.
/// Unit: references.
const LEAST_REFERENCES: f64 = 500.0;

/// Whether the VM has as many more global references, to method handles, as entry points for native
/// callers in so much more code would have. The JIT's code has none.
fn has_a_reference_each(evidence: &Evidence<'_>, bytes: f64) -> bool {
    let global = evidence.last_handles().and_then(|handles| handles.global.as_ref());
    let (Some(looks), Some(global)) = (evidence.series(&Key::GlobalReferences), global) else {
        return false;
    };
    let of_methods = global.by_class.iter().filter(|class| class.class.starts_with(METHOD_HANDLES));
    let to_methods: u64 = of_methods.map(|class| class.count).sum();
    let more = looks.last() - looks.first();
    let are_theirs = to_methods as f64 >= MOSTLY * more;
    let fits = BYTES_PER_REFERENCE.contains(&(bytes / more));
    more >= LEAST_REFERENCES && evidence.rises(looks) && are_theirs && fits
}

/// Whether the code heap for what is no method is full.
fn stubs_are_full(evidence: &Evidence<'_>) -> bool {
    let code = |figure: &&DomainFigure| figure.domain == Domain::CodeCache;
    let heaps = evidence.last().into_iter().flat_map(|last| last.domains.iter().filter(code));
    heaps.flat_map(|figure| &figure.detail).any(|part| {
        let of_stubs = part.name.contains("non-nmethods") && !part.name.contains("segment map");
        of_stubs && part.rss_bytes as f64 >= STUBS_FULL * part.virtual_bytes as f64
    })
}

/// The finding where stubs and adapters grow steadily.
fn stubs(evidence: &Evidence<'_>) -> Option<Finding> {
    let lasting = |key: &Key, least: f64| {
        evidence.growth(key, Freed::ByProgram, least).filter(|growth| growth.kind == Kind::Lasting)
    };
    // Where their own heap is full they go to the others.
    let growth = lasting(&Key::Stubs, STUBS).or_else(|| {
        lasting(&Key::CodeCache, evidence.material()).filter(|growth| {
            stubs_are_full(evidence) || has_a_reference_each(evidence, growth.to - growth.from)
        })
    })?;
    let subject = Subject {
        what: "stubs and adapters in the code cache",
        meaning: "They are no methods of the JIT's: code makes entry points for native callers and does not give them back.",
        source: "the VM's code heap 'non-nmethods'",
    };
    let draft = Draft::of_growth("code-cache-growth", evidence, Domain::CodeCache, &growth, &subject)?
        .weigh(0.92)
        .fix([
            "upcall stubs (Linker.upcallStub): make each once, or in an Arena that is closed (try-with-resources)",
            "until then -XX:ReservedCodeCacheSize bounds it: the JIT stops when it is full",
        ])
        .confirm([format!("jcmd {} Compiler.codecache: 'non-nmethods', twice", evidence.pid())]);
    Some(draft.finish())
}

impl Rule for CodeCacheGrowth {
    fn id(&self) -> &'static str {
        "code-cache-growth"
    }

    fn explains(&self) -> &'static [(&'static str, f64)] {
        // What a stub calls is an object on the heap, held by a global reference; the arena that it
        // lies in is another, with a block of the C heap.
        &[("heap-leak", PER_STUB), ("native-malloc-growth", PER_STUB), ("heap-full", PER_STUB)]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let space = &evidence.last()?.jvm.as_ref()?.code_cache;
        if let Some(leak) = stubs(evidence) {
            return Some(leak);
        }
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
