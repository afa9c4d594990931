//! Mann–Kendall: is there a monotonic trend at all?

use super::{Point, normal_tail};

/// The outcome of the test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MannKendall {
    /// Kendall's tau: 1 if every later value is larger, −1 if every one is smaller.
    pub tau: f64,
    /// The chance of a trend upwards at least this strong if there is none.
    pub p_up: f64,
}

/// The Mann–Kendall test against a trend upwards, ties counted, the variance multiplied by
/// `correlation_time` as in [`super::theil_sen`]. Costs n²: thin first.
pub fn mann_kendall(points: &[Point], correlation_time: f64) -> MannKendall {
    let mut s = 0i64;
    for (i, a) in points.iter().enumerate() {
        for b in points.get(i + 1..).unwrap_or_default() {
            s += match b.v.total_cmp(&a.v) {
                std::cmp::Ordering::Greater => 1,
                std::cmp::Ordering::Equal => 0,
                std::cmp::Ordering::Less => -1,
            };
        }
    }
    let n = points.len() as f64;
    let pairs = n * (n - 1.0) / 2.0;
    let mut values: Vec<f64> = points.iter().map(|p| p.v).collect();
    values.sort_by(f64::total_cmp);
    let ties: f64 = values
        .chunk_by(|a, b| a == b)
        .map(|group| {
            let g = group.len() as f64;
            g * (g - 1.0) * (2.0 * g + 5.0)
        })
        .sum();
    let variance = (n * (n - 1.0) * (2.0 * n + 5.0) - ties) / 18.0 * correlation_time.max(1.0);
    if pairs <= 0.0 || variance <= 0.0 {
        return MannKendall { tau: 0.0, p_up: 1.0 };
    }
    // The continuity correction pulls S one step towards 0.
    let s = s as f64;
    let z = (s - s.signum()) / variance.sqrt();
    MannKendall { tau: s / pairs, p_up: normal_tail(z) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[f64]) -> Vec<Point> {
        values.iter().enumerate().map(|(i, &v)| Point { t: i as f64, v }).collect()
    }

    #[test]
    fn a_rise_is_certain_a_fall_is_not() {
        let up: Vec<f64> = (0..20).map(f64::from).collect();
        let down: Vec<f64> = up.iter().rev().copied().collect();
        assert!(mann_kendall(&points(&up), 1.0).p_up < 1e-6);
        assert!(mann_kendall(&points(&down), 1.0).p_up > 0.999);
        assert_eq!(mann_kendall(&points(&up), 1.0).tau, 1.0);
    }

    #[test]
    fn ties_alone_are_no_trend() {
        assert_eq!(mann_kendall(&points(&[4.0; 9]), 1.0), MannKendall { tau: 0.0, p_up: 1.0 });
        assert_eq!(mann_kendall(&[], 1.0).p_up, 1.0);
    }
}
