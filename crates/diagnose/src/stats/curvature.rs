//! Does growth slow down? A parabola tells with less data than slopes of parts.

use super::{Point, correlation_time_of_residuals, robust_deviation};

/// The slope at both ends of the parabola through a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Curvature {
    /// Slope at the first point.
    pub start_per_s: f64,
    /// Slope at the last point.
    pub end_per_s: f64,
    /// Standard error of the difference of the two, correlation of the residuals counted.
    pub error: f64,
}

/// Residuals beyond this many robust deviations are something that came and went.
/// Unit: deviations.
const TRANSIENT: f64 = 3.5;
/// Residuals beyond [`TRANSIENT`] are left out if they are no more than this share of the points.
const TRANSIENT_SHARE: f64 = 0.2;

/// How often such residuals are looked for.
const ROUNDS: usize = 3;

impl Curvature {
    /// The parabola through `points`, a few that stick out of it left out; `None` below five points
    /// or when all are at one instant.
    pub fn of(points: &[Point]) -> Option<Curvature> {
        let mut points = points.to_vec();
        let fewest = points.len() as f64 * (1.0 - TRANSIENT_SHARE);
        // Each time the fit is pulled less by what sticks out, and more of it shows.
        for _ in 0..ROUNDS {
            let (_, residuals) = Curvature::fit(&points)?;
            let limit = TRANSIENT * robust_deviation(&residuals);
            let rest: Vec<Point> = points
                .iter()
                .zip(&residuals)
                .filter(|(_, residual)| residual.abs() <= limit)
                .map(|(point, _)| *point)
                .collect();
            if rest.len() == points.len() || (rest.len() as f64) < fewest {
                break;
            }
            points = rest;
        }
        Curvature::fit(&points).map(|(curvature, _)| curvature)
    }

    /// The least-squares parabola, and what is left of the points beside it.
    fn fit(points: &[Point]) -> Option<(Curvature, Vec<f64>)> {
        let n = points.len();
        let (first, last) = (points.first()?, points.last()?);
        let half = (last.t - first.t) / 2.0;
        if n < 5 || half <= 0.0 {
            return None;
        }
        // Time runs from -1 to 1 so that the sums stay well conditioned.
        let x: Vec<f64> = points.iter().map(|p| (p.t - first.t) / half - 1.0).collect();
        let moment = |k: i32| x.iter().map(|x| x.powi(k)).sum::<f64>() / n as f64;
        let (m1, m2, m3, m4) = (moment(1), moment(2), moment(3), moment(4));
        let mean = points.iter().map(|p| p.v).sum::<f64>() / n as f64;
        // Orthogonal basis: 1, a = x - m1, b = x² - m2 - r·a.
        let variance = m2 - m1 * m1;
        if variance <= 0.0 {
            return None;
        }
        let r = (m3 - m1 * m2) / variance;
        let a: Vec<f64> = x.iter().map(|x| x - m1).collect();
        let b: Vec<f64> = x.iter().zip(&a).map(|(x, a)| x * x - m2 - r * a).collect();
        let dot = |u: &[f64]| u.iter().zip(points).map(|(u, p)| u * (p.v - mean)).sum::<f64>();
        let b_energy: f64 = (m4 - m2 * m2 - r * (m3 - m1 * m2)) * n as f64;
        if b_energy <= 1e-12 {
            return None;
        }
        let linear = dot(&a) / (variance * n as f64);
        let square = dot(&b) / b_energy;
        let residuals: Vec<f64> = points
            .iter()
            .zip(a.iter().zip(&b))
            .map(|(p, (a, b))| p.v - mean - linear * a - square * b)
            .collect();
        let deviation = (residuals.iter().map(|e| e * e).sum::<f64>() / (n as f64 - 3.0)).sqrt();
        let correlated = correlation_time_of_residuals(&residuals, points).sqrt();
        // d/dx of the fit is linear + square·(2x − r); divided by `half` it is per second.
        let slope_at = |x: f64| (linear + square * (2.0 * x - r)) / half;
        let curvature = Curvature {
            start_per_s: slope_at(-1.0),
            end_per_s: slope_at(1.0),
            error: 4.0 * deviation / b_energy.sqrt() * correlated / half,
        };
        Some((curvature, residuals))
    }

    /// By how many standard errors growth is faster at the start than at the end.
    pub fn slowing_z(&self) -> f64 {
        let drop = self.start_per_s - self.end_per_s;
        if self.error > 0.0 {
            drop / self.error
        } else if drop == 0.0 {
            0.0
        } else {
            f64::INFINITY.copysign(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(f: impl Fn(f64) -> f64) -> Vec<Point> {
        (0..=40).map(|i| Point { t: 10.0 + f64::from(i), v: f(f64::from(i)) }).collect()
    }

    #[test]
    fn a_parabola_has_its_slopes() {
        let c = Curvature::of(&points(|t| 3.0 + 4.0 * t - 0.05 * t * t)).unwrap();
        assert!((c.start_per_s - 4.0).abs() < 1e-9 && c.end_per_s.abs() < 1e-9, "{c:?}");
        assert!(c.slowing_z() > 1e3);
    }

    #[test]
    fn a_line_does_not_slow() {
        let c = Curvature::of(&points(|t| 2.0 * t)).unwrap();
        assert!((c.start_per_s - 2.0).abs() < 1e-9 && (c.end_per_s - 2.0).abs() < 1e-9);
        assert_eq!(Curvature::of(&[]), None);
        assert_eq!(Curvature::of(&[Point { t: 1.0, v: 1.0 }; 9]), None);
    }
}
