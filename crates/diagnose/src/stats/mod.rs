//! Statistics on series of measurements: slopes, trends, teeth and steps, with honest uncertainty.
//!
//! Memory figures are not independent draws: a collector makes saw-teeth, caches fill, sessions
//! come and go. So every interval here is widened by the correlation that is found in the residuals
//! ([`autocorrelation`]), and growth is only believed when it shows in nearly every part of the
//! window ([`Blocks`]).

mod autocorrelation;
mod blocks;
mod curvature;
mod mann_kendall;
mod normal;
mod sawtooth;
mod staircase;
mod theil_sen;
mod trend;

pub use autocorrelation::correlation_time;
use autocorrelation::correlation_time_of_residuals;
pub use blocks::Blocks;
pub use curvature::Curvature;
pub use mann_kendall::{MannKendall, mann_kendall};
pub use normal::normal_tail;
pub use sawtooth::{drawdown, troughs};
pub use staircase::{Arrivals, staircase};
pub use theil_sen::{Slope, theil_sen};
pub(crate) use trend::MIN_POINTS;
pub use trend::{Shape, Trend, time_needed};

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Seconds since the window began.
    pub t: f64,
    /// The figure: bytes, or a count.
    pub v: f64,
}

/// No statistic here looks at more points than this; pairwise methods cost its square.
pub const MAX_POINTS: usize = 600;

/// At most [`MAX_POINTS`] points: neighbours are averaged, which keeps slopes and lessens noise.
/// Points that are not finite are dropped; the result is ordered by time.
pub fn thin(points: &[Point]) -> Vec<Point> {
    let mut finite: Vec<Point> =
        points.iter().copied().filter(|p| p.t.is_finite() && p.v.is_finite()).collect();
    finite.sort_by(|a, b| a.t.total_cmp(&b.t));
    let per_bucket = finite.len().div_ceil(MAX_POINTS).max(1);
    if per_bucket == 1 {
        return finite;
    }
    finite
        .chunks(per_bucket)
        .map(|chunk| {
            let n = chunk.len() as f64;
            Point { t: chunk.iter().map(|p| p.t / n).sum(), v: chunk.iter().map(|p| p.v / n).sum() }
        })
        .collect()
}

/// The median; 0 of nothing. The slice is reordered.
pub fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    let even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    if !even {
        return *upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (lower + *upper) / 2.0
}

/// The standard deviation that the median absolute deviation implies for normal noise (factor
/// 1.4826): one outlier does not move it.
pub fn robust_deviation(values: &[f64]) -> f64 {
    let centre = median(&mut values.to_vec());
    let mut distances: Vec<f64> = values.iter().map(|v| (v - centre).abs()).collect();
    1.4826 * median(&mut distances)
}
