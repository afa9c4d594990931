//! Growth in steps: a batch that keeps a little of its memory each time it runs.

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
    let steps = steps(points);
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

/// The rises that are steps, each from the index before it to the index after it. Neighbouring
/// rises are one: a look may fall into the middle of a step.
fn steps(points: &[Point]) -> Vec<(usize, usize)> {
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
    rises.into_iter().filter(|rise| rise.2 >= STEP_SHARE * largest).map(|rise| (rise.0, rise.1)).collect()
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
