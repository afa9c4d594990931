//! Growth in steps: a batch that keeps a little of its memory each time it runs, a pool that takes
//! another chunk when the last one is full.

use super::{Point, median};

/// Fewer steps may be anything that happened a few times.
const LEAST_STEPS: usize = 4;
/// A step is at least this share of the largest rise; smaller ones are noise on a tread.
const STEP_SHARE: f64 = 0.4;
/// A step rises at least this share as fast as the fastest rise between two points; less is a tread
/// that is not quite level.
const SLOPE_SHARE: f64 = 0.05;
/// The smallest step, and the shortest time between two, must be this share of the largest.
const ALIKE: f64 = 0.5;
/// A tread may move by this part of a step.
const FLAT: f64 = 0.5;
/// Points that make a tread.
const LEAST_TREAD: usize = 3;
/// After this many times the longest wait between two steps the next one is overdue: it has
/// stopped.
/// Unit: times.
const OVERDUE: f64 = 1.25;

/// The treads of a staircase that goes up to the end: four or more steps of like size at like
/// distances, over half of the window or more, flat between, and the next one not overdue. One
/// point each, where it begins.
pub fn staircase(points: &[Point]) -> Option<Vec<Point>> {
    let steps = steps(points, STEP_SHARE);
    let mut treads: Vec<(usize, Point)> = Vec::new();
    let mut largest_move = 0.0f64;
    let ends = steps.iter().map(|step| step.0).chain([points.len().checked_sub(1)?]);
    let begins = [0].into_iter().chain(steps.iter().map(|step| step.1));
    for (begin, end) in begins.zip(ends) {
        let tread = points.get(begin..=end)?;
        if tread.len() < LEAST_TREAD {
            // The step that the window's end cuts is none yet; anywhere else it is no staircase.
            if end + 1 == points.len() {
                break;
            }
            return None;
        }
        let mut values: Vec<f64> = tread.iter().map(|p| p.v).collect();
        largest_move = largest_move.max(tread.last()?.v - tread.first()?.v);
        treads.push((begin, Point { t: tread.first()?.t, v: median(&mut values) }));
    }
    let rises = || treads.iter().zip(treads.iter().skip(1)).map(|(a, b)| b.1.v - a.1.v);
    let waits = || treads.iter().skip(1).zip(treads.iter().skip(2)).map(|(a, b)| b.1.t - a.1.t);
    let (smallest, largest) = span(rises())?;
    let (shortest, longest) = span(waits())?;
    let (start, end) = (points.first()?.t, points.last()?.t);
    let last = treads.last()?.1.t;
    let climbed = last - treads.get(1)?.1.t;
    let regular =
        smallest >= ALIKE * largest && shortest >= ALIKE * longest && largest_move <= FLAT * smallest;
    let goes_on = end - last <= OVERDUE * longest;
    let enough = treads.len() > LEAST_STEPS && 2.0 * climbed >= end - start;
    (enough && regular && goes_on).then(|| treads.into_iter().map(|tread| tread.1).collect())
}

/// Of the largest rise, where several steps may come at once; smaller ones are noise on a tread.
const ARRIVAL_SHARE: f64 = 0.15;
/// Of all that rises, steps must make this share for the series to go in steps.
const IN_STEPS: f64 = 0.85;
/// At least this share of the looks at a series that goes in steps meet no step.
const LEVEL_SHARE: f64 = 0.35;
/// The falls of a series that goes in steps are at most this share of its rises.
const MOST_FALLS: f64 = 0.1;
/// Steps at any distances say that a series grows from this many on: chance brings none downwards.
/// Unit: steps.
const LEAST_ARRIVALS: usize = 7;
/// Each third of the window must have this share of the rise of steps that go on.
const OF_EACH_THIRD: f64 = 0.15;
/// Steps that come by chance have ended after this many times their mean wait: one wait in twenty
/// is longer.
/// Unit: mean waits.
const LONG_WAIT: f64 = 3.0;

/// Steps that come at any time.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrivals {
    /// Where each step ends, and the first point.
    pub landings: Vec<Point>,
    /// How long after a step, in seconds, the next one is overdue.
    overdue: f64,
    /// How long ago the last step was at the end.
    since: f64,
}

impl Arrivals {
    /// The steps of a series that rises by little else; `None` of any other.
    pub fn of(points: &[Point]) -> Option<Arrivals> {
        let moves = || points.iter().zip(points.iter().skip(1)).map(|(a, b)| b.v - a.v);
        let rise: f64 = moves().filter(|by| *by > 0.0).sum();
        let fall: f64 = moves().filter(|by| *by < 0.0).sum();
        let steps = steps(points, ARRIVAL_SHARE);
        let of_steps = steps.iter().map(|step| step.1 - step.0).sum::<usize>();
        let landings: Vec<Point> = points
            .first()
            .into_iter()
            .chain(steps.iter().filter_map(|step| points.get(step.1)))
            .copied()
            .collect();
        let in_steps: f64 =
            steps.iter().filter_map(|step| Some(points.get(step.1)?.v - points.get(step.0)?.v)).sum();
        let level = points.len().saturating_sub(1 + of_steps) as f64;
        let goes_in_steps = steps.len() >= 3
            && in_steps >= IN_STEPS * rise
            && -fall <= MOST_FALLS * rise
            && level >= LEVEL_SHARE * points.len() as f64;
        let (first, last) = (landings.get(1)?.t, landings.last()?.t);
        let waits = landings.iter().skip(1).zip(landings.iter().skip(2)).map(|(a, b)| b.t - a.t);
        let (shortest, longest) = span(waits)?;
        let overdue = match shortest >= ALIKE * longest {
            true => OVERDUE * longest,
            false => LONG_WAIT * (last - first) / (steps.len() - 1) as f64,
        };
        goes_in_steps.then(|| Arrivals {
            overdue,
            since: points.last().map_or(0.0, |end| end.t - last),
            landings,
        })
    }

    /// Whether the next step is long overdue.
    pub fn have_ended(&self) -> bool {
        self.since > self.overdue
    }

    /// How many steps there are.
    pub fn count(&self) -> usize {
        self.landings.len() - 1
    }

    /// Whether there are so many, and so evenly over the window of `seconds` from `start`, that
    /// they will go on.
    pub fn go_on(&self, start: f64, seconds: f64) -> bool {
        let mut thirds = [0.0; 3];
        for (a, b) in self.landings.iter().zip(self.landings.iter().skip(1)) {
            let third = ((b.t - start) / seconds * 3.0).clamp(0.0, 2.0) as usize;
            if let Some(sum) = thirds.get_mut(third) {
                *sum += b.v - a.v;
            }
        }
        let all: f64 = thirds.iter().sum();
        self.count() >= LEAST_ARRIVALS
            && !self.have_ended()
            && thirds.iter().all(|third| *third >= OF_EACH_THIRD * all)
    }
}

/// The rises that are steps, at least that share of the largest, each from the index before it to the index after it. Neighbouring
/// rises are one: a look may fall into the middle of a step.
fn steps(points: &[Point], least: f64) -> Vec<(usize, usize)> {
    let rise_of = |(a, b): (&Point, &Point)| b.v - a.v;
    let highest = points.iter().zip(points.iter().skip(1)).map(rise_of).fold(0.0, f64::max);
    let mut rises: Vec<(usize, usize, f64)> = Vec::new();
    for (at, (a, b)) in points.iter().zip(points.iter().skip(1)).enumerate() {
        let rise = b.v - a.v;
        if rise <= SLOPE_SHARE * highest {
            continue;
        }
        match rises.last_mut() {
            Some(last) if last.1 == at => *last = (last.0, at + 1, last.2 + rise),
            _ => rises.push((at, at + 1, rise)),
        }
    }
    let largest = rises.iter().map(|rise| rise.2).fold(0.0, f64::max);
    rises.into_iter().filter(|rise| rise.2 >= least * largest).map(|rise| (rise.0, rise.1)).collect()
}

/// The smallest and the largest; `None` of nothing.
fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.map(|v| (v, v)).reduce(|(low, high), (v, _)| (low.min(v), high.max(v)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(f: impl Fn(f64) -> f64) -> Vec<Point> {
        (0..=60).map(|i| Point { t: f64::from(i), v: f(f64::from(i)) }).collect()
    }

    #[test]
    fn steps_at_like_distances_are_a_staircase() {
        let treads = staircase(&series(|t| 10.0 * (t / 9.0).floor() + 0.3 * (t % 2.0))).unwrap();
        assert_eq!(treads.len(), 7);
        assert_eq!(
            treads.iter().map(|tread| tread.v.round()).collect::<Vec<_>>(),
            [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
        );
    }

    /// Steps at the times of a Poisson process, by a small generator of our own.
    fn by_chance(seed: u32, mean: f64, until: f64) -> Vec<Point> {
        let mut state = seed.wrapping_mul(2_654_435_761).max(1);
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            f64::from(state) / f64::from(u32::MAX)
        };
        let (mut times, mut t) = (Vec::new(), 0.0);
        while t < until {
            t += -mean * next().max(1e-9).ln();
            times.push(t);
        }
        series(|t| 4.0 * times.iter().filter(|at| **at <= t && **at <= until).count() as f64)
    }

    #[test]
    fn steps_that_come_by_chance_go_on_until_one_is_long_overdue() {
        let go_on = |points: &[Point]| Arrivals::of(points).is_some_and(|steps| steps.go_on(0.0, 60.0));
        let known = (1..=40).filter(|seed| go_on(&by_chance(*seed, 4.5, 60.0))).count();
        assert!(known >= 24, "{known} of 40");
        let ended = (1..=40).filter(|seed| go_on(&by_chance(*seed, 3.0, 36.0))).count();
        assert_eq!(ended, 0);
        assert_eq!(Arrivals::of(&series(|t| 3.0 * t)), None, "a line has no steps");
        assert_eq!(Arrivals::of(&series(|t| 10.0 * (t % 9.0))), None, "teeth fall");
    }

    #[test]
    fn a_staircase_that_ended_or_has_few_or_odd_steps_is_none() {
        assert_eq!(staircase(&series(|t| 10.0 * (t.min(45.0) / 7.0).floor())), None);
        assert_eq!(staircase(&series(|t| 10.0 * (t / 17.0).floor())), None);
        assert_eq!(staircase(&series(|t| (t / 9.0).floor().powi(2))), None);
        assert_eq!(staircase(&series(|t| 10.0 * (t % 9.0))), None);
        assert_eq!(staircase(&series(|_| 3.0)), None);
        assert_eq!(staircase(&[]), None);
    }
}
