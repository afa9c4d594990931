//! # A Python container only grows
//!
//! ## Signature
//! The Python heap grows steadily to the end of the window; objects of one type make much of it,
//! and following the references from outside shows that most of the new ones are held by one
//! container with a name: a module's variable, a class attribute, an `lru_cache`, a closure, a
//! variable of a function that runs, or an object on the Java heap.
//!
//! ## Why
//! A dict, list or registry is filled and never pruned; `lru_cache(maxsize=None)` keeps every
//! argument and result, on a method also every `self`. Under jep and JPype a Java collection that
//! keeps Python objects does the same. A cache with a bound that is still filling is told apart: it
//! is `healthy`, with what it will come to.
//!
//! ## Confirm
//! - `offheap python PID --for 30s --holders TYPE`: the type, its growth, and the way from the container to the objects.
//! - In the program: `len()` of the container, twice.
//!
//! ## Fix
//! - Bound or prune the container; `lru_cache(maxsize=…)`; weak references (`weakref.WeakValueDictionary`).
//! - An `lru_cache` on a method: move it to a function of what the result depends on, or `functools.cached_property`.
//! - Held from Java: `close()` the `jep.python.PyObject`, remove the proxy from the collection.
//!
//! ## Example
//! *In process 4711, the Python heap grew steadily over 1 min (61 snapshots): 18.0 MiB → 49.1 MiB…
//! It is str objects, held by `carts` of module shop, in a dict of 5203.*

use super::Rule;
use crate::draft::Draft;
use crate::evidence::Evidence;
use crate::python_types::{
    GrowingType, code_of, filling, growing, growth_of, held, main_holder, site_of, subject, with_types,
};
use offheap_model::{Domain, Finding, PythonHeld, PythonHolder, PythonHolderKind, Status, units};

/// See the page.
pub struct PythonContainer;

impl Rule for PythonContainer {
    fn id(&self) -> &'static str {
        "python-container"
    }

    fn is_of_python(&self) -> bool {
        true
    }

    fn yields_to(&self) -> &'static [&'static str] {
        &["python-interpreters", "python-lost-references"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let types = growing(evidence);
        let all: f64 = types.iter().map(GrowingType::gained).sum();
        let (mut fills, mut healthy) = (0.0, None);
        for kind in &types {
            let Some(held) = held(evidence, kind.name) else { continue };
            let Some(holder) = main_holder(held) else { continue };
            if let Some(entries) = filling(holder) {
                fills += kind.gained();
                healthy = healthy.or_else(|| fills_up(self.id(), evidence, kind.name, held, holder, entries));
            } else if let Some(leak) = leak(self.id(), evidence, kind, holder) {
                return Some(leak);
            }
        }
        // A cache that takes the smaller part says nothing of what takes the larger one.
        healthy.filter(|_| 2.0 * fills >= all)
    }
}

/// A container that nothing bounds.
fn leak(id: &str, evidence: &Evidence<'_>, kind: &GrowingType<'_>, holder: &PythonHolder) -> Option<Finding> {
    let (domain, growth) = growth_of(evidence, kind)?;
    let container =
        if holder.container.is_empty() { String::new() } else { format!(", in a {}", holder.container) };
    let code = code_of(holder).map_or_else(String::new, |code| format!(" {code}."));
    let meaning = format!("It is {} objects, held by {}{container}.{code}", kind.name, holder.what);
    let source = evidence.source(domain);
    let draft = Draft::of_growth(id, evidence, domain, &growth, &subject(domain, &meaning, &source))?;
    let fix = match holder.kind {
        PythonHolderKind::LruCache if holder.most_entries.is_some() => {
            format!("{}: it has a bound of entries; bound what an entry holds, too", holder.what)
        }
        PythonHolderKind::LruCache => format!(
            "{}: give it a maxsize; on a method it keeps every self, so cache a function of what matters instead",
            holder.what
        ),
        PythonHolderKind::Outside => {
            "release it in Java: close() the jep.python.PyObject, remove the proxy from the collection; jep \
                      frees Python objects only when the next one is made"
                .to_owned()
        }
        PythonHolderKind::Frame => format!("{}: bound or prune it while the function runs", holder.what),
        _ => format!("bound or prune {}; or weak references", holder.what),
    };
    let draft = with_types(draft, evidence).fix([fix]).confirm([format!(
        "offheap python {} --for 30s --holders {}",
        evidence.pid(),
        kind.name
    )]);
    let mut finding = draft.finish();
    finding.site = site_of(evidence, kind, holder);
    Some(finding)
}

/// A cache with a bound that it has not reached: it will stop. `entries` are those it has and those
/// it may have.
fn fills_up(
    id: &str,
    evidence: &Evidence<'_>,
    name: &str,
    held: &PythonHeld,
    holder: &PythonHolder,
    (entries, bound): (u64, u64),
) -> Option<Finding> {
    let now = evidence.last()?.rss_of(Domain::PythonHeap);
    let summary = format!(
        "In {}, the Python heap grew over {}: it is {name} objects, held by {}, a cache with a bound that fills: {entries} of \
         {bound} entries. It stops there. The Python heap has {} now. {}. Source: references followed from outside.",
        evidence.who(),
        evidence.window(),
        holder.what,
        units::bytes(now),
        evidence.rss_words()
    );
    let draft = Draft::new(id, Status::Healthy, Domain::PythonHeap, 0.8)
        .slope(
            evidence
                .trend(&crate::series::Key::Domain(Domain::PythonHeap))
                .map_or(0.0, |trend| trend.slope.per_s),
        )
        .summary(summary)
        .saw(
            format!("{} of {} objects looked at", holder.objects, held.looked_at),
            "references followed from outside",
        );
    Some(draft.fix([format!("nothing, if {bound} entries are wanted; else a smaller maxsize")]).finish())
}
