//! Logarithm and exponential without libm (whose symbol versions would tie the agent to a new
//! glibc), and random numbers. Relative errors stay below 1e-9, far under any sampling error.

use crate::arch::Thread;

/// Natural logarithm of a normal, positive number.
pub fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mut m = f64::from_bits(bits & !(0x7ffu64 << 52) | (1023u64 << 52));
    if m > core::f64::consts::SQRT_2 {
        m *= 0.5;
        exponent += 1;
    }
    // ln m = 2 artanh((m-1)/(m+1)); |z| < 0.172, so nine odd terms suffice.
    let z = (m - 1.0) / (m + 1.0);
    let z2 = z * z;
    let mut sum = 0.0;
    let mut k = 17;
    while k > 0 {
        sum = sum * z2 + 1.0 / k as f64;
        k -= 2;
    }
    2.0 * z * sum + exponent as f64 * core::f64::consts::LN_2
}

/// 1 - exp(-x) for x ≥ 0.
pub fn one_minus_exp_neg(x: f64) -> f64 {
    if x > 40.0 {
        return 1.0;
    }
    // exp(-x) = exp(-x/2^k)^(2^k), in the form e = 1-exp(-y): doubling is e' = e(2-e), exact for
    // small e.
    let mut halvings = 0;
    let mut y = x;
    while y > 0.125 {
        y *= 0.5;
        halvings += 1;
    }
    let mut e = 0.0;
    let mut n = 9;
    while n > 0 {
        // Horner on y - y²/2! + y³/3! …
        e = (1.0 - e) * y / n as f64;
        n -= 1;
    }
    while halvings > 0 {
        e *= 2.0 - e;
        halvings -= 1;
    }
    e
}

/// xorshift64*, seeded from whatever is at hand on first use.
pub fn random(t: &Thread) -> u64 {
    let mut x = t.random.get();
    if x == 0 {
        let clock = crate::sys::clock_ns(libc::CLOCK_MONOTONIC);
        x = offheap_live::mix(core::ptr::from_ref(t) as u64 ^ clock.rotate_left(32)) | 1;
    }
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    t.random.set(x);
    x.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// Bytes until the next sample: exponential with this mean, at least 0.
pub fn exponential(t: &Thread, mean: u64) -> i64 {
    // In (0, 1]: 53 random bits, plus one so that 0 can't come.
    let u = ((random(t) >> 11) + 1) as f64 * (1.0 / (1u64 << 53) as f64);
    (-ln(u) * mean as f64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_std() {
        for i in 1..20_000u32 {
            let x = f64::from(i) / 10_000.0;
            assert!((ln(x) - x.ln()).abs() < 1e-10, "ln {x}: {} {}", ln(x), x.ln());
            let y = f64::from(i * i) / 1e7;
            let want = -(-y).exp_m1();
            assert!((one_minus_exp_neg(y) / want - 1.0).abs() < 1e-9, "{y}: {} {want}", one_minus_exp_neg(y));
        }
        for x in [1e-9, 1e-300, 1e300] {
            assert!((ln(x) / x.ln() - 1.0).abs() < 1e-12);
        }
        let tiny = 1e-7;
        assert!((one_minus_exp_neg(tiny) / -(-tiny).exp_m1() - 1.0).abs() < 1e-12);
        assert_eq!(one_minus_exp_neg(1e6), 1.0);
    }

    #[test]
    fn exponential_has_its_mean() {
        let t = crate::arch::thread();
        t.random.set(0x1234_5678);
        let n = 200_000;
        let sum: f64 = (0..n).map(|_| exponential(t, 1 << 19) as f64).sum();
        let mean = sum / f64::from(n) / f64::from(1 << 19);
        // The mean's standard error is 1/sqrt(n) = 0.0022.
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
    }
}
