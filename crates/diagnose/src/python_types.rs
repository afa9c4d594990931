//! What the rules on Python have in common: which types became more, and who holds them.

use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::{Freed, Growth};
use crate::names::placed;
use crate::rules::is_of_python;
use crate::series::{Key, Series};
use crate::sites;
use crate::stats::Point;
use offheap_model::{
    Domain, Evidence as Observation, Finding, Frame, PythonHeld, PythonHolder, PythonHolderKind,
    PythonObjects, PythonType, Site, Snapshot, Status, units,
};
use std::collections::BTreeMap;

/// With fewer censuses than these nothing is said of types.
const LEAST_CENSUSES: usize = 3;
/// A type must have gained this share of what all types gained to be looked into.
const TYPE_SHARE: f64 = 0.15;
/// A type must have gained this many bytes to be looked into.
const LEAST_BYTES: f64 = 512.0 * 1024.0;
/// At most this many types are looked into: who holds one often holds the next.
const MOST_TYPES: usize = 3;
/// Of a domain's growth a type must make this share to be what it grows by.
const EXPLAINS: f64 = 0.4;

/// A type whose objects became more.
#[derive(Debug, Clone)]
pub(crate) struct GrowingType<'a> {
    pub name: &'a str,
    first: &'a PythonType,
    last: &'a PythonType,
    points: Vec<Point>,
}

impl GrowingType<'_> {
    /// Bytes gained.
    pub fn gained(&self) -> f64 {
        self.last.bytes() as f64 - self.first.bytes() as f64
    }

    /// Of those, how large a part lies in the C heap.
    fn in_c_heap(&self) -> f64 {
        let gained = self.last.heap_bytes as f64 - self.first.heap_bytes as f64;
        (gained / self.gained().max(1.0)).clamp(0.0, 1.0)
    }

    /// ``"`str` objects became 12000 more (8000 → 20000), 1.20 MiB"``.
    pub fn words(&self) -> String {
        format!(
            "{} objects: {} → {}, {} more",
            self.name,
            self.first.count,
            self.last.count,
            units::bytes(self.gained().max(0.0) as u64)
        )
    }
}

/// The types that became more over the window, by the bytes they gained.
pub(crate) fn growing<'a>(evidence: &Evidence<'a>) -> Vec<GrowingType<'a>> {
    let begin = evidence.first().map_or(0, |snapshot| snapshot.time_ms);
    let mut by_name: BTreeMap<&str, Vec<(f64, &PythonType)>> = BTreeMap::new();
    let mut censuses = 0;
    for &snapshot in evidence.snapshots() {
        let Some(objects) = snapshot.python.as_ref().and_then(|python| python.objects.as_ref()) else {
            continue;
        };
        censuses += 1;
        let t = snapshot.time_ms.saturating_sub(begin) as f64 / 1000.0;
        for kind in &objects.types {
            by_name.entry(&kind.name).or_default().push((t, kind));
        }
    }
    if censuses < LEAST_CENSUSES {
        return Vec::new();
    }
    let mut types: Vec<GrowingType<'_>> = by_name
        .into_iter()
        .filter_map(|(name, seen)| {
            let ((_, first), (_, last)) = (seen.first()?, seen.last()?);
            let points = seen.iter().map(|(t, kind)| Point { t: *t, v: kind.bytes() as f64 }).collect();
            Some(GrowingType { name, first, last, points })
        })
        .filter(|kind| kind.gained() > 0.0)
        .collect();
    let all: f64 = types.iter().map(GrowingType::gained).sum();
    types.retain(|kind| kind.gained() >= LEAST_BYTES.max(TYPE_SHARE * all));
    types.sort_by(|a, b| b.gained().total_cmp(&a.gained()));
    types.truncate(MOST_TYPES);
    types
}

/// The names of the types for which it should be looked who holds them.
pub fn python_suspects(evidence: &Evidence<'_>) -> Vec<String> {
    let mut wanted: Vec<String> = growing(evidence).into_iter().map(|kind| kind.name.to_owned()).collect();
    wanted.extend(companions(evidence).into_iter().filter(|name| !wanted.contains(name)).collect::<Vec<_>>());
    wanted
}

/// Who holds the type, where that was looked for.
pub(crate) fn held<'a>(evidence: &Evidence<'a>, name: &str) -> Option<&'a PythonHeld> {
    let mut looks =
        evidence.snapshots().iter().copied().rev().filter_map(|snapshot| snapshot.python.as_ref());
    looks
        .find_map(|python| python.held.iter().find(|held| held.name == name))
        .filter(|held| held.looked_at > 0)
}

/// The holder of most of what was looked at, if it has a name.
pub(crate) fn main_holder(held: &PythonHeld) -> Option<&PythonHolder> {
    let named = |holder: &&PythonHolder| holder.kind.says_who();
    held.holders.iter().find(named).filter(|holder| 2 * holder.objects >= held.looked_at)
}

/// Of a cache with a bound that it has not reached: how many entries it has, and how many it may
/// have.
pub(crate) fn filling(holder: &PythonHolder) -> Option<(u64, u64)> {
    let (entries, bound) = holder.entries.zip(holder.most_entries)?;
    (entries < bound).then_some((entries, bound))
}

/// What grows, for the first sentence of a verdict with this cause; `None` where it is none of
/// Python's.
pub(crate) fn headline(cause: &str, evidence: &Evidence<'_>) -> Option<String> {
    if !is_of_python(cause) {
        return None;
    }
    let types = growing(evidence);
    let held = |kind: &GrowingType<'_>| Some((kind.name.to_owned(), held(evidence, kind.name)?));
    let looked_at: Vec<(String, &PythonHeld)> = types.iter().filter_map(held).collect();
    let lost = looked_at.iter().find(|(_, held)| are_lost(held));
    let named = looked_at.iter().find_map(|(name, held)| {
        let holder = main_holder(held)?;
        filling(holder).is_none().then_some((name, holder))
    });
    Some(match (lost, named, types.first()) {
        (Some((name, _)), ..) => format!(": {name} objects whose reference was lost,"),
        (None, Some((name, holder)), _) => format!(": {name} objects held by {},", holder.what),
        (None, None, Some(kind)) => format!(", most of it {} objects,", kind.name),
        (None, None, None) => String::new(),
    })
}

/// This many objects without a reference are no accident: healthy programs have a few that are
/// being made.
const LEAST_LOST: u64 = 10;

/// Whether most of the objects are such that nothing refers to.
pub(crate) fn are_lost(held: &PythonHeld) -> bool {
    held.lonely >= LEAST_LOST && 2 * held.lonely >= held.looked_at
}

/// Where a growing type's memory is, and how that grows: the arenas, or the C heap where the
/// objects are large.
pub(crate) fn growth_of(evidence: &Evidence<'_>, kind: &GrowingType<'_>) -> Option<(Domain, Growth)> {
    let least = evidence.material();
    if kind.in_c_heap() < 0.5 {
        let growth = evidence.growth(&Key::Domain(Domain::PythonHeap), Freed::ByProgram, least)?;
        let explains = kind.gained() >= EXPLAINS * (growth.to - growth.from).max(0.0);
        return explains.then_some((Domain::PythonHeap, growth));
    }
    let is_split = evidence.last()?.jvm.as_ref().is_none_or(|jvm| jvm.nmt.is_some());
    let domain = if is_split { Domain::NativeMalloc } else { Domain::Malloc };
    // The whole C heap's growth where that is what it is made of, so that one cause is told once.
    let whole = evidence.growth(&Key::MallocRest, Freed::ByProgram, least).filter(|whole| {
        whole.status().is_some() && kind.gained() >= EXPLAINS * (whole.to - whole.from).max(0.0)
    });
    let own = || evidence.growth_of(&Series::new(kind.points.clone()), Freed::ByProgram, least);
    Some((domain, whole.unwrap_or_else(own)))
}

/// The functions that are named for the holder, in words: who uses it by its name, who makes what
/// it holds.
pub(crate) fn code_of(holder: &PythonHolder) -> Option<String> {
    let list = |code: &[Frame]| match code {
        [] => None,
        code => Some(code.iter().map(placed).collect::<Vec<_>>().join(", ")),
    };
    match (list(&holder.used_by), list(&holder.made_by)) {
        (Some(users), Some(makers)) => Some(format!("Its code is {users}; the objects are made in {makers}")),
        (Some(users), None) => Some(format!("Its code is {users}")),
        (None, Some(makers)) => Some(format!("The objects are made in {makers}")),
        (None, None) => None,
    }
}

/// The Python code behind objects that a container keeps, where exactly one function makes them or
/// uses the container, and below it the Java code that has entered Python for them, where that is
/// known.
pub(crate) fn site_of(
    evidence: &Evidence<'_>,
    kind: &GrowingType<'_>,
    holder: &PythonHolder,
) -> Option<Site> {
    let sole = |code: &[Frame]| match code {
        [only] => Some(only.clone()),
        _ => None,
    };
    let mut frames: Vec<Frame> = sole(&holder.made_by).into_iter().collect();
    frames.extend(sole(&holder.used_by).filter(|user| !frames.contains(user)));
    if frames.is_empty() {
        return None;
    }
    frames.extend(sites::java_below_python(evidence));
    let seconds = kind.points.last()?.t - kind.points.first()?.t;
    let slope = if seconds > 0.0 { kind.gained() / seconds } else { 0.0 };
    Some(Site { bytes: kind.gained().max(0.0) as u64, slope_bytes_per_s: slope, frames })
}

/// Types of which as many came as of what a Java program leaks may be what keeps that.
const COMPANIONS: std::ops::RangeInclusive<f64> = 0.5..=3.0;
/// Fewer objects that came with those of a growing type are an accident.
/// Unit: objects.
const LEAST_COMPANIONS: f64 = 100.0;
/// Types so common that their number says nothing.
const COMMON: [&str; 9] = ["str", "int", "float", "tuple", "list", "dict", "bytes", "cell", "set"];

/// How many direct buffers a snapshot has, and the objects counted with it.
fn buffers_and_objects(snapshot: &Snapshot) -> Option<(f64, &PythonObjects)> {
    let buffers = snapshot.jvm.as_ref()?.direct.as_ref()?.count as f64;
    Some((buffers, snapshot.python.as_ref()?.objects.as_ref()?))
}

/// Python types that became as many more as there are more direct buffers: what a bridge hands to
/// Python as an array, Python may keep.
fn companions(evidence: &Evidence<'_>) -> Vec<String> {
    let mut counted = evidence.snapshots().iter().filter_map(|snapshot| buffers_and_objects(snapshot));
    let (Some(first), Some(last)) = (counted.next(), counted.next_back()) else { return Vec::new() };
    let more = last.0 - first.0;
    if more < LEAST_COMPANIONS {
        return Vec::new();
    }
    let before =
        |name: &str| first.1.types.iter().find(|kind| kind.name == name).map_or(0, |kind| kind.count);
    let mut found: Vec<(f64, &PythonType)> = last
        .1
        .types
        .iter()
        .filter(|kind| !COMMON.contains(&kind.name.as_str()))
        .map(|kind| ((kind.count as f64 - before(&kind.name) as f64) / more, kind))
        .filter(|(share, _)| COMPANIONS.contains(share))
        .collect();
    found.sort_by(|a, b| (a.0 - 1.0).abs().total_cmp(&(b.0 - 1.0).abs()).then(b.1.bytes().cmp(&a.1.bytes())));
    found.into_iter().take(MOST_TYPES).map(|(_, kind)| kind.name.clone()).collect()
}

/// Says in a leak of direct buffers which Python container keeps the objects that came with them.
pub(crate) fn attach(finding: &mut Finding, evidence: &Evidence<'_>) {
    if finding.status != Status::Leak || finding.domain != Some(Domain::DirectMemory) {
        return;
    }
    let kept = companions(evidence).into_iter().find_map(|name| {
        let held = held(evidence, &name)?;
        let holder = main_holder(held).filter(|holder| holder.kind != PythonHolderKind::Outside)?;
        Some((name, held, holder))
    });
    let Some((name, held, holder)) = kept else { return };
    let code = code_of(holder).map_or_else(String::new, |code| format!(" {code}."));
    finding.summary.push_str(&format!(
        " In Python as many {name} objects came as buffers, held by {}: they may keep the buffers.{code}",
        holder.what
    ));
    finding.evidence.push(Observation {
        text: format!(
            "{} of {} {name} objects looked at are held by {}",
            holder.objects, held.looked_at, holder.what
        ),
        source: "references followed from outside".to_owned(),
    });
    finding.fix.insert(
        0,
        format!("bound or prune {} in Python: its {name} objects may keep the Java buffers", holder.what),
    );
}

/// What the growth is of, in a sentence's words.
pub(crate) fn subject<'a>(domain: Domain, meaning: &'a str, source: &'a str) -> Subject<'a> {
    let what =
        if domain == Domain::PythonHeap { "the Python heap" } else { "the C heap with large Python objects" };
    Subject { what, meaning, source }
}

/// The evidence that all of them bring.
pub(crate) fn with_types(mut draft: Draft, evidence: &Evidence<'_>) -> Draft {
    for kind in growing(evidence) {
        draft = draft.saw(kind.words(), "census of the objects from outside");
        let Some(held) = held(evidence, kind.name) else { continue };
        for holder in held.holders.iter().take(2) {
            let way = std::iter::once(holder.what.as_str()).chain(holder.path.iter().map(String::as_str));
            draft = draft.saw(
                format!(
                    "{} of {} {} objects looked at are held by {}",
                    holder.objects,
                    held.looked_at,
                    kind.name,
                    way.collect::<Vec<_>>().join(" → ")
                ),
                "references followed from outside",
            );
        }
        if held.lonely > 0 {
            draft = draft.saw(
                format!(
                    "{} of {} {} objects looked at are referred to by nothing",
                    held.lonely, held.looked_at, kind.name
                ),
                "two scans of the memory for references",
            );
        }
    }
    draft
}
