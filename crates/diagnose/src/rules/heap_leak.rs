//! # Live data grows on the Java heap
//!
//! What survives old collections grows: a leak of Java objects. offheap finds that it is so; which
//! objects they are is the work of heap tools.
//!
//! ## Signature
//! The old generation in use right after collections of the whole heap is higher each time (four or
//! more, and the last rises as fast as the first: those of a cache that fills rise ever more
//! slowly), or it grows steadily for a minute while G1's mixed collections free some of it all
//! along. Growth between old collections says nothing, since garbage gathers there too; then
//! offheap says `inconclusive` if the old generation gains a tenth of the heap in half a minute or
//! more, or would be full in twenty minutes, and `healthy` below that. Two collections of the whole
//! heap (`diagnose` asks for them where their pause fits) tell garbage from what is in use.
//!
//! Where the references were followed from outside, what is in use says the same without a
//! collection: it must rise for three minutes to be called a leak, since caches on the heap
//! commonly fill for one or two; before that it is `inconclusive`.
//!
//! ## Why
//! Something reachable holds the objects: a static map, a listener list, a session store without
//! expiry, a `ThreadLocal` of a pooled thread, a JNI global reference.
//!
//! ## Confirm
//! - `jcmd PID GC.class_histogram` twice, some minutes apart: the classes whose count grows. It runs a full collection.
//! - `jcmd PID GC.heap_dump /path/file.hprof`, opened in Eclipse MAT: "dominator tree" and "path to GC roots".
//! - For JNI: `jcmd PID Thread.print` ends with the number of global references.
//!
//! ## Fix
//! - Bound or expire what holds the objects; remove listeners; `ThreadLocal.remove()`.
//! - Until then: `-XX:+HeapDumpOnOutOfMemoryError`, so that the dump is there when it ends.
//!
//! ## Example
//! *In process 4711, live data on the Java heap (old generation after collections) grew steadily
//! over 5 min (301 snapshots): 61.0 MiB → 652 MiB, +1.97 MiB/s…*

use super::Rule;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::{FOLLOWED, Freed, Growth, Kind, LOOKS};
use crate::next_step::NextStep;
use crate::references;
use crate::series::{Key, Series};
use crate::stats::{Point, median, theil_sen};
use offheap_model::{Domain, Finding, Status, units};

/// See the page.
pub struct HeapLeak;

/// Without an old collection, growth of the old generation below this share of the heap is what a
/// healthy program promotes, unless the heap would be full in [`SUSPECT_FULL_S`].
const SUSPECT_SHARE: f64 = 0.10;
/// Growth that would fill the heap in this time is suspect: whoever watches for a minute wants to
/// know of that.
/// Unit: seconds.
const SUSPECT_FULL_S: f64 = 1200.0;
/// Where what is in use rises from look to look, this much growth is suspect in however large a
/// heap.
/// Unit: bytes.
const SUSPECT_BYTES: f64 = 64e6;
/// In less than this time growth of the old generation is what a healthy program promotes.
/// Chosen: nominal 30 s, less the slack of a first and a last snapshot.
const SUSPECT_S: f64 = 29.0;
/// What is in use must rise for this long to be called a leak: caches on the heap commonly fill for
/// minutes.
/// Chosen: nominal 180 s, less the slack of the first and the last look, which need not come at the
/// ends.
pub const IN_USE_DECIDES_S: f64 = 170.0;
/// How sure it is of what is in use alone.
const IN_USE_CERTAINTY: f64 = 0.8;
/// Where what is in use grows by no more than this share of what fills the heap, that is garbage.
const IN_USE_OF_GARBAGE: f64 = 0.15;
/// Old collections whose floors must each be higher than the one before.
const FLOORS: usize = 4;
/// The same in a window of less than [`FLOORS_S`], or where none is late and a cache may fill.
const FLOORS_SHORT: usize = 6;
/// Two collections must be this far apart for what is gained between them to count.
/// Unit: seconds.
const APART_S: f64 = 8.0;
/// Two collections must leave this share of what was gained between them for it to be in use.
const LIVE_SHARE: f64 = 0.25;
/// A window of less than this needs more floors.
/// Chosen: nominal 45 s, less the slack of a first and a last snapshot.
const FLOORS_S: f64 = 44.0;
/// The last floor is late from this share of the window on.
const LATE: f64 = 0.8;
/// After this many collections of the whole heap one more is no help.
const COLLECTED: usize = 2;
/// A floor must rise by this share of what a collection frees on average: smaller rises are the
/// odds of what was just alive.
const RISE_OF_FALL: f64 = 0.33;
/// The floors' rise at the end must be this share of that at the start.
const GOES_ON: f64 = 0.55;
/// A smaller fall is no floor.
const LEAST_FALL: f64 = 1024.0 * 1024.0;
/// Mixed collections that must have freed something, all along, for growth across them to count.
const MIXED: usize = 5;
/// Mixed collections must free this share of what is promoted: if they free nothing, they know
/// nothing yet of what is dead.
const FREED_SHARE: f64 = 0.1;

impl Rule for HeapLeak {
    fn id(&self) -> &'static str {
        "heap-leak"
    }

    fn explains(&self) -> &'static [(&'static str, f64)] {
        &[("heap-full", f64::INFINITY), ("gc-structures", f64::INFINITY)]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let jvm = evidence.last()?.jvm.as_ref()?;
        let collections = evidence.collections();
        // A collector without generations is judged by all that is in use.
        let (key, what) = if evidence.series(&Key::OldUsed).is_some() {
            (Key::OldUsed, "live data in the old generation of the Java heap")
        } else {
            (Key::HeapUsed, "live data on the Java heap")
        };
        let floors = floors(evidence, &key)?;
        let mut growth = match rising_floors(evidence, &floors).or_else(|| rising_in_use(evidence)) {
            Some(growth) => growth,
            None => match few_collections(evidence, &key, jvm.heap.max_bytes as f64) {
                Some(told) => told?,
                None => between_collections(evidence, &key, floors.len(), jvm.heap.max_bytes as f64)
                    .or_else(|| fills_or_leaks(evidence, jvm.heap.max_bytes as f64))?,
            },
        };
        growth.per_s = growth.per_s.max(0.0);
        let max = jvm.heap.max_bytes as f64;
        let meaning = "It survives collections, so something reachable holds it.";
        let subject = Subject { what, meaning, source: &jvm.heap.source };
        let mut draft = Draft::of_growth(self.id(), evidence, Domain::JavaHeap, &growth, &subject)?;
        if draft.status() == Status::Leak && growth.per_s > 0.0 && max > growth.to {
            draft = draft.also(&format!(
                "At this rate -Xmx ({}) is reached in {}. Which objects they are is told by a class histogram or a \
                 heap dump.",
                units::bytes(jvm.heap.max_bytes),
                units::duration((max - growth.to) / growth.per_s)
            ));
        }
        let draft = draft
            .saw(
                format!(
                    "{} collections in the window, {} of them of the old generation",
                    collections.any.len(),
                    collections.mixed.len()
                ),
                "the JVM's counters",
            )
            .fix(jni_references(evidence).map(|_| "DeleteGlobalRef for every NewGlobalRef, also when an exception is pending"))
            .fix([
                "bound or expire the collection that holds the objects; remove listeners and ThreadLocals of pooled \
                 threads",
                "until then -XX:+HeapDumpOnOutOfMemoryError, so that there is a dump at the end",
            ])
            .confirm([
                format!("jcmd {} GC.class_histogram, twice some minutes apart (a full collection each)", evidence.pid()),
                format!("jcmd {} GC.heap_dump /tmp/heap.hprof, then Eclipse MAT: dominator tree", evidence.pid()),
                format!("jcmd {} Thread.print | tail: the number of JNI global references", evidence.pid()),
            ]);
        Some(draft.finish())
    }
}

/// How many floors, each higher than the one before, make a leak in a window of this length where
/// none of them is late.
fn enough_floors(evidence: &Evidence<'_>) -> usize {
    if evidence.seconds() < IN_USE_DECIDES_S { FLOORS_SHORT } else { FLOORS }
}

/// What a few collections of the whole heap say, where the heap grows so fast that it is
/// suspect: `Some(None)` that it is garbage; `None` where they say nothing.
fn few_collections(evidence: &Evidence<'_>, key: &Key, max: f64) -> Option<Option<Growth>> {
    let points = evidence.series(key)?.points();
    let at = |event: &f64| points.get(points.partition_point(|p| p.t < *event)).copied();
    let left: Vec<Point> = evidence.collections().old.iter().filter_map(at).collect();
    let (first, last) = (*left.first()?, *left.last()?);
    if left.len() >= enough_floors(evidence) {
        return None;
    }
    let least = suspect_bytes(evidence, max).min(SUSPECT_BYTES);
    let is_suspect =
        |bytes: f64, seconds: f64| seconds >= APART_S && bytes / seconds * evidence.seconds() >= least;
    let seconds = last.t - first.t;
    if seconds < APART_S {
        let growth = grown_since(evidence, points, last, is_suspect)?;
        return Some((!stays_in_use(evidence, &growth)).then_some(growth));
    }
    let before = points.iter().rev().filter(|p| p.t < last.t).take(2).map(|p| p.v).reduce(f64::max)?;
    let (gained, kept) = (before - first.v, last.v - first.v);
    if !is_suspect(gained, seconds) {
        return None;
    }
    let is_live = kept >= LIVE_SHARE * gained && is_suspect(kept, seconds);
    Some(is_live.then(|| Growth {
        kind: Kind::Early,
        per_s: kept / seconds,
        ci95: [LIVE_SHARE * kept / seconds, gained.max(kept) / seconds],
        from: first.v,
        to: last.v,
        certainty: 0.55,
        why: format!(
            "collections of the whole heap left {} and {} later {}, so what is in use grows; but a cache fills like that \
             for some minutes",
            units::bytes(first.v as u64),
            units::duration(seconds),
            units::bytes(last.v as u64)
        ),
        next: Some(NextStep::DiagnoseLonger(evidence.pid())),
    }))
}

/// Growth behind the only collection, which left `floor`: as whatever is not collected does.
fn grown_since(
    evidence: &Evidence<'_>,
    points: &[Point],
    floor: Point,
    is_suspect: impl Fn(f64, f64) -> bool,
) -> Option<Growth> {
    let tail: Vec<Point> = points.iter().copied().filter(|p| p.t >= floor.t).collect();
    let end = tail.last()?;
    let slope = theil_sen(&tail, 1.0);
    let seconds = end.t - floor.t;
    is_suspect(slope.ci95[0] * seconds, seconds).then(|| Growth {
        kind: Kind::Uncollected,
        per_s: slope.per_s,
        ci95: slope.ci95,
        from: floor.v,
        to: end.v,
        certainty: 0.5,
        why: "it grew after the only collection of the whole heap, which says nothing of what came after it"
            .to_owned(),
        next: Some(NextStep::Collect(evidence.pid())),
    })
}

/// Growth that no floors show: since the last collection of the whole heap, if that was long ago,
/// else over the window. It counts if mixed collections freed some of it all along, is suspect if
/// it is much, and is what healthy programs promote otherwise (`None`).
fn between_collections(evidence: &Evidence<'_>, key: &Key, floors: usize, max: f64) -> Option<Growth> {
    let collections = evidence.collections();
    let all = evidence.series(key)?.points();
    let since =
        collections.cleaned.last().copied().filter(|t| evidence.seconds() - t >= evidence.seconds() / 2.0);
    let tail: Vec<Point> = all.iter().copied().filter(|p| p.t >= since.unwrap_or(0.0)).collect();
    let seconds = tail.last()?.t - tail.first()?.t;
    let (mut rises, mut falls) = (0.0, 0.0);
    for (a, b) in tail.iter().zip(tail.iter().skip(1)) {
        rises += (b.v - a.v).max(0.0);
        falls += (a.v - b.v).max(0.0);
    }
    let mixed: Vec<f64> =
        collections.mixed.iter().copied().filter(|t| since.is_none_or(|since| *t > since)).collect();
    let spread = mixed.last().zip(mixed.first()).map_or(0.0, |(b, a)| b - a);
    let series = Series::new(tail);
    let ending = series.trend().ending_per_s;
    let mut growth = evidence.growth_of(&series, Freed::ByProgram, evidence.material());
    let grows = matches!(growth.kind, Kind::Lasting | Kind::Slowing | Kind::Unclear);
    let large = growth.to - growth.from >= suspect_bytes(evidence, max);
    if !grows || !large {
        return None;
    }
    let freed_along = mixed.len() >= MIXED
        && spread >= seconds / 2.0
        && falls >= FREED_SHARE * rises
        && seconds >= FLOORS_S;
    if evidence
        .series(&Key::HeapInUse)
        .is_some_and(|looks| looks.points().len() >= LOOKS && !evidence.rises(looks))
    {
        // Collectors without generations, when they can't keep up, let the heap rise from cycle to
        // cycle.
        return None;
    }
    if growth.kind == Kind::Lasting && freed_along {
        growth.certainty *= 0.92;
        growth.why = format!("it outlived {} collections of the old generation", mixed.len());
        return Some(growth);
    }
    let never_looked =
        growth.kind == Kind::Lasting && floors == 0 && seconds >= SUSPECT_S && collections.any.len() >= 3;
    // Where the whole heap was collected often enough for floors, they have spoken.
    let goes_on = freed_along && floors < FLOORS && ending * seconds >= suspect_bytes(evidence, max);
    if !never_looked && !goes_on {
        return None;
    }
    if stays_in_use(evidence, &growth) {
        return None;
    }
    growth.kind = Kind::Uncollected;
    growth.certainty = 0.5;
    growth.why =
        "too few collections of the window looked at the whole old generation to tell live data from garbage"
            .to_owned();
    growth.next = Some(if collections.cleaned.len() < COLLECTED {
        NextStep::Collect(evidence.pid())
    } else {
        // Collections alone don't tell.
        NextStep::DiagnoseLonger(evidence.pid())
    });
    Some(growth)
}

/// How much the heap, of `max` bytes, must have grown by over the window to be suspect where
/// nothing has told garbage from what is in use: a tenth of it, or as much as fills it within
/// twenty minutes.
pub fn suspect_bytes(evidence: &Evidence<'_>, max: f64) -> f64 {
    let used = evidence.series(&Key::HeapUsed).map_or(0.0, Series::last);
    let soon = (max - used).max(0.0) * evidence.seconds() / SUSPECT_FULL_S;
    (SUSPECT_SHARE * max).min(soon).max(evidence.material())
}

/// Whether the looks at what is in use, if there were some, show that it is garbage that fills the
/// heap.
fn stays_in_use(evidence: &Evidence<'_>, growth: &Growth) -> bool {
    evidence.series(&Key::HeapInUse).is_some_and(|looks| {
        let over = looks.points().last().zip(looks.points().first()).map_or(0.0, |(b, a)| b.t - a.t);
        over >= evidence.seconds() / 2.0
            && looks.last() - looks.first() <= IN_USE_OF_GARBAGE * growth.per_s * over
    })
}

/// That JNI code holds ever more global references, in words.
fn jni_references(evidence: &Evidence<'_>) -> Option<String> {
    let looks = evidence.series(&Key::JniReferences)?;
    let more = references::more(evidence)?;
    (evidence.rises(looks) && evidence.seconds() >= SUSPECT_S).then(|| {
        format!(
            "JNI code holds {} global references, {more} more than at the first look: NewGlobalRef without DeleteGlobalRef",
            looks.last()
        )
    })
}

/// Growth of what is in use, where the references were followed several times over a window so long
/// that caches have filled, or where JNI code holds ever more of it, which is no cache.
fn rising_in_use(evidence: &Evidence<'_>) -> Option<Growth> {
    let looks = evidence.series(&Key::HeapInUse)?;
    let by_jni = jni_references(evidence);
    let rising = (evidence.seconds() >= IN_USE_DECIDES_S || by_jni.is_some())
        && evidence.rises(looks)
        && looks.last() - looks.first() >= evidence.material();
    if !rising {
        return None;
    }
    let slope = theil_sen(looks.points(), 1.0);
    let why = by_jni.unwrap_or_else(|| {
        format!("{} of the heap are in use at the end: {FOLLOWED}", units::bytes(looks.last() as u64))
    });
    Some(Growth::lasting(slope, looks.first(), looks.last(), IN_USE_CERTAINTY, why))
}

/// Growth of what is in use in a window too short to tell a leak from a cache that fills.
fn fills_or_leaks(evidence: &Evidence<'_>, max: f64) -> Option<Growth> {
    let looks = evidence.series(&Key::HeapInUse)?;
    let more = looks.last() - looks.first();
    if evidence.seconds() < SUSPECT_S || !evidence.rises(looks) || more < evidence.material() {
        return None;
    }
    let slope = theil_sen(looks.points(), 1.0);
    // The looks need not have begun with the window, nor last to its end.
    if slope.per_s * evidence.seconds() < suspect_bytes(evidence, max).min(SUSPECT_BYTES) {
        return None;
    }
    Some(Growth {
        kind: Kind::Early,
        per_s: slope.per_s,
        ci95: slope.ci95,
        from: looks.first(),
        to: looks.last(),
        certainty: 0.5,
        why: format!(
            "{} of the heap are in use at the end, {} more than at the first look, but a cache fills like that for some minutes",
            units::bytes(looks.last() as u64),
            units::bytes(more as u64)
        ),
        next: Some(NextStep::DiagnoseLonger(evidence.pid())),
    })
}

/// What collections that find all that is dead left, each with what it freed.
fn floors(evidence: &Evidence<'_>, key: &Key) -> Option<Vec<(f64, Point)>> {
    let points = evidence.series(key)?.points();
    // Not every collection that frees buffers empties old regions: only where the heap fell is
    // there a floor.
    let falls: Vec<(f64, Point)> = evidence
        .collections()
        .cleaned
        .iter()
        .filter_map(|&event| {
            let at = points.partition_point(|p| p.t < event);
            let (before, after) = (points.get(at.checked_sub(1)?)?, points.get(at)?);
            (before.v - after.v > LEAST_FALL).then_some((before.v - after.v, *after))
        })
        .collect();
    // A mixed collection that follows a marking falls too, but by little, and not to the floor.
    let typical = median(&mut falls.iter().map(|fall| fall.0).collect::<Vec<_>>());
    Some(falls.into_iter().filter(|fall| fall.0 >= typical / 2.0).collect())
}

/// Growth of what is left after such collections, if every one left more than the one before.
fn rising_floors(evidence: &Evidence<'_>, floors: &[(f64, Point)]) -> Option<Growth> {
    let (fallen, floors): (Vec<f64>, Vec<Point>) = floors.iter().copied().unzip();
    let steps: Vec<f64> = floors.iter().zip(floors.iter().skip(1)).map(|(a, b)| b.v - a.v).collect();
    let (first, last) = (floors.first()?, floors.last()?);
    let mean_fall = fallen.iter().sum::<f64>() / floors.len() as f64;
    let mean_step = (last.v - first.v) / steps.len().max(1) as f64;
    let enough = if evidence.seconds() < FLOORS_S { FLOORS_SHORT } else { FLOORS };
    // A cache may have filled since the last of a few.
    let is_late = floors.len() >= enough_floors(evidence) || last.t >= LATE * evidence.seconds();
    let rising = floors.len() >= enough
        && is_late
        && steps.iter().all(|step| *step > 0.0)
        && mean_step >= RISE_OF_FALL * mean_fall
        && goes_on(&floors)
        && last.v - first.v >= evidence.material();
    let slope = theil_sen(&floors, 1.0);
    let certainty = if floors.len() > FLOORS { 0.88 } else { 0.78 };
    rising.then(|| {
        let why =
            format!("each of {} collections of the whole heap left more than the one before", floors.len());
        Growth::lasting(slope, first.v, last.v, certainty, why)
    })
}

/// Whether floors rise as fast at the end as before: those of a cache that fills rise ever more
/// slowly.
fn goes_on(floors: &[Point]) -> bool {
    let rate = |part: &[Point]| -> Option<f64> {
        let (first, last) = (part.first()?, part.last()?);
        (last.t > first.t).then(|| (last.v - first.v) / (last.t - first.t))
    };
    let middle = floors.len() / 2;
    let halves = floors.get(..=middle).and_then(rate).zip(floors.get(middle..).and_then(rate));
    let ending = floors.get(floors.len().saturating_sub(2)..).and_then(rate);
    halves
        .zip(ending)
        .is_some_and(|((before, after), ending)| after >= GOES_ON * before && ending >= GOES_ON * before)
}
