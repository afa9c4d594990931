//! Theil–Sen: the median of the slopes of all pairs.

use super::{Point, median};

/// A slope with its 95 % confidence interval, in units of the series per second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Slope {
    /// The median slope.
    pub per_s: f64,
    /// Its 95 % confidence interval.
    pub ci95: [f64; 2],
}

impl Slope {
    /// Its standard error, as the interval implies.
    pub fn error(&self) -> f64 {
        (self.ci95[1] - self.ci95[0]) / 3.92
    }

    /// Without infinities, which JSON does not know: 0 in their place.
    #[must_use]
    pub fn finite(self) -> Slope {
        let clean = |v: f64| if v.is_finite() { v } else { 0.0 };
        Slope { per_s: clean(self.per_s), ci95: self.ci95.map(clean) }
    }

    /// How many standard errors it is above 0.
    pub fn z(&self) -> f64 {
        let error = self.error();
        if error > 0.0 {
            self.per_s / error
        } else if self.per_s == 0.0 {
            0.0
        } else {
            f64::INFINITY.copysign(self.per_s)
        }
    }
}

/// The Theil–Sen slope of `points` with Sen's interval (Sen 1968, "Estimates of the regression
/// coefficient based on Kendall's tau"), stretched by the square root of `correlation_time`: with
/// correlated noise n points count as n / correlation_time. (Multiplying the variance of Kendall's
/// S instead, as Hamed & Rao 1998 do for the test, would say nothing of a slope that is far above
/// its noise: ranks cannot show by how much.)
///
/// Fewer than two points have the slope 0; the interval never goes beyond what was seen, times the
/// stretch. Costs n²: thin first.
pub fn theil_sen(points: &[Point], correlation_time: f64) -> Slope {
    let n = points.len();
    let mut slopes = Vec::with_capacity(n * n.saturating_sub(1) / 2);
    for (i, a) in points.iter().enumerate() {
        for b in points.get(i + 1..).unwrap_or_default() {
            let slope = (b.v - a.v) / (b.t - a.t);
            // Two points of (nearly) the same instant have none.
            if b.t > a.t && slope.is_finite() {
                slopes.push(slope);
            }
        }
    }
    if slopes.is_empty() {
        return Slope::default();
    }
    let per_s = median(&mut slopes);
    let n = n as f64;
    let variance = n * (n - 1.0) * (2.0 * n + 5.0) / 18.0;
    let reach = 1.96 * variance.sqrt();
    let count = slopes.len() as f64;
    let last = slopes.len() - 1;
    let low = (((count - reach) / 2.0).floor().max(0.0) as usize).min(last);
    let high = (((count + reach) / 2.0).ceil().max(0.0) as usize).min(last);
    let low = *slopes.select_nth_unstable_by(low, f64::total_cmp).1;
    let high = *slopes.select_nth_unstable_by(high, f64::total_cmp).1;
    let stretch = correlation_time.max(1.0).sqrt();
    Slope {
        per_s,
        ci95: [per_s - (per_s - low).max(0.0) * stretch, per_s + (high - per_s).max(0.0) * stretch],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: impl IntoIterator<Item = f64>) -> Vec<Point> {
        values.into_iter().enumerate().map(|(i, v)| Point { t: i as f64, v }).collect()
    }

    #[test]
    fn a_straight_line_has_its_slope_and_no_doubt() {
        let slope = theil_sen(&points((0..20).map(|i| 5.0 + 3.0 * f64::from(i))), 1.0);
        assert_eq!(slope, Slope { per_s: 3.0, ci95: [3.0, 3.0] });
    }

    #[test]
    fn outliers_do_not_move_it() {
        let slope = theil_sen(&points((0..30).map(|i| if i % 7 == 3 { 900.0 } else { f64::from(i) })), 1.0);
        assert!((slope.per_s - 1.0).abs() < 0.2, "{slope:?}");
    }

    #[test]
    fn correlation_widens_the_interval() {
        let wave = points((0..40).map(|i| f64::from(i) + 4.0 * (f64::from(i) / 3.0).sin()));
        let narrow = theil_sen(&wave, 1.0).ci95;
        let wide = theil_sen(&wave, 5.0).ci95;
        assert!(wide[0] < narrow[0] && wide[1] > narrow[1]);
    }

    #[test]
    fn nothing_and_a_single_instant_are_flat() {
        assert_eq!(theil_sen(&[], 1.0), Slope::default());
        let same = [Point { t: 1.0, v: 2.0 }, Point { t: 1.0, v: 9.0 }];
        assert_eq!(theil_sen(&same, 1.0), Slope::default());
    }
}
