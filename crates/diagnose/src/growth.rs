//! Whether a series grows, in the sense that matters: for certain, to the end of the window, by an
//! amount worth a word, and not because a collector has not come by yet.

use crate::collections::{Collections, LEAST_CANARY, Outlived};
use crate::evidence::Evidence;
use crate::next_step::NextStep;
use crate::series::{Key, Series};
use crate::stats::{Point, Shape, Slope, Trend, theil_sen, time_needed};
use offheap_model::units;
use offheap_model::{Domain, Reach, Status};

/// Who gives the memory back when it is no longer needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freed {
    /// The program's own code, at once.
    ByProgram,
    /// A Cleaner or finalizer, after a collection that finds the owner dead; or it may be so:
    /// native memory may have a Java object that owns it.
    ByCollector,
    /// Only a collection that finds what is dead in the whole heap: classes.
    ByOldCollection,
}

/// What kind of growth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// None that could be told from noise, or too little to matter.
    None,
    /// It grew and stopped.
    Ended,
    /// It grew and stopped when the load did: a cache or a leak, more load would tell.
    EndedWithLoad,
    /// It grows ever more slowly.
    Slowing,
    /// It grows, but no collection has come that could have freed it.
    Uncollected,
    /// It grows, and is garbage: what owns it is not in use any more, and no collection has come.
    /// The JDK runs one by itself when direct buffers reach their limit.
    Garbage,
    /// It grows, but has not been seen to for long enough: caches and pools fill like this.
    Early,
    /// It seems to grow.
    Unclear,
    /// It grows to the end of the window.
    Lasting,
}

/// The growth of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Growth {
    /// What kind.
    pub kind: Kind,
    /// Per second, of what lasts.
    pub per_s: f64,
    /// Its 95 % interval.
    pub ci95: [f64; 2],
    /// At the window's begin.
    pub from: f64,
    /// At its end.
    pub to: f64,
    /// How sure the kind is, were the series alone in the world: see [`certainty`].
    pub certainty: f64,
    /// Why it is that kind, as a sentence without its full stop; empty for plain growth and none.
    pub why: String,
    /// What to do to be sure; `None` where nothing is open.
    pub next: Option<NextStep>,
}

impl Growth {
    /// Growth that lasts, which was told in another way than by its series alone.
    pub(crate) fn lasting(slope: Slope, from: f64, to: f64, certainty: f64, why: String) -> Growth {
        let Slope { per_s, ci95 } = slope;
        Growth { kind: Kind::Lasting, per_s, ci95, from, to, certainty, why, next: None }
    }

    /// The status a finding of this growth has; `None` where there is nothing to find.
    pub fn status(&self) -> Option<Status> {
        match self.kind {
            Kind::Lasting => Some(Status::Leak),
            Kind::Slowing | Kind::Uncollected | Kind::Early | Kind::Unclear | Kind::EndedWithLoad => {
                Some(Status::Inconclusive)
            }
            Kind::Garbage => Some(Status::Healthy),
            Kind::None | Kind::Ended => None,
        }
    }

    /// It grew in whatever way within the window.
    pub fn grew(&self) -> bool {
        self.kind != Kind::None
    }
}

/// Of what is gained before collections this share may be freed by them and the rest still be
/// called growth that outlived them.
const FREED_AT_MOST: f64 = 0.4;
/// Caches, pools and warm-ups commonly fill for this long: growth that started later says nothing
/// yet.
/// Chosen: nominal 30 s, less the slack of the snapshots at both ends.
const LEAST_S: f64 = 27.0;
/// Growth that is fast from the window's start need be seen for only this long.
/// Chosen: nominal 15 s, less the slack of a first and a last snapshot.
const LEAST_FAST_S: f64 = 14.0;
/// Growth is fast that is this many times what is worth a word: 24 MiB, or a fiftieth of the RSS.
/// Unit: times.
const FAST_MATERIALS: f64 = 8.0;
/// Growth that is called a leak so soon has this part of its certainty.
const SOON_CERTAINTY: f64 = 0.9;
/// Where more than this share of what is allocated ends in the old generation, young collections
/// say little about what is dead: the owners of native memory are promoted like everything else.
const PROMOTED_AT_MOST: f64 = 0.2;
/// Looks at what is in use that make a series.
pub(crate) const LOOKS: usize = 3;
/// This share of what direct buffers grew by between the first and the last look must be in use.
const IN_USE_AT_LEAST: f64 = 0.4;
/// To call buffers garbage, of all that is counted this share must have been found on the heap.
const SEEN_AT_LEAST: f64 = 0.8;
/// To call buffers garbage, no more than this share of their growth may be in use.
const GARBAGE_AT_MOST: f64 = 0.2;
/// How it is known what is in use.
pub(crate) const FOLLOWED: &str = "referred to from static fields, threads, their stacks or JNI code";
/// References must have been counted over this share of the window to say that growth is none of
/// theirs.
const COUNTED_AT_LEAST: f64 = 0.6;
/// Owners that became fewer than this share of the snapshots are not behind growth: steady growth
/// makes a step in each.
const FEW_OF_THE_STEPS: f64 = 0.25;
/// What was gained before the collections must be this share of all growth for them to say anything
/// about it.
const TESTED_AT_LEAST: f64 = 0.15;

impl Evidence<'_> {
    /// The growth of `key`, at least `least` over the window; `None` without such a series.
    pub fn growth(&self, key: &Key, freed: Freed, least: f64) -> Option<Growth> {
        let of_buffers = matches!(key, Key::DirectReserved | Key::Domain(Domain::DirectMemory));
        Some(self.grown(self.series(key)?, freed, least, of_buffers))
    }

    /// As [`Evidence::growth`], of a series that is not among the named ones.
    pub fn growth_of(&self, series: &Series, freed: Freed, least: f64) -> Growth {
        self.grown(series, freed, least, false)
    }

    fn grown(&self, series: &Series, freed: Freed, least: f64, of_buffers: bool) -> Growth {
        let mut growth = Growth {
            kind: Kind::None,
            per_s: 0.0,
            ci95: [0.0; 2],
            from: series.first(),
            to: series.last(),
            certainty: 0.0,
            why: String::new(),
            next: None,
        };
        if series.swing() < least {
            // Most series of most processes: no statistics needed.
            return growth;
        }
        let trend = series.trend();
        (growth.per_s, growth.ci95) = (trend.lasting.per_s, trend.lasting.ci95);
        (growth.from, growth.to) = (trend.from, trend.to);
        if trend.growth().max(growth.per_s * (trend.seconds - trend.tail_start)) < least {
            return growth;
        }
        growth.kind = match trend.shape {
            Shape::TooShort | Shape::Flat => Kind::None,
            Shape::Ended => Kind::Ended,
            Shape::Slowing => Kind::Slowing,
            Shape::Unclear => Kind::Unclear,
            Shape::Steady | Shape::RisingFloor if self.is_early(trend) => Kind::Early,
            Shape::Steady | Shape::RisingFloor => Kind::Lasting,
        };
        // What is left of it would not be worth a word in a window of its own.
        let goes_on = match growth.kind {
            Kind::Slowing => trend.ending_per_s * trend.seconds,
            _ => growth.per_s * (trend.seconds - trend.tail_start),
        };
        if matches!(growth.kind, Kind::Slowing | Kind::Early | Kind::Lasting) && goes_on < least {
            growth.kind = Kind::Ended;
        }
        growth.certainty = certainty(trend);
        if growth.kind == Kind::Lasting && trend.seconds < LEAST_S {
            growth.certainty *= SOON_CERTAINTY;
            growth.why = "it is fast and straight, but in so short a window what fills looks like what leaks"
                .to_owned();
        }
        self.explain(&mut growth, trend);
        if growth.kind == Kind::Lasting && self.is_jvm() && freed != Freed::ByProgram {
            self.ask_the_collector(&mut growth, series, freed, of_buffers);
        }
        growth
    }

    /// Whether growth has not been seen for long enough; what is fast and straight from the begin
    /// needs less time, since an on-call engineer would rather be told now.
    fn is_early(&self, trend: &Trend) -> bool {
        let seen = trend.seconds - trend.tail_start;
        let fast = trend.shape == Shape::Steady
            && trend.tail_start == 0.0
            && trend.growth() >= FAST_MATERIALS * self.material();
        seen < if fast { LEAST_FAST_S } else { LEAST_S }
    }

    fn explain(&self, growth: &mut Growth, trend: &Trend) {
        match growth.kind {
            Kind::Ended => {
                growth.certainty = 0.9;
                growth.why = "it has all but stopped growing".to_owned();
                if trend.tail_start > 0.0 {
                    growth.why =
                        format!("it stopped growing {} into the window", units::duration(trend.tail_start));
                }
                let idle = self.idle_since().is_some_and(|idle| {
                    (idle - trend.tail_start).abs() < 0.15 * trend.seconds && trend.tail_start > 0.0
                });
                if idle {
                    growth.kind = Kind::EndedWithLoad;
                    growth.why =
                        "it grew under load and has been flat only since the load stopped".to_owned();
                    growth.next = Some(NextStep::LoadAgain);
                }
            }
            Kind::Slowing => {
                growth.certainty = 0.6;
                growth.why =
                    "growth is slowing down within the window, as a cache that fills or a warm-up does"
                        .to_owned();
                growth.next = Some(NextStep::WatchWhatFills((2.0 * trend.seconds).max(60.0)));
            }
            Kind::Early => {
                growth.certainty = 0.55;
                growth.why = format!(
                    "{} of growth are too few to tell what leaks from what fills",
                    units::duration(trend.seconds - trend.tail_start)
                );
                growth.next = Some(NextStep::WatchMore(trend.seconds.max(60.0)));
            }
            Kind::Unclear => {
                growth.certainty = 0.5;
                let interval = trend.seconds / trend.points.max(2) as f64;
                let needed = time_needed(trend.noise, trend.correlation_time, trend.slope.per_s, interval);
                let needed = needed.clamp(2.0 * trend.seconds, 20.0 * trend.seconds.max(60.0));
                growth.why = "growth is not the same in all parts of the window".to_owned();
                growth.next = Some(NextStep::Window(needed));
            }
            Kind::None | Kind::Uncollected | Kind::Garbage | Kind::Lasting | Kind::EndedWithLoad => {}
        }
    }

    /// Growth of memory that a collector frees counts as far as it outlived collections.
    fn ask_the_collector(&self, growth: &mut Growth, series: &Series, freed: Freed, of_buffers: bool) {
        let collections = self.collections();
        let by_cleaner = freed == Freed::ByCollector;
        let events = if by_cleaner { &collections.cleaned } else { &collections.old };
        let whole = Collections::outlived(series.points(), events);
        let any = Collections::outlived(series.points(), &collections.any);
        // What a collection left refutes that it is garbage, whatever the references that were
        // followed seemed to say: a kind of root may be missing.
        let refuted =
            kept(&whole, series.trend()) || self.young_collections_tell(&any) && kept(&any, series.trend());
        if by_cleaner
            && of_buffers
            && !refuted
            && let Some(why) = self.are_garbage(growth, series)
        {
            growth.kind = Kind::Garbage;
            growth.certainty *= 0.85;
            growth.why = why;
            return;
        }
        if outlived_them(&whole, series.trend()) {
            growth.why = format!("it outlived {} collection{}", whole.collections, plural(whole.collections));
            return;
        }
        if by_cleaner
            && self.young_collections_tell(&any)
            && outlived_them(&any, series.trend())
            && whole.freed <= FREED_AT_MOST * whole.gained
        {
            growth.certainty *= 0.92;
            growth.why = format!(
                "it outlived {} collection{} of the young generation, from which little is promoted",
                any.collections,
                plural(any.collections)
            );
            return;
        }
        let idle = collections.known && any.collections == 0;
        if by_cleaner && let Some(why) = self.is_in_use(growth, series, of_buffers, idle) {
            growth.certainty *= 0.95;
            growth.why = format!("no collection tells, but {why}");
            return;
        }
        let max = self.last().and_then(|s| s.jvm.as_ref()).map_or(0, |jvm| jvm.heap.max_bytes) as f64;
        if by_cleaner && growth.to - growth.from > max.max(256e6) {
            growth.certainty *= 0.7;
            growth.why =
                "no collection came that could free it, but by now it is more than the whole Java heap"
                    .to_owned();
            return;
        }
        growth.kind = Kind::Uncollected;
        growth.certainty = 0.5;
        growth.why = if !collections.known {
            "the JVM does not say when it collects, so this may be garbage that is not collected yet"
                .to_owned()
        } else if any.collections == 0 {
            "no collection ran in the window, so this may be garbage that is not collected yet".to_owned()
        } else if whole.collections == 0 {
            format!(
                "only young collections ran in the window ({}), and what is promoted stays until an old one, so this may \
                 be garbage that is not collected yet",
                any.collections
            )
        } else {
            format!(
                "the {} collection{} of the old generation in the window freed some of it or came too early to tell",
                whole.collections,
                plural(whole.collections)
            )
        };
        growth.next = Some(NextStep::Collect(self.pid()));
    }

    /// Why growth can't be garbage though no collection tells: what it belongs to is in use, and
    /// more of it at each look; or garbage that could own it is too rare, since steady growth makes
    /// a step in each snapshot. `idle`: nothing was collected in the window, so that the number of
    /// objects could but rise.
    fn is_in_use(
        &self,
        growth: &mut Growth,
        series: &Series,
        of_buffers: bool,
        idle: bool,
    ) -> Option<String> {
        let trend = series.trend();
        let few = FEW_OF_THE_STEPS * trend.points as f64;
        if let Some((reach, value)) = self.reach(series) {
            let risen = self.series(&Key::DirectInUse).filter(|looks| self.rises(looks));
            if of_buffers
                && let Some(looks) = risen
                && looks.last() - looks.first() >= IN_USE_AT_LEAST * (value - at_first_look(series, looks))
            {
                let slope = theil_sen(looks.points(), 1.0);
                (growth.per_s, growth.ci95) = (slope.per_s, slope.ci95);
                let held = match &reach.direct_holder {
                    Some(holder) if 2 * holder.amount >= reach.direct_in_use_bytes => {
                        format!("{} of them by {}", units::bytes(holder.amount), holder.what)
                    }
                    _ => FOLLOWED.to_owned(),
                };
                return Some(format!(
                    "{} of the buffers are in use: {held}",
                    units::bytes(reach.direct_in_use_bytes)
                ));
            }
            let garbage = reach.owners.saturating_sub(reach.owners_in_use) as f64;
            // Bits counts java.lang.foreign's memory too, which has Cleaners and no buffers.
            let no_buffers = !of_buffers || (reach.direct_bytes as f64) < value / 2.0;
            let more_in_use =
                self.series(&Key::OwnersInUse).map_or(0.0, |looks| looks.last() - looks.first());
            // Where owners become more it may be theirs, and then that garbage counts by its share.
            let most = if more_in_use >= few { few.min(GARBAGE_AT_MOST * more_in_use) } else { few };
            if no_buffers && garbage <= most {
                let held = match &reach.owners_holder {
                    Some(holder) if more_in_use >= few && 2 * holder.amount >= reach.owners_in_use => {
                        format!("{} of them are held by {}", holder.amount, holder.what)
                    }
                    _ => format!("the others are {FOLLOWED}"),
                };
                return Some(format!(
                    "of {} objects through which one could free it, {garbage} are garbage: {held}",
                    reach.owners
                ));
            }
        }
        let counts = self.series(&Key::References).filter(|_| idle)?.points();
        let (first, last) = (counts.first()?, counts.last()?);
        let covered = last.t - first.t >= COUNTED_AT_LEAST * trend.seconds;
        (covered && last.v - first.v <= few).then(|| {
            "hardly any object was made on the heap through which one could free it (Cleaner, finalizer, reference)"
                .to_owned()
        })
    }

    /// Whether what is in use rises from look to look, in the end as fast as before: what lives for
    /// a time and then goes, or fills and stops, does not.
    pub(crate) fn rises(&self, looks: &Series) -> bool {
        let points = looks.points();
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return false };
        // The looks need not be as far apart: the last one comes with the window's end.
        let apart = (last.t - first.t) / points.len().saturating_sub(1).max(1) as f64;
        let far = |(a, b): &(&Point, &Point)| b.t - a.t >= apart / 4.0 || b.v < a.v;
        let steps: Vec<f64> = points
            .iter()
            .zip(points.iter().skip(1))
            .filter(far)
            .map(|(a, b)| (b.v - a.v) / (b.t - a.t))
            .collect();
        let mean = (last.v - first.v) / (last.t - first.t).max(1e-9);
        points.len() >= LOOKS
            && last.t - first.t >= self.seconds() / 3.0
            && mean > 0.0
            && steps.iter().all(|step| *step >= mean / 4.0)
            && steps.last().is_some_and(|step| *step >= mean / 2.0)
    }

    /// Why growth of direct buffers is garbage: of what came since the first look, hardly anything
    /// is in use at the last one.
    fn are_garbage(&self, growth: &Growth, series: &Series) -> Option<String> {
        let (reach, value) = self.reach(series).filter(|(reach, _)| reach.complete)?;
        let all_seen = reach.direct_bytes as f64 >= SEEN_AT_LEAST * value;
        let looks = self.series(&Key::DirectInUse)?;
        // One look alone may have met the program at an odd moment.
        let little = looks.points().len() >= 2 && looks.max() <= GARBAGE_AT_MOST * (value - growth.from);
        let flat = {
            let tail = looks.points().iter().rev().take(2).collect::<Vec<_>>();
            let [last, before] = tail.as_slice() else { return None };
            looks.points().len() >= LOOKS
                && last.v >= before.v / 2.0
                && last.v - before.v
                    <= GARBAGE_AT_MOST * (value - series.at(before.t).unwrap_or(value)).max(0.0)
        };
        (all_seen && (little || flat)).then(|| {
            format!(
                "of {} in buffers only {} are in use, no more than before, and the rest waits for a collection",
                units::bytes(reach.direct_bytes),
                units::bytes(reach.direct_in_use_bytes)
            )
        })
    }

    /// What was in use when that was looked at last, and what the series was then; `None` where
    /// that was in the first half of the window, or when most of its growth was still to come.
    fn reach(&self, series: &Series) -> Option<(&Reach, f64)> {
        let (t, reach) = self.last_reach()?;
        let value = series.at(t)?;
        let late =
            t >= self.seconds() / 2.0 && value - series.first() >= (series.last() - series.first()) / 2.0;
        late.then_some((reach, value))
    }

    /// Whether young collections free what is dead: little is promoted, and direct buffers, of
    /// which most programs drop some, did not gather across them. `series` is what they did to the
    /// series in question: where that is no more than the direct buffers, these are what is asked
    /// about and no sign of anything.
    fn young_collections_tell(&self, series: &Outlived) -> bool {
        let events = &self.collections().any;
        let canary = self.series(&Key::DirectReserved).map(|s| Collections::outlived(s.points(), events));
        let gathered = canary.is_some_and(|c| {
            c.gained >= LEAST_CANARY as f64 && c.freed < c.gained / 2.0 && c.gained < series.gained / 4.0
        });
        !gathered && self.promoted_share().is_some_and(|share| share <= PROMOTED_AT_MOST)
    }
}

/// What a series was at the first look.
fn at_first_look(series: &Series, looks: &Series) -> f64 {
    let first = looks.points().first().map_or(0.0, |p| p.t);
    series.at(first).unwrap_or_else(|| series.last())
}

/// Whether the growth outlived collections: it goes on across several of them, or the few there
/// were took little of what had been gained before them.
fn outlived_them(outlived: &Outlived, trend: &Trend) -> bool {
    let across = outlived.collections >= 3 && outlived.span_s >= trend.seconds / 3.0;
    outlived.collections > 0 && (across || kept(outlived, trend))
}

/// Whether collections were seen to take little of what had been gained before them.
fn kept(outlived: &Outlived, trend: &Trend) -> bool {
    outlived.collections > 0
        && outlived.gained >= TESTED_AT_LEAST * trend.growth()
        && outlived.gained >= 2.0 * trend.noise
        && outlived.freed <= FREED_AT_MOST * outlived.gained
}

/// How sure it is that growth is real and lasts, from the series alone.
///
/// Begins at 0.70, and gains with the slope's distance from 0, the consistency of the blocks and
/// the length of the window; less for a floor of teeth, a tail, and below half a minute, where a
/// saw-tooth or a filling cache can look straight.
///
/// Calibration: of 240 synthetic processes, half of them leaking at rates that are hard to see
/// (0.08–0.4 MB/s in 30 or 60 s), all 105 that were called leaks were, where the mean confidence
/// said 93 % (`tests/calibration.rs` holds that gap above −10 points). Of real programs
/// docs/score.md tells; windows of half a minute cut out of a cache that takes longer to fill are
/// called a leak, since nothing in them tells it from one.
pub fn certainty(trend: &Trend) -> f64 {
    let mut sure: f64 = 0.70;
    sure += 0.10 * (trend.lasting.z() / 10.0).clamp(0.0, 1.0);
    sure += 0.08 * (trend.consistency / 10.0).clamp(0.0, 1.0);
    sure += 0.09 * (trend.seconds / 60.0).clamp(0.0, 1.0);
    sure += 0.03 * (trend.seconds / 600.0).clamp(0.0, 1.0);
    if trend.shape == Shape::RisingFloor {
        sure -= 0.10;
    }
    if trend.tail_start > 0.0 {
        sure -= 0.06;
    }
    if trend.seconds < 30.0 {
        sure -= 0.08;
    }
    sure.clamp(0.3, 0.98)
}

/// The end of a noun of which there are so many.
pub(crate) fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
