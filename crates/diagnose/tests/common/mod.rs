//! Synthetic series with known truth. Everything is drawn from a fixed seed: a failure repeats.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod world;

/// SplitMix64 (Steele, Lea & Flood 2014) with a normal draw by Box–Muller.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Even between 0 and 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        let u = self.unit().max(1e-12);
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// One value a second, `n` of them.
pub type Values = Vec<f64>;

pub fn ramp(n: usize, per_s: f64) -> Values {
    (0..n).map(|i| per_s * i as f64).collect()
}

pub fn white(n: usize, sigma: f64, r: &mut Random) -> Values {
    (0..n).map(|_| sigma * r.normal()).collect()
}

/// AR(1) of standard deviation `sigma` that forgets within about `memory_s` seconds.
pub fn wander(n: usize, sigma: f64, memory_s: f64, r: &mut Random) -> Values {
    let phi = (-1.0 / memory_s).exp();
    let mut value = sigma * r.normal();
    (0..n)
        .map(|_| {
            value = phi * value + sigma * (1.0 - phi * phi).sqrt() * r.normal();
            value
        })
        .collect()
}

pub fn random_walk(n: usize, step: f64, r: &mut Random) -> Values {
    let mut value = 0.0;
    (0..n)
        .map(|_| {
            value += step * r.normal();
            value
        })
        .collect()
}

/// Teeth of about `period_s` that rise by `height` and fall to the floor, from a random phase;
/// periods vary by a fifth.
pub fn teeth(n: usize, height: f64, period_s: f64, r: &mut Random) -> Values {
    let mut length = period_s * r.between(0.8, 1.2);
    let mut at = length * r.unit();
    (0..n)
        .map(|_| {
            at += 1.0;
            if at >= length {
                at -= length;
                length = period_s * r.between(0.8, 1.2);
            }
            height * at / period_s
        })
        .collect()
}

pub fn step(n: usize, height: f64, at: usize) -> Values {
    (0..n).map(|i| if i < at { 0.0 } else { height }).collect()
}

/// A cache of random keys: 1 − e^(−t/τ).
pub fn saturating(n: usize, height: f64, tau_s: f64) -> Values {
    (0..n).map(|i| height * (1.0 - (-(i as f64) / tau_s).exp())).collect()
}

/// Fills in a straight line, then stays.
pub fn filling(n: usize, height: f64, seconds: f64) -> Values {
    (0..n).map(|i| height * (i as f64 / seconds).min(1.0)).collect()
}

pub fn sum(parts: &[Values]) -> Values {
    let n = parts.first().map_or(0, Vec::len);
    (0..n).map(|i| parts.iter().map(|p| p[i]).sum()).collect()
}
