//! What one series does over the window: its slope, and the shape of its growth.

use super::{
    Arrivals, Blocks, Curvature, Point, Slope, correlation_time, drawdown, mann_kendall, robust_deviation,
    staircase, theil_sen, thin, troughs,
};

/// The shape of a series' growth over the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Too few points or seconds to say.
    TooShort,
    /// No growth that could be told from noise, or a fall.
    Flat,
    /// Grows in nearly every part of the window, as fast at its end as before.
    Steady,
    /// Comes and goes in teeth, or goes up in steps, whose floors rise.
    RisingFloor,
    /// Grows, but ever more slowly: a cache that fills, a warm-up that ends.
    Slowing,
    /// Grew, and stopped within the window.
    Ended,
    /// Seems to grow; not surely.
    Unclear,
}

/// A series over the window in figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Trend {
    /// How many points were looked at, after thinning.
    pub points: usize,
    /// From the first to the last.
    pub seconds: f64,
    /// About what it was at the beginning: the median of the first block.
    pub from: f64,
    /// About what it was at the end: the median of the last block.
    pub to: f64,
    /// The slope over the whole window.
    pub slope: Slope,
    /// The slope of what lasts to the end: that of [`Trend::tail_start`] onwards, or of the teeth's
    /// floors.
    pub lasting: Slope,
    /// Where the part begins that `lasting` and `shape` speak of, seconds; 0 is the whole window.
    pub tail_start: f64,
    /// The slope of the last third.
    pub ending_per_s: f64,
    /// The chance of a trend upwards this strong if there is none (Mann–Kendall).
    pub p_up: f64,
    /// Student's t of the growth between blocks; [`Blocks::t`].
    pub consistency: f64,
    /// How many points make one independent observation.
    pub correlation_time: f64,
    /// Standard deviation around the line.
    pub noise: f64,
    /// The deepest fall from an earlier high.
    pub drawdown: f64,
    /// What shape it has.
    pub shape: Shape,
}

/// A series of fewer points than these says nothing.
pub(crate) const MIN_POINTS: usize = 10;
/// A series of fewer seconds than these says nothing.
/// Unit: s.
/// Chosen: nominal 15 s, less the slack of a first and a last snapshot.
pub(crate) const MIN_SECONDS: f64 = 14.0;
/// A slope this many standard errors above nothing is real.
/// Unit: standard errors.
/// Chosen: about thirty series are tested in a run, and all of them must be quiet in ninety-nine
/// healthy runs of a hundred; crates/diagnose/tests/calibration.rs holds what comes of it.
const Z_REAL: f64 = 4.0;
/// Kendall's tau of growth that a person would call steady.
const TAU_REAL: f64 = 0.4;
/// Growth between blocks must be this many standard errors above nothing (Student's t).
/// Unit: standard errors.
/// Chosen: a random walk, the hardest noise there is, reaches it in 1 % of windows.
const T_REAL: f64 = 3.0;
/// Where neighbouring snapshots are nearly independent there is no walk, and growth between blocks
/// of this many standard errors is enough.
/// Unit: standard errors.
const T_INDEPENDENT: f64 = 2.0;
/// Growth is slowing when the slope at the window's end is below this share of that at its start,
/// and the difference is at least that many standard errors: the more certain, the smaller a bend
/// counts.
const SLOWING: [(f64, f64); 3] = [(0.3, 1.0), (0.65, 2.0), (0.8, 4.0)];
/// A tail must be as straight as this to count as a phase of its own, if what came before was
/// another regime.
const STRAIGHT: f64 = 0.6;
/// A tail must be as straight as this if only the first third or less is left out.
/// Chosen: a saturating curve that passes then would take more than three windows to fill, which no
/// window of this length can tell from a line.
const VERY_STRAIGHT: f64 = 0.8;
/// A tail must be as straight as this, bent neither way, if what came before was faster.
/// Chosen: the second half of a logarithm has 0.5.
const STRAIGHT_AFTER_FASTER: f64 = 0.7;
/// Slopes that differ by no more than this share are the same.
const SAME: f64 = 0.15;
/// Windows shorter than this, and tails, see only the start of what fills slowly.
/// Chosen: nominal 30 s, less the slack of a first and a last snapshot.
const SHORT_S: f64 = 29.0;
/// A tail shorter than this is too little to call growth steady.
const TAIL_S: f64 = 22.0;
/// What came before such a tail grew faster or slower than it by this factor. Without this a slowly
/// saturating curve would be cut until what is left looks straight.
/// Unit: times.
const REGIME: f64 = 2.5;
/// The last steps must reach this share of the mean growth to say that it lasts.
const LASTS: f64 = 0.35;

impl Trend {
    /// Judges a series. Any input is allowed: unordered, empty, not finite.
    pub fn of(points: &[Point]) -> Trend {
        let points = thin(points);
        let whole = Part::of(&points);
        let mut trend = Trend {
            points: points.len(),
            seconds: whole.seconds,
            from: whole.from,
            to: whole.to,
            slope: whole.slope,
            lasting: whole.slope,
            tail_start: 0.0,
            ending_per_s: theil_sen(points.get(points.len() * 2 / 3..).unwrap_or_default(), 1.0).per_s,
            p_up: whole.p_up,
            consistency: whole.blocks.t(),
            correlation_time: whole.correlation_time,
            noise: whole.noise,
            drawdown: drawdown(&points),
            shape: Shape::Flat,
        };
        trend.shape = trend.judge(&points, &whole);
        trend
    }

    /// Whether it grows to the end of the window.
    pub fn lasts(&self) -> bool {
        matches!(self.shape, Shape::Steady | Shape::RisingFloor)
    }

    /// Growth over the window; negative for a fall.
    pub fn growth(&self) -> f64 {
        self.to - self.from
    }

    /// The slope to report for the end of the window: of the lasting growth, 0 ± the noise for
    /// growth that ended.
    pub fn current(&self) -> Slope {
        self.lasting
    }

    fn judge(&mut self, points: &[Point], whole: &Part) -> Shape {
        if whole.too_short() {
            return Shape::TooShort;
        }
        if whole.grows() && whole.lasts() && !whole.slows() {
            return Shape::Steady;
        }
        for share in [0.15, 0.25, 1.0 / 3.0, 0.5] {
            if let Some(tail) = own_phase(points, whole, share) {
                self.lasting = tail.slope;
                self.tail_start = tail.start;
                self.consistency = tail.blocks.t();
                self.p_up = tail.p_up;
                return Shape::Steady;
            }
        }
        if let Some((floor, consistency)) = rising_floor(points).or_else(|| rising_steps(points)) {
            self.lasting = floor;
            self.consistency = consistency;
            return Shape::RisingFloor;
        }
        let grew = whole.slope.z() > Z_REAL && whole.tau > TAU_REAL
            || whole.growth() > 5.0 * whole.noise.max(f64::EPSILON) && whole.growth() > 2.0 * self.drawdown;
        if !grew {
            return Shape::Flat;
        }
        if let Some(end) = flat_end(points, whole) {
            self.lasting = end.slope;
            self.tail_start = end.start;
            return Shape::Ended;
        }
        if whole.slows() || !whole.lasts() { Shape::Slowing } else { Shape::Unclear }
    }
}

/// A stretch of a series with its statistics.
struct Part {
    start: f64,
    seconds: f64,
    count: usize,
    from: f64,
    to: f64,
    slope: Slope,
    p_up: f64,
    tau: f64,
    blocks: Blocks,
    correlation_time: f64,
    noise: f64,
    curvature: Option<Curvature>,
    /// Slope of the last eighth, and its standard error.
    ending: f64,
    ending_error: f64,
}

impl Part {
    fn of(points: &[Point]) -> Part {
        let first = theil_sen(points, 1.0);
        let correlation_time = correlation_time(points, first.per_s);
        let slope = theil_sen(points, correlation_time);
        let blocks = Blocks::of(points);
        let residuals: Vec<f64> = points.iter().map(|p| p.v - slope.per_s * p.t).collect();
        let noise = robust_deviation(&residuals);
        let n = points.len();
        let start = points.first().map_or(0.0, |p| p.t);
        let seconds = points.last().map_or(0.0, |p| p.t) - start;
        let ending_count = (n / 8).max(4).min(n);
        let ending = theil_sen(points.get(n - ending_count..).unwrap_or_default(), 1.0).per_s;
        let kendall = mann_kendall(points, correlation_time);
        // Noise around the local line, not around the one line: curvature is what is being asked
        // about.
        let local = local_noise(points);
        Part {
            start,
            seconds,
            count: n,
            from: blocks.medians.first().or(points.first()).map_or(0.0, |p| p.v),
            to: blocks.medians.last().or(points.last()).map_or(0.0, |p| p.v),
            slope,
            p_up: kendall.p_up,
            tau: kendall.tau,
            blocks,
            correlation_time,
            noise,
            curvature: Curvature::of(points),
            ending,
            ending_error: slope_error(local, ending_count, seconds * ending_count as f64 / n.max(1) as f64),
        }
    }

    fn too_short(&self) -> bool {
        self.count < MIN_POINTS || self.seconds < MIN_SECONDS
    }

    fn growth(&self) -> f64 {
        self.to - self.from
    }

    /// The growth is real: a slope above nothing, values that mostly rise, and nearly every block
    /// above the one before.
    fn grows(&self) -> bool {
        let consistent = if self.correlation_time < 2.0 { T_INDEPENDENT } else { T_REAL };
        self.slope.z() > Z_REAL && self.tau > TAU_REAL && self.blocks.t() >= consistent
    }

    /// The growth goes on at the end.
    fn lasts(&self) -> bool {
        let mean = self.blocks.mean_rate();
        let last = (self.blocks.rates.len() / 3).max(1);
        let stopped = self.blocks.last_rate(last) < LASTS * mean;
        let ending_known = self.ending_error < 0.25 * self.slope.per_s;
        let ended = ending_known && self.ending < 0.2 * self.slope.per_s;
        !stopped && !ended
    }

    /// The slope at the end as a share of that at the start; 1 where neither is known.
    fn straightness(&self) -> f64 {
        let Some(c) = self.curvature else { return 1.0 };
        if c.start_per_s > 0.0 {
            c.end_per_s / c.start_per_s
        } else if c.end_per_s > 0.0 {
            f64::INFINITY
        } else {
            1.0
        }
    }

    fn slows(&self) -> bool {
        let z = self.curvature.map_or(0.0, |c| c.slowing_z());
        let ratio = self.straightness();
        let bends = SLOWING.iter().any(|(share, errors)| ratio < *share && z > *errors);
        // Where time is too short to see a bend, growth must look straight.
        bends || self.seconds < SHORT_S && ratio < VERY_STRAIGHT
    }
}

/// Standard error of a slope: σ·√12 / (√n · T).
fn slope_error(noise: f64, count: usize, seconds: f64) -> f64 {
    if count < 2 || seconds <= 0.0 {
        f64::INFINITY
    } else {
        noise * 12f64.sqrt() / ((count as f64).sqrt() * seconds)
    }
}

/// The noise from point to point: from second differences, which a line and a slow curve both leave
/// at 0.
fn local_noise(points: &[Point]) -> f64 {
    let second: Vec<f64> = points
        .iter()
        .zip(points.iter().skip(1))
        .zip(points.iter().skip(2))
        .map(|((a, b), c)| a.v - 2.0 * b.v + c.v)
        .collect();
    robust_deviation(&second) / 6f64.sqrt()
}

/// The part after `share` of the window, where it grows in a straight line and is a phase of its
/// own: what came before was much faster (a warm-up) or about still (the load had not begun), but
/// no fall (then it would be a tooth).
fn own_phase(points: &[Point], whole: &Part, share: f64) -> Option<Part> {
    let cut = (points.len() as f64 * share).round() as usize;
    let tail = Part::of(points.get(cut..)?);
    let head = theil_sen(points.get(..cut)?, 1.0).per_s;
    let s = tail.slope.per_s;
    let another_regime = head >= REGIME * s || (-0.3 * s..=s / REGIME).contains(&head);
    // Or it is no phase of its own, and what came before was the same growth with something coming
    // and going on top.
    let same_growth = (whole.slope.per_s - s).abs() <= SAME * s && whole.tau > 2.0 * TAU_REAL;
    let straightness = tail.straightness();
    let straight_enough = if head > s {
        (STRAIGHT_AFTER_FASTER..=1.0 / STRAIGHT_AFTER_FASTER).contains(&straightness)
    } else {
        straightness >= STRAIGHT
    };
    let mostly_straight = (share < 0.4 && head > 0.0 || same_growth) && straightness >= VERY_STRAIGHT;
    let straight = !tail.too_short()
        && tail.seconds >= TAIL_S
        && tail.grows()
        && tail.lasts()
        && !tail.slows()
        && straight_enough;
    let fell = drawdown(points) > 0.5 * tail.growth();
    (straight && (another_regime || mostly_straight) && !fell).then_some(tail)
}

/// The floors of the teeth, where they rise from each to the next, by more than they vary and as
/// fast at the end.
fn rising_floor(points: &[Point]) -> Option<(Slope, f64)> {
    let floors = troughs(points);
    let rates: Vec<f64> =
        floors.iter().zip(floors.iter().skip(1)).map(|(a, b)| (b.v - a.v) / (b.t - a.t).max(1e-9)).collect();
    let rise = floors.last()?.v - floors.first()?.v;
    let blocks = Blocks { medians: floors.clone(), rates };
    let needed = if floors.len() < 6 { T_REAL + 1.0 } else { T_REAL };
    let half = blocks.rates.len() / 2;
    let rising = floors.len() >= 4
        && blocks.rising_share() == 1.0
        && blocks.t() >= needed
        && rise >= 0.5 * drawdown(points)
        && blocks.last_rate(half) >= STRAIGHT * blocks.mean_rate();
    let slope = theil_sen(&floors, 1.0);
    (rising && slope.ci95[0] > 0.0).then(|| (slope, blocks.t()))
}

/// The slope of steps that go up to the end: at like distances, or so many that chance does not
/// make them.
fn rising_steps(points: &[Point]) -> Option<(Slope, f64)> {
    let Some(treads) = staircase(points) else {
        let steps = Arrivals::of(points)?;
        let (start, end) = (points.first()?.t, points.last()?.t);
        let slope = theil_sen(&steps.landings, 1.0);
        // Of as many arrivals, their number varies by its root.
        let certain = slope.ci95[0] > 0.0 && steps.go_on(start, end - start);
        return certain.then(|| (slope, (steps.count() as f64).sqrt()));
    };
    let rates: Vec<f64> =
        treads.iter().zip(treads.iter().skip(1)).map(|(a, b)| (b.v - a.v) / (b.t - a.t).max(1e-9)).collect();
    let slope = theil_sen(&treads, 1.0);
    let blocks = Blocks { medians: treads, rates };
    (slope.ci95[0] > 0.0).then(|| (slope, blocks.t()))
}

/// The end of the window where growth has stopped: the last quarter, or eighth, grows at less than
/// a sixth of the mean rate, and that is known well enough.
fn flat_end(points: &[Point], whole: &Part) -> Option<Part> {
    // The tread of a step is no end.
    if Arrivals::of(points).is_some_and(|steps| !steps.have_ended()) {
        return None;
    }
    let mean = whole.growth() / whole.seconds.max(1e-9);
    // Teeth are no noise from point to point, but they hide the end just as well.
    let noise = local_noise(points).max(drawdown(points) / 4.0);
    [4, 8].into_iter().find_map(|share| {
        let count = (points.len() / share).max(4).min(points.len());
        let end = Part::of(points.get(points.len() - count..)?);
        let error = slope_error(noise, count, end.seconds);
        (mean > 0.0 && end.slope.per_s < mean / 6.0 && error < mean / 4.0).then_some(end)
    })
}

/// How many seconds a window must have for the 95 % interval of a slope of `per_s` to be clear of
/// 0, with this noise, one snapshot every `interval_s`: four standard errors, T = (4 σ √(12 τ Δt) /
/// s)^⅔.
pub fn time_needed(noise: f64, correlation_time: f64, per_s: f64, interval_s: f64) -> f64 {
    let wanted = 4.0 * noise * (12.0 * correlation_time.max(1.0) * interval_s.max(0.0)).sqrt() / per_s.abs();
    let seconds = wanted.powf(2.0 / 3.0);
    if seconds.is_finite() { seconds.max(MIN_SECONDS) } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(f: impl Fn(f64) -> f64) -> Shape {
        let points: Vec<Point> = (0..=60).map(|i| Point { t: f64::from(i), v: f(f64::from(i)) }).collect();
        Trend::of(&points).shape
    }

    #[test]
    fn shapes_without_noise() {
        assert_eq!(shape(|_| 7.0), Shape::Flat);
        assert_eq!(shape(|t| 100.0 - t), Shape::Flat);
        assert_eq!(shape(|t| 3.0 * t), Shape::Steady);
        assert_eq!(shape(|t| 3.0 * t.min(15.0)), Shape::Ended);
        assert_eq!(shape(|t| 3.0 * t.min(40.0)), Shape::Ended);
        assert_eq!(shape(|t| if t < 25.0 { 0.0 } else { 50.0 }), Shape::Ended);
        for tau in [10.0, 20.0, 40.0, 60.0, 90.0] {
            let shape = shape(|t| 100.0 * (1.0 - (-t / tau).exp()));
            assert!(matches!(shape, Shape::Slowing | Shape::Ended), "τ {tau}: {shape:?}");
        }
        assert!(matches!(shape(|t| (1.0 + t).ln()), Shape::Slowing));
    }

    #[test]
    fn teeth_are_flat_and_rising_floors_rise() {
        assert_eq!(shape(|t| 5.0 * (t % 13.0)), Shape::Flat);
        assert_eq!(shape(|t| 5.0 * (t % 11.0) + 0.7 * t), Shape::RisingFloor);
    }

    #[test]
    fn a_tread_of_a_staircase_is_not_its_end() {
        assert_eq!(shape(|t| 10.0 * (t / 11.0).floor()), Shape::RisingFloor);
        assert_eq!(shape(|t| 10.0 * (t.min(44.0) / 11.0).floor()), Shape::Ended);
    }

    #[test]
    fn a_leak_behind_a_warm_up_is_found() {
        let points: Vec<Point> =
            (0..=60).map(f64::from).map(|t| Point { t, v: 8.0 * t.min(15.0) + 0.4 * t }).collect();
        let trend = Trend::of(&points);
        assert_eq!(trend.shape, Shape::Steady);
        assert!((trend.lasting.per_s - 0.4).abs() < 1e-9, "{trend:?}");
        assert!(trend.tail_start >= 15.0);
    }

    #[test]
    fn a_late_start_is_found_and_a_tooth_is_not_taken_for_one() {
        assert_eq!(shape(|t| (t - 15.0).max(0.0)), Shape::Steady);
        assert_ne!(shape(|t| if t < 12.0 { 40.0 + t } else { t - 12.0 }), Shape::Steady);
    }

    #[test]
    fn short_windows_say_nothing() {
        let points: Vec<Point> = (0..9).map(|i| Point { t: f64::from(i), v: f64::from(i) }).collect();
        assert_eq!(Trend::of(&points).shape, Shape::TooShort);
        assert_eq!(Trend::of(&[]).shape, Shape::TooShort);
    }

    #[test]
    fn more_noise_needs_more_time() {
        let quiet = time_needed(1.0, 1.0, 1.0, 1.0);
        let loud = time_needed(50.0, 4.0, 1.0, 1.0);
        assert!(loud > 4.0 * quiet, "{quiet} {loud}");
        assert_eq!(time_needed(1.0, 1.0, 0.0, 1.0), f64::INFINITY);
    }
}
