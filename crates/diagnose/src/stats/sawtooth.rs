//! Saw-teeth: what goes up and comes down again, and the floor it comes down to.

use super::{Point, median};

/// The deepest fall from an earlier high, on the series smoothed by a running median of three so
/// that one odd snapshot is no fall.
pub fn drawdown(points: &[Point]) -> f64 {
    let mut high = f64::NEG_INFINITY;
    let mut deepest = 0.0f64;
    for value in smooth(points) {
        high = high.max(value);
        deepest = deepest.max(high - value);
    }
    deepest
}

/// The floors of the teeth: the lowest point after each fall of at least half the deepest one,
/// before the next rise of that size. The window's own ends are no floors: what would have come
/// before or after was not seen.
pub fn troughs(points: &[Point]) -> Vec<Point> {
    let deepest = drawdown(points);
    if deepest <= 0.0 {
        return Vec::new();
    }
    let threshold = deepest / 2.0;
    let mut floors = Vec::new();
    let mut high = f64::NEG_INFINITY;
    let mut low: Option<Point> = None;
    for (point, value) in points.iter().zip(smooth(points)) {
        match low {
            None => {
                high = high.max(value);
                if high - value >= threshold {
                    low = Some(Point { t: point.t, v: value });
                }
            }
            Some(floor) if value <= floor.v => low = Some(Point { t: point.t, v: value }),
            Some(floor) if value - floor.v >= threshold => {
                floors.push(floor);
                high = value;
                low = None;
            }
            Some(_) => {}
        }
    }
    floors
}

fn smooth(points: &[Point]) -> Vec<f64> {
    let value = |i: usize| points.get(i).map(|p| p.v);
    (0..points.len())
        .map(|i| {
            let mut three: Vec<f64> =
                [i.checked_sub(1).and_then(value), value(i), value(i + 1)].into_iter().flatten().collect();
            median(&mut three)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn teeth(period: u32, rise: f64, floor_rise: f64) -> Vec<Point> {
        (0..60u32)
            .map(|i| {
                let tooth = f64::from(i / period);
                Point { t: f64::from(i), v: f64::from(i % period) * rise + tooth * floor_rise }
            })
            .collect()
    }

    #[test]
    fn floors_are_found_and_their_rise_too() {
        let floors = troughs(&teeth(10, 5.0, 0.0));
        assert_eq!(floors.len(), 5);
        assert!(floors.iter().all(|f| f.v <= 5.0), "{floors:?}");
        let rising = troughs(&teeth(10, 5.0, 20.0));
        assert!(rising.windows(2).all(|w| w[1].v > w[0].v + 15.0), "{rising:?}");
    }

    #[test]
    fn a_rise_has_no_teeth() {
        let line: Vec<Point> = (0..30).map(|i| Point { t: f64::from(i), v: f64::from(i) }).collect();
        assert_eq!(drawdown(&line), 0.0);
        assert!(troughs(&line).is_empty());
        assert!(troughs(&[]).is_empty());
    }
}
