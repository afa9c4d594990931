//! The normal distribution's tail.

/// P(Z > z) of a standard normal Z. Abramowitz & Stegun 7.1.26 for erf: absolute error below
/// 1.5e-7, which is all that a decision at 1e-3 needs.
pub fn normal_tail(z: f64) -> f64 {
    if z.is_nan() {
        return 1.0;
    }
    if z < 0.0 {
        return 1.0 - normal_tail(-z);
    }
    let x = z / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let polynomial = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    (0.5 * polynomial * (-x * x).exp()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::normal_tail;

    #[test]
    fn agrees_with_the_tables() {
        for (z, p) in [(0.0, 0.5), (1.0, 0.158_655), (1.96, 0.024_998), (3.09, 0.001_001), (-1.0, 0.841_345)]
        {
            assert!((normal_tail(z) - p).abs() < 1e-6, "{z}: {}", normal_tail(z));
        }
        assert_eq!(normal_tail(f64::INFINITY), 0.0);
        assert_eq!(normal_tail(f64::NAN), 1.0);
    }
}
