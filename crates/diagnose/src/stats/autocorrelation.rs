//! How many snapshots make one independent observation.

use super::{Point, median};

/// The integrated autocorrelation time of the residuals around the line `slope_per_s`, in
/// snapshots: at least 1, at most a third of the number of points. The effective sample size is the
/// number of points divided by it.
///
/// Sums the correlations up to the first that is not positive (Geyer's initial positive sequence,
/// 1992), and takes the AR(1) figure of the first lag where that is larger, after Kendall's
/// correction of its small-sample bias ((1 + 4ρ) / n): short windows make slow noise look faster
/// than it is.
pub fn correlation_time(points: &[Point], slope_per_s: f64) -> f64 {
    let mut residuals: Vec<f64> = points.iter().map(|p| p.v - slope_per_s * p.t).collect();
    let centre = median(&mut residuals.clone());
    residuals.iter_mut().for_each(|r| *r -= centre);
    correlation_time_of_residuals(&residuals, points)
}

/// As [`correlation_time`], of residuals that are already there; `points` give the scale below
/// which all is rounding.
pub(super) fn correlation_time_of_residuals(residuals: &[f64], points: &[Point]) -> f64 {
    let n = residuals.len();
    if n < 6 {
        return 1.0;
    }
    let mean = residuals.iter().sum::<f64>() / n as f64;
    let residuals: Vec<f64> = residuals.iter().map(|r| r - mean).collect();
    let energy: f64 = residuals.iter().map(|r| r * r).sum();
    // Rounding alone (a straight line in doubles) is not noise whose correlation means anything.
    let scale = points.iter().fold(0.0f64, |m, p| m.max(p.v.abs()));
    if energy <= 1e-18 * scale * scale * n as f64 || !energy.is_finite() {
        return 1.0;
    }
    let correlation = |lag: usize| -> f64 {
        residuals.iter().zip(residuals.iter().skip(lag)).map(|(a, b)| a * b).sum::<f64>() / energy
    };
    let first = correlation(1);
    let corrected = (first + (1.0 + 4.0 * first) / n as f64).clamp(0.0, 0.98);
    let ar1 = (1.0 + corrected) / (1.0 - corrected);
    let mut sum = 1.0;
    for lag in 1..=n / 3 {
        let rho = correlation(lag);
        if rho <= 0.0 {
            break;
        }
        sum += 2.0 * rho;
    }
    ar1.max(sum).clamp(1.0, (n as f64 / 3.0).max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: impl IntoIterator<Item = f64>) -> Vec<Point> {
        values.into_iter().enumerate().map(|(i, v)| Point { t: i as f64, v }).collect()
    }

    #[test]
    fn a_slow_wave_has_few_independent_points() {
        let slow = correlation_time(&points((0..60).map(|i| (f64::from(i) / 8.0).sin())), 0.0);
        assert!(slow > 8.0, "{slow}");
        let alternating = correlation_time(&points((0..60).map(|i| f64::from(i % 2))), 0.0);
        assert_eq!(alternating, 1.0);
    }

    #[test]
    fn a_line_has_no_noise() {
        assert_eq!(correlation_time(&points((0..60).map(|i| 3.0 * f64::from(i))), 3.0), 1.0);
    }
}
