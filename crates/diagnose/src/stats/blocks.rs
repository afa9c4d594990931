//! The window in blocks: does it grow in nearly every part?

use super::{Point, median};

/// The median of each block of the window, and the rates between neighbouring blocks.
///
/// Rates between blocks of a random walk are nearly independent, so their t-statistic stays honest
/// where a regression on the points does not; noise around a line makes neighbouring rates cancel,
/// which only makes it careful.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocks {
    /// Median time and value of each block.
    pub medians: Vec<Point>,
    /// Growth per second from each block to the next.
    pub rates: Vec<f64>,
}

impl Blocks {
    /// Eight blocks, fewer when there are fewer than four points for each; none below eight points.
    pub fn of(points: &[Point]) -> Blocks {
        let count = match points.len() {
            0..8 => 0,
            n => (n / 4).clamp(2, 8),
        };
        let n = points.len();
        let medians: Vec<Point> = (0..count)
            .filter_map(|i| points.get(n * i / count..n * (i + 1) / count))
            .map(|block| Point {
                t: median(&mut block.iter().map(|p| p.t).collect::<Vec<_>>()),
                v: median(&mut block.iter().map(|p| p.v).collect::<Vec<_>>()),
            })
            .collect();
        let rates = medians
            .iter()
            .zip(medians.iter().skip(1))
            .filter(|(a, b)| b.t > a.t)
            .map(|(a, b)| (b.v - a.v) / (b.t - a.t))
            .collect();
        Blocks { medians, rates }
    }

    /// The mean rate; 0 of nothing.
    pub fn mean_rate(&self) -> f64 {
        mean(&self.rates)
    }

    /// The mean rate of the last `count` steps.
    pub fn last_rate(&self, count: usize) -> f64 {
        mean(self.rates.get(self.rates.len().saturating_sub(count)..).unwrap_or_default())
    }

    /// Student's t of the mean rate against 0; infinite where every rate is the same.
    pub fn t(&self) -> f64 {
        let n = self.rates.len() as f64;
        if n < 2.0 {
            return 0.0;
        }
        let centre = self.mean_rate();
        let variance = self.rates.iter().map(|r| (r - centre) * (r - centre)).sum::<f64>() / (n - 1.0);
        let error = (variance / n).sqrt();
        if error > 1e-12 * centre.abs() {
            centre / error
        } else if centre == 0.0 {
            0.0
        } else {
            f64::INFINITY.copysign(centre)
        }
    }

    /// The share of the steps that go up.
    pub fn rising_share(&self) -> f64 {
        if self.rates.is_empty() {
            return 0.0;
        }
        self.rates.iter().filter(|r| **r > 0.0).count() as f64 / self.rates.len() as f64
    }
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: i32, slope: f64) -> Vec<Point> {
        (0..n).map(|i| Point { t: f64::from(i), v: slope * f64::from(i) }).collect()
    }

    #[test]
    fn a_line_rises_in_every_block() {
        let blocks = Blocks::of(&line(60, 2.0));
        assert_eq!(blocks.medians.len(), 8);
        assert!(blocks.rates.iter().all(|r| (r - 2.0).abs() < 1e-9));
        assert!(blocks.t() > 1e6);
        assert_eq!(blocks.rising_share(), 1.0);
    }

    #[test]
    fn a_single_step_is_not_consistent_growth() {
        let step: Vec<Point> =
            (0..60).map(|i| Point { t: f64::from(i), v: if i < 31 { 0.0 } else { 50.0 } }).collect();
        assert!(Blocks::of(&step).t() < 1.5);
        assert_eq!(Blocks::of(&step).last_rate(2), 0.0);
    }

    #[test]
    fn few_points_make_no_blocks() {
        assert_eq!(Blocks::of(&line(7, 1.0)).rates.len(), 0);
        assert_eq!(Blocks::of(&line(7, 1.0)).t(), 0.0);
    }
}
